//! Base64 as Lambda, Firehose and Kafka carry records in it, decoded into a buffer that is used again and again.

use std::sync::LazyLock;

use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurposeConfig, Simd};

use super::outcome::{Encoding, Unreadable};
use crate::json::RawText;

/// Detects the processor's vector instructions once. Senders of their own may leave padding out.
static ENGINE: LazyLock<Simd> = LazyLock::new(|| {
    Simd::standard(GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent))
});

/// Decodes `encoded` into `buffer`, which keeps its largest size, and gives the decoded part of it.
pub(super) fn decode<'b>(encoded: RawText<'_>, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Unreadable> {
    let text = encoded.resolve();
    let room = base64::decoded_len_estimate(text.len());
    if buffer.len() < room {
        buffer.resize(room, 0);
    }
    match ENGINE.decode_slice_unchecked(text.as_bytes(), buffer) {
        Ok(length) => Ok(buffer.get(..length).unwrap_or_default()),
        Err(_) => Err(Unreadable::Broken(Encoding::Base64)),
    }
}
