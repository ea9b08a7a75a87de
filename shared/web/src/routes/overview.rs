//! `GET /v1/overview`: how each tenant fares and what part of the shared account's reputation it uses, for operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cells::query::{Query, Scope, Value};
use detection::Severity;
use pipeline::alerting::registry::Asked;
use serde::Serialize;

use super::parameters::Parameters;
use crate::auth::Operator;
use crate::backend::Backend;
use crate::problem::Problem;
use crate::router::Web;

/// In the order of [`Fares`].
const METRICS: &str =
    "sends,hard_bounces,complaints,delivery_rate,bounce_rate,hard_bounce_rate,complaint_rate";
/// As many as a query gives.
const MOST: &str = "10000";
const MAX_ALERTS: usize = 1000;

/// The reply of `GET /v1/overview`.
#[derive(Serialize)]
pub(crate) struct Overview {
    from: String,
    to: String,
    /// Open alerts over tenants.
    open_alerts: usize,
    /// Those that sent most first.
    tenants: Vec<Fares>,
}

/// How a tenant fares.
#[derive(Serialize)]
pub(crate) struct Fares {
    tenant: String,
    sends: u64,
    delivery_rate: Option<f64>,
    bounce_rate: Option<f64>,
    hard_bounce_rate: Option<f64>,
    complaint_rate: Option<f64>,
    /// Its part in all that the account's reputation is made of; none where there is nothing to share.
    share_of_sends: Option<f64>,
    share_of_hard_bounces: Option<f64>,
    share_of_complaints: Option<f64>,
    open_alerts: usize,
    worst_alert: Option<Severity>,
}

/// `GET /v1/overview?from=&to=`.
pub(crate) async fn overview<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    _operator: Operator,
    mut parameters: Parameters,
) -> Result<Json<Overview>, Problem> {
    let (from, to) = (parameters.take("from")?, parameters.take("to")?);
    parameters.finish("from, to")?;
    let (from, to) = (from.as_deref().unwrap_or("-24h"), to.as_deref().unwrap_or("now"));
    let now = web.backend.now();
    let locale = web.backend.locale(&Scope::All).await?;
    let pairs = [
        ("metrics", METRICS),
        ("from", from),
        ("to", to),
        ("granularity", "total"),
        ("group_by", "tenant"),
        ("order_by", "sends:desc"),
        ("limit", MOST),
    ];
    let query = Query::from_pairs(pairs, Scope::All, &locale, now)?;
    let (from, to) = query.range();
    let asked = Asked { is_open: Some(true), from, to: now.plus_millis(60_000).minute(), limit: MAX_ALERTS };
    let late = "no answer in time; ask for a shorter range";
    let answer = web.within(web.backend.query(query), late).await?;
    let mut open: BTreeMap<String, (usize, Option<Severity>)> = BTreeMap::new();
    for alert in web.backend.alerts(&Scope::All, asked).await? {
        let (count, worst) = open.entry(alert.change.tenant).or_default();
        *count += 1;
        *worst = (*worst).max(Some(alert.change.severity));
    }
    let counts: Vec<[u64; 3]> =
        answer.rows().iter().map(|row| [0, 1, 2].map(|at| count(row.metrics.get(at)))).collect();
    let mut totals = [0; 3];
    for counts in &counts {
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
    }
    let fares = answer.rows().iter().zip(counts).map(|(row, counts)| {
        let tenant = row.group.first().map(ToString::to_string).unwrap_or_default();
        let [delivery_rate, bounce_rate, hard_bounce_rate, complaint_rate] =
            [3, 4, 5, 6].map(|at| number(row.metrics.get(at)));
        let [share_of_sends, share_of_hard_bounces, share_of_complaints] =
            [0, 1, 2].map(|at| share(counts.get(at), totals.get(at)));
        let (open_alerts, worst_alert) = open.get(&tenant).copied().unwrap_or_default();
        Fares {
            tenant,
            sends: counts.first().copied().unwrap_or_default(),
            delivery_rate,
            bounce_rate,
            hard_bounce_rate,
            complaint_rate,
            share_of_sends,
            share_of_hard_bounces,
            share_of_complaints,
            open_alerts,
            worst_alert,
        }
    });
    let tenants = fares.collect();
    let open_alerts = open.get("*").map_or(0, |(count, _)| *count);
    Ok(Json(Overview { from: from.start().to_string(), to: to.start().to_string(), open_alerts, tenants }))
}

fn count(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::Count(count)) => *count,
        _ => 0,
    }
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    }
}

fn share(part: Option<&u64>, whole: Option<&u64>) -> Option<f64> {
    let (part, whole) = (*part?, *whole?);
    (whole > 0).then(|| part as f64 / whole as f64)
}
