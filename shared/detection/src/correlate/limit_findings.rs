//! Findings about limits: those of a tenant and of subsets of its mail, and SES's reputation thresholds for the whole account.
//!
//! What an open anomaly reports already must not be reported again as a broken limit.

use std::collections::BTreeMap;

use super::{Evaluation, LIMIT_HOLD_MINUTES, MIN_AGE_FOR_ANOMALIES_MINUTES};
use crate::alert::{AlertGroup, AlertKey, Finding};
use crate::budget::{AccountReputation, ReputationRate};
use crate::cause;
use crate::limit_monitor::LimitedMetric;
use crate::minutes::minus;
use crate::report;
use crate::rules::MailSubset;
use crate::tenant_state::{TenantLimits, TenantState};
use event::AlertScope;

/// Findings about the limits of a tenant and of subsets of its mail. A new breach waits for an anomaly, which explains more.
pub(crate) fn limits(
    scope: &AlertScope,
    tenant: &mut TenantState,
    limits: &TenantLimits,
    evaluation: &Evaluation<'_>,
) -> Vec<Finding> {
    let can_have_anomalies = evaluation.rules.anomalies
        && tenant.all_mail.age_minutes(evaluation.now) >= MIN_AGE_FOR_ANOMALIES_MINUTES;
    // An anomaly names the usual range and the cause; a broken limit says only that a number was exceeded.
    let hold_minutes = if can_have_anomalies { LIMIT_HOLD_MINUTES } else { 0 };
    let mut findings: Vec<Finding> = Vec::new();
    let all_mail = MailSubset::default();
    let subsets = tenant.subsets.iter_mut().filter_map(|(subset, windows)| {
        let (_, limits) = limits.subsets.iter().find(|(known, _)| known == subset)?;
        Some((&*subset, windows, limits))
    });
    let all_mail = (&all_mail, &mut tenant.limit_windows, &limits.all_mail);
    for (subset, windows, limits) in [all_mail].into_iter().chain(subsets) {
        for breach in windows.breaches(limits) {
            let (group, anomaly) = groups(breach.metric);
            let key = AlertKey::of_subset(scope, subset.clone(), group);
            let is_explained =
                evaluation.registry.firing().any(|open| open.group == anomaly && open.scope.contains(scope));
            // Bounces and deliveries have one alert together.
            if findings.iter().any(|finding| finding.key == key)
                || (is_explained && !evaluation.registry.is_firing(&key))
            {
                continue;
            }
            let scope_phrase =
                report::scope_phrase(scope, subset.provider.as_deref(), subset.campaign.as_deref());
            let started = minus(evaluation.end(), breach.window_minutes);
            let content = report::limit(&breach, started, &scope_phrase);
            findings.push(Finding { key, content, hold_minutes });
        }
    }
    findings
}

/// The alert group of a limit, and that of the anomaly that explains its breach.
const fn groups(metric: LimitedMetric) -> (AlertGroup, AlertGroup) {
    match metric {
        LimitedMetric::Complaint => (AlertGroup::ComplaintLimit, AlertGroup::Complaint),
        LimitedMetric::DeliveryTime => (AlertGroup::LatencyLimit, AlertGroup::Latency),
        LimitedMetric::Queue => (AlertGroup::QueueLimit, AlertGroup::Queue),
        LimitedMetric::Delivery
        | LimitedMetric::NetDelivery
        | LimitedMetric::Bounce
        | LimitedMetric::HardBounce => (AlertGroup::DeliveryLimit, AlertGroup::Delivery),
    }
}

/// Findings about reputation thresholds that the account has crossed or will cross soon, with the tenants that cause it.
///
/// Trouble that an alert reports, or reported a short while ago, is not reported again by its effect on the reputation.
pub(crate) fn budgets(
    reputation: &AccountReputation,
    tenants: &BTreeMap<String, TenantState>,
    evaluation: &Evaluation<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (rate, group, anomaly) in [
        (ReputationRate::HardBounce, AlertGroup::BounceBudget, AlertGroup::Delivery),
        (ReputationRate::Complaint, AlertGroup::ComplaintBudget, AlertGroup::Complaint),
    ] {
        let key = AlertKey::all_mail(&AlertScope::Platform, group);
        let is_open = evaluation.registry.is_firing(&key);
        // The rate still holds the events of trouble that was reported, so crossing a threshold now is the same news.
        if !is_open && evaluation.registry.has_recent(anomaly, evaluation.now) {
            continue;
        }
        let Some((threshold, status)) = reputation.danger(rate, is_open) else { continue };
        let events = tenants.iter().map(|(name, tenant)| (name.clone(), tenant.reputation.events(rate)));
        let causes = cause::causes("tenant", &cause::shares(events.collect()));
        let content = report::budget(&threshold, &status, evaluation.end(), causes);
        findings.push(Finding { key, content, hold_minutes: 0 });
    }
    findings
}
