//! Recognises lines that do not begin with an object or an array: the texts that AWS writes around events, and events in another
//! notation.
//!
//! Everything that AWS sends to a program begins with a bracket, so nothing here is examined for such a line. What a person exported,
//! copied or saved may begin otherwise: log lines, base64, a notification by email, a table.

use memchr::memchr;

use super::{compression, kpl};
use crate::invariant::or_broken;
use crate::json::Scanner;
use crate::outcome::Ignored;

/// The beginning of the plain text that SES publishes to a topic to validate it as an event destination. The validation of a
/// feedback topic is JSON with an event type of its own.
const SNS_VALIDATION: &str = "Successfully validated SNS topic";
/// The beginning of the message by which CloudWatch Logs checks that a destination takes records:
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html>
const LOGS_CONTROL_MESSAGE: &str = "CWL CONTROL MESSAGE";
/// The lines that SNS appends to a notification by email, each by its beginning.
const EMAIL_FOOTER: [&str; 4] = [
    "--",
    "If you wish to stop receiving notifications from this topic",
    "https://sns.",
    "Please do not reply directly to this email",
];
/// The most bytes between the time of a log line and its event: a stream's name, a request ID and a level.
const MAX_LOG_PREFIX_BYTES: usize = 640;
/// The smallest number of columns of a table.
const MIN_COLUMNS: usize = 3;

/// What a line that does not begin with a bracket is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineForm {
    /// Text with nothing to count, up to this position.
    Ignored(Ignored, usize),
    /// A log line, whose event begins at this position.
    LogPrefix(usize),
    /// A log line without an event, up to this position.
    OtherLogLine(usize),
    /// Perhaps base64, up to this position. Whether it holds a payload shows when it is decoded.
    Base64(usize),
}

/// Recognises the line of `text` that begins at `start`, which is not white space.
pub(super) fn of_line(text: &str, start: usize) -> Option<LineForm> {
    let rest = text.get(start..)?;
    let length = line_length(text, start);
    let line = rest.get(..length)?.trim_ascii_end();
    if line.starts_with(SNS_VALIDATION) {
        return Some(LineForm::Ignored(Ignored::SnsValidation, start + length));
    }
    if line.starts_with(LOGS_CONTROL_MESSAGE) {
        return Some(LineForm::Ignored(Ignored::LogsControlMessage, start + length));
    }
    if let Some(length) = email_footer(rest) {
        return Some(LineForm::Ignored(Ignored::EmailFooter, start + length));
    }
    if begins_with_time(line) {
        // Otherwise one unreadable line, instead of one part for each number in its time.
        let end = LineForm::OtherLogLine(start + line.len());
        return Some(log_prefix(line).map_or(end, |length| LineForm::LogPrefix(start + length)));
    }
    may_be_base64(line).then_some(LineForm::Base64(start + line.len()))
}

/// The bytes from `start` to the end of its line.
pub(super) fn line_length(text: &str, start: usize) -> usize {
    let rest = text.as_bytes().get(start..).unwrap_or(&[]);
    memchr(b'\n', rest).unwrap_or(rest.len())
}

/// The length of the footer that SNS appends to an email; `None` if `rest` does not begin with one.
fn email_footer(rest: &str) -> Option<usize> {
    let mut length = 0;
    let mut found = 0;
    for line in rest.split_inclusive('\n') {
        let text = line.trim_ascii();
        match EMAIL_FOOTER.iter().position(|beginning| text.starts_with(beginning)) {
            // The first line is two hyphens and nothing else.
            Some(number) if (number == 0) == (length == 0) && (number > 0 || text.len() == 2) => found += 1,
            None if text.is_empty() && length > 0 => {}
            _ => break,
        }
        length += line.len();
    }
    // Two hyphens alone may be anything.
    (found > 1).then_some(length)
}

/// Whether a line begins like `2025-11-13T02:15:26`.
fn begins_with_time(line: &str) -> bool {
    line.as_bytes().first_chunk::<19>().is_some_and(|time| {
        time.iter().enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            10 => matches!(byte, b'T' | b' '),
            13 | 16 => *byte == b':',
            _ => byte.is_ascii_digit(),
        })
    })
}

/// The length of what stands before the event in a line of a log: `2025-11-13T02:15:26.000Z {...}` in an export or
/// `aws logs tail`, and a Lambda function's request ID and level in between.
fn log_prefix(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let head = bytes.get(..MAX_LOG_PREFIX_BYTES).unwrap_or(bytes);
    let event = memchr(b'{', head)?;
    // A quote before it: the bracket is inside some other text, not the beginning of an event.
    let prefix = head.get(..event)?;
    let is_apart = prefix.last().is_some_and(u8::is_ascii_whitespace);
    (is_apart && memchr(b'"', prefix).is_none()).then_some(event)
}

