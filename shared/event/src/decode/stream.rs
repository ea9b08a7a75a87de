//! Cuts a stream of bytes (a file, standard input) into blocks of whole values, in bounded memory.
//!
//! Cheap, so that one thread can cut for many that decode: a line break after a closing bracket and before an opening one
//! lies between two values always, since inside a value a comma or another closing bracket must follow, and a string holds
//! no line break. Such breaks are found without looking at what is between them. Only a top-level array without them
//! is read element by element. What a block holds is not judged here: [`Decoder::decode`](super::Decoder::decode) does that.

use memchr::{memchr, memchr_iter, memrchr, memrchr_iter};

use super::MAX_RECORD_BYTES;

/// Blocks are about so large: enough to make the cost of cutting vanish, small enough to share work evenly.
pub const BLOCK_BYTES: usize = 1 << 20;
/// White space around a line break that is looked through; more of it is no place to cut.
const MAX_GAP_BYTES: usize = 16;

/// A part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One or more whole values, at most [`MAX_RECORD_BYTES`].
    Values {
        /// Where it begins in the stream.
        offset: u64,
        /// The values as they stand.
        bytes: &'a [u8],
    },
    /// A line larger than [`MAX_RECORD_BYTES`]; the rest of it is dropped.
    TooLarge {
        /// Where it begins in the stream.
        offset: u64,
        /// Its first bytes.
        head: &'a [u8],
    },
}

type Each<'e> = &'e mut dyn FnMut(Piece<'_>);

/// Cuts one stream.
#[derive(Debug, Default)]
pub struct Splitter {
    state: State,
    /// What is not yet given out.
    buffer: Vec<u8>,
    /// Where `buffer` begins in the stream.
    offset: u64,
    /// An element did not end within fewer bytes than this; it is not tried again before.
    try_element_at: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Lines,
    /// Inside a top-level array.
    Elements,
    /// Inside a line that is too large.
    Dropping,
}

impl Splitter {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives out what is whole.
    pub fn feed(&mut self, chunk: &[u8], each: Each<'_>) {
        for mut rest in chunk.chunks(BLOCK_BYTES) {
            while !rest.is_empty() {
                rest = match self.state {
                    State::Lines => self.feed_lines(rest, each),
                    State::Elements => self.feed_elements(rest, each),
                    State::Dropping => self.drop_line(rest),
                };
            }
        }
    }

    /// Gives out what is left at the end of the stream.
    pub fn finish(&mut self, each: Each<'_>) {
        if self.state == State::Elements {
            self.try_element_at = 0;
            self.give_elements(each);
        }
        if !self.buffer.trim_ascii().is_empty() {
            self.give(self.buffer.len(), each);
        }
        *self = Self::default();
    }

    fn feed_lines<'c>(&mut self, chunk: &'c [u8], each: Each<'_>) -> &'c [u8] {
        let mut chunk = chunk;
        if self.buffer.is_empty() {
            // The common case, without copying: all whole values of the chunk, then the rest is kept.
            if let Some(cut) = last_cut(chunk) {
                let (values, rest) = chunk.split_at(cut);
                each(Piece::Values { offset: self.offset, bytes: values });
                self.offset += cut as u64;
                chunk = rest;
            }
        } else if let Some(cut) =
            first_cut(&self.buffer, chunk).filter(|cut| self.buffer.len() + cut <= MAX_RECORD_BYTES)
        {
            let (end_of_value, rest) = chunk.split_at(cut);
            self.buffer.extend_from_slice(end_of_value);
            self.give(self.buffer.len(), each);
            return rest;
        }
        let rest = self.keep(chunk);
        if self.buffer.len() >= BLOCK_BYTES && self.buffer.trim_ascii_start().first() == Some(&b'[') {
            self.state = State::Elements;
            self.forget(self.buffer.len() - self.buffer.trim_ascii_start().len() + 1);
            self.give_elements(each);
        } else if self.buffer.len() == MAX_RECORD_BYTES {
            self.give_lines(each);
        }
        rest
    }

    /// Adds to the buffer what fits; the rest.
    fn keep<'c>(&mut self, chunk: &'c [u8]) -> &'c [u8] {
        let (now, rest) = chunk.split_at(chunk.len().min(MAX_RECORD_BYTES - self.buffer.len()));
        self.buffer.extend_from_slice(now);
        rest
    }

    /// Makes room in a full buffer: gives its whole lines, or gives the line up.
    fn give_lines(&mut self, each: Each<'_>) {
        if let Some(newline) = memrchr(b'\n', &self.buffer) {
            return self.give(newline + 1, each);
        }
        each(Piece::TooLarge { offset: self.offset, head: &self.buffer });
        self.forget(self.buffer.len());
        self.state = State::Dropping;
    }

    fn drop_line<'c>(&mut self, chunk: &'c [u8]) -> &'c [u8] {
        let length = memchr(b'\n', chunk).map_or(chunk.len(), |newline| {
            self.state = State::Lines;
            newline + 1
        });
        self.offset += length as u64;
        chunk.get(length..).unwrap_or_default()
    }

    fn feed_elements<'c>(&mut self, chunk: &'c [u8], each: Each<'_>) -> &'c [u8] {
        let rest = self.keep(chunk);
        self.give_elements(each);
        if self.buffer.len() == MAX_RECORD_BYTES {
            self.give_lines(each);
        }
        rest
    }

    /// Gives the whole elements in the buffer; at the array's end, goes on with lines.
    fn give_elements(&mut self, each: Each<'_>) {
        if self.buffer.len() < self.try_element_at {
            return;
        }
        let mut given = 0;
        loop {
            let rest = self.buffer.get(given..).unwrap_or_default();
            let gap = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count();
            let element = rest.get(gap..).unwrap_or_default();
            if element.first() == Some(&b']') {
                self.forget(given + gap + 1);
                self.state = State::Lines;
                return;
            }
            let Some(length) = element_length(element) else { break };
            let start = given + gap;
            each(Piece::Values {
                offset: self.offset + start as u64,
                bytes: element.get(..length).unwrap_or_default(),
            });
            given = start + length;
        }
        self.forget(given);
        self.try_element_at = self.buffer.len() * 2;
    }

    /// Gives the first `length` bytes of the buffer as values.
    fn give(&mut self, length: usize, each: Each<'_>) {
        each(Piece::Values { offset: self.offset, bytes: self.buffer.get(..length).unwrap_or_default() });
        self.forget(length);
    }

    fn forget(&mut self, length: usize) {
        self.buffer.drain(..length.min(self.buffer.len()));
        self.offset += length as u64;
        self.try_element_at = 0;
    }
}

