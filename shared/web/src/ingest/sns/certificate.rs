//! The certificates that SNS signs with: fetched once and cached by URL, up to a limit.
//!
//! A certificate is trusted because it was fetched over TLS from SNS's own host, as AWS's own validators do; the file does not hold its
//! chain. Only its public key and its validity are used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use event::Timestamp;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use x509_cert::der::DecodePem as _;
use x509_cert::time::Time;

use super::url::CertificateUrl;

/// AWS has some 35 regions, with one or two certificates each.
const MAX_CERTIFICATES: usize = 128;

/// A public key and its validity.
#[derive(Debug)]
pub(super) struct SigningCertificate {
    /// DER of the RSA public key (RFC 8017).
    public_key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl SigningCertificate {
    /// Parses the first certificate of a PEM file.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_pem(pem).ok()?;
        let signed = certificate.tbs_certificate();
        Some(Self {
            public_key: signed.subject_public_key_info().subject_public_key.raw_bytes().to_vec(),
            not_before: timestamp(signed.validity().not_before)?,
            not_after: timestamp(signed.validity().not_after)?,
        })
    }

    /// Whether it is valid at `now`.
    pub(super) fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether its holder signed `text`. Signature version 1 is RSA with SHA-1, version 2 RSA with SHA-256; there are no others.
    pub(super) fn signed(&self, version: &str, text: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match version {
            // Topics sign with version 1 unless their owner sets SignatureVersion to 2, so it cannot be refused.
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, &self.public_key).verify(text, signature).is_ok()
    }
}

fn timestamp(time: Time) -> Option<Timestamp> {
    i64::try_from(time.to_unix_duration().as_millis()).ok().map(Timestamp::from_millis)
}

/// Certificates by URL. Only certificates from SNS's hosts are stored, so a stranger cannot fill the cache.
#[derive(Default)]
pub(super) struct Certificates(Mutex<HashMap<CertificateUrl, Arc<SigningCertificate>>>);

impl Certificates {
    /// The certificate that was fetched from this URL, if it is still cached.
    pub(super) fn get(&self, url: &CertificateUrl) -> Option<Arc<SigningCertificate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    /// Caches a certificate. A full cache is cleared, since those in use are soon fetched again.
    pub(super) fn insert(&self, url: CertificateUrl, certificate: Arc<SigningCertificate>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_CERTIFICATES {
            kept.clear();
        }
        kept.insert(url, certificate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_is_valid_from_its_start_to_its_end() {
        let certificate =
            SigningCertificate::from_pem(include_bytes!("../../tests/sns/expired.pem")).unwrap();
        let [from, to] = ["2025-01-01T00:00:00Z", "2026-11-25T11:59:59Z"]
            .map(|time| Timestamp::from_millis(time.parse::<jiff::Timestamp>().unwrap().as_millisecond()));
        assert!(certificate.is_valid_at(from) && certificate.is_valid_at(to));
        assert!(
            !certificate.is_valid_at(from.plus_millis(-1)) && !certificate.is_valid_at(to.plus_millis(1))
        );
    }

    #[test]
    fn certificates_are_cached_up_to_the_limit() {
        let kept = Certificates::default();
        let certificate =
            SigningCertificate::from_pem(include_bytes!("../../tests/sns/certificate.pem")).unwrap();
        let certificate = Arc::new(certificate);
        let url = |number: usize| {
            let url = format!("https://sns.us-east-1.amazonaws.com/SimpleNotificationService-{number}.pem");
            CertificateUrl::parse(&url).unwrap()
        };
        for number in 0..MAX_CERTIFICATES {
            kept.insert(url(number), Arc::clone(&certificate));
        }
        assert!(kept.get(&url(0)).is_some());
        kept.insert(url(MAX_CERTIFICATES), certificate);
        assert!(kept.get(&url(0)).is_none() && kept.get(&url(MAX_CERTIFICATES)).is_some());
    }

    #[test]
    fn malformed_certificate_is_not_parsed() {
        for bytes in
            [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\x00"]
        {
            assert!(SigningCertificate::from_pem(bytes).is_none());
        }
    }
}
