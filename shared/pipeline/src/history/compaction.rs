//! Deltas into blocks: a tenant's hours, days and months, while aggregating and reading go on.
//!
//! ```text
//! cursors ─▶ manifest, notes ─▶ deltas behind the frontier ─▶ note ─▶ blocks under new keys ─▶ manifest (conditional)
//! ```
//!
//! Only the last write changes what readers see. Nothing that a reader may still want is removed: blocks that are replaced, and
//! those of an attempt that lost or died, are swept by a later compaction once a grace is over, told by the note; merged deltas
//! expire by themselves, days later. Nothing expires that is not merged as long as the backlog is watched.
//!
//! Compaction registers a tenant that has blocks but no entry in the register. A retried removal by an erasure may land after the tenant was
//! registered again, and without its entry the tenant could be neither listed nor erased.

pub mod due;
mod levels;

use std::collections::BTreeMap;

use event::{Day, Hour, SequenceNumber, ShardId, TenantId, Timestamp};

use crate::block_id::BlockId;
use crate::directory::tenants;
use crate::history::content::{Content, Parts};
use crate::history::manifest::{self, Extent, Live, Manifest, Note};
use crate::layout;
use crate::ledger::aggregate::Attempt;
use crate::ledger::checkpoint;
use crate::ports::{Clock, Item, Key, PutError, Store, StoreError};
use crate::stored::ReadError;
use levels::Levels;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const MINUTE_MS: i64 = 60 * 1000;
/// Items in one call to the store.
const ITEMS_PER_CALL: usize = 25;

/// Numbers of compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a replaced block stays for readers that began before. Defaults to 15 minutes.
    pub grace_ms: i64,
    /// The longest a compaction of one tenant may take; far below the grace. Defaults to 5 minutes.
    pub budget_ms: i64,
    /// How long after its end an hour's day, or a day's month, is built from it: rows that come later touch three blocks. Defaults
    /// to 2 hours.
    pub settle_ms: i64,
    /// How long blocks of hours are kept. Defaults to 30 days.
    pub keep_hours_ms: i64,
    /// How long blocks of days are kept. Defaults to 400 days.
    pub keep_days_ms: i64,
    /// Bytes of deltas merged at once: what is beyond waits for the next time. Defaults to 32 MiB.
    pub max_bytes: usize,
    /// A tenant with so many deltas is compacted at once: a reader must not face thousands. Defaults to 32.
    pub due_deltas: u64,
    /// A tenant whose deltas are so large together is compacted at once. Defaults to 4 MiB.
    pub due_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace_ms: 15 * MINUTE_MS,
            budget_ms: 5 * MINUTE_MS,
            settle_ms: 120 * MINUTE_MS,
            keep_hours_ms: 30 * DAY_MS,
            keep_days_ms: 400 * DAY_MS,
            max_bytes: 32 << 20,
            due_deltas: 32,
            due_bytes: 4 << 20,
        }
    }
}

impl Settings {
    /// Hours of days before this one have left, or will, once their day has a block.
    pub fn first_day_of_hours(&self, now: Timestamp) -> Day {
        day_ago(now, self.keep_hours_ms)
    }
}

fn day_ago(now: Timestamp, ago_ms: i64) -> Day {
    now.plus_millis(-ago_ms).minute().hour().day()
}

/// What a compaction of one tenant did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Deltas merged, counted by their parts.
    pub deltas: u64,
    /// Blocks written.
    pub blocks: u64,
    /// Blocks that left the manifest because a coarser one holds their rows for good.
    pub retired: u64,
    /// Whether deltas were left for the next time.
    pub more: bool,
}

/// Why a tenant was not compacted. Nothing readers see has changed, and the next time begins anew.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// Another compaction moved the manifest.
    #[error("tenant {tenant} was compacted by another process meanwhile")]
    Conflict {
        /// Whose.
        tenant: TenantId,
    },
    /// The time of this try is over.
    #[error("no time left to compact tenant {tenant}: allow more time")]
    OutOfTime {
        /// Whose.
        tenant: TenantId,
    },
    /// A live block is not in the store: another compaction moved on and swept it, or it was lost.
    #[error("block {key} is gone: try again, and restore it if that does not help")]
    Gone {
        /// Where it lay.
        key: Key,
    },
    /// A block cannot be read.
    #[error("block {key} cannot be read: restore it or upgrade mailgauge")]
    Block {
        /// Where it lies.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<StoreError> for CompactError {
    fn from(error: StoreError) -> Self {
        Self::Read(ReadError::Store(error))
    }
}

