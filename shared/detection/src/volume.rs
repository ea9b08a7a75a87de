//! How much mail a tenant sends: too little, none, or far too much, against the same hour of its own weeks.
//!
//! Watches the steady stream where there is enough of it: mail without a campaign, and of campaigns that are sent all day long. Others
//! come and go by design, and an untagged burst is what a stolen credential looks like. A drop that all tenants share (a holiday)
//! lowers what is expected.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::baseline::{DOUBTED_WEIGHT, EventSums, NEW_NORMAL, SUSPECT_WEIGHT, to_index};
use crate::cusum::{CAUTION, Cusum, CusumTest, Observation, recent_fade, to_f32};
use crate::dispersion::{Dispersion, HourStatistics, HourlyDeviation};
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

/// VolumeMonitor of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeMonitor {
    level: EventSums,
    hours: [EventSums; 24],
    days: [EventSums; 7],
    #[serde(with = "week")]
    weeks: [EventSums; HOURS_A_WEEK],
    /// The highest bucket of this day, and of the days before, decayed: what its bursts reach.
    today: f32,
    peak: f32,
    /// By hour of the day: who sends a digest each morning scatters more then.
    dispersions: [Dispersion; 24],
    hourly_deviation: HourlyDeviation,
    waiting: VecDeque<Waiting>,
    silent_hours: SilentHours,
    recent: EventSums,
    /// Cusum of falls, then of rises.
    pub falls: [Cusum; 2],
    /// Cusum of rises.
    pub rises: [Cusum; 2],
    first: u32,
    suspicious_since: u32,
}

/// An hour before it is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Waiting {
    /// Hours since 1970.
    hour: u32,
    buckets: f32,
    counts: HourStatistics,
}

/// Factors of what is expected: of the hour of the day, the day of the week, and the hour of the week.
const FACTORS: usize = 3;

/// Arrays longer than 32 are not known to serde.
mod week {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{EventSums, HOURS_A_WEEK};

    pub(super) fn serialize<S: Serializer>(
        slots: &[EventSums; HOURS_A_WEEK],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        slots.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[EventSums; HOURS_A_WEEK], D::Error> {
        let slots = Vec::<EventSums>::deserialize(deserializer)?;
        slots.try_into().map_err(|_| serde::de::Error::custom("a week has 168 hours"))
    }
}

/// What the campaigns that come and go mean for a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurstHandling {
    /// They are not told apart from other mail: what the largest of the days before reached is ordinary.
    Unknown,
    /// They are left out, so a burst is none of them.
    Excluded,
    /// The series is made of them: a burst is nothing to tell.
    Dominant,
}

/// What is known around a series.
#[derive(Clone, Copy, Debug)]
pub struct VolumeContext {
    /// The drop that all tenants share, 1 for none.
    pub common: f64,
    /// What is known of campaigns.
    pub bursts: BurstHandling,
    /// Whether its alert is open.
    pub is_alert_open: bool,
    /// Whether all tenants are silent, as they usually are at this time.
    pub all_silent: bool,
}

/// What the evidence says, after its gates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VolumeSignal {
    /// The excursion behind it.
    pub cusum: Cusum,
    /// Whether mail is missing.
    pub falls: bool,
}

