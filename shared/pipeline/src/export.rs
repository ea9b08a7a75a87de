//! What was counted, on its way to a time-series store: after the commit, with a cursor of its own.
//!
//! Only what the shard's cursor calls done is exported, since no such store can take back what a batch cut anew no longer holds. Each
//! delta becomes points whose time is their minute and, inside it, an offset made of shard and batch: a batch written
//! again replaces itself, and the sum over a minute is right. Of n batches with events in one minute, two share an offset with a
//! probability of n² / 1.2e11, and would then replace each other where they share a series.
//!
//! What a crash or an outage leaves out is repaired from the deltas as long as they are kept. Nothing here is needed for counting
//! and nothing here may hold it up: whoever calls this treats an error as a warning.

mod points;

use event::{SequenceNumber, ShardId, Timestamp};

use crate::codec::{Malformed, Reader, Writer};
use crate::layout;
use crate::ledger::checkpoint;
use crate::ledger::receipt::Receipt;
use crate::ports::{Clock, Item, Key, Order, Point, PutError, Range, Sink, SinkError, Store};
use crate::stored::{self, ReadError, Versioned};
use cells::BlockError;

/// Receipts read at once.
const RECEIPTS_PER_PAGE: usize = 100;
/// Bytes of deltas read at once, or those of one batch.
const DELTA_BYTES: u64 = 4 << 20;
/// What each part of a delta counts beside its bytes: reading many small ones takes its time too.
const PART_BYTES: u64 = 4 << 10;
/// Points written at once: some 500 bytes each.
const POINTS: usize = 10_000;
/// Batches behind that are worth counting.
pub const MAX_BEHIND: u64 = 1_000;

/// What a call of [`catch_up`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Batches written.
    pub batches: u64,
    /// Points given to the store.
    pub points: u64,
    /// Of these, refused for good.
    pub rejected: u64,
    /// Why, as the store says of one of them.
    pub reason: Option<String>,
    /// Parts of deltas that expired before they were exported: a gap in the time-series store, and nowhere else.
    pub expired: u64,
    /// Whether more is left: time was over, or somebody else is at it.
    pub more: bool,
}

impl Exported {
    /// Adds what another call did.
    pub fn add(&mut self, other: Self) {
        self.batches += other.batches;
        self.points += other.points;
        self.rejected += other.rejected;
        self.reason = self.reason.take().or(other.reason);
        self.expired += other.expired;
        self.more |= other.more;
    }

    /// Says in the log what was done, if anything was, and what the time-series store will never have.
    pub fn log(&self, sink: &str, shard: &ShardId) {
        let Self { batches, points, rejected, expired, more, ref reason } = *self;
        if batches > 0 {
            tracing::info!(sink, shard.id = %shard, batches, points, more, "exported");
        }
        if rejected > 0 {
            let reason = reason.as_deref().unwrap_or("no reason given");
            tracing::warn!(sink, shard.id = %shard, rejected, reason, "the time-series store refused points for good");
        }
        if expired > 0 {
            tracing::warn!(sink, shard.id = %shard, expired, "counts expired before the time-series store had them");
        }
    }
}

/// Why a shard is not exported, or not all of it; what was written before stays.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A delta cannot be read.
    #[error("delta {key} cannot be read: restore it or upgrade mailgauge")]
    Block {
        /// Where it lies.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: BlockError,
    },
    /// The time-series store failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The cursor was moved again and again while it was to be set back.
    #[error("shard {0} is being exported just now: try again")]
    Moving(ShardId),
}

impl From<crate::ports::StoreError> for ExportError {
    fn from(error: crate::ports::StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// How far a sink has a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// The first number of the newest batch written; `None`: nothing yet.
    upto: Option<SequenceNumber>,
}

impl Place {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.maybe(self.upto.as_ref(), |w, upto| _ = w.text(upto.as_str()));
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let place = Self { upto: reader.maybe(Reader::sequence)? };
        reader.end()?;
        Ok(place)
    }
}

