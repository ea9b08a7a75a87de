//! Silence: learns the hours of the day and week in which all tenants usually send nothing, so that silence in them is no outage.
//!
//! The volume monitor cannot know these hours. It learns nothing from counts that seem to be missing and little from suspected hours, so
//! it would compare every night and weekend with the days before it, for ever. This monitor must never take an outage for a usual
//! silence: an outage that was found lasts until there are events again.

use event::{Hour, Minute};
use serde::{Deserialize, Serialize};

use crate::minutes::{self, HOURS_PER_DAY, MINUTES_PER_DAY, minutes_between};
use crate::ring::Ring;

/// Minutes without any event that make an outage; one bucket if buckets are longer.
const MIN_OUTAGE_MINUTES: u32 = 10;
/// Silence of an hour that had mail before is usual after this many days, or weeks, in a row. An hour that never had any needs one.
const USUAL_AFTER_DAYS: u8 = 3;
const USUAL_AFTER_WEEKS: u8 = 2;
/// Silence that lasts longer than this many hours is a weekend, a holiday or an outage, so hours of the day learn nothing from it.
const MAX_NIGHT_HOURS: u32 = HOURS_PER_DAY;
/// An outage is given up after this many minutes: the tenants have stopped sending for good.
const GIVE_UP_MINUTES: u32 = 14 * MINUTES_PER_DAY;

/// What is known of one hour of the day, or of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SlotHistory {
    /// Whether the hour ever had mail.
    was_busy: bool,
    /// How often in a row the hour was silent.
    silent_in_a_row: u8,
}

impl SlotHistory {
    fn close(&mut self, is_silent: bool) {
        self.was_busy |= !is_silent;
        self.silent_in_a_row = if is_silent { self.silent_in_a_row.saturating_add(1) } else { 0 };
    }

    fn is_usually_silent(self, needed: u8) -> bool {
        self.silent_in_a_row >= if self.was_busy { needed } else { 1 }
    }
}

/// Which hours of the day and of the week (UTC) are usually silent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SilentHours {
    hours_of_day: Ring<SlotHistory, 24>,
    hours_of_week: Ring<SlotHistory, 168>,
    /// The present number of silent hours without interruption.
    run: u32,
}

impl Default for SilentHours {
    fn default() -> Self {
        let nothing = SlotHistory::default();
        Self { hours_of_day: Ring::filled(nothing), hours_of_week: Ring::filled(nothing), run: 0 }
    }
}

impl SilentHours {
    /// Whether silence is usual in an hour.
    pub(crate) fn is_usual(&self, hour: Hour) -> bool {
        self.hours_of_day.at(hour.0).is_usually_silent(USUAL_AFTER_DAYS)
            || self.hours_of_week.at(hour.0).is_usually_silent(USUAL_AFTER_WEEKS)
    }

    /// Learns an hour that is over.
    pub(crate) fn close(&mut self, hour: Hour, is_silent: bool) {
        // A long silence is a weekend, a holiday or an outage. It must not teach that every hour of the day is silent.
        self.run = if is_silent { self.run.saturating_add(1) } else { 0 };
        if self.run <= MAX_NIGHT_HOURS {
            self.hours_of_day.at_mut(hour.0).close(is_silent);
        }
        self.hours_of_week.at_mut(hour.0).close(is_silent);
    }
}

/// What a bucket without any event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SilenceMeaning {
    /// Silence is usual in this hour of the day or week, or too little mail was expected to tell.
    Usual,
    /// Events are missing, but not for long enough to report an outage.
    Suspicious,
    /// Events have been missing for long enough to report an outage.
    Outage {
        /// First minute of silence that was not usual.
        since: Minute,
    },
}

/// Monitors the silence of all tenants together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SilenceMonitor {
    hours: SilentHours,
    /// First minute of the present silence.
    #[serde(with = "minutes::stored_option")]
    since: Option<Minute>,
    /// Whether some part of this hour was silent for long enough to be an outage; none before its first bucket.
    is_silent_hour: Option<bool>,
    /// The present silence, once it is not usual. It lasts until there are events.
    unusual: Option<UnusualSilence>,
    /// Whether the last bucket was silent and silence is usual in its hour.
    is_usual: bool,
}

