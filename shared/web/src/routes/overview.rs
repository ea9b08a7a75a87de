//! `GET /v1/overview`: the health of each tenant and its share of the reputation of the common SES account. For operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cells::query::metrics::{
    BOUNCE_RATE, COMPLAINT_RATE, COMPLAINTS, DELIVERY_RATE, HARD_BOUNCE_RATE, HARD_BOUNCES, SENDS,
};
use cells::query::{Answer, AnswerRow, OrderBy, Query, QueryDimension, QueryError, QueryTime, Scope};
use detection::Severity;
use event::{AlertScope, Minute, Timestamp};
use pipeline::alerting::registry::{self, AlertFilter, RegisteredAlert};
use pipeline::ports::{Clock, Store};
use schemars::JsonSchema;
use serde::Serialize;

use super::parameters::QueryParameters;
use crate::auth::{Operator, Reader};
use crate::problem::Problem;
use crate::router::Shared;
use crate::service::{During as _, Intake};

const MAX_ALERTS: usize = 1000;
const MINUTE_MS: i64 = 60 * 1000;

/// The health of every tenant in a range.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Overview {
    /// Start of the range.
    #[schemars(extend("format" = "date-time"))]
    from: String,
    /// End of the range (exclusive).
    #[schemars(extend("format" = "date-time"))]
    to: String,
    /// The number of open alerts about all tenants together.
    open_alerts: usize,
    /// Tenants by number of sends, most first.
    tenants: Vec<TenantHealth>,
}

/// The numbers and open alerts of one tenant.
#[derive(Serialize, JsonSchema)]
struct TenantHealth {
    /// The id of the tenant.
    tenant: String,
    /// Recipients of messages that SES accepted.
    sends: u64,
    /// Deliveries as a fraction of sends; null without sends.
    delivery_rate: Option<f64>,
    /// Bounces as a fraction of sends; null without sends.
    bounce_rate: Option<f64>,
    /// Bounces that SES counts against the sender, as a fraction of sends; null without sends.
    hard_bounce_rate: Option<f64>,
    /// Complaints as a fraction of deliveries; null without deliveries.
    complaint_rate: Option<f64>,
    /// The tenant's share of the sends of all tenants, 0 to 1; null if there are none.
    share_of_sends: Option<f64>,
    /// The tenant's share of the hard bounces of all tenants, which SES evaluates together; null if there are none.
    share_of_hard_bounces: Option<f64>,
    /// The tenant's share of the complaints about all tenants; null if there are none.
    share_of_complaints: Option<f64>,
    /// The number of open alerts about the tenant.
    open_alerts: usize,
    /// The highest severity among the open alerts; null if there are none.
    worst_alert: Option<Severity>,
}

/// How many alerts of one tenant are open, and how severe they are.
#[derive(Clone, Copy, Default)]
struct OpenAlertCount {
    count: usize,
    worst: Option<Severity>,
}

/// Compares all tenants in the range from `from` to `to`; without a range, in the last 24 hours.
pub(crate) async fn overview<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    operator: Operator,
    mut parameters: QueryParameters,
) -> Result<Json<Overview>, Problem> {
    let (from, to) = (parameters.take("from")?, parameters.take("to")?);
    parameters.finish("from, to")?;
    let service = &web.service;
    let now = service.now();
    let query = query(from.as_deref(), to.as_deref(), now)?;
    let range = query.range();
    let counting = Arc::clone(service);
    let answer = async move { counting.answer(&query).await.during("a query") };
    let reader = Reader { scope: Scope::All, name: operator.name, key: operator.key };
    let answer = web.within_time(&reader, answer, "no answer in time; ask for a shorter range").await?;
    let (from, to) = range;
    let filter = open_since(from, now);
    let alerts = registry::list(&service.store, &Scope::All, &filter).await.during("listing alerts")?;
    let open = by_tenant(&alerts);
    let open_alerts = open.get(AlertScope::PLATFORM).map_or(0, |open| open.count);
    let (from, to) = (from.start().to_string(), to.start().to_string());
    Ok(Json(Overview { from, to, open_alerts, tenants: tenants(&answer, &open) }))
}

fn query(from: Option<&str>, to: Option<&str>, now: Timestamp) -> Result<Query, QueryError> {
    let from = QueryTime::parse("from", from.unwrap_or("-24h"))?;
    let to = QueryTime::parse("to", to.unwrap_or("now"))?;
    Query::builder(Scope::All)
        .metrics([
            SENDS,
            HARD_BOUNCES,
            COMPLAINTS,
            DELIVERY_RATE,
            BOUNCE_RATE,
            HARD_BOUNCE_RATE,
            COMPLAINT_RATE,
        ])
        .range(from, to)
        .group_by([QueryDimension::Tenant])
        .order_by([OrderBy::metric(SENDS)])
        // The shares need the totals of all tenants, so there are no pages.
        .limit(Query::MAX_LIMIT)
        .build(now)
}

/// Alerts that are open now. The registry excludes the last minute of a range, and the current minute must be included.
fn open_since(from: Minute, now: Timestamp) -> AlertFilter {
    AlertFilter { is_open: Some(true), from, to: now.plus_millis(MINUTE_MS).minute(), limit: MAX_ALERTS }
}

fn by_tenant(alerts: &[RegisteredAlert]) -> BTreeMap<&str, OpenAlertCount> {
    let mut open: BTreeMap<&str, OpenAlertCount> = BTreeMap::new();
    for alert in alerts {
        let of_tenant = open.entry(alert.change.tenant.as_str()).or_default();
        of_tenant.count += 1;
        of_tenant.worst = of_tenant.worst.max(Some(alert.change.severity));
    }
    open
}

fn tenants(answer: &Answer, open: &BTreeMap<&str, OpenAlertCount>) -> Vec<TenantHealth> {
    let total = |metric| answer.rows().map(|row| row.count(metric)).sum::<u64>();
    let totals = [SENDS, HARD_BOUNCES, COMPLAINTS].map(total);
    answer.rows().map(|row| TenantHealth::of(row, totals, open)).collect()
}

impl TenantHealth {
    /// `totals` are the sends, hard bounces and complaints of all tenants together.
    fn of(row: AnswerRow<'_>, totals: [u64; 3], open: &BTreeMap<&str, OpenAlertCount>) -> Self {
        let tenant = row.group(QueryDimension::Tenant);
        let [all_sends, all_hard_bounces, all_complaints] = totals;
        // A tenant without an entry has no open alert.
        let OpenAlertCount { count: open_alerts, worst } = open.get(tenant).copied().unwrap_or_default();
        Self {
            tenant: tenant.to_owned(),
            sends: row.count(SENDS),
            delivery_rate: row.number(DELIVERY_RATE),
            bounce_rate: row.number(BOUNCE_RATE),
            hard_bounce_rate: row.number(HARD_BOUNCE_RATE),
            complaint_rate: row.number(COMPLAINT_RATE),
            share_of_sends: share(row.count(SENDS), all_sends),
            share_of_hard_bounces: share(row.count(HARD_BOUNCES), all_hard_bounces),
            share_of_complaints: share(row.count(COMPLAINTS), all_complaints),
            open_alerts,
            worst_alert: worst,
        }
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
