//! The metrics of one query, and values per metric that can be looked up without failing.

use std::ops::Index;
use std::sync::Arc;

use smallvec::SmallVec;

use super::metrics::Metric;

/// The metrics of a query, in the order of the reply's columns. No metric is there twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MetricColumns(Arc<[Metric]>);

/// The position of a metric among the metrics of its query. Only [`MetricColumns`] makes one, so it is always in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MetricColumn(usize);

/// One `T` for each metric of a query. Only [`MetricColumns`] makes one, so it has a value for each column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PerMetric<T>(SmallVec<[T; 4]>);

impl MetricColumns {
    /// Repeated metrics are dropped.
    pub(super) fn new(metrics: &[Metric]) -> Self {
        let mut distinct: Vec<Metric> = Vec::with_capacity(metrics.len());
        // Quadratic, but a query has at most 40 metrics.
        for metric in metrics {
            if !distinct.contains(metric) {
                distinct.push(*metric);
            }
        }
        Self(distinct.into())
    }

    pub(super) fn as_slice(&self) -> &[Metric] {
        &self.0
    }

    /// The column of a metric, if the query asks for it.
    pub(super) fn column(&self, metric: Metric) -> Option<MetricColumn> {
        self.0.iter().position(|one| *one == metric).map(MetricColumn)
    }

    /// The column of the first metric, by which groups are ranked if the query gives no order.
    pub(super) fn first(&self) -> Option<MetricColumn> {
        (!self.0.is_empty()).then_some(MetricColumn(0))
    }

    /// A value for each metric.
    pub(super) fn map<T>(&self, value: impl FnMut(Metric) -> T) -> PerMetric<T> {
        PerMetric(self.0.iter().copied().map(value).collect())
    }

    /// The metrics with their values.
    pub(super) fn with<'a, T: Copy>(
        &'a self,
        values: &'a PerMetric<T>,
    ) -> impl Iterator<Item = (Metric, T)> + Clone + use<'a, T> {
        self.0.iter().copied().zip(values.0.iter().copied())
    }
}

impl Index<MetricColumn> for MetricColumns {
    type Output = Metric;

    fn index(&self, column: MetricColumn) -> &Metric {
        &self.0[column.0]
    }
}

impl<T> Index<MetricColumn> for PerMetric<T> {
    type Output = T;

    fn index(&self, column: MetricColumn) -> &T {
        &self.0[column.0]
    }
}

impl<T> PerMetric<T> {
    /// Updates each value with the value of another query's same column.
    pub(super) fn update<U>(&mut self, others: &PerMetric<U>, mut update: impl FnMut(&mut T, &U)) {
        for (value, other) in self.0.iter_mut().zip(&others.0) {
            update(value, other);
        }
    }
}
