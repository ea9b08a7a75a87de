//! A moment on the command line: RFC 3339, a date, which is its midnight in UTC, `now`, or so long ago as `-24h`.

use std::str::FromStr;

use adapters::system_clock::SystemClock;
use event::Timestamp;
use pipeline::ports::Clock as _;

/// A moment as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment = cells::query::moment("time", text, SystemClock.now());
        moment.map(Self).map_err(|error| format!("use {}, such as {}", error.allowed, error.example))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        let moment = |text: &str| text.parse::<Moment>().map(|moment| moment.0.to_string());
        assert_eq!(moment("2026-11-25"), Ok("2026-11-25T00:00:00Z".to_owned()));
        assert_eq!(moment("2026-11-25T08:00:00+01:00"), Ok("2026-11-25T07:00:00Z".to_owned()));
        assert!(moment("yesterday").is_err());
        assert!(moment("-2h") < moment("now"));
    }
}
