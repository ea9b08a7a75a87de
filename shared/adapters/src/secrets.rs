//! The secrets of a deployment: the key of the recipient hash, and the key that seals quarantined records.
//!
//! They are generated once and never printed. Losing them loses no counts, but unique counts start again and quarantined records can
//! no longer be opened. On AWS they are an item of the encrypted table. A role for one tenant cannot read it, and whoever can
//! read it can also read everything that the secrets protect.

use event::HashKey;
use pipeline::ports::{Expected, Item, Key, PutError, Store, StoreError};
use sha2::{Digest as _, Sha256};

use crate::randomness::{NoRandomness, random};
use crate::seal::SecretSeal;

const HASH_BYTES: usize = 16;
const SEAL_BYTES: usize = 32;
/// A part of a SHA-256 over the secrets, which reveals nothing that could be used of 48 random bytes.
const CHECKSUM_BYTES: usize = 8;

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
    /// The stored item has the wrong length or checksum.
    #[error("the deployment's secrets at {0} are damaged: restore the item from a backup of the table")]
    Damaged(Key),
    /// The operating system has no random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl Secrets {
    /// The number of secret bytes.
    pub const BYTES: usize = HASH_BYTES + SEAL_BYTES;

    /// Secrets made of these bytes: the key of the hash, then the seal's.
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
    pub fn encode(&self) -> Vec<u8> {
        [self.hash.as_slice(), &self.seal, &self.checksum()].concat()
    }

    /// Reads what [`Secrets::encode`] wrote, or programs before it, which wrote no checksum. `None` if the bytes are damaged.
    pub fn decode(stored: &[u8]) -> Option<Self> {
        let (secrets, checksum) = stored.split_first_chunk()?;
        let secrets = Self::from_bytes(*secrets);
        (checksum.is_empty() || checksum == secrets.checksum()).then_some(secrets)
    }

    fn checksum(&self) -> [u8; CHECKSUM_BYTES] {
        let hash = Sha256::new().chain_update(self.hash).chain_update(self.seal).finalize();
        std::array::from_fn(|index| hash.get(index).copied().unwrap_or_default())
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
        let item = Item { key: key.clone(), body: new.encode(), version: 1, expires_at: None };
        match store.put_if(item, Expected::Absent).await {
            Ok(()) => Ok(new),
            Err(PutError::Conflict) => Self::read(store, &key).await?.ok_or(SecretsError::Damaged(key)),
            Err(PutError::Store(error)) => Err(error.into()),
        }
    }

    async fn read<S: Store>(store: &S, key: &Key) -> Result<Option<Self>, SecretsError> {
        match store.get(vec![key.clone()]).await?.pop().flatten() {
            None => Ok(None),
            // Not replaced by new ones: these would count every recipient as a new one, without anybody noticing.
            Some(item) => {
                Self::decode(&item.body).map(Some).ok_or_else(|| SecretsError::Damaged(key.clone()))
            }
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
        assert_eq!(first.encode(), again.encode());
        assert_ne!((first.hash, first.seal), ([0; HASH_BYTES], [0; SEAL_BYTES]));
        assert_ne!(first.encode(), Secrets::generate().unwrap().encode());
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_secrets_without_a_checksum_are_read() {
        let secrets = Secrets::from_bytes(*b"0123456789abcdef0123456789abcdefghijklmnopqrstuv");
        let stored = secrets.encode();
        let decoded = |stored: &[u8]| Secrets::decode(stored).map(|secrets| secrets.encode());
        assert_eq!(decoded(&stored), Some(stored.clone()));
        assert_eq!(decoded(&stored[..Secrets::BYTES]), Some(stored.clone()));
        for bit in 0..8 * stored.len() {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decoded(&damaged), None, "{bit}");
        }
        for length in (0..Secrets::BYTES).chain(Secrets::BYTES + 1..stored.len()) {
            assert_eq!(decoded(&stored[..length]), None, "{length}");
        }
    }

    #[tokio::test]
    async fn damaged_secrets_are_not_replaced() {
        let store = MemoryStore::default();
        let key = pipeline::layout::secrets();
        store.put(vec![Item { key, body: b"short".to_vec(), version: 1, expires_at: None }]).await.unwrap();
        assert!(matches!(Secrets::of_store(&store).await, Err(SecretsError::Damaged(_))));
    }
}
