//! Turns the values of tags into values of dimensions: trimmed, short, and unable to pose as another value.
//!
//! Senders choose tags freely, and people read the values on dashboards and in alerts.

use std::borrow::Cow;

use super::Dimension;

/// The longest value of a dimension, in bytes. SES allows 256 for a tag's value, but such long values are not worth twice the
/// memory.
pub(crate) const MAX_VALUE_BYTES: usize = 128;

/// The value of the dimension for a tag's value.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    // Cut before the check: what is compared with the reserved values must be what is stored.
    let value = cut(text.trim());
    Cow::Borrowed(if value.is_empty() {
        Dimension::NONE
    // Compared in any case: `(Other)` on a dashboard would be read as the overflow row.
    } else if imitates_reserved(value) || value.chars().any(is_misleading) {
        Dimension::INVALID
    } else {
        value
    })
}

/// Whether a character is invisible or reverses the direction of text, so that a value could look like another one: control
/// characters, zero-width characters, bidirectional controls, line separators.
pub(super) fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Whether it equals a reserved value, in any case.
fn imitates_reserved(value: &str) -> bool {
    [Dimension::NONE, Dimension::OTHER, Dimension::SEVERAL, Dimension::INVALID]
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(value))
}

/// Cuts between characters, never inside one.
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
    fn values_that_would_mislead_a_reader_are_invalid() {
        for text in
            ["a\nb", "a\u{0}", "a\u{202e}b", "\u{200b}a", "(none)", " (Other) ", "(SEVERAL)", "(invalid)"]
        {
            assert_eq!(clean(text), Dimension::INVALID, "{text:?}");
        }
        assert_eq!(clean("(spring)"), "(spring)");
    }
}
