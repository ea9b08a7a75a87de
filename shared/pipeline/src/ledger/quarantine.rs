//! Quarantine: parts of records that cannot be read, kept for two weeks with the reason, so that people can look at them and
//! [`crate::ledger::replay`] can handle them again.
//!
//! What cannot be read may still hold addresses, so it is only stored sealed. This module sees the clear bytes of a stored part through
//! [`Seal`] alone, and never logs them.

use std::collections::{BTreeMap, BTreeSet};

use event::{Day, SequenceNumber, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use super::batch::Record;
use crate::codec::{self, StoredRecord};
use crate::layout;
use crate::ports::{Expected, Item, Key, PutError, Store};
use crate::stored::{self, ReadError};

/// A larger part is not kept, only its size and the reason. Three parts of this size fit an item.
const MAX_PART_BYTES: usize = 120 * 1024;
/// An upper bound for what a stored part takes besides its bytes and reason: a sequence number, two times, and lengths.
const PART_OVERHEAD_BYTES: usize = 200;

/// Seals bytes that may hold addresses. Deterministic: the same bytes in the same context give the same sealed bytes, so that a batch
/// that is written twice is written with the same bytes.
pub trait Seal: Send + Sync + 'static {
    /// Seals `clear`. Returns `None` if that fails. The result can be opened with the same `context` only.
    fn seal(&self, context: &str, clear: &[u8]) -> Option<Vec<u8>>;

    /// Opens what was sealed with `context`. Returns `None` if it was not, or was sealed with another secret.
    fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>>;
}

/// A part of a record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedPart {
    /// The sequence number of the record.
    #[serde(with = "codec::form")]
    pub sequence: SequenceNumber,
    /// Counts the unreadable parts of the record, from 0.
    pub index: usize,
    /// When the stream received the record.
    #[serde(with = "codec::form")]
    pub arrived_at: Timestamp,
    /// Why the part cannot be read. Contains nothing of its bytes.
    pub reason: String,
    /// Its bytes, sealed. `None` if it is larger than 120 KiB, or sealing failed.
    pub sealed: Option<Vec<u8>>,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A quarantined part and the item that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// The item, which may hold other parts of the same batch.
    pub key: Key,
    /// The part itself, with its bytes still sealed.
    pub part: QuarantinedPart,
}

impl StoredPart {
    /// The name of the shard that the record came through.
    pub fn shard(&self) -> &str {
        layout::quarantine_shard(&self.key)
    }
}

/// The body of an item: quarantined parts of one batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantinedParts(pub(crate) Vec<QuarantinedPart>);

impl StoredRecord for QuarantinedParts {
    const NAME: &'static str = "quarantine";
    const FORMAT: u8 = 3;
}

/// Why parts were not removed, or only some of them.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Another process removed other parts of the item since it was read.
    #[error("quarantined item {0} was changed by another process: try again")]
    Conflict(Key),
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Quarantines a part of a record.
pub(super) fn seal<Z: Seal>(
    seal: &Z,
    record: &Record<'_>,
    index: usize,
    reason: String,
    bytes: &[u8],
) -> QuarantinedPart {
    let sequence = record.sequence.clone();
    // The size and the reason are kept in any case, so that the part is counted and can be explained.
    let kept = Some(bytes).filter(|bytes| bytes.len() <= MAX_PART_BYTES);
    let sealed = kept.and_then(|clear| seal.seal(&seal_context(&sequence, index), clear));
    let bytes = bytes.len() as u64;
    QuarantinedPart { sequence, index, arrived_at: record.arrived_at, reason, sealed, bytes }
}

impl QuarantinedPart {
    /// The bytes as they arrived. `None` if they were not kept, or were sealed with another secret.
    pub fn open<Z: Seal>(&self, seal: &Z) -> Option<Vec<u8>> {
        seal.open(&seal_context(&self.sequence, self.index), self.sealed.as_deref()?)
    }
}

