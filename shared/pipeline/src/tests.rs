//! Events go through all steps over the store in memory: answers before and after each compaction, duplicates, leases, replays.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use cells::query::{LinkTotal, Locale, MetricRegistry, Query, Scope};
use event::attribution::{Attribution, AttributionSettings, LinkSettings};
use event::link::LinkNames;
use event::{HashKey, Hour, SequenceNumber, ShardId, TenantId, Timestamp};

use crate::directory::tenants;
use crate::history::answering::{self, LinkQuery, MIN_BYTES_PER_THREAD};
use crate::history::compaction::CompactionSettings;
use crate::history::compaction::schedule::{self, CompactionReport};
use crate::history::reconciliation::reconcile;
use crate::history::snapshot::{CountingProgress, Snapshot};
use crate::ledger::accumulate::EventAccumulator;
use crate::ledger::aggregate::{
    self, AggregateError, Aggregation, Attempt, Batch, CommitSettings, Committed, Record, ShardCache,
};
use crate::ledger::checkpoint::{self, Checkpoint, InFlight};
use crate::ledger::deduplication::DeduplicationWindow;
use crate::ledger::quarantine::{self, Seal as _};
use crate::ledger::replay::replay;
use crate::memory::MemoryStore;
use crate::ports::Clock;
use crate::testing::counting::BitFlipSeal;
use cells::Block;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// 2025-11-13T02:00:00Z.
const START: i64 = 1_762_999_200_000;

/// A clock that moves when a test says so.
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// One process with one shard, over a store in memory.
pub(crate) struct TestPipeline {
    pub(crate) store: MemoryStore,
    pub(crate) clock: ManualClock,
    accumulator: EventAccumulator<BitFlipSeal>,
    cache: ShardCache,
    attempts: AtomicU64,
}

impl TestPipeline {
    pub(crate) fn new() -> Self {
        let attribution = Attribution::new(AttributionSettings::default()).unwrap();
        Self {
            store: MemoryStore::new(),
            clock: ManualClock(AtomicI64::new(START)),
            accumulator: EventAccumulator::new(attribution, HashKey::new([7; 16]), BitFlipSeal),
            cache: ShardCache::default(),
            attempts: AtomicU64::new(0),
        }
    }

    pub(crate) fn advance(&self, millis: i64) {
        self.clock.advance(millis);
    }

    /// Removes expired items, as DynamoDB does by itself.
    pub(crate) fn expire(&self) {
        self.store.expire(self.clock.now());
    }

    fn attempt(&self) -> Attempt {
        let id = self.attempts.fetch_add(1, Ordering::Relaxed);
        Attempt { id, deadline: self.clock.now().plus_millis(60_000) }
    }

    pub(crate) async fn aggregate(&mut self, records: &[(u64, String)]) -> Result<Committed, AggregateError> {
        let shard = ShardId::new("shard-1").unwrap();
        let attempt = self.attempt();
        let records = records.iter().map(|(number, data)| Record {
            sequence: SequenceNumber::from(*number),
            arrived_at: self.clock.now(),
            data: data.as_bytes(),
        });
        let batch = Batch { shard: &shard, records: records.collect() };
        let aggregation = Aggregation {
            store: &self.store,
            clock: &self.clock,
            settings: CommitSettings::default(),
            attempt,
        };
        aggregation.handle(&mut self.accumulator, &mut self.cache, &batch).await
    }

    pub(crate) async fn compact(&self) -> CompactionReport {
        let settings = CompactionSettings::default();
        schedule::compact_due::<Block, _, _>(&self.store, &self.clock, &settings, || self.attempt())
            .await
            .unwrap()
    }

    /// The sum of a metric since the start, of one tenant or of all.
    pub(crate) async fn metric(&self, scope: Scope, metric: &str, granularity: &str) -> u64 {
        self.metric_on(1, scope, metric, granularity).await
    }

