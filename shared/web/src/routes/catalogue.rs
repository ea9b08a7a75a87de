//! `GET /v1/metrics/catalogue`: every metric with its label, unit, formula and direction, and the limit that detection applies to the
//! caller's mail.
//!
//! A tenant's own limits take precedence over the operator's. Without a tenant, the limits are those of all tenants together.

use axum::Json;
use axum::extract::State;
use cells::query::metrics::Direction;
use cells::query::{Metric, Scope};
use detection::Limits;
use event::AlertScope;
use pipeline::ports::{Clock, Store};
use serde::Serialize;

use super::parameters::Parameters;
use crate::auth::Reader;
use crate::problem::Problem;
use crate::router::Shared;
use crate::service::Intake;

/// The reply of `GET /v1/metrics/catalogue`.
#[derive(Serialize)]
pub(crate) struct Catalogue {
    /// The tenant whose limits these are; null for all tenants together.
    tenant: Option<String>,
    metrics: Vec<Entry>,
}

/// One metric of the catalogue.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    label: &'static str,
    /// One sentence about what is counted or measured.
    description: &'static str,
    unit: &'static str,
    formula: String,
    /// The direction that is better: `higher`, `lower` or `none`.
    direction: &'static str,
    /// `None` unless the metric is a rate; so is `denominator`.
    numerator: Option<&'static str>,
    denominator: Option<&'static str>,
    limit: Option<Limit>,
}

/// A limit, in the metric's unit.
#[derive(Clone, Copy, Serialize)]
struct Limit {
    value: f64,
    /// Whether values `above` or `below` the limit break it.
    side: &'static str,
}

/// `GET /v1/metrics/catalogue`.
pub(crate) async fn catalogue<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Catalogue>, Problem> {
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
    Ok(Json(Catalogue { tenant, metrics }))
}

fn entry(metric: Metric, limits: &Limits) -> Entry {
    let name = metric.name();
    let counts = metric.ratio().map(|ratio| (ratio.numerator.name(), ratio.denominator.name()));
    let (numerator, denominator) = counts.unzip();
    let limit = limit(metric, limits);
    let (unit, direction) = (metric.unit().name(), metric.direction().name());
    let (label, description) = (metric.label(), metric.description());
    let formula = metric.formula_text();
    Entry { name, label, description, unit, formula, direction, numerator, denominator, limit }
}

/// The limit on a metric. A limit above 1 on a rate means that it is switched off.
fn limit(metric: Metric, limits: &Limits) -> Option<Limit> {
    let value = match metric.name() {
        "delivery_rate" => limits.delivery_rate,
        "bounce_rate" => limits.bounce_rate,
        "hard_bounce_rate" => limits.hard_bounce_rate,
        "complaint_rate" => limits.complaint_rate,
        "delivery_ms_p95" => limits.delivery_ms_p95,
        "queue_depth" => limits.queue_depth,
        _ => None,
    };
    let side = if metric.direction() == Direction::HigherIsBetter { "below" } else { "above" };
    let value = value.filter(|value| metric.ratio().is_none() || *value <= 1.0)?;
    Some(Limit { value, side })
}
