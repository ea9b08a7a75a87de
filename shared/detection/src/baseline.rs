//! What is normal for a rate: its level, its seasons and how much it varies, learned bucket by bucket.
//!
//! Empirical Bayes: every level leans on its parent with a pseudo-count of events, so a small series trusts its parent and a
//! big one itself; that is the rule for cold starts and for small numbers in one. Must never learn from an incident at full
//! weight: the caller passes a small weight while evidence is high.

use serde::{Deserialize, Serialize};

use crate::cusum::{Observation, to_f32};
use crate::dispersion::{Dispersion, HourStatistics, HourlyDeviation};

/// What is learned of a bucket under suspicion.
pub(crate) const SUSPECT_WEIGHT: f64 = 0.02;
/// After so many minutes under suspicion the new state is the normal one.
pub(crate) const NEW_NORMAL: u32 = 36 * 60;
/// What is learned of how an hour scatters, if something in it is suspected.
pub(crate) const DOUBTED_WEIGHT: f64 = 0.3;
/// Events a level takes from its parent.
const LEVEL_PRIOR: f64 = 8.0;
/// Events a season takes from "no season".
const SEASON_PRIOR: f64 = 15.0;
/// Seasonal factors stay in this band.
const SEASON_BAND: (f64, f64) = (0.3, 4.0);
/// Hours of the day, then days of the week.
const SLOTS: usize = 24 + 7;
/// Hourly decay of levels (half-life 6 days) and of seasons (half-life 14 days).
const LEVEL_DECAY: f32 = 0.995_197;
const SEASON_DECAY: f32 = 0.997_939;

/// HourStatistics of the day and day of the week of a minute since 1970 (UTC), as slots of a season.
pub(crate) fn slots(minute: u32) -> [usize; 2] {
    let hour = minute / 60;
    // Day 0 was a Thursday; which day is called 0 does not matter.
    [to_index(hour % 24), 24 + to_index(hour / 24 % 7)]
}

/// A small number as an index.
pub(crate) fn to_index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Decayed events and the decayed exposure they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EventSums {
    /// Events.
    pub events: f32,
    /// Exposure.
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

/// RateBaseline and spread of one rate of one series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RateBaseline {
    sums: EventSums,
    dispersion: Dispersion,
    hourly_deviation: HourlyDeviation,
    /// That of hours with far more mail than usual: each campaign has a list of its own.
    burst_hourly_deviation: HourlyDeviation,
    hour: HourStatistics,
}

impl Default for RateBaseline {
    fn default() -> Self {
        Self {
            sums: EventSums::default(),
            dispersion: Dispersion::new(0.05),
            hourly_deviation: HourlyDeviation::new(0.03),
            burst_hourly_deviation: HourlyDeviation::new(0.05),
            hour: HourStatistics::default(),
        }
    }
}

impl RateBaseline {
    /// The rate, leaning on its parent's.
    pub(crate) fn rate(&self, parent: f64) -> f64 {
        let (events, exposure) = (f64::from(self.sums.events), f64::from(self.sums.exposure));
        (events + LEVEL_PRIOR) / (exposure + LEVEL_PRIOR / parent.max(1e-9))
    }

    /// The rate by its own past alone; none without any.
    pub(crate) fn usual(&self) -> Option<f64> {
        let EventSums { events, exposure } = self.sums;
        (events > 0.0 && exposure > 0.0).then(|| f64::from(events) / f64::from(exposure))
    }

    /// Decayed events learned so far.
    pub(crate) fn events(&self) -> f64 {
        self.sums.events.into()
    }

    /// How its buckets scatter.
    pub(crate) fn dispersion(&self) -> f64 {
        self.dispersion.value()
    }

    /// How far its hours are usually off, as a standard deviation of the logarithm.
    pub(crate) fn hourly_deviation(&self, is_burst: bool) -> f64 {
        if is_burst {
            self.burst_hourly_deviation.value().max(self.hourly_deviation.value())
        } else {
            self.hourly_deviation.value()
        }
    }

    /// Learns a bucket. `weight` is small while the series is under suspicion.
    pub(crate) fn learn(&mut self, observation: &Observation, is_burst: bool, weight: f64) {
        let Observation { observed, expected, denominator: exposure } = *observation;
        let observed = observed.min(3.0 * expected + 4.0);
        self.sums.add(observed * weight, exposure * weight);
        self.hour.add(observed, expected, self.dispersion);
        if is_burst {
            self.hour.note_burst(expected);
        }
        if weight < 1.0 {
            self.hour.doubt();
        }
    }

    /// Closes an hour: learns how it scattered, and forgets a little.
    pub(crate) fn close_hour(&mut self) {
        let hour = std::mem::take(&mut self.hour);
        let weight = if hour.is_doubted() { DOUBTED_WEIGHT } else { 1.0 };
        self.dispersion.learn(&hour, weight);
        if hour.is_burst() {
            self.burst_hourly_deviation.learn(&hour, weight);
        } else {
            self.hourly_deviation.learn(&hour, weight);
        }
        self.sums.decay(LEVEL_DECAY);
    }
}

/// How one rate of one series swings over the day and the week.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SeasonalFactors {
    slots: [EventSums; SLOTS],
}

impl Default for SeasonalFactors {
    fn default() -> Self {
        Self { slots: [EventSums::default(); SLOTS] }
    }
}

impl SeasonalFactors {
    /// The factor of a minute, leaning on `parent`'s.
    pub(crate) fn factor(&self, minute: u32, parent: f64) -> f64 {
        let mut product = 1.0;
        // Each slot holds what was expected without its own season, so factors of hour and day do not mix.
        for slot in slots(minute) {
            let Some(sums) = self.slots.get(slot) else { continue };
            product *= (f64::from(sums.events) + SEASON_PRIOR) / (f64::from(sums.exposure) + SEASON_PRIOR);
        }
        (product * parent).clamp(SEASON_BAND.0, SEASON_BAND.1)
    }

    /// Learns a bucket; `expected` is the expectation with the season in it.
    pub(crate) fn learn(&mut self, minute: u32, observed: f64, expected: f64, weight: f64) {
        let observed = observed.min(3.0 * expected + 4.0);
        for slot in slots(minute) {
            let Some(sums) = self.slots.get_mut(slot) else { continue };
            let own = (f64::from(sums.events) + SEASON_PRIOR) / (f64::from(sums.exposure) + SEASON_PRIOR);
            sums.add(observed * weight, expected / own.max(0.05) * weight);
        }
    }

    /// Forgets a little, once an hour.
    pub(crate) fn close_hour(&mut self) {
        for sums in &mut self.slots {
            sums.decay(SEASON_DECAY);
        }
    }
}
