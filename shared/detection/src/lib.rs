//! Detection: counts per bucket in, changes of alerts out. Pure.
//!
//! The crate knows numbers, not where mail is stored: it has no clock, no files and no randomness. [`Detector::observe`] takes one bucket
//! after the other; its state is small and versioned ([`state`]) and can be stored between buckets. A bucket flows through:
//!
//! ```text
//! rows ─▶ sums ─▶ monitors (outcome delay, baseline, score) ─▶ findings ─▶ correlate ─▶ alerts (state machine) ─▶ changes ─▶ words
//!                 volume · latency · decline · limits · budget · silence
//! ```
//!
//! Beside it, [`SendingAlerts`] makes alerts of what SES says about sending, [`trend`] looks back over weeks, [`budget`] compares an account with reputation thresholds, and [`plain_series`] scores
//! series that are not mail.

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
mod minutes;
mod numbers;
mod outcome_delay;
mod per_rate;
pub mod plain_series;
mod recurring;
mod report;
mod ring;
mod rules;
mod sending;
mod series_monitor;
mod silence;
pub mod state;
mod tenant_state;
pub mod trend;
mod volume;
mod wording;

pub use alert::{AlertKind, AlertRegistry, AlertState, Cause, Change, MAX_ALERTS, Severity};
pub use counts::{Counts, DeliveryTimePercentiles, Denominator, MonitoredRate};
pub use detector::{Bucket, BucketRow, Detector, MAX_TENANTS, PlatformState};
pub use limit_monitor::LimitedMetric;
pub use rules::{AlertRules, Limits, MailSubset, Maintenance, Override};
pub use sending::SendingAlerts;
pub use tenant_state::{MAX_CAMPAIGNS, MAX_PROVIDERS, TenantState};
pub use wording::SCHEMA;
