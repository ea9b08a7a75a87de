//! The issuer's public keys: fetched when first needed, cached for an hour, and fetched again when a token names an unknown key.
//!
//! Anybody can send tokens that name unknown keys, so these cause at most one request to the issuer every half minute.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Bytes;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{IssuerUrl, TokenError};
use crate::fetch::FetchError;

/// How long cached keys are used without fetching them again, so that a withdrawn key is not accepted for long.
const FRESH: Duration = Duration::from_hours(1);
/// How long cached keys are used while the issuer cannot be reached, so that its outage does not lock everybody out.
const STALE: Duration = Duration::from_hours(24);
/// Minimum time between two requests to the issuer.
const PAUSE: Duration = Duration::from_secs(30);
/// Most keys that are kept. An issuer has two or three, sometimes a dozen.
const MAX_KEYS: usize = 64;

/// Fetches a document of the issuer, or its reply to a form.
pub(crate) type GetDocument = Arc<
    dyn Fn(IssuerUrl, Option<String>) -> Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send>>
        + Send
        + Sync,
>;

/// The keys of one issuer.
pub(crate) struct IssuerKeys {
    issuer: IssuerUrl,
    get: GetDocument,
    cached: RwLock<Option<Arc<CachedKeys>>>,
    /// When the keys were last fetched. Locked while they are being fetched.
    fetched_at: tokio::sync::Mutex<Option<Instant>>,
}

struct CachedKeys {
    keys: Vec<Jwk>,
    endpoints: Option<Endpoints>,
    at: Instant,
}

/// The issuer's endpoints for signing in.
#[derive(Clone)]
pub(crate) struct Endpoints {
    /// The URL to which the browser is sent.
    pub(crate) authorization: String,
    token: String,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl IssuerKeys {
    /// The keys of an issuer. They are fetched when first needed.
    pub(crate) fn new(issuer: IssuerUrl, get: GetDocument) -> Self {
        Self { issuer, get, cached: RwLock::default(), fetched_at: tokio::sync::Mutex::default() }
    }

    /// The key with this id. Without an id, the issuer's key if it has only one.
    pub(crate) async fn find(&self, id: Option<&str>) -> Result<Jwk, TokenError> {
        if let Some(cached) = self.cached().filter(|cached| cached.at.elapsed() < FRESH)
            && let Some(key) = cached.key(id)
        {
            return Ok(key);
        }
        self.refresh().await;
        let cached =
            self.cached().filter(|cached| cached.at.elapsed() < STALE).ok_or(TokenError::Unavailable)?;
        cached.key(id).ok_or(TokenError::Invalid("the token is signed with a key its issuer does not have"))
    }

    fn cached(&self) -> Option<Arc<CachedKeys>> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches the keys, unless they were fetched a moment ago.
    async fn refresh(&self) {
        // Held during the fetch, so that many tokens with an unknown key cause one request; the others find fresh keys or the pause.
        let mut fetched_at = self.fetched_at.lock().await;
        if fetched_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        match self.fetch().await {
            Ok((keys, endpoints)) => {
                let cached = Arc::new(CachedKeys { keys, endpoints, at: Instant::now() });
                *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(cached);
            }
            Err(error) => {
                tracing::warn!(issuer = self.issuer.as_str(), error, "the issuer's keys could not be read");
            }
        }
        // Also after a failure: an issuer that is down must not be asked by every request.
        *fetched_at = Some(Instant::now());
    }

    /// The issuer's endpoints for signing in.
    pub(crate) async fn endpoints(&self) -> Result<Endpoints, TokenError> {
        if self.cached().is_none_or(|cached| cached.at.elapsed() >= FRESH) {
            self.refresh().await;
        }
        let cached = self.cached().ok_or(TokenError::Unavailable)?;
        cached.endpoints.clone().ok_or(TokenError::Unavailable)
    }

    /// Exchanges an authorization code for tokens.
    pub(crate) async fn exchange(&self, form: String) -> Result<Bytes, TokenError> {
        let endpoint = self.endpoints().await?.token;
        let endpoint = self.checked(&endpoint).map_err(|_| TokenError::Unavailable)?;
        (self.get)(endpoint, Some(form)).await.map_err(|error| {
            tracing::warn!(error = %error.source, "the issuer returns no token");
            TokenError::Invalid("the identity provider does not accept the code")
        })
    }

    async fn fetch(&self) -> Result<(Vec<Jwk>, Option<Endpoints>), String> {
        let issuer = self.issuer.as_str();
        let document = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery: Discovery = self.read(&document).await?;
        // Required by OpenID Connect Discovery 1.0, section 4.3: otherwise one tenant of a provider could stand for another.
        if discovery.issuer != issuer {
            return Err(format!(
                "{document} is about {:?}: configure the issuer as it is written there",
                discovery.issuer
            ));
        }
        let set: KeySet = self.read(&discovery.jwks_uri).await?;
        // Keys of unknown types are ignored.
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let signs = |key: &Jwk| !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption));
        let endpoints = discovery.authorization_endpoint.zip(discovery.token_endpoint);
        let endpoints = endpoints.filter(|(authorization, _)| self.checked(authorization).is_ok());
        let endpoints = endpoints.map(|(authorization, token)| Endpoints { authorization, token });
        Ok((keys.filter(signs).take(MAX_KEYS).collect(), endpoints))
    }

    fn checked(&self, url: &str) -> Result<IssuerUrl, String> {
        let checked = IssuerUrl::parse(url).map_err(|_| format!("{url:?} is not a URL to read keys from"))?;
        // An issuer on another host must not make this process call services on its own machine.
        if checked.is_on_this_machine() && !self.issuer.is_on_this_machine() {
            return Err(format!("{url:?} is on this machine, and the issuer is not"));
        }
        Ok(checked)
    }

    async fn read<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, String> {
        let checked = self.checked(url)?;
        let body =
            (self.get)(checked, None).await.map_err(|error| format!("{url}: {error}: {}", error.source))?;
        serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
    }
}

impl CachedKeys {
    fn key(&self, id: Option<&str>) -> Option<Jwk> {
        match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
            // A token may omit the key's id only if the issuer has a single key (OpenID Connect Core 1.0, section 10.1).
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }
}
