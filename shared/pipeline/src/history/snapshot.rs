//! A snapshot: a consistent view of a tenant's numbers, which are the live blocks and the deltas that no block holds yet.
//!
//! The order of reads makes it consistent. Checkpoints come first: everything they call committed is stored when the rest is read, and
//! stays stored longer than any reader takes. The manifest comes next, then the deltas between its frontier and the checkpoints. Every
//! committed event is in exactly one of the two. If the manifest has moved beyond a checkpoint that was read, the view is fresher.
//!
//! If a compaction removes a block between the reads of the manifest and of the block, everything is read again: numbers put together
//! from two instants might count an event twice.

use std::collections::BTreeMap;
use std::future::Future;

use cells::BlockError;
use event::{SequenceNumber, ShardId, TenantId, Timestamp};
use futures::stream::{self, StreamExt as _};

use crate::block_id::BlockId;
use crate::history::manifest::{self, BlockParts, LiveBlock, Manifest};
use crate::layout;
use crate::ledger::checkpoint::{self, Checkpoint, Totals};
use crate::ports::{CONCURRENT_CALLS, Item, Key, Store, StoreError};
use crate::stored::{self, ReadError};

/// The most attempts to read a consistent view. Blocks are removed minutes after the manifest has moved, so a second one is rare.
const MAX_READS: usize = 4;

/// Why a tenant's numbers cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A block cannot be read.
    #[error("block {key} cannot be read: restore it or upgrade mailgauge")]
    Block {
        /// The item that holds the block or a part of it.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: BlockError,
    },
    /// A live block was missing at every attempt.
    #[error(transparent)]
    Missing(BlockMissing),
}

impl From<StoreError> for SnapshotError {
    fn from(error: StoreError) -> Self {
        Self::Read(ReadError::Store(error))
    }
}

/// A block that the manifest lists is not in the store: a compaction removed it since the manifest was read, or it is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a block of tenant {tenant} was replaced while it was read, or is lost: try again, then run mailgauge doctor"
)]
pub struct BlockMissing {
    /// The tenant to which the block belongs.
    pub tenant: TenantId,
}

/// What one attempt to read a consistent view found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadAttempt<T> {
    /// Everything.
    Complete(T),
    /// A block was missing, so whatever was read is dropped and read again.
    Incomplete(BlockMissing),
}

impl<T> ReadAttempt<T> {
    /// Converts a complete view.
    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U) -> ReadAttempt<U> {
        match self {
            Self::Complete(found) => ReadAttempt::Complete(convert(found)),
            Self::Incomplete(missing) => ReadAttempt::Incomplete(missing),
        }
    }

    /// The complete view, for a reader that does not try again.
    ///
    /// # Errors
    /// [`BlockMissing`] if a block was missing.
    pub fn complete(self) -> Result<T, BlockMissing> {
        match self {
            Self::Complete(found) => Ok(found),
            Self::Incomplete(missing) => Err(missing),
        }
    }
}

/// The checkpoints of all shards at one instant.
#[derive(Clone, Debug, Default)]
pub struct CountingProgress {
    checkpoints: Vec<(ShardId, Checkpoint)>,
}

/// What is stored of one tenant at one instant.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Per shard: everything up to this number is in the snapshot, and nothing beyond it.
    pub up_to: BTreeMap<ShardId, SequenceNumber>,
    /// The manifest, with the live blocks and up to where deltas are in them.
    pub manifest: Manifest,
    /// Items of deltas, each a block of its own.
    pub deltas: Vec<Item>,
}

impl CountingProgress {
    /// A shard that received nothing for this long before the newest arrival says nothing about how complete the numbers are: it was
    /// closed by a resharding, or is idle.
    const IDLE_MS: i64 = 15 * 60 * 1000;

    /// Reads the checkpoints of all shards. Must come before everything else that a snapshot reads.
    pub async fn read<S: Store>(store: &S) -> Result<Self, ReadError> {
        Ok(Self { checkpoints: checkpoint::read_all(store).await? })
    }

    /// The shards and their checkpoints.
    pub fn checkpoints(&self) -> &[(ShardId, Checkpoint)] {
        &self.checkpoints
    }

