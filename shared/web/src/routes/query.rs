//! `POST /v1/query` and the same in the query string, `GET /v1/metrics`.
//!
//! What a query means is the backend's knowledge. Here only its size, its time and its rights are looked at.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::parameters::Parameters;
use crate::auth::Reader;
use crate::backend::{Answer, Backend, InvalidParameter, WireQuery};
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
    if reader.is_tenant {
        refuse_tenant_in_body(&body)?;
    }
    let answer = answer(&web, &reader, WireQuery::Json(body)).await?;
    Ok(json(answer.json))
}

/// `GET /v1/metrics`. A settled answer may be kept by the one who asked, for a minute.
pub(crate) async fn get<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let pairs = parameters.into_pairs();
    if reader.is_tenant {
        refuse_tenant_in_pairs(&pairs)?;
    }
    let answer = answer(&web, &reader, WireQuery::Parameters(pairs)).await?;
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

/// A tenant's key speaks of no tenant, not even its own. The scope already keeps others' numbers away; this says so with
/// the right status. A body that cannot be read is left to the backend, which names the place.
fn refuse_tenant_in_body(body: &[u8]) -> Result<(), Problem> {
    let Ok(query) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
    let grouped =
        query.get("group_by").and_then(Value::as_array).is_some_and(|names| names.iter().any(is_tenant));
    if grouped {
        return Err(tenant_refused("group_by"));
    }
    match query.get("filter") {
        Some(filter) if filters_tenant(filter) => Err(tenant_refused("filter")),
        Some(_) | None => Ok(()),
    }
}

fn refuse_tenant_in_pairs(pairs: &[(String, String)]) -> Result<(), Problem> {
    for (name, value) in pairs {
        let named = match name.as_str() {
            "group_by" => value.split(',').any(|dimension| dimension.trim() == TENANT),
            "filter" => value.split_once(':').is_some_and(|(dimension, _)| dimension.trim() == TENANT),
            _ => false,
        };
        if named {
            return Err(tenant_refused(name));
        }
    }
    Ok(())
}

const TENANT: &str = "tenant";

fn is_tenant(value: &Value) -> bool {
    value.as_str().is_some_and(|name| name.trim() == TENANT)
}

/// Looks at every level; the parser has bounded the depth (128).
fn filters_tenant(filter: &Value) -> bool {
    match filter {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| (name == "dimension" && is_tenant(value)) || filters_tenant(value)),
        Value::Array(values) => values.iter().any(filters_tenant),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn tenant_refused(parameter: &str) -> Problem {
    Problem::about(
        Kind::Forbidden,
        InvalidParameter {
            parameter: parameter.to_owned(),
            problem: "names a tenant, which only an operator's key may do; this key sees its own tenant"
                .to_owned(),
            ..InvalidParameter::default()
        },
    )
}
