//! Erasing removes everything of one tenant and nothing of others. Mail that is counted during or after it belongs to a tenant that is
//! listed and can be erased again, whatever runs concurrently or dies.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cells::Block;
use event::attribution::Attribution;
use event::{HashKey, Minute, SequenceNumber, ShardId, Timestamp};

use super::*;
use crate::alerting::registry;
use crate::block_id::BlockId;
use crate::codec::StoredRecord as _;
use crate::directory::alert_rules;
use crate::directory::api_keys::{self, ApiKey, Grant};
use crate::directory::tenants::{self, TenantSettings};
use crate::history::compaction::{self, schedule};
use crate::history::snapshot::{CountingProgress, Snapshot};
use crate::ledger::accumulate::EventAccumulator;
use crate::ledger::aggregate::{
    AggregateError, Aggregation, Attempt, Batch, CommitSettings, Record, ShardCache,
};
use crate::ledger::checkpoint::Checkpoint;
use crate::memory::MemoryStore;
use crate::ports::{Expected, Item, Page, PutError, StoreErrorKind};
use crate::testing::counting::{BitFlipSeal, FixedClock};

fn item(key: Key, body: &str) -> Item {
    Item { key, body: body.as_bytes().to_vec(), version: 1, expires_at: None }
}

/// Writes an item in every partition that a tenant may have.
async fn fill(store: &MemoryStore, tenant: &TenantId, number: u8) {
    let (shard, sequence) = (ShardId::new("shard-1").unwrap(), SequenceNumber::from(u64::from(number)));
    let mut items =
        vec![Item { body: Checkpoint::default().encode(), ..item(layout::checkpoint(&shard), "") }];
    for part in 0..3 {
        items.push(item(layout::delta(tenant, &shard, &sequence, part), "d"));
        for level in [Level::Hour, Level::Day, Level::Month] {
            items.push(item(layout::block(tenant, BlockId { level, period: 5 }, 1, part), "b"));
        }
    }
    items.push(item(layout::manifest(tenant), "m"));
    items.push(item(layout::compaction_attempt(tenant, Timestamp::from_millis(1), 1), "a"));
    store.put(items).await.unwrap();
    let change = format!(
        r#"{{"id":"al_{number}","sequence":1,"tenant":"{tenant}","severity":"info","kind":"limit","metric":"m","state":"firing","scope":{{}},"value":1.0,"numerator":1.0,"denominator":1.0,"started_at":"","fired_at":"","updated_at":"","window":"","cause":[],"summary":"","dedup_key":""}}"#
    );
    let change = serde_json::from_str(&change).unwrap();
    registry::record(store, &change, Timestamp::from_millis(0)).await.unwrap();
    alert_rules::write_tenant(store, tenant, &alert_rules::TenantRules::default()).await.unwrap();
    tenants::save_settings(store, tenant, &TenantSettings::default()).await.unwrap();
    let key = ApiKey::from_random([number; 32]);
    let grant = Grant::Reader(tenant.clone());
    api_keys::add(store, &key, grant, "k", Timestamp::from_millis(0), None).await.unwrap();
}

#[tokio::test]
async fn an_erased_tenant_is_gone_and_all_others_remain() {
    let store = MemoryStore::new();
    let (acme, acmeco) = (TenantId::new("acme").unwrap(), TenantId::new("acme-co").unwrap());
    fill(&store, &acmeco, 2).await;
    // A cursor at its initial state, for a shard that has committed nothing.
    let before = store.snapshot();
    fill(&store, &acme, 1).await;
    assert!(erase(&store, &acme).await.unwrap() > 15);
    let left: Vec<Item> = store
        .snapshot()
        .into_iter()
        .filter(|item| item.key.partition != layout::erasure_count().partition)
        .collect();
    assert_eq!(left, before);
    assert!(!tenants::is_registered(&store, &acme).await.unwrap());
    assert_eq!(tenants::list(&store).await.unwrap(), [acmeco]);
    let filter = registry::AlertFilter { is_open: None, from: Minute(0), to: Minute(u32::MAX), limit: 10 };
    assert_eq!(registry::list(&store, &cells::query::Scope::Tenant(acme), &filter).await.unwrap(), []);
}

const HOUR_MS: i64 = 60 * 60 * 1000;

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_763_000_000)
}

/// One function instance with its shard. It remembers between batches which tenants are registered.
struct Instance {
    shard: ShardId,
    accumulator: EventAccumulator<BitFlipSeal>,
    cache: ShardCache,
    next: u64,
}

