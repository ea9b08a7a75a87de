//! The register of tenants: every tenant whose mail was ever counted or that an operator added, and the settings of each.
//!
//! A process registers a tenant with the first batch that it counts for it, before that batch becomes visible. The register's entry holds
//! nothing but the name, so writing it again changes nothing; settings are stored separately. Processes remember which tenants they
//! have registered, so an erasure increments a count that each batch reads: when the count has changed, the process forgets them.

use std::collections::BTreeMap;

use cells::query::{Locale, time_zone};
use event::TenantId;
use serde::{Deserialize, Serialize};

use crate::codec::StoredRecord;
use crate::directory::queue_url::QueueUrl;
use crate::layout;
use crate::ports::{Expected, Item, PutError, Store, StoreError};
use crate::stored::{self, ReadError};

/// Maximum number of queues in a tenant's settings.
pub const MAX_QUEUES: usize = 20;

/// Changes with each erasure; erasures that run at the same time may share one increment. Entries of the register that were written at a
/// different count may have been erased since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErasureCount(u64);

impl ErasureCount {
    /// The count in the item at [`layout::erasure_count`].
    pub(crate) fn of(item: Option<&Item>) -> Self {
        // There is no item before the first erasure.
        Self(item.map_or(0, |item| item.version))
    }

    /// The count as a number.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// Reads the count as it is now.
    pub(crate) async fn read<S: Store>(store: &S) -> Result<Self, StoreError> {
        let found = store.get(vec![layout::erasure_count()]).await?;
        Ok(Self::of(found.iter().flatten().next()))
    }

    /// Increments the count, so that every process forgets which tenants it has registered.
    pub(crate) async fn increment<S: Store>(store: &S) -> Result<(), StoreError> {
        let Self(count) = Self::read(store).await?;
        let item =
            Item { key: layout::erasure_count(), body: Vec::new(), version: count + 1, expires_at: None };
        let expected = if count == 0 { Expected::Absent } else { Expected::Version(count) };
        match store.put_if(item, expected).await {
            // A lost condition is as good as a write of our own: another erasure incremented the count after the read above, so after
            // this erasure had removed its entries. Every batch that still believes in them reads a count that has changed.
            Ok(()) | Err(PutError::Conflict) => Ok(()),
            Err(PutError::Store(error)) => Err(error),
        }
    }
}

/// The settings that operators gave a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantSettings {
    /// The display name. Defaults to the id.
    pub name: Option<String>,
    /// Whether the tenant's API keys are refused. Its mail is counted nevertheless.
    pub suspended: bool,
    /// The IANA name of the time zone for queries that name none. Defaults to UTC.
    pub timezone: Option<String>,
    /// The tenant's own names for the declared tags, by `tag1` to `tag4`. They replace the deployment's names.
    pub tag_names: BTreeMap<String, String>,
    /// The SQS queues in which the tenant's mail waits before it is sent, at most [`MAX_QUEUES`].
    pub queues: Vec<QueueUrl>,
    /// When an operator added the tenant, in milliseconds since 1970. `None` if it was registered when its mail was counted.
    pub added_at: Option<i64>,
}

impl StoredRecord for TenantSettings {
    const NAME: &'static str = "tenant settings";
    const FORMAT: u8 = 3;
}

/// All tenants in the register, sorted by id.
pub async fn list<S: Store>(store: &S) -> Result<Vec<TenantId>, StoreError> {
    let items = stored::range(store, layout::whole(layout::TENANTS)).await?;
    // The entries have no contents: their keys are all there is to read.
    Ok(items.iter().filter_map(tenant_of).collect())
}

/// Whether the register has a tenant.
pub async fn is_registered<S: Store>(store: &S, tenant: &TenantId) -> Result<bool, StoreError> {
    Ok(store.get(vec![layout::tenant(tenant)]).await?.into_iter().any(|item| item.is_some()))
}

/// Adds a tenant to the register.
pub async fn register<S: Store>(store: &S, tenant: &TenantId) -> Result<(), StoreError> {
    store.put(vec![entry(tenant)]).await
}

/// The register's entry of a tenant. It has no contents.
pub(crate) fn entry(tenant: &TenantId) -> Item {
    Item { key: layout::tenant(tenant), body: Vec::new(), version: 0, expires_at: None }
}

/// The settings of some tenants, in the order of `tenants`. A tenant without settings has the defaults.
pub async fn settings<S: Store>(store: &S, tenants: &[TenantId]) -> Result<Vec<TenantSettings>, ReadError> {
    let keys = tenants.iter().map(layout::tenant_settings).collect();
    // One call for all of them: a list shows the settings of many tenants.
    let items = store.get(keys).await?.into_iter();
    items
        .map(|item| item.map_or_else(|| Ok(TenantSettings::default()), |item| stored::decode(&item)))
        .collect()
}

/// The tenants that have settings, sorted by id.
pub async fn all_settings<S: Store>(store: &S) -> Result<Vec<(TenantId, TenantSettings)>, ReadError> {
    let items = stored::range(store, layout::whole(layout::TENANT_SETTINGS)).await?;
    let known = items.iter().filter_map(|item| Some((tenant_of(item)?, item)));
    known.map(|(tenant, item)| Ok((tenant, stored::decode(item)?))).collect()
}

