//! Which blocks to read: the coarsest that answer a query exactly.
//!
//! ```text
//! month blocks ████████████████ by the day     kept for ever    days of the tenant's time zone
//! day blocks          █████████ by the hour    400 days         and the hours in which these days begin cut in two
//! hour blocks              ████ by the minute  30 days
//! ```
//!
//! A month, day or hour of history lies in one block of each level that still has it, so for each stretch of time exactly one
//! block is chosen. Deltas that are not yet compacted hold minutes and are always read as well; they are not planned here.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use event::{Day, Hour, Minute};
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::calendar::Granularity;
use super::error::{QueryError, QueryErrorKind};
use super::request::{Basis, Query};
use crate::block::Resolution;
use crate::local_days::{self, LocalDays};

/// A month of UTC, counted from January 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub u32);

impl Month {
    /// The month in which a day lies. Days after the year 9999, where the calendar ends, lie in its last month.
    pub fn of(day: Day) -> Self {
        let date = EPOCH.checked_add(i64::from(day.0).days()).unwrap_or(Date::MAX);
        let months = (i32::from(date.year()) - 1970) * 12 + i32::from(date.month()) - 1;
        // A date is never before the epoch that days are counted from.
        Self(months.unsigned_abs())
    }

    /// Its first day. Months after the year 9999 begin with its last day.
    pub fn first_day(self) -> Day {
        let date = EPOCH.checked_add(i64::from(self.0).months()).unwrap_or(Date::MAX);
        let days = EPOCH.until(date).ok().map(|span| span.get_days().unsigned_abs());
        Day(event::invariant::or_broken(days, 0, "the days between two dates cannot be counted"))
    }
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// The blocks that exist of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockCatalogue {
    /// Hours that have a block with the resolution of minutes.
    pub hours: BTreeSet<Hour>,
    /// Days that have a block with the resolution of hours.
    pub days: BTreeSet<Day>,
    /// Months that have a block with the resolution of days.
    pub months: BTreeSet<Month>,
    /// Blocks of hours before this one are deleted or no longer receive late events, so they may be incomplete. A later hour without a
    /// block has no compacted events. 0 until something is deleted.
    pub hours_kept_from: Hour,
    /// The same for the blocks of days.
    pub days_kept_from: Day,
    /// Where the tenant's days begin, at which blocks of days and months are cut.
    pub local_days: LocalDays,
}

/// One block to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockRef {
    /// The block of an hour, by the minute.
    Hour(Hour),
    /// The block of a day, by the hour.
    Day(Day),
    /// The block of a month, by the day.
    Month(Month),
}

/// The blocks that answer `query`, in the order of time.
///
/// # Errors
/// [`QueryError`] of kind [`QueryErrorKind::Unanswerable`] where only coarser history is kept than the query cuts it. It says what can be
/// asked instead.
pub fn plan(query: &Query, catalogue: &BlockCatalogue) -> Result<Vec<BlockRef>, QueryError> {
    let Some((first, last)) = catalogue.span() else { return Ok(Vec::new()) };
    let (from, to) = query.range();
    let mut at = from.max(first);
    let end = match query.basis {
        Basis::Event => to.min(last),
        // Mail that was sent in the range can have been opened at any time since.
        Basis::Send => last,
    };
    let cuts = Cuts::new(query, &catalogue.local_days);
    let mut blocks = Vec::new();
    // From coarse to fine at each place, so that a whole month is one block even if its days still exist.
    while at < end {
        let (hour, day) = (at.hour(), at.hour().day());
        let month = Month::of(day);
        let (month_start, month_end) =
            (minute_of(month.first_day()), minute_of(Month(month.0 + 1).first_day()));
        let (day_start, day_end) = (minute_of(day), minute_of(Day(day.0 + 1)));
        if catalogue.months.contains(&month) && cuts.fit(month_start, month_end, Resolution::Day) {
            blocks.push(BlockRef::Month(month));
            at = month_end;
        } else if day >= catalogue.days_kept_from
            && catalogue.days.contains(&day)
            && cuts.fit(day_start, day_end, Resolution::Hour)
        {
            blocks.push(BlockRef::Day(day));
            at = day_end;
        // The coarser block exists and the finer ones are gone: an answer from what is left would be too small without a sign.
        } else if day < catalogue.days_kept_from && catalogue.months.contains(&month) {
            let kept_from = minute_of(catalogue.days_kept_from);
            return Err(cuts.refusal(Resolution::Day, kept_from, month_start, month_end));
        } else if hour < catalogue.hours_kept_from && catalogue.days.contains(&day) {
            let kept_from = catalogue.hours_kept_from.first_minute();
            return Err(cuts.refusal(Resolution::Hour, kept_from, day_start, day_end));
        } else if catalogue.hours.contains(&hour) {
            blocks.push(BlockRef::Hour(hour));
            at = Hour(hour.0 + 1).first_minute();
        } else {
            at = catalogue.next_after(hour, day, month).unwrap_or(end);
        }
    }
    Ok(blocks)
}

impl BlockCatalogue {
    /// Where the next block of any level begins. Skipping to it keeps a single event of the year 9999 from causing a walk through all
    /// hours until then.
    fn next_after(&self, hour: Hour, day: Day, month: Month) -> Option<Minute> {
        let starts = [
            self.hours.range(Hour(hour.0 + 1)..).next().map(|hour| hour.first_minute()),
            self.days.range(Day(day.0 + 1)..).next().map(|day| minute_of(*day)),
            self.months.range(Month(month.0 + 1)..).next().map(|month| minute_of(month.first_day())),
        ];
        starts.into_iter().flatten().min()
    }

