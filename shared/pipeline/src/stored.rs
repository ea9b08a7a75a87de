//! Reading and writing [`StoredRecord`]s in a [`Store`].
//!
//! A record that cannot be read is an error that names its key and stops the step that needs it: a default in its place would miscount. What
//! a record means is not known here.
//!
//! Concurrent changes of one record are conditional writes, and [`change`] is the one place that repeats a write that lost. It reads again
//! at once, without a pause. A lost condition is no sign of an overloaded store: it means that another writer's change was stored in
//! between, so the writers together make progress, and the next read sees that change. The records changed in this way have few writers
//! (operators at work, one detection run, one exporter for each shard), so no crowd of losers forms that pauses with jitter would have to
//! spread. Throttling is another matter: the stores' clients retry it, with backoff and jitter.

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
    /// The record, or its default if there is no item.
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
    // Only a missing item means the default. One that cannot be read never does: counting would start over.
    let Some(item) = item else { return Ok(Versioned { record: R::default(), version: None }) };
    Ok(Versioned { record: decode(item)?, version: Some(item.version) })
}

/// Decodes the record in an item.
pub(crate) fn decode<R: StoredRecord>(item: &Item) -> Result<R, ReadError> {
    R::decode(&item.body).map_err(|source| ReadError::Record { key: item.key.clone(), source })
}

/// The item for a record that is always put whole.
pub(crate) fn item<R: StoredRecord>(key: Key, record: &R, expires_at: Option<Timestamp>) -> Item {
    // Nobody writes such an item conditionally, so its version means nothing.
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
    // Versions begin with 1: 0 is that of unconditional writes.
    let version = read_version.map_or(1, |version| version + 1);
    let item = Item { key, body: record.encode(), version, expires_at };
    store.put_if(item, read_version.map_or(Expected::Absent, Expected::Version)).await?;
    Ok(version)
}

/// How often [`change`] reads and writes before it gives up. Each lost attempt is a change of the same record by somebody else within the
/// time of one read and one write; eight in a row are a fault that must be seen rather than waited out.
const CHANGE_ATTEMPTS: usize = 8;

/// A record was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The store failed or the stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Other writers changed the record during each attempt.
    #[error("stored item {0} is being changed by other processes: try again")]
    Contended(Key),
}

/// Changes the record at `key` to what `change` makes of the stored one, which is `None` if there is no item. If `change` returns `None`,
/// nothing is written. Returns the record as it is then.
///
/// `change` may be called several times, each time with what another writer has stored meanwhile.
pub(crate) async fn change<S: Store, R: StoredRecord>(
    store: &S,
    key: &Key,
    expires_at: Option<Timestamp>,
    change: impl Fn(Option<&R>) -> Option<R>,
) -> Result<Option<R>, ChangeError> {
    for _ in 0..CHANGE_ATTEMPTS {
        let found = store.get(vec![key.clone()]).await.map_err(ReadError::from)?.into_iter().flatten().next();
        let before: Option<R> = found.as_ref().map(decode).transpose()?;
        let Some(after) = change(before.as_ref()) else { return Ok(before) };
        let read_version = found.map(|item| item.version);
        match put_if_expiring(store, key.clone(), &after, read_version, expires_at).await {
            Ok(_) => return Ok(Some(after)),
            Err(PutError::Conflict) => {}
            // Not repeated: the write may have happened, and only the caller knows whether a second one would do harm.
            Err(PutError::Store(source)) => return Err(ReadError::Store(source).into()),
        }
    }
    Err(ChangeError::Contended(key.clone()))
}

/// Reads all items of a range, page by page.
pub(crate) async fn range<S: Store>(store: &S, range: Range) -> Result<Vec<Item>, StoreError> {
    let mut items = Vec::new();
    let mut rest = Some(range);
    while let Some(range) = rest {
        // One page after the other: the next one begins where the store ended this one.
        let page = store.range(range).await?;
        items.extend(page.items);
        rest = page.rest;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::testing::contended::ContendedStore;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Total(u64);

    impl StoredRecord for Total {
        const NAME: &'static str = "total";
        const FORMAT: u8 = 3;
    }

    fn key() -> Key {
        Key { partition: "totals".to_owned(), sort: "1".to_owned() }
    }

    fn add_one(total: Option<&Total>) -> Total {
        Total(total.map_or(0, |total| total.0) + 1)
    }

    #[tokio::test]
    async fn change_is_made_again_from_what_another_writer_stored_but_not_for_ever() {
        for (lost, expected) in
            [(0, Some(1)), (1, Some(2)), (CHANGE_ATTEMPTS - 1, Some(2)), (CHANGE_ATTEMPTS, None)]
        {
            let store = ContendedStore::new(lost);
            let changed = change(&store, &key(), None, |total| Some(add_one(total))).await;
            match expected {
                // The first rival writes the same first record, so a change that was not lost adds to that.
                Some(total) => assert_eq!(changed.unwrap(), Some(Total(total)), "{lost}"),
                None => assert!(matches!(changed, Err(ChangeError::Contended(named)) if named == key())),
            }
        }
    }

    #[tokio::test]
    async fn change_of_nothing_writes_nothing_and_returns_the_stored_record() {
        let store = ContendedStore::new(0);
        assert_eq!(change(&store, &key(), None, |_: Option<&Total>| None).await.unwrap(), None);
        assert!(store.inner.snapshot().is_empty());
        change(&store, &key(), None, |total| Some(add_one(total))).await.unwrap();
        assert_eq!(change(&store, &key(), None, |_: Option<&Total>| None).await.unwrap(), Some(Total(1)));
        assert_eq!(store.inner.snapshot()[0].version, 1);
    }

    #[tokio::test]
    async fn record_that_cannot_be_read_is_never_changed() {
        let store = ContendedStore::new(0);
        let damaged = Item { key: key(), body: b"{}".to_vec(), version: 4, expires_at: None };
        store.inner.put(vec![damaged.clone()]).await.unwrap();
        let refused = change(&store, &key(), None, |total| Some(add_one(total))).await;
        assert!(matches!(refused, Err(ChangeError::Read(ReadError::Record { .. }))), "{refused:?}");
        assert_eq!(store.inner.snapshot(), [damaged]);
    }
}
