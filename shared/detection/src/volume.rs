//! Monitors how much mail a tenant sends, compared with the same hour of its own past weeks: too little, none, or far too much.
//!
//! It monitors the steady mail where there is enough of it: mail without a campaign, and of campaigns that are sent all day long. Other
//! campaigns come and go by design, while an untagged burst is what a stolen credential looks like. A drop that all tenants share (a
//! holiday) lowers what is expected. It must not learn an incident before the incident is known, so hours wait before they are learned.

use std::collections::VecDeque;

use event::{Hour, Minute};
use serde::{Deserialize, Serialize};

use crate::baseline::{EventSums, SUSPECTED_HOUR_WEIGHT, SUSPECTED_WEIGHT, Suspicion};
use crate::cusum::{CAUTION, Cusum, CusumTest, Observation, recent_decay, to_f32};
use crate::dispersion::{Dispersion, HourStatistics, HourlyDeviation};
use crate::minutes::{
    self, HOURS_PER_DAY, MINUTES_PER_DAY, MINUTES_PER_HOUR, MINUTES_PER_WEEK, minus, minutes_between, plus,
};
use crate::ring::Ring;
use crate::series_monitor::BucketContext;
use crate::silence::SilentHours;

/// A small and a large fall, and a small and a large rise, that are tested for; factors of the expected mail.
const FALLS: [f64; 2] = [0.42, 0.04];
const RISES: [f64; 2] = [2.5, 8.0];
/// Hourly decay of the level and of hours of the day and days of the week: half-life 14 days.
const DECAY: f32 = 0.997_939;
/// Hourly decay of hours of the week: 0.7 per week.
const WEEK_DECAY: f32 = 0.997_879;
/// Daily decay of the highest bucket: half-life ten weeks.
const PEAK_DECAY: f32 = 0.990_147;
/// Hours wait this long before they are learned, so that an incident is not learned before it is known; most are known by then.
const LEARNING_DELAY_HOURS: usize = 6;
/// From this age on volume is reported, in minutes.
const MIN_HISTORY_MINUTES: u32 = 10 * MINUTES_PER_DAY;
/// Up to this age a rise must be as large as [`MIN_FACTOR_YOUNG`], later as [`MIN_FACTOR`].
const YOUNG_MINUTES: u32 = 14 * MINUTES_PER_DAY;
const MIN_FACTOR_YOUNG: f64 = 8.0;
const MIN_FACTOR: f64 = 2.5;
/// Up to this age a series learns at once and without bounds, since nothing is reported about it yet.
const NEW_MINUTES: u32 = 3 * MINUTES_PER_DAY;
/// Falls are reported of tenants that send at least this much per day.
const MIN_DAILY_MAIL: f64 = 150.0;
/// The mail that the assumption of no season is worth, for an hour of the day: this many buckets of usual mail, and at most this many
/// messages. Little, because there are hours without any mail.
const HOUR_PRIOR_BUCKETS: f64 = 2.0;
const HOUR_PRIOR_MAX_MAIL: f64 = 5.0;
/// The same for a day of the week, and for an hour of the week, which is worth at least this many messages.
const DAY_PRIOR_BUCKETS: f64 = 12.0;
const WEEK_PRIOR_BUCKETS: f64 = 4.0;
const WEEK_PRIOR_MIN_MAIL: f64 = 10.0;
/// The dispersion that is assumed for an hour of the day.
const ASSUMED_DISPERSION: Dispersion = Dispersion::assumed(0.1);
/// Standard deviations by which an hour may be off; more where mail consists of bursts.
const MARGIN_DEVIATIONS: f64 = 1.5;
const BURSTY_MARGIN_DEVIATIONS: f64 = 2.5;
/// An hour is learned up to this many times its expectation plus [`LEARNED_EXTRA`] messages.
const LEARNED_FACTOR: f32 = 3.0;
const LEARNED_EXTRA: f32 = 30.0;
/// A fall leaves at most this share of the expected mail.
const MAX_SHARE_LEFT: f64 = 0.4;
/// Fewest missing and extra messages that are reported; extra ones must also be this share of a usual day.
const MIN_MISSING: f64 = 15.0;
const MIN_EXTRA: f64 = 40.0;
const MIN_EXTRA_SHARE: f64 = 0.01;
/// Fewest expected messages for which the ratio of recent mail is used.
const MIN_RECENT_EXPECTED: f64 = 20.0;

