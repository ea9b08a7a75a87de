//! The bytes of small stored records: cursors, receipts, manifests.
//!
//! Varints and length-prefixed text behind one format number; an own forty lines because the records are few and the key types
//! check themselves on the way in. A reader never allocates more than the bytes in front of it can hold.

use event::{SequenceNumber, ShardId, TenantId, Timestamp};

/// The format of all records here; all others are refused. 1 was never released: its manifests knew no parts of sketches.
const FORMAT: u8 = 2;

/// A stored record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Written by a newer program.
    #[error("record format {0} is newer than this program's {FORMAT}: upgrade mailgauge")]
    Newer(u8),
    /// Cut short or not written by this program.
    #[error("record is damaged: {0}")]
    Damaged(&'static str),
}

pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(vec![FORMAT])
    }

    pub(crate) fn number(&mut self, mut number: u64) -> &mut Self {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
        self
    }

    pub(crate) fn size(&mut self, size: usize) -> &mut Self {
        self.number(size as u64)
    }

    pub(crate) fn fixed(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.size(bytes.len());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn time(&mut self, time: Timestamp) -> &mut Self {
        let millis = time.millis();
        // Zigzag: moments before 1970 stay short too.
        self.number(((millis << 1) ^ (millis >> 63)).cast_unsigned())
    }

    /// A value that may be missing.
    pub(crate) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => Ok(Self(rest)),
            Some((&format, _)) if format > FORMAT => Err(Malformed::Newer(format)),
            _ => Err(Malformed::Damaged("no format number of any release")),
        }
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed::Damaged("number too long"))
    }

    /// How many entries follow, each of at least one byte: more than the rest could hold is damage.
    pub(crate) fn size(&mut self) -> Result<usize, Malformed> {
        let size = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if size > self.0.len() { Err(Malformed::Damaged("length beyond the end")) } else { Ok(size) }
    }

    /// A number that counts nothing that follows.
    pub(crate) fn place(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| Malformed::Damaged("number too large"))
    }

    pub(crate) fn fixed(&mut self) -> Result<u64, Malformed> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Malformed::Damaged("cut short"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let size = self.size()?;
        let (bytes, rest) = self.0.split_at_checked(size).ok_or(Malformed::Damaged("cut short"))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Damaged("text is not UTF-8"))
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, Malformed> {
        let number = self.number()?;
        Ok(Timestamp::from_millis((number >> 1).cast_signed() ^ -((number & 1).cast_signed())))
    }

    pub(crate) fn sequence(&mut self) -> Result<SequenceNumber, Malformed> {
        SequenceNumber::parse(self.text()?).map_err(|_| Malformed::Damaged("not a sequence number"))
    }

    pub(crate) fn shard(&mut self) -> Result<ShardId, Malformed> {
        ShardId::new(self.text()?).map_err(|_| Malformed::Damaged("not a shard"))
    }

    pub(crate) fn tenant(&mut self) -> Result<TenantId, Malformed> {
        TenantId::new(self.text()?).map_err(|_| Malformed::Damaged("not a tenant"))
    }

    pub(crate) fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Malformed::Damaged("neither there nor missing")),
        }
    }

    /// All must have been read.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Damaged("bytes left over")) }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.0.split_first().ok_or(Malformed::Damaged("cut short"))?;
        self.0 = rest;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_and_every_cut_is_seen(
            numbers in prop::collection::vec(any::<u64>(), 0..8), millis in any::<i64>(), text in "\\PC{0,20}",
        ) {
            let mut writer = Writer::new();
            writer.size(numbers.len());
            for &number in &numbers {
                writer.number(number);
            }
            writer.time(Timestamp::from_millis(millis / 2)).text(&text).fixed(7);
            let bytes = writer.finish();
            let read = |bytes: &[u8]| -> Result<(), Malformed> {
                let mut reader = Reader::new(bytes)?;
                assert_eq!(reader.size()?, numbers.len());
                for number in &numbers {
                    assert_eq!(reader.number()?, *number);
                }
                assert_eq!(reader.time()?.millis(), millis / 2);
                assert_eq!(reader.text()?, text);
                assert_eq!(reader.fixed()?, 7);
                reader.end()
            };
            prop_assert_eq!(read(&bytes), Ok(()));
            for cut in 0..bytes.len() {
                prop_assert!(read(&bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn other_formats_are_refused_and_newer_ones_by_name() {
        assert!(Reader::new(&[FORMAT]).is_ok());
        assert_eq!(Reader::new(&[FORMAT + 1]).err(), Some(Malformed::Newer(FORMAT + 1)));
        assert!(Reader::new(&[FORMAT - 1]).is_err());
        assert!(Reader::new(&[]).is_err());
    }
}
