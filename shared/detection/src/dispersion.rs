//! How much a series scatters around what is expected of it: from bucket to bucket, and from hour to hour.
//!
//! An hour is learned when it is over: learned at once, an incident that is not known yet would widen what is tolerated by just what it is
//! found by.

use serde::{Deserialize, Serialize};

use crate::baseline::EventSums;
use crate::cusum::to_f32;

/// Less expected mail than this says nothing about scatter.
const LEAST_EXPECTED: f64 = 3.0;
/// What a bucket leaves of the dispersion known before, and an hour of the drift.
const BUCKET_KEEPS: f64 = 0.99;
const HOUR_KEEPS: f64 = 0.98;

/// What the buckets of an hour say about scatter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HourStatistics {
    counts: EventSums,
    /// Sum of the dispersions that its buckets would have alone, and how many buckets.
    dispersions: f32,
    buckets: f32,
    /// What of the expected was of bursts.
    bursts: f32,
    doubted: bool,
}

impl HourStatistics {
    /// Adds a bucket of a series that scatters so.
    pub(crate) fn add(&mut self, observed: f64, expected: f64, dispersion: Dispersion) {
        self.counts.add(observed, expected);
        if expected > LEAST_EXPECTED {
            let off = observed - expected;
            let value = (off * off - expected) / (expected * expected);
            self.dispersions += to_f32(value.min(9.0 * (dispersion.value() + 1.0 / expected)));
            self.buckets += 1.0;
        }
    }

    /// Events counted.
    pub(crate) fn observed(&self) -> f32 {
        self.counts.events
    }

    /// Notes that so much of what was expected in the bucket is of a burst.
    pub(crate) fn note_burst(&mut self, expected: f64) {
        self.bursts += to_f32(expected);
    }

    /// Notes that something in the hour is suspected.
    pub(crate) fn doubt(&mut self) {
        self.doubted = true;
    }

    pub(crate) fn is_doubted(&self) -> bool {
        self.doubted
    }

    pub(crate) fn is_burst(&self) -> bool {
        self.bursts > 0.5 * self.counts.exposure
    }
}

/// How buckets scatter: variance = mean + dispersion x mean squared, as of a negative binomial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dispersion(f32);

impl Dispersion {
    /// As it is taken to be at first.
    pub(crate) const fn new(value: f32) -> Self {
        Self(value)
    }

    pub(crate) fn value(self) -> f64 {
        self.0.into()
    }

    /// Learns an hour; `weight` is small if something in it is suspected.
    pub(crate) fn learn(&mut self, hour: &HourStatistics, weight: f64) {
        if hour.buckets > 0.0 {
            let keep = BUCKET_KEEPS.powf(weight * f64::from(hour.buckets));
            let value = f64::from(hour.dispersions / hour.buckets);
            self.0 = to_f32((keep * self.value() + (1.0 - keep) * value).clamp(0.01, 2.0));
        }
    }
}

/// How far hours are usually off: the variance of what is seen over what is expected, beyond that of counting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HourlyDeviation(f32);

impl HourlyDeviation {
    /// As it is taken to be at first.
    pub(crate) const fn new(variance: f32) -> Self {
        Self(variance)
    }

    /// As a standard deviation, which is nearly that of the logarithm.
    pub(crate) fn value(self) -> f64 {
        f64::from(self.0).sqrt()
    }

    /// Learns an hour, if it says anything; `weight` is small if something in it is suspected.
    pub(crate) fn learn(&mut self, hour: &HourStatistics, weight: f64) {
        let (observed, expected) = (f64::from(hour.counts.events), f64::from(hour.counts.exposure));
        if expected <= LEAST_EXPECTED {
            return;
        }
        let off = observed - expected;
        let hourly_deviation = f64::from(self.0);
        let value =
            ((off * off - expected) / (expected * expected)).min(9.0 * (hourly_deviation + 1.0 / expected));
        let keep = HOUR_KEEPS.powf(weight);
        self.0 = to_f32((keep * hourly_deviation + (1.0 - keep) * value).clamp(0.01, 0.36));
    }
}
