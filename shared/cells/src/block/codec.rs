//! Writes blocks as bytes: a section for the strings, and for each table sections for keys, row positions, counters and sketches.
//!
//! ```text
//! strings    length, bytes; sorted
//! keys       number of keys, then column by column each value's number less the one before
//! positions  unit in minutes, first bucket, then per key and age class: number of rows, first bucket less the first of all, then steps
//!            less 1; buckets in units
//! counter    0, then a count per row; or 1, then per row that has any: rows skipped, count
//! latency    per row that has any: rows skipped, number of buckets, then bucket's number less the one before, count
//! ages       per key: the set of its rows' age classes; absent if all are unknown
//! uniques    per row that has any: rows skipped, number of hashes and 6 bytes each; or the limit + 1 and the registers
//! intake     per hour: hours since the one before, events, duplicates, late, conflicts
//! evidence   per domain and provider: length and bytes of both, count; sorted
//! ```
//! All integers are LEB128. [`super::reader`] reads these bytes, [`super::frame`] holds them together and carries the version. Once
//! a version is released, it never changes: a new column is a new section under a new version. Format 2 has no ages, no unit (buckets are in
//! widths of a bucket), and a third table for cohorts of late outcomes.

use std::collections::BTreeMap;

use compact_str::CompactString;
use event::Hour;
use event::provider::learned::EvidenceCounts;

use super::bytes::{put_varint, zigzag};
use super::frame::{FrameWriter, MAX_RAW_BYTES};
use super::section_ids::{ColumnId, SectionId, TableId};
use super::table::{BlockTable, TableRow};
use super::{AgeClass, Block, BlockError, BlockReader, IntakeCounts};
use crate::cell::{Latency, Uniques};
use crate::counter::{CounterId, PerCounter};

/// The first byte of a counter's section.
pub(crate) const DENSE: u8 = 0;
pub(crate) const SPARSE: u8 = 1;
/// Bytes of a stored hash.
pub(crate) const HASH_BYTES: usize = Uniques::HASH_BITS as usize / 8;

/// The most rows of one table in one part; a block with more becomes several. Equal rows compress to almost nothing, so without
/// this limit a few crafted bytes would expand to hundreds of megabytes; with it, to about 25 MB per table. An hour of
/// [`Block::MAX_KEYS`] keys fits.
pub(crate) const MAX_PART_ROWS: usize = 1 << 18;

impl Block {
    /// From this size on, [`Block::encode_sketches_apart`] stores the sketches apart.
    const SKETCHES_APART_FROM_BYTES: usize = 16 * 1024;

    /// The largest size of an encoded part, in bytes, chosen to fit an item of the store. A larger block becomes several parts.
    pub const MAX_ENCODED_BYTES: usize = 380 * 1024;

    /// The block as bytes: one part, or several that are each a valid block and merge to this one.
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        encode_into(self, &mut parts);
        parts
    }

    /// The block as two lists of parts: the counts, and the sketches, which only some readers need. Each part is a block, and all of
    /// them merge to this one. The second list is empty if the block is so small that a second read would cost more than it saves.
    pub fn encode_sketches_apart(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (counts, sketches) = self.clone().split_sketches();
        let counts = counts.encode();
        if sketches.row_count() == 0 {
            return (counts, Vec::new());
        }
        // Both are encoded before the choice, because only the compressed size says whether a second read pays.
        let sketches = sketches.encode();
        let bytes: usize = counts.iter().chain(&sketches).map(Vec::len).sum();
        if bytes <= Self::SKETCHES_APART_FROM_BYTES {
            (self.encode(), Vec::new())
        } else {
            (counts, sketches)
        }
    }

    /// Reads a whole block.
    ///
    /// # Errors
    /// [`BlockError`] if any byte is not as it was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        BlockReader::open(bytes)?.to_block()
    }

    /// The block without its sketches, and the sketches.
    fn split_sketches(self) -> (Self, Self) {
        let (cells, cell_sketches) = self.cells.split_sketches();
        let (cohorts, cohort_sketches) = self.cohorts.split_sketches();
        let sketches = Self {
            resolution: self.resolution,
            values: self.values.clone(),
            cells: cell_sketches,
            cohorts: cohort_sketches,
            // Links have no sketches.
            links: BlockTable::default(),
            // These go with the counts alone: a reader merges both halves and would double them.
            intake: BTreeMap::new(),
            evidence: EvidenceCounts::default(),
        };
        let counts = Self { cells, cohorts, ..self };
        (counts.canonicalise(), sketches.canonicalise())
    }

    /// Divides the rows of each table, and the intake counts, into `count` blocks of about the same number of rows.
    fn divide(&self, count: usize) -> Vec<Self> {
        // By rows, because bytes are known only after encoding; a part that is still too large is divided again.
        let part = |part: usize| {
            let range = |length: usize| length * part / count..length * (part + 1) / count;
            let hours = range(self.intake.len());
            let intake = self.intake.iter().skip(hours.start).take(hours.len());
            let block = Self {
                resolution: self.resolution,
                values: self.values.clone(),
                cells: self.cells.row_range(range(self.cells.rows.len())),
                cohorts: self.cohorts.row_range(range(self.cohorts.rows.len())),
                links: self.links.row_range(range(self.links.rows.len())),
                intake: intake.map(|(hour, counts)| (*hour, *counts)).collect(),
                // Bounded to far less than a part, so it need not be divided.
                evidence: if part == 0 { self.evidence.clone() } else { EvidenceCounts::default() },
            };
            block.canonicalise()
        };
        (0..count).map(part).collect()
    }
}

