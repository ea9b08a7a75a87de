//! Reading and writing [`StoredRecord`]s in a [`Store`].
//!
//! A record that cannot be read is an error that names its key and stops the step that needs it: a default in its place would miscount. What
//! a record means is not known here.

use event::Timestamp;

use crate::codec::{MalformedRecord, StoredRecord};
use crate::ports::{Expected, Item, Key, PutError, Range, Store, StoreError};

/// A stored record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed. [`StoreError::kind`](crate::ports::StoreError) says whether a retry helps.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The item is not a record that this program can read. The source says what to do.
    #[error("stored item {key} cannot be read")]
    Record {
        /// The key of the item.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: MalformedRecord,
    },
}

/// A record and the version its item had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub record: T,
    /// The item's version; `None` if there is no item.
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

/// Reads all items of a range, page by page.
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
