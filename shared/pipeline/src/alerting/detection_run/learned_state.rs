//! The learned state of detection in the store: the baselines of all tenants, compressed.
//!
//! It is far larger than everything else that detection stores, and grows with the number of tenants. DynamoDB accepts only a certain
//! amount per second, so the state may be written over several runs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use detection::{AlertRules, Detector, PlatformState, TenantState};
use event::{Minute, Timestamp};
use serde::{Deserialize, Serialize};

use super::DetectionStateError;
use super::parts::{self, StoredParts};
use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::{Item, Store};

/// Number of parts that are written in one call. DynamoDB accepts about 2 MB within two seconds even if all of them are in one of its
/// partitions, which is far below the time limit of a call.
const WRITES_AT_ONCE: usize = 5;
/// The state is written often and changes completely: speed matters more than size.
const COMPRESSION_LEVEL: i32 = 1;

/// The baselines of the platform and of all tenants, in the form that is stored.
#[derive(Serialize, Deserialize)]
struct LearnedState<'a> {
    shared: Cow<'a, PlatformState>,
    tenants: Cow<'a, BTreeMap<String, TenantState>>,
}

impl StoredRecord for LearnedState<'_> {
    const NAME: &'static str = "learned state of detection";
    const FORMAT: u8 = detection::state::VERSION;
}

/// A learned state that is being written.
#[derive(Debug)]
pub(super) struct LearnedStateWriter {
    bytes: Vec<u8>,
    written: StoredParts,
    /// The first minute that is not part of the state.
    pub(super) next: Minute,
}

impl LearnedStateWriter {
    /// Encodes the state of a detector that has observed all minutes before `next`.
    pub(super) fn new(detector: &Detector, next: Minute, attempt: u64) -> Result<Self, DetectionStateError> {
        let learned = LearnedState {
            shared: Cow::Borrowed(detector.platform_state()),
            tenants: Cow::Borrowed(detector.tenants()),
        };
        // Encoded at once, although it is written over several runs: the detector changes with each minute.
        let bytes = zstd::bulk::compress(&learned.encode(), COMPRESSION_LEVEL)?;
        Ok(Self { bytes, written: StoredParts { attempt, count: 0 }, next })
    }

    /// Writes the next parts. Returns all parts when there is nothing left to write.
    pub(super) async fn write_some<S: Store>(
        &mut self,
        store: &S,
        now: Timestamp,
    ) -> Result<Option<StoredParts>, DetectionStateError> {
        let attempt = self.written.attempt;
        let bodies = self.bytes.chunks(Item::MAX_BODY_BYTES).skip(self.written.count as usize);
        let items: Vec<Item> = (self.written.count..)
            .zip(bodies.take(WRITES_AT_ONCE))
            .map(|(part, body)| parts::item(layout::learned_part(attempt, part as usize), body, now))
            .collect();
        if items.is_empty() {
            return Ok(Some(self.written));
        }
        let more = items.iter().map(|_| 1_u32).sum::<u32>();
        store.put(items).await?;
        // Only after the call succeeded: after a failure the same parts are written again, under the same keys.
        self.written.count += more;
        Ok(None)
    }
}

/// Reads the learned state into a new detector.
pub(super) async fn read<S: Store>(
    store: &S,
    parts: StoredParts,
    rules: &AlertRules,
) -> Result<Detector, DetectionStateError> {
    let compressed = parts::read(store, &parts.keys(layout::learned_part)).await?;
    let bytes = zstd::stream::decode_all(compressed.as_slice())?;
    let LearnedState { shared, tenants } =
        LearnedState::decode(&bytes).map_err(DetectionStateError::LearnedState)?;
    Ok(Detector::restore(shared.into_owned(), tenants.into_owned(), rules.clone()))
}

/// Removes the parts of a learned state that the head no longer names, until `is_late`. Removing takes as long as writing; what is left
/// expires.
pub(super) async fn remove<S: Store>(store: &S, parts: StoredParts, is_late: impl Fn() -> bool) {
    for keys in parts.keys(layout::learned_part).chunks(WRITES_AT_ONCE) {
        if is_late() {
            break;
        }
        if let Err(error) = store.delete(keys.to_vec()).await {
            tracing::debug!(error = %error, "a replaced learned state stays until it expires");
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::ports::{Expected, Key, Page, PutError, Range, StoreError, StoreErrorKind};

    #[tokio::test]
    async fn a_learned_state_is_written_over_several_calls_and_read_as_it_was() {
        let store = MemoryStore::new();
        let now = Timestamp::from_millis(0);
        let rules = AlertRules::default();
        let detector = Detector::new(1, rules.clone());
        let mut writer = LearnedStateWriter::new(&detector, Minute(7), 3).unwrap();
        assert_eq!(writer.write_some(&store, now).await.unwrap(), None);
        let parts = writer.write_some(&store, now).await.unwrap().unwrap();
        assert_eq!(parts, StoredParts { attempt: 3, count: 1 });
        let restored = read(&store, parts, &rules).await.unwrap();
        assert_eq!(restored.tenants(), detector.tenants());
        remove(&store, parts, || true).await;
        assert_eq!(store.snapshot().len(), 1);
        remove(&store, parts, || false).await;
        assert!(matches!(read(&store, parts, &rules).await, Err(DetectionStateError::Incomplete)));
    }

    #[tokio::test]
    async fn large_state_is_written_in_several_calls_and_a_failed_one_is_repeated_under_the_same_keys() {
        let now = Timestamp::from_millis(0);
        let bytes: Vec<u8> = (0..=250).cycle().take(12 * Item::MAX_BODY_BYTES).collect();
        let mut writer = LearnedStateWriter {
            bytes: bytes.clone(),
            written: StoredParts { attempt: 3, count: 0 },
            next: Minute(7),
        };
        let store = MemoryStore::new();
        for count in [5, 10, 12] {
            // A store that refuses the first attempt of each call: nothing counts as written.
            let before = writer.written;
            assert!(writer.write_some(&RefusingStore, now).await.is_err());
            assert_eq!(writer.written, before);
            assert_eq!(writer.write_some(&store, now).await.unwrap(), None);
            assert_eq!(writer.written.count, count);
        }
        let parts = writer.write_some(&store, now).await.unwrap().unwrap();
        assert_eq!(parts, StoredParts { attempt: 3, count: 12 });
        assert_eq!(super::parts::read(&store, &parts.keys(layout::learned_part)).await.unwrap(), bytes);
        assert_eq!(store.snapshot().len(), 12);
    }

    /// A store that is not reachable.
    struct RefusingStore;

    fn refused() -> StoreError {
        StoreError::new(StoreErrorKind::Unavailable, "any call", "", "not reachable")
    }

    impl Store for RefusingStore {
        async fn get(&self, _: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
            Err(refused())
        }

        async fn range(&self, _: Range) -> Result<Page, StoreError> {
            Err(refused())
        }

        async fn put(&self, _: Vec<Item>) -> Result<(), StoreError> {
            Err(refused())
        }

        async fn put_if(&self, _: Item, _: Expected) -> Result<(), PutError> {
            Err(refused().into())
        }

        async fn delete(&self, _: Vec<Key>) -> Result<(), StoreError> {
            Err(refused())
        }
    }
}
