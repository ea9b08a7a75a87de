//! Counting each event exactly once: what is committed, how far each shard is, and the numbers that prove it.
//!
//! [`aggregate`] handles a batch of one shard. [`accumulate`] turns its records into deltas and drops the events that the
//! [`deduplication`] window contains. The commit makes the result visible through the [`checkpoint`] of the shard and the [`receipt`] of the
//! batch. Parts that cannot be read go to [`quarantine`], from where [`replay`] handles them again.
//!
//! A late event is counted like any other, in the minute in which it happened: see [`accumulate`].

pub(crate) mod account_events;
pub mod accumulate;
pub mod aggregate;
mod batch;
pub mod checkpoint;
mod commit;
pub mod deduplication;
pub mod quarantine;
pub mod receipt;
pub mod reconcile;
mod registration;
pub mod replay;