/// Lists all parts whose batch arrived on `day`.
pub async fn list<S: Store>(store: &S, day: Day) -> Result<Vec<StoredPart>, ReadError> {
    let mut found = Vec::new();
    for item in stored::range(store, layout::whole(layout::quarantine_partition(day))).await? {
        let QuarantinedParts(parts) = stored::decode(&item)?;
        found.extend(parts.into_iter().map(|part| StoredPart { key: item.key.clone(), part }));
    }
    Ok(found)
}

/// Removes parts. Other parts of the same items stay.
pub async fn remove<S: Store>(store: &S, parts: &[StoredPart]) -> Result<(), RemoveError> {
    let mut by_item: BTreeMap<&Key, BTreeSet<(&SequenceNumber, usize)>> = BTreeMap::new();
    for StoredPart { key, part } in parts {
        // Several parts share an item. Grouped, each item is written once, and two removals from it do not meet.
        by_item.entry(key).or_default().insert((&part.sequence, part.index));
    }
    for (key, removed) in by_item {
        let found = store.get(vec![key.clone()]).await.map_err(ReadError::from)?;
        // Removed or expired already.
        let Some(item) = found.into_iter().flatten().next() else { continue };
        let QuarantinedParts(mut kept) = stored::decode(&item)?;
        kept.retain(|part| !removed.contains(&(&part.sequence, part.index)));
        // Unconditionally: nothing adds parts to an item, so there is nothing that the removal could lose.
        if kept.is_empty() {
            store.delete(vec![key.clone()]).await.map_err(ReadError::from)?;
            continue;
        }
        let held = item.version;
        // Conditionally: another removal from the same item would otherwise bring back what this one removes.
        let rest = Item { body: QuarantinedParts(kept).encode(), version: held + 1, ..item };
        match store.put_if(rest, Expected::Version(held)).await {
            Ok(()) => {}
            Err(PutError::Conflict) => return Err(RemoveError::Conflict(key.clone())),
            Err(PutError::Store(source)) => return Err(ReadError::from(source).into()),
        }
    }
    Ok(())
}

/// The items of a batch's quarantined parts, none larger than an item may be.
pub(super) fn items(
    parts: &[QuarantinedPart],
    shard: &ShardId,
    first: &SequenceNumber,
    arrived_at: Timestamp,
) -> Vec<Item> {
    let day = arrived_at.minute().hour().day();
    let mut items = Vec::new();
    let mut rest = parts;
    while !rest.is_empty() {
        let mut size = 0;
        let fitting = rest.iter().take_while(|part| {
            size += part.sealed.as_ref().map_or(0, Vec::len) + part.reason.len() + PART_OVERHEAD_BYTES;
            size <= Item::MAX_BODY_BYTES
        });
        // At least one, or this loop would not end: a part alone always fits, see `MAX_PART_BYTES`.
        let (here, left) = rest.split_at(fitting.count().max(1));
        let key = layout::quarantine(day, shard, first, items.len());
        // Without an expiry, which the commit sets together with that of its other items.
        items.push(stored::item(key, &QuarantinedParts(here.to_vec()), None));
        rest = left;
    }
    items
}

