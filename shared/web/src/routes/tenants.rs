//! `/v1/tenants` and `/v1/tenants/{id}/keys`: tenants and their keys, for operators.
//!
//! A key is in the reply that made it and nowhere else. Erasing a tenant takes its numbers, rules, alerts and keys; events that come
//! later make it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use cells::query::{Locale, time_zone};
use event::{TenantId, Timestamp};
use pipeline::alerting::queues::{MAX_QUEUES, QueueUrl};
use pipeline::directory::credentials::{Credential, Grant};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::parameters::{Parameters, declared_tenant, invalid, read_nothing, read_request};
use crate::auth::Operator;
use crate::backend::{Backend, Tenant};
use crate::problem::{Kind, Problem};
use crate::router::Web;

/// As many tenants as are meant to be.
const MAX_LIMIT: usize = 10_000;
const BODY_BYTES: usize = 16 * 1024;
/// It is read in a table.
const MAX_NAME_CHARS: usize = 100;
const MAX_DAYS: i64 = 3650;
const MAX_OVERLAP_HOURS: i64 = 720;
const DEFAULT_OVERLAP_HOURS: i64 = 24;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// The reply of `GET /v1/tenants`.
#[derive(Serialize)]
pub(crate) struct Tenants {
    tenants: Vec<Tenant>,
    /// What to send as `cursor` for the next page, if there is one.
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    id: String,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantChange {
    name: Option<String>,
    suspended: Option<bool>,
    #[expect(clippy::option_option, reason = "what is left out stays, null takes it away")]
    #[serde(default, deserialize_with = "given")]
    timezone: Option<Option<String>>,
    tag_names: Option<BTreeMap<String, String>>,
    queues: Option<Vec<String>>,
}

/// Tells what is given as null from what is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    scopes: Option<Vec<String>>,
    expires_in_days: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    overlap_hours: Option<i64>,
}

/// `GET /v1/tenants?limit=&cursor=`: a page, sorted by id. The cursor is the last id of the page before, so that no tenant is left out
/// or comes twice, whoever is added or erased meanwhile.
pub(crate) async fn list<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    _operator: Operator,
    mut parameters: Parameters,
) -> Result<Json<Tenants>, Problem> {
    let limit = parameters.take_number("limit", 1..=MAX_LIMIT)?.unwrap_or(MAX_LIMIT);
    let after = parameters.take("cursor")?.map(|cursor| TenantId::new(&cursor)).transpose();
    let after = after.map_err(|_| invalid("cursor", "is none").allowed("next_cursor of the page before"))?;
    parameters.finish("limit, cursor")?;
    let mut tenants = web.backend.tenants(after.as_ref(), limit + 1).await?;
    let is_last = tenants.len() <= limit;
    tenants.truncate(limit);
    let next_cursor = tenants.last().filter(|_| !is_last).map(|tenant| tenant.id.clone());
    Ok(Json(Tenants { tenants, next_cursor }))
}

/// `POST /v1/tenants`.
pub(crate) async fn add<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    operator: Operator,
    request: Request,
) -> Result<Json<Tenant>, Problem> {
    let new: NewTenant = read_request(request, BODY_BYTES, r#"{"id":"acme","name":"Acme"}"#).await?;
    let id = declared_tenant("id", &new.id)?;
    let name = new.name.map(|name| named("name", name)).transpose()?;
    if web.backend.tenant(&id).await?.is_some() {
        return Err(Problem::new(Kind::Conflict, format!("tenant {id} is there; change it with PATCH")));
    }
    web.backend.note(&operator.name, "tenant.add", id.as_str()).await?;
    let name = name.unwrap_or_else(|| id.to_string());
    let (timezone, tag_names, queues) = Default::default();
    let tenant = Tenant { id: id.to_string(), name, suspended: false, timezone, tag_names, queues };
    web.backend.describe(&id, tenant).await?;
    one(&web, &id).await.map(Json)
}

/// `GET /v1/tenants/{id}`.
pub(crate) async fn get<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    _operator: Operator,
    id: Result<Path<String>, PathRejection>,
    parameters: Parameters,
) -> Result<Json<Tenant>, Problem> {
    parameters.finish("none")?;
    one(&web, &tenant(id)?).await.map(Json)
}

