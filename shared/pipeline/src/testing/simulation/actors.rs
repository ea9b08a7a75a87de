//! The actors of a simulation: attempts to handle a batch, compactions, readers. Each runs the code that runs in production.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

use cells::LocalDays;
use event::{Day, Hour, SequenceNumber, ShardId, Timestamp};

use super::model::StreamRecord;
use super::simulated_events::{self, SimulatedAccumulator, SimulatedBlock};
use super::world::{SimulatedClock, SimulatedStore};
use crate::block_id::{BlockId, Level};
use crate::history::block_content::BlockContent as _;
use crate::history::compaction::{self, CompactionError, CompactionSettings, CompactionSummary};
use crate::history::manifest::BlockParts;
use crate::history::snapshot::{self, CountingProgress, Snapshot};
use crate::ledger::aggregate::{
    AggregateError, Aggregation, Attempt, Batch, CommitSettings, Record, ShardCache,
};
use crate::stored::ReadError;

/// A running actor.
pub(super) type Running = Pin<Box<dyn Future<Output = ActorResult> + Send>>;

/// The result of an actor that did not crash.
pub(super) enum ActorResult {
    Aggregated { shard: usize, handled: Result<(), AggregateError>, cache: Box<ShardCache> },
    Compacted(Result<CompactionSummary, CompactionError>),
    Read(Result<View, ReadError>),
}

/// What a reader saw.
pub(super) struct View {
    pub(super) tenant: u8,
    pub(super) up_to: BTreeMap<ShardId, SequenceNumber>,
    /// Counts by day. `None` if a live block was missing at every attempt.
    pub(super) total: Option<SimulatedBlock>,
    /// A block whose finer blocks hold other rows.
    pub(super) inconsistent: Option<BlockId>,
}

/// The most attempts to read a consistent view.
const MAX_READS: usize = 5;

/// What a trigger delivers to an attempt, and what its process remembers.
pub(super) struct Delivery {
    pub(super) shard: usize,
    pub(super) id: ShardId,
    pub(super) records: Vec<StreamRecord>,
    pub(super) cache: ShardCache,
}

pub(super) fn aggregate(
    store: SimulatedStore,
    clock: SimulatedClock,
    settings: CommitSettings,
    delivery: Delivery,
    attempt: Attempt,
) -> Running {
    let Delivery { shard, id, records, mut cache } = delivery;
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
        let aggregation = Aggregation { store: &store, clock: &clock, settings, attempt };
        let handled = aggregation.handle(&mut SimulatedAccumulator, &mut cache, &batch).await.map(drop);
        ActorResult::Aggregated { shard, handled, cache: Box::new(cache) }
    })
}

pub(super) fn compact(
    store: SimulatedStore,
    clock: SimulatedClock,
    settings: CompactionSettings,
    tenant: u8,
    attempt: Attempt,
) -> Running {
    Box::pin(async move {
        let tenant = simulated_events::tenant(tenant);
        ActorResult::Compacted(
            compaction::compact::<SimulatedBlock, _, _>(&store, &clock, &settings, &tenant, attempt).await,
        )
    })
}

pub(super) fn read(store: SimulatedStore, tenant: u8) -> Running {
    Box::pin(async move { ActorResult::Read(view(&store, tenant).await) })
}

async fn view(store: &SimulatedStore, number: u8) -> Result<View, ReadError> {
    let tenant = simulated_events::tenant(number);
    let mut view = View { tenant: number, up_to: BTreeMap::new(), total: None, inconsistent: None };
    for _ in 0..MAX_READS {
        let progress = CountingProgress::read(store).await?;
        let snapshot = Snapshot::read(store, &progress, &tenant).await?;
        let live = snapshot.manifest.blocks.iter().map(|(&id, &live)| (id, live));
        let Ok(parts) =
            snapshot::read_blocks(store, &tenant, live, BlockParts::CountsAndSketches).await?.complete()
        else {
            continue;
        };
        let mut blocks: BTreeMap<BlockId, SimulatedBlock> = BTreeMap::new();
        for (id, part) in parts {
            blocks.entry(id).or_default().add_block(&decoded(&part.body));
        }
        let mut total = coarsest(&blocks);
        for delta in &snapshot.deltas {
            total.add_block(&decoded(&delta.body));
        }
        view.up_to = snapshot.up_to;
        view.total = Some(total.roll_up(Level::Month, &LocalDays::UTC));
        view.inconsistent = inconsistent(&blocks);
        break;
    }
    Ok(view)
}

fn decoded(bytes: &[u8]) -> SimulatedBlock {
    let Ok(block) = SimulatedBlock::decode(bytes);
    block
}

/// All rows, from the coarsest block of each period.
fn coarsest(blocks: &BTreeMap<BlockId, SimulatedBlock>) -> SimulatedBlock {
    let mut total = SimulatedBlock::default();
    for (id, rows) in blocks {
        if parents(*id).iter().all(|parent| !blocks.contains_key(parent)) {
            total.add_block(rows);
        }
    }
    total
}

/// A block whose finer blocks, if there are any, hold other rows.
fn inconsistent(blocks: &BTreeMap<BlockId, SimulatedBlock>) -> Option<BlockId> {
    let days: BTreeSet<BlockId> = blocks.keys().filter(|id| id.level == Level::Day).copied().collect();
    for day in days {
        let hours = blocks.iter().filter(|(id, _)| id.level == Level::Hour && parents(**id).contains(&day));
        let mut sum = SimulatedBlock::default();
        for (_, rows) in hours {
            sum.add_block(&rows.clone().roll_up(Level::Day, &LocalDays::UTC));
        }
        let of_day = blocks.get(&day)?;
        if !sum.0.is_empty() && sum != *of_day {
            return Some(day);
        }
        let month = BlockId::month_of(Day(day.period));
        if let Some(of_month) = blocks.get(&month) {
            let minute = Day(day.period).first_hour().first_minute().0;
            if of_day.clone().roll_up(Level::Month, &LocalDays::UTC).0.get(&minute) != of_month.0.get(&minute)
            {
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
