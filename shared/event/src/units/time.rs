//! Moments and UTC buckets, as integers counted from the Unix epoch.
//!
//! A bucket (minute, hour, day) is the number of whole buckets since 1970-01-01T00:00:00Z. Arithmetic on buckets saturates at
//! both ends instead of wrapping or failing: the ends are the years 1970 and 10136 (minutes), and decoding accepts event times
//! between 2000 and 2100 only, so a saturated value means a lower bound of "no limit" and never a miscounted event.
//! Local time does not exist here; time zones belong to the query planner.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::invariant::broken;

const MILLIS_PER_MINUTE: i64 = 60_000;
const MINUTES_PER_HOUR: u32 = 60;
const HOURS_PER_DAY: u32 = 24;

/// A moment, in milliseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the Unix epoch; saturates at the ends of the range.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This moment moved by `millis` (negative: into the past); saturates at the ends of the range.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment; negative if `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The minute that contains this moment. Moments before 1970 count as the first minute, moments after the year 10136
    /// as the last.
    pub fn minute(self) -> Minute {
        Minute(u32::try_from(self.0.div_euclid(MILLIS_PER_MINUTE).max(0)).unwrap_or(u32::MAX))
    }
}

/// RFC 3339 in UTC, with milliseconds only where they are not zero.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => moment.fmt(f),
            // Beyond the years that RFC 3339 can spell.
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

/// A UTC minute, counted from the Unix epoch: the finest time bucket that is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Minute(pub u32);

impl Minute {
    /// The moment at which it begins.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * MILLIS_PER_MINUTE)
    }

    /// The hour that contains it.
    pub const fn hour(self) -> Hour {
        Hour(self.0 / MINUTES_PER_HOUR)
    }

    /// The day that contains it.
    pub const fn day(self) -> Day {
        self.hour().day()
    }

    /// The minute `minutes` later; saturates at the last minute.
    #[must_use]
    pub const fn plus(self, minutes: u32) -> Self {
        Self(self.0.saturating_add(minutes))
    }

    /// The minute `minutes` earlier; saturates at the first minute, 1970-01-01T00:00Z.
    #[must_use]
    pub const fn minus(self, minutes: u32) -> Self {
        Self(self.0.saturating_sub(minutes))
    }

    /// Minutes from `earlier` to this one; 0 if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// Minutes from this one to `later`; 0 if `later` is not later.
    pub const fn minutes_until(self, later: Self) -> u32 {
        later.since(self)
    }

    /// The start of the bucket of `width_minutes` that contains this minute; buckets are counted from the epoch. A width of 0 is
    /// a defect of the caller and leaves the minute as it is.
    #[must_use]
    pub fn floor_to(self, width_minutes: u32) -> Self {
        if width_minutes == 0 {
            broken("a time bucket is 0 minutes wide");
            return self;
        }
        Self(self.0 - self.0 % width_minutes)
    }

    /// Whether a bucket of `width_minutes` begins with this minute. No bucket has the width 0.
    pub const fn is_start_of(self, width_minutes: u32) -> bool {
        // `is_multiple_of` accepts a width of 0, but calls minute 0 a multiple of it.
        width_minutes != 0 && self.0.is_multiple_of(width_minutes)
    }

    /// Every minute from this one up to but without `end`, in order.
    pub fn until(self, end: Self) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        (0..end.since(self)).map(move |passed| self.plus(passed))
    }
}

/// A UTC hour, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hour(pub u32);

impl Hour {
    /// Its first minute; saturates at the last minute.
    pub const fn first_minute(self) -> Minute {
        Minute(self.0.saturating_mul(MINUTES_PER_HOUR))
    }

    /// Its minutes, as a half-open range.
    pub const fn minutes(self) -> Range<Minute> {
        self.first_minute()..self.plus(1).first_minute()
    }