/// What a part is sealed with, so that sealed bytes cannot be moved to another part.
fn seal_context(sequence: &SequenceNumber, index: usize) -> String {
    format!("quarantine#{sequence}#{index}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::MemoryStore;
    use crate::testing::contended::ContendedStore;
    use crate::testing::counting::BitFlipSeal;
    use crate::testing::samples;

    const ARRIVED: Timestamp = Timestamp::from_seconds(1_763_000_000);

    fn part(index: usize, sealed_bytes: usize) -> QuarantinedPart {
        QuarantinedPart {
            sequence: SequenceNumber::from(7),
            index,
            arrived_at: ARRIVED,
            reason: "invalid JSON".to_owned(),
            sealed: Some(vec![1; sealed_bytes]),
            bytes: sealed_bytes as u64,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn items_hold_all_parts_in_order_and_are_never_too_large(
            sizes in prop::collection::vec(prop::sample::select(vec![0, 1, 60 * 1024, MAX_PART_BYTES]), 0..30),
        ) {
            let parts: Vec<QuarantinedPart> =
                sizes.iter().enumerate().map(|(index, &bytes)| part(index, bytes)).collect();
            let items = items_of(&parts);
            prop_assert!(items.iter().all(Item::fits));
            prop_assert!(items.is_sorted_by(|a, b| a.key < b.key), "two items share a key");
            let read = items.iter().flat_map(|item| QuarantinedParts::decode(&item.body).unwrap().0);
            prop_assert_eq!(read.collect::<Vec<_>>(), parts);
        }
    }

    fn items_of(parts: &[QuarantinedPart]) -> Vec<Item> {
        items(parts, &ShardId::new("s").unwrap(), &SequenceNumber::from(7), ARRIVED)
    }

    #[test]
    fn many_parts_are_split_into_items_that_fit() {
        let parts: Vec<QuarantinedPart> = (0..10).map(|index| part(index, MAX_PART_BYTES + 16)).collect();
        let items = items_of(&parts);
        assert_eq!(items.len(), 4);
        assert!(items.iter().all(Item::fits));
        let read: Vec<QuarantinedPart> =
            items.iter().flat_map(|item| QuarantinedParts::decode(&item.body).unwrap().0).collect();
        assert_eq!(read, parts);
    }

    #[test]
    fn part_is_kept_up_to_a_size_and_opens_in_its_own_context_only() {
        let record = Record { sequence: SequenceNumber::from(7), arrived_at: ARRIVED, data: &[] };
        for (bytes, is_kept) in [(0, true), (MAX_PART_BYTES, true), (MAX_PART_BYTES + 1, false)] {
            let clear = vec![b'x'; bytes];
            let part = seal(&BitFlipSeal, &record, 0, "invalid JSON".to_owned(), &clear);
            assert_eq!(part.open(&BitFlipSeal), is_kept.then_some(clear), "{bytes}");
            assert_eq!(part.bytes, bytes as u64);
        }
        assert_ne!(seal_context(&record.sequence, 0), seal_context(&record.sequence, 1));
    }

    #[tokio::test]
    async fn removed_part_leaves_the_others_of_its_item() {
        let store = MemoryStore::new();
        store.put(items_of(&[part(0, 1), part(1, 1), part(2, 1)])).await.unwrap();
        let day = ARRIVED.minute().hour().day();
        let all = list(&store, day).await.unwrap();
        assert!(all.iter().all(|stored| stored.shard() == "s"));
        remove(&store, &all[1..2]).await.unwrap();
        assert_eq!(list(&store, day).await.unwrap(), [all[0].clone(), all[2].clone()]);
        remove(&store, &all).await.unwrap();
        assert_eq!(list(&store, day).await.unwrap(), []);
        remove(&store, &all).await.unwrap();
    }

    #[test]
    fn stored_sample_of_each_format_is_read() {
        let dropped = QuarantinedPart { sealed: None, bytes: 1 << 20, ..part(1, 0) };
        samples::check("quarantine-3", &QuarantinedParts(vec![part(0, 4), dropped]));
    }

    #[tokio::test]
    async fn removal_that_meets_another_one_is_refused_and_loses_nothing() {
        let store = ContendedStore::new(0);
        let items = items_of(&[part(0, 10), part(1, 10), part(2, 10)]);
        store.put(items.clone()).await.unwrap();
        let listed = list(&store, ARRIVED.minute().hour().day()).await.unwrap();
        store.lose(1);
        let refused = remove(&store, &listed[..1]).await;
        assert!(matches!(refused, Err(RemoveError::Conflict(key)) if key == items[0].key));
        assert_eq!(list(&store, ARRIVED.minute().hour().day()).await.unwrap(), listed);
        remove(&store, &listed[..1]).await.unwrap();
        assert_eq!(list(&store, ARRIVED.minute().hour().day()).await.unwrap(), listed[1..]);
    }
}
