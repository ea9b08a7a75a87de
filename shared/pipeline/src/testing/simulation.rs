//! A deterministic simulation of the commit protocol: everything that can happen to it, from one seed.
//!
//! One thread, an executor of its own, and a clock that only the simulation moves. Triggers deliver streams with different cuts each
//! time, again from earlier, or with a gap. Two attempts may hold one shard. Calls fail before or after they are applied, and are
//! applied in part, late or twice. Processes crash at any call and forget what they knew. Compactions race each other and readers.
//! Days and years pass.
//!
//! **What counts as failure.** A reader sees other counts than the naive model holds up to the numbers that the reader itself claims, or
//! misses what was committed when it began. A checkpoint goes back, or its totals are wrong. A block and its finer blocks hold other
//! rows. Once all faults stop, a batch, a compaction or a read fails, a shard does not get to its end, or a quarantined record is missing.
//!
//! **What does not.** An attempt, a compaction or a read that fails while there are faults; a lease that must be waited for.
//!
//! **What is not simulated.** A store that loses acknowledged writes, clocks further apart than the settings allow for, and processes
//! that are suspended between reading the clock and issuing a write.
//!
//! **Which randomness is left.** None: all choices come from the seed, so a seed reproduces its run on any machine.

mod actors;
mod bugs;
mod choices;
mod model;
mod outcome;
mod settle;
mod simulated_events;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::task::{Context, Poll, Waker};

use event::{SequenceNumber, ShardId, Timestamp};

use crate::codec::StoredRecord as _;
use crate::history::compaction::{CompactionError, CompactionSettings};
use crate::layout;
use crate::ledger::aggregate::{AggregateError, Attempt, CommitSettings, ShardCache};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::deduplication::DeduplicationWindow;
use actors::{ActorResult, Delivery, Running, View};
pub use bugs::ProtocolBug;
use model::{ShardModel, StreamRecord};
pub use outcome::{RunStatistics, Violation};
use simulated_events::SimulatedEvent;
use world::{LANDING_MS, Role, SKEW_MS, SharedWorld, SimulatedClock, SimulatedStore, World};

/// Steps of one run. Each is some polls of an actor, a new actor, or an event of the world.
const STEPS: usize = 300;
const TENANTS: u8 = 2;
const SHARDS: usize = 2;
const ACTORS: usize = 5;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Runs the simulation once, with a deliberate bug if `bug` names one.
pub fn run(seed: u64, bug: Option<ProtocolBug>) -> Result<RunStatistics, Violation> {
    let mut simulation = Simulation::new(seed, bug);
    for step in 0..STEPS {
        simulation.step().map_err(|finding| Violation { seed, step, finding })?;
    }
    simulation.settle().map_err(|finding| Violation { seed, step: STEPS, finding })?;
    simulation.statistics.landed_late = simulation.shared.world().landed_late;
    Ok(simulation.statistics)
}

struct Actor {
    number: usize,
    running: Running,
    /// Per shard, what had been committed when it began.
    committed: BTreeMap<ShardId, SequenceNumber>,
}

struct Simulation {
    shared: SharedWorld,
    bug: Option<ProtocolBug>,
    shards: Vec<ShardModel>,
    /// Where the trigger of each shard goes on in its stream.
    positions: Vec<usize>,
    /// Per shard, the caches of processes that are idle.
    caches: Vec<Vec<ShardCache>>,
    actors: Vec<Actor>,
    /// The shard and records that were delivered to each actor, by its number.
    deliveries: Vec<Option<(usize, Range<usize>)>>,
    next_event: u64,
    /// Per shard, events that upstream may deliver again.
    recent: Vec<Vec<SimulatedEvent>>,
    statistics: RunStatistics,
}

