//! How much mail a tenant sends: too little, none, or far too much, against the same hour of its own weeks.
//!
//! Watches the steady stream where there is enough of it: mail without a campaign, and of campaigns that are sent all day long. Others
//! come and go by design, and an untagged burst is what a stolen credential looks like. A drop that all tenants share (a holiday)
//! lowers what is expected.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::baseline::{DOUBTED_WEIGHT, NEW_NORMAL, SUSPECT_WEIGHT, Sums, usize_of};
use crate::evidence::{CAUTION, Evidence, Outcome, Test, narrow, recent_fade};
use crate::scatter::{Dispersion, Drift, Hour};
use crate::silence::SilentHours;

const HOURS_A_WEEK: usize = 168;
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
/// Hours that wait before they are learned, so that an incident is not learned before it is known: most are known by then.
const WAITING: usize = 6;
/// History before falls and rises are told, in minutes.
const LEAST_HISTORY: u32 = 10 * DAY;
/// Below so many mails a day nothing is said about falls.
const LEAST_A_DAY: f64 = 150.0;
/// Buckets of mail that an hour of the day takes from "no season", and mails at most: little, since there are hours without any mail.
const HOUR_PRIOR: f64 = 2.0;
const HOUR_PRIOR_MAILS: f64 = 5.0;
/// And a day of the week, and an hour of the week.
const DAY_PRIOR: f64 = 12.0;
const WEEK_PRIOR: f64 = 4.0;
const WEEK_PRIOR_MAILS: f64 = 10.0;
/// Dispersion of an hour of the day of which nothing is known.
const DISPERSION: Dispersion = Dispersion::new(0.1);
/// Standard deviations by which an hour may be off, and of mail that is made of bursts.
const MARGIN: f64 = 1.5;
const BURSTY_MARGIN: f64 = 2.5;
/// Most that is learned of an hour, in times of what was expected, and mails that are few in any hour.
const MOST_LEARNED: f32 = 3.0;
const FEW: f32 = 30.0;
/// Most that is left of the expected mail in a fall.
const MOST_LEFT: f64 = 0.4;
/// Fewest missing and extra mails, and the part of a usual day's that is worth a word.
const LEAST_MISSING: f64 = 15.0;
const LEAST_EXTRA: f64 = 40.0;
const WORTH: f64 = 0.01;

/// Volume of one series.
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
    /// By hour of the day: who sends a digest each morning scatters more then.
    dispersions: [Dispersion; 24],
    drift: Drift,
    waiting: VecDeque<Waiting>,
    silent_hours: SilentHours,
    recent: Sums,
    /// Evidence of falls, then of rises.
    pub falls: [Evidence; 2],
    /// Evidence of rises.
    pub rises: [Evidence; 2],
    first: u32,
    suspicious_since: u32,
}

/// An hour before it is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Waiting {
    /// Hours since 1970.
    hour: u32,
    buckets: f32,
    counts: Hour,
}

