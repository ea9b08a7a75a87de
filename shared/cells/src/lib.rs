//! `EmailEvent` to `Cell` to `Block` to answer: the pure middle of the way of an event.
//!
//! A cell is the counters and sketches of one bucket of one cell key. A block is a sorted, columnar, compressed set of
//! cells, the same type at every level. A query reads blocks and turns summed counters into rates last.

pub mod accumulate;
pub mod block;
pub mod cell;
pub mod counter;
pub mod csv;
pub mod fold;
pub mod query;
pub mod rollup;
#[cfg(test)]
mod testing;

pub use accumulate::{Accumulator, Grouping, RowKey, SortKey};
pub use block::{Block, BlockError, BlockReader, Ledger, Resolution, RowRef, Rows, Wanted};
pub use cell::{Cell, Estimate, Latency, Uniques};
pub use counter::{Counter, CounterId, Counters};
