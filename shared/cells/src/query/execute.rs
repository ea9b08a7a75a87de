//! Reads rows into sums: the only part of a query whose work grows with the rows read.
//!
//! What does not change from row to row is found once per key: its group, and whether the filter lets it pass. A row then costs two
//! lookups and an addition per counter. Each row must be added once; blocks may come in any order and through several executions
//! that are merged.

use std::collections::hash_map::Entry;

use compact_str::CompactString;
use event::attribution::Dimension;
use event::{Minute, TenantId};
use rapidhash::RapidHashMap;
use smallvec::SmallVec;

use super::answer::{Answer, Freshness};
use super::error::{QueryError, QueryErrorKind};
use super::filter::Facet;
use super::request::{Basis, Query};
use super::sums::{Full, Sums};
use crate::block::rows::CountVisitor;
use crate::block::{BlockError, BlockReader, Projection, RowRef, Rows};
use crate::counter::{CounterId, CounterSet};

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

/// A query at work.
pub struct Execution {
    query: Query,
    sums: Sums,
    clock: Clock,
}

impl Execution {
    /// Nothing read yet.
    pub fn new(query: &Query) -> Self {
        let sums = Sums::new(query.wanted(), query.edges.len() - 1);
        Self { sums, clock: Clock::new(&query.edges), query: query.clone() }
    }

    /// Adds the rows of one block or delta of `tenant`. A tenant outside the query's scope adds nothing.
    ///
    /// # Errors
    /// [`ExecuteError`] if the block is damaged or the sums grow too large; the execution is of no use then.
    pub fn add<R: Rows + ?Sized>(&mut self, tenant: &TenantId, rows: &R) -> Result<(), ExecuteError> {
        if !self.query.reads(tenant) {
            return Ok(());
        }
        let by_send = self.query.basis == Basis::Send;
        let groups =
            if by_send { self.groups_of_cohorts(tenant, rows)? } else { self.groups_of_cells(tenant, rows)? };
        if groups.iter().all(Option::is_none) {
            return Ok(());
        }
        let Self { sums, clock, .. } = self;
        let wanted = *sums.wanted();
        let mut counting = Counting { groups: &groups, sums, clock, placed: Ok(()) };
        if !wanted.counters.is_empty() {
            if by_send {
                rows.count_cohorts(wanted.counters, &mut counting)?;
            } else {
                rows.count_cells(wanted.counters, &mut counting)?;
            }
        }
        if wanted.has_sketches() {
            let sketches = Projection { counters: CounterSet::EMPTY, ..wanted };
            let range = self.query.range();
            let mut each = |row: RowRef<'_>| {
                if let Some(place) = counting.slot(row.key, row.bucket) {
                    counting.sums.add_sketches(place, &row);
                }
            };
            if by_send {
                rows.scan_cohorts(&sketches, range.0, range.1, &mut each)?;
            } else {
                rows.scan_cells(&sketches, range.0, range.1, &mut each)?;
            }
        }
        Ok(counting.placed?)
    }

    /// [`Execution::add`] for blocks as they are stored, compiled here with all that it calls.
    ///
    /// # Errors
    /// As there.
    pub fn add_stored(&mut self, tenant: &TenantId, rows: &BlockReader<'_>) -> Result<(), ExecuteError> {
        self.add(tenant, rows)
    }

    /// Adds what another execution of the same query has read.
    ///
    /// # Errors
    /// [`QueryError`] if the sums grow too large.
    pub fn merge(&mut self, other: &Self) -> Result<(), QueryError> {
        Ok(self.sums.merge(&other.sums)?)
    }

    /// The answer, beside what was read for [`Query::earlier`] if that was asked for.
    pub fn finish(self, earlier: Option<Self>, freshness: Freshness) -> Answer {
        let earlier = earlier.map(|execution| execution.sums);
        Answer::new(&self.query, &self.sums, earlier.as_ref(), freshness)
    }

    /// The group of each key of cells. Keys of a block share few values of the dimensions that the query asks about, so the group is
    /// found once for each combination of them.
    fn groups_of_cells<R: Rows + ?Sized>(
        &mut self,
        tenant: &TenantId,
        rows: &R,
    ) -> Result<Vec<Option<u32>>, Full> {
        let mut asked: Vec<usize> = Vec::new();
        for facet in
            self.query.filter.facets().into_iter().chain(self.query.group_by.iter().map(|group| group.facet))
        {
            if let Facet::Dimension(dimension) = facet
                && !asked.contains(&(dimension as usize))
            {
                asked.push(dimension as usize);
            }
        }
        let mut known: RapidHashMap<SmallVec<[u32; 4]>, Option<u32>> = RapidHashMap::default();
        let mut groups = Vec::with_capacity(rows.key_count() as usize);
        for key in 0..rows.key_count() {
            let value = |dimension| rows.key_value(key, dimension);
            let Some(numbers) = rows.key_numbers(key) else {
                groups.push(self.group_of(tenant, &value)?);
                continue;
            };
            let combination = asked.iter().filter_map(|place| numbers.get(*place).copied()).collect();
            groups.push(match known.entry(combination) {
                Entry::Occupied(group) => *group.get(),
                Entry::Vacant(free) => *free.insert(self.group_of(tenant, &value)?),
            });
        }
        Ok(groups)
    }

    /// The group of each key of cohorts.
    fn groups_of_cohorts<R: Rows + ?Sized>(
        &mut self,
        tenant: &TenantId,
        rows: &R,
    ) -> Result<Vec<Option<u32>>, Full> {
        let mut groups = Vec::with_capacity(rows.cohort_count() as usize);
        for key in 0..rows.cohort_count() {
            let (campaign, provider) = rows.cohort_key(key);
            let value = |dimension| match dimension {
                Dimension::Campaign => campaign,
                Dimension::Provider => provider,
                _ => "",
            };
            groups.push(self.group_of(tenant, &value)?);
        }
        Ok(groups)
    }

    /// The group of a key; none if it does not pass the filter.
    fn group_of<'v>(
        &mut self,
        tenant: &'v TenantId,
        value: &impl Fn(Dimension) -> &'v str,
    ) -> Result<Option<u32>, Full> {
        let value = |facet| match facet {
            Facet::Tenant => tenant.as_str(),
            Facet::Dimension(dimension) => value(dimension),
        };
        if self.query.filter.judge(&|facet| Some(value(facet))) != Some(true) {
            return Ok(None);
        }
        let values = self.query.group_by.iter().map(|group| CompactString::new(value(group.facet)));
        self.sums.number(values.collect()).map(Some)
    }
}

