//! A block: a sorted set of cells of one tenant, the same type at every level from the delta of one batch to a tenant's month.
//!
//! A block is always in canonical form: every string, key and row is used, all are sorted, and no two rows share key, age class and bucket.
//! So blocks with equal contents are equal and have equal bytes, however they were built. Every function that builds a block must end
//! with `canonicalise`. Beside the cells, a block holds the cohorts (outcomes by the time their mail was sent and by their age, per
//! campaign and provider), clicks by link, and the intake counts (what was read, and what of it was set aside, for the proof of counting).

mod age;
pub(crate) mod bytes;
mod codec;
pub(crate) mod columns;
mod error;
pub(crate) mod frame;
mod links;
pub mod partition;
pub mod reader;
pub mod rows;
mod section_ids;
pub(crate) mod table;

use std::collections::BTreeMap;

use compact_str::CompactString;
use event::attribution::Dimension;
use event::provider::learned::{EvidenceCounts, LearnedProviders};
use event::{Hour, Minute, invariant, provider};
use rapidhash::RapidHashMap;

use self::table::BlockTable;

pub use age::AgeClass;
pub use error::BlockError;
pub use links::LinkClicks;
pub use partition::RowSelection;
pub use reader::BlockReader;
pub use rows::{Projection, RowRef, RowSource};

/// The width of a bucket. A bucket is identified by its first minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Resolution {
    /// The finest width: what deltas and the blocks of hours have.
    #[default]
    Minute = 0,
    /// 60 minutes, from the full hour in UTC: what the blocks of days have. A day of [`crate::LocalDays`] cuts the hour in which it begins.
    Hour = 1,
    /// A day in UTC, or a local day: what the blocks of months have.
    Day = 2,
}

impl Resolution {
    /// The width in minutes.
    pub const fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    /// The first minute of the bucket that contains `minute`.
    pub const fn bucket(self, minute: Minute) -> Minute {
        Minute(minute.0 - minute.0 % self.minutes())
    }
}

/// What was read in one hour, and how much of it was set aside. With the counts of the cells it proves that nothing was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeCounts {
    /// Events read, per recipient, including duplicates and late ones.
    pub events: u64,
    /// The part of the events that was dropped as seen before.
    pub duplicates: u64,
    /// The part of the events that was too old, or too far in the future, to be counted in its own minute.
    pub late: u64,
    /// The part of the events for which two sources named different tenants.
    pub conflicts: u64,
}

impl IntakeCounts {
    /// Adds all of `other`. Counts saturate.
    pub fn merge(&mut self, other: &Self) {
        // By destructuring, so that a count that is added later cannot be forgotten.
        let Self { events, duplicates, late, conflicts } = *other;
        self.events = self.events.saturating_add(events);
        self.duplicates = self.duplicates.saturating_add(duplicates);
        self.late = self.late.saturating_add(late);
        self.conflicts = self.conflicts.saturating_add(conflicts);
    }
}

/// A sorted set of cells, cohorts, clicks by link and intake counts of one tenant.
///
/// The default is empty and of minutes, so merging it with another block gives that block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub(crate) resolution: Resolution,
    /// The strings that keys are made of.
    pub(crate) values: Vec<CompactString>,
    /// Key: one value per [`Dimension`].
    pub(crate) cells: BlockTable<{ Dimension::COUNT }>,
    /// Key: campaign, provider. Bucket: when the mail was sent; in a block of minutes, [`AgeClass::bucket`]. Outcomes of different ages
    /// are in different rows.
    pub(crate) cohorts: BlockTable<COHORT_KEY>,
    /// Key: campaign, name of the link. Bucket: when the click happened, as for cells. Counters: clicks, and those of machines.
    pub(crate) links: BlockTable<LINK_KEY>,
    pub(crate) intake: BTreeMap<Hour, IntakeCounts>,
    /// What the outcomes of a batch revealed about mailbox providers. Only deltas have any: compaction takes it out and learns from it.
    pub(crate) evidence: EvidenceCounts,
}

/// The number of values in a cohort's key: campaign and provider.
pub(crate) const COHORT_KEY: usize = 2;
/// The position of the provider in a cohort's key.
pub(crate) const COHORT_PROVIDER: usize = 1;
/// The number of values in the key of a link's clicks: campaign and link.
pub(crate) const LINK_KEY: usize = 2;
/// The positions of campaign and link in it.
pub(crate) const LINK_CAMPAIGN: usize = 0;
pub(crate) const LINK_NAME: usize = 1;

