//! From summed counters and sketches to the value of a metric.
//!
//! A metric is computed from one aggregate and nothing else, so it means the same at every granularity and grouping.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::counts::SENDS;
use super::definition::{Formula, Metric, Ratio, SilentProviders};
use crate::block::Projection;
use crate::cell::{Cell, Estimate, Latency, Uniques};
use crate::counter::{CounterSet, Counters};
use crate::query::absence::{self, Absence};
use crate::query::proportion;
use crate::query::request::Basis;

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

/// What is known about a row beside what was counted in it.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) struct RowScope {
    /// The time that decided which events were counted.
    pub basis: Basis,
    /// Whether groups and filter leave only mail at providers that report no complaints. `false` where they do not decide it.
    pub is_silent: bool,
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
        self.measure_in(cell, None, RowScope { basis, is_silent: false }).value(basis)
    }

    /// Its value in one merged cell, and why it has none if it is not because of a denominator of 0. `reporting` holds the part of the
    /// cell's counters at providers that report complaints, by [`event::provider::reports_complaints`].
    pub fn value_with_reporting(
        self,
        cell: &Cell,
        reporting: &Counters,
        basis: Basis,
    ) -> (MetricValue, Option<Absence>) {
        let measurement = self.measure_in(cell, Some(reporting), RowScope { basis, is_silent: false });
        (measurement.value(basis), measurement.absence())
    }

    /// Whether it depends on which of the mail is at providers that report complaints.
    pub fn depends_on_complaint_reports(self) -> bool {
        self.ratio().is_some_and(|ratio| ratio.silent_providers != SilentProviders::Counted)
    }

    /// Its value in one row.
    pub(in crate::query) fn measure(self, aggregate: &Aggregate, scope: RowScope) -> Measurement {
        self.measure_in(&aggregate.cell, Some(&aggregate.reporting), scope)
    }

    /// `reporting` is `None` if it is not known which of the mail is at providers that report complaints.
    fn measure_in(self, cell: &Cell, reporting: Option<&Counters>, scope: RowScope) -> Measurement {
        match self.formula() {
            Formula::Counters(formula) => Measurement::Count(formula.value(&cell.counters)),
            Formula::UniqueOpens => Measurement::Count(openers(cell).value),
            Formula::UniqueOpensTracked => Measurement::Count(cell.opens.estimate().value),
            Formula::UniqueClicks => Measurement::Count(cell.clicks.estimate().value),
            Formula::Ratio(ratio) => ratio.measure(cell, reporting, scope),
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
    pub(in crate::query) fn add_needs(self, needs: &mut Needs, basis: Basis) {
        let projection = &mut needs.projection;
        match self.formula() {
            Formula::Counters(formula) => {
                formula.counters().into_iter().for_each(|counter| projection.counters.insert(counter));
            }
            Formula::UniqueOpens => (projection.opens, projection.clicks) = (true, true),
            Formula::UniqueOpensTracked => projection.opens = true,
            Formula::UniqueClicks => projection.clicks = true,
            Formula::DeliveryTimePercentile(_) => projection.latency = true,
            Formula::Mean { sum, readings } => {
                projection.counters.insert(sum.into());
                projection.counters.insert(readings.into());
            }
            Formula::Ratio(ratio) => {
                // Both counts and never a rate: it is computed last, from their sums.
                for count in [ratio.numerator, ratio.denominator] {
                    count.add_needs(needs, basis);
                }
                // The denominator alone tells whether a row has any mail at a provider that reports.
                let also_reporting = match ratio.silent_providers {
                    SilentProviders::Counted => [None, None],
                    SilentProviders::CountedIfMixed => [None, ratio.denominator.counters()],
                    SilentProviders::LeftOut => [ratio.numerator.counters(), ratio.denominator.counters()],
                };
                for formula in also_reporting.into_iter().flatten() {
                    formula.counters().into_iter().for_each(|counter| needs.reporting.insert(counter));
                }
                if ratio.needs_known_sends(basis) {
                    for counter in absence::SENDS_AND_OUTCOMES {
                        needs.projection.counters.insert(counter.into());
                    }
                }
            }
        }
    }

    /// The relative error of its value in `cell`, 0 for an exact one: the standard error for unique counts and their rates, the greatest
    /// error for percentiles.
    pub(in crate::query) fn relative_error(self, cell: &Cell) -> f64 {
        let unique = |is_exact: bool| if is_exact { 0.0 } else { Uniques::STANDARD_ERROR };
        match self.formula() {
            Formula::UniqueOpens => unique(cell.opens.is_exact() && cell.clicks.is_exact()),
            Formula::UniqueOpensTracked => unique(cell.opens.is_exact()),
            Formula::UniqueClicks => unique(cell.clicks.is_exact()),
            // As if the two errors were independent.
            Formula::Ratio(Ratio { numerator, denominator, .. }) => {
                numerator.relative_error(cell).hypot(denominator.relative_error(cell))
            }
            Formula::DeliveryTimePercentile(_) if !cell.latency.is_empty() => Latency::RELATIVE_ERROR,
            Formula::DeliveryTimePercentile(_) | Formula::Counters(_) | Formula::Mean { .. } => 0.0,
        }
    }
}

/// The people who opened: those whose pixel was loaded and those who clicked, at least as many as either. So no more people can have
/// clicked than opened, also where one of the numbers is an estimate.
fn openers(cell: &Cell) -> Estimate {
    cell.opens.union_estimate(&cell.clicks)
}

impl Ratio {
    fn measure(self, cell: &Cell, reporting: Option<&Counters>, scope: RowScope) -> Measurement {
        let nothing = Counters::new();
        let leaves_out = self.silent_providers == SilentProviders::LeftOut;
        // Sketches are not kept apart by provider, so such a ratio can be made of counters only. Where providers are unknown its
        // denominator is 0.
        let counters = if leaves_out { reporting.unwrap_or(&nothing) } else { &cell.counters };
        let count = |metric: Metric| match metric.formula() {
            Formula::Counters(formula) => formula.value(counters),
            Formula::UniqueOpens if !leaves_out => openers(cell).value,
            Formula::UniqueOpensTracked if !leaves_out => cell.opens.estimate().value,
            Formula::UniqueClicks if !leaves_out => cell.clicks.estimate().value,
            Formula::UniqueOpens
            | Formula::UniqueOpensTracked
            | Formula::UniqueClicks
            | Formula::Ratio(_)
            | Formula::Mean { .. }
            | Formula::DeliveryTimePercentile(_) => {
                event::invariant::broken("a rate is made of a metric that it cannot be made of");
                0
            }
        };
        let counts = RatioCounts { numerator: count(self.numerator), denominator: count(self.denominator) };
        // If a complaint arrived from such a provider after all, the rate keeps its value.
        let is_not_reported = self.silent_providers != SilentProviders::Counted
            && counts.numerator == 0
            && (scope.is_silent || self.has_only_silent_mail(cell, reporting));
        let absence = if is_not_reported {
            Some(Absence::NotReported)
        } else if self.needs_known_sends(scope.basis) && absence::are_sends_unknown(&cell.counters) {
            Some(Absence::DenominatorUnknown)
        } else {
            None
        };
        Measurement::Ratio { counts, absence }
    }

    /// Whether there is mail and none of it is at a provider that reports complaints.
    fn has_only_silent_mail(self, cell: &Cell, reporting: Option<&Counters>) -> bool {
        let mail = self.denominator.counters().zip(reporting);
        mail.is_some_and(|(mail, reporting)| mail.value(&cell.counters) > 0 && mail.value(reporting) == 0)
    }

    /// Whether it is a share of the mail that was sent, and sends and outcomes of the row are about the same mail.
    fn needs_known_sends(self, basis: Basis) -> bool {
        basis == Basis::Send && self.denominator == SENDS
    }
}

#[cfg(test)]
mod tests;
