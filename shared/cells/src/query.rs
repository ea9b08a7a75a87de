//! Queries about one tenant or all tenants: how much was sent, delivered, bounced or opened, by time and by dimension.
//!
//! ```text
//! text ▶ parse ▶ QueryBuilder ▶ Query ▶ plan ▶ blocks to read ▶ Execution: add, merge, finish ▶ Answer ▶ JSON, CSV, NDJSON
//! ```
//!
//! Counters are summed as they are read, and rates are computed last. Nothing here reads a clock or a store: the caller passes `now`
//! and the blocks. A tenant is a part of every query.
//!
//! | where is | file |
//! |---|---|
//! | how a metric is added | `metrics.rs` |
//! | a rate's denominator | `metrics/rates.rs` |
//! | a limit or rule of a parameter | `builder.rs` |
//! | the names of parameters and how they are read | `parse.rs` |
//! | which block levels answer a query | `plan.rs` |
//! | the `(other)` row and paging | `answer_pages.rs` |

mod absence;
mod answer_json;
mod answer_lines;
mod answer_pages;
mod answer_rows;
mod builder;
mod calendar;
mod columns;
mod cursor;
mod dimension;
mod error;
mod execute;
mod filter;
mod links;
mod locale;
pub mod metrics;
mod narrower;
mod notes;
mod order;
mod page_bounds;
mod parse;
mod plan;
mod proportion;
mod range;
mod rank;
mod request;
mod silent_providers;
mod sums;
#[cfg(test)]
mod testing;
mod time;

pub use absence::Absence;
pub use answer_json::RuleVersions;
pub use answer_lines::{AnswerLines, LineFormat};
pub use answer_rows::{Answer, AnswerRow, Freshness};
pub use builder::QueryBuilder;
pub use calendar::{Compare, Granularity};
pub use dimension::{GroupColumn, QueryDimension};
pub use error::{QueryError, QueryErrorKind};
pub use execute::{ExecuteError, Execution};
pub use filter::{Filter, LowerCaseText, SortedValues, ValueTest};
pub use links::{LinkTotal, LinkTotals};
pub use locale::Locale;
pub use metrics::{Metric, MetricRegistry, MetricValue, RatioCounts};
pub use notes::HistoryNotes;
pub use order::{OrderBy, RateEnd};
pub use parse::time_zone;
pub use plan::{BlockCatalogue, BlockRef, Month, plan};
pub use proportion::fraction;
pub use request::{Basis, Fill, Query, Scope};
pub use time::{QueryTime, parse_time};
