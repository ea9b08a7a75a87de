//! Which tenants to compact now: a reader must never face thousands of small deltas, and a quiet tenant is not rewritten every few
//! minutes.
//!
//! Each shard has a backlog: how far its receipts have been read, and what the tenants named in them still have in deltas. It is one item
//! with both, moved in one conditional write, and if that holds more tenants than fit into an item, further items with tenants
//! only, which are written before the first one lets go of them. A tenant leaves the backlog only after it was compacted, so none is ever
//! forgotten; one that is in it twice, or stays too long, is compacted once for nothing.
//!
//! A shard that fails does not keep the others' tenants from being compacted. [`Report::oldest_unmerged`] is the alarm: deltas expire days
//! later.

use std::collections::{BTreeMap, BTreeSet};

use event::{SequenceNumber, ShardId, TenantId, Timestamp};

use super::{CompactError, Compacted, Settings, compact};
use crate::codec::{Malformed, Reader, Writer};
use crate::history::content::Content;
use crate::layout;
use crate::ledger::aggregate::Attempt;
use crate::ledger::checkpoint;
use crate::ledger::receipt::Receipt;
use crate::ports::{Clock, Item, Key, Order, PutError, Range, Store, StoreError};
use crate::stored::{self, ReadError, Versioned};

/// Receipts of one shard that one call reads: a bound on its time; the next call goes on.
const RECEIPTS_AT_ONCE: usize = 20_000;
/// Bytes of a backlog's tenants in one item: room for the position in front of them.
const TENANTS_BYTES: usize = Item::MAX_BODY_BYTES - 1024;

/// What one call did.
#[derive(Debug, Default)]
pub struct Report {
    /// Tenants compacted, and what that did.
    pub compacted: BTreeMap<TenantId, Compacted>,
    /// Tenants that were due and failed; they stay due.
    pub failed: Vec<(TenantId, CompactError)>,
    /// Shards whose backlog could not be read or written. Tenants whose mail came through others were compacted all the same.
    pub failed_shards: Vec<(ShardId, ReadError)>,
    /// When the oldest delta came that no block holds yet, failed shards left out. Watch it: it must stay far below the time deltas
    /// are kept.
    pub oldest_unmerged: Option<Timestamp>,
}

/// What a tenant has in deltas of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unmerged {
    deltas: u64,
    bytes: u64,
    oldest: Timestamp,
}

/// What compaction has yet to do of one shard, or of some of its tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Backlog {
    /// The last receipt read; none in further items.
    walked: Option<SequenceNumber>,
    tenants: BTreeMap<TenantId, Unmerged>,
}

/// One item of a backlog.
#[derive(Debug)]
struct Held {
    shard: ShardId,
    key: Key,
    backlog: Versioned<Backlog>,
}

impl Unmerged {
    fn add(&mut self, other: &Self) {
        self.deltas += other.deltas;
        self.bytes += other.bytes;
        self.oldest = self.oldest.min(other.oldest);
    }

    /// Many deltas, large ones, or old ones: an hour that is over is compacted once.
    fn is_due(&self, settings: &Settings, now: Timestamp) -> bool {
        self.deltas >= settings.due_deltas
            || self.bytes >= settings.due_bytes
            || self.oldest.minute().hour() < now.minute().hour()
    }
}

impl Backlog {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.maybe(self.walked.as_ref(), |w, walked| _ = w.text(walked.as_str())).size(self.tenants.len());
        for (tenant, unmerged) in &self.tenants {
            writer.text(tenant.as_str()).number(unmerged.deltas).number(unmerged.bytes).time(unmerged.oldest);
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let mut backlog = Self { walked: reader.maybe(Reader::sequence)?, tenants: BTreeMap::new() };
        for _ in 0..reader.size()? {
            let tenant = reader.tenant()?;
            let unmerged =
                Unmerged { deltas: reader.number()?, bytes: reader.number()?, oldest: reader.time()? };
            backlog.tenants.insert(tenant, unmerged);
        }
        reader.end()?;
        Ok(backlog)
    }

    fn add(&mut self, first: SequenceNumber, receipt: &Receipt) {
        for entry in &receipt.tenants {
            let more = Unmerged { deltas: 1, bytes: entry.bytes, oldest: receipt.arrived_at };
            self.tenants.entry(entry.tenant.clone()).and_modify(|held| held.add(&more)).or_insert(more);
        }
        self.walked = Some(first);
    }

