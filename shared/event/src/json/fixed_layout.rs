//! A fast path for the two containers that SES always writes in the same layout: a message's headers and tags.
//!
//! They are more than half of an event and nearly all of its tokens. Knowing the punctuation between two strings saves a decision
//! per token. A container in another layout is read again from its start like any value: the layout must never decide whether a
//! text is accepted.

use super::{MAX_DEPTH, ScanError, Scanner};

/// The punctuation of a container that consists of pairs of strings.
trait FixedLayout {
    /// Before the content of the first string, with its opening quote.
    const OPENING: &'static [u8];
    /// Between the two strings of a pair: after the first's closing quote, up to the second's opening quote.
    const INNER: &'static [u8];
    /// Between two pairs: after the closing quote of one, up to the opening quote of the next.
    const BETWEEN: &'static [u8];
    /// After the closing quote of the last string.
    const CLOSING: &'static [u8];
}

/// A message's headers: `[{"name":"…","value":"…"},…]`, in the order of the message.
struct Headers;

impl FixedLayout for Headers {
    const OPENING: &'static [u8] = b"[{\"name\":\"";
    const INNER: &'static [u8] = b",\"value\":\"";
    const BETWEEN: &'static [u8] = b"},{\"name\":\"";
    const CLOSING: &'static [u8] = b"}]";
}

/// A message's tags: `{"…":["…"],…}`, each with one value. Several values of a tag are another layout.
struct TagLists;

impl FixedLayout for TagLists {
    const OPENING: &'static [u8] = b"{\"";
    const INNER: &'static [u8] = b":[\"";
    const BETWEEN: &'static [u8] = b"],\"";
    const CLOSING: &'static [u8] = b"]}";
}

impl<'a> Scanner<'a> {
    /// Does what [`Scanner::skip`] does, faster where the value is in the layout in which SES writes a message's headers.
    pub(crate) fn skip_headers(&mut self) -> Result<(), ScanError> {
        self.skip_fixed_layout::<Headers>()
    }

    /// Does what [`Scanner::raw_value`] does, faster where the value is in the layout in which SES writes a message's tags.
    pub(crate) fn raw_tags(&mut self) -> Result<&'a str, ScanError> {
        self.peek();
        let start = self.at;
        self.skip_fixed_layout::<TagLists>()?;
        Ok(self.between(start, self.at))
    }

    #[inline]
    fn skip_fixed_layout<L: FixedLayout>(&mut self) -> Result<(), ScanError> {
        self.peek();
        let start = self.at;
        // Both layouts nest two deep; near the depth limit the general path reports the error at the right byte.
        if self.depth + 2 <= MAX_DEPTH && self.read_fixed_layout::<L>() {
            return Ok(());
        }
        // From the start and not from the deviation, so that there is one general path with one idea of what JSON is.
        self.at = start;
        self.skip()
    }

    /// Returns `false` at the first deviation from the layout; the position is then anywhere inside the value.
    #[inline]
    fn read_fixed_layout<L: FixedLayout>(&mut self) -> bool {
        if !self.take_literal(L::OPENING) {
            return false;
        }
        loop {
            if self.string_end().is_err() || !self.take_literal(L::INNER) || self.string_end().is_err() {
                return false;
            }
            if !self.take_literal(L::BETWEEN) {
                return self.take_literal(L::CLOSING);
            }
        }
    }

    /// Reads `text` if it comes next, exactly. Returns whether it did.
    #[inline]
    fn take_literal(&mut self, text: &[u8]) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }
}
