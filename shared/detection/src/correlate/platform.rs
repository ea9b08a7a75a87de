//! Findings about the platform: trouble that many tenants share is one finding.

use std::collections::BTreeMap;

use super::{
    AllFindings, Evaluation, KEEP_SHARE, MIN_TENANTS_WITH_FINDINGS, MIN_TENANTS_WITH_PARTIAL_SCORES,
    PARTIAL_SCORE, TenantFinding, metrics_of,
};
use crate::alert::{AlertContent, AlertGroup, AlertKey, Finding};
use crate::cause;
use crate::report;
use crate::series_monitor::SeriesMonitor;
use event::AlertScope;

/// Without a provider, the platform is in trouble if one in this many tenants has a partial score.
const PLATFORM_ONE_IN: usize = 5;
/// The score that the sum over all tenants must have for a shared cause, as a share of the threshold.
const PLATFORM_SHARE: f64 = 0.7;

/// Trouble that many tenants share: one finding for a provider, or for everything.
pub(super) fn findings(
    all: &AllFindings,
    all_mail: &SeriesMonitor,
    providers: &BTreeMap<String, SeriesMonitor>,
    evaluation: &Evaluation<'_>,
) -> Vec<Finding> {
    let mut by_place: BTreeMap<(AlertGroup, Option<&str>), Vec<&TenantFinding>> = BTreeMap::new();
    for finding in all.findings.iter().filter(|finding| finding.key.campaign.is_none()) {
        let key = &finding.key;
        by_place.entry((key.group, key.provider.as_deref())).or_default().push(finding);
    }
    let mut findings: Vec<Finding> = Vec::new();
    for ((group, provider), tenant_findings) in by_place {
        let monitor = match provider {
            Some(provider) => providers.get(provider),
            None => Some(all_mail),
        };
        let Some(monitor) = monitor else { continue };
        let partial = all.partial(group, provider);
        let key = AlertKey::at_provider(&AlertScope::Platform, provider.map(str::to_owned), group);
        let is_firing = evaluation.registry.is_firing(&key);
        // Tenants in trouble at one provider have one cause. Without a provider, chance findings add up on a large platform, so a share of
        // all tenants is needed.
        let is_shared = match provider {
            Some(_) => {
                tenant_findings.len() >= MIN_TENANTS_WITH_FINDINGS
                    && partial >= MIN_TENANTS_WITH_PARTIAL_SCORES
            }
            None => {
                tenant_findings.len() >= MIN_TENANTS_WITH_PARTIAL_SCORES
                    && partial * PLATFORM_ONE_IN >= all.active_tenants
            }
        };
        let is_still_shared = is_firing && tenant_findings.len() >= MIN_TENANTS_WITH_FINDINGS;
        // A lower bound keeps an open alert open, so that shared trouble is not reported once more by each tenant.
        let share = if is_firing { KEEP_SHARE } else { PLATFORM_SHARE };
        if (is_shared || is_still_shared) && sum_moves(monitor, group, share * evaluation.threshold) {
            let shared = content(&tenant_findings, group, provider, monitor, evaluation);
            findings.extend(shared.map(|content| Finding { key, content, hold_minutes: 0 }));
        }
    }
    findings
}

/// Whether the sum over all tenants has a score of at least `least` too. Low scores of tenants here and there are chance, not one cause.
fn sum_moves(monitor: &SeriesMonitor, group: AlertGroup, least: f64) -> bool {
    let metrics = metrics_of(group);
    // Groups without rates have no score of the sum, apart from delivery time.
    if metrics.is_empty() {
        return group != AlertGroup::Latency || f64::from(monitor.latency.score) >= least;
    }
    metrics.iter().any(|&metric| f64::from(monitor.highest_score(metric).score) >= least)
}

/// What an alert about the platform says: the numbers of the shared series, or else those of the first tenant.
fn content(
    tenant_findings: &[&TenantFinding],
    group: AlertGroup,
    provider: Option<&str>,
    monitor: &SeriesMonitor,
    evaluation: &Evaluation<'_>,
) -> Option<AlertContent> {
    let first = tenant_findings.first()?;
    let scope_phrase = report::scope_phrase(&AlertScope::Platform, provider, None);
    let lost = tenant_findings.iter().map(|finding| {
        let content = &finding.content;
        let usual = content.expected.map_or(0.0, |[low, high]| f64::midpoint(low, high));
        let lost = (content.value - usual).abs() * content.denominator.unwrap_or(1.0);
        (finding.key.scope.as_str().to_owned(), lost)
    });
    let mut causes = Vec::new();
    if let Some(provider) = provider {
        causes.extend(cause::causes("provider", &[(provider.to_owned(), 1.0)]));
    }
    causes.extend(cause::causes("tenant", &cause::shares(lost.collect())));
    let scores = metrics_of(group).iter().map(|&metric| (metric, monitor.highest_score(metric)));
    let highest = scores.max_by(|a, b| a.1.score.total_cmp(&b.1.score).then(b.0.cmp(&a.0)));
    match highest {
        Some((metric, cusum)) if f64::from(cusum.score) >= PARTIAL_SCORE => {
            Some(report::rate(monitor, metric, &cusum, evaluation.end(), &scope_phrase, causes))
        }
        _ => {
            let started = tenant_findings.iter().map(|finding| finding.content.started).min()?;
            let summary = report::shared(tenant_findings.len(), &scope_phrase, &first.content.summary);
            Some(AlertContent { started, summary, cause: causes, ..first.content.clone() })
        }
    }
}
