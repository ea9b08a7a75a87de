//! Detection runs over counted events: each change of an alert is notified once and none is lost, whichever call a process dies at.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use detection::{AlertRules, Override};
use event::{ShardId, TenantId};
use pipeline::alerting::detection_run::tenant_groups::{
    self, GroupCounts, GroupReadError, GroupReaders, GroupRequest,
};
use pipeline::alerting::detection_run::{DetectionError, MAX_PENDING};
use pipeline::alerting::registry::{self, AlertFilter};
use pipeline::directory::alert_rules::{self, TenantRules};
use pipeline::memory::MemoryStore;
use pipeline::ports::{Expected, Item, Key, Page, PutError, Range, Store, StoreError, StoreErrorKind};
use pipeline::testing::counting::{self, FixedClock};

use super::*;

mod escalation;
mod failures;
mod sending;

/// 2025-11-13T02:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_762_999_200_000);

/// A channel that records the changes it is notified of, or is down.
#[derive(Default)]
struct RecordingChannel {
    changes: Mutex<Vec<Change>>,
    is_down: bool,
}

impl Notifier for RecordingChannel {
    fn channels(&self, _: &Change) -> Vec<String> {
        vec!["pager".to_owned()]
    }

    async fn notify(&self, _: &str, change: &Change) -> Result<(), NotifyError> {
        if self.is_down {
            return Err("down".into());
        }
        self.changes.lock().unwrap().push(change.clone());
        Ok(())
    }
}

impl RecordingChannel {
    /// The tenant, metric, state and sequence of each notification, in order.
    fn notifications(&self) -> Vec<(String, String, &'static str, u32)> {
        let changes = self.changes.lock().unwrap();
        let summary = |change: &Change| {
            (change.tenant.to_string(), change.metric.clone(), change.state.name(), change.sequence)
        };
        changes.iter().map(summary).collect()
    }
}

/// A store of a process that dies at call number `last`. All later calls fail.
struct CrashingStore {
    inner: Arc<MemoryStore>,
    calls: AtomicUsize,
    last: usize,
    /// Whether the last call still writes, at least in part, before the process dies.
    acts: bool,
}

impl CrashingStore {
    /// Counts a call. The error says whether the failing call still acts.
    fn call(&self) -> Result<(), bool> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call < self.last { Ok(()) } else { Err(call == self.last && self.acts) }
    }

    fn crash() -> StoreError {
        StoreError::new(StoreErrorKind::Unavailable, "call", "", "killed")
    }
}

impl Store for CrashingStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        self.call().map_err(|_| Self::crash())?;
        self.inner.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.call().map_err(|_| Self::crash())?;
        self.inner.range(range).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        match self.call() {
            Ok(()) => self.inner.put(items).await,
            Err(acts) => {
                // Batch writes are not atomic: half of the items are written.
                let half = items.len().div_ceil(2);
                self.inner.put(items.into_iter().take(if acts { half } else { 0 }).collect()).await?;
                Err(Self::crash())
            }
        }
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        match self.call() {
            Ok(()) => self.inner.put_if(item, expected).await,
            Err(true) => self.inner.put_if(item, expected).await.and(Err(Self::crash().into())),
            Err(false) => Err(Self::crash().into()),
        }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        self.call().map_err(|_| Self::crash())?;
        self.inner.delete(keys).await
    }
}

fn minutes(minutes: i64) -> Timestamp {
    START.plus_millis(minutes * 60_000)
}

/// Events of `sends` mails of a tenant in one minute, of which the first `bounces` bounce and the others are delivered.
fn mails(tenant: &str, minute: i64, sends: usize, bounces: usize) -> Vec<String> {
    mails_bounced_as("General", tenant, minute, sends, bounces)
}

