//! Reads rows straight from an encoded block, decoding only what is wanted.
//!
//! Opening checks everything that later calls rely on; columns and sketches are checked while they are read. Never panics and
//! never allocates more than a small multiple of the bytes, whatever they are.

use std::collections::BTreeMap;

use compact_str::CompactString;
use event::attribution::Dimension;
use event::{Hour, Minute};

use super::bytes::{Cursor, unzigzag};
use super::codec::{CELLS, COHORTS, KEYS, LATE_COHORTS, LEDGER, MAX_PART_ROWS, PLACES, STRINGS};
use super::columns::{Columns, Sections};
use super::frame::{Frame, Unpacker};
use super::rows::{RowRef, Rows, Tally, Wanted};
use super::table::{Row, Table};
use super::{Block, BlockError, COHORT_KEY, Ledger, Resolution, index};
use crate::cell::Cell;

/// An encoded block, open for reading.
#[derive(Debug)]
pub struct BlockReader<'a> {
    frame: Frame<'a>,
    values: Vec<CompactString>,
    cells: Vec<[u32; Dimension::COUNT]>,
    cohorts: Vec<[u32; COHORT_KEY]>,
    late_cohorts: Vec<[u32; COHORT_KEY]>,
}

const MALFORMED_KEYS: BlockError =
    BlockError::Malformed { what: "the keys are out of order or out of range" };