/// One compaction of one tenant.
pub(crate) struct Compaction<'a, S, C> {
    pub(crate) store: &'a S,
    pub(crate) clock: &'a C,
    pub(crate) settings: &'a Settings,
    pub(crate) tenant: &'a TenantId,
    pub(crate) attempt: Attempt,
}

/// Deltas that no block holds yet.
struct Fresh<B> {
    hours: BTreeMap<Hour, B>,
    frontier: BTreeMap<ShardId, SequenceNumber>,
    deltas: u64,
    more: bool,
}

/// Merges a tenant's deltas into its blocks, builds the blocks of days and months that are over, and sweeps what nobody needs.
pub async fn compact<B: Content, S: Store, C: Clock>(
    store: &S,
    clock: &C,
    settings: &Settings,
    tenant: &TenantId,
    attempt: Attempt,
) -> Result<Compacted, CompactError> {
    let compaction = Compaction { store, clock, settings, tenant, attempt };
    let compacted = compaction.run::<B>().await?;
    compaction.list().await?;
    Ok(compacted)
}

impl<S: Store, C: Clock> Compaction<'_, S, C> {
    async fn run<B: Content>(&self) -> Result<Compacted, CompactError> {
        let started_at = self.clock.now();
        let cursors = checkpoint::read_all(self.store).await?;
        let (manifest, notes) = manifest::read_with_notes(self.store, self.tenant).await?;
        self.sweep(&manifest.record, &notes, started_at).await?;
        let fresh = self.fresh::<B>(&cursors, &manifest.record).await?;
        let mut levels = Levels::new(self, &manifest.record, started_at);
        levels.build(&fresh.hours).await?;
        let retired = levels.retired();
        let written = levels.encode();
        if fresh.deltas == 0 && written.is_empty() && retired.is_empty() {
            return Ok(Compacted::default());
        }
        let mut moved = manifest.record.clone();
        moved.frontier.extend(fresh.frontier);
        let mut obsolete = Vec::new();
        for id in &retired {
            obsolete.extend(moved.blocks.remove(id).map(|live| (*id, live)));
        }
        for (id, parts) in &written {
            let bytes = parts.counts.iter().chain(&parts.sketches).map(|part| part.len() as u64).sum();
            let (counts, sketches) = (parts.counts.len(), parts.sketches.len());
            let live = Live { attempt: self.attempt.id, counts, sketches, bytes };
            obsolete.extend(moved.blocks.insert(*id, live).map(|old| (*id, old)));
            obsolete.push((*id, live));
        }
        self.put(vec![Note { started_at, attempt: self.attempt.id, blocks: obsolete }.item(self.tenant)])
            .await?;
        let compacted = Compacted {
            deltas: fresh.deltas,
            blocks: written.len() as u64,
            retired: retired.len() as u64,
            more: fresh.more,
        };
        for items in self.items(written).chunks(ITEMS_PER_CALL) {
            self.put(items.to_vec()).await?;
        }
        self.check_time(started_at)?;
        match manifest::move_to(self.store, self.tenant, manifest.version, &moved).await {
            Ok(()) => Ok(compacted),
            Err(PutError::Conflict) => Err(CompactError::Conflict { tenant: self.tenant.clone() }),
            Err(PutError::Store(source)) => Err(source.into()),
        }
    }

    /// Registers a tenant that has blocks but no entry in the register.
    async fn list(&self) -> Result<(), CompactError> {
        let found = self.store.get(vec![layout::manifest(self.tenant), layout::tenant(self.tenant)]).await?;
        if let [Some(_), None] = found.as_slice() {
            tenants::register(self.store, self.tenant).await?;
        }
        Ok(())
    }

    /// Removes what attempts left behind whose grace is over and what the manifest does not name.
    async fn sweep(&self, manifest: &Manifest, notes: &[Note], now: Timestamp) -> Result<(), CompactError> {
        for note in notes {
            if now.millis_since(note.started_at) < self.settings.grace_ms {
                continue;
            }
            let mut keys = Vec::new();
            for &(id, live) in &note.blocks {
                if manifest.blocks.get(&id) != Some(&live) {
                    keys.extend(manifest::parts(self.tenant, id, live, Extent::Whole));
                }
            }
            for keys in keys.chunks(ITEMS_PER_CALL) {
                self.store.delete(keys.to_vec()).await?;
            }
            // Last, because it is what the others are known by.
            self.store
                .delete(vec![layout::compaction_attempt(self.tenant, note.started_at, note.attempt)])
                .await?;
        }
        Ok(())
    }

    /// Reads the deltas between frontier and cursors, up to the limit and never half of a batch.
    async fn fresh<B: Content>(
        &self,
        cursors: &[(ShardId, checkpoint::Cursor)],
        manifest: &Manifest,
    ) -> Result<Fresh<B>, CompactError> {
        let mut fresh =
            Fresh::<B> { hours: BTreeMap::new(), frontier: BTreeMap::new(), deltas: 0, more: false };
        let mut hours: BTreeMap<Hour, Vec<B>> = BTreeMap::new();
        let mut bytes = 0;
        for (shard, cursor) in cursors {
            let (Some(done), frontier) = (&cursor.done, manifest.frontier.get(shard)) else { continue };
            if frontier >= Some(done) {
                continue;
            }
            let mut merged = frontier.cloned();
            let mut rest = Some(layout::deltas(self.tenant, shard, frontier, done));
            'shard: while let Some(range) = rest {
                let page = self.store.range(range).await?;
                for item in page.items {
                    let first = layout::first_of_batch(&item.key);
                    if first != merged && bytes >= self.settings.max_bytes {
                        fresh.more = true;
                        break 'shard;
                    }
                    merged = first;
                    bytes += item.body.len();
                    fresh.deltas += 1;
                    let rows = decode::<B>(&item)?;
                    for (hour, rows) in rows.by_hour() {
                        hours.entry(hour).or_default().push(rows);
                    }
                }
                rest = page.rest;
                if rest.is_none() {
                    merged = Some(done.clone());
                }
            }
            fresh.frontier.extend(merged.map(|merged| (shard.clone(), merged)));
        }
        for (hour, all) in hours {
            fresh.hours.extend(B::merge(all).map(|rows| (hour, rows)));
        }
        Ok(fresh)
    }

    /// The rows of a live block.
    pub(crate) async fn load<B: Content>(&self, id: BlockId, live: Live) -> Result<Option<B>, CompactError> {
        let keys = manifest::parts(self.tenant, id, live, Extent::Whole);
        let found = self.store.get(keys.clone()).await?;
        let mut parts = Vec::with_capacity(keys.len());
        for (key, item) in keys.into_iter().zip(found) {
            let Some(item) = item else { return Err(CompactError::Gone { key }) };
            parts.push(decode(&item)?);
        }
        Ok(B::merge(parts))
    }

    fn items(&self, written: Vec<(BlockId, Parts)>) -> Vec<Item> {
        let mut items = Vec::new();
        for (id, parts) in written {
            for (part, body) in parts.counts.into_iter().chain(parts.sketches).enumerate() {
                let key = layout::block(self.tenant, id, self.attempt.id, part);
                items.push(Item { key, body, version: 0, expires_at: None });
            }
        }
        items
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), CompactError> {
        Ok(self.store.put(items).await?)
    }

    /// The manifest must not move to blocks that a later compaction has swept: long before the grace is over, this one gives up.
    fn check_time(&self, started_at: Timestamp) -> Result<(), CompactError> {
        let now = self.clock.now();
        if now < self.attempt.deadline && now.millis_since(started_at) < self.settings.budget_ms {
            Ok(())
        } else {
            Err(CompactError::OutOfTime { tenant: self.tenant.clone() })
        }
    }
}

fn decode<B: Content>(item: &Item) -> Result<B, CompactError> {
    B::decode(&item.body)
        .map_err(|source| CompactError::Block { key: item.key.clone(), source: Box::new(source) })
}
