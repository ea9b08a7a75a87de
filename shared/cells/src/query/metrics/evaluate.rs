//! From summed counters and sketches to the value of a metric.
//!
//! A metric is computed from one aggregate and nothing else, so it means the same at every granularity and grouping.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::definition::{Formula, Metric, Ratio, SilentProviders};
use crate::block::Projection;
use crate::cell::{Cell, Latency, Uniques};
use crate::counter::{CounterSet, Counters};
use crate::query::proportion;
use crate::query::request::Basis;
use crate::query::silent_providers::Absence;

/// The value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricValue {
    /// A whole number: a count, or a percentile in milliseconds.
    Count(u64),
    /// A fraction or a mean.
    Number(f64),
    /// There is no value: a rate whose denominator is 0 or unknown, the delivery time of no delivery.
    Missing,
}

impl MetricValue {
    /// The value as a number, if there is one.
    pub fn as_number(self) -> Option<f64> {
        match self {
            Self::Count(count) => Some(count as f64),
            Self::Number(number) => Some(number),
            Self::Missing => None,
        }
    }
}

impl Serialize for MetricValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Count(count) => serializer.serialize_u64(count),
            Self::Number(number) => serializer.serialize_f64(number),
            Self::Missing => serializer.serialize_none(),
        }
    }
}

/// The two counts of a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RatioCounts {
    /// The count that is divided.
    pub numerator: u64,
    /// The count it is divided by.
    pub denominator: u64,
}

/// Everything that was counted for one row of an answer.
#[derive(Clone, Debug, Default)]
pub(in crate::query) struct Aggregate {
    pub cell: Cell,
    /// The part of the counters at providers that report complaints, as far as [`Needs::reporting`] asks for it.
    pub reporting: Counters,
}

/// What a query reads of each row, for all of its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::query) struct Needs {
    pub projection: Projection,
    /// The counters of which the part at providers that report complaints is summed as well.
    pub reporting: CounterSet,
}

/// A metric of one row, before it is turned into a value: rates keep their counts. Half the size of a value together with its counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::query) enum Measurement {
    Count(u64),
    Number(f64),
    Ratio { counts: RatioCounts, absence: Option<Absence> },
    Missing,
}

impl Measurement {
    pub(in crate::query) fn value(self, basis: Basis) -> MetricValue {
        match self {
            Self::Count(count) => MetricValue::Count(count),
            Self::Number(number) => MetricValue::Number(number),
            Self::Ratio { counts, absence: None } => {
                proportion::fraction(counts.numerator, counts.denominator, basis)
                    .map_or(MetricValue::Missing, MetricValue::Number)
            }
            Self::Ratio { absence: Some(_), .. } | Self::Missing => MetricValue::Missing,
        }
    }

    pub(in crate::query) const fn counts(self) -> Option<RatioCounts> {
        match self {
            Self::Ratio { counts, .. } => Some(counts),
            Self::Count(_) | Self::Number(_) | Self::Missing => None,
        }
    }

    pub(in crate::query) const fn absence(self) -> Option<Absence> {
        match self {
            Self::Ratio { absence, .. } => absence,
            Self::Count(_) | Self::Number(_) | Self::Missing => None,
        }
    }
}

impl Metric {
    /// Its value in one merged cell. A rate over providers that report complaints has none: a cell does not know its providers.
    pub fn value(self, cell: &Cell, basis: Basis) -> MetricValue {
        // Empty counters: a rate over reporting providers then has a denominator of 0, and so no value.
        let unknown = Counters::new();
        self.measure_in(cell, &unknown, false).value(basis)
    }

    /// Its value in one row. `is_silent` says that the row holds only mail at providers that report no complaints.
    pub(in crate::query) fn measure(self, aggregate: &Aggregate, is_silent: bool) -> Measurement {
        self.measure_in(&aggregate.cell, &aggregate.reporting, is_silent)
    }

