//! Exports what was counted to a time-series store, after the commit and with a position of its own.
//!
//! Only batches that the shard's checkpoint calls committed are exported, since a time-series store cannot take back what an attempt
//! that died had written. The time of a point is its minute plus an offset made of shard and batch: a batch that is written again
//! replaces its own points, and the sum over a minute is right. [`points`] says how likely two batches are to share an offset.
//!
//! Batches that a crash or an outage left out are repaired from the deltas, as long as these are kept. Counting does not depend on the
//! export and must not wait for it: callers treat an error as a warning.

mod points;

use cells::BlockError;
use event::{SequenceNumber, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::{self, StoredRecord};
use crate::layout;
use crate::ledger::checkpoint;
use crate::ledger::receipt::{self, FirstPart};
use crate::ports::{Clock, Item, Key, Point, PutError, Range, ScanOrder, Sink, SinkError, Store, StoreError};
use crate::stored::{self, ChangeError, ReadError, Versioned};

/// Receipts read at a time.
const RECEIPTS_PER_PAGE: usize = 100;
/// Bytes of deltas held in memory at a time, unless one batch has more.
const DELTA_BYTES: u64 = 4 << 20;
/// What each item of a delta counts besides its bytes, since many small items take time to read too.
const ITEM_OVERHEAD_BYTES: u64 = 4 << 10;
/// Points written at a time, about 500 bytes each.
const POINTS_PER_WRITE: usize = 10_000;
/// Above this many batches the exact length of a backlog is of no interest.
pub const MAX_BEHIND: u64 = 1_000;

/// What a call of [`catch_up`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportSummary {
    /// Batches whose points are all in the time-series store now.
    pub batches: u64,
    /// Points given to the time-series store.
    pub points: u64,
    /// Of these, points that it refused for good.
    pub rejected: u64,
    /// The reason it gave for one of them.
    pub reason: Option<String>,
    /// Items of deltas that expired before they were exported: a gap in the time-series store, and nowhere else.
    pub expired: u64,
    /// Whether batches are left: the deadline was reached, or another process is exporting the shard.
    pub more: bool,
}

impl ExportSummary {
    /// Adds the numbers of another call.
    pub fn add(&mut self, other: Self) {
        self.batches += other.batches;
        self.points += other.points;
        self.rejected += other.rejected;
        self.reason = self.reason.take().or(other.reason);
        self.expired += other.expired;
        self.more |= other.more;
    }

    /// Logs what was exported, if anything, and warns of counts that the time-series store will never have.
    pub fn log(&self, sink: &str, shard: &ShardId) {
        let Self { batches, points, rejected, expired, more, ref reason } = *self;
        if batches > 0 {
            tracing::info!(sink, shard.id = %shard, batches, points, more, "exported counts to the time-series store");
        }
        if rejected > 0 {
            let reason = reason.as_deref().unwrap_or("no reason given");
            tracing::warn!(sink, shard.id = %shard, rejected, reason, "the time-series store refused points for good");
        }
        if expired > 0 {
            tracing::warn!(sink, shard.id = %shard, expired, "counts expired before they were exported to the time-series store");
        }
    }
}

/// Why a shard was not exported, or only in part. Batches that were exported before stay exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A delta cannot be read.
    #[error("delta {key} cannot be read: restore it or upgrade mailgauge")]
    Block {
        /// The item of the delta.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: BlockError,
    },
    /// The time-series store failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The position moved at every attempt to set it back.
    #[error("shard {0} is being exported at the moment: try again")]
    Moving(ShardId),
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// How far a shard is exported to a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ExportPosition {
    /// The first sequence number of the newest exported batch. `None` if nothing was exported yet.
    #[serde(with = "codec::option")]
    up_to: Option<SequenceNumber>,
}

impl StoredRecord for ExportPosition {
    const NAME: &'static str = "export position";
    const FORMAT: u8 = 3;
}

/// Exports the committed batches of a shard that the sink does not have yet, until `deadline`. A new sink begins with the oldest
/// receipt that is kept.
pub async fn catch_up<S: Store, K: Sink, C: Clock>(
    store: &S,
    sink: &K,
    shard: &ShardId,
    clock: &C,
    deadline: Timestamp,
) -> Result<ExportSummary, ExportError> {
    // With its version: if another process moves the position meanwhile, this one notices and stops.
    let position = read_position(store, sink.name(), shard).await?;
    let mut summary = ExportSummary::default();
    let Some(committed) = checkpoint::read(store, shard).await?.record.committed else {
        return Ok(summary);
    };
    let mut rest = Some(receipts(shard, position.record.up_to.as_ref(), &committed));
    let mut export = Export { store, sink, shard, clock, deadline, position, points: Vec::new() };
    while let Some(range) = rest {
        let page = store.range(range).await?;
        rest = page.rest;
        if !export.export(&batches(&page.items)?, &mut summary).await? {
            summary.more = true;
            break;
        }
    }
    Ok(summary)
}

