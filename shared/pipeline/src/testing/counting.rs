//! Counts events in tests of what reads counts: one record at a time, at a fixed time, with a known hash key.

use event::attribution::Attribution;
use event::{HashKey, SequenceNumber, ShardId, Timestamp};

use crate::ledger::accumulate::EventAccumulator;
use crate::ledger::aggregate::{
    AggregateError, Aggregation, Attempt, Batch, CommitSettings, Record, ShardCache,
};
use crate::ledger::checkpoint::Totals;
use crate::ledger::quarantine::Seal;
use crate::ports::{Clock, Store};

/// A clock that stands still.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Seals by flipping every bit, in any context.
#[derive(Clone, Copy, Debug)]
pub struct BitFlipSeal;

impl Seal for BitFlipSeal {
    fn seal(&self, _: &str, clear: &[u8]) -> Option<Vec<u8>> {
        Some(clear.iter().map(|byte| !byte).collect())
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        self.seal(context, sealed)
    }
}

/// Counts `data` as the record with this sequence number, which arrives at `now`. A number that is committed already is skipped.
///
/// # Errors
/// [`AggregateError`] as any batch.
pub async fn count<S: Store>(
    store: &S,
    shard: &ShardId,
    number: u64,
    data: &[u8],
    now: Timestamp,
) -> Result<Totals, AggregateError> {
    let mut accumulator = EventAccumulator::new(Attribution::default(), HashKey::new([7; 16]), BitFlipSeal);
    let records = vec![Record { sequence: SequenceNumber::from(number), arrived_at: now, data }];
    let aggregation = Aggregation {
        store,
        clock: &FixedClock(now),
        settings: CommitSettings::default(),
        attempt: Attempt { id: number, deadline: now.plus_millis(60_000) },
    };
    let batch = Batch { shard, records };
    Ok(aggregation.handle(&mut accumulator, &mut ShardCache::default(), &batch).await?.totals)
}
