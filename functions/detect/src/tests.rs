//! Watching counted events: told once per change, never lost, whatever dies when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use detection::{Override, Rules};
use event::{ShardId, TenantId};
use pipeline::alerting::detection_run::shares::{self, AskError, Part, Readers, Share};
use pipeline::alerting::registry::{self, Asked};
use pipeline::directory::rules::{self, OwnRules};
use pipeline::memory::MemoryStore;
use pipeline::ports::{Expected, Item, Key, Page, PutError, Range, Store, StoreError};
use pipeline::testing::counting::{self, At};

use super::*;

mod escalation;
mod failures;

/// 2025-11-13T02:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_762_999_200_000);

/// Remembers what was told, or is out of order.
#[derive(Default)]
struct Told {
    changes: Mutex<Vec<Change>>,
    is_down: bool,
}

impl Announce for Told {
    fn channels(&self, _: &Change) -> Vec<String> {
        vec!["pager".to_owned()]
    }

    async fn announce(&self, _: &str, change: &Change) -> Result<(), AnnounceError> {
        if self.is_down {
            return Err("down".into());
        }
        self.changes.lock().unwrap().push(change.clone());
        Ok(())
    }
}

impl Told {
    fn each(&self) -> Vec<(String, String, &'static str, u32)> {
        let told = self.changes.lock().unwrap();
        let each = |change: &Change| {
            (change.tenant.clone(), change.metric.clone(), change.state.name(), change.sequence)
        };
        told.iter().map(each).collect()
    }
}

/// A store whose process dies at one of its calls, before it acts or after; from then on nothing comes through.
struct Dying {
    inner: Arc<MemoryStore>,
    calls: AtomicUsize,
    last: usize,
    acts: bool,
}

impl Dying {
    fn call(&self) -> Result<(), bool> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call < self.last { Ok(()) } else { Err(call == self.last && self.acts) }
    }

    fn dead() -> StoreError {
        StoreError { operation: "call", place: String::new(), source: "killed".into() }
    }
}

impl Store for Dying {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        self.call().map_err(|_| Self::dead())?;
        self.inner.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.call().map_err(|_| Self::dead())?;
        self.inner.range(range).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        match self.call() {
            Ok(()) => self.inner.put(items).await,
            Err(acts) => {
                // Half of what was to be written is.
                let half = items.len().div_ceil(2);
                self.inner.put(items.into_iter().take(if acts { half } else { 0 }).collect()).await?;
                Err(Self::dead())
            }
        }
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        match self.call() {
            Ok(()) => self.inner.put_if(item, expected).await,
            Err(true) => self.inner.put_if(item, expected).await.and(Err(Self::dead().into())),
            Err(false) => Err(Self::dead().into()),
        }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        self.call().map_err(|_| Self::dead())?;
        self.inner.delete(keys).await
    }
}

fn minutes(minutes: i64) -> Timestamp {
    START.plus_millis(minutes * 60_000)
}

/// Mails of a tenant at a minute, some of which bounced.
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
    told: &Told,
    memory: &mut Memory,
    at: i64,
) -> Result<detection_run::Watched, detection_run::WatchError> {
    run_with(store, &(), told, memory, at).await
}

async fn run_with<S: Store, R: Readers>(
    store: &S,
    readers: &R,
    told: &Told,
    memory: &mut Memory,
    at: i64,
) -> Result<detection_run::Watched, detection_run::WatchError> {
    let now = minutes(at);
    let id = u64::try_from(at).unwrap() + 1;
    let attempt = Attempt { id, deadline: now.plus_millis(50_000) };
    detection_run::run(store, &At(now), told, readers, &detection_run::Settings::default(), memory, attempt)
        .await
}

/// Functions that read a share each; one of them fails, one answers only half of what it was asked.
struct Collectors<'a> {
    store: &'a MemoryStore,
    asked: AtomicUsize,
}

impl Readers for Collectors<'_> {
    fn shares(&self) -> u32 {
        4
    }

    async fn ask(&self, share: Share) -> Result<Part, AskError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let to = if share.number == 2 { share.from.midpoint(share.to).max(share.from + 1) } else { share.to };
        if share.number == 1 {
            return Err("killed".into());
        }
        let settings = pipeline::history::compaction::Settings::default();
        let share = Share { to, ..share };
        Ok(shares::answer(self.store, &At(minutes(120)), &settings, &share).await?)
    }
}

/// One tenant in trouble and one without, and traffic afterwards so that time goes on.
async fn a_bad_list() -> MemoryStore {
    let store = MemoryStore::new();
    count(&store, 1, &mails("good", 0, 200, 1)).await;
    count(&store, 2, &mails("bad", 0, 60, 20)).await;
    count(&store, 3, &mails("good", 29, 10, 0)).await;
    store
}

/// So much good mail of the tenant in trouble that its rates are fine again.
async fn a_good_list(store: &MemoryStore) {
    count(store, 4, &mails("bad", 60, 1500, 0)).await;
}