/// The first place in `chunk` between two values; `buffer` is what comes before the chunk.
fn first_cut(buffer: &[u8], chunk: &[u8]) -> Option<usize> {
    let blank = buffer.len() - buffer.trim_ascii_end().len();
    let has_newline = buffer.iter().rev().take(blank.min(MAX_GAP_BYTES)).any(|&byte| byte == b'\n');
    if has_newline && is_between(buffer, &[], chunk) {
        return Some(0);
    }
    let mut newlines = memchr_iter(b'\n', chunk);
    newlines.find(|&newline| is_cut(buffer, chunk, newline)).map(|newline| newline + 1)
}

/// The last place in `chunk` between two values.
fn last_cut(chunk: &[u8]) -> Option<usize> {
    let mut newlines = memrchr_iter(b'\n', chunk);
    newlines.find(|&newline| is_cut(&[], chunk, newline)).map(|newline| newline + 1)
}

fn is_cut(buffer: &[u8], chunk: &[u8], newline: usize) -> bool {
    let (before, after) = chunk.split_at_checked(newline).unwrap_or_default();
    is_between(buffer, before, after)
}

/// Whether a value ends before and one begins after; `earlier` is what comes before `before`.
fn is_between(earlier: &[u8], before: &[u8], after: &[u8]) -> bool {
    let last = |bytes: &[u8]| {
        bytes.iter().rev().take(MAX_GAP_BYTES).copied().find(|byte| !byte.is_ascii_whitespace())
    };
    let first = after.iter().take(MAX_GAP_BYTES).find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'{' | b'[')) && matches!(last(before).or_else(|| last(earlier)), Some(b'}' | b']'))
}

/// The length of the value that `bytes` begin with, by its brackets; `None` if it does not end in them.
/// A line break inside a string ends it too, as JSON has none there: the string was cut off.
fn element_length(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if in_string => return Some(at),
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' => return Some(at + depth.max(usize::from(at == 0))),
            b',' | b'\n' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
