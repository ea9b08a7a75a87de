//! A tenant's numbers at one instant: the live blocks, and the deltas that no block holds yet.
//!
//! Cursors are read first: what they call done is all there when the rest is read, and stays there longer than any reader takes. The
//! manifest comes next, then the deltas between its frontier and the cursors. Every committed event is in exactly one of
//! them; if the manifest has moved beyond a cursor that was read, so much the fresher.

use std::collections::BTreeMap;

use event::{SequenceNumber, ShardId, TenantId, Timestamp};

use crate::cursor::{self, Cursor};
use crate::keys;
use crate::manifest::{self, BlockId, Extent, Live, Manifest};
use crate::parallel;
use crate::ports::{Item, Store, StoreError};
use crate::stored::{self, ReadError};

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
        Ok(Self { cursors: cursor::read_all(store).await? })
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
                ranges.push(keys::deltas(tenant, shard, frontier, done));
                snapshot.upto.insert(shard.clone(), done.clone());
            }
        }
        for deltas in parallel::all(ranges.into_iter().map(|range| stored::range(store, range))).await {
            snapshot.deltas.extend(deltas?);
        }
        Ok(snapshot)
    }
}

/// The parts of live blocks; `None` if one is gone: the manifest has moved on, and the reader begins anew.
pub async fn blocks<S: Store>(
    store: &S,
    tenant: &TenantId,
    wanted: impl IntoIterator<Item = (BlockId, Live)>,
    extent: Extent,
) -> Result<Option<Vec<(BlockId, Item)>>, StoreError> {
    let mut ids = Vec::new();
    let mut keys = Vec::new();
    for (id, live) in wanted {
        for key in manifest::parts(tenant, id, live, extent) {
            ids.push(id);
            keys.push(key);
        }
    }
    let found = store.get(keys).await?;
    Ok(ids.into_iter().zip(found).map(|(id, item)| Some((id, item?))).collect())
}
