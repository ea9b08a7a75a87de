//! Reads rows into sums: the only part of a query whose work grows with the rows read.
//!
//! What does not change from row to row is found once per dimension key: its group, and whether the filter lets it pass. A row then
//! costs two lookups and an addition per counter. Each row must be added once; blocks can come in any order and through several
//! executions that are merged.

use std::collections::hash_map::Entry;

use compact_str::CompactString;
use event::attribution::Dimension;
use event::provider::learned::LearnedProviders;
use event::{Minute, TenantId, provider};
use rapidhash::RapidHashMap;
use smallvec::SmallVec;

use super::answer_rows::{Answer, Freshness};
use super::dimension::QueryDimension;
use super::error::{QueryError, QueryErrorKind};
use super::notes::HistoryNotes;
use super::request::{Basis, Query};
use super::sums::{Full, RunningSums};
use crate::block::rows::CountVisitor;
use crate::block::{AgeClass, BlockError, BlockReader, Projection, RowRef, RowSource};
use crate::counter::{CounterId, CounterSet};
use crate::per_dimension::of_dimension;

/// Why rows could not be added.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// A block is damaged.
    #[error("a block cannot be read")]
    Block(#[from] BlockError),
    /// The sums do not fit into memory.
    #[error(transparent)]
    TooLarge(QueryError),
}

impl From<Full> for QueryError {
    fn from(_: Full) -> Self {
        let refusal = Self::malformed(
            "group_by",
            "the answer has too many groups and buckets",
            "fewer or smaller dimensions, a coarser granularity, a shorter range or a filter",
            "group_by=provider",
        );
        refusal.of_kind(QueryErrorKind::Unanswerable)
    }
}

impl From<Full> for ExecuteError {
    fn from(full: Full) -> Self {
        Self::TooLarge(full.into())
    }
}

/// The execution of a query: the sums of what was read so far.
pub struct Execution {
    query: Query,
    sums: RunningSums,
    buckets: BucketFinder,
    notes: HistoryNotes,
}

/// Where the counts of one dimension key are added.
#[derive(Clone, Copy, Debug)]
struct KeyTarget {
    /// The number of its group.
    group: u32,
    /// Whether its mail is at a provider that reports complaints. Only set if the query sums such mail apart.
    reports_complaints: bool,
}

impl Execution {
    /// Starts with nothing read; finished at once, it gives the answer of a store without events.
    pub fn new(query: &Query) -> Self {
        let sums = RunningSums::new(query.needs(), query.bucket_count());
        let (buckets, notes) = (BucketFinder::new(&query.edges), HistoryNotes::default());
        Self { sums, buckets, notes, query: query.clone() }
    }

