//! The frame of an encoded block: magic, version, checksum, resolution, a directory of sections, the sections.
//!
//! ```text
//! "MGBK" | version u8 | checksum u64 LE of all that follows | resolution u8
//! | number of sections | per section: id u8, stored length, raw length or 0 if stored as it is | the sections' bytes
//! ```
//! Sections are compressed one by one, so that a reader leaves alone what it does not want. Nothing is read before the checksum
//! agrees, and nothing is allocated beyond what the frame's own limits allow.

use std::borrow::Cow;
use std::ops::Range;

use super::bytes::{Cursor, put_varint};
use super::{BlockError, Resolution};

/// The format that this program writes, and the newest that it reads.
pub(crate) const VERSION: u8 = 1;
/// All sections of one encoded block together, uncompressed; larger blocks are encoded in parts.
pub(crate) const MAX_RAW_BYTES: usize = 8 << 20;

const MAGIC: [u8; 4] = *b"MGBK";
const HEADER: usize = MAGIC.len() + 1 + 8;
/// Shorter sections do not gain enough to be worth the time: a small batch's block, written for each tenant in it, has no other.
const COMPRESS_FROM: usize = 1024;
const COMPRESSION_LEVEL: i32 = 3;

/// Collects sections, in the order of their ids, and closes the frame.
pub(crate) struct FrameWriter {
    /// Made when first needed.
    compressor: Option<zstd::bulk::Compressor<'static>>,
    sections: u64,
    directory: Vec<u8>,
    body: Vec<u8>,
    raw_bytes: usize,
}

impl FrameWriter {
    pub(crate) fn new() -> Self {
        Self { compressor: None, sections: 0, directory: Vec::new(), body: Vec::new(), raw_bytes: 0 }
    }

    /// Adds a section; an empty one is left out.
    pub(crate) fn section(&mut self, id: u8, raw: &[u8]) {
        if raw.is_empty() {
            return;
        }
        self.sections += 1;
        self.raw_bytes += raw.len();
        self.directory.push(id);
        let compressed = self.compress(raw);
        let (stored, raw_bytes) =
            compressed.as_deref().map_or((raw, 0), |compressed| (compressed, raw.len()));
        put_varint(&mut self.directory, stored.len() as u64);
        put_varint(&mut self.directory, raw_bytes as u64);
        self.body.extend_from_slice(stored);
    }

    /// `None` if it does not pay. What cannot be compressed is stored as it is, so a failure costs space only.
    fn compress(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        if raw.len() < COMPRESS_FROM {
            return None;
        }
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL).ok();
        }
        let compressed = self.compressor.as_mut()?.compress(raw).ok()?;
        (compressed.len() < raw.len()).then_some(compressed)
    }

    /// How large the sections are uncompressed.
    pub(crate) const fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    pub(crate) fn finish(self, resolution: Resolution) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 3 + self.directory.len() + self.body.len());
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&[0; 8]);
        out.push(resolution as u8);
        put_varint(&mut out, self.sections);
        out.extend_from_slice(&self.directory);
        out.extend_from_slice(&self.body);
        if let Some((header, body)) = out.split_at_mut_checked(HEADER)
            && let Some(place) = header.last_chunk_mut::<8>()
        {
            *place = checksum(body).to_le_bytes();
        }
        out
    }
}

/// rapidhash v3: 64 bits, the same on all machines, published. <https://docs.rs/rapidhash/latest/rapidhash/v3/>
pub(crate) fn checksum(body: &[u8]) -> u64 {
    rapidhash::v3::rapidhash_v3(body)
}

/// An opened frame.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) resolution: Resolution,
    body: &'a [u8],
    /// In the order of their ids.
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    id: u8,
    stored: Range<usize>,
    /// 0 if stored as it is.
    raw_bytes: usize,
}

impl<'a> Frame<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let body = check(bytes)?;
        let mut cursor = Cursor(body);
        let resolution = match cursor.byte()? {
            0 => Resolution::Minute,
            1 => Resolution::Hour,
            2 => Resolution::Day,
            _ => return Err(BlockError::Malformed { what: "the resolution is unknown" }),
        };
        let count = cursor.varint()?;
        let mut sections: Vec<Section> = Vec::new();
        let mut end = 0_usize;
        let mut raw_total = 0_u64;
        // Ids are bytes and must rise, so there are at most 256 rounds.
        for _ in 0..count {
            let id = cursor.byte()?;
            if sections.last().is_some_and(|last| last.id >= id) {
                return Err(BlockError::Malformed { what: "sections are out of order" });
            }
            let (stored, raw) = (cursor.varint32()?, cursor.varint32()?);
            raw_total += u64::from(if raw == 0 { stored } else { raw });
            let start = end;
            end = start.saturating_add(stored as usize);
            sections.push(Section { id, stored: start..end, raw_bytes: raw as usize });
        }
        if raw_total > MAX_RAW_BYTES as u64 {
            return Err(BlockError::Malformed { what: "the sections are too large" });
        }
        if end != cursor.left() {
            return Err(BlockError::Malformed { what: "the sections do not fill the block" });
        }
        Ok(Self { resolution, body: cursor.0, sections })
    }

    fn find(&self, id: u8) -> Option<&Section> {
        self.sections.get(self.sections.binary_search_by_key(&id, |section| section.id).ok()?)
    }

    /// How long a section is uncompressed.
    pub(crate) fn raw_bytes(&self, id: u8) -> usize {
        self.find(id).map_or(0, |section| section.raw_bytes.max(section.stored.len()))
    }

    /// A section's bytes, uncompressed; empty if there is none.
    pub(crate) fn section(&self, id: u8, unpacker: &mut Unpacker) -> Result<Cow<'a, [u8]>, BlockError> {
        let Some((section, stored)) = self.find(id).and_then(|s| Some((s, self.body.get(s.stored.clone())?)))
        else {
            return Ok(Cow::Borrowed(&[]));
        };
        if section.raw_bytes == 0 {
            return Ok(Cow::Borrowed(stored));
        }
        unpacker.unpack(stored, section.raw_bytes).map(Cow::Owned)
    }

    /// The ids that are there, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u8> + '_ {
        self.sections.iter().map(|section| section.id)
    }
}

/// Magic, version and checksum; gives what the checksum covers.
fn check(bytes: &[u8]) -> Result<&[u8], BlockError> {
    let mut cursor = Cursor(bytes);
    if cursor.array::<4>().ok() != Some(&MAGIC) {
        return Err(BlockError::NotABlock);
    }
    match cursor.byte() {
        Ok(VERSION) => {}
        Ok(found) => return Err(BlockError::UnknownVersion { found, known: VERSION }),
        Err(_) => return Err(BlockError::Damaged),
    }
    let expected = cursor.array::<8>().map_err(|_| BlockError::Damaged)?;
    if checksum(cursor.0).to_le_bytes() != *expected {
        return Err(BlockError::Damaged);
    }
    Ok(cursor.0)
}

/// Keeps a decompressor between sections.
#[derive(Default)]
pub(crate) struct Unpacker(Option<zstd::bulk::Decompressor<'static>>);

impl Unpacker {
    fn unpack(&mut self, stored: &[u8], raw_bytes: usize) -> Result<Vec<u8>, BlockError> {
        let unpacker = match &mut self.0 {
            Some(unpacker) => unpacker,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(BlockError::Compression)?),
        };
        let raw = unpacker.decompress(stored, raw_bytes).map_err(BlockError::Compression)?;
        if raw.len() == raw_bytes {
            Ok(raw)
        } else {
            Err(BlockError::Malformed { what: "a section's length is not the one given" })
        }
    }
}
