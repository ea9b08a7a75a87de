//! Names of compacted blocks: the level and the period that a block covers.
//!
//! The key layout, compaction and erasure all need them, so they have a module of their own.

use std::ops::Range;

use event::{Day, Hour};
use serde::{Deserialize, Serialize};

/// How much time a block covers, finest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// One UTC hour, at a resolution of one minute.
    Hour,
    /// One UTC day, at a resolution of one hour. An hour in which a day of the tenant's time zone begins is cut in two.
    Day,
    /// One UTC month, at a resolution of one day of the tenant's time zone.
    Month,
}

impl Level {
    /// All levels, finest first.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];
}

/// A block of one tenant: a level, and the hour, day or month that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockId {
    /// How much time the block covers.
    pub level: Level,
    /// Hours, days or months since the Unix epoch, depending on `level`.
    pub period: u32,
}

impl BlockId {
    /// The block of an hour.
    pub const fn hour(hour: Hour) -> Self {
        Self { level: Level::Hour, period: hour.0 }
    }

    /// The block of a day.
    pub const fn day(day: Day) -> Self {
        Self { level: Level::Day, period: day.0 }
    }

    /// The block of the month that contains `day`.
    pub fn month_of(day: Day) -> Self {
        Self { level: Level::Month, period: month_of(day) }
    }

    /// The days that the block covers, of an hour the day that it is in, as a half-open range.
    pub fn days(self) -> Range<Day> {
        match self.level {
            Level::Hour => Hour(self.period).day()..Hour(self.period).day().plus(1),
            Level::Day => Day(self.period)..Day(self.period).plus(1),
            Level::Month => first_day(self.period)..first_day(self.period.saturating_add(1)),
        }
    }
}

/// The first day of a month that is counted from January 1970; saturates at the last day.
///
/// The inverse of [`month_of`]: <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
fn first_day(month: u32) -> Day {
    // Months since 0000-03, in 64 bits because the sum of a late month and the offset exceeds 32.
    let months = u64::from(month) + 1_970 * 12 - 2;
    let (years, month_from_march) = (months / 12, months % 12);
    let (era, year_of_era) = (years / 400, years % 400);
    let day_of_year = (153 * month_from_march + 2) / 5;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Day(u32::try_from(days - 719_468).unwrap_or(u32::MAX))
}

/// Months from January 1970 to the month that contains `day`.
///
/// Counts in years that begin in March, so that the leap day is the last day of a year:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn month_of(day: Day) -> u32 {
    // Days since 0000-03-01. In 64 bits, because the sum of a late day and the offset exceeds 32.
    let days = u64::from(day.0) + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    // Eras are 400 years, after which the calendar repeats: 146,097 days.
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let months = (era * 400 + year_of_era) * 12 + month_from_march + 2;
    // A day is at most 2^32, so there are at most 2^28 months.
    u32::try_from(months - 1_970 * 12).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn day_is_in_its_calendar_month() {
        for (day, month) in [
            (0, 0),
            (30, 0),
            (31, 1),
            (59, 2),
            (365, 12),
            (11_016, 361),
            (11_017, 362),
            (20_439, 671),
            (20_453, 671),
            (20_454, 672),
        ] {
            assert_eq!(month_of(Day(day)), month, "{day}");
        }
    }

    #[test]
    fn months_are_as_long_as_the_calendar_says() {
        let mut lengths = BTreeMap::new();
        for day in 0..36_525 {
            *lengths.entry(month_of(Day(day))).or_insert(0) += 1;
        }
        for (month, length) in lengths.range(..1_560) {
            let (year, month) = (1970 + month / 12, month % 12);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let expected =
                [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize];
            if year < 2069 {
                assert_eq!(*length, expected, "{year} {month}");
            }
        }
    }

    #[test]
    fn month_begins_at_the_first_day_that_is_in_it() {
        for month in (0..20_000).chain([u32::MAX - 1, u32::MAX]) {
            let days = BlockId { level: Level::Month, period: month }.days();
            assert!(days.start == Day(u32::MAX) || month_of(days.start) == month, "{month}");
            assert!(days.start.0 == 0 || days.end == Day(u32::MAX) || month_of(Day(days.end.0 - 1)) == month);
        }
    }

    #[test]
    fn last_representable_day_has_a_month() {
        assert!(month_of(Day(u32::MAX)) < 1 << 28);
    }
}
