//! SES traffic that looks real, from a seed: the same plan gives the same bytes on any machine.
//!
//! A [`Plan`] says how much and what goes wrong; a [`Simulation`] plays it minute by minute and writes the events as
//! SES publishes them, one JSON object a line, in the order of their time. What really happened is handed out beside
//! the bytes, so that a test can compare. Pure: no clock, no files, no randomness but the seed's. It depends on nothing
//! of the rest of the workspace, so that it can never share a mistake with what it tests. All names, addresses and keys
//! in it are made up.

mod agenda;
mod agents;
mod answers;
mod chance;
mod envelope;
mod incident;
mod life;
mod mailboxes;
mod message;
mod plan;
mod simulation;
mod stamp;
mod template;
mod truth;
mod world;
mod write;

pub use envelope::{Envelope, MAX_RECORDS_PER_PAYLOAD};
pub use incident::{Incident, IncidentKind, InvalidIncident};
pub use plan::{
    InvalidPlan, MAX_EMAILS_PER_MINUTE, MAX_INCIDENTS, MAX_MINUTES, MAX_START_MS, MAX_TENANTS, Plan,
};
pub use simulation::{MinuteSummary, Simulation};
pub use truth::TruthCounts;
