//! `GET /v1/audit`: who set out to change what. For operators.

use axum::Json;
use axum::extract::State;
use pipeline::directory::audit::{self, AuditEntry};
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::QueryParameters;
use crate::auth::Operator;
use crate::problem::Problem;
use crate::router::Shared;
use crate::service::{During as _, Intake};

const DEFAULT_DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Entries listed unless a request says otherwise.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// The most entries that one request can list.
pub(crate) const MAX_LIMIT: usize = 1000;

/// The audit trail of administrative changes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditTrail {
    /// The entries of the range, newest first.
    entries: Vec<AuditEntry>,
}

/// Lists entries by `from`, `to` and `limit`; without a range, those of the last 30 days.
pub(crate) async fn list<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    _operator: Operator,
    mut parameters: QueryParameters,
) -> Result<Json<AuditTrail>, Problem> {
    let now = web.service.now();
    let from = parameters.take_time("from", now)?.unwrap_or_else(|| now.plus_millis(-DEFAULT_DAYS * DAY_MS));
    // The end is exclusive, and an entry written in this millisecond must be included.
    let to = parameters.take_time("to", now)?.unwrap_or_else(|| now.plus_millis(1));
    let limit = parameters.take_number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    parameters.finish("from, to, limit")?;
    let entries = audit::list(&web.service.store, from, to, limit).await.during("reading the audit trail")?;
    Ok(Json(AuditTrail { entries }))
}
