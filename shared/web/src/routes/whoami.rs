//! `GET /v1/whoami`: what the key allows, so that a dashboard knows what to offer.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use pipeline::ports::{Clock, Store};
use serde::Serialize;

use super::parameters::Parameters;
use crate::auth::{authenticate, bearer, suspended};
use crate::problem::Problem;
use crate::router::Shared;
use crate::service::{Access, Intake};

/// The reply of `GET /v1/whoami`.
#[derive(Serialize)]
pub(crate) struct Whoami {
    /// The key's name.
    name: String,
    /// `operator`, `tenant` or `ingest`.
    scope: &'static str,
    /// The key's tenant, if it is a tenant's key.
    tenant: Option<String>,
}

/// `GET /v1/whoami`, for any valid key.
pub(crate) async fn whoami<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Json<Whoami>, Problem> {
    let caller = authenticate(&web, bearer(&headers)?).await?;
    parameters.finish("none")?;
    let (scope, tenant) = match caller.access {
        Access::Operator => ("operator", None),
        Access::Tenant { tenant, .. } => ("tenant", Some(tenant.to_string())),
        Access::Suspended => return Err(suspended()),
        Access::Ingest => ("ingest", None),
    };
    Ok(Json(Whoami { name: caller.name, scope, tenant }))
}
