//! The answer: rows in order, the long tail summed into `(other)`, pages, and the JSON that users see.
//!
//! ```text
//! groups by rank:  ── earlier pages ──│── this page ──│── later pages: the (other) row ──
//! ```
//!
//! So the rows of this page and of those before it sum to the whole. Rates of `(other)` come from its own summed counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use event::attribution::Dimension;
use event::{Minute, Timestamp};
use smallvec::SmallVec;

use super::calendar::Granularity;
use super::cursor::Cursor;
use super::metric::{Metric, Value};
use super::rank::{self, Candidate};
use super::reported::{self, Absence};
use super::request::{Fill, Query};
use super::sums::{GroupValues, Sums};
use crate::cell::Cell;

/// How new the data are that an answer is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Every event up to this moment is counted.
    pub complete_until: Option<Timestamp>,
    /// The newest event counted.
    pub newest_event: Option<Timestamp>,
}

/// An answer; serialises to the reply of `POST /v1/query`.
#[derive(Clone, Debug)]
pub struct Answer {
    query: Query,
    rows: Vec<Row>,
    freshness: Freshness,
    estimates: BTreeMap<usize, f64>,
    page: Page,
}

/// The part of all groups that an answer holds; of all rows, if the query has no groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Page {
    /// How many groups or rows earlier pages hold.
    skip: usize,
    /// The most groups or rows on a page.
    most: usize,
    /// How many groups or rows there are on all pages, without the `(other)` row.
    total: usize,
}

impl Page {
    fn end(self) -> usize {
        self.skip.saturating_add(self.most).min(self.total)
    }

    fn next(self) -> Option<usize> {
        (self.end() < self.total).then_some(self.end())
    }

    fn previous(self) -> Option<usize> {
        (self.skip > 0).then(|| self.skip.saturating_sub(self.most))
    }

    fn last(self) -> Option<usize> {
        self.next().map(|_| (self.total - 1) / self.most * self.most)
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where its bucket begins; absent if there is one bucket for the whole range.
    pub time: Option<Minute>,
    /// The value of each group; the rows of one share it.
    pub group: Arc<[CompactString]>,
    /// The value of each metric.
    pub metrics: MetricValues,
    /// Numerator and denominator of each metric that is a rate.
    pub counts: MetricCounts,
    /// The metrics, by place, that have no value for a reason other than a denominator of 0.
    pub absences: SmallVec<[(usize, Absence); 1]>,
    /// The value of each metric in the range compared with.
    pub previous: Option<MetricValues>,
    /// The group's place in the page; the long tail comes last.
    pub(super) rank: usize,
}

/// The value of each metric of a query, in the order asked for.
pub type MetricValues = SmallVec<[Value; 4]>;
/// Numerator and denominator of each metric of a query that is a rate, in the order asked for.
pub type MetricCounts = SmallVec<[Option<(u64, u64)>; 3]>;

/// A group, and its numbers in the sums of the range and of the one compared with.
struct Member<'a> {
    values: &'a GroupValues,
    now: Option<u32>,
    earlier: Option<u32>,
}

/// What an answer is made from.
struct Source<'a> {
    query: &'a Query,
    now: &'a Sums,
    earlier: Option<&'a Sums>,
    /// Whether the filter passes only mail at providers that report no complaints.
    is_silent: bool,
}

impl Answer {
    pub(super) fn new(query: &Query, now: &Sums, earlier: Option<&Sums>, freshness: Freshness) -> Self {
        let is_silent = reported::passes_only_silent(&query.filter);
        let source = Source { query, now, earlier, is_silent };
        let mut answer = Self {
            query: query.clone(),
            rows: Vec::new(),
            freshness,
            estimates: BTreeMap::new(),
            page: Page::default(),
        };
        answer.page = if query.group_by.is_empty() {
            answer.page_of_rows(&source)
        } else {
            answer.page_of_groups(&source)
        };
        answer
    }

    /// The rows of this page, in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The query answered.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// How new the data are.
    pub const fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// The error of each metric that is an estimate, by the metric's place: the greatest of all rows, relative to the value.
    pub const fn estimates(&self) -> &BTreeMap<usize, f64> {
        &self.estimates
    }

    /// What to send as `cursor` for the next page, if there is one.
    pub fn next_cursor(&self) -> Option<String> {
        self.cursor(self.page.next())
    }

    /// What to send as `cursor` for the previous page, if there is one.
    pub fn previous_cursor(&self) -> Option<String> {
        self.cursor(self.page.previous())
    }

    /// What to send as `cursor` for the last page; `None` if this is the last page.
    pub fn last_cursor(&self) -> Option<String> {
        self.cursor(self.page.last())
    }

    /// The number of groups on earlier pages; of rows, if the query has no groups.
    pub const fn offset(&self) -> usize {
        self.page.skip
    }

    /// The number of groups on all pages, without the `(other)` row; of rows, if the query has no groups.
    pub const fn total(&self) -> usize {
        self.page.total
    }

    fn cursor(&self, skip: Option<usize>) -> Option<String> {
        let (from, to) = self.query.range();
        let skip = u32::try_from(skip?).ok()?;
        Some(Cursor { from, to, skip }.encode(self.query.fingerprint))
    }

    /// Without groups, a page is a number of buckets.
    fn page_of_rows(&mut self, source: &Source<'_>) -> Page {
        self.add_rows(source, &source.members(), &Arc::default(), 0);
        self.rows.sort_by(|a, b| rank::rows(source.query, a, b));
        let most = source.query.limit.min(Query::MAX_ROWS);
        let page = Page { skip: source.query.skip, most, total: self.rows.len() };
        self.rows.truncate(page.end());
        self.rows.drain(..page.skip.min(self.rows.len()));
        page
    }

