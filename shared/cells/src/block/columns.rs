//! The columns of one table of an encoded block, read together row by row or, for counts, one column after the other.
//!
//! A sparse column keeps the number of the next row for which it has an entry. Columns outside the projection are never
//! decompressed.

use std::borrow::Cow;

use event::Minute;

use super::bytes::ByteReader;
use super::codec::{DENSE, HASH_BYTES, SPARSE};
use super::error::malformed;
use super::frame::{Decompressor, Frame};
use super::rows::CountVisitor;
use super::section_ids::{ColumnId, SectionId, TableId};
use super::{AgeClass, BlockError, Projection, RowRef};
use crate::cell::uniques::registers::Registers;
use crate::cell::{Latency, Uniques};
use crate::counter::{CounterId, Counters};

/// The sections of one table that a projection includes, uncompressed.
pub(crate) struct TableSections<'a> {
    /// In ascending order of the counters' numbers, as in the frame.
    counters: Vec<(CounterId, Cow<'a, [u8]>)>,
    latency: Option<Cow<'a, [u8]>>,
    opens: Option<Cow<'a, [u8]>>,
    clicks: Option<Cow<'a, [u8]>>,
}

impl<'a> TableSections<'a> {
    pub(crate) fn decompress(
        frame: &'a Frame,
        table: TableId,
        projection: &Projection,
        decompressor: &mut Decompressor,
    ) -> Result<Self, BlockError> {
        // By the sections that there are: a counter that no row has was given none.
        let mut counters = Vec::new();
        for id in frame.ids() {
            if let Some(counter) = id.counter_of(table)
                && projection.counters.contains(counter)
            {
                counters.push((counter, frame.section(id, decompressor)?));
            }
        }
        let mut sketch = |included: bool, column: ColumnId| {
            let id = SectionId::of(table, column);
            if included { frame.section(id, decompressor).map(Some) } else { Ok(None) }
        };
        Ok(Self {
            counters,
            latency: sketch(projection.latency, ColumnId::Latency)?,
            opens: sketch(projection.opens, ColumnId::Opens)?,
            clicks: sketch(projection.clicks, ColumnId::Clicks)?,
        })
    }

