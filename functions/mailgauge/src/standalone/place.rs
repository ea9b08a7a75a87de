//! Where everything is kept: an embedded store in a folder, or a DynamoDB table.
//!
//! A folder is ours alone while we have it open; a table belongs to a deployment that counts at the same time, so nobody's lease may be
//! ended there and expiry is left to DynamoDB.

#[cfg(feature = "aws")]
use adapters::aws::dynamodb::DynamoStore;
use adapters::embedded::EmbeddedStore;
use event::Timestamp;
use pipeline::ports::{Expected, Item, Key, Page, PutError, Range, Store, StoreError};

/// A store of either kind.
pub enum Place {
    /// In a folder.
    Folder(EmbeddedStore),
    /// In a table.
    #[cfg(feature = "aws")]
    Table(DynamoStore),
}

impl Place {
    /// Whether no other process can be writing.
    pub const fn is_ours_alone(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            #[cfg(feature = "aws")]
            Self::Table(_) => false,
        }
    }

    /// Why the last write failed, if none has succeeded since. Always `None` for a table, where each call succeeds or fails on its own.
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Folder(store) => store.fault(),
            #[cfg(feature = "aws")]
            Self::Table(_) => None,
        }
    }

    /// If the last write failed, checks with a test write whether writing works again.
    pub async fn recover(&self) -> Result<(), StoreError> {
        match self {
            Self::Folder(store) => store.recover().await,
            #[cfg(feature = "aws")]
            Self::Table(_) => Ok(()),
        }
    }

    /// Removes what has expired, where nothing else does.
    pub async fn drop_expired(&self, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Folder(store) => store.drop_expired(now).await.map(|_| ()),
            #[cfg(feature = "aws")]
            Self::Table(_) => Ok(()),
        }
    }
}

impl Store for Place {
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
