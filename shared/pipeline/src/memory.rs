//! The ports in memory: the reference implementation of [`Store`] and [`Sink`], for tests and for counting without a disk.
//!
//! It refuses what DynamoDB would refuse, so that tests notice, and keeps nothing beyond the life of the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use event::{TenantId, Timestamp};

use crate::ports::{
    Expected, Item, Key, Page, Point, PutError, Range, ScanOrder, Sink, SinkError, Store, StoreError,
    StoreErrorKind, Written,
};

/// Items in a sorted map. [`MemoryStore`] shares one between tasks; a simulation owns one.
#[derive(Clone, Debug, Default)]
pub struct Items(BTreeMap<Key, Item>);

impl Items {
    /// Reads the item at `key`.
    pub fn get(&self, key: &Key) -> Option<&Item> {
        self.0.get(key)
    }

    /// Reads one page of a range.
    pub fn range(&self, range: &Range) -> Page {
        let key = |sort: &str| Key { partition: range.partition.clone(), sort: sort.to_owned() };
        // The smallest key after all keys of a partition is that of the smallest longer name.
        let end = range
            .to
            .as_deref()
            .map_or_else(|| Key { partition: format!("{}\0", range.partition), sort: String::new() }, key);
        let from = key(&range.from);
        // A range that ends before it begins is empty. `BTreeMap::range` would panic.
        if from >= end {
            return Page::default();
        }
        let found = self.0.range(from..end).map(|(_, item)| item);
        // A page of no items would begin its rest where it began, for ever.
        let limit = range.limit.max(1);
        // One more than asked for, which tells whether the range goes on and where.
        let mut items: Vec<Item> = match range.order {
            ScanOrder::Forwards => found.take(limit + 1).cloned().collect(),
            ScanOrder::Backwards => found.rev().take(limit + 1).cloned().collect(),
        };
        let rest = items.get(limit).map(|next| range.resume_at(&next.key.sort));
        items.truncate(limit);
        Page { items, rest }
    }

    /// Writes an item and replaces an existing one.
    pub fn put(&mut self, item: Item) {
        self.0.insert(item.key.clone(), item);
    }

    /// Writes an item if the stored one is in the expected state. Returns whether it did.
    pub fn put_if(&mut self, item: Item, expected: Expected) -> bool {
        let holds = match (expected, self.0.get(&item.key)) {
            (Expected::Absent, None) => true,
            (Expected::Version(version), Some(stored)) => stored.version == version,
            (Expected::Absent, Some(_)) | (Expected::Version(_), None) => false,
        };
        if holds {
            self.put(item);
        }
        holds
    }

    /// Removes an item, if it exists.
    pub fn delete(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// Removes items that have expired at `now`.
    pub fn expire(&mut self, now: Timestamp) {
        self.0.retain(|_, item| item.expires_at.is_none_or(|at| at > now));
    }

    /// All items, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.0.values()
    }
}

/// A [`Store`] in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Items>);

impl MemoryStore {
    /// A store without items.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of all items, sorted by key.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> Vec<Item> {
        self.items().iter().cloned().collect()
    }

    /// Removes items that have expired at `now`.
    pub fn expire(&self, now: Timestamp) {
        self.items().expire(now);
    }

    /// A poisoned lock is used nevertheless: each call changes the map by whole items, so a panic elsewhere leaves it consistent.
    fn items(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        let items = self.items();
        Ok(keys.iter().map(|key| items.get(key).cloned()).collect())
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        Ok(self.items().range(&range))
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let mut stored = self.items();
        // Items before one that is refused stay written: the port promises no atomicity, and tests must not rely on
        // it.
        for item in items {
            check_size("put", &item)?;
            stored.put(item);
        }
        Ok(())
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        check_size("put_if", &item)?;
        if self.items().put_if(item, expected) { Ok(()) } else { Err(PutError::Conflict) }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        let mut stored = self.items();
        for key in &keys {
            stored.delete(key);
        }
        Ok(())
    }
}

/// Refuses an item that is too large for DynamoDB.
fn check_size(operation: &'static str, item: &Item) -> Result<(), StoreError> {
    if item.fits() {
        return Ok(());
    }
    let source = format!("{} bytes, but an item holds at most {}", item.body.len(), Item::MAX_BODY_BYTES);
    Err(StoreError::new(StoreErrorKind::Damaged, operation, item.key.to_string(), source))
}

/// What identifies a point.
type PointIdentity = (TenantId, Vec<(&'static str, String)>, i64);

/// A [`Sink`] in memory, which keeps one point of each identity.
#[derive(Debug, Default)]
pub struct MemorySink(Mutex<BTreeMap<PointIdentity, Point>>);

impl MemorySink {
    /// A copy of all points, sorted by identity.
    pub fn points(&self) -> Vec<Point> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Sink for MemorySink {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn write(&self, points: &[Point]) -> Result<Written, SinkError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for point in points {
            kept.insert((point.tenant.clone(), point.dimensions.clone(), point.time_ns), point.clone());
        }
        Ok(Written::default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn an_item_that_is_too_large_for_dynamodb_is_refused() {
        let store = MemoryStore::new();
        let key = Key { partition: "p".to_owned(), sort: "s".to_owned() };
        for (bytes, is_taken) in [(Item::MAX_BODY_BYTES, true), (Item::MAX_BODY_BYTES + 1, false)] {
            let item = Item { key: key.clone(), body: vec![0; bytes], version: 1, expires_at: None };
            assert_eq!(store.put(vec![item.clone()]).await.is_ok(), is_taken);
            assert_eq!(store.put_if(item, Expected::Version(1)).await.is_ok(), is_taken);
        }
    }

    proptest! {
        #[test]
        fn pages_of_a_range_are_a_filtered_sorted_list_however_they_are_cut(
            sorts in prop::collection::btree_set("[a-c#$]{0,3}", 0..20),
            from in "[a-c#$]{0,3}", to in proptest::option::of("[a-c#$]{0,3}"), limit in 0..5_usize, backwards: bool,
        ) {
            let mut items = Items::default();
            for (partition, sort) in sorts.iter().flat_map(|sort| ["p", "p#", "o"].map(|partition| (partition, sort))) {
                let key = Key { partition: partition.to_owned(), sort: sort.clone() };
                items.put(Item { key, body: Vec::new(), version: 0, expires_at: None });
            }
            let order = if backwards { ScanOrder::Backwards } else { ScanOrder::Forwards };
            let range = Range { partition: "p".to_owned(), from: from.clone(), to: to.clone(), order, limit };
            let mut expected: Vec<&String> =
                sorts.iter().filter(|sort| **sort >= from && to.as_ref().is_none_or(|to| *sort < to)).collect();
            if backwards {
                expected.reverse();
            }
            let (mut found, mut rest) = (Vec::new(), Some(range));
            while let Some(range) = rest {
                let page = items.range(&range);
                prop_assert!(page.items.len() <= limit.max(1));
                prop_assert!(page.rest.is_none() || !page.items.is_empty(), "a page without progress");
                found.extend(page.items.into_iter().map(|item| item.key.sort));
                rest = page.rest;
            }
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[tokio::test]
    async fn the_memory_store_keeps_the_contract() {
        crate::testing::contract::holds(&MemoryStore::new()).await.unwrap();
    }
}
