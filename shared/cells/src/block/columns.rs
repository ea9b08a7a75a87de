//! The wanted columns of one table, read together row by row.
//!
//! Each sparse column knows the next row it has something for. What is not wanted is never opened.

use std::borrow::Cow;

use event::Minute;

use super::bytes::Cursor;
use super::codec::{CLICKS, DENSE, HASH_BYTES, LATENCY, OPENS, SPARSE, counter_at};
use super::frame::{Frame, Unpacker};
use super::rows::Tally;
use super::{BlockError, Resolution, RowRef, Wanted};
use crate::cell::uniques::registers::Registers;
use crate::cell::{Latency, Uniques};
use crate::counter::{CounterId, Counters};

/// The wanted sections of one table, uncompressed.
pub(crate) struct Sections<'a> {
    counters: Vec<(CounterId, Cow<'a, [u8]>)>,
    latency: Option<Cow<'a, [u8]>>,
    opens: Option<Cow<'a, [u8]>>,
    clicks: Option<Cow<'a, [u8]>>,
}

impl<'a> Sections<'a> {
    pub(crate) fn unpack(
        frame: &'a Frame,
        first_id: u8,
        wanted: &Wanted,
        unpacker: &mut Unpacker,
    ) -> Result<Self, BlockError> {
        let mut counters = Vec::new();
        for id in frame.ids() {
            if let Some(counter) = id.checked_sub(first_id).and_then(counter_at)
                && wanted.counters & (1 << counter.number()) != 0
            {
                counters.push((counter, frame.section(id, unpacker)?));
            }
        }
        // Not all sections lie in the order of the counters.
        counters.sort_unstable_by_key(|(counter, _)| *counter);
        let mut sketch = |wanted: bool, id: u8| {
            if wanted { frame.section(first_id + id, unpacker).map(Some) } else { Ok(None) }
        };
        Ok(Self {
            counters,
            latency: sketch(wanted.latency, LATENCY)?,
            opens: sketch(wanted.opens, OPENS)?,
            clicks: sketch(wanted.clicks, CLICKS)?,
        })
    }
}

