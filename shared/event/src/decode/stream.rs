//! Cuts a stream of bytes (a file, standard input) into blocks of whole values, in bounded memory.
//!
//! Cheap, so that one thread can cut for many that decode: a line break after a closing bracket and before an opening one
//! lies between two values always, since inside a value a comma or another closing bracket must follow, and a string holds
//! no line break. Such breaks are found without looking at what is between them. Only inside a large top-level array, or the
//! `Records` of a large Lambda event, elements are told apart, so that they are decoded while the processor's own caches hold
//! them. Bytes are read to where they are cut, and are moved only if they begin a value that is not whole.
//! What a block holds is not judged here: [`Decoder::decode`](super::Decoder::decode) does that.

use memchr::{memchr, memrchr, memrchr_iter};

use self::walk::{End, Walk};
use super::MAX_RECORD_BYTES;

mod walk;

/// White space around a line break that is looked through; more of it is no place to cut.
const MAX_GAP_BYTES: usize = 16;
/// Some processors copy several times slower to a place that is not aligned as its source is, and files are cached in pages.
const PAGE_BYTES: usize = 4096;

/// A part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One or more whole values, at most [`MAX_RECORD_BYTES`]; those of a container with the commas between them.
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
#[derive(Debug)]
pub struct Splitter {
    chunk_bytes: usize,
    state: State,
    /// What is not yet given out lies from `start` to `end`: less than [`MAX_RECORD_BYTES`].
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// So many of these bytes are looked through.
    seen: usize,
    /// Where `start` lies in the stream.
    offset: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Lines,
    /// Inside a large container.
    Elements(Walk),
    /// Inside a line that is too large.
    Dropping,
}

impl Splitter {
    /// At the beginning of a stream that comes in chunks of at most so many bytes. Blocks are about so large too, as a container of
    /// which more came without its end is given out in parts.
    pub fn new(chunk_bytes: usize) -> Self {
        let buffer = vec![0; PAGE_BYTES + chunk_bytes];
        Self { chunk_bytes, state: State::Lines, buffer, start: 0, end: 0, seen: 0, offset: 0 }
    }

    /// Where the next bytes of the stream belong; never empty. [`Splitter::filled`] says how many came.
    pub fn room(&mut self) -> &mut [u8] {
        let length = self.chunk_bytes.min(MAX_RECORD_BYTES - self.held().len());
        if self.start == self.end || self.buffer.len() - self.end < length {
            self.make_room();
        }
        self.buffer.get_mut(self.end..self.end + length).unwrap_or_default()
    }

