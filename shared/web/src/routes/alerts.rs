//! `GET /v1/alerts`, `GET /v1/alerts/{id}`, `POST /v1/alerts/{id}/acknowledge`: alerts within the scope of the key.
//!
//! An alert of another tenant is as good as none: 404, whatever is asked of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use pipeline::alerting::registry::{Alert, Asked};
use serde::Serialize;

use super::parameters::{Parameters, invalid, read_nothing};
use crate::auth::{Reader, Setter};
use crate::backend::Backend;
use crate::problem::{Kind, Problem};
use crate::router::Web;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// So far back by default.
const DEFAULT_DAYS: i64 = 7;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// No id is longer.
const MAX_ID_BYTES: usize = 64;

/// The reply of `GET /v1/alerts`.
#[derive(Serialize)]
pub(crate) struct Alerts {
    alerts: Vec<Alert>,
}

/// `GET /v1/alerts?state=&from=&to=&limit=`.
pub(crate) async fn list<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    mut parameters: Parameters,
) -> Result<Json<Alerts>, Problem> {
    let now = web.backend.now();
    let is_open = match parameters.take("state")?.as_deref() {
        None => None,
        Some("firing") => Some(true),
        Some("resolved") => Some(false),
        Some(_) => {
            return Err(invalid("state", "is no state").allowed("firing, resolved").example("firing"));
        }
    };
    let from =
        parameters.take_moment("from", now)?.unwrap_or_else(|| now.plus_millis(-DEFAULT_DAYS * DAY_MS));
    // What fires in this very minute is in.
    let to = parameters.take_moment("to", now)?.unwrap_or_else(|| now.plus_millis(60_000));
    let limit = parameters.take_number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    parameters.finish("state, from, to, limit")?;
    let asked = Asked { is_open, from: from.minute(), to: to.minute(), limit };
    Ok(Json(Alerts { alerts: web.backend.alerts(&reader.scope, asked).await? }))
}

/// `GET /v1/alerts/{id}`.
pub(crate) async fn one<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
    parameters: Parameters,
) -> Result<Json<Alert>, Problem> {
    parameters.finish("none")?;
    let id = known(id)?;
    web.backend.alert(&reader.scope, &id).await?.map(Json).ok_or_else(none)
}

/// `POST /v1/alerts/{id}/acknowledge`: no reminders until it is resolved.
pub(crate) async fn acknowledge<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    Setter(reader): Setter,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Alert>, Problem> {
    read_nothing(request).await?;
    let id = known(id)?;
    web.backend.alert(&reader.scope, &id).await?.ok_or_else(none)?;
    web.backend.note(&reader.name, "alert.acknowledge", &id).await?;
    web.backend.acknowledge(&reader.scope, &id, &reader.name).await?.map(Json).ok_or_else(none)
}

fn known(id: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(id) = id.map_err(|_| none())?;
    let is_one = id.len() <= MAX_ID_BYTES
        && id.starts_with("al_")
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_one { Ok(id) } else { Err(none()) }
}

fn none() -> Problem {
    Problem::new(Kind::NotFound, "no such alert; GET /v1/alerts lists them")
}
