//! Cusum that a count is not what was expected: a CUSUM of negative-binomial likelihood ratios.
//!
//! Mail is burstier than Poisson; with the dispersion in the likelihood one bucket can only ever give bounded evidence, so
//! a big sender does not alarm with every campaign. `exp(S)` started afresh in each bucket is an e-process: the mean time to
//! a false alarm is at least `exp(threshold)` buckets (Lorden 1971; Shin, Ramdas, Rinaldo, arXiv 2203.03532).

use serde::{Deserialize, Serialize};

/// What evidence is divided by: the baseline is an estimate, not the truth.
pub(crate) const CAUTION: f64 = 1.2;
/// Cusum is kept below this many thresholds, so that an incident's end shows soon.
const CAP: f64 = 1.6;

/// Minutes in "recent", and the buckets their dispersion is shared over.
const RECENT_MINUTES: f64 = 60.0;
const RECENT_BUCKETS: f64 = 4.0;
/// Recent counts that speak against half the change by this much end the excursion.
const OVER: f64 = -2.0;

/// Cusum that takes longer than this many minutes is no incident but a slow change, which is looked for by the day.
const LONGEST: u32 = 24 * 60;
/// Minutes without growth after which an excursion is over: if it is strong, and if it is still gathering.
const IDLE: u32 = 90;
const LONG_IDLE: u32 = 6 * 60;

/// What a bucket brought, against what was expected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    /// Events counted.
    pub observed: f64,
    /// Events expected.
    pub expected: f64,
    /// What they are a part of.
    pub denominator: f64,
}

/// The running evidence for one change of one series, and the sums of the present excursion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cusum {
    /// Natural logarithm of the likelihood ratio, held at or above 0.
    pub score: f32,
    /// Events counted in the excursion.
    pub observed: f32,
    /// Events expected in it.
    pub expected: f32,
    /// What they are a part of.
    pub denominator: f32,
    /// Events of about the last hour and a half, counted and expected: they say when it is over.
    recent_observed: f32,
    recent_expected: f32,
    /// The minute it began, 0 outside of one.
    pub since: u32,
    /// The minute evidence last grew.
    pub last_increase: u32,
}

impl Cusum {
    /// Adds a bucket.
    pub fn add(&mut self, observation: &Observation, test: &CusumTest, now: u32) {
        let mean = observation.expected * test.margin;
        let step = log_ratio(observation.observed, mean, test.ratio, test.dispersion) / test.caution;
        let score = (f64::from(self.score) + step).clamp(0.0, CAP * test.threshold);
        self.recent_observed = self.recent_observed * test.fade + to_f32(observation.observed);
        self.recent_expected = self.recent_expected * test.fade + to_f32(mean);
        let half = test.ratio.sqrt();
        let recent = log_ratio(
            self.recent_observed.into(),
            self.recent_expected.into(),
            half,
            test.dispersion / RECENT_BUCKETS,
        );
        let told = score >= test.threshold;
        let idle = now.saturating_sub(self.last_increase);
        let stale = self.since != 0
            && step <= 0.0
            && (idle > if told { IDLE } else { LONG_IDLE }
                || (!told && now.saturating_sub(self.since) > LONGEST));
        if score <= 0.0 || stale || (step <= 0.0 && recent < OVER) {
            *self = Self::default();
            return;
        }
        if self.since == 0 {
            self.since = now;
        }
        if step > 0.0 {
            self.last_increase = now;
        }
        self.score = to_f32(score);
        self.observed += to_f32(observation.observed);
        self.expected += to_f32(observation.expected);
        self.denominator += to_f32(observation.denominator);
    }
}

/// What a count is tested for.
#[derive(Clone, Copy, Debug)]
pub struct CusumTest {
    /// The change looked for, as a factor.
    pub ratio: f64,
    /// Dispersion of the negative binomial.
    pub dispersion: f64,
    /// The tolerated factor on what is expected.
    pub margin: f64,
    /// Cusum needed to alert.
    pub threshold: f64,
    /// What a bucket keeps of the recent counts.
    pub fade: f32,
    /// What evidence is divided by.
    pub caution: f64,
}

/// What buckets of so many minutes keep of recent counts.
pub(crate) fn recent_fade(bucket_minutes: u32) -> f32 {
    to_f32((-f64::from(bucket_minutes) / RECENT_MINUTES).exp())
}

/// Logarithm of the likelihood ratio of a count at `ratio` times the mean against the mean.
pub(crate) fn log_ratio(count: f64, mean: f64, ratio: f64, dispersion: f64) -> f64 {
    if mean <= 0.0 {
        return 0.0;
    }
    let (denominator, changed) = (1.0 + dispersion * mean, 1.0 + dispersion * ratio * mean);
    count * (ratio * denominator / changed).ln() - (changed / denominator).ln() / dispersion
}

/// State is kept in single precision: it is evidence, not money.
#[expect(clippy::cast_possible_truncation, reason = "single precision is enough for state")]
pub(crate) fn to_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_grows_with_the_excess_and_is_bounded_in_one_bucket() {
        let huge = log_ratio(1e9, 100.0, 4.0, 0.1);
        assert!(huge > log_ratio(400.0, 100.0, 4.0, 0.1));
        assert!(log_ratio(100.0, 100.0, 4.0, 0.1) < 0.0);
        assert!(log_ratio(0.0, 100.0, 0.1, 0.1) < 25.0, "missing events give bounded cusum");
    }

    #[test]
    fn an_excursion_is_forgotten_when_its_evidence_is_gone() {
        let mut cusum = Cusum::default();
        let test = CusumTest {
            ratio: 4.0,
            dispersion: 0.05,
            margin: 1.0,
            threshold: 16.0,
            fade: recent_fade(5),
            caution: CAUTION,
        };
        cusum.add(&Observation { observed: 50.0, expected: 10.0, denominator: 1000.0 }, &test, 7);
        assert!(cusum.score > 0.0);
        assert_eq!(cusum.since, 7);
        for minute in 8..40 {
            cusum.add(&Observation { observed: 5.0, expected: 10.0, denominator: 1000.0 }, &test, minute);
        }
        assert_eq!(cusum, Cusum::default());
    }
}
