//! A pull scanner over JSON text: returns the values that are asked for, borrowed, and skips the rest in one pass.
//!
//! It exists because most of an event is skipped (headers, subjects), and building a tree of all of it would cost more than the
//! counting. It accepts exactly the texts that RFC 8259 and `serde_json` accept, also in skipped parts, with two differences:
//! values nest at most [`MAX_DEPTH`] deep, and a surrogate without its partner reads as U+FFFD (senders cut subjects inside a
//! pair). Of equal keys the last one wins, because callers overwrite. It must never allocate for text without escapes, recurse
//! into what it skips, or look at a byte twice.

use std::borrow::Cow;

pub(crate) use known_key::KnownKey;

mod fixed_layout;
mod known_key;
mod skip;
mod strings;

/// The deepest nesting of values. SES's own events stay below 10; with 64, [`Scanner::skip`] tracks open containers in one word.
pub(crate) const MAX_DEPTH: u32 = 64;

/// The keys behind the expected one that are tried before a key is read and searched for: as many as an SES event has outcomes.
const KEYS_AHEAD: usize = 12;

/// Why scanning stopped. [`Scanner::at`] gives the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    /// The text is not JSON at this position.
    Syntax,
    /// The text ends inside a value.
    UnexpectedEnd,
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
}

/// The inside of a string literal as it is written: without its quotes, with its escapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawText<'a> {
    raw: &'a str,
    has_escapes: bool,
}

impl<'a> RawText<'a> {
    /// The string that is meant; owned only if there are escapes.
    #[inline]
    pub(crate) fn resolve(self) -> Cow<'a, str> {
        if self.has_escapes { Cow::Owned(self.unescaped()) } else { Cow::Borrowed(self.raw) }
    }

    #[cold]
    fn unescaped(self) -> String {
        let mut text = String::with_capacity(self.raw.len());
        strings::unescape(self.raw, &mut text);
        text
    }

    /// Appends the string that is meant to `buffer`.
    pub(crate) fn resolve_into(self, buffer: &mut String) {
        if self.has_escapes {
            strings::unescape(self.raw, buffer);
        } else {
            buffer.push_str(self.raw);
        }
    }
}

