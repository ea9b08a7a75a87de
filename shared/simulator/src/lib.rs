//! Realistic SES traffic from a seed: the same plan gives the same bytes on any machine.
//!
//! A [`Plan`] says how much mail is sent and which incidents are staged. A [`Simulation`] plays it minute by minute and writes the events as
//! SES publishes them, one JSON object per line, ordered by time. It also returns the true counts, so that a test can compare them. It is pure: no
//! clock, no files, no randomness other than the seed's. It depends on no other crate of the workspace, so it cannot share a mistake with what it
//! tests. All names, addresses and keys in it are invented.

mod envelope;
mod formatting;
mod incident;
mod lifecycle;
mod mailboxes;
mod message;
mod plan;
pub mod random;
mod schedule;
mod simulation;
mod smtp_replies;
mod template;
mod truth;
mod user_agents;
mod world;
mod write;

pub use envelope::{MAX_RECORDS_PER_PAYLOAD, OutputEnvelope};
pub use incident::{Incident, IncidentKind, InvalidIncident};
pub use plan::{
    InvalidPlan, MAX_EMAILS_PER_MINUTE, MAX_INCIDENTS, MAX_MINUTES, MAX_START_MS, MAX_TENANTS, Plan,
};
pub use simulation::{MinuteSummary, Simulation};
pub use truth::TruthCounts;
