//! The records of an invocation, by shard, from the payload of a Kinesis or Kafka trigger.
//!
//! A Kafka partition is a shard whose sequence numbers are offsets. The content of records is not decoded here: a record whose data
//! is not Base64 is passed on as the trigger's JSON, so that it ends in quarantine instead of failing the batch for ever.

use std::collections::BTreeMap;
use std::ops::Range;

use event::decode::{kafka, kinesis};
use event::invariant::or_broken;
use event::{SequenceNumber, ShardId, Timestamp, Unreadable};
use pipeline::ledger::aggregate::Record;

/// The records of one invocation.
#[derive(Debug, Default)]
pub struct BatchRecords {
    /// The data of all records, one after the other.
    bytes: Vec<u8>,
    by_shard: BTreeMap<ShardId, Vec<RecordRange>>,
}

/// A record whose data is a range of [`BatchRecords::bytes`].
#[derive(Debug)]
struct RecordRange {
    sequence: SequenceNumber,
    arrived_at: Timestamp,
    data: Range<usize>,
}

/// An invocation that no trigger of this function makes. Retrying it cannot help, but only an error makes Lambda keep it for inspection.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBatch {
    /// The payload has no records.
    #[error("the invocation is not a batch of Kinesis or Kafka records: {0}")]
    NotABatch(Unreadable),
    /// A record without its position cannot be deduplicated, so nothing of the batch is counted.
    #[error("a record of the batch has no shard and sequence number, or no partition and offset")]
    NoPosition,
}

impl BatchRecords {
    /// Reads the payload of an invocation. `now` is the arrival time of records that state none.
    pub fn read(payload: &str, now: Timestamp) -> Result<Self, InvalidBatch> {
        let mut records = Self::default();
        let mut buffer = Vec::new();
        // The callbacks cannot return an error, so the first one is kept here.
        let mut outcome = Ok(());
        let kinesis = kinesis::records(payload.as_bytes(), &mut buffer, &mut |record| {
            let position =
                (ShardId::new(record.shard).ok(), SequenceNumber::parse(record.sequence_number).ok());
            let arrived_at = record.arrived_at.unwrap_or(now);
            let added = records.add(position, arrived_at, record.data.unwrap_or(record.json));
            outcome = std::mem::replace(&mut outcome, Ok(())).and(added);
        });
        if kinesis.is_err() {
            let kafka = kafka::records(payload.as_bytes(), &mut buffer, &mut |record| {
                let position =
                    (ShardId::new(record.topic_partition).ok(), record.offset.map(SequenceNumber::from));
                let arrived_at = record.arrived_at.unwrap_or(now);
                let added = records.add(position, arrived_at, record.value.unwrap_or(record.json));
                outcome = std::mem::replace(&mut outcome, Ok(())).and(added);
            });
            kafka.map_err(InvalidBatch::NotABatch)?;
        }
        outcome.map(|()| records)
    }

    fn add(
        &mut self,
        (shard, sequence): (Option<ShardId>, Option<SequenceNumber>),
        arrived_at: Timestamp,
        data: &[u8],
    ) -> Result<(), InvalidBatch> {
        let (Some(shard), Some(sequence)) = (shard, sequence) else {
            return Err(InvalidBatch::NoPosition);
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        let record = RecordRange { sequence, arrived_at, data: start..self.bytes.len() };
        self.by_shard.entry(shard).or_default().push(record);
        Ok(())
    }

    /// The shards, each with its records in the order of the payload.
    pub fn shards(&self) -> impl Iterator<Item = (&ShardId, Vec<Record<'_>>)> {
        self.by_shard.iter().map(|(shard, records)| {
            let records = records.iter().map(|record| Record {
                sequence: record.sequence.clone(),
                arrived_at: record.arrived_at,
                data: or_broken(self.bytes.get(record.data.clone()), &[], "a record lies outside its batch"),
            });
            (shard, records.collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);

    #[expect(clippy::disallowed_methods, reason = "the samples are files")]
    fn sample(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn kinesis_and_kafka_batches_are_grouped_by_shard() {
        for (name, shards) in [("kinesis-lambda.json", 1), ("kafka-lambda.json", 1)] {
            let records = BatchRecords::read(&sample(name), NOW).unwrap();
            assert!(records.shards().count() >= shards, "{name}");
            for (shard, records) in records.shards() {
                assert!(!shard.to_string().is_empty() && !records.is_empty(), "{name}");
                assert!(records.is_sorted_by(|a, b| a.sequence < b.sequence), "{name}");
            }
        }
    }

    #[test]
    fn records_of_two_shards_are_kept_apart() {
        let record = |shard: u32, number: u32, data: &str| {
            format!(
                r#"{{"eventID":"shardId-{shard}:{number}","kinesis":{{"sequenceNumber":"{number}","data":"{data}"}}}}"#
            )
        };
        // "a", "b" and "c" in Base64.
        let payload = format!(
            r#"{{"Records":[{},{},{}]}}"#,
            record(0, 5, "YQ=="),
            record(1, 5, "Yg=="),
            record(0, 6, "Yw==")
        );
        let records = BatchRecords::read(&payload, NOW).unwrap();
        let found: Vec<Vec<&[u8]>> =
            records.shards().map(|(_, records)| records.iter().map(|record| record.data).collect()).collect();
        assert_eq!(found, [vec![&b"a"[..], b"c"], vec![b"b"]]);
    }

    #[test]
    fn invocation_that_is_not_a_batch_is_refused() {
        for payload in ["{}", "null", "[]", r#"{"Records":7}"#] {
            assert!(matches!(BatchRecords::read(payload, NOW), Err(InvalidBatch::NotABatch(_))), "{payload}");
        }
        let without_position = r#"{"Records":[{"kinesis":{"data":"e30="}}]}"#;
        assert!(matches!(BatchRecords::read(without_position, NOW), Err(InvalidBatch::NoPosition)));
    }

    #[test]
    fn record_that_is_not_base64_is_passed_on_as_json() {
        let payload =
            r#"{"Records":[{"eventID":"shardId-0:5","kinesis":{"sequenceNumber":"5","data":"?"}}]}"#;
        let records = BatchRecords::read(payload, NOW).unwrap();
        let (_, records) = records.shards().next().unwrap();
        assert!(records[0].data.starts_with(br#"{"eventID""#));
        assert_eq!(records[0].arrived_at, NOW);
    }
}
