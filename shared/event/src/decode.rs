//! Peels off the layers an event arrives in, whatever they are, down to [`EmailEvent`]s.
//!
//! One payload may be gzip, zstd, a KPL-aggregated record, a Lambda event of Kinesis, Kafka, Firehose, SNS or SQS records,
//! messages received from SQS, Lambda's record of a failed invocation, an SNS or EventBridge envelope, a JSON array,
//! NDJSON, pretty-printed or concatenated values, and any of them inside another. Each part ends in exactly one
//! [`Decoded`], and one bad part costs nothing else. Everything that grows with hostile input has a limit here.

use memchr::{memchr, memrchr};

use crate::event::EmailEvent;
use crate::json::{Fault, Scanner};
use crate::normalise::{self, NotCounted};
use envelope::{Content, Envelope, Field};

pub use outcome::{Encoding, Ignored, Unreadable};

mod base64;
mod compression;
mod envelope;
pub mod kafka;
pub mod kinesis;
mod kpl;
mod outcome;
pub mod stream;

/// Bytes of one payload: more than any source's largest record (Kinesis 10 MiB, Lambda payload 6 MiB).
pub const MAX_RECORD_BYTES: usize = 16 << 20;
/// Bytes that all compressed parts inside each other may come to when decompressed.
pub const MAX_INFLATED_BYTES: usize = 64 << 20;
/// Layers inside each other. The deepest real one has five: Lambda event, gzip, KPL, SNS envelope, event.
pub const MAX_LAYERS: usize = 6;
/// A spare buffer larger than this is not kept: one large record must not cost its memory for ever.
const SPARE_BYTES: usize = 4 << 20;

/// What one part of a payload came to.
///
/// Two lifetimes, as an event's small vectors cannot pass for shorter-lived ones: `'r` is that of the call, `'t` that of the text.
#[derive(Debug)]
pub enum Decoded<'r, 't> {
    /// An event to count.
    Event(&'r EmailEvent<'t>),
    /// Nothing to count, for a known reason.
    Ignored(Ignored),
    /// A part to put into quarantine; decoding `bytes` again gives the same.
    Unreadable {
        /// Why.
        reason: Unreadable,
        /// The part, as it stood in its layer.
        bytes: &'r [u8],
    },
}

/// Where outcomes go.
type Each<'e> = &'e mut dyn FnMut(Decoded<'_, '_>);

/// Decodes payloads one after the other, keeping its buffers.
#[derive(Debug, Default)]
pub struct Decoder {
    spare: Vec<Vec<u8>>,
}

/// How deep inside other layers a part lies, and what it may still decompress to.
#[derive(Clone, Copy)]
struct Layer {
    depth: usize,
    room: usize,
}

impl Decoder {
    /// A decoder without buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes one payload and gives each outcome to `each`, in the order of the parts.
    pub fn decode(&mut self, payload: &[u8], each: Each<'_>) {
        if payload.len() > MAX_RECORD_BYTES {
            let reason = Unreadable::TooLarge { limit: MAX_RECORD_BYTES };
            return each(Decoded::Unreadable { reason, bytes: payload });
        }
        self.payload(payload, Layer { depth: 0, room: MAX_INFLATED_BYTES }, each);
    }

    fn payload(&mut self, bytes: &[u8], layer: Layer, each: Each<'_>) {
        if layer.depth == MAX_LAYERS {
            return each(Decoded::Unreadable {
                reason: Unreadable::TooManyLayers { limit: MAX_LAYERS },
                bytes,
            });
        }
        let inside = Layer { depth: layer.depth + 1, ..layer };
        if let Some(encoding) = compression::detect(bytes) {
            return self.compressed(encoding, bytes, inside, each);
        }
        if let Some(records) = kpl::records(bytes) {
            return self.aggregated(records, bytes, inside, each);
        }
        self.lines(bytes, inside, each);
    }

    fn aggregated(&mut self, records: kpl::Records<'_>, bytes: &[u8], layer: Layer, each: Each<'_>) {
        let mut is_empty = true;
        for record in records {
            is_empty = false;
            match record {
                Ok(record) => self.payload(record, layer, each),
                Err(kpl::Malformed) => {
                    each(Decoded::Unreadable { reason: Unreadable::Broken(Encoding::Kpl), bytes });
                }
            }
        }
        if is_empty {
            each(Decoded::Ignored(Ignored::Empty));
        }
    }