    /// With groups, a page is a number of groups, each in all its buckets, and the rest in one.
    fn page_of_groups(&mut self, source: &Source<'_>) -> Page {
        let query = source.query;
        let members = source.members();
        let (folded, named): (Vec<_>, Vec<_>) = members.into_iter().partition(Member::is_folded);
        let named = rank::groups(query, named.into_iter().filter_map(|member| source.candidate(member)));
        let buckets = query.edges.len() - 1;
        let most = query.limit.min(Query::MAX_ROWS / buckets).max(1);
        let page = Page { skip: query.skip, most, total: named.len() };
        for (place, member) in named.get(page.skip..page.end()).unwrap_or_default().iter().enumerate() {
            self.add_rows(
                source,
                std::slice::from_ref(member),
                &member.values.iter().cloned().collect(),
                place,
            );
        }
        let tail: Vec<_> = named.into_iter().skip(page.end()).chain(folded).collect();
        if !tail.is_empty() {
            let other = query.group_by.iter().map(|_| CompactString::const_new(Dimension::OTHER)).collect();
            self.add_rows(source, &tail, &other, usize::MAX);
        }
        self.rows.sort_by(|a, b| rank::rows(query, a, b));
        page
    }

    /// Adds a row for each bucket of some groups taken together.
    fn add_rows(
        &mut self,
        source: &Source<'_>,
        members: &[Member<'_>],
        group: &Arc<[CompactString]>,
        rank: usize,
    ) {
        let query = source.query;
        let mut now = source.now.cells(members.iter().filter_map(|member| member.now), false).into_iter();
        let earlier =
            source.earlier.map(|sums| sums.cells(members.iter().filter_map(|member| member.earlier), false));
        let mut earlier = earlier.into_iter().flatten();
        let is_silent = source.are_silent(members);
        let always = query.fill == Fill::Zero
            || (query.group_by.is_empty() && query.granularity == Granularity::Total);
        for start in query.edges.iter().take(query.edges.len() - 1) {
            let (cell, before) = (now.next().flatten(), earlier.next().flatten());
            if cell.is_none() && before.is_none() && !always {
                continue;
            }
            let cell = cell.unwrap_or_default();
            let mut row = Row {
                time: (query.granularity != Granularity::Total).then_some(*start),
                group: Arc::clone(group),
                metrics: values(query, &cell, is_silent),
                counts: counts(query, &cell),
                absences: SmallVec::new(),
                previous: source.earlier.map(|_| values(query, &before.unwrap_or_default(), is_silent)),
                rank,
            };
            for (place, metric) in query.metrics.iter().enumerate() {
                let absence = if is_silent { reported::absence(*metric, &cell) } else { None };
                row.absences.extend(absence.map(|absence| (place, absence)));
                if let Some(error) = metric.error(&cell) {
                    let greatest = self.estimates.entry(place).or_insert(error);
                    *greatest = greatest.max(error);
                }
            }
            self.rows.push(row);
        }
    }
}

impl Member<'_> {
    /// Whether these are values that were folded together when the block was written: they belong to the long tail.
    fn is_folded(&self) -> bool {
        self.values.iter().all(|value| value == Dimension::OTHER)
    }
}

impl<'a> Source<'a> {
    /// All groups of the range and of the one compared with.
    fn members(&self) -> Vec<Member<'a>> {
        let mut members = Vec::new();
        for (number, values) in (0..).zip(self.now.groups()) {
            let earlier = self.earlier.and_then(|earlier| earlier.find(values));
            members.push(Member { values, now: Some(number), earlier });
        }
        for (number, values) in (0..).zip(self.earlier.into_iter().flat_map(Sums::groups)) {
            if self.now.find(values).is_none() {
                members.push(Member { values, now: None, earlier: Some(number) });
            }
        }
        members
    }

    /// A group with its metrics over the whole range; none if nothing was counted in it.
    fn candidate(&self, member: Member<'a>) -> Option<Candidate<'a, Member<'a>>> {
        let whole = |sums: &Sums, group| sums.cells(std::iter::once(group), true).pop().flatten();
        let now = member.now.and_then(|group| whole(self.now, group));
        if now.is_none() {
            let (sums, group) = self.earlier.zip(member.earlier)?;
            whole(sums, group)?;
        }
        let cell = now.unwrap_or_default();
        let metrics = values(self.query, &cell, self.are_silent(std::slice::from_ref(&member)));
        Some(Candidate { values: member.values, metrics, counts: counts(self.query, &cell), member })
    }

    /// Whether groups taken together hold only mail at providers that report no complaints.
    fn are_silent(&self, members: &[Member<'_>]) -> bool {
        self.is_silent
            || (!members.is_empty()
                && members.iter().all(|member| reported::is_silent(self.query, member.values)))
    }
}

fn values(query: &Query, cell: &Cell, is_silent: bool) -> MetricValues {
    let value = |metric: &Metric| {
        let is_absent = is_silent && reported::absence(*metric, cell).is_some();
        if is_absent { Value::Missing } else { metric.value(cell, query.basis) }
    };
    query.metrics.iter().map(value).collect()
}

fn counts(query: &Query, cell: &Cell) -> MetricCounts {
    query.metrics.iter().map(|metric| metric.counts(cell)).collect()
}

#[cfg(test)]
mod tests;
