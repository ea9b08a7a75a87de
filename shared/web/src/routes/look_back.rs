//! `GET /v1/trends` and `GET /v1/budget`: what weeks say, and how far the lines of SES and Gmail are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cells::query::Scope;
use detection::budget::Standing;
use detection::trend::{LEAST_DAYS, Trend};
use pipeline::history::look_back::{self, MAX_WEEKS};
use serde::Serialize;

use super::parameters::{Parameters, invalid};
use crate::auth::Reader;
use crate::backend::Backend;
use crate::problem::{Kind, Problem};
use crate::router::Web;

const DEFAULT_WEEKS: usize = 12;

/// The reply of `GET /v1/trends`.
#[derive(Serialize)]
pub(crate) struct TrendOf {
    /// Of which metric.
    metric: String,
    #[serde(flatten)]
    trend: Trend,
}

/// The reply of `GET /v1/budget`.
#[derive(Serialize)]
pub(crate) struct Budget {
    /// Whose mail: SES judges the account, which is all tenants together.
    tenant: Option<String>,
    lines: Vec<Standing>,
}

/// `GET /v1/trends?metric=&weeks=&filter=`.
pub(crate) async fn trends<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    mut parameters: Parameters,
) -> Result<Json<TrendOf>, Problem> {
    let name = parameters
        .take("metric")?
        .ok_or_else(|| invalid("metric", "is missing").allowed("a metric").example("bounce_rate"))?;
    let metric = look_back::metric(&name)?;
    let most = usize::try_from(MAX_WEEKS).unwrap_or(usize::MAX);
    let weeks = parameters.take_number("weeks", 3..=most)?.unwrap_or(DEFAULT_WEEKS);
    let filters = parameters.take_all("filter");
    parameters.finish("metric, weeks, filter")?;
    let weeks = u32::try_from(weeks).unwrap_or(MAX_WEEKS);
    let looked = web.backend.trend(&reader.scope, metric, weeks, &filters);
    let trend = web.within(looked, "no answer in time; ask for fewer weeks").await?;
    let too_little = || {
        Problem::new(
            Kind::Unanswerable,
            format!("less than {LEAST_DAYS} complete days with {name}: nothing can be said"),
        )
    };
    Ok(Json(TrendOf { trend: trend.ok_or_else(too_little)?, metric: name }))
}

/// `GET /v1/budget`.
pub(crate) async fn budget<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Budget>, Problem> {
    parameters.finish("none")?;
    let looked = web.backend.budget(&reader.scope);
    let lines = web.within(looked, "no answer in time; ask again").await?;
    let tenant = match &reader.scope {
        Scope::All => None,
        Scope::Tenant(tenant) => Some(tenant.to_string()),
    };
    Ok(Json(Budget { tenant, lines }))
}
