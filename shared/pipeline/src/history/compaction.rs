//! Compacts a tenant: merges deltas into blocks of hours, days and months, while aggregation and reading go on.
//!
//! ```text
//! checkpoints ─▶ manifest, notes ─▶ deltas behind the frontier ─▶ note ─▶ blocks under new keys ─▶ manifest (conditional)
//! ```
//!
//! Only the last write changes what readers see. Nothing that a reader may still need is removed at once. Replaced blocks, and blocks
//! of an attempt that lost a race or died, are removed by a later compaction once a grace period is over; the note lists them. Merged
//! deltas expire by themselves days later. Nothing expires before it is merged, as long as the backlog ([`schedule`]) is monitored.
//!
//! Compaction also registers a tenant that has blocks but no entry in the register. A retried removal of an erasure may land after the
//! tenant was registered again, and without an entry the tenant could be neither listed nor erased.

mod backlog;
pub mod rebuild;
mod rollup;
pub mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use event::provider::learned::{EvidenceCounts, LearnedProviders};
use event::{Day, Hour, SequenceNumber, ShardId, TenantId, Timestamp};

use crate::block_id::BlockId;
use crate::directory::{learned_providers, tenants};
use crate::history::block_content::{BlockContent, EncodedBlock};
use crate::history::manifest::{self, BlockParts, CompactionNote, LiveBlock, Manifest};
use crate::layout;
use crate::ledger::aggregate::Attempt;
use crate::ledger::checkpoint::{self, Checkpoint};
use crate::ports::{Clock, Item, Key, PutError, Store, StoreError};
use crate::stored::ReadError;
use rollup::{LiveBlocks, Rollup};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const MINUTE_MS: i64 = 60 * 1000;
/// Items in one call to the store: as many as one `BatchWriteItem` of DynamoDB takes.
const ITEMS_PER_CALL: usize = 25;

/// When tenants are compacted, and how long blocks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionSettings {
    /// How long a replaced block stays for readers that read the manifest before. Defaults to 15 minutes.
    pub grace_ms: i64,
    /// The longest time that compacting one tenant may take. Must be far below the grace period. Defaults to 5 minutes.
    pub budget_ms: i64,
    /// How long after the end of a day or month its block is built. Later rows go to hour, day and month, which is three blocks.
    /// Defaults to 2 hours.
    pub settle_ms: i64,
    /// How long blocks of hours are kept. Defaults to 30 days.
    pub keep_hours_ms: i64,
    /// How long blocks of days are kept. Defaults to 400 days.
    pub keep_days_ms: i64,
    /// The most bytes of deltas that one compaction merges; the rest waits for the next one. Defaults to 32 MiB.
    pub max_bytes: usize,
    /// A tenant is due once it has this many deltas, so that no reader faces thousands. Defaults to 32.
    pub due_deltas: u64,
    /// A tenant is due once its deltas have this many bytes. Defaults to 4 MiB.
    pub due_bytes: u64,
}

impl Default for CompactionSettings {
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

impl CompactionSettings {
    /// The first day whose blocks of hours are kept at `now`. Hours of earlier days are removed once their day has a block.
    pub fn first_day_of_hours(&self, now: Timestamp) -> Day {
        day_before(now, self.keep_hours_ms)
    }

    /// The first day whose block is kept at `now`. Blocks of earlier days are removed once their month has a block.
    pub fn first_day_of_days(&self, now: Timestamp) -> Day {
        day_before(now, self.keep_days_ms)
    }
}

/// The day that was `ago_ms` before `now`.
fn day_before(now: Timestamp, ago_ms: i64) -> Day {
    now.plus_millis(-ago_ms).minute().hour().day()
}

/// What compacting one tenant did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionSummary {
    /// Items of deltas merged.
    pub deltas: u64,
    /// Blocks that were written, new or in place of older ones.
    pub blocks: u64,
    /// Blocks that left the manifest because a coarser block keeps their rows.
    pub retired: u64,
    /// Whether deltas were left for the next compaction.
    pub more: bool,
}