/// [`mails`], with permanent bounces of this sub-type.
fn mails_bounced_as(sub_type: &str, tenant: &str, minute: i64, sends: usize, bounces: usize) -> Vec<String> {
    let mut events = Vec::new();
    let at = minutes(minute).to_string();
    for number in 0..sends {
        let mail = format!(
            r#""mail":{{"timestamp":"{at}","messageId":"{tenant}-{minute}-{number}","source":"a@sender.example","destination":["b@mail.example"],"tags":{{"tenant":["{tenant}"]}}}}"#
        );
        events.push(format!(r#"{{"eventType":"Send",{mail},"send":{{}}}}"#));
        events.push(if number < bounces {
            format!(
                r#"{{"eventType":"Bounce",{mail},"bounce":{{"bounceType":"Permanent","bounceSubType":"{sub_type}","bouncedRecipients":[{{"emailAddress":"b@mail.example"}}],"timestamp":"{at}","feedbackId":"f{number}"}}}}"#
            )
        } else {
            format!(
                r#"{{"eventType":"Delivery",{mail},"delivery":{{"timestamp":"{at}","processingTimeMillis":500,"recipients":["b@mail.example"],"smtpResponse":"250 ok"}}}}"#
            )
        });
    }
    events
}

async fn count(store: &MemoryStore, number: u64, events: &[String]) {
    count_at(store, number, events, START).await;
}

/// Counts events that arrive at `now`.
async fn count_at(store: &MemoryStore, number: u64, events: &[String], now: Timestamp) {
    let shard = ShardId::new("shard-1").unwrap();
    let totals = counting::count(store, &shard, number, events.join("\n").as_bytes(), now).await.unwrap();
    assert_eq!(totals.aggregated, events.len() as u64, "{totals:?}");
}

async fn run<S: Store>(
    store: &S,
    channel: &RecordingChannel,
    cache: &mut DetectionCache,
    at: i64,
) -> Result<RunReport, DetectionError> {
    run_with(store, &(), channel, cache, at).await
}

async fn run_with<S: Store, R: GroupReaders>(
    store: &S,
    readers: &R,
    channel: &RecordingChannel,
    cache: &mut DetectionCache,
    at: i64,
) -> Result<RunReport, DetectionError> {
    let now = minutes(at);
    let id = u64::try_from(at).unwrap() + 1;
    let attempt = Attempt { id, deadline: now.plus_millis(50_000) };
    let (clock, settings) = (FixedClock(now), DetectionSettings::default());
    let run = DetectionRun { store, clock: &clock, notifier: channel, readers, settings: &settings, attempt };
    run.run(cache).await
}

/// Functions that each read the counts of a group of tenants. One of them fails, and one answers only half of the minutes.
struct Collectors<'a> {
    store: &'a MemoryStore,
    calls: AtomicUsize,
}

impl GroupReaders for Collectors<'_> {
    fn groups(&self) -> u32 {
        4
    }

    async fn read(&self, request: GroupRequest) -> Result<GroupCounts, GroupReadError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let GroupRequest { from, to, number, .. } = request;
        let to = if number == 2 { from.midpoint(to).max(from + 1) } else { to };
        if number == 1 {
            return Err("killed".into());
        }
        let settings = pipeline::history::compaction::CompactionSettings::default();
        let request = GroupRequest { to, ..request };
        Ok(tenant_groups::answer(self.store, &FixedClock(minutes(120)), &settings, &request).await?)
    }
}

/// A store with one tenant in trouble and one without, and later traffic, so that the minutes of both can be evaluated.
async fn store_with_a_bad_list() -> MemoryStore {
    let store = MemoryStore::new();
    count(&store, 1, &mails("good", 0, 200, 1)).await;
    count(&store, 2, &mails("bad", 0, 60, 20)).await;
    count(&store, 3, &mails("good", 29, 10, 0)).await;
    store
}

/// Counts enough delivered mail of the tenant in trouble for its rates to recover.
async fn count_a_good_list(store: &MemoryStore) {
    count(store, 4, &mails("bad", 60, 1500, 0)).await;
}

fn scope(tenant: &str) -> cells::query::Scope {
    cells::query::Scope::Tenant(TenantId::new(tenant).unwrap())
}

fn alerts_of_the_day() -> AlertFilter {
    AlertFilter { is_open: None, from: minutes(-60).minute(), to: minutes(24 * 60).minute(), limit: 100 }
}

