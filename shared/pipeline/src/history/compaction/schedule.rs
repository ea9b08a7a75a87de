//! Which tenants to compact now: those with many, large or old deltas.
//!
//! A reader must never face thousands of small deltas, and a quiet tenant must not be rewritten every few minutes. The [`super::backlog`]
//! of each shard remembers who has deltas. A shard whose backlog cannot be read does not keep tenants of other shards from being
//! compacted.
//!
//! [`CompactionReport::oldest_unmerged`] must be monitored: deltas expire some days after they arrive, merged or not.

use std::collections::{BTreeMap, BTreeSet};

use event::{ShardId, TenantId, Timestamp};

use super::backlog::{self, BacklogItem, UnmergedDeltas};
use super::{CompactionError, CompactionSettings, CompactionSummary, compact};
use crate::history::block_content::BlockContent;
use crate::ledger::aggregate::Attempt;
use crate::ledger::checkpoint;
use crate::ports::{Clock, Store, StoreError};
use crate::stored::ReadError;

/// What one call of [`compact_due`] did.
#[derive(Debug, Default)]
pub struct CompactionReport {
    /// Tenants that were compacted.
    pub compacted: BTreeMap<TenantId, CompactionSummary>,
    /// Tenants that were due and could not be compacted. They stay due.
    pub failed: Vec<(TenantId, CompactionError)>,
    /// Shards whose backlog could not be read or written. Due tenants of other shards were compacted all the same.
    pub failed_shards: Vec<(ShardId, ReadError)>,
    /// When the oldest delta arrived that no block holds yet, without failed shards. An alarm must watch its age: it must stay far below
    /// the time that deltas are kept.
    pub oldest_unmerged: Option<Timestamp>,
}

/// Compacts every tenant that is due. `next_attempt` is called once per tenant and once for the backlogs; no tenant is begun after the
/// deadline of the first attempt.
pub async fn compact_due<B: BlockContent, S: Store, C: Clock>(
    store: &S,
    clock: &C,
    settings: &CompactionSettings,
    mut next_attempt: impl FnMut() -> Attempt,
) -> Result<CompactionReport, ReadError> {
    // Its deadline is that of the whole call. Each tenant gets an attempt, and with it keys, of its own.
    let first = next_attempt();
    let mut report = CompactionReport::default();
    let mut items = Vec::new();
    for (shard, checkpoint) in checkpoint::read_all(store).await? {
        let Some(committed) = &checkpoint.committed else { continue };
        match backlog::catch_up(store, &shard, committed, first).await {
            Ok(found) => items.extend(found),
            // Not returned at once: one damaged item must not stop the compaction of all other shards.
            Err(error) => report.failed_shards.push((shard, error)),
        }
    }
    // Only after all shards were read, since a tenant is due by the sum of its deltas.
    for tenant in due_tenants(&items, settings, clock.now()) {
        if clock.now() >= first.deadline {
            break;
        }
        match compact::<B, S, C>(store, clock, settings, &tenant, next_attempt()).await {
            Ok(summary) => _ = report.compacted.insert(tenant, summary),
            Err(error) => report.failed.push((tenant, error)),
        }
    }
    // Last: a tenant leaves the backlog only after it was compacted.
    for item in items {
        let shard = item.shard.clone();
        if let Err(error) = remove_compacted(store, item, &mut report).await {
            report.failed_shards.push((shard, error.into()));
        }
    }
    Ok(report)
}

/// Removes the tenants that were compacted from an item of a backlog.
async fn remove_compacted<S: Store>(
    store: &S,
    item: BacklogItem,
    report: &mut CompactionReport,
) -> Result<(), StoreError> {
    let mut left = item.backlog.record.clone();
    // A tenant with more deltas than one compaction merges stays, and so does one that failed.
    left.tenants.retain(|tenant, _| report.compacted.get(tenant).is_none_or(|summary| summary.more));
    let oldest = left.tenants.values().map(|unmerged| unmerged.oldest).min();
    report.oldest_unmerged = report.oldest_unmerged.into_iter().chain(oldest).min();
    if left == item.backlog.record {
        Ok(())
    // Only further items become empty, since the first one keeps its position.
    } else if left.is_empty() {
        store.delete(vec![item.key]).await
    } else {
        // A conflict means that another process has read receipts meanwhile. The tenants stay in the backlog and are compacted again.
        backlog::save(store, item.key, item.backlog.version, &left).await.map(drop)
    }
}

/// When the oldest delta arrived that no block holds yet, as far as that is known without compacting anything.
pub async fn oldest_unmerged<S: Store>(store: &S) -> Result<Option<Timestamp>, ReadError> {
    let mut oldest = None;
    for (shard, checkpoint) in checkpoint::read_all(store).await? {
        let Some(committed) = &checkpoint.committed else { continue };
        let found = backlog::oldest_unmerged(store, &shard, committed).await?;
        oldest = oldest.into_iter().chain(found).min();
    }
    Ok(oldest)
}

