//! Replays quarantined parts: handles them again, for example with a newer program that can read them, and removes them.
//!
//! A replay is a batch of a shard of its own ([`ShardId::quarantine_replay`]), so that it too is counted once if it dies half-way. What
//! still cannot be read is quarantined again, and what cannot be opened stays where it is.

use event::{SequenceNumber, ShardId};

use super::accumulate::Accumulate;
use super::aggregate::{AggregateError, Aggregation, Batch, Committed, Record, ShardCache};
use super::checkpoint::{self, Checkpoint};
use super::quarantine::{self, RemoveError, Seal, StoredPart};
use crate::codec::MalformedRecord;
use crate::layout;
use crate::ports::{Clock, Store};
use crate::stored::ReadError;

/// Handles `parts` again and removes those that could be opened once that is committed.
///
/// # Errors
/// [`AggregateError`] if the parts were not counted, or were counted but not all removed. A part that is replayed twice is counted once,
/// as long as its events are in the deduplication window.
pub async fn replay<S: Store, C: Clock, A: Accumulate, Z: Seal>(
    aggregation: &Aggregation<'_, S, C>,
    accumulator: &mut A,
    cache: &mut ShardCache,
    seal: &Z,
    parts: &[StoredPart],
) -> Result<Committed, AggregateError> {
    let shard = ShardId::quarantine_replay();
    let unreadable = |source| AggregateError::Read { shard: shard.clone(), source };
    // The position of the replay shard gives the next free number; the stream itself has none.
    let held = checkpoint::read(aggregation.store, &shard).await.map_err(unreadable)?;
    let next = next_number(&held.record)
        .map_err(|source| unreadable(ReadError::Record { key: layout::checkpoint(&shard), source }))?;
    let mut opened = Vec::new();
    for stored in parts {
        // A part that cannot be opened has no record here, so it is neither counted nor removed.
        opened.extend(stored.part.open(seal).map(|data| (stored, data)));
    }
    let records = opened.iter().zip(next..).map(|((stored, data), number)| Record {
        sequence: SequenceNumber::from(number),
        arrived_at: stored.part.arrived_at,
        data,
    });
    let batch = Batch { shard: &shard, records: records.collect() };
    let committed = aggregation.handle(accumulator, cache, &batch).await?;
    let handled: Vec<StoredPart> = opened.into_iter().map(|(stored, _)| stored.clone()).collect();
    // Removed after the commit: if this process dies in between, the parts are replayed again and found to be
    // duplicates.
    match quarantine::remove(aggregation.store, &handled).await {
        Ok(()) => Ok(committed),
        Err(RemoveError::Conflict(_)) => Err(AggregateError::Conflict { shard }),
        Err(RemoveError::Read(source)) => Err(AggregateError::Read { shard, source }),
    }
}

/// The first free sequence number of the replay shard, which this program counts itself. A number that is in use would be skipped as
/// committed, and its part then removed uncounted.
fn next_number(checkpoint: &Checkpoint) -> Result<u64, MalformedRecord> {
    match &checkpoint.committed {
        None => Ok(1),
        Some(last) => {
            // The numbers of Kinesis have some 56 digits and do not parse, so a foreign position is refused.
            let last = last.as_str().parse::<u64>().ok();
            last.and_then(|last| last.checked_add(1))
                .ok_or(MalformedRecord::Damaged("its sequence number is not one of a replay"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbering_goes_on_behind_the_last_replay_and_refuses_numbers_of_a_stream() {
        let after = |committed: Option<&str>| {
            let committed = committed.map(|text| SequenceNumber::parse(text).unwrap());
            next_number(&Checkpoint { committed, ..Checkpoint::default() }).ok()
        };
        for (committed, expected) in [
            (None, Some(1)),
            (Some("41"), Some(42)),
            (Some("18446744073709551615"), None),
            (Some("49590338271490256608559692538361571095921575989136588898"), None),
        ] {
            assert_eq!(after(committed), expected, "{committed:?}");
        }
    }
}