/// A committed batch, as its receipt describes it.
struct CommittedBatch {
    first: SequenceNumber,
    receipt: FirstPart,
}

impl CommittedBatch {
    /// What the deltas of the batch count towards [`DELTA_BYTES`].
    fn bytes(&self) -> u64 {
        let deltas = self.receipt.deltas.iter();
        deltas.map(|entry| entry.bytes + ITEM_OVERHEAD_BYTES * entry.parts as u64).sum()
    }
}

/// The state of one call of [`catch_up`].
struct Export<'a, S, K, C> {
    store: &'a S,
    sink: &'a K,
    shard: &'a ShardId,
    clock: &'a C,
    deadline: Timestamp,
    position: Versioned<ExportPosition>,
    /// Points that are not written yet.
    points: Vec<Point>,
}

impl<S: Store, K: Sink, C: Clock> Export<'_, S, K, C> {
    /// Exports batches. Returns whether to go on: false if there is no time left, or another process has moved the position.
    async fn export(
        &mut self,
        batches: &[CommittedBatch],
        summary: &mut ExportSummary,
    ) -> Result<bool, ExportError> {
        let mut left = batches;
        while let Some(first) = left.first() {
            let mut bytes = first.bytes();
            let more = left.iter().skip(1).take_while(|batch| {
                bytes += batch.bytes();
                bytes <= DELTA_BYTES
            });
            // At least one, however large: it has to be exported at some time.
            let (now, later) = left.split_at(1 + more.count());
            if !self.export_group(now, summary).await? {
                return Ok(false);
            }
            left = later;
        }
        Ok(true)
    }

    /// Exports batches whose deltas fit into memory together. Returns whether to go on.
    async fn export_group(
        &mut self,
        batches: &[CommittedBatch],
        summary: &mut ExportSummary,
    ) -> Result<bool, ExportError> {
        let deltas = |batch: &CommittedBatch| {
            let mut keys = Vec::new();
            for entry in &batch.receipt.deltas {
                keys.extend(entry.keys(self.shard, &batch.first).map(|key| (entry.tenant.clone(), key)));
            }
            keys
        };
        let deltas: Vec<_> = batches.iter().map(deltas).collect();
        // One call for all deltas of the group, since a call is most of the time of reading a small item.
        let keys = deltas.iter().flatten().map(|(_, key)| key.clone()).collect();
        let mut found = self.store.get(keys).await?.into_iter();
        let mut unsaved = 0;
        for (number, (batch, deltas)) in batches.iter().zip(deltas).enumerate() {
            for ((tenant, key), item) in deltas.into_iter().zip(found.by_ref()) {
                // A delta that has expired will not come back, so waiting for it would stop the export for ever.
                let Some(item) = item else {
                    summary.expired += 1;
                    continue;
                };
                let offset_ns = points::offset_ns(self.shard, &batch.first);
                points::add_delta(&tenant, &item.body, offset_ns, &mut self.points)
                    .map_err(|source| ExportError::Block { key, source })?;
                // In the middle of a batch, to bound memory. If the rest fails, the batch is exported again and
                // replaces these points.
                if self.points.len() >= POINTS_PER_WRITE && !self.write(summary).await? {
                    return Ok(false);
                }
            }
            unsaved += 1;
            let is_last = number + 1 == batches.len();
            // The position moves behind whole batches only, but not behind each: one write per batch would be most of the work.
            if is_last || self.points.len() >= POINTS_PER_WRITE / 2 {
                if !self.write(summary).await? || !self.save_position(&batch.first).await? {
                    return Ok(false);
                }
                // Only now: batches behind the stored position are exported again.
                summary.batches += std::mem::take(&mut unsaved);
            }
        }
        Ok(true)
    }

    /// Writes the pending points to the sink. Returns false if there is no time left for it.
    async fn write(&mut self, summary: &mut ExportSummary) -> Result<bool, ExportError> {
        if self.clock.now() >= self.deadline {
            return Ok(false);
        }
        for points in self.points.chunks(POINTS_PER_WRITE) {
            let written = self.sink.write(points).await?;
            summary.points += points.len() as u64;
            summary.rejected += written.rejected;
            summary.reason = summary.reason.take().or(written.reason);
        }
        // After all writes: if one fails, the points before it are written again, which changes nothing.
        self.points.clear();
        Ok(true)
    }

    /// Stores that everything up to the batch that begins at `first` is exported. Returns false if another process has moved the
    /// position.
    async fn save_position(&mut self, first: &SequenceNumber) -> Result<bool, ExportError> {
        // After the points, so that a crash repeats a batch and never skips one.
        let to = ExportPosition { up_to: Some(first.clone()) };
        match save_position(self.store, self.sink.name(), self.shard, &self.position, to).await {
            Ok(position) => {
                self.position = position;
                Ok(true)
            }
            Err(PutError::Conflict) => Ok(false),
            Err(PutError::Store(source)) => Err(source.into()),
        }
    }
}

