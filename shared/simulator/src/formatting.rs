//! Formats times and numbers. Hand-written, because several are written per event and the general formatters take most of a simulation's time.

use crate::random::choose;

/// Formats dates, and keeps the civil date of the last day, because most calls are about the same few days.
#[derive(Debug)]
pub(crate) struct Dates {
    day: i64,
    year: i64,
    month: i64,
    day_of_month: i64,
}

const MS_PER_DAY: i64 = 86_400_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// 1970-01-01 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

impl Dates {
    pub(crate) const fn new() -> Self {
        Self { day: 0, year: 1970, month: 1, day_of_month: 1 }
    }

    /// `2026-11-25T07:42:09.123Z`, as SES writes times.
    pub(crate) fn push_iso(&mut self, out: &mut Vec<u8>, at_ms: i64) {
        self.push_iso_seconds(out, at_ms);
        // Replaces the final `Z`.
        out.pop();
        out.push(b'.');
        push_padded(out, at_ms.rem_euclid(1000), 3);
        out.push(b'Z');
    }

    /// `2026-11-25T07:42:09Z`, as EventBridge writes times.
    pub(crate) fn push_iso_seconds(&mut self, out: &mut Vec<u8>, at_ms: i64) {
        self.go_to(at_ms.div_euclid(MS_PER_DAY));
        push_padded(out, self.year, 4);
        out.push(b'-');
        push_padded(out, self.month, 2);
        out.push(b'-');
        push_padded(out, self.day_of_month, 2);
        out.push(b'T');
        push_time(out, at_ms);
        out.push(b'Z');
    }

    /// `Wed, 25 Nov 2026 07:42:09 +0000`, as a Date header has it.
    pub(crate) fn push_header(&mut self, out: &mut Vec<u8>, at_ms: i64) {
        let day = at_ms.div_euclid(MS_PER_DAY);
        self.go_to(day);
        push_name(out, &WEEKDAYS, day.rem_euclid(7));
        out.extend_from_slice(b", ");
        push_decimal(out, self.day_of_month.unsigned_abs());
        out.push(b' ');
        push_name(out, &MONTHS, self.month - 1);
        out.push(b' ');
        push_padded(out, self.year, 4);
        out.push(b' ');
        push_time(out, at_ms);
        out.extend_from_slice(b" +0000");
    }

    /// The civil date of a day, after Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
    fn go_to(&mut self, day: i64) {
        if day == self.day {
            return;
        }
        // Years that begin in March put the leap day last, so months have fixed offsets.
        let shifted = day + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        self.day = day;
        self.day_of_month = of_year - (153 * from_march + 2) / 5 + 1;
        self.month = month;
        self.year = year_of_era + era * 400 + i64::from(month <= 2);
    }
}

fn push_time(out: &mut Vec<u8>, at_ms: i64) {
    let seconds = at_ms.rem_euclid(MS_PER_DAY) / 1000;
    push_padded(out, seconds / 3600, 2);
    out.push(b':');
    push_padded(out, seconds / 60 % 60, 2);
    out.push(b':');
    push_padded(out, seconds % 60, 2);
}

fn push_name<const N: usize>(out: &mut Vec<u8>, names: &[&str; N], index: i64) {
    out.extend_from_slice(choose(index.unsigned_abs(), names).as_bytes());
}

/// The lowest `digits` decimal digits of a number, at most 20, with leading zeros.
pub(crate) fn push_zero_padded(out: &mut Vec<u8>, number: u64, digits: usize) {
    let mut rest = number;
    let mut text = [b'0'; 20];
    for digit in text.iter_mut().rev() {
        *digit = *choose(rest % 10, b"0123456789");
        rest /= 10;
    }
    out.extend_from_slice(text.get(20 - digits..).unwrap_or(&text));
}

/// A number of at most four digits, with leading zeros.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a digit is 0 to 9")]
fn push_padded(out: &mut Vec<u8>, number: i64, digits: usize) {
    let all = [number / 1000 % 10, number / 100 % 10, number / 10 % 10, number % 10]
        .map(|digit| b'0' + digit as u8);
    out.extend_from_slice(all.get(4 - digits..).unwrap_or(&all));
}

/// A number in decimal.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    loop {
        out.push(*choose(number, b"0123456789"));
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// The lowest `digits` hexadecimal digits of a number, at most 16.
pub(crate) fn push_hex(out: &mut Vec<u8>, number: u64, digits: usize) {
    let mut text = [0_u8; 16];
    for (place, digit) in text.iter_mut().enumerate() {
        *digit = *choose(number >> (60 - 4 * place), b"0123456789abcdef");
    }
    out.extend_from_slice(text.get(16 - digits..).unwrap_or(&text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_written_as_ses_and_mail_headers_write_them() {
        for (at_ms, iso, header) in [
            (0, "1970-01-01T00:00:00.000Z", "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z", "Tue, 29 Feb 2000 12:34:56 +0000"),
            (1_786_060_799_999, "2026-08-06T23:59:59.999Z", "Thu, 6 Aug 2026 23:59:59 +0000"),
            (1_786_060_800_000, "2026-08-07T00:00:00.000Z", "Fri, 7 Aug 2026 00:00:00 +0000"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z", "Thu, 31 Dec 2026 23:59:59 +0000"),
            (crate::MAX_START_MS, "9000-01-01T00:00:00.000Z", "Wed, 1 Jan 9000 00:00:00 +0000"),
        ] {
            let mut dates = Dates::new();
            assert_eq!(text(|out| dates.push_iso(out, at_ms)), iso);
            assert_eq!(text(|out| dates.push_header(out, at_ms)), header);
        }
    }

    #[test]
    fn numbers_are_written_in_full() {
        assert_eq!(text(|out| push_decimal(out, 0)), "0");
        assert_eq!(text(|out| push_decimal(out, u64::MAX)), u64::MAX.to_string());
        assert_eq!(text(|out| push_zero_padded(out, 42, 18)), "000000000000000042");
        assert_eq!(text(|out| push_zero_padded(out, 1_234, 3)), "234");
        assert_eq!(text(|out| push_hex(out, 0x0102_0304_0506_0708, 12)), "030405060708");
        assert_eq!(text(|out| push_hex(out, u64::MAX, 16)), "f".repeat(16));
    }
}