impl Simulation {
    fn new(seed: u64, bug: Option<ProtocolBug>) -> Self {
        let shard = |number: usize| ShardId::new(&format!("shard-{number}")).map(ShardModel::new);
        Self {
            shared: SharedWorld::new(World::new(seed, bug)),
            bug,
            shards: (0..SHARDS).flat_map(shard).collect(),
            positions: vec![0; SHARDS],
            caches: vec![Vec::new(); SHARDS],
            actors: Vec::new(),
            deliveries: Vec::new(),
            next_event: 1,
            recent: vec![Vec::new(); SHARDS],
            statistics: RunStatistics::default(),
        }
    }

    fn below(&self, end: usize) -> usize {
        self.shared.world().random.below(end)
    }

    fn step(&mut self) -> Result<(), String> {
        match self.below(1_000) {
            0..60 => self.produce(),
            60..160 => self.deliver(),
            160..195 => self.compact(),
            195..225 => self.read(),
            225..245 => self.crash(),
            245..251 => self.caches = vec![Vec::new(); SHARDS],
            251..275 => self.pass(15_000),
            275..278 => self.pass(300_000),
            278..280 => return self.jump(),
            _ => return self.poll(),
        }
        self.observe()
    }

    fn pass(&self, at_most: i64) {
        let mut world = self.shared.world();
        let millis = world.random.millis(at_most);
        world.advance(millis);
    }

    /// A shard receives records. Some repeat an event, some cannot be read, some are late.
    fn produce(&mut self) {
        let shard = self.below(SHARDS);
        for _ in 0..=self.below(4) {
            let mut events = Vec::new();
            for _ in 0..self.below(4) {
                events.push(self.event(shard));
            }
            let Some(model) = self.shards.get_mut(shard) else { return };
            let last =
                model.stream.last().and_then(|record| record.sequence.as_str().parse().ok()).unwrap_or(3_u64);
            let mut world = self.shared.world();
            let sequence = SequenceNumber::from(last + 1 + world.random.next() % 4);
            let bytes = simulated_events::record(&events);
            model.stream.push(StreamRecord { sequence, events, arrived_at: world.now, bytes });
        }
    }

