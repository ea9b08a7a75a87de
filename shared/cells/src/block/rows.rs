//! What a query reads: rows of cells and cohorts, in memory or still encoded.
//!
//! A query says what it wants of each row, so that a reader of bytes leaves the rest undecoded.

use event::Minute;
use event::attribution::Dimension;

use super::{Block, BlockError, Resolution};
use crate::cell::{Latency, Uniques};
use crate::counter::{CounterId, Counters};

/// What of each row is asked for. A row may hold more than that, never less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A bit per counter, by [`CounterId::number`].
    pub counters: u64,
    /// Delivery times.
    pub latency: bool,
    /// Who opened.
    pub opens: bool,
    /// Who clicked.
    pub clicks: bool,
}

impl Wanted {
    /// All there is.
    pub const ALL: Self = Self { counters: u64::MAX, latency: true, opens: true, clicks: true };

    /// Whether any sketch is asked for.
    pub const fn has_sketches(&self) -> bool {
        self.latency || self.opens || self.clicks
    }

    /// Asks for one more counter.
    #[must_use]
    pub fn with(mut self, counter: impl Into<CounterId>) -> Self {
        self.counters |= 1 << counter.into().number();
        self
    }
}

/// One row, borrowed for the time of one call. Sketches that were not asked for may be absent.
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'a> {
    /// The first minute of its bucket. For a cohort: of when the mail was sent.
    pub bucket: Minute,
    /// How wide the bucket is: the block's resolution, but an hour for late cohorts in a block of minutes.
    pub width: Resolution,
    /// The number of its key, for `key_value` or `cohort_key`.
    pub key: u32,
    /// The counts.
    pub counters: &'a Counters,
    /// Delivery times.
    pub latency: Option<&'a Latency>,
    /// Who opened.
    pub opens: Option<&'a Uniques>,
    /// Who clicked.
    pub clicks: Option<&'a Uniques>,
}

impl RowRef<'_> {
    fn count(&self, counters: u64, tally: &mut impl Tally) {
        let Some(place) = tally.place(self.key, self.bucket) else { return };
        for (counter, count) in self.counters.iter() {
            if counters & (1 << counter.number()) != 0 {
                tally.add(place, counter, count);
            }
        }
    }
}

/// Takes counts: first where each row belongs, then every count of the rows that belong somewhere.
pub trait Tally {
    /// The place of a row's counts, by its key and the first minute of its bucket; none if it is not asked for.
    fn place(&mut self, key: u32, bucket: Minute) -> Option<u32>;

    /// Adds a count that is not 0.
    fn add(&mut self, place: u32, counter: CounterId, count: u64);
}

/// Rows of one tenant that can be read by a query. No two rows share key and bucket.
pub trait Rows {
    /// How wide buckets are.
    fn resolution(&self) -> Resolution;

    /// How many keys cells have; they are numbered from 0.
    fn key_count(&self) -> u32;

    /// One value of one key; empty if there is no such key.
    fn key_value(&self, key: u32, dimension: Dimension) -> &str;

    /// The numbers of a key's values, in the order of [`Dimension::ALL`]; equal numbers, equal values. None if they are not numbered.
    fn key_numbers(&self, _key: u32) -> Option<&[u32; Dimension::COUNT]> {
        None
    }

    /// Calls `each` for every row whose bucket begins at or after `from` and before `to`.
    fn scan_cells(
        &self,
        wanted: &Wanted,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError>;

    /// Gives the wanted counts of all rows to `tally`; `counters` is as in [`Wanted::counters`].
    fn count_cells(&self, counters: u64, tally: &mut impl Tally) -> Result<(), BlockError> {
        let wanted = Wanted { counters, ..Wanted::default() };
        self.scan_cells(&wanted, Minute(0), Minute(u32::MAX), &mut |row| row.count(counters, tally))
    }

    /// The same of all cohorts.
    fn count_cohorts(&self, counters: u64, tally: &mut impl Tally) -> Result<(), BlockError> {
        let wanted = Wanted { counters, ..Wanted::default() };
        self.scan_cohorts(&wanted, Minute(0), Minute(u32::MAX), &mut |row| row.count(counters, tally))
    }

    /// How many keys cohorts have. Two of them may name the same campaign and provider.
    fn cohort_count(&self) -> u32;

    /// Campaign and provider of a cohort; empty if there is no such key.
    fn cohort_key(&self, key: u32) -> (&str, &str);

    /// Calls `each` for every row of a cohort whose bucket (of sending) begins at or after `from` and before `to`.
    fn scan_cohorts(
        &self,
        wanted: &Wanted,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError>;
}

impl Rows for Block {
    fn resolution(&self) -> Resolution {
        self.resolution
    }

    fn key_count(&self) -> u32 {
        super::index(self.cells.keys.len())
    }

    fn key_value(&self, key: u32, dimension: Dimension) -> &str {
        let value = self.cells.keys.get(key as usize).and_then(|key| key.get(dimension as usize));
        self.value(value)
    }

    fn key_numbers(&self, key: u32) -> Option<&[u32; Dimension::COUNT]> {
        self.cells.keys.get(key as usize)
    }

    fn scan_cells(
        &self,
        _wanted: &Wanted,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        for row in &self.cells.rows {
            if (from..to).contains(&row.bucket) {
                each(row.as_ref(self.resolution, 0));
            }
        }
        Ok(())
    }

    fn cohort_count(&self) -> u32 {
        super::index(self.cohorts.keys.len() + self.late_cohorts.keys.len())
    }

    fn cohort_key(&self, key: u32) -> (&str, &str) {
        let mut keys = self.cohorts.keys.iter().chain(&self.late_cohorts.keys);
        match keys.nth(key as usize) {
            Some([campaign, provider]) => (self.value(Some(campaign)), self.value(Some(provider))),
            None => ("", ""),
        }
    }

    fn scan_cohorts(
        &self,
        _wanted: &Wanted,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(RowRef<'_>),
    ) -> Result<(), BlockError> {
        for row in self.cohorts.rows.iter().filter(|row| (from..to).contains(&row.bucket)) {
            each(row.as_ref(self.resolution, 0));
        }
        let first_late = super::index(self.cohorts.keys.len());
        for row in self.late_cohorts.rows.iter().filter(|row| (from..to).contains(&row.bucket)) {
            each(row.as_ref(Resolution::Hour, first_late));
        }
        Ok(())
    }
}
