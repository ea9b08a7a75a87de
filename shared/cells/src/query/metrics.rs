//! Metrics: everything that a query can compute, each described once.
//!
//! To add a metric, add one row to [`counts`], [`rates`] or [`delivery_times`]. If it counts something new, also add the counter to
//! `counter.rs` and increment it in `accumulate/increments.rs`. Everything else derives from the row: parsing, the list of allowed names, formula
//! text, JSON, CSV columns, the API's catalogue and detection's default limits. Nothing outside this folder may list metrics by name.
//!
//! ```text
//! counts.rs, rates.rs, delivery_times.rs   the rows: names, labels, formulas, limits
//! definition.rs                            the columns of a row, and Metric, a handle to one
//! registry.rs                              the set of metrics that a process knows
//! evaluate.rs                              from summed counters and sketches to a value
//! ```

mod counts;
mod definition;
mod delivery_times;
mod evaluate;
mod rates;
mod registry;

pub use counts::*;
pub use definition::{
    CounterFormula, Direction, Formula, LimitPolicy, Metric, MetricDefinition, Ratio, SilentProviders, Unit,
};
pub use delivery_times::*;
pub(super) use evaluate::{Aggregate, Measurement, Needs, RowScope};
pub use evaluate::{MetricValue, RatioCounts};
pub use rates::*;
pub use registry::{MetricRegistry, RateMetric};

/// Declares the rows of one table: for each row a [`Metric`] constant, documented by the row's own description, and a list of all of them.
macro_rules! metric_table {
    (
        $(#[$table_doc:meta])*
        $table:ident
        $(
            $constant:ident {
                name: $name:literal,
                label: $label:literal,
                unit: $unit:ident,
                better: $better:ident,
                formula: $formula:expr,
                $(base: $base:ident,)?
                $(limit: $limit:expr,)?
                description: $description:literal,
            }
        )*
    ) => {
        $(
            #[doc = $description]
            pub const $constant: Metric = {
                static DEFINITION: MetricDefinition = MetricDefinition {
                    unit: Unit::$unit,
                    direction: Direction::$better,
                    $(base: Some($base),)?
                    $(limit: $limit,)?
                    ..MetricDefinition::new($name, $label, $formula, $description)
                };
                Metric::of(&DEFINITION)
            };
        )*

        $(#[$table_doc])*
        pub(super) const $table: &[Metric] = &[$($constant),*];
    };
}
use metric_table;