/// `PATCH /v1/tenants/{id}`: another name, suspended or not, other settings; what is left out stays.
pub(crate) async fn change<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    operator: Operator,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Tenant>, Problem> {
    let id = tenant(id)?;
    let change: TenantChange = read_request(request, BODY_BYTES, r#"{"suspended":true}"#).await?;
    let mut tenant = one(&web, &id).await?;
    let action = match (change.suspended, &change.name) {
        (Some(true), _) => "tenant.suspend",
        (Some(false), _) => "tenant.resume",
        (None, Some(_)) => "tenant.rename",
        (None, None) => "tenant.set",
    };
    change.apply(&mut tenant)?;
    web.backend.note(&operator.name, action, id.as_str()).await?;
    web.backend.describe(&id, tenant).await?;
    one(&web, &id).await.map(Json)
}

/// `DELETE /v1/tenants/{id}`: erases it.
pub(crate) async fn erase<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    operator: Operator,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    read_nothing(request).await?;
    let id = tenant(id)?;
    one(&web, &id).await?;
    web.backend.note(&operator.name, "tenant.erase", id.as_str()).await?;
    web.backend.erase(&id).await?;
    Ok(Json(json!({ "erased": id.as_str() })))
}

/// `GET /v1/tenants/{id}/keys`.
pub(crate) async fn keys<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    _operator: Operator,
    id: Result<Path<String>, PathRejection>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    parameters.finish("none")?;
    let id = tenant(id)?;
    one(&web, &id).await?;
    let keys: Vec<Value> = web.backend.keys(&id).await?.iter().map(|(key, used)| seen(key, *used)).collect();
    Ok(Json(json!({ "keys": keys })))
}

/// `POST /v1/tenants/{id}/keys`.
pub(crate) async fn add_key<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    operator: Operator,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let id = tenant(id)?;
    let new: NewKey =
        read_request(request, BODY_BYTES, r#"{"name":"dashboard","expires_in_days":90}"#).await?;
    // `(unassigned)` is listed among the tenants, but only operators may see its numbers.
    let id = declared_tenant("id", id.as_str())?;
    let name = named("name", new.name)?;
    let grant = grant(&id, new.scopes.as_deref())?;
    let expires_at = match new.expires_in_days {
        None => None,
        Some(days @ 1..=MAX_DAYS) => Some(web.backend.now().plus_millis(days * 24 * HOUR_MS)),
        Some(_) => {
            return Err(invalid("expires_in_days", "is out of range").allowed("1 to 3650").example("90"));
        }
    };
    one(&web, &id).await?;
    web.backend.note(&operator.name, "key.add", id.as_str()).await?;
    let (key, credential) = web.backend.add_key(grant, &name, expires_at).await?;
    Ok(Json(made(&key, &credential)))
}

/// `POST /v1/tenants/{id}/keys/{key}/rotate`: a new key like it, and the old one ends after an overlap.
pub(crate) async fn rotate<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    operator: Operator,
    place: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (tenant, old) = key_of(&web, place).await?;
    let rotation: Rotation = read_request(request, BODY_BYTES, r#"{"overlap_hours":24}"#).await?;
    let tenant = declared_tenant("id", tenant.as_str())?;
    let hours = rotation.overlap_hours.unwrap_or(DEFAULT_OVERLAP_HOURS);
    if !(0..=MAX_OVERLAP_HOURS).contains(&hours) {
        return Err(invalid("overlap_hours", "is out of range").allowed("0 to 720").example("24"));
    }
    let now = web.backend.now();
    if old.revoked_at.is_some() || old.expires_at.is_some_and(|at| at <= now) {
        return Err(Problem::new(Kind::Conflict, "this key is over; make a new one"));
    }
    // As long as it was to live, from now on.
    let lifetime = old.expires_at.map(|at| at.millis_since(old.created_at));
    let expires_at = lifetime.map(|lifetime| now.plus_millis(lifetime));
    debug_assert_eq!(old.grant.tenant(), Some(&tenant));
    web.backend.note(&operator.name, "key.rotate", &old.id).await?;
    let (key, credential) = web.backend.add_key(old.grant, &old.name, expires_at).await?;
    web.backend.end_key(&old.id, Some(now.plus_millis(hours * HOUR_MS))).await?;
    Ok(Json(made(&key, &credential)))
}

/// `DELETE /v1/tenants/{id}/keys/{key}`: revoked at once.
pub(crate) async fn revoke<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    operator: Operator,
    place: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    read_nothing(request).await?;
    let (_, key) = key_of(&web, place).await?;
    web.backend.note(&operator.name, "key.revoke", &key.id).await?;
    web.backend.end_key(&key.id, None).await?.map(|key| Json(shown(&key))).ok_or_else(no_key)
}

