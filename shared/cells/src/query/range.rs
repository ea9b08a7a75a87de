//! The range of a query: from its two times to the edges of its buckets.
//!
//! Explicit times are kept to the minute. Times in relation to now are widened to what history still has.

use event::{Minute, Timestamp};
use jiff::tz::TimeZone;

use super::calendar::{self, Compare, Granularity};
use super::error::QueryError;
use super::request::{Basis, COHORT_MINUTES, Query};
use super::time::{QueryTime, ResolvedTime};
use crate::local_days::{date_of, start_of};

/// How long history is kept by the minute and by the hour, less a margin. A range in relation to now is widened to the finest resolution
/// that is still there, since nobody who asks for `-90d` means the exact second.
const MINUTES_KEPT: u32 = 25 * DAY;
const HOURS_KEPT: u32 = 390 * DAY;
const DAY: u32 = 24 * 60;

/// What decides how a range is resolved.
pub(super) struct RangeContext<'a> {
    pub granularity: Granularity,
    pub basis: Basis,
    pub compare: Option<Compare>,
    pub zone: &'a TimeZone,
    pub now: Timestamp,
}

/// The minutes asked for; [`edges`] widens them to whole buckets.
pub(super) fn range(
    from: QueryTime,
    to: QueryTime,
    context: &RangeContext<'_>,
) -> Result<(Minute, Minute), QueryError> {
    let from = from.resolve("from", context.zone, context.now)?;
    let to = to.resolve("to", context.zone, context.now)?;
    // Before widening, which would make an empty range one of a whole bucket.
    if to.at <= from.at {
        return Err(QueryError::malformed("to", "it is not after from", "a time after from", "now"));
    }
    // Cohorts are read by the quarter hour, whatever the range says.
    let finest = if context.basis == Basis::Send { COHORT_MINUTES } else { 1 };
    let (mut from_step, mut to_step) = (finest, finest);
    // Only for a single bucket: with any other granularity the caller has said how finely time is cut.
    if context.granularity == Granularity::Total && from.is_relative {
        from_step = kept_step(from, context.compare, context.now).max(finest);
        if to.is_relative {
            to_step = from_step;
        }
    }
    Ok((floor(from, from_step, context.zone), ceil(to, to_step, context.zone)))
}

/// The last multiple of `step` minutes at or before a time; for a step of a day, the last beginning of a day in the zone.
fn floor(time: ResolvedTime, step: u32, zone: &TimeZone) -> Minute {
    let minute = time.floor(1);
    // Old history is kept by the days of the tenant's zone, which is that of queries that name none.
    let midnight = (step == DAY).then(|| start_of(date_of(minute, zone)?, zone)).flatten();
    midnight.filter(|midnight| *midnight <= minute).unwrap_or_else(|| time.floor(step))
}

/// The first multiple of `step` minutes at or after a time; for a step of a day, the first beginning of a day in the zone.
fn ceil(time: ResolvedTime, step: u32, zone: &TimeZone) -> Minute {
    let minute = time.ceil(1);
    let midnight = (step == DAY).then(|| {
        let date = date_of(minute, zone)?;
        let today = start_of(date, zone)?;
        if today == minute { Some(today) } else { start_of(date.tomorrow().ok()?, zone) }
    });
    midnight.flatten().filter(|midnight| *midnight >= minute).unwrap_or_else(|| time.ceil(step))
}

/// The resolution of history, in minutes, where a range begins that is given in relation to now.
fn kept_step(from: ResolvedTime, compare: Option<Compare>, now: Timestamp) -> u32 {
    // The range compared with begins earlier, and must be answered as well.
    let age = now.minute().0.saturating_sub(from.at.minute().0);
    let oldest = match compare {
        None => age,
        Some(Compare::PreviousPeriod) => age.saturating_mul(2),
        Some(Compare::PreviousYear) => age.saturating_add(365 * DAY),
    };
    match oldest {
        0..MINUTES_KEPT => 1,
        MINUTES_KEPT..HOURS_KEPT => 60,
        HOURS_KEPT.. => DAY,
    }
}

/// Whole buckets over a range.
pub(super) fn edges(
    granularity: Granularity,
    zone: &TimeZone,
    from: Minute,
    to: Minute,
) -> Result<Vec<Minute>, QueryError> {
    let edges = |granularity| calendar::edges(granularity, zone, from, to, Query::MAX_BUCKETS);
    edges(granularity).ok_or_else(|| {
        // Only what would work is offered.
        let coarser = Granularity::ALL.into_iter().filter(|one| *one > granularity);
        let fitting: Vec<_> = coarser.filter(|one| edges(*one).is_some()).map(Granularity::name).collect();
        QueryError::malformed(
            "granularity",
            format!("the range has more than {} buckets of {}", Query::MAX_BUCKETS, granularity.name()),
            format!("total {}, or a shorter range", fitting.join(" ")),
            fitting.first().copied().unwrap_or("total"),
        )
    })
}
