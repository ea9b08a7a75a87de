//! Finds the ends of a container's elements by its brackets, in one pass over bytes that arrive in chunks.
//!
//! It must never scan a byte again for each chunk that arrives, nor take a character inside a string for a bracket. It does not
//! check that an element is JSON.

use memchr::{memchr, memchr3, memrchr_iter};

/// The lists with which an object may begin that has one part for each element: a batch of Lambda, except for Kafka's and Firehose's,
/// and what the command line prints of a queue and of a log.
const LISTS: [&[u8]; 3] = [b"\"Records\"", b"\"Messages\"", b"\"events\""];

/// How each Kinesis record begins. No string can contain this text, because its quotes would be escaped.
const KINESIS_OPENING: &[u8] = b"{\"kinesis\":{";

/// The state of a scan through a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct ElementScan {
    container: Container,
    /// The number of brackets that are open inside the container.
    depth: usize,
    in_string: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Container {
    /// An array at the top level, whose elements can be any values.
    Array,
    /// The list of records with which an object begins.
    Records,
    /// The object after its list of records. What comes here is not an element.
    Object,
}

/// How far a scan came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScanProgress {
    /// The end of the last complete element.
    pub(super) whole: usize,
    /// The end of the bytes that were scanned.
    pub(super) scanned: usize,
    pub(super) state: ContainerState,
}

/// Whether a container has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerState {
    Open,
    Closed,
    /// It ended with a bracket that does not match.
    Broken,
}

impl ElementScan {
    /// Starts a scan of the container that `bytes` begin with. Also returns the number of bytes before its first element.
    pub(super) fn enter(bytes: &[u8]) -> Option<(Self, usize)> {
        let trimmed = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii_start();
        let (container, length) = match trimmed.first()? {
            b'[' => (Container::Array, 1),
            _ => (Container::Records, trimmed.len() - list_of_object(trimmed)?.len()),
        };
        Some((Self { container, depth: 0, in_string: false }, bytes.len() - trimmed.len() + length))
    }

    /// Gives up the element that is open.
    pub(super) fn reset(&mut self) {
        self.depth = 0;
        self.in_string = false;
    }

    /// Continues the scan at `at`. `bytes` must begin with an element or between two.
    pub(super) fn advance(&mut self, bytes: &[u8], mut at: usize) -> ScanProgress {
        if at == 0
            && let Some(whole) = self.skip_kinesis_records(bytes)
        {
            return ScanProgress { whole, scanned: whole, state: ContainerState::Open };
        }
        let mut whole = 0;
        let mut state = ContainerState::Open;
        while let Some(&byte) = bytes.get(at) {
            if self.in_string {
                // There is a rest: the loop has just found a byte at this position.
                let found = memchr3(b'"', b'\\', b'\n', bytes.get(at..).unwrap_or(&[]));
                at = found.map_or(bytes.len(), |found| at + found);
                match (bytes.get(at), bytes.get(at + 1)) {
                    // The chunk ends inside the string. A backslash at the very end is scanned again with the character it
                    // escapes.
                    (None, _) | (Some(b'\\'), None) => break,
                    // JSON does not escape line breaks: let the next round treat it as the end of a broken string.
                    (Some(b'\\'), Some(b'\n')) => at += 1,
                    (Some(b'\\'), Some(_)) => at += 2,
                    (Some(b'"'), _) => {
                        self.in_string = false;
                        at += 1;
                    }
                    // A line break: JSON strings have none, so the element was cut off here.
                    (Some(_), _) => {
                        self.reset();
                        whole = self.whole_up_to(whole, at);
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
                        whole = self.whole_up_to(whole, at);
                    }
                }
                // No element is open, so this closes the container itself.
                b'}' | b']' => {
                    whole = self.whole_up_to(whole, at - 1);
                    state = self.close(byte);
                    if state != ContainerState::Open {
                        break;
                    }
                }
                b',' if self.depth == 0 => whole = self.whole_up_to(whole, at - 1),
                _ => {}
            }
        }
        ScanProgress { whole, scanned: at, state }
    }

    /// The end of the last complete Kinesis record, if the end of the list has not come: there is none without a `]`, which such
    /// a record does not contain (its data is base64). This saves scanning most bytes of a large batch one by one.
    fn skip_kinesis_records(&self, bytes: &[u8]) -> Option<usize> {
        let is_between = self.container == Container::Records && self.depth == 0 && !self.in_string;
        let is_of_kinesis = bytes.strip_prefix(b",").unwrap_or(bytes).starts_with(KINESIS_OPENING);
        if !is_between || !is_of_kinesis || memchr(b']', bytes).is_some() {
            return None;
        }
        let begins = |at: &usize| {
            bytes
                .get(*at..)
                .and_then(|rest| rest.strip_prefix(b","))
                .is_some_and(|rest| rest.starts_with(KINESIS_OPENING))
        };
        // `None` while even the first record is incomplete: then the ordinary scan proceeds, which remembers its position.
        memrchr_iter(b'}', bytes).map(|bracket| bracket + 1).find(begins)
    }

