//! Splits a Lambda event of Kafka (MSK or self-managed) into records, with the position of each in its partition.
//!
//! The counterpart of `kinesis`, for the aggregate step. The content of a record is not interpreted here.
//!
//! Shape: <https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html>

use super::base64;
use crate::json::{RawText, ScanError, Scanner};
use crate::outcome::Unreadable;
use crate::units::Timestamp;

/// One record of a batch.
#[derive(Debug)]
pub struct KafkaRecord<'r> {
    /// Topic and partition, spelled as in the batch: `mail-events-0`.
    pub topic_partition: &'r str,
    /// The offset in the partition, where given.
    pub offset: Option<u64>,
    /// When the record was created or appended, whichever the topic records; where given.
    pub arrived_at: Option<Timestamp>,
    /// The decoded content, or why it cannot be decoded. A bad record does not affect the others. A record without a value (a
    /// tombstone) is empty.
    pub value: Result<&'r [u8], Unreadable>,
    /// The JSON text of the record in the batch, for quarantine.
    pub json: &'r [u8],
}

/// Passes each record of `payload` to `on_record`, partition by partition. `buffer` holds the value of one record at a time;
/// reusing it between calls saves allocations.
///
/// # Errors
/// [`Unreadable`] if the payload is not such an event. The records before the error were passed on.
pub fn records(
    payload: &[u8],
    buffer: &mut Vec<u8>,
    on_record: &mut dyn FnMut(KafkaRecord<'_>),
) -> Result<(), Unreadable> {
    let text = super::checked_text(payload)?;
    let mut scanner = Scanner::new(text);
    let mut has_records = false;
    let read = scanner.object(|scanner, key| {
        if key != "records" || scanner.peek() != Some(b'{') {
            return scanner.skip();
        }
        has_records = true;
        scanner.object(|scanner, topic_partition| {
            if scanner.peek() != Some(b'[') {
                return scanner.skip();
            }
            // A partition that is not a list has no records that could be lost.
            scanner.array(|scanner| {
                // Move past white space, so that the record's text begins with the record.
                scanner.peek();
                let start = scanner.at();
                let fields = KafkaFields::read(scanner)?;
                on_record(fields.record(topic_partition, buffer, scanner.bytes_since(start)));
                Ok(())
            })
        })
    });
    match read {
        Err(error) => Err(Unreadable::json(error, scanner.at())),
        Ok(()) if !has_records => Err(Unreadable::MissingField("records")),
        Ok(()) => Ok(()),
    }
}

#[derive(Default)]
struct KafkaFields<'a> {
    offset: Option<u64>,
    timestamp: Option<i64>,
    value: Option<RawText<'a>>,
}

impl<'a> KafkaFields<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, ScanError> {
        let mut fields = Self::default();
        if scanner.peek() != Some(b'{') {
            scanner.skip()?;
            return Ok(fields);
        }
        scanner.object(|scanner, key| {
            match (key, scanner.peek()) {
                // A number that cannot be parsed counts as absent; the caller decides what to do without it.
                ("offset", _) => fields.offset = scanner.raw_value()?.parse().ok(),
                ("timestamp", _) => fields.timestamp = scanner.raw_value()?.parse().ok(),
                ("value", Some(b'"')) => fields.value = Some(scanner.base64_string()?),
                _ => scanner.skip()?,
            }
            Ok::<(), ScanError>(())
        })?;
        Ok(fields)
    }

    fn record<'r>(
        &self,
        topic_partition: &'r str,
        buffer: &'r mut Vec<u8>,
        json: &'r [u8],
    ) -> KafkaRecord<'r> {
        let value = self.value.map_or(Ok(&[][..]), |value| base64::decode(value, buffer));
        let arrived_at = self.timestamp.map(Timestamp::from_millis);
        KafkaRecord { topic_partition, offset: self.offset, arrived_at, value, json }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &str) -> (Vec<String>, Result<(), Unreadable>) {
        let mut seen = Vec::new();
        let end = records(payload.as_bytes(), &mut Vec::new(), &mut |record| {
            let value = record.value.map(|value| String::from_utf8_lossy(value).into_owned());
            let arrived_at = record.arrived_at.map_or(0, Timestamp::millis);
            seen.push(format!("{} {:?} {arrived_at} {value:?}", record.topic_partition, record.offset));
        });
        (seen, end)
    }

    #[test]
    fn record_has_its_partition_and_offset() {
        let payload = r#"{"eventSource":"SelfManagedKafka","records":{"mail-0":[{"offset":15,"timestamp":1545084650987,"value":"aGVsbG8=","headers":[]}],
            "mail-1":[{"offset":7,"value":null},{"offset":8,"value":"!"},{"offset":-1,"value":"aGVsbG8"}]}}"#;
        let expected = [
            "mail-0 Some(15) 1545084650987 Ok(\"hello\")",
            "mail-1 Some(7) 0 Ok(\"\")",
            "mail-1 Some(8) 0 Err(Broken(Base64))",
            "mail-1 None 0 Ok(\"hello\")",
        ];
        assert_eq!(read(payload), (expected.map(str::to_owned).to_vec(), Ok(())));
    }

    #[test]
    fn payload_that_is_not_a_batch_is_refused() {
        assert_eq!(read("{\"records\":[]}").1, Err(Unreadable::MissingField("records")));
        assert_eq!(read("[]").1, Err(Unreadable::InvalidJson { at: 0 }));
        assert_eq!(read("{\"records\":{\"t-0\":5}}"), (Vec::new(), Ok(())));
    }
}
