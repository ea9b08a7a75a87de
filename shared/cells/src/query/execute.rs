//! Reads rows into sums: the only part of a query whose work grows with the rows read.
//!
//! What does not change from row to row is found once per key: its group, and whether the filter lets it pass. A row then costs two
//! lookups and an addition per counter. Each row must be added once; blocks may come in any order and through several executions
//! that are merged.

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
use crate::block::rows::Tally;
use crate::block::{BlockError, RowRef, Rows, Wanted};
use crate::counter::CounterId;

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

impl From<Full> for ExecuteError {
    fn from(_: Full) -> Self {
        let refusal = QueryError::malformed(
            "group_by",
            "the answer has too many groups and buckets",
            "fewer or smaller dimensions, a coarser granularity, a shorter range or a filter",
            "group_by=provider",
        );
        Self::TooLarge(refusal.of_kind(QueryErrorKind::Unanswerable))
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
        let clock = Clock { edges: query.edges.clone(), last: 0 };
        Self { sums: Sums::new(query.wanted(), query.edges.len() - 1), clock, query: query.clone() }
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
        let range = self.query.range();
        let Self { sums, clock, .. } = self;
        let wanted = *sums.wanted();
        let mut counting = Counting { groups: &groups, range, sums, clock, placed: Ok(()) };
        if wanted.counters != 0 {
            if by_send {
                rows.count_cohorts(wanted.counters, &mut counting)?;
            } else {
                rows.count_cells(wanted.counters, &mut counting)?;
            }
        }
        if wanted.has_sketches() {
            let sketches = Wanted { counters: 0, ..wanted };
            let mut each = |row: RowRef<'_>| {
                if let Some(place) = counting.place(row.key, row.bucket) {
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

    /// Adds what another execution of the same query has read.
    ///
    /// # Errors
    /// [`ExecuteError::TooLarge`] if the sums grow too large.
    pub fn merge(&mut self, other: &Self) -> Result<(), ExecuteError> {
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
        let mut last: Option<(SmallVec<[u32; 4]>, Option<u32>)> = None;
        let mut groups = Vec::with_capacity(rows.key_count() as usize);
        for key in 0..rows.key_count() {
            let value = |dimension| rows.key_value(key, dimension);
            let Some(numbers) = rows.key_numbers(key) else {
                groups.push(self.group_of(tenant, &value)?);
                continue;
            };
            let combination: SmallVec<[u32; 4]> =
                asked.iter().filter_map(|place| numbers.get(*place).copied()).collect();
            if let Some((same, group)) = &last
                && *same == combination
            {
                groups.push(*group);
                continue;
            }
            let group = match known.get(&combination) {
                Some(group) => *group,
                None => {
                    let group = self.group_of(tenant, &value)?;
                    known.insert(combination.clone(), group);
                    group
                }
            };
            groups.push(group);
            last = Some((combination, group));
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
    range: (Minute, Minute),
    sums: &'a mut Sums,
    clock: &'a mut Clock,
    /// Whether there was room for all.
    placed: Result<(), Full>,
}

impl Tally for Counting<'_> {
    #[inline]
    fn place(&mut self, key: u32, bucket: Minute) -> Option<u32> {
        let group = self.groups.get(key as usize).copied().flatten()?;
        if bucket < self.range.0 || self.range.1 <= bucket || self.placed.is_err() {
            return None;
        }
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

/// Finds the bucket of a minute. Rows of one key come in the order of time, so it is mostly the last one's or the next.
struct Clock {
    edges: Vec<Minute>,
    last: usize,
}

impl Clock {
    #[inline]
    fn bucket(&mut self, minute: Minute) -> Option<usize> {
        if !self.holds(self.last, minute) {
            self.last += 1;
            if !self.holds(self.last, minute) {
                self.last = self
                    .edges
                    .partition_point(|edge| *edge <= minute)
                    .checked_sub(1)
                    .unwrap_or(self.edges.len());
            }
        }
        (self.last + 1 < self.edges.len()).then_some(self.last)
    }

    fn holds(&self, bucket: usize, minute: Minute) -> bool {
        matches!(self.edges.get(bucket..), Some([start, end, ..]) if *start <= minute && minute < *end)
    }
}

#[cfg(test)]
mod tests;
