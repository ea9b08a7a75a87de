//! Where the days of a tenant begin: at these minutes compaction cuts its coarser blocks, beside the full hours of UTC.
//!
//! ```text
//! blocks of days    ├ hour ┼ hour ┼ ½ ┤├ ½ ┼ hour ┤   an hour of UTC in which a local day begins is two buckets
//! blocks of months  ├──── local day ────┤├──────── …  a local day in which a month of UTC begins is two buckets
//! ```
//!
//! A change of zone holds from a day on and never changes what is cut already. So the zone is known by the day of UTC, and the bucket of
//! a minute follows from the minute alone: rolling up commutes with merging, whenever a row arrives. The zone data are compiled in.

use event::{Day, Hour, Minute, Timestamp};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rapidhash::RapidHashMap;

use crate::block::Resolution;

/// The local days of a tenant: its time zones, each from a day of UTC on. Days of UTC by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalDays {
    /// In the order of their days. Before the first one, days are days of UTC. Nothing is known of the days of `None`.
    zones: Vec<(Day, Option<TimeZone>)>,
}

/// A change of a tenant's time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneChange {
    /// From which minute on history is cut in the zone `to`.
    pub at: Minute,
    /// The IANA name of the zone before.
    pub from: String,
    /// The IANA name of the zone from then on.
    pub to: String,
}

impl LocalDays {
    /// Days of UTC.
    pub const UTC: Self = Self { zones: Vec::new() };

    /// The days of these zones, each from its day on. Of two with the same day, the later one in the list holds. `None` stands for a zone
    /// whose days are not known.
    pub fn new<Z: Into<Option<TimeZone>>>(zones: impl IntoIterator<Item = (Day, Z)>) -> Self {
        let mut zones: Vec<_> = zones.into_iter().map(|(day, zone)| (day, zone.into())).collect();
        zones.sort_by_key(|(day, _)| *day);
        Self { zones }
    }

    /// The zone by which the days are cut that begin on a day of UTC.
    pub fn zone(&self, day: Day) -> TimeZone {
        self.since(day).and_then(|(_, zone)| zone.clone()).unwrap_or(TimeZone::UTC)
    }

    /// Whether a day of UTC is cut as UTC is.
    pub fn is_of_utc(&self, day: Day) -> bool {
        self.since(day).is_none_or(|(_, zone)| *zone == Some(TimeZone::UTC))
    }

    /// The zone of a day of UTC, and the day from which it holds. `None` before the first one.
    fn since(&self, day: Day) -> Option<&(Day, Option<TimeZone>)> {
        let after = self.zones.partition_point(|(since, _)| *since <= day);
        self.zones.get(after.checked_sub(1)?)
    }

    /// The first minute of the bucket that contains `at` in blocks of `resolution`.
    pub fn bucket(&self, at: Minute, resolution: Resolution) -> Minute {
        match resolution {
            Resolution::Minute => at,
            Resolution::Hour => resolution.bucket(at).max(self.start_of_day(at)),
            Resolution::Day => self.start_of_day(at),
        }
    }

    /// Whether a bucket begins at `at` in blocks of `resolution`, whatever they hold.
    pub fn is_cut(&self, at: Minute, resolution: Resolution) -> bool {
        // The first condition decides for most minutes: since 1972 the days of all zones begin at a quarter of an hour.
        match resolution {
            Resolution::Minute => true,
            Resolution::Hour if at.0.is_multiple_of(60) => true,
            Resolution::Hour | Resolution::Day => at.0.is_multiple_of(15) && self.start_of_day(at) == at,
        }
    }

