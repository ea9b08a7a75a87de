//! Who acts in a simulation: tries of a batch, compactions, readers. Each runs the code that runs in production.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

use event::{Day, Hour, SequenceNumber, ShardId, Timestamp};

use super::model::Produced;
use super::tally::{self, Tally, TallyFold};
use super::world::{SimulatedClock, SimulatedStore};
use crate::block_id::{BlockId, Level};
use crate::history::compaction::{self, CompactError};
use crate::history::content::Content as _;
use crate::history::manifest::Extent;
use crate::history::snapshot::{self, Progress, Snapshot};
use crate::ledger::aggregate::{self, AggregateError, Attempt, Batch, Record};
use crate::ledger::deduplication::Memory;
use crate::stored::ReadError;

/// An actor at work.
pub(super) type Work = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// How an actor ended, unless it crashed.
pub(super) enum Ended {
    Aggregated { shard: usize, handled: Result<(), AggregateError>, memory: Memory },
    Compacted(Result<compaction::Compacted, CompactError>),
    Read(Result<Reading, ReadError>),
}

/// What a reader saw.
pub(super) struct Reading {
    pub(super) tenant: u8,
    pub(super) upto: BTreeMap<ShardId, SequenceNumber>,
    /// By the day; `None` if live blocks were gone each time.
    pub(super) total: Option<Tally>,
    /// Two levels that should hold the same rows and do not.
    pub(super) unlike: Option<BlockId>,
}

/// How often a reader begins anew when a block is gone.
const READS: usize = 5;

pub(super) fn aggregate(
    store: SimulatedStore,
    clock: SimulatedClock,
    settings: aggregate::Settings,
    (shard, id): (usize, ShardId),
    records: Vec<Produced>,
    mut memory: Memory,
    attempt: Attempt,
) -> Work {
    Box::pin(async move {
        let records = records
            .iter()
            .map(|record| Record {
                sequence: record.sequence.clone(),
                arrived_at: Timestamp::from_millis(record.arrived_at),
                data: &record.bytes,
            })
            .collect();
        let batch = Batch { shard: &id, records };
        let result =
            aggregate::aggregate(&store, &clock, &settings, &mut TallyFold, &mut memory, &batch, attempt)
                .await;
        let handled = result.map(drop);
        Ended::Aggregated { shard, handled, memory }
    })
}

pub(super) fn compact(
    store: SimulatedStore,
    clock: SimulatedClock,
    settings: compaction::Settings,
    tenant: u8,
    attempt: Attempt,
) -> Work {
    Box::pin(async move {
        let tenant = tally::tenant(tenant);
        Ended::Compacted(
            compaction::compact::<Tally, _, _>(&store, &clock, &settings, &tenant, attempt).await,
        )
    })
}

pub(super) fn read(store: SimulatedStore, tenant: u8) -> Work {
    Box::pin(async move { Ended::Read(reading(&store, tenant).await) })
}

async fn reading(store: &SimulatedStore, number: u8) -> Result<Reading, ReadError> {
    let tenant = tally::tenant(number);
    let mut reading = Reading { tenant: number, upto: BTreeMap::new(), total: None, unlike: None };
    for _ in 0..READS {
        let progress = Progress::read(store).await?;
        let snapshot = Snapshot::read(store, &progress, &tenant).await?;
        let live = snapshot.manifest.blocks.iter().map(|(&id, &live)| (id, live));
        let Ok(parts) = snapshot::blocks(store, &tenant, live, Extent::Whole).await? else { continue };
        let mut blocks: BTreeMap<BlockId, Tally> = BTreeMap::new();
        for (id, part) in parts {
            blocks.entry(id).or_default().absorb(&decoded(&part.body));
        }
        let mut total = coarsest(&blocks);
        for delta in &snapshot.deltas {
            total.absorb(&decoded(&delta.body));
        }
        reading.upto = snapshot.upto;
        reading.total = Some(total.roll_up(Level::Month));
        reading.unlike = unlike(&blocks);
        break;
    }
    Ok(reading)
}

fn decoded(bytes: &[u8]) -> Tally {
    let Ok(tally) = Tally::decode(bytes);
    tally
}

/// All rows, from the coarsest blocks there are.
fn coarsest(blocks: &BTreeMap<BlockId, Tally>) -> Tally {
    let mut total = Tally::default();
    for (id, rows) in blocks {
        if parents(*id).iter().all(|parent| !blocks.contains_key(parent)) {
            total.absorb(rows);
        }
    }
    total
}

/// A block whose finer blocks, if there are any, do not hold the same rows.
fn unlike(blocks: &BTreeMap<BlockId, Tally>) -> Option<BlockId> {
    let days: BTreeSet<BlockId> = blocks.keys().filter(|id| id.level == Level::Day).copied().collect();
    for day in days {
        let hours = blocks.iter().filter(|(id, _)| id.level == Level::Hour && parents(**id).contains(&day));
        let mut sum = Tally::default();
        for (_, rows) in hours {
            sum.absorb(&rows.clone().roll_up(Level::Day));
        }
        let of_day = blocks.get(&day)?;
        if !sum.0.is_empty() && sum != *of_day {
            return Some(day);
        }
        let month = BlockId::month_of(Day(day.period));
        if let Some(of_month) = blocks.get(&month) {
            let minute = Day(day.period).first_hour().first_minute().0;
            if of_day.clone().roll_up(Level::Month).0.get(&minute) != of_month.0.get(&minute) {
                return Some(month);
            }
        }
    }
    None
}

fn parents(id: BlockId) -> Vec<BlockId> {
    match id.level {
        Level::Hour => {
            let day = Hour(id.period).day();
            vec![BlockId::day(day), BlockId::month_of(day)]
        }
        Level::Day => vec![BlockId::month_of(Day(id.period))],
        Level::Month => Vec::new(),
    }
}