/// Why a tenant was not compacted. Readers see no change, and the next compaction starts over.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// Another compaction replaced the manifest.
    #[error("tenant {tenant} was compacted by another process at the same time")]
    Conflict {
        /// The tenant that was not compacted.
        tenant: TenantId,
    },
    /// The attempt reached its deadline, or the time allowed for one tenant.
    #[error("no time left to compact tenant {tenant}: allow more time")]
    OutOfTime {
        /// The tenant that was not compacted.
        tenant: TenantId,
    },
    /// A live block is not in the store: another compaction has replaced and removed it, or it was lost.
    #[error("block {key} is missing: try again, and restore it if it stays missing")]
    Missing {
        /// The item that is missing.
        key: Key,
    },
    /// A block or delta cannot be read.
    #[error("block {key} cannot be read: restore it or upgrade mailgauge")]
    Block {
        /// The item that cannot be read.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<StoreError> for CompactionError {
    fn from(error: StoreError) -> Self {
        Self::Read(ReadError::Store(error))
    }
}

/// One compaction of one tenant.
struct Compaction<'a, S, C> {
    store: &'a S,
    clock: &'a C,
    settings: &'a CompactionSettings,
    tenant: &'a TenantId,
    attempt: Attempt,
}

/// The rows of deltas that no block holds yet.
struct FreshRows<B> {
    hours: BTreeMap<Hour, B>,
    /// Per shard: where the manifest's frontier goes.
    frontier: BTreeMap<ShardId, SequenceNumber>,
    deltas: u64,
    more: bool,
}

/// Merges a tenant's deltas into its blocks, builds the blocks of days and months that are over, and removes obsolete blocks.
pub async fn compact<B: BlockContent, S: Store, C: Clock>(
    store: &S,
    clock: &C,
    settings: &CompactionSettings,
    tenant: &TenantId,
    attempt: Attempt,
) -> Result<CompactionSummary, CompactionError> {
    let compaction = Compaction { store, clock, settings, tenant, attempt };
    let summary = compaction.run::<B>().await?;
    compaction.ensure_registered().await?;
    Ok(summary)
}

