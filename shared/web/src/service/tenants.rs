//! Tenants as operators see and change them.

use std::collections::BTreeMap;

use cells::query::{Locale, Scope};
use event::TenantId;
use pipeline::directory::queue_url::QueueUrl;
use pipeline::directory::tenants::{self, TenantSettings};
use pipeline::ports::{Clock, Store};
use serde::Serialize;

use super::{During as _, Refusal, Service};

/// A tenant, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Tenant {
    /// The id that events, keys, filters and the tenant header use.
    pub(crate) id: String,
    /// The display name; the id unless an operator set another.
    pub(crate) name: String,
    /// Whether the tenant's keys are refused. Its mail is counted all the same.
    pub(crate) suspended: bool,
    /// The IANA name of the zone its days begin in where a query names none; UTC if absent.
    pub(crate) timezone: Option<String>,
    /// Its own names of the declared tags, by `tag1` to `tag4`.
    pub(crate) tag_names: BTreeMap<String, String>,
    /// The SQS queues its mail waits in before it is sent.
    pub(crate) queues: Vec<QueueUrl>,
}

impl Tenant {
    /// A tenant for which nothing is set.
    pub(crate) fn new(id: &TenantId) -> Self {
        Self::from_settings(id, TenantSettings::default())
    }

    fn from_settings(id: &TenantId, settings: TenantSettings) -> Self {
        let TenantSettings { name, suspended, timezone, tag_names, queues, added_at: _ } = settings;
        Self {
            id: id.to_string(),
            name: name.unwrap_or_else(|| id.to_string()),
            suspended,
            timezone,
            tag_names,
            queues,
        }
    }
}

impl<S: Store, C: Clock, I> Service<S, C, I> {
    /// What operators set for a tenant; the defaults if nothing is set.
    pub(super) async fn tenant_settings(&self, tenant: &TenantId) -> Result<TenantSettings, Refusal> {
        let settings = tenants::settings(&self.store, std::slice::from_ref(tenant)).await;
        Ok(settings.during("reading a tenant")?.into_iter().next().unwrap_or_default())
    }

    /// The names of tags and the time zone that queries within `scope` use.
    pub(crate) async fn locale(&self, scope: &Scope) -> Result<Locale, Refusal> {
        let settings = match scope {
            Scope::Tenant(tenant) => self.tenant_settings(tenant).await?,
            Scope::All => TenantSettings::default(),
        };
        Ok(Locale { metrics: self.metrics.clone(), ..settings.locale(&self.settings.declared_tags) })
    }

    /// The first `limit` tenants whose ids come after `after`, sorted by id.
    pub(crate) async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<Tenant>, Refusal> {
        const OPERATION: &str = "listing tenants";
        let mut ids = tenants::list(&self.store).await.during(OPERATION)?;
        ids.retain(|id| after.is_none_or(|after| id > after));
        ids.truncate(limit);
        let settings = tenants::settings(&self.store, &ids).await.during(OPERATION)?;
        Ok(ids.iter().zip(settings).map(|(id, settings)| Tenant::from_settings(id, settings)).collect())
    }

    /// One tenant; `None` if there is none of that id.
    pub(crate) async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, Refusal> {
        if !tenants::is_registered(&self.store, id).await.during("reading a tenant")? {
            return Ok(None);
        }
        Ok(Some(Tenant::from_settings(id, self.tenant_settings(id).await?)))
    }

    /// Creates a tenant, or replaces the settings of an existing one.
    pub(crate) async fn save_tenant(&self, id: &TenantId, tenant: Tenant) -> Result<(), Refusal> {
        let before = self.tenant_settings(id).await?;
        let added_at = before.added_at.or(Some(self.now().millis()));
        let Tenant { id: _, name, suspended, timezone, tag_names, queues } = tenant;
        // A name that equals the id is the default and is not stored.
        let name = Some(name).filter(|name| name != id.as_str());
        let settings = TenantSettings { name, suspended, timezone, tag_names, queues, added_at };
        tenants::save_settings(&self.store, id, &settings).await.during("saving a tenant")
    }
}
