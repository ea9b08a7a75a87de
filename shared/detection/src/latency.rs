//! Monitors a positive quantity on a logarithmic scale, delivery time above all, against its own past: the score grows with buckets that
//! are slower than the past 99th percentile.
//!
//! Delivery times have a heavier tail than any formula, because deferred mail arrives late and a few at a time. So the tail is learned
//! from the data, as the 99th percentile of the deviation, in logarithms. The increase per bucket is bounded, so one slow bucket never raises an
//! alert, and what ordinary days reach (the hours after a campaign) is learned and must be exceeded. A handful of deliveries never raises
//! an alert. Queue depth is monitored in the same way, with a fixed number of deliveries per reading.

use event::Minute;
use serde::{Deserialize, Serialize};

use crate::baseline::{EventSums, SUSPECTED_WEIGHT};
use crate::cusum::to_f32;
use crate::minutes;
use crate::series_monitor::BucketContext;

/// Increase of the score for a bucket at the 99th percentile. Chosen with the benchmark; a little less than the logarithm of how much more
/// often a bucket is this slow in an incident (about one in two) than usual (one in a hundred), because buckets are not independent.
const INCREASE: f64 = 2.5;
/// Decrease of the score for a bucket below the 99th percentile, chosen in the same way.
const DECREASE: f64 = -0.8;
/// A deviation is capped at this multiple of the tail.
const MAX_TAILS: f64 = 2.5;
/// The score is capped at this many thresholds.
const SCORE_CAP: f64 = 1.6;
/// Lower bound of the tail: the logarithm of a factor of about 1.5.
const MIN_TAIL: f32 = 0.4;
/// Growth of the tail per bucket above it. It shrinks by a 99th of that per bucket below it, so that one in 100 lies above.
const TAIL_GROWTH: f32 = 0.15;
/// Fewest deliveries in an excursion that is reported.
const MIN_DELIVERIES: f64 = 60.0;
/// Smallest factor over the usual time that is reported.
const MIN_FACTOR: f64 = 2.2;
/// Smallest sum over deliveries of the logarithm of their lateness: 137 deliveries at three times the usual time, 60 at a little over twelve times.
const MIN_EXCESS: f64 = 150.0;
/// The smoothed lateness, a logarithm, must be at least this multiple of the highest of ordinary days.
const ABOVE_PEAK: f64 = 1.25;
/// The smallest smoothed lateness that is reported.
const MIN_SMOOTHED: f64 = 0.75;
/// The factor by which a single day may raise the highest of ordinary days: one day is not yet normal.
const PEAK_GROWTH: f32 = 1.2;
/// The amount by which it may raise it where that is more.
const PEAK_STEP: f32 = 0.15;
/// The share of that highest value that is kept per day: half-life a month.
const PEAK_DECAY: f32 = 0.977;
/// Time constant of the smoothed lateness, in minutes.
const SMOOTHING_MINUTES: f64 = 30.0;
/// Days that are learned before anything is reported.
const MIN_DAYS: u32 = 5;
/// Time constant of the mean, in minutes: about two days.
const MEMORY_MINUTES: f64 = 3000.0;

/// The state of one series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyMonitor {
    /// Mean of the logarithm of milliseconds.
    mean: f32,
    /// The 99th percentile of the deviation from the mean.
    tail: f32,
    /// Usual number of deliveries per bucket.
    usual_deliveries: f32,
    buckets: u32,
    days: u32,
    /// Lateness (as events) and deliveries (as exposure) of about the last half hour.
    recent: EventSums,
    /// The highest smoothed lateness of this day, and that of ordinary days.
    highest_today: f32,
    peak: f32,
    /// Whether an alert was open today.
    had_alert: bool,
    /// Log-likelihood ratio (natural logarithm), at least 0.
    pub score: f32,
    /// Sums over the excursion: lateness in logarithms, and deliveries.
    excess: f32,
    deliveries: f32,
    #[serde(with = "minutes::stored_option")]
    since: Option<Minute>,
}

/// A delivery time, or queue depth, that is far above normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlownessSignal {
    /// The mean in the excursion: delivery time in milliseconds, or queue depth in messages.
    pub observed: f64,
    /// The value that buckets usually have, in the same unit.
    pub expected: f64,
    /// The deliveries in the excursion.
    pub deliveries: f64,
}

