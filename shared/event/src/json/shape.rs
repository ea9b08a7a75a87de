//! Containers that SES writes in one way always, passed over without a look at what kind of token comes next.
//!
//! A message's headers and tags are more than half of an event, and nearly all of its tokens. What is not of the shape is read
//! again from its beginning like any other value: nothing may be refused, or accepted, only because it is written otherwise.

use super::{Fault, MAX_DEPTH, Scanner};

/// Pairs of strings, and all that stands between their contents: what a container is made of that is written in one way always.
trait Shape {
    /// Up to the first string's content.
    const OPENING: &'static [u8];
    /// Between the two of a pair, from behind the first's closing quote on.
    const INNER: &'static [u8];
    /// Between two pairs.
    const BETWEEN: &'static [u8];
    /// Behind the last string.
    const CLOSING: &'static [u8];
}

struct Headers;

impl Shape for Headers {
    const OPENING: &'static [u8] = b"[{\"name\":\"";
    const INNER: &'static [u8] = b",\"value\":\"";
    const BETWEEN: &'static [u8] = b"},{\"name\":\"";
    const CLOSING: &'static [u8] = b"}]";
}

struct TagLists;

impl Shape for TagLists {
    const OPENING: &'static [u8] = b"{\"";
    const INNER: &'static [u8] = b":[\"";
    const BETWEEN: &'static [u8] = b"],\"";
    const CLOSING: &'static [u8] = b"]}";
}

impl<'a> Scanner<'a> {
    /// Reads any value and drops it, as [`Scanner::skip`] does, but faster where it is written `[{"name":"…","value":"…"},…]`
    /// without blanks, as SES writes a message's headers: half of an event, and most of its tokens.
    pub(crate) fn skip_headers(&mut self) -> Result<(), Fault> {
        self.skip_shape::<Headers>()
    }

    /// Reads any value and gives its text, as [`Scanner::raw_value`] does, but faster where it is written `{"…":["…"],…}` without
    /// blanks, as SES writes a message's tags.
    pub(crate) fn raw_tags(&mut self) -> Result<&'a str, Fault> {
        self.peek();
        let start = self.at;
        self.skip_shape::<TagLists>()?;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    #[inline]
    fn skip_shape<S: Shape>(&mut self) -> Result<(), Fault> {
        self.peek();
        let start = self.at;
        if self.depth + 2 <= MAX_DEPTH && self.has_shape::<S>() {
            return Ok(());
        }
        self.at = start;
        self.skip()
    }

    #[inline]
    fn has_shape<S: Shape>(&mut self) -> bool {
        if !self.literally(S::OPENING) {
            return false;
        }
        loop {
            if self.string_end().is_err() || !self.literally(S::INNER) || self.string_end().is_err() {
                return false;
            }
            if !self.literally(S::BETWEEN) {
                return self.literally(S::CLOSING);
            }
        }
    }

    /// Reads this text if it is next.
    #[inline]
    pub(super) fn literally(&mut self, text: &[u8]) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }
}
