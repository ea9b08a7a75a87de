//! From sums to rows: groups in order, cut into pages, the long tail summed into `(other)`.
//!
//! ```text
//! groups by rank:  ── earlier pages ──│── this page ──│── later pages: the (other) row ──
//! ```
//!
//! So the rows of this page and of those before it sum to the whole. Rates of `(other)` come from its own summed counters.

use std::sync::Arc;

use compact_str::CompactString;
use event::Minute;
use event::attribution::Dimension;

use super::answer_rows::{Answer, Freshness, OTHER_RANK, RowData};
use super::calendar::Granularity;
use super::columns::PerMetric;
use super::metrics::{Aggregate, Measurement, RowScope};
use super::notes::HistoryNotes;
use super::page_bounds::PageBounds;
use super::rank::{self, RankedGroup};
use super::request::{Fill, Query};
use super::silent_providers;
use super::sums::{GroupValues, RunningSums};

/// A group, by its numbers in the sums of the range and of the range compared with.
struct GroupSums<'a> {
    values: &'a GroupValues,
    current: Option<u32>,
    earlier: Option<u32>,
}

/// The rows of an answer in the making.
struct RowBuilder<'a> {
    query: &'a Query,
    current: &'a RunningSums,
    earlier: Option<&'a RunningSums>,
    /// Whether the filter passes only mail at providers that report no complaints.
    is_silent: bool,
    rows: Vec<RowData>,
    /// The greatest relative error of each metric.
    errors: PerMetric<f64>,
}

impl Answer {
    pub(super) fn new(
        query: &Query,
        current: &RunningSums,
        earlier: Option<&RunningSums>,
        freshness: Freshness,
    ) -> Self {
        let mut builder = RowBuilder {
            query,
            current,
            earlier,
            // The same for every row, so it is found once.
            is_silent: silent_providers::passes_only_silent(&query.filter),
            rows: Vec::new(),
            errors: query.metrics.map(|_| 0.0),
        };
        let page =
            if query.group_by.is_empty() { builder.add_page_of_rows() } else { builder.add_page_of_groups() };
        let RowBuilder { rows, errors, .. } = builder;
        Self { query: query.clone(), rows, freshness, errors, page, notes: HistoryNotes::default() }
    }
}

impl<'a> RowBuilder<'a> {
    /// Without groups, a page is a number of buckets.
    fn add_page_of_rows(&mut self) -> PageBounds {
        let query = self.query;
        // All rows are made before the page is cut, because the order may be by a metric of each bucket.
        self.add_rows(&self.groups(), &Arc::default(), 0);
        self.rows.sort_by(|a, b| rank::rows(query, a, b));
        let page =
            PageBounds { skip: query.skip, size: query.limit.min(Query::MAX_ROWS), total: self.rows.len() };
        self.rows.truncate(page.end());
        self.rows.drain(..page.skip.min(self.rows.len()));
        page
    }

    /// With groups, a page is a number of groups, each in all its buckets, and the `(other)` row.
    fn add_page_of_groups(&mut self) -> PageBounds {
        let query = self.query;
        let (collapsed, named): (Vec<_>, Vec<_>) =
            self.groups().into_iter().partition(GroupSums::is_collapsed);
        let named = rank::groups(query, named.into_iter().filter_map(|group| self.ranked(group)));
        // A group has a row for each bucket, and a page must not exceed the rows of a reply; but one group always fits.
        let size = query.limit.min(Query::MAX_ROWS / query.bucket_count()).max(1);
        let page = PageBounds { skip: query.skip, size, total: named.len() };
        let shown = named.iter().enumerate().take(page.end()).skip(page.skip);
        for (position, group) in shown {
            let values = group.values.iter().cloned().collect();
            self.add_rows(std::slice::from_ref(group), &values, position);
        }
        // Groups on earlier pages are not in the tail, so that the rows of all pages read so far and this row sum to the whole.
        let tail: Vec<_> = named.into_iter().skip(page.end()).chain(collapsed).collect();
        if !tail.is_empty() {
            let other = query.group_by.iter().map(|_| CompactString::const_new(Dimension::OTHER)).collect();
            self.add_rows(&tail, &other, OTHER_RANK);
        }
        self.rows.sort_by(|a, b| rank::rows(query, a, b));
        page
    }