    fn event(&mut self, shard: usize) -> SimulatedEvent {
        let mut world = self.shared.world();
        let recent = self.recent.get(shard).map(Vec::as_slice).unwrap_or_default();
        if world.random.one_in(6)
            && let Some(&event) = recent.get(world.random.below(recent.len().max(1)))
        {
            return event;
        }
        let ago_ms = match world.random.below(40) {
            0 => 450 * DAY_MS,
            1 => 35 * DAY_MS,
            2 => DAY_MS,
            3..7 => DAY_MS / 24,
            _ => world.random.millis(600_000),
        };
        let minute = Timestamp::from_millis(world.now - ago_ms).minute().0;
        let tenant = u8::try_from(world.random.below(usize::from(TENANTS))).unwrap_or_default();
        let event =
            SimulatedEvent { tenant, minute, id: self.next_event.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        self.next_event += 1;
        if let Some(recent) = self.recent.get_mut(shard) {
            recent.push(event);
        }
        event
    }

    /// A trigger delivers a batch: mostly where it left off, sometimes from earlier or with a gap, and cut differently each time.
    fn deliver(&mut self) {
        let shard = self.below(SHARDS);
        let length = self.shards.get(shard).map_or(0, |model| model.stream.len());
        let position = self.positions.get(shard).copied().unwrap_or_default();
        let from = match self.below(40) {
            0 => self.below(position + 1),
            1 => (position + self.below(3)).min(length),
            _ => position,
        };
        let to = (from + 1 + self.below(8)).min(length);
        if from < to && self.actors.len() < ACTORS {
            self.begin_batch(shard, from..to);
        }
    }

    fn begin_batch(&mut self, shard: usize, range: Range<usize>) {
        let (number, store, mut clock) = self.actor(Role::Aggregate);
        let Some(model) = self.shards.get(shard) else { return };
        let (id, records) = (model.id.clone(), model.stream.get(range.clone()).unwrap_or_default().to_vec());
        // A process that is idle, or a new one.
        let cache = self
            .caches
            .get_mut(shard)
            .and_then(Vec::pop)
            .unwrap_or_else(|| ShardCache::with_window(DeduplicationWindow::with_limit(10_000)));
        let attempt = self.attempt(5_000);
        if self.bug == Some(ProtocolBug::DeadlineIgnored) {
            clock.stopped_at = Some(self.shared.world().now);
        }
        let settings = CommitSettings { landing_ms: LANDING_MS + 2 * SKEW_MS + 1, ..Default::default() };
        let delivery = Delivery { shard, id, records, cache };
        let running = actors::aggregate(store, clock, settings, delivery, attempt);
        if let Some(delivered) = self.deliveries.get_mut(number) {
            *delivered = Some((shard, range));
        }
        self.begin(number, running);
    }

    fn compact(&mut self) {
        if self.actors.len() < ACTORS {
            let tenant = self.tenant();
            self.begin_compaction(tenant);
        }
    }

    fn begin_compaction(&mut self, tenant: u8) {
        let (number, store, clock) = self.actor(Role::Compact);
        let mut attempt = self.attempt(20_000);
        let mut settings = CompactionSettings {
            grace_ms: 60_000,
            budget_ms: 20_000,
            max_bytes: 50 + self.below(200),
            ..Default::default()
        };
        match self.bug {
            Some(ProtocolBug::BlocksInPlace) => attempt.id = 7,
            Some(ProtocolBug::GraceIgnored) => settings.grace_ms = 0,
            Some(ProtocolBug::BudgetIgnored) => {
                settings.budget_ms = i64::MAX;
                attempt.deadline = Timestamp::from_millis(i64::MAX);
            }
            _ => {}
        }
        self.begin(number, actors::compact(store, clock, settings, tenant, attempt));
    }

    fn read(&mut self) {
        if self.actors.len() < ACTORS {
            let tenant = self.tenant();
            self.begin_read(tenant);
        }
    }

    fn begin_read(&mut self, tenant: u8) {
        let (number, store, _) = self.actor(Role::Read);
        if self.bug == Some(ProtocolBug::DeltasBeforeCheckpoints) {
            let mut world = self.shared.world();
            let earlier = world.items.clone();
            world.bug_state.earlier.insert(number, earlier);
        }
        self.begin(number, actors::read(store, tenant));
    }

    fn actor(&mut self, role: Role) -> (usize, SimulatedStore, SimulatedClock) {
        let number = self.deliveries.len();
        self.deliveries.push(None);
        let skew_ms = self.shared.world().random.millis(2 * SKEW_MS) - SKEW_MS;
        let store = SimulatedStore { shared: self.shared.clone(), actor: number, role };
        (number, store, SimulatedClock { shared: self.shared.clone(), skew_ms, stopped_at: None })
    }

    fn attempt(&self, at_most_ms: i64) -> Attempt {
        let mut world = self.shared.world();
        let deadline = Timestamp::from_millis(world.now + 500 + world.random.millis(at_most_ms));
        Attempt { id: world.random.next(), deadline }
    }

    fn tenant(&self) -> u8 {
        u8::try_from(self.below(usize::from(TENANTS))).unwrap_or_default()
    }

    fn begin(&mut self, number: usize, running: Running) {
        let committed = |shard: &ShardModel| Some((shard.id.clone(), shard.committed.clone()?));
        let committed = self.shards.iter().filter_map(committed).collect();
        self.actors.push(Actor { number, running, committed });
    }

    /// One actor takes one step.
    fn poll(&mut self) -> Result<(), String> {
        if self.actors.is_empty() {
            return Ok(());
        }
        let chosen = self.below(self.actors.len());
        for _ in 0..=self.below(4) {
            self.poll_actor(chosen)?;
            self.pass(60);
            self.observe()?;
        }
        Ok(())
    }

    fn poll_actor(&mut self, chosen: usize) -> Result<(), String> {
        let Some(actor) = self.actors.get_mut(chosen) else { return Ok(()) };
        let polled = actor.running.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.observe()?;
        match polled {
            Poll::Pending => Ok(()),
            Poll::Ready(ended) => {
                let actor = self.actors.swap_remove(chosen);
                self.ended(&actor, ended)
            }
        }
    }

    fn ended(&mut self, actor: &Actor, result: ActorResult) -> Result<(), String> {
        let without_faults = !self.shared.world().faults;
        match result {
            ActorResult::Aggregated { shard, handled, cache } => {
                if let Some(caches) = self.caches.get_mut(shard) {
                    caches.push(*cache);
                }
                match handled {
                    Ok(()) => self.handled(actor.number),
                    Err(AggregateError::Busy { .. }) => self.statistics.failed += 1,
                    Err(error) if without_faults => {
                        return Err(format!("a batch failed without a fault: {error}"));
                    }
                    Err(_) => self.statistics.failed += 1,
                }
            }
            ActorResult::Compacted(Ok(summary)) => {
                self.statistics.compactions += u64::from(summary.deltas > 0);
            }
            ActorResult::Compacted(Err(CompactionError::Conflict { .. })) if !without_faults => {
                self.statistics.lost += 1;
            }
            ActorResult::Compacted(Err(error)) if without_faults => {
                return Err(format!("a compaction failed without a fault: {error}"));
            }
            ActorResult::Read(Ok(view)) => self.compare(actor, &view)?,
            ActorResult::Read(Err(error)) if without_faults => {
                return Err(format!("a read failed without a fault: {error}"));
            }
            ActorResult::Compacted(Err(_)) | ActorResult::Read(Err(_)) => self.statistics.failed += 1,
        }
        Ok(())
    }

    /// The trigger goes on after a batch that was handled.
    fn handled(&mut self, number: usize) {
        self.statistics.batches += 1;
        if let Some(Some((shard, range))) = self.deliveries.get(number)
            && let Some(position) = self.positions.get_mut(*shard)
        {
            *position = (*position).max(range.end);
        }
    }

    fn compare(&mut self, actor: &Actor, view: &View) -> Result<(), String> {
        self.statistics.reads += 1;
        let Some(total) = &view.total else {
            return Err("a live block was missing at every attempt to read".to_owned());
        };
        if let Some(block) = view.inconsistent {
            return Err(format!("{block:?} and its finer blocks hold other rows"));
        }
        for (shard, committed) in &actor.committed {
            if view.up_to.get(shard) < Some(committed) {
                return Err(format!("a reader that began at {committed} of {shard} did not see it"));
            }
        }
        let expected = model::expected(&self.shards, view.tenant, &view.up_to);
        if *total == expected {
            Ok(())
        } else {
            Err(format!(
                "tenant {} at {:?} is {:?} instead of {:?}",
                view.tenant, view.up_to, total.0, expected.0
            ))
        }
    }

    /// Lets the model follow the checkpoints that were written.
    fn observe(&mut self) -> Result<(), String> {
        let writes = std::mem::take(&mut self.shared.world().conditional_writes);
        for write in writes.iter().filter(|write| write.item.key.partition == layout::CHECKPOINTS) {
            let checkpoint = Checkpoint::decode(&write.item.body).map_err(|error| error.to_string())?;
            let Some(Some((shard, range))) = self.deliveries.get(write.actor) else { continue };
            if let Some(model) = self.shards.get_mut(*shard) {
                model.checkpoint_written(&checkpoint, range.clone())?;
            }
        }
        Ok(())
    }

    fn crash(&mut self) {
        if !self.actors.is_empty() {
            let chosen = self.below(self.actors.len());
            let actor = self.actors.swap_remove(chosen);
            self.shared.world().crash(actor.number);
            self.statistics.crashes += 1;
        }
    }
}

#[cfg(test)]
mod tests;
