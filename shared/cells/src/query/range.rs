//! The range of a query: from its two times to the edges of its buckets.
//!
//! Explicit times are kept to the minute. Times in relation to now are widened to what history still has.

use event::{Minute, Timestamp};
use jiff::tz::TimeZone;

use super::calendar::{self, Compare, Granularity};
use super::error::QueryError;
use super::fields::Fields;
use super::moment::Moment;
use super::request::{Basis, Query};

/// How long history is kept by the minute and by the hour, less a margin: a range given in relation to now is widened to what is
/// still there, since nobody means the exact second 90 days ago.
const MINUTES_KEPT: u32 = 25 * DAY;
const HOURS_KEPT: u32 = 390 * DAY;
const DAY: u32 = 24 * 60;

/// The minutes asked for; [`edges`] widens them to whole buckets.
pub(super) fn range(
    fields: &Fields,
    granularity: Granularity,
    basis: Basis,
    compare: Option<Compare>,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<(Minute, Minute), QueryError> {
    let from = Moment::parse("from", fields.text("from")?.unwrap_or("-24h"), zone, now)?;
    let to = Moment::parse("to", fields.text("to")?.unwrap_or("now"), zone, now)?;
    if to.at <= from.at {
        return Err(QueryError::malformed("to", "it is not after from", "a time after from", "now"));
    }
    // Mail by the hour of sending is the finest there is of cohorts.
    let finest = if basis == Basis::Send { 60 } else { 1 };
    let (mut from_grain, mut to_grain) = (finest, finest);
    if granularity == Granularity::Total && from.relative {
        from_grain = grain(from, compare, now).max(finest);
        if to.relative {
            to_grain = from_grain;
        }
    }
    Ok((from.floor(from_grain), to.ceil(to_grain)))
}

/// How fine history is where a range begins that is given in relation to now, in minutes.
fn grain(from: Moment, compare: Option<Compare>, now: Timestamp) -> u32 {
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
    let cut = |granularity| calendar::edges(granularity, zone, from, to, Query::MAX_BUCKETS);
    cut(granularity).ok_or_else(|| {
        let coarser = Granularity::ALL.into_iter().filter(|one| *one > granularity);
        let fitting: Vec<_> = coarser.filter(|one| cut(*one).is_some()).map(Granularity::name).collect();
        QueryError::malformed(
            "granularity",
            format!("the range has more than {} buckets of {}", Query::MAX_BUCKETS, granularity.name()),
            format!("total {}, or a shorter range", fitting.join(" ")),
            fitting.first().copied().unwrap_or("total"),
        )
    })
}
