//! The store of the local process: embedded in a folder, or a DynamoDB table.
//!
//! A folder is locked while it is open. A table belongs to a deployment that counts at the same time, so no lease may be ended there, and
//! DynamoDB itself drops expired items.

#[cfg(feature = "aws")]
use adapters::aws::dynamodb::DynamoStore;
use adapters::embedded::EmbeddedStore;
use event::Timestamp;
use pipeline::ports::{Expected, Item, Key, Page, PutError, Range, Store, StoreError};

/// The store of a folder or of a deployment.
pub enum StandaloneStore {
    /// The embedded store of a data folder, locked by this process.
    Folder(EmbeddedStore),
    /// The DynamoDB table of a deployment, which other processes write to as well.
    #[cfg(feature = "aws")]
    Table(DynamoStore),
}

impl StandaloneStore {
    /// Whether no other process can write to it.
    pub const fn is_exclusive(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            #[cfg(feature = "aws")]
            Self::Table(_) => false,
        }
    }

    /// Why the last write failed, unless one has succeeded since. Always `None` for a table, which reports each failure by itself.
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Folder(store) => store.fault(),
            #[cfg(feature = "aws")]
            Self::Table(_) => None,
        }
    }

    /// After a failed write, tests whether writing works again.
    pub async fn recover(&self) -> Result<(), StoreError> {
        match self {
            Self::Folder(store) => store.recover().await,
            #[cfg(feature = "aws")]
            Self::Table(_) => Ok(()),
        }
    }

    /// Removes expired items, if the store does not do so by itself.
    pub async fn drop_expired(&self, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Folder(store) => store.drop_expired(now).await.map(|_| ()),
            #[cfg(feature = "aws")]
            Self::Table(_) => Ok(()),
        }
    }
}

impl Store for StandaloneStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        match self {
            Self::Folder(store) => store.get(keys).await,
            #[cfg(feature = "aws")]
            Self::Table(store) => store.get(keys).await,
        }
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        match self {
            Self::Folder(store) => store.range(range).await,
            #[cfg(feature = "aws")]
            Self::Table(store) => store.range(range).await,
        }
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        match self {
            Self::Folder(store) => store.put(items).await,
            #[cfg(feature = "aws")]
            Self::Table(store) => store.put(items).await,
        }
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        match self {
            Self::Folder(store) => store.put_if(item, expected).await,
            #[cfg(feature = "aws")]
            Self::Table(store) => store.put_if(item, expected).await,
        }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        match self {
            Self::Folder(store) => store.delete(keys).await,
            #[cfg(feature = "aws")]
            Self::Table(store) => store.delete(keys).await,
        }
    }
}
