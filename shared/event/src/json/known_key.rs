//! Keys of JSON objects that the decoder looks for, in their written form.
//!
//! SES always writes the keys of an object in the same order. So the scanner guesses which key comes next, and checking the guess
//! must cost next to nothing: one masked comparison of 16 bytes decides most of them.

/// A key, and the field it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownKey<F> {
    /// The key as it is written without white space: with its quotes and its colon.
    written: &'static str,
    /// The first [`HEAD_BYTES`] of `written`, little-endian, and a mask of those that exist.
    head: u128,
    mask: u128,
    field: F,
}

const HEAD_BYTES: usize = 16;

impl<F: Copy> KnownKey<F> {
    /// `written` is the key with its quotes and its colon: `"mail":`.
    pub(crate) const fn new(written: &'static str, field: F) -> Self {
        let bytes = written.as_bytes();
        let (mut head, mut mask, mut index) = (0, 0, 0);
        while index < bytes.len() && index < HEAD_BYTES {
            head |= (bytes[index] as u128) << (8 * index);
            mask |= 0xff << (8 * index);
            index += 1;
        }
        Self { written, head, mask, field }
    }

    /// The field it stands for.
    pub(crate) const fn field(&self) -> F {
        self.field
    }

    /// The same key for another field.
    pub(crate) const fn with_field<G: Copy>(&self, field: G) -> KnownKey<G> {
        KnownKey { written: self.written, head: self.head, mask: self.mask, field }
    }

    /// The length of the written form, in bytes.
    pub(super) const fn written_length(&self) -> usize {
        self.written.len()
    }

    /// Whether it is `key`, given without quotes and colon.
    pub(super) fn equals(&self, key: &str) -> bool {
        // The written form has two quotes and a colon more.
        self.written_length() == key.len() + 3
            && self.written.as_bytes().get(1..=key.len()) == Some(key.as_bytes())
    }

    /// Whether `text` begins with the written form.
    #[inline]
    pub(super) fn is_prefix_of(&self, text: &[u8]) -> bool {
        match text.first_chunk::<HEAD_BYTES>() {
            Some(head) => {
                (u128::from_le_bytes(*head) ^ self.head) & self.mask == 0
                    && (self.written.len() <= HEAD_BYTES || text.starts_with(self.written.as_bytes()))
            }
            // Near the end of the text there are not enough bytes to compare at once.
            None => text.starts_with(self.written.as_bytes()),
        }
    }
}
