//! `GET /v1/alerts`, `GET /v1/alerts/{id}` and `POST /v1/alerts/{id}/acknowledge`: alerts within the scope of the key.
//!
//! The alert of another tenant gets the same 404 as one that does not exist, so ids cannot be probed.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{self, Path, Request};
use detection::AlertState;
use pipeline::alerting::registry::{self, AlertFilter, RegisteredAlert};
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::{QueryParameters, invalid, read_nothing};
use crate::auth::{Reader, RulesWriter};
use crate::problem::{Problem, ProblemType};
use crate::router::Shared;
use crate::service::{During as _, Intake};

/// Alerts listed unless a request says otherwise.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// The most alerts that one request can list.
pub(crate) const MAX_LIMIT: usize = 1000;
/// The states to filter by.
pub(crate) const STATES: [&str; 2] = [AlertState::Firing.name(), AlertState::Resolved.name()];
/// How far back alerts are listed by default.
const DEFAULT_DAYS: i64 = 7;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const MINUTE_MS: i64 = 60 * 1000;
/// No alert id is longer.
const MAX_ID_BYTES: usize = 64;

/// Alerts that match the filters, newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AlertList {
    /// The alerts that match, at most `limit`.
    alerts: Vec<RegisteredAlert>,
}

/// Lists alerts by `state`, `from`, `to` and `limit`; without a range, those of the last 7 days.
pub(crate) async fn list<S: Store, C: Clock, I: Intake>(
    extract::State(web): extract::State<Shared<S, C, I>>,
    reader: Reader,
    mut parameters: QueryParameters,
) -> Result<Json<AlertList>, Problem> {
    let now = web.service.now();
    let is_open = match parameters.take("state")?.as_deref() {
        None => None,
        Some(state) if state == AlertState::Firing.name() => Some(true),
        Some(state) if state == AlertState::Resolved.name() => Some(false),
        Some(_) => {
            return Err(invalid("state", "is not a state of an alert")
                .allowed(STATES.join(", "))
                .example(AlertState::Firing.name()));
        }
    };
    let from = parameters.take_time("from", now)?.unwrap_or_else(|| now.plus_millis(-DEFAULT_DAYS * DAY_MS));
    // The registry compares whole minutes and excludes the last one: the current minute must be included.
    let to = parameters.take_time("to", now)?.unwrap_or_else(|| now.plus_millis(MINUTE_MS));
    let limit = parameters.take_number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    parameters.finish("state, from, to, limit")?;
    let filter = AlertFilter { is_open, from: from.minute(), to: to.minute(), limit };
    let alerts = registry::list(&web.service.store, &reader.scope, &filter).await.during("listing alerts")?;
    Ok(Json(AlertList { alerts }))
}

/// Returns an alert with its history; 404 if it is not within the scope of the key.
pub(crate) async fn one<S: Store, C: Clock, I: Intake>(
    extract::State(web): extract::State<Shared<S, C, I>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
    parameters: QueryParameters,
) -> Result<Json<RegisteredAlert>, Problem> {
    parameters.finish("none")?;
    let id = alert_id(id)?;
    let alert = registry::get(&web.service.store, &reader.scope, &id).await.during("reading an alert")?;
    alert.map(Json).ok_or_else(not_found)
}

/// `POST /v1/alerts/{id}/acknowledge`: stops reminders until the alert is resolved.
pub(crate) async fn acknowledge<S: Store, C: Clock, I: Intake>(
    extract::State(web): extract::State<Shared<S, C, I>>,
    RulesWriter(reader): RulesWriter,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<RegisteredAlert>, Problem> {
    const OPERATION: &str = "acknowledging an alert";
    read_nothing(request).await?;
    let id = alert_id(id)?;
    let service = &web.service;
    // The audit trail only records changes of alerts that exist.
    registry::get(&service.store, &reader.scope, &id).await.during(OPERATION)?.ok_or_else(not_found)?;
    service.record_audit(&reader.name, "alert.acknowledge", &id).await?;
    let by = &reader.name;
    let alert = registry::acknowledge(&service.store, &reader.scope, &id, by, service.now()).await;
    alert.during(OPERATION)?.map(Json).ok_or_else(not_found)
}

/// The id in the path. A text that cannot be an id is not looked up.
fn alert_id(id: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(id) = id.map_err(|_| not_found())?;
    let is_one = id.len() <= MAX_ID_BYTES
        && id.starts_with("al_")
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_one { Ok(id) } else { Err(not_found()) }
}

fn not_found() -> Problem {
    Problem::new(ProblemType::NotFound, "no such alert; GET /v1/alerts lists them")
}
