//! Delivery time of a series against its own past: evidence from buckets that are slower than 99 of 100 used to be.
//!
//! Delivery times have a tail heavier than any formula (mail that was deferred arrives late, a few at a time), so the tail is
//! learned as it is: the 99th percentile of the deviation, in logarithms. One bucket's step is bounded, so a slow bucket alone
//! never alarms. What ordinary days reach (the hours after a campaign, with its deferred mail) is learned too and has to be
//! passed. Must not alarm on a handful of deliveries.

use serde::{Deserialize, Serialize};

use crate::baseline::{EventSums, SUSPECT_WEIGHT};
use crate::cusum::to_f32;

/// Cusum of a bucket at the 99th percentile: logarithm of (one in two) over (one in fifty), and of a bucket below it.
const ABOVE: f64 = 2.5;
const BELOW: f64 = -0.8;
/// Buckets further out than this many percentiles count as this many.
const LARGEST: f64 = 2.5;
/// The percentile is never taken to be nearer than a factor of 1.5 (as a logarithm).
const LEAST_TAIL: f32 = 0.4;
/// Growth of the percentile with each bucket above it; with those below it shrinks by a 99th of that.
const TAIL_GROWTH: f32 = 0.15;
/// Fewest deliveries in the excursion, and smallest factor told.
const LEAST_DELIVERIES: f64 = 60.0;
const LEAST_FACTOR: f64 = 2.2;
/// Smallest sum of the logarithms by which deliveries were late: three times as slow takes 137 deliveries, twelve times 60.
const LEAST_EXCESS: f64 = 150.0;
/// Times the highest of ordinary days, in logarithms.
const ABOVE_PEAK: f64 = 1.25;
/// And at least this, in logarithms.
const LEAST_SMOOTH: f64 = 0.75;
/// How far one day may raise that highest: what only one day reached is not ordinary yet.
const PEAK_GROWTH: f32 = 1.2;
const PEAK_STEP: f32 = 0.15;
/// What a day keeps of that highest: half-life a month.
const PEAK_DECAY: f32 = 0.977;
/// Minutes over which "the highest" is smoothed.
const SMOOTH: f64 = 30.0;
/// Days learned before anything is said.
const LEAST_DAYS: u32 = 5;
/// Minutes of learning that weigh as much as all before: about two days.
const MEMORY: f64 = 3000.0;

/// State of one series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyMonitor {
    mean: f32,
    tail: f32,
    typical: f32,
    buckets: u32,
    days: u32,
    /// Lateness and deliveries of about the last half-hour.
    recent: EventSums,
    highest: f32,
    peak: f32,
    alerted: bool,
    /// Logarithm of the likelihood ratio, held at or above 0.
    pub score: f32,
    excess: f32,
    weight: f32,
    /// The minute the excursion began.
    pub since: u32,
}

impl Default for LatencyMonitor {
    fn default() -> Self {
        Self {
            mean: 0.0,
            tail: 1.0,
            typical: 0.0,
            buckets: 0,
            days: 0,
            recent: EventSums::default(),
            highest: 0.0,
            peak: 0.0,
            alerted: false,
            score: 0.0,
            excess: 0.0,
            weight: 0.0,
            since: 0,
        }
    }
}

impl LatencyMonitor {
    /// Adds a bucket: `sum` of the logarithm of milliseconds over `weight` deliveries.
    pub fn step(&mut self, sum: f64, weight: f64, now: u32, bucket: u32, threshold: f64, alerting: bool) {
        if weight <= 0.0 {
            return;
        }
        let value = sum / weight;
        if self.buckets == 0 {
            self.mean = to_f32(value);
            self.typical = to_f32(weight);
        }
        let off = value - f64::from(self.mean);
        // A few deliveries scatter more than many, and late ones weigh more among them.
        let trust = weight / (weight + self.few());
        let far = off * trust / f64::from(self.tail.max(LEAST_TAIL));
        let step = if far >= 1.0 { ABOVE * far.min(LARGEST) } else { BELOW };
        let score = (f64::from(self.score) + step).clamp(0.0, 1.6 * threshold);
        if score <= 0.0 || self.days < LEAST_DAYS {
            self.clear();
        } else {
            if self.since == 0 {
                self.since = now;
            }
            self.score = to_f32(score);
            self.excess += to_f32(off * weight);
            self.weight += to_f32(weight);
        }
        let keep = to_f32((-f64::from(bucket) / SMOOTH).exp());
        self.recent.decay(keep);
        self.recent.add(off * weight, weight);
        self.highest = self.highest.max(to_f32(self.smooth()));
        self.alerted |= alerting;
        let suspected = alerting || f64::from(self.score) > threshold / 2.0;
        self.learn(off, far, weight, bucket, if suspected { SUSPECT_WEIGHT } else { 1.0 });
    }

