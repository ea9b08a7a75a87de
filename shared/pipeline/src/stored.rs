//! Records read from and written to a [`Store`], with the errors of doing so.
//!
//! A record that cannot be read names its key and stops the step that needed it: guessing would miscount.

use crate::codec::Malformed;
use crate::ports::{Expected, Item, Key, PutError, Range, Store, StoreError};

/// Reading a stored record failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed; worth another try.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record is not readable by this program.
    #[error("stored item {key} cannot be read: restore it or upgrade mailgauge")]
    Record {
        /// Where it lies.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
}

/// A record and the version its item had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub record: T,
    /// The item's version; `None` if there was no item.
    pub version: Option<u64>,
}

/// Reads one record.
pub(crate) async fn read<S: Store, T: Default>(
    store: &S,
    key: Key,
    decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
) -> Result<Versioned<T>, ReadError> {
    let found = store.get(vec![key.clone()]).await?;
    decoded(key, found.into_iter().flatten().next(), decode)
}

/// Decodes the record in the item found at `key`, or its default if there is no item.
pub(crate) fn decoded<T: Default>(
    key: Key,
    item: Option<Item>,
    decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
) -> Result<Versioned<T>, ReadError> {
    let Some(item) = item else { return Ok(Versioned { record: T::default(), version: None }) };
    match decode(&item.body) {
        Ok(record) => Ok(Versioned { record, version: Some(item.version) }),
        Err(source) => Err(ReadError::Record { key, source }),
    }
}

/// Writes one record, if its item still has the version it was read with, if any; the version it has now.
pub(crate) async fn write<S: Store>(
    store: &S,
    key: Key,
    body: Vec<u8>,
    held: Option<u64>,
) -> Result<u64, PutError> {
    let version = held.map_or(1, |version| version + 1);
    let item = Item { key, body, version, expires_at: None };
    store.put_if(item, held.map_or(Expected::Absent, Expected::Version)).await?;
    Ok(version)
}

/// All items of a range, page by page.
pub(crate) async fn range<S: Store>(store: &S, range: Range) -> Result<Vec<Item>, StoreError> {
    let mut items = Vec::new();
    let mut rest = Some(range);
    while let Some(range) = rest {
        let page = store.range(range).await?;
        items.extend(page.items);
        rest = page.rest;
    }
    Ok(items)
}
