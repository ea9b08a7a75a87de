//! The `from` and `to` of a query: RFC 3339, a date, `now`, or a time before now such as `-24h`.
//!
//! No clock is read: `now` comes in with the query.

use event::{Minute, Timestamp};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::error::{QueryError, quoted};
use crate::local_days::start_of;

/// An end of a range, before it is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryTime {
    /// This moment, whatever the time zone of the query is.
    At(Timestamp),
    /// The beginning of this date in the query's time zone.
    Date(Date),
    /// When the query is asked.
    Now,
    /// A time before the query is asked.
    BeforeNow {
        /// How long before, in minutes.
        minutes: u64,
    },
}

impl From<Timestamp> for QueryTime {
    fn from(time: Timestamp) -> Self {
        Self::At(time)
    }
}

impl From<Minute> for QueryTime {
    fn from(minute: Minute) -> Self {
        Self::At(minute.start())
    }
}

/// The length of `2026-11-01`. A longer text is a date with a time.
const DATE_BYTES: usize = 10;
const HOUR: u64 = 60;
const DAY: u64 = 24 * HOUR;

const ALLOWED: &str = "an RFC 3339 time, a date, now, or a time before now in minutes, hours, days or weeks (-30m, -24h, -7d, -4w)";

impl QueryTime {
    /// A time this many hours before the query is asked.
    pub const fn hours_ago(hours: u32) -> Self {
        Self::BeforeNow { minutes: hours as u64 * HOUR }
    }

    /// A time this many days of 24 hours before the query is asked.
    pub const fn days_ago(days: u32) -> Self {
        Self::BeforeNow { minutes: days as u64 * DAY }
    }

    /// Reads the text of a parameter: an RFC 3339 time, a date, `now`, or a time before now such as `-24h`.
    ///
    /// # Errors
    /// [`QueryError`] names the parameter.
    pub fn parse(parameter: &str, text: &str) -> Result<Self, QueryError> {
        let text = text.trim();
        let relative = text.strip_prefix("now").unwrap_or(text);
        if relative.is_empty() && !text.is_empty() {
            return Ok(Self::Now);
        }
        if let Some(minutes) = relative.strip_prefix('-').and_then(minutes) {
            return Ok(Self::BeforeNow { minutes });
        }
        // By length too, because the parser of dates also takes the date of a longer text.
        let date = text.parse::<Date>().ok().filter(|_| text.len() == DATE_BYTES);
        let time = || text.parse::<jiff::Timestamp>().ok();
        match date {
            Some(date) => Ok(Self::Date(date)),
            None => time()
                .map(|time| Self::At(Timestamp::from_millis(time.as_millisecond())))
                .ok_or_else(|| refusal(parameter, format!("{} is not a time", quoted(text)))),
        }
    }

    /// The time meant by a query asked at `now` whose dates begin in `zone`. Dates before 1970 begin with 1970.
    pub(super) fn resolve(
        self,
        parameter: &str,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<ResolvedTime, QueryError> {
        let exact = |at| Ok(ResolvedTime { at, is_relative: false });
        match self {
            Self::At(at) => exact(at),
            Self::Date(date) if date.year() < 1970 => exact(Minute(0).start()),
            Self::Date(date) => match start_of(date, zone) {
                Some(minute) => exact(minute.start()),
                None => Err(refusal(parameter, format!("{date} is not a time that can be counted"))),
            },
            Self::Now => Ok(ResolvedTime { at: now, is_relative: true }),
            // Saturates instead of failing: a time before 1970 is then widened to the first minute there is.
            Self::BeforeNow { minutes } => {
                let millis = i64::try_from(minutes.saturating_mul(60_000)).unwrap_or(i64::MAX);
                Ok(ResolvedTime { at: now.plus_millis(-millis), is_relative: true })
            }
        }
    }
}

fn refusal(parameter: &str, problem: String) -> QueryError {
    // These examples stay valid as time passes, whatever the other parameters are.
    let example = if parameter == "to" { "now" } else { "-24h" };
    QueryError::malformed(parameter, problem, ALLOWED, example)
}

/// An end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResolvedTime {
    pub at: Timestamp,
    /// Whether it was given in relation to now, so that its exact position does not matter to the caller.
    pub is_relative: bool,
}

