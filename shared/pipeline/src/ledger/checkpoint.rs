//! The checkpoint of a shard: how far the shard is committed, and which batch is in flight. One small item per shard.
//!
//! Everything a batch writes becomes visible at once, when the checkpoint moves: a delta counts if and only if its batch begins at or
//! before [`Checkpoint::committed`]. The keys a batch writes are listed in its receipt instead, so that the checkpoint stays a few
//! hundred bytes: all checkpoints share a partition, and each batch writes one twice.
//!
//! This file says which states there are; `commit.rs` drives the transitions between them.
//!
//! ```text
//! idle ── begin ─▶ in flight ── end ─▶ idle, `committed` is the batch's last record
//!                    │   ▲
//!                    └───┘ take over: the attempt died and its lease has expired
//! ```

use event::{SequenceNumber, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::{self, MalformedRecord, StoredRecord};
use crate::directory::tenants::ErasureCount;
use crate::layout;
use crate::ledger::deduplication::DeduplicationReach;
use crate::ports::{PutError, Store};
use crate::stored::{self, ReadError, Versioned};

/// The stored position of a shard with its totals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Every record up to and including this one is handled and visible. `None` if no batch was committed yet.
    #[serde(with = "codec::option")]
    pub committed: Option<SequenceNumber>,
    /// The batch that an attempt is writing, or was writing when it died.
    pub in_flight: Option<InFlight>,
    /// Outcomes of all records up to `committed`.
    pub totals: Totals,
    /// When the newest counted event happened.
    #[serde(with = "codec::option")]
    pub newest_event: Option<Timestamp>,
    /// When the stream received the newest committed record: the shard is complete until then.
    #[serde(with = "codec::option")]
    pub last_arrival: Option<Timestamp>,
    /// Since when duplicates are recognised.
    pub deduplication: DeduplicationReach,
}

/// A batch that is being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Its first record. The keys of its receipt and deltas contain this number.
    #[serde(with = "codec::form")]
    pub first: SequenceNumber,
    /// Its last record: where the checkpoint goes when the batch is committed.
    #[serde(with = "codec::form")]
    pub last: SequenceNumber,
    /// The ID of the attempt that writes it.
    #[serde(with = "postcard::fixint::le")]
    pub attempt: u64,
    /// No other attempt may modify the batch before this time: writes of the attempt may still land.
    #[serde(with = "codec::form")]
    pub lease_until: Timestamp,
}

/// Outcomes of records and events. Each count of an event that was read is either a duplicate or aggregated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records taken from the stream.
    pub records: u64,
    /// Counts of events in these records: one per recipient.
    pub events: u64,
    /// Counts that were dropped because the same event had been counted.
    pub duplicates: u64,
    /// Counts of late events. They are part of `aggregated`.
    pub late: u64,
    /// Counts that went into deltas. Together with `duplicates` they make up `events`.
    pub aggregated: u64,
    /// Parts of records that cannot be read.
    pub quarantined: u64,
    /// Parts of records that are not email events by design.
    pub ignored: u64,
    /// Counts whose tenant is in doubt. They are part of `aggregated`.
    pub conflicts: u64,
}

impl Totals {
    /// Adds the outcomes of other records.
    pub fn add(&mut self, other: &Self) {
        for (sum, &count) in self.fields_mut().into_iter().zip(&other.fields()) {
            // A total at its limit stays there. An overflow would panic or start from 0, and either would stop or
            // falsify the shard.
            *sum = sum.saturating_add(count);
        }
    }

    /// The difference to `earlier`, an older state of these totals.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        for (count, &before) in difference.fields_mut().into_iter().zip(&earlier.fields()) {
            // Totals only grow, so an earlier state is never larger; if a caller mixes states up, 0 is the least
            // wrong answer.
            *count = count.saturating_sub(before);
        }
        difference
    }

    fn fields(&self) -> [u64; 8] {
        let Self { records, events, duplicates, late, aggregated, quarantined, ignored, conflicts } = *self;
        [records, events, duplicates, late, aggregated, quarantined, ignored, conflicts]
    }

    fn fields_mut(&mut self) -> [&mut u64; 8] {
        let Self { records, events, duplicates, late, aggregated, quarantined, ignored, conflicts } = self;
        [records, events, duplicates, late, aggregated, quarantined, ignored, conflicts]
    }
}

