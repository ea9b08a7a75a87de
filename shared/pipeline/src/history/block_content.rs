//! What compaction must know of the content of blocks: rows that merge, split by hour and roll up, and nothing else.
//!
//! There are two implementations: [`cells::Block`], and the bare counts of the commit protocol's simulation, which runs a million times
//! and must not pay for sketches and compression.

use std::collections::BTreeSet;

use cells::{Block, BlockError, LocalDays, Resolution};
use event::provider::learned::{EvidenceCounts, LearnedProviders};
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
    /// Whether rows can hold markers of domains whose mailbox provider is not known.
    const HAS_PROVIDERS: bool;

    /// What is wrong with bytes that are no block.
    type DecodeError: std::error::Error + Send + Sync + 'static;

    /// Reads one part, which is a block of its own.
    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError>;

    /// Writes the rows in parts.
    fn encode(&self) -> EncodedBlock;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool;

    /// Merges the rows of all of them. Returns `None` if `all` is empty.
    fn merge(all: Vec<Self>) -> Option<Self>;

    /// Splits the rows by the hour of their events.
    fn by_hour(self) -> Vec<(Hour, Self)>;

    /// Takes out what outcomes revealed about mailbox providers.
    fn take_evidence(&mut self) -> EvidenceCounts;

    /// The domains whose mailbox provider the rows do not name.
    fn unresolved_domains(&self) -> BTreeSet<String>;

    /// Names the providers of those domains that are known.
    #[must_use]
    fn resolve_providers(self, known: &LearnedProviders) -> Self;

    /// The same rows at the resolution of a level: minutes in an hour, hours in a day, days in a month. No bucket crosses the beginning
    /// of one of the tenant's days.
    #[must_use]
    fn roll_up(self, level: Level, days: &LocalDays) -> Self;
}

impl BlockContent for Block {
    const HAS_PROVIDERS: bool = true;

    type DecodeError = BlockError;

    fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        Self::decode(bytes)
    }

    fn encode(&self) -> EncodedBlock {
        let (counts, sketches) = self.encode_sketches_apart();
        EncodedBlock { counts, sketches }
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    /// Collapses what exceeds the limit of keys: many batches may have more keys together than each of them.
    fn merge(all: Vec<Self>) -> Option<Self> {
        // After merging: what collapses depends on the sizes of the sums, and totals stay exact in the overflow row.
        Self::merge_all(all).map(|block| block.limit_links().collapse(Self::MAX_KEYS))
    }

    fn by_hour(self) -> Vec<(Hour, Self)> {
        let hours = self.split(|minute: Minute| minute.hour().0);
        hours.into_iter().map(|(hour, block)| (Hour(hour), block)).collect()
    }

    fn take_evidence(&mut self) -> EvidenceCounts {
        self.take_evidence()
    }

    fn unresolved_domains(&self) -> BTreeSet<String> {
        self.unresolved_domains().map(str::to_owned).collect()
    }

    fn resolve_providers(self, known: &LearnedProviders) -> Self {
        self.resolve_providers(known)
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
