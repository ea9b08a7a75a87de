//! Exporting under failures: the sink ends with what was counted, and never has what was not committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use cells::query::Scope;
use event::attribution::{Attribution, Settings};
use event::{HashKey, SequenceNumber, ShardId, TenantId};
use proptest::prelude::*;

use super::*;
use crate::ledger::accumulate::EventFold;
use crate::ledger::aggregate::{self, AggregateError, Attempt, Committed, Record};
use crate::ledger::deduplication::Memory;
use crate::memory::{MemorySink, MemoryStore};
use crate::ports::{Expected, Page, StoreError, StoreErrorKind, Written};
use crate::testing::counting::Turned;
use crate::tests::{Home, SetClock, acme, event, messages};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn shard() -> ShardId {
    ShardId::new("shard-1").unwrap()
}

fn sum(points: &[Point], tenant: Option<&str>, name: &str) -> u64 {
    let of_tenant = points.iter().filter(|point| tenant.is_none_or(|tenant| point.tenant.as_str() == tenant));
    of_tenant
        .flat_map(|point| &point.counts)
        .filter(|(count, _)| *count == name)
        .map(|(_, count)| count)
        .sum()
}

async fn export<S: Store, K: Sink>(store: &S, sink: &K, clock: &SetClock) -> Result<Exported, ExportError> {
    let deadline = clock.now().plus_millis(60_000);
    catch_up(store, sink, &shard(), clock, deadline).await
}

/// A store or sink whose writes fail after a while, before or after they act.
struct Faulty<T> {
    real: T,
    /// Writes that still succeed; below 0 none does.
    left: AtomicI64,
    acts: bool,
}

impl<T> Faulty<T> {
    const fn new(real: T) -> Self {
        Self { real, left: AtomicI64::new(i64::MAX), acts: false }
    }

    fn fails(&self) -> bool {
        self.left.fetch_sub(1, Ordering::Relaxed) <= 0
    }

    fn set(&mut self, left: i64, acts: bool) {
        (self.left, self.acts) = (AtomicI64::new(left), acts);
    }
}

fn lost() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "write", "test", "lost")
}

impl Store for Faulty<MemoryStore> {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        self.real.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.real.range(range).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let fails = self.fails();
        if !fails || self.acts {
            self.real.put(items).await?;
        }
        if fails { Err(lost()) } else { Ok(()) }
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        let fails = self.fails();
        if !fails || self.acts {
            self.real.put_if(item, expected).await?;
        }
        if fails { Err(lost().into()) } else { Ok(()) }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        let fails = self.fails();
        if !fails || self.acts {
            self.real.delete(keys).await?;
        }
        if fails { Err(lost()) } else { Ok(()) }
    }
}

impl Sink for Faulty<MemorySink> {
    fn name(&self) -> &'static str {
        self.real.name()
    }

    async fn write(&self, points: &[Point]) -> Result<Written, SinkError> {
        let fails = self.fails();
        if !fails || self.acts {
            // Any part of the points may be there after an error.
            let some = if fails { points.get(..points.len() / 2).unwrap_or_default() } else { points };
            self.real.write(some).await?;
        }
        if fails { Err(SinkError { sink: "faulty", source: "down".into() }) } else { Ok(Written::default()) }
    }
}

#[tokio::test]
async fn sums_of_points_are_what_the_api_answers_however_often_they_are_written() {
    let mut home = Home::new();
    let sink = MemorySink::default();
    for round in 0..30 {
        let records = messages(&home, 1 + round * 30, 30);
        home.aggregate(&records).await.unwrap();
        home.pass(20_000);
    }
    let exported = export(&home.store, &sink, &home.clock).await.unwrap();
    assert_eq!((exported.batches, exported.rejected, exported.expired, exported.more), (30, 0, 0, false));
    for _ in 0..2 {
        let points = sink.points();
        for metric in ["sends", "deliveries"] {
            let tenant = home.metric(Scope::Tenant(acme()), metric, "1m").await;
            assert_eq!(sum(&points, Some("acme"), metric), tenant, "{metric}");
            assert_eq!(sum(&points, None, metric), home.metric(Scope::All, metric, "1m").await, "{metric}");
        }
        assert_eq!(sum(&points, None, "delivery_ms_count"), 900);
        assert_eq!(sum(&points, None, "delivery_ms_sum"), 900 * 800);
        assert_eq!(export(&home.store, &sink, &home.clock).await.unwrap(), Exported::default());
        // All of it once more, into the same sink.
        assert_eq!(rewind(&home.store, "memory", None).await.unwrap(), 1);
        assert_eq!(export(&home.store, &sink, &home.clock).await.unwrap(), exported);
    }
}

