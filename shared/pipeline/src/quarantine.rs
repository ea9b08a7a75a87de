//! Records that cannot be read: kept sealed for two weeks, with the reason, so that they can be looked at and tried again.
//!
//! What cannot be read may still hold addresses, so it is stored sealed only; this module never sees the clear bytes of
//! a stored record, and never logs them.

use event::{SequenceNumber, ShardId, Timestamp};

use crate::keys;
use crate::ports::Item;
use crate::wire::{Malformed, Reader, Writer};

/// A part of a record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The record it was in.
    pub sequence: SequenceNumber,
    /// When that came.
    pub arrived_at: Timestamp,
    /// What is wrong with it, in words that hold nothing of it.
    pub reason: String,
    /// Its bytes, sealed; empty if it was too large to keep.
    pub sealed: Vec<u8>,
    /// How large it was.
    pub bytes: u64,
}

/// The items of a batch's quarantined records.
pub(crate) fn items(
    records: &[Quarantined],
    shard: &ShardId,
    first: &SequenceNumber,
    arrived_at: Timestamp,
) -> Vec<Item> {
    let day = arrived_at.minute().hour().day();
    let mut items = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let mut size = 0;
        let fitting = rest.iter().take_while(|record| {
            size += record.sealed.len() + record.reason.len() + ITEM_OVERHEAD_BYTES;
            size <= Item::MAX_BODY_BYTES
        });
        let (here, left) = rest.split_at(fitting.count().max(1));
        let key = keys::quarantine(day, shard, first, items.len());
        items.push(Item { key, body: encode(here), version: 0, expires_at: None });
        rest = left;
    }
    items
}

/// More than the numbers of one record take: sequence number, two times, lengths.
const ITEM_OVERHEAD_BYTES: usize = 200;

fn encode(records: &[Quarantined]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.size(records.len());
    for record in records {
        writer.text(record.sequence.as_str()).time(record.arrived_at).text(&record.reason);
        writer.bytes(&record.sealed).number(record.bytes);
    }
    writer.finish()
}

/// The records of one stored item.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Quarantined>, Malformed> {
    let mut reader = Reader::new(bytes)?;
    let count = reader.size()?;
    let mut records = Vec::new();
    for _ in 0..count {
        records.push(Quarantined {
            sequence: reader.sequence()?,
            arrived_at: reader.time()?,
            reason: reader.text()?.to_owned(),
            sealed: reader.bytes()?.to_vec(),
            bytes: reader.number()?,
        });
    }
    reader.end()?;
    Ok(records)
}