    /// Takes all tenants out if they are more than fit into one item, as many together as do.
    fn split_off(&mut self) -> Vec<BTreeMap<TenantId, Unmerged>> {
        // Three numbers of at most 10 bytes each, and the length of the name.
        let size = |tenant: &TenantId| tenant.as_str().len() + 32;
        if self.tenants.keys().map(size).sum::<usize>() <= TENANTS_BYTES {
            return Vec::new();
        }
        let mut split = vec![BTreeMap::new()];
        let mut bytes = 0;
        for (tenant, unmerged) in std::mem::take(&mut self.tenants) {
            if bytes + size(&tenant) > TENANTS_BYTES {
                split.push(BTreeMap::new());
                bytes = 0;
            }
            bytes += size(&tenant);
            if let Some(last) = split.last_mut() {
                last.insert(tenant, unmerged);
            }
        }
        split
    }
}

/// Compacts every tenant that is due. `attempt` gives each try its number and deadline; no tenant is begun after the first one's.
pub async fn compact_due<B: Content, S: Store, C: Clock>(
    store: &S,
    clock: &C,
    settings: &Settings,
    mut attempt: impl FnMut() -> Attempt,
) -> Result<Report, ReadError> {
    let first = attempt();
    let mut report = Report::default();
    let mut held = Vec::new();
    for (shard, cursor) in checkpoint::read_all(store).await? {
        let Some(done) = &cursor.done else { continue };
        match walk(store, &shard, done, first).await {
            Ok(some) => held.extend(some),
            Err(error) => report.failed_shards.push((shard, error)),
        }
    }
    for tenant in due(&held, settings, clock.now()) {
        if clock.now() >= first.deadline {
            break;
        }
        match compact::<B, S, C>(store, clock, settings, &tenant, attempt()).await {
            Ok(compacted) => _ = report.compacted.insert(tenant, compacted),
            Err(error) => report.failed.push((tenant, error)),
        }
    }
    for Held { shard, key, backlog } in held {
        let mut left = backlog.record.clone();
        left.tenants.retain(|tenant, _| report.compacted.get(tenant).is_none_or(|compacted| compacted.more));
        let oldest = left.tenants.values().map(|unmerged| unmerged.oldest).min();
        report.oldest_unmerged = report.oldest_unmerged.into_iter().chain(oldest).min();
        let saved = match (left == backlog.record, left.walked.is_none() && left.tenants.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => store.delete(vec![key]).await,
            (false, false) => save(store, key, backlog.version, &left).await.map(drop),
        };
        if let Err(error) = saved {
            report.failed_shards.push((shard, error.into()));
        }
    }
    Ok(report)
}

/// When the oldest delta came that no block holds yet, as far as is known without compacting anything.
pub async fn oldest_unmerged<S: Store>(store: &S) -> Result<Option<Timestamp>, ReadError> {
    let mut oldest = None;
    for (shard, cursor) in checkpoint::read_all(store).await? {
        let Some(done) = &cursor.done else { continue };
        let (main, more) = read(store, &shard).await?;
        let tenants = [&main].into_iter().chain(&more).flat_map(|held| held.backlog.record.tenants.values());
        oldest = tenants.map(|unmerged| unmerged.oldest).chain(oldest).min();
        let walked = main.backlog.record.walked.as_ref();
        let behind = layout::receipts(&shard, walked, done, Order::Forwards);
        for item in store.range(Range { limit: 1, ..behind }).await?.items {
            let receipt = Receipt::decode_first(&item.body);
            let (receipt, _) = receipt.map_err(|source| ReadError::Record { key: item.key, source })?;
            oldest = oldest.into_iter().chain([receipt.arrived_at]).min();
        }
    }
    Ok(oldest)
}

/// Which tenants are due, over all shards.
fn due(held: &[Held], settings: &Settings, now: Timestamp) -> BTreeSet<TenantId> {
    let mut sums: BTreeMap<&TenantId, Unmerged> = BTreeMap::new();
    for (tenant, unmerged) in held.iter().flat_map(|held| &held.backlog.record.tenants) {
        sums.entry(tenant).and_modify(|sum| sum.add(unmerged)).or_insert(*unmerged);
    }
    let due = sums.into_iter().filter(|(_, sum)| sum.is_due(settings, now));
    due.map(|(tenant, _)| tenant.clone()).collect()
}

/// The items of a shard's backlog: the one with the position, and further ones.
async fn read<S: Store>(store: &S, shard: &ShardId) -> Result<(Held, Vec<Held>), ReadError> {
    let held = |key, backlog| Held { shard: shard.clone(), key, backlog };
    let key = layout::backlog(shard);
    let main = held(key.clone(), stored::read(store, key, Backlog::decode).await?);
    let mut more = Vec::new();
    for item in stored::range(store, layout::backlog_parts(shard)).await? {
        match Backlog::decode(&item.body) {
            Ok(record) => more.push(held(item.key, Versioned { record, version: Some(item.version) })),
            Err(source) => return Err(ReadError::Record { key: item.key, source }),
        }
    }
    Ok((main, more))
}

