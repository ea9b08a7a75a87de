//! Removes the layers an event arrives in, in any combination, down to [`EmailEvent`]s.
//!
//! A payload may be gzip, zstd, base64, a KPL-aggregated record, a Lambda event with Kinesis, Kafka, Firehose, SNS or SQS records,
//! messages received from SQS, records read from Kinesis, Lambda's record of a failed invocation, a record that Firehose gave up, entries
//! and lines of CloudWatch Logs, the body of an HTTP request, an SNS or EventBridge envelope, a message of Kafka Connect, a notification
//! by email, a JSON string or array, NDJSON, pretty-printed or concatenated values, or any of these inside another.
//!
//! Invariants:
//! - Every part ends in exactly one [`Decoded`], and every payload has at least one.
//! - A bad part never takes a good one with it. No event is both passed on and quarantined, unless a KPL message breaks, or exceeds a
//!   budget, behind it.
//! - The outcome depends on the payload alone: not on the decoder's past, on time or on settings. So a replay gives the same outcomes.
//!   Only what a payload uses beyond its share of the budgets depends on the rest of its batch.
//! - Payloads are hostile: everything that grows with them (bytes, nesting, decompressed size, parts, work) has a limit here and in
//!   `budget`. What is decoded before a limit is reached counts, and the rest is unreadable.

use memchr::{memchr, memrchr};

use crate::event::EmailEvent;
use crate::invariant::or_broken;
use crate::json::{RawText, ScanError, Scanner};
use crate::machine::AgentCache;
use crate::normalise::{self, NotCounted};
use budget::Allowance;
use envelope::{Content, EnvelopeFields, Field, about_no_message};
use line_forms::{LineForm, line_to_give_up, skip_byte_order_marks};

pub use self::budget::{BatchBudget, MAX_INFLATED_BYTES, MAX_PARTS, MAX_WORK_BYTES};
pub use self::line_forms::begins_with_table;
pub use crate::outcome::{DecodeBudget, Encoding, Ignored, IgnoredCounts, Unreadable};

mod base64;
mod budget;
mod compression;
mod envelope;
pub mod kafka;
pub mod kinesis;
mod kpl;
mod line_forms;
mod packed;
pub mod stream;
mod unfold;

/// The largest payload, in bytes: more than the largest record of any source (Kinesis 10 MiB, Lambda's payload 6 MiB).
pub const MAX_RECORD_BYTES: usize = 16 << 20;
/// The most layers inside each other. The deepest real payload has five: Lambda event, gzip, KPL, SNS envelope, event.
pub const MAX_LAYERS: usize = 6;
/// The most bytes of one text that are joined in vain, in search of values that were folded.
const UNFOLD_BUDGET: usize = 1 << 20;
/// The largest buffer kept for reuse: one large record must not occupy its memory for the life of the process.
const SPARE_BYTES: usize = 4 << 20;

/// The outcome of one part of a payload.
///
/// It needs two lifetimes, `'r` for the call and `'t` for the text, because `EmailEvent` is invariant in its lifetime (its
/// `SmallVec`s are).
#[derive(Debug)]
pub enum Decoded<'r, 't> {
    /// An event to count.
    Event(&'r EmailEvent<'t>),
    /// The part is sound and has nothing to count.
    Ignored(Ignored),
    /// The part belongs into quarantine. Decoding `bytes` again, by the same version, gives the same outcome, except
    /// that it goes on where a budget ended it.
    Unreadable {
        /// Why it cannot be read; kept with the part for the operator who looks at the quarantine.
        reason: Unreadable,
        /// The part as it was in its layer: compressed data stays compressed.
        bytes: &'r [u8],
    },
}

/// Receives the outcome of each part. Dynamic, so that the recursion through the layers is compiled once and not for each caller.
type OnOutcome<'e> = &'e mut dyn FnMut(Decoded<'_, '_>);

