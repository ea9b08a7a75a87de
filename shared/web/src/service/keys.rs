//! Making, listing and ending API keys.

use event::{TenantId, Timestamp};
use pipeline::directory::api_keys::{self, ApiKey, Credential, CredentialError, Grant};
use pipeline::ports::{Clock, Store};

use super::{During as _, Refusal, Service};

impl<S: Store, C: Clock, I> Service<S, C, I> {
    /// The keys of a tenant, or those bound to none (of operators and for sending events), including expired and revoked ones, each with the time it was last used, as far as recorded.
    pub(crate) async fn keys_of(
        &self,
        tenant: Option<&TenantId>,
    ) -> Result<Vec<(Credential, Option<Timestamp>)>, Refusal> {
        const OPERATION: &str = "listing keys";
        let mut keys = api_keys::list(&self.store).await.during(OPERATION)?;
        keys.retain(|key| key.grant.tenant() == tenant);
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        let last_used = api_keys::last_uses(&self.store, &ids).await.during(OPERATION)?;
        Ok(keys.into_iter().zip(last_used).collect())
    }

    /// Makes a key. The first part of the result is the key itself, which is stored nowhere.
    pub(crate) async fn add_key(
        &self,
        grant: Grant,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(String, Credential), Refusal> {
        const OPERATION: &str = "making a key";
        let key = random_key().during(OPERATION)?;
        let added = api_keys::add(&self.store, &key, grant, name, self.now(), expires_at).await;
        Ok((key.reveal().to_owned(), added.during(OPERATION)?))
    }

    /// Makes a key that succeeds the one with this id, which then expires at `old_ends_at`; `None` if there is no such key. The first part
    /// of the result is the new key itself, which is stored nowhere.
    pub(crate) async fn rotate_key(
        &self,
        id: &str,
        old_ends_at: Timestamp,
    ) -> Result<Option<(String, Credential)>, Refusal> {
        const OPERATION: &str = "rotating a key";
        let key = random_key().during(OPERATION)?;
        let rotated = api_keys::rotate(&self.store, id, &key, self.now(), old_ends_at).await;
        Ok(known(rotated).during(OPERATION)?.map(|credential| (key.reveal().to_owned(), credential)))
    }

    /// Revokes a key at once; `None` if there is no such key.
    pub(crate) async fn revoke_key(&self, id: &str) -> Result<Option<Credential>, Refusal> {
        known(api_keys::revoke(&self.store, id, self.now()).await).during("revoking a key")
    }
}

fn random_key() -> Result<ApiKey, getrandom::Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    Ok(ApiKey::from_random(random))
}

fn known(changed: Result<Credential, CredentialError>) -> Result<Option<Credential>, CredentialError> {
    match changed {
        Ok(credential) => Ok(Some(credential)),
        Err(CredentialError::Unknown) => Ok(None),
        Err(error) => Err(error),
    }
}
