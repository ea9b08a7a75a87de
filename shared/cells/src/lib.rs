//! Counts email events: from an event to a cell, from cells to a block, from blocks to the answer of a query.
//!
//! A cell holds the counters and sketches of one dimension key in one time bucket. A block is a sorted, columnar, compressed set of
//! cells, the same type at every level. A query sums the counters of blocks and computes rates last. The crate is pure: it never
//! reads a clock, a file or the network.

pub mod accumulate;
pub mod block;
mod cardinality_limit;
pub mod cell;
mod collapse;
pub mod counter;
pub mod csv;
mod local_days;
mod per_dimension;
pub mod query;
mod rollup;
#[cfg(test)]
mod testing;

pub use accumulate::{Accumulator, ClickDecision, CountedClick, Grouping, RowKey, SortKey};
pub use block::{
    AgeClass, Block, BlockError, BlockReader, IntakeCounts, LinkClicks, Projection, Resolution, RowRef,
    RowSelection, RowSource,
};
pub use cell::{Cell, Estimate, Latency, Uniques};
pub use counter::{Counter, CounterId, CounterSet, Counters};
pub use local_days::{LocalDays, ZoneChange};
