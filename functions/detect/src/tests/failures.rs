//! Nothing that cannot be stored, read or reached keeps others' alerts from being notified, each change once.

use std::sync::atomic::AtomicI64;

use super::*;

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    /// Half of the items are written.
    Half,
    Refused,
}

/// A store that does not take all it is given: `fate` says what becomes of a write to a key, the bytes of it and its number.
struct Refusing<F> {
    inner: Arc<MemoryStore>,
    writes: AtomicUsize,
    fate: F,
}

impl<F: Fn(&Key, usize, usize) -> Fate> Refusing<F> {
    fn new(inner: &Arc<MemoryStore>, fate: F) -> Self {
        Self { inner: Arc::clone(inner), writes: AtomicUsize::new(0), fate }
    }

    fn fate(&self, items: &[Item]) -> Fate {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        let bytes = items.iter().map(|item| item.body.len()).sum();
        items.first().map_or(Fate::Done, |item| (self.fate)(&item.key, bytes, number))
    }

    fn throttled() -> StoreError {
        StoreError { operation: "put", place: String::new(), source: "throttled".into() }
    }
}

impl<F: Fn(&Key, usize, usize) -> Fate + Send + Sync + 'static> Store for Refusing<F> {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        self.inner.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.inner.range(range).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let written = match self.fate(&items) {
            Fate::Done => return self.inner.put(items).await,
            Fate::Half => items.len().div_ceil(2),
            Fate::Refused => 0,
        };
        self.inner.put(items.into_iter().take(written).collect()).await?;
        Err(Self::throttled())
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        let fate = self.fate(std::slice::from_ref(&item));
        if fate != Fate::Refused {
            self.inner.put_if(item, expected).await?;
        }
        if fate == Fate::Done { Ok(()) } else { Err(Self::throttled().into()) }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        self.inner.delete(keys).await
    }
}

/// Whether something of this size at this key is learned state; the journal of these tests is far smaller.
fn is_learned(key: &Key, bytes: usize) -> bool {
    key.partition.starts_with("learned") || (key.partition == "watch" && bytes > 200_000)
}

/// A thousand tenants; a hundred of them have trouble at the same time.
async fn a_thousand_tenants() -> Arc<MemoryStore> {
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
    let (told, mut memory) = (Told::default(), Memory::default());
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
        run(store, &told, &mut memory, at).await.unwrap();
        if !lives_on {
            memory = Memory::default();
        }
    }
    let mut each = told.each();
    each.sort();
    each
}

/// DynamoDB takes 1,000 write units a second for a partition: of 300 tenants and more, the learned state may never be stored.
#[tokio::test]
async fn each_change_is_notified_once_though_the_learned_state_is_never_stored() {
    let store = a_thousand_tenants().await;
    let expected = ten_runs(&store, &Arc::clone(&store), true).await;
    let states = |state| expected.iter().filter(|(_, _, found, _)| *found == state).count();
    assert!(states("firing") >= 102 && states("resolved") >= 2, "{expected:?}");
    for (fate, lives_on) in [(Fate::Refused, true), (Fate::Refused, false), (Fate::Half, false)] {
        let inner = a_thousand_tenants().await;
        let fate_of = move |key: &Key, bytes, _| if is_learned(key, bytes) { fate } else { Fate::Done };
        let refusing = Refusing::new(&inner, fate_of);
        let each = ten_runs(&inner, &refusing, lives_on).await;
        assert_eq!(each, expected, "{fate:?}, process lives on: {lives_on}");
    }
}

#[tokio::test]
async fn a_learned_state_that_was_stored_in_part_is_completed_by_the_next_run() {
    let inner = a_thousand_tenants().await;
    let (told, mut memory) = (Told::default(), Memory::default());
    let refusing = Refusing::new(
        &inner,
        |key: &Key, bytes, _| {
            if is_learned(key, bytes) { Fate::Half } else { Fate::Done }
        },
    );
    assert_eq!(run(&refusing, &told, &mut memory, 6).await.unwrap().unsaved, 5);
    assert_eq!(run(&*inner, &told, &mut memory, 7).await.unwrap().unsaved, 0);
    // Another process begins there.
    count(&inner, 10, &mails("tenant-0999", 15, 10, 0)).await;
    let watched = run(&*inner, &told, &mut Memory::default(), 16).await.unwrap();
    assert_eq!((watched.minutes, watched.unsaved), (10, 10));
    assert_eq!(told.each().len(), 100);
}

