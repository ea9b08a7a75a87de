//! The delay of outcomes: from the mail of the past to the mail whose outcomes are due in a bucket, its exposure.
//!
//! Leaky integrators of the mail sent, with five time constants (the bucket itself, 10 minutes, 1 hour, 4 hours, 1 day), are mixed with
//! weights that are learned from the counts, so no delay has to be assumed. Dividing by the mail of the same bucket instead would make
//! the evening opens of a noon campaign a rate of 300 %.

use serde::{Deserialize, Serialize};

use crate::cusum::to_f32;

/// The number of integrators.
pub(crate) const DELAYS: usize = 5;
/// Their time constants, in minutes; the first is the bucket itself.
const TIME_CONSTANTS_MINUTES: [f64; DELAYS] = [0.0, 10.0, 60.0, 240.0, 1440.0];
/// Sweeps of coordinate descent per solve: the system is 5 x 5 and starts near its solution.
const SWEEPS: u32 = 60;
/// Hourly decay of what was learned: half-life 14 days.
const DECAY: f64 = 0.997_939;

/// The mail of a series, averaged over five time constants, as mail per bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeakyIntegrators([f32; DELAYS]);

/// The share of each integrator that is kept per bucket.
#[derive(Clone, Copy, Debug)]
pub struct DecayFactors {
    integrators: [f32; DELAYS],
    /// Of what is forgotten over [`DAYS_MINUTES`].
    days: f32,
}

/// The time constant of what is remembered for days, in minutes.
const DAYS_MINUTES: f64 = 4.0 * 1440.0;

impl DecayFactors {
    /// For buckets of `bucket_minutes`.
    pub fn new(bucket_minutes: u32) -> Self {
        let keep = |constant: f64| to_f32((-f64::from(bucket_minutes) / constant).exp());
        let integrators =
            TIME_CONSTANTS_MINUTES.map(|constant| if constant > 0.0 { keep(constant) } else { 0.0 });
        Self { integrators, days: keep(DAYS_MINUTES) }
    }

    /// The share that is kept per bucket of what is forgotten over an hour.
    pub(crate) const fn over_an_hour(&self) -> f32 {
        let [_, _, hour, ..] = self.integrators;
        hour
    }

    /// The share that is kept per bucket of what is forgotten over a day.
    pub(crate) const fn over_a_day(&self) -> f32 {
        let [.., day] = self.integrators;
        day
    }

    /// The share that is kept per bucket of what is forgotten over days.
    pub(crate) const fn over_days(&self) -> f32 {
        self.days
    }
}

impl LeakyIntegrators {
    /// Adds a bucket's mail.
    pub fn add(&mut self, mail: f64, decay: &DecayFactors) {
        for (sum, keep) in self.0.iter_mut().zip(decay.integrators) {
            *sum = keep * *sum + (1.0 - keep) * to_f32(mail);
        }
    }

    /// Mail per bucket, averaged over about a day.
    pub fn daily_mean(&self) -> f64 {
        let [.., day] = self.0;
        day.into()
    }

    /// Mail of the bucket itself.
    pub(crate) fn of_bucket(&self) -> f64 {
        let [bucket, ..] = self.0;
        bucket.into()
    }

    /// Whether no outcome is due any more.
    pub fn is_spent(&self) -> bool {
        self.0.iter().all(|&sum| sum < 1e-6)
    }
}

/// How the outcomes of one metric are distributed over the delays, learned from all series together.
///
/// A non-negative least-squares problem: the events of a bucket are the series' rate times the weighted integrators.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelayKernel {
    /// Never negative; their sum is 1.
    weights: [f64; DELAYS],
    /// The normal equations of the least-squares problem: matrix and right-hand side.
    gram: [[f64; DELAYS]; DELAYS],
    right: [f64; DELAYS],
}

impl DelayKernel {
    /// Starts from assumed weights, which the first days of counts replace.
    pub const fn assumed(weights: [f64; DELAYS]) -> Self {
        Self { weights, gram: [[0.0; DELAYS]; DELAYS], right: [0.0; DELAYS] }
    }

    /// The mail whose outcome is due now.
    pub fn exposure(&self, mail: &LeakyIntegrators) -> f64 {
        self.weights.iter().zip(mail.0).map(|(weight, sum)| weight * f64::from(sum)).sum()
    }

    /// Learns one bucket of one series. `rate` is the series' own rate, `variance` that of the count.
    pub fn learn(&mut self, observed: f64, mail: &LeakyIntegrators, rate: f64, variance: f64) {
        // Scaled by the series' own rate, so that series with different rates can teach one kernel.
        let scaled = mail.0.map(|sum| f64::from(sum) * rate);
        // Weighted by certainty: large series vary more in numbers of events and would decide alone.
        let certainty = 1.0 / variance.max(1.0);
        for ((row, right), &left) in self.gram.iter_mut().zip(&mut self.right).zip(&scaled) {
            *right += left * observed * certainty;
            for (cell, &other) in row.iter_mut().zip(&scaled) {
                *cell += left * other * certainty;
            }
        }
    }

    /// Solves for the weights and decays what was learned, once an hour.
    pub fn close_hour(&mut self) {
        // The mail of neighbouring time constants is nearly proportional, so the equations alone may have no stable solution.
        let trace: f64 = self.gram.iter().enumerate().filter_map(|(i, row)| row.get(i)).sum();
        // A ridge towards the present weights: what the counts do not determine stays as it is.
        let ridge = 0.002 * trace + 50.0;
        let anchor = self.weights;
        let mut weights = self.weights;
        for _ in 0..SWEEPS {
            for (index, (row, right)) in self.gram.iter().zip(&self.right).enumerate() {
                let others: f64 = row.iter().zip(weights).map(|(cell, weight)| cell * weight).sum();
                let (Some(&diagonal), Some(&before), Some(weight)) =
                    (row.get(index), anchor.get(index), weights.get_mut(index))
                else {
                    event::invariant::broken("a kernel that is not square");
                    continue;
                };
                let rest = others - diagonal * *weight;
                // Coordinate descent keeps each weight non-negative, which solving the equations directly would not.
                *weight = ((right - rest + ridge * before) / (diagonal + ridge)).max(0.0);
            }
        }
        let total: f64 = weights.iter().sum();
        if total > 0.1 {
            self.weights = weights.map(|weight| weight / total);
        }
        for cell in self.gram.iter_mut().flatten().chain(&mut self.right) {
            *cell *= DECAY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_of_outcomes_is_learned_from_the_counts() {
        let decay = DecayFactors::new(5);
        let mut kernel = DelayKernel::assumed([1.0, 0.0, 0.0, 0.0, 0.0]);
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
        assert!((kernel.weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn weights_stay_as_assumed_without_counts() {
        let mut kernel = DelayKernel::assumed([0.5, 0.5, 0.0, 0.0, 0.0]);
        kernel.close_hour();
        assert_eq!(kernel, DelayKernel::assumed([0.5, 0.5, 0.0, 0.0, 0.0]));
    }

    #[test]
    fn integrators_average_mail_over_their_time_constants() {
        let decay = DecayFactors::new(5);
        let mut mail = LeakyIntegrators::default();
        assert!(mail.is_spent());
        for _ in 0..288 * 7 {
            mail.add(10.0, &decay);
        }
        assert!((mail.daily_mean() - 10.0).abs() < 0.02, "{}", mail.daily_mean());
        mail.add(0.0, &decay);
        assert!(mail.of_bucket().abs() < 1e-9 && !mail.is_spent());
        assert!((mail.daily_mean() - 10.0).abs() < 0.1);
    }
}