/// The tenants that are due by their deltas of all shards together.
fn due_tenants(items: &[BacklogItem], settings: &CompactionSettings, now: Timestamp) -> BTreeSet<TenantId> {
    let mut sums: BTreeMap<&TenantId, UnmergedDeltas> = BTreeMap::new();
    for (tenant, unmerged) in items.iter().flat_map(|item| &item.backlog.record.tenants) {
        // A tenant may be in several items and on several shards.
        sums.entry(tenant).and_modify(|sum| sum.add(unmerged)).or_insert(*unmerged);
    }
    let due = sums.into_iter().filter(|(_, sum)| sum.is_due(settings, now));
    due.map(|(tenant, _)| tenant.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;
    use crate::memory::MemoryStore;
    use crate::ports::{Item, Key, PutError, Range};
    use crate::stored;
    use crate::testing::counting::{self, FixedClock};

    const HOUR: Timestamp = Timestamp::from_seconds(1_763_002_800);

    fn shard(number: u64) -> ShardId {
        ShardId::new(&format!("shard-{number}")).unwrap()
    }

    /// A tenant whose name has the maximum length.
    fn tenant(number: u64) -> String {
        format!("{number:0128}")
    }

    /// Counts one event of each of some tenants, on two shards.
    async fn count(store: &MemoryStore, tenants: std::ops::Range<u64>) {
        let at = HOUR.to_string();
        let numbers: Vec<u64> = tenants.collect();
        for (batch, numbers) in (1..).zip(numbers.chunks(2000)) {
            let events = numbers.iter().map(|number| {
                let tenant = tenant(*number);
                format!(
                    r#"{{"eventType":"Send","mail":{{"timestamp":"{at}","messageId":"{number}","source":"a@s.example","destination":["b@m.example"],"tags":{{"tenant":["{tenant}"]}}}},"send":{{}}}}"#
                )
            });
            let events = events.collect::<Vec<_>>().join("\n");
            let totals =
                counting::count(store, &shard(batch % 2), batch, events.as_bytes(), HOUR).await.unwrap();
            assert_eq!(totals.aggregated % 1000, 0, "{totals:?}");
        }
    }

    async fn run<S: Store>(store: &S, number: u64, deadline_ms: i64) -> Result<CompactionReport, ReadError> {
        let now = HOUR.plus_millis(65 * 60_000);
        let mut id = number << 32;
        let attempt = || {
            id += 1;
            Attempt { id, deadline: now.plus_millis(deadline_ms) }
        };
        compact_due::<cells::Block, _, _>(store, &FixedClock(now), &CompactionSettings::default(), attempt)
            .await
    }

    /// Whether the tenant's event is in a block.
    async fn is_compacted(store: &MemoryStore, number: u64) -> bool {
        let tenant = TenantId::new(&tenant(number)).unwrap();
        let (manifest, _) = crate::history::manifest::read_with_notes(store, &tenant).await.unwrap();
        manifest.record.blocks.len() == 1
    }

    #[tokio::test]
    async fn tenants_that_do_not_fit_into_an_item_are_all_compacted() {
        let store = MemoryStore::new();
        count(&store, 0..10_000).await;
        // Without time for any tenant the backlog is kept.
        let report = run(&store, 1, 0).await.unwrap();
        assert!(report.compacted.is_empty() && report.failed_shards.is_empty(), "{report:?}");
        assert_eq!(report.oldest_unmerged, Some(HOUR));
        assert_eq!(oldest_unmerged(&store).await.unwrap(), Some(HOUR));
        let report = run(&store, 2, 60_000).await.unwrap();
        assert_eq!((report.compacted.len(), report.failed.len()), (10_000, 0));
        assert_eq!((report.failed_shards.len(), report.oldest_unmerged), (0, None));
        assert!(is_compacted(&store, 0).await && is_compacted(&store, 9_999).await);
        let report = run(&store, 3, 60_000).await.unwrap();
        assert_eq!((report.compacted.len(), report.oldest_unmerged), (0, None));
        assert_eq!(stored::range(&store, layout::whole(layout::BACKLOG)).await.unwrap().len(), 2);
    }

    /// A store whose conditional writes fail after some have succeeded.
    struct Failing {
        inner: std::sync::Arc<MemoryStore>,
        left: std::sync::atomic::AtomicUsize,
    }

    impl Store for Failing {
        async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
            self.inner.get(keys).await
        }

        async fn range(&self, range: Range) -> Result<crate::ports::Page, StoreError> {
            self.inner.range(range).await
        }

        async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
            self.inner.put(items).await
        }

        async fn put_if(&self, item: Item, expected: crate::ports::Expected) -> Result<(), PutError> {
            let order = std::sync::atomic::Ordering::SeqCst;
            if self.left.fetch_update(order, order, |left| left.checked_sub(1)).is_err() {
                let kind = crate::ports::StoreErrorKind::Throttled;
                return Err(StoreError::new(kind, "put_if", "", "throttled").into());
            }
            self.inner.put_if(item, expected).await
        }

        async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
            self.inner.delete(keys).await
        }
    }

    #[tokio::test]
    async fn no_tenant_is_forgotten_whichever_write_of_a_large_backlog_fails() {
        for left in 0..5 {
            let inner = std::sync::Arc::new(MemoryStore::new());
            count(&inner, 0..5000).await;
            let failing = Failing { inner: inner.clone(), left: left.into() };
            run(&failing, 1, 0).await.unwrap();
            let (mut compacted, mut runs) = (BTreeSet::new(), 2);
            loop {
                let report = run(&inner, runs, 60_000).await.unwrap();
                assert!(report.failed.is_empty() && report.failed_shards.is_empty(), "{left}: {report:?}");
                compacted.extend(report.compacted.into_keys());
                runs += 1;
                if report.oldest_unmerged.is_none() {
                    break;
                }
            }
            assert_eq!(compacted.len(), 5000, "{left} writes");
        }
    }

    #[tokio::test]
    async fn unreadable_shard_does_not_keep_tenants_of_others_from_being_compacted() {
        let store = MemoryStore::new();
        count(&store, 0..4000).await;
        let damaged =
            Item { key: layout::backlog(&shard(0)), body: vec![255; 9], version: 1, expires_at: None };
        store.put(vec![damaged]).await.unwrap();
        let report = run(&store, 1, 60_000).await.unwrap();
        let [(failed, ReadError::Record { .. })] = report.failed_shards.as_slice() else {
            panic!("{report:?}")
        };
        assert_eq!((failed, report.compacted.len()), (&shard(0), 2000));
    }
}