impl Checkpoint {
    /// The batch in flight whose lease is valid at `now`, if there is one.
    pub(super) fn leased_at(&self, now: Timestamp) -> Option<&InFlight> {
        // At `lease_until` itself everything has landed, so that millisecond belongs to the next attempt.
        self.in_flight.as_ref().filter(|batch| now < batch.lease_until)
    }

    /// The same position with `batch` in flight.
    pub(super) fn with_in_flight(&self, batch: InFlight) -> Self {
        Self { in_flight: Some(batch), ..self.clone() }
    }

    /// The same batch in flight under a lease that ends at `until`, unless it ends earlier already.
    pub(super) fn with_shorter_lease(&self, until: Timestamp) -> Self {
        let mut shortened = self.clone();
        if let Some(batch) = &mut shortened.in_flight {
            batch.lease_until = batch.lease_until.min(until);
        }
        shortened
    }

    /// The position behind a batch that ends at `last`: nothing is in flight, and its outcomes are in the totals.
    pub(super) fn after_commit(
        &self,
        last: SequenceNumber,
        arrived_at: Timestamp,
        totals: &Totals,
        newest_event: Option<Timestamp>,
        deduplication: DeduplicationReach,
    ) -> Self {
        let mut after = Self {
            committed: Some(last),
            in_flight: None,
            totals: self.totals,
            // A replayed or older batch must not move the times back: readers take them for how complete the numbers
            // are.
            newest_event: self.newest_event.max(newest_event),
            last_arrival: self.last_arrival.max(Some(arrived_at)),
            deduplication,
        };
        after.totals.add(totals);
        after
    }
}

impl StoredRecord for Checkpoint {
    const NAME: &'static str = "checkpoint";
    const FORMAT: u8 = 4;
    const OLDEST_FORMAT: u8 = 3;

    fn read_older(_format: u8, record: &[u8]) -> Option<(Self, &[u8])> {
        let (Checkpoint3 { committed, in_flight, totals, newest_event, last_arrival }, rest) =
            postcard::take_from_bytes(record).ok()?;
        let deduplication = DeduplicationReach::default();
        Some((Self { committed, in_flight, totals, newest_event, last_arrival, deduplication }, rest))
    }
}

/// Format 3, which did not say since when duplicates are recognised.
#[derive(Deserialize)]
struct Checkpoint3 {
    #[serde(with = "codec::option")]
    committed: Option<SequenceNumber>,
    in_flight: Option<InFlight>,
    totals: Totals,
    #[serde(with = "codec::option")]
    newest_event: Option<Timestamp>,
    #[serde(with = "codec::option")]
    last_arrival: Option<Timestamp>,
}

/// Reads the checkpoint of one shard. A shard without one has the default checkpoint.
pub async fn read<S: Store>(store: &S, shard: &ShardId) -> Result<Versioned<Checkpoint>, ReadError> {
    stored::get(store, layout::checkpoint(shard)).await
}

/// Reads the checkpoint of one shard and the erasure count in one call, since every batch begins with both.
pub(super) async fn read_with_erasures<S: Store>(
    store: &S,
    shard: &ShardId,
) -> Result<(Versioned<Checkpoint>, ErasureCount), ReadError> {
    // If the count were read after the deltas were written, an erasure in between would go unnoticed.
    let keys = vec![layout::checkpoint(shard), layout::erasure_count()];
    let mut found = store.get(keys).await?.into_iter();
    let (checkpoint, erasures) = (found.next().flatten(), found.next().flatten());
    Ok((stored::decode_or_default(checkpoint.as_ref())?, ErasureCount::of(erasures.as_ref())))
}

