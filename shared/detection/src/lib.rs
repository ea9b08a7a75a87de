//! Detection, pure: counts per bucket in, changes of alerts out.
//!
//! Knows numbers, not mail storage: no clock, no files, no randomness. [`Detector::observe`] takes one bucket after the other;
//! its state is small, versioned ([`state`]) and can be stored between buckets. The way of a bucket:
//!
//! ```text
//! rows ─▶ sums ─▶ node (exposure, baseline, evidence) ─▶ judge (cause, platform) ─▶ alert (state machine) ─▶ changes
//!                 volume · latency · decline · limits ──┘
//! ```

mod alert;
mod baseline;
pub mod budget;
mod cause;
mod counts;
mod decline;
mod evidence;
mod exposure;
mod judge;
mod latency;
mod limits;
mod node;
mod numbers;
mod observe;
mod regulars;
mod report;
mod rules;
mod scatter;
pub mod series;
mod silence;
pub mod state;
mod tenant;
pub mod trend;
mod volume;
mod wording;

pub use alert::{Book, Cause, Change, Kind, MAX_ALERTS, Severity, State};
pub use counts::{Base, Counts, Metric, Spread};
pub use observe::{Bucket, Detector, MAX_TENANTS, Row, Shared};
pub use rules::{Limits, Maintenance, Override, Place, Rules};
pub use tenant::{MAX_CAMPAIGNS, MAX_PROVIDERS, Tenant};
pub use wording::SCHEMA;
