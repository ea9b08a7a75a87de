//! What a query reads: rows of cells and cohorts, in memory or still encoded.
//!
//! A query states which parts of a row it needs (a projection), so that a reader of encoded blocks can skip the rest. Counts can also
//! be read column by column, which is faster than building rows.

use event::Minute;
use event::attribution::Dimension;

use super::{AgeClass, Block, BlockError, Resolution, index};
use crate::cell::{Latency, Uniques};
use crate::counter::{CounterId, CounterSet, Counters};
use crate::per_dimension::of_dimension;

/// The parts of each row that a query needs. A row may hold more than was asked for, never less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Projection {
    /// The counters that are read; all others count as 0.
    pub counters: CounterSet,
    /// Whether the sketch of delivery times is read.
    pub latency: bool,
    /// Whether the sketch of unique opens is read.
    pub opens: bool,
    /// Whether the sketch of unique clicks is read.
    pub clicks: bool,
}

impl Projection {
    /// All counters and sketches, as decoding a whole block needs them.
    pub const ALL: Self = Self { counters: CounterSet::ALL, latency: true, opens: true, clicks: true };

    /// These counters and no sketch.
    pub const fn of_counters(counters: CounterSet) -> Self {
        Self { counters, latency: false, opens: false, clicks: false }
    }

    /// Whether it includes any sketch.
    pub const fn has_sketches(&self) -> bool {
        self.latency || self.opens || self.clicks
    }

    /// Includes one more counter.
    #[must_use]
    pub fn with(mut self, counter: impl Into<CounterId>) -> Self {
        self.counters.insert(counter.into());
        self
    }
}

/// One row, borrowed for the duration of one call. Sketches that were not asked for may be absent.
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'a> {
    /// The first minute of its bucket. For a cohort, the bucket is the time at which the mail was sent.
    pub bucket: Minute,
    /// How long after sending the outcomes of a cohort happened; unknown for cells.
    pub age: AgeClass,
    /// The number of its key, for [`RowSource::key_value`] or [`RowSource::cohort_key`].
    pub key: u32,
    /// The counts of the projection; others may be there too or be missing.
    pub counters: &'a Counters,
    /// How long deliveries took.
    pub latency: Option<&'a Latency>,
    /// The people who opened, by hash.
    pub opens: Option<&'a Uniques>,
    /// The people who clicked, by hash.
    pub clicks: Option<&'a Uniques>,
}

impl RowRef<'_> {
    fn count(&self, counters: &CounterSet, visitor: &mut impl CountVisitor) {
        let Some(slot) = visitor.slot(self.key, self.age, self.bucket) else { return };
        // A row may hold more counters than the projection asks for.
        for (counter, count) in self.counters.iter() {
            if counters.contains(counter) {
                visitor.add(slot, counter, count);
            }
        }
    }
}

/// Receives counts column by column: first it assigns each row a slot, then it gets every count of the rows that have one.
pub trait CountVisitor {
    /// The slot of a row by its key, its age class and the first minute of its bucket, or `None` to skip the row.
    fn slot(&mut self, key: u32, age: AgeClass, bucket: Minute) -> Option<u32>;

    /// Adds a count, which is never 0, to a slot.
    fn add(&mut self, slot: u32, counter: CounterId, count: u64);
}

/// Rows of one tenant that can be read by a query. No two rows share key, age class and bucket.
pub trait RowSource {
    /// The width of the buckets.
    fn resolution(&self) -> Resolution;

    /// How many keys the cells have. Keys are numbered from 0.
    fn key_count(&self) -> u32;

    /// One value of one key; empty if there is no such key.
    fn key_value(&self, key: u32, dimension: Dimension) -> &str;

    /// The numbers of a key's values, in the order of [`Dimension::ALL`]. Equal numbers mean equal values. `None` if the values have
    /// no numbers.
    fn key_numbers(&self, _key: u32) -> Option<&[u32; Dimension::COUNT]> {
        None
    }

    /// Calls `each` for every row whose bucket begins at or after `from` and before `to`.
    fn scan_cells(
        &self,
        projection: &Projection,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError>;

    /// Passes these counters of all cells to `visitor`.
    fn count_cells(&self, counters: CounterSet, visitor: &mut impl CountVisitor) -> Result<(), BlockError> {
        // Over all time: the visitor gives no slot to a row outside of its range.
        let projection = Projection::of_counters(counters);
        let mut each = |row: RowRef<'_>| row.count(&counters, visitor);
        self.scan_cells(&projection, Minute(0), Minute(u32::MAX), &mut each)
    }

    /// Passes these counters of all cohorts to `visitor`.
    fn count_cohorts(&self, counters: CounterSet, visitor: &mut impl CountVisitor) -> Result<(), BlockError> {
        let projection = Projection::of_counters(counters);
        let mut each = |row: RowRef<'_>| row.count(&counters, visitor);
        self.scan_cohorts(&projection, Minute(0), Minute(u32::MAX), &mut each)
    }

    /// How many keys the cohorts have. Two of them may name the same campaign and provider.
    fn cohort_count(&self) -> u32;

    /// Campaign and provider of a cohort; empty if there is no such key.
    fn cohort_key(&self, key: u32) -> (&str, &str);

    /// Calls `each` for every row of a cohort that was sent at or after `from` and before `to`.
    fn scan_cohorts(
        &self,
        projection: &Projection,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError>;
}

impl RowSource for Block {
    fn resolution(&self) -> Resolution {
        self.resolution
    }

    fn key_count(&self) -> u32 {
        index(self.cells.keys.len())
    }

    fn key_value(&self, key: u32, dimension: Dimension) -> &str {
        self.key_numbers(key).map_or("", |key| self.value(of_dimension(key, dimension)))
    }

    fn key_numbers(&self, key: u32) -> Option<&[u32; Dimension::COUNT]> {
        self.cells.keys.get(key as usize)
    }

    fn scan_cells(
        &self,
        _projection: &Projection,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        // The projection saves nothing here: in memory, a row has all of its parts.
        for row in &self.cells.rows {
            if (from..to).contains(&row.bucket) {
                each(row.as_row_ref());
            }
        }
        Ok(())
    }

    fn cohort_count(&self) -> u32 {
        index(self.cohorts.keys.len())
    }

    fn cohort_key(&self, key: u32) -> (&str, &str) {
        match self.cohorts.keys.get(key as usize) {
            Some([campaign, provider]) => (self.value(*campaign), self.value(*provider)),
            None => ("", ""),
        }
    }

    fn scan_cohorts(
        &self,
        _projection: &Projection,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        for row in self.cohorts.rows.iter().filter(|row| (from..to).contains(&row.bucket)) {
            each(row.as_row_ref());
        }
        Ok(())
    }
}
