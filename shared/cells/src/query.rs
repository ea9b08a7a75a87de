//! Questions about one tenant or all of them: what was sent, delivered, bounced, opened, by when, whom and where.
//!
//! ```text
//! wire ▶ parse ▶ Query ▶ plan ▶ blocks to read ▶ Execution: add, merge, finish ▶ Answer ▶ JSON
//! ```
//!
//! Counters are summed as they are read and rates computed last. Nothing here reads a clock or a store: the caller passes `now`
//! and the blocks. A tenant is a part of every query.

mod answer;
mod calendar;
mod cohort;
mod count;
mod cursor;
mod describe;
mod error;
mod execute;
mod fields;
mod filter;
mod metric;
mod moment;
mod parse;
mod parse_filter;
mod plan;
mod range;
mod rank;
mod rates;
mod reply;
mod reported;
mod request;
mod sums;
#[cfg(test)]
mod testing;

pub use answer::{Answer, Freshness, MetricCounts, MetricValues, Row};
pub use calendar::{Compare, Granularity};
pub use count::Count;
pub use describe::Direction;
pub use error::{QueryError, QueryErrorKind};
pub use execute::{ExecuteError, Execution};
pub use filter::{Facet, Filter, Test};
pub use metric::{Metric, Value};
pub use moment::moment;
pub use parse::time_zone;
pub use plan::{BlockRef, Catalogue, Month, plan};
pub use rates::{Rate, fraction};
pub use reported::Absence;
pub use request::{Basis, By, Fill, Group, Locale, Order, Query, Scope, Standing};