    /// The moment at which it begins.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * i64::from(MINUTES_PER_HOUR) * MILLIS_PER_MINUTE)
    }

    /// The day that contains it.
    pub const fn day(self) -> Day {
        Day(self.0 / HOURS_PER_DAY)
    }

    /// The hour `hours` later; saturates at the last hour.
    #[must_use]
    pub const fn plus(self, hours: u32) -> Self {
        Self(self.0.saturating_add(hours))
    }

    /// The hour `hours` earlier; saturates at the first hour, 1970-01-01T00Z.
    #[must_use]
    pub const fn minus(self, hours: u32) -> Self {
        Self(self.0.saturating_sub(hours))
    }

    /// Hours from `earlier` to this one; 0 if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// Every hour from this one up to but without `end`, in order.
    pub fn until(self, end: Self) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        (0..end.since(self)).map(move |passed| self.plus(passed))
    }
}

/// A UTC day, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub u32);

impl Day {
    /// Its first hour; saturates at the last hour.
    pub const fn first_hour(self) -> Hour {
        Hour(self.0.saturating_mul(HOURS_PER_DAY))
    }

    /// Its first minute; saturates at the last minute.
    pub const fn first_minute(self) -> Minute {
        self.first_hour().first_minute()
    }

    /// Its hours, as a half-open range.
    pub const fn hours(self) -> Range<Hour> {
        self.first_hour()..self.plus(1).first_hour()
    }

    /// The moment at which it begins.
    pub fn start(self) -> Timestamp {
        self.first_hour().start()
    }

