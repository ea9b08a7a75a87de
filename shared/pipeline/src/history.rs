//! What was counted, over time: compaction of deltas into blocks, and consistent reads of both.
//!
//! A [`manifest`] lists the live blocks of a tenant, and [`compaction`] writes them. A [`snapshot`] is a consistent view of the blocks and of
//! the deltas that no block holds yet. [`answering`] runs a query over it, [`reconciliation`] reads the proof of counting, and
//! [`trend_and_budget`] looks at the last weeks. [`archive`] counts events again that were counted before, for a rebuild.

pub mod answering;
pub mod archive;
pub mod block_content;
pub mod compaction;
pub mod manifest;
pub mod reconciliation;
pub mod snapshot;
pub mod trend_and_budget;
