//! `POST /v1/ingest/ses`: events by anybody who holds an ingest key: one, an array, NDJSON, plain or gzip.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};

use crate::auth::{bearer, may_ingest};
use crate::backend::{Backend, Ingested};
use crate::limits::{INGEST_BODY_BYTES, Reserved, read_events};
use crate::problem::{Kind, Problem};
use crate::router::Web;

/// `POST /v1/ingest/ses`.
pub(crate) async fn ingest<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    request: Request,
) -> Result<Json<Ingested>, Problem> {
    may_ingest(&web, bearer(request.headers())?).await?;
    post(&web, request).await
}

/// Takes the body in as one payload.
pub(crate) async fn post<B: Backend>(web: &Web<B>, request: Request) -> Result<Json<Ingested>, Problem> {
    let Reserved { body, reservation: _held } = read_events(request, &web.budget, INGEST_BODY_BYTES).await?;
    if body.is_empty() {
        return Err(Problem::new(Kind::InvalidBody, "the body is empty; send SES events as JSON or NDJSON"));
    }
    Ok(Json(web.backend.ingest(vec![body]).await?))
}