    /// The first minute of the first block, and the first one after the last block.
    fn span(&self) -> Option<(Minute, Minute)> {
        let hours = self.hours.first().zip(self.hours.last());
        let days = self.days.first().zip(self.days.last());
        let months = self.months.first().zip(self.months.last());
        let spans = [
            hours.map(|(first, last)| (first.first_minute(), Hour(last.0 + 1).first_minute())),
            days.map(|(first, last)| (minute_of(*first), minute_of(Day(last.0 + 1)))),
            months.map(|(first, last)| {
                (minute_of(first.first_day()), minute_of(Month(last.0 + 1).first_day()))
            }),
        ];
        spans.into_iter().flatten().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

/// The bucket edges of a query, and where the blocks of its tenant can be cut.
struct Cuts<'a> {
    query: &'a Query,
    local_days: &'a LocalDays,
    /// For a query by send time: the first edge that cuts a bucket of an hour, and of a day. Found when first needed.
    first_of_all: [OnceCell<Option<Minute>>; 2],
}

impl<'a> Cuts<'a> {
    fn new(query: &'a Query, local_days: &'a LocalDays) -> Self {
        Self { query, local_days, first_of_all: Default::default() }
    }

    /// The first edge that would cut a bucket of this resolution in the block over `start..end`.
    fn first_inside(&self, start: Minute, end: Minute, resolution: Resolution) -> Option<Minute> {
        let found = match self.query.basis {
            Basis::Event => self.first_behind(start, end, resolution),
            // A block can hold the cohorts of any time before its end, so the same edges would be searched for every block.
            Basis::Send => {
                let [of_hours, of_days] = &self.first_of_all;
                let first = if resolution == Resolution::Day { of_days } else { of_hours };
                *first.get_or_init(|| self.first_behind(Minute(0), Minute(u32::MAX), resolution))
            }
        };
        found.filter(|edge| *edge < end)
    }

    /// The first edge behind `start` and before `end` that is no cut at this resolution. The edge at the start itself cuts nothing.
    fn first_behind(&self, start: Minute, end: Minute, resolution: Resolution) -> Option<Minute> {
        let edges = &self.query.edges;
        let first = edges.partition_point(|edge| *edge <= start);
        let within = edges.iter().skip(first).take_while(|edge| **edge < end);
        within.copied().find(|edge| !self.local_days.is_cut(*edge, resolution))
    }

    /// Whether a block of this resolution over `start..end` can answer the query exactly.
    fn fit(&self, start: Minute, end: Minute, resolution: Resolution) -> bool {
        self.first_inside(start, end, resolution).is_none()
    }

    /// The refusal where history before `kept_from` is kept at the resolution `kept` only, and the query cuts the block over `start..end`.
    fn refusal(&self, kept: Resolution, kept_from: Minute, start: Minute, end: Minute) -> QueryError {
        let query = self.query;
        let (from, to) = query.range();
        let cut = self.first_inside(start, end, kept).unwrap_or(to);
        // The zone by which the bucket is kept that the query would cut.
        let zone = self.local_days.zone(cut.hour().day());
        let zone = local_days::name(&zone);
        let is_utc = zone == "UTC";
        let (unit, times, granularities, finest) = match kept {
            Resolution::Minute | Resolution::Hour if is_utc => {
                ("hour".to_owned(), "full hours".to_owned(), "1h 1d 1w 1mo", "1h")
            }
            Resolution::Minute | Resolution::Hour => {
                ("hour".to_owned(), format!("full hours, or midnight in {zone}"), "1h 1d 1w 1mo", "1h")
            }
            Resolution::Day if is_utc => ("day".to_owned(), "midnight in UTC".to_owned(), "1d 1w 1mo", "1d"),
            Resolution::Day => (
                format!("day of {zone}"),
                format!("midnight in {zone}, or the beginning of a month in UTC"),
                "1d 1w 1mo",
                "1d",
            ),
        };
        let example = if is_utc { "2026-01-01T00:00:00Z" } else { "2026-01-01" };
        // The parameter that makes the cut is the one to change, and it differs by granularity.
        let (parameter, allowed, example) = match query.granularity {
            _ if query.is_earlier => ("compare", format!("a range cut at {times}, or a later one"), finest),
            Granularity::Total if cut == from => ("from", times, example),
            Granularity::Total => ("to", times, example),
            one if one.is_calendar() => {
                let days = match kept {
                    Resolution::Minute | Resolution::Hour => "at full hours",
                    Resolution::Day if is_utc => "at midnight in UTC",
                    Resolution::Day => "when its days do",
                };
                ("timezone", format!("{zone}, or a zone whose days begin {days}"), zone)
            }
            _ => ("granularity", format!("total {granularities}; or a later from"), finest),
        };
        let (cut, kept_from) = (cut.start(), kept_from.start());
        let mut problem =
            format!("history before {kept_from} is kept by the {unit} and cannot be cut at {cut}");
        // Or a caller who asks in the zone of today would not understand why it is refused.
        let until = self.local_days.changes(cut.minute(), Minute(u32::MAX)).next();
        if let Some(change) = until {
            let _ = write!(problem, ", since the time zone was {zone} until {}", change.at.start());
        }
        QueryError::malformed(parameter, problem, allowed, example.to_owned())
            .of_kind(QueryErrorKind::Unanswerable)
    }
}

fn minute_of(day: Day) -> Minute {
    day.first_hour().first_minute()
}

#[cfg(test)]
mod tests;
