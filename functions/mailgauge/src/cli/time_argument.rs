//! A point in time on the command line, in the same forms as in the API: RFC 3339, a date (its midnight in UTC), `now`, or a time
//! before now such as `-24h`.

use std::str::FromStr;

use adapters::system_clock::SystemClock;
use event::Timestamp;
use pipeline::ports::Clock as _;

/// The value of an option such as `--from`. Relative times are resolved when the argument is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeArgument(pub Timestamp);

impl FromStr for TimeArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = cells::query::parse_time("time", text, SystemClock.now());
        time.map(Self).map_err(|error| format!("use {}, such as {}", error.allowed, error.example))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_times_are_read_in_utc() {
        for (text, expected) in [
            ("2026-11-25", "2026-11-25T00:00:00Z"),
            ("2026-11-25T08:00:00Z", "2026-11-25T08:00:00Z"),
            ("2026-11-25T08:00:00+01:00", "2026-11-25T07:00:00Z"),
        ] {
            let time = text.parse::<TimeArgument>().map(|time| time.0.to_string());
            assert_eq!(time, Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn relative_times_lie_before_now() {
        let time = |text: &str| text.parse::<TimeArgument>().unwrap();
        assert!(time("-1w") < time("-2h") && time("-2h") < time("now"));
    }

    #[test]
    fn other_texts_are_refused_with_an_example() {
        for text in ["yesterday", "2026-13-01", "-2", "2h", ""] {
            let error = text.parse::<TimeArgument>().unwrap_err();
            assert!(error.contains("such as"), "{text}: {error}");
        }
    }
}
