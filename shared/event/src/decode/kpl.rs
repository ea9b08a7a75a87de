//! Splits a record that the Kinesis Producer Library aggregated: a magic number, a protobuf message, the MD5 of the message.
//!
//! Records are returned one by one, borrowed from the message: a table of them would let a small hostile record fill the memory.
//! Format: <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>

use md5::{Digest as _, Md5};

const MAGIC: &[u8] = &[0xf3, 0x89, 0x9a, 0xc2];
/// `AggregatedRecord.records` and `Record.data`: both are field 3, length-delimited.
const FIELD: u64 = 3 << 3 | 2;

/// The records inside `bytes`; `None` if `bytes` are not in this format and therefore a plain record.
pub(super) fn records(bytes: &[u8]) -> Option<AggregatedRecords<'_>> {
    // The magic number alone may begin any record; only the digest proves the format.
    let (message, digest) = bytes.strip_prefix(MAGIC)?.split_last_chunk::<16>()?;
    (Md5::digest(message).as_slice() == digest).then_some(AggregatedRecords { rest: message })
}

/// Iterates over the records of a message. Ends after the first error.
pub(super) struct AggregatedRecords<'a> {
    rest: &'a [u8],
}

/// A message that is not protobuf although its MD5 is right.
#[derive(Debug, PartialEq)]
pub(super) struct NotProtobuf;

impl<'a> Iterator for AggregatedRecords<'a> {
    type Item = Result<&'a [u8], NotProtobuf>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match next_field(&mut self.rest) {
            Ok(record) => record?,
            Err(not_protobuf) => {
                // Lengths chain the fields, so nothing after a broken one can be found.
                self.rest = &[];
                return Some(Err(not_protobuf));
            }
        };
        let mut fields = record;
        // A record without data is an empty record, as protobuf leaves out empty fields.
        Some(next_field(&mut fields).map(|data| data.unwrap_or(&[])))
    }
}

/// Reads up to the next field tagged [`FIELD`] and returns its value; `None` at the end of the message.
fn next_field<'a>(message: &mut &'a [u8]) -> Result<Option<&'a [u8]>, NotProtobuf> {
    while !message.is_empty() {
        let tag = varint(message)?;
        // The wire type: varint, 64 bits, length-delimited, 32 bits. Groups (3 and 4) are obsolete and never written.
        let length = match tag & 7 {
            0 => {
                varint(message)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(message)?).map_err(|_| NotProtobuf)?,
            5 => 4,
            _ => return Err(NotProtobuf),
        };
        let (value, rest) = message.split_at_checked(length).ok_or(NotProtobuf)?;
        *message = rest;
        if tag == FIELD {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn varint(message: &mut &[u8]) -> Result<u64, NotProtobuf> {
    let mut value = 0;
    // At most ten bytes, so that a hostile message ends.
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first().ok_or(NotProtobuf)?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(NotProtobuf)
}
