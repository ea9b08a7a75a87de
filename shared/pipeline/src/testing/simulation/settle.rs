//! The quiet phases of a run: all faults stop, the rest is handled, and then everything must be counted.

use std::collections::BTreeSet;

use event::Timestamp;

use super::{DAY_MS, SHARDS, Simulation, TENANTS};
use crate::codec::StoredRecord as _;
use crate::ledger::quarantine::QuarantinedParts;

/// Days that quarantined records are kept, by default.
const QUARANTINE_DAYS: i64 = 14;

impl Simulation {
    /// All actors crash, all leases expire, and the rest is handled without faults. Then everything must be counted.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        while !self.actors.is_empty() {
            self.crash();
        }
        self.shared.world().faults = false;
        // Longer than any lease, any landing and the grace period.
        self.shared.world().advance(120_000);
        self.observe()?;
        for shard in 0..SHARDS {
            let length = self.shards.get(shard).map_or(0, |model| model.stream.len());
            let position = self.positions.get(shard).copied().unwrap_or_default();
            // A second time if the first attempt had to wait until removals ahead of the batch had landed.
            for _ in 0..2 {
                if self.positions.get(shard).is_some_and(|&position| position < length) {
                    self.begin_batch(shard, position..length);
                    self.run_alone()?;
                    self.shared.world().advance(10_000);
                }
            }
            if self.positions.get(shard).is_some_and(|&position| position < length) {
                return Err(format!("shard {shard} does not get to its end"));
            }
        }
        for tenant in 0..TENANTS {
            self.begin_read(tenant);
            self.run_alone()?;
            // The limit on bytes may leave deltas for further compactions.
            for _ in 0..40 {
                let before = self.statistics.compactions;
                self.begin_compaction(tenant);
                self.run_alone()?;
                if self.statistics.compactions == before {
                    break;
                }
            }
            self.begin_read(tenant);
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
            let mut found = BTreeSet::new();
            for item in stored.filter(|item| item.key.sort.starts_with(&prefix)) {
                let parts = QuarantinedParts::decode(&item.body).map_err(|error| error.to_string())?;
                found.extend(parts.0.iter().map(|part| part.sequence.to_string()));
            }
            if found != shard.quarantined {
                return Err(format!("{found:?} are quarantined instead of {:?}", shard.quarantined));
            }
        }
        Ok(())
    }

    /// Days, weeks or a year pass. Nothing that expired meanwhile may be missed.
    pub(super) fn jump(&mut self) -> Result<(), String> {
        self.settle()?;
        self.statistics.jumps += 1;
        {
            let mut world = self.shared.world();
            let days = [1, 4, 35, 450][world.random.below(4)];
            world.now += days * DAY_MS;
            let now = Timestamp::from_millis(world.now);
            let expired: Vec<_> =
                world.items.iter().filter(|item| item.expires_at.is_some_and(|at| at <= now)).collect();
            let expired: Vec<_> = expired.into_iter().map(|item| item.key.clone()).collect();
            for key in expired {
                // A store may remove expired items late, but quarantined ones are removed exactly when the model forgets them: several
                // short jumps may add up to their retention.
                let is_removed = if key.partition.starts_with("q#") {
                    days > QUARANTINE_DAYS
                } else {
                    world.random.one_in(2)
                };
                if is_removed {
                    world.items.delete(&key);
                }
            }
            if days > QUARANTINE_DAYS {
                self.shards.iter_mut().for_each(|shard| shard.quarantined.clear());
            }
        }
        self.recent = vec![Vec::new(); SHARDS];
        self.settle()
    }
}
