//! Replaces a range of a tenant's numbers by what was counted from an archive, in one step that readers see.
//!
//! ```text
//! start: checkpoints ─▶ (count the archive) ─▶ compact ─▶ manifest ─▶ live rows ─▶ note ─▶ blocks under new keys ─▶ manifest (conditional)
//! ```
//!
//! It is a compaction that takes rows out before it merges fresh ones: at each level, a block loses what the archive replaces and then
//! takes the rows of the archive. What is replaced:
//!
//! - cells and intake counts of events that happened in the range;
//! - cohorts of mail that was sent in the range, wherever they are: their outcomes are in blocks of later hours, too. Outcomes of 72 hours
//!   and more after sending may be newer than the archive. Unless it reaches the newest event that is stored, they are replaced only in
//!   blocks of days that are over before its own newest event, and stay as they were counted in later ones. (A batch whose events lie on both
//!   sides of that midnight has its cohorts in the later block. Late outcomes of its earlier side are then counted twice by send time.)
//!
//! The archive does not cover batches that were committed after the rebuild began, so their rows are kept: those that no block holds
//! yet stay deltas, and those that a compaction has merged meanwhile are read from their deltas again, which are kept for days.
//!
//! An attempt that dies leaves blocks that no manifest lists; its note leads a later compaction to them. A second rebuild starts over
//! and replaces the same rows by the same ones.

mod removal;

use std::collections::{BTreeMap, BTreeSet};

use cells::{Block, BlockError};
use event::provider::learned::LearnedProviders;
use event::{Day, Hour, IdentityHash, SequenceNumber, ShardId, TenantId, Timestamp};

use super::rollup::{LiveBlocks, Rollup};
use super::{
    Compaction, CompactionError, CompactionNote, CompactionSettings, ITEMS_PER_CALL, compact, day_before,
    decode,
};
use crate::block_id::{BlockId, Level};
use crate::directory::learned_providers;
use crate::history::archive::{ArchiveCounts, RebuildRange, TenantCounts};
use crate::history::block_content::BlockContent;
use crate::history::manifest::{self, Manifest};
use crate::layout;
use crate::ledger::aggregate::Attempt;
use crate::ledger::{checkpoint, receipt};
use crate::ports::{Clock, PutError, ScanOrder, Store, StoreError};
use crate::stored::{self, ReadError, Versioned};
use removal::Removal;

/// The most attempts for one tenant when compactions keep replacing its manifest. They run every few minutes, so this many conflicts in a
/// row mean that an attempt takes longer than the time between two compactions.
const MAX_TRIES: usize = 5;
/// The longest time from the start of a rebuild to its last tenant. Deltas live a day longer.
const MAX_MS: i64 = 2 * super::DAY_MS;

/// Where the streams were when a rebuild began.
#[derive(Clone, Debug)]
pub struct RebuildStart {
    at: Timestamp,
    /// Per shard: what was committed. It is replaced; what comes after is kept.
    committed: BTreeMap<ShardId, SequenceNumber>,
    /// When the newest event happened that was committed.
    newest_event: Option<Timestamp>,
}

/// What replacing the numbers of one tenant did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RebuildSummary {
    /// Blocks that were written.
    pub blocks: u64,
    /// Blocks that left the manifest because nothing is left in them, or a coarser block keeps their rows.
    pub removed: u64,
}

