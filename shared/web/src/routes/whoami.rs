//! `GET /v1/whoami`: who the key is, so that a dashboard knows what to offer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;

use super::parameters::Parameters;
use crate::auth::{authenticate, bearer, suspended};
use crate::backend::{Access, Backend};
use crate::problem::Problem;
use crate::router::Web;

/// The reply of `GET /v1/whoami`.
#[derive(Serialize)]
pub(crate) struct Whoami {
    /// The key's name.
    name: String,
    /// `operator`, `tenant` or `ingest`.
    scope: &'static str,
    /// The key's tenant, if it has one.
    tenant: Option<String>,
}

/// `GET /v1/whoami`, for any valid key.
pub(crate) async fn whoami<B: Backend>(
    State(web): State<Arc<Web<B>>>,
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
