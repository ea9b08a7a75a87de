//! A moment on the command line: RFC 3339, or a date, which is its midnight in UTC.

use std::str::FromStr;

use event::Timestamp;

/// A moment as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment = text.parse::<jiff::Timestamp>().or_else(|_| {
            text.parse::<jiff::civil::Date>()
                .and_then(|date| date.to_zoned_datetime(jiff::tz::TimeZone::UTC))
                .map(|midnight| midnight.timestamp())
        });
        match moment {
            Ok(moment) => Ok(Self(Timestamp::from_millis(moment.as_millisecond()))),
            Err(_) => Err("use a time such as 2026-11-25T08:00:00Z or a date such as 2026-11-25".to_owned()),
        }
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
    }
}