/// Why replacing the numbers of a tenant failed. Readers see no change, except after [`RebuildError::Compaction`]: it may hide that the
/// last write took effect. Replacing them once more is safe.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The range cuts a day of which only the whole is kept.
    #[error(
        "history before {kept_from} is kept by the day: let the range begin and end at midnight in UTC, such as {from} and {to}"
    )]
    CutsDay {
        /// Hours are kept from here on.
        kept_from: Timestamp,
        /// The last midnight at or before the range begins.
        from: Timestamp,
        /// The first midnight at or after the range ends.
        to: Timestamp,
    },
    /// Months that hold anything of the range are kept by days of the tenant's time zone, which full hours of UTC would cut.
    #[error(
        "whole months of tenant {tenant} before {from} are kept by the days of its time zone, which a rebuild cannot divide: let the range \
         begin at {from} or later"
    )]
    LocalDays {
        /// The tenant whose numbers stayed as they were.
        tenant: TenantId,
        /// The end of the last such month.
        from: Timestamp,
    },
    /// Other processes replaced the manifest during each attempt.
    #[error(
        "compactions of tenant {tenant} kept interrupting the rebuild: try again, or rebuild a smaller range"
    )]
    Contended {
        /// The tenant whose numbers stayed as they were.
        tenant: TenantId,
    },
    /// The tenant was erased while the rebuild ran.
    #[error("tenant {tenant} was erased while the rebuild ran, so nothing was written for it")]
    Erased {
        /// The erased tenant.
        tenant: TenantId,
    },
    /// The rebuild has run so long that what was counted meanwhile could no longer be kept.
    #[error("the rebuild has run for more than two days: rebuild a smaller range")]
    TooLong,
    /// A compaction, or one of the steps that a rebuild shares with it, failed.
    #[error(transparent)]
    Compaction(#[from] CompactionError),
}

impl From<StoreError> for RebuildError {
    fn from(error: StoreError) -> Self {
        Self::Compaction(error.into())
    }
}

impl From<ReadError> for RebuildError {
    fn from(error: ReadError) -> Self {
        Self::Compaction(error.into())
    }
}

/// Why an attempt changed nothing.
enum Failure {
    /// Another process was faster. A further attempt may succeed.
    Overtaken,
    Error(RebuildError),
}

impl<E: Into<RebuildError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl RebuildStart {
    /// Reads the positions of all shards. Must come before the archive is read.
    pub async fn read<S: Store, C: Clock>(store: &S, clock: &C) -> Result<Self, ReadError> {
        let checkpoints = checkpoint::read_all(store).await?;
        let newest_event = checkpoints.iter().filter_map(|(_, checkpoint)| checkpoint.newest_event).max();
        let committed =
            checkpoints.into_iter().filter_map(|(shard, checkpoint)| Some((shard, checkpoint.committed?)));
        Ok(Self { at: clock.now(), committed: committed.collect(), newest_event })
    }

    /// How many events were counted since then for which `is_in_archive` holds. They are counted twice, since what is counted meanwhile
    /// is kept; a rebuild that starts afterwards corrects that.
    pub async fn counted_twice<S: Store>(
        &self,
        store: &S,
        is_in_archive: impl Fn(IdentityHash) -> bool,
    ) -> Result<usize, ReadError> {
        let mut twice = 0;
        for (shard, checkpoint) in checkpoint::read_all(store).await? {
            let (started, Some(committed)) = (self.committed.get(&shard), checkpoint.committed) else {
                continue;
            };
            if started >= Some(&committed) {
                continue;
            }
            let mut rest = Some(layout::receipts(&shard, started, &committed, ScanOrder::Forwards));
            while let Some(range) = rest {
                let page = store.range(range).await?;
                for item in page.items {
                    let identities = receipt::identities_of_part(&item)?;
                    twice += identities.into_iter().filter(|identity| is_in_archive(*identity)).count();
                }
                rest = page.rest;
            }
        }
        Ok(twice)
    }
}

/// Refuses a range that cuts a day of which no hours are kept.
pub fn check_range(
    range: RebuildRange,
    settings: &CompactionSettings,
    now: Timestamp,
) -> Result<(), RebuildError> {
    let first_day = day_before(now, settings.keep_days_ms);
    let days = days_of(range);
    let is_cut = days.start.first_hour() != range.from || days.end.first_hour() != range.to;
    // The start of the range decides: outcomes of its first hours may be in any later block, which then has to be cut as well.
    if is_cut && range.from.day() < first_day {
        let (kept_from, from, to) = (first_day.start(), days.start.start(), days.end.start());
        return Err(RebuildError::CutsDay { kept_from, from, to });
    }
    Ok(())
}

/// The days that the range lies in.
fn days_of(range: RebuildRange) -> std::ops::Range<Day> {
    range.from.day()..range.to.minus(1).day().plus(1)
}