/// Whatever write fails, before it happened or after it has, the same process notifies each change once.
#[tokio::test]
async fn each_change_is_notified_once_though_a_write_fails() {
    for fate in [Fate::Refused, Fate::Half] {
        for failing in 0..40 {
            let inner = Arc::new(a_bad_list().await);
            let (told, mut memory) = (Told::default(), Memory::default());
            let fails = move |_: &Key, _, number| if number == failing { fate } else { Fate::Done };
            let refusing = Refusing::new(&inner, fails);
            for at in [30, 31, 32] {
                let _ = run(&refusing, &told, &mut memory, at).await;
            }
            a_good_list(&inner).await;
            for at in [120, 121, 122] {
                let _ = run(&refusing, &told, &mut memory, at).await;
            }
            let each: Vec<_> =
                told.each().into_iter().map(|(.., state, sequence)| (state, sequence)).collect();
            assert_eq!(each, [("firing", 1), ("resolved", 2)], "write {failing}: {fate:?}");
        }
    }
}

/// A clock that goes on by some seconds each time it is asked, as reading a lot takes time.
struct Passing {
    now: AtomicI64,
    step_ms: i64,
}

impl pipeline::ports::Clock for Passing {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.fetch_add(self.step_ms, Ordering::SeqCst))
    }
}

async fn slow_run<S: Store>(store: &S, told: &Told, memory: &mut Memory, at: i64) -> detection_run::Watched {
    let clock = Passing { now: AtomicI64::new(minutes(at).millis()), step_ms: 1500 };
    let attempt = Attempt { id: u64::try_from(at).unwrap() + 1, deadline: minutes(at).plus_millis(50_000) };
    let settings = detection_run::Settings::default();
    let run = detection_run::run(store, &clock, told, &(), &settings, memory, attempt);
    let watched = Box::pin(run).await.unwrap();
    assert!(clock.now() < attempt.deadline, "the platform would have ended the run");
    watched
}

/// Twenty hours of mail, evaluated by a process that could not store what it learned and is gone; then a new list is bad.
async fn twenty_hours() -> (Arc<MemoryStore>, Told) {
    let inner = Arc::new(a_bad_list().await);
    let (told, mut memory) = (Told::default(), Memory::default());
    let refusing = Refusing::new(
        &inner,
        |key: &Key, bytes, _| {
            if is_learned(key, bytes) { Fate::Refused } else { Fate::Done }
        },
    );
    for hour in 1..=20 {
        count(&inner, 10 + u64::try_from(hour).unwrap(), &mails("good", hour * 60, 10, 0)).await;
        run(&refusing, &told, &mut memory, hour * 60 + 2).await.unwrap();
    }
    count(&inner, 100, &mails("worse", 20 * 60 + 5, 60, 20)).await;
    (inner, told)
}

#[tokio::test]
async fn a_new_process_catches_up_within_its_deadlines_and_notifies_what_is_new() {
    for (stores, lives_on, most) in
        [(true, true, 30), (true, false, 60), (false, true, 30), (false, false, 60)]
    {
        let (inner, told) = twenty_hours().await;
        let before = told.each();
        let refusing =
            Refusing::new(
                &inner,
                move |key: &Key, bytes, _| {
                    if !stores && is_learned(key, bytes) { Fate::Refused } else { Fate::Done }
                },
            );
        let mut memory = Memory::default();
        let mut runs = 0;
        while told.each().len() == before.len() {
            runs += 1;
            let watched = slow_run(&refusing, &told, &mut memory, 20 * 60 + 40 + runs).await;
            assert!(runs < most, "stores: {stores}, process lives on: {lives_on}");
            assert!(runs > 1 || watched.behind > 60, "all was read at once, the clock is too fast");
            if !lives_on {
                memory = Memory::default();
            }
        }
        for later in 1..4 {
            run(&*inner, &told, &mut memory, 20 * 60 + 40 + runs + later).await.unwrap();
        }
        let more: Vec<_> = told.each().into_iter().skip(before.len()).collect();
        let [(tenant, _, "firing", 1)] = more.as_slice() else { panic!("{stores}, {lives_on}: {more:?}") };
        assert_eq!(tenant, "worse");
    }
}

