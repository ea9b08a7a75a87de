//! The steps of an event's way, over ports: aggregate, export, compact, answer, watch, reconcile.
//!
//! Async, but without I/O of its own: storage, clock and randomness come in as parameters, so that a simulation can
//! drive every step through every failure from one seed.

pub mod aggregate;
pub mod alerts;
pub mod answer;
pub mod audit;
pub mod compact;
pub mod content;
pub mod credentials;
pub mod cursor;
pub mod erase;
pub mod export;
pub mod keys;
pub mod look_back;
pub mod manifest;
pub mod mappings;
pub mod memory;
pub mod parallel;
pub mod ports;
pub mod quarantine;
pub mod queues;
pub mod receipt;
pub mod reconcile;
pub mod rules;
pub mod snapshot;
pub mod stored;
pub mod tenants;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod watch;
mod wire;

pub use wire::Malformed;

#[cfg(test)]
mod tests;
