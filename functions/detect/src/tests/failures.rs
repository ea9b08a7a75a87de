//! A failure to store, read or reach something never keeps the alerts of others from being notified, each change once.

use std::sync::atomic::AtomicI64;

use super::*;

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    /// Half of the items are written, and the write fails.
    HalfWritten,
    Refused,
}

/// A store whose writes may fail. `decide` chooses the outcome from the key, the number of bytes, and the number of the write.
struct FailingStore<F> {
    inner: Arc<MemoryStore>,
    writes: AtomicUsize,
    decide: F,
}

impl<F: Fn(&Key, usize, usize) -> Outcome> FailingStore<F> {
    fn new(inner: &Arc<MemoryStore>, decide: F) -> Self {
        Self { inner: Arc::clone(inner), writes: AtomicUsize::new(0), decide }
    }

    fn outcome(&self, items: &[Item]) -> Outcome {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        let bytes = items.iter().map(|item| item.body.len()).sum();
        items.first().map_or(Outcome::Written, |item| (self.decide)(&item.key, bytes, number))
    }

    fn throttled() -> StoreError {
        StoreError::new(StoreErrorKind::Throttled, "put", "", "throttled")
    }
}

impl<F: Fn(&Key, usize, usize) -> Outcome + Send + Sync + 'static> Store for FailingStore<F> {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        self.inner.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.inner.range(range).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let written = match self.outcome(&items) {
            Outcome::Written => return self.inner.put(items).await,
            Outcome::HalfWritten => items.len().div_ceil(2),
            Outcome::Refused => 0,
        };
        self.inner.put(items.into_iter().take(written).collect()).await?;
        Err(Self::throttled())
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        let outcome = self.outcome(std::slice::from_ref(&item));
        if outcome != Outcome::Refused {
            self.inner.put_if(item, expected).await?;
        }
        if outcome == Outcome::Written { Ok(()) } else { Err(Self::throttled().into()) }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        self.inner.delete(keys).await
    }
}

/// Whether an item of this size at this key is learned state. The journal of these tests is far smaller.
fn is_learned(key: &Key, bytes: usize) -> bool {
    key.partition.starts_with("learned") || (key.partition == "detection" && bytes > 200_000)
}

/// A store with a thousand tenants, a hundred of whom are in trouble at the same time.
async fn store_with_a_thousand_tenants() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let mut events = Vec::new();
    for number in 0..1000 {
        let bounces = if number < 100 { 10 } else { 0 };
        events.extend(mails(&format!("tenant-{number:04}"), 0, 2 + 2 * bounces, bounces));
    }
    count(&store, 1, &events).await;
    count(&store, 2, &mails("tenant-0999", 5, 10, 0)).await;
    store
}

/// Ten runs within an hour, in which some tenants recover and others get into trouble.
async fn ten_runs<S: Store>(
    inner: &MemoryStore,
    store: &S,
    lives_on: bool,
) -> Vec<(String, String, &'static str, u32)> {
    let (channel, mut cache) = (RecordingChannel::default(), DetectionCache::default());
    for at in [6, 7, 8, 12, 13, 14, 15, 57, 58, 59] {
        if at == 12 {
            let mut events = Vec::new();
            for number in 0..2 {
                events.extend(mails(&format!("tenant-{number:04}"), 10, 1500, 0));
                events.extend(mails(&format!("tenant-{:04}", 500 + number), 10, 30, 15));
            }
            events.extend(mails("tenant-0999", 11, 10, 0));
            count(inner, 10, &events).await;
        }
        if at == 57 {
            count(inner, 20, &mails("tenant-0999", 56, 10, 0)).await;
        }
        run(store, &channel, &mut cache, at).await.unwrap();
        if !lives_on {
            cache = DetectionCache::default();
        }
    }
    let mut notifications = channel.notifications();
    notifications.sort();
    notifications
}

/// DynamoDB takes 1,000 write units per second and partition, so the learned state of 300 tenants and more may never be stored.
#[tokio::test]
async fn each_change_is_notified_once_though_the_learned_state_is_never_stored() {
    let store = store_with_a_thousand_tenants().await;
    let expected = ten_runs(&store, &Arc::clone(&store), true).await;
    let states = |state| expected.iter().filter(|(_, _, found, _)| *found == state).count();
    assert!(states("firing") >= 102 && states("resolved") >= 2, "{expected:?}");
    for (outcome, lives_on) in
        [(Outcome::Refused, true), (Outcome::Refused, false), (Outcome::HalfWritten, false)]
    {
        let inner = store_with_a_thousand_tenants().await;
        let decide =
            move |key: &Key, bytes, _| if is_learned(key, bytes) { outcome } else { Outcome::Written };
        let failing_store = FailingStore::new(&inner, decide);
        let each = ten_runs(&inner, &failing_store, lives_on).await;
        assert_eq!(each, expected, "{outcome:?}, process lives on: {lives_on}");
    }
}