    /// Adds a row for each bucket of some groups taken together.
    fn add_rows(&mut self, groups: &[GroupSums<'_>], values: &Arc<[CompactString]>, rank: usize) {
        let query = self.query;
        let current = self.current.by_bucket(groups.iter().filter_map(|group| group.current));
        let earlier =
            self.earlier.map(|sums| sums.by_bucket(groups.iter().filter_map(|group| group.earlier)));
        let mut earlier = earlier.into_iter().flatten();
        let is_silent = self.are_silent(groups);
        // A total without groups always has its row.
        let fills = query.fill == Fill::Zero
            || (query.group_by.is_empty() && query.granularity == Granularity::Total);
        for (start, aggregate) in query.edges.iter().zip(current) {
            // `None` also if the query does not compare.
            let before = earlier.next().flatten();
            if aggregate.is_none() && before.is_none() && !fills {
                continue;
            }
            self.add_row(*start, aggregate, before, (values, rank), is_silent);
        }
    }

    /// Adds a row. An aggregate that is `None` is a bucket in which nothing was counted.
    fn add_row(
        &mut self,
        start: Minute,
        aggregate: Option<Aggregate>,
        before: Option<Aggregate>,
        (values, rank): (&Arc<[CompactString]>, usize),
        is_silent: bool,
    ) {
        let query = self.query;
        // Nothing counted is a count of 0 and a rate without a value, not a missing row.
        let aggregate = aggregate.unwrap_or_default();
        let metrics = measure(query, &aggregate, is_silent);
        let previous = self.earlier.map(|_| measure(query, &before.unwrap_or_default(), is_silent));
        let errors = query.metrics.map(|metric| metric.relative_error(&aggregate.cell));
        self.errors.update(&errors, |greatest, error| *greatest = greatest.max(*error));
        let time = (query.granularity != Granularity::Total).then_some(start);
        self.rows.push(RowData { time, group: Arc::clone(values), metrics, previous, rank });
    }

    /// All groups of the range and of the range compared with.
    fn groups(&self) -> Vec<GroupSums<'a>> {
        let mut groups = Vec::new();
        for (number, values) in (0..).zip(self.current.groups()) {
            let earlier = self.earlier.and_then(|earlier| earlier.find(values));
            groups.push(GroupSums { values, current: Some(number), earlier });
        }
        // A campaign that only ran before has a row too: its previous value against nothing now.
        for (number, values) in (0..).zip(self.earlier.into_iter().flat_map(RunningSums::groups)) {
            if self.current.find(values).is_none() {
                groups.push(GroupSums { values, current: None, earlier: Some(number) });
            }
        }
        groups
    }

    /// A group with its metrics over the whole range; `None` if nothing was counted in it.
    fn ranked(&self, group: GroupSums<'a>) -> Option<RankedGroup<'a, GroupSums<'a>>> {
        let current = group.current.and_then(|number| self.current.whole_range(number));
        if current.is_none() {
            let (sums, number) = self.earlier.zip(group.earlier)?;
            sums.whole_range(number)?;
        }
        // A group of the earlier range alone is ranked as one in which nothing was counted.
        let aggregate = current.unwrap_or_default();
        let is_silent = self.are_silent(std::slice::from_ref(&group));
        let metrics = measure(self.query, &aggregate, is_silent);
        Some(RankedGroup { values: group.values, metrics, group })
    }

    /// Whether groups taken together hold only mail at providers that report no complaints.
    fn are_silent(&self, groups: &[GroupSums<'_>]) -> bool {
        let is_silent =
            |group: &GroupSums<'_>| silent_providers::is_silent_group(&self.query.group_by, group.values);
        self.is_silent || (!groups.is_empty() && groups.iter().all(is_silent))
    }
}

impl GroupSums<'_> {
    /// Whether its values were collapsed into `(other)` when the block was written: then it belongs to the long tail.
    fn is_collapsed(&self) -> bool {
        self.values.iter().all(|value| value == Dimension::OTHER)
    }
}

fn measure(query: &Query, aggregate: &Aggregate, is_silent: bool) -> PerMetric<Measurement> {
    let scope = RowScope { basis: query.basis, is_silent };
    query.metrics.map(|metric| metric.measure(aggregate, scope))
}

#[cfg(test)]
mod tests;
