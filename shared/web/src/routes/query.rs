//! `POST /v1/query` and the same in the query string, `GET /v1/metrics`.
//!
//! The wire is read with the scope of the key, so a query beyond it cannot come into being; the backend gets it checked.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use cells::query::Query;

use super::parameters::Parameters;
use crate::auth::Reader;
use crate::backend::{Backend, Unavailable};
use crate::limits::{QUERY_BODY_BYTES, QUERY_TIME, read_body};
use crate::problem::{Kind, Problem};
use crate::router::Web;

/// A range that ended so long ago hardly changes any more.
const SETTLED_AFTER_MS: i64 = 60 * 60 * 1000;

/// A row of three metrics in JSON.
const ROW_BYTES: usize = 272;

/// `POST /v1/query`.
pub(crate) async fn post<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_body(request, QUERY_BODY_BYTES).await?;
    let names = web.backend.dimension_names(&reader.scope).await?;
    let query = Query::from_json(&body, reader.scope, &names, web.backend.now())?;
    drop(body);
    answer(&web, query).await
}

/// `GET /v1/metrics`. The answer for a range that is over may be kept for a minute, by the one who asked.
pub(crate) async fn get<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let names = web.backend.dimension_names(&reader.scope).await?;
    let now = web.backend.now();
    let query = Query::from_pairs(parameters.pairs(), reader.scope, &names, now)?;
    let (_, end) = query.range();
    let mut response = answer(&web, query).await?;
    if now.millis_since(end.start()) >= SETTLED_AFTER_MS {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
        headers.insert(header::VARY, HeaderValue::from_static("authorization, x-mailgauge-tenant"));
    }
    Ok(response)
}

async fn answer<B: Backend>(web: &Web<B>, query: Query) -> Result<Response, Problem> {
    const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    let _slot = web.slot()?;
    let answer = tokio::time::timeout(QUERY_TIME, web.backend.query(query)).await.map_err(|_| {
        tracing::warn!(limit_s = QUERY_TIME.as_secs(), "a query was given up");
        let detail =
            format!("no answer in {} s; ask for a shorter range or fewer groups", QUERY_TIME.as_secs());
        Problem::new(Kind::TimedOut, detail)
    })??;
    // About what rows come to, so that the text is not moved while it grows.
    let mut json = Vec::with_capacity(1024 + answer.rows().len() * ROW_BYTES);
    serde_json::to_writer(&mut json, &answer)
        .map_err(|error| Unavailable { operation: "writing the answer", source: error.into() })?;
    Ok((JSON, json).into_response())
}
