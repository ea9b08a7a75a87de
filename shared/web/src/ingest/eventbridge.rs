//! `POST /v1/ingest/eventbridge`: an EventBridge API destination.
//!
//! The connection of an API destination sends one header that the operator chooses: `Authorization` with or without `Bearer`, or
//! `x-api-key`. EventBridge retries after 429 and 5xx, and drops the event after any other error.
//! Source: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html>

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use pipeline::ports::{Clock, Store};

use super::ses;
use crate::auth::{key_in, may_ingest, without_scheme};
use crate::problem::{Problem, ProblemType};
use crate::router::Shared;
use crate::service::{Ingested, Intake};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Counts the event in the body. The key is checked before the body is read.
pub(crate) async fn ingest<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    request: Request,
) -> Result<Json<Ingested>, Problem> {
    may_ingest(&web, key(request.headers())?).await?;
    ses::count_body(&web, request).await
}

fn key(headers: &HeaderMap) -> Result<&str, Problem> {
    if let Some(value) = key_in(headers, &header::AUTHORIZATION)? {
        // The authorization type "API key" sends the value that the operator typed, with or without a scheme.
        return Ok(without_scheme(value).unwrap_or(value));
    }
    key_in(headers, &API_KEY)?.ok_or_else(|| {
        Problem::new(ProblemType::MissingCredential, "send the key in the header Authorization or x-api-key")
    })
}