/// The volume of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeMonitor {
    /// Messages, and buckets as their exposure.
    level: EventSums,
    hours_of_day: Ring<EventSums, 24>,
    days_of_week: Ring<EventSums, 7>,
    hours_of_week: Ring<EventSums, 168>,
    /// The highest bucket of this day, and that of the days before, decayed: what bursts reach.
    highest_today: f32,
    peak: f32,
    /// By hour of the day: a tenant that sends a digest each morning varies more at that time.
    dispersions: Ring<Dispersion, 24>,
    hourly_deviation: HourlyDeviation,
    pending: VecDeque<PendingHour>,
    silent_hours: SilentHours,
    /// Messages of about the last hour, and what was expected as their exposure.
    recent: EventSums,
    /// Scores of a small and of a large fall.
    pub falls: [Cusum; 2],
    /// Scores of a small and of a large rise.
    pub rises: [Cusum; 2],
    #[serde(with = "minutes::stored")]
    first: Minute,
    suspicion: Suspicion,
}

/// An hour that waits to be learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PendingHour {
    hour: u32,
    buckets: f32,
    statistics: HourStatistics,
}

/// How bursts of mail, as of campaigns that come and go, appear in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurstHandling {
    /// Bursts cannot be distinguished from other mail, so what the largest of earlier days reached is ordinary.
    Unknown,
    /// Campaigns are left out of the series, so a burst in it is unusual.
    Excluded,
    /// The series consists of bursts, so a burst is never reported.
    Dominant,
}

/// What is known about a series from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct VolumeContext {
    /// The factor by which the mail of most tenants has dropped; 1 for no drop.
    pub common_drop: f64,
    /// How bursts appear in the series.
    pub bursts: BurstHandling,
    /// Whether an alert on the volume is open.
    pub is_alert_open: bool,
    /// Whether all tenants are silent, as they usually are at this time.
    pub all_usually_silent: bool,
}

/// A fall or rise that is large enough to be reported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VolumeSignal {
    pub cusum: Cusum,
    /// Whether mail is missing; else there is too much.
    pub is_fall: bool,
}

/// The seasonal factors of an hour, which multiply.
struct VolumeFactors {
    hour_of_day: f64,
    day_of_week: f64,
    hour_of_week: f64,
}

impl VolumeMonitor {
    /// A series that was first counted in the minute `first`.
    pub fn new(first: Minute) -> Self {
        Self {
            level: EventSums::default(),
            hours_of_day: Ring::filled(EventSums::default()),
            days_of_week: Ring::filled(EventSums::default()),
            hours_of_week: Ring::filled(EventSums::default()),
            highest_today: 0.0,
            peak: 0.0,
            dispersions: Ring::filled(ASSUMED_DISPERSION),
            hourly_deviation: HourlyDeviation::assumed(0.05),
            pending: VecDeque::new(),
            silent_hours: SilentHours::default(),
            recent: EventSums::default(),
            falls: Default::default(),
            rises: Default::default(),
            first,
            suspicion: Suspicion::default(),
        }
    }

    /// Messages expected in a bucket that begins at `minute`.
    pub fn expected(&self, minute: Minute) -> f64 {
        self.expected_in_bucket_of(minute.hour())
    }

    fn expected_in_bucket_of(&self, hour: Hour) -> f64 {
        // Factors multiply, so an hour of the week that has not been observed yet is expected from its day and hour.
        let VolumeFactors { hour_of_day, day_of_week, hour_of_week } = self.factors(hour);
        self.level() * (hour_of_day * day_of_week * hour_of_week)
    }

