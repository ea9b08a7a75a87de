//! A batch of a shard, counted once: read the cursor, drop what is done, fold, commit.
//!
//! The commit is three moves: *begin* (the cursor says which batch is in flight, under a lease), *write* (receipt, deltas,
//! quarantine), *end* (the cursor says it is done, and everything becomes visible at once). Whatever dies in between, the
//! next try finds out from cursor and receipt what may lie there and mends it. Nothing here is undone and nothing is added up in
//! place, so writing twice is writing once.
//!
//! What is assumed of the platform, and nothing more: reads see acknowledged writes, conditional writes are atomic, and a write lands
//! within [`Settings::landing_ms`] of being issued, as seen by any process's clock. The last is why a try has a lease: writes
//! of a try that lost its connection may land later, and nobody touches its batch before they cannot any more.

use event::{IdentityHash, SequenceNumber, ShardId, TenantId, Timestamp};

use crate::ledger::checkpoint::{self, Totals};
use crate::ledger::commit;
use crate::ledger::deduplication::Memory;
use crate::ledger::quarantine::Quarantined;
use crate::ports::{Clock, Item, Store, StoreError};
use crate::stored::ReadError;

/// Numbers of the commit protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest a write may take to land after it was issued, plus how far clocks of processes differ. Defaults to 10 seconds:
    /// above the store client's time-out for one call with all its own retries.
    pub landing_ms: i64,
    /// How long deltas are kept, and receipts twice as long. Defaults to 3 days; compaction has merged them long before.
    pub keep_ms: i64,
    /// How long quarantined records are kept. Defaults to 14 days.
    pub quarantine_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        Self { landing_ms: 10_000, keep_ms: 3 * DAY_MS, quarantine_ms: 14 * DAY_MS }
    }
}

/// Records of one shard, as the trigger delivers them.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// Which shard.
    pub shard: &'a ShardId,
    /// The records; the order of their numbers is the order that counts.
    pub records: Vec<Record<'a>>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it stands in its shard.
    pub sequence: SequenceNumber,
    /// When it came to the stream.
    pub arrived_at: Timestamp,
    /// What it holds.
    pub data: &'a [u8],
}

/// One try to handle a batch.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Told apart from all others: 64 random bits.
    pub id: u64,
    /// When the platform ends the try: no write is issued from then on.
    pub deadline: Timestamp,
}

/// Turns records into what is stored of them. Pure; the same records and memory give the same result.
pub trait Fold: Send {
    /// Folds the first of `records`, as many as one commit may hold and at least one.
    fn fold(&mut self, records: &[Record<'_>], memory: &Memory) -> Folded;
}

/// What a fold made of some records.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// How many of the records it took.
    pub records: usize,
    /// Per tenant what was counted. A tenant has at most one.
    pub deltas: Vec<Delta>,
    /// What cannot be read.
    pub quarantined: Vec<Quarantined>,
    /// The events counted.
    pub identities: Vec<IdentityHash>,
    /// What became of everything.
    pub totals: Totals,
    /// What became of each record taken, in their order.
    pub each: Vec<Totals>,
    /// The newest event counted.
    pub newest_event: Option<Timestamp>,
}

/// What a batch counted for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The tenant.
    pub tenant: TenantId,
    /// An encoded block, in parts that each fit an item.
    pub parts: Vec<Vec<u8>>,
}

/// What a call of [`aggregate`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Records that had been handled before.
    pub skipped: u64,
    /// What became of the others.
    pub totals: Totals,
    /// What became of each of them, in their order.
    pub each: Vec<Totals>,
    /// Items written.
    pub items: u64,
}

/// Why a batch was not handled, or not all of it. The trigger delivers it again; nothing is lost and nothing is counted twice.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// Another try holds the lease, or died with it.
    #[error("shard {shard} is being written by another try until {until}: deliver the batch again then")]
    Busy {
        /// Which shard.
        shard: ShardId,
        /// When the lease ends.
        until: Timestamp,
    },
    /// Another try moved the cursor meanwhile.
    #[error("shard {shard} was moved by another try: deliver the batch again")]
    Conflict {
        /// Which shard.
        shard: ShardId,
    },
    /// The time of this try is over.
    #[error("no time left for shard {shard}: allow more time or deliver smaller batches")]
    OutOfTime {
        /// Which shard.
        shard: ShardId,
    },
    /// The store failed.
    #[error("shard {shard} was not counted")]
    Store {
        /// Which shard.
        shard: ShardId,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// A stored record cannot be read.
    #[error("shard {shard} was not counted")]
    Read {
        /// Which shard.
        shard: ShardId,
        /// Which record.
        #[source]
        source: ReadError,
    },
}

/// Handles a batch: on success every record of it is handled and visible.
pub async fn aggregate<S: Store, C: Clock, F: Fold>(
    store: &S,
    clock: &C,
    settings: &Settings,
    fold: &mut F,
    memory: &mut Memory,
    batch: &Batch<'_>,
    attempt: Attempt,
) -> Result<Committed, AggregateError> {
    let shard = batch.shard;
    let unread = |source| AggregateError::Read { shard: shard.clone(), source };
    let (mut held, erasures) = checkpoint::read_with_erasures(store, shard).await.map_err(unread)?;
    let mut records: Vec<Record<'_>> = batch.records.clone();
    records.sort_by(|a, b| a.sequence.cmp(&b.sequence));
    records.dedup_by(|a, b| a.sequence == b.sequence);
    let fresh = records
        .partition_point(|record| held.record.done.as_ref().is_some_and(|done| record.sequence <= *done));
    let mut committed = Committed { skipped: fresh as u64, ..Committed::default() };
    let mut rest = records.get(fresh..).unwrap_or_default();
    while !rest.is_empty() {
        commit::refuse_if_busy(&held.record, clock, shard)?;
        memory.catch_up(store, shard, held.record.done.as_ref()).await.map_err(unread)?;
        memory.registered.update(erasures);
        let folded = fold.fold(rest, memory);
        let (taken, left) = rest.split_at(folded.records.clamp(1, rest.len()));
        let step = commit::Step { store, clock, settings, shard, attempt, registered: &memory.registered };
        let done = step.commit(held, taken, &folded).await?;
        memory.registered.add(&folded.deltas);
        memory.remember(&folded.identities, done.cursor.record.done.clone());
        committed.totals.add(&folded.totals);
        committed.each.extend_from_slice(&folded.each);
        committed.items += done.items;
        held = done.cursor;
        rest = left;
    }
    Ok(committed)
}

/// Ends the leases of all shards. Only for a process that knows itself alone, such as the holder of an embedded store's lock after
/// a restart: otherwise the late writes of another process would be mixed with those of the next try.
pub async fn end_leases<S: Store>(store: &S) -> Result<(), ReadError> {
    for (shard, _) in checkpoint::read_all(store).await? {
        let held = checkpoint::read(store, &shard).await?;
        let mut ended = held.record.clone();
        if let Some(batch) = &mut ended.in_flight {
            batch.lease_until = Timestamp::default();
            match checkpoint::move_to(store, &shard, &held, ended).await {
                // Whoever moved it meanwhile is alive.
                Ok(_) | Err(crate::ports::PutError::Conflict) => {}
                Err(crate::ports::PutError::Store(source)) => return Err(source.into()),
            }
        }
    }
    Ok(())
}

pub(crate) fn expiring(items: &mut [Item], at: Timestamp) {
    for item in items {
        item.expires_at = Some(at);
    }
}