impl VolumeMonitor {
    /// A series first seen in this minute.
    pub fn new(first: u32) -> Self {
        Self {
            level: EventSums::default(),
            hours: [EventSums::default(); 24],
            days: [EventSums::default(); 7],
            weeks: [EventSums::default(); HOURS_A_WEEK],
            today: 0.0,
            peak: 0.0,
            dispersions: [DISPERSION; 24],
            hourly_deviation: HourlyDeviation::new(0.05),
            waiting: VecDeque::new(),
            silent_hours: SilentHours::default(),
            recent: EventSums::default(),
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
    pub fn step(
        &mut self,
        observed: f64,
        now: u32,
        bucket: u32,
        threshold: f64,
        volume_context: &VolumeContext,
    ) {
        let here = self.expected(now);
        let (before, after) = (self.expected(now.saturating_sub(60)), self.expected(now + 60));
        let (low, high) = (here.min(before).min(after), here.max(before).max(after));
        let deviations =
            if volume_context.bursts == BurstHandling::Dominant { BURSTY_MARGIN } else { MARGIN };
        let margin = (deviations * self.hourly_deviation.value()).exp();
        let mut test = CusumTest {
            ratio: 1.0,
            dispersion: self.dispersion(now / 60).value(),
            margin: 1.0 / margin,
            threshold,
            fade: recent_fade(bucket),
            caution: CAUTION,
        };
        let is_usual_silence =
            observed <= 0.0 && (volume_context.all_silent || self.silent_hours.is_usual(now));
        let due = if is_usual_silence { 0.0 } else { low * volume_context.common };
        let observation = Observation { observed, expected: due, denominator: 0.0 };
        for (cusum, ratio) in self.falls.iter_mut().zip(FALLS) {
            test.ratio = ratio;
            cusum.add(&observation, &test, now);
        }
        test.margin = margin;
        let high = match volume_context.bursts {
            BurstHandling::Excluded => Some(high),
            BurstHandling::Unknown => Some(high.max(f64::from(self.peak))),
            BurstHandling::Dominant => None,
        };
        if let Some(expected) = high {
            let observation = Observation { observed, expected, denominator: 0.0 };
            for (cusum, ratio) in self.rises.iter_mut().zip(RISES) {
                test.ratio = ratio;
                cusum.add(&observation, &test, now);
            }
        } else {
            self.rises = Default::default();
        }
        self.today = self.today.max(to_f32(observed));
        let is_alert_open = volume_context.is_alert_open;
        // In the first week the hours of the night are as much of a surprise as those of the day.
        let known = now.saturating_sub(self.first) >= 7 * DAY;
        let suspected = !is_usual_silence && (is_alert_open || (known && self.strongest() > threshold / 2.0));
        if !suspected {
            self.suspicious_since = 0;
        } else if self.suspicious_since == 0 {
            self.suspicious_since = now;
        }
        let new_normal = suspected && now.saturating_sub(self.suspicious_since) > NEW_NORMAL;
        self.note(observed, here, now, bucket);
        if suspected && !new_normal {
            self.doubt(now, threshold / 2.0);
        }
    }

    fn strongest(&self) -> f64 {
        self.falls.iter().chain(&self.rises).map(|cusum| f64::from(cusum.score)).fold(0.0, f64::max)
    }

    /// Notes a bucket, to be learned when it has waited.
    fn note(&mut self, observed: f64, expected: f64, now: u32, bucket: u32) {
        let fade = to_f32((-f64::from(bucket) / 60.0).exp());
        self.recent.events = self.recent.events * fade + to_f32(observed);
        self.recent.exposure = self.recent.exposure * fade + to_f32(expected);
        let hour = now / 60;
        if self.waiting.back().is_none_or(|last| last.hour != hour) {
            self.waiting.push_back(Waiting { hour, ..Waiting::default() });
        }
        let dispersion = self.dispersion(hour);
        let Some(last) = self.waiting.back_mut() else { return };
        last.buckets += 1.0;
        last.counts.add(observed, expected, dispersion);
    }

    /// Hours since an excursion of so much evidence began are not learned as usual ones.
    fn doubt(&mut self, now: u32, least: f64) {
        let excursions = self.falls.iter().chain(&self.rises);
        let strong = excursions.filter(|cusum| f64::from(cusum.score) > least);
        let since = strong.map(|cusum| cusum.since).min().unwrap_or(now);
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.hour >= since / 60) {
            waiting.counts.doubt();
        }
    }

    fn learn(&mut self, waiting: &Waiting) {
        // A doubted hour may be like that each week.
        let (weight, of_week) =
            if waiting.counts.is_doubted() { (to_f32(SUSPECT_WEIGHT), DOUBTED_WEIGHT) } else { (1.0, 1.0) };
        let usual = to_f32(self.expected(60 * waiting.hour)) * waiting.buckets;
        let most = if self.is_young(60 * waiting.hour) { f32::MAX } else { MOST_LEARNED * usual + FEW };
        let mail = waiting.counts.observed().min(most);
        self.level.events += mail * weight;
        self.level.exposure += waiting.buckets * weight;
        // One after the other: what the hour of the day explains is no matter of the day of the week.
        for (index, weight) in [weight, weight, to_f32(of_week)].into_iter().enumerate() {
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
                sums.exposure += to_f32(expected) * waiting.buckets * weight;
            }
        }
        let [hour, ..] = slots(waiting.hour);
        if let Some(dispersion) = self.dispersions.get_mut(hour) {
            dispersion.learn(&waiting.counts, of_week);
        }
        self.hourly_deviation.learn(&waiting.counts, of_week);
    }

    fn is_young(&self, now: u32) -> bool {
        now.saturating_sub(self.first) < 3 * DAY
    }

