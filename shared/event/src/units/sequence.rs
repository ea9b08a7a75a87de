//! The position of a record in its shard.
//!
//! Kept as text, because Kinesis's numbers are longer than any machine integer; compared by value, never as text.

use std::cmp::Ordering;
use std::fmt;

use compact_str::CompactString;

use super::excerpt;

/// Where a record stands in its shard: a decimal number of up to 129 digits, as Kinesis assigns them. A Kafka
/// offset or a local counter is one too.
///
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html>
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SequenceNumber(CompactString);

impl SequenceNumber {
    /// The longest number, in digits.
    pub const MAX_DIGITS: usize = 129;

    /// Parses a decimal number. Leading zeros are dropped, so that equal numbers are equal texts.
    ///
    /// # Errors
    /// [`InvalidSequenceNumber`] if it is not 1 to 129 decimal digits.
    pub fn parse(text: &str) -> Result<Self, InvalidSequenceNumber> {
        if text.is_empty() || text.len() > Self::MAX_DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidSequenceNumber { text: excerpt(text) });
        }
        let digits = text.trim_start_matches('0');
        Ok(Self(CompactString::new(if digits.is_empty() { "0" } else { digits })))
    }

    /// The number in decimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A spelling that sorts as text in the order of the numbers: three digits for the length, then the digits.
    pub fn sortable(&self) -> String {
        format!("{:03}{}", self.0.len(), self.0)
    }

    /// Parses what [`SequenceNumber::sortable`] wrote.
    ///
    /// # Errors
    /// [`InvalidSequenceNumber`] if the text is not exactly what `sortable` writes for a number.
    pub fn from_sortable(text: &str) -> Result<Self, InvalidSequenceNumber> {
        let invalid = || InvalidSequenceNumber { text: excerpt(text) };
        let number = Self::parse(text.get(3..).ok_or_else(invalid)?)?;
        // Other texts can hold the same number (leading zeros, a wrong length) but do not sort in its place.
        if number.sortable() == text { Ok(number) } else { Err(invalid()) }
    }
}

impl From<u64> for SequenceNumber {
    fn from(number: u64) -> Self {
        Self(compact_str::format_compact!("{number}"))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without leading zeros the longer number is the larger one, and equally long ones compare as text.
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not a sequence number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sequence number {text:?} is not 1 to 129 decimal digits")]
pub struct InvalidSequenceNumber {
    /// The first 40 characters of the text.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_sort_by_value() {
        let short = SequenceNumber::parse("99").unwrap();
        let long = SequenceNumber::parse("49590338271490256608559692538361571095921575989136588898").unwrap();
        assert!(short < long);
        assert!(short.sortable() < long.sortable());
        assert_eq!(SequenceNumber::parse("007").unwrap(), SequenceNumber::from(7));
        assert_eq!(SequenceNumber::from_sortable(&long.sortable()).unwrap(), long);
    }

    #[test]
    fn value_order_and_text_order_of_the_sortable_spelling_agree() {
        let longest = "9".repeat(SequenceNumber::MAX_DIGITS);
        let ascending = ["0", "1", "9", "10", "99", "100", "18446744073709551616", &longest];
        for pair in ascending.windows(2) {
            let [low, high] = [pair[0], pair[1]].map(|text| SequenceNumber::parse(text).unwrap());
            assert!(low < high, "{low} {high}");
            assert!(low.sortable() < high.sortable(), "{low} {high}");
        }
        assert_eq!(SequenceNumber::parse("000").unwrap().as_str(), "0");
        assert_eq!(SequenceNumber::from(u64::MAX).to_string(), "18446744073709551615");
    }

    #[test]
    fn text_that_is_not_a_number_is_refused() {
        for text in ["", "12a", "-1", &"9".repeat(130)] {
            assert!(SequenceNumber::parse(text).is_err(), "{text}");
        }
        for text in ["", "00312", "003x12", "0031", "00é1"] {
            assert!(SequenceNumber::from_sortable(text).is_err(), "{text}");
        }
        let error = SequenceNumber::from_sortable("002123").unwrap_err();
        assert_eq!(error.to_string(), "sequence number \"002123\" is not 1 to 129 decimal digits");
    }
}
