//! What is normal for a rate: its level, its seasonal factors and how much it varies, learned bucket by bucket.
//!
//! Empirical Bayes: every level takes its parent's rate as a prior that is worth a number of events. A small series is therefore close to
//! its parent and a large one is itself; this one rule serves cold starts and small numbers alike. An incident must never be learned at
//! full weight: the caller passes a small weight while a series is suspected.

use event::{Hour, Minute};
use serde::{Deserialize, Serialize};

use crate::cusum::{Observation, to_f32};
use crate::dispersion::{Dispersion, HourStatistics, HourlyDeviation};
use crate::minutes::{self, HOURS_PER_DAY, MINUTES_PER_HOUR, minutes_between};
use crate::ring::Ring;

/// The weight with which a bucket is learned while its series is suspected.
pub(crate) const SUSPECTED_WEIGHT: f64 = 0.02;
/// The weight with which the dispersion of an hour is learned if something in it was suspected.
pub(crate) const SUSPECTED_HOUR_WEIGHT: f64 = 0.3;
/// After this many minutes under suspicion the new behaviour is accepted as normal.
const ACCEPT_AFTER_MINUTES: u32 = 36 * MINUTES_PER_HOUR;
/// The number of events that the parent's rate is worth.
const LEVEL_PRIOR_EVENTS: f64 = 8.0;
/// The number of events that the assumption of no season is worth.
const SEASON_PRIOR_EVENTS: f64 = 15.0;
/// Seasonal factors stay in this range.
const SEASON_RANGE: (f64, f64) = (0.3, 4.0);
/// Hourly decay of levels (half-life 6 days) and of seasons (half-life 14 days).
const LEVEL_DECAY: f32 = 0.995_197;
const SEASON_DECAY: f32 = 0.997_939;

/// A count is learned up to this many times its expectation plus [`LEARNED_EXTRA`], so that one outlier cannot shift a level.
const LEARNED_FACTOR: f64 = 3.0;
const LEARNED_EXTRA: f64 = 4.0;

/// Decayed events and the decayed exposure (mail or expected events) they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EventSums {
    pub events: f32,
    pub exposure: f32,
}

impl EventSums {
    pub(crate) fn add(&mut self, events: f64, exposure: f64) {
        self.events += to_f32(events);
        self.exposure += to_f32(exposure);
    }

    pub(crate) fn decay(&mut self, factor: f32) {
        self.events *= factor;
        self.exposure *= factor;
    }
}

/// How long a series has been suspected without interruption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suspicion {
    #[serde(with = "minutes::stored_option")]
    since: Option<Minute>,
}

impl Suspicion {
    /// Records whether the bucket at `now` is suspected. Returns whether it must be learned with a small weight: it is suspected, and
    /// has not been for so long that the new behaviour is accepted as normal.
    pub(crate) fn update(&mut self, is_suspected: bool, now: Minute) -> bool {
        if !is_suspected {
            self.since = None;
            return false;
        }
        // What is suspected is hardly learned. Without an end to the suspicion a lasting change would be suspected for ever.
        let since = *self.since.get_or_insert(now);
        minutes_between(since, now) <= ACCEPT_AFTER_MINUTES
    }

    pub(crate) fn is_suspected(self) -> bool {
        self.since.is_some()
    }
}

/// Level and variation of one rate of one series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RateBaseline {
    sums: EventSums,
    dispersion: Dispersion,
    hourly_deviation: HourlyDeviation,
    /// That of hours with far more mail than usual: each campaign has a list of its own, so they vary more.
    burst_deviation: HourlyDeviation,
    hour: HourStatistics,
}

impl Default for RateBaseline {
    fn default() -> Self {
        Self {
            sums: EventSums::default(),
            dispersion: Dispersion::assumed(0.05),
            hourly_deviation: HourlyDeviation::assumed(0.03),
            burst_deviation: HourlyDeviation::assumed(0.05),
            hour: HourStatistics::default(),
        }
    }
}