    /// Outcomes of everything that all shards ever handled, parts that cannot be read included.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (_, checkpoint) in &self.checkpoints {
            totals.add(&checkpoint.totals);
        }
        totals
    }

    /// Everything that arrived until then is counted: the earliest of the shards' newest arrivals, without idle shards. `None` if
    /// nothing was counted yet.
    pub fn complete_until(&self) -> Option<Timestamp> {
        let arrivals = || self.checkpoints.iter().filter_map(|(_, checkpoint)| checkpoint.last_arrival);
        // Compared with the newest arrival and not with the clock: when no mail is sent at all, nothing is missing
        // either.
        let active_since = arrivals().max()?.plus_millis(-Self::IDLE_MS);
        // The slowest of the shards that are read: what arrived in it later may not be counted yet.
        arrivals().filter(|&at| at >= active_since).min()
    }

    /// Since when duplicates of a tenant's events are recognised, or of all tenants'. `None` if nothing was forgotten.
    pub fn deduplicated_since(&self, tenant: Option<&TenantId>) -> Option<Timestamp> {
        let reaches = self.checkpoints.iter().map(|(_, checkpoint)| &checkpoint.deduplication);
        // All events of a message are in one shard, but a tenant's messages are in all of them.
        reaches.filter_map(|reach| tenant.map_or_else(|| reach.of_all(), |tenant| reach.of(tenant))).max()
    }

    /// When the newest counted event happened.
    pub fn newest_event(&self) -> Option<Timestamp> {
        self.checkpoints.iter().filter_map(|(_, checkpoint)| checkpoint.newest_event).max()
    }
}

impl Snapshot {
    /// Reads a tenant's manifest and deltas, after the checkpoints.
    pub async fn read<S: Store>(
        store: &S,
        progress: &CountingProgress,
        tenant: &TenantId,
    ) -> Result<Self, ReadError> {
        // After the checkpoints: the manifest that is read now lists what a compaction has merged meanwhile.
        let manifest = manifest::read(store, tenant).await?.record;
        let mut snapshot = Self { up_to: manifest.frontier.clone(), manifest, deltas: Vec::new() };
        let mut reads = Vec::new();
        for (shard, checkpoint) in &progress.checkpoints {
            let Some(committed) = &checkpoint.committed else { continue };
            // If not, a compaction went on after the checkpoints were read, and its blocks hold everything of this
            // shard.
            if snapshot.manifest.is_behind(shard, committed) {
                let frontier = snapshot.manifest.frontier.get(shard);
                // One range for each shard, several at a time: reading them in turn would take shards times the
                // latency.
                reads.push(stored::range(store, layout::deltas(tenant, shard, frontier, committed)));
                snapshot.up_to.insert(shard.clone(), committed.clone());
            }
        }
        let mut reads = stream::iter(reads).buffered(CONCURRENT_CALLS);
        while let Some(deltas) = reads.next().await {
            snapshot.deltas.extend(deltas?);
        }
        Ok(snapshot)
    }
}

/// Calls `read`, which reads progress, manifests and blocks, until no block is missing, at most [`MAX_READS`] times.
pub(crate) async fn read_consistently<T, E, F>(read: impl Fn() -> F) -> Result<T, E>
where
    E: From<SnapshotError>,
    F: Future<Output = Result<ReadAttempt<T>, E>>,
{
    let mut reads = 1;
    loop {
        match read().await? {
            ReadAttempt::Complete(found) => return Ok(found),
            // Missing at every attempt is a loss and no race. It is an error, since an answer without the block would
            // be too small.
            ReadAttempt::Incomplete(missing) if reads == MAX_READS => {
                return Err(SnapshotError::Missing(missing).into());
            }
            ReadAttempt::Incomplete(_) => reads += 1,
        }
    }
}