/// Rows of one block on their way into sums.
struct Counting<'a> {
    groups: &'a [Option<u32>],
    sums: &'a mut Sums,
    clock: &'a Clock,
    /// Whether there was room for all.
    placed: Result<(), Full>,
}

impl CountVisitor for Counting<'_> {
    #[inline]
    fn slot(&mut self, key: u32, bucket: Minute) -> Option<u32> {
        let group = self.groups.get(key as usize).copied().flatten()?;
        let bucket = self.clock.bucket(bucket)?;
        match self.sums.slot(group, bucket) {
            Ok(slot) => Some(slot),
            Err(full) => {
                self.placed = Err(full);
                None
            }
        }
    }

    #[inline]
    fn add(&mut self, place: u32, counter: CounterId, count: u64) {
        self.sums.add(place, counter, count);
    }
}

/// Finds the bucket of a minute. Most queries have buckets of one width, so the place is computed and then checked; only days of
/// a zone that turns its clocks, and months, are searched for.
struct Clock {
    edges: Vec<Minute>,
    /// The width of the first bucket, in minutes.
    width: u32,
}

impl Clock {
    fn new(edges: &[Minute]) -> Self {
        let width = match edges {
            [start, end, ..] => end.0.saturating_sub(start.0).max(1),
            _ => 1,
        };
        Self { edges: edges.to_vec(), width }
    }

    #[inline]
    fn bucket(&self, minute: Minute) -> Option<usize> {
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
