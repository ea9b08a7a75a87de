//! Which dimension values explain trouble: the share of the excess that each provider and campaign carries.
//!
//! Shares are of the positive excess only: a provider that does better than usual explains nothing.

use std::collections::BTreeMap;

use crate::alert::Cause;
use crate::counts::Metric;
use crate::cusum::Cusum;
use crate::series_monitor::SeriesMonitor;
use crate::tenant_state::TenantState;

/// Share above which one provider is the place of the trouble.
pub(crate) const MOST: f64 = 0.75;
/// Shares below are not worth a word.
const LEAST_SHARE: f64 = 0.1;
/// Causes told.
const MAX_CAUSES: usize = 5;
/// The part of the whole's excess that its providers, or campaigns, have together, at least.
const LEAST_ACCOUNTED: f64 = 0.5;
/// Cusum a provider or campaign needs to have a part in the trouble.
const LEAST_STRENGTH: f32 = 1.0;

/// Events in excess (or missing) over what was expected; 0 if it is better than usual.
pub(crate) fn excess(metric: Metric, cusum: &Cusum) -> f64 {
    let off = f64::from(cusum.observed - cusum.expected);
    (if metric.falls() { -off } else { off }).max(0.0)
}

/// The providers of a tenant by their share of the excess, most first.
pub(crate) fn providers(tenant: &TenantState, metric: Metric) -> Vec<(String, f64)> {
    series(tenant, &tenant.providers, metric)
}

/// The regular campaigns of a tenant by their share of the excess, most first.
pub(crate) fn recurring(tenant: &TenantState, metric: Metric) -> Vec<(String, f64)> {
    series(tenant, &tenant.recurring.series, metric)
}

/// Once the trouble is over at its place, the whole still shows it: what little goes on elsewhere then is not all of it.
fn series(tenant: &TenantState, parts: &[(String, SeriesMonitor)], metric: Metric) -> Vec<(String, f64)> {
    let excesses = parts.iter().filter_map(|(name, monitor)| {
        let cusum = monitor.strongest(metric);
        (cusum.score > LEAST_STRENGTH).then(|| (name.clone(), excess(metric, &cusum)))
    });
    let whole = excess(metric, &tenant.whole.strongest(metric));
    shares_of(excesses.collect(), LEAST_ACCOUNTED * whole)
}

/// The campaigns of a tenant by their share of the recent excess over the tenant's own rate, most first.
pub(crate) fn campaigns(tenant: &TenantState, metric: Metric, usual_rate: f64) -> Vec<(String, f64)> {
    let denominator = metric.parameters().denominator as usize;
    let excesses = tenant.campaigns.iter().map(|campaign| {
        let events = f64::from(campaign.events.get(metric as usize).copied().unwrap_or_default());
        let mail = f64::from(campaign.denominator.get(denominator).copied().unwrap_or_default());
        let off = events - usual_rate * mail;
        (campaign.name.clone(), (if metric.falls() { -off } else { off }).max(0.0))
    });
    shares(excesses.filter(|(name, _)| !name.is_empty()).collect())
}

/// Turns excesses into shares of their sum, most first.
pub(crate) fn shares(excesses: Vec<(String, f64)>) -> Vec<(String, f64)> {
    shares_of(excesses, 0.0)
}

/// Turns excesses into shares of their sum, or of `least` if that is more.
fn shares_of(mut excesses: Vec<(String, f64)>, least: f64) -> Vec<(String, f64)> {
    let total = excesses.iter().map(|(_, excess)| excess).sum::<f64>().max(least);
    if total <= 0.0 {
        return Vec::new();
    }
    for (_, excess) in &mut excesses {
        *excess /= total;
    }
    excesses.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    excesses
}

/// Shares of one dimension as causes.
pub(crate) fn causes(dimension: &str, shares: &[(String, f64)]) -> Vec<Cause> {
    let worth = shares.iter().filter(|(_, share)| *share >= LEAST_SHARE).take(MAX_CAUSES);
    worth
        .map(|(value, share)| Cause {
            filter: BTreeMap::from([(dimension.to_owned(), value.clone())]),
            share: *share,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_little_goes_on_elsewhere_is_not_all_of_what_the_whole_shows() {
        let left = vec![("apple".to_owned(), 1.0)];
        assert!((shares(left.clone())[0].1 - 1.0).abs() < 1e-9);
        assert!(shares_of(left, 0.5 * 140.0)[0].1 < 0.02);
    }

    #[test]
    fn shares_add_up_to_one_and_small_ones_are_left_out() {
        let shares = shares(vec![("a".to_owned(), 1.0), ("gmail".to_owned(), 18.0), ("b".to_owned(), 1.0)]);
        assert!((shares.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
        let causes = causes("provider", &shares);
        assert_eq!(causes.len(), 1);
        assert_eq!(causes[0].filter["provider"], "gmail");
    }
}
