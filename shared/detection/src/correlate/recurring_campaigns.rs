//! Findings about the recurring campaigns of a tenant. They are made only where neither all mail nor a provider has one.

use super::{Evaluation, TenantFinding};
use crate::alert::{AlertGroup, AlertKey};
use crate::cause;
use crate::counts::MonitoredRate;
use crate::cusum::Cusum;
use crate::report;
use crate::rules::MailSubset;
use crate::series_monitor::SeriesMonitor;
use crate::tenant_state::TenantState;
use event::AlertScope;

/// A campaign needs this much more score than other series. Campaigns are about as many again, so false alarms stay as rare.
const EXTRA_SCORE: f64 = std::f64::consts::LN_2;
/// A campaign with more than this share of a series' excess is its cause.
const CAUSE_SHARE: f64 = 0.5;

/// The finding about the campaign with the highest score, if one has a score that makes a finding.
pub(super) fn finding(
    scope: &AlertScope,
    tenant: &TenantState,
    (group, metrics): (AlertGroup, &[MonitoredRate]),
    evaluation: &Evaluation<'_>,
) -> Option<TenantFinding> {
    let threshold = evaluation.threshold + EXTRA_SCORE;
    let signals = metrics.iter().flat_map(|&metric| {
        tenant.recurring.series.iter().filter_map(move |(campaign, monitor)| {
            Some((metric, campaign, monitor, monitor.signal(metric, evaluation.now, threshold)?))
        })
    });
    let (metric, campaign, monitor, cusum) =
        signals.max_by(|a, b| a.3.score.total_cmp(&b.3.score).then(b.0.cmp(&a.0)))?;
    let scope_phrase = report::scope_phrase(scope, None, Some(campaign));
    // If other campaigns have a part of the excess, they are named as well.
    let causes = cause::causes("campaign", &cause::recurring_campaigns(tenant, metric));
    let content = report::rate(monitor, metric, &cusum, evaluation.end(), &scope_phrase, causes);
    let subset = MailSubset { provider: None, campaign: Some(campaign.clone()) };
    let key = AlertKey::of_subset(scope, subset, group);
    Some(TenantFinding { score: cusum.score.into(), ..TenantFinding::new(key, content) })
}

/// The campaigns that have most of the excess of a series of their tenant.
pub(super) fn with_most_excess(tenant: &TenantState, metric: MonitoredRate, cusum: &Cusum) -> Vec<String> {
    let excess = cause::excess(metric, cusum);
    let has_most = |monitor: &SeriesMonitor| {
        cause::excess(metric, &monitor.highest_score(metric)) > CAUSE_SHARE * excess
    };
    let campaigns = tenant.recurring.series.iter();
    campaigns.filter(|(_, monitor)| excess > 0.0 && has_most(monitor)).map(|(name, _)| name.clone()).collect()
}

/// Whether an open alert reports the campaign that causes a finding.
pub(super) fn is_reported(finding: &TenantFinding, evaluation: &Evaluation<'_>) -> bool {
    let TenantFinding { key, campaigns, .. } = finding;
    evaluation
        .registry
        .firing()
        .filter(|open| open.scope == key.scope && open.group == key.group)
        .any(|open| open.campaign.as_ref().is_some_and(|campaign| campaigns.contains(campaign)))
}
