//! The score that a count is not what was expected: a CUSUM of negative-binomial log-likelihood ratios.
//!
//! Mail is burstier than a Poisson process. With the dispersion in the likelihood one bucket can only give a bounded score, so a large
//! sender does not raise an alert with every campaign. A CUSUM restarts at 0 (Page 1954); the mean time to a false alarm is at least
//! `exp(threshold)` buckets (Lorden 1971; as an e-process: Shin, Ramdas, Rinaldo, arXiv 2203.03532), from which the detector derives its
//! threshold. A score must never keep an excursion open long after it is over: see [`Cusum::add`].

use event::Minute;
use serde::{Deserialize, Serialize};

use crate::minutes::{self, MINUTES_PER_DAY, minutes_between};

/// Log-likelihood ratios are divided by this factor, because the baseline is an estimate and not the truth.
pub(crate) const CAUTION: f64 = 1.2;
/// The score is capped at this many thresholds, so that the end of an incident shows soon.
const SCORE_CAP: f64 = 1.6;

/// Time constant of the recent counts, in minutes, and the number of buckets that share their dispersion.
const RECENT_MINUTES: f64 = 60.0;
const RECENT_BUCKETS: f64 = 4.0;
/// An excursion ends when the recent counts speak against half the change by this log-likelihood ratio.
const RECENT_END: f64 = -2.0;

/// A score below the threshold for longer than this many minutes belongs to a slow change, which the decline monitor looks for.
const MAX_GATHERING_MINUTES: u32 = MINUTES_PER_DAY;
/// Minutes without an increase of the score that end an excursion: above the threshold, and below it.
const MAX_IDLE_ABOVE_MINUTES: u32 = 90;
const MAX_IDLE_BELOW_MINUTES: u32 = 6 * 60;

/// The counts of one bucket and what was expected of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observation {
    pub observed: f64,
    pub expected: f64,
    /// The mail that both are a share of.
    pub denominator: f64,
}

/// The running score of one change of one series, with the sums of the present excursion.
///
/// An excursion is the time since the score last was 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cusum {
    /// Log-likelihood ratio (natural logarithm), at least 0.
    pub score: f32,
    /// Events counted in the excursion.
    pub observed: f32,
    /// Events expected in the excursion.
    pub expected: f32,
    /// The mail that both are a share of.
    pub denominator: f32,
    /// Decayed counts of about the last hour, which show that an excursion is over.
    recent_observed: f32,
    recent_expected: f32,
    /// None while the score is 0.
    excursion: Option<Excursion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Excursion {
    #[serde(with = "minutes::stored")]
    since: Minute,
    #[serde(with = "minutes::stored")]
    last_increase: Minute,
}

impl Cusum {
    /// Adds a bucket that begins at `now`.
    ///
    /// The excursion is forgotten when the score is 0, when the recent counts contradict the change, or when the score has not
    /// increased for too long.
    pub fn add(&mut self, observation: &Observation, test: &CusumTest, now: Minute) {
        // The baseline is an estimate, so what lies within the tolerated factor must not count as evidence.
        let mean = observation.expected * test.margin;
        let increase =
            log_likelihood_ratio(observation.observed, mean, test.ratio, test.dispersion) / test.caution;
        // Page's CUSUM: a quiet time before a change need not be made up for, so the score never falls below 0. The cap bounds how long
        // the score takes to fall after an incident.
        let score = (f64::from(self.score) + increase).clamp(0.0, SCORE_CAP * test.threshold);
        self.recent_observed = self.recent_observed * test.recent_decay + to_f32(observation.observed);
        self.recent_expected = self.recent_expected * test.recent_decay + to_f32(mean);
        let half_change = test.ratio.sqrt();
        // A large score falls slowly, so the end of an incident is sought in the last hour alone. The test is for half the change, so that an
        // incident that weakens is not taken for over.
        let recent = log_likelihood_ratio(
            self.recent_observed.into(),
            self.recent_expected.into(),
            half_change,
            test.dispersion / RECENT_BUCKETS,
        );
        let is_above = score >= test.threshold;
        let is_stale = self.excursion.is_some_and(|excursion| excursion.is_stale(is_above, now));
        // A bucket with new evidence never ends an excursion, so an incident that goes on is not cut in two.
        if score <= 0.0 || (increase <= 0.0 && (is_stale || recent < RECENT_END)) {
            *self = Self::default();
            return;
        }
        let excursion = self.excursion.get_or_insert(Excursion { since: now, last_increase: now });
        if increase > 0.0 {
            excursion.last_increase = now;
        }
        self.score = to_f32(score);
        self.observed += to_f32(observation.observed);
        self.expected += to_f32(observation.expected);
        self.denominator += to_f32(observation.denominator);
    }

    /// An excursion with these sums, for tests of what is made of them.
    #[cfg(test)]
    pub(crate) fn with_sums(observed: f32, expected: f32, denominator: f32) -> Self {
        Self { observed, expected, denominator, ..Self::default() }
    }

    /// The minute the excursion began; none while the score is 0.
    pub fn since(&self) -> Option<Minute> {
        self.excursion.map(|excursion| excursion.since)
    }

    /// The minute in which the score last increased; none while it is 0.
    pub fn last_increase(&self) -> Option<Minute> {
        self.excursion.map(|excursion| excursion.last_increase)
    }
}

impl Excursion {
    /// Whether the score has not increased for too long, or has gathered below the threshold for too long.
    fn is_stale(self, is_above: bool, now: Minute) -> bool {
        let idle = minutes_between(self.last_increase, now);
        if is_above {
            idle > MAX_IDLE_ABOVE_MINUTES
        } else {
            idle > MAX_IDLE_BELOW_MINUTES || minutes_between(self.since, now) > MAX_GATHERING_MINUTES
        }
    }
}