    /// Deliveries that are few.
    fn few(&self) -> f64 {
        3.0 + 0.2 * f64::from(self.typical)
    }

    /// How late recent deliveries are, in logarithms.
    fn smooth(&self) -> f64 {
        f64::from(self.recent.events) / (f64::from(self.recent.exposure) + self.few())
    }

    fn learn(&mut self, off: f64, far: f64, weight: f64, bucket: u32, trust: f64) {
        self.buckets = self.buckets.saturating_add(1);
        let steady = f64::from(bucket) / MEMORY;
        let rate = steady.max(1.0 / f64::from(self.buckets)) * trust * (weight / (weight + 5.0)).max(0.05);
        let band = f64::from(self.tail.max(LEAST_TAIL));
        self.mean += to_f32(rate * off.clamp(-band, band));
        self.typical += to_f32(rate * (weight - f64::from(self.typical)));
        let growth = if far > 1.0 { TAIL_GROWTH } else { -TAIL_GROWTH / 99.0 };
        self.tail = (self.tail * (1.0 + growth * to_f32(trust))).clamp(LEAST_TAIL / 2.0, 6.0);
    }

    /// Ends a day: what it reached is ordinary, unless it made an alert; then it is learned by and by.
    pub fn close_day(&mut self) {
        self.days = self.days.saturating_add(1);
        let highest = if self.alerted { self.highest.min(self.peak) } else { self.highest };
        let before = self.peak * PEAK_DECAY;
        self.peak = before.max(highest.min(PEAK_GROWTH * before + PEAK_STEP));
        self.highest = to_f32(self.smooth());
        self.alerted = false;
    }

    /// Forgets the excursion.
    fn clear(&mut self) {
        (self.score, self.excess, self.weight, self.since) = (0.0, 0.0, 0.0, 0);
    }

    /// Seen and expected milliseconds and the deliveries behind them, if the evidence passes its gates.
    pub fn signal(&self, threshold: f64) -> Option<(f64, f64, f64)> {
        let weight = f64::from(self.weight);
        let expected = f64::from(self.mean).exp();
        let excess = f64::from(self.excess);
        let factor = (excess / weight.max(1.0)).exp();
        let smooth = self.smooth();
        let unusual =
            excess >= LEAST_EXCESS && smooth >= (ABOVE_PEAK * f64::from(self.peak)).max(LEAST_SMOOTH);
        (f64::from(self.score) >= threshold
            && weight >= LEAST_DELIVERIES
            && factor >= LEAST_FACTOR
            && (unusual || threshold <= 0.0))
            .then_some((expected * factor, expected, weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(
        latency: &mut LatencyMonitor,
        from: u32,
        buckets: u32,
        milliseconds: impl Fn(u32) -> f64,
    ) -> Option<u32> {
        for bucket in from..from + buckets {
            if bucket.is_multiple_of(288) {
                latency.close_day();
            }
            let value = milliseconds(bucket).ln() * 100.0;
            latency.step(value, 100.0, 5 * bucket + 5, 5, 16.0, false);
            if latency.signal(16.0).is_some() {
                return Some(bucket - from);
            }
        }
        None
    }

    #[test]
    fn ten_times_as_slow_is_found_within_a_quarter_of_an_hour() {
        let mut latency = LatencyMonitor::default();
        assert_eq!(run(&mut latency, 0, 2000, |bucket| 1000.0 + f64::from(bucket * 7 % 13) * 40.0), None);
        assert!(run(&mut latency, 2000, 10, |_| 12_000.0).unwrap() <= 3);
    }

    #[test]
    fn what_one_day_reached_is_not_ordinary_yet_and_what_each_day_reaches_is() {
        let mut latency = LatencyMonitor::default();
        let mut day = |highest: f32| {
            latency.highest = highest;
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
    fn a_slow_bucket_now_and_then_is_no_trouble() {
        let mut latency = LatencyMonitor::default();
        let now_and_then = |bucket: u32| if bucket.is_multiple_of(40) { 60_000.0 } else { 1000.0 };
        assert_eq!(run(&mut latency, 0, 5000, now_and_then), None);
    }
}
