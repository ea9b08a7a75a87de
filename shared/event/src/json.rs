//! A pull scanner over JSON text: it hands out what is asked for, borrowed, and skips the rest in one pass.
//!
//! It exists because most of an event is skipped (headers, subjects) and building a tree of it would cost more than all the
//! counting. It accepts exactly the texts of RFC 8259, as `serde_json` does, skipped parts included, with two
//! differences: values nest at most [`MAX_DEPTH`] deep, and a surrogate without its partner reads as U+FFFD (senders cut
//! subjects in the middle of a pair). Of equal keys the last one wins, as callers overwrite.
//! It must never allocate for text without escapes, recurse for what is skipped, or look at a byte twice.

use std::borrow::Cow;

pub(crate) use name::Name;

mod name;
mod shape;
mod text;

/// How deep values may nest. SES's own events stay below 10; 64 lets a skipped container be tracked in one word.
pub(crate) const MAX_DEPTH: u32 = 64;

/// Why scanning stopped; [`Scanner::at`] says where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not JSON from here on.
    Syntax,
    /// The text ends inside a value.
    End,
    /// More than [`MAX_DEPTH`] levels.
    Depth,
}

/// A string as it stands in the text: without its quotes, escapes not yet resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawText<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> RawText<'a> {
    /// The text; owned only if there are escapes.
    #[inline]
    pub(crate) fn resolve(self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(self.unescaped()) } else { Cow::Borrowed(self.raw) }
    }

    #[cold]
    fn unescaped(self) -> String {
        let mut text = String::with_capacity(self.raw.len());
        text::unescape(self.raw, &mut text);
        text
    }

    /// Appends the text to `buffer`.
    pub(crate) fn resolve_into(self, buffer: &mut String) {
        if self.escaped {
            text::unescape(self.raw, buffer);
        } else {
            buffer.push_str(self.raw);
        }
    }
}