/// How far the export of one shard is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportBacklog {
    /// The shard that is exported.
    pub shard: ShardId,
    /// The first sequence number of the newest exported batch.
    pub exported: Option<SequenceNumber>,
    /// Up to where the shard is committed.
    pub committed: Option<SequenceNumber>,
    /// Committed batches that are not exported, counted up to a limit.
    pub batches: u64,
    /// When the oldest of them arrived.
    pub oldest: Option<Timestamp>,
}

/// How far the export to the sink of that name is behind, by shard. Counts at most `limit` batches of each.
pub async fn backlog<S: Store>(store: &S, sink: &str, limit: u64) -> Result<Vec<ExportBacklog>, ReadError> {
    let mut backlogs = Vec::new();
    for (shard, checkpoint) in checkpoint::read_all(store).await? {
        let exported = read_position(store, sink, &shard).await?.record.up_to;
        let committed = checkpoint.committed;
        let mut rest = committed.as_ref().map(|committed| receipts(&shard, exported.as_ref(), committed));
        let mut backlog = ExportBacklog { shard, exported, committed, batches: 0, oldest: None };
        while let Some(range) = rest.filter(|_| backlog.batches < limit) {
            let page = store.range(range).await?;
            rest = page.rest;
            for batch in batches(&page.items)? {
                backlog.batches += 1;
                backlog.oldest = backlog.oldest.or(Some(batch.receipt.arrived_at));
            }
        }
        // The last page may have gone beyond it.
        backlog.batches = backlog.batches.min(limit);
        backlogs.push(backlog);
    }
    Ok(backlogs)
}

/// Forgets the position of one shard, or of all shards, so that everything that is kept is exported again. Returns the number of shards.
pub async fn rewind<S: Store>(store: &S, sink: &str, shard: Option<&ShardId>) -> Result<u64, ExportError> {
    let mut rewound = 0;
    for item in stored::range(store, layout::export_positions(sink)).await? {
        let Some(found) =
            layout::exported_shard(&item.key).filter(|found| shard.is_none_or(|shard| shard == found))
        else {
            continue;
        };
        // Not removed but replaced, so that the version grows and a process that is exporting notices.
        let start_over = |_: Option<&ExportPosition>| Some(ExportPosition::default());
        // The exporter moves the position with each group of batches, so a few lost attempts are to be expected.
        stored::change(store, &item.key, None, start_over).await.map_err(|error| match error {
            ChangeError::Read(error) => ExportError::Read(error),
            ChangeError::Contended(_) => ExportError::Moving(found),
        })?;
        rewound += 1;
    }
    Ok(rewound)
}

fn receipts(shard: &ShardId, after: Option<&SequenceNumber>, committed: &SequenceNumber) -> Range {
    Range { limit: RECEIPTS_PER_PAGE, ..layout::receipts(shard, after, committed, ScanOrder::Forwards) }
}

/// The batches of a page of receipts.
fn batches(items: &[Item]) -> Result<Vec<CommittedBatch>, ReadError> {
    let mut batches = Vec::new();
    for item in items {
        if let Some((first, receipt)) = receipt::first_part(item)? {
            batches.push(CommittedBatch { first, receipt });
        }
    }
    Ok(batches)
}

async fn read_position<S: Store>(
    store: &S,
    sink: &str,
    shard: &ShardId,
) -> Result<Versioned<ExportPosition>, ReadError> {
    stored::get(store, layout::export_position(sink, shard)).await
}

async fn save_position<S: Store>(
    store: &S,
    sink: &str,
    shard: &ShardId,
    held: &Versioned<ExportPosition>,
    to: ExportPosition,
) -> Result<Versioned<ExportPosition>, PutError> {
    let key = layout::export_position(sink, shard);
    let version = stored::put_if(store, key, &to, held.version).await?;
    Ok(Versioned { record: to, version: Some(version) })
}

#[cfg(test)]
mod tests;
