//! Counting events in tests of what reads counts: one batch at a time, at a set time, under a known key.

use event::attribution::Attribution;
use event::{HashKey, SequenceNumber, ShardId, Timestamp};

use crate::ledger::accumulate::EventFold;
use crate::ledger::aggregate::{self, AggregateError, Attempt, Batch, Record};
use crate::ledger::checkpoint::Totals;
use crate::ledger::deduplication::Memory;
use crate::ledger::quarantine::Seal;
use crate::ports::{Clock, Store};

/// A clock that stands.
#[derive(Clone, Copy, Debug)]
pub struct At(pub Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Seals by turning every bit.
#[derive(Clone, Copy, Debug)]
pub struct Turned;

impl Seal for Turned {
    fn seal(&self, _: &str, clear: &[u8]) -> Option<Vec<u8>> {
        Some(clear.iter().map(|byte| !byte).collect())
    }

    fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        self.seal(place, sealed)
    }
}

/// Counts `data` as the record of this number of a shard, which came at `now`.
///
/// # Errors
/// [`AggregateError`] as counting has them; a number that was there before is skipped.
pub async fn count<S: Store>(
    store: &S,
    shard: &ShardId,
    number: u64,
    data: &[u8],
    now: Timestamp,
) -> Result<Totals, AggregateError> {
    let mut fold = EventFold::new(Attribution::default(), HashKey::new([7; 16]), Turned);
    let records = vec![Record { sequence: SequenceNumber::from(number), arrived_at: now, data }];
    let batch = Batch { shard, records };
    let attempt = Attempt { id: number, deadline: now.plus_millis(60_000) };
    let (settings, mut memory) = (aggregate::Settings::default(), Memory::default());
    let counted =
        aggregate::aggregate(store, &At(now), &settings, &mut fold, &mut memory, &batch, attempt).await?;
    Ok(counted.totals)
}
