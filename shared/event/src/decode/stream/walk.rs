//! Where the elements of a container end, by its brackets, in one pass however its bytes come.
//!
//! It must never look at a byte again with each chunk that comes, or take what stands in a string for a bracket. What it takes for an
//! element need not be JSON.

use memchr::{memchr, memchr3, memrchr_iter};

/// How Lambda begins the event of a batch, but for Kafka's and Firehose's.
const RECORDS: &[u8] = b"{\"Records\":[";

/// How each record of Kinesis begins. No string can hold this text, as its quotes would be escaped.
const KINESIS: &[u8] = b"{\"kinesis\":{";

/// A walk through a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    inside: Inside,
    /// Brackets that are open inside of it.
    depth: usize,
    in_string: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Inside {
    /// A top-level array.
    Array,
    /// The list of records of an object.
    Records,
    /// Such an object, behind the list.
    Object,
}

/// How far a walk came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Up to there elements are whole.
    pub(super) whole: usize,
    /// Up to there bytes are read.
    pub(super) seen: usize,
    pub(super) end: End,
}

/// Whether a container is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    NotYet,
    Closed,
    /// It closed with a bracket that did not open it.
    Broken,
}

impl Walk {
    /// The walk through the container that begins with `bytes`, and the length of its beginning.
    pub(super) fn into(bytes: &[u8]) -> Option<(Self, usize)> {
        let trimmed = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii_start();
        let (inside, length) = match trimmed.first()? {
            b'[' => (Inside::Array, 1),
            _ if trimmed.starts_with(RECORDS) => (Inside::Records, RECORDS.len()),
            _ => return None,
        };
        Some((Self { inside, depth: 0, in_string: false }, bytes.len() - trimmed.len() + length))
    }

    /// What was open is given up.
    pub(super) fn begin_anew(&mut self) {
        self.depth = 0;
        self.in_string = false;
    }

    /// Goes on at `at`. `bytes` begin where an element does, or between two.
    pub(super) fn over(&mut self, bytes: &[u8], mut at: usize) -> Step {
        if at == 0
            && let Some(whole) = self.leap(bytes)
        {
            return Step { whole, seen: whole, end: End::NotYet };
        }
        let mut whole = 0;
        let mut end = End::NotYet;
        while let Some(&byte) = bytes.get(at) {
            if self.in_string {
                let found = memchr3(b'"', b'\\', b'\n', bytes.get(at..).unwrap_or_default());
                at = found.map_or(bytes.len(), |found| at + found);
                match (bytes.get(at), bytes.get(at + 1)) {
                    (None, _) | (Some(b'\\'), None) => break,
                    (Some(b'\\'), Some(b'\n')) => at += 1,
                    (Some(b'\\'), Some(_)) => at += 2,
                    (Some(b'"'), _) => {
                        self.in_string = false;
                        at += 1;
                    }
                    // JSON has no line break in a string: it was cut off, and its element with it.
                    (Some(_), _) => {
                        self.begin_anew();
                        whole = self.whole_or(whole, at);
                        at += 1;
                    }
                }
                continue;
            }
            at += 1;
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        whole = self.whole_or(whole, at);
                    }
                }
                b'}' | b']' => {
                    whole = self.whole_or(whole, at - 1);
                    end = self.close(byte);
                    if end != End::NotYet {
                        break;
                    }
                }
                b',' if self.depth == 0 => whole = self.whole_or(whole, at - 1),
                _ => {}
            }
        }
        Step { whole, seen: at, end }
    }

    /// Where the last whole record of Kinesis ends, if there is no end of the list: such a record holds none, its data being base64,
    /// and most of the bytes of a large batch need no closer look.
    fn leap(&self, bytes: &[u8]) -> Option<usize> {
        let is_between = self.inside == Inside::Records && self.depth == 0 && !self.in_string;
        let is_of_kinesis = bytes.strip_prefix(b",").unwrap_or(bytes).starts_with(KINESIS);
        if !is_between || !is_of_kinesis || memchr(b']', bytes).is_some() {
            return None;
        }
        let begins = |at: &usize| {
            bytes
                .get(*at..)
                .and_then(|rest| rest.strip_prefix(b","))
                .is_some_and(|rest| rest.starts_with(KINESIS))
        };
        // None if the first is not whole: its bytes must not be looked through with each chunk that comes.
        memrchr_iter(b'}', bytes).map(|bracket| bracket + 1).find(begins)
    }

    /// The end of what is whole, now that something ends at `at`: behind the records there are no elements.
    fn whole_or(&self, whole: usize, at: usize) -> usize {
        if self.inside == Inside::Object { whole } else { at }
    }

    fn close(&mut self, bracket: u8) -> End {
        match (self.inside, bracket) {
            (Inside::Array, b']') | (Inside::Object, b'}') => End::Closed,
            (Inside::Records, b']') => {
                self.inside = Inside::Object;
                End::NotYet
            }
            _ => End::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(text: &str) -> Step {
        let (mut walk, length) = Walk::into(text.as_bytes()).unwrap();
        let step = walk.over(&text.as_bytes()[length..], 0);
        Step { whole: length + step.whole, seen: length + step.seen, end: step.end }
    }

    /// `|` marks the end of what is whole, `^` of what is read.
    fn check(marked: &str, end: End) {
        let text = marked.replace(['|', '^'], "");
        let whole = marked.find('|').unwrap();
        let seen = marked.find('^').unwrap() - 1;
        assert_eq!(walked(&text), Step { whole, seen, end }, "{marked}");
    }

    #[test]
    fn elements_end_at_their_last_bracket() {
        check(r#" [{"a":"]}"},[{}]|, {"b":[^"#, End::NotYet);
        check(r#"[1,"a\\","b\""|]^, {}"#, End::Closed);
        check(r#"[1|,"ab\\^"#, End::NotYet);
        // What it escapes is yet to come.
        check(r#"[1|,"ab^\"#, End::NotYet);
        check(r"[|]^", End::Closed);
        check(r"[{}|}^", End::Broken);
    }

    #[test]
    fn a_byte_order_mark_begins_no_element() {
        let (_, length) = Walk::into("\u{feff} [1]".as_bytes()).unwrap();
        assert_eq!(length, 5);
    }

    #[test]
    fn records_end_with_their_object() {
        check(r#"{"Records":[{"a":1},{}|],"b":[{}],"c":{"d":"}"}}^{}"#, End::Closed);
        check(r#"{"Records":[{}|] ,"b":[{}],^"#, End::NotYet);
        check(r#"{"Records":[{}|]]^"#, End::Broken);
        check(r#"{"Records":[|]}^"#, End::Closed);
        assert!(Walk::into(br#"{"records":[{}]}"#).is_none());
    }

    #[test]
    fn records_of_kinesis_are_leaped_over() {
        let record = r#"{"kinesis":{"partitionKey":"},{\"kinesis\":{","data":"QQ=="},"eventID":"a"}"#;
        check(&format!("{{\"Records\":[{record},{record}|^,{record}"), End::NotYet);
        check(&format!("{{\"Records\":[{record}|^"), End::NotYet);
        check(&format!("{{\"Records\":[{record},{record}|]^"), End::NotYet);
        check(&format!("{{\"Records\":[{record},{record}|]}}^"), End::Closed);
    }

    #[test]
    fn a_string_that_is_cut_off_costs_its_element() {
        check("[{\"a\":\"b|\n^", End::NotYet);
        check("[{\"a\":\"b\\|\n^", End::NotYet);
        check("[{\"a\":\"b\n {}|, {^", End::NotYet);
    }
}
