//! Reads rows straight from an encoded block and decodes only the columns that are asked for.
//!
//! Opening checks everything that later calls rely on; columns and sketches are checked while they are read. Never panics and never
//! allocates more than a small multiple of the block's size, whatever the bytes are.

use std::collections::BTreeMap;

use compact_str::CompactString;
use event::attribution::Dimension;
use event::provider::learned::EvidenceCounts;
use event::{Hour, Minute, invariant};

use super::bytes::{ByteReader, unzigzag};
use super::codec::MAX_PART_ROWS;
use super::columns::{TableColumns, TableSections};
use super::error::malformed;
use super::frame::{Decompressor, Frame};
use super::rows::{CountVisitor, Projection, RowRef, RowSource};
use super::section_ids::{ColumnId, SectionId, TableId};
use super::table::{BlockTable, TableRow};
use super::{AgeClass, Block, BlockError, COHORT_KEY, IntakeCounts, LINK_KEY, Resolution, index, value_of};
use crate::cell::{Cell, Latency};
use crate::counter::CounterSet;
use crate::per_dimension::of_dimension;

/// An encoded block, open for reading.
#[derive(Debug)]
pub struct BlockReader<'a> {
    frame: Frame<'a>,
    values: Vec<CompactString>,
    cells: Vec<[u32; Dimension::COUNT]>,
    /// Those of the table of late outcomes, which only blocks of format 2 have, follow the others.
    cohorts: Vec<[u32; COHORT_KEY]>,
    late_cohort_count: usize,
}

/// What the reader must know of a table to walk its rows.
#[derive(Clone, Copy)]
struct TableShape {
    id: TableId,
    /// The number of its first key.
    first_key: u32,
    key_count: usize,
    /// The unit of its positions if they do not state one.
    unit: Resolution,
    /// The age class of its rows if it does not state any.
    age: AgeClass,
}

/// The first format in which positions state their unit, and cohorts the ages of outcomes.
const FIRST_WITH_AGES: u8 = 3;

const MALFORMED_KEYS: BlockError = malformed("the keys are out of order or out of range");