fn encode_into(block: &Block, parts: &mut Vec<Vec<u8>>) {
    let mut frame = FrameWriter::new();
    // In the order of their section numbers; see `section_ids`.
    encode_table(&mut frame, TableId::Cells, &block.cells);
    encode_table(&mut frame, TableId::Cohorts, &block.cohorts);
    frame.section(SectionId::STRINGS, &strings(&block.values));
    frame.section(SectionId::INTAKE, &intake(&block.intake));
    frame.section(SectionId::EVIDENCE, &evidence(&block.evidence));
    encode_table(&mut frame, TableId::Links, &block.links);
    let raw_bytes = frame.raw_bytes();
    let encoded = frame.finish(block.resolution);
    let rows = block.cells.rows.len().max(block.cohorts.rows.len()).max(block.links.rows.len());
    let too_large =
        encoded.len() > Block::MAX_ENCODED_BYTES || raw_bytes > MAX_RAW_BYTES || rows > MAX_PART_ROWS;
    // A single row cannot be divided.
    if !too_large || block.row_count() + block.intake.len() <= 1 {
        parts.push(encoded);
        return;
    }
    let excess =
        (encoded.len() / Block::MAX_ENCODED_BYTES).max(raw_bytes / MAX_RAW_BYTES).max(rows / MAX_PART_ROWS);
    // One part more than the size asks for, because rows differ in size and strings are repeated.
    for part in block.divide(excess + 2) {
        encode_into(&part, parts);
    }
}

fn encode_table<const N: usize>(frame: &mut FrameWriter, id: TableId, table: &BlockTable<N>) {
    // A small delta writes no section for a table that it does not use.
    if table.rows.is_empty() {
        return;
    }
    let rows = &table.rows;
    let mut section = |column: ColumnId, bytes: &[u8]| frame.section(SectionId::of(id, column), bytes);
    section(ColumnId::Keys, &keys(&table.keys));
    section(ColumnId::Positions, &positions(rows, table.keys.len()));
    section(ColumnId::Latency, &latencies(rows));
    section(ColumnId::Opens, &uniques(rows.iter().map(|row| &row.cell.opens)));
    section(ColumnId::Clicks, &uniques(rows.iter().map(|row| &row.cell.clicks)));
    section(ColumnId::Ages, &ages(rows));
    for (counter, bytes) in counters(rows) {
        section(ColumnId::Counter(counter), &bytes);
    }
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
    // Column by column, because keys are sorted: the first columns hardly change from key to key, and their differences are runs of
    // zeros that compress to almost nothing.
    for column in 0..N {
        let mut before = 0;
        for key in keys {
            // A column's number is below N, the length of a key.
            let value = i64::from(key[column]);
            put_varint(&mut out, zigzag(value - before));
            before = value;
        }
    }
    out
}

/// The units of time in which positions are written: a day, an hour, and parts of an hour at which days begin in some time zone.
const UNITS: [u32; 5] = [24 * 60, 60, 30, 15, 1];

fn positions(rows: &[TableRow], key_count: usize) -> Vec<u8> {
    // The largest that divides all, so that steps stay small. One of them always does: the last is a minute.
    let fits = |unit: &u32| rows.iter().all(|row| row.bucket.0.is_multiple_of(*unit));
    let unit = UNITS.into_iter().find(fits).unwrap_or(1);
    let bucket = |row: &TableRow| u64::from(row.bucket.0 / unit);
    // A table without rows is not encoded.
    let first = rows.iter().map(bucket).min().unwrap_or(0);
    let mut out = Vec::with_capacity(rows.len() + key_count * 2 + 8);
    put_varint(&mut out, u64::from(unit));
    put_varint(&mut out, first);
    // One run for each age class of each key, in their order; `ages` says which there are.
    for run in rows.chunk_by(|a, b| (a.key, a.age) == (b.key, b.age)) {
        put_varint(&mut out, run.len() as u64);
        let mut next = first;
        // Steps less 1, because no two rows of a run share a bucket: a key that is busy every minute is a run of zeros.
        for row in run {
            put_varint(&mut out, bucket(row) - next);
            next = bucket(row) + 1;
        }
    }
    out
}