    /// The new end of complete elements, now that something ends at `at`. After the list of records there are no more elements.
    fn whole_up_to(&self, whole: usize, at: usize) -> usize {
        if self.container == Container::Object { whole } else { at }
    }

    fn close(&mut self, bracket: u8) -> ContainerState {
        match (self.container, bracket) {
            (Container::Array, b']') | (Container::Object, b'}') => ContainerState::Closed,
            (Container::Records, b']') => {
                self.container = Container::Object;
                ContainerState::Open
            }
            _ => ContainerState::Broken,
        }
    }
}

/// The rest of `object` behind the bracket that opens its list, if it begins with one of [`LISTS`].
fn list_of_object(object: &[u8]) -> Option<&[u8]> {
    let inside = object.strip_prefix(b"{")?.trim_ascii_start();
    let value = LISTS.iter().find_map(|name| inside.strip_prefix(*name))?;
    value.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"[")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress_of(text: &str) -> ScanProgress {
        let (mut scan, length) = ElementScan::enter(text.as_bytes()).unwrap();
        let progress = scan.advance(&text.as_bytes()[length..], 0);
        ScanProgress {
            whole: length + progress.whole,
            scanned: length + progress.scanned,
            state: progress.state,
        }
    }

    /// `|` marks the end of the complete elements, `^` the end of the scanned bytes.
    fn check(marked: &str, state: ContainerState) {
        let text = marked.replace(['|', '^'], "");
        let whole = marked.find('|').unwrap();
        let scanned = marked.find('^').unwrap() - 1;
        assert_eq!(progress_of(&text), ScanProgress { whole, scanned, state }, "{marked}");
    }

    #[test]
    fn elements_end_at_their_last_bracket() {
        check(r#" [{"a":"]}"},[{}]|, {"b":[^"#, ContainerState::Open);
        check(r#"[1,"a\\","b\""|]^, {}"#, ContainerState::Closed);
        check(r#"[1|,"ab\\^"#, ContainerState::Open);
        // The escaped character has not come yet.
        check(r#"[1|,"ab^\"#, ContainerState::Open);
        check(r"[|]^", ContainerState::Closed);
        check(r"[{}|}^", ContainerState::Broken);
    }

    #[test]
    fn byte_order_mark_is_not_an_element() {
        let (_, length) = ElementScan::enter("\u{feff} [1]".as_bytes()).unwrap();
        assert_eq!(length, 5);
    }

    #[test]
    fn records_end_with_their_object() {
        check(r#"{"Records":[{"a":1},{}|],"b":[{}],"c":{"d":"}"}}^{}"#, ContainerState::Closed);
        check(r#"{"Records":[{}|] ,"b":[{}],^"#, ContainerState::Open);
        check(r#"{"Records":[{}|]]^"#, ContainerState::Broken);
        check(r#"{"Records":[|]}^"#, ContainerState::Closed);
        check("{\n  \"events\": [\n {\"a\":1}, {}\n|], \"b\": [{}]}^", ContainerState::Closed);
        check(r#"{"Messages":[{}|,{"a^"#, ContainerState::Open);
        assert!(ElementScan::enter(br#"{"records":[{}]}"#).is_none());
    }

    #[test]
    fn kinesis_records_are_skipped_at_once() {
        let record = r#"{"kinesis":{"partitionKey":"},{\"kinesis\":{","data":"QQ=="},"eventID":"a"}"#;
        check(&format!("{{\"Records\":[{record},{record}|^,{record}"), ContainerState::Open);
        check(&format!("{{\"Records\":[{record}|^"), ContainerState::Open);
        check(&format!("{{\"Records\":[{record},{record}|]^"), ContainerState::Open);
        check(&format!("{{\"Records\":[{record},{record}|]}}^"), ContainerState::Closed);
    }

    #[test]
    fn string_that_is_cut_off_ends_its_element() {
        check("[{\"a\":\"b|\n^", ContainerState::Open);
        check("[{\"a\":\"b\\|\n^", ContainerState::Open);
        check("[{\"a\":\"b\n {}|, {^", ContainerState::Open);
    }
}