impl Block {
    /// A block without contents.
    pub fn empty(resolution: Resolution) -> Self {
        Self { resolution, ..Self::default() }
    }

    /// Whether it holds neither rows nor intake counts.
    pub fn is_empty(&self) -> bool {
        self.row_count() == 0 && self.intake.is_empty() && self.evidence.is_empty()
    }

    /// The number of rows of cells, cohorts and links, which is what reading it costs.
    pub fn row_count(&self) -> usize {
        self.cells.rows.len() + self.cohorts.rows.len() + self.links.rows.len()
    }

    /// The number of event counts in its cells; see [`crate::Counters::events`].
    pub fn events(&self) -> u64 {
        self.cells.rows.iter().fold(0, |sum, row| sum.saturating_add(row.cell.counters.events()))
    }

    /// The intake counts by hour.
    pub const fn intake(&self) -> &BTreeMap<Hour, IntakeCounts> {
        &self.intake
    }

    /// Adds to the intake counts of one hour.
    pub fn add_intake(&mut self, hour: Hour, counts: &IntakeCounts) {
        self.intake.entry(hour).or_default().merge(counts);
    }

    /// What its outcomes revealed about mailbox providers.
    pub const fn evidence(&self) -> &EvidenceCounts {
        &self.evidence
    }

    /// Takes out what its outcomes revealed about mailbox providers.
    pub fn take_evidence(&mut self) -> EvidenceCounts {
        std::mem::take(&mut self.evidence)
    }

    /// The domains whose markers it holds.
    pub fn unresolved_domains(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(|value| provider::unresolved_domain(value))
    }

    /// Replaces the markers of those domains whose provider is known; the others stay.
    #[must_use]
    pub fn resolve_providers(mut self, known: &LearnedProviders) -> Self {
        let mut replaced: RapidHashMap<u32, u32> = RapidHashMap::default();
        for number in 0..self.values.len() {
            let Some(value) = self.values.get(number) else { break };
            let provider = known.resolve_known(value);
            if provider != value {
                let provider = CompactString::new(provider);
                // A second string of the same text would do no harm: `canonicalise` makes equal ones one.
                replaced.insert(index(number), index(self.values.len()));
                self.values.push(provider);
            }
        }
        if replaced.is_empty() {
            return self;
        }
        // Other columns cannot hold a marker: no tag, no domain and no name of a link begins like one.
        let resolve = |value: &mut u32| {
            if let Some(provider) = replaced.get(value) {
                *value = *provider;
            }
        };
        self.cells.keys.iter_mut().for_each(|key| resolve(&mut key[Dimension::Provider as usize]));
        self.cohorts.keys.iter_mut().for_each(|key| resolve(&mut key[COHORT_PROVIDER]));
        self.canonicalise()
    }

