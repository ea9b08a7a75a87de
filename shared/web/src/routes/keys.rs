//! `/v1/tenants/{id}/keys`: a tenant's API keys. For operators.
//!
//! A key is in the reply that made it and nowhere else. Expired and revoked keys stay in the list.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use event::{InvalidTenant, TenantId, Timestamp};
use pipeline::directory::api_keys::{Credential, Grant};
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parameters::{QueryParameters, invalid, invalid_tenant, read_nothing, read_request};
use super::tenants::{self, BODY_BYTES, MAX_NAME_CHARS, display_name, existing, tenant_id};
use crate::auth::Operator;
use crate::openapi::schemas::one_of;
use crate::problem::{Problem, ProblemType};
use crate::router::{Shared, Web};
use crate::service::Intake;

pub(super) const MAX_DAYS: i64 = 3650;
const MAX_OVERLAP_HOURS: i64 = 720;
const DEFAULT_OVERLAP_HOURS: i64 = 24;
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

one_of!(ScopeName, [READ, RULES]);
one_of!(HeldScope, [READ, RULES, OPERATOR, INGEST]);

/// The scope of reading a tenant's numbers.
const READ: &str = "read";
/// The scope of setting a tenant's rules and acknowledging its alerts.
const RULES: &str = "rules";
/// The scope of reading and changing everything.
pub(super) const OPERATOR: &str = "operator";
/// The scope of sending events.
pub(super) const INGEST: &str = "ingest";

/// A key to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// A name that distinguishes the key from others, 1 to 100 characters.
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    name: String,
    /// What the key allows: `read` alone, or `read` and `rules`. Defaults to both.
    #[schemars(with = "Option<Vec<ScopeName>>")]
    scopes: Option<Vec<String>>,
    /// Days until the key expires, 1 to 3650. By default it never expires.
    #[schemars(range(min = 1, max = MAX_DAYS))]
    expires_in_days: Option<i64>,
}

/// How to replace a key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRotation {
    /// Hours for which the old key remains valid, 0 to 720. Defaults to 24.
    #[schemars(range(min = 0, max = MAX_OVERLAP_HOURS))]
    overlap_hours: Option<i64>,
}

/// A key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(crate) struct KeyDetails {
    /// The id, which is not secret.
    id: String,
    /// The name that its creator gave it.
    name: String,
    /// What the key allows.
    #[schemars(with = "Vec<HeldScope>")]
    scopes: &'static [&'static str],
    /// When the key was created.
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// When the key expires; null if it does not.
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
    /// When the key was revoked; null if it was not.
    #[schemars(extend("format" = "date-time"))]
    revoked_at: Option<String>,
    /// The key itself. Only in the reply of the request that created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// A key and when it was last used.
#[derive(Serialize, JsonSchema)]
struct ListedKey {
    #[serde(flatten)]
    key: KeyDetails,
    /// When the key was last used, to the hour; null if it never was.
    #[schemars(extend("format" = "date-time"))]
    last_used_at: Option<String>,
}

/// The keys of a tenant, or those of no tenant.
#[derive(Serialize, JsonSchema)]
pub(crate) struct KeyList {
    /// The keys, including expired and revoked ones.
    keys: Vec<ListedKey>,
}

type KeyPath = Result<Path<(String, String)>, PathRejection>;

/// Lists the keys of a tenant and when each was last used.
pub(crate) async fn list<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    _operator: Operator,
    id: Result<Path<String>, PathRejection>,
    parameters: QueryParameters,
) -> Result<Json<KeyList>, Problem> {
    parameters.finish("none")?;
    let id = tenant_id(id)?;
    existing(&web, &id).await?;
    Ok(Json(KeyList::of(web.service.keys_of(Some(&id)).await?)))
}

/// Makes a key of a tenant and shows it once.
pub(crate) async fn add<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<KeyDetails>, Problem> {
    let Path(id) = id.map_err(|_| tenants::not_found())?;
    let new: NewKey =
        read_request(request, BODY_BYTES, r#"{"name":"dashboard","expires_in_days":90}"#).await?;
    // `(unassigned)` is listed among the tenants, but only operators may read its numbers.
    let id = match TenantId::new(&id) {
        Err(InvalidTenant::Name(_)) => return Err(tenants::not_found()),
        other => other.map_err(|error| invalid_tenant("id", &error))?,
    };
    let name = display_name("name", new.name)?;
    let grant = grant(&id, new.scopes.as_deref())?;
    let expires_at = expiry(web.service.now(), new.expires_in_days)?;
    // A key for a tenant that does not exist is nearly always a mistyped id.
    existing(&web, &id).await?;
    web.service.record_audit(&operator.name, "key.add", id.as_str()).await?;
    Ok(Json(KeyDetails::made(web.service.add_key(grant, &name, expires_at).await?)))
}

/// `POST /v1/tenants/{id}/keys/{key}/rotate`: makes a new key like the old one, which ends after an overlap.
pub(crate) async fn rotate<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    path: KeyPath,
    request: Request,
) -> Result<Json<KeyDetails>, Problem> {
    let (_, old) = existing_key(&web, path).await?;
    rotate_found(&web, &operator, &old, request).await
}

