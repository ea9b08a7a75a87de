//! Bucket edges: where a minute, a day in Berlin or a month begins, in minutes of UTC.
//!
//! Buckets of up to an hour are cut in UTC. Days, ISO weeks (from Monday) and months are cut in a time zone, so a day can have
//! 23, 24, 25 or 24½ hours. No clock is read, and the zone data are compiled in.

use event::Minute;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};

use crate::local_days::{date_of, minute, moment, start_of};

/// The width of an answer's buckets, and where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    /// One bucket for the whole range.
    Total,
    /// Single minutes, the finest that is stored.
    Minute,
    /// Five minutes from a multiple of five, in UTC.
    FiveMinutes,
    /// A quarter of an hour, in UTC.
    QuarterHour,
    /// An hour from the full hour, in UTC.
    Hour,
    /// A day in the time zone.
    Day,
    /// A week in the time zone, from Monday.
    Week,
    /// A month in the time zone.
    Month,
}

/// How a granularity cuts time.
enum BucketStep {
    /// One bucket for the whole range.
    Whole,
    /// At multiples of this many minutes since 1970, in UTC.
    Minutes(u32),
    /// At dates in the time zone.
    Dates(Span),
}

impl Granularity {
    /// All granularities, by width.
    pub const ALL: [Self; 8] = [
        Self::Total,
        Self::Minute,
        Self::FiveMinutes,
        Self::QuarterHour,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
    ];

    /// The name in queries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::QuarterHour => "15m",
            Self::Hour => "1h",
            Self::Day => "1d",
            Self::Week => "1w",
            Self::Month => "1mo",
        }
    }

    /// The granularity of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|granularity| granularity.name() == name)
    }

    /// Whether its buckets are days or longer, cut in a time zone.
    pub const fn is_calendar(self) -> bool {
        matches!(self, Self::Day | Self::Week | Self::Month)
    }

    fn step(self) -> BucketStep {
        match self {
            Self::Total => BucketStep::Whole,
            Self::Minute => BucketStep::Minutes(1),
            Self::FiveMinutes => BucketStep::Minutes(5),
            Self::QuarterHour => BucketStep::Minutes(15),
            Self::Hour => BucketStep::Minutes(60),
            Self::Day => BucketStep::Dates(1.day()),
            Self::Week => BucketStep::Dates(1.week()),
            Self::Month => BucketStep::Dates(1.month()),
        }
    }

    /// The first day of the bucket that `date` lies in.
    fn first_date(self, date: Date) -> Option<Date> {
        match self {
            Self::Week => date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).ok(),
            Self::Month => Some(date.first_of_month()),
            _ => Some(date),
        }
    }
}

/// Where the buckets over `from..to` begin and, last, where the last one ends. The outer buckets are whole.
///
/// `None` if there would be more than `most` buckets, or if the range leaves the years 1970 to 9999.
pub(super) fn edges(
    granularity: Granularity,
    zone: &TimeZone,
    from: Minute,
    to: Minute,
    most: usize,
) -> Option<Vec<Minute>> {
    match granularity.step() {
        BucketStep::Whole => Some(vec![from, to]),
        BucketStep::Minutes(width) => {
            // Widths divide an hour, so multiples since 1970 are also the marks on a clock in UTC.
            let first = from.0 - from.0 % width;
            let count = to.0.saturating_sub(first).div_ceil(width);
            // Before the list is made, which a range of centuries would fill memory with.
            if usize::try_from(count).ok()? > most {
                return None;
            }
            (0..=count).map(|nth| first.checked_add(nth.checked_mul(width)?).map(Minute)).collect()
        }
        BucketStep::Dates(step) => {
            let mut date = granularity.first_date(date_of(from, zone)?)?;
            // The week, or the day in a zone behind UTC, in which 1970 begins has no start that can be counted: it begins with 1970.
            let mut edges = vec![start_of(date, zone).unwrap_or(Minute(0))];
            while edges.last().is_some_and(|&last| last < to) {
                date = date.checked_add(step).ok()?;
                let edge = start_of(date, zone)?;
                // A date that a zone skipped (Samoa, 30 December 2011) begins where the next one does: no bucket of its own.
                if edges.last().is_some_and(|&last| last < edge) {
                    edges.push(edge);
                }
                if edges.len() > most.saturating_add(1) {
                    return None;
                }
            }
            Some(edges)
        }
    }
}

/// The earlier range that a range is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// The same number of buckets, up to where the range begins.
    PreviousPeriod,
    /// The same number of buckets from the same date a year before, or from 52 weeks before if buckets are weeks.
    PreviousYear,
}

impl Compare {
    /// All of them, in the order in which errors list them.
    pub const ALL: [Self; 2] = [Self::PreviousPeriod, Self::PreviousYear];

    /// The name in queries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreviousPeriod => "previous_period",
            Self::PreviousYear => "previous_year",
        }
    }
}

/// The edges of the buckets to compare with: one bucket for each bucket of `edges`, in the same order.
///
/// `None` if they would begin before 1970.
pub(super) fn earlier(
    compare: Compare,
    granularity: Granularity,
    zone: &TimeZone,
    edges: &[Minute],
) -> Option<Vec<Minute>> {
    let (&from, &to) = (edges.first()?, edges.last()?);
    let count = edges.len() - 1;
    match (granularity.step(), compare) {
        (BucketStep::Whole | BucketStep::Minutes(_), Compare::PreviousPeriod) => {
            let length = to.0.checked_sub(from.0)?;
            edges.iter().map(|edge| edge.0.checked_sub(length).map(Minute)).collect()
        }
        (BucketStep::Whole, Compare::PreviousYear) => {
            edges.iter().map(|&edge| a_year_before(edge, zone)).collect()
        }
        (BucketStep::Minutes(width), Compare::PreviousYear) => {
            // Only the first edge is moved by the calendar and the others with it, so that every bucket keeps its width. In the year
            // before, clocks may have changed on another day.
            let first = a_year_before(from, zone)?;
            let shift = from.0.checked_sub(first.0 - first.0 % width)?;
            edges.iter().map(|edge| edge.0.checked_sub(shift).map(Minute)).collect()
        }
        (BucketStep::Dates(step), _) => {
            let back = match (compare, granularity) {
                (Compare::PreviousPeriod, _) => step.checked_mul(i64::try_from(count).ok()?).ok()?,
                // A year is not a number of weeks, and weeks begin on a Monday in both years.
                (Compare::PreviousYear, Granularity::Week) => 52.weeks(),
                (Compare::PreviousYear, _) => 1.year(),
            };
            let mut date = date_of(from, zone)?.checked_sub(back).ok()?;
            let mut earlier = vec![start_of(date, zone)?];
            // As many buckets as are compared, and not as far as the range reaches: months differ in length.
            while earlier.len() < edges.len() {
                date = date.checked_add(step).ok()?;
                let edge = start_of(date, zone)?;
                if earlier.last().is_some_and(|&last| last < edge) {
                    earlier.push(edge);
                }
            }
            Some(earlier)
        }
    }
}

/// A minute in RFC 3339 with the zone's offset (`Z` in UTC).
pub(super) fn rfc3339(minute: Minute, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(minute.start().millis()) {
        Ok(moment) if *zone != TimeZone::UTC => {
            moment.display_with_offset(zone.to_offset(moment)).to_string()
        }
        _ => minute.start().to_string(),
    }
}

fn a_year_before(at: Minute, zone: &TimeZone) -> Option<Minute> {
    let before = moment(at)?.to_zoned_datetime(zone.clone()).checked_sub(1.year()).ok()?;
    minute(before.timestamp())
}

#[cfg(test)]
mod tests;