/// Reads JSON values one after the other.
///
/// Every call reads one value, key or byte and leaves the position after it. After an error the position is where the text went wrong,
/// and [`Scanner::resume_at`] is the only way to go on. Time is linear in the bytes passed, whatever they are.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    /// The position of the next byte to read: never beyond the end of the text.
    at: usize,
    /// The number of containers that are open around the position.
    depth: u32,
    /// The special bytes (see [`strings::specials`]) of the text that begins at `base`.
    specials: strings::Specials,
    base: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, specials: strings::specials(text.as_bytes()), base: 0 }
    }

    /// The number of bytes read; after a [`ScanError`], the position of the error.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Continues at byte `at`, outside of any value.
    pub(crate) fn resume_at(&mut self, at: usize) {
        self.at = at;
        self.depth = 0;
    }

    /// The next byte that is not white space, without reading it; `None` at the end of the text.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.next_byte() {
            // White space, and the control characters that are errors, are all at most a space.
            Some(byte) if byte > b' ' => Some(byte),
            _ => self.peek_after_blanks(),
        }
    }

    /// The bytes that are not read yet.
    #[inline]
    fn rest(&self) -> &'a [u8] {
        debug_assert!(self.at <= self.text.len(), "the position is beyond the text");
        self.text.as_bytes().get(self.at..).unwrap_or(&[])
    }

    /// The text between two positions at which values or their quotes begin or end.
    ///
    /// That there is such a text is asserted where tests run. A report in production would be a call in the hottest path of all.
    #[inline]
    fn between(&self, start: usize, end: usize) -> &'a str {
        let between = self.text.get(start..end);
        debug_assert!(between.is_some(), "{start} to {end} is not a part of the text");
        between.unwrap_or("")
    }

    /// The bytes from `start`, a position given by [`Scanner::at`] before, up to the present one.
    #[inline]
    pub(crate) fn bytes_since(&self, start: usize) -> &'a [u8] {
        let since = self.text.as_bytes().get(start..self.at);
        debug_assert!(since.is_some(), "{start} to {} is not a part of the text", self.at);
        since.unwrap_or(&[])
    }

    #[inline]
    fn next_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// SES writes no white space inside events, so this stays out of the hot path.
    #[cold]
    fn peek_after_blanks(&mut self) -> Option<u8> {
        while matches!(self.next_byte()?, b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.next_byte()
    }

    /// Reads `byte`, and white space before it, if it comes next. Returns whether it did.
    #[inline]
    pub(crate) fn take_byte(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.take_byte(byte) { Ok(()) } else { Err(self.error_here()) }
    }

    /// The error for a next byte that is not the expected one.
    #[cold]
    fn error_here(&mut self) -> ScanError {
        if self.peek().is_some() { ScanError::Syntax } else { ScanError::UnexpectedEnd }
    }

    #[inline]
    fn enter(&mut self, open: u8) -> Result<(), ScanError> {
        // Only a container that is really there exceeds the depth; anything else is a syntax error.
        if self.depth == MAX_DEPTH && self.peek() == Some(open) {
            return Err(ScanError::TooDeep);
        }
        self.expect(open)?;
        self.depth += 1;
        Ok(())
    }

    /// Reads an object. `field` is called after each key and must read its value.
    #[inline]
    pub(crate) fn object<E: From<ScanError>>(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        self.object_with_raw_keys(|scanner, key| {
            if key.has_escapes { field(scanner, &key.unescaped()) } else { field(scanner, key.raw) }
        })
    }

    /// Reads an object whose keys outlive the call. `field` is called after each key and must read its value.
    #[inline]
    pub(crate) fn object_with_raw_keys<E: From<ScanError>>(
        &mut self,
        mut field: impl FnMut(&mut Self, RawText<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.container([b'{', b'}'], |scanner| {
            let key = scanner.key()?;
            field(scanner, key)
        })
    }

    /// Reads an object and translates the keys listed in `keys`; `field` gets `None` for any other key and must read the value.
    ///
    /// `keys` should be in the order in which the sender writes them: the key after the last one found is tried first, by one
    /// comparison of its written form.
    #[inline]
    pub(crate) fn object_with_known_keys<F: Copy, E: From<ScanError>>(
        &mut self,
        keys: &[KnownKey<F>],
        mut field: impl FnMut(&mut Self, Option<F>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = 0;
        self.container([b'{', b'}'], |scanner| {
            // A wrong guess costs one comparison before the key is read and searched for.
            let known = match keys.get(next) {
                Some(key) if key.is_prefix_of(scanner.rest()) => {
                    scanner.at += key.written_length();
                    next += 1;
                    Some(key.field())
                }
                _ => scanner.find_key(keys, &mut next)?,
            };
            field(scanner, known)
        })
    }

    /// Reads a key that did not come in the expected order, and looks it up among all known keys.
    fn find_key<F: Copy>(&mut self, keys: &[KnownKey<F>], next: &mut usize) -> Result<Option<F>, ScanError> {
        // Some of the keys that could come were not written, such as all outcomes before the one that an event has.
        let near = keys.iter().enumerate().skip(*next + 1).take(KEYS_AHEAD);
        for (index, key) in near {
            if key.is_prefix_of(self.rest()) {
                self.at += key.written_length();
                *next = index + 1;
                return Ok(Some(key.field()));
            }
        }
        // Resolved, because a sender may escape letters of a key: `"m\u0061il"` is `"mail"`.
        let found = self.key()?.resolve();
        for (index, key) in keys.iter().enumerate() {
            if key.equals(&found) {
                *next = index + 1;
                return Ok(Some(key.field()));
            }
        }
        Ok(None)
    }

    /// Reads an array. `item` is called once for each value and must read it.
    #[inline]
    pub(crate) fn array<E: From<ScanError>>(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.container([b'[', b']'], item)
    }

    /// Reads items between two brackets, separated by commas.
    #[inline]
    fn container<E: From<ScanError>>(
        &mut self,
        [open, close]: [u8; 2],
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(open)?;
        if !self.take_byte(close) {
            loop {
                item(self)?;
                if !self.take_byte(b',') {
                    break;
                }
            }
            self.expect(close)?;
        }
        // Not lowered after an error: `resume_at` starts again outside of all containers.
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn key(&mut self) -> Result<RawText<'a>, ScanError> {
        let key = self.raw_string()?;
        self.expect(b':')?;
        Ok(key)
    }

    #[inline]
    fn skip_key(&mut self) -> Result<(), ScanError> {
        self.expect(b'"')?;
        self.string_end()?;
        self.expect(b':')
    }

    /// Reads a string; owned only if it has escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, ScanError> {
        self.raw_string().map(RawText::resolve)
    }

    /// Reads a string without resolving its escapes.
    #[inline]
    pub(crate) fn raw_string(&mut self) -> Result<RawText<'a>, ScanError> {
        self.expect(b'"')?;
        let start = self.at;
        let has_escapes = self.string_end()?;
        // Without the closing quote, which the position is after.
        Ok(RawText { raw: self.between(start, self.at - 1), has_escapes })
    }

    /// Reads a string that should be long base64. Finds its end with `memchr`, which is faster than the window search.
    /// Control characters are not noticed here, but they are not base64 either, so decoding rejects them.
    pub(crate) fn base64_string(&mut self) -> Result<RawText<'a>, ScanError> {
        self.expect(b'"')?;
        let start = self.at;
        let bytes = self.rest();
        match memchr::memchr2(b'"', b'\\', bytes) {
            Some(length) if bytes.get(length) == Some(&b'"') => {
                self.at = start + length + 1;
                Ok(RawText { raw: self.between(start, start + length), has_escapes: false })
            }
            // An escape (some writers escape the `/` of base64) or no end at all: read it again the ordinary way.
            _ => {
                self.at = start - 1;
                self.raw_string()
            }
        }
    }

    /// Reads to the end of the closing quote. Returns whether there was an escape.
    #[inline]
    fn string_end(&mut self) -> Result<bool, ScanError> {
        self.seek_special();
        if self.text.as_bytes().get(self.at) == Some(&b'"') {
            self.at += 1;
            return Ok(false);
        }
        self.escaped_string_end()?;
        Ok(true)
    }

    #[cold]
    fn escaped_string_end(&mut self) -> Result<(), ScanError> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at = strings::escape_end(bytes, self.at)?,
                // The search stops only at these two and at control characters, which JSON requires to be escaped.
                Some(_) => return Err(ScanError::Syntax),
                None => return Err(ScanError::UnexpectedEnd),
            }
            self.seek_special();
        }
    }

    /// Moves to the next quote, backslash or control character, or to the end of the text.
    ///
    /// The bytes ahead are examined in several windows at once, so that most strings end at a position that is already known. Two
    /// neighbouring windows are joined before the search: whether a short string ends in the window it began in is random, and a
    /// branch on that would be mispredicted half the time.
    #[inline]
    fn seek_special(&mut self) {
        loop {
            // After a step back before `base` the difference wraps to an index beyond the windows, which makes them be renewed.
            let ahead = self.at.wrapping_sub(self.base);
            let (index, shift) = (ahead / strings::WINDOW, ahead % strings::WINDOW);
            let Some([window, next]) = self.specials.get(index..).and_then(<[u64]>::first_chunk::<2>) else {
                self.look_ahead();
                continue;
            };
            let specials = window >> shift | next << 1 << (strings::WINDOW - 1 - shift);
            if specials != 0 {
                self.at += specials.trailing_zeros() as usize;
                return;
            }
            self.at += strings::WINDOW;
        }
    }

    #[inline(never)]
    fn look_ahead(&mut self) {
        self.specials = strings::specials(self.rest());
        self.base = self.at;
    }

    /// Reads any value and returns it if it is a string.
    pub(crate) fn optional_string(&mut self) -> Result<Option<Cow<'a, str>>, ScanError> {
        if self.peek() == Some(b'"') {
            return self.string().map(Some);
        }
        self.skip()?;
        Ok(None)
    }

    /// Reads the items of an array. A single value counts as an array of one, `null` as an empty one.
    #[inline]
    pub(crate) fn array_or_single(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), ScanError>,
    ) -> Result<(), ScanError> {
        match self.peek() {
            Some(b'[') => self.array(item),
            // Only `null` begins with it, and skipping refuses anything else.
            Some(b'n') => self.skip(),
            _ => item(self),
        }
    }

    /// Reads any value and returns its JSON text.
    pub(crate) fn raw_value(&mut self) -> Result<&'a str, ScanError> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(self.between(start, self.at))
    }
}

#[cfg(test)]
mod tests;
