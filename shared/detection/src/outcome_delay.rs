//! When outcomes come: later than their mail. Exposure is the mail whose outcome is due in this bucket.
//!
//! Five leaky integrators of the mail sent (this bucket, 10 minutes, 1 hour, 4 hours, a day) are mixed by weights learned
//! from the counts themselves, so no lag is assumed. Dividing by the mail of the same bucket instead would call the evening
//! opens of a noon campaign a rate of 300 %.

use serde::{Deserialize, Serialize};

use crate::cusum::to_f32;

/// How many integrators.
pub(crate) const LAGS: usize = 5;
/// Their means, in minutes; the first is the bucket itself.
const MEANS: [f64; LAGS] = [0.0, 10.0, 60.0, 240.0, 1440.0];
/// Sweeps of coordinate descent at each solve: the system is 5 x 5 and starts near its answer.
const SWEEPS: u32 = 60;
/// Hourly decay of what was learned: half-life 14 days.
const DECAY: f64 = 0.997_939;

/// The mail of a series, remembered at five speeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeakyIntegrators([f32; LAGS]);

/// What one bucket keeps of each integrator.
#[derive(Clone, Copy, Debug)]
pub struct DecayFactors([f32; LAGS]);

impl DecayFactors {
    /// For buckets of so many minutes.
    pub fn new(bucket_minutes: u32) -> Self {
        Self(
            MEANS
                .map(|mean| if mean > 0.0 { to_f32((-f64::from(bucket_minutes) / mean).exp()) } else { 0.0 }),
        )
    }
}

impl LeakyIntegrators {
    /// Adds a bucket's mail.
    pub fn add(&mut self, mail: f64, decay: &DecayFactors) {
        for (sum, keep) in self.0.iter_mut().zip(decay.0) {
            *sum = keep * *sum + (1.0 - keep) * to_f32(mail);
        }
    }

    /// Mail a bucket, over about a day.
    pub fn slowest(&self) -> f64 {
        self.0.last().copied().unwrap_or_default().into()
    }

    /// Mail of the bucket itself.
    pub(crate) fn now(&self) -> f64 {
        self.0.first().copied().unwrap_or_default().into()
    }

    /// Whether nothing is due any more.
    pub fn is_spent(&self) -> bool {
        self.0.iter().all(|&sum| sum < 1e-6)
    }
}

/// How the outcomes of one metric are spread over time, learned for all series together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelayKernel {
    weights: [f64; LAGS],
    gram: [[f64; LAGS]; LAGS],
    right: [f64; LAGS],
}

impl DelayKernel {
    /// Starts from a guess, which the first days of counts replace.
    pub const fn guess(weights: [f64; LAGS]) -> Self {
        Self { weights, gram: [[0.0; LAGS]; LAGS], right: [0.0; LAGS] }
    }

    /// The mail whose outcome is due now.
    pub fn exposure(&self, mail: &LeakyIntegrators) -> f64 {
        self.weights.iter().zip(mail.0).map(|(weight, sum)| weight * f64::from(sum)).sum()
    }

    /// Learns from one series and bucket: `rate` is the series' own, `variance` that of the count.
    pub fn learn(&mut self, observed: f64, mail: &LeakyIntegrators, rate: f64, variance: f64) {
        let scaled = mail.0.map(|sum| f64::from(sum) * rate);
        let certainty = 1.0 / variance.max(1.0);
        for ((row, right), &left) in self.gram.iter_mut().zip(&mut self.right).zip(&scaled) {
            *right += left * observed * certainty;
            for (cell, &other) in row.iter_mut().zip(&scaled) {
                *cell += left * other * certainty;
            }
        }
    }

    /// Solves for the weights (never negative, sum 1) and forgets a little; once an hour.
    pub fn close_hour(&mut self) {
        let trace: f64 = self.gram.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum();
        // A ridge towards the present weights: what the counts do not tell stays as it is.
        let ridge = 0.002 * trace + 50.0;
        let anchor = self.weights;
        let mut weights = self.weights;
        for _ in 0..SWEEPS {
            for (index, (row, right)) in self.gram.iter().zip(&self.right).enumerate() {
                let others: f64 = row.iter().zip(weights).map(|(cell, weight)| cell * weight).sum();
                let (Some(&diagonal), Some(&before)) = (row.get(index), anchor.get(index)) else { continue };
                let Some(weight) = weights.get_mut(index) else { continue };
                let rest = others - diagonal * *weight;
                *weight = ((right - rest + ridge * before) / (diagonal + ridge)).max(0.0);
            }
        }
        let total: f64 = weights.iter().sum();
        if total > 0.1 {
            self.weights = weights.map(|weight| weight / total);
        }
        for row in &mut self.gram {
            for cell in row {
                *cell *= DECAY;
            }
        }
        for right in &mut self.right {
            *right *= DECAY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_outcomes_is_learned_from_the_counts() {
        let decay = DecayFactors::new(5);
        let mut kernel = DelayKernel::guess([1.0, 0.0, 0.0, 0.0, 0.0]);
        let mut mail = LeakyIntegrators::default();
        let mut hidden = LeakyIntegrators::default();
        for bucket in 0..2016_u32 {
            let sent = if bucket % 100 < 6 { 5000.0 } else { 50.0 };
            mail.add(sent, &decay);
            hidden.add(sent, &decay);
            let observed = 0.2 * f64::from(hidden.0[2]);
            kernel.learn(observed, &mail, 0.2, observed.max(1.0));
            if bucket % 12 == 0 {
                kernel.close_hour();
            }
        }
        assert!(kernel.weights[2] > 0.8, "{:?}", kernel.weights);
    }
}