/// Silence that is not usual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct UnusualSilence {
    #[serde(with = "minutes::stored")]
    since: Minute,
    /// Minutes in which silence was not usual. Usual ones in between prove nothing.
    minutes: u32,
    is_outage: bool,
}

impl SilenceMonitor {
    /// Adds a bucket without a single event. `is_mail_due` says whether much mail was expected, by the volume of other days.
    ///
    /// Mail that ends an hour early before a night or weekend is no outage. An outage that was found by day lasts through the night,
    /// until there are events again.
    pub(crate) fn add_silent(
        &mut self,
        now: Minute,
        bucket_minutes: u32,
        is_mail_due: bool,
    ) -> SilenceMeaning {
        let needed_minutes = bucket_minutes.max(MIN_OUTAGE_MINUTES);
        let since = *self.since.get_or_insert(now);
        let silent_minutes = minutes_between(since, now) + bucket_minutes;
        // A few silent minutes are chance; an hour counts as silent if an outage in it could have been reported.
        *self.is_silent_hour.get_or_insert(false) |= silent_minutes >= needed_minutes;
        let is_usual_hour = self.hours.is_usual(now.hour());
        let is_unusual = is_mail_due && !is_usual_hour;
        if is_unusual {
            let started = UnusualSilence { since: now, minutes: 0, is_outage: false };
            let unusual = self.unusual.get_or_insert(started);
            // The minutes before this bucket decide, so a single silent bucket is never an outage.
            unusual.is_outage |= unusual.minutes >= needed_minutes;
            unusual.minutes += bucket_minutes;
        }
        let outage = self
            .unusual
            .filter(|unusual| unusual.is_outage && minutes_between(unusual.since, now) < GIVE_UP_MINUTES);
        self.is_usual = is_usual_hour && outage.is_none();
        match outage {
            Some(outage) => SilenceMeaning::Outage { since: outage.since },
            None if is_unusual => SilenceMeaning::Suspicious,
            None => SilenceMeaning::Usual,
        }
    }

    /// Whether the last bucket was silent and silence is usual in its hour.
    pub(crate) fn is_usual(&self) -> bool {
        self.is_usual
    }

    /// Adds a bucket with events.
    pub(crate) fn add_events(&mut self) {
        (self.since, self.unusual, self.is_usual) = (None, None, false);
        self.is_silent_hour.get_or_insert(false);
    }