/// Sets a tenant's settings and adds the tenant to the register.
pub async fn save_settings<S: Store>(
    store: &S,
    tenant: &TenantId,
    settings: &TenantSettings,
) -> Result<(), StoreError> {
    // The entry too: an operator may set up a tenant before its first mail.
    store.put(vec![entry(tenant), stored::item(layout::tenant_settings(tenant), settings, None)]).await
}

/// The tenant that an item's sort key names. A key that is not a tenant's id was not written by this program, and no other item can
/// belong to it, so it is left out.
fn tenant_of(item: &Item) -> Option<TenantId> {
    let tenant = TenantId::from_stored(&item.key.sort);
    if let Err(error) = &tenant {
        tracing::warn!(key = %item.key, %error, "an item in the register of tenants is ignored");
    }
    tenant.ok()
}

impl TenantSettings {
    /// The names and the time zone of the tenant's queries. `deployed_tags` are the deployment's names of the declared tags; the tenant's
    /// own names take precedence.
    pub fn locale(&self, deployed_tags: &[String]) -> Locale {
        // A tenant may give one tag the name that the deployment gave another one. A name must mean one tag.
        let is_free = |name: &&String| self.tag_names.values().all(|taken| taken != *name);
        let mut deployed = deployed_tags.iter();
        let tags = Locale::TAGS.map(|tag| {
            let deployed = deployed.next().filter(is_free);
            self.tag_names.get(tag.name()).or(deployed).cloned()
        });
        // The name was checked when it was set. A zone that the time zone database has removed since then counts as not set.
        let zone = self.timezone.as_deref().and_then(|name| time_zone(name).ok());
        Locale { tags, zone, ..Locale::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::testing::contended::ContendedStore;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn a_tenants_own_names_come_first_and_no_name_is_used_twice() {
        let tag_names = [("tag1".to_owned(), "region".to_owned())].into();
        let settings =
            TenantSettings { tag_names, timezone: Some("Mars/Base".to_owned()), ..TenantSettings::default() };
        let Locale { tags, zone, .. } =
            settings.locale(&["brand".to_owned(), "region".to_owned(), "shop".to_owned()]);
        assert_eq!(tags.each_ref().map(Option::as_deref), [Some("region"), None, Some("shop"), None]);
        assert_eq!(zone, None);
    }

    #[test]
    fn settings_without_any_name_use_the_deployments_names() {
        let Locale { tags, zone, .. } = TenantSettings::default().locale(&["brand".to_owned()]);
        assert_eq!(tags.each_ref().map(Option::as_deref), [Some("brand"), None, None, None]);
        assert_eq!(zone, None);
    }

    #[test]
    fn stored_settings_of_this_format_are_read() {
        let settings = TenantSettings {
            name: Some("Acme".to_owned()),
            suspended: true,
            timezone: None,
            tag_names: [("tag1".to_owned(), "brand".to_owned())].into(),
            queues: vec![QueueUrl::try_from(QueueUrl::EXAMPLE.to_owned()).unwrap()],
            added_at: Some(1_763_000_000_000),
        };
        crate::codec::assert_stored(
            &settings,
            "03f3683d3e010441636d650100010474616731056272616e64013a68747470733a2f2f7371732e65752d63656e7472616c2d312e616d617a6f6e6177732e636f6d2f3132333435363738393031322f6f7574626f780180f8e8afcf66",
        );
    }

    #[tokio::test]
    async fn settings_are_read_in_the_order_of_the_tenants_and_register_their_tenant() {
        let store = MemoryStore::new();
        let settings = TenantSettings { name: Some("Acme".to_owned()), ..TenantSettings::default() };
        save_settings(&store, &tenant("acme"), &settings).await.unwrap();
        register(&store, &tenant("globex")).await.unwrap();
        let asked = [tenant("globex"), tenant("acme"), tenant("nobody")];
        let found = super::settings(&store, &asked).await.unwrap();
        assert_eq!(found, [TenantSettings::default(), settings.clone(), TenantSettings::default()]);
        assert_eq!(all_settings(&store).await.unwrap(), [(tenant("acme"), settings)]);
        assert_eq!(list(&store).await.unwrap(), [tenant("acme"), tenant("globex")]);
        assert!(is_registered(&store, &tenant("acme")).await.unwrap());
        assert!(!is_registered(&store, &tenant("nobody")).await.unwrap());
    }

    #[tokio::test]
    async fn settings_that_cannot_be_read_are_an_error_that_names_their_key() {
        let store = MemoryStore::new();
        let key = layout::tenant_settings(&tenant("acme"));
        let damaged = Item { key: key.clone(), body: b"{}".to_vec(), version: 0, expires_at: None };
        store.put(vec![damaged]).await.unwrap();
        let error = settings(&store, &[tenant("acme")]).await.unwrap_err();
        assert!(matches!(&error, ReadError::Record { key: named, .. } if *named == key), "{error}");
    }

    #[tokio::test]
    async fn erasures_that_meet_change_the_count_at_least_once() {
        for lost in [0, 1] {
            let store = ContendedStore::new(0);
            let mut before = ErasureCount::default();
            for _ in 0..3 {
                store.lose(lost);
                ErasureCount::increment(&store).await.unwrap();
                let after = ErasureCount::read(&store).await.unwrap();
                assert!(after != before, "{lost} lost: {after:?}");
                before = after;
            }
        }
    }
}
