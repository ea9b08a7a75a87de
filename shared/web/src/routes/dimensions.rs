//! `GET /v1/dimensions` and `GET /v1/dimensions/{name}`: what can be grouped and filtered by, and the values seen.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;

use super::parameters::{Parameters, invalid};
use crate::auth::Reader;
use crate::backend::{Backend, Dimension, Values};
use crate::problem::{Kind, Problem};
use crate::router::Web;

const DEFAULT_VALUES: usize = 100;
/// A list to choose from; who wants all values asks a query for them.
const MAX_VALUES: usize = 1000;
/// No dimension keeps longer values.
const MAX_PREFIX_BYTES: usize = 256;

/// The reply of `GET /v1/dimensions`.
#[derive(Serialize)]
pub(crate) struct Dimensions {
    dimensions: Vec<Dimension>,
}

/// The reply of `GET /v1/dimensions/{name}`.
#[derive(Serialize)]
pub(crate) struct DimensionValues {
    name: String,
    #[serde(flatten)]
    values: Values,
}

/// `GET /v1/dimensions`.
pub(crate) async fn list<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Dimensions>, Problem> {
    parameters.finish("none")?;
    Ok(Json(Dimensions { dimensions: web.backend.dimensions(&reader.scope).await? }))
}

/// `GET /v1/dimensions/{name}?prefix=&limit=`.
pub(crate) async fn values<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    name: Result<Path<String>, PathRejection>,
    mut parameters: Parameters,
) -> Result<Json<DimensionValues>, Problem> {
    let Path(name) =
        name.map_err(|_| Problem::new(Kind::NotFound, "dimension not found; its name is not UTF-8"))?;
    let prefix = parameters.take("prefix")?.unwrap_or_default();
    let limit = parameters.take("limit")?;
    parameters.finish("prefix, limit")?;
    if prefix.len() > MAX_PREFIX_BYTES {
        return Err(invalid("prefix", "is too long", Some("up to 256 bytes"), Some("spring")));
    }
    let limit = match limit.as_deref().map(str::parse) {
        None => DEFAULT_VALUES,
        Some(Ok(limit @ 1..=MAX_VALUES)) => limit,
        Some(Ok(_) | Err(_)) => {
            return Err(invalid("limit", "is out of range", Some("1 to 1000"), Some("100")));
        }
    };
    if reader.is_tenant && name == "tenant" {
        return Err(Problem::new(
            Kind::Forbidden,
            "the dimension tenant is for operators; use an operator's key",
        ));
    }
    let values = web.backend.values(&reader.scope, &name, &prefix, limit).await?;
    Ok(Json(DimensionValues { name, values }))
}
