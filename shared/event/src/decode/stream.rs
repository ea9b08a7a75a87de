//! Splits a stream of bytes (a file, standard input) into pieces of whole values, in bounded memory.
//!
//! One thread splits for many that decode, so splitting must be cheap. A line break between a closing and an opening bracket or quote
//! always separates two values: inside a value a comma or another closing bracket would have to follow, and a string cannot
//! contain a line break. Such line breaks are found from the end of the buffer, without reading what is between them. Only inside
//! a large top-level array, or the list with which a large object begins (`Records` of a Lambda event), its elements are read one by one, so that pieces stay small
//! enough for the processor's caches.
//!
//! Bytes are read into the place they are passed on from, and moved only if they begin a value that is not complete. The content
//! of a piece is not checked here: [`Decoder::decode`](super::Decoder::decode) does that.

use memchr::{memchr, memrchr, memrchr_iter};

use self::elements::{ContainerState, ElementScan};
use super::MAX_RECORD_BYTES;
use crate::invariant::or_broken;

mod elements;

/// The most white space around a line break that is examined, in bytes. With more, the line break is not used as a boundary.
const MAX_GAP_BYTES: usize = 16;
/// Reads go to an address aligned to this: the operating system copies from its page cache, and some processors copy several
/// times slower if source and destination are aligned differently.
const PAGE_BYTES: usize = 4096;

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One or more whole values, at most [`MAX_RECORD_BYTES`]. Elements of a container come with the commas between them.
    Values {
        /// Where it begins in the stream.
        offset: u64,
        /// The unchanged bytes of the values.
        bytes: &'a [u8],
    },
    /// A line larger than [`MAX_RECORD_BYTES`]. The rest of the line is dropped.
    TooLarge {
        /// Where it begins in the stream.
        offset: u64,
        /// Its first [`MAX_RECORD_BYTES`], for the quarantine.
        head: &'a [u8],
    },
}