    /// Adds the rows of one block or delta of `tenant`, with the providers that are known of its domains. A tenant outside the query's
    /// scope adds nothing.
    ///
    /// # Errors
    /// [`ExecuteError`] if the block is damaged or the sums grow too large. The execution must not be used after that.
    pub fn add<R: RowSource + ?Sized>(
        &mut self,
        tenant: &TenantId,
        providers: &LearnedProviders,
        rows: &R,
    ) -> Result<(), ExecuteError> {
        if !self.query.reads(tenant) {
            return Ok(());
        }
        // Groups and filter are applied to the keys, of which there are far fewer than rows.
        let by_send = self.query.basis == Basis::Send;
        let targets = if by_send {
            self.cohort_targets(tenant, providers, rows)?
        } else {
            self.cell_targets(tenant, providers, rows)?
        };
        // No key passes the filter, so the columns need not be decompressed.
        if targets.iter().all(Option::is_none) {
            return Ok(());
        }
        let cuts_hours = by_send && self.query.edges.iter().any(|edge| !edge.0.is_multiple_of(60));
        let Self { sums, buckets, notes, query } = self;
        let projection = *sums.projection();
        let width = rows.resolution().minutes();
        let ages = CohortAges { most: query.max_age, cuts_hours, width, notes };
        let mut adder = RowAdder { targets: &targets, sums, buckets, ages, room: Ok(()) };
        if !projection.counters.is_empty() {
            if by_send {
                rows.count_cohorts(projection.counters, &mut adder)?;
            } else {
                rows.count_cells(projection.counters, &mut adder)?;
            }
        }
        // In a second walk, because most queries read no sketch and counts alone are faster by column.
        if projection.has_sketches() {
            let sketches = Projection { counters: CounterSet::EMPTY, ..projection };
            let (from, to) = self.query.range();
            let mut each = |row: RowRef<'_>| {
                if let Some(slot) = adder.slot(row.key, row.age, row.bucket) {
                    adder.sums.add_sketches(slot & !REPORTS_COMPLAINTS, &row);
                }
            };
            if by_send {
                rows.scan_cohorts(&sketches, from, to, &mut each)?;
            } else {
                rows.scan_cells(&sketches, from, to, &mut each)?;
            }
        }
        Ok(adder.room?)
    }

    /// [`Execution::add`] for blocks as they are stored. Compiled in this crate together with everything it calls, which is faster than a
    /// copy in each caller's crate.
    ///
    /// # Errors
    /// As [`Execution::add`].
    pub fn add_stored(
        &mut self,
        tenant: &TenantId,
        providers: &LearnedProviders,
        rows: &BlockReader<'_>,
    ) -> Result<(), ExecuteError> {
        self.add(tenant, providers, rows)
    }

    /// Adds everything that another execution of the same query has read.
    ///
    /// # Errors
    /// [`QueryError`] if the sums grow too large.
    pub fn merge(&mut self, other: &Self) -> Result<(), QueryError> {
        self.notes.merge(other.notes.clone());
        Ok(self.sums.merge(&other.sums)?)
    }

    /// Adds to what the answer says about the history in its range.
    pub fn note(&mut self, notes: HistoryNotes) {
        self.notes.merge(notes);
    }

    /// The answer. `earlier` is the execution of [`Query::earlier`], if the query compares.
    pub fn finish(self, earlier: Option<Self>, freshness: Freshness) -> Answer {
        let mut notes = self.notes;
        let earlier = earlier.map(|execution| {
            notes.merge(execution.notes);
            execution.sums
        });
        Answer { notes, ..Answer::new(&self.query, &self.sums, earlier.as_ref(), freshness) }
    }

    /// The target of each key of cells. The keys of a block share few values of the dimensions that the query is about, so the target is
    /// found once for each combination of them.
    fn cell_targets<R: RowSource + ?Sized>(
        &mut self,
        tenant: &TenantId,
        providers: &LearnedProviders,
        rows: &R,
    ) -> Result<Vec<Option<KeyTarget>>, Full> {
        let dimensions = self.dimensions_read();
        let mut known: RapidHashMap<SmallVec<[u32; 4]>, Option<KeyTarget>> = RapidHashMap::default();
        let mut targets = Vec::with_capacity(rows.key_count() as usize);
        for key in 0..rows.key_count() {
            let value = |dimension| resolved(providers, dimension, rows.key_value(key, dimension));
            // Without numbers, values would have to be hashed as strings to find equal combinations.
            let Some(numbers) = rows.key_numbers(key) else {
                targets.push(self.target(tenant, &value)?);
                continue;
            };
            let combination = dimensions.iter().map(|dimension| of_dimension(numbers, *dimension)).collect();
            targets.push(match known.entry(combination) {
                Entry::Occupied(target) => *target.get(),
                Entry::Vacant(free) => *free.insert(self.target(tenant, &value)?),
            });
        }
        Ok(targets)
    }

    /// The dimensions of the mail that decide the target of a key.
    fn dimensions_read(&self) -> Vec<Dimension> {
        let filtered = self.query.filter.dimensions();
        let grouped = self.query.group_by.iter().map(|group| group.dimension);
        let reporting = self.sums.has_reporting().then_some(QueryDimension::Mail(Dimension::Provider));
        let mut dimensions: Vec<Dimension> =
            filtered.into_iter().chain(grouped).chain(reporting).filter_map(QueryDimension::stored).collect();
        // A dimension that is both grouped and filtered by is compared once.
        dimensions.sort_unstable();
        dimensions.dedup();
        dimensions
    }

    /// The target of each key of cohorts.
    fn cohort_targets<R: RowSource + ?Sized>(
        &mut self,
        tenant: &TenantId,
        providers: &LearnedProviders,
        rows: &R,
    ) -> Result<Vec<Option<KeyTarget>>, Full> {
        let mut targets = Vec::with_capacity(rows.cohort_count() as usize);
        for key in 0..rows.cohort_count() {
            let (campaign, provider) = rows.cohort_key(key);
            let value = |dimension| match dimension {
                Dimension::Campaign => campaign,
                Dimension::Provider => providers.resolve(provider),
                // A query about other dimensions was refused: cohorts do not have them.
                _ => "",
            };
            targets.push(self.target(tenant, &value)?);
        }
        Ok(targets)
    }

    /// The target of a key; `None` if it does not pass the filter.
    fn target<'v>(
        &mut self,
        tenant: &'v TenantId,
        value: &impl Fn(Dimension) -> &'v str,
    ) -> Result<Option<KeyTarget>, Full> {
        let value_of = |dimension| match dimension {
            QueryDimension::Tenant => tenant.as_str(),
            QueryDimension::Mail(dimension) => value(dimension),
            QueryDimension::ProviderGroup => provider::group_of(value(Dimension::Provider)),
        };
        if self.query.filter.evaluate(&|dimension| Some(value_of(dimension))) != Some(true) {
            return Ok(None);
        }
        // Only for keys that pass, so that a filter also bounds the number of groups.
        let values = self.query.group_by.iter().map(|group| CompactString::new(value_of(group.dimension)));
        let group = self.sums.number(values.collect())?;
        // Looked up only where a metric needs it.
        let reports_complaints =
            self.sums.has_reporting() && provider::reports_complaints(value(Dimension::Provider));
        Ok(Some(KeyTarget { group, reports_complaints }))
    }
}