#[tokio::test]
async fn what_is_unreadable_of_detection_is_found_anew_from_the_history() {
    for partition in ["watch", "learned#00"] {
        let store = a_bad_list().await;
        let told = Told::default();
        run(&store, &told, &mut Memory::default(), 30).await.unwrap();
        let whole = Range {
            partition: partition.to_owned(),
            from: String::new(),
            to: None,
            order: pipeline::ports::Order::Forwards,
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
            run(&store, &told, &mut Memory::default(), at).await.unwrap();
        }
        let each: Vec<_> = told.each().into_iter().map(|(tenant, .., sequence)| (tenant, sequence)).collect();
        assert_eq!(each, [("bad".to_owned(), 1), ("worse".to_owned(), 1)], "{partition}");
    }
}

/// A channel that takes nothing; another one takes everything.
struct HalfDown<'a>(&'a Told);

impl Announce for HalfDown<'_> {
    fn channels(&self, _: &Change) -> Vec<String> {
        vec!["hook".to_owned(), "pager".to_owned()]
    }

    async fn announce(&self, channel: &str, change: &Change) -> Result<(), AnnounceError> {
        if channel == "hook" { Err("down".into()) } else { self.0.announce(channel, change).await }
    }
}

#[tokio::test]
async fn a_channel_that_is_down_does_not_keep_others_from_being_notified() {
    let store = MemoryStore::new();
    let (told, mut memory) = (Told::default(), Memory::default());
    let tenants = detection_run::MAX_WAITING / 2 + 100;
    for wave in 0..3_i64 {
        let mut events = Vec::new();
        for number in 0..tenants {
            events.extend(mails(&format!("tenant-{wave}-{number:04}"), 10 * wave, 30, 15));
        }
        events.extend(mails("good", 10 * wave + 9, 10, 0));
        count(&store, u64::try_from(wave).unwrap() + 1, &events).await;
        let now = minutes(10 * wave + 11);
        let attempt = Attempt { id: u64::try_from(wave).unwrap() + 1, deadline: now.plus_millis(50_000) };
        let settings = detection_run::Settings::default();
        let (half_down, clock) = (HalfDown(&told), At(now));
        let run = detection_run::run(&store, &clock, &half_down, &(), &settings, &mut memory, attempt);
        let failed = Box::pin(run).await.unwrap_err();
        assert!(
            matches!(&failed, detection_run::WatchError::Announce { channel, .. } if channel == "hook"),
            "{failed}"
        );
        let of_tenants = told.each().into_iter().filter(|(tenant, ..)| tenant != "*").count();
        assert_eq!(of_tenants, (usize::try_from(wave).unwrap() + 1) * tenants);
    }
}

#[tokio::test]
async fn a_tenant_whose_numbers_are_damaged_does_not_keep_others_from_being_evaluated() {
    let store = a_bad_list().await;
    count(&store, 9, &mails("damaged", 3, 10, 0)).await;
    let deltas = Range {
        partition: "t#damaged#d#shard-1".to_owned(),
        from: String::new(),
        to: None,
        order: pipeline::ports::Order::Forwards,
        limit: 10,
    };
    let mut items = store.range(deltas).await.unwrap().items;
    assert_eq!(items.len(), 1);
    items[0].body.truncate(20);
    store.put(items).await.unwrap();
    let own = Key { partition: "rules".to_owned(), sort: "t#damaged".to_owned() };
    store.put(vec![Item { key: own, body: b"{".to_vec(), version: 0, expires_at: None }]).await.unwrap();
    let told = Told::default();
    run(&store, &told, &mut Memory::default(), 30).await.unwrap();
    let [(tenant, _, "firing", 1)] = &told.each()[..] else { panic!("{:?}", told.each()) };
    assert_eq!(tenant, "bad");
}
