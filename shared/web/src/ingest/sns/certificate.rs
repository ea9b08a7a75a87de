//! The certificates that SNS signs with: read once, kept by address, bounded.
//!
//! A certificate is trusted because it came over TLS from SNS's own host, as AWS's own validators do; its chain is not in
//! the file. Nothing else is learned from it than the key and its time.

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

/// One or two for each of some 35 regions.
const MAX_CERTIFICATES: usize = 128;

/// A key and when it may be used.
#[derive(Debug)]
pub(super) struct Certificate {
    /// DER of the RSA public key (RFC 8017).
    public_key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    pub(super) fn from_pem(pem: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_pem(pem).ok()?;
        let signed = certificate.tbs_certificate();
        Some(Self {
            public_key: signed.subject_public_key_info().subject_public_key.raw_bytes().to_vec(),
            not_before: moment(signed.validity().not_before)?,
            not_after: moment(signed.validity().not_after)?,
        })
    }

    /// Whether it may be used at `now`.
    pub(super) fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether its holder signed `text`; version 1 is RSA with SHA-1, version 2 with SHA-256, no other is known.
    pub(super) fn signed(&self, version: &str, text: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match version {
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, &self.public_key).verify(text, signature).is_ok()
    }
}

fn moment(time: Time) -> Option<Timestamp> {
    i64::try_from(time.to_unix_duration().as_millis()).ok().map(Timestamp::from_millis)
}

/// Certificates by address. Only what SNS's hosts gave out gets in, so that no stranger can fill it.
#[derive(Default)]
pub(super) struct Certificates(Mutex<HashMap<CertificateUrl, Arc<Certificate>>>);

impl Certificates {
    /// A certificate that is kept.
    pub(super) fn get(&self, url: &CertificateUrl) -> Option<Arc<Certificate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    /// Keeps a certificate. When there are too many, all go: those in use are soon back.
    pub(super) fn keep(&self, url: CertificateUrl, certificate: Arc<Certificate>) {
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
    fn a_certificate_is_valid_within_its_time() {
        let certificate = Certificate::from_pem(include_bytes!("../../tests/sns/expired.pem")).unwrap();
        let [from, to] = ["2025-01-01T00:00:00Z", "2026-11-25T11:59:59Z"]
            .map(|time| Timestamp::from_millis(time.parse::<jiff::Timestamp>().unwrap().as_millisecond()));
        assert!(certificate.is_valid_at(from) && certificate.is_valid_at(to));
        assert!(
            !certificate.is_valid_at(from.plus_millis(-1)) && !certificate.is_valid_at(to.plus_millis(1))
        );
    }

    #[test]
    fn certificates_are_kept_up_to_their_number() {
        let kept = Certificates::default();
        let certificate = Certificate::from_pem(include_bytes!("../../tests/sns/certificate.pem")).unwrap();
        let certificate = Arc::new(certificate);
        let url = |number: usize| {
            let url = format!("https://sns.us-east-1.amazonaws.com/SimpleNotificationService-{number}.pem");
            CertificateUrl::parse(&url).unwrap()
        };
        for number in 0..MAX_CERTIFICATES {
            kept.keep(url(number), Arc::clone(&certificate));
        }
        assert!(kept.get(&url(0)).is_some());
        kept.keep(url(MAX_CERTIFICATES), certificate);
        assert!(kept.get(&url(0)).is_none() && kept.get(&url(MAX_CERTIFICATES)).is_some());
    }

    #[test]
    fn bytes_that_are_no_certificate_are_none() {
        for bytes in
            [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\x00"]
        {
            assert!(Certificate::from_pem(bytes).is_none());
        }
    }
}
