//! How much mail a tenant sends: too little, none, or far too much, against the same hour of its own weeks.
//!
//! Watches the steady stream where there is enough of it: mail without a campaign, and of campaigns that are sent all day long. Others
//! come and go by design, and an untagged burst is what a stolen credential looks like. A drop that all tenants share (a holiday)
//! lowers what is expected.

use serde::{Deserialize, Serialize};

use crate::baseline::{NEW_NORMAL, SUSPECT_WEIGHT, Sums, usize_of};
use crate::evidence::{CAUTION, Evidence, Outcome, Test, narrow, recent_fade};
use crate::scatter::Scatter;

const HOURS_A_WEEK: usize = 168;
/// What the hour of the week learns of a bucket under suspicion: it may be like that each week.
const SUSPECT_WEEK_WEIGHT: f64 = 0.3;
/// Falls and rises looked for, as factors.
const FALLS: [f64; 2] = [0.42, 0.04];
const RISES: [f64; 2] = [2.5, 8.0];
/// Hourly decay: half-life 14 days.
const DECAY: f32 = 0.997_939;
/// Weekly slots are forgotten by this factor an hour: 0.7 a week.
const WEEK_DECAY: f32 = 0.997_879;
/// The highest bucket is forgotten by this factor a day: half-life ten weeks.
const PEAK_DECAY: f32 = 0.990_147;
const DAY: u32 = 24 * 60;
/// History before falls and rises are told, in minutes.
const LEAST_HISTORY: u32 = 10 * DAY;
/// Below so many mails a day nothing is said about falls.
const LEAST_A_DAY: f64 = 150.0;
/// Buckets of mail that an hour of the day takes from "no season", and mails at most: little, since there are hours without any mail.
const HOUR_PRIOR: f64 = 2.0;
const HOUR_PRIOR_MAILS: f64 = 30.0;
/// And a day of the week, and an hour of the week.
const DAY_PRIOR: f64 = 12.0;
const WEEK_PRIOR: f64 = 4.0;
/// Most that is left of the expected mail in a fall.
const MOST_LEFT: f64 = 0.4;
/// Fewest missing and extra mails, and the part of a usual day's that is worth a word.
const LEAST_MISSING: f64 = 15.0;
const LEAST_EXTRA: f64 = 40.0;
const WORTH: f64 = 0.01;

/// Volume of one series. Boxed by its owner: most series have none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    level: Sums,
    hours: [Sums; 24],
    days: [Sums; 7],
    #[serde(with = "week")]
    weeks: [Sums; HOURS_A_WEEK],
    /// The highest bucket of this day, and of the days before, decayed: what its bursts reach.
    today: f32,
    peak: f32,
    scatter: Scatter,
    recent: Sums,
    /// Evidence of falls, then of rises.
    pub falls: [Evidence; 2],
    /// Evidence of rises.
    pub rises: [Evidence; 2],
    first: u32,
    suspicious_since: u32,
}

/// Arrays longer than 32 are not known to serde.
mod week {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{HOURS_A_WEEK, Sums};

    pub(super) fn serialize<S: Serializer>(
        slots: &[Sums; HOURS_A_WEEK],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        slots.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[Sums; HOURS_A_WEEK], D::Error> {
        let slots = Vec::<Sums>::deserialize(deserializer)?;
        slots.try_into().map_err(|_| serde::de::Error::custom("a week has 168 hours"))
    }
}

/// What the campaigns that come and go mean for a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bursts {
    /// They are not told apart from other mail: what the largest of the days before reached is ordinary.
    Unknown,
    /// They are left out, so a burst is none of them.
    LeftOut,
    /// The series is made of them: a burst is nothing to tell.
    All,
}

/// What is known around a series.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// The drop that all tenants share, 1 for none.
    pub common: f64,
    /// What is known of campaigns.
    pub bursts: Bursts,
    /// Whether its alert is open.
    pub alerting: bool,
}

/// What the evidence says, after its gates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VolumeSignal {
    /// The excursion behind it.
    pub evidence: Evidence,
    /// Whether mail is missing.
    pub falls: bool,
}

