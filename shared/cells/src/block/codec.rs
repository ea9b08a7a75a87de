//! Blocks as bytes: one section for the strings, and for each table sections for keys, places of rows, each counter, each sketch.
//!
//! ```text
//! strings   length, bytes; sorted
//! keys      number of keys, then column by column each value's number less the one before
//! places    first bucket, then per key: number of rows, first bucket less the first of all, then steps less 1; in widths of a bucket
//! counter   0, then a count per row; or 1, then per row that has any: rows skipped, count
//! latency   per row that has any: rows skipped, number of buckets, then bucket's number less the one before, count
//! uniques   per row that has any: rows skipped, number of hashes and 6 bytes each; or the limit + 1 and the registers
//! ledger    per hour: hours since the one before, events, duplicates, late, conflicts
//! ```
//! All integers are LEB128. Once a version is released, fields are only ever added as new sections under a new one; see
//! [`super::frame`].

use std::collections::BTreeMap;
use std::ops::Range;

use compact_str::CompactString;
use event::Hour;

use super::bytes::{put_varint, zigzag};
use super::frame::{FrameWriter, MAX_RAW_BYTES};
use super::table::{Row, Table};
use super::{Block, BlockReader, Ledger, Resolution};
use crate::cell::{Latency, Uniques};
use crate::counter::{Counter, CounterId};

/// Sections of the three tables begin at these ids and take 64 each.
pub(crate) const CELLS: u8 = 0;
pub(crate) const COHORTS: u8 = 64;
pub(crate) const LATE_COHORTS: u8 = 128;
/// Within a table.
pub(crate) const KEYS: u8 = 0;
pub(crate) const PLACES: u8 = 1;
pub(crate) const LATENCY: u8 = 2;
pub(crate) const OPENS: u8 = 3;
pub(crate) const CLICKS: u8 = 4;
/// Counters lie at 8 and up, those above 55 at 5 to 7.
const COUNTERS: Range<u8> = 5..64;
const FIRST_COUNTER: u8 = 8;
const MORE_COUNTERS: u8 = 64 - FIRST_COUNTER;
/// Of the block.
pub(crate) const STRINGS: u8 = 192;
pub(crate) const LEDGER: u8 = 193;
/// The first byte of a counter's section.
pub(crate) const DENSE: u8 = 0;
pub(crate) const SPARSE: u8 = 1;
/// Bytes of a stored hash.
pub(crate) const HASH_BYTES: usize = Uniques::HASH_BITS as usize / 8;

/// Why bytes cannot be read as a block.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The bytes do not begin as blocks do.
    #[error("these bytes are not a block: check what was read from where")]
    NotABlock,
    /// Written by another version of this program.
    #[error("block format {found} is {} than this program's {known}: {}", if found > known { "newer" } else { "older" },
        if found > known { "upgrade mailgauge" } else { "no such format was ever released, the block is damaged" })]
    UnknownVersion {
        /// The block's version.
        found: u8,
        /// The newest this program knows.
        known: u8,
    },
    /// Bytes were changed or lost.
    #[error(
        "the block is damaged: its checksum does not agree, restore it or compact it anew from its deltas"
    )]
    Damaged,
    /// The checksum agrees, but the contents are not what any version of this program writes.
    #[error("the block is malformed ({what}): it was not written by mailgauge")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// A section cannot be decompressed.
    #[error("a section of the block cannot be decompressed: it was not written by mailgauge")]
    Compression(#[source] std::io::Error),
}

/// Rows of one table in one part; a block with more becomes several. Rows that repeat compress to almost nothing, so without it a
/// few crafted bytes would expand to hundreds of megabytes; with it to some 25 a table. An hour of [`Block::MAX_KEYS`] keys fits.
pub(crate) const MAX_PART_ROWS: usize = 1 << 18;

impl Block {
    /// Larger blocks are stored with their sketches apart.
    const APART_FROM_BYTES: usize = 16 * 1024;

    /// An encoded block is at most so many bytes, so that it fits an item of the store; a larger block becomes several.
    pub const MAX_ENCODED_BYTES: usize = 380 * 1024;

