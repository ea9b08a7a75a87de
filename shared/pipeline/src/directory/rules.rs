//! The rules of detection as they are stored: the operator's, and what tenants have set for themselves.
//!
//! A tenant's own limits come before the operator's overrides, and hold for that tenant alone, whatever they name.

use detection::{Maintenance, Override, Rules};
use event::TenantId;
use serde::{Deserialize, Serialize};

use crate::layout;
use crate::ports::{Item, Key, Store, StoreError};
use crate::stored;

const OPERATORS: &str = "all";
/// Quiet times a tenant may plan.
pub const MAX_MAINTENANCE: usize = 100;
/// Parts of its mail a tenant may set limits for.
pub const MAX_OVERRIDES: usize = 20;

/// What a tenant has set for itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnRules {
    /// Its limits, in place of the operator's.
    pub limits: Override,
    /// Limits of its mail at a provider or of a campaign, beside those of the whole.
    pub overrides: Vec<Override>,
    /// Its planned quiet times.
    pub maintenance: Vec<Maintenance>,
}

impl OwnRules {
    /// What is wrong with them, if anything, naming the field.
    pub fn mistake(&self) -> Option<String> {
        if self.limits.tenant.is_some() || self.overrides.iter().any(|rule| rule.tenant.is_some()) {
            return Some("limits.tenant: leave it out, these are one tenant's rules".to_owned());
        }
        if self.limits.provider.is_some() || self.limits.campaign.is_some() {
            return Some("limits.provider: limits of a part of the mail belong into overrides".to_owned());
        }
        if self.overrides.iter().any(|rule| rule.provider.is_none() && rule.campaign.is_none()) {
            return Some("overrides.provider: name a provider or a campaign, or use limits".to_owned());
        }
        if self.overrides.len() > MAX_OVERRIDES {
            return Some(format!("overrides: at most {MAX_OVERRIDES}"));
        }
        if self.maintenance.iter().any(|window| window.tenant.is_some()) {
            return Some("maintenance.tenant: leave it out, these are one tenant's rules".to_owned());
        }
        if self.maintenance.len() > MAX_MAINTENANCE {
            return Some(format!("maintenance: at most {MAX_MAINTENANCE} quiet times"));
        }
        let mut rules = Rules::default();
        self.put_into(&mut rules, "tenant");
        rules.mistake()
    }

    /// Adds them to others, before their overrides.
    pub fn put_into(&self, rules: &mut Rules, tenant: &str) {
        let tenant = Some(tenant.to_owned());
        let own = [&self.limits].into_iter().chain(&self.overrides);
        let own = own.map(|rule| Override { tenant: tenant.clone(), ..rule.clone() });
        rules.overrides.splice(0..0, own);
        let own = self.maintenance.iter().cloned();
        rules.maintenance.extend(own.map(|window| Maintenance { tenant: tenant.clone(), ..window }));
    }
}

/// Rules cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Stored rules are not what this program writes.
    #[error("stored rules {key} cannot be read: set them anew")]
    Damaged {
        /// Where they lie.
        key: Key,
        /// What is wrong with them.
        #[source]
        source: serde_json::Error,
    },
}

/// The operator's rules; the defaults if there are none.
pub async fn of_operator<S: Store>(store: &S) -> Result<Rules, RulesError> {
    read(store, operators()).await
}

/// What a tenant has set for itself; nothing at first.
pub async fn of_tenant<S: Store>(store: &S, tenant: &TenantId) -> Result<OwnRules, RulesError> {
    read(store, layout::tenant_rules(tenant)).await
}

/// Sets the operator's rules.
pub async fn set_of_operator<S: Store>(store: &S, rules: &Rules) -> Result<(), RulesError> {
    write(store, operators(), rules).await
}

/// Sets a tenant's own rules.
pub async fn set_of_tenant<S: Store>(
    store: &S,
    tenant: &TenantId,
    rules: &OwnRules,
) -> Result<(), RulesError> {
    write(store, layout::tenant_rules(tenant), rules).await
}

/// The rules that hold: all tenants' own and the operator's. Rules of a tenant that cannot be read are left out: they must not keep
/// others' mail from being evaluated.
pub async fn effective<S: Store>(store: &S) -> Result<Rules, RulesError> {
    let mut rules = Rules::default();
    let mut own = Vec::new();
    for item in stored::range(store, layout::whole(layout::RULES)).await? {
        match item.key.sort.strip_prefix("t#") {
            Some(tenant) => match decode::<OwnRules>(&item.key, &item.body) {
                Ok(rules) => own.push((tenant.to_owned(), rules)),
                Err(error) => {
                    tracing::error!(tenant.id = tenant, error = %error, "a tenant's own rules are left out");
                }
            },
            None if item.key.sort == OPERATORS => rules = decode(&item.key, &item.body)?,
            None => {}
        }
    }
    for (tenant, own) in &own {
        own.put_into(&mut rules, tenant);
    }
    Ok(rules)
}

fn operators() -> Key {
    Key { partition: layout::RULES.to_owned(), sort: OPERATORS.to_owned() }
}

async fn read<S: Store, T: Default + serde::de::DeserializeOwned>(
    store: &S,
    key: Key,
) -> Result<T, RulesError> {
    match store.get(vec![key.clone()]).await?.into_iter().flatten().next() {
        Some(item) => decode(&key, &item.body),
        None => Ok(T::default()),
    }
}

fn decode<T: serde::de::DeserializeOwned>(key: &Key, body: &[u8]) -> Result<T, RulesError> {
    serde_json::from_slice(body).map_err(|source| RulesError::Damaged { key: key.clone(), source })
}

async fn write<S: Store, T: Serialize>(store: &S, key: Key, rules: &T) -> Result<(), RulesError> {
    let body =
        serde_json::to_vec(rules).map_err(|source| RulesError::Damaged { key: key.clone(), source })?;
    Ok(store.put(vec![Item { key, body, version: 0, expires_at: None }]).await?)
}
