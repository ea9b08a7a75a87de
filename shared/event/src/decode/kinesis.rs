//! Splits a Lambda event of a Kinesis stream into records, with the position of each in its shard.
//!
//! The aggregate step needs this, because it must know sequence numbers; callers that only want the events pass the whole payload
//! to [`Decoder::decode`](super::Decoder::decode). The content of a record is not interpreted here.
//!
//! Shape: <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html>

use std::borrow::Cow;

use super::base64;
use crate::json::{RawText, ScanError, Scanner};
use crate::outcome::Unreadable;
use crate::units::Timestamp;

/// One record of a batch.
#[derive(Debug)]
pub struct KinesisRecord<'r> {
    /// The shard, taken from the event id: `shardId-000000000006`. Empty if the record has no event id.
    pub shard: &'r str,
    /// The sequence number in decimal. Empty if the record has none.
    pub sequence_number: &'r str,
    /// The partition key that the producer chose.
    pub partition_key: &'r str,
    /// When the stream received the record, where given.
    pub arrived_at: Option<Timestamp>,
    /// The decoded content, or why it cannot be decoded. A bad record does not affect the others.
    pub data: Result<&'r [u8], Unreadable>,
    /// The JSON text of the record in the batch, for quarantine.
    pub json: &'r [u8],
}

/// Passes each record of `payload` to `on_record`, in the order of the batch. `buffer` holds the data of one record at a time;
/// reusing it between calls saves allocations.
///
/// # Errors
/// [`Unreadable`] if the payload is not such an event. The records before the error were passed on.
pub fn records(
    payload: &[u8],
    buffer: &mut Vec<u8>,
    on_record: &mut dyn FnMut(KinesisRecord<'_>),
) -> Result<(), Unreadable> {
    let text = super::checked_text(payload)?;
    let mut scanner = Scanner::new(text);
    let mut has_records = false;
    let read = scanner.object(|scanner, key| {
        if key != "Records" || scanner.peek() != Some(b'[') {
            return scanner.skip();
        }
        has_records = true;
        scanner.array(|scanner| {
            // Move past white space, so that the record's text begins with the record.
            scanner.peek();
            let start = scanner.at();
            let fields = KinesisFields::read(scanner)?;
            on_record(fields.record(buffer, scanner.bytes_since(start)));
            Ok(())
        })
    });
    match read {
        Err(error) => Err(Unreadable::json(error, scanner.at())),
        Ok(()) if !has_records => Err(Unreadable::MissingField("Records")),
        Ok(()) => Ok(()),
    }
}

#[derive(Default)]
struct KinesisFields<'a> {
    event_id: Cow<'a, str>,
    sequence_number: Cow<'a, str>,
    partition_key: Cow<'a, str>,
    arrived_at: Option<Timestamp>,
    data: Option<RawText<'a>>,
}

impl<'a> KinesisFields<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let mut fields = Self::default();
        if scanner.peek() != Some(b'{') {
            scanner.skip()?;
            return Ok(fields);
        }
        scanner.object(|scanner, key| fields.field(scanner, key))?;
        Ok(fields)
    }

    fn field(&mut self, scanner: &mut Scanner<'a>, key: &str) -> Result<(), ScanError> {
        match (key, scanner.peek()) {
            // Its fields have names of their own, so both levels are read by one match.
            ("kinesis", Some(b'{')) => return scanner.object(|scanner, key| self.field(scanner, key)),
            ("eventID", Some(b'"')) => self.event_id = scanner.string()?,
            ("sequenceNumber", Some(b'"')) => self.sequence_number = scanner.string()?,
            ("partitionKey", Some(b'"')) => self.partition_key = scanner.string()?,
            ("approximateArrivalTimestamp", _) => self.arrived_at = from_seconds(scanner.raw_value()?),
            ("data", Some(b'"')) => self.data = Some(scanner.base64_string()?),
            _ => scanner.skip()?,
        }
        Ok(())
    }

    fn record<'r>(&'r self, buffer: &'r mut Vec<u8>, json: &'r [u8]) -> KinesisRecord<'r> {
        let data = match self.data {
            Some(data) => base64::decode(data, buffer),
            None => Err(Unreadable::MissingField("kinesis.data")),
        };
        // `shardId-000000000006:49590338…`: the shard is given nowhere else. What a record without a position means is
        // for the caller to decide: its data can be read all the same.
        let (shard, number) = self.event_id.split_once(':').unwrap_or(("", ""));
        let sequence_number = if self.sequence_number.is_empty() { number } else { &self.sequence_number };
        let partition_key = &self.partition_key;
        KinesisRecord { shard, sequence_number, partition_key, arrived_at: self.arrived_at, data, json }
    }
}

/// Lambda writes times as seconds with a fraction.
fn from_seconds(number: &str) -> Option<Timestamp> {
    let millis = number.parse::<f64>().ok()? * 1000.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, and a time that far off is not used for anything"
    )]
    Some(Timestamp::from_millis(millis.round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each record on one line, and how the batch ended.
    fn read(payload: &str) -> (Vec<String>, Result<(), Unreadable>) {
        let mut seen = Vec::new();
        let end = records(payload.as_bytes(), &mut Vec::new(), &mut |record| {
            assert!(payload.contains(std::str::from_utf8(record.json).unwrap()));
            let data = record.data.map(|data| String::from_utf8_lossy(data).into_owned());
            let arrived_at = record.arrived_at.map_or(0, Timestamp::millis);
            seen.push(format!(
                "{} {} {} {arrived_at} {data:?}",
                record.shard, record.sequence_number, record.partition_key,
            ));
        });
        (seen, end)
    }

    #[test]
    fn record_has_its_shard_and_sequence_number() {
        let payload = r#"{"Records":[{"kinesis":{"partitionKey":"k","sequenceNumber":"49590338271490256608559692538361571095921575989136588898","data":"aGVsbG8=","approximateArrivalTimestamp":1545084650.987},"eventID":"shardId-000000000006:495"}]}"#;
        let expected = "shardId-000000000006 49590338271490256608559692538361571095921575989136588898 k 1545084650987 Ok(\"hello\")";
        assert_eq!(read(payload), (vec![expected.to_owned()], Ok(())));
    }

    #[test]
    fn bad_record_keeps_its_sequence_number_and_does_not_affect_others() {
        let payload = r#"{"x":[],"Records":[{"eventID":"s:1","kinesis":{"data":"!"}},{"eventID":"s:2","kinesis":null},7,{"kinesis":{"data":""},"eventID":"s:4"}]}"#;
        let (seen, end) = read(payload);
        assert_eq!(end, Ok(()));
        assert_eq!(
            seen,
            [
                "s 1  0 Err(Broken(Base64))",
                "s 2  0 Err(MissingField(\"kinesis.data\"))",
                "   0 Err(MissingField(\"kinesis.data\"))",
                "s 4  0 Ok(\"\")",
            ]
        );
    }

    #[test]
    fn payload_that_is_not_a_batch_is_refused() {
        assert_eq!(read("{}").1, Err(Unreadable::MissingField("Records")));
        assert_eq!(read("{\"Records\":{}}").1, Err(Unreadable::MissingField("Records")));
        let (seen, end) = read(r#"{"Records":[{"eventID":"s:1"},{"ev"#);
        assert_eq!((seen.len(), end), (1, Err(Unreadable::CutOff { at: 34 })));
    }
}