/// Decodes payloads one after the other and reuses its buffers.
///
/// Its state never influences an outcome: what it knows of the last user agents, and buffers, which grow to the largest parts seen, are
/// kept up to 4 MiB each, and are at most as many as layers.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Buffers that no layer uses at the moment, with whatever they held last.
    spare: Vec<Vec<u8>>,
    agents: AgentCache,
    /// What the payload that is being decoded may still use, shared by all of its layers so that no arrangement multiplies a limit.
    left: Allowance,
}

impl Decoder {
    /// Buffers are allocated when they are first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes one payload and passes each outcome to `on_outcome`, in the order of the parts. It may use each budget in full.
    pub fn decode(&mut self, payload: &[u8], on_outcome: OnOutcome<'_>) {
        self.decode_in_batch(payload, &mut BatchBudget::new(), on_outcome);
    }

    /// Decodes one payload of a batch in the same way. It may use its share of each budget, and of the rest what the payloads before it
    /// left.
    pub fn decode_in_batch(&mut self, payload: &[u8], batch: &mut BatchBudget, on_outcome: OnOutcome<'_>) {
        if payload.len() > MAX_RECORD_BYTES {
            let reason = Unreadable::TooLarge { limit: MAX_RECORD_BYTES };
            return on_outcome(Decoded::Unreadable { reason, bytes: payload });
        }
        let allowed = batch.for_payload(payload.len());
        self.left = allowed;
        self.decode_payload(payload, 0, on_outcome);
        batch.take(payload.len(), allowed.used(self.left));
    }

    /// Passes on the outcome of a part that is not an event.
    fn pass(&mut self, decoded: Decoded<'_, '_>, on_outcome: OnOutcome<'_>) {
        self.left.part();
        on_outcome(decoded);
    }

    fn pass_unreadable(&mut self, reason: Unreadable, bytes: &[u8], on_outcome: OnOutcome<'_>) {
        self.pass(Decoded::Unreadable { reason, bytes }, on_outcome);
    }

    /// Decodes what is inside `depth` other layers.
    fn decode_payload(&mut self, bytes: &[u8], depth: usize, on_outcome: OnOutcome<'_>) {
        // Before anything is unpacked: the depth bounds the recursion, and with it the stack.
        if depth == MAX_LAYERS {
            let reason = Unreadable::TooManyLayers { limit: MAX_LAYERS };
            return self.pass_unreadable(reason, bytes, on_outcome);
        }
        self.left.read(bytes.len());
        if let Some(budget) = self.left.exhausted() {
            return self.pass_unreadable(Unreadable::OverBudget(budget), bytes, on_outcome);
        }
        let inside = depth + 1;
        // By magic numbers, because no source says how its records are packed. None of them can begin JSON.
        if let Some(encoding) = compression::detect(bytes) {
            return self.decode_compressed(encoding, bytes, inside, on_outcome);
        }
        if let Some(records) = kpl::records(bytes) {
            return self.decode_kpl(records, bytes, inside, on_outcome);
        }
        self.decode_lines(bytes, inside, on_outcome);
    }

    /// Decodes text in which single lines may not be UTF-8. Those lines are unreadable; the text between them is decoded without
    /// them.
    fn decode_lines(&mut self, bytes: &[u8], depth: usize, on_outcome: OnOutcome<'_>) {
        let mut rest = bytes;
        loop {
            let error = match simdutf8::compat::from_utf8(rest) {
                // White space after a line that was set apart is not an empty payload of its own.
                Ok(text) if rest.len() < bytes.len() && text.trim_ascii().is_empty() => return,
                Ok(text) => return self.decode_text(text, depth, on_outcome),
                Err(error) => error,
            };
            if let Some(budget) = self.left.exhausted() {
                return self.pass_unreadable(Unreadable::OverBudget(budget), rest, on_outcome);
            }
            let (before, bad) = rest.split_at(error.valid_up_to());
            let start = memrchr(b'\n', before).map_or(0, |newline| newline + 1);
            let end = before.len() + memchr(b'\n', bad).unwrap_or(bad.len());
            // The bad line is from `start` to `end`, both of which were found in `rest` just above.
            let (lines, _) = before.split_at(start);
            let (up_to_bad_line, after) = rest.split_at(end);
            let (_, bad_line) = up_to_bad_line.split_at(start);
            let lines = std::str::from_utf8(lines).ok();
            let lines = or_broken(lines, "", "lines before the first invalid byte are not UTF-8");
            if !lines.trim_ascii().is_empty() {
                self.decode_text(lines, depth, on_outcome);
            }
            // The byte order mark that begins a text in UTF-16. Neither of its bytes occurs in UTF-8.
            let is_utf16 = [[0xff, 0xfe], [0xfe, 0xff]].iter().any(|mark| bad_line.starts_with(mark));
            let reason = if is_utf16 { Unreadable::Utf16 } else { Unreadable::InvalidUtf8 };
            self.pass_unreadable(reason, bad_line, on_outcome);
            rest = after;
        }
    }

