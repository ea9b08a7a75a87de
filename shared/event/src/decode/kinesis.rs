//! The records of a Lambda event from a Kinesis stream, with where each stands in its shard.
//!
//! For the aggregate step, which must know sequence numbers; whoever wants only the events gives the whole payload to
//! [`Decoder::decode`](super::Decoder::decode). What a record holds is not looked at here.
//! Shape: <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html>

use std::borrow::Cow;

use super::base64;
use super::outcome::Unreadable;
use crate::json::{Fault, RawText, Scanner};
use crate::units::Timestamp;

/// One record of a batch.
#[derive(Debug)]
pub struct KinesisRecord<'r> {
    /// The shard, from the event id: `shardId-000000000006`; empty if it is not given.
    pub shard: &'r str,
    /// The sequence number, decimal; empty if it is not given.
    pub sequence_number: &'r str,
    /// The partition key, as the producer chose it.
    pub partition_key: &'r str,
    /// When the stream took it, where given.
    pub arrived_at: Option<Timestamp>,
    /// What it holds; one record that does not decode costs no other.
    pub data: Result<&'r [u8], Unreadable>,
    /// The record as it stands in the batch, for quarantine.
    pub json: &'r [u8],
}

/// Gives each record of `payload` to `each`, in the order of the batch; `buffer` is for their data, used again and again.
///
/// # Errors
/// [`Unreadable`] if the payload is no such event. Records before the place where it breaks have been given.
pub fn records(
    payload: &[u8],
    buffer: &mut Vec<u8>,
    each: &mut dyn FnMut(KinesisRecord<'_>),
) -> Result<(), Unreadable> {
    let text = super::text_of(payload)?;
    let mut scanner = Scanner::new(text);
    let mut had_records = false;
    let read = scanner.object(|scanner, key| {
        if key != "Records" || scanner.peek() != Some(b'[') {
            return scanner.skip();
        }
        had_records = true;
        scanner.array(|scanner| {
            scanner.peek();
            let start = scanner.at();
            let fields = Fields::read(scanner)?;
            let json = text.as_bytes().get(start..scanner.at()).unwrap_or_default();
            each(fields.record(buffer, json));
            Ok(())
        })
    });
    match read {
        Err(fault) => Err(Unreadable::json(fault, scanner.at())),
        Ok(()) if !had_records => Err(Unreadable::MissingField("Records")),
        Ok(()) => Ok(()),
    }
}

#[derive(Default)]
struct Fields<'a> {
    event_id: Cow<'a, str>,
    sequence_number: Cow<'a, str>,
    partition_key: Cow<'a, str>,
    arrived_at: Option<Timestamp>,
    data: Option<RawText<'a>>,
}

impl<'a> Fields<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, Fault> {
        let mut fields = Self::default();
        if scanner.peek() != Some(b'{') {
            scanner.skip()?;
            return Ok(fields);
        }
        scanner.object(|scanner, key| fields.field(scanner, key))?;
        Ok(fields)
    }

    fn field(&mut self, scanner: &mut Scanner<'a>, key: &str) -> Result<(), Fault> {
        match (key, scanner.peek()) {
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
        let (shard, number) = self.event_id.split_once(':').unwrap_or_default();
        let sequence_number = if self.sequence_number.is_empty() { number } else { &self.sequence_number };
        let partition_key = &self.partition_key;
        KinesisRecord { shard, sequence_number, partition_key, arrived_at: self.arrived_at, data, json }
    }
}

/// Seconds with a fraction, as Lambda gives them.
fn from_seconds(number: &str) -> Option<Timestamp> {
    let millis = number.parse::<f64>().ok()? * 1000.0;
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range ends at its ends")]
    Some(Timestamp::from_millis(millis.round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each record in short, and how the batch ended.
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
    fn a_record_says_where_it_stands() {
        let payload = r#"{"Records":[{"kinesis":{"partitionKey":"k","sequenceNumber":"49590338271490256608559692538361571095921575989136588898","data":"aGVsbG8=","approximateArrivalTimestamp":1545084650.987},"eventID":"shardId-000000000006:495"}]}"#;
        let expected = "shardId-000000000006 49590338271490256608559692538361571095921575989136588898 k 1545084650987 Ok(\"hello\")";
        assert_eq!(read(payload), (vec![expected.to_owned()], Ok(())));
    }

    #[test]
    fn a_bad_record_keeps_its_number_and_costs_no_other() {
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
    fn what_is_no_batch_is_refused() {
        assert_eq!(read("{}").1, Err(Unreadable::MissingField("Records")));
        assert_eq!(read("{\"Records\":{}}").1, Err(Unreadable::MissingField("Records")));
        let (seen, end) = read(r#"{"Records":[{"eventID":"s:1"},{"ev"#);
        assert_eq!((seen.len(), end), (1, Err(Unreadable::CutOff { at: 34 })));
    }
}
