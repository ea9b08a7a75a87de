//! Rebuilds against a plain count: both bases, each level of history, before and after compaction, with live mail in between and with
//! failures at each write.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;

use cells::query::{Locale, MetricRegistry, Query, Scope};
use event::attribution::Attribution;
use event::{Decoded, Decoder, HashKey, Minute};

use super::*;
use crate::directory::tenants::{self, TenantSettings};
use crate::history::answering;
use crate::history::archive::ArchiveCounter;
use crate::history::reconciliation::reconcile;
use crate::memory::MemoryStore;
use crate::testing::contended::ContendedStore;
use crate::testing::counting::{self, FixedClock};
use crate::testing::faulty::Faulty;

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// 2025-11-01T00:00:00Z.
const START: i64 = 1_761_955_200_000;
/// Where minutes are compared, since the start: where they are kept in every test, and as many as one query may have.
const MINUTES: (i64, i64) = (5 * DAY_MS, 11 * DAY_MS);
const METRICS: [&str; 3] = ["sends", "deliveries", "opens"];

/// An event of a message with one recipient. Its kind is the position of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    kind: usize,
    message: i64,
    sent: i64,
    at: i64,
}

impl Event {
    fn json(self) -> String {
        let Self { kind, message, sent, at } = self;
        let time = |at: i64| Timestamp::from_millis(at).to_string();
        let (name, body) = match kind {
            0 => ("Send", r#""send":{}"#.to_owned()),
            1 => (
                "Delivery",
                format!(
                    r#""delivery":{{"timestamp":"{}","recipients":["a@gmail.com"],"processingTimeMillis":800}}"#,
                    time(at)
                ),
            ),
            _ => (
                "Open",
                format!(
                    r#""open":{{"timestamp":"{}","userAgent":"Mozilla/5.0 (Windows NT 10.0)"}}"#,
                    time(at)
                ),
            ),
        };
        format!(
            r#"{{"eventType":"{name}","mail":{{"timestamp":"{}","messageId":"m-{message}","source":"a@news.example","destination":["a@gmail.com"],"tags":{{"tenant":["acme"]}}}},{body}}}"#,
            time(sent)
        )
    }
}

/// A message that was sent some hours after the start: delivered after two minutes, opened after 2, 30 and 80 hours.
fn message(number: i64, hours: i64) -> Vec<Event> {
    let sent = START + hours * HOUR_MS + number % 50 * 60_000;
    let event = |kind, after| Event { kind, message: number, sent, at: sent + after };
    vec![
        event(0, 0),
        event(1, 2 * 60_000),
        event(2, 2 * HOUR_MS),
        event(2, 30 * HOUR_MS),
        event(2, 80 * HOUR_MS),
    ]
}

/// Messages every seven hours for 24 days.
fn all_messages() -> Vec<Event> {
    (0..82).flat_map(|number| message(number, number * 7)).collect()
}

/// What was counted live: some messages are missing, and some are there that the archive does not know.
fn as_counted(events: &[Event]) -> Vec<Event> {
    let mut counted: Vec<Event> = events.iter().copied().filter(|event| event.message % 3 != 0).collect();
    counted.extend((0..50).flat_map(|number| message(1_000 + number, number * 11)));
    counted
}

/// The same, and mail whose outcomes are newer than the archive.
fn as_counted_later(events: &[Event]) -> Vec<Event> {
    [as_counted(events), message(1_100, 548), message(1_101, 585)].concat()
}

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn range(from_hours: u32, to_hours: u32) -> RebuildRange {
    let start = Timestamp::from_millis(START).minute().hour();
    RebuildRange { from: start.plus(from_hours), to: start.plus(to_hours) }
}

/// Counts events live, those of an hour as one batch. `batches` is the number of batches so far.
async fn count<S: Store>(store: &S, events: &[Event], batches: &mut u64) {
    let mut hours: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for event in events {
        hours.entry(event.at.div_euclid(HOUR_MS)).or_default().push(event.json());
    }
    let shard = ShardId::new("shard-1").unwrap();
    for (hour, lines) in hours {
        *batches += 1;
        let now = Timestamp::from_millis((hour + 1) * HOUR_MS);
        let totals =
            counting::count(store, &shard, *batches, lines.join("\n").as_bytes(), now).await.unwrap();
        assert_eq!(totals.aggregated, lines.len() as u64, "{totals:?}");
    }
}

fn count_archive(range: RebuildRange, events: &[Event], now: Timestamp) -> ArchiveCounts {
    let mut counter = ArchiveCounter::new(range, Attribution::default(), HashKey::new([7; 16]), now);
    let (mut seen, mut decoder) = (HashSet::new(), Decoder::new());
    for event in events {
        decoder.decode(event.json().as_bytes(), &mut |decoded| match decoded {
            Decoded::Event(event) => counter.count(event, &mut |identity| seen.insert(identity)),
            other => panic!("{other:?}"),
        });
    }
    counter.finish()
}

/// Days after the start.
fn clock(days: i64) -> FixedClock {
    FixedClock(Timestamp::from_millis(START + days * DAY_MS))
}

fn attempts(from: u64) -> impl FnMut() -> Attempt {
    let mut id = from;
    move || {
        id += 1;
        Attempt { id, deadline: Timestamp::from_millis(i64::MAX) }
    }
}

async fn compact_at<S: Store>(store: &S, days: i64, attempt: u64) {
    let attempt = attempts(attempt)();
    compact::<Block, _, _>(store, &clock(days), &CompactionSettings::default(), &acme(), attempt)
        .await
        .unwrap();
}

async fn rebuild<S: Store>(
    store: &S,
    days: i64,
    range: RebuildRange,
    start: &RebuildStart,
    archive: &ArchiveCounts,
    attempt: u64,
) -> Result<RebuildSummary, RebuildError> {
    let (clock, settings) = (clock(days), CompactionSettings::default());
    let rebuild = Rebuild { store, clock: &clock, settings: &settings, range, start, archive };
    rebuild.replace(&acme(), attempts(attempt)).await
}

/// Counts by metric and bucket.
type Counts = BTreeMap<(usize, Minute), u64>;

/// Where the bucket of a time begins. `None` is one bucket for all time.
fn bucket(at: i64, granularity: &str) -> Minute {
    let minute = Timestamp::from_millis(at).minute();
    match granularity {
        "1m" => minute,
        "1h" => minute.floor_to(60),
        "1d" => minute.floor_to(24 * 60),
        "1mo" => BlockId::month_of(minute.day()).days().start.first_minute(),
        _ => Minute(0),
    }
}

async fn answer<S: Store>(store: &S, days: i64, basis: &str, granularity: &str) -> Counts {
    let now = clock(days).0;
    let (from, to) = (Timestamp::from_millis(START), Timestamp::from_millis(START + 61 * DAY_MS));
    let (from, to) = match granularity {
        "1m" => (from.plus_millis(MINUTES.0).to_string(), from.plus_millis(MINUTES.1).to_string()),
        _ => (from.to_string(), to.to_string()),
    };
    let pairs = [
        ("metrics", "sends,deliveries,opens"),
        ("from", &from),
        ("to", &to),
        ("granularity", granularity),
        ("basis", basis),
        ("limit", "10000"),
    ];
    let query = Query::from_pairs(pairs, Scope::Tenant(acme()), &Locale::default(), now).unwrap();
    let settings = CompactionSettings::default();
    let threads = NonZeroUsize::MIN;
    let answer = answering::answer(store, &query, &settings, now, threads).await.unwrap();
    assert_eq!(answer.next_cursor(), None);
    let mut counts = Counts::new();
    for row in answer.rows() {
        for (kind, metric) in METRICS.iter().enumerate() {
            let count = row.count(MetricRegistry::builtin().get(metric).unwrap());
            if count > 0 {
                counts.insert((kind, row.time().unwrap_or(Minute(0))), count);
            }
        }
    }
    counts
}

/// A plain count of the events for which `time` gives one.
fn plain_count(events: &[Event], granularity: &str, time: impl Fn(&Event) -> i64) -> Counts {
    let mut counts = Counts::new();
    for event in events {
        let at = time(event);
        if granularity != "1m" || (MINUTES.0..MINUTES.1).contains(&(at - START)) {
            *counts.entry((event.kind, bucket(at, granularity))).or_default() += 1;
        }
    }
    counts
}

/// What must be there after a rebuild: events by their own time, and events by the time of sending.
struct Expected {
    by_event: Vec<Event>,
    by_send: Vec<Event>,
}

impl Expected {
    /// As it was counted, without a rebuild.
    fn unchanged(live: &[Event]) -> Self {
        Self { by_event: live.to_vec(), by_send: live.to_vec() }
    }