impl<S: Store, C: Clock> Compaction<'_, S, C> {
    async fn run<B: BlockContent>(&self) -> Result<CompactionSummary, CompactionError> {
        let started_at = self.clock.now();
        // Checkpoints before the manifest, as every reader: what they call committed is still stored when the deltas
        // are read.
        let checkpoints = checkpoint::read_all(self.store).await?;
        let (mut held, notes) = manifest::read_with_notes(self.store, self.tenant).await?;
        // With the manifest that was just read: only what it does not list is removed.
        self.sweep(&held.record, &notes, started_at).await?;
        // Before anything is cut. What is in blocks of days already stays as it was cut.
        self.follow_zone(&mut held.record).await?;
        let (fresh, providers) = self.fresh_rows::<B>(&checkpoints, &held.record).await?;
        let live = LiveBlocks { store: self.store, tenant: self.tenant, manifest: &held.record };
        let mut rollup = Rollup::new(live, self.settings, started_at, providers);
        rollup.build(&fresh.hours).await?;
        let retired = rollup.retired();
        let written = rollup.encode();
        // Nothing to do, so no write at all. A frontier that could move past batches without this tenant waits for
        // its next delta.
        if fresh.deltas == 0 && written.is_empty() && retired.is_empty() {
            return Ok(CompactionSummary::default());
        }
        let (manifest, obsolete) = self.next_manifest(held.record, fresh.frontier, &retired, &written);
        // The note comes first, so that no block is ever written that a later compaction could not find.
        let note = CompactionNote { started_at, attempt: self.attempt.id, blocks: obsolete };
        self.store.put(vec![note.item(self.tenant)]).await?;
        let summary = CompactionSummary {
            deltas: fresh.deltas,
            blocks: written.len() as u64,
            retired: retired.len() as u64,
            more: fresh.more,
        };
        // Before the manifest lists them, and under keys that no manifest lists: readers do not see them yet.
        for items in self.items(written).chunks(ITEMS_PER_CALL) {
            self.store.put(items.to_vec()).await?;
        }
        // After the writes and right before the manifest: this is the moment from which the blocks must exist.
        self.check_time(started_at)?;
        match manifest::replace(self.store, self.tenant, held.version, &manifest).await {
            Ok(()) => Ok(summary),
            Err(PutError::Conflict) => Err(CompactionError::Conflict { tenant: self.tenant.clone() }),
            Err(PutError::Store(source)) => Err(source.into()),
        }
    }

    /// Cuts from now on by the days of the tenant's time zone.
    async fn follow_zone(&self, manifest: &mut Manifest) -> Result<(), CompactionError> {
        match tenants::settings(self.store, std::slice::from_ref(self.tenant)).await {
            Ok(settings) => {
                let settings = settings.into_iter().next().unwrap_or_default();
                manifest.follow_zone(&settings.zone_name());
            }
            // Deltas expire unless they are merged, so compaction does not wait until somebody repairs a name.
            Err(error @ ReadError::Record { .. }) => {
                tracing::warn!(tenant.id = %self.tenant, %error, "a tenant's settings cannot be read: its time zone stays as it was");
            }
            Err(ReadError::Store(error)) => return Err(error.into()),
        }
        Ok(())
    }

    /// The manifest after this compaction, and the blocks for its note: those it writes, replaces or retires.
    fn next_manifest(
        &self,
        mut manifest: Manifest,
        frontier: BTreeMap<ShardId, SequenceNumber>,
        retired: &[BlockId],
        written: &[(BlockId, EncodedBlock)],
    ) -> (Manifest, Vec<(BlockId, LiveBlock)>) {
        manifest.frontier.extend(frontier);
        let mut obsolete = Vec::new();
        for &id in retired {
            obsolete.extend(manifest.blocks.remove(&id).map(|live| (id, live)));
        }
        for (id, block) in written {
            let bytes = block.counts.iter().chain(&block.sketches).map(|part| part.len() as u64).sum();
            let (counts, sketches) = (block.counts.len(), block.sketches.len());
            // The new block is in the note as well: if the manifest does not move, it is what a later compaction must
            // remove.
            let live = LiveBlock { attempt: self.attempt.id, counts, sketches, bytes };
            obsolete.extend(manifest.blocks.insert(*id, live).map(|replaced| (*id, replaced)));
            obsolete.push((*id, live));
        }
        (manifest, obsolete)
    }

    /// Registers a tenant that has blocks but no entry in the register.
    async fn ensure_registered(&self) -> Result<(), CompactionError> {
        let found = self.store.get(vec![layout::manifest(self.tenant), layout::tenant(self.tenant)]).await?;
        // The manifest decides: a tenant that was erased meanwhile has none and must not be listed again.
        if let [Some(_), None] = found.as_slice() {
            tenants::register(self.store, self.tenant).await?;
        }
        Ok(())
    }

    /// Removes the blocks of notes whose grace period is over, except those that the manifest lists.
    async fn sweep(
        &self,
        manifest: &Manifest,
        notes: &[CompactionNote],
        now: Timestamp,
    ) -> Result<(), CompactionError> {
        for note in notes {
            // A reader may hold a manifest from before, and the attempt of the note may still be running.
            if now.millis_since(note.started_at) < self.settings.grace_ms {
                continue;
            }
            let mut keys = Vec::new();
            for &(id, live) in &note.blocks {
                // A block of the note is live if its attempt succeeded and nothing has replaced the block since.
                if manifest.blocks.get(&id) != Some(&live) {
                    keys.extend(live.keys(self.tenant, id, BlockParts::CountsAndSketches));
                }
            }
            for keys in keys.chunks(ITEMS_PER_CALL) {
                self.store.delete(keys.to_vec()).await?;
            }
            // The note comes last, because it is what lists the blocks.
            self.store.delete(vec![note.key(self.tenant)]).await?;
        }
        Ok(())
    }

    /// Reads the deltas between the frontier and the checkpoints, up to the limit on bytes but never a part of a batch. Their evidence is
    /// learned first, so that their rows name every provider that is known by now, and then they are merged: what collapses into the
    /// overflow row could not be resolved any more. Returns what is known as well.
    async fn fresh_rows<B: BlockContent>(
        &self,
        checkpoints: &[(ShardId, Checkpoint)],
        manifest: &Manifest,
    ) -> Result<(FreshRows<B>, LearnedProviders), CompactionError> {
        let mut fresh =
            FreshRows::<B> { hours: BTreeMap::new(), frontier: BTreeMap::new(), deltas: 0, more: false };
        let mut hours: BTreeMap<Hour, Vec<B>> = BTreeMap::new();
        let mut bytes = 0;
        for (shard, checkpoint) in checkpoints {
            let Some(committed) = &checkpoint.committed else { continue };
            // Most shards have nothing new of most tenants: no range is read for them.
            if !manifest.is_behind(shard, committed) {
                continue;
            }
            let frontier = manifest.frontier.get(shard);
            let mut merged = frontier.cloned();
            let mut rest = Some(layout::deltas(self.tenant, shard, frontier, committed));
            'shard: while let Some(range) = rest {
                let page = self.store.range(range).await?;
                for item in page.items {
                    let first = layout::first_of_batch(&item.key);
                    // Between batches only, because the frontier names batches: half a batch
                    // would be counted twice or not at all.
                    if first != merged && bytes >= self.settings.max_bytes {
                        fresh.more = true;
                        break 'shard;
                    }
                    merged = first;
                    bytes += item.body.len();
                    fresh.deltas += 1;
                    for (hour, rows) in decode::<B>(&item)?.by_hour() {
                        hours.entry(hour).or_default().push(rows);
                    }
                }
                rest = page.rest;
                if rest.is_none() {
                    // To the checkpoint, not only to the last delta: the tenant has nothing in the batches between.
                    merged = Some(committed.clone());
                }
            }
            // Also without a delta: the next compaction then does not search these batches again.
            fresh.frontier.extend(merged.map(|merged| (shard.clone(), merged)));
        }
        let providers = self.learn_providers(&mut hours).await?;
        for (hour, all) in hours {
            let all = all.into_iter().map(|rows| rows.resolve_providers(&providers)).collect();
            fresh.hours.extend(B::merge(all).map(|rows| (hour, rows)));
        }
        Ok((fresh, providers))
    }

    /// Takes the evidence out of fresh rows and learns from it. Returns what is known of the tenant's domains then.
    async fn learn_providers<B: BlockContent>(
        &self,
        hours: &mut BTreeMap<Hour, Vec<B>>,
    ) -> Result<LearnedProviders, CompactionError> {
        if !B::HAS_PROVIDERS {
            return Ok(LearnedProviders::default());
        }
        let mut evidence = EvidenceCounts::default();
        let mut unresolved = BTreeSet::new();
        for rows in hours.values_mut().flatten() {
            evidence.merge(&rows.take_evidence());
            unresolved.extend(rows.unresolved_domains());
        }
        if unresolved.is_empty() {
            return Ok(learned_providers::read(self.store, self.tenant).await?);
        }
        Ok(learned_providers::learn(self.store, self.tenant, &evidence, &unresolved).await?)
    }

    fn items(&self, written: Vec<(BlockId, EncodedBlock)>) -> Vec<Item> {
        let mut items = Vec::new();
        for (id, block) in written {
            for (part, body) in block.counts.into_iter().chain(block.sketches).enumerate() {
                let key = layout::block(self.tenant, id, self.attempt.id, part);
                items.push(Item { key, body, version: 0, expires_at: None });
            }
        }
        items
    }

    /// Gives up long before the grace period is over: the manifest must never list blocks that a later compaction has removed.
    fn check_time(&self, started_at: Timestamp) -> Result<(), CompactionError> {
        let now = self.clock.now();
        if now < self.attempt.deadline && now.millis_since(started_at) < self.settings.budget_ms {
            Ok(())
        } else {
            Err(CompactionError::OutOfTime { tenant: self.tenant.clone() })
        }
    }
}

fn decode<B: BlockContent>(item: &Item) -> Result<B, CompactionError> {
    decode_body(&item.key, &item.body)
}

/// Reads rows that are, or will be, stored under `key`.
fn decode_body<B: BlockContent>(key: &Key, body: &[u8]) -> Result<B, CompactionError> {
    B::decode(body).map_err(|source| CompactionError::Block { key: key.clone(), source: Box::new(source) })
}
