//! Turns the values of tags into values of dimensions: trimmed, bounded, and unable to pose as another value.
//!
//! Senders choose tags freely, and people read the values on dashboards and in alerts.

use std::borrow::Cow;

use siphasher::sip::SipHasher13;

use super::Dimension;

/// The longest value of a dimension, in bytes: as long as SES allows a tag's value to be, which is ASCII
/// (<https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_MessageTag.html>). Only what comes past SES can be longer.
pub(crate) const MAX_VALUE_BYTES: usize = 256;
/// The end of a shortened value: `~` and the hash of the whole value in 16 digits.
const MARK_BYTES: usize = 17;

/// The value of the dimension for a tag's value. A value that is too long keeps its beginning, and two different ones stay two.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let value = text.trim();
    Cow::Borrowed(if value.is_empty() {
        Dimension::NONE
    // Compared in any case: `(Other)` on a dashboard would be read as the overflow row.
    } else if imitates_reserved(value) || value.chars().any(is_misleading) {
        Dimension::INVALID
    } else if value.len() > MAX_VALUE_BYTES {
        return Cow::Owned(shortened(value, MAX_VALUE_BYTES));
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

/// The beginning of a value, cut between characters, with a hash of all of it, in at most `max_bytes`: cut alone, the names of a series of
/// campaigns that differ at their ends would become one campaign.
pub(crate) fn shortened(value: &str, max_bytes: usize) -> String {
    // Not keyed: a tag's value is no secret, and it must be the same in every deployment and for ever, since counts are stored under it.
    let hash = SipHasher13::new().hash(value.as_bytes());
    let kept =
        value.get(..value.floor_char_boundary(max_bytes.saturating_sub(MARK_BYTES))).unwrap_or_default();
    format!("{kept}~{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_trimmed_and_kept_whole_up_to_256_bytes() {
        let long = "ä".repeat(128);
        for (text, expected) in [
            ("spring-sale", "spring-sale"),
            ("  spring sale\t", "spring sale"),
            ("Größe", "Größe"),
            ("", Dimension::NONE),
            ("   ", Dimension::NONE),
            (&"x".repeat(256), &"x".repeat(256)),
            (&format!("  {}  ", "x".repeat(256)), &"x".repeat(256)),
            (&long, &long),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn longer_values_keep_their_beginning_and_stay_different() {
        let number = |number: u32| format!("{}{number}", "newsletter-".repeat(40));
        let [first, second] = [number(1), number(2)];
        let [a, b] = [clean(&first), clean(&second)];
        assert_eq!((a.len(), b.len()), (MAX_VALUE_BYTES, MAX_VALUE_BYTES));
        assert_eq!(a[..239], first[..239]);
        assert_ne!(a, b);
        // Cut between characters, so it may be shorter by one byte here.
        let wide = "ä".repeat(200);
        let kept = clean(&wide);
        assert!(kept.len() == MAX_VALUE_BYTES - 1 && kept.starts_with(&wide[..238]), "{kept}");
    }

    #[test]
    fn shortened_values_are_part_of_the_storage_format() {
        let value = "x".repeat(257);
        assert_eq!(clean(&value), format!("{}~19133ce6ede9d322", "x".repeat(239)));
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
