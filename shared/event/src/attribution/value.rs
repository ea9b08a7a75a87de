//! Tag values made fit to be a dimension's value: trimmed, short, and unable to pose as something else.

use std::borrow::Cow;

use super::Dimension;

/// The longest value of a dimension. SES allows tags of 256 bytes; twice the memory for each cell would buy nothing.
pub(crate) const MAX_VALUE_BYTES: usize = 128;

/// The value to file an event under, made of a tag's.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let value = cut(text.trim());
    Cow::Borrowed(if value.is_empty() {
        Dimension::NONE
    } else if imitates(value) || value.chars().any(deceives) {
        Dimension::INVALID
    } else {
        value
    })
}

/// Whether a character is invisible or turns text around, so that a value could pose as another one.
pub(super) fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn imitates(value: &str) -> bool {
    [Dimension::NONE, Dimension::OTHER, Dimension::SEVERAL, Dimension::INVALID]
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(value))
}

fn cut(value: &str) -> &str {
    value.get(..value.floor_char_boundary(MAX_VALUE_BYTES)).unwrap_or(value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_trimmed_and_cut_between_characters() {
        let long = "ä".repeat(100);
        for (text, expected) in [
            ("spring-sale", "spring-sale"),
            ("  spring sale\t", "spring sale"),
            ("Größe", "Größe"),
            ("", Dimension::NONE),
            ("   ", Dimension::NONE),
            (&"x".repeat(128), &"x".repeat(128)),
            (&"x".repeat(129), &"x".repeat(128)),
            (&long, &long[..128]),
            (&format!("x{long}"), &format!("x{}", &long[..126])),
            (&format!("{} y", "x".repeat(127)), &"x".repeat(127)),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn values_that_would_deceive_a_reader_are_invalid() {
        for text in
            ["a\nb", "a\u{0}", "a\u{202e}b", "\u{200b}a", "(none)", " (Other) ", "(SEVERAL)", "(invalid)"]
        {
            assert_eq!(clean(text), Dimension::INVALID, "{text:?}");
        }
        assert_eq!(clean("(spring)"), "(spring)");
    }
}