fn may_be_base64(line: &str) -> bool {
    let text = line.trim_end_matches('=');
    // Shorter than the shortest event by far; words and numbers of a few letters are base64 by chance.
    line.len() > 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// Whether `bytes`, decoded from base64 or taken from a string, begin like a payload and not like any other text.
pub(super) fn begins_like_payload(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    matches!(text.first(), Some(b'{' | b'[' | b'"'))
        || compression::detect(bytes).is_some()
        || kpl::records(bytes).is_some()
}

/// Whether `text` begins like a payload.
pub(super) fn is_text_of_payload(text: &str) -> bool {
    begins_like_payload(text.as_bytes())
}

/// Whether a string holds a payload, as far as its beginning shows.
pub(super) fn may_be_payload(text: &str) -> bool {
    is_text_of_payload(text) || of_line(text, text.len() - text.trim_ascii_start().len()).is_some()
}

/// Whether an input that begins with `bytes` is a table, such as a CSV export of counts, instead of events.
pub fn begins_with_table(bytes: &[u8]) -> bool {
    // The bytes may end inside a character; a table's first line is ASCII anyway.
    let text = simdutf8::compat::from_utf8(bytes)
        .or_else(|error| simdutf8::compat::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or(&[])));
    text.is_ok_and(is_table)
}

/// Whether `text` is a table: a first line of plain column names, and nothing in brackets after it.
pub(super) fn is_table(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_ascii_start();
    let (header, rows) = text.split_once('\n').unwrap_or((text, ""));
    let columns = header.trim_ascii_end().split([',', ';', '\t']);
    let mut count = 0;
    for column in columns {
        let name = column.trim_ascii();
        let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        let is_name = name.len() <= 64
            && name
                .starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '_' | '@' | '#'))
            && name.chars().all(|c| {
                c.is_ascii_alphanumeric()
                    || matches!(c, ' ' | '_' | '-' | '.' | '(' | ')' | '%' | '/' | ':' | '@')
            });
        if !is_name {
            return false;
        }
        count += 1;
    }
    // Events after a line that only looks like column names must be found.
    count >= MIN_COLUMNS && !rows.lines().any(|line| line.trim_ascii_start().starts_with(['{', '[']))
}

/// Skips byte order marks, also between values: each of several concatenated files may begin with one.
pub(super) fn skip_byte_order_marks(scanner: &mut Scanner<'_>, text: &str) {
    const MARK: char = '\u{feff}';
    while scanner.peek() == Some(0xef) && text.get(scanner.at()..).is_some_and(|rest| rest.starts_with(MARK))
    {
        scanner.resume_at(scanner.at() + MARK.len_utf8());
    }
}

/// From the first value after `settled` to the end of its line. White space and commas before it only separate values and are
/// left out, unless scanning failed on one of them.
pub(super) fn line_to_give_up(text: &str, settled: usize, failed_at: usize) -> std::ops::Range<usize> {
    let rest = or_broken(text.as_bytes().get(settled..), &[], "a part ends beyond its text");
    let before_fault = rest.iter().take(failed_at.saturating_sub(settled));
    let gap = before_fault.take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count();
    let start = settled + gap;
    let length = rest.get(gap..).and_then(|rest| memchr(b'\n', rest));
    start..length.map_or(text.len(), |length| start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_plain_column_names() {
        for text in [
            "time,tenant,provider,sends\n2026-01-01T00:00:00Z,a,gmail,5\n",
            "time,tenant,sends",
            "\u{feff}\"Message ID\";\"Send date (UTC)\";\"Last delivery event\"\r\n\"1\";\"2\";\"3\"\r\n",
            "@timestamp,@message,@logStream\n",
        ] {
            assert!(is_table(text), "{text}");
        }
        for text in [
            "",
            "time,tenant",
            "not json, really, it is <none>",
            "\"{\\\"a\\\":1}\",\"b\",\"c\"",
            "a,b,c\n{}\n",
            "1,2,3",
            "{\"a\":1,\"b\":2,\"c\":3}",
        ] {
            assert!(!is_table(text), "{text}");
        }
    }

    #[test]
    fn log_line_ends_where_its_event_begins() {
        for (line, expected) in [
            ("2025-11-13T02:15:26.000Z {\"a\"", Some(25)),
            ("2025-11-13T02:15:26.000000+00:00 stream/name {", Some(45)),
            ("2025-11-13T02:15:26.000Z\t1f0c4a52\tINFO\t{", Some(39)),
            ("2025-11-13T02:15:26.000Z START RequestId: 1", None),
            ("2025-11-13T02:15:26.000Z the text \"{", None),
        ] {
            assert_eq!(log_prefix(line), expected, "{line}");
        }
    }
}
