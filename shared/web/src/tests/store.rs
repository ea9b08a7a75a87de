//! A store in memory that fails or hangs on demand, and remembers what was read and written.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use pipeline::memory::MemoryStore;
use pipeline::ports::{Expected, Item, Key, Page, PutError, Range, Store, StoreError, StoreErrorKind};

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Healthy,
    /// Every call fails.
    Failing,
    /// Writes to this partition fail.
    RefusingWrites(&'static str),
    /// Another process always changes items of this partition between a read and a conditional write.
    LosingRaces(&'static str),
    /// Ranges are never read to the end, so keys can be checked but no query is answered.
    Stuck,
}

pub(super) struct TestStore {
    items: MemoryStore,
    condition: Mutex<Condition>,
    /// The keys of all items that were ever written.
    written: Mutex<BTreeSet<Key>>,
    /// `partition/sort` of each item, and the partition of each range, that was asked for.
    reads: Mutex<Vec<String>>,
}

impl TestStore {
    pub(super) async fn new(items: Vec<Item>) -> Self {
        let store = Self {
            items: MemoryStore::new(),
            condition: Mutex::new(Condition::Healthy),
            written: Mutex::default(),
            reads: Mutex::default(),
        };
        store.put(items).await.unwrap();
        store
    }

    pub(super) fn set(&self, condition: Condition) {
        *lock(&self.condition) = condition;
    }

    /// Every stored item.
    pub(super) async fn items(&self) -> Vec<Item> {
        let keys = lock(&self.written).iter().cloned().collect();
        self.items.get(keys).await.unwrap().into_iter().flatten().collect()
    }

    /// What requests may change: every item, except the times when keys were used.
    pub(super) async fn state(&self) -> Vec<Item> {
        let mut items = self.items().await;
        items.retain(|item| item.key.partition != "api-key-uses");
        items
    }

    /// What was asked for since the last call, in order.
    pub(super) fn take_reads(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.reads))
    }

    fn check(&self, operation: &'static str, partition: &str, is_write: bool) -> Result<(), StoreError> {
        let fails = match *lock(&self.condition) {
            Condition::Healthy | Condition::Stuck | Condition::LosingRaces(_) => false,
            Condition::Failing => true,
            Condition::RefusingWrites(refused) => is_write && refused == partition,
        };
        if fails {
            let reason = "disk /dev/secret broke";
            return Err(StoreError::new(StoreErrorKind::Unavailable, operation, partition, reason));
        }
        Ok(())
    }
}

impl Store for TestStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        for key in &keys {
            self.check("get", &key.partition, false)?;
            lock(&self.reads).push(key.to_string());
        }
        self.items.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.check("range", &range.partition, false)?;
        lock(&self.reads).push(range.partition.clone());
        if *lock(&self.condition) == Condition::Stuck {
            std::future::pending::<()>().await;
        }
        self.items.range(range).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        for item in &items {
            self.check("put", &item.key.partition, true)?;
            lock(&self.written).insert(item.key.clone());
        }
        self.items.put(items).await
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        self.check("put_if", &item.key.partition, true)?;
        if matches!(*lock(&self.condition), Condition::LosingRaces(contested) if contested == item.key.partition)
        {
            return Err(PutError::Conflict);
        }
        lock(&self.written).insert(item.key.clone());
        self.items.put_if(item, expected).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        for key in &keys {
            self.check("delete", &key.partition, true)?;
        }
        self.items.delete(keys).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