#[tokio::test]
async fn a_point_has_the_dimensions_of_its_mail_and_lies_inside_its_minute() {
    let mut home = Home::new();
    let at = home.clock.now();
    home.aggregate(&[(1, event("Send", "acme", 1, at))]).await.unwrap();
    home.aggregate(&[(2, event("Send", "acme", 2, at))]).await.unwrap();
    let sink = MemorySink::default();
    export(&home.store, &sink, &home.clock).await.unwrap();
    let points = sink.points();
    assert_eq!(points.len(), 2);
    for point in &points {
        assert_eq!(point.time_ns.div_euclid(60_000_000_000), i64::from(at.minute().0));
        assert_eq!(point.counts, [("sends", 1)]);
        let expected =
            [("sending_domain", "news.example"), ("recipient_domain", "gmail.com"), ("provider", "gmail")];
        let dimensions: Vec<_> =
            point.dimensions.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(dimensions, expected);
    }
    assert_ne!(points[0].time_ns, points[1].time_ns);
}

#[test]
fn the_place_in_a_minute_never_changes() {
    // Points that are written again years later must find themselves.
    assert_eq!(points::offset_ns(&shard(), &SequenceNumber::from(1)), 52_938_188_993);
}

#[tokio::test]
async fn mail_to_the_simulator_is_counted_apart() {
    let mut home = Home::new();
    let send = event("Send", "acme", 1, home.clock.now());
    let simulated = send.replace("a@gmail.com", "bounce@simulator.amazonses.com");
    home.aggregate(&[(1, simulated)]).await.unwrap();
    let sink = MemorySink::default();
    export(&home.store, &sink, &home.clock).await.unwrap();
    assert_eq!(sink.points()[0].counts, [("simulator", 1)]);
}

#[tokio::test]
async fn a_sink_that_fails_goes_on_where_it_was() {
    let mut home = Home::new();
    for round in 0..10 {
        let records = messages(&home, 1 + round * 30, 30);
        home.aggregate(&records).await.unwrap();
        home.pass(60_000);
    }
    let mut sink = Faulty::new(MemorySink::default());
    for acts in [false, true] {
        sink.set(0, acts);
        let failed = export(&home.store, &sink, &home.clock).await;
        assert!(matches!(failed, Err(ExportError::Sink(_))), "{failed:?}");
        let behind = backlog(&home.store, "memory", MAX_BEHIND).await.unwrap();
        assert_eq!((behind[0].batches, &behind[0].exported), (10, &None));
        assert!(behind[0].oldest < Some(home.clock.now()));
    }
    sink.set(i64::MAX, false);
    assert_eq!(export(&home.store, &sink, &home.clock).await.unwrap().batches, 10);
    assert_eq!(sum(&sink.real.points(), None, "sends"), 300);
    let behind = backlog(&home.store, "memory", MAX_BEHIND).await.unwrap();
    assert_eq!((behind[0].batches, behind[0].oldest), (0, None));
    assert!(behind[0].exported.is_some() && behind[0].exported < behind[0].done);
}

#[tokio::test]
async fn without_time_nothing_is_written_and_nothing_is_lost() {
    let mut home = Home::new();
    let records = messages(&home, 1, 30);
    home.aggregate(&records).await.unwrap();
    let sink = MemorySink::default();
    let late = catch_up(&home.store, &sink, &shard(), &home.clock, home.clock.now()).await.unwrap();
    assert_eq!((late.more, late.points), (true, 0));
    assert_eq!(sink.points(), []);
    assert_eq!(export(&home.store, &sink, &home.clock).await.unwrap().batches, 1);
}