impl Instance {
    fn new(shard: &str) -> Self {
        Self {
            shard: ShardId::new(shard).unwrap(),
            accumulator: EventAccumulator::new(Attribution::default(), HashKey::new([7; 16]), BitFlipSeal),
            cache: ShardCache::default(),
            next: 1,
        }
    }

    /// Counts one more mail of acme.
    async fn count<S: Store>(&mut self, store: &S) -> Result<(), AggregateError> {
        let data = format!(
            r#"{{"eventType":"Send","mail":{{"timestamp":"{}","messageId":"{}-{}","destination":["a@example.com"],"tags":{{"tenant":["acme"]}}}},"send":{{}}}}"#,
            now(),
            self.shard,
            self.next
        );
        let record =
            Record { sequence: SequenceNumber::from(self.next), arrived_at: now(), data: data.as_bytes() };
        let batch = Batch { shard: &self.shard, records: vec![record] };
        let attempt = Attempt { id: self.next, deadline: now().plus_millis(60_000) };
        let aggregation =
            Aggregation { store, clock: &FixedClock(now()), settings: CommitSettings::default(), attempt };
        self.next += 1;
        aggregation.handle(&mut self.accumulator, &mut self.cache, &batch).await.map(drop)
    }
}

/// Whether any mail of acme can be read.
async fn has_numbers(store: &MemoryStore) -> bool {
    let progress = CountingProgress::read(store).await.unwrap();
    let snapshot = Snapshot::read(store, &progress, &acme()).await.unwrap();
    !snapshot.deltas.is_empty() || !snapshot.manifest.blocks.is_empty()
}

/// Checks that acme is listed if it has numbers, and that it can be erased again.
async fn is_in_order(store: &MemoryStore, what: &str) {
    if has_numbers(store).await {
        assert_eq!(
            tenants::list(store).await.unwrap(),
            [acme()],
            "{what}: acme has numbers but is not listed"
        );
    }
    erase(store, &acme()).await.unwrap();
    assert!(!has_numbers(store).await, "{what}: acme was not erased");
    assert_eq!(tenants::list(store).await.unwrap(), [], "{what}: acme is listed after it was erased");
}

/// A store that runs an interruption before one call, and may fail from a later call on.
struct Interrupted {
    store: Arc<MemoryStore>,
    calls: AtomicUsize,
    /// The number of the call before which the interruption runs, and the interruption.
    interruption: Mutex<Option<(usize, Interruption)>>,
    /// The number of the first call that fails; all later ones fail as well.
    dies_at: usize,
}

type Interruption = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Interrupted {
    fn new(store: &Arc<MemoryStore>, before: usize, dies_at: usize, interruption: Interruption) -> Self {
        let interruption = Mutex::new(Some((before, interruption)));
        Self { store: Arc::clone(store), calls: AtomicUsize::new(0), interruption, dies_at }
    }

    fn is_over(&self) -> bool {
        self.interruption.lock().unwrap().is_none()
    }

    async fn call(&self) -> Result<(), StoreError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let due = self.interruption.lock().unwrap().take_if(|(before, _)| *before == call);
        if let Some((_, interruption)) = due {
            interruption.await;
        }
        if call >= self.dies_at {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "any call", "", "died"));
        }
        Ok(())
    }
}

impl Store for Interrupted {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        self.call().await?;
        self.store.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.call().await?;
        self.store.range(range).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        self.call().await?;
        self.store.put(items).await
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        self.call().await?;
        self.store.put_if(item, expected).await
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        self.call().await?;
        self.store.delete(keys).await
    }
}

#[tokio::test]
async fn mail_after_an_erasure_makes_the_tenant_anew_for_every_instance() {
    let store = MemoryStore::new();
    let mut instances = [Instance::new("shard-1"), Instance::new("shard-2")];
    for instance in &mut instances {
        instance.count(&store).await.unwrap();
    }
    for instance in &mut instances {
        erase(&store, &acme()).await.unwrap();
        assert!(!has_numbers(&store).await);
        instance.count(&store).await.unwrap();
        assert!(has_numbers(&store).await);
        assert_eq!(tenants::list(&store).await.unwrap(), [acme()], "after mail on {}", instance.shard);
    }
    is_in_order(&store, "at the end").await;
}