/// Brings a sink up to what is done of a shard, or as far as it comes before the deadline. Begins with the oldest receipt kept if the
/// sink has nothing of the shard yet.
pub async fn catch_up<S: Store, K: Sink, C: Clock>(
    store: &S,
    sink: &K,
    shard: &ShardId,
    clock: &C,
    deadline: Timestamp,
) -> Result<Exported, ExportError> {
    let place = stored::read(store, layout::export_position(sink.name(), shard), Place::decode).await?;
    let mut exported = Exported::default();
    let Some(done) = checkpoint::read(store, shard).await?.record.done else { return Ok(exported) };
    let mut rest = Some(receipts(shard, place.record.upto.as_ref(), &done));
    let mut export = Export { store, sink, shard, clock, deadline, place, points: Vec::new() };
    while let Some(range) = rest {
        let page = store.range(range).await?;
        rest = page.rest;
        if !export.batches(&batches(page.items)?, &mut exported).await? {
            exported.more = true;
            break;
        }
    }
    Ok(exported)
}

/// A committed batch.
struct Batch {
    first: SequenceNumber,
    receipt: Receipt,
}

impl Batch {
    fn bytes(&self) -> u64 {
        let tenants = self.receipt.tenants.iter();
        tenants.map(|entry| entry.bytes + PART_BYTES * entry.parts as u64).sum()
    }
}

/// A call of [`catch_up`] at work.
struct Export<'a, S, K, C> {
    store: &'a S,
    sink: &'a K,
    shard: &'a ShardId,
    clock: &'a C,
    deadline: Timestamp,
    place: Versioned<Place>,
    /// Points made and not written yet.
    points: Vec<Point>,
}

impl<S: Store, K: Sink, C: Clock> Export<'_, S, K, C> {
    /// Exports batches; whether to go on.
    async fn batches(&mut self, batches: &[Batch], exported: &mut Exported) -> Result<bool, ExportError> {
        let mut left = batches;
        while let Some(first) = left.first() {
            let mut bytes = first.bytes();
            let more = left.iter().skip(1).take_while(|batch| {
                bytes += batch.bytes();
                bytes <= DELTA_BYTES
            });
            let (now, later) = left.split_at(1 + more.count());
            if !self.some(now, exported).await? {
                return Ok(false);
            }
            left = later;
        }
        Ok(true)
    }

    /// Exports batches whose deltas fit memory together.
    async fn some(&mut self, batches: &[Batch], exported: &mut Exported) -> Result<bool, ExportError> {
        let deltas = |batch: &Batch| {
            let mut keys = Vec::new();
            for entry in &batch.receipt.tenants {
                let part = |part| layout::delta(&entry.tenant, self.shard, &batch.first, part);
                keys.extend((0..entry.parts).map(part).map(|key| (entry.tenant.clone(), key)));
            }
            keys
        };
        let wanted: Vec<_> = batches.iter().map(deltas).collect();
        let keys = wanted.iter().flatten().map(|(_, key)| key.clone()).collect();
        let mut found = self.store.get(keys).await?.into_iter();
        let mut unsettled = 0;
        for (number, (batch, wanted)) in batches.iter().zip(wanted).enumerate() {
            for ((tenant, key), item) in wanted.into_iter().zip(found.by_ref()) {
                let Some(item) = item else {
                    exported.expired += 1;
                    continue;
                };
                let offset_ns = points::offset_ns(self.shard, &batch.first);
                points::of_delta(&tenant, &item.body, offset_ns, &mut self.points)
                    .map_err(|source| ExportError::Block { key, source })?;
                if self.points.len() >= POINTS && !self.write(exported).await? {
                    return Ok(false);
                }
            }
            unsettled += 1;
            let is_last = number + 1 == batches.len();
            if is_last || self.points.len() >= POINTS / 2 {
                if !self.write(exported).await? || !self.move_to(&batch.first).await? {
                    return Ok(false);
                }
                exported.batches += std::mem::take(&mut unsettled);
            }
        }
        Ok(true)
    }

    /// Gives the sink what was made, if there is time; whether there was.
    async fn write(&mut self, exported: &mut Exported) -> Result<bool, ExportError> {
        if self.clock.now() >= self.deadline {
            return Ok(false);
        }
        for points in self.points.chunks(POINTS) {
            let written = self.sink.write(points).await?;
            exported.points += points.len() as u64;
            exported.rejected += written.rejected;
            exported.reason = exported.reason.take().or(written.reason);
        }
        self.points.clear();
        Ok(true)
    }

    /// Says that everything up to the batch that begins at `first` is written; false if somebody else said something.
    async fn move_to(&mut self, first: &SequenceNumber) -> Result<bool, ExportError> {
        let to = Place { upto: Some(first.clone()) };
        match save(self.store, self.sink.name(), self.shard, &self.place, to).await {
            Ok(place) => {
                self.place = place;
                Ok(true)
            }
            Err(PutError::Conflict) => Ok(false),
            Err(PutError::Store(source)) => Err(source.into()),
        }
    }
}

