//! Counting each event exactly once: what is committed, how far each shard is, and the proof of it.
//!
//! [`aggregate`] takes a batch of one shard, [`accumulate`] turns its records into blocks and drops what [`deduplication`] recognises,
//! and [`commit`] makes the result visible through the [`checkpoint`] of the shard and the [`receipt`] of the batch.

pub mod accumulate;
pub mod aggregate;
pub mod checkpoint;
mod commit;
pub mod deduplication;
pub mod quarantine;
pub mod receipt;
pub mod reconcile;
mod registration;
