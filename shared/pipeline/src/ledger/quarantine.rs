//! Records that cannot be read: kept sealed for two weeks, with the reason, so that they can be looked at and tried again.
//!
//! What cannot be read may still hold addresses, so it is stored sealed only; this module never sees the clear bytes of
//! a stored record except through [`Seal`], and never logs them. A replay goes through [`crate::ledger::aggregate`] as a batch of a shard of
//! its own, so that it too is counted once.

use std::collections::{BTreeMap, BTreeSet};

use event::{Day, SequenceNumber, ShardId, Timestamp};

use crate::codec::{Malformed, Reader, Writer};
use crate::layout;
use crate::ledger::aggregate::{
    AggregateError, Attempt, Batch, Committed, Fold, Record, Settings, aggregate,
};
use crate::ledger::checkpoint;
use crate::ledger::deduplication::Memory;
use crate::ports::{Clock, Expected, Item, Key, PutError, Store};
use crate::stored::{self, ReadError};

/// A part larger than this is not kept, only counted and named: three fit an item.
const MAX_PART_BYTES: usize = 120 * 1024;
/// More than the numbers of one record take: sequence number, two times, lengths.
const RECORD_OVERHEAD_BYTES: usize = 200;

/// Seals bytes that may hold addresses. The same bytes at the same place give the same sealed bytes, so that a batch written twice
/// is written once.
pub trait Seal: Send + Sync + 'static {
    /// Seals `clear`; `None` if it cannot be done.
    fn seal(&self, place: &str, clear: &[u8]) -> Option<Vec<u8>>;

    /// Opens what was sealed at `place`; `None` if it was not, or under another secret.
    fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>>;
}

/// A part of a record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The record it was in.
    pub sequence: SequenceNumber,
    /// Which unreadable part of the record it is.
    pub part: usize,
    /// When that came.
    pub arrived_at: Timestamp,
    /// What is wrong with it, in words that hold nothing of it.
    pub reason: String,
    /// Its bytes, sealed; empty if it was too large to keep.
    pub sealed: Vec<u8>,
    /// How large it was.
    pub bytes: u64,
}

/// A part of a record in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The item it lies in, beside other parts of the same batch.
    pub key: Key,
    /// The part.
    pub record: Quarantined,
}

impl Stored {
    /// The shard its record came through.
    pub fn shard(&self) -> &str {
        layout::quarantine_shard(&self.key)
    }
}

/// Why parts were not removed, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Somebody else removed other parts of the item.
    #[error("quarantined item {0} was changed meanwhile: try again")]
    Conflict(Key),
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Takes a part of a record into quarantine.
pub(crate) fn seal<Z: Seal>(
    seal: &Z,
    record: &Record<'_>,
    part: usize,
    reason: String,
    bytes: &[u8],
) -> Quarantined {
    let sequence = record.sequence.clone();
    let kept = Some(bytes).filter(|bytes| bytes.len() <= MAX_PART_BYTES);
    let sealed = kept.and_then(|clear| seal.seal(&place(&sequence, part), clear)).unwrap_or_default();
    let bytes = bytes.len() as u64;
    Quarantined { sequence, part, arrived_at: record.arrived_at, reason, sealed, bytes }
}

impl Quarantined {
    /// The bytes as they came; `None` if they were not kept, or were sealed under another secret.
    pub fn open<Z: Seal>(&self, seal: &Z) -> Option<Vec<u8>> {
        seal.open(&place(&self.sequence, self.part), &self.sealed).filter(|_| !self.sealed.is_empty())
    }
}

/// Everything quarantined on a day, by when its record came.
pub async fn list<S: Store>(store: &S, day: Day) -> Result<Vec<Stored>, ReadError> {
    let mut found = Vec::new();
    for item in stored::range(store, layout::whole(layout::quarantine_partition(day))).await? {
        match decode(&item.body) {
            Ok(records) => {
                found.extend(records.into_iter().map(|record| Stored { key: item.key.clone(), record }));
            }
            Err(source) => return Err(ReadError::Record { key: item.key, source }),
        }
    }
    Ok(found)
}

/// Removes parts; others of the same item stay.
pub async fn remove<S: Store>(store: &S, parts: &[Stored]) -> Result<(), RemoveError> {
    let mut gone: BTreeMap<&Key, BTreeSet<(&SequenceNumber, usize)>> = BTreeMap::new();
    for Stored { key, record } in parts {
        gone.entry(key).or_default().insert((&record.sequence, record.part));
    }
    for (key, gone) in gone {
        let found = store.get(vec![key.clone()]).await.map_err(ReadError::from)?;
        let Some(item) = found.into_iter().flatten().next() else { continue };
        let mut kept = decode(&item.body).map_err(|source| ReadError::Record { key: key.clone(), source })?;
        kept.retain(|record| !gone.contains(&(&record.sequence, record.part)));
        if kept.is_empty() {
            store.delete(vec![key.clone()]).await.map_err(ReadError::from)?;
            continue;
        }
        let held = item.version;
        let rest = Item { body: encode(&kept), version: held + 1, ..item };
        match store.put_if(rest, Expected::Version(held)).await {
            Ok(()) => {}
            Err(PutError::Conflict) => return Err(RemoveError::Conflict(key.clone())),
            Err(PutError::Store(source)) => return Err(ReadError::from(source).into()),
        }
    }
    Ok(())
}

