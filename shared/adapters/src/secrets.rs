//! The secrets of a deployment: the key of the recipient hash, and the key that seals quarantined records.
//!
//! They are generated once and never printed. Losing them loses no counts, but unique counts start again and quarantined records can
//! no longer be opened. On AWS they are an item of the encrypted table. A role for one tenant cannot read it, and whoever can
//! read it can also read everything that the secrets protect.

use event::HashKey;
use pipeline::ports::{Expected, Item, Key, PutError, Store, StoreError};

use crate::randomness::{NoRandomness, random};
use crate::seal::SecretSeal;

const HASH_BYTES: usize = 16;
const SEAL_BYTES: usize = 32;

/// 48 random bytes: 16 for the hash, 32 for the seal.
#[derive(Clone)]
pub struct Secrets {
    hash: [u8; HASH_BYTES],
    seal: [u8; SEAL_BYTES],
}

/// The secrets could not be read or created.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A call to the store failed.
    #[error("the deployment's secrets could not be read or created")]
    Store(#[from] StoreError),
    /// The stored item has the wrong length.
    #[error("the deployment's secrets at {0} are damaged: restore the item from a backup of the table")]
    Damaged(Key),
    /// The operating system has no random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl Secrets {
    /// The length of [`Secrets::bytes`].
    pub const BYTES: usize = HASH_BYTES + SEAL_BYTES;

    /// Restores secrets from [`Secrets::bytes`].
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let (mut hash, mut seal) = ([0; HASH_BYTES], [0; SEAL_BYTES]);
        let (first, last) = bytes.split_at(HASH_BYTES);
        hash.copy_from_slice(first);
        seal.copy_from_slice(last);
        Self { hash, seal }
    }

    /// Generates new secrets.
    ///
    /// # Errors
    /// [`NoRandomness`] if the operating system has no random numbers.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self { hash: random()?, seal: random()? })
    }

    /// The bytes to store where nobody else can read them.
    pub fn bytes(&self) -> Vec<u8> {
        [self.hash.as_slice(), &self.seal].concat()
    }

    /// The key of the recipient hash.
    pub fn hash_key(&self) -> HashKey {
        HashKey::new(self.hash)
    }

    /// The seal of quarantined records.
    pub fn seal(&self) -> SecretSeal {
        SecretSeal::new(&self.seal)
    }

    /// Reads the secrets of a store, or generates them if it has none. If two processes generate them at the same time, both get those
    /// that were stored first.
    ///
    /// # Errors
    /// [`SecretsError`] if they can be neither read nor created.
    pub async fn of_store<S: Store>(store: &S) -> Result<Self, SecretsError> {
        let key = pipeline::layout::secrets();
        if let Some(secrets) = Self::read(store, &key).await? {
            return Ok(secrets);
        }
        let new = Self::generate()?;
        let item = Item { key: key.clone(), body: new.bytes(), version: 1, expires_at: None };
        match store.put_if(item, Expected::Absent).await {
            Ok(()) => Ok(new),
            Err(PutError::Conflict) => Self::read(store, &key).await?.ok_or(SecretsError::Damaged(key)),
            Err(PutError::Store(error)) => Err(error.into()),
        }
    }

    async fn read<S: Store>(store: &S, key: &Key) -> Result<Option<Self>, SecretsError> {
        match store.get(vec![key.clone()]).await?.pop().flatten() {
            None => Ok(None),
            Some(item) => match <[u8; Self::BYTES]>::try_from(item.body) {
                Ok(bytes) => Ok(Some(Self::from_bytes(bytes))),
                // Not replaced by new ones: these would count every recipient as a new one, without anybody noticing.
                Err(_) => Err(SecretsError::Damaged(key.clone())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline::memory::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn secrets_of_a_store_are_generated_once() {
        let store = MemoryStore::default();
        let first = Secrets::of_store(&store).await.unwrap();
        let again = Secrets::of_store(&store).await.unwrap();
        assert_eq!(first.bytes(), again.bytes());
        assert_ne!(first.bytes(), [0; Secrets::BYTES]);
        assert_ne!(first.bytes(), Secrets::generate().unwrap().bytes());
    }

    #[tokio::test]
    async fn damaged_secrets_are_not_replaced() {
        let store = MemoryStore::default();
        let key = pipeline::layout::secrets();
        store.put(vec![Item { key, body: b"short".to_vec(), version: 1, expires_at: None }]).await.unwrap();
        assert!(matches!(Secrets::of_store(&store).await, Err(SecretsError::Damaged(_))));
    }
}
