//! A store in memory in which another writer always comes first, for tests of what happens after a lost condition.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::MemoryStore;
use crate::ports::{Expected, Item, Key, Page, PutError, Range, Store, StoreError};

/// Loses the next conditional writes to a rival, which writes the same item first, or stores an existing one again under its next version.
pub(crate) struct ContendedStore {
    pub(crate) inner: MemoryStore,
    /// Conditional writes that are still to be lost.
    losses: AtomicUsize,
}

impl ContendedStore {
    /// An empty store that loses `losses` conditional writes.
    pub(crate) fn new(losses: usize) -> Self {
        Self { inner: MemoryStore::new(), losses: AtomicUsize::new(losses) }
    }

    /// Loses `losses` further conditional writes.
    pub(crate) fn lose(&self, losses: usize) {
        self.losses.store(losses, Ordering::Relaxed);
    }
}

impl Store for ContendedStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        self.inner.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.inner.range(range).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        self.inner.put(items).await
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        let loses = |left: usize| left.checked_sub(1);
        if self.losses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, loses).is_ok() {
            let stored = self.inner.get(vec![item.key.clone()]).await?.pop().flatten();
            let rival =
                stored.map_or_else(|| item.clone(), |held| Item { version: held.version + 1, ..held });
            self.inner.put(vec![rival]).await?;
        }
        self.inner.put_if(item, expected).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        self.inner.delete(keys).await
    }
}