impl Default for LatencyMonitor {
    fn default() -> Self {
        Self {
            mean: 0.0,
            tail: 1.0,
            usual_deliveries: 0.0,
            buckets: 0,
            days: 0,
            recent: EventSums::default(),
            highest_today: 0.0,
            peak: 0.0,
            had_alert: false,
            score: 0.0,
            excess: 0.0,
            deliveries: 0.0,
            since: None,
        }
    }
}

impl LatencyMonitor {
    /// Adds a bucket. `sum` is the sum over `deliveries` of the logarithm of milliseconds.
    pub fn add(&mut self, sum: f64, deliveries: f64, context: &BucketContext<'_>, is_alert_open: bool) {
        if deliveries <= 0.0 {
            return;
        }
        let value = sum / deliveries;
        if self.buckets == 0 {
            self.mean = to_f32(value);
            self.usual_deliveries = to_f32(deliveries);
        }
        let off = value - f64::from(self.mean);
        // A few deliveries vary more than many, and late ones weigh more among them.
        let trust = deliveries / (deliveries + self.few_deliveries());
        let tails = off * trust / f64::from(self.tail.max(MIN_TAIL));
        // Fixed steps instead of a likelihood, which would need a formula for the tail; that of delivery times is heavier than any.
        let increase = if tails >= 1.0 { INCREASE * tails.min(MAX_TAILS) } else { DECREASE };
        let score = (f64::from(self.score) + increase).clamp(0.0, SCORE_CAP * context.threshold);
        // Before the tail is learned, every campaign would look like an incident.
        if score <= 0.0 || self.days < MIN_DAYS {
            self.clear_excursion();
        } else {
            self.since.get_or_insert(context.now);
            self.score = to_f32(score);
            self.excess += to_f32(off * deliveries);
            self.deliveries += to_f32(deliveries);
        }
        // The deliveries of half an hour are compared together, so that hours with few deliveries per bucket count too.
        let keep = to_f32((-f64::from(context.bucket_minutes) / SMOOTHING_MINUTES).exp());
        self.recent.decay(keep);
        self.recent.add(off * deliveries, deliveries);
        self.highest_today = self.highest_today.max(to_f32(self.smoothed_lateness()));
        self.had_alert |= is_alert_open;
        let is_suspected = is_alert_open || f64::from(self.score) > context.threshold / 2.0;
        // An incident is learned slowly, so that slow delivery does not become the usual one while it is reported.
        let weight = if is_suspected { SUSPECTED_WEIGHT } else { 1.0 };
        self.learn(off, tails, deliveries, context.bucket_minutes, weight);
    }

    /// The number of deliveries up to which a bucket counts as small.
    fn few_deliveries(&self) -> f64 {
        3.0 + 0.2 * f64::from(self.usual_deliveries)
    }

    /// The lateness of recent deliveries, in logarithms.
    fn smoothed_lateness(&self) -> f64 {
        f64::from(self.recent.events) / (f64::from(self.recent.exposure) + self.few_deliveries())
    }

    fn learn(&mut self, off: f64, tails: f64, deliveries: f64, bucket_minutes: u32, weight: f64) {
        self.buckets = self.buckets.saturating_add(1);
        // A running mean at first, then an exponential one.
        let steady = f64::from(bucket_minutes) / MEMORY_MINUTES;
        let rate =
            steady.max(1.0 / f64::from(self.buckets)) * weight * (deliveries / (deliveries + 5.0)).max(0.05);
        let band = f64::from(self.tail.max(MIN_TAIL));
        // Bounded by the usual deviation, so that an incident does not drag the mean along.
        self.mean += to_f32(rate * off.clamp(-band, band));
        self.usual_deliveries += to_f32(rate * (deliveries - f64::from(self.usual_deliveries)));
        let growth = if tails > 1.0 { TAIL_GROWTH } else { -TAIL_GROWTH / 99.0 };
        self.tail = (self.tail * (1.0 + growth * to_f32(weight))).clamp(MIN_TAIL / 2.0, 6.0);
    }

