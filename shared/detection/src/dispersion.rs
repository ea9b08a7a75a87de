//! How much counts vary around their expectation: from bucket to bucket, and from hour to hour.
//!
//! Both are learned when an hour is over. If they were learned at once, an incident that is not known yet would widen the tolerance by
//! exactly the deviation that should reveal it.

use serde::{Deserialize, Serialize};

use crate::baseline::EventSums;
use crate::cusum::to_f32;

/// Dispersion is learned only from buckets and hours with more expected events than this.
const MIN_EXPECTED: f64 = 3.0;
/// The share of the known dispersion that is kept per bucket, and of the known hourly deviation per hour.
const DISPERSION_KEEP: f64 = 0.99;
const DEVIATION_KEEP: f64 = 0.98;

/// What the buckets of one hour say about dispersion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HourStatistics {
    /// Events counted, and events expected as their exposure.
    counts: EventSums,
    /// Sum of the dispersions that each bucket alone would have, and the number of these buckets.
    dispersions: f32,
    buckets: f32,
    /// The part of the expected events that was expected in bursts.
    expected_in_bursts: f32,
    is_suspected: bool,
}

impl HourStatistics {
    /// Adds a bucket of a series that has had `dispersion` until now.
    pub(crate) fn add(&mut self, observed: f64, expected: f64, dispersion: Dispersion) {
        self.counts.add(observed, expected);
        // With few expected events nearly all of the squared deviation is counting noise.
        if expected > MIN_EXPECTED {
            let off = observed - expected;
            // The estimate by moments; bounded, so that one outlier does not decide.
            let value = (off * off - expected) / (expected * expected);
            self.dispersions += to_f32(value.min(9.0 * (dispersion.value() + 1.0 / expected)));
            self.buckets += 1.0;
        }
    }

    pub(crate) fn observed(&self) -> f32 {
        self.counts.events
    }

    /// Records that `expected` events of the bucket were expected from a burst.
    pub(crate) fn note_burst(&mut self, expected: f64) {
        self.expected_in_bursts += to_f32(expected);
    }

    /// Records that the hour may hold an incident.
    pub(crate) fn suspect(&mut self) {
        self.is_suspected = true;
    }

    pub(crate) fn is_suspected(&self) -> bool {
        self.is_suspected
    }

    /// Whether more than half of the hour's events were expected from bursts.
    pub(crate) fn is_burst(&self) -> bool {
        self.expected_in_bursts > 0.5 * self.counts.exposure
    }
}

/// Over-dispersion of the buckets of a series, as of a negative binomial: variance = mean + dispersion x mean².
///
/// Between 0.01 and 2; 0 would be a Poisson process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dispersion(f32);

impl Dispersion {
    /// A dispersion that is assumed until there is data.
    pub(crate) const fn assumed(value: f32) -> Self {
        Self(value)
    }

    pub(crate) fn value(self) -> f64 {
        self.0.into()
    }

    /// Learns an hour. `weight` is below 1 if the hour may hold an incident.
    pub(crate) fn learn(&mut self, hour: &HourStatistics, weight: f64) {
        if hour.buckets > 0.0 {
            // One step of an exponential mean per bucket of the hour, taken at once.
            let keep = DISPERSION_KEEP.powf(weight * f64::from(hour.buckets));
            let value = f64::from(hour.dispersions / hour.buckets);
            self.0 = to_f32((keep * self.value() + (1.0 - keep) * value).clamp(0.01, 2.0));
        }
    }
}

/// How far hours usually are from their expectation: the variance of observed over expected, beyond that of counting.
///
/// Held as a variance between 0.01 and 0.36.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HourlyDeviation(f32);

impl HourlyDeviation {
    /// A variance that is assumed until there is data.
    pub(crate) const fn assumed(variance: f32) -> Self {
        Self(variance)
    }

    /// The standard deviation. It is small, so it is nearly that of the logarithm of the rate.
    pub(crate) fn standard_deviation(self) -> f64 {
        f64::from(self.0).sqrt()
    }

    /// Learns an hour if enough was expected in it. `weight` is below 1 if the hour may hold an incident.
    pub(crate) fn learn(&mut self, hour: &HourStatistics, weight: f64) {
        let (observed, expected) = (f64::from(hour.counts.events), f64::from(hour.counts.exposure));
        if expected <= MIN_EXPECTED {
            return;
        }
        // Moments and not the logarithm of the ratio: for small counts the logarithm scatters more than their mean says. Small series
        // seemed to vary by a third, and their incidents were tolerated.
        let off = observed - expected;
        let known = f64::from(self.0);
        let value = ((off * off - expected) / (expected * expected)).min(9.0 * (known + 1.0 / expected));
        let keep = DEVIATION_KEEP.powf(weight);
        self.0 = to_f32((keep * known + (1.0 - keep) * value).clamp(0.01, 0.36));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours of twelve buckets with 100 expected events each, by how far each bucket is off.
    fn learn(off: impl Fn(u32) -> f64, hours: u32, weight: f64) -> (f64, f64) {
        let mut dispersion = Dispersion::assumed(0.05);
        let mut deviation = HourlyDeviation::assumed(0.03);
        for hour in 0..hours {
            let mut statistics = HourStatistics::default();
            for bucket in 0..12 {
                statistics.add(100.0 + off(12 * hour + bucket), 100.0, dispersion);
            }
            dispersion.learn(&statistics, weight);
            deviation.learn(&statistics, weight);
        }
        (dispersion.value(), deviation.standard_deviation())
    }

    #[test]
    fn dispersion_is_learned_from_buckets_and_deviation_from_hours() {
        // Buckets that alternate cancel out over an hour; whole hours that are off do not.
        let (dispersion, deviation) = learn(|bucket| if bucket % 2 == 0 { 50.0 } else { -50.0 }, 400, 1.0);
        assert!((dispersion - 0.24).abs() < 0.01, "{dispersion}");
        assert!((deviation - 0.1).abs() < 1e-3, "{deviation}");
        let (_, deviation) = learn(|bucket| if bucket / 12 % 2 == 0 { 30.0 } else { -30.0 }, 400, 1.0);
        assert!((deviation - 0.3).abs() < 0.02, "{deviation}");
    }

    #[test]
    fn suspected_hours_are_learned_slowly_and_small_ones_not_at_all() {
        let (quick, _) = learn(|_| 50.0, 3, 1.0);
        let (slow, _) = learn(|_| 50.0, 3, 0.1);
        assert!(quick > slow && slow > 0.05, "{quick} {slow}");
        let mut small = HourStatistics::default();
        small.add(9.0, MIN_EXPECTED, Dispersion::assumed(0.05));
        let mut dispersion = Dispersion::assumed(0.05);
        dispersion.learn(&small, 1.0);
        assert_eq!(dispersion, Dispersion::assumed(0.05));
    }

    #[test]
    fn hour_is_a_burst_if_most_of_it_was() {
        let mut hour = HourStatistics::default();
        hour.add(10.0, 10.0, Dispersion::assumed(0.05));
        hour.note_burst(5.0);
        assert!(!hour.is_burst());
        hour.note_burst(0.1);
        assert!(hour.is_burst());
    }
}
