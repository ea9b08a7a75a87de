//! A store or sink of which some writes in a row fail, before or after they take effect, for tests of what a failure leaves behind.

use std::ops::Range as NumberRange;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::MemoryStore;
use crate::ports::{Expected, Item, Key, Page, PutError, Range, Store, StoreError, StoreErrorKind};

/// Counts the writes to `inner`, and lets some of them fail. Reads always succeed.
pub(crate) struct Faulty<T> {
    pub(crate) inner: T,
    /// Writes so far.
    writes: AtomicUsize,
    /// The numbers of the writes that fail; the first write is number 0.
    failing: NumberRange<usize>,
    /// Whether failing writes take effect all the same, as if only the reply were lost.
    pub(crate) takes_effect: bool,
}

impl<T> Faulty<T> {
    /// All writes succeed.
    pub(crate) const fn new(inner: T) -> Self {
        Self { inner, writes: AtomicUsize::new(0), failing: 0..0, takes_effect: false }
    }

    /// Counts from 0 again, and lets the writes of these numbers fail.
    pub(crate) fn fail(&mut self, failing: NumberRange<usize>, takes_effect: bool) {
        (self.writes, self.failing, self.takes_effect) = (AtomicUsize::new(0), failing, takes_effect);
    }

    /// Counts a write. Whether it fails.
    pub(crate) fn fails(&self) -> bool {
        self.failing.contains(&self.writes.fetch_add(1, Ordering::Relaxed))
    }
}

fn lost() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "write", "test", "lost")
}

impl Store for Faulty<MemoryStore> {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        self.inner.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.inner.range(range).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let fails = self.fails();
        if !fails || self.takes_effect {
            self.inner.put(items).await?;
        }
        if fails { Err(lost()) } else { Ok(()) }
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        let fails = self.fails();
        if !fails || self.takes_effect {
            self.inner.put_if(item, expected).await?;
        }
        if fails { Err(lost().into()) } else { Ok(()) }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        let fails = self.fails();
        if !fails || self.takes_effect {
            self.inner.delete(keys).await?;
        }
        if fails { Err(lost()) } else { Ok(()) }
    }
}
