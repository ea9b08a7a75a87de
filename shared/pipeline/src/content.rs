//! What blocks hold, as far as compacting and committing must know: opaque rows that merge, split by hour and roll up.
//!
//! Two kinds exist: `cells::Block`, and the bare tallies of the protocol's simulation, which runs a million times and
//! must not pay for sketches and compression.

use event::Hour;

use crate::manifest::Level;

/// Rows of a block. Merging is associative and commutative, and rolling up commutes with it.
pub trait Content: Clone + Default + Send + Sync + 'static {
    /// What is wrong with bytes that are none.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Reads one part.
    fn decode(bytes: &[u8]) -> Result<Self, Self::Error>;

    /// The rows in parts that each fit an item.
    fn encode(&self) -> Vec<Vec<u8>>;

    /// Takes all rows of `other`.
    fn merge(&mut self, other: &Self);

    /// The rows by the hour of their events; together they are all rows.
    fn by_hour(self) -> Vec<(Hour, Self)>;

    /// The same rows at the resolution of a level: minutes in an hour, hours in a day, days in a month.
    fn roll_up(&self, level: Level) -> Self;
}
