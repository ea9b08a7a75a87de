//! Verdicts on what was promised: limits of a tenant and of parts of its mail, and SES's lines for the whole account.
//!
//! What an anomaly tells already is not told again as a broken limit.

use std::collections::BTreeMap;

use super::{GROWN, LIMIT_HOLD, Moment};
use crate::alert::{Family, Key, Verdict};
use crate::budget::Account;
use crate::cause;
use crate::limits::LimitKind;
use crate::report;
use crate::rules::Place;
use crate::tenant::{Bounds, Tenant};

/// Limits of a tenant and of parts of its mail, which wait for an anomaly that says more.
pub(crate) fn limits(name: &str, tenant: &mut Tenant, bounds: &Bounds, moment: &Moment<'_>) -> Vec<Verdict> {
    let grown = moment.rules.anomalies && tenant.whole.age(moment.now) >= GROWN;
    let mut verdicts: Vec<Verdict> = Vec::new();
    let whole = Place::default();
    let parts = tenant.places.iter_mut().filter_map(|(place, windows)| {
        let (_, limits) = bounds.places.iter().find(|(known, _)| known == place)?;
        Some((&*place, windows, limits))
    });
    for (place, windows, limits) in [(&whole, &mut tenant.windows, &bounds.whole)].into_iter().chain(parts) {
        for breach in windows.breaches(limits) {
            let (family, explained_by) = match breach.kind {
                LimitKind::Complaint => (Family::ComplaintLimit, Family::Complaint),
                LimitKind::DeliveryTime => (Family::LatencyLimit, Family::Latency),
                LimitKind::Queue => (Family::QueueLimit, Family::Queue),
                LimitKind::Delivery | LimitKind::Bounce | LimitKind::HardBounce => {
                    (Family::DeliveryLimit, Family::Delivery)
                }
            };
            let key = Key::at(name, place.clone(), family);
            let mut open = moment.book.firing();
            let explained =
                open.any(|open| open.family == explained_by && (open.tenant == name || open.tenant == "*"));
            if verdicts.iter().any(|verdict| verdict.key == key)
                || (explained && !moment.book.is_firing(&key))
            {
                continue;
            }
            let words = report::part(name, place);
            let facts = report::limit(&breach, moment.end().saturating_sub(breach.window), &words);
            verdicts.push(Verdict { key, facts, hold: if grown { LIMIT_HOLD } else { 0 } });
        }
    }
    verdicts
}

/// Lines of SES's that the account has crossed, or soon will, and the tenants that bring it there. Trouble that an alert tells already, or
/// told just now, is not told again by its effect.
pub(crate) fn budgets(
    account: &Account,
    tenants: &BTreeMap<String, Tenant>,
    moment: &Moment<'_>,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let families = [(Family::BounceBudget, Family::Delivery), (Family::ComplaintBudget, Family::Complaint)];
    for (rate, (family, explained_by)) in families.into_iter().enumerate() {
        let key = Key::of("*", None, family);
        if !moment.book.is_firing(&key) && moment.book.told_lately(explained_by, moment.now) {
            continue;
        }
        let Some((line, standing)) = account.danger(rate, moment.book.is_firing(&key)) else { continue };
        let events = tenants.iter().map(|(name, tenant)| (name.clone(), tenant.account.events(rate)));
        let causes = cause::causes("tenant", &cause::shares(events.collect()));
        let facts = report::budget(&line, &standing, moment.end(), causes);
        verdicts.push(Verdict { key, facts, hold: 0 });
    }
    verdicts
}
