//! Records read from and written to a [`Store`], with the errors of doing so.
//!
//! A record that cannot be read names its key and stops the step that needed it: guessing would miscount.

use event::Timestamp;

use crate::codec::{Malformed, StoredRecord};
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

/// Reads the record at `key`, or its default if there is no item.
pub(crate) async fn get<S: Store, R: StoredRecord + Default>(
    store: &S,
    key: Key,
) -> Result<Versioned<R>, ReadError> {
    let found = store.get(vec![key]).await?;
    decode_or_default(found.into_iter().flatten().next().as_ref())
}

/// Decodes the record in an item that was found, or its default if none was.
pub(crate) fn decode_or_default<R: StoredRecord + Default>(
    item: Option<&Item>,
) -> Result<Versioned<R>, ReadError> {
    let Some(item) = item else { return Ok(Versioned { record: R::default(), version: None }) };
    Ok(Versioned { record: decode(item)?, version: Some(item.version) })
}

/// Decodes the record in an item.
pub(crate) fn decode<R: StoredRecord>(item: &Item) -> Result<R, ReadError> {
    R::decode(&item.body).map_err(|source| ReadError::Record { key: item.key.clone(), source })
}

/// The item for a record that is always put whole.
pub(crate) fn item<R: StoredRecord>(key: Key, record: &R, expires_at: Option<Timestamp>) -> Item {
    Item { key, body: record.encode(), version: 0, expires_at }
}

/// Writes a record if its item still has the version that it was read with, `None` if there was no item. Returns the new version.
pub(crate) async fn put_if<S: Store, R: StoredRecord>(
    store: &S,
    key: Key,
    record: &R,
    read_version: Option<u64>,
) -> Result<u64, PutError> {
    put_if_expiring(store, key, record, read_version, None).await
}

/// As [`put_if`], for an item that expires.
pub(crate) async fn put_if_expiring<S: Store, R: StoredRecord>(
    store: &S,
    key: Key,
    record: &R,
    read_version: Option<u64>,
    expires_at: Option<Timestamp>,
) -> Result<u64, PutError> {
    let version = read_version.map_or(1, |version| version + 1);
    let item = Item { key, body: record.encode(), version, expires_at };
    store.put_if(item, read_version.map_or(Expected::Absent, Expected::Version)).await?;
    Ok(version)
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