/// The age classes of each key's rows. In canonical form every key has rows.
fn ages(rows: &[TableRow]) -> Vec<u8> {
    let mut out = Vec::new();
    if rows.iter().any(|row| row.age != AgeClass::Unknown) {
        for of_key in rows.chunk_by(|a, b| a.key == b.key) {
            put_varint(&mut out, of_key.iter().fold(0, |set, row| set | row.age.bit()));
        }
    }
    out
}

/// A counter's column while it is written in its sparse form.
struct SparseCounts {
    counter: CounterId,
    bytes: Vec<u8>,
    /// The row after the last one written.
    next_row: u64,
    entries: usize,
}

/// A column for each counter that any row has, in the order of their numbers, in the shorter of the two forms.
fn counters(rows: &[TableRow]) -> Vec<(CounterId, Vec<u8>)> {
    let mut columns: Vec<SparseCounts> = Vec::new();
    let mut column_of: PerCounter<Option<u8>> = PerCounter::filled(None);
    for (number, row) in (0_u64..).zip(rows) {
        for (counter, count) in row.cell.counters.iter() {
            let known = column_of[counter].and_then(|column| columns.get_mut(usize::from(column)));
            let column = if let Some(column) = known {
                column
            } else {
                // There are at most 256 columns, one for each counter.
                column_of[counter] = u8::try_from(columns.len()).ok();
                columns.push(SparseCounts { counter, bytes: vec![SPARSE], next_row: 0, entries: 0 });
                let last = columns.len() - 1;
                &mut columns[last]
            };
            put_varint(&mut column.bytes, number - column.next_row);
            put_varint(&mut column.bytes, count);
            column.next_row = number + 1;
            column.entries += 1;
        }
    }
    // Columns were made in the order in which rows first had them; the frame wants ascending section numbers.
    columns.sort_unstable_by_key(|column| column.counter);
    columns.into_iter().map(|column| (column.counter, column.shorter_form(rows))).collect()
}

impl SparseCounts {
    fn shorter_form(self, rows: &[TableRow]) -> Vec<u8> {
        // A dense column spends a byte on each row without a count, a sparse one a byte or more on each row with one.
        if self.entries * 2 < rows.len() {
            return self.bytes;
        }
        let mut dense = self.bytes;
        dense.clear();
        dense.push(DENSE);
        for row in rows {
            put_varint(&mut dense, row.cell.counters.get(self.counter));
        }
        dense
    }
}

fn latencies(rows: &[TableRow]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut next_row = 0;
    for (number, row) in (0_u64..).zip(rows) {
        let latency: &Latency = &row.cell.latency;
        if latency.is_empty() {
            continue;
        }
        put_varint(&mut out, number - next_row);
        next_row = number + 1;
        put_varint(&mut out, latency.iter().len() as u64);
        // Ascending, and close to each other where delivery times are alike, so that most differences take one byte.
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
    let mut next_row = 0;
    for (number, uniques) in (0_u64..).zip(rows) {
        if uniques.is_empty() {
            continue;
        }
        put_varint(&mut out, number - next_row);
        next_row = number + 1;
        // A number of hashes that no exact set can have announces registers, so no flag is needed.
        if let Some(registers) = uniques.registers() {
            put_varint(&mut out, Uniques::EXACT_LIMIT as u64 + 1);
            out.extend_from_slice(registers.as_bytes());
            continue;
        }
        put_varint(&mut out, uniques.hashes().len() as u64);
        for hash in uniques.hashes() {
            // Hashes have 48 bits, so the two high bytes are zero.
            let [bytes @ .., _, _] = hash.to_le_bytes();
            out.extend_from_slice(&bytes);
        }
    }
    out
}

fn intake(intake: &BTreeMap<Hour, IntakeCounts>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut next_hour = 0;
    for (hour, counts) in intake {
        // The map ascends, so no difference is negative.
        let IntakeCounts { events, duplicates, late, conflicts } = *counts;
        put_varint(&mut out, u64::from(hour.0) - next_hour);
        next_hour = u64::from(hour.0) + 1;
        for count in [events, duplicates, late, conflicts] {
            put_varint(&mut out, count);
        }
    }
    out
}

fn evidence(evidence: &EvidenceCounts) -> Vec<u8> {
    let mut out = Vec::new();
    for (domain, provider, count) in evidence.iter() {
        for text in [domain, provider] {
            put_varint(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        put_varint(&mut out, u64::from(count));
    }
    out
}

#[cfg(test)]
mod tests;
