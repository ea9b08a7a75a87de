//! The `from` and `to` of a query: RFC 3339, a date, `now`, or a time before now such as `-24h`.
//!
//! No clock is read: `now` comes in with the query.

use event::{Minute, Timestamp};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::calendar::start_of;
use super::error::{QueryError, quoted};

/// A time as the user gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// The moment meant.
    pub at: Timestamp,
    /// Whether it was given in relation to now, so that nobody minds where exactly it lies.
    pub relative: bool,
}

/// `2026-11-01`; a longer text is a date with a time.
const DATE_BYTES: usize = 10;

const ALLOWED: &str = "an RFC 3339 time, a date, now, or a time before now in minutes, hours, days or weeks (-30m, -24h, -7d, -4w)";

impl Moment {
    /// Reads `text`; a date begins in `zone`.
    pub(super) fn parse(
        parameter: &str,
        text: &str,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<Self, QueryError> {
        let text = text.trim();
        let relative = text.strip_prefix("now").unwrap_or(text);
        if relative.is_empty() && !text.is_empty() {
            return Ok(Self { at: now, relative: true });
        }
        if let Some(millis) = relative.strip_prefix('-').and_then(ago) {
            return Ok(Self { at: now.plus_millis(-millis), relative: true });
        }
        let date = text.parse::<Date>().ok().filter(|_| text.len() == DATE_BYTES);
        let exact = match date {
            Some(date) if date.year() < 1970 => Some(Minute(0).start()),
            Some(date) => start_of(date, zone).map(Minute::start),
            None => {
                text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_millis(at.as_millisecond()))
            }
        };
        match exact {
            Some(at) => Ok(Self { at, relative: false }),
            None => Err(QueryError::malformed(
                parameter,
                format!("{} is not a time", quoted(text)),
                ALLOWED,
                // These stay valid as time passes, whatever the other parameters are.
                if parameter == "to" { "now" } else { "-24h" },
            )),
        }
    }

    /// The last full `grain` minutes at or before this moment.
    pub(super) fn floor(self, grain: u32) -> Minute {
        let minute = self.at.minute().0;
        Minute(minute - minute % grain)
    }

    /// The first full `grain` minutes at or after this moment.
    pub(super) fn ceil(self, grain: u32) -> Minute {
        // A moment a millisecond into a minute needs the whole minute.
        let minute = self.at.plus_millis(59_999).minute().0;
        Minute(minute.div_ceil(grain).saturating_mul(grain))
    }
}

/// Reads a time as queries take it, for what is asked beside queries; a date begins in UTC.
///
/// # Errors
/// [`QueryError`] names the parameter.
pub fn moment(parameter: &str, text: &str, now: Timestamp) -> Result<Timestamp, QueryError> {
    Moment::parse(parameter, text, &TimeZone::UTC, now).map(|moment| moment.at)
}

/// Milliseconds of `30m`, `24h`, `7d`, `4w`.
fn ago(text: &str) -> Option<i64> {
    let (last, _) = text.char_indices().next_back()?;
    let (count, unit) = text.split_at(last);
    if count.starts_with('+') {
        return None;
    }
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        "w" => 7 * 24 * 60,
        _ => return None,
    };
    i64::from(count.parse::<u32>().ok()?).checked_mul(minutes * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_000_123);

    fn check(text: &str, expected: &str) {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let moment = Moment::parse("from", text, &zone, NOW).unwrap();
        assert_eq!(moment.at.to_string(), expected, "{text}");
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
    fn what_is_no_time_is_refused() {
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
            let refused = Moment::parse("from", text, &TimeZone::UTC, NOW).unwrap_err();
            assert_eq!(refused.parameter, "from", "{text}");
        }
    }

    #[test]
    fn a_moment_inside_a_minute_takes_the_whole_minute() {
        let inside = Moment { at: Timestamp::from_millis(60_001), relative: false };
        assert_eq!((inside.floor(1), inside.ceil(1)), (Minute(1), Minute(2)));
        assert_eq!((inside.floor(60), inside.ceil(60)), (Minute(0), Minute(60)));
        let exact = Moment { at: Timestamp::from_millis(3_600_000), relative: false };
        assert_eq!((exact.floor(60), exact.ceil(60)), (Minute(60), Minute(60)));
    }
}