    /// Decodes values one after the other. Where one is broken, its first line is unreadable and decoding continues on the next
    /// line, where NDJSON has its next event.
    fn decode_text(&mut self, text: &str, depth: usize, on_outcome: OnOutcome<'_>) {
        let mut scanner = Scanner::new(text);
        skip_byte_order_marks(&mut scanner, text);
        if scanner.peek().is_none() {
            return self.pass(Decoded::Ignored(Ignored::Empty), on_outcome);
        }
        if !matches!(scanner.peek(), Some(b'{' | b'[')) && line_forms::is_table(text) {
            return self.pass_unreadable(Unreadable::Table, text.as_bytes(), on_outcome);
        }
        let mut is_inside_broken_value = false;
        let mut unfold_budget = UNFOLD_BUDGET;
        loop {
            // The lines after a broken value's first one may be elements of it: skip the punctuation between them.
            while is_inside_broken_value && [b',', b']', b'}'].into_iter().any(|byte| scanner.take_byte(byte))
            {
            }
            skip_byte_order_marks(&mut scanner, text);
            let Some(first) = scanner.peek() else { return };
            let mut settled = scanner.at();
            if let Some(budget) = self.left.exhausted() {
                let rest = text.as_bytes().get(settled..);
                let rest = or_broken(rest, &[], "a value begins beyond its text");
                return self.pass_unreadable(Unreadable::OverBudget(budget), rest, on_outcome);
            }
            // No known form of a line begins with a quote either.
            if !matches!(first, b'{' | b'[' | b'"')
                && let Some(end) = self.decode_line_form(text, settled, depth, on_outcome)
            {
                scanner.resume_at(end);
                continue;
            }
            let Err(error) = self.decode_value(&mut scanner, text, &mut settled, depth, on_outcome) else {
                // Accept commas between top-level values: elements cut out of an array, and exports that end each line with one.
                scanner.take_byte(b',');
                continue;
            };
            is_inside_broken_value = true;
            if self.left.exhausted().is_some() {
                // The value was not broken, but given up at the part that would have been next.
                scanner.resume_at(settled);
                continue;
            }
            let line = line_to_give_up(text, settled, scanner.at());
            // Decoding continues on the next line, so what is behind the first one is read again.
            self.left.read(scanner.at().saturating_sub(line.end));
            if unfold::is_fold(text, scanner.at())
                && let Some(value) = unfold::unfold(text, line.start, &mut unfold_budget, &mut self.left)
            {
                self.decode_payload(value.json.as_bytes(), depth, on_outcome);
                scanner.resume_at(value.end);
                continue;
            }
            // In the quarantined bytes, because whoever looks into them does not have the rest of the payload.
            let reason = Unreadable::json(error, scanner.at().saturating_sub(line.start));
            let bytes = text.as_bytes().get(line.clone());
            let bytes = or_broken(bytes, &[], "a line to give up is not a part of its text");
            self.pass_unreadable(reason, bytes, on_outcome);
            scanner.resume_at(line.end);
        }
    }

