//! Learns the hours of the day and week in which all tenants are usually silent, so that silence in them is no outage.
//!
//! Volume alone cannot know them. Nothing is learned from counts that are thought to be missing, and little from hours under suspicion,
//! so each night or weekend would be held against the days before it for ever.

use serde::{Deserialize, Serialize};

use crate::baseline::to_index;

/// Minutes without any event that are an outage; one bucket if that is longer.
const LEAST: u32 = 10;
/// SilenceMonitor of an hour that had mail before is usual after so many days in a row, or weeks; of one that never had any, after one.
const USUAL_DAYS: u8 = 3;
const USUAL_WEEKS: u8 = 2;
/// Hours of silence without a break after which it is a weekend, a holiday or an outage, and says nothing about hours of the day.
const LONG: u32 = 24;
/// An outage that has lasted for this many minutes ends: the tenants have stopped sending for good.
const GIVEN_UP: u32 = 14 * 24 * 60;

/// What is known of an hour of the day, or of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SlotHistory {
    /// Whether it ever had mail.
    was_busy: bool,
    /// How often in a row it was silent.
    silent: u8,
}

impl SlotHistory {
    fn close(&mut self, is_silent: bool) {
        self.was_busy |= !is_silent;
        self.silent = if is_silent { self.silent.saturating_add(1) } else { 0 };
    }

    fn is_usual(self, least: u8) -> bool {
        self.silent >= if self.was_busy { least } else { 1 }
    }
}

/// Which hours of the day and of the week, in UTC, are usually silent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SilentHours {
    days: Vec<SlotHistory>,
    weeks: Vec<SlotHistory>,
    /// Silent hours without a break.
    run: u32,
}

impl Default for SilentHours {
    fn default() -> Self {
        Self { days: vec![SlotHistory::default(); 24], weeks: vec![SlotHistory::default(); 168], run: 0 }
    }
}

impl SilentHours {
    /// Whether silence is usual in the hour of this minute.
    pub(crate) fn is_usual(&self, minute: u32) -> bool {
        let usual = |slots: &[SlotHistory], slot: u32, least| {
            slots.get(to_index(slot)).is_some_and(|slot| slot.is_usual(least))
        };
        let hour = minute / 60;
        usual(&self.days, hour % 24, USUAL_DAYS) || usual(&self.weeks, hour % 168, USUAL_WEEKS)
    }

    /// Adds an hour that is over.
    pub(crate) fn close(&mut self, hour: u32, is_silent: bool) {
        self.run = if is_silent { self.run.saturating_add(1) } else { 0 };
        let of_day = self.days.get_mut(to_index(hour % 24)).filter(|_| self.run <= LONG);
        for slot in of_day.into_iter().chain(self.weeks.get_mut(to_index(hour % 168))) {
            slot.close(is_silent);
        }
    }
}

/// What a bucket without any event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SilenceMeaning {
    /// SilenceMonitor is usual in this hour of the day or week.
    Usual,
    /// Events are missing, but not for long enough to say so.
    Suspicious,
    /// Events have been missing for long enough to report an outage.
    Outage {
        /// First minute of silence that was not usual.
        since: u32,
    },
}

/// SilenceMonitor of all tenants together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SilenceMonitor {
    hours: SilentHours,
    /// First minute of the silence that lasts, if it does.
    since: Option<u32>,
    /// Whether some of this hour was silent for long enough to be an outage; none before its first bucket.
    is_silent_hour: Option<bool>,
    /// SilenceMonitor that is not usual, until there is an event again.
    missing: Option<UnusualSilence>,
    /// Whether silence is usual in the hour of this bucket.
    is_usual: bool,
}

/// SilenceMonitor that is not usual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct UnusualSilence {
    /// First minute of silence that is not usual.
    since: u32,
    /// Minutes in which silence is not usual. Those in between, in which it is, prove nothing.
    minutes: u32,
    is_outage: bool,
}

