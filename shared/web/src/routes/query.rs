//! `POST /v1/query` and the same in the query string, `GET /v1/metrics`.
//!
//! The wire is read with the scope of the key, so a query beyond it cannot come into being; the backend gets it checked.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use cells::query::Query;

use super::forms::Form;
use super::parameters::Parameters;
use crate::auth::Reader;
use crate::backend::{Backend, Unavailable};
use crate::dashboard::{etag, matches};
use crate::limits::{QUERY_BODY_BYTES, QUERY_TIME, read_body};
use crate::problem::Problem;
use crate::router::Web;

/// A range that ended so long ago hardly changes any more.
const SETTLED_AFTER_MS: i64 = 60 * 60 * 1000;

/// `POST /v1/query`.
pub(crate) async fn post<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::asked_for(request.headers());
    Parameters::of(request.uri())?.finish("none, as the query is the body")?;
    let body = read_body(request, QUERY_BODY_BYTES).await?;
    let locale = web.backend.locale(&reader.scope).await?;
    let query = Query::from_json(&body, reader.scope, &locale, web.backend.now())?;
    drop(body);
    answer(&web, query, form).await
}

/// `GET /v1/metrics`. The answer for a range that is over may be kept for a minute, by the one who asked; any other is asked for again,
/// and not sent again if it is the same.
pub(crate) async fn get<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let locale = web.backend.locale(&reader.scope).await?;
    let now = web.backend.now();
    let query = Query::from_pairs(parameters.pairs(), reader.scope, &locale, now)?;
    let (_, end) = query.range();
    let response = answer(&web, query, Form::asked_for(&headers)).await?;
    let mut response = tagged(response, &headers).await?;
    let is_over = now.millis_since(end.start()) >= SETTLED_AFTER_MS;
    let kept = if is_over { "private, max-age=60" } else { "private, no-cache" };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(header::VARY, HeaderValue::from_static("authorization, x-mailgauge-tenant, accept"));
    Ok(response)
}

/// With a tag of what it says; without what it says if the client has that already.
async fn tagged(response: Response, asked: &HeaderMap) -> Result<Response, Problem> {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|error| Unavailable { operation: "writing the answer", source: error.into() })?;
    let tag = etag(&body);
    let known = asked.get_all(header::IF_NONE_MATCH).iter().any(|value| matches(value, &tag));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    if known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

async fn answer<B: Backend>(web: &Web<B>, query: Query, form: Form) -> Result<Response, Problem> {
    let late = format!("no answer in {} s; ask for a shorter range or fewer groups", QUERY_TIME.as_secs());
    let answer = web.within(web.backend.query(query), late).await?;
    Ok(form.write(&answer)?)
}