impl TenantChange {
    fn apply(self, tenant: &mut Tenant) -> Result<(), Problem> {
        if let Some(name) = self.name {
            tenant.name = named("name", name)?;
        }
        if let Some(suspended) = self.suspended {
            tenant.suspended = suspended;
        }
        if let Some(timezone) = self.timezone {
            timezone.as_deref().map(time_zone).transpose()?;
            tenant.timezone = timezone;
        }
        if let Some(names) = self.tag_names {
            right_names(&names)?;
            tenant.tag_names = names;
        }
        if let Some(queues) = self.queues {
            tenant.queues = right_queues(queues)?;
        }
        Ok(())
    }
}

fn right_names(names: &BTreeMap<String, String>) -> Result<(), Problem> {
    let is_tag = |name: &String| Locale::TAGS.iter().any(|tag| tag.name() == name);
    let distinct: BTreeSet<&String> = names.values().collect();
    if names.keys().all(is_tag)
        && names.values().all(|name| Locale::may_name(name))
        && distinct.len() == names.len()
    {
        return Ok(());
    }
    Err(invalid("tag_names", "cannot be used")
        .allowed("for tag1 to tag4 a name each: letters, digits, _ - and ., no dimension's name, none twice")
        .example(r#"{"tag1":"brand"}"#))
}

fn right_queues(urls: Vec<String>) -> Result<Vec<QueueUrl>, Problem> {
    let wrong = |problem: String| {
        let allowed = format!("at most {MAX_QUEUES} URLs of SQS queues, none twice");
        invalid("queues", &problem).allowed(&allowed).example(format!("[{:?}]", QueueUrl::EXAMPLE))
    };
    let distinct: BTreeSet<&String> = urls.iter().collect();
    if urls.len() > MAX_QUEUES || distinct.len() < urls.len() {
        return Err(wrong("are too many or the same".to_owned()));
    }
    let read = urls.into_iter().map(QueueUrl::try_from);
    read.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))
}

async fn one<B: Backend>(web: &Web<B>, id: &TenantId) -> Result<Tenant, Problem> {
    web.backend.tenant(id).await?.ok_or_else(no_tenant)
}

/// A key and its tenant; a key of another tenant is as good as none.
async fn key_of<B: Backend>(
    web: &Web<B>,
    place: Result<Path<(String, String)>, PathRejection>,
) -> Result<(TenantId, Credential), Problem> {
    let Path((id, key)) = place.map_err(|_| no_key())?;
    let id = TenantId::new(&id).map_err(|_| no_tenant())?;
    one(web, &id).await?;
    let found = web.backend.keys(&id).await?.into_iter().find(|(held, _)| held.id == key);
    found.map(|(key, _)| (id, key)).ok_or_else(no_key)
}

fn tenant(id: Result<Path<String>, PathRejection>) -> Result<TenantId, Problem> {
    let Path(id) = id.map_err(|_| no_tenant())?;
    TenantId::new(&id).map_err(|_| no_tenant())
}

fn no_tenant() -> Problem {
    Problem::new(Kind::NotFound, "no such tenant; GET /v1/tenants lists them")
}

fn no_key() -> Problem {
    Problem::new(Kind::NotFound, "no such key of this tenant")
}

fn named(field: &str, name: String) -> Result<String, Problem> {
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(invalid(field, "is no name").allowed("1 to 100 visible characters").example("dashboard"));
    }
    Ok(name)
}

fn grant(tenant: &TenantId, scopes: Option<&[String]>) -> Result<Grant, Problem> {
    let Some(scopes) = scopes else { return Ok(Grant::Tenant(tenant.clone())) };
    let has = |wanted: &str| scopes.iter().any(|scope| scope == wanted);
    let is_known = scopes.iter().all(|scope| scope == "read" || scope == "rules");
    match (is_known && has("read"), has("rules")) {
        (true, true) => Ok(Grant::Tenant(tenant.clone())),
        (true, false) => Ok(Grant::Reader(tenant.clone())),
        (false, _) => Err(invalid("scopes", "are none of a tenant's key")
            .allowed("read, or read and rules")
            .example("[\"read\"]")),
    }
}

fn shown(key: &Credential) -> Value {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.grant.scopes(),
        "created_at": key.created_at.to_string(),
        "expires_at": text(key.expires_at),
        "revoked_at": text(key.revoked_at),
    })
}

/// A key in a list, with when it was used last.
fn seen(key: &Credential, used: Option<Timestamp>) -> Value {
    let mut shown = shown(key);
    if let Value::Object(shown) = &mut shown {
        shown.insert("last_used_at".to_owned(), used.map(|at| at.to_string()).into());
    }
    shown
}

fn made(key: &str, credential: &Credential) -> Value {
    let mut shown = shown(credential);
    if let Value::Object(shown) = &mut shown {
        shown.insert("key".to_owned(), key.into());
    }
    shown
}