impl<'a> BlockReader<'a> {
    /// Checks the frame and reads strings and keys.
    ///
    /// # Errors
    /// [`BlockError`] if the bytes are no block, of a newer format, or damaged.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let frame = Frame::open(bytes)?;
        let mut unpacker = Unpacker::default();
        let values = strings(&frame.section(STRINGS, &mut unpacker)?)?;
        let limit = index(values.len());
        Ok(Self {
            cells: keys(&frame.section(CELLS + KEYS, &mut unpacker)?, limit)?,
            cohorts: keys(&frame.section(COHORTS + KEYS, &mut unpacker)?, limit)?,
            late_cohorts: keys(&frame.section(LATE_COHORTS + KEYS, &mut unpacker)?, limit)?,
            frame,
            values,
        })
    }

    /// The ledger, by hour.
    ///
    /// # Errors
    /// [`BlockError`] if it cannot be read.
    pub fn ledger(&self) -> Result<BTreeMap<Hour, Ledger>, BlockError> {
        let section = self.frame.section(LEDGER, &mut Unpacker::default())?;
        let mut cursor = Cursor(&section);
        let mut ledger = BTreeMap::new();
        let mut next = 0_u32;
        while !cursor.is_empty() {
            let hour = cursor.varint32()?.checked_add(next).filter(|&hour| hour < u32::MAX);
            let hour = hour.ok_or(BlockError::Malformed { what: "an hour of the ledger is out of range" })?;
            next = hour + 1;
            let [events, duplicates, late, conflicts] =
                [cursor.varint()?, cursor.varint()?, cursor.varint()?, cursor.varint()?];
            ledger.insert(Hour(hour), Ledger { events, duplicates, late, conflicts });
        }
        Ok(ledger)
    }

    /// All of it in memory.
    pub(crate) fn to_block(&self) -> Result<Block, BlockError> {
        let block = Block {
            resolution: self.frame.resolution,
            values: self.values.clone(),
            cells: self.table(CELLS, &self.cells, self.frame.resolution)?,
            cohorts: self.table(COHORTS, &self.cohorts, self.frame.resolution)?,
            late_cohorts: self.table(LATE_COHORTS, &self.late_cohorts, Resolution::Hour)?,
            ledger: self.ledger()?,
        };
        Ok(block.normalise())
    }

    fn table<const N: usize>(
        &self,
        first_id: u8,
        keys: &[[u32; N]],
        width: Resolution,
    ) -> Result<Table<N>, BlockError> {
        let mut rows = Vec::new();
        self.scan(first_id, keys.len(), width, &Wanted::ALL, &mut |row| {
            let cell = Cell {
                counters: row.counters.clone(),
                latency: row.latency.filter(|latency| !latency.is_empty()).cloned().unwrap_or_default(),
                opens: row.opens.cloned().unwrap_or_default(),
                clicks: row.clicks.cloned().unwrap_or_default(),
            };
            rows.push(Row { key: row.key, bucket: row.bucket, cell });
        })?;
        Ok(Table { keys: keys.to_vec(), rows })
    }

    /// Walks the places of one table's rows, in their order: key and first minute of the bucket.
    fn places(
        &self,
        first_id: u8,
        key_count: usize,
        width: Resolution,
        unpacker: &mut Unpacker,
        each: &mut impl FnMut(u32, Minute) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        if key_count == 0 {
            return Ok(());
        }
        let places = self.frame.section(first_id + PLACES, unpacker)?;
        let mut places = Cursor(&places);
        let first = places.varint()?;
        let mut room = MAX_PART_ROWS as u64;
        for key in 0..index(key_count) {
            let count = places.varint()?;
            room =
                room.checked_sub(count).ok_or(BlockError::Malformed { what: "there are too many rows" })?;
            let mut next = first;
            for _ in 0..count {
                let bucket = next.saturating_add(places.varint()?);
                next = bucket.saturating_add(1);
                let minute =
                    bucket.checked_mul(u64::from(width.minutes())).and_then(|m| u32::try_from(m).ok());
                let minute = minute.ok_or(BlockError::Malformed { what: "a bucket is out of range" })?;
                each(key, Minute(minute))?;
            }
        }
        Ok(())
    }

    /// Counts one table, column by column.
    fn count(
        &self,
        first_id: u8,
        (first_key, key_count): (u32, usize),
        width: Resolution,
        counters: u64,
        tally: &mut impl Tally,
    ) -> Result<(), BlockError> {
        let mut unpacker = Unpacker::default();
        let mut slots = Vec::with_capacity(self.frame.raw_bytes(first_id + PLACES).min(MAX_PART_ROWS));
        self.places(first_id, key_count, width, &mut unpacker, &mut |key, bucket| {
            slots.push(tally.place(first_key + key, bucket));
            Ok(())
        })?;
        if slots.iter().any(Option::is_some) {
            let wanted = Wanted { counters, ..Wanted::default() };
            let sections = Sections::unpack(&self.frame, first_id, &wanted, &mut unpacker)?;
            sections.count(&slots, tally)?;
        }
        Ok(())
    }

    /// Walks the rows of one table.
    fn scan(
        &self,
        first_id: u8,
        key_count: usize,
        width: Resolution,
        wanted: &Wanted,
        each: &mut (impl FnMut(RowRef<'_>) + ?Sized),
    ) -> Result<(), BlockError> {
        if key_count == 0 {
            return Ok(());
        }
        let mut unpacker = Unpacker::default();
        let sections = Sections::unpack(&self.frame, first_id, wanted, &mut unpacker)?;
        let mut columns = Columns::open(&sections)?;
        self.places(first_id, key_count, width, &mut unpacker, &mut |key, bucket| {
            each(columns.next_row(bucket, width, key)?);
            Ok(())
        })
    }
}

fn strings(section: &[u8]) -> Result<Vec<CompactString>, BlockError> {
    let mut cursor = Cursor(section);
    let mut values: Vec<CompactString> = Vec::new();
    while !cursor.is_empty() {
        let length = cursor.varint()?;
        let value = CompactString::from_utf8(cursor.take(length)?)
            .map_err(|_| BlockError::Malformed { what: "a string is not UTF-8" })?;
        if values.last().is_some_and(|last| *last >= value) {
            return Err(BlockError::Malformed { what: "the strings are out of order" });
        }
        values.push(value);
    }
    Ok(values)
}

fn keys<const N: usize>(section: &[u8], limit: u32) -> Result<Vec<[u32; N]>, BlockError> {
    if section.is_empty() {
        return Ok(Vec::new());
    }
    let mut cursor = Cursor(section);
    let count = cursor.varint()?;
    // Each value takes a byte or more, so the count is checked against what is left before memory is taken for it.
    let Some(count) = usize::try_from(count).ok().filter(|count| *count <= cursor.left() / N) else {
        return Err(MALFORMED_KEYS);
    };
    let mut keys = vec![[0; N]; count];
    for column in 0..N {
        let mut value = 0_i64;
        for key in &mut keys {
            value = value.saturating_add(unzigzag(cursor.varint()?));
            let number = u32::try_from(value).ok().filter(|number| *number < limit).ok_or(MALFORMED_KEYS)?;
            if let Some(place) = key.get_mut(column) {
                *place = number;
            }
        }
    }
    if cursor.is_empty() && keys.is_sorted_by(|a, b| a < b) { Ok(keys) } else { Err(MALFORMED_KEYS) }
}

impl Rows for BlockReader<'_> {
    fn resolution(&self) -> Resolution {
        self.frame.resolution
    }

    fn key_count(&self) -> u32 {
        index(self.cells.len())
    }

    fn key_value(&self, key: u32, dimension: Dimension) -> &str {
        value(&self.values, self.cells.get(key as usize).and_then(|key| key.get(dimension as usize)))
    }

    fn key_numbers(&self, key: u32) -> Option<&[u32; Dimension::COUNT]> {
        self.cells.get(key as usize)
    }

    fn scan_cells(
        &self,
        wanted: &Wanted,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        self.scan(CELLS, self.cells.len(), self.frame.resolution, wanted, &mut |row| {
            if (from..to).contains(&row.bucket) {
                each(row);
            }
        })
    }

    fn count_cells(&self, counters: u64, tally: &mut impl Tally) -> Result<(), BlockError> {
        self.count(CELLS, (0, self.cells.len()), self.frame.resolution, counters, tally)
    }

    fn count_cohorts(&self, counters: u64, tally: &mut impl Tally) -> Result<(), BlockError> {
        let first_late = index(self.cohorts.len());
        self.count(COHORTS, (0, self.cohorts.len()), self.frame.resolution, counters, tally)?;
        self.count(LATE_COHORTS, (first_late, self.late_cohorts.len()), Resolution::Hour, counters, tally)
    }

    fn cohort_count(&self) -> u32 {
        index(self.cohorts.len() + self.late_cohorts.len())
    }

    fn cohort_key(&self, key: u32) -> (&str, &str) {
        let key = key as usize;
        let found =
            self.cohorts.get(key).or_else(|| self.late_cohorts.get(key.checked_sub(self.cohorts.len())?));
        match found {
            Some([campaign, provider]) => {
                (value(&self.values, Some(campaign)), value(&self.values, Some(provider)))
            }
            None => ("", ""),
        }
    }

    fn scan_cohorts(
        &self,
        wanted: &Wanted,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        let first_late = index(self.cohorts.len());
        self.scan(COHORTS, self.cohorts.len(), self.frame.resolution, wanted, &mut |row| {
            if (from..to).contains(&row.bucket) {
                each(row);
            }
        })?;
        self.scan(LATE_COHORTS, self.late_cohorts.len(), Resolution::Hour, wanted, &mut |row| {
            if (from..to).contains(&row.bucket) {
                each(RowRef { key: first_late + row.key, ..row });
            }
        })
    }
}

fn value<'a>(values: &'a [CompactString], number: Option<&u32>) -> &'a str {
    number.and_then(|&number| values.get(number as usize)).map_or("", CompactString::as_str)
}