/// A rebuild, and what it needs for each of its tenants.
#[derive(Clone, Copy, Debug)]
pub struct Rebuild<'a, S, C> {
    /// The store of blocks and deltas.
    pub store: &'a S,
    /// The clock, for time limits.
    pub clock: &'a C,
    /// The settings of the store's compactions.
    pub settings: &'a CompactionSettings,
    /// What is replaced.
    pub range: RebuildRange,
    /// When the rebuild began.
    pub start: &'a RebuildStart,
    /// What is put in its place.
    pub archive: &'a ArchiveCounts,
}

impl<S: Store, C: Clock> Rebuild<'_, S, C> {
    /// Replaces the numbers of one tenant. `next_attempt` is called for each compaction and each attempt to replace.
    pub async fn replace(
        &self,
        tenant: &TenantId,
        mut next_attempt: impl FnMut() -> Attempt,
    ) -> Result<RebuildSummary, RebuildError> {
        check_range(self.range, self.settings, self.clock.now())?;
        let nothing = TenantCounts::default();
        let counts = self.archive.tenants.get(tenant).unwrap_or(&nothing);
        let mut was_there = false;
        for _ in 0..MAX_TRIES {
            // What was committed before the start must be in blocks, because nothing can be taken out of a delta.
            match self.merge_deltas(tenant, &mut next_attempt).await {
                Ok(()) => {}
                Err(CompactionError::Conflict { .. } | CompactionError::Missing { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            let held = manifest::read(self.store, tenant).await?;
            // An erasure removed the manifest. To go on would bring the tenant back.
            if was_there && held.version.is_none() {
                return Err(RebuildError::Erased { tenant: tenant.clone() });
            }
            was_there = held.version.is_some();
            let compaction = Compaction {
                store: self.store,
                clock: self.clock,
                settings: self.settings,
                tenant,
                attempt: next_attempt(),
            };
            match self.attempt(&compaction, held, counts).await {
                Ok(summary) => {
                    compaction.ensure_registered().await?;
                    return Ok(summary);
                }
                Err(Failure::Overtaken) => {}
                Err(Failure::Error(error)) => return Err(error),
            }
        }
        Err(RebuildError::Contended { tenant: tenant.clone() })
    }

    async fn merge_deltas(
        &self,
        tenant: &TenantId,
        next_attempt: &mut impl FnMut() -> Attempt,
    ) -> Result<(), CompactionError> {
        // One compaction merges a limited number of bytes.
        while compact::<Block, S, C>(self.store, self.clock, self.settings, tenant, next_attempt())
            .await?
            .more
        {}
        Ok(())
    }

    async fn attempt(
        &self,
        compaction: &Compaction<'_, S, C>,
        held: Versioned<Manifest>,
        counts: &TenantCounts,
    ) -> Result<RebuildSummary, Failure> {
        let Compaction { store, tenant, .. } = *compaction;
        let damaged = |source: BlockError| CompactionError::Block {
            key: layout::manifest(tenant),
            source: Box::new(source),
        };
        let now = self.clock.now();
        if now.millis_since(self.start.at) > MAX_MS {
            return Err(RebuildError::TooLong.into());
        }
        self.refuse_unmerged(&held.record, tenant).await?;
        self.refuse_local_days(&held.record, tenant)?;
        let providers = if counts.evidence.is_empty() && counts.unresolved.is_empty() {
            learned_providers::read(store, tenant).await?
        } else {
            learned_providers::learn(store, tenant, &counts.evidence, &counts.unresolved).await?
        };
        let live = || LiveBlocks { store, tenant, manifest: &held.record };
        let mut rollup = Rollup::new(live(), self.settings, now, providers.clone());
        let removal = Removal::new(self, rollup.first_day(), &held.record);
        removal.take_out(&live(), &mut rollup).await.map_err(overtaken_if_missing)?;
        let mut fresh = self.live_rows(&held.record, tenant, removal, &providers).await?;
        // Day by day, because the rows of a long range may not fit into memory all at once.
        let days: BTreeSet<Day> = counts.days().into_iter().chain(fresh.keys().copied()).collect();
        for day in days {
            let mut hours = fresh.remove(&day).unwrap_or_default();
            for (hour, rows) in counts.rows_of(day).map_err(damaged)? {
                let (rows, _) = rows.partition(&removal.of_hour(hour));
                hours.entry(hour).or_default().push(rows.resolve_providers(&providers));
            }
            let hours = hours.into_iter().filter_map(|(hour, all)| {
                let rows = <Block as BlockContent>::merge(all)?;
                (!rows.is_empty()).then_some((hour, rows))
            });
            rollup.build(&hours.collect()).await.map_err(overtaken_if_missing)?;
        }
        if rollup.is_unchanged() {
            return Ok(RebuildSummary::default());
        }
        let retired = rollup.retired();
        let written = rollup.encode();
        let summary = RebuildSummary { blocks: written.len() as u64, removed: retired.len() as u64 };
        // The frontier stays where it is: deltas behind it are live events, which a compaction merges as always.
        let (manifest, obsolete) = compaction.next_manifest(held.record, BTreeMap::new(), &retired, &written);
        // From the first write on: what came before may have taken long and has left nothing behind.
        let started_at = self.clock.now();
        let note = CompactionNote { started_at, attempt: compaction.attempt.id, blocks: obsolete };
        store.put(vec![note.item(tenant)]).await?;
        for items in compaction.items(written).chunks(ITEMS_PER_CALL) {
            store.put(items.to_vec()).await?;
        }
        compaction.check_time(started_at)?;
        match manifest::replace(store, tenant, held.version, &manifest).await {
            Ok(()) => Ok(summary),
            Err(PutError::Conflict) => Err(Failure::Overtaken),
            Err(PutError::Store(source)) => Err(source.into()),
        }
    }

    /// Fails if a block of a month that can hold anything of the range is cut by other days than those of UTC.
    fn refuse_local_days(&self, manifest: &Manifest, tenant: &TenantId) -> Result<(), RebuildError> {
        let cut_by = manifest.local_days();
        let is_affected = |id: &BlockId| id.level == Level::Month && id.days().end > self.range.from.day();
        let is_local =
            |id: &BlockId| (id.days().start.0..id.days().end.0).any(|day| !cut_by.is_of_utc(Day(day)));
        let last = manifest
            .blocks
            .keys()
            .copied()
            .filter(is_affected)
            .filter(is_local)
            .map(|id| id.days().end)
            .max();
        last.map_or(Ok(()), |end| Err(RebuildError::LocalDays { tenant: tenant.clone(), from: end.start() }))
    }

    /// Fails if deltas from before the start are in no block yet. A compaction that merges them later would add what is replaced.
    async fn refuse_unmerged(&self, manifest: &Manifest, tenant: &TenantId) -> Result<(), Failure> {
        for (shard, committed) in &self.start.committed {
            let frontier = manifest.frontier.get(shard);
            if manifest.is_behind(shard, committed) {
                let range = layout::deltas(tenant, shard, frontier, committed);
                if !stored::range(self.store, range).await?.is_empty() {
                    return Err(Failure::Overtaken);
                }
            }
        }
        Ok(())
    }

    /// What blocks hold of batches that were committed after the start, as far as it is taken out of them; by day and hour.
    async fn live_rows(
        &self,
        manifest: &Manifest,
        tenant: &TenantId,
        removal: Removal,
        providers: &LearnedProviders,
    ) -> Result<BTreeMap<Day, BTreeMap<Hour, Vec<Block>>>, Failure> {
        let mut days: BTreeMap<Day, BTreeMap<Hour, Vec<Block>>> = BTreeMap::new();
        for (shard, frontier) in &manifest.frontier {
            let started = self.start.committed.get(shard);
            if started >= Some(frontier) {
                continue;
            }
            // Merged deltas stay in the store for days, see `MAX_MS`.
            for item in stored::range(self.store, layout::deltas(tenant, shard, started, frontier)).await? {
                let mut rows = decode::<Block>(&item)?;
                // Compaction learned from it when it merged the delta.
                rows.take_evidence();
                for (hour, rows) in rows.by_hour() {
                    let (rows, _) = rows.partition(&removal.of_hour(hour));
                    let hours = days.entry(hour.day()).or_default();
                    hours.entry(hour).or_default().push(rows.resolve_providers(providers));
                }
            }
        }
        Ok(days)
    }
}

/// A block that another compaction has replaced and removed since the manifest was read leads to a further attempt.
fn overtaken_if_missing(error: CompactionError) -> Failure {
    match error {
        CompactionError::Missing { .. } => Failure::Overtaken,
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