    fn compressed(&mut self, encoding: Encoding, bytes: &[u8], layer: Layer, each: Each<'_>) {
        let mut buffer = self.take_buffer();
        buffer.clear();
        match compression::decompress(encoding, bytes, layer.room, &mut buffer) {
            Ok(()) => {
                let room = layer.room.saturating_sub(buffer.len());
                self.payload(&buffer, Layer { room, ..layer }, each);
            }
            Err(reason) => each(Decoded::Unreadable { reason, bytes }),
        }
        self.keep_buffer(buffer);
    }

    /// Text, or text with lines that are not UTF-8: those are set apart, and the rest is read as if they were not there.
    fn lines(&mut self, bytes: &[u8], layer: Layer, each: Each<'_>) {
        let mut rest = bytes;
        loop {
            let error = match simdutf8::compat::from_utf8(rest) {
                Ok(text) if rest.len() < bytes.len() && text.trim_ascii().is_empty() => return,
                Ok(text) => return self.text(text, layer, each),
                Err(error) => error,
            };
            let (before, bad) = rest.split_at(error.valid_up_to());
            let start = memrchr(b'\n', before).map_or(0, |newline| newline + 1);
            let end = before.len() + memchr(b'\n', bad).unwrap_or(bad.len());
            match std::str::from_utf8(before.get(..start).unwrap_or_default()) {
                Ok(text) if !text.trim_ascii().is_empty() => self.text(text, layer, each),
                _ => {}
            }
            let line = rest.get(start..end).unwrap_or_default();
            each(Decoded::Unreadable { reason: Unreadable::InvalidUtf8, bytes: line });
            rest = rest.get(end..).unwrap_or_default();
        }
    }

    /// Values one after the other. Where one cannot be read its first line is given up, and reading goes on in the next.
    fn text(&mut self, text: &str, layer: Layer, each: Each<'_>) {
        let mut scanner = Scanner::new(text);
        skip_marks(&mut scanner, text);
        if scanner.peek().is_none() {
            return each(Decoded::Ignored(Ignored::Empty));
        }
        let mut is_inside_broken_value = false;
        loop {
            // What closes or separates values inside one that was given up.
            while is_inside_broken_value
                && scanner.peek().is_some_and(|byte| matches!(byte, b',' | b']' | b'}'))
            {
                let byte = scanner.peek().unwrap_or_default();
                scanner.take(byte);
            }
            skip_marks(&mut scanner, text);
            if scanner.peek().is_none() {
                return;
            }
            let mut done = scanner.at();
            if text.get(done..).is_some_and(envelope::is_sns_validation) {
                each(Decoded::Ignored(Ignored::SnsValidation));
                scanner.restart(broken_line(text, done, done).end);
                continue;
            }
            let Err(fault) = self.value(&mut scanner, text, &mut done, layer, each) else {
                // Elements of an array that were cut out of it, and exports that end each line so.
                scanner.take(b',');
                continue;
            };
            let line = broken_line(text, done, scanner.at());
            let reason = Unreadable::json(fault, scanner.at().saturating_sub(line.start));
            each(Decoded::Unreadable {
                reason,
                bytes: text.as_bytes().get(line.clone()).unwrap_or_default(),
            });
            scanner.restart(line.end);
            is_inside_broken_value = true;
        }
    }

