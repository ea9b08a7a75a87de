//! The secrets of a deployment: what addresses are hashed under and unreadable records are sealed with.
//!
//! Made once, at random, and never printed. Whoever loses them keeps all counts, but unique counts begin anew and quarantined records
//! cannot be opened any more. On AWS they lie in the table, which is encrypted and which a role for one tenant cannot read beyond
//! that tenant's keys: whoever could read them there can read all that they protect.

use event::HashKey;
use pipeline::ports::{Expected, Item, Key, PutError, Store, StoreError};

use crate::randomness::{NoRandomness, random};
use crate::seal::SecretSeal;

const HASH_BYTES: usize = 16;
const SEAL_BYTES: usize = 32;

/// 48 random bytes.
#[derive(Clone)]
pub struct Secrets([u8; Secrets::BYTES]);

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The store failed.
    #[error("the deployment's secrets could not be read or made")]
    Store(#[from] StoreError),
    /// What is stored is not as it was written.
    #[error("the deployment's secrets at {0} are damaged: restore the item from a backup of the table")]
    Damaged(Key),
    /// The system gives no random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl Secrets {
    /// How many bytes they have.
    pub const BYTES: usize = HASH_BYTES + SEAL_BYTES;

    /// From what [`Secrets::bytes`] gave.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// New ones.
    ///
    /// # Errors
    /// [`NoRandomness`] if the system gives no random numbers.
    pub fn generate() -> Result<Self, NoRandomness> {
        random().map(Self)
    }

    /// What to keep, in a place that nobody else reads.
    pub const fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// What addresses are hashed under.
    pub fn hash_key(&self) -> HashKey {
        HashKey::new(self.0.first_chunk().copied().unwrap_or_default())
    }

    /// What unreadable records are sealed with.
    pub fn seal(&self) -> SecretSeal {
        SecretSeal::new(&self.0.last_chunk::<SEAL_BYTES>().copied().unwrap_or_default())
    }

    /// Those of a store; new ones if it has none. Of two processes that make them at once, both get those of the first.
    ///
    /// # Errors
    /// [`SecretsError`] if they can be neither read nor made.
    pub async fn of_store<S: Store>(store: &S) -> Result<Self, SecretsError> {
        let key = Key { partition: "secrets".to_owned(), sort: "1".to_owned() };
        if let Some(secrets) = Self::read(store, &key).await? {
            return Ok(secrets);
        }
        let new = Self::generate()?;
        let item = Item { key: key.clone(), body: new.0.to_vec(), version: 1, expires_at: None };
        match store.put_if(item, Expected::Absent).await {
            Ok(()) => Ok(new),
            Err(PutError::Conflict) => Self::read(store, &key).await?.ok_or(SecretsError::Damaged(key)),
            Err(PutError::Store(error)) => Err(error.into()),
        }
    }

    async fn read<S: Store>(store: &S, key: &Key) -> Result<Option<Self>, SecretsError> {
        match store.get(vec![key.clone()]).await?.pop().flatten() {
            None => Ok(None),
            Some(item) => match item.body.try_into() {
                Ok(bytes) => Ok(Some(Self(bytes))),
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
    async fn secrets_of_a_store_are_made_once() {
        let store = MemoryStore::default();
        let first = Secrets::of_store(&store).await.unwrap();
        let again = Secrets::of_store(&store).await.unwrap();
        assert_eq!(first.bytes(), again.bytes());
        assert_ne!(first.bytes(), &[0; Secrets::BYTES]);
        assert_ne!(first.bytes(), Secrets::generate().unwrap().bytes());
    }

    #[tokio::test]
    async fn damaged_secrets_are_not_replaced() {
        let store = MemoryStore::default();
        let key = Key { partition: "secrets".to_owned(), sort: "1".to_owned() };
        store.put(vec![Item { key, body: b"short".to_vec(), version: 1, expires_at: None }]).await.unwrap();
        assert!(matches!(Secrets::of_store(&store).await, Err(SecretsError::Damaged(_))));
    }
}