impl RateBaseline {
    /// The rate, with the parent's rate as the prior.
    pub(crate) fn rate(&self, parent: f64) -> f64 {
        // The prior is worth a number of events and not of messages, so the series of a rare outcome stays close to its parent for longer.
        let (events, exposure) = (f64::from(self.sums.events), f64::from(self.sums.exposure));
        (events + LEVEL_PRIOR_EVENTS) / (exposure + LEVEL_PRIOR_EVENTS / parent.max(1e-9))
    }

    /// The rate by the series' own past alone; none before there were any events.
    pub(crate) fn own_rate(&self) -> Option<f64> {
        let EventSums { events, exposure } = self.sums;
        (events > 0.0 && exposure > 0.0).then(|| f64::from(events) / f64::from(exposure))
    }

    /// Decayed events learned so far.
    pub(crate) fn events(&self) -> f64 {
        self.sums.events.into()
    }

    /// The over-dispersion of its buckets.
    pub(crate) fn dispersion(&self) -> f64 {
        self.dispersion.value()
    }

    /// How far its hours usually are off, as a standard deviation of the logarithm of the rate.
    pub(crate) fn hourly_deviation(&self, is_burst: bool) -> f64 {
        let usual = self.hourly_deviation.standard_deviation();
        if is_burst { self.burst_deviation.standard_deviation().max(usual) } else { usual }
    }

    /// Learns a bucket. `weight` is below 1 while the series is suspected.
    pub(crate) fn learn(&mut self, observation: &Observation, is_burst: bool, weight: f64) {
        let Observation { observed, expected, denominator: exposure } = *observation;
        // Bounded, so that one outlier cannot shift the level. A lasting change still gets through, a few times the expectation per
        // bucket.
        let observed = observed.min(LEARNED_FACTOR * expected + LEARNED_EXTRA);
        self.sums.add(observed * weight, exposure * weight);
        self.hour.add(observed, expected, self.dispersion);
        if is_burst {
            self.hour.note_burst(expected);
        }
        if weight < 1.0 {
            self.hour.suspect();
        }
    }

    /// Closes an hour: learns how much it varied, and decays the level.
    pub(crate) fn close_hour(&mut self) {
        let hour = std::mem::take(&mut self.hour);
        let weight = if hour.is_suspected() { SUSPECTED_HOUR_WEIGHT } else { 1.0 };
        // Only now that the hour is over: learned at once, an incident would widen the tolerance that should reveal it.
        self.dispersion.learn(&hour, weight);
        // Each campaign has a list of its own, so the hours of bursts vary far more than the steady hours between them. When both were learned
        // as one, lists of slightly worse quality raised alerts on bounces.
        if hour.is_burst() {
            self.burst_deviation.learn(&hour, weight);
        } else {
            self.hourly_deviation.learn(&hour, weight);
        }
        self.sums.decay(LEVEL_DECAY);
    }
}

/// How one rate varies over the hours of the day and the days of the week (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SeasonalFactors {
    hours: Ring<EventSums, 24>,
    days: Ring<EventSums, 7>,
}

impl Default for SeasonalFactors {
    fn default() -> Self {
        Self { hours: Ring::filled(EventSums::default()), days: Ring::filled(EventSums::default()) }
    }
}

impl SeasonalFactors {
    /// The factor of a minute, where `parent` is that of the parent series.
    pub(crate) fn factor(&self, minute: Minute, parent: f64) -> f64 {
        // Each slot holds what was expected without its own factor, so those of hour and day do not mix.
        let Hour(hour) = minute.hour();
        // Hour and day are learned apart, because 31 slots fill sooner than the 168 hours of a week.
        let product =
            seasonal_factor(*self.hours.at(hour)) * seasonal_factor(*self.days.at(hour / HOURS_PER_DAY));
        (product * parent).clamp(SEASON_RANGE.0, SEASON_RANGE.1)
    }

