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
mod correlate;
mod counts;
mod cusum;
mod decline;
mod detector;
mod dispersion;
mod latency;
mod limit_monitor;
mod numbers;
mod outcome_delay;
pub mod plain_series;
mod recurring;
mod report;
mod rules;
mod series_monitor;
mod silence;
pub mod state;
mod tenant_state;
pub mod trend;
mod volume;
mod wording;

pub use alert::{AlertKind, AlertRegistry, Cause, Change, MAX_ALERTS, Severity, State};
pub use counts::{Counts, DeliveryTimePercentiles, Denominator, Metric};
pub use detector::{Bucket, CountsRow, Detector, MAX_TENANTS, PlatformState};
pub use rules::{Limits, MailSubset, Maintenance, Override, Rules};
pub use tenant_state::{MAX_CAMPAIGNS, MAX_PROVIDERS, TenantState};
pub use wording::SCHEMA;
