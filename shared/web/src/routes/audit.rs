//! `GET /v1/audit`: who set out to change what, for operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pipeline::directory::audit::Entry;
use serde::Serialize;

use super::parameters::Parameters;
use crate::auth::Operator;
use crate::backend::Backend;
use crate::problem::Problem;
use crate::router::Web;

const DEFAULT_DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// The reply of `GET /v1/audit`.
#[derive(Serialize)]
pub(crate) struct Trail {
    entries: Vec<Entry>,
}

/// `GET /v1/audit?from=&to=&limit=`.
pub(crate) async fn list<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    _operator: Operator,
    mut parameters: Parameters,
) -> Result<Json<Trail>, Problem> {
    let now = web.backend.now();
    let from =
        parameters.take_moment("from", now)?.unwrap_or_else(|| now.plus_millis(-DEFAULT_DAYS * DAY_MS));
    // What was done this very moment is in.
    let to = parameters.take_moment("to", now)?.unwrap_or_else(|| now.plus_millis(1));
    let limit = parameters.take_number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    parameters.finish("from, to, limit")?;
    Ok(Json(Trail { entries: web.backend.audit(from, to, limit).await? }))
}
