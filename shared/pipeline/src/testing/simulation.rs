//! The commit protocol under everything that can happen to it, from one seed.
//!
//! One thread, an executor of its own and a clock that only the simulation moves. Streams are delivered with other cuts each
//! time, again from earlier, or with a gap; two tries may hold one shard; calls fail before or after they act, act in part, late,
//! or twice; processes crash at any call and forget what they knew; compactions race each other and readers; days and years
//! pass. Each reader must see exactly what a naive model holds committed up to the numbers that the reader itself claims,
//! and not less than was committed when it began. Not simulated: a store that loses acknowledged writes, clocks further
//! apart than allowed for, and processes that are stopped between looking at the clock and writing.

mod actors;
mod breaks;
mod happened;
mod model;
mod random;
mod tally;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::task::{Context, Poll, Waker};

use event::{SequenceNumber, ShardId, Timestamp};

use crate::history::compaction;
use crate::layout;
use crate::ledger::aggregate::{self, AggregateError, Attempt};
use crate::ledger::checkpoint::Cursor;
use crate::ledger::deduplication::Memory;
use crate::ledger::quarantine;
use actors::{Ended, Reading, Work};
pub use breaks::Break;
pub use happened::{Happened, Violation};
use model::{Produced, ShardModel};
use tally::Event;
use world::{LANDING_MS, Role, SKEW_MS, Shared, SimulatedClock, SimulatedStore, World};

/// Steps of one run, each a call's half, a new actor, or something that happens to the world.
const STEPS: usize = 300;
const TENANTS: u8 = 2;
const SHARDS: usize = 2;
const ACTORS: usize = 5;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// One run.
pub fn run(seed: u64, broken: Option<Break>) -> Result<Happened, Violation> {
    let mut simulation = Simulation::new(seed, broken);
    for step in 0..STEPS {
        simulation.step().map_err(|what| Violation { seed, step, what })?;
    }
    let quiet = simulation.come_to_rest().map_err(|what| Violation { seed, step: STEPS, what });
    simulation.happened.landed_late = simulation.shared.world().landed_late;
    quiet.map(|()| simulation.happened)
}

struct Actor {
    number: usize,
    work: Work,
    /// What had been committed when it began.
    committed: BTreeMap<ShardId, SequenceNumber>,
}

struct Simulation {
    shared: Shared,
    broken: Option<Break>,
    shards: Vec<ShardModel>,
    /// Where each shard's trigger goes on.
    checkpoints: Vec<usize>,
    /// What processes remember of each shard while they are not at work.
    memories: Vec<Vec<Memory>>,
    actors: Vec<Actor>,
    /// Which records each try was given.
    deliveries: Vec<Option<(usize, Range<usize>)>>,
    next_event: u64,
    /// Events that upstream may deliver once more, by shard.
    recent: Vec<Vec<Event>>,
    happened: Happened,
}

impl Simulation {
    fn new(seed: u64, broken: Option<Break>) -> Self {
        let shard = |number: usize| ShardId::new(&format!("shard-{number}")).map(ShardModel::new);
        Self {
            shared: Shared::new(World::new(seed, broken)),
            broken,
            shards: (0..SHARDS).flat_map(shard).collect(),
            checkpoints: vec![0; SHARDS],
            memories: vec![Vec::new(); SHARDS],
            actors: Vec::new(),
            deliveries: Vec::new(),
            next_event: 1,
            recent: vec![Vec::new(); SHARDS],
            happened: Happened::default(),
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
            245..251 => self.memories = vec![Vec::new(); SHARDS],
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

    /// Records come to a shard; some repeat an event, some cannot be read, some are late.
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
            let bytes = tally::record(&events);
            model.stream.push(Produced { sequence, events, arrived_at: world.now, bytes });
        }
    }