#[tokio::test]
async fn partly_stored_learned_state_is_completed_by_the_next_run() {
    let inner = store_with_a_thousand_tenants().await;
    let (channel, mut cache) = (RecordingChannel::default(), DetectionCache::default());
    let failing_store = FailingStore::new(&inner, |key: &Key, bytes, _| {
        if is_learned(key, bytes) { Outcome::HalfWritten } else { Outcome::Written }
    });
    assert_eq!(run(&failing_store, &channel, &mut cache, 6).await.unwrap().unsaved, 5);
    assert_eq!(run(&*inner, &channel, &mut cache, 7).await.unwrap().unsaved, 0);
    // Another process starts from it.
    count(&inner, 10, &mails("tenant-0999", 15, 10, 0)).await;
    let report = run(&*inner, &channel, &mut DetectionCache::default(), 16).await.unwrap();
    assert_eq!((report.minutes, report.unsaved), (10, 10));
    assert_eq!(channel.notifications().len(), 100);
}

/// Whichever write fails, with or without effect, the same process notifies each change once.
#[tokio::test]
async fn each_change_is_notified_once_though_a_write_fails() {
    for outcome in [Outcome::Refused, Outcome::HalfWritten] {
        for failing in 0..40 {
            let inner = Arc::new(store_with_a_bad_list().await);
            let (channel, mut cache) = (RecordingChannel::default(), DetectionCache::default());
            let decide = move |_: &Key, _, number| if number == failing { outcome } else { Outcome::Written };
            let failing_store = FailingStore::new(&inner, decide);
            for at in [30, 31, 32] {
                let _ = run(&failing_store, &channel, &mut cache, at).await;
            }
            count_a_good_list(&inner).await;
            for at in [120, 121, 122] {
                let _ = run(&failing_store, &channel, &mut cache, at).await;
            }
            let each: Vec<_> =
                channel.notifications().into_iter().map(|(.., state, sequence)| (state, sequence)).collect();
            assert_eq!(each, [("firing", 1), ("resolved", 2)], "write {failing}: {outcome:?}");
        }
    }
}

/// A clock that advances by some seconds each time it is read, as if every step took time.
struct AdvancingClock {
    now: AtomicI64,
    step_ms: i64,
}

impl pipeline::ports::Clock for AdvancingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.fetch_add(self.step_ms, Ordering::SeqCst))
    }
}

async fn slow_run<S: Store>(
    store: &S,
    channel: &RecordingChannel,
    cache: &mut DetectionCache,
    at: i64,
) -> RunReport {
    let clock = AdvancingClock { now: AtomicI64::new(minutes(at).millis()), step_ms: 1500 };
    let attempt = Attempt { id: u64::try_from(at).unwrap() + 1, deadline: minutes(at).plus_millis(50_000) };
    let settings = DetectionSettings::default();
    let run =
        DetectionRun { store, clock: &clock, notifier: channel, readers: &(), settings: &settings, attempt };
    let report = Box::pin(run.run(cache)).await.unwrap();
    assert!(clock.now() < attempt.deadline, "the platform would have ended the run");
    report
}

/// A store with twenty hours of mail, evaluated by a process that could not store what it learned and has ended, and then a new bad list.
async fn store_after_twenty_hours() -> (Arc<MemoryStore>, RecordingChannel) {
    let inner = Arc::new(store_with_a_bad_list().await);
    let (channel, mut cache) = (RecordingChannel::default(), DetectionCache::default());
    let failing_store =
        FailingStore::new(
            &inner,
            |key: &Key, bytes, _| {
                if is_learned(key, bytes) { Outcome::Refused } else { Outcome::Written }
            },
        );
    for hour in 1..=20 {
        count(&inner, 10 + u64::try_from(hour).unwrap(), &mails("good", hour * 60, 10, 0)).await;
        run(&failing_store, &channel, &mut cache, hour * 60 + 2).await.unwrap();
    }
    count(&inner, 100, &mails("worse", 20 * 60 + 5, 60, 20)).await;
    (inner, channel)
}

#[tokio::test]
async fn new_process_catches_up_within_its_deadlines_and_notifies_what_is_new() {
    for (stores, lives_on, most) in
        [(true, true, 30), (true, false, 60), (false, true, 30), (false, false, 60)]
    {
        let (inner, channel) = store_after_twenty_hours().await;
        let before = channel.notifications();
        let failing_store = FailingStore::new(&inner, move |key: &Key, bytes, _| {
            if !stores && is_learned(key, bytes) { Outcome::Refused } else { Outcome::Written }
        });
        let mut cache = DetectionCache::default();
        let mut runs = 0;
        while channel.notifications().len() == before.len() {
            runs += 1;
            let report = slow_run(&failing_store, &channel, &mut cache, 20 * 60 + 40 + runs).await;
            assert!(runs < most, "stores: {stores}, process lives on: {lives_on}");
            assert!(
                runs > 1 || report.behind > 60,
                "everything was read in the first run: the clock is too slow to test catching up"
            );
            if !lives_on {
                cache = DetectionCache::default();
            }
        }
        for later in 1..4 {
            run(&*inner, &channel, &mut cache, 20 * 60 + 40 + runs + later).await.unwrap();
        }
        let more: Vec<_> = channel.notifications().into_iter().skip(before.len()).collect();
        let [(tenant, _, "firing", 1)] = more.as_slice() else { panic!("{stores}, {lives_on}: {more:?}") };
        assert_eq!(tenant, "worse");
    }
}