#[tokio::test]
async fn deltas_that_expired_are_counted_and_hold_nothing_up() {
    let mut home = Home::new();
    for round in 0..4 {
        let records = messages(&home, 1 + round * 30, 30);
        home.aggregate(&records).await.unwrap();
        home.pass(DAY_MS);
    }
    home.expire();
    let sink = MemorySink::default();
    let exported = export(&home.store, &sink, &home.clock).await.unwrap();
    // Two tenants' deltas of the oldest batch and of the one that is three days old to the millisecond.
    assert_eq!((exported.batches, exported.expired, exported.more), (4, 4, false));
    assert_eq!(sum(&sink.points(), None, "sends"), 60);
}

#[tokio::test]
async fn two_at_once_write_the_same_and_the_slower_one_stops() {
    /// While it writes, another one overtakes.
    struct Overtaken<'a>(&'static Home, &'a MemorySink, AtomicUsize);
    impl Sink for Overtaken<'static> {
        fn name(&self) -> &'static str {
            "memory"
        }

        async fn write(&self, points: &[Point]) -> Result<Written, SinkError> {
            if self.2.fetch_add(1, Ordering::Relaxed) == 0 {
                Box::pin(export(&self.0.store, self.1, &self.0.clock)).await.unwrap();
            }
            self.1.write(points).await
        }
    }
    let mut home = Home::new();
    for round in 0..3 {
        let records = messages(&home, 1 + round * 30, 30);
        home.aggregate(&records).await.unwrap();
    }
    let (home, sink): (&'static Home, &'static MemorySink) =
        (Box::leak(Box::new(home)), Box::leak(Box::default()));
    let slower = Overtaken(home, sink, AtomicUsize::new(0));
    let exported = export(&home.store, &slower, &home.clock).await.unwrap();
    assert_eq!((exported.batches, exported.more), (0, true));
    assert_eq!(sum(&sink.points(), None, "sends"), 90);
    assert_eq!(backlog(&home.store, "memory", MAX_BEHIND).await.unwrap()[0].batches, 0);
}

#[tokio::test]
async fn a_place_that_is_set_back_under_somebody_at_work_stays_set_back() {
    let mut home = Home::new();
    let records = messages(&home, 1, 30);
    home.aggregate(&records).await.unwrap();
    let held =
        stored::read(&home.store, layout::export_position("memory", &shard()), Place::decode).await.unwrap();
    let to = Place { upto: Some(SequenceNumber::from(2)) };
    let held = save(&home.store, "memory", &shard(), &held, to.clone()).await.unwrap();
    assert_eq!(rewind(&home.store, "memory", Some(&ShardId::new("other").unwrap())).await.unwrap(), 0);
    assert_eq!(rewind(&home.store, "mem", None).await.unwrap(), 0);
    assert_eq!(rewind(&home.store, "memory", Some(&shard())).await.unwrap(), 1);
    let late = save(&home.store, "memory", &shard(), &held, to).await;
    assert!(matches!(late, Err(PutError::Conflict)), "{late:?}");
    assert_eq!(backlog(&home.store, "memory", MAX_BEHIND).await.unwrap()[0].exported, None);
}

/// One thing that happens in a run.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many records come, cut off where the trigger likes; the process dies after so many writes.
    Count { records: usize, writes: i64, acts: bool },
    /// The sink is brought up to date; it and the store fail after so many writes.
    Export { writes: i64, sink_writes: i64, acts: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let writes = || prop_oneof![Just(i64::MAX), 0..7_i64];
    prop_oneof![
        (1..9_usize, writes(), any::<bool>()).prop_map(|(records, writes, acts)| Step::Count {
            records,
            writes,
            acts
        }),
        (writes(), writes(), any::<bool>()).prop_map(|(writes, sink_writes, acts)| Step::Export {
            writes,
            sink_writes,
            acts
        }),
    ]
}

/// Counting and exporting over a store and a sink that fail.
struct Run {
    store: Faulty<MemoryStore>,
    sink: Faulty<MemorySink>,
    clock: SetClock,
    fold: EventFold<Turned>,
    records: Vec<(u64, String)>,
    /// Records that are committed.
    done: usize,
    attempts: u64,
}

