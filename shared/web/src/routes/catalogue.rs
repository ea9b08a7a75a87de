//! `GET /v1/metrics/catalogue`: every metric with its label, unit, formula and direction, and the limit that detection applies to the
//! caller's mail.
//!
//! A tenant's own limits take precedence over the operator's. Without a tenant, the limits are those of all tenants together.

use axum::Json;
use axum::extract::State;
use cells::query::metrics::{Direction, Unit};
use cells::query::{Metric, Scope};
use detection::{LimitedMetric, Limits};
use event::AlertScope;
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::QueryParameters;
use crate::auth::Reader;
use crate::openapi::schemas::one_of;
use crate::problem::Problem;
use crate::router::Shared;
use crate::service::Intake;

one_of!(UnitName, [Unit::Count, Unit::Fraction, Unit::Milliseconds].map(Unit::name));
one_of!(
    DirectionName,
    [Direction::HigherIsBetter, Direction::LowerIsBetter, Direction::Neutral].map(Direction::name)
);
one_of!(LimitSide, [ABOVE, BELOW]);

const ABOVE: &str = "above";
const BELOW: &str = "below";

/// Every metric, with the limits that apply to the mail of the caller.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MetricCatalogue {
    /// The tenant whose limits these are; null for the limits of all tenants together.
    tenant: Option<String>,
    /// Every metric that queries can return.
    metrics: Vec<CatalogueMetric>,
}

/// A metric and how to read it.
#[derive(Serialize, JsonSchema)]
struct CatalogueMetric {
    /// The name in queries and replies.
    name: &'static str,
    /// The name for people.
    label: &'static str,
    /// One sentence about what is counted or measured.
    description: &'static str,
    /// The unit of values.
    #[schemars(with = "UnitName")]
    unit: &'static str,
    /// The metrics that this one is made of, or what it counts, in words.
    formula: String,
    /// The direction that is better.
    #[schemars(with = "DirectionName")]
    direction: &'static str,
    /// The metric that is divided; null unless this is a rate.
    numerator: Option<&'static str>,
    /// The metric that it is divided by; null unless this is a rate.
    denominator: Option<&'static str>,
    /// The limit that detection applies to the mail of the caller, with all rules and overrides taken into account; null for none.
    limit: Option<CatalogueLimit>,
}

/// A limit on a metric.
#[derive(Clone, Copy, Serialize, JsonSchema)]
struct CatalogueLimit {
    /// The limit, in the unit of the metric.
    value: f64,
    /// Whether values above or below the limit break it.
    #[schemars(with = "LimitSide")]
    side: &'static str,
}

/// Lists the metrics of the registry with the limits of the caller's scope.
pub(crate) async fn catalogue<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    parameters: QueryParameters,
) -> Result<Json<MetricCatalogue>, Problem> {
    parameters.finish("none")?;
    let (limits, tenant) = match &reader.scope {
        Scope::All => (web.service.operator_rules().await?.limits_of(AlertScope::PLATFORM), None),
        Scope::Tenant(tenant) => {
            let own = web.service.own_rules(tenant).await?;
            let rules = web.service.rules_with(tenant, &own).await?;
            (rules.limits_of(tenant.as_str()), Some(tenant.to_string()))
        }
    };
    let metrics = web.service.metrics.iter().map(|metric| entry(metric, &limits)).collect();
    Ok(Json(MetricCatalogue { tenant, metrics }))
}

fn entry(metric: Metric, limits: &Limits) -> CatalogueMetric {
    let name = metric.name();
    let counts = metric.ratio().map(|ratio| (ratio.numerator.name(), ratio.denominator.name()));
    let (numerator, denominator) = counts.unzip();
    let limit = limit(metric, limits);
    let (unit, direction) = (metric.unit().name(), metric.direction().name());
    let (label, description) = (metric.label(), metric.description());
    let formula = metric.formula_text();
    CatalogueMetric { name, label, description, unit, formula, direction, numerator, denominator, limit }
}

/// The limit on a metric, if it is one that detection can limit.
fn limit(metric: Metric, limits: &Limits) -> Option<CatalogueLimit> {
    let limited = LimitedMetric::ALL.into_iter().find(|limited| limited.name() == metric.name())?;
    let value = limited.limit_in(limits)?;
    let side = if metric.direction() == Direction::HigherIsBetter { BELOW } else { ABOVE };
    Some(CatalogueLimit { value, side })
}
