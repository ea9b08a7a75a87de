//! A token issuer for tests: it has one key, and a visit to any address but its own fails the test.

use std::sync::Arc;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use web::{CertificateUrl, Fetch, FetchError, IssuerUrl, SubscribeUrl};

/// A token issuer with one Ed25519 key.
#[derive(Clone)]
pub(super) struct TokenIssuer(Arc<Ed25519KeyPair>);

impl TokenIssuer {
    pub(super) const URL: &str = "https://id.example.com";

    pub(super) fn new(seed: u8) -> Self {
        Self(Arc::new(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()))
    }

    pub(super) fn token(&self, header: &Value, claims: &Value) -> String {
        let text = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", text(header), text(claims));
        let signature = self.0.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Fetch for TokenIssuer {
    async fn certificate(&self, _: &CertificateUrl) -> Result<Bytes, FetchError> {
        Err(FetchError { what: "a certificate", source: "none".into() })
    }

    async fn confirm(&self, _: &SubscribeUrl) -> Result<(), FetchError> {
        Err(FetchError { what: "a confirmation", source: "none".into() })
    }

    async fn document(&self, url: &IssuerUrl, _: Option<String>) -> Result<Bytes, FetchError> {
        let keys = format!("{}/keys", Self::URL);
        assert!(url.as_str().starts_with(Self::URL), "{url:?} was visited");
        let document = if url.as_str() == keys {
            let point = URL_SAFE_NO_PAD.encode(self.0.public_key());
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": point }] })
        } else {
            json!({ "issuer": Self::URL, "jwks_uri": keys })
        };
        Ok(document.to_string().into())
    }
}