#[tokio::test]
async fn unreadable_state_of_detection_is_rebuilt_from_the_history() {
    for partition in ["detection", "learned#00"] {
        let store = store_with_a_bad_list().await;
        let channel = RecordingChannel::default();
        run(&store, &channel, &mut DetectionCache::default(), 30).await.unwrap();
        let whole = Range {
            partition: partition.to_owned(),
            from: String::new(),
            to: None,
            order: pipeline::ports::ScanOrder::Forwards,
            limit: 100,
        };
        for mut item in store.range(whole).await.unwrap().items {
            if item.key.sort != "head" {
                item.body.truncate(item.body.len() / 2);
                store.put(vec![item]).await.unwrap();
            }
        }
        count(&store, 9, &mails("worse", 31, 60, 20)).await;
        count(&store, 10, &mails("good", 39, 10, 0)).await;
        for at in [40, 41, 42] {
            run(&store, &channel, &mut DetectionCache::default(), at).await.unwrap();
        }
        let each: Vec<_> =
            channel.notifications().into_iter().map(|(tenant, .., sequence)| (tenant, sequence)).collect();
        assert_eq!(each, [("bad".to_owned(), 1), ("worse".to_owned(), 1)], "{partition}");
    }
}

/// Two channels, of which `hook` is down and `pager` records.
struct OneChannelDown<'a>(&'a RecordingChannel);

impl Notifier for OneChannelDown<'_> {
    fn channels(&self, _: &Change) -> Vec<String> {
        vec!["hook".to_owned(), "pager".to_owned()]
    }

    async fn notify(&self, channel: &str, change: &Change) -> Result<(), NotifyError> {
        if channel == "hook" { Err("down".into()) } else { self.0.notify(channel, change).await }
    }
}

#[tokio::test]
async fn channel_that_is_down_does_not_keep_others_from_being_notified() {
    let store = MemoryStore::new();
    let (channel, mut cache) = (RecordingChannel::default(), DetectionCache::default());
    let tenants = MAX_PENDING / 2 + 100;
    for wave in 0..3_i64 {
        let mut events = Vec::new();
        for number in 0..tenants {
            events.extend(mails(&format!("tenant-{wave}-{number:04}"), 10 * wave, 30, 15));
        }
        events.extend(mails("good", 10 * wave + 9, 10, 0));
        count(&store, u64::try_from(wave).unwrap() + 1, &events).await;
        let now = minutes(10 * wave + 11);
        let attempt = Attempt { id: u64::try_from(wave).unwrap() + 1, deadline: now.plus_millis(50_000) };
        let settings = DetectionSettings::default();
        let (channels, clock) = (OneChannelDown(&channel), FixedClock(now));
        let (store, clock, notifier, settings) = (&store, &clock, &channels, &settings);
        let run = DetectionRun { store, clock, notifier, readers: &(), settings, attempt };
        let failed = Box::pin(run.run(&mut cache)).await.unwrap_err();
        assert!(matches!(&failed, DetectionError::Notify { channel, .. } if channel == "hook"), "{failed}");
        let of_tenants = channel.notifications().into_iter().filter(|(tenant, ..)| tenant != "*").count();
        assert_eq!(of_tenants, (usize::try_from(wave).unwrap() + 1) * tenants);
    }
}

#[tokio::test]
async fn tenant_with_damaged_counts_does_not_keep_others_from_being_evaluated() {
    let store = store_with_a_bad_list().await;
    count(&store, 9, &mails("damaged", 3, 10, 0)).await;
    let deltas = Range {
        partition: "t#damaged#d#shard-1".to_owned(),
        from: String::new(),
        to: None,
        order: pipeline::ports::ScanOrder::Forwards,
        limit: 10,
    };
    let mut items = store.range(deltas).await.unwrap().items;
    assert_eq!(items.len(), 1);
    items[0].body.truncate(20);
    store.put(items).await.unwrap();
    let own = Key { partition: "rules".to_owned(), sort: "t#damaged".to_owned() };
    store.put(vec![Item { key: own, body: b"{".to_vec(), version: 0, expires_at: None }]).await.unwrap();
    let channel = RecordingChannel::default();
    run(&store, &channel, &mut DetectionCache::default(), 30).await.unwrap();
    let [(tenant, _, "firing", 1)] = &channel.notifications()[..] else {
        panic!("{:?}", channel.notifications())
    };
    assert_eq!(tenant, "bad");
}