/// The change that a count is tested for.
#[derive(Clone, Copy, Debug)]
pub struct CusumTest {
    /// The change, as a factor of the mean.
    pub ratio: f64,
    /// Dispersion of the negative binomial: variance = mean + dispersion x mean².
    pub dispersion: f64,
    /// A factor on the expectation that is tolerated.
    pub margin: f64,
    /// The score that makes an alert.
    pub threshold: f64,
    /// The share of the recent counts that is kept per bucket.
    pub recent_decay: f32,
    /// The divisor of log-likelihood ratios; usually [`CAUTION`].
    pub caution: f64,
}

/// The share of the recent counts that a bucket of `bucket_minutes` keeps.
pub(crate) fn recent_decay(bucket_minutes: u32) -> f32 {
    to_f32((-f64::from(bucket_minutes) / RECENT_MINUTES).exp())
}

/// Log-likelihood ratio of `count` under a negative binomial with mean `ratio * mean` against one with `mean`.
///
/// 0 without a positive mean.
pub(crate) fn log_likelihood_ratio(count: f64, mean: f64, ratio: f64, dispersion: f64) -> f64 {
    if mean <= 0.0 {
        return 0.0;
    }
    let (unchanged, changed) = (1.0 + dispersion * mean, 1.0 + dispersion * ratio * mean);
    count * (ratio * unchanged / changed).ln() - (changed / unchanged).ln() / dispersion
}

/// Scores and decayed sums are stored in single precision: seven digits are more than any decision needs, and halve the state.
#[expect(clippy::cast_possible_truncation, reason = "single precision is enough for state")]
pub(crate) fn to_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rise() -> CusumTest {
        CusumTest {
            ratio: 4.0,
            dispersion: 0.05,
            margin: 1.0,
            threshold: 16.0,
            recent_decay: recent_decay(5),
            caution: CAUTION,
        }
    }

    fn observation(observed: f64) -> Observation {
        Observation { observed, expected: 10.0, denominator: 1000.0 }
    }

    #[test]
    fn log_likelihood_ratio_grows_with_the_excess_and_is_bounded_for_missing_events() {
        let huge = log_likelihood_ratio(1e9, 100.0, 4.0, 0.1);
        assert!(huge > log_likelihood_ratio(400.0, 100.0, 4.0, 0.1));
        assert!(log_likelihood_ratio(100.0, 100.0, 4.0, 0.1) < 0.0);
        assert!(log_likelihood_ratio(0.0, 100.0, 0.1, 0.1) < 25.0, "missing events give a bounded score");
        assert!(log_likelihood_ratio(5.0, 0.0, 4.0, 0.1).abs() <= 0.0, "nothing was expected");
    }

    #[test]
    fn log_likelihood_ratio_is_that_of_two_negative_binomials() {
        use crate::numbers::ln_gamma;
        let log_probability = |count: f64, mean: f64, dispersion: f64| {
            let size = 1.0 / dispersion;
            let success = size / (size + mean);
            ln_gamma(count + size) - ln_gamma(count + 1.0) - ln_gamma(size)
                + size * success.ln()
                + count * (1.0 - success).ln()
        };
        for (count, mean, ratio, dispersion) in
            [(0.0, 3.0, 2.0, 0.05), (7.0, 3.0, 2.0, 0.05), (7.0, 30.0, 0.4, 0.3), (250.0, 100.0, 6.0, 1.5)]
        {
            let expected =
                log_probability(count, ratio * mean, dispersion) - log_probability(count, mean, dispersion);
            let found = log_likelihood_ratio(count, mean, ratio, dispersion);
            assert!(
                (found - expected).abs() < 1e-7,
                "{count} {mean} {ratio} {dispersion}: {found} {expected}"
            );
        }
    }

    #[test]
    fn excursion_is_forgotten_when_counts_are_normal_again() {
        let mut cusum = Cusum::default();
        cusum.add(&observation(50.0), &rise(), Minute(7));
        assert!(cusum.score > 0.0);
        assert_eq!((cusum.since(), cusum.last_increase()), (Some(Minute(7)), Some(Minute(7))));
        for minute in 8..40 {
            cusum.add(&observation(5.0), &rise(), Minute(minute));
        }
        assert_eq!(cusum, Cusum::default());
    }

    #[test]
    fn score_is_capped() {
        let mut cusum = Cusum::default();
        for minute in 0..50 {
            cusum.add(&observation(500.0), &rise(), Minute(minute));
        }
        assert!((f64::from(cusum.score) - SCORE_CAP * 16.0).abs() < 1e-3, "{}", cusum.score);
        assert_eq!(cusum.since(), Some(Minute(0)));
    }

    #[test]
    fn excursion_is_stale_after_a_time_that_depends_on_the_threshold() {
        let excursion = Excursion { since: Minute(1000), last_increase: Minute(1200) };
        for (is_above, now, is_stale) in [
            (true, 1290, false),
            (true, 1291, true),
            (false, 1560, false),
            (false, 1561, true),
            (false, 1200, false),
        ] {
            assert_eq!(excursion.is_stale(is_above, Minute(now)), is_stale, "{is_above} {now}");
        }
        let slow = Excursion { since: Minute(1000), last_increase: Minute(2441) };
        assert!(slow.is_stale(false, Minute(2441)), "a day of gathering below the threshold");
        assert!(!slow.is_stale(true, Minute(2441)));
    }
}