impl Volume {
    /// A series first seen in this minute.
    pub fn new(first: u32) -> Self {
        Self {
            level: Sums::default(),
            hours: [Sums::default(); 24],
            days: [Sums::default(); 7],
            weeks: [Sums::default(); HOURS_A_WEEK],
            today: 0.0,
            peak: 0.0,
            scatter: Scatter::new(0.1, 0.05),
            recent: Sums::default(),
            falls: Default::default(),
            rises: Default::default(),
            first,
            suspicious_since: 0,
        }
    }

    /// Mails expected in a bucket of this minute.
    pub fn expected(&self, minute: u32) -> f64 {
        let hour = minute / 60;
        let level = self.level();
        let [of_hour, of_day, of_week] = priors(level);
        level
            * factor(self.hours.get(usize_of(hour % 24)), of_hour)
            * factor(self.days.get(usize_of(hour / 24 % 7)), of_day)
            * factor(self.weeks.get(usize_of(hour % 168)), of_week)
    }

    /// Mails of a usual bucket.
    fn level(&self) -> f64 {
        f64::from(self.level.events) / f64::from(self.level.exposure).max(1.0)
    }

    /// Mails of a usual day.
    pub(crate) fn a_day(&self, buckets_a_day: f64) -> f64 {
        self.level() * buckets_a_day
    }

    /// Recent mail against what was expected; none before there is enough history and mail to tell.
    pub fn recent_ratio(&self, now: u32) -> Option<f64> {
        let expected = f64::from(self.recent.exposure);
        (now.saturating_sub(self.first) >= LEAST_HISTORY && expected > 20.0)
            .then(|| f64::from(self.recent.events) / expected)
    }

    /// Adds a bucket.
    pub fn step(&mut self, seen: f64, now: u32, bucket: u32, threshold: f64, around: &Around) {
        let here = self.expected(now);
        let (before, after) = (self.expected(now.saturating_sub(60)), self.expected(now + 60));
        let (low, high) = (here.min(before).min(after), here.max(before).max(after));
        let drift = self.scatter.drift();
        let mut test = Test {
            ratio: 1.0,
            dispersion: self.scatter.dispersion(),
            margin: (-2.0 * drift).exp(),
            threshold,
            fade: recent_fade(bucket),
            caution: CAUTION,
        };
        let outcome = Outcome { seen, expected: low * around.common, base: 0.0 };
        for (evidence, ratio) in self.falls.iter_mut().zip(FALLS) {
            test.ratio = ratio;
            evidence.add(&outcome, &test, now);
        }
        test.margin = (2.0 * drift).exp();
        let high = match around.bursts {
            Bursts::LeftOut => Some(high),
            Bursts::Unknown => Some(high.max(f64::from(self.peak))),
            Bursts::All => None,
        };
        if let Some(expected) = high {
            let outcome = Outcome { seen, expected, base: 0.0 };
            for (evidence, ratio) in self.rises.iter_mut().zip(RISES) {
                test.ratio = ratio;
                evidence.add(&outcome, &test, now);
            }
        } else {
            self.rises = Default::default();
        }
        self.today = self.today.max(narrow(seen));
        let alerting = around.alerting;
        // In the first week the hours of the night are as much of a surprise as those of the day.
        let known = now.saturating_sub(self.first) >= 7 * DAY;
        let suspected = alerting || (known && self.strongest() > threshold / 2.0);
        if !suspected {
            self.suspicious_since = 0;
        } else if self.suspicious_since == 0 {
            self.suspicious_since = now;
        }
        let new_normal = suspected && now.saturating_sub(self.suspicious_since) > NEW_NORMAL;
        self.learn(seen, here, now, bucket, if suspected && !new_normal { SUSPECT_WEIGHT } else { 1.0 });
    }

    fn strongest(&self) -> f64 {
        self.falls.iter().chain(&self.rises).map(|evidence| f64::from(evidence.strength)).fold(0.0, f64::max)
    }

