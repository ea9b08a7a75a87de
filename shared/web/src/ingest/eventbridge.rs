//! `POST /v1/ingest/eventbridge`: an EventBridge API destination.
//!
//! Its connection sends one header of the operator's choice: `Authorization` with or without `Bearer`, or `x-api-key`.
//! EventBridge sends again after 429 and 5xx, and drops an event after any other error.
//! Source: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html>

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};

use super::ses;
use crate::auth::{key_in, may_ingest, without_scheme};
use crate::backend::{Backend, Ingested};
use crate::problem::{Kind, Problem};
use crate::router::Web;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// `POST /v1/ingest/eventbridge`.
pub(crate) async fn ingest<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    request: Request,
) -> Result<Json<Ingested>, Problem> {
    may_ingest(&web, key(request.headers())?).await?;
    ses::post(&web, request).await
}

fn key(headers: &HeaderMap) -> Result<&str, Problem> {
    if let Some(value) = key_in(headers, &header::AUTHORIZATION)? {
        return Ok(without_scheme(value).unwrap_or(value));
    }
    key_in(headers, &API_KEY)?.ok_or_else(|| {
        Problem::new(Kind::MissingCredential, "send the key in the header Authorization or x-api-key")
    })
}