/// Reads values one after the other.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    /// Where the special bytes of the windows from `base` on are.
    specials: text::Specials,
    base: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, specials: text::specials(text.as_bytes()), base: 0 }
    }

    /// How many bytes are read; after a [`Fault`], where it was found.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Goes on at byte `at`, outside of any value.
    pub(crate) fn restart(&mut self, at: usize) {
        self.at = at;
        self.depth = 0;
    }

    /// The next byte that is not white space, without reading it; `None` at the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.next_byte() {
            Some(byte) if byte > b' ' => Some(byte),
            _ => self.peek_behind_blanks(),
        }
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn next_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// SES writes none inside of events, so this is kept out of the way.
    #[cold]
    fn peek_behind_blanks(&mut self) -> Option<u8> {
        while matches!(self.next_byte()?, b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.next_byte()
    }

    /// Reads `byte` after white space if it is next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.take(byte) { Ok(()) } else { Err(self.fault()) }
    }

    /// What is wrong about what comes next.
    #[cold]
    fn fault(&mut self) -> Fault {
        if self.peek().is_some() { Fault::Syntax } else { Fault::End }
    }

    #[inline]
    fn enter(&mut self, open: u8) -> Result<(), Fault> {
        if self.depth == MAX_DEPTH && self.peek() == Some(open) {
            return Err(Fault::Depth);
        }
        self.expect(open)?;
        self.depth += 1;
        Ok(())
    }

    /// Reads an object; `field` must read each key's value.
    #[inline]
    pub(crate) fn object<E: From<Fault>>(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        self.object_of(
            |scanner, key| {
                if key.escaped { field(scanner, &key.unescaped()) } else { field(scanner, key.raw) }
            },
        )
    }

    /// Reads an object whose keys are kept; `field` must read each key's value.
    #[inline]
    pub(crate) fn object_of<E: From<Fault>>(
        &mut self,
        mut field: impl FnMut(&mut Self, RawText<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.container([b'{', b'}'], |scanner| {
            let key = scanner.key()?;
            field(scanner, key)
        })
    }

    /// Reads an object of which some keys are known, by what they stand for; `field` must read each key's value. `names` are best given
    /// in the order in which they come: the one behind the last one found is tried first, as it is written.
    #[inline]
    pub(crate) fn object_with<F: Copy, E: From<Fault>>(
        &mut self,
        names: &[Name<F>],
        mut field: impl FnMut(&mut Self, Option<F>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = 0;
        self.container([b'{', b'}'], |scanner| {
            let name = match names.get(next) {
                Some(name) if name.begins(scanner.rest()) => {
                    scanner.at += name.length();
                    next += 1;
                    Some(name.field())
                }
                _ => scanner.other_key(names, &mut next)?,
            };
            field(scanner, name)
        })
    }

    /// Reads a key that did not come in its turn.
    fn other_key<F: Copy>(&mut self, names: &[Name<F>], next: &mut usize) -> Result<Option<F>, Fault> {
        let key = self.key()?.resolve();
        for (place, name) in names.iter().enumerate() {
            if name.is(&key) {
                *next = place + 1;
                return Ok(Some(name.field()));
            }
        }
        Ok(None)
    }

    /// Reads an array; `item` must read each value.
    #[inline]
    pub(crate) fn array<E: From<Fault>>(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.container([b'[', b']'], item)
    }

    /// Reads what stands between two brackets, separated by commas.
    #[inline]
    fn container<E: From<Fault>>(
        &mut self,
        [open, close]: [u8; 2],
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(open)?;
        if !self.take(close) {
            loop {
                item(self)?;
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(close)?;
        }
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn key(&mut self) -> Result<RawText<'a>, Fault> {
        let key = self.raw_string()?;
        self.expect(b':')?;
        Ok(key)
    }

    #[inline]
    fn skip_key(&mut self) -> Result<(), Fault> {
        self.expect(b'"')?;
        self.string_end()?;
        self.expect(b':')
    }

    /// Reads a string; owned only if it has escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.raw_string().map(RawText::resolve)
    }

    /// Reads a string without resolving its escapes.
    #[inline]
    pub(crate) fn raw_string(&mut self) -> Result<RawText<'a>, Fault> {
        self.expect(b'"')?;
        let start = self.at;
        let escaped = self.string_end()?;
        Ok(RawText { raw: self.text.get(start..self.at - 1).unwrap_or_default(), escaped })
    }

    /// Reads a string that is expected to be long base64: finds its end many bytes at a time.
    /// Control characters in it pass unseen here; they are no base64, so decoding finds them.
    pub(crate) fn base64_string(&mut self) -> Result<RawText<'a>, Fault> {
        self.expect(b'"')?;
        let start = self.at;
        let bytes = self.rest();
        match memchr::memchr2(b'"', b'\\', bytes) {
            Some(length) if bytes.get(length) == Some(&b'"') => {
                self.at = start + length + 1;
                Ok(RawText { raw: self.text.get(start..start + length).unwrap_or_default(), escaped: false })
            }
            _ => {
                self.at = start - 1;
                self.raw_string()
            }
        }
    }

    /// Reads up to and with the closing quote; whether there was an escape.
    #[inline]
    fn string_end(&mut self) -> Result<bool, Fault> {
        self.seek_special();
        if self.text.as_bytes().get(self.at) == Some(&b'"') {
            self.at += 1;
            return Ok(false);
        }
        self.escaped_string_end()?;
        Ok(true)
    }

    #[cold]
    fn escaped_string_end(&mut self) -> Result<(), Fault> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at = text::escape_end(bytes, self.at)?,
                Some(_) => return Err(Fault::Syntax),
                None => return Err(Fault::End),
            }
            self.seek_special();
        }
    }

    /// Goes on to the next quote, backslash or control character, or to the end. What lies ahead is looked at in several windows
    /// at once, so that most strings need no look at their bytes at all; two of them are put together, so that it makes no
    /// difference, which no processor could foresee, whether a short string ends in the window it began in.
    #[inline]
    fn seek_special(&mut self) {
        loop {
            // After a step back this is no place of the windows.
            let ahead = self.at.wrapping_sub(self.base);
            let (place, shift) = (ahead / text::WINDOW, ahead % text::WINDOW);
            let Some([window, next]) = self.specials.get(place..).and_then(<[u64]>::first_chunk::<2>) else {
                self.look_ahead();
                continue;
            };
            let specials = window >> shift | next << 1 << (text::WINDOW - 1 - shift);
            if specials != 0 {
                self.at += specials.trailing_zeros() as usize;
                return;
            }
            self.at += text::WINDOW;
        }
    }

    #[inline(never)]
    fn look_ahead(&mut self) {
        self.specials = text::specials(self.rest());
        self.base = self.at;
    }

    /// Reads a text; gives `None` for anything else.
    pub(crate) fn text(&mut self) -> Result<Option<Cow<'a, str>>, Fault> {
        if self.peek() == Some(b'"') {
            return self.string().map(Some);
        }
        self.skip()?;
        Ok(None)
    }

    /// Reads the items of an array; a single value is an array of one, `null` an empty one.
    #[inline]
    pub(crate) fn items(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self.peek() {
            Some(b'[') => self.array(item),
            Some(b'n') => self.skip(),
            _ => item(self),
        }
    }

    /// Reads any value and gives its text.
    pub(crate) fn raw_value(&mut self) -> Result<&'a str, Fault> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Reads any value and drops it.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        let room = MAX_DEPTH - self.depth;
        // One bit per open container, the innermost lowest: 1 for an object, 0 for an array.
        let mut objects = 0_u64;
        let mut open = 0;
        loop {
            match self.peek().ok_or(Fault::End)? {
                b'"' => {
                    self.at += 1;
                    self.string_end()?;
                }
                opener @ (b'{' | b'[') => {
                    if open == room {
                        return Err(Fault::Depth);
                    }
                    self.at += 1;
                    let is_object = opener == b'{';
                    // The closing bracket is two after the opening one, in ASCII, for both kinds.
                    if !self.take(opener + 2) {
                        objects = objects << 1 | u64::from(is_object);
                        open += 1;
                        if is_object {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            loop {
                if open == 0 {
                    return Ok(());
                }
                let is_object = objects & 1 == 1;
                match self.peek().ok_or(Fault::End)? {
                    b',' => {
                        self.at += 1;
                        if is_object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    b'}' if is_object => self.at += 1,
                    b']' if !is_object => self.at += 1,
                    _ => return Err(Fault::Syntax),
                }
                objects >>= 1;
                open -= 1;
            }
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek().ok_or(Fault::End)? {
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(Fault::Syntax),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        for &byte in word {
            self.byte_if(|found| found == byte)?;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.optional(|byte| byte == b'-');
        if !self.optional(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.optional(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.optional(|byte| matches!(byte, b'e' | b'E')) {
            self.optional(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        // A number that begins with 0 has no further digits before its point.
        if self.text.as_bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            return Err(Fault::Syntax);
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        self.byte_if(|byte| byte.is_ascii_digit())?;
        while self.optional(|byte| byte.is_ascii_digit()) {}
        Ok(())
    }

    fn byte_if(&mut self, is_wanted: impl Fn(u8) -> bool) -> Result<(), Fault> {
        match self.text.as_bytes().get(self.at) {
            Some(&byte) if is_wanted(byte) => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Fault::Syntax),
            None => Err(Fault::End),
        }
    }

    fn optional(&mut self, is_wanted: impl Fn(u8) -> bool) -> bool {
        self.byte_if(is_wanted).is_ok()
    }
}

#[cfg(test)]
mod tests;
