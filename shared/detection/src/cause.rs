//! Which dimension values explain trouble: the share of the excess that each provider and campaign has.
//!
//! Shares are of the positive excess only: a provider that does better than usual explains nothing.

use std::collections::BTreeMap;

use crate::alert::Cause;
use crate::counts::MonitoredRate;
use crate::cusum::Cusum;
use crate::series_monitor::SeriesMonitor;
use crate::tenant_state::TenantState;

/// A provider with more than this share of the excess is where the trouble is.
pub(crate) const DOMINANT_SHARE: f64 = 0.75;
/// Smaller shares are not reported.
const MIN_SHARE: f64 = 0.1;
/// Causes that are reported per dimension.
const MAX_CAUSES: usize = 5;
/// The providers, or campaigns, of a tenant are assumed to have at least this share of its excess together.
const MIN_ACCOUNTED_SHARE: f64 = 0.5;
/// A provider or campaign needs a score above this to have a share.
const MIN_SCORE: f32 = 1.0;

/// Names with their share of the excess, largest first.
pub(crate) type Shares = Vec<(String, f64)>;

/// Events in excess (or missing, where a fall is bad) over what was expected; 0 if the rate is better than usual.
pub(crate) fn excess(metric: MonitoredRate, cusum: &Cusum) -> f64 {
    bad_part(metric, f64::from(cusum.observed - cusum.expected))
}

/// The part of a deviation that is in the bad direction of a metric.
fn bad_part(metric: MonitoredRate, off: f64) -> f64 {
    (if metric.fall_is_bad() { -off } else { off }).max(0.0)
}

/// The shares of a tenant's providers.
pub(crate) fn providers(tenant: &TenantState, metric: MonitoredRate) -> Shares {
    series(tenant, &tenant.providers, metric)
}

/// The shares of a tenant's recurring campaigns.
pub(crate) fn recurring_campaigns(tenant: &TenantState, metric: MonitoredRate) -> Shares {
    series(tenant, &tenant.recurring.series, metric)
}

/// The shares of series that are parts of a tenant.
///
/// When trouble at a provider is over, the tenant's total still shows it for a while. A small excess elsewhere must not count as all of it,
/// so shares are of at least a part of the total's excess.
fn series(tenant: &TenantState, parts: &[(String, SeriesMonitor)], metric: MonitoredRate) -> Shares {
    let excesses = parts.iter().filter_map(|(name, monitor)| {
        let cusum = monitor.highest_score(metric);
        // A part without a score of its own shows only its usual scatter, which is no share of the excess.
        (cusum.score > MIN_SCORE).then(|| (name.clone(), excess(metric, &cusum)))
    });
    let all_mail = excess(metric, &tenant.all_mail.highest_score(metric));
    shares_of_at_least(excesses.collect(), MIN_ACCOUNTED_SHARE * all_mail)
}

/// The shares of a tenant's recent campaigns in the excess over `usual_rate`.
pub(crate) fn recent_campaigns(tenant: &TenantState, metric: MonitoredRate, usual_rate: f64) -> Shares {
    let denominator = metric.parameters().denominator;
    let excesses = tenant.campaigns.iter().map(|campaign| {
        let events = f64::from(campaign.events[metric]);
        let mail = f64::from(campaign.mail[denominator]);
        (campaign.name.clone(), bad_part(metric, events - usual_rate * mail))
    });
    shares(excesses.filter(|(name, _)| !name.is_empty()).collect())
}

/// Turns excesses into shares of their sum.
pub(crate) fn shares(excesses: Vec<(String, f64)>) -> Shares {
    shares_of_at_least(excesses, 0.0)
}

/// Turns excesses into shares of their sum, or of `least` if that is more. None if both are 0.
fn shares_of_at_least(mut excesses: Vec<(String, f64)>, least: f64) -> Shares {
    // A provider with a small excess must not be blamed for all of a large one that is over elsewhere.
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

/// The shares of one dimension that are large enough to be reported, as causes.
pub(crate) fn causes(dimension: &str, shares: &[(String, f64)]) -> Vec<Cause> {
    let reported = shares.iter().filter(|(_, share)| *share >= MIN_SHARE).take(MAX_CAUSES);
    reported
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
    fn small_excess_of_one_provider_is_a_small_share_of_a_large_total_excess() {
        let left = vec![("apple".to_owned(), 1.0)];
        assert!((shares(left.clone())[0].1 - 1.0).abs() < 1e-9);
        assert!(shares_of_at_least(left, 0.5 * 140.0)[0].1 < 0.02);
    }

    #[test]
    fn shares_add_up_to_one_and_small_ones_are_not_reported() {
        let shares = shares(vec![("a".to_owned(), 1.0), ("gmail".to_owned(), 18.0), ("b".to_owned(), 1.0)]);
        assert!((shares.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
        let causes = causes("provider", &shares);
        assert_eq!(causes.len(), 1);
        assert_eq!(causes[0].filter["provider"], "gmail");
    }

    #[test]
    fn shares_are_sorted_and_equal_ones_by_name() {
        let excess = |name: &str, excess: f64| (name.to_owned(), excess);
        let shares = shares(vec![excess("c", 1.0), excess("a", 1.0), excess("b", 2.0)]);
        assert_eq!(shares.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(super::shares(vec![excess("a", 0.0)]), []);
    }

    #[test]
    fn excess_is_in_the_bad_direction_of_its_metric() {
        for (metric, observed, expected, excess_expected) in [
            (MonitoredRate::Bounce, 30.0, 10.0, 20.0),
            (MonitoredRate::Bounce, 5.0, 10.0, 0.0),
            (MonitoredRate::Open, 30.0, 100.0, 70.0),
            (MonitoredRate::Open, 130.0, 100.0, 0.0),
        ] {
            let cusum = Cusum::with_sums(observed, expected, 1000.0);
            assert!((excess(metric, &cusum) - excess_expected).abs() < 1e-9, "{metric:?} {observed}");
        }
    }
}
