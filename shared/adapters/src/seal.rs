//! Sealing what may hold addresses before it is stored: AES-256-GCM-SIV under the deployment's secret.
//!
//! The SIV mode, because the nonce is derived from where a record lies instead of drawn: a batch written twice must be the same
//! bytes twice, and a nonce that repeats under SIV gives away no more than that two records are equal
//! (<https://datatracker.ietf.org/doc/html/rfc8452>). Never prints the secret or what it seals.

use aes_gcm_siv::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use pipeline::ledger::quarantine::Seal;
use sha2::{Digest as _, Sha256};

const NONCE_BYTES: usize = 12;

/// Seals and opens under one secret.
pub struct SecretSeal(Aes256GcmSiv);

impl SecretSeal {
    /// From 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Aes256GcmSiv::new(secret.into()))
    }

    fn nonce(place: &str) -> [u8; NONCE_BYTES] {
        let hash: [u8; 32] = Sha256::digest(place.as_bytes()).into();
        hash.first_chunk().copied().unwrap_or_default()
    }
}

impl Seal for SecretSeal {
    fn seal(&self, place: &str, clear: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg: clear, aad: place.as_bytes() };
        self.0.encrypt(&Nonce::from(Self::nonce(place)), payload).ok()
    }

    fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        self.0.decrypt(&Nonce::from(Self::nonce(place)), payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_at_its_place_under_its_secret_only() {
        let seal = SecretSeal::new(&[1; 32]);
        let clear = b"{\"to\":\"someone@example.com\"}";
        let sealed = seal.seal("shard-1#5#0", clear).unwrap();
        assert_eq!(sealed, seal.seal("shard-1#5#0", clear).unwrap());
        assert!(!sealed.windows(7).any(|part| part == b"example"));
        assert_eq!(seal.open("shard-1#5#0", &sealed).unwrap(), clear);
        assert_eq!(seal.open("shard-1#5#1", &sealed), None);
        assert_eq!(SecretSeal::new(&[2; 32]).open("shard-1#5#0", &sealed), None);
        let mut damaged = sealed;
        damaged[3] ^= 1;
        assert_eq!(seal.open("shard-1#5#0", &damaged), None);
    }
}
