//! Verdicts on what was promised: limits of a tenant and of parts of its mail, and SES's lines for the whole account.
//!
//! What an anomaly tells already is not told again as a broken limit.

use std::collections::BTreeMap;

use super::{Evaluation, GROWN, LIMIT_HOLD};
use crate::alert::{AlertGroup, AlertKey, Finding};
use crate::budget::AccountReputation;
use crate::cause;
use crate::limit_monitor::LimitedMetric;
use crate::report;
use crate::rules::MailSubset;
use crate::tenant_state::{TenantLimits, TenantState};

/// Limits of a tenant and of parts of its mail, which wait for an anomaly that says more.
pub(crate) fn limits(
    name: &str,
    tenant: &mut TenantState,
    tenant_limits: &TenantLimits,
    evaluation: &Evaluation<'_>,
) -> Vec<Finding> {
    let grown = evaluation.rules.anomalies && tenant.whole.age(evaluation.now) >= GROWN;
    let mut findings: Vec<Finding> = Vec::new();
    let whole = MailSubset::default();
    let parts = tenant.subsets.iter_mut().filter_map(|(place, windows)| {
        let (_, limits) = tenant_limits.subsets.iter().find(|(known, _)| known == place)?;
        Some((&*place, windows, limits))
    });
    for (place, windows, limits) in
        [(&whole, &mut tenant.windows, &tenant_limits.whole)].into_iter().chain(parts)
    {
        for breach in windows.breaches(limits) {
            let (group, explained_by) = match breach.kind {
                LimitedMetric::Complaint => (AlertGroup::ComplaintLimit, AlertGroup::Complaint),
                LimitedMetric::DeliveryTime => (AlertGroup::LatencyLimit, AlertGroup::Latency),
                LimitedMetric::Queue => (AlertGroup::QueueLimit, AlertGroup::Queue),
                LimitedMetric::Delivery | LimitedMetric::Bounce | LimitedMetric::HardBounce => {
                    (AlertGroup::DeliveryLimit, AlertGroup::Delivery)
                }
            };
            let key = AlertKey::at(name, place.clone(), group);
            let mut open = evaluation.registry.firing();
            let explained =
                open.any(|open| open.group == explained_by && (open.tenant == name || open.tenant == "*"));
            if findings.iter().any(|finding| finding.key == key)
                || (explained && !evaluation.registry.is_firing(&key))
            {
                continue;
            }
            let words = report::part(name, place);
            let content = report::limit(&breach, evaluation.end().saturating_sub(breach.window), &words);
            findings.push(Finding { key, content, hold: if grown { LIMIT_HOLD } else { 0 } });
        }
    }
    findings
}

/// Lines of SES's that the account has crossed, or soon will, and the tenants that bring it there. Trouble that an alert tells already, or
/// told just now, is not told again by its effect.
pub(crate) fn budgets(
    account: &AccountReputation,
    tenants: &BTreeMap<String, TenantState>,
    evaluation: &Evaluation<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let groups = [
        (AlertGroup::BounceBudget, AlertGroup::Delivery),
        (AlertGroup::ComplaintBudget, AlertGroup::Complaint),
    ];
    for (rate, (group, explained_by)) in groups.into_iter().enumerate() {
        let key = AlertKey::of("*", None, group);
        if !evaluation.registry.is_firing(&key)
            && evaluation.registry.told_lately(explained_by, evaluation.now)
        {
            continue;
        }
        let Some((threshold, status)) = account.danger(rate, evaluation.registry.is_firing(&key)) else {
            continue;
        };
        let events = tenants.iter().map(|(name, tenant)| (name.clone(), tenant.account.events(rate)));
        let causes = cause::causes("tenant", &cause::shares(events.collect()));
        let content = report::budget(&threshold, &status, evaluation.end(), causes);
        findings.push(Finding { key, content, hold: 0 });
    }
    findings
}