/// Reads the checkpoints of all shards.
pub async fn read_all<S: Store>(store: &S) -> Result<Vec<(ShardId, Checkpoint)>, ReadError> {
    let mut checkpoints = Vec::new();
    for item in stored::range(store, layout::whole(layout::CHECKPOINTS)).await? {
        let checkpoint = stored::decode(&item)?;
        // An error and not a shard left out: every reader would silently miss that shard's numbers.
        let Ok(shard) = ShardId::new(&item.key.sort) else {
            let source = MalformedRecord::Damaged("its key is not a shard");
            return Err(ReadError::Record { key: item.key, source });
        };
        checkpoints.push((shard, checkpoint));
    }
    Ok(checkpoints)
}

/// Writes `to` if the stored checkpoint is still the one that was read as `from`.
pub(crate) async fn replace<S: Store>(
    store: &S,
    shard: &ShardId,
    from: &Versioned<Checkpoint>,
    to: Checkpoint,
) -> Result<Versioned<Checkpoint>, PutError> {
    let version = stored::put_if(store, layout::checkpoint(shard), &to, from.version).await?;
    Ok(Versioned { record: to, version: Some(version) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::samples;

    fn number(value: u64) -> SequenceNumber {
        SequenceNumber::from(value)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn in_flight(lease_until: i64) -> Checkpoint {
        let batch = InFlight { first: number(5), last: number(9), attempt: 1, lease_until: at(lease_until) };
        Checkpoint { committed: Some(number(4)), ..Checkpoint::default() }.with_in_flight(batch)
    }

    fn full() -> Checkpoint {
        let number =
            SequenceNumber::parse("49590338271490256608559692538361571095921575989136588898").unwrap();
        Checkpoint {
            committed: Some(number.clone()),
            in_flight: Some(InFlight {
                first: number.clone(),
                last: number,
                attempt: u64::MAX,
                lease_until: at(1_763_000_000_000),
            }),
            totals: Totals {
                records: 1,
                events: 2,
                duplicates: 3,
                late: 4,
                aggregated: 5,
                quarantined: 6,
                ignored: 7,
                conflicts: 8,
            },
            newest_event: Some(at(-1)),
            last_arrival: None,
            deduplication: DeduplicationReach::default(),
        }
    }

    #[test]
    fn checkpoint_is_read_as_it_was_written() {
        for checkpoint in [Checkpoint::default(), full()] {
            assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }
    }

    #[test]
    fn stored_sample_of_each_format_is_read() {
        let forgotten = event::TenantId::new("acme").unwrap();
        let deduplication =
            DeduplicationReach::new(Some(at(7)), [(&forgotten, at(1_763_000_000_000))].into_iter());
        samples::check("checkpoint-4", &Checkpoint { deduplication, ..full() });
        samples::check_older("checkpoint-3", &full());
    }

    #[test]
    fn lease_is_valid_until_its_last_millisecond() {
        for (now, expected) in [(0, true), (99, true), (100, false), (101, false)] {
            assert_eq!(in_flight(100).leased_at(at(now)).is_some(), expected, "{now}");
        }
        assert_eq!(Checkpoint::default().leased_at(at(0)), None);
    }

    #[test]
    fn lease_is_shortened_but_never_prolonged() {
        for (until, expected) in [(50, 50), (100, 100), (200, 100)] {
            let shortened = in_flight(100).with_shorter_lease(at(until));
            assert_eq!(shortened, in_flight(expected), "{until}");
        }
        assert_eq!(Checkpoint::default().with_shorter_lease(at(5)), Checkpoint::default());
    }

    #[test]
    fn commit_moves_the_position_ends_the_flight_and_adds_the_totals() {
        let totals = Totals { records: 5, events: 7, ..Totals::default() };
        let first = in_flight(100).after_commit(
            number(9),
            at(60),
            &totals,
            Some(at(50)),
            DeduplicationReach::default(),
        );
        assert_eq!((&first.committed, &first.in_flight), (&Some(number(9)), &None));
        assert_eq!((first.newest_event, first.last_arrival), (Some(at(50)), Some(at(60))));
        // An older batch, such as a replay, never moves the times back.
        let second = first.after_commit(number(12), at(40), &totals, None, DeduplicationReach::default());
        assert_eq!((second.newest_event, second.last_arrival), (Some(at(50)), Some(at(60))));
        assert_eq!((second.totals.records, second.totals.events), (10, 14));
    }

    #[test]
    fn totals_since_an_earlier_state_are_what_was_added() {
        let added = full().totals;
        let mut sum = Totals { records: 10, ignored: 3, ..Totals::default() };
        let before = sum;
        sum.add(&added);
        assert_eq!(sum.since(&before), added);
        assert_eq!(before.since(&sum), Totals::default());
    }

    /// A step of one attempt, with the length of its batch, a time and some outcomes.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Begin { length: u64, lease_until: i64 },
        Shorten { until: i64 },
        End { arrived_at: i64, events: u64, newest_event: Option<i64> },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..9_u64, 0..1_000_i64).prop_map(|(length, lease_until)| Step::Begin { length, lease_until }),
            (0..1_000_i64).prop_map(|until| Step::Shorten { until }),
            (0..1_000_i64, 0..9_u64, any::<Option<i16>>()).prop_map(|(arrived_at, events, newest_event)| {
                Step::End { arrived_at, events, newest_event: newest_event.map(i64::from) }
            }),
        ]
    }

    proptest! {
        #[test]
        fn checkpoint_only_moves_forwards_and_keeps_what_was_counted(steps in prop::collection::vec(step(), 0..40)) {
            let (mut checkpoint, mut events, mut committed) = (Checkpoint::default(), 0, 0);
            for step in steps {
                let before = checkpoint.clone();
                match step {
                    Step::Begin { length, lease_until } => {
                        let (first, last) = (number(committed + 1), number(committed + length));
                        let batch = InFlight { first, last, attempt: length, lease_until: at(lease_until) };
                        checkpoint = checkpoint.with_in_flight(batch);
                        prop_assert_eq!(&checkpoint.committed, &before.committed, "begun is not committed");
                    }
                    Step::Shorten { until } => {
                        checkpoint = checkpoint.with_shorter_lease(at(until));
                        prop_assert!(checkpoint.leased_at(at(until)).is_none());
                        let lease = |checkpoint: &Checkpoint| checkpoint.in_flight.as_ref().map(|batch| batch.lease_until);
                        prop_assert!(lease(&checkpoint) <= lease(&before));
                    }
                    Step::End { arrived_at, events: more, newest_event } => {
                        let Some(batch) = checkpoint.in_flight.clone() else { continue };
                        committed = batch.last.as_str().parse().unwrap();
                        events += more;
                        let totals = Totals { events: more, ..Totals::default() };
                        let reach = DeduplicationReach::default();
                        checkpoint = checkpoint.after_commit(
                            batch.last,
                            at(arrived_at),
                            &totals,
                            newest_event.map(at),
                            reach,
                        );
                        prop_assert_eq!(&checkpoint.in_flight, &None);
                        prop_assert!(checkpoint.committed > before.committed);
                    }
                }
                prop_assert_eq!(checkpoint.totals.events, events);
                prop_assert!(checkpoint.newest_event >= before.newest_event);
                prop_assert!(checkpoint.last_arrival >= before.last_arrival);
                prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint.clone()));
            }
        }
    }

    #[tokio::test]
    async fn checkpoint_that_moved_meanwhile_is_not_replaced() {
        let store = crate::memory::MemoryStore::new();
        let shard = ShardId::new("shard-1").unwrap();
        let read = read(&store, &shard).await.unwrap();
        let moved = replace(&store, &shard, &read, in_flight(1)).await.unwrap();
        let late = replace(&store, &shard, &read, Checkpoint::default()).await;
        assert!(matches!(late, Err(PutError::Conflict)), "{late:?}");
        assert_eq!(read_all(&store).await.unwrap(), [(shard, moved.record)]);
    }
}
