//! A block: a sorted set of cells of one tenant, the same type at every level from one batch's delta to a tenant's month.
//!
//! A block is always in its normal form: every string, key and row is used, all are sorted, no two rows share key and bucket.
//! So equal contents are equal blocks and equal bytes, however they came together. Everything that makes a block ends in
//! `normalise`. Beside the cells, a block holds the cohorts (what became of the mail sent at one time, by campaign and provider)
//! and the ledger (what was read and set aside, for the proof of counting).

pub(crate) mod bytes;
pub mod codec;
pub(crate) mod columns;
pub(crate) mod frame;
pub mod reader;
pub mod rows;
pub(crate) mod table;

use std::collections::BTreeMap;

use compact_str::CompactString;
use event::attribution::Dimension;
use event::{Hour, Minute};

use self::table::Table;

pub use codec::BlockError;
pub use reader::BlockReader;
pub use rows::{RowRef, Rows, Wanted};

/// How wide a bucket is. A bucket is known by its first minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Resolution {
    /// One minute.
    #[default]
    Minute = 0,
    /// 60 minutes.
    Hour = 1,
    /// A UTC day.
    Day = 2,
}

impl Resolution {
    /// How many minutes a bucket spans.
    pub const fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    /// The first minute of the bucket that `minute` lies in.
    pub const fn bucket(self, minute: Minute) -> Minute {
        Minute(minute.0 - minute.0 % self.minutes())
    }
}

/// What was read and set aside in one hour, so that counts can be proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Events read, per recipient, duplicates and late ones included.
    pub events: u64,
    /// Of these, dropped as seen before.
    pub duplicates: u64,
    /// Of these, too old or too far in the future to be counted in their own time.
    pub late: u64,
    /// Of these, whose tenant two sources named differently.
    pub conflicts: u64,
}

impl Ledger {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        self.duplicates = self.duplicates.saturating_add(other.duplicates);
        self.late = self.late.saturating_add(other.late);
        self.conflicts = self.conflicts.saturating_add(other.conflicts);
    }
}

/// A sorted set of cells, cohorts and ledger entries of one tenant.
///
/// The default one is empty and of minutes, so that merging it with any other gives that other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub(crate) resolution: Resolution,
    /// The strings that keys are made of.
    pub(crate) values: Vec<CompactString>,
    /// Key: a value per [`Dimension`].
    pub(crate) cells: Table<{ Dimension::COUNT }>,
    /// Key: campaign, provider. Bucket: when the mail was sent.
    pub(crate) cohorts: Table<COHORT_KEY>,
    /// The same for outcomes that came too late to be kept by the minute of sending; by the hour. Empty at coarser resolutions.
    pub(crate) late_cohorts: Table<COHORT_KEY>,
    pub(crate) ledger: BTreeMap<Hour, Ledger>,
}

/// The values of a cohort's key: campaign and provider.
pub(crate) const COHORT_KEY: usize = 2;

impl Block {
    /// A block with nothing in it.
    pub fn empty(resolution: Resolution) -> Self {
        Self { resolution, ..Self::default() }
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.row_count() == 0 && self.ledger.is_empty()
    }

    /// How many rows of cells and cohorts it holds: what reading it costs.
    pub fn row_count(&self) -> usize {
        self.cells.rows.len() + self.cohorts.rows.len() + self.late_cohorts.rows.len()
    }

    /// How many counts of events its cells hold; see [`crate::Counters::events`].
    pub fn events(&self) -> u64 {
        self.cells.rows.iter().fold(0, |sum, row| sum.saturating_add(row.cell.counters.events()))
    }

    /// The ledger, by hour.
    pub const fn ledger(&self) -> &BTreeMap<Hour, Ledger> {
        &self.ledger
    }

    /// Adds to the ledger of one hour.
    pub fn enter(&mut self, hour: Hour, entry: &Ledger) {
        self.ledger.entry(hour).or_default().merge(entry);
    }