    /// Decodes the line at `start`, which does not begin with a bracket, if it is of a known form. Returns where decoding continues.
    #[cold]
    fn decode_line_form(
        &mut self,
        text: &str,
        start: usize,
        depth: usize,
        on_outcome: OnOutcome<'_>,
    ) -> Option<usize> {
        // The whole line is searched at each value in it that does not begin with a bracket.
        self.left.read(line_forms::line_length(text, start));
        match line_forms::of_line(text, start)? {
            LineForm::Ignored(ignored, end) => {
                self.pass(Decoded::Ignored(ignored), on_outcome);
                Some(end)
            }
            LineForm::LogPrefix(event) => Some(event),
            LineForm::OtherLogLine(end) => {
                let bytes = text.get(start..end)?.as_bytes();
                self.pass_unreadable(Unreadable::NotAnEvent, bytes, on_outcome);
                Some(end)
            }
            LineForm::Base64(end) => {
                let mut buffer = self.take_buffer();
                let decoded = base64::decode_text(text.get(start..end)?, &mut buffer).ok();
                let payload = decoded.filter(|bytes| line_forms::begins_like_payload(bytes));
                let end = payload.map(|payload| {
                    self.decode_payload(payload, depth, on_outcome);
                    end
                });
                self.keep_buffer(buffer);
                end
            }
        }
    }