/// Reads the items of live blocks.
pub async fn read_blocks<S: Store>(
    store: &S,
    tenant: &TenantId,
    live: impl IntoIterator<Item = (BlockId, LiveBlock)>,
    parts: BlockParts,
) -> Result<ReadAttempt<Vec<(BlockId, Item)>>, StoreError> {
    let mut ids = Vec::new();
    let mut keys = Vec::new();
    for (id, block) in live {
        for key in block.keys(tenant, id, parts) {
            ids.push(id);
            keys.push(key);
        }
    }
    let found = store.get(keys).await?;
    // All or none: a part of the blocks would make wrong numbers.
    let found: Option<Vec<_>> = ids.into_iter().zip(found).map(|(id, item)| Some((id, item?))).collect();
    Ok(match found {
        Some(blocks) => ReadAttempt::Complete(blocks),
        None => ReadAttempt::Incomplete(BlockMissing { tenant: tenant.clone() }),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn view_is_read_again_while_a_block_is_missing_but_not_for_ever() {
        for (found_at, reads_expected) in [(1, 1), (MAX_READS, MAX_READS), (MAX_READS + 1, MAX_READS)] {
            let reads = Cell::new(0);
            let read = async || {
                reads.set(reads.get() + 1);
                let missing = BlockMissing { tenant: TenantId::unassigned() };
                let is_found = reads.get() >= found_at;
                Ok::<_, SnapshotError>(if is_found {
                    ReadAttempt::Complete(())
                } else {
                    ReadAttempt::Incomplete(missing)
                })
            };
            let result = read_consistently(read).await;
            assert_eq!(result.is_ok(), found_at <= MAX_READS, "{result:?}");
            assert_eq!(reads.get(), reads_expected);
        }
    }

    /// Progress of shards whose newest records arrived at these minutes.
    fn progress(arrivals: &[Option<i64>]) -> CountingProgress {
        let checkpoints = arrivals.iter().zip(0..).map(|(minute, number)| {
            let shard = ShardId::new(&format!("s-{number}")).unwrap();
            let last_arrival = minute.map(|minute| Timestamp::from_seconds(60 * minute));
            (shard, Checkpoint { last_arrival, newest_event: last_arrival, ..Checkpoint::default() })
        });
        CountingProgress { checkpoints: checkpoints.collect() }
    }

    #[test]
    fn slowest_active_shard_decides_how_complete_the_numbers_are() {
        for (arrivals, expected) in [
            (&[][..], None),
            (&[None], None),
            (&[Some(100), None], Some(100)),
            (&[Some(100), Some(90)], Some(90)),
            (&[Some(100), Some(85)], Some(85)),
            (&[Some(100), Some(84)], Some(100)),
            (&[Some(100), Some(84), Some(99)], Some(99)),
        ] {
            let expected = expected.map(|minute| Timestamp::from_seconds(60 * minute));
            assert_eq!(progress(arrivals).complete_until(), expected, "{arrivals:?}");
        }
    }

    #[test]
    fn newest_event_is_that_of_any_shard() {
        let newest = progress(&[Some(3), Some(9), None]).newest_event();
        assert_eq!(newest, Some(Timestamp::from_seconds(540)));
    }

    #[tokio::test]
    async fn snapshot_reads_the_deltas_between_the_frontier_and_the_checkpoint() {
        let (tenant, shard) = (TenantId::unassigned(), ShardId::new("s-1").unwrap());
        let number = SequenceNumber::from;
        for (frontier, committed, expected, up_to) in [
            (None, None, &[][..], None),
            (None, Some(20), &[10, 20], Some(20)),
            (Some(10), Some(30), &[20, 30], Some(30)),
            // Numbers within a batch: the batch that begins at 20 is committed, the next one is not.
            (Some(10), Some(25), &[20], Some(25)),
            (Some(30), Some(30), &[], Some(30)),
            // A compaction went on after the checkpoints were read, so its view is fresher.
            (Some(30), Some(20), &[], Some(30)),
        ] {
            let store = crate::memory::MemoryStore::new();
            let delta = |first: u64| Item {
                key: layout::delta(&tenant, &shard, &number(first), 0),
                body: first.to_le_bytes().to_vec(),
                version: 0,
                expires_at: None,
            };
            store.put([10, 20, 30, 40].map(delta).to_vec()).await.unwrap();
            let frontier = frontier.map(|frontier| (shard.clone(), number(frontier))).into_iter().collect();
            let manifest = Manifest { frontier, ..Manifest::default() };
            manifest::replace(&store, &tenant, None, &manifest).await.unwrap();
            let checkpoint = Checkpoint { committed: committed.map(number), ..Checkpoint::default() };
            let progress = CountingProgress { checkpoints: vec![(shard.clone(), checkpoint)] };
            let snapshot = Snapshot::read(&store, &progress, &tenant).await.unwrap();
            let expected: Vec<Item> = expected.iter().map(|&first: &u64| delta(first)).collect();
            assert_eq!(snapshot.deltas, expected, "{committed:?}");
            assert_eq!(snapshot.up_to.get(&shard), up_to.map(number).as_ref(), "{committed:?}");
        }
    }
}
