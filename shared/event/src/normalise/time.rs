//! Parses the times in SES's events into a [`Timestamp`].
//!
//! Event publishing always writes `2025-11-13T02:15:23.456Z`, so that form has a fast path; the older notifications also write
//! whole seconds, offsets, and a space before the offset
//! (<https://docs.aws.amazon.com/ses/latest/dg/notification-examples.html>).

use crate::outcome::Unreadable;
use crate::units::Timestamp;

/// 2000-01-01T00:00:00Z in milliseconds since the epoch, the first time accepted. A time outside of the accepted century comes
/// from a broken clock, and its block would be kept for ever.
const EARLIEST_MS: i64 = 946_684_800_000;
/// 2100-01-01T00:00:00Z in milliseconds since the epoch, the first time refused again.
const END_MS: i64 = 4_102_444_800_000;

/// Parses `text`, the value of the field whose path is `field`.
pub(crate) fn parse(text: &str, field: &'static str) -> Result<Timestamp, Unreadable> {
    // The range is checked once, below, for both: neither parser limits the year.
    let millis = parse_usual(text.as_bytes())
        .or_else(|| parse_tolerant(text))
        .ok_or(Unreadable::TimeNotUnderstood(field))?;
    if (EARLIEST_MS..END_MS).contains(&millis) {
        Ok(Timestamp::from_millis(millis))
    } else {
        Err(Unreadable::TimeOutOfRange(field))
    }
}

/// Accepts `YYYY-MM-DDTHH:MM:SS.mmmZ` and nothing else. `None` leaves the text to [`parse_tolerant`], which reads this form too.
fn parse_usual(text: &[u8]) -> Option<i64> {
    let [date_and_time @ .., b'.', a, b, c, b'Z'] = <&[u8; 24]>::try_from(text).ok()? else { return None };
    Some(seconds(date_and_time)? * 1000 + digits(&[*a, *b, *c])?)
}

/// Accepts any fraction or none, then white space, then `Z`, `+01:00`, `+0100`, `+01`, or no offset at all (UTC).
fn parse_tolerant(text: &str) -> Option<i64> {
    // The first 19 bytes are date and time in every spelling; what follows varies.
    let (date_and_time, mut rest) = text.trim().as_bytes().split_first_chunk::<19>()?;
    let mut millis = seconds(date_and_time)? * 1000;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return None;
        }
        let mut scale = 100;
        // Digits beyond milliseconds are cut off.
        for digit in fraction.get(..length.min(3))? {
            millis += i64::from(digit - b'0') * scale;
            scale /= 10;
        }
        rest = fraction.get(length..)?;
    }
    let offset_minutes = match rest.trim_ascii_start() {
        [] | b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2] => signed(*sign, digits(&[*h1, *h2])? * 60),
        [sign @ (b'+' | b'-'), h1, h2, m1, m2] | [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            signed(*sign, digits(&[*h1, *h2])? * 60 + digits(&[*m1, *m2])?)
        }
        _ => return None,
    };
    // A positive offset means local time ahead of UTC.
    Some(millis - offset_minutes * 60_000)
}

fn signed(sign: u8, minutes: i64) -> i64 {
    if sign == b'-' { -minutes } else { minutes }
}

/// Seconds since the epoch of `YYYY-MM-DDTHH:MM:SS`, read as UTC. A leap second counts as the second after it.
fn seconds(text: &[u8; 19]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2] =
        *text
    else {
        return None;
    };
    // As 64-bit numbers from the start: products of years and days in seconds do not fit into 32 bits.
    let (year, month, day) = (digits(&[y1, y2, y3, y4])?, digits(&[o1, o2])?, digits(&[d1, d2])?);
    let (hour, minute, second) = (digits(&[h1, h2])?, digits(&[m1, m2])?, digits(&[s1, s2])?);
    let is_valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        // 60 is a leap second.
        && second <= 60;
    is_valid.then(|| days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn digits(text: &[u8]) -> Option<i64> {
    let mut number = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(byte - b'0');
    }
    Some(number)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar. The year is shifted to begin in March, so that the leap day is its last day.
/// Algorithm: <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<&str, Unreadable>) {
        let read = parse(text, "f").map(|moment| moment.to_string());
        assert_eq!(read, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn every_spelling_of_a_moment_is_parsed() {
        for text in [
            "2018-10-08T14:05:45.000Z",
            "2018-10-08T14:05:45Z",
            "2018-10-08T14:05:45 +0000",
            "2018-10-08T07:05:45.0-07:00",
            "2018-10-08 16:05:45+02",
            "2018-10-08t14:05:45.000000000z",
            " 2018-10-08T14:05:45 ",
        ] {
            check(text, Ok("2018-10-08T14:05:45Z"));
        }
        check("2012-05-25T14:59:38.623-07:00", Ok("2012-05-25T21:59:38.623Z"));
        check("2016-12-31T23:59:60Z", Ok("2017-01-01T00:00:00Z"));
        check("2024-02-29T00:00:00.5Z", Ok("2024-02-29T00:00:00.5Z"));
    }

    #[test]
    fn text_that_is_not_a_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:60:00Z",
            "2023-01-01T00:00:61Z",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00+1",
            "2023-01-01T00:00:00X",
            "2023-01-0aT00:00:00Z",
            "1700000000",
            "2023-01-01",
            "2023-01-01T00:00:00.000Zé",
            "２０23-01-01T00:00:00Z",
        ] {
            check(text, Err(Unreadable::TimeNotUnderstood("f")));
        }
    }

    #[test]
    fn times_outside_the_century_are_out_of_range() {
        check("2000-01-01T00:00:00.000Z", Ok("2000-01-01T00:00:00Z"));
        check("2099-12-31T23:59:59.999Z", Ok("2099-12-31T23:59:59.999Z"));
        for text in [
            "1999-12-31T23:59:59.999Z",
            "2100-01-01T00:00:00.000Z",
            "9999-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
        ] {
            check(text, Err(Unreadable::TimeOutOfRange("f")));
        }
    }

    proptest! {
        #[test]
        fn both_parsers_agree_with_the_calendar(millis in EARLIEST_MS..END_MS) {
            let text = jiff::Timestamp::from_millisecond(millis).unwrap().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
            prop_assert_eq!(parse_usual(text.as_bytes()), Some(millis));
            prop_assert_eq!(parse_tolerant(&text), Some(millis));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            let _ = parse(&text, "f");
        }
    }
}