    /// The block as bytes: one part, or several that are each a valid block and merge to this one.
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        encode_into(self, &mut parts);
        parts
    }

    /// The block as bytes in two heaps: parts that hold all counts, and parts that hold the sketches, for those readers only that want
    /// them. Each part is a block, and all together merge to this one. A small block is not worth two reads.
    pub fn encode_apart(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (counts, sketches) = self.clone().apart();
        let counts = counts.encode();
        if sketches.row_count() == 0 {
            return (counts, Vec::new());
        }
        let sketches = sketches.encode();
        let bytes: usize = counts.iter().chain(&sketches).map(Vec::len).sum();
        if bytes <= Self::APART_FROM_BYTES { (self.encode(), Vec::new()) } else { (counts, sketches) }
    }

    /// Reads a whole block.
    ///
    /// # Errors
    /// [`BlockError`] if any byte is not as it was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        BlockReader::open(bytes)?.to_block()
    }

    /// All but the sketches, and the sketches.
    fn apart(self) -> (Self, Self) {
        let (cells, cell_sketches) = self.cells.apart();
        let (cohorts, cohort_sketches) = self.cohorts.apart();
        let (late_cohorts, late_cohort_sketches) = self.late_cohorts.apart();
        let sketches = Self {
            resolution: self.resolution,
            values: self.values.clone(),
            cells: cell_sketches,
            cohorts: cohort_sketches,
            late_cohorts: late_cohort_sketches,
            ledger: BTreeMap::new(),
        };
        let counts = Self { cells, cohorts, late_cohorts, ..self };
        (counts.normalise(), sketches.normalise())
    }

    /// Cuts the rows of each table, and the ledger, into `count` runs of about the same length.
    fn cut(&self, count: usize) -> Vec<Self> {
        let part = |part: usize| {
            let run = |length: usize| length * part / count..length * (part + 1) / count;
            let hours = run(self.ledger.len());
            let block = Self {
                resolution: self.resolution,
                values: self.values.clone(),
                cells: self.cells.run(run(self.cells.rows.len())),
                cohorts: self.cohorts.run(run(self.cohorts.rows.len())),
                late_cohorts: self.late_cohorts.run(run(self.late_cohorts.rows.len())),
                ledger: self
                    .ledger
                    .iter()
                    .skip(hours.start)
                    .take(hours.len())
                    .map(|(h, e)| (*h, *e))
                    .collect(),
            };
            block.normalise()
        };
        (0..count).map(part).collect()
    }
}

fn encode_into(block: &Block, parts: &mut Vec<Vec<u8>>) {
    let mut frame = FrameWriter::new();
    encode_table(&mut frame, CELLS, &block.cells, block.resolution);
    encode_table(&mut frame, COHORTS, &block.cohorts, block.resolution);
    encode_table(&mut frame, LATE_COHORTS, &block.late_cohorts, Resolution::Hour);
    frame.section(STRINGS, &strings(&block.values));
    frame.section(LEDGER, &ledger(&block.ledger));
    let raw_bytes = frame.raw_bytes();
    let encoded = frame.finish(block.resolution);
    let rows = block.cells.rows.len().max(block.cohorts.rows.len()).max(block.late_cohorts.rows.len());
    let too_large =
        encoded.len() > Block::MAX_ENCODED_BYTES || raw_bytes > MAX_RAW_BYTES || rows > MAX_PART_ROWS;
    if !too_large || block.row_count() + block.ledger.len() <= 1 {
        parts.push(encoded);
        return;
    }
    let wanted =
        (encoded.len() / Block::MAX_ENCODED_BYTES).max(raw_bytes / MAX_RAW_BYTES).max(rows / MAX_PART_ROWS)
            + 2;
    for part in block.cut(wanted) {
        encode_into(&part, parts);
    }
}

fn encode_table<const N: usize>(frame: &mut FrameWriter, first_id: u8, table: &Table<N>, width: Resolution) {
    if table.rows.is_empty() {
        return;
    }
    frame.section(first_id + KEYS, &keys(&table.keys));
    frame.section(first_id + PLACES, &places(&table.rows, table.keys.len(), width));
    frame.section(first_id + LATENCY, &latencies(&table.rows));
    frame.section(first_id + OPENS, &uniques(table.rows.iter().map(|row| &row.cell.opens)));
    frame.section(first_id + CLICKS, &uniques(table.rows.iter().map(|row| &row.cell.clicks)));
    let counters = counters(&table.rows);
    for place in COUNTERS {
        let column = counter_at(place).and_then(|counter| counters.get(usize::from(counter.number())));
        frame.section(first_id + place, column.map_or(&[], Vec::as_slice));
    }
}