fn scope(tenant: &str) -> cells::query::Scope {
    cells::query::Scope::Tenant(TenantId::new(tenant).unwrap())
}

fn all_of_the_day() -> Asked {
    Asked { is_open: None, from: minutes(-60).minute(), to: minutes(24 * 60).minute(), limit: 100 }
}

#[tokio::test]
async fn each_change_is_told_once() {
    let store = a_bad_list().await;
    let (told, mut memory) = (Told::default(), Memory::default());
    for (at, expected) in [(30, 1), (31, 0), (32, 0)] {
        let watched = run(&store, &told, &mut memory, at).await.unwrap();
        assert_eq!(watched.told, expected, "{watched:?}");
    }
    let fired = told.each();
    let [(tenant, metric, "firing", 1)] = fired.as_slice() else { panic!("{fired:?}") };
    assert_eq!((tenant.as_str(), metric.as_str()), ("bad", "delivery_rate"));
    // It is over when its rates are fine for a while, also for a process that knows nothing.
    a_good_list(&store).await;
    run(&store, &told, &mut Memory::default(), 120).await.unwrap();
    let after: Vec<_> =
        told.each().into_iter().skip(1).map(|(.., state, sequence)| (state, sequence)).collect();
    assert_eq!(after, [("resolved", 2)]);
    let [kept] = &registry::list(&store, &scope("bad"), &all_of_the_day()).await.unwrap()[..] else {
        panic!()
    };
    assert_eq!((kept.is_open(), kept.history.len()), (false, 2));
}

#[tokio::test]
async fn verdicts_are_the_same_where_counts_are_read_in_shares() {
    let bad_lists = async || {
        let store = a_bad_list().await;
        for (number, tenant) in (10..).zip(["acme", "globex", "initech", "umbrella", "hooli"]) {
            count(&store, number, &mails(tenant, 7, 120, 40)).await;
        }
        store
    };
    let (store, copy) = (bad_lists().await, bad_lists().await);
    let collectors = Collectors { store: &copy, asked: AtomicUsize::new(0) };
    let (alone, shared) = (Told::default(), Told::default());
    let (mut of_one, mut of_many) = (Memory::default(), Memory::default());
    for at in [30, 31, 120] {
        let one = run(&store, &alone, &mut of_one, at).await.unwrap();
        let many = run_with(&copy, &collectors, &shared, &mut of_many, at).await.unwrap();
        assert_eq!(one, many);
    }
    assert_eq!(*alone.changes.lock().unwrap(), *shared.changes.lock().unwrap());
    assert!(alone.each().len() > 4, "{:?}", alone.each());
    assert!(collectors.asked.load(Ordering::SeqCst) >= 12);
}

#[tokio::test]
async fn what_could_not_be_told_is_told_by_the_next_run_also_of_another_process() {
    let store = a_bad_list().await;
    let down = Told { is_down: true, ..Told::default() };
    let failed = run(&store, &down, &mut Memory::default(), 30).await;
    assert!(matches!(failed, Err(detection_run::WatchError::Announce { count: 1, .. })), "{failed:?}");
    let told = Told::default();
    let mut memory = Memory::default();
    run(&store, &told, &mut memory, 31).await.unwrap();
    run(&store, &told, &mut memory, 32).await.unwrap();
    assert_eq!(told.each().len(), 1);
}

