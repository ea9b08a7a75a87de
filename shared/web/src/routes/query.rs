//! `POST /v1/query`, and the same query in a query string: `GET /v1/metrics`.
//!
//! A query is parsed together with the scope of the key, so one that reaches beyond the scope cannot be constructed.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use cells::query::Query;
use event::invariant::or_broken;
use pipeline::ports::{Clock, Store};

use super::parameters::QueryParameters;
use super::reply_format::ReplyFormat;
use crate::auth::Reader;
use crate::dashboard::{etag, matches};
use crate::limits::{QUERY_BODY_BYTES, QUERY_TIME, read_body};
use crate::problem::Problem;
use crate::router::{Shared, Web};
use crate::service::{During as _, Intake};

/// After this time the counts of a range hardly change any more, in milliseconds.
const SETTLED_AFTER_MS: i64 = 60 * 60 * 1000;

/// Answers the query in the body, in the format that `Accept` asks for.
pub(crate) async fn post<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    request: Request,
) -> Result<Response, Problem> {
    let format = ReplyFormat::accepted_by(request.headers());
    QueryParameters::of(request.uri())?.finish("none, as the query is the body")?;
    let body = read_body(request, QUERY_BODY_BYTES).await?;
    let locale = web.service.locale(&reader.scope).await?;
    let query = Query::from_json(&body, reader.scope.clone(), &locale, web.service.now())?;
    // Many queries run side by side, and each may run for seconds.
    drop(body);
    answer(&web, &reader, query, format).await
}

/// `GET /v1/metrics`. A client may reuse the answer about a settled range for a minute. Any other answer must be revalidated, and is not
/// sent again if it has not changed.
pub(crate) async fn get<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    headers: HeaderMap,
    parameters: QueryParameters,
) -> Result<Response, Problem> {
    let locale = web.service.locale(&reader.scope).await?;
    let now = web.service.now();
    let query = Query::from_pairs(parameters.pairs(), reader.scope.clone(), &locale, now)?;
    let (_, end) = query.range();
    let response = answer(&web, &reader, query, ReplyFormat::accepted_by(&headers)).await?;
    let mut response = with_etag(response, &headers).await?;
    let is_settled = now.millis_since(end.start()) >= SETTLED_AFTER_MS;
    let cache = if is_settled { "private, max-age=60" } else { "private, no-cache" };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("authorization, x-mailgauge-tenant, accept"));
    Ok(response)
}

/// Adds an entity tag of the body; drops the body if the client has it already.
async fn with_etag(response: Response, request_headers: &HeaderMap) -> Result<Response, Problem> {
    let (mut parts, body) = response.into_parts();
    // The body is an answer of ours, already in memory, so it needs no limit.
    let body = to_bytes(body, usize::MAX).await.during("writing the answer")?;
    // A hash of the body, since no cheaper version exists: the numbers change with every commit, and the answer may depend on `now`.
    let tag = etag(&body);
    let is_known = request_headers.get_all(header::IF_NONE_MATCH).iter().any(|value| matches(value, &tag));
    let tag =
        or_broken(HeaderValue::from_str(&tag).ok(), HeaderValue::from_static(""), "an ETag is not ASCII");
    parts.headers.insert(header::ETAG, tag);
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

async fn answer<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    reader: &Reader,
    query: Query,
    format: ReplyFormat,
) -> Result<Response, Problem> {
    let late = format!("no answer in {} s; ask for a shorter range or fewer groups", QUERY_TIME.as_secs());
    let service = Arc::clone(&web.service);
    // Writing millions of numbers takes as long as counting them, so it is part of the query.
    let answer = async move {
        let answer = service.answer(&query).await.during("a query")?;
        format.write(&answer).during("writing the answer")
    };
    web.within_time(reader, answer, late).await
}