    fn measure_in(self, cell: &Cell, reporting: &Counters, is_silent: bool) -> Measurement {
        match self.formula() {
            Formula::Counters(formula) => Measurement::Count(formula.value(&cell.counters)),
            Formula::UniqueOpens => Measurement::Count(cell.opens.estimate().value),
            Formula::UniqueClicks => Measurement::Count(cell.clicks.estimate().value),
            Formula::Ratio(ratio) => ratio.measure(cell, reporting, is_silent),
            Formula::Mean { sum, readings } => match cell.counters.get(readings) {
                // No reading is not a reading of 0.
                0 => Measurement::Missing,
                count => Measurement::Number(cell.counters.get(sum) as f64 / count as f64),
            },
            Formula::DeliveryTimePercentile(percent) => cell
                .latency
                .quantile(f64::from(percent) / 100.0)
                .map_or(Measurement::Missing, Measurement::Count),
        }
    }

    /// Adds what it is computed from to the needs of a query.
    pub(in crate::query) fn add_needs(self, needs: &mut Needs) {
        let projection = &mut needs.projection;
        match self.formula() {
            Formula::Counters(formula) => {
                formula.counters().into_iter().for_each(|counter| projection.counters.insert(counter));
            }
            Formula::UniqueOpens => projection.opens = true,
            Formula::UniqueClicks => projection.clicks = true,
            Formula::DeliveryTimePercentile(_) => projection.latency = true,
            Formula::Mean { sum, readings } => {
                projection.counters.insert(sum.into());
                projection.counters.insert(readings.into());
            }
            Formula::Ratio(ratio) => {
                // Both counts and never a rate: it is computed last, from their sums.
                for count in [ratio.numerator, ratio.denominator] {
                    count.add_needs(needs);
                    if let (SilentProviders::LeftOut, Some(formula)) =
                        (ratio.silent_providers, count.counters())
                    {
                        formula.counters().into_iter().for_each(|counter| needs.reporting.insert(counter));
                    }
                }
            }
        }
    }

    /// The relative error of its value in `cell`, 0 for an exact one: the standard error for unique counts and their rates, the greatest
    /// error for percentiles.
    pub(in crate::query) fn relative_error(self, cell: &Cell) -> f64 {
        let unique = |uniques: &Uniques| {
            if uniques.estimate().exact { 0.0 } else { Uniques::STANDARD_ERROR }
        };
        match self.formula() {
            Formula::UniqueOpens => unique(&cell.opens),
            Formula::UniqueClicks => unique(&cell.clicks),
            // As if the two errors were independent.
            Formula::Ratio(Ratio { numerator, denominator, .. }) => {
                numerator.relative_error(cell).hypot(denominator.relative_error(cell))
            }
            Formula::DeliveryTimePercentile(_) if !cell.latency.is_empty() => Latency::RELATIVE_ERROR,
            Formula::DeliveryTimePercentile(_) | Formula::Counters(_) | Formula::Mean { .. } => 0.0,
        }
    }
}

impl Ratio {
    fn measure(self, cell: &Cell, reporting: &Counters, is_silent: bool) -> Measurement {
        let leaves_out = self.silent_providers == SilentProviders::LeftOut;
        // Sketches are not kept apart by provider, so such a ratio can be made of counters only.
        let counters = if leaves_out { reporting } else { &cell.counters };
        let count = |metric: Metric| match metric.formula() {
            Formula::Counters(formula) => formula.value(counters),
            Formula::UniqueOpens if !leaves_out => cell.opens.estimate().value,
            Formula::UniqueClicks if !leaves_out => cell.clicks.estimate().value,
            Formula::UniqueOpens
            | Formula::UniqueClicks
            | Formula::Ratio(_)
            | Formula::Mean { .. }
            | Formula::DeliveryTimePercentile(_) => {
                event::invariant::broken("a rate is made of a metric that it cannot be made of");
                0
            }
        };
        let counts = RatioCounts { numerator: count(self.numerator), denominator: count(self.denominator) };
        let depends_on_reports = self.silent_providers != SilentProviders::Counted;
        // If a complaint arrived from such a provider after all, the rate keeps its value.
        let is_absent = depends_on_reports && is_silent && counts.numerator == 0;
        Measurement::Ratio { counts, absence: is_absent.then_some(Absence::NotReported) }
    }
}

#[cfg(test)]
mod tests;