/// Nothing is lost, and nothing told twice unless the process died after it told and before it could say so.
#[tokio::test]
async fn whatever_dies_when_each_change_is_told() {
    let (told, store) = (Told::default(), a_bad_list().await);
    run(&store, &told, &mut Memory::default(), 30).await.unwrap();
    a_good_list(&store).await;
    run(&store, &told, &mut Memory::default(), 120).await.unwrap();
    let expected: BTreeMap<_, _> = told.each().into_iter().map(|change| (change, 1)).collect();
    assert_eq!(expected.len(), 2, "fired and resolved: {expected:?}");
    let mut deaths = 0;
    for acts in [false, true] {
        for last in 0.. {
            let inner = Arc::new(a_bad_list().await);
            let (told, dying) = (
                Told::default(),
                Dying { inner: Arc::clone(&inner), calls: AtomicUsize::new(0), last, acts },
            );
            let died = run(&dying, &told, &mut Memory::default(), 30).await.is_err();
            let told_before = told.each().len();
            for at in [31, 32] {
                run(&*inner, &told, &mut Memory::default(), at).await.unwrap();
            }
            a_good_list(&inner).await;
            run(&*inner, &told, &mut Memory::default(), 120).await.unwrap();
            let mut each = BTreeMap::new();
            for change in told.each() {
                *each.entry(change).or_insert(0) += 1;
            }
            assert!(each.keys().eq(expected.keys()), "call {last}, {acts}: {each:?}");
            let twice = each.values().filter(|&&times| times > 1).count();
            assert!(twice <= told_before, "call {last}, {acts}: {each:?}");
            if !died {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 20, "{deaths} deaths are not enough");
}

#[tokio::test]
async fn of_two_runs_at_once_one_tells() {
    let store = a_bad_list().await;
    let (told, mut first, mut second) = (Told::default(), Memory::default(), Memory::default());
    run(&store, &told, &mut first, 29).await.unwrap();
    run(&store, &told, &mut second, 29).await.unwrap();
    let (one, other) = tokio::join!(run(&store, &told, &mut first, 30), run(&store, &told, &mut second, 30));
    one.unwrap();
    other.unwrap();
    assert_eq!(told.each().len(), 1, "{:?}", told.each());
}

#[tokio::test]
async fn rules_that_are_set_hold_from_the_next_run_on() {
    let store = a_bad_list().await;
    let lenient = OwnRules {
        limits: Override { bounce_rate: Some(2.0), delivery_rate: Some(0.0), ..Override::default() },
        ..OwnRules::default()
    };
    rules::set_of_tenant(&store, &TenantId::new("bad").unwrap(), &lenient).await.unwrap();
    let told = Told::default();
    run(&store, &told, &mut Memory::default(), 30).await.unwrap();
    assert_eq!(told.each(), []);
    // Others' limits do not change with it.
    let effective = rules::effective(&store).await.unwrap();
    assert_eq!(effective.limits_of("good"), Rules::default().limits_of("good"));
}

#[tokio::test]
async fn who_looks_after_an_alert_is_kept_and_a_tenant_meets_its_own_alone() {
    let store = a_bad_list().await;
    let (told, mut memory) = (Told::default(), Memory::default());
    run(&store, &told, &mut memory, 30).await.unwrap();
    let id = told.changes.lock().unwrap()[0].id.clone();
    for other in [scope("good"), scope("bad-"), scope("*")] {
        assert_eq!(registry::get(&store, &other, &id).await.unwrap(), None);
        assert_eq!(registry::acknowledge(&store, &other, &id, "x", minutes(31)).await.unwrap(), None);
        assert_eq!(registry::list(&store, &other, &all_of_the_day()).await.unwrap(), []);
    }
    let kept = registry::acknowledge(&store, &scope("bad"), &id, "Ann", minutes(31)).await.unwrap().unwrap();
    assert_eq!(kept.acknowledged.unwrap().by, "Ann");
    // Nobody is reminded of it a day later, though mail goes on bouncing.
    for hour in 1..30_u32 {
        count(&store, u64::from(hour) + 10, &mails("bad", i64::from(hour) * 60, 200, 60)).await;
    }
    for hour in 1..30 {
        run(&store, &told, &mut memory, hour * 60 + 2).await.unwrap();
    }
    let reminders = told.each().into_iter().filter(|(.., state, _)| *state == "reminder").count();
    assert_eq!(reminders, 0, "{:?}", told.each());
    assert_eq!(registry::list(&store, &cells::query::Scope::All, &all_of_the_day()).await.unwrap().len(), 1);
}

#[test]
fn a_message_says_in_words_what_its_attributes_say() {
    let body = r#"{"id":"al_1","sequence":1,"tenant":"acme","severity":"warning","kind":"limit","metric":"bounce_rate","state":"firing","scope":{},"value":0.3,"limit":0.02,"numerator":60.0,"denominator":200.0,"started_at":"2025-11-13T02:00:00Z","fired_at":"2025-11-13T02:01:00Z","updated_at":"2025-11-13T02:01:00Z","window":"60m","cause":[],"summary":"Too many bounces.","dedup_key":"al_1"}"#;
    let message = message(&serde_json::from_str(body).unwrap()).unwrap();
    assert_eq!(message.json, body);
    assert_eq!(message.subject, "[warning] bounce rate of acme");
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

/// The metrics of the budget alerts that detection raises, and the hard bounce rate in `GET /v1/budget`, for an account that sent
/// 8,000 mails of which one in ten bounced with this sub-type.
async fn reputation_after(sub_type: &str) -> (Vec<String>, Option<f64>) {
    let store = MemoryStore::new();
    for minute in 0..8 {
        let number = u64::try_from(minute).unwrap() + 1;
        count(&store, number, &mails_bounced_as(sub_type, "acme", minute, 1000, 100)).await;
    }
    count(&store, 9, &mails("acme", 29, 10, 0)).await;
    let told = Told::default();
    run(&store, &told, &mut Memory::default(), 30).await.unwrap();
    let changes = told.changes.into_inner().unwrap();
    let budgets = changes.into_iter().filter(|change| change.kind == detection::Kind::Budget);
    let budgets = budgets.map(|change| change.metric).collect();
    let source = pipeline::history::look_back::Source {
        store: &store,
        history: &pipeline::history::compaction::Settings::default(),
        now: minutes(30),
        threads: std::num::NonZeroUsize::MIN,
    };
    let standings = source.budget(&cells::query::Scope::All).await.unwrap();
    (budgets, standings[0].rate)
}

#[tokio::test]
async fn mail_that_ses_leaves_out_of_its_bounce_rate_uses_up_no_budget() {
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
