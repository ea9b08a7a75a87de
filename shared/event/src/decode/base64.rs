//! Decodes the base64 in which Lambda, Firehose and Kafka carry records, into a buffer that is reused.
//!
//! Most of a batch passes through here, so it uses the vector instructions of the processor and never clears the buffer.

use std::sync::LazyLock;

use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurposeConfig, Simd};

use crate::invariant::or_broken;
use crate::json::RawText;
use crate::outcome::{Encoding, Unreadable};

/// Chooses the processor's vector instructions once. Padding is optional, because some self-made senders leave it out.
static ENGINE: LazyLock<Simd> = LazyLock::new(|| {
    Simd::standard(GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent))
});

/// Decodes `encoded` into the beginning of `buffer` and returns that part. The buffer grows to the largest record and keeps that
/// size.
pub(super) fn decode<'b>(encoded: RawText<'_>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Unreadable> {
    // Some writers escape the `/` of base64, so the text is not always a part of the payload as it stands.
    decode_text(&encoded.resolve(), buffer)
}

/// Decodes base64 text in the same way.
pub(super) fn decode_text<'b>(text: &str, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Unreadable> {
    // The estimate is an upper bound, so the decoded part always fits.
    let room = base64::decoded_len_estimate(text.len());
    // Never shrunk, so that the bytes after the record stay as they are instead of being cleared each time.
    if buffer.len() < room {
        buffer.resize(room, 0);
    }
    match ENGINE.decode_slice_unchecked(text.as_bytes(), buffer) {
        Ok(length) => Ok(or_broken(buffer.get(..length), &[], "base64 decoded to more than its estimate")),
        Err(_) => Err(Unreadable::Broken(Encoding::Base64)),
    }
}
