//! Who holds an API key, and what the key allows.
//!
//! Keys are never logged, and the reason for a refusal is not disclosed: unknown, expired and revoked keys look the same to a stranger.

use event::TenantId;
use pipeline::directory::api_keys::{self, ApiKey, CredentialError, Grant};
use pipeline::ports::{Clock, Store};

use super::{During as _, Refusal, Service};

/// The holder of a key or token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The key's id, or `token:` and the token's subject.
    pub(crate) id: String,
    /// The key's name, or the token's subject.
    pub(crate) name: String,
    /// What the key allows.
    pub(crate) access: Access,
}

/// What a key allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything, for all tenants.
    Operator,
    /// Reading one tenant's numbers.
    Tenant {
        /// The tenant that the key is bound to.
        tenant: TenantId,
        /// Whether the key may also set the tenant's rules and acknowledge its alerts.
        sets_rules: bool,
    },
    /// Nothing: the key's tenant is suspended.
    Suspended,
    /// Sending events, and nothing else. A tenant's key may not do so, because an event names its tenant itself.
    Ingest,
}

impl<S: Store, C: Clock, I> Service<S, C, I> {
    /// Looks up the holder of a key; `None` if there is no such key, or it is expired or revoked.
    pub(crate) async fn authenticate(&self, key: &str) -> Result<Option<Caller>, Refusal> {
        let Ok(key) = ApiKey::parse(key) else { return Ok(None) };
        let credential = match api_keys::verify(&self.store, &key, self.now()).await {
            Ok(credential) => credential,
            Err(
                CredentialError::Malformed
                | CredentialError::Unknown
                | CredentialError::Expired(_)
                | CredentialError::Revoked(_)
                | CredentialError::Conflict
                | CredentialError::Tenant(_),
            ) => return Ok(None),
            Err(error @ CredentialError::Read(_)) => return Err(error).during("checking a key"),
        };
        let sets_rules = matches!(credential.grant, Grant::Tenant(_));
        let access = match credential.grant {
            Grant::Operator => Access::Operator,
            Grant::Ingest => Access::Ingest,
            Grant::Tenant(tenant) | Grant::Reader(tenant) => {
                let is_suspended = self.tenant_settings(&tenant).await?.suspended;
                if is_suspended { Access::Suspended } else { Access::Tenant { tenant, sets_rules } }
            }
        };
        self.record_use(&credential.id).await;
        Ok(Some(Caller { id: credential.id, name: credential.name, access }))
    }

    /// Records that a key is used, at most once an hour. A failure is logged only: a use that is not recorded is no reason to refuse
    /// the request.
    async fn record_use(&self, id: &str) {
        let now = self.now();
        if self.key_uses.is_due(id, now)
            && let Err(error) = api_keys::record_use(&self.store, id, now).await
        {
            tracing::warn!(%error, "the use of a key was not recorded");
        }
    }
}