    /// Learns a bucket; `expected` includes the seasonal factor.
    pub(crate) fn learn(&mut self, minute: Minute, observed: f64, expected: f64, weight: f64) {
        let observed = observed.min(LEARNED_FACTOR * expected + LEARNED_EXTRA);
        let Hour(hour) = minute.hour();
        // Day 0 of 1970 was a Thursday; it does not matter which day of the week is called 0.
        for sums in [self.hours.at_mut(hour), self.days.at_mut(hour / HOURS_PER_DAY)] {
            let own = seasonal_factor(*sums);
            sums.add(observed * weight, expected / own.max(0.05) * weight);
        }
    }

    /// Decays what was learned, once an hour.
    pub(crate) fn close_hour(&mut self) {
        for sums in self.hours.iter_mut().chain(self.days.iter_mut()) {
            sums.decay(SEASON_DECAY);
        }
    }
}

/// The factor of one slot, with "no season" as the prior.
fn seasonal_factor(sums: EventSums) -> f64 {
    (f64::from(sums.events) + SEASON_PRIOR_EVENTS) / (f64::from(sums.exposure) + SEASON_PRIOR_EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_series_has_its_parents_rate_and_a_large_one_its_own() {
        for (messages, expected) in [(0.0, 0.1), (80.0, 0.06), (1e6, 0.02)] {
            let mut baseline = RateBaseline::default();
            let observed = 0.02 * messages;
            let observation = Observation { observed, expected: observed, denominator: messages };
            baseline.learn(&observation, false, 1.0);
            let rate = baseline.rate(0.1);
            assert!((rate - expected).abs() < 1e-3, "{messages} messages: {rate}");
        }
    }

    #[test]
    fn outlier_is_learned_up_to_three_times_its_expectation() {
        let mut baseline = RateBaseline::default();
        let outlier = Observation { observed: 1000.0, expected: 10.0, denominator: 1000.0 };
        baseline.learn(&outlier, false, 1.0);
        assert!((baseline.events() - 34.0).abs() < 1e-6, "{}", baseline.events());
        assert_eq!(RateBaseline::default().own_rate(), None);
        assert!((baseline.own_rate().unwrap() - 0.034).abs() < 1e-6);
    }

    #[test]
    fn suspected_bucket_is_hardly_learned() {
        let mut baseline = RateBaseline::default();
        let incident = Observation { observed: 30.0, expected: 10.0, denominator: 1000.0 };
        baseline.learn(&incident, false, SUSPECTED_WEIGHT);
        assert!((baseline.events() - 0.6).abs() < 1e-6, "{}", baseline.events());
    }

    #[test]
    fn deviation_of_bursts_is_learned_apart_and_never_below_that_of_other_hours() {
        let baseline = RateBaseline::default();
        assert!((baseline.hourly_deviation(false) - 0.03_f64.sqrt()).abs() < 1e-6);
        assert!((baseline.hourly_deviation(true) - 0.05_f64.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn suspicion_that_lasts_for_36_hours_is_accepted_as_normal() {
        let mut suspicion = Suspicion::default();
        let start = Minute(1000);
        for (minutes, is_suspected, learns_slowly) in [
            (0, true, true),
            (2160, true, true),
            (2161, true, false),
            (2162, false, false),
            (2163, true, true),
        ] {
            let now = Minute(start.0 + minutes);
            assert_eq!(suspicion.update(is_suspected, now), learns_slowly, "after {minutes} minutes");
            assert_eq!(suspicion.is_suspected(), is_suspected);
        }
    }

    #[test]
    fn seasonal_factor_of_an_hour_is_learned_and_stays_in_its_range() {
        let mut season = SeasonalFactors::default();
        let noon = |day: u32| Minute(day * 1440 + 720);
        for day in 0..60 {
            let expected = 1000.0 * season.factor(noon(day), 1.0);
            season.learn(noon(day), 2000.0, expected, 1.0);
        }
        let factor = season.factor(noon(60), 1.0);
        assert!((1.8..=2.2).contains(&factor), "{factor}");
        assert!((season.factor(Minute(60 * 1440), 1.0) - 1.0).abs() < 0.5, "midnight was not learned");
        assert!((season.factor(noon(60), 100.0) - SEASON_RANGE.1).abs() < 1e-12);
        assert!((season.factor(noon(60), 0.0) - SEASON_RANGE.0).abs() < 1e-12);
    }
}