    /// The day `days` later; saturates at the last day.
    #[must_use]
    pub const fn plus(self, days: u32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// The day `days` earlier; saturates at the first day, 1970-01-01.
    #[must_use]
    pub const fn minus(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// Days from `earlier` to this one; 0 if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// Every day from this one up to but without `end`, in order.
    pub fn until(self, end: Self) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        (0..end.since(self)).map(move |passed| self.plus(passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minute_belongs_to_its_hour_and_day() {
        let moment = Timestamp::from_millis(1_763_000_123_456);
        assert_eq!(moment.minute().hour().day().start().to_string(), "2025-11-13T00:00:00Z");
        assert_eq!(moment.minute().day(), moment.minute().hour().day());
        assert_eq!(moment.minute().start().to_string(), "2025-11-13T02:15:00Z");
        assert_eq!(Timestamp::from_millis(-5).minute(), Minute(0));
        assert_eq!(Timestamp::from_millis(i64::MAX).minute(), Minute(u32::MAX));
        assert_eq!(Minute(u32::MAX).start().to_string(), "257698037700000 ms since 1970");
    }

    #[test]
    fn timestamps_saturate_and_show_milliseconds_only_where_there_are_any() {
        for (moment, expected) in [
            (Timestamp::from_seconds(0), "1970-01-01T00:00:00Z"),
            (Timestamp::from_millis(1), "1970-01-01T00:00:00.001Z"),
            (Timestamp::from_millis(-1), "1969-12-31T23:59:59.999Z"),
            (Timestamp::from_seconds(i64::MAX), "9223372036854775807 ms since 1970"),
            (Timestamp::from_millis(i64::MIN).plus_millis(-1), "-9223372036854775808 ms since 1970"),
        ] {
            assert_eq!(moment.to_string(), expected);
        }
        assert_eq!(Timestamp::from_millis(5).millis_since(Timestamp::from_millis(7)), -2);
        assert_eq!(Timestamp::from_millis(i64::MAX).millis_since(Timestamp::from_millis(-1)), i64::MAX);
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        const LAST: u32 = u32::MAX;
        for (start, distance, later, earlier) in [
            (100, 0, 100, 100),
            (100, 1, 101, 99),
            (100, 100, 200, 0),
            (100, 101, 201, 0),
            (0, 1, 1, 0),
            (LAST, 1, LAST, LAST - 1),
            (LAST - 1, 2, LAST, LAST - 3),
            (5, LAST, LAST, 0),
        ] {
            assert_eq!(Minute(start).plus(distance), Minute(later), "{start} + {distance}");
            assert_eq!(Minute(start).minus(distance), Minute(earlier), "{start} - {distance}");
            assert_eq!(Hour(start).plus(distance), Hour(later), "{start} + {distance}");
            assert_eq!(Hour(start).minus(distance), Hour(earlier), "{start} - {distance}");
            assert_eq!(Day(start).plus(distance), Day(later), "{start} + {distance}");
            assert_eq!(Day(start).minus(distance), Day(earlier), "{start} - {distance}");
        }
        assert_eq!(Hour(LAST).first_minute(), Minute(LAST));
        assert_eq!(Day(LAST).first_hour(), Hour(LAST));
        assert_eq!(Day(LAST).first_minute(), Minute(LAST));
    }

    #[test]
    fn distance_to_something_that_is_not_earlier_is_zero() {
        for (from, to, expected) in [(3, 10, 7), (10, 10, 0), (10, 3, 0), (0, u32::MAX, u32::MAX)] {
            assert_eq!(Minute(to).since(Minute(from)), expected, "{from} {to}");
            assert_eq!(Minute(from).minutes_until(Minute(to)), expected, "{from} {to}");
            assert_eq!(Hour(to).since(Hour(from)), expected, "{from} {to}");
            assert_eq!(Day(to).since(Day(from)), expected, "{from} {to}");
        }
    }

    #[test]
    fn minute_is_rounded_down_to_the_start_of_its_bucket() {
        for (minute, width, expected) in [
            (0, 5, 0),
            (4, 5, 0),
            (5, 5, 5),
            (9, 5, 5),
            (59, 60, 0),
            (61, 60, 60),
            (7, 1, 7),
            (7, u32::MAX, 0),
        ] {
            assert_eq!(Minute(minute).floor_to(width), Minute(expected), "{minute} {width}");
            assert_eq!(Minute(minute).is_start_of(width), minute == expected, "{minute} {width}");
        }
        assert!(!Minute(0).is_start_of(0));
    }

    #[test]
    #[should_panic(expected = "a time bucket is 0 minutes wide")]
    fn bucket_without_a_width_is_a_defect() {
        let _ = Minute(7).floor_to(0);
    }

    #[test]
    fn iteration_gives_each_bucket_once_and_ends_before_the_end() {
        let minutes: Vec<u32> = Minute(3).until(Minute(6)).map(|minute| minute.0).collect();
        assert_eq!(minutes, [3, 4, 5]);
        let backwards: Vec<u32> = Hour(3).until(Hour(6)).rev().map(|hour| hour.0).collect();
        assert_eq!(backwards, [5, 4, 3]);
        let every_other: Vec<u32> = Day(3).until(Day(8)).step_by(2).map(|day| day.0).collect();
        assert_eq!(every_other, [3, 5, 7]);
        assert_eq!(Minute(6).until(Minute(3)).len(), 0);
        assert_eq!(Minute(6).until(Minute(6)).next(), None);
        assert_eq!(Minute(u32::MAX - 1).until(Minute(u32::MAX)).next_back(), Some(Minute(u32::MAX - 1)));
    }

    #[test]
    fn hours_and_days_consist_of_their_parts() {
        let hour = Timestamp::from_seconds(1_763_000_123).minute().hour();
        let minutes = hour.minutes();
        assert_eq!((minutes.start, minutes.end.since(minutes.start)), (hour.first_minute(), 60));
        assert!(minutes.start.until(minutes.end).all(|minute| minute.hour() == hour));
        let hours = hour.day().hours();
        assert_eq!((hours.start, hours.end.since(hours.start)), (hour.day().first_hour(), 24));
        assert!(hours.start.until(hours.end).all(|other| other.day() == hour.day()));
        assert_eq!(hour.day().first_minute().start(), hour.day().start());
    }

    #[test]
    fn buckets_are_serialised_as_numbers() {
        assert_eq!(serde_json::to_string(&(Minute(1), Hour(2), Day(3))).unwrap(), "[1,2,3]");
        let read: (Minute, Hour, Day) = serde_json::from_str("[1,2,3]").unwrap();
        assert_eq!(read, (Minute(1), Hour(2), Day(3)));
    }
}
