//! What blocks hold, as far as compacting and committing must know: opaque rows that merge, split by hour and roll up.
//!
//! Two kinds exist: `cells::Block`, and the bare tallies of the protocol's simulation, which runs a million times and
//! must not pay for sketches and compression.

use cells::{Block, BlockError, Resolution};
use event::{Hour, Minute};

use crate::block_id::Level;

/// An encoded block, in parts that each fit an item and that all together merge to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// What every reader needs.
    pub counts: Vec<Vec<u8>>,
    /// What only those need that ask for delivery times or unique counts.
    pub sketches: Vec<Vec<u8>>,
}

/// Rows of a block. Merging is associative and commutative, and rolling up commutes with it.
pub trait Content: Clone + Send + Sync + Sized + 'static {
    /// What is wrong with bytes that are none.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Reads one part.
    fn decode(bytes: &[u8]) -> Result<Self, Self::Error>;

    /// The rows in parts.
    fn encode(&self) -> Parts;

    /// All rows of all of them; `None` if there are none.
    fn merge(all: Vec<Self>) -> Option<Self>;

    /// The rows by the hour of their events; together they are all rows.
    fn by_hour(self) -> Vec<(Hour, Self)>;

    /// The same rows at the resolution of a level: minutes in an hour, hours in a day, days in a month.
    #[must_use]
    fn roll_up(self, level: Level) -> Self;
}

impl Content for Block {
    type Error = BlockError;

    fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        Self::decode(bytes)
    }

    fn encode(&self) -> Parts {
        let (counts, sketches) = self.encode_apart();
        Parts { counts, sketches }
    }

    /// Many batches may have more keys together than each of them: what is stored is bounded again.
    fn merge(all: Vec<Self>) -> Option<Self> {
        Self::merge_all(all).map(|block| block.fold(Self::MAX_KEYS))
    }

    fn by_hour(self) -> Vec<(Hour, Self)> {
        let hours = self.split(|minute: Minute| minute.hour().0);
        hours.into_iter().map(|(hour, block)| (Hour(hour), block)).collect()
    }

    fn roll_up(self, level: Level) -> Self {
        self.roll_up(match level {
            Level::Hour => Resolution::Minute,
            Level::Day => Resolution::Hour,
            Level::Month => Resolution::Day,
        })
    }
}