impl Run {
    fn new() -> Self {
        let home = Home::new();
        let attribution = Attribution::new(Settings::default()).unwrap();
        Self {
            store: Faulty::new(MemoryStore::new()),
            sink: Faulty::new(MemorySink::default()),
            records: messages(&home, 1, 100),
            clock: home.clock,
            fold: EventFold::new(attribution, HashKey::new([7; 16]), Turned),
            done: 0,
            attempts: 0,
        }
    }

    async fn count(&mut self, records: usize) -> Result<Committed, AggregateError> {
        self.attempts += 1;
        let attempt = Attempt { id: self.attempts, deadline: self.clock.now().plus_millis(5_000) };
        let now = self.clock.now();
        let until = (self.done + records).min(self.records.len());
        let record = |(number, data): &'_ (u64, String)| (SequenceNumber::from(*number), data.clone());
        let owned: Vec<_> = self.records[self.done..until].iter().map(record).collect();
        let records = owned.iter().map(|(sequence, data)| Record {
            sequence: sequence.clone(),
            arrived_at: now,
            data: data.as_bytes(),
        });
        let shard = shard();
        let batch = aggregate::Batch { shard: &shard, records: records.collect() };
        // Each try is a new process, which remembers nothing.
        let (settings, mut memory) = (aggregate::Settings::default(), Memory::default());
        aggregate::aggregate(
            &self.store,
            &self.clock,
            &settings,
            &mut self.fold,
            &mut memory,
            &batch,
            attempt,
        )
        .await
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Count { records, writes, acts } => {
                self.store.set(writes, acts);
                let _ = self.count(records).await;
                // Whatever the try was told, the cursor knows; the trigger goes on behind it.
                let done = checkpoint::read(&self.store, &shard()).await.unwrap().record.done;
                let is_done = |(number, _): &(u64, String)| Some(SequenceNumber::from(*number)) <= done;
                self.done = self.records.partition_point(is_done);
                self.clock.pass(60_000);
            }
            Step::Export { writes, sink_writes, acts } => {
                self.store.set(writes, acts);
                self.sink.set(sink_writes, acts);
                let _ = export(&self.store, &self.sink, &self.clock).await;
            }
        }
        self.compare(false);
    }

    /// The sink has no event that is not committed, none twice, and in the end all.
    fn compare(&self, is_over: bool) {
        let points = self.sink.real.points();
        let mut expected: BTreeMap<(TenantId, &str), u64> = BTreeMap::new();
        for (number, data) in &self.records[..self.done] {
            let name = if number % 2 == 0 { "sends" } else { "deliveries" };
            let tenant = if data.contains(r#"["acme"]"#) { "acme" } else { "other" };
            *expected.entry((TenantId::new(tenant).unwrap(), name)).or_default() += 1;
        }
        for tenant in ["acme", "other"] {
            for name in ["sends", "deliveries"] {
                let expected = expected.get(&(TenantId::new(tenant).unwrap(), name)).copied().unwrap_or(0);
                let found = sum(&points, Some(tenant), name);
                assert!(
                    found <= expected && (found == expected || !is_over),
                    "{tenant} {name}: {found} of {expected}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_dies_the_sink_ends_with_what_was_counted(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new();
            for step in steps {
                run.step(step).await;
            }
            run.step(Step::Count { records: 5, writes: i64::MAX, acts: false }).await;
            run.step(Step::Export { writes: i64::MAX, sink_writes: i64::MAX, acts: false }).await;
            run.compare(true);
        });
    }
}

#[tokio::test]
async fn a_batch_cut_anew_after_a_crash_leaves_nothing_in_the_sink() {
    let mut run = Run::new();
    // Receipt and deltas are written, the end is not.
    run.store.set(3, false);
    assert!(run.count(20).await.is_err());
    assert_eq!(export(&run.store, &run.sink, &run.clock).await.unwrap(), Exported::default());
    run.clock.pass(60_000);
    run.step(Step::Count { records: 3, writes: i64::MAX, acts: false }).await;
    run.step(Step::Export { writes: i64::MAX, sink_writes: i64::MAX, acts: false }).await;
    assert_eq!(
        sum(&run.sink.real.points(), None, "sends") + sum(&run.sink.real.points(), None, "deliveries"),
        3
    );
}
