//! The steps of the data flow, over ports: aggregate, export, compact, answer, detect, reconcile.
//!
//! Async, but without I/O of its own: storage, clock and randomness come in as parameters, so that a simulation can drive every step
//! through every failure from one seed.
//!
//! ```text
//! alerting -> history -> ledger -> directory -> (layout, stored, codec, ports)
//!                export -^
//! ```
//!
//! [`verification`] stands above them all: it reads what each of them has stored.

pub mod alerting;
pub mod block_id;
mod codec;
pub mod directory;
pub mod export;
pub mod history;
pub mod layout;
pub mod ledger;
pub mod memory;
pub mod ports;
pub mod stored;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verification;

pub use codec::MalformedRecord;

#[cfg(test)]
mod tests;