    fn factors(&self, hour: Hour) -> VolumeFactors {
        let level = self.level();
        let hour_of_day =
            factor(*self.hours_of_day.at(hour.0), (HOUR_PRIOR_BUCKETS * level).min(HOUR_PRIOR_MAX_MAIL));
        let day_of_week = factor(*self.days_of_week.at(hour.0 / HOURS_PER_DAY), DAY_PRIOR_BUCKETS * level);
        let hour_of_week = factor(
            *self.hours_of_week.at(hour.0),
            (WEEK_PRIOR_BUCKETS * level * hour_of_day * day_of_week).max(WEEK_PRIOR_MIN_MAIL),
        );
        VolumeFactors { hour_of_day, day_of_week, hour_of_week }
    }

    /// Messages of a usual bucket.
    fn level(&self) -> f64 {
        f64::from(self.level.events) / f64::from(self.level.exposure).max(1.0)
    }

    /// Messages of a usual day.
    pub(crate) fn messages_per_day(&self, buckets_per_day: f64) -> f64 {
        self.level() * buckets_per_day
    }

    /// Recent mail over what was expected; none before there is enough history and mail.
    pub fn recent_ratio(&self, now: Minute) -> Option<f64> {
        let expected = f64::from(self.recent.exposure);
        (self.age_minutes(now) >= MIN_HISTORY_MINUTES && expected > MIN_RECENT_EXPECTED)
            .then(|| f64::from(self.recent.events) / expected)
    }

    fn age_minutes(&self, now: Minute) -> u32 {
        minutes_between(self.first, now)
    }

    /// Adds a bucket with `observed` messages.
    pub fn add(&mut self, observed: f64, context: &BucketContext<'_>, volume_context: &VolumeContext) {
        let (now, threshold) = (context.now, context.threshold);
        let expected = self.expected(now);
        // The volume learns little from suspected hours, so it cannot learn by itself that an hour is silent.
        let is_usual_silence =
            observed <= 0.0 && (volume_context.all_usually_silent || self.silent_hours.is_usual(now.hour()));
        self.score_changes(observed, is_usual_silence, context, volume_context);
        self.highest_today = self.highest_today.max(to_f32(observed));
        // In the first week the nights are not learned yet. If their silence were suspected, they never would be.
        let knows_a_week = self.age_minutes(now) >= MINUTES_PER_WEEK;
        let is_suspected = !is_usual_silence
            && (volume_context.is_alert_open || (knows_a_week && self.highest_score() > threshold / 2.0));
        let learns_slowly = self.suspicion.update(is_suspected, now);
        self.note(observed, expected, now, context.bucket_minutes);
        if learns_slowly {
            self.suspect_hours(now, threshold / 2.0);
        }
    }

    fn score_changes(
        &mut self,
        observed: f64,
        is_usual_silence: bool,
        context: &BucketContext<'_>,
        volume_context: &VolumeContext,
    ) {
        let now = context.now;
        // Mail that comes an hour early or late is no change, so the neighbouring hours are expected as well.
        let [before, here, after] = [minus(now, MINUTES_PER_HOUR), now, plus(now, MINUTES_PER_HOUR)]
            .map(|minute| self.expected(minute));
        let (low, high) = (here.min(before).min(after), here.max(before).max(after));
        let deviations = if volume_context.bursts == BurstHandling::Dominant {
            BURSTY_MARGIN_DEVIATIONS
        } else {
            MARGIN_DEVIATIONS
        };
        // An hour that is off by as much as hours usually are gives no evidence.
        let margin = (deviations * self.hourly_deviation.standard_deviation()).exp();
        let mut test = CusumTest {
            ratio: 1.0,
            dispersion: self.dispersions.at(now.hour().0).value(),
            margin: 1.0 / margin,
            threshold: context.threshold,
            recent_decay: recent_decay(context.bucket_minutes),
            caution: CAUTION,
        };
        let expected = if is_usual_silence { 0.0 } else { low * volume_context.common_drop };
        let observation = Observation { observed, expected, denominator: 0.0 };
        // Two sizes of change: a test for a small fall is slow to find a total one, and the reverse never finds a small one.
        for (cusum, ratio) in self.falls.iter_mut().zip(FALLS) {
            test.ratio = ratio;
            cusum.add(&observation, &test, now);
        }
        test.margin = margin;
        let expected = match volume_context.bursts {
            BurstHandling::Excluded => high,
            BurstHandling::Unknown => high.max(f64::from(self.peak)),
            BurstHandling::Dominant => {
                self.rises = Default::default();
                return;
            }
        };
        let observation = Observation { observed, expected, denominator: 0.0 };
        for (cusum, ratio) in self.rises.iter_mut().zip(RISES) {
            test.ratio = ratio;
            cusum.add(&observation, &test, now);
        }
    }