    /// Passes the counts of the rows that have a slot to the visitor, column by column.
    pub(crate) fn count(
        &self,
        slots: &[Option<u32>],
        visitor: &mut impl CountVisitor,
    ) -> Result<(), BlockError> {
        for (counter, section) in &self.counters {
            match CountColumn::open(section)? {
                CountColumn::Dense(mut reader) => {
                    for slot in slots {
                        // Read even for a row without a slot: lengths vary, so a count cannot be jumped over.
                        let count = reader.varint()?;
                        if let Some(slot) = slot.filter(|_| count > 0) {
                            visitor.add(slot, *counter, count);
                        }
                    }
                }
                CountColumn::Sparse(mut sparse) => {
                    while let Some(slot) = usize::try_from(sparse.next).ok().and_then(|row| slots.get(row)) {
                        let count = sparse.reader.varint()?;
                        // The writer leaves a count of 0 out, but a crafted block may state one.
                        if let Some(slot) = slot.filter(|_| count > 0) {
                            visitor.add(slot, *counter, count);
                        }
                        sparse.skip_from(sparse.next + 1)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The columns of one table, at the same row.
pub(crate) struct TableColumns<'a> {
    row: u64,
    counts: Vec<(CounterId, CountColumn<'a>)>,
    counters: Counters,
    latency: Option<(SparseColumn<'a>, Latency)>,
    opens: Option<(SparseColumn<'a>, Uniques)>,
    clicks: Option<(SparseColumn<'a>, Uniques)>,
}

enum CountColumn<'a> {
    /// A count for every row.
    Dense(ByteReader<'a>),
    Sparse(SparseColumn<'a>),
}

/// A column with entries for some of the rows.
struct SparseColumn<'a> {
    reader: ByteReader<'a>,
    /// The next row that has an entry; `u64::MAX` if there is none.
    next: u64,
}

impl<'a> TableColumns<'a> {
    pub(crate) fn open(sections: &'a TableSections<'_>) -> Result<Self, BlockError> {
        let mut counts = Vec::with_capacity(sections.counters.len());
        for (counter, section) in &sections.counters {
            counts.push((*counter, CountColumn::open(section)?));
        }
        Ok(Self {
            row: 0,
            counts,
            counters: Counters::new(),
            latency: open_sketch(sections.latency.as_deref())?,
            opens: open_sketch(sections.opens.as_deref())?,
            clicks: open_sketch(sections.clicks.as_deref())?,
        })
    }

    /// The next row. Its position comes from the caller, because it is stored apart from the columns.
    pub(crate) fn next_row(
        &mut self,
        key: u32,
        age: AgeClass,
        bucket: Minute,
    ) -> Result<RowRef<'_>, BlockError> {
        self.counters.clear();
        // `push` wants ascending numbers; the frame has them in that order.
        for (counter, column) in &mut self.counts {
            self.counters.push(*counter, column.next(self.row)?);
        }
        if let Some((column, latency)) = &mut self.latency {
            read_latency(column, self.row, latency)?;
        }
        if let Some((column, uniques)) = &mut self.opens {
            read_uniques(column, self.row, uniques)?;
        }
        if let Some((column, uniques)) = &mut self.clicks {
            read_uniques(column, self.row, uniques)?;
        }
        self.row += 1;
        Ok(RowRef {
            bucket,
            age,
            key,
            counters: &self.counters,
            latency: self.latency.as_ref().map(|(_, latency)| latency),
            opens: self.opens.as_ref().map(|(_, uniques)| uniques),
            clicks: self.clicks.as_ref().map(|(_, uniques)| uniques),
        })
    }
}

fn open_sketch<T: Default>(section: Option<&[u8]>) -> Result<Option<(SparseColumn<'_>, T)>, BlockError> {
    section.map(|bytes| Ok((SparseColumn::open(ByteReader(bytes))?, T::default()))).transpose()
}

impl<'a> CountColumn<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        match bytes.split_first() {
            Some((&DENSE, rest)) => Ok(Self::Dense(ByteReader(rest))),
            Some((&SPARSE, rest)) => Ok(Self::Sparse(SparseColumn::open(ByteReader(rest))?)),
            _ => Err(malformed("a counter's column has an unknown form")),
        }
    }

    /// The count of `row`. Rows must be asked for in order, without gaps.
    #[inline]
    fn next(&mut self, row: u64) -> Result<u64, BlockError> {
        match self {
            Self::Dense(reader) => reader.varint(),
            // The next row with an entry is known beforehand, so a row without one costs a comparison.
            Self::Sparse(sparse) if sparse.next != row => Ok(0),
            Self::Sparse(sparse) => {
                let count = sparse.reader.varint()?;
                sparse.skip_from(row + 1)?;
                Ok(count)
            }
        }
    }
}

impl<'a> SparseColumn<'a> {
    fn open(reader: ByteReader<'a>) -> Result<Self, BlockError> {
        let mut column = Self { reader, next: 0 };
        column.skip_from(0)?;
        Ok(column)
    }

    /// Finds the next row with an entry, at or after `row`.
    #[inline]
    fn skip_from(&mut self, row: u64) -> Result<(), BlockError> {
        self.next = if self.reader.is_empty() { u64::MAX } else { self.reader.varint()?.saturating_add(row) };
        Ok(())
    }
}

fn read_latency(column: &mut SparseColumn<'_>, row: u64, latency: &mut Latency) -> Result<(), BlockError> {
    // The histogram of the row before is filled again, so that rows do not each allocate one.
    latency.clear();
    if column.next != row {
        return Ok(());
    }
    let mut bucket = 0_u64;
    for _ in 0..column.reader.varint()? {
        bucket = bucket.saturating_add(column.reader.varint()?);
        let number = u16::try_from(bucket).ok().filter(|number| *number < Latency::BUCKETS);
        let number = number.ok_or(malformed("a delivery time is out of range"))?;
        latency.add(number, column.reader.varint()?);
    }
    column.skip_from(row + 1)
}

fn read_uniques(column: &mut SparseColumn<'_>, row: u64, uniques: &mut Uniques) -> Result<(), BlockError> {
    if column.next != row {
        *uniques = Uniques::default();
        return Ok(());
    }
    let count = column.reader.varint()?;
    // The form follows from the number alone, as when it was written; so equal sets have equal bytes.
    *uniques = if count > Uniques::EXACT_LIMIT as u64 {
        let registers = Registers::from_bytes(column.reader.array()?);
        Uniques::from_registers(registers.ok_or(malformed("a register is out of range"))?)
    } else {
        read_hashes(column.reader.take(count * HASH_BYTES as u64)?)?
    };
    column.skip_from(row + 1)
}

fn read_hashes(bytes: &[u8]) -> Result<Uniques, BlockError> {
    // The length is a multiple of a hash's, so no bytes remain.
    let (chunks, _) = bytes.as_chunks::<HASH_BYTES>();
    let hash = |[a, b, c, d, e, f]: &[u8; HASH_BYTES]| u64::from_le_bytes([*a, *b, *c, *d, *e, *f, 0, 0]);
    let hashes: Vec<u64> = chunks.iter().map(hash).collect();
    // A set searches its hashes by halving, so it must never be built of a list that is out of order.
    if hashes.is_sorted_by(|a, b| a < b) {
        Ok(Uniques::from_hashes(&hashes))
    } else {
        Err(malformed("hashes are out of order"))
    }
}
