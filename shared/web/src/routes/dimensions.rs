//! `GET /v1/dimensions` and `GET /v1/dimensions/{name}`: what can be grouped and filtered by, and the values seen.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use cells::query::{Locale, Scope};
use event::attribution::Dimension;
use serde::Serialize;

use super::parameters::{Parameters, invalid};
use crate::auth::Reader;
use crate::backend::{Backend, Values};
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
    dimensions: Vec<Described>,
}

/// One dimension.
#[derive(Serialize)]
struct Described {
    /// Its name in `group_by` and `filter`.
    name: String,
    /// What it says, in a few words.
    description: &'static str,
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
    let locale = web.backend.locale(&reader.scope).await?;
    Ok(Json(Dimensions { dimensions: described(&reader.scope, locale) }))
}

/// `GET /v1/dimensions/{name}?prefix=&limit=`.
pub(crate) async fn values<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    name: Result<Path<String>, PathRejection>,
    mut parameters: Parameters,
) -> Result<Json<DimensionValues>, Problem> {
    let prefix = parameters.take("prefix")?.unwrap_or_default();
    let limit = parameters.take_number("limit", 1..=MAX_VALUES)?.unwrap_or(DEFAULT_VALUES);
    parameters.finish("prefix, limit")?;
    if prefix.len() > MAX_PREFIX_BYTES {
        return Err(invalid("prefix", "is too long").allowed("up to 256 bytes").example("spring"));
    }
    let unknown = || Problem::new(Kind::NotFound, "no such dimension; GET /v1/dimensions lists them");
    let Path(name) = name.map_err(|_| unknown())?;
    let locale = web.backend.locale(&reader.scope).await?;
    let dimension = locale.dimension(&name).ok_or_else(unknown)?;
    let values = web.backend.values(&reader.scope, dimension, &prefix, limit).await?;
    Ok(Json(DimensionValues { name, values }))
}

/// The dimensions that queries within `scope` may name; tags that nobody declared are left out.
fn described(scope: &Scope, locale: Locale) -> Vec<Described> {
    let mut dimensions = Vec::new();
    if *scope == Scope::All {
        dimensions.push(Described { name: "tenant".to_owned(), description: "whose mail it is" });
    }
    for dimension in Dimension::ALL {
        if let Some(description) = description(dimension) {
            dimensions.push(Described { name: dimension.name().to_owned(), description });
        }
    }
    for name in locale.tags.into_iter().flatten() {
        dimensions.push(Described { name, description: "a declared tag" });
    }
    dimensions
}

const fn description(dimension: Dimension) -> Option<&'static str> {
    match dimension {
        Dimension::Campaign => Some("the campaign tag"),
        Dimension::Segment => Some("the segment tag"),
        Dimension::SendingDomain => Some("the domain mail was sent from"),
        Dimension::RecipientDomain => Some("the domain of the recipient's address"),
        Dimension::Provider => Some("the mailbox provider behind the recipient's domain"),
        Dimension::ConfigurationSet => Some("the configuration set of SES"),
        Dimension::Tag1 | Dimension::Tag2 | Dimension::Tag3 | Dimension::Tag4 => None,
    }
}