    /// Closes an hour: learns those that have waited, and forgets a little.
    pub fn close_hour(&mut self, now: u32) {
        if let Some(last) = self.waiting.back().filter(|last| last.hour + 1 == now / 60) {
            self.silent_hours.close(last.hour, last.counts.observed() <= 0.0);
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
        let falls = self.falls.iter().filter(|cusum| {
            f64::from(cusum.score) >= threshold
                && a_day >= LEAST_A_DAY
                && f64::from(cusum.expected - cusum.observed) >= LEAST_MISSING
                && f64::from(cusum.observed) <= MOST_LEFT * f64::from(cusum.expected)
        });
        let least_factor = if age < 14 * DAY { 8.0 } else { 2.5 };
        let rises = self.rises.iter().filter(|cusum| {
            f64::from(cusum.score) >= threshold
                && f64::from(cusum.observed - cusum.expected) >= LEAST_EXTRA.max(WORTH * a_day)
                && f64::from(cusum.observed) >= least_factor * f64::from(cusum.expected)
        });
        let pick = |falls: bool, cusum: &Cusum| VolumeSignal { cusum: *cusum, falls };
        falls
            .map(|cusum| pick(true, cusum))
            .chain(rises.map(|cusum| pick(false, cusum)))
            .max_by(|a, b| a.cusum.score.total_cmp(&b.cusum.score))
    }
}

/// The hour of the day, the day of the week and the hour of the week.
fn slots(hour: u32) -> [usize; FACTORS] {
    [to_index(hour % 24), to_index(hour / 24 % 7), to_index(hour % 168)]
}

/// What a slot's mail is to what was expected without it, leaning on 1.
fn factor(sums: Option<&EventSums>, prior: f64) -> f64 {
    let prior = prior + 1.0;
    sums.map_or(1.0, |sums| (f64::from(sums.events) + prior) / (f64::from(sums.exposure) + prior))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME_CONTEXT: VolumeContext = VolumeContext {
        common: 1.0,
        bursts: BurstHandling::Excluded,
        is_alert_open: false,
        all_silent: false,
    };

    /// Days of mail in buckets of five minutes; the bucket of the first signal.
    fn run(volume: &mut VolumeMonitor, days: std::ops::Range<u32>, mail: impl Fn(u32) -> f64) -> Option<u32> {
        (days.start * 288..days.end * 288).find(|bucket| {
            let now = bucket * 5;
            if bucket.is_multiple_of(12) {
                volume.close_hour(now);
            }
            if bucket.is_multiple_of(288) {
                volume.close_day();
            }
            volume.step(mail(*bucket), now, 5, 16.0, &VOLUME_CONTEXT);
            volume.signal(now, 5, 16.0).is_some()
        })
    }

    /// Between 0.75 and 1.25, as hours go: most neighbours are alike.
    fn scatter(bucket: u32) -> f64 {
        1.0 + 0.25 * (f64::from(bucket) / 17.0).sin() * (f64::from(bucket) / 151.0).cos()
    }

    #[test]
    fn what_falls_to_a_quarter_is_found_though_it_is_not_known_at_once() {
        let mut volume = VolumeMonitor::new(0);
        assert_eq!(run(&mut volume, 0..21, |bucket| 40.0 * scatter(bucket)), None);
        let found = run(&mut volume, 21..22, |bucket| 10.0 * scatter(bucket));
        assert!(found.is_some_and(|bucket| bucket < 21 * 288 + 24), "{found:?}");
    }

    #[test]
    fn hours_that_never_have_mail_do_not_miss_any() {
        for a_bucket in [20.0, 200.0, 2000.0] {
            let mail = |bucket| if bucket % 288 < 24 { a_bucket * scatter(bucket) } else { 0.0 };
            let found = run(&mut VolumeMonitor::new(0), 0..42, mail);
            assert_eq!(found, None, "{a_bucket} mails a bucket for two hours a day");
        }
    }

    #[test]
    fn hours_of_an_incident_are_not_learned_as_usual_ones() {
        let mut volume = VolumeMonitor::new(0);
        run(&mut volume, 0..21, |bucket| 40.0 * scatter(bucket));
        let before = volume.expected(21 * 1440 + 720);
        for bucket in 21 * 288..21 * 288 + 120 {
            if bucket % 12 == 0 {
                volume.close_hour(bucket * 5);
            }
            volume.step(4.0, bucket * 5, 5, 16.0, &VOLUME_CONTEXT);
        }
        let after = volume.expected(21 * 1440 + 720);
        assert!((after / before - 1.0).abs() < 0.05, "{before} {after}");
    }

    #[test]
    fn a_digest_each_morning_is_no_rise() {
        let mut volume = VolumeMonitor::new(0);
        let digest = |bucket: u32| if (100..103).contains(&(bucket % 288)) { 2000.0 } else { 5.0 };
        assert_eq!(run(&mut volume, 0..28, |bucket| digest(bucket) * scatter(bucket)), None);
    }
}