    /// The changes of zone from `from` up to, not including, `to`.
    pub fn changes(&self, from: Minute, to: Minute) -> impl Iterator<Item = ZoneChange> + '_ {
        let names = self.zones.iter().map(|(_, zone)| zone.as_ref().map_or("Etc/Unknown", name));
        let before = std::iter::once("UTC").chain(names.clone());
        let changes = before.zip(names).zip(&self.zones).map(|((before, after), (day, _))| ZoneChange {
            at: first_minute(*day),
            from: before.to_owned(),
            to: after.to_owned(),
        });
        changes.filter(move |change| from < change.at && change.at < to)
    }

    /// The last minute at or before `at` at which a bucket begins in blocks of months: a local day, a month of UTC, or another zone.
    fn start_of_day(&self, at: Minute) -> Minute {
        let day = at.hour().day();
        let Some((since, zone)) = self.since(day).filter(|_| !self.is_of_utc(day)) else {
            return Resolution::Day.bucket(at);
        };
        // A block holds no bucket that begins before its month, so that months of UTC can be told apart whatever the zone is.
        let month =
            date_of(at, &TimeZone::UTC).and_then(|date| start_of(date.first_of_month(), &TimeZone::UTC));
        let first = month.unwrap_or(Minute(0)).max(first_minute(*since));
        let midnight = zone.as_ref().and_then(|zone| last_midnight(at, zone));
        midnight.map_or(first, |midnight| midnight.max(first))
    }
}

/// The IANA name of a zone.
pub(crate) fn name(zone: &TimeZone) -> &str {
    // Zones come from names, and UTC has its own.
    zone.iana_name().unwrap_or("UTC")
}

/// The buckets of many rows: the calendar is asked twice for each hour and not once for each row.
pub(crate) struct BucketStarts<'a> {
    days: &'a LocalDays,
    resolution: Resolution,
    /// The start of the local day by the hour: at the beginning of the hour and at its end.
    days_of: RapidHashMap<Hour, (Minute, Minute)>,
}

impl<'a> BucketStarts<'a> {
    pub(crate) fn new(days: &'a LocalDays, resolution: Resolution) -> Self {
        Self { days, resolution, days_of: RapidHashMap::default() }
    }

    /// What [`LocalDays::bucket`] is.
    pub(crate) fn bucket(&mut self, at: Minute) -> Minute {
        if self.days.zones.is_empty() || self.resolution == Resolution::Minute {
            return self.resolution.bucket(at);
        }
        let hour = at.hour();
        let (first, last) = *self.days_of.entry(hour).or_insert_with(|| {
            let end = Minute(hour.first_minute().0.saturating_add(59));
            (self.days.start_of_day(hour.first_minute()), self.days.start_of_day(end))
        });
        // Within an hour one day begins at most; months and other zones begin at full hours.
        let day = if at < last { first } else { last };
        match self.resolution {
            Resolution::Hour => self.resolution.bucket(at).max(day),
            Resolution::Minute | Resolution::Day => day,
        }
    }
}

/// The last start of a date in a zone at or before `at`.
fn last_midnight(at: Minute, zone: &TimeZone) -> Option<Minute> {
    let date = date_of(at, zone)?;
    // Where clocks go back over midnight, an hour of a day follows the first start of the next one.
    let dates = [date.checked_add(1.day()), Ok(date), date.checked_sub(1.day())];
    let mut starts = dates.into_iter().filter_map(|date| start_of(date.ok()?, zone));
    starts.find(|start| *start <= at)
}

/// The minute in which a date begins in a zone: midnight, or the end of the gap where clocks jump over midnight.
pub(crate) fn start_of(date: Date, zone: &TimeZone) -> Option<Minute> {
    minute(date.to_zoned_datetime(zone.clone()).ok()?.timestamp())
}

/// The date of a minute in a zone.
pub(crate) fn date_of(at: Minute, zone: &TimeZone) -> Option<Date> {
    Some(zone.to_datetime(moment(at)?).date())
}

/// The start of a minute.
pub(crate) fn moment(at: Minute) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(at.start().millis()).ok()
}

/// The minute of a moment, unless it is before 1970.
pub(crate) fn minute(moment: jiff::Timestamp) -> Option<Minute> {
    let millis = moment.as_millisecond();
    (millis >= 0).then(|| Timestamp::from_millis(millis).minute())
}

fn first_minute(day: Day) -> Minute {
    day.first_hour().first_minute()
}

#[cfg(test)]
mod tests;