#[tokio::test]
async fn a_tenant_is_listed_whenever_it_is_erased_while_a_batch_is_committed() {
    let mut interrupted = 0;
    for before in 0.. {
        let store = Arc::new(MemoryStore::new());
        let mut instance = Instance::new("shard-1");
        instance.count(&*store).await.unwrap();
        let other = Arc::clone(&store);
        let erasure = Box::pin(async move { assert!(erase(&*other, &acme()).await.is_ok()) });
        let store_between = Interrupted::new(&store, before, usize::MAX, erasure);
        instance.count(&store_between).await.unwrap();
        if !store_between.is_over() {
            break;
        }
        interrupted += 1;
        is_in_order(&store, &format!("erased before call {before} of a batch")).await;
    }
    assert!(interrupted >= 6, "{interrupted}");
}

#[tokio::test]
async fn a_tenant_is_listed_whenever_mail_is_counted_while_it_is_erased() {
    let mut interrupted = 0;
    for before in 0.. {
        let store = Arc::new(MemoryStore::new());
        let mut instance = Instance::new("shard-1");
        instance.count(&*store).await.unwrap();
        let other = Arc::clone(&store);
        let batch = Box::pin(async move { instance.count(&*other).await.unwrap() });
        let store_between = Interrupted::new(&store, before, usize::MAX, batch);
        erase(&store_between, &acme()).await.unwrap();
        if !store_between.is_over() {
            break;
        }
        interrupted += 1;
        is_in_order(&store, &format!("mail before call {before} of an erasure")).await;
    }
    assert!(interrupted >= 8, "{interrupted}");
}

#[tokio::test]
async fn a_tenant_is_listed_when_its_erasure_meets_that_of_another_tenant() {
    let globex = || TenantId::new("globex").unwrap();
    let mut interrupted = 0;
    for before in 0.. {
        let store = Arc::new(MemoryStore::new());
        let mut instance = Instance::new("shard-1");
        instance.count(&*store).await.unwrap();
        tenants::register(&*store, &globex()).await.unwrap();
        let other = Arc::clone(&store);
        let erasure = Box::pin(async move { assert!(erase(&*other, &globex()).await.is_ok()) });
        let store_between = Interrupted::new(&store, before, usize::MAX, erasure);
        erase(&store_between, &acme()).await.unwrap();
        if !store_between.is_over() {
            break;
        }
        interrupted += 1;
        // The instance believes that acme is registered. It must notice the erasure even if the increment of the count was lost.
        instance.count(&*store).await.unwrap();
        is_in_order(&store, &format!("globex erased before call {before} of the erasure of acme")).await;
    }
    assert!(interrupted >= 8, "{interrupted}");
}

#[tokio::test]
async fn a_tenant_whose_entry_was_removed_once_more_is_listed_by_compaction() {
    let store = MemoryStore::new();
    let mut instance = Instance::new("shard-1");
    instance.count(&store).await.unwrap();
    // The removal by an erasure lands again, as a late retry by the client library would.
    store.delete(vec![layout::tenant(&acme())]).await.unwrap();
    let clock = FixedClock(now().plus_millis(2 * HOUR_MS));
    let attempt = || Attempt { id: 99, deadline: clock.0.plus_millis(60_000) };
    let settings = compaction::CompactionSettings::default();
    let report = schedule::compact_due::<Block, _, _>(&store, &clock, &settings, attempt).await.unwrap();
    assert!(report.failed.is_empty() && has_numbers(&store).await, "{report:?}");
    is_in_order(&store, "after a compaction").await;
    // A tenant without blocks is not listed, although receipts still name it.
    schedule::compact_due::<Block, _, _>(&store, &clock, &settings, attempt).await.unwrap();
    is_in_order(&store, "after everything was erased").await;
}

#[tokio::test]
async fn a_tenant_is_in_order_when_an_instance_dies_beside_an_erasure() {
    for before in 0..16 {
        for dies_at in before..16 {
            let store = Arc::new(MemoryStore::new());
            let mut instance = Instance::new("shard-1");
            instance.count(&*store).await.unwrap();
            let other = Arc::clone(&store);
            let erasure = Box::pin(async move { assert!(erase(&*other, &acme()).await.is_ok()) });
            // The batch may fail; only the state it leaves is tested.
            let _ = instance.count(&Interrupted::new(&store, before, dies_at, erasure)).await;
            is_in_order(&store, &format!("erased before call {before}, died at call {dies_at}")).await;
        }
    }
}