impl<'a> BlockReader<'a> {
    /// Checks the frame and reads strings and keys.
    ///
    /// # Errors
    /// [`BlockError`] if the bytes are not a block, are in another format, or are damaged.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let frame = Frame::open(bytes)?;
        let mut decompressor = Decompressor::default();
        // Strings first, because they bound the numbers that keys may hold.
        let values = strings(&frame.section(SectionId::STRINGS, &mut decompressor)?)?;
        let limit = index(values.len());
        let mut key_section =
            |table: TableId| frame.section(SectionId::of(table, ColumnId::Keys), &mut decompressor);
        let cells = keys(&key_section(TableId::Cells)?, limit)?;
        let mut cohorts = keys(&key_section(TableId::Cohorts)?, limit)?;
        let mut late_cohorts = Vec::new();
        // Later formats keep late outcomes among the others, by their age.
        if frame.version < FIRST_WITH_AGES {
            late_cohorts = keys(&key_section(TableId::LateCohorts)?, limit)?;
        }
        let late_cohort_count = late_cohorts.len();
        cohorts.append(&mut late_cohorts);
        Ok(Self { frame, values, cells, cohorts, late_cohort_count })
    }

    /// The intake counts by hour.
    ///
    /// # Errors
    /// [`BlockError`] if they cannot be read.
    pub fn intake(&self) -> Result<BTreeMap<Hour, IntakeCounts>, BlockError> {
        let section = self.frame.section(SectionId::INTAKE, &mut Decompressor::default())?;
        let mut reader = ByteReader(&section);
        let mut intake = BTreeMap::new();
        let mut next_hour = 0_u32;
        while !reader.is_empty() {
            // The last number is refused as well, as it would have no next one.
            let hour = reader.varint32()?.checked_add(next_hour).filter(|&hour| hour < u32::MAX);
            let hour = hour.ok_or(malformed("an hour of the intake counts is out of range"))?;
            next_hour = hour + 1;
            let [events, duplicates, late, conflicts] =
                [reader.varint()?, reader.varint()?, reader.varint()?, reader.varint()?];
            intake.insert(Hour(hour), IntakeCounts { events, duplicates, late, conflicts });
        }
        Ok(intake)
    }

    /// What the outcomes of a batch revealed about mailbox providers.
    ///
    /// # Errors
    /// [`BlockError`] if it cannot be read.
    pub fn evidence(&self) -> Result<EvidenceCounts, BlockError> {
        evidence(&self.frame)
    }

    /// [`BlockReader::evidence`] of an encoded block, without reading anything else of it.
    ///
    /// # Errors
    /// [`BlockError`] if the bytes are not a block, or its evidence cannot be read.
    pub fn evidence_of(bytes: &[u8]) -> Result<EvidenceCounts, BlockError> {
        evidence(&Frame::open(bytes)?)
    }

    /// Decodes the whole block.
    pub(crate) fn to_block(&self) -> Result<Block, BlockError> {
        let mut cohorts = self.rows(self.cohort_table())?;
        cohorts.append(&mut self.rows(self.late_cohort_table())?);
        let links = self.link_keys()?;
        let block = Block {
            resolution: self.frame.resolution,
            values: self.values.clone(),
            cells: BlockTable { keys: self.cells.clone(), rows: self.rows(self.cell_table())? },
            cohorts: BlockTable { keys: self.cohorts.clone(), rows: cohorts },
            links: BlockTable { rows: self.rows(self.link_table(links.len()))?, keys: links },
            intake: self.intake()?,
            evidence: self.evidence()?,
        };
        // What was written is canonical already; what was crafted may not be.
        Ok(block.canonicalise())
    }

    const fn cell_table(&self) -> TableShape {
        TableShape {
            id: TableId::Cells,
            first_key: 0,
            key_count: self.cells.len(),
            unit: self.frame.resolution,
            age: AgeClass::Unknown,
        }
    }

    fn cohort_table(&self) -> TableShape {
        TableShape {
            id: TableId::Cohorts,
            first_key: 0,
            key_count: self.cohorts.len().saturating_sub(self.late_cohort_count),
            unit: self.frame.resolution,
            age: AgeClass::Unknown,
        }
    }

    fn late_cohort_table(&self) -> TableShape {
        let cohorts = self.cohort_table();
        TableShape {
            id: TableId::LateCohorts,
            first_key: index(cohorts.key_count),
            key_count: self.late_cohort_count,
            unit: Resolution::Hour,
            age: AgeClass::UnknownLate,
        }
    }

    /// The keys of links. Not read with those of the other tables: few readers want them.
    pub(super) fn link_keys(&self) -> Result<Vec<[u32; LINK_KEY]>, BlockError> {
        let id = SectionId::of(TableId::Links, ColumnId::Keys);
        keys(&self.frame.section(id, &mut Decompressor::default())?, index(self.values.len()))
    }

    const fn link_table(&self, key_count: usize) -> TableShape {
        TableShape {
            id: TableId::Links,
            first_key: 0,
            key_count,
            unit: self.frame.resolution,
            age: AgeClass::Unknown,
        }
    }

    /// Walks the rows of links, which have `key_count` keys.
    pub(super) fn scan_link_rows(
        &self,
        key_count: usize,
        projection: &Projection,
        each: &mut impl FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        self.scan(self.link_table(key_count), projection, each)
    }

    /// The string of a number in a key.
    pub(super) fn value(&self, number: u32) -> &str {
        value_of(&self.values, number)
    }

    fn rows(&self, table: TableShape) -> Result<Vec<TableRow>, BlockError> {
        let mut rows = Vec::new();
        self.scan(table, &Projection::ALL, &mut |row| {
            let cell = Cell {
                counters: row.counters.clone(),
                // The reader reuses the memory of an earlier row's histogram. The copy of an empty one must not take memory.
                latency: match row.latency {
                    Some(latency) if latency.is_empty() => Latency::default(),
                    latency => requested(latency),
                },
                opens: requested(row.opens),
                clicks: requested(row.clicks),
            };
            rows.push(TableRow { key: row.key, age: row.age, bucket: row.bucket, cell });
        })?;
        Ok(rows)
    }

    /// Walks the positions of a table's rows in their order: key, age class and first minute of the bucket.
    fn positions(
        &self,
        table: TableShape,
        decompressor: &mut Decompressor,
        each: &mut impl FnMut(u32, AgeClass, Minute) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        if table.key_count == 0 {
            return Ok(());
        }
        let section = self.frame.section(SectionId::of(table.id, ColumnId::Positions), decompressor)?;
        let ages = self.frame.section(SectionId::of(table.id, ColumnId::Ages), decompressor)?;
        let (mut reader, mut ages) = (ByteReader(&section), ByteReader(&ages));
        let states_unit = self.frame.version >= FIRST_WITH_AGES;
        let states_ages = states_unit && !ages.is_empty();
        let unit = if states_unit { reader.varint()? } else { table.unit.minutes().into() };
        let first = reader.varint()?;
        let mut room = MAX_PART_ROWS as u64;
        for key in (table.first_key..).take(table.key_count) {
            let classes = if states_ages { ages.varint()? } else { table.age.bit() };
            for age in AgeClass::of_bits(classes) {
                let count = reader.varint()?;
                // Before the rows are walked: the caller keeps something for each of them.
                room = room.checked_sub(count).ok_or(malformed("there are too many rows"))?;
                let mut next = first;
                for _ in 0..count {
                    let bucket = next.saturating_add(reader.varint()?);
                    next = bucket.saturating_add(1);
                    let minute = bucket.checked_mul(unit).and_then(|minute| u32::try_from(minute).ok());
                    each(key, age, Minute(minute.ok_or(malformed("a bucket is out of range"))?))?;
                }
            }
        }
        Ok(())
    }

    /// Counts one table column by column.
    fn count(
        &self,
        table: TableShape,
        counters: CounterSet,
        visitor: &mut impl CountVisitor,
    ) -> Result<(), BlockError> {
        let mut decompressor = Decompressor::default();
        // A row takes a byte of its positions or more.
        let rows = self.frame.raw_bytes(SectionId::of(table.id, ColumnId::Positions)).min(MAX_PART_ROWS);
        let mut slots = Vec::with_capacity(rows);
        self.positions(table, &mut decompressor, &mut |key, age, bucket| {
            slots.push(visitor.slot(key, age, bucket));
            Ok(())
        })?;
        // The positions alone may show that a query wants nothing of this block; then no column is decompressed.
        if slots.iter().any(Option::is_some) {
            let projection = Projection::of_counters(counters);
            let sections = TableSections::decompress(&self.frame, table.id, &projection, &mut decompressor)?;
            sections.count(&slots, visitor)?;
        }
        Ok(())
    }

    /// Walks the rows of one table.
    fn scan(
        &self,
        table: TableShape,
        projection: &Projection,
        each: &mut (impl FnMut(RowRef<'_>) + ?Sized),
    ) -> Result<(), BlockError> {
        if table.key_count == 0 {
            return Ok(());
        }
        let mut decompressor = Decompressor::default();
        let sections = TableSections::decompress(&self.frame, table.id, projection, &mut decompressor)?;
        // Walked in step: the nth position is that of the nth row in every column.
        let mut columns = TableColumns::open(&sections)?;
        self.positions(table, &mut decompressor, &mut |key, age, bucket| {
            each(columns.next_row(key, age, bucket)?);
            Ok(())
        })
    }
}

/// A copy of a sketch that the projection includes.
fn requested<T: Clone + Default>(sketch: Option<&T>) -> T {
    invariant::or_broken(sketch.cloned(), T::default(), "a row lacks a sketch of its projection")
}

fn evidence(frame: &Frame<'_>) -> Result<EvidenceCounts, BlockError> {
    let section = frame.section(SectionId::EVIDENCE, &mut Decompressor::default())?;
    let mut reader = ByteReader(&section);
    let mut evidence = EvidenceCounts::default();
    while !reader.is_empty() {
        let mut text = || -> Result<&str, BlockError> {
            let length = reader.varint()?;
            std::str::from_utf8(reader.take(length)?).map_err(|_| malformed("evidence is not UTF-8"))
        };
        let (domain, provider) = (text()?, text()?);
        evidence.add(domain, provider, reader.varint32()?);
    }
    Ok(evidence)
}

fn strings(section: &[u8]) -> Result<Vec<CompactString>, BlockError> {
    let mut reader = ByteReader(section);
    let mut values: Vec<CompactString> = Vec::new();
    while !reader.is_empty() {
        let length = reader.varint()?;
        let value =
            CompactString::from_utf8(reader.take(length)?).map_err(|_| malformed("a string is not UTF-8"))?;
        // Distinct, so that equal numbers mean equal strings: queries group by numbers.
        if values.last().is_some_and(|last| *last >= value) {
            return Err(malformed("the strings are out of order"));
        }
        values.push(value);
    }
    Ok(values)
}

fn keys<const N: usize>(section: &[u8], limit: u32) -> Result<Vec<[u32; N]>, BlockError> {
    if section.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = ByteReader(section);
    let count = reader.varint()?;
    // Each value takes a byte or more, so the count is compared with what is left before memory is allocated for it.
    let Some(count) = usize::try_from(count).ok().filter(|count| *count <= reader.left() / N) else {
        return Err(MALFORMED_KEYS);
    };
    let mut keys = vec![[0; N]; count];
    for column in 0..N {
        let mut value = 0_i64;
        for key in &mut keys {
            value = value.saturating_add(unzigzag(reader.varint()?));
            // A column's number is below N, the length of a key.
            key[column] = u32::try_from(value).ok().filter(|number| *number < limit).ok_or(MALFORMED_KEYS)?;
        }
    }
    if reader.is_empty() && keys.is_sorted_by(|a, b| a < b) { Ok(keys) } else { Err(MALFORMED_KEYS) }
}

impl RowSource for BlockReader<'_> {
    fn resolution(&self) -> Resolution {
        self.frame.resolution
    }

    fn key_count(&self) -> u32 {
        index(self.cells.len())
    }

    fn key_value(&self, key: u32, dimension: Dimension) -> &str {
        self.key_numbers(key).map_or("", |key| value_of(&self.values, of_dimension(key, dimension)))
    }

    fn key_numbers(&self, key: u32) -> Option<&[u32; Dimension::COUNT]> {
        self.cells.get(key as usize)
    }

    fn scan_cells(
        &self,
        projection: &Projection,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        // Rows outside of the range are decoded all the same: they are sorted by key first, so those of a range lie scattered.
        self.scan(self.cell_table(), projection, &mut |row| {
            if (from..to).contains(&row.bucket) {
                each(row);
            }
        })
    }

    fn count_cells(&self, counters: CounterSet, visitor: &mut impl CountVisitor) -> Result<(), BlockError> {
        self.count(self.cell_table(), counters, visitor)
    }

    fn count_cohorts(&self, counters: CounterSet, visitor: &mut impl CountVisitor) -> Result<(), BlockError> {
        self.count(self.cohort_table(), counters, visitor)?;
        self.count(self.late_cohort_table(), counters, visitor)
    }

    fn cohort_count(&self) -> u32 {
        index(self.cohorts.len())
    }

    fn cohort_key(&self, key: u32) -> (&str, &str) {
        match self.cohorts.get(key as usize) {
            Some([campaign, provider]) => {
                (value_of(&self.values, *campaign), value_of(&self.values, *provider))
            }
            None => ("", ""),
        }
    }

    fn scan_cohorts(
        &self,
        projection: &Projection,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        for table in [self.cohort_table(), self.late_cohort_table()] {
            self.scan(table, projection, &mut |row| {
                if (from..to).contains(&row.bucket) {
                    each(row);
                }
            })?;
        }
        Ok(())
    }
}