#[tokio::test]
async fn each_change_is_notified_once() {
    let store = store_with_a_bad_list().await;
    let (channel, mut cache) = (RecordingChannel::default(), DetectionCache::default());
    for (at, expected) in [(30, 1), (31, 0), (32, 0)] {
        let report = run(&store, &channel, &mut cache, at).await.unwrap();
        assert_eq!(report.notified, expected, "{report:?}");
    }
    let fired = channel.notifications();
    let [(tenant, metric, "firing", 1)] = fired.as_slice() else { panic!("{fired:?}") };
    assert_eq!((tenant.as_str(), metric.as_str()), ("bad", "delivery_rate"));
    // The alert resolves once the rates have been fine for a while, also in a new process that has to read its state.
    count_a_good_list(&store).await;
    run(&store, &channel, &mut DetectionCache::default(), 120).await.unwrap();
    let after: Vec<_> =
        channel.notifications().into_iter().skip(1).map(|(.., state, sequence)| (state, sequence)).collect();
    assert_eq!(after, [("resolved", 2)]);
    let [kept] = &registry::list(&store, &scope("bad"), &alerts_of_the_day()).await.unwrap()[..] else {
        panic!()
    };
    assert_eq!((kept.is_open(), kept.history.len()), (false, 2));
}

#[tokio::test]
async fn alerts_are_the_same_where_counts_are_read_in_groups() {
    let bad_lists = async || {
        let store = store_with_a_bad_list().await;
        for (number, tenant) in (10..).zip(["acme", "globex", "initech", "umbrella", "hooli"]) {
            count(&store, number, &mails(tenant, 7, 120, 40)).await;
        }
        store
    };
    let (store, copy) = (bad_lists().await, bad_lists().await);
    let collectors = Collectors { store: &copy, calls: AtomicUsize::new(0) };
    let (alone, shared) = (RecordingChannel::default(), RecordingChannel::default());
    let (mut of_one, mut of_many) = (DetectionCache::default(), DetectionCache::default());
    for at in [30, 31, 120] {
        let one = run(&store, &alone, &mut of_one, at).await.unwrap();
        let many = run_with(&copy, &collectors, &shared, &mut of_many, at).await.unwrap();
        assert_eq!(one, many);
    }
    assert_eq!(*alone.changes.lock().unwrap(), *shared.changes.lock().unwrap());
    assert!(alone.notifications().len() > 4, "{:?}", alone.notifications());
    assert!(collectors.calls.load(Ordering::SeqCst) >= 12);
}

#[tokio::test]
async fn failed_notification_is_sent_by_the_next_run_of_any_process() {
    let store = store_with_a_bad_list().await;
    let down = RecordingChannel { is_down: true, ..RecordingChannel::default() };
    let failed = run(&store, &down, &mut DetectionCache::default(), 30).await;
    assert!(matches!(failed, Err(DetectionError::Notify { count: 1, .. })), "{failed:?}");
    let channel = RecordingChannel::default();
    let mut cache = DetectionCache::default();
    run(&store, &channel, &mut cache, 31).await.unwrap();
    run(&store, &channel, &mut cache, 32).await.unwrap();
    assert_eq!(channel.notifications().len(), 1);
}