    /// Any value. `done` moves behind each part whose outcome is given, so that an error further on does not take it back.
    fn value<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        text: &'a str,
        done: &mut usize,
        layer: Layer,
        each: Each<'_>,
    ) -> Result<(), Fault> {
        match scanner.peek() {
            Some(b'{') => self.object(scanner, text, done, layer, each),
            Some(b'[') => self.array(scanner, text, done, layer, each),
            _ => {
                let bytes = scanner.raw_value()?.as_bytes();
                each(Decoded::Unreadable { reason: Unreadable::NotAnEvent, bytes });
                Ok(())
            }
        }
    }

    fn array<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        text: &'a str,
        done: &mut usize,
        layer: Layer,
        each: Each<'_>,
    ) -> Result<(), Fault> {
        let mut is_empty = true;
        scanner.array(|scanner| {
            is_empty = false;
            self.value(scanner, text, done, layer, each)?;
            *done = scanner.at();
            Ok(())
        })?;
        if is_empty {
            each(Decoded::Ignored(Ignored::Empty));
        }
        Ok(())
    }

    fn object<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        text: &'a str,
        done: &mut usize,
        layer: Layer,
        each: Each<'_>,
    ) -> Result<(), Fault> {
        let start = scanner.at();
        let mut envelope = Envelope::default();
        let mut had_records = false;
        scanner.object_with(&Field::NAMES, |scanner, field| match (field, scanner.peek()) {
            (Some(Field::Records | Field::RecordsOrPartitions), Some(b'[')) => {
                had_records = true;
                self.array(scanner, text, done, layer, each)
            }
            (Some(Field::FailedEvent), Some(b'{' | b'[')) => {
                had_records = true;
                self.value(scanner, text, done, layer, each)?;
                *done = scanner.at();
                Ok(())
            }
            (Some(Field::RecordsOrPartitions), Some(b'{')) => scanner.object(|scanner, _| {
                had_records = true;
                self.value(scanner, text, done, layer, each)?;
                *done = scanner.at();
                Ok(())
            }),
            _ => envelope.field(scanner, field),
        })?;
        if !had_records {
            let bytes = text.as_bytes().get(start..scanner.at()).unwrap_or_default();
            self.content(envelope.content(), bytes, layer, each);
        }
        Ok(())
    }

    fn content(&mut self, content: Content<'_, '_>, bytes: &[u8], layer: Layer, each: Each<'_>) {
        match content {
            Content::Event(wire) => match normalise::events(wire, &mut |event| each(Decoded::Event(event))) {
                Ok(()) => {}
                Err(NotCounted::Ignored(ignored)) => each(Decoded::Ignored(ignored)),
                Err(NotCounted::Unreadable(reason)) => each(Decoded::Unreadable { reason, bytes }),
            },
            Content::Base64(encoded) => {
                let mut buffer = self.take_buffer();
                match base64::decode(encoded, &mut buffer) {
                    Ok(record) => self.payload(record, layer, each),
                    Err(reason) => each(Decoded::Unreadable { reason, bytes }),
                }
                self.keep_buffer(buffer);
            }
            Content::Text(message) => {
                let mut buffer = self.take_buffer();
                buffer.clear();
                let mut buffer = String::from_utf8(buffer).unwrap_or_default();
                message.resolve_into(&mut buffer);
                self.payload(buffer.as_bytes(), layer, each);
                self.keep_buffer(buffer.into_bytes());
            }
            Content::Ignored(ignored) => each(Decoded::Ignored(ignored)),
            Content::Unknown => each(Decoded::Unreadable { reason: Unreadable::NotAnEvent, bytes }),
        }
    }

    /// A buffer with what was in it: filling it anew with zeros would cost as much as decoding base64 into it.
    fn take_buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BYTES {
            self.spare.push(buffer);
        }
    }
}

/// The text of a payload that is to be read as it is.
fn text_of(payload: &[u8]) -> Result<&str, Unreadable> {
    if payload.len() > MAX_RECORD_BYTES {
        return Err(Unreadable::TooLarge { limit: MAX_RECORD_BYTES });
    }
    simdutf8::basic::from_utf8(payload).map_err(|_| Unreadable::InvalidUtf8)
}

/// Skips byte order marks: each of several files that were put together may begin with one.
fn skip_marks(scanner: &mut Scanner<'_>, text: &str) {
    const MARK: char = '\u{feff}';
    while scanner.peek() == Some(0xef) && text.get(scanner.at()..).is_some_and(|rest| rest.starts_with(MARK))
    {
        scanner.restart(scanner.at() + MARK.len_utf8());
    }
}

/// The rest of the line in which the first thing after `done` stands: what separates values is none, unless reading failed
/// on it.
fn broken_line(text: &str, done: usize, failed_at: usize) -> std::ops::Range<usize> {
    let rest = text.as_bytes().get(done..).unwrap_or_default();
    let before_fault = rest.iter().take(failed_at.saturating_sub(done));
    let gap = before_fault.take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count();
    let start = done + gap;
    let length = rest.get(gap..).and_then(|rest| memchr(b'\n', rest));
    start..length.map_or(text.len(), |length| start + length)
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