    fn highest_score(&self) -> f64 {
        self.falls.iter().chain(&self.rises).map(|cusum| f64::from(cusum.score)).fold(0.0, f64::max)
    }

    /// Notes a bucket, which is learned with its hour.
    fn note(&mut self, observed: f64, expected: f64, now: Minute, bucket_minutes: u32) {
        let keep = to_f32((-f64::from(bucket_minutes) / f64::from(MINUTES_PER_HOUR)).exp());
        self.recent.decay(keep);
        self.recent.add(observed, expected);
        let Hour(hour) = now.hour();
        let dispersion = *self.dispersions.at(hour);
        let mut pending = match self.pending.pop_back() {
            Some(last) if last.hour == hour => last,
            other => {
                self.pending.extend(other);
                PendingHour { hour, ..PendingHour::default() }
            }
        };
        pending.buckets += 1.0;
        pending.statistics.add(observed, expected, dispersion);
        self.pending.push_back(pending);
    }

    /// Marks the pending hours since the oldest excursion with a score above `min_score` began: they are not learned as usual ones.
    fn suspect_hours(&mut self, now: Minute, min_score: f64) {
        let cusums = self.falls.iter().chain(&self.rises);
        let high = cusums.filter(|cusum| f64::from(cusum.score) > min_score);
        // Without such an excursion it is an open alert that makes this hour suspected.
        let since = high.filter_map(Cusum::since).min().unwrap_or(now);
        for pending in self.pending.iter_mut().filter(|pending| pending.hour >= since.hour().0) {
            pending.statistics.suspect();
        }
    }

    fn learn(&mut self, pending: &PendingHour) {
        // A suspected hour of the week may be like that each week, so it is learned faster than the level.
        let (weight, week_weight) = if pending.statistics.is_suspected() {
            (to_f32(SUSPECTED_WEIGHT), SUSPECTED_HOUR_WEIGHT)
        } else {
            (1.0, 1.0)
        };
        let hour = Hour(pending.hour);
        let usual = to_f32(self.expected_in_bucket_of(hour)) * pending.buckets;
        // One extreme hour must not become what is expected of its weekday.
        let most =
            if self.is_new(hour.first_minute()) { f32::MAX } else { LEARNED_FACTOR * usual + LEARNED_EXTRA };
        let mail = pending.statistics.observed().min(most);
        self.level.events += mail * weight;
        self.level.exposure += pending.buckets * weight;
        let level = self.level();
        let learn = |sums: &mut EventSums, expected: f64, weight: f32| {
            sums.events += mail * weight;
            sums.exposure += to_f32(expected) * pending.buckets * weight;
        };
        // One after the other: what the hour of the day explains is not attributed to the day of the week again.
        let factors = self.factors(hour);
        let expected = level * (factors.day_of_week * factors.hour_of_week);
        learn(self.hours_of_day.at_mut(hour.0), expected, weight);
        let factors = self.factors(hour);
        let expected = level * (factors.hour_of_day * factors.hour_of_week);
        learn(self.days_of_week.at_mut(hour.0 / HOURS_PER_DAY), expected, weight);
        let factors = self.factors(hour);
        let expected = level * (factors.hour_of_day * factors.day_of_week);
        learn(self.hours_of_week.at_mut(hour.0), expected, to_f32(week_weight));
        self.dispersions.at_mut(hour.0).learn(&pending.statistics, week_weight);
        self.hourly_deviation.learn(&pending.statistics, week_weight);
    }

    fn is_new(&self, now: Minute) -> bool {
        self.age_minutes(now) < NEW_MINUTES
    }

