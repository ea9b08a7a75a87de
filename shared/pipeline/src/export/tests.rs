//! Exports under failures: the sink ends with everything that was counted, and never holds anything that was not committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use cells::query::Scope;
use event::attribution::{Attribution, AttributionSettings};
use event::{HashKey, SequenceNumber, ShardId, TenantId};
use proptest::prelude::*;

use super::*;
use crate::ledger::accumulate::EventAccumulator;
use crate::ledger::aggregate::{
    AggregateError, Aggregation, Attempt, Batch, CommitSettings, Committed, Record, ShardCache,
};
use crate::memory::{MemorySink, MemoryStore};
use crate::ports::Written;
use crate::testing::contended::ContendedStore;
use crate::testing::counting::BitFlipSeal;
use crate::testing::faulty::Faulty;
use crate::tests::{ManualClock, TestPipeline, acme, event, messages};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The end of failures that never end, and the number of writes that succeed if none fails.
const EVER: usize = usize::MAX;

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

async fn export<S: Store, K: Sink>(
    store: &S,
    sink: &K,
    clock: &ManualClock,
) -> Result<ExportSummary, ExportError> {
    let deadline = clock.now().plus_millis(60_000);
    catch_up(store, sink, &shard(), clock, deadline).await
}

impl Sink for Faulty<MemorySink> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn write(&self, points: &[Point]) -> Result<Written, SinkError> {
        let fails = self.fails();
        if !fails || self.takes_effect {
            // Any part of the points may be there after an error.
            let some = if fails { points.get(..points.len() / 2).unwrap_or_default() } else { points };
            self.inner.write(some).await?;
        }
        if fails { Err(SinkError { sink: "faulty", source: "down".into() }) } else { Ok(Written::default()) }
    }
}

#[tokio::test]
async fn sums_of_points_are_what_the_api_answers_however_often_they_are_written() {
    let mut pipeline = TestPipeline::new();
    let sink = MemorySink::default();
    for round in 0..30 {
        let records = messages(&pipeline, 1 + round * 30, 30);
        pipeline.aggregate(&records).await.unwrap();
        pipeline.advance(20_000);
    }
    let exported = export(&pipeline.store, &sink, &pipeline.clock).await.unwrap();
    assert_eq!((exported.batches, exported.rejected, exported.expired, exported.more), (30, 0, 0, false));
    for _ in 0..2 {
        let points = sink.points();
        for metric in ["sends", "deliveries"] {
            let tenant = pipeline.metric(Scope::Tenant(acme()), metric, "1m").await;
            assert_eq!(sum(&points, Some("acme"), metric), tenant, "{metric}");
            assert_eq!(
                sum(&points, None, metric),
                pipeline.metric(Scope::All, metric, "1m").await,
                "{metric}"
            );
        }
        assert_eq!(sum(&points, None, "delivery_ms_count"), 900);
        assert_eq!(sum(&points, None, "delivery_ms_sum"), 900 * 800);
        assert_eq!(export(&pipeline.store, &sink, &pipeline.clock).await.unwrap(), ExportSummary::default());
        // Export everything again, into the same sink.
        assert_eq!(rewind(&pipeline.store, "memory", None).await.unwrap(), 1);
        assert_eq!(export(&pipeline.store, &sink, &pipeline.clock).await.unwrap(), exported);
    }
}

