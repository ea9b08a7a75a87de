//! `GET /v1/tenants`: all tenants, for operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::parameters::Parameters;
use crate::auth::Operator;
use crate::backend::{Backend, Tenant};
use crate::problem::Problem;
use crate::router::Web;

/// The reply of `GET /v1/tenants`.
#[derive(Serialize)]
pub(crate) struct Tenants {
    tenants: Vec<Tenant>,
}

/// `GET /v1/tenants`.
pub(crate) async fn list<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    _operator: Operator,
    parameters: Parameters,
) -> Result<Json<Tenants>, Problem> {
    parameters.finish("none")?;
    Ok(Json(Tenants { tenants: web.backend.tenants().await? }))
}
