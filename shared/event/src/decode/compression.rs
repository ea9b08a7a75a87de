//! Gzip and zstd inside a record, decompressed whole and never beyond a limit.
//!
//! Either all of a compressed record is used or none of it: a part of it would be counted now and again when the
//! quarantined record is replayed.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

use super::outcome::{Encoding, Unreadable};

/// The largest window a zstd frame may ask for, as a power of two: 32 MiB, enough for all levels without `--long`.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// The compression that `bytes` begin with, if any. <https://www.rfc-editor.org/rfc/rfc1952>, <https://www.rfc-editor.org/rfc/rfc8878>
pub(super) fn detect(bytes: &[u8]) -> Option<Encoding> {
    match bytes {
        [0x1f, 0x8b, 8, ..] => Some(Encoding::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Encoding::Zstd),
        _ => None,
    }
}

/// Decompresses `bytes`, all members or frames of it, to the end of `buffer`: at most `limit` bytes.
pub(super) fn decompress(
    encoding: Encoding,
    bytes: &[u8],
    limit: usize,
    buffer: &mut Vec<u8>,
) -> Result<(), Unreadable> {
    let read = match encoding {
        Encoding::Gzip => read_up_to(MultiGzDecoder::new(bytes), limit, buffer),
        Encoding::Zstd => zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut frames| {
            frames.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            read_up_to(frames, limit, buffer)
        }),
        Encoding::Base64 | Encoding::Kpl => return Ok(()),
    };
    match read {
        Ok(length) if length > limit => Err(Unreadable::TooLarge { limit }),
        Ok(_) => Ok(()),
        Err(_) => Err(Unreadable::Broken(encoding)),
    }
}

/// Reads one byte more than `limit`, so that the caller sees that there was more.
fn read_up_to(reader: impl Read, limit: usize, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    reader.take(limit as u64 + 1).read_to_end(buffer)
}
