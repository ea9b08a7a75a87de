//! `GET /v1/whoami`: what the key allows, so that a dashboard knows what to offer.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::QueryParameters;
use crate::auth::{authenticate, bearer, suspended};
use crate::problem::Problem;
use crate::router::Shared;
use crate::service::{Access, Intake};

/// The kind of a key.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum KeyKind {
    /// Everything, for all tenants.
    Operator,
    /// Reads the numbers of one tenant, and may set its rules.
    Tenant,
    /// Sends events in, and nothing else.
    Ingest,
}

/// The holder of a key or token.
#[derive(Serialize, JsonSchema)]
pub(crate) struct KeyHolder {
    /// The name of the key, or the subject of the token.
    name: String,
    /// What the key allows.
    scope: KeyKind,
    /// The tenant that the key is bound to; null for other keys.
    tenant: Option<String>,
}

/// `GET /v1/whoami`, for any valid key.
pub(crate) async fn whoami<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    headers: HeaderMap,
    parameters: QueryParameters,
) -> Result<Json<KeyHolder>, Problem> {
    let caller = authenticate(&web, bearer(&headers)?).await?;
    parameters.finish("none")?;
    let (scope, tenant) = match caller.access {
        Access::Operator => (KeyKind::Operator, None),
        Access::Tenant { tenant, .. } => (KeyKind::Tenant, Some(tenant.to_string())),
        Access::Suspended => return Err(suspended()),
        Access::Ingest => (KeyKind::Ingest, None),
    };
    Ok(Json(KeyHolder { name: caller.name, scope, tenant }))
}
