//! The frame of an encoded block: a header with a checksum, a directory of sections, and the sections.
//!
//! ```text
//! "MGBK" | version u8 | checksum u64 LE of version and rest | resolution u8 | number of sections
//! | per section: its number less the previous number less 1, stored length, raw length or 0 if not compressed | the sections
//! ```
//! Each section is compressed on its own, so that a reader decompresses only what it needs. Nothing is read before the checksum
//! matches, and nothing is allocated beyond the frame's own limits.

use std::borrow::Cow;
use std::ops::Range;

use super::bytes::{ByteReader, put_varint};
use super::error::malformed;
use super::section_ids::SectionId;
use super::{BlockError, Resolution};

/// The format this program writes. Format 3 added the ages of outcomes and clicks by link.
pub(crate) const VERSION: u8 = 3;
/// The oldest format this program reads. Format 1 had room for 59 counters and was never released.
pub(crate) const OLDEST_VERSION: u8 = 2;
/// The largest size of all sections of one encoded block, uncompressed. A larger block is encoded in several parts.
pub(crate) const MAX_RAW_BYTES: usize = 8 << 20;

const MAGIC: [u8; 4] = *b"MGBK";
const CHECKSUM_BYTES: usize = 8;
const HEADER: usize = MAGIC.len() + 1 + CHECKSUM_BYTES;
/// Shorter sections are not compressed: the saving is not worth the time, and a small batch writes one such block per tenant.
const COMPRESS_FROM: usize = 1024;
const COMPRESSION_LEVEL: i32 = 3;

/// Collects sections in ascending order of their numbers, then writes the frame.
pub(crate) struct FrameWriter {
    /// Created when first needed: most small blocks compress nothing.
    compressor: Option<zstd::bulk::Compressor<'static>>,
    sections: u64,
    /// The smallest number the next section may have.
    next_id: u16,
    directory: Vec<u8>,
    body: Vec<u8>,
    raw_bytes: usize,
}

impl FrameWriter {
    pub(crate) fn new() -> Self {
        Self {
            compressor: None,
            sections: 0,
            next_id: 0,
            directory: Vec::new(),
            body: Vec::new(),
            raw_bytes: 0,
        }
    }

    /// Adds a section. An empty one is left out, and read as empty.
    pub(crate) fn section(&mut self, id: SectionId, raw: &[u8]) {
        if raw.is_empty() {
            return;
        }
        // The raw size counts even for sections that compress well: it bounds what a reader must hold.
        self.sections += 1;
        self.raw_bytes += raw.len();
        debug_assert!(id.number() >= self.next_id, "sections must be added in order");
        put_varint(&mut self.directory, u64::from(id.number() - self.next_id));
        self.next_id = id.number() + 1;
        let compressed = self.compress(raw);
        let (stored, raw_bytes) =
            compressed.as_deref().map_or((raw, 0), |compressed| (compressed, raw.len()));
        put_varint(&mut self.directory, stored.len() as u64);
        put_varint(&mut self.directory, raw_bytes as u64);
        self.body.extend_from_slice(stored);
    }

    /// The section compressed, or `None` if that saves nothing. If compression fails the section is stored as it is, which costs
    /// only space.
    fn compress(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        if raw.len() < COMPRESS_FROM {
            return None;
        }
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(COMPRESSION_LEVEL).ok();
        }
        let compressed = self.compressor.as_mut()?.compress(raw).ok()?;
        // Hashes look like random bytes, so a section of them may not shrink.
        (compressed.len() < raw.len()).then_some(compressed)
    }

    /// The size of all sections, uncompressed.
    pub(crate) const fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    pub(crate) fn finish(self, resolution: Resolution) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 3 + self.directory.len() + self.body.len());
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        // Written below: the checksum covers all that follows it.
        out.extend_from_slice(&[0; CHECKSUM_BYTES]);
        out.push(resolution as u8);
        put_varint(&mut out, self.sections);
        out.extend_from_slice(&self.directory);
        out.extend_from_slice(&self.body);
        // Both ranges exist: the header was just written.
        let checksum = checksum(VERSION, &out[HEADER..]);
        out[HEADER - CHECKSUM_BYTES..HEADER].copy_from_slice(&checksum.to_le_bytes());
        out
    }
}

