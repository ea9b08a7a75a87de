//! Encrypts records that may contain addresses before they are stored: AES-256-GCM-SIV under the deployment's secret.
//!
//! The nonce is derived from the record's key instead of being random, so that a batch that is written twice is byte for byte the same.
//! That is safe in SIV mode: a repeated nonce reveals only whether two records are equal
//! (<https://datatracker.ietf.org/doc/html/rfc8452>). Never logs the secret or what it encrypts.

use aes_gcm_siv::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use pipeline::ledger::quarantine::Seal;
use sha2::{Digest as _, Sha256};

const NONCE_BYTES: usize = 12;

/// Encrypts and decrypts under one secret.
pub struct SecretSeal(Aes256GcmSiv);

impl SecretSeal {
    /// Uses 32 secret bytes as the key.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Aes256GcmSiv::new(secret.into()))
    }

    fn nonce(location: &str) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        // A hash of 32 bytes fills the 12 bytes of a nonce.
        for (byte, hashed) in nonce.iter_mut().zip(Sha256::digest(location.as_bytes())) {
            *byte = hashed;
        }
        nonce
    }
}

impl Seal for SecretSeal {
    fn seal(&self, location: &str, clear: &[u8]) -> Option<Vec<u8>> {
        // The location is authenticated too, so that a sealed record that was moved elsewhere does not open.
        let payload = Payload { msg: clear, aad: location.as_bytes() };
        self.0.encrypt(&Nonce::from(Self::nonce(location)), payload).ok()
    }

    fn open(&self, location: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg: sealed, aad: location.as_bytes() };
        self.0.decrypt(&Nonce::from(Self::nonce(location)), payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_record_opens_only_at_its_location_under_its_secret() {
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