    /// `late_until` is when late outcomes stop being replaced.
    fn rebuilt(live: &[Event], archive: &[Event], range: RebuildRange, late_until: i64) -> Self {
        let is_inside = |at: i64| range.contains(Timestamp::from_millis(at).minute().hour());
        let is_replaced = |event: &Event| {
            is_inside(event.sent) && (event.at - event.sent < 3 * DAY_MS || event.at < late_until)
        };
        let kept = live.iter().copied();
        let counted = archive.iter().copied();
        let by_event = kept.clone().filter(|event| !is_inside(event.at));
        let by_send = kept.filter(|event| !is_replaced(event));
        Self {
            by_event: by_event.chain(counted.clone().filter(|event| is_inside(event.at))).collect(),
            by_send: by_send.chain(counted.filter(is_replaced)).collect(),
        }
    }

    fn and(mut self, events: &[Event]) -> Self {
        self.by_event.extend(events);
        self.by_send.extend(events);
        self
    }

    /// Whether the store answers with these counts at each granularity, without drift.
    async fn is_stored<S: Store>(&self, store: &S, days: i64, granularities: &[&str]) -> bool {
        let hours = range(0, 61 * 24);
        let proof = reconcile(store, &acme(), hours.from, hours.to).await.unwrap();
        assert_eq!(proof.drift(), 0, "{proof:?}");
        for granularity in granularities {
            let by_event = plain_count(&self.by_event, granularity, |event| event.at);
            let by_send = plain_count(&self.by_send, granularity, |event| event.sent);
            if answer(store, days, "event", granularity).await != by_event
                || answer(store, days, "send", granularity).await != by_send
            {
                return false;
            }
        }
        true
    }