/// Adds the receipts behind the last position to a shard's backlog; its items, or none if another process is at it.
async fn walk<S: Store>(
    store: &S,
    shard: &ShardId,
    done: &SequenceNumber,
    attempt: Attempt,
) -> Result<Vec<Held>, ReadError> {
    let (main, mut held) = read(store, shard).await?;
    let Versioned { record, mut version } = main.backlog;
    let mut backlog = record.clone();
    let mut rest = Some(layout::receipts(shard, record.walked.as_ref(), done, Order::Forwards));
    let mut walked = 0;
    while let Some(range) = rest.filter(|_| walked < RECEIPTS_AT_ONCE) {
        let page = store.range(range).await?;
        walked += page.items.len();
        for item in page.items {
            // Further parts hold identities only.
            let Some(first) = layout::first_of_batch(&item.key).filter(|_| item.key.sort.ends_with("#000"))
            else {
                continue;
            };
            match Receipt::decode_first(&item.body) {
                Ok((receipt, _)) => backlog.add(first, &receipt),
                Err(source) => return Err(ReadError::Record { key: item.key, source }),
            }
        }
        rest = page.rest;
    }
    if backlog != record {
        for tenants in backlog.split_off() {
            let key = layout::backlog_part(shard, attempt.id, held.len());
            let more = Backlog { walked: None, tenants };
            let version = save(store, key.clone(), None, &more).await?;
            held.push(Held { shard: shard.clone(), key, backlog: Versioned { record: more, version } });
        }
        version = save(store, main.key.clone(), version, &backlog).await?;
        if version.is_none() {
            return Ok(Vec::new());
        }
    }
    held.push(Held { backlog: Versioned { record: backlog, version }, ..main });
    Ok(held)
}

/// Writes an item of a backlog; its version, or nothing if another process has written it meanwhile.
async fn save<S: Store>(
    store: &S,
    key: Key,
    held: Option<u64>,
    backlog: &Backlog,
) -> Result<Option<u64>, StoreError> {
    match stored::write(store, key, backlog.encode(), held).await {
        Ok(version) => Ok(Some(version)),
        Err(PutError::Conflict) => Ok(None),
        Err(PutError::Store(source)) => Err(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::testing::counting::{self, At};

    #[test]
    fn a_tenant_is_due_by_many_deltas_by_their_size_or_when_their_hour_is_over() {
        let settings = Settings::default();
        let at = |minute: i64| Timestamp::from_seconds(1_763_002_800 + 60 * minute);
        for (deltas, bytes, now, expected) in [
            (31, 100, at(59), false),
            (32, 100, at(0), true),
            (1, 4 << 20, at(0), true),
            (1, 100, at(60), true),
        ] {
            let unmerged = Unmerged { deltas, bytes, oldest: at(0) };
            assert_eq!(unmerged.is_due(&settings, now), expected, "{deltas} {bytes} {now}");
        }
    }

    #[test]
    fn a_backlog_is_read_as_it_was_written() {
        let unmerged = Unmerged { deltas: 3, bytes: 500, oldest: Timestamp::from_seconds(1_763_000_000) };
        let backlog = Backlog {
            walked: Some(SequenceNumber::from(12)),
            tenants: BTreeMap::from([(TenantId::unassigned(), unmerged)]),
        };
        assert_eq!(Backlog::decode(&backlog.encode()), Ok(backlog));
    }

    const HOUR: Timestamp = Timestamp::from_seconds(1_763_002_800);

    fn shard(number: u64) -> ShardId {
        ShardId::new(&format!("shard-{number}")).unwrap()
    }

    /// A tenant with a name as long as it may be.
    fn tenant(number: u64) -> String {
        format!("{number:0128}")
    }

    /// Counts a mail of each of some tenants, on two shards.
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

    async fn run<S: Store>(store: &S, number: u64, deadline_ms: i64) -> Result<Report, ReadError> {
        let now = HOUR.plus_millis(65 * 60_000);
        let mut id = number << 32;
        let attempt = || {
            id += 1;
            Attempt { id, deadline: now.plus_millis(deadline_ms) }
        };
        compact_due::<cells::Block, _, _>(store, &At(now), &Settings::default(), attempt).await
    }

    /// Whether the tenant's mail is in a block.
    async fn is_compacted(store: &MemoryStore, number: u64) -> bool {
        let tenant = TenantId::new(&tenant(number)).unwrap();
        let (manifest, _) = crate::history::manifest::read_with_notes(store, &tenant).await.unwrap();
        manifest.record.blocks.len() == 1
    }

    #[tokio::test]
    async fn more_tenants_than_fit_into_an_item_are_all_compacted() {
        let store = MemoryStore::new();
        count(&store, 0..10_000).await;
        // There is no time for any tenant, and the backlog is kept.
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

    /// A store whose conditional writes fail from one of them on, for as long as a run lasts.
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
    async fn a_shard_that_cannot_be_read_does_not_keep_others_from_being_compacted() {
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