/// Receives each piece, in the order of the stream.
type OnPiece<'e> = &'e mut dyn FnMut(Piece<'_>);

/// Splits one stream at a time.
#[derive(Debug)]
pub struct Splitter {
    chunk_bytes: usize,
    state: SplitterState,
    /// The pending bytes, not passed on yet, are those from `start` to `end`: at most [`MAX_RECORD_BYTES`].
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The number of pending bytes that were already searched for an end.
    scanned: usize,
    /// The offset of `start` in the stream.
    offset: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum SplitterState {
    #[default]
    /// Between values, or inside one whose end has not come yet.
    Lines,
    /// Inside a container larger than a chunk.
    Elements(ElementScan),
    /// Inside a line that is too large, up to its end.
    Dropping,
}

impl Splitter {
    /// Starts a stream that comes in chunks of at most `chunk_bytes`. Pieces are about as large, because a container that is
    /// larger is passed on in parts.
    pub fn new(chunk_bytes: usize) -> Self {
        let buffer = vec![0; PAGE_BYTES + chunk_bytes];
        Self { chunk_bytes, state: SplitterState::Lines, buffer, start: 0, end: 0, scanned: 0, offset: 0 }
    }

    /// The buffer for the next bytes of the stream, never empty. Call [`Splitter::filled`] with the number of bytes written to
    /// it.
    pub fn room(&mut self) -> &mut [u8] {
        let length = self.chunk_bytes.min(MAX_RECORD_BYTES - self.pending().len());
        if self.start == self.end || self.buffer.len() - self.end < length {
            self.move_pending();
        }
        // `move_pending` made the buffer at least that long.
        let room = self.buffer.get_mut(self.end..self.end + length);
        or_broken(room, &mut [], "a splitter has no room for a chunk")
    }

    /// Takes the first `length` bytes of [`Splitter::room`] and passes on what is complete.
    pub fn filled(&mut self, length: usize, on_piece: OnPiece<'_>) {
        self.end = self.buffer.len().min(self.end + length);
        while self.start < self.end {
            let state = self.state;
            // A step may end one state and begin another on the same bytes, such as a container that closes in the middle of them.
            let has_more = match state {
                SplitterState::Lines => self.emit_lines(on_piece),
                SplitterState::Elements(scan) => self.scan_elements(scan, on_piece),
                SplitterState::Dropping => self.drop_line(),
            };
            if !has_more {
                return;
            }
        }
    }

    /// Copies the next bytes of the stream and passes on what is complete. Callers that can read into [`Splitter::room`] save the
    /// copy.
    pub fn feed(&mut self, mut bytes: &[u8], on_piece: OnPiece<'_>) {
        while !bytes.is_empty() {
            let room = self.room();
            let (now, rest) = bytes.split_at(bytes.len().min(room.len()));
            if let Some(room) = room.get_mut(..now.len()) {
                room.copy_from_slice(now);
            }
            self.filled(now.len(), on_piece);
            bytes = rest;
        }
    }

    /// Passes on what is left at the end of the stream, and starts a new one.
    pub fn finish(&mut self, on_piece: OnPiece<'_>) {
        if !self.pending().trim_ascii().is_empty() {
            self.emit(self.pending().len(), on_piece);
        }
        // What is left may be a cut-off value; the decoder reports it as such.
        (self.state, self.offset) = (SplitterState::Lines, 0);
        (self.start, self.end, self.scanned) = (0, 0, 0);
    }

    fn pending(&self) -> &[u8] {
        or_broken(self.buffer.get(self.start..self.end), &[], "pending bytes are outside of their buffer")
    }

    /// Moves the pending bytes to where a chunk fits after them. The chunk then begins at a page boundary.
    fn move_pending(&mut self) {
        let pending = self.end - self.start;
        let before = pending.next_multiple_of(PAGE_BYTES);
        let needed = PAGE_BYTES + before + self.chunk_bytes;
        if self.buffer.len() < needed {
            // Room for twice the pending bytes, so that a long value is moved only a few times.
            self.buffer.resize(needed + before, 0);
        }
        // Align the place of the next chunk, not that of the pending bytes: only the chunk is copied by the operating system.
        let end = self.buffer.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES) + before;
        self.buffer.copy_within(self.start..self.end, end - pending);
        (self.start, self.end) = (end - pending, end);
    }

    /// Passes on all values up to the last line break between two. Returns whether the pending bytes need another step.
    fn emit_lines(&mut self, on_piece: OnPiece<'_>) -> bool {
        // An earlier boundary would have been found before.
        if let Some(cut) = last_value_boundary(self.pending(), self.scanned.saturating_sub(MAX_GAP_BYTES)) {
            self.emit(cut, on_piece);
        }
        self.scanned = self.pending().len();
        // More than a chunk without a boundary: a large value. If it is a container, pass on its elements instead of waiting for
        // its end.
        if self.scanned >= self.chunk_bytes
            && let Some((scan, length)) = ElementScan::enter(self.pending())
        {
            self.consume(length);
            self.state = SplitterState::Elements(scan);
            return true;
        }
        self.is_full() && self.relieve_full_buffer(on_piece)
    }

    /// Passes on all complete elements. Returns whether the pending bytes need another step.
    fn scan_elements(&mut self, mut scan: ElementScan, on_piece: OnPiece<'_>) -> bool {
        let progress = scan.advance(self.pending(), self.scanned);
        self.emit_elements(progress.whole, on_piece);
        self.scanned = progress.scanned - progress.whole;
        match progress.state {
            ContainerState::Open => {
                self.state = SplitterState::Elements(scan);
                return self.is_full() && self.relieve_full_buffer(on_piece);
            }
            ContainerState::Closed => self.consume(self.scanned),
            // The pending bytes are not part of a container any more.
            ContainerState::Broken => self.scanned = 0,
        }
        self.state = SplitterState::Lines;
        true
    }

    /// Drops the rest of a line. Returns whether the pending bytes need another step.
    fn drop_line(&mut self) -> bool {
        let newline = memchr(b'\n', self.pending());
        if newline.is_some() {
            self.state = SplitterState::Lines;
        }
        self.consume(newline.map_or(self.pending().len(), |newline| newline + 1));
        newline.is_some()
    }

    fn is_full(&self) -> bool {
        self.pending().len() == MAX_RECORD_BYTES
    }

    /// Empties a full buffer: passes on its whole lines although no value boundary was found, or gives up a line that fills it.
    /// Returns whether the pending bytes need another step.
    fn relieve_full_buffer(&mut self, on_piece: OnPiece<'_>) -> bool {
        // Whole lines first: only a single line that fills the buffer is lost, not those that came with it.
        if let Some(newline) = memrchr(b'\n', self.pending()) {
            self.emit(newline + 1, on_piece);
            if let SplitterState::Elements(scan) = &mut self.state {
                // The scan goes on behind the cut, inside an element whose beginning is gone.
                scan.reset();
            }
        } else {
            on_piece(Piece::TooLarge { offset: self.offset, head: self.pending() });
            self.consume(self.pending().len());
            self.state = SplitterState::Dropping;
        }
        true
    }

    /// Passes on the first `length` pending bytes as values.
    fn emit(&mut self, length: usize, on_piece: OnPiece<'_>) {
        on_piece(Piece::Values { offset: self.offset, bytes: first(self.pending(), length) });
        self.consume(length);
    }

    /// Passes on the first `length` pending bytes as elements, without the comma and white space before the first of them.
    fn emit_elements(&mut self, length: usize, on_piece: OnPiece<'_>) {
        let elements = first(self.pending(), length);
        let gap = elements.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count();
        self.consume(gap);
        if gap < length {
            self.emit(length - gap, on_piece);
        }
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
        self.scanned = 0;
    }
}

/// The first `length` of the pending bytes.
fn first(pending: &[u8], length: usize) -> &[u8] {
    or_broken(pending.get(..length), &[], "a piece is longer than the pending bytes")
}

/// The position after the last line break that separates two values, at `from` or later.
fn last_value_boundary(bytes: &[u8], from: usize) -> Option<usize> {
    // From the end, because the last boundary is wanted and usually is the last line break.
    let tail = or_broken(bytes.get(from..), &[], "a search begins behind the pending bytes");
    let newlines = memrchr_iter(b'\n', tail);
    newlines
        .map(|newline| from + newline)
        .find(|&newline| is_value_boundary(bytes, newline))
        .map(|newline| newline + 1)
}

/// Whether a value ends before the line break and another begins after it.
fn is_value_boundary(bytes: &[u8], newline: usize) -> bool {
    let split = bytes.split_at_checked(newline);
    let (before, after) = or_broken(split, (&[], &[]), "a line break is outside of its bytes");
    let is_not_blank = |byte: &&u8| !byte.is_ascii_whitespace();
    let first = after.iter().take(MAX_GAP_BYTES).find(is_not_blank);
    let last = before.iter().rev().take(MAX_GAP_BYTES).find(is_not_blank);
    matches!(first, Some(b'{' | b'[' | b'"')) && matches!(last, Some(b'}' | b']' | b'"'))
}

#[cfg(test)]
mod tests;
