//! The issuer's public keys: fetched when first needed, kept for an hour, and looked for again when a token names a new one.
//!
//! Anybody can send tokens that name keys there are not, so these make no more than one visit in half a minute.

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

/// Keys are taken to be current for so long: a withdrawn one must not be believed for ever.
const FRESH: Duration = Duration::from_hours(1);
/// Keys that cannot be renewed are believed for so long: an issuer that is down must not lock everybody out.
const STALE: Duration = Duration::from_hours(24);
/// Between visits.
const PAUSE: Duration = Duration::from_secs(30);
/// An issuer has two or three, sometimes a dozen.
const MAX_KEYS: usize = 64;

/// Fetches a document of the issuer, or its answer to a form.
pub(crate) type GetDocument = Arc<
    dyn Fn(IssuerUrl, Option<String>) -> Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send>>
        + Send
        + Sync,
>;

/// The keys of one issuer.
pub(crate) struct Keys {
    issuer: IssuerUrl,
    get: GetDocument,
    held: RwLock<Option<Arc<Held>>>,
    /// When the issuer was last visited; held while it is.
    visited: tokio::sync::Mutex<Option<Instant>>,
}

struct Held {
    keys: Vec<Jwk>,
    endpoints: Option<Endpoints>,
    at: Instant,
}

/// Where people sign in.
#[derive(Clone)]
pub(crate) struct Endpoints {
    /// Where the browser is sent.
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

impl Keys {
    /// Nothing is fetched before it is needed.
    pub(crate) fn new(issuer: IssuerUrl, get: GetDocument) -> Self {
        Self { issuer, get, held: RwLock::default(), visited: tokio::sync::Mutex::default() }
    }

    /// The key with this id; the only one there is, if the token names none.
    pub(crate) async fn find(&self, id: Option<&str>) -> Result<Jwk, TokenError> {
        if let Some(held) = self.held().filter(|held| held.at.elapsed() < FRESH)
            && let Some(key) = held.key(id)
        {
            return Ok(key);
        }
        self.visit().await;
        let held = self.held().filter(|held| held.at.elapsed() < STALE).ok_or(TokenError::Unavailable)?;
        held.key(id).ok_or(TokenError::Invalid("the token is signed with a key its issuer does not have"))
    }

    fn held(&self) -> Option<Arc<Held>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks for keys, unless somebody just did.
    async fn visit(&self) {
        let mut visited = self.visited.lock().await;
        if visited.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        match self.fetch().await {
            Ok((keys, endpoints)) => {
                let held = Arc::new(Held { keys, endpoints, at: Instant::now() });
                *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
            }
            Err(error) => {
                tracing::warn!(issuer = self.issuer.as_str(), error, "the issuer's keys could not be read");
            }
        }
        *visited = Some(Instant::now());
    }

    /// Where people sign in.
    pub(crate) async fn endpoints(&self) -> Result<Endpoints, TokenError> {
        if self.held().is_none_or(|held| held.at.elapsed() >= FRESH) {
            self.visit().await;
        }
        let held = self.held().ok_or(TokenError::Unavailable)?;
        held.endpoints.clone().ok_or(TokenError::Unavailable)
    }

    /// What a code is worth.
    pub(crate) async fn exchange(&self, form: String) -> Result<Bytes, TokenError> {
        let place = self.endpoints().await?.token;
        let place = self.checked(&place).map_err(|_| TokenError::Unavailable)?;
        (self.get)(place, Some(form)).await.map_err(|error| {
            tracing::warn!(error = %error.source, "the issuer gives no token");
            TokenError::Invalid("the identity provider does not take the code")
        })
    }

    async fn fetch(&self) -> Result<(Vec<Jwk>, Option<Endpoints>), String> {
        let issuer = self.issuer.as_str();
        let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let discovery: Discovery = self.read(&place).await?;
        if discovery.issuer != issuer {
            return Err(format!(
                "{place} is of {:?}: set the issuer as it is written there",
                discovery.issuer
            ));
        }
        let set: KeySet = self.read(&discovery.jwks_uri).await?;
        // Kinds of keys that are not known yet are left out.
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let signs = |key: &Jwk| !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption));
        let endpoints = discovery.authorization_endpoint.zip(discovery.token_endpoint);
        let endpoints = endpoints.filter(|(authorization, _)| self.checked(authorization).is_ok());
        let endpoints = endpoints.map(|(authorization, token)| Endpoints { authorization, token });
        Ok((keys.filter(signs).take(MAX_KEYS).collect(), endpoints))
    }

    fn checked(&self, url: &str) -> Result<IssuerUrl, String> {
        let place = IssuerUrl::parse(url).map_err(|_| format!("{url:?} is no address to read keys from"))?;
        if place.is_on_this_machine() && !self.issuer.is_on_this_machine() {
            return Err(format!("{url:?} is on this machine, and the issuer is not"));
        }
        Ok(place)
    }

    async fn read<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, String> {
        let place = self.checked(url)?;
        let body =
            (self.get)(place, None).await.map_err(|error| format!("{url}: {error}: {}", error.source))?;
        serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))
    }
}

impl Held {
    fn key(&self, id: Option<&str>) -> Option<Jwk> {
        match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.common.key_id.as_deref() == Some(id)).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }
}