/// rapidhash v3: 64 bits, published, the same on every machine. <https://docs.rs/rapidhash/latest/rapidhash/v3/>
pub(crate) fn checksum(version: u8, body: &[u8]) -> u64 {
    let hash = rapidhash::v3::rapidhash_v3(body);
    // With the version in it, a block whose version byte is damaged is never read as one of another format. Format 2 had no other
    // format to be taken for.
    if version == OLDEST_VERSION { hash } else { hash ^ u64::from(version) }
}

/// A frame whose checksum matches and whose sections lie within it and within the limits.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// The format of the sections.
    pub(crate) version: u8,
    pub(crate) resolution: Resolution,
    body: &'a [u8],
    /// In ascending order of their numbers.
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    id: SectionId,
    /// Within the body. Opening the frame has checked that it lies inside.
    stored: Range<usize>,
    /// 0 if not compressed.
    raw_bytes: usize,
}

impl<'a> Frame<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let (version, body) = verified_body(bytes)?;
        let mut reader = ByteReader(body);
        let resolution = match reader.byte()? {
            0 => Resolution::Minute,
            1 => Resolution::Hour,
            2 => Resolution::Day,
            _ => return Err(malformed("the resolution is unknown")),
        };
        let count = reader.varint()?;
        let mut sections: Vec<Section> = Vec::new();
        let mut next_id = 0_u64;
        let mut end = 0_usize;
        let mut raw_total = 0_u64;
        // Numbers ascend and are below the limit, so an absurd count ends the loop early.
        for _ in 0..count {
            let id = SectionId::from_number(reader.varint()?.saturating_add(next_id))
                .ok_or(malformed("a section has an unknown number"))?;
            next_id = u64::from(id.number()) + 1;
            let (stored, raw) = (reader.varint32()?, reader.varint32()?);
            raw_total += u64::from(if raw == 0 { stored } else { raw });
            let start = end;
            end = start.saturating_add(stored as usize);
            sections.push(Section { id, stored: start..end, raw_bytes: raw as usize });
        }
        // Checked before any section is decompressed. Only a crafted block exceeds this, because the writer splits larger ones.
        if raw_total > MAX_RAW_BYTES as u64 {
            return Err(malformed("the sections are too large"));
        }
        if end != reader.left() {
            return Err(malformed("the sections do not fill the block"));
        }
        Ok(Self { version, resolution, body: reader.0, sections })
    }

    fn find(&self, id: SectionId) -> Option<&Section> {
        self.sections.get(self.sections.binary_search_by_key(&id, |section| section.id).ok()?)
    }

    /// The length of a section, uncompressed.
    pub(crate) fn raw_bytes(&self, id: SectionId) -> usize {
        self.find(id).map_or(0, |section| section.raw_bytes.max(section.stored.len()))
    }

    /// The bytes of a section, uncompressed. Empty if the block has no such section.
    pub(crate) fn section(
        &self,
        id: SectionId,
        decompressor: &mut Decompressor,
    ) -> Result<Cow<'a, [u8]>, BlockError> {
        let Some(section) = self.find(id) else { return Ok(Cow::Borrowed(&[])) };
        // `open` compared the end of the last section with the body.
        let stored = &self.body[section.stored.clone()];
        if section.raw_bytes == 0 {
            return Ok(Cow::Borrowed(stored));
        }
        decompressor.decompress(stored, section.raw_bytes).map(Cow::Owned)
    }

    /// The sections that the block has, in ascending order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SectionId> + '_ {
        self.sections.iter().map(|section| section.id)
    }
}

/// Checks magic number, version and checksum. Returns the version and the bytes that the checksum covers.
fn verified_body(bytes: &[u8]) -> Result<(u8, &[u8]), BlockError> {
    let mut reader = ByteReader(bytes);
    if reader.array::<4>().ok() != Some(&MAGIC) {
        return Err(BlockError::NotABlock);
    }
    // Checked before the checksum, which another version may compute differently: its block would be reported as damaged.
    let version = match reader.byte() {
        Ok(version @ OLDEST_VERSION..=VERSION) => version,
        Ok(found) => return Err(BlockError::UnknownVersion { found, known: VERSION }),
        Err(_) => return Err(BlockError::Damaged),
    };
    let expected = reader.array::<CHECKSUM_BYTES>().map_err(|_| BlockError::Damaged)?;
    if checksum(version, reader.0).to_le_bytes() != *expected {
        return Err(BlockError::Damaged);
    }
    Ok((version, reader.0))
}

