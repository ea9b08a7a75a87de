//! Sealing what may hold addresses before it is stored: AES-256-GCM-SIV under the deployment's secret.
//!
//! The SIV mode, because the nonce is derived from where a record lies instead of drawn: a batch written twice must be the same
//! bytes twice, and a nonce that repeats under SIV gives away no more than that two records are equal
//! (<https://datatracker.ietf.org/doc/html/rfc8452>). Never prints the secret or what it seals.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::error::Unspecified;
use pipeline::quarantine::Seal;

/// Seals and opens under one secret.
#[derive(Debug)]
pub struct SecretSeal(LessSafeKey);

impl SecretSeal {
    /// From 32 secret bytes.
    ///
    /// # Errors
    /// [`Unspecified`] if the cryptography library refuses; it does not for a key of this length.
    pub fn new(secret: &[u8; 32]) -> Result<Self, Unspecified> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, secret)?)))
    }

    fn nonce(place: &str) -> Result<Nonce, Unspecified> {
        let hash = digest::digest(&digest::SHA256, place.as_bytes());
        let first = hash.as_ref().first_chunk().ok_or(Unspecified)?;
        Ok(Nonce::assume_unique_for_key(*first))
    }
}

impl Seal for SecretSeal {
    fn seal(&self, place: &str, clear: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = clear.to_vec();
        let nonce = Self::nonce(place).ok()?;
        self.0.seal_in_place_append_tag(nonce, Aad::from(place.as_bytes()), &mut sealed).ok()?;
        Some(sealed)
    }

    fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut clear = sealed.to_vec();
        let nonce = Self::nonce(place).ok()?;
        let length = self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut clear).ok()?.len();
        clear.truncate(length);
        Some(clear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_at_its_place_under_its_secret_only() {
        let seal = SecretSeal::new(&[1; 32]).unwrap();
        let clear = b"{\"to\":\"someone@example.com\"}";
        let sealed = seal.seal("shard-1#5#0", clear).unwrap();
        assert_eq!(sealed, seal.seal("shard-1#5#0", clear).unwrap());
        assert!(!sealed.windows(7).any(|part| part == b"example"));
        assert_eq!(seal.open("shard-1#5#0", &sealed).unwrap(), clear);
        assert_eq!(seal.open("shard-1#5#1", &sealed), None);
        assert_eq!(SecretSeal::new(&[2; 32]).unwrap().open("shard-1#5#0", &sealed), None);
        let mut damaged = sealed;
        damaged[3] ^= 1;
        assert_eq!(seal.open("shard-1#5#0", &damaged), None);
    }
}