/// Replaces a key that was found by a new one with the same grant, name and lifetime.
pub(super) async fn rotate_found<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    operator: &Operator,
    old: &Credential,
    request: Request,
) -> Result<Json<KeyDetails>, Problem> {
    let rotation: KeyRotation = read_request(request, BODY_BYTES, r#"{"overlap_hours":24}"#).await?;
    let hours = rotation.overlap_hours.unwrap_or(DEFAULT_OVERLAP_HOURS);
    if !(0..=MAX_OVERLAP_HOURS).contains(&hours) {
        return Err(invalid("overlap_hours", "is out of range")
            .allowed(format!("0 to {MAX_OVERLAP_HOURS}"))
            .example("24"));
    }
    let now = web.service.now();
    if old.revoked_at.is_some() || old.expires_at.is_some_and(|at| at <= now) {
        return Err(Problem::new(
            ProblemType::Conflict,
            "this key has expired or was revoked; make a new one",
        ));
    }
    web.service.record_audit(&operator.name, "key.rotate", &old.id).await?;
    let old_ends_at = now.plus_millis(hours * HOUR_MS);
    let rotated = web.service.rotate_key(&old.id, old_ends_at).await?;
    rotated.map(|made| Json(KeyDetails::made(made))).ok_or_else(not_found)
}

/// `DELETE /v1/tenants/{id}/keys/{key}`: revokes a key at once.
pub(crate) async fn revoke<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    path: KeyPath,
    request: Request,
) -> Result<Json<KeyDetails>, Problem> {
    read_nothing(request).await?;
    let (_, key) = existing_key(&web, path).await?;
    revoke_found(&web, &operator, &key).await
}

/// Revokes a key that was found.
pub(super) async fn revoke_found<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    operator: &Operator,
    key: &Credential,
) -> Result<Json<KeyDetails>, Problem> {
    web.service.record_audit(&operator.name, "key.revoke", &key.id).await?;
    web.service.revoke_key(&key.id).await?.map(|key| Json(KeyDetails::of(key))).ok_or_else(not_found)
}

impl KeyList {
    pub(super) fn of(keys: Vec<(Credential, Option<Timestamp>)>) -> Self {
        let listed = keys.into_iter().map(|(credential, last_used)| ListedKey {
            key: KeyDetails::of(credential),
            last_used_at: last_used.map(|at| at.to_string()),
        });
        Self { keys: listed.collect() }
    }
}

impl KeyDetails {
    /// The details of a key that was just made, with the key itself.
    pub(super) fn made((key, credential): (String, Credential)) -> Self {
        Self { key: Some(key), ..Self::of(credential) }
    }

    fn of(credential: Credential) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            scopes: credential.grant.scopes(),
            id: credential.id,
            name: credential.name,
            created_at: credential.created_at.to_string(),
            expires_at: text(credential.expires_at),
            revoked_at: text(credential.revoked_at),
            key: None,
        }
    }
}

/// The key in the path, with its tenant. The key of another tenant gets the same 404 as one that does not exist.
async fn existing_key<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    path: KeyPath,
) -> Result<(TenantId, Credential), Problem> {
    let Path((id, key)) = path.map_err(|_| not_found())?;
    let id = TenantId::new_or_unassigned(&id).map_err(|_| tenants::not_found())?;
    existing(web, &id).await?;
    // Searched among the tenant's own keys, so that an id of another tenant cannot be found.
    let found =
        web.service.keys_of(Some(&id)).await?.into_iter().find(|(credential, _)| credential.id == key);
    found.map(|(credential, _)| (id, credential)).ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::new(ProblemType::NotFound, "no such key of this tenant; GET /v1/tenants/{id}/keys lists them")
}

/// When a key that is made now expires.
pub(super) fn expiry(now: Timestamp, days: Option<i64>) -> Result<Option<Timestamp>, Problem> {
    match days {
        None => Ok(None),
        Some(days @ 1..=MAX_DAYS) => Ok(Some(now.plus_millis(days * DAY_MS))),
        Some(_) => Err(invalid("expires_in_days", "is out of range")
            .allowed(format!("1 to {MAX_DAYS}"))
            .example("90")),
    }
}

/// What a key with these scopes grants.
fn grant(tenant: &TenantId, scopes: Option<&[String]>) -> Result<Grant, Problem> {
    let Some(scopes) = scopes else { return Ok(Grant::Tenant(tenant.clone())) };
    let has = |wanted: &str| scopes.iter().any(|scope| scope == wanted);
    let are_known = scopes.iter().all(|scope| scope == READ || scope == RULES);
    match (are_known && has(READ), has(RULES)) {
        (true, true) => Ok(Grant::Tenant(tenant.clone())),
        (true, false) => Ok(Grant::Reader(tenant.clone())),
        (false, _) => Err(invalid("scopes", "cannot be given to a tenant's key")
            .allowed("read, or read and rules")
            .example("[\"read\"]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_a_tenants_key_are_read_or_read_and_rules() {
        let tenant = TenantId::new("acme").unwrap();
        let (full, reader) = (Grant::Tenant(tenant.clone()), Grant::Reader(tenant.clone()));
        for (scopes, expected) in [
            (None, Some(&full)),
            (Some(&["read", "rules"][..]), Some(&full)),
            (Some(&["rules", "read"]), Some(&full)),
            (Some(&["read"]), Some(&reader)),
            (Some(&["rules"]), None),
            (Some(&["read", "operator"]), None),
            (Some(&["ingest"]), None),
            (Some(&[]), None),
        ] {
            let given: Option<Vec<String>> =
                scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect());
            let granted = grant(&tenant, given.as_deref());
            assert_eq!(granted.as_ref().ok(), expected, "{scopes:?}");
        }
    }
}