impl ResolvedTime {
    /// The last multiple of `step` minutes at or before this time.
    pub(super) fn floor(self, step: u32) -> Minute {
        let minute = self.at.minute().0;
        Minute(minute - minute % step)
    }

    /// The first multiple of `step` minutes at or after this time.
    pub(super) fn ceil(self, step: u32) -> Minute {
        // A time a millisecond into a minute needs the whole minute.
        let minute = self.at.plus_millis(59_999).minute().0;
        Minute(minute.div_ceil(step).saturating_mul(step))
    }
}

/// Reads a time in any of the forms that queries take, for other parameters than theirs. A date begins in UTC.
///
/// # Errors
/// [`QueryError`] names the parameter.
pub fn parse_time(parameter: &str, text: &str, now: Timestamp) -> Result<Timestamp, QueryError> {
    Ok(QueryTime::parse(parameter, text)?.resolve(parameter, &TimeZone::UTC, now)?.at)
}

/// The minutes of `30m`, `24h`, `7d`, `4w`.
fn minutes(text: &str) -> Option<u64> {
    let (last, _) = text.char_indices().next_back()?;
    let (count, unit) = text.split_at(last);
    // `parse` would accept a sign.
    if count.starts_with('+') {
        return None;
    }
    let minutes = match unit {
        "m" => 1,
        "h" => HOUR,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return None,
    };
    u64::from(count.parse::<u32>().ok()?).checked_mul(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_000_123);

    fn check(text: &str, expected: &str) {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let time = QueryTime::parse("from", text).unwrap().resolve("from", &zone, NOW).unwrap();
        assert_eq!(time.at.to_string(), expected, "{text}");
    }

    #[test]
    fn times_are_read_in_every_form() {
        check("2025-11-13T02:15:23Z", "2025-11-13T02:15:23Z");
        check("2025-11-13T02:15:23.5+02:00", "2025-11-13T00:15:23.5Z");
        check("now", "2025-11-13T02:15:23Z");
        check("-30m", "2025-11-13T01:45:23Z");
        check("now-24h", "2025-11-12T02:15:23Z");
        check("-7d", "2025-11-06T02:15:23Z");
        check("-1w", "2025-11-06T02:15:23Z");
        check("2025-11-13", "2025-11-12T23:00:00Z");
        check("9999-12-30T21:59:59Z", "9999-12-30T21:59:59Z");
        check("1900-01-01", "1970-01-01T00:00:00Z");
    }

    #[test]
    fn typed_times_equal_those_read_from_text() {
        let read = |text| QueryTime::parse("from", text).unwrap();
        assert_eq!(QueryTime::hours_ago(24), read("-24h"));
        assert_eq!(QueryTime::days_ago(7), read("-1w"));
        assert_eq!(QueryTime::from(Minute(60)), read("1970-01-01T01:00:00Z"));
        assert_eq!(QueryTime::Now, read("now"));
    }

    #[test]
    fn text_that_is_not_a_time_is_refused() {
        for text in [
            "",
            "-",
            "-h",
            "-1y",
            "-1.5h",
            "--1h",
            "-+1h",
            "-99999999999h",
            "24h",
            "yesterday",
            "2025-13-01",
            "2025-11-13T02:15:23",
            "-1\u{e4}",
            "now now",
            "9999-12-31",
        ] {
            let time = QueryTime::parse("from", text);
            let refused = time.and_then(|time| time.resolve("from", &TimeZone::UTC, NOW)).unwrap_err();
            assert_eq!(refused.parameter, "from", "{text}");
        }
    }

    #[test]
    fn time_inside_a_minute_is_widened_to_the_whole_minute() {
        let inside = ResolvedTime { at: Timestamp::from_millis(60_001), is_relative: false };
        assert_eq!((inside.floor(1), inside.ceil(1)), (Minute(1), Minute(2)));
        assert_eq!((inside.floor(60), inside.ceil(60)), (Minute(0), Minute(60)));
        let exact = ResolvedTime { at: Timestamp::from_millis(3_600_000), is_relative: false };
        assert_eq!((exact.floor(60), exact.ceil(60)), (Minute(60), Minute(60)));
    }
}
