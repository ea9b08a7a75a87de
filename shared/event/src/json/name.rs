//! Keys of JSON objects that are looked for, as they are written.
//!
//! SES writes the keys of an object in one order always, so which comes next is guessed, and the guess must cost next to nothing.

/// A key that is looked for, and what it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<F> {
    /// As it is written without blanks: with its quotes and colon.
    written: &'static str,
    /// Its first bytes, and a mask of them: most names are told by one comparison.
    head: u128,
    mask: u128,
    field: F,
}

const HEAD_BYTES: usize = 16;

impl<F: Copy> Name<F> {
    /// A key by the text it is written as, with its quotes and its colon.
    pub(crate) const fn new(written: &'static str, field: F) -> Self {
        let bytes = written.as_bytes();
        let (mut head, mut mask, mut place) = (0, 0, 0);
        while place < bytes.len() && place < HEAD_BYTES {
            head |= (bytes[place] as u128) << (8 * place);
            mask |= 0xff << (8 * place);
            place += 1;
        }
        Self { written, head, mask, field }
    }

    /// What it stands for.
    pub(crate) const fn field(&self) -> F {
        self.field
    }

    /// The same key, standing for something else.
    pub(crate) const fn of<G: Copy>(&self, field: G) -> Name<G> {
        Name { written: self.written, head: self.head, mask: self.mask, field }
    }

    /// So many bytes are written.
    pub(super) const fn length(&self) -> usize {
        self.written.len()
    }

    /// Whether it is `key`, which has neither quotes nor colon.
    pub(super) fn is(&self, key: &str) -> bool {
        self.length() == key.len() + 3 && self.written.as_bytes().get(1..=key.len()) == Some(key.as_bytes())
    }

    /// Whether `text` begins with it.
    #[inline]
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        match text.first_chunk::<HEAD_BYTES>() {
            Some(head) => {
                (u128::from_le_bytes(*head) ^ self.head) & self.mask == 0
                    && (self.written.len() <= HEAD_BYTES || text.starts_with(self.written.as_bytes()))
            }
            None => text.starts_with(self.written.as_bytes()),
        }
    }
}