    fn event(&mut self, shard: usize) -> Event {
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
        let event = Event { tenant, minute, id: self.next_event.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        self.next_event += 1;
        if let Some(recent) = self.recent.get_mut(shard) {
            recent.push(event);
        }
        event
    }

    /// A trigger delivers a batch: where it left off mostly, at times from earlier or with a gap, and cut anew each time.
    fn deliver(&mut self) {
        let shard = self.below(SHARDS);
        let length = self.shards.get(shard).map_or(0, |model| model.stream.len());
        let checkpoint = self.checkpoints.get(shard).copied().unwrap_or_default();
        let from = match self.below(40) {
            0 => self.below(checkpoint + 1),
            1 => (checkpoint + self.below(3)).min(length),
            _ => checkpoint,
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
        let memory =
            self.memories.get_mut(shard).and_then(Vec::pop).unwrap_or_else(|| Memory::with_limit(10_000));
        let attempt = self.attempt(5_000);
        if self.broken == Some(Break::DeadlineIgnored) {
            clock.stopped_at = Some(self.shared.world().now);
        }
        let settings = aggregate::Settings { landing_ms: LANDING_MS + 2 * SKEW_MS + 1, ..Default::default() };
        let work = actors::aggregate(store, clock, settings, (shard, id), records, memory, attempt);
        if let Some(delivery) = self.deliveries.get_mut(number) {
            *delivery = Some((shard, range));
        }
        self.begin(number, work);
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
        let mut settings = compaction::Settings {
            grace_ms: 60_000,
            budget_ms: 20_000,
            max_bytes: 50 + self.below(200),
            ..Default::default()
        };
        match self.broken {
            Some(Break::BlocksInPlace) => attempt.id = 7,
            Some(Break::GraceIgnored) => settings.grace_ms = 0,
            Some(Break::BudgetIgnored) => {
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
            self.begin_reading(tenant);
        }
    }

    fn begin_reading(&mut self, tenant: u8) {
        let (number, store, _) = self.actor(Role::Read);
        if self.broken == Some(Break::DeltasBeforeCursors) {
            let mut world = self.shared.world();
            let earlier = world.items.clone();
            world.sabotage.earlier.insert(number, earlier);
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

    fn begin(&mut self, number: usize, work: Work) {
        let done = |shard: &ShardModel| shard.done.clone().map(|done| (shard.id.clone(), done));
        let committed = self.shards.iter().filter_map(done).collect();
        self.actors.push(Actor { number, work, committed });
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
        let polled = actor.work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.observe()?;
        match polled {
            Poll::Pending => Ok(()),
            Poll::Ready(ended) => {
                let actor = self.actors.swap_remove(chosen);
                self.ended(&actor, ended)
            }
        }
    }

    fn ended(&mut self, actor: &Actor, ended: Ended) -> Result<(), String> {
        let calm = !self.shared.world().faults;
        match ended {
            Ended::Aggregated { shard, handled, memory } => {
                self.memories.get_mut(shard).into_iter().for_each(|memories| memories.push(memory.clone()));
                match handled {
                    Ok(()) => self.handled(actor.number),
                    Err(AggregateError::Busy { .. }) => self.happened.failed += 1,
                    Err(error) if calm => {
                        return Err(format!("a batch failed though nothing else did: {error}"));
                    }
                    Err(_) => self.happened.failed += 1,
                }
            }
            Ended::Compacted(Ok(compacted)) => self.happened.compactions += u64::from(compacted.deltas > 0),
            Ended::Compacted(Err(compaction::CompactError::Conflict { .. })) if !calm => {
                self.happened.lost += 1;
            }
            Ended::Compacted(Err(error)) if calm => {
                return Err(format!("a compaction failed alone: {error}"));
            }
            Ended::Read(Ok(reading)) => self.compare(actor, &reading)?,
            Ended::Read(Err(error)) if calm => return Err(format!("a reading failed alone: {error}")),
            Ended::Compacted(Err(_)) | Ended::Read(Err(_)) => self.happened.failed += 1,
        }
        Ok(())
    }

    /// The trigger goes on behind a batch that was handled.
    fn handled(&mut self, number: usize) {
        self.happened.batches += 1;
        if let Some(Some((shard, range))) = self.deliveries.get(number)
            && let Some(checkpoint) = self.checkpoints.get_mut(*shard)
        {
            *checkpoint = (*checkpoint).max(range.end);
        }
    }

    fn compare(&mut self, actor: &Actor, reading: &Reading) -> Result<(), String> {
        self.happened.readings += 1;
        let Some(total) = &reading.total else {
            return Err("a reader found blocks gone each time".to_owned());
        };
        if let Some(block) = reading.unlike {
            return Err(format!("{block:?} and its finer blocks hold other rows"));
        }
        for (shard, done) in &actor.committed {
            if reading.upto.get(shard) < Some(done) {
                return Err(format!("a reader that began at {done} of {shard} did not see it"));
            }
        }
        let expected = model::expected(&self.shards, reading.tenant, &reading.upto);
        if *total == expected {
            Ok(())
        } else {
            Err(format!(
                "tenant {} at {:?} is {:?} instead of {:?}",
                reading.tenant, reading.upto, total.0, expected.0
            ))
        }
    }

    /// Tells the model what the cursors say.
    fn observe(&mut self) -> Result<(), String> {
        let moved = std::mem::take(&mut self.shared.world().moved);
        for moved in moved.iter().filter(|moved| moved.item.key.partition == layout::CHECKPOINTS) {
            let cursor = Cursor::decode(&moved.item.body).map_err(|error| error.to_string())?;
            let Some(Some((shard, range))) = self.deliveries.get(moved.actor) else { continue };
            if let Some(model) = self.shards.get_mut(*shard) {
                model.moved(&cursor, range.clone())?;
            }
        }
        Ok(())
    }

    fn crash(&mut self) {
        if !self.actors.is_empty() {
            let chosen = self.below(self.actors.len());
            let actor = self.actors.swap_remove(chosen);
            self.shared.world().crash(actor.number);
            self.happened.crashes += 1;
        }
    }

    /// Everything stops, all leases end, and what is left is handled without faults: then all must be there.
    fn come_to_rest(&mut self) -> Result<(), String> {
        while !self.actors.is_empty() {
            self.crash();
        }
        self.shared.world().faults = false;
        // Longer than any lease, any landing and the grace.
        self.shared.world().advance(120_000);
        self.observe()?;
        for shard in 0..SHARDS {
            let length = self.shards.get(shard).map_or(0, |model| model.stream.len());
            let checkpoint = self.checkpoints.get(shard).copied().unwrap_or_default();
            // Once more if leftovers ahead of the batch had to be waited for.
            for _ in 0..2 {
                if self.checkpoints.get(shard).is_some_and(|&checkpoint| checkpoint < length) {
                    self.begin_batch(shard, checkpoint..length);
                    self.run_alone()?;
                    self.shared.world().advance(10_000);
                }
            }
            if self.checkpoints.get(shard).is_some_and(|&checkpoint| checkpoint < length) {
                return Err(format!("shard {shard} does not get done"));
            }
        }
        for tenant in 0..TENANTS {
            self.begin_reading(tenant);
            self.run_alone()?;
            // The limit on bytes may leave some for the next time.
            for _ in 0..40 {
                let before = self.happened.compactions;
                self.begin_compaction(tenant);
                self.run_alone()?;
                if self.happened.compactions == before {
                    break;
                }
            }
            self.begin_reading(tenant);
            self.run_alone()?;
        }
        self.check_quarantine()?;
        self.shared.world().faults = true;
        Ok(())
    }

    fn run_alone(&mut self) -> Result<(), String> {
        while !self.actors.is_empty() {
            self.poll_actor(0)?;
        }
        Ok(())
    }

    fn check_quarantine(&self) -> Result<(), String> {
        let world = self.shared.world();
        for shard in &self.shards {
            let prefix = format!("{}#", shard.id);
            let stored = world.items.iter().filter(|item| item.key.partition.starts_with("q#"));
            let mut found = std::collections::BTreeSet::new();
            for item in stored.filter(|item| item.key.sort.starts_with(&prefix)) {
                let records = quarantine::decode(&item.body).map_err(|error| error.to_string())?;
                found.extend(records.iter().map(|record| record.sequence.to_string()));
            }
            if found != shard.quarantined {
                return Err(format!("{found:?} are quarantined instead of {:?}", shard.quarantined));
            }
        }
        Ok(())
    }

    /// Days, weeks or a year pass, after which nothing of what has expired may be missed.
    fn jump(&mut self) -> Result<(), String> {
        self.come_to_rest()?;
        self.happened.jumps += 1;
        {
            let mut world = self.shared.world();
            let days = [1, 4, 35, 450][world.random.below(4)];
            world.now += days * DAY_MS;
            let now = Timestamp::from_millis(world.now);
            let expired: Vec<_> =
                world.items.iter().filter(|item| item.expires_at.is_some_and(|at| at <= now)).collect();
            let expired: Vec<_> = expired.into_iter().map(|item| item.key.clone()).collect();
            for key in expired {
                // A store may take its time.
                // The model forgets what was quarantined by whole jumps; several short ones may add up to as much.
                let goes = if key.partition.starts_with("q#") { days > 14 } else { world.random.one_in(2) };
                if goes {
                    world.items.delete(&key);
                }
            }
            if days > 14 {
                self.shards.iter_mut().for_each(|shard| shard.quarantined.clear());
            }
        }
        self.recent = vec![Vec::new(); SHARDS];
        self.come_to_rest()
    }
}

#[cfg(test)]
mod tests;