/// Tries quarantined parts again, through the same steps as any batch, and removes them once that is committed. What still cannot be
/// read is quarantined anew; what cannot be opened stays.
pub async fn replay<S: Store, C: Clock, F: Fold, Z: Seal>(
    store: &S,
    clock: &C,
    settings: &Settings,
    (fold, memory, seal): (&mut F, &mut Memory, &Z),
    parts: &[Stored],
    attempt: Attempt,
) -> Result<Committed, AggregateError> {
    let shard = ShardId::quarantine_replay();
    let held = checkpoint::read(store, &shard).await;
    let held = held.map_err(|source| AggregateError::Read { shard: shard.clone(), source })?;
    let done = held.record.done.and_then(|done| done.as_str().parse::<u64>().ok()).unwrap_or_default();
    let mut opened = Vec::new();
    for part in parts {
        opened.extend(part.record.open(seal).map(|data| (part, data)));
    }
    let records = opened.iter().zip(done + 1..).map(|((part, data), number)| Record {
        sequence: SequenceNumber::from(number),
        arrived_at: part.record.arrived_at,
        data,
    });
    let batch = Batch { shard: &shard, records: records.collect() };
    let committed = aggregate(store, clock, settings, fold, memory, &batch, attempt).await?;
    let read: Vec<Stored> = opened.into_iter().map(|(part, _)| part.clone()).collect();
    match remove(store, &read).await {
        Ok(()) => Ok(committed),
        Err(RemoveError::Conflict(_)) => Err(AggregateError::Conflict { shard }),
        Err(RemoveError::Read(source)) => Err(AggregateError::Read { shard, source }),
    }
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
            size += record.sealed.len() + record.reason.len() + RECORD_OVERHEAD_BYTES;
            size <= Item::MAX_BODY_BYTES
        });
        let (here, left) = rest.split_at(fitting.count().max(1));
        let key = layout::quarantine(day, shard, first, items.len());
        items.push(Item { key, body: encode(here), version: 0, expires_at: None });
        rest = left;
    }
    items
}

fn place(sequence: &SequenceNumber, part: usize) -> String {
    format!("quarantine#{sequence}#{part}")
}

fn encode(records: &[Quarantined]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.size(records.len());
    for record in records {
        writer.text(record.sequence.as_str()).size(record.part).time(record.arrived_at).text(&record.reason);
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
            part: reader.place()?,
            arrived_at: reader.time()?,
            reason: reader.text()?.to_owned(),
            sealed: reader.bytes()?.to_vec(),
            bytes: reader.number()?,
        });
    }
    reader.end()?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[test]
    fn many_parts_are_split_into_items_that_fit() {
        let part = |part| Quarantined {
            sequence: SequenceNumber::from(7),
            part,
            arrived_at: Timestamp::from_seconds(1_763_000_000),
            reason: "invalid JSON".to_owned(),
            sealed: vec![1; MAX_PART_BYTES + 16],
            bytes: MAX_PART_BYTES as u64,
        };
        let parts: Vec<Quarantined> = (0..10).map(part).collect();
        let shard = ShardId::new("s").unwrap();
        let items = items(&parts, &shard, &SequenceNumber::from(7), parts[0].arrived_at);
        assert_eq!(items.len(), 4);
        assert!(items.iter().all(|item| item.body.len() <= Item::MAX_BODY_BYTES));
        let read: Vec<Quarantined> = items.iter().flat_map(|item| decode(&item.body).unwrap()).collect();
        assert_eq!(read, parts);
    }

    #[tokio::test]
    async fn a_removed_part_leaves_the_others_of_its_item() {
        let store = MemoryStore::new();
        let at = Timestamp::from_seconds(1_763_000_000);
        let part = |part| Quarantined {
            sequence: SequenceNumber::from(7),
            part,
            arrived_at: at,
            reason: "invalid JSON".to_owned(),
            sealed: vec![1],
            bytes: 1,
        };
        let shard = ShardId::new("s").unwrap();
        store.put(items(&[part(0), part(1), part(2)], &shard, &SequenceNumber::from(7), at)).await.unwrap();
        let day = at.minute().hour().day();
        let all = list(&store, day).await.unwrap();
        assert!(all.iter().all(|stored| stored.shard() == "s"));
        remove(&store, &all[1..2]).await.unwrap();
        assert_eq!(list(&store, day).await.unwrap(), [all[0].clone(), all[2].clone()]);
        remove(&store, &all).await.unwrap();
        assert_eq!(list(&store, day).await.unwrap(), []);
        remove(&store, &all).await.unwrap();
    }
}