    /// Ends a day. What the day reached becomes ordinary, step by step, unless there was an alert.
    pub fn close_day(&mut self) {
        self.days = self.days.saturating_add(1);
        // The lateness of an incident is not ordinary.
        let highest = if self.had_alert { self.highest_today.min(self.peak) } else { self.highest_today };
        let before = self.peak * PEAK_DECAY;
        // One exceptional day raises the peak a little; what every day reaches is ordinary within days.
        self.peak = before.max(highest.min(PEAK_GROWTH * before + PEAK_STEP));
        self.highest_today = to_f32(self.smoothed_lateness());
        self.had_alert = false;
    }

    fn clear_excursion(&mut self) {
        (self.score, self.excess, self.deliveries, self.since) = (0.0, 0.0, 0.0, None);
    }

    /// The minute the excursion began; none while the score is 0.
    pub fn since(&self) -> Option<Minute> {
        self.since
    }

    /// The excursion, if its score reaches `threshold` and it is large enough to be reported. Pass 0 for an excursion that
    /// was already reported; it then no longer has to exceed ordinary days.
    pub fn signal(&self, threshold: f64) -> Option<SlownessSignal> {
        let deliveries = f64::from(self.deliveries);
        let expected = f64::from(self.mean).exp();
        let excess = f64::from(self.excess);
        let factor = (excess / deliveries.max(1.0)).exp();
        let is_unusual = excess >= MIN_EXCESS
            && self.smoothed_lateness() >= (ABOVE_PEAK * f64::from(self.peak)).max(MIN_SMOOTHED);
        (f64::from(self.score) >= threshold
            && deliveries >= MIN_DELIVERIES
            && factor >= MIN_FACTOR
            && (is_unusual || threshold <= 0.0))
            .then_some(SlownessSignal { observed: expected * factor, expected, deliveries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome_delay::{DecayFactors, DelayKernel};
    use crate::per_rate::PerRate;

    /// Adds buckets of five minutes with 100 deliveries each; returns the number of buckets until the first signal.
    fn run(
        latency: &mut LatencyMonitor,
        from: u32,
        buckets: u32,
        milliseconds: impl Fn(u32) -> f64,
    ) -> Option<u32> {
        let kernels = PerRate::from_fn(|_| DelayKernel::assumed([1.0, 0.0, 0.0, 0.0, 0.0]));
        let decay = DecayFactors::new(5);
        for bucket in from..from + buckets {
            if bucket.is_multiple_of(288) {
                latency.close_day();
            }
            let now = Minute(5 * bucket + 5);
            let context =
                BucketContext { now, bucket_minutes: 5, threshold: 16.0, kernels: &kernels, decay: &decay };
            latency.add(milliseconds(bucket).ln() * 100.0, 100.0, &context, false);
            if latency.signal(16.0).is_some() {
                return Some(bucket - from);
            }
        }
        None
    }

    #[test]
    fn tenfold_delivery_time_is_found_within_a_quarter_of_an_hour() {
        let mut latency = LatencyMonitor::default();
        assert_eq!(run(&mut latency, 0, 2000, |bucket| 1000.0 + f64::from(bucket * 7 % 13) * 40.0), None);
        assert!(run(&mut latency, 2000, 10, |_| 12_000.0).unwrap() <= 3);
        let signal = latency.signal(16.0).unwrap();
        assert!(signal.observed > 5.0 * signal.expected, "{signal:?}");
        assert_eq!(latency.since(), Some(Minute(10_005)));
    }

    #[test]
    fn lateness_of_every_day_becomes_ordinary_and_that_of_one_day_does_not() {
        let mut latency = LatencyMonitor::default();
        let mut day = |highest: f32| {
            latency.highest_today = highest;
            latency.close_day();
            latency.peak
        };
        assert!(day(2.0) < 0.2);
        for _ in 0..10 {
            day(2.0);
        }
        assert!(day(2.0) > 1.9);
    }

    #[test]
    fn day_with_an_alert_does_not_raise_what_is_ordinary() {
        let mut latency = LatencyMonitor { highest_today: 2.0, had_alert: true, ..LatencyMonitor::default() };
        latency.close_day();
        assert!(latency.peak <= 0.0, "{}", latency.peak);
    }

    #[test]
    fn occasional_slow_bucket_is_no_signal() {
        let mut latency = LatencyMonitor::default();
        let occasionally_slow = |bucket: u32| if bucket.is_multiple_of(40) { 60_000.0 } else { 1000.0 };
        assert_eq!(run(&mut latency, 0, 5000, occasionally_slow), None);
    }
}
