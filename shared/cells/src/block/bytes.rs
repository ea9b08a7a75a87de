//! Variable-length integers, and a reader of bytes that may hold anything.
//!
//! Never panics and never allocates: the caller compares a count it has read with the bytes that are left before it allocates.

use super::BlockError;
use super::error::malformed;

/// Appends a LEB128 integer: 7 bits per byte, lowest first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the low 7 bits and the continuation bit")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 128")]
    out.push(value as u8);
}

/// Maps small differences of either sign to small integers.
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The difference that [`zigzag`] mapped to this integer.
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// The bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteReader<'a>(pub(crate) &'a [u8]);

const ENDS_EARLY: BlockError = malformed("a section ends early");
const INTEGER_TOO_LARGE: BlockError = malformed("an integer is too large");

impl<'a> ByteReader<'a> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) const fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, BlockError> {
        let (&first, rest) = self.0.split_first().ok_or(ENDS_EARLY)?;
        self.0 = rest;
        Ok(first)
    }

    /// Reads a LEB128 integer. Almost all of them have one byte, so that case is inlined.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, BlockError> {
        match self.0.split_first() {
            Some((&first, rest)) if first < 0x80 => {
                self.0 = rest;
                Ok(u64::from(first))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, BlockError> {
        let mut value = 0_u64;
        // Ten bytes at most: an integer that does not end is an error, not a walk to the end of the section.
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only. Bits that do not fit come back as zeros.
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(INTEGER_TOO_LARGE)
    }

    pub(crate) fn varint32(&mut self) -> Result<u32, BlockError> {
        u32::try_from(self.varint()?).map_err(|_| INTEGER_TOO_LARGE)
    }

    pub(crate) fn take(&mut self, count: u64) -> Result<&'a [u8], BlockError> {
        let count = usize::try_from(count).map_err(|_| ENDS_EARLY)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ENDS_EARLY)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], BlockError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_at_the_edges_of_their_length_round_trip() {
        let cases = [
            (0, 1),
            (1, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            (u64::from(u32::MAX), 5),
            (u64::MAX - 1, 10),
            (u64::MAX, 10),
        ];
        for (value, length) in cases {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes.len(), length, "{value}");
            assert_eq!(ByteReader(&bytes).varint().unwrap(), value);
            assert!(ByteReader(&bytes[..bytes.len() - 1]).varint().is_err(), "{value} cut short");
            assert_eq!(zigzag(unzigzag(value)), value);
        }
        assert!(ByteReader(&[0xff; 10]).varint().is_err());
        assert!(ByteReader(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varint().is_err());
    }

    #[test]
    fn integer_above_32_bits_is_refused_where_32_are_expected() {
        for (value, fits) in [(u64::from(u32::MAX), true), (u64::from(u32::MAX) + 1, false)] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(ByteReader(&bytes).varint32().is_ok(), fits, "{value}");
        }
    }

    #[test]
    fn small_differences_of_either_sign_take_one_byte() {
        for (difference, stored) in [(0, 0), (-1, 1), (1, 2), (-64, 127), (64, 128)] {
            assert_eq!(zigzag(difference), stored);
        }
        assert_eq!(unzigzag(zigzag(i64::MIN)), i64::MIN);
    }

    #[test]
    fn taking_more_than_is_left_fails_and_takes_nothing() {
        let mut reader = ByteReader(b"abc");
        assert!(reader.take(4).is_err());
        assert!(reader.take(u64::MAX).is_err());
        assert!(reader.array::<4>().is_err());
        assert_eq!(reader.take(3).unwrap(), b"abc");
        assert!(reader.is_empty());
        assert_eq!(reader.take(0).unwrap(), b"");
        assert!(reader.byte().is_err());
    }
}
