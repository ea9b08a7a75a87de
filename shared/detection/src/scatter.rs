//! How much a series scatters around what is expected of it: from bucket to bucket, and from hour to hour.

use serde::{Deserialize, Serialize};

use crate::baseline::Sums;
use crate::evidence::narrow;

/// Less expected mail than this says nothing about scatter.
const LEAST_EXPECTED: f64 = 3.0;

/// What was learned of scatter, and the hour under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scatter {
    dispersion: f32,
    drift: f32,
    hour: Sums,
}

impl Scatter {
    /// As it is taken to be at first: dispersion, and the variance of an hour's logarithm.
    pub(crate) fn new(dispersion: f32, drift: f32) -> Self {
        Self { dispersion, drift, hour: Sums::default() }
    }

    /// Dispersion of the negative binomial: variance = mean + dispersion x mean squared.
    pub(crate) fn dispersion(&self) -> f64 {
        self.dispersion.into()
    }

    /// How far an hour is usually off, as a standard deviation of the logarithm.
    pub(crate) fn drift(&self) -> f64 {
        f64::from(self.drift).sqrt()
    }

    /// Learns a bucket that nothing is suspected of.
    pub(crate) fn learn(&mut self, seen: f64, expected: f64) {
        self.hour.add(seen, expected);
        if expected > LEAST_EXPECTED {
            let dispersion = f64::from(self.dispersion);
            let off = seen - expected;
            let value = (off * off - expected) / (expected * expected);
            let value = value.min(9.0 * (dispersion + 1.0 / expected));
            self.dispersion = narrow((dispersion + 0.01 * (value - dispersion)).clamp(0.01, 2.0));
        }
    }

    /// Learns nothing from this hour: something in it is suspected.
    pub(crate) fn forget_hour(&mut self) {
        self.hour = Sums::default();
    }

    /// Closes an hour and learns from it how far hours drift, if it says anything.
    pub(crate) fn close_hour(&mut self) {
        let hour = std::mem::take(&mut self.hour);
        let (seen, expected) = (f64::from(hour.events), f64::from(hour.exposure));
        if expected <= LEAST_EXPECTED {
            return;
        }
        let off = ((seen + 0.5) / (expected + 0.5)).ln();
        let drift = f64::from(self.drift);
        let value = (off * off - 1.0 / (expected + 0.5)).min(9.0 * (drift + 1.0 / expected));
        self.drift = narrow((drift + 0.02 * (value - drift)).clamp(0.01, 0.36));
    }
}
