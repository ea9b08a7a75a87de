//! The order of an answer's rows: by time, by a metric, by the evidence for a rate, or by the value of a group.

use super::columns::{MetricColumn, MetricColumns};
use super::dimension::{GroupColumn, QueryDimension};
use super::error::{QueryError, quoted};
use super::metrics::Metric;

/// One key of the order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderBy {
    key: OrderKey,
    descending: bool,
}

/// What [`OrderBy`] compares, before it is known whether the query has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderKey {
    Time,
    Metric(Metric),
    Rate(Metric, RateEnd),
    Group(QueryDimension),
}

/// Which end of a rate comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateEnd {
    /// Most bounces, fewest deliveries.
    Worst,
    /// Fewest bounces, most deliveries.
    Best,
}

impl RateEnd {
    /// The name in queries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worst => "worst",
            Self::Best => "best",
        }
    }
}

impl OrderBy {
    /// By time, the earliest bucket first.
    pub const fn time() -> Self {
        Self { key: OrderKey::Time, descending: false }
    }

    /// By a metric, the largest value first: that is what a ranking is read for.
    pub const fn metric(metric: Metric) -> Self {
        Self { key: OrderKey::Metric(metric), descending: true }
    }

    /// By a rate, ranked by its lower confidence bound, so that one bounce of one mail ranks below 900 of 10,000.
    pub const fn rate(metric: Metric, end: RateEnd) -> Self {
        Self { key: OrderKey::Rate(metric, end), descending: true }
    }

    /// By the value of a group, in alphabetical order.
    pub fn group(dimension: impl Into<QueryDimension>) -> Self {
        Self { key: OrderKey::Group(dimension.into()), descending: false }
    }

    /// The same key, smallest or earliest first. It has no effect on [`OrderBy::rate`], whose [`RateEnd`] is the direction.
    #[must_use]
    pub const fn ascending(self) -> Self {
        Self { descending: false, ..self }
    }

    /// The same key, largest or latest first. It has no effect on [`OrderBy::rate`], whose [`RateEnd`] is the direction.
    #[must_use]
    pub const fn descending(self) -> Self {
        Self { descending: true, ..self }
    }

    /// Finds the columns that it is about; only what a query asks for can order its rows.
    pub(super) fn resolve(
        self,
        metrics: &MetricColumns,
        groups: &[GroupColumn],
    ) -> Result<RowOrder, QueryError> {
        let column = |metric: Metric| metrics.column(metric);
        let key = match self.key {
            OrderKey::Time => Some(RowOrderKey::Time),
            OrderKey::Metric(metric) => column(metric).map(RowOrderKey::Metric),
            OrderKey::Rate(metric, end) if metric.ratio().is_some() => {
                column(metric).map(|column| RowOrderKey::Rate(column, end))
            }
            // Only a rate has a numerator and a denominator to rank by.
            OrderKey::Rate(..) => None,
            OrderKey::Group(dimension) => {
                groups.iter().position(|group| group.dimension == dimension).map(RowOrderKey::Group)
            }
        };
        match key {
            Some(key) => Ok(RowOrder { key, descending: self.descending }),
            None => Err(refusal(&self.name())),
        }
    }

    fn name(self) -> String {
        match self.key {
            OrderKey::Time => "time".to_owned(),
            OrderKey::Metric(metric) => metric.name().to_owned(),
            OrderKey::Rate(metric, end) => format!("{}:{}", metric.name(), end.name()),
            OrderKey::Group(dimension) => dimension.name().to_owned(),
        }
    }
}

/// The refusal of a key that rows cannot be ordered by.
pub(super) fn refusal(text: &str) -> QueryError {
    QueryError::malformed(
        "order_by",
        format!("{} cannot be ordered by", quoted(text)),
        "time, or one of metrics or group_by; with :asc or :desc, or a - before it for descending; a rate also with :worst or :best",
        "-sends",
    )
}

/// An [`OrderBy`] whose columns are known to be in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowOrder {
    pub key: RowOrderKey,
    /// Largest first. Without effect on [`RowOrderKey::Rate`].
    pub descending: bool,
}

/// What [`RowOrder`] compares: columns that the query has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowOrderKey {
    Time,
    Metric(MetricColumn),
    Rate(MetricColumn, RateEnd),
    /// The position of a group among the query's groups.
    Group(usize),
}
