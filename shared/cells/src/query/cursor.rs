//! Where the next page begins, as text that users send back unchanged.
//!
//! A cursor fixes the range, so that `to=now` means the same on every page, and is bound to its query. It is not a secret: whoever
//! forges one gets another page of what they may read anyway.

use event::Minute;
use rapidhash::v3::rapidhash_v3;

use super::error::{EXAMPLE_BODY, QueryError};

/// A position in the pages of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The first minute of the range.
    pub from: Minute,
    /// The first minute after it.
    pub to: Minute,
    /// How many groups, or rows without groups, earlier pages had.
    pub skip: u32,
}

/// Three numbers of 8 hexadecimal digits and a checksum of 16.
const LENGTH: usize = 40;

impl Cursor {
    /// The text, bound to the query of this fingerprint.
    pub(super) fn encode(self, fingerprint: u64) -> String {
        let Self { from, to, skip } = self;
        format!("{:08x}{:08x}{skip:08x}{:016x}", from.0, to.0, self.check(fingerprint))
    }

    /// Reads a cursor of the query of this fingerprint.
    pub(super) fn decode(text: &str, fingerprint: u64) -> Result<Self, QueryError> {
        let number = |at: usize| text.get(at..at + 8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let cursor = match (number(0), number(8), number(16)) {
            (Some(from), Some(to), Some(skip)) if text.len() == LENGTH && from < to => {
                Self { from: Minute(from), to: Minute(to), skip }
            }
            _ => return Err(refusal("it is not a cursor")),
        };
        // Compared as text, so that a number has one spelling only.
        if cursor.encode(fingerprint) == text {
            Ok(cursor)
        } else {
            Err(refusal("it belongs to another query or was changed"))
        }
    }

    fn check(self, fingerprint: u64) -> u64 {
        // The fingerprint is not in the text: it comes from the query that is sent along.
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&fingerprint.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.from.0.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.to.0.to_le_bytes());
        bytes[16..].copy_from_slice(&self.skip.to_le_bytes());
        rapidhash_v3(&bytes)
    }
}

fn refusal(problem: &str) -> QueryError {
    QueryError::malformed(
        "cursor",
        problem,
        "the next_cursor of the reply to the same query, unchanged; without it, the first page",
        EXAMPLE_BODY,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: Cursor = Cursor { from: Minute(29_000_000), to: Minute(29_001_440), skip: 10 };

    #[test]
    fn cursor_survives_a_round_trip() {
        assert_eq!(Cursor::decode(&CURSOR.encode(7), 7), Ok(CURSOR));
    }

    #[test]
    fn changed_cursor_and_cursor_of_another_query_are_refused() {
        let text = CURSOR.encode(7);
        assert!(Cursor::decode(&text, 8).is_err());
        for position in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = if changed[position] == b'0' { b'1' } else { b'0' };
            assert!(Cursor::decode(&String::from_utf8(changed).unwrap(), 7).is_err(), "{position}");
        }
        for text in ["", "abc", &text[1..], &format!("{text}0"), &text.to_uppercase(), &"\u{e4}".repeat(20)] {
            assert!(Cursor::decode(text, 7).is_err(), "{text}");
        }
    }
}