    async fn metric_on(&self, threads: usize, scope: Scope, metric: &str, granularity: &str) -> u64 {
        let now = self.clock.now();
        let from = Timestamp::from_millis(START - DAY_MS).to_string();
        let to = now.plus_millis(DAY_MS).to_string();
        let pairs = [("metrics", metric), ("from", &from), ("to", &to), ("granularity", granularity)];
        let query = Query::from_pairs(pairs, scope, &Locale::default(), now).unwrap();
        let threads = NonZeroUsize::new(threads).unwrap();
        let settings = CompactionSettings::default();
        let answer = answering::answer(&self.store, &query, &settings, now, threads).await.unwrap();
        let metric = MetricRegistry::builtin().get(metric).unwrap();
        let sum: f64 = answer.rows().filter_map(|row| row.number(metric)).sum();
        format!("{sum}").parse().unwrap()
    }
}

impl TestPipeline {
    /// Stores host and path of links from now on.
    fn name_links(&mut self) {
        let links = LinkSettings { store: LinkNames::HostAndPath };
        let settings = AttributionSettings { links, ..AttributionSettings::default() };
        self.accumulator.set_attribution(Attribution::new(settings).unwrap());
    }

    /// The clicks by link since the start: tenant, campaign, link, clicks, clicks of machines.
    async fn links(&self, scope: Scope, campaign: Option<&str>) -> Vec<(String, String, String, u64, u64)> {
        let now = self.clock.now();
        let from = Timestamp::from_millis(START - DAY_MS).minute().hour().day().start();
        let to = now.plus_millis(DAY_MS).minute().hour().day().start();
        let query = LinkQuery::new(scope, campaign.map(str::to_owned), from.into(), to.into(), now).unwrap();
        let settings = CompactionSettings::default();
        let answer = answering::clicks_by_link(&self.store, &query, &settings, now).await.unwrap();
        let row = |row: LinkTotal| {
            let [tenant, campaign, link] = [row.tenant, row.campaign, row.link].map(Into::into);
            (tenant, campaign, link, row.clicks, row.clicks_bot)
        };
        answer.rows.into_iter().map(row).collect()
    }
}

/// A click by a browser on a link of a message, seconds after the moment.
fn click(tenant: &str, message: u64, link: &str, at: Timestamp, seconds: i64) -> String {
    let at_click = at.plus_millis(seconds * 1000);
    format!(
        r#"{{"eventType":"Click","mail":{{"timestamp":"{at}","messageId":"c-{message}","source":"a@news.example","destination":["a@gmail.com"],"tags":{{"tenant":["{tenant}"],"campaign":["spring"]}}}},"click":{{"timestamp":"{at_click}","ipAddress":"192.0.2.9","userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0","link":"{link}","linkTags":null}}}}"#
    )
}