/// No change is lost, and a change is notified twice only if the process died between sending and recording that it was sent.
#[tokio::test]
async fn each_change_is_notified_whichever_call_the_process_dies_at() {
    let (channel, store) = (RecordingChannel::default(), store_with_a_bad_list().await);
    run(&store, &channel, &mut DetectionCache::default(), 30).await.unwrap();
    count_a_good_list(&store).await;
    run(&store, &channel, &mut DetectionCache::default(), 120).await.unwrap();
    let expected: BTreeMap<_, _> = channel.notifications().into_iter().map(|change| (change, 1)).collect();
    assert_eq!(expected.len(), 2, "fired and resolved: {expected:?}");
    let mut crashes = 0;
    for acts in [false, true] {
        for last in 0.. {
            let inner = Arc::new(store_with_a_bad_list().await);
            let (channel, crashing) = (
                RecordingChannel::default(),
                CrashingStore { inner: Arc::clone(&inner), calls: AtomicUsize::new(0), last, acts },
            );
            let died = run(&crashing, &channel, &mut DetectionCache::default(), 30).await.is_err();
            let notified_before = channel.notifications().len();
            for at in [31, 32] {
                run(&*inner, &channel, &mut DetectionCache::default(), at).await.unwrap();
            }
            count_a_good_list(&inner).await;
            run(&*inner, &channel, &mut DetectionCache::default(), 120).await.unwrap();
            let mut each = BTreeMap::new();
            for change in channel.notifications() {
                *each.entry(change).or_insert(0) += 1;
            }
            assert!(each.keys().eq(expected.keys()), "call {last}, {acts}: {each:?}");
            let twice = each.values().filter(|&&times| times > 1).count();
            assert!(twice <= notified_before, "call {last}, {acts}: {each:?}");
            if !died {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes > 20, "{crashes} crashes are too few");
}

#[tokio::test]
async fn one_of_two_concurrent_runs_notifies() {
    let store = store_with_a_bad_list().await;
    let (channel, mut first, mut second) =
        (RecordingChannel::default(), DetectionCache::default(), DetectionCache::default());
    run(&store, &channel, &mut first, 29).await.unwrap();
    run(&store, &channel, &mut second, 29).await.unwrap();
    let (one, other) =
        tokio::join!(run(&store, &channel, &mut first, 30), run(&store, &channel, &mut second, 30));
    one.unwrap();
    other.unwrap();
    assert_eq!(channel.notifications().len(), 1, "{:?}", channel.notifications());
}

#[tokio::test]
async fn new_rules_apply_from_the_next_run_on() {
    let store = store_with_a_bad_list().await;
    let lenient = TenantRules {
        limits: Override { bounce_rate: Some(2.0), delivery_rate: Some(0.0), ..Override::default() },
        ..TenantRules::default()
    };
    alert_rules::write_tenant(&store, &TenantId::new("bad").unwrap(), &lenient).await.unwrap();
    let channel = RecordingChannel::default();
    run(&store, &channel, &mut DetectionCache::default(), 30).await.unwrap();
    assert_eq!(channel.notifications(), []);
    // The limits of other tenants do not change.
    let effective = alert_rules::effective(&store).await.unwrap();
    assert_eq!(effective.limits_of("good"), AlertRules::default().limits_of("good"));
}

#[tokio::test]
async fn acknowledgement_is_kept_and_tenants_see_only_their_own_alerts() {
    let store = store_with_a_bad_list().await;
    let (channel, mut cache) = (RecordingChannel::default(), DetectionCache::default());
    run(&store, &channel, &mut cache, 30).await.unwrap();
    let id = channel.changes.lock().unwrap()[0].id.clone();
    for other in [scope("good"), scope("bad-"), cells::query::Scope::Tenant(TenantId::unassigned())] {
        assert_eq!(registry::get(&store, &other, &id).await.unwrap(), None);
        assert_eq!(registry::acknowledge(&store, &other, &id, "x", minutes(31)).await.unwrap(), None);
        assert_eq!(registry::list(&store, &other, &alerts_of_the_day()).await.unwrap(), []);
    }
    let kept = registry::acknowledge(&store, &scope("bad"), &id, "Ann", minutes(31)).await.unwrap().unwrap();
    assert_eq!(kept.acknowledged.unwrap().by, "Ann");
    // No reminder is sent a day later, though mail still bounces.
    for hour in 1..30_u32 {
        count(&store, u64::from(hour) + 10, &mails("bad", i64::from(hour) * 60, 200, 60)).await;
    }
    for hour in 1..30 {
        run(&store, &channel, &mut cache, hour * 60 + 2).await.unwrap();
    }
    let reminders = channel.notifications().into_iter().filter(|(.., state, _)| *state == "reminder").count();
    assert_eq!(reminders, 0, "{:?}", channel.notifications());
    assert_eq!(
        registry::list(&store, &cells::query::Scope::All, &alerts_of_the_day()).await.unwrap().len(),
        1
    );
}

#[test]
fn message_has_the_attributes_of_its_change() {
    let body = r#"{"id":"al_1","sequence":1,"tenant":"acme","severity":"warning","kind":"limit","metric":"bounce_rate","state":"firing","scope":{},"value":0.3,"limit":0.02,"numerator":60.0,"denominator":200.0,"started_at":"2025-11-13T02:00:00Z","fired_at":"2025-11-13T02:01:00Z","updated_at":"2025-11-13T02:01:00Z","window":"60m","cause":[],"summary":"Too many bounces.","dedup_key":"al_1"}"#;
    let message = message(&serde_json::from_str(body).unwrap()).unwrap();
    assert_eq!(message.json, body);
    assert_eq!(message.subject, "[warning] bounce rate for acme");
    let attributes: Vec<_> = message.attributes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let expected = [
        ("tenant", "acme"),
        ("severity", "warning"),
        ("kind", "limit"),
        ("metric", "bounce_rate"),
        ("state", "firing"),
        ("schema", "1"),
    ];
    assert_eq!(attributes, expected);
}

/// The metrics of the budget alerts that fire, and the hard bounce rate in `GET /v1/budget`, for an account that sent
/// 8,000 mails of which one in ten bounced with this sub-type.
async fn reputation_after(sub_type: &str) -> (Vec<String>, Option<f64>) {
    let store = MemoryStore::new();
    for minute in 0..8 {
        let number = u64::try_from(minute).unwrap() + 1;
        count(&store, number, &mails_bounced_as(sub_type, "acme", minute, 1000, 100)).await;
    }
    count(&store, 9, &mails("acme", 29, 10, 0)).await;
    let channel = RecordingChannel::default();
    run(&store, &channel, &mut DetectionCache::default(), 30).await.unwrap();
    let changes = channel.changes.into_inner().unwrap();
    let budgets = changes.into_iter().filter(|change| change.kind == detection::AlertKind::Budget);
    let budgets = budgets.map(|change| change.metric).collect();
    let source = pipeline::history::trend_and_budget::StoredCounts {
        store: &store,
        settings: &pipeline::history::compaction::CompactionSettings::default(),
        now: minutes(30),
        threads: std::num::NonZeroUsize::MIN,
    };
    let standings = source.budget(&cells::query::Scope::All).await.unwrap();
    (budgets, standings[0].rate)
}

#[tokio::test]
async fn mail_outside_the_bounce_rate_of_ses_uses_up_no_budget() {
    for sub_type in [
        "OnAccountSuppressionList",
        "OnTenantSuppressionList",
        "UnsubscribedRecipient",
        "EmailValidationSuppressed",
    ] {
        assert_eq!(reputation_after(sub_type).await, (vec![], Some(0.0)), "{sub_type}");
    }
}

#[tokio::test]
async fn hard_bounces_use_up_the_budget_including_those_of_the_global_suppression_list() {
    for sub_type in ["NoEmail", "Suppressed"] {
        let (alerts, rate) = reputation_after(sub_type).await;
        assert_eq!(alerts, ["hard_bounce_rate"], "{sub_type}");
        assert!((rate.unwrap() - 800.0 / 8010.0).abs() < 1e-9, "{sub_type}: {rate:?}");
    }
}

#[test]
fn environment_names_the_collectors_or_is_refused() {
    let read = |variables: &[(&str, &str)]| {
        let required = [("TABLE_NAME", "t"), ("ALERT_TOPIC_ARN", "a"), ("STREAM_NAME", "s")];
        let variables =
            required.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        DetectConfig::from_environment(Environment::of(variables)).map(|config| config.collect)
    };
    assert_eq!(read(&[]).unwrap(), None);
    let both = read(&[("COLLECT_FUNCTION", "f"), ("COLLECT_SHARES", "4")]);
    assert_eq!(both.unwrap(), Some(("f".to_owned(), 4)));
    for (variables, expected) in [
        (&[("COLLECT_FUNCTION", "f"), ("COLLECT_SHARES", "1")][..], "from 2 to"),
        (&[("COLLECT_FUNCTION", "f"), ("COLLECT_SHARES", "many")], "COLLECT_SHARES"),
        (&[("COLLECT_FUNCTION", "f")], "set both or neither"),
        (&[("COLLECT_SHARES", "4")], "set both or neither"),
    ] {
        let error = read(variables).unwrap_err().to_string();
        assert!(error.contains(expected), "{variables:?}: {error}");
    }
}