/// A stored value as queries see it: a provider in place of the marker of its domain.
fn resolved<'v>(providers: &LearnedProviders, dimension: Dimension, value: &'v str) -> &'v str {
    if dimension == Dimension::Provider { providers.resolve(value) } else { value }
}

/// Set in the slot number of a row whose mail is at a provider that reports complaints. Real slot numbers are far smaller.
const REPORTS_COMPLAINTS: u32 = 1 << 31;

/// Which outcomes count by their age, and what the answer says about those that do not.
struct CohortAges<'a> {
    /// The oldest class that counts; `None` if all do.
    most: Option<AgeClass>,
    /// Whether the query cuts hours, by which late outcomes were kept once.
    cuts_hours: bool,
    /// The width of the block's buckets in minutes.
    width: u32,
    notes: &'a mut HistoryNotes,
}

impl CohortAges<'_> {
    /// Whether a row in the range of the query counts.
    #[inline]
    fn pass(&mut self, age: AgeClass, bucket: Minute) -> bool {
        // Most rows pass here. Cells have no age, and a query about them no oldest class.
        if self.most.is_none_or(|most| age <= most) && !(self.cuts_hours && age == AgeClass::UnknownLate) {
            return true;
        }
        self.pass_old_rows(age, bucket)
    }

    #[cold]
    fn pass_old_rows(&mut self, age: AgeClass, bucket: Minute) -> bool {
        let width = if age == AgeClass::UnknownLate { self.width.max(60) } else { self.width };
        let end = Some(Minute(bucket.0.saturating_add(width)));
        if self.most.is_none() {
            self.notes.late_by_hour_before = self.notes.late_by_hour_before.max(end);
            return true;
        }
        if !age.is_known() {
            self.notes.age_unknown_before = self.notes.age_unknown_before.max(end);
        }
        false
    }
}

/// Adds the rows of one block to the sums.
struct RowAdder<'a> {
    targets: &'a [Option<KeyTarget>],
    sums: &'a mut RunningSums,
    buckets: &'a BucketFinder,
    ages: CohortAges<'a>,
    /// Whether there was room for all rows.
    room: Result<(), Full>,
}

impl CountVisitor for RowAdder<'_> {
    #[inline]
    fn slot(&mut self, key: u32, age: AgeClass, bucket: Minute) -> Option<u32> {
        let target = self.targets.get(key as usize).copied().flatten()?;
        // Before a slot is made: a row outside of the range must not take memory.
        let found = self.buckets.find(bucket)?;
        if !self.ages.pass(age, bucket) {
            return None;
        }
        match self.sums.slot(target.group, found) {
            Ok(slot) if target.reports_complaints => Some(slot | REPORTS_COMPLAINTS),
            Ok(slot) => Some(slot),
            // A visitor cannot fail, so the refusal is kept until the walk is over; rows until then are skipped.
            Err(full) => {
                self.room = Err(full);
                None
            }
        }
    }

    #[inline]
    fn add(&mut self, slot: u32, counter: CounterId, count: u64) {
        if slot & REPORTS_COMPLAINTS == 0 {
            self.sums.add(slot, counter, count);
        } else {
            self.sums.add_reporting(slot & !REPORTS_COMPLAINTS, counter, count);
        }
    }
}

/// Finds the bucket of a minute. Most queries have buckets of one width, so the position is computed and then checked. Only months, and
/// days of a zone that changes its clocks, are searched for.
struct BucketFinder {
    edges: Vec<Minute>,
    /// The width of the first bucket, in minutes.
    width: u32,
}

impl BucketFinder {
    fn new(edges: &[Minute]) -> Self {
        let width = match edges {
            // Edges rise, so the width is at least 1; the bound is for the reader of the division below.
            [start, end, ..] => end.0.saturating_sub(start.0).max(1),
            _ => 1,
        };
        Self { edges: edges.to_vec(), width }
    }

    #[inline]
    fn find(&self, minute: Minute) -> Option<usize> {
        let passed = minute.0.checked_sub(self.edges.first()?.0)?;
        let computed = (passed / self.width) as usize;
        if self.holds(computed, minute) {
            return Some(computed);
        }
        let found = self.edges.partition_point(|edge| *edge <= minute).checked_sub(1)?;
        self.holds(found, minute).then_some(found)
    }

    #[inline]
    fn holds(&self, bucket: usize, minute: Minute) -> bool {
        matches!(self.edges.get(bucket..), Some([start, end, ..]) if *start <= minute && minute < *end)
    }
}

#[cfg(test)]
mod tests;
