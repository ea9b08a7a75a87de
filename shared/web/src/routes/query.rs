//! `POST /v1/query` and the same in the query string, `GET /v1/metrics`.
//!
//! What a query means is the backend's knowledge. Here only its size, its time and its rights are looked at.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use super::parameters::Parameters;
use crate::auth::Reader;
use crate::backend::{Answer, Backend, WireQuery};
use crate::limits::{QUERY_BODY_BYTES, QUERY_TIME, read_body};
use crate::problem::{Kind, Problem};
use crate::router::Web;

/// `POST /v1/query`.
pub(crate) async fn post<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_body(request, QUERY_BODY_BYTES).await?;
    let answer = answer(&web, &reader, WireQuery::Json(body)).await?;
    Ok(json(answer.json))
}

/// `GET /v1/metrics`. A settled answer may be kept by the one who asked, for a minute.
pub(crate) async fn get<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let answer = answer(&web, &reader, WireQuery::Parameters(parameters.into_pairs())).await?;
    let mut response = json(answer.json);
    if answer.settled {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=60"));
        headers.insert(header::VARY, HeaderValue::from_static("authorization, x-mailgauge-tenant"));
    }
    Ok(response)
}

async fn answer<B: Backend>(web: &Web<B>, reader: &Reader, query: WireQuery) -> Result<Answer, Problem> {
    let _slot = web.queries.try_acquire().map_err(|_| {
        Problem::new(Kind::TooManyRequests, "too many queries at once; ask again in 1 s").retry_after(1)
    })?;
    let answer =
        tokio::time::timeout(QUERY_TIME, web.backend.query(&reader.scope, query)).await.map_err(|_| {
            let detail =
                format!("no answer in {} s; ask for a shorter range or fewer groups", QUERY_TIME.as_secs());
            Problem::new(Kind::TimedOut, detail)
        })?;
    Ok(answer?)
}

fn json(body: Vec<u8>) -> Response {
    const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    (JSON, body).into_response()
}