impl SilenceMonitor {
    /// Adds a bucket without a single event, in which events are `due` by the volume of other days.
    ///
    /// Mail that ends an hour early before a night or weekend is no outage. An outage that was found by day lasts through the
    /// night, until there are events again.
    pub(crate) fn add_silent(&mut self, now: u32, bucket: u32, due: bool) -> SilenceMeaning {
        let since = *self.since.get_or_insert(now);
        *self.is_silent_hour.get_or_insert(false) |= now + bucket - since >= bucket.max(LEAST);
        let is_usual_hour = self.hours.is_usual(now);
        let is_missing = due && !is_usual_hour;
        if is_missing {
            let missing =
                self.missing.get_or_insert(UnusualSilence { since: now, minutes: 0, is_outage: false });
            missing.is_outage |= missing.minutes >= bucket.max(LEAST);
            missing.minutes += bucket;
        }
        let outage = self.missing.filter(|missing| missing.is_outage && now - missing.since < GIVEN_UP);
        self.is_usual = is_usual_hour && outage.is_none();
        match outage {
            Some(outage) => SilenceMeaning::Outage { since: outage.since },
            None if is_missing => SilenceMeaning::Suspicious,
            None => SilenceMeaning::Usual,
        }
    }

    /// Whether the bucket added last is silent and silence is usual in its hour.
    pub(crate) fn is_usual(&self) -> bool {
        self.is_usual
    }

    /// Adds a bucket with events.
    pub(crate) fn add(&mut self) {
        (self.since, self.missing, self.is_usual) = (None, None, false);
        self.is_silent_hour.get_or_insert(false);
    }

    /// Closes the hour of the minute `last`.
    pub(crate) fn close_hour(&mut self, last: u32) {
        if let Some(is_silent) = self.is_silent_hour.take() {
            self.hours.close(last / 60, is_silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours from `from` on, in buckets of an hour; those that are missing. There is mail where `has_mail` says so.
    fn run(
        silence: &mut SilenceMonitor,
        hours: std::ops::Range<u32>,
        has_mail: impl Fn(u32) -> bool,
    ) -> Vec<u32> {
        let mut missing = Vec::new();
        for hour in hours {
            if has_mail(hour) {
                silence.add();
            } else {
                let meaning = silence.add_silent(hour * 60, 60, true);
                missing.extend((meaning != SilenceMeaning::Usual).then_some(hour));
            }
            silence.close_hour(hour * 60);
        }
        missing
    }

    fn by_day(hour: u32) -> bool {
        (6..23).contains(&(hour % 24))
    }

    #[test]
    fn a_night_without_mail_is_usual_from_the_second_one_on() {
        let missing = run(&mut SilenceMonitor::default(), 8..8 * 7 * 24, by_day);
        assert_eq!(missing, [23, 24, 25, 26, 27, 28, 29]);
    }

    #[test]
    fn a_weekend_without_mail_is_usual_from_the_second_one_on() {
        let weekday = |hour: u32| hour / 24 % 7 < 5;
        let missing = run(&mut SilenceMonitor::default(), 0..8 * 7 * 24, weekday);
        assert_eq!(missing, (5 * 24..7 * 24).collect::<Vec<_>>());
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
        let missing = run(&mut silence, hours.clone(), |hour| !outage(hour));
        assert_eq!(missing, hours.filter(|hour| outage(*hour)).collect::<Vec<_>>());
    }

    #[test]
    fn nights_that_become_silent_are_usual_after_some_days() {
        let mut silence = SilenceMonitor::default();
        run(&mut silence, 0..14 * 24, |_| true);
        let missing = run(&mut silence, 14 * 24..28 * 24, by_day);
        assert!(missing.iter().all(|hour| *hour < 17 * 24 + 6), "{missing:?}");
    }

    #[test]
    fn mail_that_ends_an_hour_early_before_a_usual_silence_is_no_outage() {
        let mut silence = SilenceMonitor::default();
        run(&mut silence, 6..14 * 24, by_day);
        let early = |hour: u32| by_day(hour) && hour % 24 != 22;
        // Only the hour itself is suspicious, and nothing adds up over the days.
        let missing = run(&mut silence, 14 * 24..16 * 24, early);
        assert_eq!(missing, [14 * 24 + 22, 15 * 24 + 22]);
    }

    #[test]
    fn an_outage_found_by_day_lasts_through_the_night_until_there_is_mail() {
        let mut silence = SilenceMonitor::default();
        run(&mut silence, 6..14 * 24, by_day);
        let from = 14 * 24 + 10;
        let until = 16 * 24 + 9;
        let missing =
            run(&mut silence, 14 * 24 + 6..18 * 24, |hour| by_day(hour) && !(from..until).contains(&hour));
        assert_eq!(missing, (from..until).collect::<Vec<_>>());
    }
}