    /// Closes the hour before `now`: learns the hours that have waited long enough, and decays what was learned.
    pub fn close_hour(&mut self, now: Minute) {
        if let Some(last) = self.pending.back().filter(|last| last.hour + 1 == now.hour().0) {
            self.silent_hours.close(Hour(last.hour), last.statistics.observed() <= 0.0);
        }
        // Learned at once, an incident would lower what is expected within the hour, before it is found.
        let waiting = if self.is_new(now) { 0 } else { LEARNING_DELAY_HOURS };
        while self.pending.len() > waiting {
            let Some(pending) = self.pending.pop_front() else { break };
            self.learn(&pending);
        }
        for sums in self.hours_of_day.iter_mut().chain(self.days_of_week.iter_mut()).chain([&mut self.level])
        {
            sums.decay(DECAY);
        }
        for sums in self.hours_of_week.iter_mut() {
            sums.decay(WEEK_DECAY);
        }
    }

    /// Ends a day: what its bursts reached is ordinary from now on.
    pub fn close_day(&mut self) {
        self.peak = (PEAK_DECAY * self.peak).max(std::mem::take(&mut self.highest_today));
    }

    /// The fall or rise with the highest score that reaches `threshold` and is large enough to be reported.
    pub fn signal(&self, now: Minute, bucket_minutes: u32, threshold: f64) -> Option<VolumeSignal> {
        let age = self.age_minutes(now);
        if age < MIN_HISTORY_MINUTES {
            return None;
        }
        let per_day = self.messages_per_day(f64::from(MINUTES_PER_DAY / bucket_minutes));
        // A score alone is not enough: a large sender reaches the threshold with a change that is too small to act on.
        let falls = self.falls.iter().filter(|cusum| {
            f64::from(cusum.score) >= threshold
                && per_day >= MIN_DAILY_MAIL
                && f64::from(cusum.expected - cusum.observed) >= MIN_MISSING
                && f64::from(cusum.observed) <= MAX_SHARE_LEFT * f64::from(cusum.expected)
        });
        // A young series has met few bursts, so only a very large rise is unusual.
        let min_factor = if age < YOUNG_MINUTES { MIN_FACTOR_YOUNG } else { MIN_FACTOR };
        let rises = self.rises.iter().filter(|cusum| {
            f64::from(cusum.score) >= threshold
                && f64::from(cusum.observed - cusum.expected) >= MIN_EXTRA.max(MIN_EXTRA_SHARE * per_day)
                && f64::from(cusum.observed) >= min_factor * f64::from(cusum.expected)
        });
        let signal = |is_fall: bool| move |cusum: &Cusum| VolumeSignal { cusum: *cusum, is_fall };
        falls
            .map(signal(true))
            .chain(rises.map(signal(false)))
            .max_by(|a, b| a.cusum.score.total_cmp(&b.cusum.score))
    }
}