/// Factors of what is expected: of the hour of the day, the day of the week, and the hour of the week.
const FACTORS: usize = 3;

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
    /// Whether all tenants are silent, as they usually are at this time.
    pub all_silent: bool,
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
            dispersions: [DISPERSION; 24],
            drift: Drift::new(0.05),
            waiting: VecDeque::new(),
            silent_hours: SilentHours::default(),
            recent: Sums::default(),
            falls: Default::default(),
            rises: Default::default(),
            first,
            suspicious_since: 0,
        }
    }

    /// Mails expected in a bucket of this minute.
    pub fn expected(&self, minute: u32) -> f64 {
        self.level() * self.factors(minute / 60).iter().product::<f64>()
    }

    fn factors(&self, hour: u32) -> [f64; FACTORS] {
        let level = self.level();
        let [hour, day, week] = slots(hour);
        let of_hour = factor(self.hours.get(hour), (HOUR_PRIOR * level).min(HOUR_PRIOR_MAILS));
        let of_day = factor(self.days.get(day), DAY_PRIOR * level);
        let of_week =
            factor(self.weeks.get(week), (WEEK_PRIOR * level * of_hour * of_day).max(WEEK_PRIOR_MAILS));
        [of_hour, of_day, of_week]
    }

    fn dispersion(&self, hour: u32) -> Dispersion {
        let [hour, ..] = slots(hour);
        self.dispersions.get(hour).copied().unwrap_or(DISPERSION)
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
        let deviations = if around.bursts == Bursts::All { BURSTY_MARGIN } else { MARGIN };
        let margin = (deviations * self.drift.value()).exp();
        let mut test = Test {
            ratio: 1.0,
            dispersion: self.dispersion(now / 60).value(),
            margin: 1.0 / margin,
            threshold,
            fade: recent_fade(bucket),
            caution: CAUTION,
        };
        let is_usual_silence = seen <= 0.0 && (around.all_silent || self.silent_hours.is_usual(now));
        let due = if is_usual_silence { 0.0 } else { low * around.common };
        let outcome = Outcome { seen, expected: due, base: 0.0 };
        for (evidence, ratio) in self.falls.iter_mut().zip(FALLS) {
            test.ratio = ratio;
            evidence.add(&outcome, &test, now);
        }
        test.margin = margin;
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
        let suspected = !is_usual_silence && (alerting || (known && self.strongest() > threshold / 2.0));
        if !suspected {
            self.suspicious_since = 0;
        } else if self.suspicious_since == 0 {
            self.suspicious_since = now;
        }
        let new_normal = suspected && now.saturating_sub(self.suspicious_since) > NEW_NORMAL;
        self.note(seen, here, now, bucket);
        if suspected && !new_normal {
            self.doubt(now, threshold / 2.0);
        }
    }

    fn strongest(&self) -> f64 {
        self.falls.iter().chain(&self.rises).map(|evidence| f64::from(evidence.strength)).fold(0.0, f64::max)
    }

    /// Notes a bucket, to be learned when it has waited.
    fn note(&mut self, seen: f64, expected: f64, now: u32, bucket: u32) {
        let fade = narrow((-f64::from(bucket) / 60.0).exp());
        self.recent.events = self.recent.events * fade + narrow(seen);
        self.recent.exposure = self.recent.exposure * fade + narrow(expected);
        let hour = now / 60;
        if self.waiting.back().is_none_or(|last| last.hour != hour) {
            self.waiting.push_back(Waiting { hour, ..Waiting::default() });
        }
        let dispersion = self.dispersion(hour);
        let Some(last) = self.waiting.back_mut() else { return };
        last.buckets += 1.0;
        last.counts.add(seen, expected, dispersion);
    }

    /// Hours since an excursion of so much evidence began are not learned as usual ones.
    fn doubt(&mut self, now: u32, least: f64) {
        let excursions = self.falls.iter().chain(&self.rises);
        let strong = excursions.filter(|evidence| f64::from(evidence.strength) > least);
        let since = strong.map(|evidence| evidence.since).min().unwrap_or(now);
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.hour >= since / 60) {
            waiting.counts.doubt();
        }
    }

    fn learn(&mut self, waiting: &Waiting) {
        // A doubted hour may be like that each week.
        let (weight, of_week) =
            if waiting.counts.is_doubted() { (narrow(SUSPECT_WEIGHT), DOUBTED_WEIGHT) } else { (1.0, 1.0) };
        let usual = narrow(self.expected(60 * waiting.hour)) * waiting.buckets;
        let most = if self.is_young(60 * waiting.hour) { f32::MAX } else { MOST_LEARNED * usual + FEW };
        let mail = waiting.counts.seen().min(most);
        self.level.events += mail * weight;
        self.level.exposure += waiting.buckets * weight;
        // One after the other: what the hour of the day explains is no matter of the day of the week.
        for (index, weight) in [weight, weight, narrow(of_week)].into_iter().enumerate() {
            let factors = self.factors(waiting.hour);
            let others = factors.iter().enumerate().filter(|(other, _)| *other != index);
            let expected = self.level() * others.map(|(_, factor)| factor).product::<f64>();
            let [hour, day, week] = slots(waiting.hour);
            let sums = match index {
                0 => self.hours.get_mut(hour),
                1 => self.days.get_mut(day),
                _ => self.weeks.get_mut(week),
            };
            if let Some(sums) = sums {
                sums.events += mail * weight;
                sums.exposure += narrow(expected) * waiting.buckets * weight;
            }
        }
        let [hour, ..] = slots(waiting.hour);
        if let Some(dispersion) = self.dispersions.get_mut(hour) {
            dispersion.learn(&waiting.counts, of_week);
        }
        self.drift.learn(&waiting.counts, of_week);
    }

    fn is_young(&self, now: u32) -> bool {
        now.saturating_sub(self.first) < 3 * DAY
    }

    /// Closes an hour: learns those that have waited, and forgets a little.
    pub fn close_hour(&mut self, now: u32) {
        if let Some(last) = self.waiting.back().filter(|last| last.hour + 1 == now / 60) {
            self.silent_hours.close(last.hour, last.counts.seen() <= 0.0);
        }
        // Of a new series nothing is told yet, so it learns at once.
        let most = if self.is_young(now) { 0 } else { WAITING };
        while self.waiting.len() > most {
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.learn(&waiting);
        }
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

/// The hour of the day, the day of the week and the hour of the week.
fn slots(hour: u32) -> [usize; FACTORS] {
    [usize_of(hour % 24), usize_of(hour / 24 % 7), usize_of(hour % 168)]
}

/// What a slot's mail is to what was expected without it, leaning on 1.
fn factor(sums: Option<&Sums>, prior: f64) -> f64 {
    let prior = prior + 1.0;
    sums.map_or(1.0, |sums| (f64::from(sums.events) + prior) / (f64::from(sums.exposure) + prior))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Around =
        Around { common: 1.0, bursts: Bursts::LeftOut, alerting: false, all_silent: false };

    /// Days of mail in buckets of five minutes; the bucket of the first signal.
    fn run(volume: &mut Volume, days: std::ops::Range<u32>, mail: impl Fn(u32) -> f64) -> Option<u32> {
        (days.start * 288..days.end * 288).find(|bucket| {
            let now = bucket * 5;
            if bucket.is_multiple_of(12) {
                volume.close_hour(now);
            }
            if bucket.is_multiple_of(288) {
                volume.close_day();
            }
            volume.step(mail(*bucket), now, 5, 16.0, &AROUND);
            volume.signal(now, 5, 16.0).is_some()
        })
    }

    /// Between 0.75 and 1.25, as hours go: most neighbours are alike.
    fn scatter(bucket: u32) -> f64 {
        1.0 + 0.25 * (f64::from(bucket) / 17.0).sin() * (f64::from(bucket) / 151.0).cos()
    }

    #[test]
    fn what_falls_to_a_quarter_is_found_though_it_is_not_known_at_once() {
        let mut volume = Volume::new(0);
        assert_eq!(run(&mut volume, 0..21, |bucket| 40.0 * scatter(bucket)), None);
        let found = run(&mut volume, 21..22, |bucket| 10.0 * scatter(bucket));
        assert!(found.is_some_and(|bucket| bucket < 21 * 288 + 24), "{found:?}");
    }

    #[test]
    fn hours_that_never_have_mail_do_not_miss_any() {
        for a_bucket in [20.0, 200.0, 2000.0] {
            let mail = |bucket| if bucket % 288 < 24 { a_bucket * scatter(bucket) } else { 0.0 };
            let found = run(&mut Volume::new(0), 0..42, mail);
            assert_eq!(found, None, "{a_bucket} mails a bucket for two hours a day");
        }
    }

    #[test]
    fn hours_of_an_incident_are_not_learned_as_usual_ones() {
        let mut volume = Volume::new(0);
        run(&mut volume, 0..21, |bucket| 40.0 * scatter(bucket));
        let before = volume.expected(21 * 1440 + 720);
        for bucket in 21 * 288..21 * 288 + 120 {
            if bucket % 12 == 0 {
                volume.close_hour(bucket * 5);
            }
            volume.step(4.0, bucket * 5, 5, 16.0, &AROUND);
        }
        let after = volume.expected(21 * 1440 + 720);
        assert!((after / before - 1.0).abs() < 0.05, "{before} {after}");
    }

    #[test]
    fn a_digest_each_morning_is_no_rise() {
        let mut volume = Volume::new(0);
        let digest = |bucket: u32| if (100..103).contains(&(bucket % 288)) { 2000.0 } else { 5.0 };
        assert_eq!(run(&mut volume, 0..28, |bucket| digest(bucket) * scatter(bucket)), None);
    }
}