#[tokio::test]
async fn clicks_by_link_stay_the_same_while_deltas_become_hours_days_and_months() {
    let mut pipeline = TestPipeline::new();
    pipeline.name_links();
    let (sale, terms) = ("https://shop.example/sale?u=anna", "https://shop.example/terms/7");
    for round in 0..12_u64 {
        let at = pipeline.clock.now();
        let mut records = Vec::new();
        let mut add = |text| records.push((1 + round * 100 + records.len() as u64, text));
        // One person follows a link a minute after the mail; a scanner follows both at once.
        add(click("acme", 3 * round, sale, at, 60));
        add(click("acme", 3 * round + 1, sale, at, 5));
        add(click("acme", 3 * round + 1, terms, at, 6));
        add(click("other", 3 * round + 2, terms, at, 60));
        pipeline.aggregate(&records).await.unwrap();
        // Delivered again, as another batch.
        let again: Vec<(u64, String)> =
            records.into_iter().map(|(number, text)| (number + 50, text)).collect();
        pipeline.aggregate(&again).await.unwrap();
        pipeline.advance(10 * 60_000);
    }
    let row = |tenant: &str, link: &str, clicks, bot| {
        (tenant.to_owned(), "spring".to_owned(), link.to_owned(), clicks, bot)
    };
    let expected = [row("acme", "shop.example/sale", 24, 12), row("acme", "shop.example/terms/:id", 12, 12)];
    let of_all = [expected[0].clone(), expected[1].clone(), row("other", "shop.example/terms/:id", 12, 0)];
    let acme = || Scope::Tenant(acme());
    for wait_ms in [0, DAY_MS / 24, DAY_MS, 35 * DAY_MS, 60 * DAY_MS] {
        pipeline.advance(wait_ms);
        for _ in 0..2 {
            assert_eq!(pipeline.links(acme(), None).await, expected, "after {wait_ms} ms");
            assert_eq!(pipeline.links(acme(), Some("spring")).await, expected);
            assert_eq!(pipeline.links(acme(), Some("autumn")).await, []);
            assert_eq!(pipeline.links(Scope::All, None).await, of_all);
            assert_eq!(pipeline.metric(acme(), "clicks", "total").await, 36);
            assert_eq!(pipeline.metric(acme(), "clicks_bot", "total").await, 24);
            // A late event makes the tenant due, so that the next round compacts it.
            let late = event("Send", "acme", 20_000 + wait_ms.unsigned_abs(), Timestamp::from_millis(START));
            let number = 20_000 + wait_ms.unsigned_abs();
            pipeline.aggregate(&[(number, late)]).await.unwrap();
            pipeline.advance(DAY_MS / 24);
            assert!(pipeline.compact().await.failed.is_empty());
        }
    }
}

