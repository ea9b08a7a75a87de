//! A cell: what is known of one bucket of one key, counts and sketches together.
//!
//! Merging cells is associative and commutative, so batches, shards, hours and months may be added in any order. Sketches
//! that hold nothing take no memory of their own: most cells of a minute are a count or two.

pub mod latency;
pub mod uniques;

use crate::counter::Counters;

pub use latency::Latency;
pub use uniques::{Estimate, Uniques};

/// Counters and sketches of one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// What happened how often.
    pub counters: Counters,
    /// Milliseconds from send to delivery.
    pub latency: Latency,
    /// Who opened: persons only, by message and recipient.
    pub opens: Uniques,
    /// Who clicked: persons only, by message and recipient.
    pub clicks: Uniques,
}

impl Cell {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.counters.merge(&other.counters);
        self.latency.merge(&other.latency);
        self.opens.merge(&other.opens);
        self.clicks.merge(&other.clicks);
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.latency.is_empty() && self.opens.is_empty() && self.clicks.is_empty()
    }
}
