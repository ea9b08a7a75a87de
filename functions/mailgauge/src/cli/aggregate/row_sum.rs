//! A printed row as the sum of cells: those of one group, at all of its providers.
//!
//! A complaint rate depends on which providers report complaints, so rows for one are counted by provider and summed here.

use std::borrow::Cow;

use cells::query::{Absence, Basis, Metric, MetricValue};
use cells::{Cell, Counters, RowKey};
use event::attribution::Dimension;
use event::provider;

/// The sum of the cells of one printed row.
pub(super) struct RowSum<'a> {
    pub(super) key: RowKey<'a>,
    cell: Cow<'a, Cell>,
    /// The part of its counters at providers that report complaints; `None` if the providers are not known.
    reporting: Option<Counters>,
}

impl<'a> RowSum<'a> {
    /// Begins with one cell.
    pub(super) fn new((key, cell): (RowKey<'a>, &'a Cell), knows_providers: bool) -> Self {
        let mut sum = Self { key, cell: Cow::Borrowed(cell), reporting: knows_providers.then(Counters::new) };
        sum.add_reporting(&key, cell);
        sum
    }

    /// Adds a cell of the same row, at another provider.
    pub(super) fn add(&mut self, (key, cell): (RowKey<'a>, &Cell)) {
        self.cell.to_mut().merge(cell);
        self.add_reporting(&key, cell);
    }

    fn add_reporting(&mut self, key: &RowKey<'_>, cell: &Cell) {
        if let Some(reporting) = &mut self.reporting
            && provider::reports_complaints(key.value(Dimension::Provider))
        {
            reporting.merge(&cell.counters);
        }
    }

    /// The value of a metric, and why it has none if it is not because of a denominator of 0.
    pub(super) fn value(&self, metric: Metric) -> (MetricValue, Option<Absence>) {
        match &self.reporting {
            Some(reporting) => metric.value_with_reporting(&self.cell, reporting, Basis::Event),
            None => (metric.value(&self.cell, Basis::Event), None),
        }
    }
}