    /// Adds all of `other`; associative and commutative. Of two resolutions the coarser one results.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self::merge_all([self, other]).unwrap_or_default()
    }

    /// Adds many blocks at once, which is cheaper than one after the other; `None` if there are none.
    pub fn merge_all(blocks: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut blocks: Vec<Self> = blocks.into_iter().collect();
        let resolution = blocks.iter().map(|block| block.resolution).max()?;
        let mut all = blocks.pop()?.roll_up(resolution);
        if blocks.is_empty() {
            return Some(all);
        }
        for block in blocks {
            all.append(block.roll_up(resolution));
        }
        Some(all.normalise())
    }

    /// Cuts the block by the period that each row's time lies in; `period` numbers them upwards with time.
    ///
    /// Cohorts have no event time of their own. They go to the newest period of the block's events, or that of their sending
    /// if it is later: so what was sent in a period is always found in it or in a later one.
    pub fn split(self, period: impl Fn(Minute) -> u32) -> BTreeMap<u32, Self> {
        let newest = self.cells.rows.iter().map(|row| period(row.bucket)).max().unwrap_or(0);
        let mut parts: BTreeMap<u32, Self> = BTreeMap::new();
        let start = || Self { values: self.values.clone(), ..Self::empty(self.resolution) };
        for (hour, entry) in &self.ledger {
            parts.entry(period(hour.first_minute())).or_insert_with(start).enter(*hour, entry);
        }
        for row in self.cells.rows {
            parts.entry(period(row.bucket)).or_insert_with(start).cells.rows.push(row);
        }
        for row in self.cohorts.rows {
            parts.entry(period(row.bucket).max(newest)).or_insert_with(start).cohorts.rows.push(row);
        }
        for row in self.late_cohorts.rows {
            parts.entry(period(row.bucket).max(newest)).or_insert_with(start).late_cohorts.rows.push(row);
        }
        let keyed = |part: Self| Self {
            cells: Table { keys: self.cells.keys.clone(), ..part.cells },
            cohorts: Table { keys: self.cohorts.keys.clone(), ..part.cohorts },
            late_cohorts: Table { keys: self.late_cohorts.keys.clone(), ..part.late_cohorts },
            ..part
        };
        parts.into_iter().map(|(number, part)| (number, keyed(part).normalise())).collect()
    }

    /// One string, by the number a key holds; empty if there is none.
    pub(crate) fn value(&self, number: Option<&u32>) -> &str {
        number.and_then(|&number| self.values.get(number as usize)).map_or("", CompactString::as_str)
    }

    /// Puts all of `other` behind this one; the result is not in its normal form.
    fn append(&mut self, mut other: Self) {
        let offset = index(self.values.len());
        self.values.append(&mut other.values);
        self.cells.append(other.cells, offset);
        self.cohorts.append(other.cohorts, offset);
        self.late_cohorts.append(other.late_cohorts, offset);
        for (hour, entry) in &other.ledger {
            self.enter(*hour, entry);
        }
    }

    /// Brings strings, keys and rows into the one form that equal contents have.
    #[must_use]
    pub(crate) fn normalise(mut self) -> Self {
        self.cells.drop_unused();
        self.cohorts.drop_unused();
        self.late_cohorts.drop_unused();
        let mut used = vec![false; self.values.len()];
        self.cells.mark_values(&mut used);
        self.cohorts.mark_values(&mut used);
        self.late_cohorts.mark_values(&mut used);
        let (values, renumbered) = sort_values(self.values, &used);
        self.values = values;
        self.cells.normalise(&renumbered);
        self.cohorts.normalise(&renumbered);
        self.late_cohorts.normalise(&renumbered);
        self
    }
}

/// The used strings, sorted and without doubles, and the new number of each old one.
fn sort_values(values: Vec<CompactString>, used: &[bool]) -> (Vec<CompactString>, Vec<u32>) {
    let mut renumbered = vec![0; values.len()];
    let mut numbered: Vec<(CompactString, usize)> =
        values.into_iter().zip(0..).filter(|(_, old)| used.get(*old) == Some(&true)).collect();
    numbered.sort();
    let mut sorted: Vec<CompactString> = Vec::with_capacity(numbered.len());
    for (value, old) in numbered {
        if sorted.last() != Some(&value) {
            sorted.push(value);
        }
        if let Some(new) = renumbered.get_mut(old) {
            *new = index(sorted.len() - 1);
        }
    }
    (sorted, renumbered)
}

/// A place in a list that fits memory many times over before it outgrows 32 bits.
pub(crate) fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