#[tokio::test]
async fn names_of_links_are_stored_as_hashes_unless_allowed() {
    let mut pipeline = TestPipeline::new();
    let at = pipeline.clock.now();
    pipeline.aggregate(&[(1, click("acme", 1, "https://shop.example/sale", at, 60))]).await.unwrap();
    let found = pipeline.links(Scope::All, None).await;
    assert!(found.len() == 1 && found[0].2.starts_with("link:") && found[0].3 == 1, "{found:?}");
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

pub(crate) fn event(event_type: &str, tenant: &str, message: u64, at: Timestamp) -> String {
    let body = match event_type {
        "Send" => r#""send":{}"#.to_owned(),
        _ => format!(
            r#""delivery":{{"timestamp":"{at}","recipients":["a@gmail.com"],"processingTimeMillis":800}}"#
        ),
    };
    format!(
        r#"{{"eventType":"{event_type}","mail":{{"timestamp":"{at}","messageId":"m-{message}","source":"a@news.example","destination":["a@gmail.com"],"tags":{{"tenant":["{tenant}"]}}}},{body}}}"#
    )
}

/// Records with a send and a delivery of each of `count` messages. Every third message is of the tenant `other`.
pub(crate) fn messages(pipeline: &TestPipeline, first: u64, count: u64) -> Vec<(u64, String)> {
    let at = pipeline.clock.now();
    let mut records = Vec::new();
    for message in first..first + count {
        let tenant = if message % 3 == 0 { "other" } else { "acme" };
        records.push((2 * message, event("Send", tenant, message, at)));
        records.push((2 * message + 1, event("Delivery", tenant, message, at)));
    }
    records
}

#[tokio::test]
async fn answers_stay_the_same_while_deltas_become_hours_days_and_months() {
    let mut pipeline = TestPipeline::new();
    for round in 0..40 {
        let records = messages(&pipeline, 1 + round * 30, 30);
        pipeline.aggregate(&records).await.unwrap();
        pipeline.advance(60_000);
    }
    let acme = || Scope::Tenant(acme());
    let mut sends = 800;
    for (wait_ms, granularity) in [
        (0, "total"),
        (0, "1m"),
        (DAY_MS / 24, "1h"),
        (DAY_MS, "1h"),
        (35 * DAY_MS, "1h"),
        (60 * DAY_MS, "1d"),
    ] {
        pipeline.advance(wait_ms);
        // A late event makes the tenant due, and must reach every existing block of its day.
        let late = event("Send", "acme", 10_000 + sends, Timestamp::from_millis(START));
        pipeline.aggregate(&[(10_000 + sends, late)]).await.unwrap();
        sends += 1;
        assert_eq!(pipeline.metric(acme(), "sends", granularity).await, sends, "before, after {wait_ms} ms");
        pipeline.advance(DAY_MS / 24);
        let report = pipeline.compact().await;
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        assert_eq!(report.oldest_unmerged, None);
        assert_eq!(
            pipeline.metric(acme(), "sends", granularity).await,
            sends,
            "{granularity} after {wait_ms} ms"
        );
        assert_eq!(pipeline.metric(Scope::All, "deliveries", granularity).await, 1200);
    }
    assert_eq!(tenants::list(&pipeline.store).await.unwrap().len(), 2);
}

#[tokio::test]
async fn answer_is_the_same_on_any_number_of_threads() {
    let mut pipeline = TestPipeline::new();
    for round in 0..600 {
        let records = messages(&pipeline, 1 + round * 3, 3);
        pipeline.aggregate(&records).await.unwrap();
        pipeline.advance(1_000);
    }
    let progress = CountingProgress::read(&pipeline.store).await.unwrap();
    let deltas = Snapshot::read(&pipeline.store, &progress, &acme()).await.unwrap().deltas;
    let bytes: usize = deltas.iter().map(|delta| delta.body.len()).sum();
    assert!(bytes > 2 * MIN_BYTES_PER_THREAD, "{bytes} bytes are counted on one thread");
    let median_ms = pipeline.metric(Scope::Tenant(acme()), "delivery_ms_p50", "total").await;
    for threads in [1, 2, 3, 100] {
        assert_eq!(pipeline.metric_on(threads, Scope::All, "sends", "1m").await, 1800);
        let found_ms = pipeline.metric_on(threads, Scope::Tenant(acme()), "delivery_ms_p50", "total").await;
        assert_eq!(found_ms, median_ms);
    }
}

#[tokio::test]
async fn redelivered_batches_and_upstream_duplicates_change_nothing_and_reconcile_shows_it() {
    let mut pipeline = TestPipeline::new();
    let records = messages(&pipeline, 1, 60);
    pipeline.aggregate(&records[..50]).await.unwrap();
    let again = pipeline.aggregate(&records).await.unwrap();
    assert_eq!((again.skipped, again.totals.aggregated), (50, 70));
    let renumbered: Vec<(u64, String)> =
        records.iter().map(|(number, data)| (number + 1_000, data.clone())).collect();
    pipeline.cache = ShardCache::default();
    let duplicates = pipeline.aggregate(&renumbered).await.unwrap();
    assert_eq!((duplicates.totals.duplicates, duplicates.totals.aggregated), (120, 0));
    for _ in 0..2 {
        let hour = Timestamp::from_millis(START).minute().hour();
        let proof = reconcile(&pipeline.store, &acme(), hour, Hour(hour.0 + 1)).await.unwrap();
        assert_eq!((proof.events, proof.duplicates, proof.aggregated, proof.drift()), (160, 80, 80, 0));
        pipeline.advance(DAY_MS);
        pipeline.compact().await;
    }
    let totals = CountingProgress::read(&pipeline.store).await.unwrap().totals();
    assert_eq!((totals.events, totals.duplicates, totals.aggregated), (240, 120, 120));
}

#[tokio::test]
async fn one_tenant_never_sees_another() {
    let mut pipeline = TestPipeline::new();
    let records = messages(&pipeline, 1, 30);
    pipeline.aggregate(&records).await.unwrap();
    let nobody = Scope::Tenant(TenantId::new("acm").unwrap());
    assert_eq!(pipeline.metric(nobody, "sends", "total").await, 0);
    assert_eq!(pipeline.metric(Scope::Tenant(TenantId::new("other").unwrap()), "sends", "total").await, 10);
    assert_eq!(pipeline.metric(Scope::All, "sends", "total").await, 30);
}

#[tokio::test]
async fn redelivery_to_a_quiet_tenant_is_recognised_beside_a_busy_one_and_after_a_restart() {
    let new_cache = || ShardCache::with_window(DeduplicationWindow::with_limit(100));
    let mut pipeline = TestPipeline::new();
    pipeline.cache = new_cache();
    let quiet = event("Send", "acme", 1, pipeline.clock.now());
    pipeline.aggregate(&[(1, quiet.clone())]).await.unwrap();
    let at = pipeline.clock.now();
    for first in (100..300).step_by(50) {
        pipeline.advance(1_000);
        let busy = (first..first + 50).map(|number| (number, event("Send", "other", number, at)));
        let counted = pipeline.aggregate(&busy.collect::<Vec<_>>()).await.unwrap();
        assert_eq!(counted.totals.aggregated, 50);
    }
    for number in [1_000, 1_001] {
        let again = pipeline.aggregate(&[(number, quiet.clone())]).await.unwrap();
        assert_eq!((again.totals.duplicates, again.totals.aggregated), (1, 0));
        // Replies state what a tenant can rely on.
        let progress = CountingProgress::read(&pipeline.store).await.unwrap();
        let busy = TenantId::new("other").unwrap();
        assert_eq!(progress.deduplicated_since(Some(&acme())), None);
        assert_eq!(progress.deduplicated_since(Some(&busy)), Some(at.plus_millis(3_000)));
        assert_eq!(progress.deduplicated_since(None), Some(at.plus_millis(3_000)));
        pipeline.cache = new_cache();
    }
    assert_eq!(pipeline.metric(Scope::Tenant(acme()), "sends", "total").await, 1);
}

#[tokio::test]
async fn quarantined_record_is_replayed_and_counted_once() {
    let mut pipeline = TestPipeline::new();
    let good = event("Send", "acme", 1, pipeline.clock.now());
    pipeline.aggregate(&[(1, "{\"eventType\":".to_owned()), (2, good.clone())]).await.unwrap();
    let day = pipeline.clock.now().minute().hour().day();
    let mut parts = quarantine::list(&pipeline.store, day).await.unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].part.open(&BitFlipSeal).unwrap(), b"{\"eventType\":");
    // Stands for a newer program that can read the part.
    parts[0].part.sealed = BitFlipSeal.seal("", event("Send", "acme", 2, pipeline.clock.now()).as_bytes());
    let mut cache = ShardCache::default();
    for expected in [1, 0] {
        let attempt = pipeline.attempt();
        let aggregation = Aggregation {
            store: &pipeline.store,
            clock: &pipeline.clock,
            settings: CommitSettings::default(),
            attempt,
        };
        let replayed =
            replay(&aggregation, &mut pipeline.accumulator, &mut cache, &BitFlipSeal, &parts).await.unwrap();
        assert_eq!(replayed.totals.aggregated, expected);
    }
    assert_eq!(quarantine::list(&pipeline.store, day).await.unwrap(), []);
    assert_eq!(pipeline.metric(Scope::Tenant(acme()), "sends", "total").await, 2);
}

#[tokio::test]
async fn batch_under_a_lease_is_refused_until_the_lease_is_ended() {
    let mut pipeline = TestPipeline::new();
    let shard = ShardId::new("shard-1").unwrap();
    let held = checkpoint::read(&pipeline.store, &shard).await.unwrap();
    let in_flight = InFlight {
        first: SequenceNumber::from(1),
        last: SequenceNumber::from(9),
        attempt: 99,
        lease_until: pipeline.clock.now().plus_millis(30_000),
    };
    let busy = Checkpoint { in_flight: Some(in_flight), ..Default::default() };
    checkpoint::replace(&pipeline.store, &shard, &held, busy).await.unwrap();
    let records = messages(&pipeline, 1, 3);
    let refused = pipeline.aggregate(&records).await;
    assert!(matches!(refused, Err(AggregateError::Busy { .. })), "{refused:?}");
    aggregate::end_leases(&pipeline.store).await.unwrap();
    assert_eq!(pipeline.aggregate(&records).await.unwrap().totals.aggregated, 6);
}