/// How far behind a sink is with one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Which shard.
    pub shard: ShardId,
    /// The first number of the newest batch that the sink has.
    pub exported: Option<SequenceNumber>,
    /// Up to where the shard is done.
    pub done: Option<SequenceNumber>,
    /// Batches that the sink does not have, counted up to a limit.
    pub batches: u64,
    /// When the oldest of them arrived.
    pub oldest: Option<Timestamp>,
}

/// How far behind the sink of that name is, by shard; counts no more than `limit` batches of each.
pub async fn backlog<S: Store>(store: &S, sink: &str, limit: u64) -> Result<Vec<Backlog>, ReadError> {
    let mut backlogs = Vec::new();
    for (shard, cursor) in checkpoint::read_all(store).await? {
        let exported =
            stored::read(store, layout::export_position(sink, &shard), Place::decode).await?.record.upto;
        let mut rest = cursor.done.as_ref().map(|done| receipts(&shard, exported.as_ref(), done));
        let mut backlog = Backlog { shard, exported, done: cursor.done, batches: 0, oldest: None };
        while let Some(range) = rest.filter(|_| backlog.batches < limit) {
            let page = store.range(range).await?;
            rest = page.rest;
            for batch in batches(page.items)? {
                backlog.batches += 1;
                backlog.oldest = backlog.oldest.or(Some(batch.receipt.arrived_at));
            }
        }
        backlog.batches = backlog.batches.min(limit);
        backlogs.push(backlog);
    }
    Ok(backlogs)
}

/// Forgets how far the sink of that name has a shard, or all of them, so that everything kept is written again; says of how many shards.
pub async fn rewind<S: Store>(store: &S, sink: &str, shard: Option<&ShardId>) -> Result<u64, ExportError> {
    const TRIES: usize = 10;
    let mut rewound = 0;
    for item in stored::range(store, layout::export_positions(sink)).await? {
        let Some(found) =
            layout::exported_shard(&item.key).filter(|found| shard.is_none_or(|shard| shard == found))
        else {
            continue;
        };
        let mut tries = 0;
        loop {
            // The version goes on: somebody at work must notice.
            let held = stored::read(store, item.key.clone(), Place::decode).await?;
            match save(store, sink, &found, &held, Place::default()).await {
                Ok(_) => break,
                Err(PutError::Conflict) if tries < TRIES => tries += 1,
                Err(PutError::Conflict) => return Err(ExportError::Moving(found)),
                Err(PutError::Store(source)) => return Err(source.into()),
            }
        }
        rewound += 1;
    }
    Ok(rewound)
}

fn receipts(shard: &ShardId, after: Option<&SequenceNumber>, done: &SequenceNumber) -> Range {
    Range { limit: RECEIPTS_PER_PAGE, ..layout::receipts(shard, after, done, Order::Forwards) }
}

/// The batches that receipts tell of. Further parts of a receipt hold identities only.
fn batches(items: Vec<Item>) -> Result<Vec<Batch>, ReadError> {
    let mut batches = Vec::new();
    for item in items {
        let Some(first) = layout::first_of_batch(&item.key).filter(|_| item.key.sort.ends_with("#000"))
        else {
            continue;
        };
        match Receipt::decode_first(&item.body) {
            Ok((receipt, _)) => batches.push(Batch { first, receipt }),
            Err(source) => return Err(ReadError::Record { key: item.key, source }),
        }
    }
    Ok(batches)
}

async fn save<S: Store>(
    store: &S,
    sink: &str,
    shard: &ShardId,
    held: &Versioned<Place>,
    to: Place,
) -> Result<Versioned<Place>, PutError> {
    let version =
        stored::write(store, layout::export_position(sink, shard), to.encode(), held.version).await?;
    Ok(Versioned { record: to, version: Some(version) })
}

#[cfg(test)]
mod tests;
