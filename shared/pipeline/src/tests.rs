//! The whole way of events through the steps, over the store in memory: what is answered, before and after each compaction.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use cells::query::{Locale, Query, Scope};
use event::attribution::{Attribution, Settings};
use event::{HashKey, Hour, SequenceNumber, ShardId, TenantId, Timestamp};

use crate::directory::tenants;
use crate::history::answering::{self, LEAST_SHARE_BYTES};
use crate::history::compaction::{self, due};
use crate::history::snapshot::{Progress, Snapshot};
use crate::ledger::accumulate::EventFold;
use crate::ledger::aggregate::{self, AggregateError, Attempt, Batch, Committed, Record};
use crate::ledger::deduplication::Memory;
use crate::ledger::quarantine::{self, Seal as _};
use crate::ledger::reconcile;
use crate::memory::MemoryStore;
use crate::ports::Clock;
use crate::testing::counting::Turned;
use cells::Block;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// 2025-11-13T02:00:00Z.
const START: i64 = 1_762_999_200_000;

pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) struct Home {
    pub(crate) store: MemoryStore,
    pub(crate) clock: SetClock,
    fold: EventFold<Turned>,
    memory: Memory,
    attempts: AtomicU64,
}

impl Home {
    pub(crate) fn new() -> Self {
        let attribution = Attribution::new(Settings::default()).unwrap();
        Self {
            store: MemoryStore::new(),
            clock: SetClock(AtomicI64::new(START)),
            fold: EventFold::new(attribution, HashKey::new([7; 16]), Turned),
            memory: Memory::default(),
            attempts: AtomicU64::new(0),
        }
    }

    pub(crate) fn pass(&self, millis: i64) {
        self.clock.pass(millis);
    }

    /// What a store with expiry does by itself.
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
        let settings = aggregate::Settings::default();
        aggregate::aggregate(
            &self.store,
            &self.clock,
            &settings,
            &mut self.fold,
            &mut self.memory,
            &batch,
            attempt,
        )
        .await
    }

    pub(crate) async fn compact(&self) -> due::Report {
        let settings = compaction::Settings::default();
        due::compact_due::<Block, _, _>(&self.store, &self.clock, &settings, || self.attempt()).await.unwrap()
    }

    /// A metric of one tenant, or of all, since the start.
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
        let settings = compaction::Settings::default();
        let answer = answering::answer(&self.store, &query, &settings, now, threads).await.unwrap();
        let sum: f64 = answer.rows().iter().filter_map(|row| row.metrics.first()?.as_number()).sum();
        format!("{sum}").parse().unwrap()
    }
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

pub(crate) fn event(kind: &str, tenant: &str, message: u64, at: Timestamp) -> String {
    let body = match kind {
        "Send" => r#""send":{}"#.to_owned(),
        _ => format!(
            r#""delivery":{{"timestamp":"{at}","recipients":["a@gmail.com"],"processingTimeMillis":800}}"#
        ),
    };
    format!(
        r#"{{"eventType":"{kind}","mail":{{"timestamp":"{at}","messageId":"m-{message}","source":"a@news.example","destination":["a@gmail.com"],"tags":{{"tenant":["{tenant}"]}}}},{body}}}"#
    )
}