/// A slot's mail over what was expected without its factor, with "no season" as a prior worth `prior_mail` messages.
fn factor(sums: EventSums, prior_mail: f64) -> f64 {
    // One more, so that a tenant without any mail has a factor too.
    let prior = prior_mail + 1.0;
    (f64::from(sums.events) + prior) / (f64::from(sums.exposure) + prior)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome_delay::{DecayFactors, DelayKernel};
    use crate::per_rate::PerRate;

    const CALM: VolumeContext = VolumeContext {
        common_drop: 1.0,
        bursts: BurstHandling::Excluded,
        is_alert_open: false,
        all_usually_silent: false,
    };

    /// Adds a bucket of five minutes.
    fn add(volume: &mut VolumeMonitor, observed: f64, now: Minute, volume_context: &VolumeContext) {
        let kernels = PerRate::from_fn(|_| DelayKernel::assumed([1.0, 0.0, 0.0, 0.0, 0.0]));
        let decay = DecayFactors::new(5);
        let context =
            BucketContext { now, bucket_minutes: 5, threshold: 16.0, kernels: &kernels, decay: &decay };
        volume.add(observed, &context, volume_context);
    }

    /// Adds days of mail in buckets of five minutes; returns the bucket of the first signal.
    fn run(volume: &mut VolumeMonitor, days: std::ops::Range<u32>, mail: impl Fn(u32) -> f64) -> Option<u32> {
        (days.start * 288..days.end * 288).find(|bucket| {
            let now = Minute(bucket * 5);
            if bucket.is_multiple_of(12) {
                volume.close_hour(now);
            }
            if bucket.is_multiple_of(288) {
                volume.close_day();
            }
            add(volume, mail(*bucket), now, &CALM);
            volume.signal(now, 5, 16.0).is_some()
        })
    }

    /// Between 0.75 and 1.25, and similar in neighbouring hours.
    fn scatter(bucket: u32) -> f64 {
        1.0 + 0.25 * (f64::from(bucket) / 17.0).sin() * (f64::from(bucket) / 151.0).cos()
    }

    #[test]
    fn fall_to_a_quarter_is_found_before_its_hours_are_learned() {
        let mut volume = VolumeMonitor::new(Minute(0));
        assert_eq!(run(&mut volume, 0..21, |bucket| 40.0 * scatter(bucket)), None);
        let found = run(&mut volume, 21..22, |bucket| 10.0 * scatter(bucket));
        assert!(found.is_some_and(|bucket| bucket < 21 * 288 + 24), "{found:?}");
        let signal = volume.signal(Minute(21 * 1440 + 120), 5, 16.0);
        assert!(signal.is_some_and(|signal| signal.is_fall), "{signal:?}");
    }

    #[test]
    fn hours_that_never_have_mail_raise_no_fall() {
        for per_bucket in [20.0, 200.0, 2000.0] {
            let mail = |bucket| if bucket % 288 < 24 { per_bucket * scatter(bucket) } else { 0.0 };
            let found = run(&mut VolumeMonitor::new(Minute(0)), 0..42, mail);
            assert_eq!(found, None, "{per_bucket} messages per bucket for two hours a day");
        }
    }

    #[test]
    fn hours_of_an_incident_are_not_learned_as_usual_ones() {
        let mut volume = VolumeMonitor::new(Minute(0));
        run(&mut volume, 0..21, |bucket| 40.0 * scatter(bucket));
        let noon = Minute(21 * 1440 + 720);
        let before = volume.expected(noon);
        for bucket in 21 * 288..21 * 288 + 120 {
            if bucket % 12 == 0 {
                volume.close_hour(Minute(bucket * 5));
            }
            add(&mut volume, 4.0, Minute(bucket * 5), &CALM);
        }
        let after = volume.expected(noon);
        assert!((after / before - 1.0).abs() < 0.05, "{before} {after}");
    }

    #[test]
    fn daily_digest_raises_no_rise() {
        let mut volume = VolumeMonitor::new(Minute(0));
        let digest = |bucket: u32| if (100..103).contains(&(bucket % 288)) { 2000.0 } else { 5.0 };
        assert_eq!(run(&mut volume, 0..28, |bucket| digest(bucket) * scatter(bucket)), None);
    }

    #[test]
    fn burst_is_a_rise_only_where_bursts_are_excluded_or_exceed_earlier_ones() {
        for (bursts, peak, is_rise) in [
            (BurstHandling::Excluded, 1000.0, true),
            (BurstHandling::Unknown, 1000.0, false),
            (BurstHandling::Unknown, 10.0, true),
            (BurstHandling::Dominant, 10.0, false),
        ] {
            let mut volume = VolumeMonitor::new(Minute(0));
            run(&mut volume, 0..21, |bucket| 40.0 * scatter(bucket));
            volume.peak = peak;
            for bucket in 21 * 288..21 * 288 + 24 {
                add(&mut volume, 800.0, Minute(bucket * 5), &VolumeContext { bursts, ..CALM });
            }
            let signal = volume.signal(Minute(21 * 1440 + 120), 5, 16.0);
            assert_eq!(signal.is_some_and(|signal| !signal.is_fall), is_rise, "{bursts:?} {peak}");
        }
    }

    #[test]
    fn seasonal_factor_is_one_without_mail_and_approaches_the_ratio_with_it() {
        let sums = |events, exposure| EventSums { events, exposure };
        assert!((factor(EventSums::default(), 0.0) - 1.0).abs() < 1e-12);
        assert!((factor(sums(20_000.0, 10_000.0), 5.0) - 2.0).abs() < 0.01);
        assert!(factor(sums(0.0, 10_000.0), 5.0) < 0.001);
    }
}
