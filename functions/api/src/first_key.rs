//! Making an API key by direct invocation, for the first key of a deployment: whoever may invoke the function is trusted by the account.
//!
//! The key is in the reply and nowhere else: it is neither stored nor logged.

use adapters::randomness::{NoRandomness, random};
use adapters::system_clock::SystemClock;
use event::TenantId;
use pipeline::directory::api_keys::{self, ApiKey, CredentialError, Grant};
use pipeline::ports::{Clock as _, Store};
use serde::{Deserialize, Serialize};

/// Names are shown in tables.
const MAX_NAME_BYTES: usize = 200;

/// A request for a key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The name of the key in lists.
    name: String,
    grant: RequestedGrant,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RequestedGrant {
    Operator,
    Ingest,
    #[serde(untagged)]
    Tenant {
        tenant: String,
    },
}

/// The reply to a request for a key.
#[derive(Debug, Serialize)]
pub struct MadeKey {
    /// The key in plain text, which is shown nowhere else.
    key: String,
    /// The id of the key in lists.
    id: String,
}

/// The key was not made.
#[derive(Debug, thiserror::Error)]
pub enum FirstKeyError {
    /// The request cannot be read.
    #[error(
        r#"the request for a key cannot be read ({0}): use {{"make_key":{{"name":"...","grant":"operator"}}}}, or "ingest" or {{"tenant":"..."}} as grant"#
    )]
    Request(String),
    /// The system gives no random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The key could not be stored.
    #[error("the key could not be stored")]
    Credential(#[from] CredentialError),
}

impl KeyRequest {
    /// The request in an invocation's payload; `None` if the payload is something else.
    ///
    /// # Errors
    /// [`FirstKeyError::Request`] if the payload is a request for a key, but a malformed one.
    pub fn parse(payload: &str) -> Result<Option<Self>, FirstKeyError> {
        #[derive(Deserialize)]
        struct Payload {
            make_key: Option<Box<serde_json::value::RawValue>>,
        }
        // In two steps, so that a malformed request for a key is an error while any other payload is left to the router.
        let Ok(Payload { make_key: Some(request) }) = serde_json::from_str(payload) else { return Ok(None) };
        let request: Self =
            serde_json::from_str(request.get()).map_err(|error| FirstKeyError::Request(error.to_string()))?;
        if request.name.is_empty() || request.name.len() > MAX_NAME_BYTES {
            return Err(FirstKeyError::Request(format!("name must have 1 to {MAX_NAME_BYTES} bytes")));
        }
        Ok(Some(request))
    }

    /// Makes the key. Reserved names of tenants are refused.
    pub async fn make<S: Store>(self, store: &S) -> Result<MadeKey, FirstKeyError> {
        let grant = match self.grant {
            RequestedGrant::Operator => Grant::Operator,
            RequestedGrant::Ingest => Grant::Ingest,
            RequestedGrant::Tenant { tenant } => Grant::Tenant(
                TenantId::new(&tenant).map_err(|error| FirstKeyError::Request(error.to_string()))?,
            ),
        };
        let key = ApiKey::from_random(random()?);
        let credential = api_keys::add(store, &key, grant, &self.name, SystemClock.now(), None).await?;
        Ok(MadeKey { key: key.reveal().to_owned(), id: credential.id })
    }
}

#[cfg(test)]
mod tests {
    use pipeline::memory::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn key_grants_what_was_requested() {
        let store = MemoryStore::default();
        for (grant, expected) in [
            (r#""operator""#, Grant::Operator),
            (r#""ingest""#, Grant::Ingest),
            (r#"{"tenant":"acme"}"#, Grant::Tenant(TenantId::new("acme").unwrap())),
        ] {
            let payload = format!(r#"{{"make_key":{{"name":"n","grant":{grant}}}}}"#);
            let made = KeyRequest::parse(&payload).unwrap().unwrap().make(&store).await.unwrap();
            let key = ApiKey::parse(&made.key).unwrap();
            let found = api_keys::verify(&store, &key, SystemClock.now()).await.unwrap();
            assert_eq!((found.grant, found.id), (expected, made.id));
        }
    }

    #[tokio::test]
    async fn key_for_a_reserved_name_is_refused() {
        let store = MemoryStore::default();
        for tenant in ["*", "(unassigned)", "(other)", "a b", ""] {
            let payload = format!(r#"{{"make_key":{{"name":"n","grant":{{"tenant":"{tenant}"}}}}}}"#);
            let request = KeyRequest::parse(&payload).unwrap().unwrap();
            let error = request.make(&store).await.unwrap_err().to_string();
            assert!(error.contains("tenant name") && error.contains("make_key"), "{error}");
        }
        assert!(api_keys::list(&store).await.unwrap().is_empty());
    }

    #[test]
    fn other_payloads_are_not_taken_for_a_request() {
        for payload in ["{}", "[]", r#"{"version":"2.0","rawPath":"/","body":"{\"make_key\":{}}"}"#] {
            assert!(KeyRequest::parse(payload).unwrap().is_none(), "{payload}");
        }
        for wrong in
            [r#"{"name":"n"}"#, r#"{"name":"","grant":"operator"}"#, r#"{"name":"n","grant":"root"}"#, "7"]
        {
            let error = KeyRequest::parse(&format!(r#"{{"make_key":{wrong}}}"#)).unwrap_err();
            assert!(error.to_string().contains("make_key"), "{error}");
        }
    }
}