    /// Adds all of `other`; associative and commutative. The result has the coarser of the two resolutions.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        // The finer block gives up its finer times, because the coarser one never had them.
        let resolution = self.resolution.max(other.resolution);
        let mut all = self.roll_up(resolution);
        all.append(other.roll_up(resolution));
        all.canonicalise()
    }

    /// Merges many blocks at once, which is cheaper than one after the other. `None` if there are none.
    pub fn merge_all(blocks: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut blocks: Vec<Self> = blocks.into_iter().collect();
        let resolution = blocks.iter().map(|block| block.resolution).max()?;
        let mut all = blocks.pop()?.roll_up(resolution);
        if blocks.is_empty() {
            return Some(all);
        }
        // Append everything, then sort once. Merging pairwise would sort the first blocks again for each further one.
        for block in blocks {
            all.append(block.roll_up(resolution));
        }
        Some(all.canonicalise())
    }

    /// Splits the block by period. `period` gives the number of the period of a minute, ascending with time.
    ///
    /// Cells, clicks by link and intake counts go to the period of their time. Cohorts have no time of their outcomes, so they go to the newest
    /// period of the block's cells, or to that of their sending if it is later. Thus the outcomes of mail sent in a period are always
    /// found in it or in a later one.
    pub fn split(self, period: impl Fn(Minute) -> u32) -> BTreeMap<u32, Self> {
        // Without cells, no period is newer than that of a cohort's sending.
        let newest = self.cells.rows.iter().map(|row| period(row.bucket)).max().unwrap_or(0);
        let mut parts: BTreeMap<u32, Self> = BTreeMap::new();
        // Every part starts with all strings, so that rows keep their numbers; `canonicalise` drops what a part does not use.
        let start = || Self { values: self.values.clone(), ..Self::empty(self.resolution) };
        for (hour, counts) in &self.intake {
            parts.entry(period(hour.first_minute())).or_insert_with(start).add_intake(*hour, counts);
        }
        for row in self.cells.rows {
            parts.entry(period(row.bucket)).or_insert_with(start).cells.rows.push(row);
        }
        for row in self.links.rows {
            parts.entry(period(row.bucket)).or_insert_with(start).links.rows.push(row);
        }
        for row in self.cohorts.rows {
            parts.entry(period(row.bucket).max(newest)).or_insert_with(start).cohorts.rows.push(row);
        }
        // Evidence has no time, so any part can hold it.
        if !self.evidence.is_empty() {
            parts.entry(newest).or_insert_with(start).evidence = self.evidence;
        }
        // Every part gets all keys; those it does not use are dropped.
        let with_keys = |part: Self| Self {
            cells: BlockTable { keys: self.cells.keys.clone(), ..part.cells },
            cohorts: BlockTable { keys: self.cohorts.keys.clone(), ..part.cohorts },
            links: BlockTable { keys: self.links.keys.clone(), ..part.links },
            ..part
        };
        parts.into_iter().map(|(number, part)| (number, with_keys(part).canonicalise())).collect()
    }

    /// The string of a number in a key.
    pub(crate) fn value(&self, number: u32) -> &str {
        value_of(&self.values, number)
    }

    /// Appends all of `other`. The result is not in canonical form.
    fn append(&mut self, mut other: Self) {
        // The other's strings come behind these, so all of its numbers grow by the number of these.
        let first_value = index(self.values.len());
        self.values.append(&mut other.values);
        self.cells.append(other.cells, first_value);
        self.cohorts.append(other.cohorts, first_value);
        self.links.append(other.links, first_value);
        for (hour, counts) in &other.intake {
            self.add_intake(*hour, counts);
        }
        self.evidence.merge(&other.evidence);
    }

    /// Brings strings, keys and rows into the form that all blocks with these contents share.
    #[must_use]
    pub(crate) fn canonicalise(mut self) -> Self {
        // Rows, then keys, then strings go, because each is only unused once nothing refers to it. Numbers are given in the opposite
        // order: keys are sorted by the numbers of their strings, rows by the numbers of their keys.
        self.cells.drop_unused();
        self.cohorts.drop_unused();
        self.links.drop_unused();
        let mut used = vec![false; self.values.len()];
        self.cells.mark_values(&mut used);
        self.cohorts.mark_values(&mut used);
        self.links.mark_values(&mut used);
        let (values, new_values) = sort_values(self.values, &used);
        self.values = values;
        self.cells.canonicalise(&new_values);
        self.cohorts.canonicalise(&new_values);
        self.links.canonicalise(&new_values);
        self
    }
}

/// The used strings, sorted and distinct, and the new number of each old one. The new number of an unused string means nothing.
fn sort_values(values: Vec<CompactString>, used: &[bool]) -> (Vec<CompactString>, Vec<u32>) {
    let mut new_numbers = vec![0; values.len()];
    let used = values.into_iter().zip(used).zip(0_usize..).filter(|((_, used), _)| **used);
    let mut numbered: Vec<(CompactString, usize)> = used.map(|((value, _), old)| (value, old)).collect();
    // The old numbers go along, because keys still refer to the strings by them.
    numbered.sort();
    let mut sorted: Vec<CompactString> = Vec::with_capacity(numbered.len());
    for (value, old) in numbered {
        if sorted.last() != Some(&value) {
            sorted.push(value);
        }
        // `old` is the position of one of the values.
        new_numbers[old] = index(sorted.len() - 1);
    }
    (sorted, new_numbers)
}

/// The string of a number in a key. That it exists was checked when the key was built or read.
pub(crate) fn value_of(values: &[CompactString], number: u32) -> &str {
    let value = values.get(number as usize).map(CompactString::as_str);
    invariant::or_broken(value, "", "a key has a value that its block does not hold")
}

/// The new number of something that was renumbered.
pub(crate) fn renumbered(new_numbers: &[u32], old: u32) -> u32 {
    invariant::or_broken(new_numbers.get(old as usize).copied(), 0, "a number has no new number")
}

/// A position in a list as a 32-bit number. Memory runs out long before a list has four billion entries.
pub(crate) fn index(position: usize) -> u32 {
    invariant::or_broken(u32::try_from(position).ok(), u32::MAX, "a list has more than 2^32 entries")
}

#[cfg(test)]
pub(crate) mod tests;