#[tokio::test]
async fn point_has_the_dimensions_of_its_mail_and_a_time_within_its_minute() {
    let mut pipeline = TestPipeline::new();
    let at = pipeline.clock.now();
    pipeline.aggregate(&[(1, event("Send", "acme", 1, at))]).await.unwrap();
    pipeline.aggregate(&[(2, event("Send", "acme", 2, at))]).await.unwrap();
    let sink = MemorySink::default();
    export(&pipeline.store, &sink, &pipeline.clock).await.unwrap();
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

#[tokio::test]
async fn mail_to_the_simulator_is_counted_apart() {
    let mut pipeline = TestPipeline::new();
    let send = event("Send", "acme", 1, pipeline.clock.now());
    let simulated = send.replace("a@gmail.com", "bounce@simulator.amazonses.com");
    pipeline.aggregate(&[(1, simulated)]).await.unwrap();
    let sink = MemorySink::default();
    export(&pipeline.store, &sink, &pipeline.clock).await.unwrap();
    assert_eq!(sink.points()[0].counts, [("simulator", 1)]);
}

#[tokio::test]
async fn export_goes_on_where_a_failed_one_stopped() {
    let mut pipeline = TestPipeline::new();
    for round in 0..10 {
        let records = messages(&pipeline, 1 + round * 30, 30);
        pipeline.aggregate(&records).await.unwrap();
        pipeline.advance(60_000);
    }
    let mut sink = Faulty::new(MemorySink::default());
    for acts in [false, true] {
        sink.fail(0..EVER, acts);
        let failed = export(&pipeline.store, &sink, &pipeline.clock).await;
        assert!(matches!(failed, Err(ExportError::Sink(_))), "{failed:?}");
        let behind = backlog(&pipeline.store, "memory", MAX_BEHIND).await.unwrap();
        assert_eq!((behind[0].batches, &behind[0].exported), (10, &None));
        assert!(behind[0].oldest < Some(pipeline.clock.now()));
    }
    sink.fail(0..0, false);
    assert_eq!(export(&pipeline.store, &sink, &pipeline.clock).await.unwrap().batches, 10);
    assert_eq!(sum(&sink.inner.points(), None, "sends"), 300);
    let behind = backlog(&pipeline.store, "memory", MAX_BEHIND).await.unwrap();
    assert_eq!((behind[0].batches, behind[0].oldest), (0, None));
    assert!(behind[0].exported.is_some() && behind[0].exported < behind[0].committed);
}

#[tokio::test]
async fn nothing_is_written_after_the_deadline_and_nothing_is_lost() {
    let mut pipeline = TestPipeline::new();
    let records = messages(&pipeline, 1, 30);
    pipeline.aggregate(&records).await.unwrap();
    let sink = MemorySink::default();
    let late =
        catch_up(&pipeline.store, &sink, &shard(), &pipeline.clock, pipeline.clock.now()).await.unwrap();
    assert_eq!((late.more, late.points), (true, 0));
    assert_eq!(sink.points(), []);
    assert_eq!(export(&pipeline.store, &sink, &pipeline.clock).await.unwrap().batches, 1);
}

#[tokio::test]
async fn expired_deltas_are_counted_and_later_ones_are_exported() {
    let mut pipeline = TestPipeline::new();
    for round in 0..4 {
        let records = messages(&pipeline, 1 + round * 30, 30);
        pipeline.aggregate(&records).await.unwrap();
        pipeline.advance(DAY_MS);
    }
    pipeline.expire();
    let sink = MemorySink::default();
    let exported = export(&pipeline.store, &sink, &pipeline.clock).await.unwrap();
    // Deltas of two tenants each: of the oldest batch, and of the batch that is three days old to the millisecond.
    assert_eq!((exported.batches, exported.expired, exported.more), (4, 4, false));
    assert_eq!(sum(&sink.points(), None, "sends"), 60);
}

#[tokio::test]
async fn slower_of_two_concurrent_exports_stops_and_no_point_is_doubled() {
    /// Another export overtakes this one while it writes.
    struct OvertakenSink<'a>(&'static TestPipeline, &'a MemorySink, AtomicUsize);
    impl Sink for OvertakenSink<'static> {
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
    let mut pipeline = TestPipeline::new();
    for round in 0..3 {
        let records = messages(&pipeline, 1 + round * 30, 30);
        pipeline.aggregate(&records).await.unwrap();
    }
    let (pipeline, sink): (&'static TestPipeline, &'static MemorySink) =
        (Box::leak(Box::new(pipeline)), Box::leak(Box::default()));
    let slower = OvertakenSink(pipeline, sink, AtomicUsize::new(0));
    let exported = export(&pipeline.store, &slower, &pipeline.clock).await.unwrap();
    assert_eq!((exported.batches, exported.more), (0, true));
    assert_eq!(sum(&sink.points(), None, "sends"), 90);
    assert_eq!(backlog(&pipeline.store, "memory", MAX_BEHIND).await.unwrap()[0].batches, 0);
}

#[tokio::test]
async fn position_that_is_set_back_during_an_export_stays_set_back() {
    let mut pipeline = TestPipeline::new();
    let records = messages(&pipeline, 1, 30);
    pipeline.aggregate(&records).await.unwrap();
    let held = read_position(&pipeline.store, "memory", &shard()).await.unwrap();
    let to = ExportPosition { up_to: Some(SequenceNumber::from(2)) };
    let held = save_position(&pipeline.store, "memory", &shard(), &held, to.clone()).await.unwrap();
    assert_eq!(rewind(&pipeline.store, "memory", Some(&ShardId::new("other").unwrap())).await.unwrap(), 0);
    assert_eq!(rewind(&pipeline.store, "mem", None).await.unwrap(), 0);
    assert_eq!(rewind(&pipeline.store, "memory", Some(&shard())).await.unwrap(), 1);
    let late = save_position(&pipeline.store, "memory", &shard(), &held, to).await;
    assert!(matches!(late, Err(PutError::Conflict)), "{late:?}");
    assert_eq!(backlog(&pipeline.store, "memory", MAX_BEHIND).await.unwrap()[0].exported, None);
}

/// One step of a run.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A batch of `records` records is delivered, and the process dies after `writes` writes.
    Count { records: usize, writes: usize, acts: bool },
    /// The export runs; the store fails after `writes` writes and the sink after `sink_writes`.
    Export { writes: usize, sink_writes: usize, acts: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let writes = || prop_oneof![Just(EVER), 0..7_usize];
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
    clock: ManualClock,
    accumulator: EventAccumulator<BitFlipSeal>,
    records: Vec<(u64, String)>,
    /// How many of the records are committed.
    committed: usize,
    attempts: u64,
}

impl Run {
    fn new() -> Self {
        let pipeline = TestPipeline::new();
        let attribution = Attribution::new(AttributionSettings::default()).unwrap();
        Self {
            store: Faulty::new(MemoryStore::new()),
            sink: Faulty::new(MemorySink::default()),
            records: messages(&pipeline, 1, 100),
            clock: pipeline.clock,
            accumulator: EventAccumulator::new(attribution, HashKey::new([7; 16]), BitFlipSeal),
            committed: 0,
            attempts: 0,
        }
    }

    async fn count(&mut self, records: usize) -> Result<Committed, AggregateError> {
        self.attempts += 1;
        let attempt = Attempt { id: self.attempts, deadline: self.clock.now().plus_millis(5_000) };
        let now = self.clock.now();
        let until = (self.committed + records).min(self.records.len());
        let record = |(number, data): &'_ (u64, String)| (SequenceNumber::from(*number), data.clone());
        let owned: Vec<_> = self.records[self.committed..until].iter().map(record).collect();
        let records = owned.iter().map(|(sequence, data)| Record {
            sequence: sequence.clone(),
            arrived_at: now,
            data: data.as_bytes(),
        });
        let shard = shard();
        let batch = Batch { shard: &shard, records: records.collect() };
        let aggregation = Aggregation {
            store: &self.store,
            clock: &self.clock,
            settings: CommitSettings::default(),
            attempt,
        };
        // Each attempt is a new process, with an empty cache.
        aggregation.handle(&mut self.accumulator, &mut ShardCache::default(), &batch).await
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Count { records, writes, acts } => {
                self.store.fail(writes..EVER, acts);
                let _ = self.count(records).await;
                // An attempt may report an error although it committed. The checkpoint decides where the trigger goes on.
                let committed = checkpoint::read(&self.store, &shard()).await.unwrap().record.committed;
                let is_committed =
                    |(number, _): &(u64, String)| Some(SequenceNumber::from(*number)) <= committed;
                self.committed = self.records.partition_point(is_committed);
                self.clock.advance(60_000);
            }
            Step::Export { writes, sink_writes, acts } => {
                self.store.fail(writes..EVER, acts);
                self.sink.fail(sink_writes..EVER, acts);
                let _ = export(&self.store, &self.sink, &self.clock).await;
            }
        }
        self.compare(false);
    }

    /// Checks that the sink holds no event that is not committed, none twice, and, once the run is over, all.
    fn compare(&self, is_over: bool) {
        let points = self.sink.inner.points();
        let mut expected: BTreeMap<(TenantId, &str), u64> = BTreeMap::new();
        for (number, data) in &self.records[..self.committed] {
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
    fn sink_ends_with_what_was_counted_whatever_fails(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new();
            for step in steps {
                run.step(step).await;
            }
            run.step(Step::Count { records: 5, writes: EVER, acts: false }).await;
            run.step(Step::Export { writes: EVER, sink_writes: EVER, acts: false }).await;
            run.compare(true);
        });
    }
}

