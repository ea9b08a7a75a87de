//! What compaction must know of the content of blocks: rows that merge, split by hour and roll up, and nothing else.
//!
//! There are two implementations: [`cells::Block`], and the bare counts of the commit protocol's simulation, which runs a million times
//! and must not pay for sketches and compression.

use cells::{Block, BlockError, LocalDays, Resolution};
use event::{Hour, Minute};

use crate::block_id::Level;

/// An encoded block, in parts that each fit an item. All parts together merge to the block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedBlock {
    /// What every reader needs.
    pub counts: Vec<Vec<u8>>,
    /// What only readers of delivery times and unique counts need.
    pub sketches: Vec<Vec<u8>>,
}

/// The rows of a block. Merging is associative and commutative, and rolling up commutes with it.
pub trait BlockContent: Clone + Send + Sync + Sized + 'static {
    /// What is wrong with bytes that are no block.
    type DecodeError: std::error::Error + Send + Sync + 'static;

    /// Reads one part, which is a block of its own.
    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError>;

    /// Writes the rows in parts.
    fn encode(&self) -> EncodedBlock;

    /// Merges the rows of all of them. Returns `None` if `all` is empty.
    fn merge(all: Vec<Self>) -> Option<Self>;

    /// Splits the rows by the hour of their events.
    fn by_hour(self) -> Vec<(Hour, Self)>;

    /// The same rows at the resolution of a level: minutes in an hour, hours in a day, days in a month. No bucket crosses the beginning
    /// of one of the tenant's days.
    #[must_use]
    fn roll_up(self, level: Level, days: &LocalDays) -> Self;
}

impl BlockContent for Block {
    type DecodeError = BlockError;

    fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        Self::decode(bytes)
    }

    fn encode(&self) -> EncodedBlock {
        let (counts, sketches) = self.encode_sketches_apart();
        EncodedBlock { counts, sketches }
    }

    /// Collapses what exceeds the limit of keys: many batches may have more keys together than each of them.
    fn merge(all: Vec<Self>) -> Option<Self> {
        // After merging: what collapses depends on the sizes of the sums, and totals stay exact in the overflow row.
        Self::merge_all(all).map(|block| block.collapse(Self::MAX_KEYS))
    }

    fn by_hour(self) -> Vec<(Hour, Self)> {
        let hours = self.split(|minute: Minute| minute.hour().0);
        hours.into_iter().map(|(hour, block)| (Hour(hour), block)).collect()
    }

    fn roll_up(self, level: Level, days: &LocalDays) -> Self {
        let resolution = match level {
            Level::Hour => Resolution::Minute,
            Level::Day => Resolution::Hour,
            Level::Month => Resolution::Day,
        };
        self.roll_up_by(resolution, days)
    }
}
