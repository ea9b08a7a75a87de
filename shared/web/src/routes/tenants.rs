//! `/v1/tenants`: tenants and their settings. For operators.
//!
//! Erasing a tenant removes its numbers, rules, alerts and keys. Events that arrive later create it again.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use cells::query::{Locale, time_zone};
use event::TenantId;
use pipeline::directory::erasure;
use pipeline::directory::{queue_url::QueueUrl, tenants::MAX_QUEUES};
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::parameters::{QueryParameters, declared_tenant, invalid, read_nothing, read_request};
use crate::auth::Operator;
use crate::problem::{Problem, ProblemType};
use crate::router::{Shared, Web};
use crate::service::{During as _, Intake, TagNames, TenantDetails};

/// All tenants of a large installation fit into one page.
pub(crate) const MAX_LIMIT: usize = 10_000;
/// Size limit for bodies about tenants and keys, in bytes. The largest field is a list of 20 queue URLs, some 3 KB.
pub(super) const BODY_BYTES: usize = 16 * 1024;
/// Names are shown in tables.
pub(super) const MAX_NAME_CHARS: usize = 100;

/// One page of tenants.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TenantPage {
    /// The tenants, sorted by id.
    tenants: Vec<TenantDetails>,
    /// The `cursor` of the next page; null on the last page.
    next_cursor: Option<String>,
}

/// Confirms that a tenant was erased.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ErasedTenant {
    /// The id of the tenant.
    erased: String,
}

/// A tenant to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// The id, as the tenant tag or the mappings of attribution name it.
    #[schemars(with = "TenantId")]
    id: String,
    /// The display name, 1 to 100 characters. Defaults to the id.
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    name: Option<String>,
}

/// A change of a tenant. Fields that are left out stay as they are.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantUpdate {
    /// The display name, 1 to 100 characters.
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    name: Option<String>,
    /// Whether the keys of the tenant are refused. Its mail is counted all the same.
    suspended: Option<bool>,
    /// The IANA time zone of queries that name none; null for UTC.
    #[expect(clippy::option_option, reason = "a field that is left out stays, null removes it")]
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>", extend("example" = "Europe/Berlin"))]
    timezone: Option<Option<String>>,
    /// The tenant's own names of the declared tags, in place of the deployment's names. Replaces all of them.
    #[schemars(with = "Option<TagNames>")]
    tag_names: Option<BTreeMap<String, String>>,
    /// The SQS queues in which the tenant's mail waits before it is sent, at most 20. The metric `queue_depth` is their sum. Replaces all
    /// of them.
    #[schemars(with = "Option<Vec<QueueUrl>>", length(max = MAX_QUEUES), extend("uniqueItems" = true))]
    queues: Option<Vec<String>>,
}

/// Tells a field that is null from one that is left out.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// `GET /v1/tenants?limit=&cursor=`: one page, sorted by id. The cursor is the last id of the page before, so no tenant is skipped or
/// repeated when others are added or erased between two pages.
pub(crate) async fn list<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    _operator: Operator,
    mut parameters: QueryParameters,
) -> Result<Json<TenantPage>, Problem> {
    let limit = parameters.take_number("limit", 1..=MAX_LIMIT)?.unwrap_or(MAX_LIMIT);
    let after = parameters.take("cursor")?.map(|cursor| TenantId::from_stored(&cursor)).transpose();
    let after =
        after.map_err(|_| invalid("cursor", "is not valid").allowed("next_cursor of the page before"))?;
    parameters.finish("limit, cursor")?;
    // One more than is shown tells whether there is another page.
    let mut tenants = web.service.tenants(after.as_ref(), limit + 1).await?;
    let is_last = tenants.len() <= limit;
    tenants.truncate(limit);
    let next_cursor = tenants.last().filter(|_| !is_last).map(|tenant| tenant.id.clone());
    Ok(Json(TenantPage { tenants, next_cursor }))
}

/// Creates a tenant; 409 if it exists.
pub(crate) async fn add<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    request: Request,
) -> Result<Json<TenantDetails>, Problem> {
    let new: NewTenant = read_request(request, BODY_BYTES, r#"{"id":"acme","name":"Acme"}"#).await?;
    let id = declared_tenant("id", &new.id)?;
    let mut tenant = TenantDetails::new(&id);
    if let Some(name) = new.name {
        tenant.name = display_name("name", name)?;
    }
    if web.service.tenant(&id).await?.is_some() {
        return Err(Problem::new(ProblemType::Conflict, format!("tenant {id} exists; change it with PATCH")));
    }
    web.service.record_audit(&operator.name, "tenant.add", id.as_str()).await?;
    web.service.save_tenant(&id, tenant).await?;
    existing(&web, &id).await.map(Json)
}

/// Returns a tenant with its settings.
pub(crate) async fn get<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    _operator: Operator,
    id: Result<Path<String>, PathRejection>,
    parameters: QueryParameters,
) -> Result<Json<TenantDetails>, Problem> {
    parameters.finish("none")?;
    existing(&web, &tenant_id(id)?).await.map(Json)
}

