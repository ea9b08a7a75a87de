//! `GET /v1/overview`: the health of each tenant and its share of the reputation of the common SES account. For operators.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use cells::query::{Answer, Locale, Query, QueryError, Row, Scope, Value};
use detection::Severity;
use event::invariant::broken;
use event::{Minute, TenantId, Timestamp};
use pipeline::alerting::registry::{self, Alert, AlertFilter};
use pipeline::ports::{Clock, Store};
use serde::Serialize;

use super::parameters::Parameters;
use crate::auth::Operator;
use crate::problem::Problem;
use crate::router::Shared;
use crate::service::{During as _, Intake};

/// In the order in which [`TenantHealth::of`] reads them.
const METRICS: &str =
    "sends,hard_bounces,complaints,delivery_rate,bounce_rate,hard_bounce_rate,complaint_rate";
/// The most rows that a query gives.
const MAX_TENANTS: &str = "10000";
const MAX_ALERTS: usize = 1000;
const MINUTE_MS: i64 = 60 * 1000;

/// The reply of `GET /v1/overview`.
#[derive(Serialize)]
pub(crate) struct Overview {
    from: String,
    to: String,
    /// Open alerts about all tenants together.
    open_alerts: usize,
    /// Tenants by number of sends, most first.
    tenants: Vec<TenantHealth>,
}

#[derive(Serialize)]
struct TenantHealth {
    tenant: String,
    sends: u64,
    delivery_rate: Option<f64>,
    bounce_rate: Option<f64>,
    hard_bounce_rate: Option<f64>,
    complaint_rate: Option<f64>,
    /// Fractions of what all tenants together have; null where they have none.
    share_of_sends: Option<f64>,
    share_of_hard_bounces: Option<f64>,
    share_of_complaints: Option<f64>,
    open_alerts: usize,
    worst_alert: Option<Severity>,
}

/// The open alerts of one tenant.
#[derive(Clone, Copy, Default)]
struct OpenAlerts {
    count: usize,
    worst: Option<Severity>,
}

/// `GET /v1/overview?from=&to=`.
pub(crate) async fn overview<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    _operator: Operator,
    mut parameters: Parameters,
) -> Result<Json<Overview>, Problem> {
    let (from, to) = (parameters.take("from")?, parameters.take("to")?);
    parameters.finish("from, to")?;
    let service = &web.service;
    let now = service.now();
    let locale = service.locale(&Scope::All).await?;
    let query = query(from.as_deref(), to.as_deref(), &locale, now)?;
    let answer = async { service.answer(&query).await.during("a query") };
    let answer = web.within_time(answer, "no answer in time; ask for a shorter range").await?;
    let (from, to) = query.range();
    let filter = open_since(from, now);
    let alerts = registry::list(&service.store, &Scope::All, &filter).await.during("listing alerts")?;
    let open = by_tenant(&alerts);
    let open_alerts = open.get(TenantId::PLATFORM).map_or(0, |open| open.count);
    let (from, to) = (from.start().to_string(), to.start().to_string());
    Ok(Json(Overview { from, to, open_alerts, tenants: tenants(&answer, &open) }))
}

/// Written as a query string, since that is the only way to build a query so far.
fn query(from: Option<&str>, to: Option<&str>, locale: &Locale, now: Timestamp) -> Result<Query, QueryError> {
    let pairs = [
        ("metrics", METRICS),
        ("from", from.unwrap_or("-24h")),
        ("to", to.unwrap_or("now")),
        ("granularity", "total"),
        ("group_by", "tenant"),
        ("order_by", "sends:desc"),
        ("limit", MAX_TENANTS),
    ];
    Query::from_pairs(pairs, Scope::All, locale, now)
}

/// Alerts that are open now. The registry excludes the last minute of a range, and the current minute must be included.
fn open_since(from: Minute, now: Timestamp) -> AlertFilter {
    AlertFilter { is_open: Some(true), from, to: now.plus_millis(MINUTE_MS).minute(), limit: MAX_ALERTS }
}

fn by_tenant(alerts: &[Alert]) -> BTreeMap<&str, OpenAlerts> {
    let mut open: BTreeMap<&str, OpenAlerts> = BTreeMap::new();
    for alert in alerts {
        let of_tenant = open.entry(&alert.change.tenant).or_default();
        of_tenant.count += 1;
        of_tenant.worst = of_tenant.worst.max(Some(alert.change.severity));
    }
    open
}

fn tenants(answer: &Answer, open: &BTreeMap<&str, OpenAlerts>) -> Vec<TenantHealth> {
    let mut totals = [0; 3];
    for row in answer.rows() {
        for (total, value) in totals.iter_mut().zip(&row.metrics) {
            *total += count(*value);
        }
    }
    answer.rows().iter().filter_map(|row| TenantHealth::of(row, totals, open)).collect()
}

impl TenantHealth {
    fn of(row: &Row, totals: [u64; 3], open: &BTreeMap<&str, OpenAlerts>) -> Option<Self> {
        let (Some(tenant), [sends, hard_bounces, complaints, delivery, bounce, hard_bounce, complaint]) =
            (row.group.first(), row.metrics.as_slice())
        else {
            broken("a row of the overview lacks a group or a metric of its query");
            return None;
        };
        let [all_sends, all_hard_bounces, all_complaints] = totals;
        // A tenant without an entry has no open alert.
        let OpenAlerts { count: open_alerts, worst } = open.get(tenant.as_str()).copied().unwrap_or_default();
        Some(Self {
            tenant: tenant.to_string(),
            sends: count(*sends),
            delivery_rate: delivery.as_number(),
            bounce_rate: bounce.as_number(),
            hard_bounce_rate: hard_bounce.as_number(),
            complaint_rate: complaint.as_number(),
            share_of_sends: share(count(*sends), all_sends),
            share_of_hard_bounces: share(count(*hard_bounces), all_hard_bounces),
            share_of_complaints: share(count(*complaints), all_complaints),
            open_alerts,
            worst_alert: worst,
        })
    }
}

/// A count that is missing adds nothing to a sum.
fn count(value: Value) -> u64 {
    match value {
        Value::Count(count) => count,
        Value::Number(_) | Value::Missing => 0,
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
