//! The records of a Lambda event from Kafka, of MSK or self-managed, with where each stands in its partition.
//!
//! The same as `kinesis` for the other log. What a record holds is not looked at here.
//! Shape: <https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html>

use super::base64;
use super::outcome::Unreadable;
use crate::json::{Fault, RawText, Scanner};
use crate::units::Timestamp;

/// One record of a batch.
#[derive(Debug)]
pub struct KafkaRecord<'r> {
    /// Topic and partition, as the batch's key has them: `mail-events-0`.
    pub topic_partition: &'r str,
    /// The offset in the partition, where given.
    pub offset: Option<u64>,
    /// When it was made or appended, where given.
    pub arrived_at: Option<Timestamp>,
    /// What it holds; one record that does not decode costs no other. A record without a value (a tombstone) is empty.
    pub value: Result<&'r [u8], Unreadable>,
    /// The record as it stands in the batch, for quarantine.
    pub json: &'r [u8],
}

/// Gives each record of `payload` to `each`, partition by partition; `buffer` is for their values, used again and again.
///
/// # Errors
/// [`Unreadable`] if the payload is no such event. Records before the place where it breaks have been given.
pub fn records(
    payload: &[u8],
    buffer: &mut Vec<u8>,
    each: &mut dyn FnMut(KafkaRecord<'_>),
) -> Result<(), Unreadable> {
    let text = super::text_of(payload)?;
    let mut scanner = Scanner::new(text);
    let mut had_records = false;
    let read = scanner.object(|scanner, key| {
        if key != "records" || scanner.peek() != Some(b'{') {
            return scanner.skip();
        }
        had_records = true;
        scanner.object(|scanner, topic_partition| {
            if scanner.peek() != Some(b'[') {
                return scanner.skip();
            }
            scanner.array(|scanner| {
                scanner.peek();
                let start = scanner.at();
                let fields = Fields::read(scanner)?;
                let json = text.as_bytes().get(start..scanner.at()).unwrap_or_default();
                each(fields.record(topic_partition, buffer, json));
                Ok(())
            })
        })
    });
    match read {
        Err(fault) => Err(Unreadable::json(fault, scanner.at())),
        Ok(()) if !had_records => Err(Unreadable::MissingField("records")),
        Ok(()) => Ok(()),
    }
}

#[derive(Default)]
struct Fields<'a> {
    offset: Option<u64>,
    timestamp: Option<i64>,
    value: Option<RawText<'a>>,
}

impl<'a> Fields<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, Fault> {
        let mut fields = Self::default();
        if scanner.peek() != Some(b'{') {
            scanner.skip()?;
            return Ok(fields);
        }
        scanner.object(|scanner, key| {
            match (key, scanner.peek()) {
                ("offset", _) => fields.offset = scanner.raw_value()?.parse().ok(),
                ("timestamp", _) => fields.timestamp = scanner.raw_value()?.parse().ok(),
                ("value", Some(b'"')) => fields.value = Some(scanner.base64_string()?),
                _ => scanner.skip()?,
            }
            Ok::<(), Fault>(())
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
    fn a_record_says_where_it_stands() {
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
    fn what_is_no_batch_is_refused() {
        assert_eq!(read("{\"records\":[]}").1, Err(Unreadable::MissingField("records")));
        assert_eq!(read("[]").1, Err(Unreadable::InvalidJson { at: 0 }));
        assert_eq!(read("{\"records\":{\"t-0\":5}}"), (Vec::new(), Ok(())));
    }
}