#[tokio::test]
async fn batch_that_is_cut_differently_after_a_crash_leaves_nothing_in_the_sink() {
    let mut run = Run::new();
    // Receipt and deltas are written, but the commit does not end.
    run.store.fail(3..EVER, false);
    assert!(run.count(20).await.is_err());
    assert_eq!(export(&run.store, &run.sink, &run.clock).await.unwrap(), ExportSummary::default());
    run.clock.advance(60_000);
    run.step(Step::Count { records: 3, writes: EVER, acts: false }).await;
    run.step(Step::Export { writes: EVER, sink_writes: EVER, acts: false }).await;
    assert_eq!(
        sum(&run.sink.inner.points(), None, "sends") + sum(&run.sink.inner.points(), None, "deliveries"),
        3
    );
}

#[test]
fn stored_sample_of_each_format_is_read() {
    let position = ExportPosition { up_to: Some(SequenceNumber::from(1234)) };
    crate::testing::samples::check("export-position-3", &position);
    assert_eq!(ExportPosition::decode(&ExportPosition::default().encode()), Ok(ExportPosition::default()));
}

#[tokio::test]
async fn rewinding_a_shard_that_is_being_exported_ends_either_way() {
    let shard = shard();
    let position = ExportPosition { up_to: Some(SequenceNumber::from(7)) };
    for (lost, is_rewound) in [(0, true), (3, true), (usize::MAX, false)] {
        let store = ContendedStore::new(0);
        let held = read_position(&store, "memory", &shard).await.unwrap();
        save_position(&store, "memory", &shard, &held, position.clone()).await.unwrap();
        store.lose(lost);
        let rewound = rewind(&store, "memory", Some(&shard)).await;
        match rewound {
            Ok(count) => assert_eq!((count, is_rewound), (1, true)),
            Err(ExportError::Moving(moving)) => assert_eq!((moving, is_rewound), (shard.clone(), false)),
            Err(error) => panic!("{error}"),
        }
        let after = read_position(&store, "memory", &shard).await.unwrap();
        assert_eq!(after.record.up_to.is_none(), is_rewound, "{lost}");
    }
}

#[tokio::test]
async fn batch_that_is_exported_again_after_its_provider_was_learned_has_the_same_sums() {
    let mut pipeline = TestPipeline::new();
    let at = pipeline.clock.now();
    let at_company = |event: String| event.replace("gmail.com", "company.example");
    let answer = r#""smtpResponse":"250 2.0.0 OK 1 x - gsmtp","processingTimeMillis""#;
    let delivery = at_company(event("Delivery", "acme", 1, at)).replace(r#""processingTimeMillis""#, answer);
    pipeline.aggregate(&[(1, at_company(event("Send", "acme", 1, at))), (2, delivery)]).await.unwrap();
    let sink = MemorySink::default();
    export(&pipeline.store, &sink, &pipeline.clock).await.unwrap();
    let before = sink.points();
    pipeline.advance(60 * 60 * 1000);
    pipeline.compact().await;
    rewind(&pipeline.store, "memory", None).await.unwrap();
    export(&pipeline.store, &sink, &pipeline.clock).await.unwrap();
    assert_eq!(sink.points(), before);
    assert_eq!((sum(&before, None, "sends"), sum(&before, None, "deliveries")), (1, 1));
    assert!(before.iter().all(|point| point.dimensions.contains(&("provider", "other".to_owned()))));
}
