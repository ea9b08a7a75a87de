//! The answer to a query, and typed access to its rows: by metric and dimension, never by position.
//!
//! How rows are made from sums is in `answer_pages.rs`, how they are written in `answer_json.rs` and `answer_lines.rs`.

use std::sync::Arc;

use compact_str::CompactString;
use event::{Minute, Timestamp, invariant};

use super::absence::Absence;
use super::columns::PerMetric;
use super::cursor::Cursor;
use super::dimension::{GroupColumn, QueryDimension};
use super::metrics::{Measurement, Metric, MetricValue, RatioCounts};
use super::notes::HistoryNotes;
use super::page_bounds::PageBounds;
use super::request::Query;

/// The rank of a row of the `(other)` group: after all others.
pub(super) const OTHER_RANK: usize = usize::MAX;

/// How far the data of an answer reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Every event up to this time is counted.
    pub complete_until: Option<Timestamp>,
    /// The time of the newest event counted.
    pub newest_event: Option<Timestamp>,
    /// Duplicates of events that arrived later than this are recognised; of older ones they may be counted again. `None` if no counted
    /// event was forgotten.
    pub deduplicated_since: Option<Timestamp>,
}

/// An answer; serialises to the reply of `POST /v1/query`.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) query: Query,
    pub(super) rows: Vec<RowData>,
    pub(super) freshness: Freshness,
    /// The relative error of each metric, the greatest of all rows; 0 if all are exact.
    pub(super) errors: PerMetric<f64>,
    pub(super) page: PageBounds,
    pub(super) notes: HistoryNotes,
}

/// The values of a row, in the order of the query's groups and metrics.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RowData {
    /// Where its bucket begins; `None` if there is one bucket for the whole range.
    pub time: Option<Minute>,
    /// The value of each group; shared by all rows of a group.
    pub group: Arc<[CompactString]>,
    pub metrics: PerMetric<Measurement>,
    /// The metrics in the range compared with, if the query compares.
    pub previous: Option<PerMetric<Measurement>>,
    /// The position of the group in the page; [`OTHER_RANK`] for the `(other)` row.
    pub rank: usize,
}

/// A row of an answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerRow<'a> {
    pub(super) query: &'a Query,
    pub(super) data: &'a RowData,
}

impl Answer {
    /// The rows of this page, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = AnswerRow<'_>> + DoubleEndedIterator + Clone {
        self.rows.iter().map(|data| AnswerRow { query: &self.query, data })
    }

    /// The query that this answers, with its times resolved.
    pub const fn query(&self) -> &Query {
        &self.query
    }

    /// How far the data reach.
    pub const fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// What is special about the history in the range.
    pub const fn notes(&self) -> &HistoryNotes {
        &self.notes
    }

    /// The metrics that are estimates, with the greatest relative error of all rows.
    pub fn estimates(&self) -> impl Iterator<Item = (Metric, f64)> + '_ {
        // Exact metrics are not listed: what a reply does not name as an estimate is exact.
        self.query.metrics.with(&self.errors).filter(|(_, error)| *error > 0.0)
    }

    /// The `cursor` of the next page, if there is one.
    pub fn next_cursor(&self) -> Option<String> {
        self.cursor(self.page.next())
    }

    /// The `cursor` of the previous page, if there is one.
    pub fn previous_cursor(&self) -> Option<String> {
        self.cursor(self.page.previous())
    }

    /// The `cursor` of the last page; `None` if this is the last page.
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
        // More groups than a cursor can skip do not fit into memory.
        let skip = u32::try_from(skip?).ok()?;
        Some(Cursor { from, to, skip }.encode(self.query.fingerprint))
    }
}

impl<'a> AnswerRow<'a> {
    /// Where its bucket begins; `None` if there is one bucket for the whole range.
    pub const fn time(self) -> Option<Minute> {
        self.data.time
    }

    /// Its value of a dimension that the query groups by. It is an error of the caller to ask for another dimension.
    pub fn group(self, dimension: impl Into<QueryDimension>) -> &'a str {
        let dimension = dimension.into();
        let value = self.groups().find(|(group, _)| group.dimension == dimension).map(|(_, value)| value);
        invariant::or_broken(value, "", "a row was asked for a dimension that its query does not group by")
    }

    /// Its value of each dimension that the query groups by.
    pub fn groups(self) -> impl Iterator<Item = (&'a GroupColumn, &'a str)> + Clone {
        self.query.group_by.iter().zip(self.data.group.iter().map(CompactString::as_str))
    }

    /// Whether it is the `(other)` row, the sum of all groups that are neither on this page nor on an earlier one.
    pub const fn is_other(self) -> bool {
        self.data.rank == OTHER_RANK
    }

    /// Its value of a metric of the query. It is an error of the caller to ask for another metric.
    pub fn value(self, metric: Metric) -> MetricValue {
        self.measurement(metric).value(self.query.basis)
    }

    /// The value as a number; `None` if it has no value.
    pub fn number(self, metric: Metric) -> Option<f64> {
        self.value(metric).as_number()
    }

    /// The value of a metric that is a count. It is an error of the caller to ask for another metric.
    pub fn count(self, metric: Metric) -> u64 {
        match self.value(metric) {
            MetricValue::Count(count) => count,
            MetricValue::Number(_) | MetricValue::Missing => {
                invariant::broken("a row was asked for the count of a metric that is not a count");
                0
            }
        }
    }

    /// Numerator and denominator of a metric that is a rate; `None` for other metrics.
    pub fn ratio(self, metric: Metric) -> Option<RatioCounts> {
        self.measurement(metric).counts()
    }

    /// Why a metric has no value, if it is not because of a denominator of 0.
    pub fn absence(self, metric: Metric) -> Option<Absence> {
        self.measurement(metric).absence()
    }

    /// The value of a metric in the range compared with; `None` if the query does not compare.
    pub fn previous(self, metric: Metric) -> Option<MetricValue> {
        let previous = self.data.previous.as_ref()?;
        Some(self.find(previous, metric).value(self.query.basis))
    }

    /// The metrics of the query with their measurements.
    pub(super) fn measurements(self) -> impl Iterator<Item = (Metric, Measurement)> + Clone {
        self.query.metrics.with(&self.data.metrics)
    }

    /// The same in the range compared with; `None` if the query does not compare.
    pub(super) fn previous_measurements(self) -> Option<impl Iterator<Item = (Metric, Measurement)> + Clone> {
        Some(self.query.metrics.with(self.data.previous.as_ref()?))
    }

    fn measurement(self, metric: Metric) -> Measurement {
        self.find(&self.data.metrics, metric)
    }

    fn find(self, measurements: &PerMetric<Measurement>, metric: Metric) -> Measurement {
        let found = self.query.metrics.column(metric).map(|column| measurements[column]);
        let problem = "a row was asked for a metric that its query does not ask for";
        invariant::or_broken(found, Measurement::Missing, problem)
    }
}

/// Equal values; the queries may differ.
impl PartialEq for AnswerRow<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

#[cfg(test)]
mod tests;