    async fn check<S: Store>(&self, store: &S, days: i64, granularities: &[&str], name: &str) {
        let hours = range(0, 61 * 24);
        let proof = reconcile(store, &acme(), hours.from, hours.to).await.unwrap();
        assert_eq!(proof.drift(), 0, "{name}: {proof:?}");
        for granularity in granularities {
            let by_event = plain_count(&self.by_event, granularity, |event| event.at);
            assert_eq!(
                answer(store, days, "event", granularity).await,
                by_event,
                "{name}: event {granularity}"
            );
            // Queries by send time are not answered by the minute.
            if *granularity == "1m" {
                continue;
            }
            let by_send = plain_count(&self.by_send, granularity, |event| event.sent);
            assert_eq!(answer(store, days, "send", granularity).await, by_send, "{name}: send {granularity}");
        }
    }
}

/// Compacts as time passes, as far as the day after the start.
async fn age<S: Store>(store: &S, days: i64) {
    for (number, at) in (0..).zip([20, 28, 32, 62, 100, 460]) {
        if at <= days {
            compact_at(store, at, 10_000 + number).await;
        }
    }
    compact_at(store, days, 10_100).await;
}

const FINE: &[&str] = &["1m", "1h", "1d", "1mo", "total"];
const BY_HOUR: &[&str] = &["1h", "1d", "1mo", "total"];
const BY_DAY: &[&str] = &["1d", "1mo", "total"];

#[tokio::test]
async fn range_is_replaced_at_each_level_and_everything_else_stays() {
    let events = all_messages();
    let (counted, counted_later) = (as_counted(&events), as_counted_later(&events));
    // 2025-11-27 is the last day of the archive; December begins 30 days after the start.
    let end = events.iter().map(|event| event.at).max().unwrap().div_euclid(DAY_MS) * DAY_MS;
    for (name, days, (from, to), granularities, late_until) in [
        // Within a month whose days have blocks and which has none itself.
        ("hours", 28, (5 * 24 + 7, 8 * 24 + 15), FINE, end),
        ("one hour", 28, (72, 73), FINE, end),
        ("from the first event", 28, (0, 23 * 24), FINE, end),
        // The month has a block, and finer ones are kept.
        ("month over", 32, (5 * 24 + 7, 8 * 24 + 15), FINE, end),
        ("month over, whole days", 32, (5 * 24, 8 * 24), FINE, end),
        // Days and the month are left.
        ("days", 100, (5 * 24 + 7, 8 * 24 + 15), BY_HOUR, end),
        ("days, whole", 100, (5 * 24, 8 * 24), BY_HOUR, end),
        // The month alone: its late outcomes cannot be told apart.
        ("month alone", 460, (5 * 24, 8 * 24), BY_DAY, START),
        ("nearly the whole month", 460, (0, 23 * 24), BY_DAY, START),
    ] {
        for (is_compacted, is_archive_newer) in [(true, false), (true, true), (false, false)] {
            let (live, late_until) =
                if is_archive_newer { (&counted, i64::MAX) } else { (&counted_later, late_until) };
            // Without blocks of coarser levels, the first compaction builds them from everything at once.
            let (store, mut batches) = (MemoryStore::new(), 0);
            count(&store, live, &mut batches).await;
            if is_compacted {
                age(&store, days).await;
            }
            let granularities = if is_compacted { granularities } else { BY_DAY };
            Expected::unchanged(live).check(&store, days, granularities, name).await;
            let range = range(from, to);
            let start = RebuildStart::read(&store, &clock(days)).await.unwrap();
            let archive = count_archive(range, &events, clock(days).0);
            assert!(archive.reaches_past(range));
            let summary = rebuild(&store, days, range, &start, &archive, 1).await.unwrap();
            assert!(summary.blocks > 0, "{name}: {summary:?}");
            let expected = Expected::rebuilt(live, &events, range, late_until);
            expected.check(&store, days, granularities, name).await;
            // Again: the same rows are replaced by the same ones.
            rebuild(&store, days, range, &start, &archive, 500).await.unwrap();
            expected.check(&store, days, granularities, &format!("{name}, twice")).await;
            for later in [days + 40, 470] {
                compact_at(&store, later, 20_000 + u64::try_from(later).unwrap()).await;
                expected.check(&store, later, BY_DAY, &format!("{name}, compacted later")).await;
            }
        }
    }
}

#[tokio::test]
async fn lost_table_is_counted_again_from_the_archive() {
    let events = all_messages();
    for (days, granularities) in
        [(28, FINE), (32, FINE), (45, BY_HOUR), (100, BY_HOUR), (415, BY_DAY), (460, BY_DAY)]
    {
        let store = MemoryStore::new();
        let start = RebuildStart::read(&store, &clock(days)).await.unwrap();
        for (attempt, (from, to)) in (1..).zip([(0, 7 * 24), (7 * 24, 23 * 24)]) {
            let archive = count_archive(range(from, to), &events, clock(days).0);
            rebuild(&store, days, range(from, to), &start, &archive, attempt * 100).await.unwrap();
        }
        let all = Expected::rebuilt(&[], &events, range(0, 23 * 24), i64::MAX);
        all.check(&store, days, granularities, &format!("{days} days")).await;
        compact_at(&store, days, 9_000).await;
        all.check(&store, days, granularities, &format!("{days} days, compacted")).await;
        assert!(crate::directory::tenants::is_registered(&store, &acme()).await.unwrap());
    }
}

#[tokio::test]
async fn mail_counted_while_the_rebuild_runs_is_kept() {
    let events = all_messages();
    let live = as_counted_later(&events);
    let (store, mut batches) = (MemoryStore::new(), 0);
    count(&store, &live, &mut batches).await;
    age(&store, 28).await;
    let range = range(5 * 24 + 7, 8 * 24 + 15);
    let start = RebuildStart::read(&store, &clock(28)).await.unwrap();
    let archive = count_archive(range, &events, clock(28).0);
    let mut new = message(2_000, 6 * 24);
    // Merged into blocks before the rebuild replaces them.
    count(&store, &new, &mut batches).await;
    compact_at(&store, 28, 900).await;
    // Still in deltas.
    let more = message(2_001, 7 * 24);
    count(&store, &more, &mut batches).await;
    new.extend(more);
    rebuild(&store, 28, range, &start, &archive, 1).await.unwrap();
    let end = events.iter().map(|event| event.at).max().unwrap().div_euclid(DAY_MS) * DAY_MS;
    let expected = Expected::rebuilt(&live, &events, range, end).and(&new);
    expected.check(&store, 28, FINE, "before compaction").await;
    compact_at(&store, 32, 950).await;
    expected.check(&store, 32, FINE, "after compaction").await;
    // An event that arrives again by another way, in a shard that does not remember it.
    assert_eq!(start.counted_twice(&store, |_| false).await.unwrap(), 0);
    let twice = events.iter().find(|event| event.message == 20).unwrap();
    let shard = ShardId::new("shard-2").unwrap();
    counting::count(&store, &shard, 1, twice.json().as_bytes(), clock(32).0).await.unwrap();
    let mut seen = HashSet::new();
    let mut counter = ArchiveCounter::new(range, Attribution::default(), HashKey::new([7; 16]), clock(32).0);
    Decoder::new().decode(twice.json().as_bytes(), &mut |decoded| match decoded {
        Decoded::Event(event) => counter.count(event, &mut |identity| seen.insert(identity)),
        other => panic!("{other:?}"),
    });
    assert_eq!(start.counted_twice(&store, |identity| seen.contains(&identity)).await.unwrap(), 1);
}

#[tokio::test]
async fn rebuild_that_is_interrupted_changes_all_or_nothing_and_can_be_run_again() {
    let events = all_messages();
    let live = as_counted_later(&events);
    let (store, mut batches) = (MemoryStore::new(), 0);
    count(&store, &live, &mut batches).await;
    let range = range(5 * 24 + 7, 8 * 24 + 15);
    let start = RebuildStart::read(&store, &clock(32)).await.unwrap();
    let archive = count_archive(range, &events, clock(32).0);
    let end = events.iter().map(|event| event.at).max().unwrap().div_euclid(DAY_MS) * DAY_MS;
    let (before, after) = (Expected::unchanged(&live), Expected::rebuilt(&live, &events, range, end));
    let items = store.snapshot();
    let mut changed = 0;
    for failing in 0.. {
        let mut is_over = true;
        for takes_effect in [false, true] {
            let copy = MemoryStore::new();
            copy.put(items.clone()).await.unwrap();
            let mut faulty = Faulty::new(copy);
            faulty.fail(failing..failing + 1, takes_effect);
            let result = rebuild(&faulty, 32, range, &start, &archive, 1).await;
            let store = faulty.inner;
            is_over &= result.is_ok();
            let is_changed = after.is_stored(&store, 32, &["1d"]).await;
            assert!(is_changed || before.is_stored(&store, 32, &["1d"]).await, "write {failing}");
            assert!(is_changed || result.is_err(), "write {failing}");
            changed += u32::from(is_changed && result.is_err());
            // What the attempt left is removed once its grace period is over, and the second run succeeds.
            rebuild(&store, 33, range, &start, &archive, 700).await.unwrap();
            compact_at(&store, 34, 990).await;
            after.check(&store, 34, BY_DAY, &format!("write {failing}, run again")).await;
        }
        if is_over {
            assert!(failing > 4, "there are several writes");
            break;
        }
    }
    assert_eq!(changed, 1, "only the reply to the last write can be lost after the change");
}

#[tokio::test]
async fn rebuild_that_loses_to_a_compaction_starts_over_but_not_for_ever() {
    let events = all_messages();
    let live = as_counted_later(&events);
    for (losses, succeeds) in [(1, true), (MAX_TRIES - 1, true), (MAX_TRIES, false)] {
        let (store, mut batches) = (ContendedStore::new(0), 0);
        count(&store, &live, &mut batches).await;
        age(&store, 28).await;
        let range = range(5 * 24, 8 * 24);
        let start = RebuildStart::read(&store, &clock(28)).await.unwrap();
        let archive = count_archive(range, &events, clock(28).0);
        store.lose(losses);
        let result = rebuild(&store, 28, range, &start, &archive, 1).await;
        assert_eq!(result.is_ok(), succeeds, "{losses}: {result:?}");
        let end = events.iter().map(|event| event.at).max().unwrap().div_euclid(DAY_MS) * DAY_MS;
        let expected = if succeeds {
            Expected::rebuilt(&live, &events, range, end)
        } else {
            assert!(matches!(result, Err(RebuildError::Contended { .. })));
            Expected::unchanged(&live)
        };
        expected.check(&store, 28, FINE, &format!("{losses} losses")).await;
    }
}

#[tokio::test]
async fn range_that_cuts_a_day_kept_whole_is_refused_with_one_that_does_not() {
    let store = MemoryStore::new();
    let start = RebuildStart::read(&store, &clock(460)).await.unwrap();
    let archive = ArchiveCounts::default();
    let refused = rebuild(&store, 460, range(5 * 24 + 7, 8 * 24), &start, &archive, 1).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "history before 2025-12-31T00:00:00Z is kept by the day: let the range begin and end at midnight in UTC, such as \
         2025-11-06T00:00:00Z and 2025-11-09T00:00:00Z"
    );
    rebuild(&store, 460, range(5 * 24, 8 * 24), &start, &archive, 1).await.unwrap();
    let cut = range(5 * 24 + 7, 8 * 24);
    rebuild(&store, 405, cut, &start, &archive, 1).await.unwrap();
    rebuild(&store, 406, cut, &start, &archive, 1).await.unwrap_err();
}