impl Sections<'_> {
    /// Gives every count of the rows that have a place to the tally.
    pub(crate) fn count(&self, places: &[Option<u32>], tally: &mut impl Tally) -> Result<(), BlockError> {
        for (counter, section) in &self.counters {
            match Form::open(section)? {
                Form::Dense(mut cursor) => {
                    for place in places {
                        let count = cursor.varint()?;
                        if let Some(place) = place.filter(|_| count > 0) {
                            tally.add(place, *counter, count);
                        }
                    }
                }
                Form::Sparse(mut sparse) => {
                    while let Some(place) = usize::try_from(sparse.next).ok().and_then(|row| places.get(row))
                    {
                        let count = sparse.cursor.varint()?;
                        if let Some(place) = place {
                            tally.add(*place, *counter, count);
                        }
                        sparse.skip_from(sparse.next + 1)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The wanted columns of one table.
pub(crate) struct Columns<'a> {
    row: u64,
    counted: Vec<CounterColumn<'a>>,
    counters: Counters,
    latency: Option<(Sparse<'a>, Latency)>,
    opens: Option<(Sparse<'a>, Uniques)>,
    clicks: Option<(Sparse<'a>, Uniques)>,
}

struct CounterColumn<'a> {
    counter: CounterId,
    form: Form<'a>,
}

enum Form<'a> {
    Dense(Cursor<'a>),
    Sparse(Sparse<'a>),
}

/// A column with entries for some of the rows.
struct Sparse<'a> {
    cursor: Cursor<'a>,
    /// The next row that has an entry; `u64::MAX` if there is none.
    next: u64,
}

impl<'a> Columns<'a> {
    pub(crate) fn open(sections: &'a Sections<'_>) -> Result<Self, BlockError> {
        let mut counted = Vec::with_capacity(sections.counters.len());
        for (counter, section) in &sections.counters {
            counted.push(CounterColumn { counter: *counter, form: Form::open(section)? });
        }
        Ok(Self {
            row: 0,
            counted,
            counters: Counters::new(),
            latency: sketch(sections.latency.as_deref())?,
            opens: sketch(sections.opens.as_deref())?,
            clicks: sketch(sections.clicks.as_deref())?,
        })
    }

    /// The next row, whose place is known from elsewhere.
    pub(crate) fn next_row(
        &mut self,
        bucket: Minute,
        width: Resolution,
        key: u32,
    ) -> Result<RowRef<'_>, BlockError> {
        self.counters.clear();
        // In the order of their numbers, as the frame's directory has them.
        for column in &mut self.counted {
            self.counters.push(column.counter, column.form.next(self.row)?);
        }
        if let Some((sparse, latency)) = &mut self.latency {
            read_latency(sparse, self.row, latency)?;
        }
        if let Some((sparse, uniques)) = &mut self.opens {
            read_uniques(sparse, self.row, uniques)?;
        }
        if let Some((sparse, uniques)) = &mut self.clicks {
            read_uniques(sparse, self.row, uniques)?;
        }
        self.row += 1;
        Ok(RowRef {
            bucket,
            width,
            key,
            counters: &self.counters,
            latency: self.latency.as_ref().map(|(_, latency)| latency),
            opens: self.opens.as_ref().map(|(_, uniques)| uniques),
            clicks: self.clicks.as_ref().map(|(_, uniques)| uniques),
        })
    }
}

fn sketch<T: Default>(section: Option<&[u8]>) -> Result<Option<(Sparse<'_>, T)>, BlockError> {
    section.map(|bytes| Ok((Sparse::open(Cursor(bytes))?, T::default()))).transpose()
}

impl<'a> Form<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, BlockError> {
        match bytes.split_first() {
            Some((&DENSE, rest)) => Ok(Self::Dense(Cursor(rest))),
            Some((&SPARSE, rest)) => Ok(Self::Sparse(Sparse::open(Cursor(rest))?)),
            _ => Err(BlockError::Malformed { what: "a counter's column is of an unknown form" }),
        }
    }

    #[inline]
    fn next(&mut self, row: u64) -> Result<u64, BlockError> {
        match self {
            Self::Dense(cursor) => cursor.varint(),
            Self::Sparse(sparse) if sparse.next != row => Ok(0),
            Self::Sparse(sparse) => {
                let count = sparse.cursor.varint()?;
                sparse.skip_from(row + 1)?;
                Ok(count)
            }
        }
    }
}

impl<'a> Sparse<'a> {
    fn open(cursor: Cursor<'a>) -> Result<Self, BlockError> {
        let mut sparse = Self { cursor, next: 0 };
        sparse.skip_from(0)?;
        Ok(sparse)
    }

    /// Finds the next row with an entry, at or after `row`.
    #[inline]
    fn skip_from(&mut self, row: u64) -> Result<(), BlockError> {
        self.next = if self.cursor.is_empty() { u64::MAX } else { self.cursor.varint()?.saturating_add(row) };
        Ok(())
    }
}

fn read_latency(sparse: &mut Sparse<'_>, row: u64, latency: &mut Latency) -> Result<(), BlockError> {
    latency.clear();
    if sparse.next != row {
        return Ok(());
    }
    let mut bucket = 0_u64;
    for _ in 0..sparse.cursor.varint()? {
        bucket = bucket.saturating_add(sparse.cursor.varint()?);
        let number = u16::try_from(bucket).ok().filter(|number| *number < Latency::BUCKETS);
        let number = number.ok_or(BlockError::Malformed { what: "a delivery time is out of range" })?;
        latency.add(number, sparse.cursor.varint()?);
    }
    sparse.skip_from(row + 1)
}

fn read_uniques(sparse: &mut Sparse<'_>, row: u64, uniques: &mut Uniques) -> Result<(), BlockError> {
    if sparse.next != row {
        *uniques = Uniques::default();
        return Ok(());
    }
    let count = sparse.cursor.varint()?;
    *uniques = if count > Uniques::EXACT_LIMIT as u64 {
        let registers = Registers::from_bytes(sparse.cursor.array()?);
        Uniques::from_registers(
            registers.ok_or(BlockError::Malformed { what: "a register is out of range" })?,
        )
    } else {
        hashes(sparse.cursor.take(count * HASH_BYTES as u64)?)?
    };
    sparse.skip_from(row + 1)
}

fn hashes(bytes: &[u8]) -> Result<Uniques, BlockError> {
    let (chunks, _) = bytes.as_chunks::<HASH_BYTES>();
    let hash = |[a, b, c, d, e, f]: &[u8; HASH_BYTES]| u64::from_le_bytes([*a, *b, *c, *d, *e, *f, 0, 0]);
    let hashes: Vec<u64> = chunks.iter().map(hash).collect();
    if hashes.is_sorted_by(|a, b| a < b) {
        Ok(Uniques::from_hashes(&hashes))
    } else {
        Err(BlockError::Malformed { what: "hashes are out of order" })
    }
}