    /// Takes the first `length` bytes of the room and gives out what is whole.
    pub fn filled(&mut self, length: usize, each: Each<'_>) {
        self.end = self.buffer.len().min(self.end + length);
        while self.start < self.end {
            let state = self.state;
            let goes_on = match state {
                State::Lines => self.lines(each),
                State::Elements(walk) => self.elements(walk, each),
                State::Dropping => self.drop_line(),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Takes the next bytes from where they are, and gives out what is whole.
    pub fn feed(&mut self, mut bytes: &[u8], each: Each<'_>) {
        while !bytes.is_empty() {
            let room = self.room();
            let (now, rest) = bytes.split_at(bytes.len().min(room.len()));
            if let Some(room) = room.get_mut(..now.len()) {
                room.copy_from_slice(now);
            }
            self.filled(now.len(), each);
            bytes = rest;
        }
    }

    /// Gives out what is left at the end of the stream.
    pub fn finish(&mut self, each: Each<'_>) {
        if !self.held().trim_ascii().is_empty() {
            self.give(self.held().len(), each);
        }
        (self.state, self.offset) = (State::Lines, 0);
        (self.start, self.end, self.seen) = (0, 0, 0);
    }

    fn held(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Moves what is held to where a chunk fits behind it, beginning with a page.
    fn make_room(&mut self) {
        let held = self.end - self.start;
        let before = held.next_multiple_of(PAGE_BYTES);
        let needed = PAGE_BYTES + before + self.chunk_bytes;
        if self.buffer.len() < needed {
            // Twice as much, so that a long value is moved seldom.
            self.buffer.resize(needed + before, 0);
        }
        let end = self.buffer.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES) + before;
        self.buffer.copy_within(self.start..self.end, end - held);
        (self.start, self.end) = (end - held, end);
    }

    /// Gives all lines that end values; whether there is more to do.
    fn lines(&mut self, each: Each<'_>) -> bool {
        // A break further back would have been found before.
        if let Some(cut) = last_cut(self.held(), self.seen.saturating_sub(MAX_GAP_BYTES)) {
            self.give(cut, each);
        }
        self.seen = self.held().len();
        if self.seen >= self.chunk_bytes
            && let Some((walk, length)) = Walk::into(self.held())
        {
            self.forget(length);
            self.state = State::Elements(walk);
            return true;
        }
        self.is_full() && self.give_lines(each)
    }

    /// Gives all elements that are whole; whether there is more to do.
    fn elements(&mut self, mut walk: Walk, each: Each<'_>) -> bool {
        let step = walk.over(self.held(), self.seen);
        self.give_elements(step.whole, each);
        self.seen = step.seen - step.whole;
        match step.end {
            End::NotYet => {
                self.state = State::Elements(walk);
                return self.is_full() && self.give_lines(each);
            }
            End::Closed => self.forget(self.seen),
            // What is held is no part of the container, or of none at all.
            End::Broken => self.seen = 0,
        }
        self.state = State::Lines;
        true
    }

    /// Drops a line up to its end; whether there is more to do.
    fn drop_line(&mut self) -> bool {
        let newline = memchr(b'\n', self.held());
        if newline.is_some() {
            self.state = State::Lines;
        }
        self.forget(newline.map_or(self.held().len(), |newline| newline + 1));
        newline.is_some()
    }

    fn is_full(&self) -> bool {
        self.held().len() == MAX_RECORD_BYTES
    }

    /// Makes room in a full buffer: gives its whole lines, or gives the line up; whether there is more to do.
    fn give_lines(&mut self, each: Each<'_>) -> bool {
        if let Some(newline) = memrchr(b'\n', self.held()) {
            self.give(newline + 1, each);
            if let State::Elements(walk) = &mut self.state {
                walk.begin_anew();
            }
        } else {
            each(Piece::TooLarge { offset: self.offset, head: self.held() });
            self.forget(self.held().len());
            self.state = State::Dropping;
        }
        true
    }

    /// Gives the first `length` bytes of what is held as values.
    fn give(&mut self, length: usize, each: Each<'_>) {
        each(Piece::Values { offset: self.offset, bytes: self.held().get(..length).unwrap_or_default() });
        self.forget(length);
    }

    /// Gives the first `length` bytes as elements: without what separates them from those before.
    fn give_elements(&mut self, length: usize, each: Each<'_>) {
        let elements = self.held().get(..length).unwrap_or_default();
        let gap = elements.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count();
        self.forget(gap);
        if gap < length {
            self.give(length - gap, each);
        }
    }

    fn forget(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
        self.seen = 0;
    }
}

/// The last place between two values in `bytes`, of those behind a line break at `from` or later.
fn last_cut(bytes: &[u8], from: usize) -> Option<usize> {
    let newlines = memrchr_iter(b'\n', bytes.get(from..).unwrap_or_default());
    newlines.map(|newline| from + newline).find(|&newline| is_cut(bytes, newline)).map(|newline| newline + 1)
}

/// Whether a value ends before a line break and one begins after it.
fn is_cut(bytes: &[u8], newline: usize) -> bool {
    let (before, after) = bytes.split_at_checked(newline).unwrap_or_default();
    let is_not_blank = |byte: &&u8| !byte.is_ascii_whitespace();
    let first = after.iter().take(MAX_GAP_BYTES).find(is_not_blank);
    let last = before.iter().rev().take(MAX_GAP_BYTES).find(is_not_blank);
    matches!(first, Some(b'{' | b'[')) && matches!(last, Some(b'}' | b']'))
}

#[cfg(test)]
mod tests;