    /// Closes an hour; one without any bucket was not observed and is not learned.
    pub(crate) fn close_hour(&mut self, hour: Hour) {
        if let Some(is_silent) = self.is_silent_hour.take() {
            self.hours.close(hour, is_silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs buckets of one hour; there is mail in the hours that `has_mail` accepts. Returns the hours whose silence is not usual.
    fn run(
        silence: &mut SilenceMonitor,
        hours: std::ops::Range<u32>,
        has_mail: impl Fn(u32) -> bool,
    ) -> Vec<u32> {
        let mut unusual = Vec::new();
        for hour in hours {
            if has_mail(hour) {
                silence.add_events();
            } else {
                let meaning = silence.add_silent(Hour(hour).first_minute(), 60, true);
                unusual.extend((meaning != SilenceMeaning::Usual).then_some(hour));
            }
            silence.close_hour(Hour(hour));
        }
        unusual
    }

    fn by_day(hour: u32) -> bool {
        (6..23).contains(&(hour % 24))
    }

    #[test]
    fn silent_night_is_usual_from_the_second_one_on() {
        let unusual = run(&mut SilenceMonitor::default(), 8..8 * 7 * 24, by_day);
        assert_eq!(unusual, [23, 24, 25, 26, 27, 28, 29]);
    }

    #[test]
    fn silent_weekend_is_usual_from_the_second_one_on() {
        let weekday = |hour: u32| hour / 24 % 7 < 5;
        let unusual = run(&mut SilenceMonitor::default(), 0..8 * 7 * 24, weekday);
        assert_eq!(unusual, (5 * 24..7 * 24).collect::<Vec<_>>());
        let both = run(&mut SilenceMonitor::default(), 8..8 * 7 * 24, |hour| weekday(hour) && by_day(hour));
        // An outage lasts until there is mail, on Monday morning.
        assert!(both.iter().all(|hour| *hour < 7 * 24 + 6), "{both:?}");
    }

    #[test]
    fn hours_of_an_outage_do_not_become_usual() {
        let mut silence = SilenceMonitor::default();
        run(&mut silence, 0..14 * 24, |_| true);
        // Two hours on Wednesday, all of the weekend, and the same two hours on Monday.
        let outage = |hour: u32| match hour / 24 % 7 {
            0 | 2 => (14..16).contains(&(hour % 24)),
            5 | 6 => true,
            _ => false,
        };
        let hours = 16 * 24..22 * 24;
        let unusual = run(&mut silence, hours.clone(), |hour| !outage(hour));
        assert_eq!(unusual, hours.filter(|hour| outage(*hour)).collect::<Vec<_>>());
    }

    #[test]
    fn nights_that_become_silent_are_usual_after_some_days() {
        let mut silence = SilenceMonitor::default();
        run(&mut silence, 0..14 * 24, |_| true);
        let unusual = run(&mut silence, 14 * 24..28 * 24, by_day);
        assert!(unusual.iter().all(|hour| *hour < 17 * 24 + 6), "{unusual:?}");
    }

    #[test]
    fn mail_that_ends_an_hour_early_before_a_usual_silence_is_no_outage() {
        let mut silence = SilenceMonitor::default();
        run(&mut silence, 6..14 * 24, by_day);
        let early = |hour: u32| by_day(hour) && hour % 24 != 22;
        // Only the hour itself is suspicious, and nothing adds up over the days.
        let unusual = run(&mut silence, 14 * 24..16 * 24, early);
        assert_eq!(unusual, [14 * 24 + 22, 15 * 24 + 22]);
    }

    #[test]
    fn outage_lasts_through_usual_silence_until_there_is_mail() {
        let mut silence = SilenceMonitor::default();
        run(&mut silence, 6..14 * 24, by_day);
        let from = 14 * 24 + 10;
        let until = 16 * 24 + 9;
        let unusual =
            run(&mut silence, 14 * 24 + 6..18 * 24, |hour| by_day(hour) && !(from..until).contains(&hour));
        assert_eq!(unusual, (from..until).collect::<Vec<_>>());
    }

    #[test]
    fn outage_needs_ten_minutes_of_missing_events_and_then_lasts() {
        let mut silence = SilenceMonitor::default();
        // Every hour of the week has had mail, so no silence is usual.
        run(&mut silence, 0..14 * 24, |_| true);
        let start = Hour(14 * 24 + 12).first_minute();
        let meanings = (0..12).map(|minute| silence.add_silent(Minute(start.0 + minute), 1, true));
        let meanings: Vec<_> = meanings.collect();
        assert!(meanings[..10].iter().all(|meaning| *meaning == SilenceMeaning::Suspicious));
        assert!(meanings[10..].iter().all(|meaning| *meaning == SilenceMeaning::Outage { since: start }));
        silence.add_events();
        assert_eq!(silence.add_silent(Minute(start.0 + 13), 1, true), SilenceMeaning::Suspicious);
    }

    #[test]
    fn outage_is_given_up_after_two_weeks_and_needs_much_mail_due() {
        let mut silence = SilenceMonitor::default();
        run(&mut silence, 0..14 * 24, |_| true);
        let start = Hour(14 * 24).first_minute();
        for hour in 0..3 {
            silence.add_silent(Minute(start.0 + hour * 60), 60, true);
        }
        let later = |minutes| Minute(start.0 + minutes);
        let last = silence.add_silent(later(GIVE_UP_MINUTES - 60), 60, true);
        assert_eq!(last, SilenceMeaning::Outage { since: start });
        assert_eq!(silence.add_silent(later(GIVE_UP_MINUTES), 60, true), SilenceMeaning::Suspicious);
        assert_eq!(SilenceMonitor::default().add_silent(start, 60, false), SilenceMeaning::Usual);
    }
}