    fn learn(&mut self, seen: f64, expected: f64, now: u32, bucket: u32, weight: f64) {
        let young = now.saturating_sub(self.first) < 3 * DAY;
        let seen = if young { seen } else { seen.min(3.0 * expected + 4.0) };
        let fade = narrow((-f64::from(bucket) / 60.0).exp());
        self.recent.events = self.recent.events * fade + narrow(seen);
        self.recent.exposure = self.recent.exposure * fade + narrow(expected);
        self.level.events += narrow(seen * weight);
        // In buckets of five minutes: the prior of a slot is an hour.
        self.level.exposure += narrow(weight);
        if young && self.level.exposure < 12.0 {
            return;
        }
        let hour = now / 60;
        let priors = priors(self.level());
        let slots = [
            self.hours.get_mut(usize_of(hour % 24)),
            self.days.get_mut(usize_of(hour / 24 % 7)),
            self.weeks.get_mut(usize_of(hour % 168)),
        ];
        let weights = [weight, weight, weight.max(SUSPECT_WEEK_WEIGHT)];
        for ((sums, prior), weight) in slots.into_iter().zip(priors).zip(weights) {
            let Some(sums) = sums else { continue };
            let own = factor(Some(sums), prior);
            sums.add(seen * weight, expected / own.max(1e-6) * weight);
        }
        if weight < 1.0 {
            self.scatter.forget_hour();
        } else {
            self.scatter.learn(seen, expected);
        }
    }

    /// Closes an hour: learns how hours drift, and forgets a little.
    pub fn close_hour(&mut self) {
        self.scatter.close_hour();
        for sums in self.hours.iter_mut().chain(&mut self.days).chain([&mut self.level]) {
            sums.decay(DECAY);
        }
        for sums in &mut self.weeks {
            sums.decay(WEEK_DECAY);
        }
    }

    /// Ends a day: its bursts are ordinary from now on.
    pub fn close_day(&mut self) {
        self.peak = (PEAK_DECAY * self.peak).max(std::mem::take(&mut self.today));
    }

    /// What the evidence says, if it passes its gates.
    pub fn signal(&self, now: u32, bucket: u32, threshold: f64) -> Option<VolumeSignal> {
        let age = now.saturating_sub(self.first);
        if age < LEAST_HISTORY {
            return None;
        }
        let a_day = self.a_day(f64::from(DAY / bucket));
        let falls = self.falls.iter().filter(|evidence| {
            f64::from(evidence.strength) >= threshold
                && a_day >= LEAST_A_DAY
                && f64::from(evidence.expected - evidence.seen) >= LEAST_MISSING
                && f64::from(evidence.seen) <= MOST_LEFT * f64::from(evidence.expected)
        });
        let least_factor = if age < 14 * DAY { 8.0 } else { 2.5 };
        let rises = self.rises.iter().filter(|evidence| {
            f64::from(evidence.strength) >= threshold
                && f64::from(evidence.seen - evidence.expected) >= LEAST_EXTRA.max(WORTH * a_day)
                && f64::from(evidence.seen) >= least_factor * f64::from(evidence.expected)
        });
        let pick = |falls: bool, evidence: &Evidence| VolumeSignal { evidence: *evidence, falls };
        falls
            .map(|evidence| pick(true, evidence))
            .chain(rises.map(|evidence| pick(false, evidence)))
            .max_by(|a, b| a.evidence.strength.total_cmp(&b.evidence.strength))
    }
}

/// Mails that an hour of the day, a day of the week and an hour of the week take from "no season".
fn priors(level: f64) -> [f64; 3] {
    [(HOUR_PRIOR * level).min(HOUR_PRIOR_MAILS), DAY_PRIOR * level, WEEK_PRIOR * level]
}

/// What a slot's mail is to what was expected without it, leaning on 1.
fn factor(sums: Option<&Sums>, prior: f64) -> f64 {
    let prior = prior + 1.0;
    sums.map_or(1.0, |sums| (f64::from(sums.events) + prior) / (f64::from(sums.exposure) + prior))
}
