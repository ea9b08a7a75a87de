//! Joins the lines of a JSON value that was folded on its way by email.
//!
//! SNS sends a notification by email as one long line. Mail servers fold lines of more than 998 bytes, inside strings too, where JSON
//! allows no line break: Postfix inserts a line break and a space (<https://www.postfix.org/postconf.5.html#smtp_line_length_limit>),
//! Sendmail an exclamation mark before them. Mail programs break lines at spaces.

use memchr::memchr;

use super::budget::Allowance;
use crate::json::{ScanError, Scanner};

/// The most bytes that one value may have: more than the largest message of SNS, 256 KiB.
const MAX_BYTES: usize = 512 << 10;
/// The bytes that are joined at first: a line of an email.
const FIRST_BYTES: usize = 1 << 10;
/// What it costs to join a line, in bytes of work.
const LINE_WORK: usize = 16;

/// Whether a fold stopped the scanner at this position.
pub(super) fn is_fold(text: &str, at: usize) -> bool {
    let rest = text.get(at..).unwrap_or("");
    // A line break stops it only inside a string; outside of one it is white space.
    rest.starts_with(['\n', '\r']) || ["!\n ", "!\r\n "].iter().any(|fold| rest.starts_with(fold))
}

/// A value without its folds.
pub(super) struct Unfolded {
    /// The JSON text of one value.
    pub(super) json: String,
    /// Where it ended in the folded text.
    pub(super) end: usize,
}

/// The value that `text` begins with at `start`, up to the next blank line; `None` if it is not JSON without its folds either. Takes
/// the bytes that it reads in vain from `budget`, and does nothing if that is used up: values that stay broken must not make the time grow
/// faster than the text. All bytes that it reads count as work.
pub(super) fn unfold(text: &str, start: usize, budget: &mut usize, left: &mut Allowance) -> Option<Unfolded> {
    if *budget == 0 || !text.get(start..)?.starts_with('{') {
        return None;
    }
    // A short value must not cost as much as the longest one that could be there.
    let mut limit = FIRST_BYTES;
    loop {
        let Joined { mut json, lines, is_cut } = join(text, start, limit)?;
        left.read(json.len() + LINE_WORK * lines.len());
        let mut scanner = Scanner::new(&json);
        let end = scanner.skip();
        if end == Err(ScanError::UnexpectedEnd) && is_cut && limit < MAX_BYTES {
            limit *= 8;
            continue;
        }
        if end.is_err() {
            *budget = budget.saturating_sub(json.len().max(1));
            return None;
        }
        let length = scanner.at();
        let &(in_json, in_text) = lines.iter().rev().find(|(in_json, _)| *in_json < length)?;
        json.truncate(length);
        return Some(Unfolded { json, end: in_text + length - in_json });
    }
}

/// Lines without the folds between them.
struct Joined {
    json: String,
    /// Where each line begins: in `json`, and in the text.
    lines: Vec<(usize, usize)>,
    /// Whether the limit ended them, instead of a blank line or the end of the text.
    is_cut: bool,
}

/// Joins the lines from `start`, at most `limit` bytes.
fn join(text: &str, start: usize, limit: usize) -> Option<Joined> {
    let mut joined = Joined { json: String::new(), lines: Vec::new(), is_cut: false };
    let Joined { json, lines, is_cut } = &mut joined;
    let mut at = start;
    while let Some(rest) = text.get(at..) {
        // Not searched beyond the limit, where a line may be as long as the text.
        let head = rest.as_bytes().get(..limit + 2).unwrap_or(rest.as_bytes());
        let length = memchr(b'\n', head).unwrap_or(head.len());
        if json.len() + length > limit {
            *is_cut = true;
            break;
        }
        let line = rest.get(..length)?;
        // A blank line separates the notification from the footer: JSON is never folded into one.
        if line.trim_ascii().is_empty() {
            break;
        }
        let is_continuation = at > start && line.starts_with(' ');
        if is_continuation && json.ends_with('!') {
            json.pop();
        }
        let skipped = usize::from(is_continuation);
        lines.push((json.len(), at + skipped));
        json.push_str(line.get(skipped..)?.trim_end_matches('\r'));
        if length == rest.len() {
            break;
        }
        at += length + 1;
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, &str)>) {
        let unfolded = unfold(text, 0, &mut 1000, &mut Allowance::default());
        let parts = unfolded.as_ref().map(|unfolded| (unfolded.json.as_str(), &text[unfolded.end..]));
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn folds_of_every_mail_server_are_removed() {
        check("{\"a\":\"b\r\n c\"}\r\n\r\n--\r\n", Some(("{\"a\":\"bc\"}", "\r\n\r\n--\r\n")));
        check("{\"a\":\"b!\n c\",\n\"d\":\"e\nf\"} x", Some(("{\"a\":\"bc\",\"d\":\"ef\"}", " x")));
        check("{\"a\":\"b\n\nc\"}", None);
        check("[\"a\nb\"]", None);
    }

    #[test]
    fn values_that_stay_broken_use_up_the_budget() {
        let (mut budget, mut left) = (10, Allowance::default());
        assert!(unfold("{\"a\nb\nc\n", 0, &mut budget, &mut left).is_none());
        assert!(unfold("{\"a\nb\nc\n", 0, &mut budget, &mut left).is_none());
        assert_eq!(budget, 0);
        assert!(unfold("{}", 0, &mut budget, &mut left).is_none());
    }

    #[test]
    fn short_value_costs_little_whatever_stands_behind_it() {
        for length in [10, 3_000, 60_000] {
            let value = format!("{{\"a\":\"\n{}\"}}", "b\n".repeat(length / 2));
            let text = value.clone() + &"\n{\"a\":\"\n\"}".repeat(100_000);
            let (mut budget, mut left) = (1000, Allowance::default());
            let unfolded = unfold(&text, 0, &mut budget, &mut left).unwrap();
            assert_eq!((unfolded.end, budget), (value.len(), 1000));
            // Each of these lines has two bytes, and the last attempt reads up to eight times as much as the value has.
            let work = Allowance::default().used(left).work;
            assert!(work < 100 * (value.len() + FIRST_BYTES), "{work}");
        }
    }
}
