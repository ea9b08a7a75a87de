//! The register of tenants: whose mail was ever counted, and the settings that operators gave them.
//!
//! A process registers a tenant with the first batch it counts for it, before that batch becomes visible. The entry holds nothing but
//! the name, so writing it again changes nothing; settings are stored separately. Processes remember which tenants they registered, so an
//! erasure raises a count that each batch reads: when the count has changed, the process forgets them.

use std::collections::BTreeMap;

use cells::query::{Locale, time_zone};
use event::TenantId;
use serde::{Deserialize, Serialize};

use crate::alerting::queues::QueueUrl;
use crate::layout;
use crate::ports::{Expected, Item, Key, PutError, Store, StoreError};
use crate::stored;

/// How many erasures there have been. Entries of the register that were written at a different count may be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErasureCount(u64);

impl ErasureCount {
    /// The count that the item at [`layout::erasure_count`] holds.
    pub(crate) fn of(item: Option<&Item>) -> Self {
        Self(item.map_or(0, |item| item.version))
    }

    /// The current count.
    pub(crate) async fn read<S: Store>(store: &S) -> Result<Self, StoreError> {
        let found = store.get(vec![layout::erasure_count()]).await?;
        Ok(Self::of(found.iter().flatten().next()))
    }

    /// Raises the count, so that every process forgets which tenants it has registered.
    pub(crate) async fn raise<S: Store>(store: &S) -> Result<(), StoreError> {
        loop {
            let Self(count) = Self::read(store).await?;
            let item =
                Item { key: layout::erasure_count(), body: Vec::new(), version: count + 1, expires_at: None };
            let expected = if count == 0 { Expected::Absent } else { Expected::Version(count) };
            match store.put_if(item, expected).await {
                Ok(()) => return Ok(()),
                // Another erasure raised it between the read and the write; this one must be counted as well.
                Err(PutError::Conflict) => {}
                Err(PutError::Store(error)) => return Err(error),
            }
        }
    }
}

/// What is said of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// What people call it; its id if nothing is said.
    pub name: Option<String>,
    /// Its keys open nothing while this holds; its mail is counted.
    pub suspended: bool,
    /// The IANA name of the zone its days begin in where a question names none; UTC if nothing is said.
    pub timezone: Option<String>,
    /// What it calls the declared tags, by `tag1` to `tag4`, in place of the deployment's names.
    pub tag_names: BTreeMap<String, String>,
    /// The SQS queues its mail waits in before it is sent.
    pub queues: Vec<QueueUrl>,
    /// When an operator added it, in milliseconds since 1970; nothing if its mail did.
    pub added_at: Option<i64>,
}

/// What is said of tenants cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DetailsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored record is not what this program writes.
    #[error("stored item {key} cannot be read: set the tenant's name anew or upgrade mailgauge")]
    Damaged {
        /// Where it lies.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// All tenants, sorted by name.
pub async fn list<S: Store>(store: &S) -> Result<Vec<TenantId>, StoreError> {
    let items = stored::range(store, layout::whole(layout::TENANTS)).await?;
    // A name that is none was not written by this program: it has no items to show either.
    Ok(items.into_iter().filter_map(|item| TenantId::new(&item.key.sort).ok()).collect())
}

/// Whether there is such a tenant.
pub async fn is_known<S: Store>(store: &S, tenant: &TenantId) -> Result<bool, StoreError> {
    Ok(store.get(vec![layout::tenant(tenant)]).await?.into_iter().any(|item| item.is_some()))
}

/// Registers a tenant that has not been counted for yet.
pub async fn register<S: Store>(store: &S, tenant: &TenantId) -> Result<(), StoreError> {
    store.put(vec![entry(tenant)]).await
}

/// What is said of some tenants, in their order.
pub async fn details<S: Store>(store: &S, tenants: &[TenantId]) -> Result<Vec<Details>, DetailsError> {
    let keys = tenants.iter().map(layout::tenant_settings).collect();
    let items = store.get(keys).await?.into_iter();
    items.map(|item| item.map_or_else(|| Ok(Details::default()), decode)).collect()
}

/// The tenants of which anything is said, and what it is, sorted by name.
pub async fn described<S: Store>(store: &S) -> Result<Vec<(TenantId, Details)>, DetailsError> {
    let items = stored::range(store, layout::whole(layout::TENANT_SETTINGS)).await?;
    let known = items.into_iter().filter_map(|item| Some((TenantId::new(&item.key.sort).ok()?, item)));
    known.map(|(tenant, item)| Ok((tenant, decode(item)?))).collect()
}

fn decode(item: Item) -> Result<Details, DetailsError> {
    serde_json::from_slice(&item.body).map_err(|source| DetailsError::Damaged { key: item.key, source })
}

/// Adds a tenant, or says something else of one.
pub async fn describe<S: Store>(store: &S, tenant: &TenantId, details: &Details) -> Result<(), DetailsError> {
    let key = layout::tenant_settings(tenant);
    let body =
        serde_json::to_vec(details).map_err(|source| DetailsError::Damaged { key: key.clone(), source })?;
    store.put(vec![entry(tenant), Item { key, body, version: 0, expires_at: None }]).await?;
    Ok(())
}

impl Details {
    /// How the tenant speaks of its mail, where the deployment declares `tags`: its own name of a tag comes before the deployment's.
    pub fn locale(&self, tags: &[String]) -> Locale {
        let is_free = |name: &&String| self.tag_names.values().all(|taken| taken != *name);
        let mut deployed = tags.iter();
        let tags = Locale::TAGS.map(|tag| {
            let deployed = deployed.next().filter(is_free);
            self.tag_names.get(tag.name()).or(deployed).cloned()
        });
        // A zone that this program's time zone database has no more is none.
        let zone = self.timezone.as_deref().and_then(|name| time_zone(name).ok());
        Locale { tags, zone }
    }
}

pub(crate) fn entry(tenant: &TenantId) -> Item {
    Item { key: layout::tenant(tenant), body: Vec::new(), version: 0, expires_at: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_own_names_come_first_and_no_name_twice() {
        let tag_names = [("tag1".to_owned(), "region".to_owned())].into();
        let details = Details { tag_names, timezone: Some("Mars/Base".to_owned()), ..Details::default() };
        let Locale { tags, zone } =
            details.locale(&["brand".to_owned(), "region".to_owned(), "shop".to_owned()]);
        assert_eq!(tags.each_ref().map(Option::as_deref), [Some("region"), None, Some("shop"), None]);
        assert_eq!(zone, None);
    }
}