#[tokio::test]
async fn tenant_of_which_neither_archive_nor_range_has_anything_is_not_written() {
    let events = message(1, 24);
    let (store, mut batches) = (MemoryStore::new(), 0);
    count(&store, &events, &mut batches).await;
    age(&store, 32).await;
    let before = store.snapshot();
    let range = range(10 * 24, 12 * 24);
    let start = RebuildStart::read(&store, &clock(32)).await.unwrap();
    let archive = count_archive(range, &message(2, 24), clock(32).0);
    assert!(!archive.reaches_past(range));
    let summary = rebuild(&store, 32, range, &start, &archive, 1).await.unwrap();
    assert_eq!(summary, RebuildSummary::default());
    assert_eq!(store.snapshot(), before);
}

#[tokio::test]
async fn months_kept_by_local_days_are_refused_with_the_first_time_that_is_not() {
    let (events, range) = (all_messages(), range(5 * 24, 8 * 24));
    let (store, mut batches) = (MemoryStore::new(), 0);
    let settings = TenantSettings { timezone: Some("Asia/Kolkata".to_owned()), ..TenantSettings::default() };
    tenants::save_settings(&store, &acme(), &settings).await.unwrap();
    count(&store, &as_counted(&events), &mut batches).await;
    // Days may be replaced as long as their month has no block.
    for (days, is_refused) in [(28, false), (32, true)] {
        age(&store, days).await;
        let start = RebuildStart::read(&store, &clock(days)).await.unwrap();
        let archive = count_archive(range, &events, clock(days).0);
        let before = store.snapshot();
        let result = rebuild(&store, days, range, &start, &archive, 1_000).await;
        assert_eq!(result.is_err(), is_refused, "{result:?}");
        if let Err(refused) = result {
            let expected = "whole months of tenant acme before 2025-12-01T00:00:00Z are kept by the days of its time zone";
            assert!(refused.to_string().starts_with(expected), "{refused}");
            assert_eq!(store.snapshot(), before);
        }
    }
}