/// The counter whose section has this place in its table.
pub(crate) fn counter_at(place: u8) -> Option<CounterId> {
    let number = match place.checked_sub(FIRST_COUNTER) {
        Some(number) => number,
        None => MORE_COUNTERS + place.checked_sub(COUNTERS.start)?,
    };
    CounterId::from_number(number).filter(|_| COUNTERS.contains(&place))
}

fn strings(values: &[CompactString]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        put_varint(&mut out, value.len() as u64);
        out.extend_from_slice(value.as_bytes());
    }
    out
}

fn keys<const N: usize>(keys: &[[u32; N]]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, keys.len() as u64);
    for column in 0..N {
        let mut before = 0;
        for key in keys {
            let value = i64::from(key.get(column).copied().unwrap_or(0));
            put_varint(&mut out, zigzag(value - before));
            before = value;
        }
    }
    out
}

fn places(rows: &[Row], key_count: usize, width: Resolution) -> Vec<u8> {
    let bucket = |row: &Row| u64::from(row.bucket.0 / width.minutes());
    let first = rows.iter().map(bucket).min().unwrap_or(0);
    let mut out = Vec::with_capacity(rows.len() + key_count * 2 + 8);
    put_varint(&mut out, first);
    for run in rows.chunk_by(|a, b| a.key == b.key) {
        put_varint(&mut out, run.len() as u64);
        let mut next = first;
        for row in run {
            put_varint(&mut out, bucket(row) - next);
            next = bucket(row) + 1;
        }
    }
    out
}

/// A column per counter, the shorter of the two forms; empty where no row has it.
fn counters(rows: &[Row]) -> Vec<Vec<u8>> {
    let mut sparse: Vec<Vec<u8>> = vec![Vec::new(); Counter::COUNT];
    let mut next = [0_u64; Counter::COUNT];
    let mut filled = [0_usize; Counter::COUNT];
    for (place, row) in (0_u64..).zip(rows) {
        for (counter, count) in row.cell.counters.iter() {
            let number = usize::from(counter.number());
            let (Some(column), Some(next), Some(filled)) =
                (sparse.get_mut(number), next.get_mut(number), filled.get_mut(number))
            else {
                continue;
            };
            if column.is_empty() {
                column.push(SPARSE);
            }
            put_varint(column, place - *next);
            put_varint(column, count);
            *next = place + 1;
            *filled += 1;
        }
    }
    // A dense column spends a byte on each row without a count, a sparse one a byte or more on each row with one.
    for ((number, column), filled) in (0..).zip(&mut sparse).zip(filled) {
        if filled * 2 >= rows.len()
            && let Some(counter) = CounterId::from_number(number)
        {
            column.clear();
            column.push(DENSE);
            for row in rows {
                put_varint(column, row.cell.counters.get(counter));
            }
        }
    }
    sparse
}

fn latencies(rows: &[Row]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut next = 0;
    for (place, row) in (0_u64..).zip(rows) {
        let latency: &Latency = &row.cell.latency;
        if latency.is_empty() {
            continue;
        }
        put_varint(&mut out, place - next);
        next = place + 1;
        put_varint(&mut out, latency.iter().len() as u64);
        let mut before = 0;
        for (bucket, count) in latency.iter() {
            put_varint(&mut out, u64::from(bucket - before));
            put_varint(&mut out, count);
            before = bucket;
        }
    }
    out
}

fn uniques<'a>(rows: impl Iterator<Item = &'a Uniques>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut next = 0;
    for (place, uniques) in (0_u64..).zip(rows) {
        if uniques.is_empty() {
            continue;
        }
        put_varint(&mut out, place - next);
        next = place + 1;
        if let Some(registers) = uniques.registers() {
            put_varint(&mut out, Uniques::EXACT_LIMIT as u64 + 1);
            out.extend_from_slice(registers.as_bytes());
            continue;
        }
        put_varint(&mut out, uniques.hashes().len() as u64);
        for hash in uniques.hashes() {
            let [bytes @ .., _, _] = hash.to_le_bytes();
            out.extend_from_slice(&bytes);
        }
    }
    out
}

fn ledger(ledger: &BTreeMap<Hour, Ledger>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut next = 0;
    for (hour, entry) in ledger {
        let Ledger { events, duplicates, late, conflicts } = *entry;
        put_varint(&mut out, u64::from(hour.0) - next);
        next = u64::from(hour.0) + 1;
        for count in [events, duplicates, late, conflicts] {
            put_varint(&mut out, count);
        }
    }
    out
}

#[cfg(test)]
mod tests;
