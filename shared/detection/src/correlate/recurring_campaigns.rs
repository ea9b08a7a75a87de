//! Verdicts on the regular campaigns of a tenant, which speak only where neither the whole nor a provider does.

use super::{Evaluation, TenantFinding};
use crate::alert::{AlertGroup, AlertKey};
use crate::cause;
use crate::counts::Metric;
use crate::cusum::Cusum;
use crate::report;
use crate::rules::MailSubset;
use crate::series_monitor::SeriesMonitor;
use crate::tenant_state::TenantState;

/// What a campaign needs beyond the evidence of other series: there are about as many more series, so false alarms stay as rare.
const BEYOND: f64 = std::f64::consts::LN_2;
/// The share of a series' excess that a campaign has if it is the campaign's trouble.
const CARRIES: f64 = 0.5;

/// The campaign in trouble, if there is one.
pub(super) fn tenant_finding(
    name: &str,
    tenant: &TenantState,
    (group, metrics): (AlertGroup, &[Metric]),
    evaluation: &Evaluation<'_>,
) -> Option<TenantFinding> {
    let signals = metrics.iter().flat_map(|&metric| {
        let signal = move |monitor: &SeriesMonitor| {
            monitor.signal(metric, evaluation.now, evaluation.threshold + BEYOND)
        };
        tenant
            .recurring
            .series
            .iter()
            .filter_map(move |(campaign, monitor)| Some((metric, campaign, monitor, signal(monitor)?)))
    });
    let (metric, campaign, monitor, cusum) =
        signals.max_by(|a, b| a.3.score.total_cmp(&b.3.score).then(b.0.cmp(&a.0)))?;
    let part = MailSubset { provider: None, campaign: Some(campaign.clone()) };
    let words = report::part(name, &part);
    // Where it is not alone, the others are named.
    let causes = cause::causes("campaign", &cause::recurring(tenant, metric));
    let content = report::rate(monitor, metric, &cusum, evaluation.end(), &words, causes);
    let key = AlertKey::at(name, part, group);
    let score = cusum.score.into();
    Some(TenantFinding { key, content, score, shares: Vec::new(), campaigns: Vec::new() })
}

/// Campaigns that carry what a series of their tenant shows.
pub(super) fn carriers(tenant: &TenantState, metric: Metric, cusum: &Cusum) -> Vec<String> {
    let excess = cause::excess(metric, cusum);
    let series = tenant.recurring.series.iter();
    let carries =
        |monitor: &SeriesMonitor| cause::excess(metric, &monitor.strongest(metric)) > CARRIES * excess;
    series.filter(|(_, monitor)| excess > 0.0 && carries(monitor)).map(|(name, _)| name.clone()).collect()
}

/// Whether what a series shows is trouble of a campaign that is told.
pub(super) fn is_told(tenant_finding: &TenantFinding, evaluation: &Evaluation<'_>) -> bool {
    let TenantFinding { key, campaigns, .. } = tenant_finding;
    let of_mine = |open: &&AlertKey| open.tenant == key.tenant && open.group == key.group;
    evaluation
        .registry
        .firing()
        .filter(of_mine)
        .any(|open| open.campaign.as_ref().is_some_and(|campaign| campaigns.contains(campaign)))
}