/// `PATCH /v1/tenants/{id}`: renames, suspends or resumes a tenant, or changes its settings.
pub(crate) async fn change<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<TenantDetails>, Problem> {
    let id = tenant_id(id)?;
    let change: TenantUpdate = read_request(request, BODY_BYTES, r#"{"suspended":true}"#).await?;
    // The whole body is checked before the audit trail has an entry and before anything is changed.
    let mut tenant = existing(&web, &id).await?;
    let action = change.action();
    change.apply(&mut tenant)?;
    web.service.record_audit(&operator.name, action, id.as_str()).await?;
    web.service.save_tenant(&id, tenant).await?;
    existing(&web, &id).await.map(Json)
}

/// Erases everything that is stored about a tenant.
pub(crate) async fn erase<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<ErasedTenant>, Problem> {
    read_nothing(request).await?;
    let id = tenant_id(id)?;
    existing(&web, &id).await?;
    web.service.record_audit(&operator.name, "tenant.erase", id.as_str()).await?;
    erasure::erase(&web.service.store, &id).await.during("erasing a tenant")?;
    Ok(Json(ErasedTenant { erased: id.to_string() }))
}

impl TenantUpdate {
    /// The action in the audit trail: the one that matters most if there are several.
    const fn action(&self) -> &'static str {
        match (self.suspended, &self.name) {
            (Some(true), _) => "tenant.suspend",
            (Some(false), _) => "tenant.resume",
            (None, Some(_)) => "tenant.rename",
            (None, None) => "tenant.set",
        }
    }

    fn apply(self, tenant: &mut TenantDetails) -> Result<(), Problem> {
        if let Some(name) = self.name {
            tenant.name = display_name("name", name)?;
        }
        if let Some(suspended) = self.suspended {
            tenant.suspended = suspended;
        }
        if let Some(timezone) = self.timezone {
            // Null has no name to check: it sets UTC.
            if let Some(name) = &timezone {
                time_zone(name)?;
            }
            tenant.timezone = timezone;
        }
        if let Some(names) = self.tag_names {
            check_tag_names(&names)?;
            tenant.tag_names = names;
        }
        if let Some(queues) = self.queues {
            tenant.queues = queue_urls(queues)?;
        }
        Ok(())
    }
}

fn check_tag_names(names: &BTreeMap<String, String>) -> Result<(), Problem> {
    let is_tag = |name: &String| Locale::TAGS.iter().any(|tag| tag.name() == name);
    let distinct: BTreeSet<&String> = names.values().collect();
    if names.keys().all(is_tag)
        && names.values().all(|name| Locale::may_name(name))
        && distinct.len() == names.len()
    {
        return Ok(());
    }
    Err(invalid("tag_names", "cannot be used")
        .allowed(
            "a distinct name for each of tag1 to tag4, of letters, digits, _, - and ., that is not a dimension's name",
        )
        .example(r#"{"tag1":"brand"}"#))
}

fn queue_urls(urls: Vec<String>) -> Result<Vec<QueueUrl>, Problem> {
    let wrong = |problem: &str| {
        invalid("queues", problem)
            .allowed(format!("at most {MAX_QUEUES} different URLs of SQS queues"))
            .example(format!("[{:?}]", QueueUrl::EXAMPLE))
    };
    // A queue that is listed twice would count twice in `queue_depth`.
    let distinct: BTreeSet<&String> = urls.iter().collect();
    if urls.len() > MAX_QUEUES || distinct.len() < urls.len() {
        return Err(wrong("has too many or repeated entries"));
    }
    let parsed: Result<_, _> = urls.into_iter().map(QueueUrl::try_from).collect();
    parsed.map_err(|error| wrong(&error.to_string()))
}

/// The tenant of this id; 404 if there is none.
pub(super) async fn existing<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    id: &TenantId,
) -> Result<TenantDetails, Problem> {
    web.service.tenant(id).await?.ok_or_else(not_found)
}

/// The id in the path. Reserved names are accepted: tenants of such a name, from before names were reserved, can be read and erased.
pub(super) fn tenant_id(id: Result<Path<String>, PathRejection>) -> Result<TenantId, Problem> {
    let Path(id) = id.map_err(|_| not_found())?;
    TenantId::new_or_unassigned(&id).map_err(|_| not_found())
}

pub(super) fn not_found() -> Problem {
    Problem::new(ProblemType::NotFound, "no such tenant; GET /v1/tenants lists them")
}

/// Checks the display name of a tenant or key.
pub(super) fn display_name(field: &str, name: String) -> Result<String, Problem> {
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(invalid(field, "is not a valid name")
            .allowed(format!("1 to {MAX_NAME_CHARS} visible characters"))
            .example("dashboard"));
    }
    Ok(name)
}