pub(crate) fn messages(home: &Home, first: u64, count: u64) -> Vec<(u64, String)> {
    let at = home.clock.now();
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
    let mut home = Home::new();
    for round in 0..40 {
        let records = messages(&home, 1 + round * 30, 30);
        home.aggregate(&records).await.unwrap();
        home.pass(60_000);
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
        home.pass(wait_ms);
        // A late event makes the tenant due, and must reach every block that there is of its day.
        let late = event("Send", "acme", 10_000 + sends, Timestamp::from_millis(START));
        home.aggregate(&[(10_000 + sends, late)]).await.unwrap();
        sends += 1;
        assert_eq!(home.metric(acme(), "sends", granularity).await, sends, "before, after {wait_ms} ms");
        home.pass(DAY_MS / 24);
        let report = home.compact().await;
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        assert_eq!(report.oldest_unmerged, None);
        assert_eq!(
            home.metric(acme(), "sends", granularity).await,
            sends,
            "{granularity} after {wait_ms} ms"
        );
        assert_eq!(home.metric(Scope::All, "deliveries", granularity).await, 1200);
    }
    assert_eq!(tenants::list(&home.store).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_answer_is_the_same_on_any_number_of_threads() {
    let mut home = Home::new();
    for round in 0..600 {
        let records = messages(&home, 1 + round * 3, 3);
        home.aggregate(&records).await.unwrap();
        home.pass(1_000);
    }
    let progress = Progress::read(&home.store).await.unwrap();
    let deltas = Snapshot::read(&home.store, &progress, &acme()).await.unwrap().deltas;
    let bytes: usize = deltas.iter().map(|delta| delta.body.len()).sum();
    assert!(bytes > 2 * LEAST_SHARE_BYTES, "{bytes} bytes are counted on one thread");
    let median_ms = home.metric(Scope::Tenant(acme()), "delivery_ms_p50", "total").await;
    for threads in [1, 2, 3, 100] {
        assert_eq!(home.metric_on(threads, Scope::All, "sends", "1m").await, 1800);
        let found_ms = home.metric_on(threads, Scope::Tenant(acme()), "delivery_ms_p50", "total").await;
        assert_eq!(found_ms, median_ms);
    }
}

#[tokio::test]
async fn redelivered_batches_and_upstream_duplicates_change_nothing_and_reconcile_shows_it() {
    let mut home = Home::new();
    let records = messages(&home, 1, 60);
    home.aggregate(&records[..50]).await.unwrap();
    let again = home.aggregate(&records).await.unwrap();
    assert_eq!((again.skipped, again.totals.aggregated), (50, 70));
    let renumbered: Vec<(u64, String)> =
        records.iter().map(|(number, data)| (number + 1_000, data.clone())).collect();
    home.memory = Memory::default();
    let duplicates = home.aggregate(&renumbered).await.unwrap();
    assert_eq!((duplicates.totals.duplicates, duplicates.totals.aggregated), (120, 0));
    for _ in 0..2 {
        let hour = Timestamp::from_millis(START).minute().hour();
        let proof = reconcile::reconcile(&home.store, &acme(), hour, Hour(hour.0 + 1)).await.unwrap();
        assert_eq!((proof.events, proof.duplicates, proof.aggregated, proof.drift()), (160, 80, 80, 0));
        home.pass(DAY_MS);
        home.compact().await;
    }
    let totals = reconcile::totals(&Progress::read(&home.store).await.unwrap());
    assert_eq!((totals.events, totals.duplicates, totals.aggregated), (240, 120, 120));
}

#[tokio::test]
async fn one_tenant_never_sees_another() {
    let mut home = Home::new();
    let records = messages(&home, 1, 30);
    home.aggregate(&records).await.unwrap();
    let nobody = Scope::Tenant(TenantId::new("acm").unwrap());
    assert_eq!(home.metric(nobody, "sends", "total").await, 0);
    assert_eq!(home.metric(Scope::Tenant(TenantId::new("other").unwrap()), "sends", "total").await, 10);
    assert_eq!(home.metric(Scope::All, "sends", "total").await, 30);
}

#[tokio::test]
async fn a_quarantined_record_can_be_replayed_and_is_counted_once() {
    let mut home = Home::new();
    let good = event("Send", "acme", 1, home.clock.now());
    home.aggregate(&[(1, "{\"eventType\":".to_owned()), (2, good.clone())]).await.unwrap();
    let day = home.clock.now().minute().hour().day();
    let mut parts = quarantine::list(&home.store, day).await.unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].record.open(&Turned).unwrap(), b"{\"eventType\":");
    // As if a newer program could read it.
    parts[0].record.sealed = Turned.seal("", event("Send", "acme", 2, home.clock.now()).as_bytes()).unwrap();
    let mut memory = Memory::default();
    for expected in [1, 0] {
        let attempt = home.attempt();
        let with = (&mut home.fold, &mut memory, &Turned);
        let settings = aggregate::Settings::default();
        let replayed =
            quarantine::replay(&home.store, &home.clock, &settings, with, &parts, attempt).await.unwrap();
        assert_eq!(replayed.totals.aggregated, expected);
    }
    assert_eq!(quarantine::list(&home.store, day).await.unwrap(), []);
    assert_eq!(home.metric(Scope::Tenant(acme()), "sends", "total").await, 2);
}

#[tokio::test]
async fn a_batch_under_a_lease_is_refused_until_the_lease_ends_or_is_ended() {
    let mut home = Home::new();
    let shard = ShardId::new("shard-1").unwrap();
    let held = crate::ledger::checkpoint::read(&home.store, &shard).await.unwrap();
    let in_flight = crate::ledger::checkpoint::InFlight {
        first: SequenceNumber::from(1),
        last: SequenceNumber::from(9),
        attempt: 99,
        lease_until: home.clock.now().plus_millis(30_000),
    };
    let busy = crate::ledger::checkpoint::Cursor { in_flight: Some(in_flight), ..Default::default() };
    crate::ledger::checkpoint::move_to(&home.store, &shard, &held, busy).await.unwrap();
    let records = messages(&home, 1, 3);
    let refused = home.aggregate(&records).await;
    assert!(matches!(refused, Err(AggregateError::Busy { .. })), "{refused:?}");
    aggregate::end_leases(&home.store).await.unwrap();
    assert_eq!(home.aggregate(&records).await.unwrap().totals.aggregated, 6);
}