/// Decompresses sections one after the other with one context.
#[derive(Default)]
pub(crate) struct Decompressor(Option<zstd::bulk::Decompressor<'static>>);

impl Decompressor {
    fn decompress(&mut self, stored: &[u8], raw_bytes: usize) -> Result<Vec<u8>, BlockError> {
        let context = match &mut self.0 {
            Some(context) => context,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(BlockError::Compression)?),
        };
        // `raw_bytes` is also the capacity, so a section that would expand further fails instead of growing.
        let raw = context.decompress(stored, raw_bytes).map_err(BlockError::Compression)?;
        if raw.len() == raw_bytes {
            Ok(raw)
        } else {
            Err(malformed("a section's length differs from the stated one"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::section_ids::{ColumnId, TableId};

    const KEYS: SectionId = SectionId::of(TableId::Cells, ColumnId::Keys);

    fn framed(sections: &[(SectionId, &[u8])]) -> Vec<u8> {
        let mut frame = FrameWriter::new();
        for (id, raw) in sections {
            frame.section(*id, raw);
        }
        frame.finish(Resolution::Hour)
    }

    #[test]
    fn sections_round_trip_below_and_above_the_compression_threshold() {
        for length in [1, COMPRESS_FROM - 1, COMPRESS_FROM, COMPRESS_FROM + 1, 100_000] {
            let raw = vec![7; length];
            let bytes = framed(&[(KEYS, &raw), (SectionId::INTAKE, b"last")]);
            assert_eq!(bytes.len() < length, length >= COMPRESS_FROM, "{length}");
            let frame = Frame::open(&bytes).unwrap();
            let mut decompressor = Decompressor::default();
            assert_eq!(frame.section(KEYS, &mut decompressor).unwrap(), raw);
            assert_eq!(frame.section(SectionId::INTAKE, &mut decompressor).unwrap(), &b"last"[..]);
            assert_eq!(frame.raw_bytes(KEYS), length);
            assert!(frame.ids().eq([KEYS, SectionId::INTAKE]));
        }
    }

    #[test]
    fn empty_section_is_left_out_and_read_as_empty() {
        let bytes = framed(&[(KEYS, b""), (SectionId::STRINGS, b"x")]);
        let frame = Frame::open(&bytes).unwrap();
        assert!(frame.ids().eq([SectionId::STRINGS]));
        assert!(frame.section(KEYS, &mut Decompressor::default()).unwrap().is_empty());
        assert_eq!(frame.raw_bytes(KEYS), 0);
    }

    #[test]
    fn header_cut_short_is_damaged_or_no_block() {
        let bytes = framed(&[]);
        for length in 0..bytes.len() {
            let error = Frame::open(&bytes[..length]).unwrap_err();
            let no_block = matches!(error, BlockError::NotABlock);
            assert_eq!(no_block, length < MAGIC.len(), "{length}: {error}");
        }
        assert_eq!(Frame::open(&bytes).unwrap().resolution, Resolution::Hour);
    }

    #[test]
    fn compressed_section_of_another_length_than_stated_is_refused() {
        let raw = vec![7; COMPRESS_FROM];
        let mut bytes = framed(&[(KEYS, &raw)]);
        // After the resolution and the section count come the number and the stored length of the section, then its raw length (2 bytes).
        let raw_length = HEADER + 4;
        assert_eq!(bytes[raw_length..raw_length + 2], [0x80, 0x08]);
        bytes[raw_length] = 0x81;
        let checksum = checksum(VERSION, &bytes[HEADER..]).to_le_bytes();
        bytes[HEADER - CHECKSUM_BYTES..HEADER].copy_from_slice(&checksum);
        let refused = Frame::open(&bytes).unwrap().section(KEYS, &mut Decompressor::default());
        assert!(matches!(refused, Err(BlockError::Malformed { .. })));
    }
}
