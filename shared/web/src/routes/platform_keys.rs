//! `/v1/keys`: the keys that belong to no tenant, of operators and for sending events. For operators.
//!
//! They can be made, rotated and revoked while everything runs. Each request looks its key up, so a revoked key stops with the next request,
//! in every instance. An operator who has lost every operator key makes a new one on the store itself, with `mailgauge keys add`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use pipeline::directory::api_keys::{Credential, Grant};
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Deserialize;

use super::keys::{self, INGEST, KeyDetails, KeyList, MAX_DAYS, OPERATOR};
use super::parameters::{QueryParameters, invalid, read_nothing, read_request};
use super::tenants::{BODY_BYTES, MAX_NAME_CHARS, display_name};
use crate::auth::Operator;
use crate::openapi::schemas::one_of;
use crate::problem::{Problem, ProblemType};
use crate::router::{Shared, Web};
use crate::service::Intake;

one_of!(PlatformScope, [OPERATOR, INGEST]);

/// A key without a tenant to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPlatformKey {
    /// A name that distinguishes the key from others, 1 to 100 characters.
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    name: String,
    /// What the key allows: `operator`, everything; `ingest`, sending events and nothing else.
    #[schemars(with = "PlatformScope")]
    scope: String,
    /// Days until the key expires, 1 to 3650. By default it never expires.
    #[schemars(range(min = 1, max = MAX_DAYS))]
    expires_in_days: Option<i64>,
}

type KeyPath = Result<Path<String>, PathRejection>;

/// Lists the keys without a tenant and when each was last used.
pub(crate) async fn list<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    _operator: Operator,
    parameters: QueryParameters,
) -> Result<Json<KeyList>, Problem> {
    parameters.finish("none")?;
    Ok(Json(KeyList::of(web.service.keys_of(None).await?)))
}

/// Makes a key without a tenant and shows it once.
pub(crate) async fn add<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    request: Request,
) -> Result<Json<KeyDetails>, Problem> {
    let new: NewPlatformKey =
        read_request(request, BODY_BYTES, r#"{"name":"forwarder","scope":"ingest"}"#).await?;
    let name = display_name("name", new.name)?;
    let grant = match new.scope.as_str() {
        OPERATOR => Grant::Operator,
        INGEST => Grant::Ingest,
        _ => {
            let problem = invalid("scope", "cannot be given to a key without a tenant");
            return Err(problem.allowed("operator or ingest").example("ingest"));
        }
    };
    let expires_at = keys::expiry(web.service.now(), new.expires_in_days)?;
    web.service.record_audit(&operator.name, "key.add", &new.scope).await?;
    Ok(Json(KeyDetails::made(web.service.add_key(grant, &name, expires_at).await?)))
}

/// `POST /v1/keys/{key}/rotate`: makes a new key like the old one, which ends after an overlap.
pub(crate) async fn rotate<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    path: KeyPath,
    request: Request,
) -> Result<Json<KeyDetails>, Problem> {
    let old = existing_key(&web, path).await?;
    keys::rotate_found(&web, &operator, &old, request).await
}

/// `DELETE /v1/keys/{key}`: revokes a key at once, also the one that the request is made with.
pub(crate) async fn revoke<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    path: KeyPath,
    request: Request,
) -> Result<Json<KeyDetails>, Problem> {
    read_nothing(request).await?;
    let key = existing_key(&web, path).await?;
    keys::revoke_found(&web, &operator, &key).await
}

/// The key in the path. A tenant's key is not found here, so that its tenant is always named by whoever ends it.
async fn existing_key<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    path: KeyPath,
) -> Result<Credential, Problem> {
    let not_found = || Problem::new(ProblemType::NotFound, "no such key; GET /v1/keys lists them");
    let Path(key) = path.map_err(|_| not_found())?;
    let mut keys = web.service.keys_of(None).await?.into_iter();
    keys.find(|(credential, _)| credential.id == key).map(|(credential, _)| credential).ok_or_else(not_found)
}
