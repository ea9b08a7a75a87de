//! What a trigger delivers, taken apart: records by shard, each with its place.
//!
//! A Kafka partition is a shard whose sequence numbers are offsets. What a record holds is not looked at here; one whose bytes cannot
//! be told is kept as it stands, so that it ends in quarantine.

use std::collections::BTreeMap;
use std::ops::Range;

use event::decode::{kafka, kinesis};
use event::{SequenceNumber, ShardId, Timestamp, Unreadable};
use pipeline::ledger::aggregate::Record;

/// The records of an invocation.
#[derive(Debug, Default)]
pub struct Delivery {
    bytes: Vec<u8>,
    records: BTreeMap<ShardId, Vec<Placed>>,
}

#[derive(Debug)]
struct Placed {
    sequence: SequenceNumber,
    arrived_at: Timestamp,
    data: Range<usize>,
}

/// An invocation that no trigger of this function makes.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDelivery {
    /// Not a batch at all.
    #[error("the invocation is no batch of Kinesis or Kafka records: {0}")]
    NoBatch(Unreadable),
    /// A record that does not say where it stands.
    #[error("a record of the batch has no shard and sequence number, or no partition and offset")]
    NoPlace,
}

impl Delivery {
    /// Takes an invocation's payload apart. `now` stands for when a record came where it does not say.
    pub fn read(payload: &str, now: Timestamp) -> Result<Self, InvalidDelivery> {
        let mut delivery = Self::default();
        let mut buffer = Vec::new();
        let mut placed = Ok(());
        let of_kinesis = kinesis::records(payload.as_bytes(), &mut buffer, &mut |record| {
            let place = (ShardId::new(record.shard).ok(), SequenceNumber::parse(record.sequence_number).ok());
            let added =
                delivery.add(place, record.arrived_at.unwrap_or(now), record.data.unwrap_or(record.json));
            placed = std::mem::replace(&mut placed, Ok(())).and(added);
        });
        if of_kinesis.is_err() {
            let of_kafka = kafka::records(payload.as_bytes(), &mut buffer, &mut |record| {
                let place =
                    (ShardId::new(record.topic_partition).ok(), record.offset.map(SequenceNumber::from));
                let data = record.value.unwrap_or(record.json);
                let added = delivery.add(place, record.arrived_at.unwrap_or(now), data);
                placed = std::mem::replace(&mut placed, Ok(())).and(added);
            });
            of_kafka.map_err(InvalidDelivery::NoBatch)?;
        }
        placed.map(|()| delivery)
    }

    fn add(
        &mut self,
        (shard, sequence): (Option<ShardId>, Option<SequenceNumber>),
        arrived_at: Timestamp,
        data: &[u8],
    ) -> Result<(), InvalidDelivery> {
        let (Some(shard), Some(sequence)) = (shard, sequence) else { return Err(InvalidDelivery::NoPlace) };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        let placed = Placed { sequence, arrived_at, data: start..self.bytes.len() };
        self.records.entry(shard).or_default().push(placed);
        Ok(())
    }

    /// The shards, each with its records.
    pub fn shards(&self) -> impl Iterator<Item = (&ShardId, Vec<Record<'_>>)> {
        self.records.iter().map(|(shard, records)| {
            let records = records.iter().map(|placed| Record {
                sequence: placed.sequence.clone(),
                arrived_at: placed.arrived_at,
                data: self.bytes.get(placed.data.clone()).unwrap_or_default(),
            });
            (shard, records.collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);

    fn sample(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn batches_of_both_kinds_are_told_apart_by_shard() {
        for (name, shards) in [("kinesis-lambda.json", 1), ("kafka-lambda.json", 1)] {
            let delivery = Delivery::read(&sample(name), NOW).unwrap();
            assert!(delivery.shards().count() >= shards, "{name}");
            for (shard, records) in delivery.shards() {
                assert!(!shard.to_string().is_empty() && !records.is_empty(), "{name}");
                assert!(records.is_sorted_by(|a, b| a.sequence < b.sequence), "{name}");
            }
        }
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for payload in ["{}", "null", "[]", r#"{"Records":7}"#] {
            assert!(matches!(Delivery::read(payload, NOW), Err(InvalidDelivery::NoBatch(_))), "{payload}");
        }
        let homeless = r#"{"Records":[{"kinesis":{"data":"e30="}}]}"#;
        assert!(matches!(Delivery::read(homeless, NOW), Err(InvalidDelivery::NoPlace)));
    }

    #[test]
    fn a_record_that_is_no_base64_is_kept_as_it_stands() {
        let payload =
            r#"{"Records":[{"eventID":"shardId-0:5","kinesis":{"sequenceNumber":"5","data":"?"}}]}"#;
        let delivery = Delivery::read(payload, NOW).unwrap();
        let (_, records) = delivery.shards().next().unwrap();
        assert!(records[0].data.starts_with(br#"{"eventID""#));
        assert_eq!(records[0].arrived_at, NOW);
    }
}
