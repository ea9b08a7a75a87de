//! The set of metrics that a process knows.
//!
//! A registry is a value that is passed to whatever reads names, so a test can add a metric and see it parsed, answered, listed and
//! written. Nothing may look a name up anywhere else.
//! How a metric is added is described in `../metrics.rs`.

use std::sync::{Arc, LazyLock};

use super::counts::{self, COUNTS};
use super::definition::{CounterFormula, Metric, MetricDefinition, Ratio};
use super::delivery_times::DELIVERY_TIMES;
use super::rates::RATES;

/// The metrics that can be asked for, in the order in which they are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRegistry {
    metrics: Arc<[Metric]>,
}

/// A metric that is a rate, with its two counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateMetric {
    /// The rate, whose value is the quotient of the two counts below.
    pub metric: Metric,
    /// The count that is divided.
    pub numerator: Metric,
    /// The count it is divided by: also the base of guards against small samples.
    pub denominator: Metric,
}

static BUILTIN: LazyLock<Arc<[Metric]>> = LazyLock::new(|| {
    let tables = [COUNTS, RATES, DELIVERY_TIMES].into_iter().flatten().copied();
    tables.chain(counts::by_bounce_class()).collect()
});

impl Default for MetricRegistry {
    fn default() -> Self {
        Self::builtin()
    }
}

impl MetricRegistry {
    /// The metrics of this program.
    pub fn builtin() -> Self {
        Self { metrics: Arc::clone(&BUILTIN) }
    }

    /// These metrics and one more. A metric of the same name is replaced.
    #[must_use]
    pub fn with(&self, definition: &'static MetricDefinition) -> Self {
        // A metric that is replaced moves to the end of the list.
        let others = self.iter().filter(|metric| metric.name() != definition.name);
        Self { metrics: others.chain([Metric::of(definition)]).collect() }
    }

    /// The metric of that name.
    pub fn get(&self, name: &str) -> Option<Metric> {
        self.iter().find(|metric| metric.name() == name)
    }

    /// All metrics, in the order in which they are listed.
    pub fn iter(&self) -> impl Iterator<Item = Metric> + '_ {
        self.metrics.iter().copied()
    }

    /// All names, separated by commas, for messages that say what is allowed.
    pub fn names(&self) -> String {
        self.iter().map(Metric::name).collect::<Vec<_>>().join(", ")
    }

    /// The rates with their counts.
    pub fn rates(&self) -> impl Iterator<Item = RateMetric> + '_ {
        self.iter().filter_map(|metric| {
            let Ratio { numerator, denominator, silent_providers: _ } = metric.ratio()?;
            Some(RateMetric { metric, numerator, denominator })
        })
    }

    /// The metrics that alert rules can limit; [`Metric::limit`] has the default.
    pub fn limitable(&self) -> impl Iterator<Item = Metric> + '_ {
        self.iter().filter(|metric| metric.limit().is_limitable())
    }

    /// The counts whose values of parts add up to the value of the whole, with their formulas.
    pub fn additive(&self) -> impl Iterator<Item = (Metric, CounterFormula)> + '_ {
        let counted = self.iter().filter_map(|metric| Some((metric, metric.counters()?)));
        counted.filter(|(_, formula)| formula.is_additive())
    }
}

#[cfg(test)]
mod tests;
