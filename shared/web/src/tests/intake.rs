//! The clock and the intake of tests: events are counted by the real step, unless the intake is busy.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use event::{HashKey, SequenceNumber, ShardId, Timestamp};
use pipeline::ledger::accumulate::EventAccumulator;
use pipeline::ledger::aggregate::{Aggregation, Attempt, Batch, CommitSettings, Record, ShardCache};
use pipeline::ports::Clock;
use pipeline::testing::counting::BitFlipSeal;

use super::store::TestStore;
use crate::{IngestError, Ingested, Intake, Unavailable};

/// A clock that a test sets.
#[derive(Clone, Debug)]
pub(super) struct TestClock(Arc<Mutex<Timestamp>>);

impl TestClock {
    pub(super) fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    pub(super) fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap() = now;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// What the intake does with payloads. It always remembers those that it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Counts them.
    Counting,
    /// Refuses them.
    Busy,
    /// Drops them: for bodies so large that counting them would take longer than all other tests together.
    Dropping,
}

pub(super) struct TestIntake {
    store: Arc<TestStore>,
    clock: TestClock,
    shard: ShardId,
    mode: Mode,
    counting: tokio::sync::Mutex<Counting>,
    accepted: Mutex<Vec<Bytes>>,
}

struct Counting {
    accumulator: EventAccumulator<BitFlipSeal>,
    cache: ShardCache,
    next: u64,
}

impl TestIntake {
    /// Counts into a shard of its own. The deployment declares the tag `brand`.
    pub(super) fn new(store: Arc<TestStore>, clock: TestClock, shard: &str, mode: Mode) -> Self {
        let attribution = serde_json::from_str(r#"{"tags":["brand"]}"#).unwrap();
        let accumulator = EventAccumulator::new(attribution, HashKey::new([7; 16]), BitFlipSeal);
        let counting = Counting { accumulator, cache: ShardCache::default(), next: 1 };
        Self {
            store,
            clock,
            shard: ShardId::new(shard).unwrap(),
            mode,
            counting: tokio::sync::Mutex::new(counting),
            accepted: Mutex::default(),
        }
    }

    /// The payloads that were accepted, as they arrived.
    pub(super) fn accepted(&self) -> Vec<Bytes> {
        self.accepted.lock().unwrap().clone()
    }
}

impl Intake for TestIntake {
    async fn count(&self, payloads: Vec<Bytes>) -> Result<Ingested, IngestError> {
        match self.mode {
            Mode::Busy => return Err(IngestError::Busy { retry_after_s: 7 }),
            Mode::Dropping => {
                self.accepted.lock().unwrap().extend(payloads);
                return Ok(Ingested::default());
            }
            Mode::Counting => {}
        }
        let mut counting = self.counting.lock().await;
        let now = self.clock.now();
        let Counting { accumulator, cache, next } = &mut *counting;
        let numbered = (*next..).zip(&payloads);
        let records = numbered
            .map(|(number, data)| Record { sequence: SequenceNumber::from(number), arrived_at: now, data })
            .collect();
        let batch = Batch { shard: &self.shard, records };
        let attempt = Attempt { id: *next, deadline: now.plus_millis(60_000) };
        let aggregation = Aggregation {
            store: &*self.store,
            clock: &self.clock,
            settings: CommitSettings::default(),
            attempt,
        };
        let committed = aggregation
            .handle(accumulator, cache, &batch)
            .await
            .map_err(|error| Unavailable { operation: "counting", source: error.into() })?;
        *next += payloads.len() as u64;
        self.accepted.lock().unwrap().extend(payloads);
        Ok(Ingested {
            events: committed.totals.aggregated,
            duplicates: committed.totals.duplicates,
            ignored: committed.totals.ignored,
            ignored_kinds: committed.ignored(),
            quarantined: committed.totals.quarantined,
        })
    }

    fn oldest_unmerged(&self) -> Option<Timestamp> {
        None
    }

    fn storage_fault(&self) -> Option<String> {
        None
    }
}