#[tokio::test]
async fn clicks_by_link_are_replaced_like_the_cells() {
    let click = |message: i64, link: &str| {
        let at = Timestamp::from_millis(START + 24 * HOUR_MS + message * 60_000).to_string();
        format!(
            r#"{{"eventType":"Click","mail":{{"timestamp":"{at}","messageId":"m-{message}","source":"a@news.example","destination":["a@gmail.com"],"tags":{{"tenant":["acme"]}}}},"click":{{"timestamp":"{at}","link":"https://shop.example/{link}","userAgent":"Mozilla/5.0 (Windows NT 10.0) Firefox/130.0"}}}}"#
        )
    };
    let store = MemoryStore::new();
    let shard = ShardId::new("shard-1").unwrap();
    let counted_at = Timestamp::from_millis(START + 26 * HOUR_MS);
    counting::count(&store, &shard, 1, click(1, "old").as_bytes(), counted_at).await.unwrap();
    age(&store, 28).await;
    let range = range(24, 48);
    let start = RebuildStart::read(&store, &clock(28)).await.unwrap();
    let mut counter = ArchiveCounter::new(range, Attribution::default(), HashKey::new([7; 16]), clock(28).0);
    let mut seen = HashSet::new();
    for json in [click(2, "new"), click(3, "new"), message(9, 200)[0].json()] {
        Decoder::new().decode(json.as_bytes(), &mut |decoded| {
            let Decoded::Event(event) = decoded else { panic!("{decoded:?}") };
            counter.count(event, &mut |identity| seen.insert(identity));
        });
    }
    rebuild(&store, 28, range, &start, &counter.finish(), 1).await.unwrap();
    let held = manifest::read(&store, &acme()).await.unwrap().record;
    let tenant = acme();
    let live = LiveBlocks { store: &store, tenant: &tenant, manifest: &held };
    let mut clicked = Vec::new();
    for id in held.blocks.keys().copied() {
        let block = live.load::<Block>(id).await.unwrap().unwrap();
        clicked.extend(block.links().map(|link| (id.level, link.link.to_owned(), link.clicks)));
    }
    // In the block of the hour and in that of the day: the new link alone, whatever its buckets are.
    let links: BTreeSet<&str> = clicked.iter().map(|(_, link, _)| link.as_str()).collect();
    let in_hours = clicked.iter().filter(|(level, ..)| *level == Level::Hour);
    assert_eq!((links.len(), in_hours.map(|(.., clicks)| clicks).sum::<u64>()), (1, 2), "{clicked:?}");
}
