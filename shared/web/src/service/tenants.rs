//! Tenants as operators see and change them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use cells::query::{Locale, Scope};
use event::TenantId;
use event::invariant::or_broken;
use pipeline::directory::queue_url::QueueUrl;
use pipeline::directory::tenants::{self, TenantSettings};
use pipeline::ports::{Clock, Store};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::{During as _, Refusal, Service};

/// The schema of names of the declared tags.
pub(crate) struct TagNames;

impl JsonSchema for TagNames {
    fn schema_name() -> Cow<'static, str> {
        "TagNames".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let properties = Locale::TAGS.map(|tag| {
            let schema = json_schema!({
                "type": "string",
                "description": "The name of the tag in queries and replies.",
                "pattern": "^[A-Za-z0-9_.-]{1,64}$",
            });
            (tag.name().to_owned(), schema.to_value())
        });
        json_schema!({
            "type": "object",
            "description": "Names of the declared tags, by `tag1` to `tag4`.",
            "properties": serde_json::Map::from_iter(properties),
            "additionalProperties": false,
            "example": { "tag1": "brand" },
        })
    }
}

/// A tenant and its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Tenant")]
pub(crate) struct TenantDetails {
    /// The id that events, keys, filters and the tenant header use.
    pub(crate) id: String,
    /// The display name; the id unless an operator set another.
    pub(crate) name: String,
    /// Whether the keys of the tenant are refused. Its mail is counted all the same.
    pub(crate) suspended: bool,
    /// The IANA time zone of queries that name none; null for UTC.
    pub(crate) timezone: Option<String>,
    /// The tenant's own names of the declared tags, in place of the deployment's names.
    #[schemars(with = "TagNames")]
    pub(crate) tag_names: BTreeMap<String, String>,
    /// The SQS queues in which the tenant's mail waits before it is sent. The metric `queue_depth` is their sum.
    pub(crate) queues: Vec<QueueUrl>,
}

impl TenantDetails {
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
        let settings = settings.during("reading a tenant")?.into_iter().next();
        Ok(or_broken(settings, TenantSettings::default(), "the settings of a tenant have no entry"))
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
    ) -> Result<Vec<TenantDetails>, Refusal> {
        const OPERATION: &str = "listing tenants";
        let mut ids = tenants::list(&self.store).await.during(OPERATION)?;
        ids.retain(|id| after.is_none_or(|after| id > after));
        ids.truncate(limit);
        let settings = tenants::settings(&self.store, &ids).await.during(OPERATION)?;
        Ok(ids
            .iter()
            .zip(settings)
            .map(|(id, settings)| TenantDetails::from_settings(id, settings))
            .collect())
    }

    /// One tenant; `None` if there is none of that id.
    pub(crate) async fn tenant(&self, id: &TenantId) -> Result<Option<TenantDetails>, Refusal> {
        if !tenants::is_registered(&self.store, id).await.during("reading a tenant")? {
            return Ok(None);
        }
        Ok(Some(TenantDetails::from_settings(id, self.tenant_settings(id).await?)))
    }

    /// Creates a tenant, or replaces the settings of an existing one.
    pub(crate) async fn save_tenant(&self, id: &TenantId, tenant: TenantDetails) -> Result<(), Refusal> {
        let before = self.tenant_settings(id).await?;
        let added_at = before.added_at.or(Some(self.now().millis()));
        let TenantDetails { id: _, name, suspended, timezone, tag_names, queues } = tenant;
        // A name that equals the id is the default and is not stored.
        let name = Some(name).filter(|name| name != id.as_str());
        let settings = TenantSettings { name, suspended, timezone, tag_names, queues, added_at };
        tenants::save_settings(&self.store, id, &settings).await.during("saving a tenant")
    }
}
