//! `GET /v1/dimensions` and `GET /v1/dimensions/{name}`: what queries can group and filter by, and the values seen.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use cells::query::{Locale, QueryDimension, Scope};
use event::attribution::Dimension;
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::{QueryParameters, invalid};
use crate::auth::Reader;
use crate::problem::{Problem, ProblemType};
use crate::router::Shared;
use crate::service::{Intake, SeenValues};

/// Values listed unless a request says otherwise.
pub(crate) const DEFAULT_VALUES: usize = 100;
/// Enough for a list to choose from. A client that wants all values groups a query by the dimension.
pub(crate) const MAX_VALUES: usize = 1000;
/// No dimension keeps longer values.
const MAX_PREFIX_BYTES: usize = 256;

/// The dimensions that the caller can group and filter by.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DimensionList {
    /// Built-in dimensions, then the declared tags.
    dimensions: Vec<DimensionEntry>,
}

/// A dimension: a property of mail that queries group and filter by.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Dimension")]
struct DimensionEntry {
    /// The name in `group_by` and `filter`.
    name: String,
    /// What the values are.
    description: &'static str,
}

/// Values of a dimension that occurred in the last 30 days.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DimensionValues")]
pub(crate) struct DimensionValueList {
    /// The name of the dimension.
    name: String,
    #[serde(flatten)]
    values: SeenValues,
}

/// Lists the dimensions that queries of the caller may name.
pub(crate) async fn list<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    parameters: QueryParameters,
) -> Result<Json<DimensionList>, Problem> {
    parameters.finish("none")?;
    let locale = web.service.locale(&reader.scope).await?;
    Ok(Json(DimensionList { dimensions: entries(&reader.scope, locale) }))
}

/// Lists values of a dimension that begin with `prefix`, at most `limit`.
pub(crate) async fn values<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    name: Result<Path<String>, PathRejection>,
    mut parameters: QueryParameters,
) -> Result<Json<DimensionValueList>, Problem> {
    // Without a prefix every value matches.
    let prefix = parameters.take("prefix")?.unwrap_or_default();
    let limit = parameters.take_number("limit", 1..=MAX_VALUES)?.unwrap_or(DEFAULT_VALUES);
    parameters.finish("prefix, limit")?;
    if prefix.len() > MAX_PREFIX_BYTES {
        return Err(invalid("prefix", "is too long")
            .allowed(format!("at most {MAX_PREFIX_BYTES} bytes"))
            .example("spring"));
    }
    let unknown = || Problem::new(ProblemType::NotFound, "no such dimension; GET /v1/dimensions lists them");
    let Path(name) = name.map_err(|_| unknown())?;
    let locale = web.service.locale(&reader.scope).await?;
    let dimension = locale.dimension(&name).ok_or_else(unknown)?;
    let (service, scope) = (Arc::clone(&web.service), reader.scope.clone());
    let values = async move { service.values(&scope, dimension, &prefix, limit).await };
    let values = web.within_time(&reader, values, "no answer in time; ask again").await?;
    Ok(Json(DimensionValueList { name, values }))
}

/// The dimensions that queries within `scope` may name. Tags without a name are left out.
fn entries(scope: &Scope, locale: Locale) -> Vec<DimensionEntry> {
    let mut entries = Vec::new();
    if *scope == Scope::All {
        entries.push(DimensionEntry {
            name: "tenant".to_owned(),
            description: "the tenant that the mail belongs to",
        });
    }
    for dimension in QueryDimension::of_mail() {
        if let Some(description) = description(dimension) {
            entries.push(DimensionEntry { name: dimension.name().to_owned(), description });
        }
    }
    for name in locale.tags.into_iter().flatten() {
        entries.push(DimensionEntry { name, description: "a declared tag" });
    }
    entries
}

const fn description(dimension: QueryDimension) -> Option<&'static str> {
    let dimension = match dimension {
        // Added by `entries`, for operators only.
        QueryDimension::Tenant => return None,
        QueryDimension::ProviderGroup => {
            return Some("the mailbox provider's group: providers that share a mail system or an owner");
        }
        QueryDimension::Mail(dimension) => dimension,
    };
    match dimension {
        Dimension::Campaign => Some("the campaign tag"),
        Dimension::Segment => Some("the segment tag"),
        Dimension::SendingDomain => Some("the domain that the mail was sent from"),
        Dimension::RecipientDomain => Some("the domain of the recipient's address"),
        Dimension::Provider => Some("the mailbox provider of the recipient's domain"),
        Dimension::ConfigurationSet => Some("the SES configuration set"),
        Dimension::Tag1 | Dimension::Tag2 | Dimension::Tag3 | Dimension::Tag4 => None,
    }
}
