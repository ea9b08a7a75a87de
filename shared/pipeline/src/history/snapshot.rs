//! A tenant's numbers at one instant: the live blocks, and the deltas that no block holds yet.
//!
//! Cursors are read first: what they call done is all there when the rest is read, and stays there longer than any reader takes. The
//! manifest comes next, then the deltas between its frontier and the cursors. Every committed event is in exactly one of
//! them; if the manifest has moved beyond a cursor that was read, so much the fresher. If a compaction sweeps a block between the
//! manifest and the block, everything is read anew: a number put together from two instants might count an event twice.

use std::collections::BTreeMap;
use std::future::Future;

use cells::BlockError;
use event::{SequenceNumber, ShardId, TenantId, Timestamp};

use crate::block_id::BlockId;
use crate::history::manifest::{self, Extent, Live, Manifest};
use crate::layout;
use crate::ledger::checkpoint::{self, Cursor};
use crate::parallel;
use crate::ports::{Item, Key, Store, StoreError};
use crate::stored::{self, ReadError};

/// How often a reading begins anew before it gives up; a sweep comes minutes after the manifest has moved.
const READS: usize = 4;

/// Why a tenant's numbers cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A block cannot be read.
    #[error("block {key} cannot be read: restore it or upgrade mailgauge")]
    Block {
        /// Where it lies.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: BlockError,
    },
    /// Blocks were gone each time.
    #[error(transparent)]
    Unsteady(Gone),
}

impl From<StoreError> for SnapshotError {
    fn from(error: StoreError) -> Self {
        Self::Read(ReadError::Store(error))
    }
}

/// A block was swept away between its manifest and its reading, or is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a block of tenant {tenant} was replaced while it was read, or is lost: try again, then run mailgauge doctor"
)]
pub struct Gone {
    /// Whose.
    pub tenant: TenantId,
}

/// How far all shards are done.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    cursors: Vec<(ShardId, Cursor)>,
}

/// What is there of one tenant.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Everything up to these numbers is in, and nothing behind them.
    pub upto: BTreeMap<ShardId, SequenceNumber>,
    /// The live blocks.
    pub manifest: Manifest,
    /// Parts of deltas, each a block of its own.
    pub deltas: Vec<Item>,
}

impl Progress {
    /// Shards that have been silent for so long before the newest arrival say nothing about how complete the numbers are: closed by
    /// a resharding, or idle.
    const IDLE_MS: i64 = 15 * 60 * 1000;

    /// Reads the cursors.
    pub async fn read<S: Store>(store: &S) -> Result<Self, ReadError> {
        Ok(Self { cursors: checkpoint::read_all(store).await? })
    }

    /// The shards and their cursors.
    pub fn cursors(&self) -> &[(ShardId, Cursor)] {
        &self.cursors
    }

    /// Everything that arrived until then is counted: the earliest of the shards' newest arrivals, idle shards left out.
    pub fn complete_until(&self) -> Option<Timestamp> {
        let arrivals = || self.cursors.iter().filter_map(|(_, cursor)| cursor.last_arrival);
        let active_since = arrivals().max()?.plus_millis(-Self::IDLE_MS);
        arrivals().filter(|&at| at >= active_since).min()
    }

    /// The newest event counted.
    pub fn newest_event(&self) -> Option<Timestamp> {
        self.cursors.iter().filter_map(|(_, cursor)| cursor.newest_event).max()
    }
}

impl Snapshot {
    /// Reads a tenant's manifest and deltas, after the cursors.
    pub async fn read<S: Store>(
        store: &S,
        progress: &Progress,
        tenant: &TenantId,
    ) -> Result<Self, ReadError> {
        let manifest = manifest::read(store, tenant).await?.record;
        let mut snapshot = Self { upto: manifest.frontier.clone(), manifest, deltas: Vec::new() };
        let mut ranges = Vec::new();
        for (shard, cursor) in &progress.cursors {
            let (Some(done), frontier) = (&cursor.done, snapshot.manifest.frontier.get(shard)) else {
                continue;
            };
            if frontier < Some(done) {
                ranges.push(layout::deltas(tenant, shard, frontier, done));
                snapshot.upto.insert(shard.clone(), done.clone());
            }
        }
        for deltas in parallel::all(ranges.into_iter().map(|range| stored::range(store, range))).await {
            snapshot.deltas.extend(deltas?);
        }
        Ok(snapshot)
    }
}

/// Reads anew as long as a block is gone.
pub(crate) async fn steadily<T, E, F>(read: impl Fn() -> F) -> Result<T, E>
where
    E: From<SnapshotError>,
    F: Future<Output = Result<Result<T, Gone>, E>>,
{
    let mut reads = 1;
    loop {
        match read().await? {
            Ok(found) => return Ok(found),
            Err(gone) if reads == READS => return Err(SnapshotError::Unsteady(gone).into()),
            Err(_) => reads += 1,
        }
    }
}

/// The parts of live blocks.
pub async fn blocks<S: Store>(
    store: &S,
    tenant: &TenantId,
    wanted: impl IntoIterator<Item = (BlockId, Live)>,
    extent: Extent,
) -> Result<Result<Vec<(BlockId, Item)>, Gone>, StoreError> {
    let mut ids = Vec::new();
    let mut keys = Vec::new();
    for (id, live) in wanted {
        for key in manifest::parts(tenant, id, live, extent) {
            ids.push(id);
            keys.push(key);
        }
    }
    let found = store.get(keys).await?;
    let found: Option<Vec<_>> = ids.into_iter().zip(found).map(|(id, item)| Some((id, item?))).collect();
    Ok(found.ok_or_else(|| Gone { tenant: tenant.clone() }))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_reading_begins_anew_while_a_block_is_gone_but_not_for_ever() {
        for (steady_at, reads_expected) in [(1, 1), (READS, READS), (READS + 1, READS)] {
            let reads = Cell::new(0);
            let read = async || {
                reads.set(reads.get() + 1);
                let gone = Gone { tenant: TenantId::unassigned() };
                Ok::<_, SnapshotError>(if reads.get() < steady_at { Err(gone) } else { Ok(()) })
            };
            let result = steadily(read).await;
            assert_eq!(result.is_ok(), steady_at <= READS, "{result:?}");
            assert_eq!(reads.get(), reads_expected);
        }
    }
}
