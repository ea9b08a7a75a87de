//! `GET /v1/trends` and `GET /v1/budget`: the trend of a metric over weeks, and the distance to the thresholds of SES and Gmail.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cells::query::{Filter, Scope};
use detection::budget::ThresholdStatus;
use detection::trend::{LEAST_DAYS, Trend};
use pipeline::history::trend_and_budget::{self, MAX_WEEKS};
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::{QueryParameters, invalid};
use crate::auth::Reader;
use crate::problem::{Problem, ProblemType};
use crate::router::Shared;
use crate::service::{During as _, Intake};

/// A trend over fewer weeks mistakes the season of a week for a slope.
pub(crate) const MIN_WEEKS: u32 = 3;
/// Weeks looked back unless a request says otherwise.
pub(crate) const DEFAULT_WEEKS: u32 = 12;

/// The trend of a metric over weeks.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MetricTrend {
    /// The name of the metric.
    metric: String,
    #[serde(flatten)]
    trend: Trend,
}

/// The distance of rates to the thresholds of SES and Gmail.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ReputationBudget {
    /// The tenant whose mail this is; null for all tenants together, which is what SES judges.
    tenant: Option<String>,
    /// One entry for each threshold.
    lines: Vec<ThresholdStatus>,
}

/// Computes the trend of a `metric` over `weeks`; 422 with fewer than 14 complete days.
pub(crate) async fn trends<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    mut parameters: QueryParameters,
) -> Result<Json<MetricTrend>, Problem> {
    let name = parameters
        .take("metric")?
        .ok_or_else(|| invalid("metric", "is missing").allowed("a metric").example("bounce_rate"))?;
    let service = &web.service;
    let locale = service.locale(&reader.scope).await?;
    let metric = trend_and_budget::metric(&name, &locale.metrics)?;
    let weeks = parameters.take_number("weeks", MIN_WEEKS..=MAX_WEEKS)?.unwrap_or(DEFAULT_WEEKS);
    let filters = parameters.take_all("filter");
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let filter = Filter::from_pairs(&filters, &locale)?;
    parameters.finish("metric, weeks, filter")?;
    let (service, scope) = (Arc::clone(service), reader.scope.clone());
    let trend =
        async move { service.stored_counts().trend(&scope, metric, weeks, filter).await.during("a trend") };
    let trend = web.within_time(&reader, trend, "no answer in time; ask for fewer weeks").await?;
    let too_little = || {
        Problem::new(
            ProblemType::Unanswerable,
            format!("a trend needs {LEAST_DAYS} complete days with {name}, and there are fewer"),
        )
    };
    Ok(Json(MetricTrend { trend: trend.ok_or_else(too_little)?, metric: name }))
}

/// Compares the rates of the caller's mail with the reputation thresholds.
pub(crate) async fn budget<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    parameters: QueryParameters,
) -> Result<Json<ReputationBudget>, Problem> {
    parameters.finish("none")?;
    let (service, scope) = (Arc::clone(&web.service), reader.scope.clone());
    let budget = async move { service.stored_counts().budget(&scope).await.during("a budget") };
    let lines = web.within_time(&reader, budget, "no answer in time; ask again").await?;
    let tenant = match &reader.scope {
        Scope::All => None,
        Scope::Tenant(tenant) => Some(tenant.to_string()),
    };
    Ok(Json(ReputationBudget { tenant, lines }))
}
