//! Making an API key by direct invocation: who may invoke the function has the account's trust already.
//!
//! The key is in the answer, this once, and nowhere else: neither stored nor logged.

use adapters::randomness::{NoRandomness, random};
use adapters::system_clock::SystemClock;
use event::TenantId;
use pipeline::directory::credentials::{self, ApiKey, CredentialError, Grant};
use pipeline::ports::{Clock as _, Store};
use serde::{Deserialize, Serialize};

/// The longest name of a key.
const MAX_NAME_BYTES: usize = 200;

/// What an invocation asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What the key is called in lists.
    name: String,
    grant: WantedGrant,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WantedGrant {
    Operator,
    Ingest,
    #[serde(untagged)]
    Tenant {
        tenant: String,
    },
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The key, shown this once.
    key: String,
    /// What it is known as in lists.
    id: String,
}

/// Why no key was made.
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

/// The request in an invocation's payload, if it is one.
pub fn asked_for(payload: &str) -> Result<Option<Wanted>, FirstKeyError> {
    #[derive(Deserialize)]
    struct Request {
        make_key: Option<Box<serde_json::value::RawValue>>,
    }
    let Ok(Request { make_key: Some(wanted) }) = serde_json::from_str(payload) else { return Ok(None) };
    let request = |error: String| FirstKeyError::Request(error);
    let wanted: Wanted = serde_json::from_str(wanted.get()).map_err(|error| request(error.to_string()))?;
    if wanted.name.is_empty() || wanted.name.len() > MAX_NAME_BYTES {
        return Err(request(format!("name must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    Ok(Some(wanted))
}

/// Makes the key.
pub async fn make<S: Store>(store: &S, wanted: Wanted) -> Result<Made, FirstKeyError> {
    let grant = match wanted.grant {
        WantedGrant::Operator => Grant::Operator,
        WantedGrant::Ingest => Grant::Ingest,
        WantedGrant::Tenant { tenant } => Grant::Tenant(
            TenantId::declared(&tenant).map_err(|error| FirstKeyError::Request(error.to_string()))?,
        ),
    };
    let key = ApiKey::from_random(random()?);
    let credential = credentials::add(store, &key, grant, &wanted.name, SystemClock.now(), None).await?;
    Ok(Made { key: key.reveal().to_owned(), id: credential.id })
}

#[cfg(test)]
mod tests {
    use pipeline::memory::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn a_key_is_good_for_what_was_asked() {
        let store = MemoryStore::default();
        for (grant, expected) in [
            (r#""operator""#, Grant::Operator),
            (r#""ingest""#, Grant::Ingest),
            (r#"{"tenant":"acme"}"#, Grant::Tenant(TenantId::new("acme").unwrap())),
        ] {
            let wanted =
                asked_for(&format!(r#"{{"make_key":{{"name":"n","grant":{grant}}}}}"#)).unwrap().unwrap();
            let made = make(&store, wanted).await.unwrap();
            let key = ApiKey::parse(&made.key).unwrap();
            let found = credentials::verify(&store, &key, SystemClock.now()).await.unwrap();
            assert_eq!((found.grant, found.id), (expected, made.id));
        }
    }

    #[tokio::test]
    async fn no_key_is_made_for_a_reserved_name() {
        let store = MemoryStore::default();
        for tenant in ["*", "(unassigned)", "(other)", "a b", ""] {
            let wanted = format!(r#"{{"make_key":{{"name":"n","grant":{{"tenant":"{tenant}"}}}}}}"#);
            let error = make(&store, asked_for(&wanted).unwrap().unwrap()).await.unwrap_err().to_string();
            assert!(error.contains("tenant name") && error.contains("make_key"), "{error}");
        }
        assert!(credentials::list(&store).await.unwrap().is_empty());
    }

    #[test]
    fn only_a_request_for_a_key_is_one() {
        for payload in ["{}", "[]", r#"{"version":"2.0","rawPath":"/","body":"{\"make_key\":{}}"}"#] {
            assert!(asked_for(payload).unwrap().is_none(), "{payload}");
        }
        for wrong in
            [r#"{"name":"n"}"#, r#"{"name":"","grant":"operator"}"#, r#"{"name":"n","grant":"root"}"#, "7"]
        {
            let error = asked_for(&format!(r#"{{"make_key":{wrong}}}"#)).unwrap_err();
            assert!(error.to_string().contains("make_key"), "{error}");
        }
    }
}
