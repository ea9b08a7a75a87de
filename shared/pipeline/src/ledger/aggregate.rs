//! Handles a batch of a shard so that each record is counted once: read the checkpoint, skip what is committed, accumulate, commit.
//!
//! A commit has three steps. *Begin*: the checkpoint names the batch in flight, under a lease. *Write*: receipt, deltas, quarantine.
//! *End*: the checkpoint moves behind the batch, and everything becomes visible at once. If an attempt dies in between, the next one
//! learns from checkpoint and receipt what may have been written, and cleans it up. Nothing is undone and nothing is incremented in
//! place, so writing twice is the same as writing once.
//!
//! Three things are assumed of the platform. Reads see acknowledged writes. Conditional writes are atomic. A write takes effect within
//! [`CommitSettings::landing_ms`] of being issued, as seen by any process's clock. Because of the last one an attempt has a lease: a
//! write of an attempt that lost its connection may land later, and no other attempt may modify the batch before that.

use event::{IgnoredCounts, ShardId};

use super::accumulate::Accumulate;
pub use super::batch::{Attempt, Batch, Record};
use super::checkpoint::{self, Totals};
use super::commit::{self, Commit};
pub use super::commit::{AggregateError, CommitSettings};
use super::deduplication::DeduplicationWindow;
use super::registration::RegisteredTenants;
use crate::ports::{Clock, PutError, Store};
use crate::stored::ReadError;

/// One attempt to handle batches, and what it needs.
#[derive(Clone, Copy, Debug)]
pub struct Aggregation<'a, S, C> {
    /// The store of checkpoints, receipts and deltas.
    pub store: &'a S,
    /// The clock, for leases and the deadline.
    pub clock: &'a C,
    /// The time limits of commits and how long their items are kept.
    pub settings: CommitSettings,
    /// The attempt: its ID marks the lease, its deadline ends it.
    pub attempt: Attempt,
}

/// What a process keeps in memory about one shard from batch to batch. It saves reads; a process may drop it at any time.
#[derive(Clone, Debug, Default)]
pub struct ShardCache {
    window: DeduplicationWindow,
    registered: RegisteredTenants,
}

impl ShardCache {
    /// An empty cache with a deduplication window of its own size.
    pub fn with_window(window: DeduplicationWindow) -> Self {
        Self { window, registered: RegisteredTenants::default() }
    }
}

/// The outcome of [`Aggregation::handle`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Records that had been committed before.
    pub skipped: u64,
    /// Outcomes of the other records.
    pub totals: Totals,
    /// Outcomes of each of these, in their order.
    pub per_record: Vec<Totals>,
    /// Which parts were ignored in those of them that have such parts, each by its position in `per_record`.
    pub ignored: Vec<(usize, IgnoredCounts)>,
    /// Items written to the store.
    pub items: u64,
}

impl Committed {
    /// Which parts of all records were ignored.
    pub fn ignored(&self) -> IgnoredCounts {
        let mut sum = IgnoredCounts::default();
        self.ignored.iter().for_each(|(_, ignored)| sum.add(ignored));
        sum
    }
}

impl<S: Store, C: Clock> Aggregation<'_, S, C> {
    /// Handles a batch, in as many commits as it takes. On success every record of the batch is counted or quarantined, and visible.
    ///
    /// # Errors
    /// [`AggregateError`]; commits that happened before stay. Deliver the batch again.
    pub async fn handle<A: Accumulate>(
        &self,
        accumulator: &mut A,
        cache: &mut ShardCache,
        batch: &Batch<'_>,
    ) -> Result<Committed, AggregateError> {
        let shard = batch.shard;
        let unreadable = |source| AggregateError::Read { shard: shard.clone(), source };
        let (mut held, erasures) =
            checkpoint::read_with_erasures(self.store, shard).await.map_err(unreadable)?;
        let mut records: Vec<Record<'_>> = batch.records.clone();
        // The order decides which records a commit takes, and so where the checkpoint goes.
        records.sort_by(|a, b| a.sequence.cmp(&b.sequence));
        // The same record twice in a batch, as a retry of the trigger may deliver it.
        records.dedup_by(|a, b| a.sequence == b.sequence);
        let is_committed = |record: &Record<'_>| Some(&record.sequence) <= held.record.committed.as_ref();
        // By number and not by content: the same record is never taken twice, whatever is in the window.
        let skipped = records.partition_point(is_committed);
        let mut committed = Committed { skipped: skipped as u64, ..Committed::default() };
        let (_, mut rest) = records.split_at(skipped);
        accumulator.begin_batch();
        // A batch may need several commits. Each is complete in itself, so an error in the middle keeps those before
        // it.
        while !rest.is_empty() {
            commit::refuse_if_leased(&held.record, self.clock.now(), shard)?;
            // Before accumulating, since another process may have committed events since the last batch.
            cache
                .window
                .catch_up(self.store, shard, held.record.committed.as_ref())
                .await
                .map_err(unreadable)?;
            // The count as it was when the batch began: the commit reads it once more and compares.
            cache.registered.update(erasures);
            let accumulated = accumulator.accumulate(rest, &cache.window);
            // At least one, or this loop would not end; at most what there is.
            let (taken, left) = rest.split_at(accumulated.records.clamp(1, rest.len()));
            // As it was for these records: they do not recognise each other's duplicates by the window.
            let reach = cache.window.stated_reach();
            let result = self.commit(shard, &cache.registered).run(held, taken, &accumulated, reach).await?;
            // Only now: a commit that failed may not have written the entries.
            cache.registered.extend(accumulated.deltas.iter().map(|delta| &delta.tenant));
            cache.window.extend(
                accumulated.identities(),
                taken.iter().map(|record| record.arrived_at).max().unwrap_or_default(),
                result.checkpoint.record.committed.clone(),
            );
            accumulator.committed(&accumulated);
            committed.totals.add(&accumulated.totals);
            let before = committed.per_record.len();
            committed.ignored.extend(accumulated.ignored.iter().map(|(at, ignored)| (before + at, *ignored)));
            committed.per_record.extend_from_slice(&accumulated.per_record);
            committed.items += result.items;
            held = result.checkpoint;
            rest = left;
        }
        Ok(committed)
    }

    fn commit<'c>(&'c self, shard: &'c ShardId, registered: &'c RegisteredTenants) -> Commit<'c, S, C> {
        let Self { store, clock, settings, attempt } = *self;
        Commit { store, clock, settings, attempt, shard, registered }
    }
}

/// Ends the leases of all shards.
///
/// Only for a process that is certain to be alone, such as the holder of an embedded store's lock after a restart. Otherwise late writes
/// of another process could mix with those of the next attempt.
pub async fn end_leases<S: Store>(store: &S) -> Result<(), ReadError> {
    for (shard, _) in checkpoint::read_all(store).await? {
        // Again, with its version, which the list does not have.
        let held = checkpoint::read(store, &shard).await?;
        if held.record.in_flight.is_none() {
            continue;
        }
        // The batch in flight stays in the checkpoint: the next attempt must still clean up after it.
        let ended = held.record.with_shorter_lease(event::Timestamp::default());
        match checkpoint::replace(store, &shard, &held, ended).await {
            // An attempt that moved the checkpoint in between is alive and keeps its lease.
            Ok(_) | Err(PutError::Conflict) => {}
            Err(PutError::Store(source)) => return Err(source.into()),
        }
    }
    Ok(())
}