    /// Decodes any value. `settled` moves to the end of each part whose outcome was passed on, so that an error further on does
    /// not put a counted part into quarantine as well.
    fn decode_value<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        text: &'a str,
        settled: &mut usize,
        depth: usize,
        on_outcome: OnOutcome<'_>,
    ) -> Result<(), ScanError> {
        match scanner.peek() {
            Some(b'{') => self.decode_object(scanner, text, settled, depth, on_outcome),
            Some(b'[') => self.decode_array(scanner, text, settled, depth, on_outcome),
            Some(b'"') => {
                let start = scanner.at();
                let string = scanner.raw_string()?;
                let bytes = scanner.bytes_since(start);
                if !self.decode_string(string, line_forms::may_be_payload, depth, on_outcome) {
                    self.pass_unreadable(Unreadable::NotAnEvent, bytes, on_outcome);
                }
                Ok(())
            }
            // A value of another type is no error of the syntax: the values after it are decoded as if it were not there.
            _ => {
                let bytes = scanner.raw_value()?.as_bytes();
                self.pass_unreadable(Unreadable::NotAnEvent, bytes, on_outcome);
                Ok(())
            }
        }
    }

    /// Stops reading a container at the next part where a budget is used up. The error itself is never seen.
    #[inline]
    fn may_continue(&self) -> Result<(), ScanError> {
        if self.left.exhausted().is_none() { Ok(()) } else { Err(ScanError::Syntax) }
    }

    fn decode_array<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        text: &'a str,
        settled: &mut usize,
        depth: usize,
        on_outcome: OnOutcome<'_>,
    ) -> Result<(), ScanError> {
        let mut is_empty = true;
        scanner.array(|scanner| {
            is_empty = false;
            self.may_continue()?;
            self.decode_value(scanner, text, settled, depth, on_outcome)?;
            *settled = scanner.at();
            Ok(())
        })?;
        if is_empty {
            self.pass(Decoded::Ignored(Ignored::Empty), on_outcome);
        }
        Ok(())
    }

    fn decode_object<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        text: &'a str,
        settled: &mut usize,
        depth: usize,
        on_outcome: OnOutcome<'_>,
    ) -> Result<(), ScanError> {
        let start = scanner.at();
        let mut envelope = EnvelopeFields::default();
        // Elements of a container are decoded while it is read: it may be large, and the elements before a defect must count.
        let mut has_records = false;
        scanner.object_with_known_keys(&Field::KEYS, |scanner, field| match (field, scanner.peek()) {
            (Some(Field::Records | Field::RecordsOrPartitions), Some(b'[')) => {
                has_records = true;
                self.decode_array(scanner, text, settled, depth, on_outcome)
            }
            (Some(Field::RequestPayload), Some(b'{' | b'[')) => {
                has_records = true;
                self.decode_value(scanner, text, settled, depth, on_outcome)?;
                *settled = scanner.at();
                Ok(())
            }
            // Not in an event: a sender may add a list to it that happens to have this name.
            (Some(Field::LogEntries), Some(b'[')) if !envelope.is_event() => {
                has_records = true;
                self.decode_array(scanner, text, settled, depth, on_outcome)
            }
            (Some(Field::RecordsOrPartitions), Some(b'{')) => scanner.object(|scanner, _| {
                has_records = true;
                self.may_continue()?;
                self.decode_value(scanner, text, settled, depth, on_outcome)?;
                *settled = scanner.at();
                Ok(())
            }),
            _ => envelope.read_field(scanner, field),
        })?;
        if !has_records {
            self.decode_content(envelope.content(), scanner.bytes_since(start), depth, on_outcome);
        }
        Ok(())
    }

    fn decode_content(
        &mut self,
        content: Content<'_, '_>,
        bytes: &[u8],
        depth: usize,
        on_outcome: OnOutcome<'_>,
    ) {
        match content {
            Content::Event(wire) => {
                match normalise::events(wire, &mut self.agents, &mut |event| {
                    on_outcome(Decoded::Event(event));
                }) {
                    // One part, although it has an event for each of its outcomes.
                    Ok(()) => self.left.part(),
                    Err(NotCounted::Ignored(ignored)) => self.pass(Decoded::Ignored(ignored), on_outcome),
                    Err(NotCounted::Unreadable(reason)) => self.pass_unreadable(reason, bytes, on_outcome),
                }
            }
            // What is packed has no outcome of its own: the parts inside it have theirs.
            Content::Base64(encoded) => {
                let mut buffer = self.take_buffer();
                let decoded = base64::decode(encoded, &mut buffer).map(|record| {
                    self.decode_payload(record, depth, on_outcome);
                });
                self.keep_buffer(buffer);
                // Some tools write the payload itself where others write base64, which no payload is.
                if let Err(reason) = decoded
                    && !self.decode_string(encoded, line_forms::is_text_of_payload, depth, on_outcome)
                {
                    self.pass_unreadable(reason, bytes, on_outcome);
                }
            }
            Content::Text(message) => {
                self.decode_string(message, |_| true, depth, on_outcome);
            }
            Content::Inline(json) => self.decode_payload(json.as_bytes(), depth, on_outcome),
            Content::AboutNoMessage => self.pass(about_no_message(bytes), on_outcome),
            Content::Ignored(ignored) => self.pass(Decoded::Ignored(ignored), on_outcome),
            Content::Unknown => self.pass_unreadable(Unreadable::NotAnEvent, bytes, on_outcome),
        }
    }

    /// Decodes the text that `string` stands for, if `is_payload` accepts it. Returns whether it did.
    fn decode_string(
        &mut self,
        string: RawText<'_>,
        is_payload: fn(&str) -> bool,
        depth: usize,
        on_outcome: OnOutcome<'_>,
    ) -> bool {
        let mut buffer = self.take_buffer();
        buffer.clear();
        // Kept as text for the escapes, and its allocation with it: an empty buffer is UTF-8.
        let text = String::from_utf8(buffer).ok();
        let mut buffer = or_broken(text, String::new(), "an empty buffer is not UTF-8");
        string.resolve_into(&mut buffer);
        let accepted = is_payload(&buffer);
        if accepted {
            self.decode_payload(buffer.as_bytes(), depth, on_outcome);
        }
        self.keep_buffer(buffer.into_bytes());
        accepted
    }

    /// A buffer with its old content, or a new one: zeroing it would cost as much as decoding base64 into it.
    fn take_buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BYTES {
            self.spare.push(buffer);
        }
    }
}

/// The text of a payload that is not compressed, within the size limit.
fn checked_text(payload: &[u8]) -> Result<&str, Unreadable> {
    if payload.len() > MAX_RECORD_BYTES {
        return Err(Unreadable::TooLarge { limit: MAX_RECORD_BYTES });
    }
    // As a whole: unlike a file of lines, a batch with a bad byte has no line that could be given up alone.
    simdutf8::basic::from_utf8(payload).map_err(|_| Unreadable::InvalidUtf8)
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
