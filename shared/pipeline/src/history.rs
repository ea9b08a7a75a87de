//! What was counted, over time: compaction of deltas into blocks, and consistent reads of both.
//!
//! A [`manifest`] lists the live blocks of a tenant, [`compaction`] writes them, a [`snapshot`] reads blocks and the deltas that no block
//! holds yet at one instant, and [`answering`] runs a query over it.

pub mod answering;
pub mod compaction;
pub mod content;
pub mod look_back;
pub mod manifest;
pub mod snapshot;
