//! Decompresses gzip and zstd inside a record, never beyond a limit.
//!
//! A compressed record is used as a whole or not at all: a part of it would be counted now, and again when the quarantined record
//! is replayed.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

use crate::outcome::{DecodeBudget, Encoding, Unreadable};

/// The largest window a zstd frame may request, as a power of two: 32 MiB, enough for every level without `--ultra` or `--long`.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// The compression whose magic number `bytes` begin with. Sources: <https://www.rfc-editor.org/rfc/rfc1952>,
/// <https://www.rfc-editor.org/rfc/rfc8878>
pub(super) fn detect(bytes: &[u8]) -> Option<Encoding> {
    match bytes {
        [0x1f, 0x8b, 8, ..] => Some(Encoding::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Encoding::Zstd),
        _ => None,
    }
}

/// Appends all members or frames of `bytes`, decompressed, to `buffer`.
///
/// # Errors
/// [`Unreadable::OverBudget`] beyond `limit` bytes, [`Unreadable::Broken`] if the data is damaged or cut off.
pub(super) fn decompress(
    encoding: Encoding,
    bytes: &[u8],
    limit: usize,
    buffer: &mut Vec<u8>,
) -> Result<(), Unreadable> {
    let read = match encoding {
        Encoding::Gzip => read_up_to(MultiGzDecoder::new(bytes), limit, buffer),
        Encoding::Zstd => zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut frames| {
            // Bounds the memory that a hostile frame header can demand.
            frames.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            read_up_to(frames, limit, buffer)
        }),
        // `detect` never returns these: base64 has no magic number, and KPL is recognised by its digest.
        Encoding::Base64 | Encoding::Kpl => return Ok(()),
    };
    match read {
        // Checked after reading, because only the data shows its size: both formats may state a wrong one or none.
        Ok(length) if length > limit => Err(Unreadable::OverBudget(DecodeBudget::InflatedBytes)),
        Ok(_) => Ok(()),
        Err(_) => Err(Unreadable::Broken(encoding)),
    }
}

/// Reads up to one byte more than `limit`, by which the caller recognises that there was more.
fn read_up_to(reader: impl Read, limit: usize, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    reader.take(limit as u64 + 1).read_to_end(buffer)
}
