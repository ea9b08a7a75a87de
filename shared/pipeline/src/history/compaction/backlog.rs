//! The backlog of a shard: the position up to which its receipts were read, and the deltas of each tenant that are not compacted yet.
//!
//! Both are in one item, replaced by one conditional write. If the tenants do not fit into an item, further items hold tenants only;
//! they are written before these tenants leave the first item. A tenant leaves the backlog only after it was compacted, so none is
//! ever forgotten. A duplicate or stale entry costs only one unnecessary compaction.

use std::collections::BTreeMap;

use event::{SequenceNumber, ShardId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::CompactionSettings;
use crate::codec::{self, StoredRecord};
use crate::layout;
use crate::ledger::aggregate::Attempt;
use crate::ledger::receipt::{self, FirstPart};
use crate::ports::{Item, Key, PutError, Range, ScanOrder, Store, StoreError};
use crate::stored::{self, ReadError, Versioned};

/// Receipts of one shard that one call reads, to bound its time; the next call goes on.
const MAX_RECEIPTS: usize = 20_000;
/// Bytes of tenants in one item. Leaves room for the position and the frame of the record.
const TENANTS_BYTES: usize = Item::MAX_BODY_BYTES - 1024;

/// Deltas of one tenant that no block holds yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnmergedDeltas {
    pub(super) deltas: u64,
    pub(super) bytes: u64,
    /// When the oldest of them arrived.
    #[serde(with = "codec::form")]
    pub(super) oldest: Timestamp,
}

impl UnmergedDeltas {
    pub(super) fn add(&mut self, other: &Self) {
        self.deltas += other.deltas;
        self.bytes += other.bytes;
        self.oldest = self.oldest.min(other.oldest);
    }

    /// Whether they are many, large, or of an hour that is over, so that a quiet tenant is compacted once an hour.
    pub(super) fn is_due(&self, settings: &CompactionSettings, now: Timestamp) -> bool {
        self.deltas >= settings.due_deltas
            || self.bytes >= settings.due_bytes
            // Once an hour, since a block covers an hour: rewriting it sooner for a few deltas would only cost
            // writes.
            || self.oldest.minute().hour() < now.minute().hour()
    }
}

/// What is not compacted yet of one shard, or of some of its tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backlog {
    /// Receipts up to this batch were read. `None` in further items.
    #[serde(with = "codec::option")]
    read_up_to: Option<SequenceNumber>,
    #[serde(with = "codec::keyed")]
    pub(super) tenants: BTreeMap<TenantId, UnmergedDeltas>,
}

impl StoredRecord for Backlog {
    const NAME: &'static str = "compaction backlog";
    const FORMAT: u8 = 3;
}

impl Backlog {
    /// Whether the item serves no purpose any more: it has neither a position nor tenants.
    pub(super) fn is_empty(&self) -> bool {
        self.read_up_to.is_none() && self.tenants.is_empty()
    }

    fn add(&mut self, first: SequenceNumber, receipt: &FirstPart) {
        for entry in &receipt.deltas {
            let unmerged = UnmergedDeltas { deltas: 1, bytes: entry.bytes, oldest: receipt.arrived_at };
            self.tenants
                .entry(entry.tenant.clone())
                .and_modify(|held| held.add(&unmerged))
                .or_insert(unmerged);
        }
        // By the first number of the batch, since that is what receipts are sorted by.
        self.read_up_to = Some(first);
    }

    /// Takes all tenants out if they do not fit into one item, in groups that each fit.
    fn split_off(&mut self) -> Vec<BTreeMap<TenantId, UnmergedDeltas>> {
        // Three numbers of at most 10 bytes each, and the length of the name.
        let size = |tenant: &TenantId| tenant.as_str().len() + 32;
        if self.tenants.keys().map(size).sum::<usize>() <= TENANTS_BYTES {
            return Vec::new();
        }
        let mut groups = Vec::new();
        let mut group = BTreeMap::new();
        let mut bytes = 0;
        // All of them, so that the first item stays small: it is rewritten with every call.
        for (tenant, unmerged) in std::mem::take(&mut self.tenants) {
            if bytes + size(&tenant) > TENANTS_BYTES {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += size(&tenant);
            group.insert(tenant, unmerged);
        }
        groups.push(group);
        groups
    }
}

/// One item of the backlog of a shard, as it was read.
#[derive(Debug)]
pub(super) struct BacklogItem {
    pub(super) shard: ShardId,
    pub(super) key: Key,
    pub(super) backlog: Versioned<Backlog>,
}

/// The items of a shard's backlog.
struct ShardBacklog {
    main: BacklogItem,
    /// Items with tenants only.
    further: Vec<BacklogItem>,
}

async fn read<S: Store>(store: &S, shard: &ShardId) -> Result<ShardBacklog, ReadError> {
    let item = |key, backlog| BacklogItem { shard: shard.clone(), key, backlog };
    let key = layout::backlog(shard);
    let main = item(key.clone(), stored::get(store, key).await?);
    let mut further = Vec::new();
    for found in stored::range(store, layout::backlog_parts(shard)).await? {
        let backlog = stored::decode_or_default(Some(&found))?;
        further.push(item(found.key, backlog));
    }
    Ok(ShardBacklog { main, further })
}

/// Adds the receipts up to `committed` to a shard's backlog. Returns its items, or none if another process is writing them.
pub(super) async fn catch_up<S: Store>(
    store: &S,
    shard: &ShardId,
    committed: &SequenceNumber,
    attempt: Attempt,
) -> Result<Vec<BacklogItem>, ReadError> {
    // Receipts are read from where the first item says, so each of them is read once.
    let ShardBacklog { main, further: mut items } = read(store, shard).await?;
    let Versioned { record, mut version } = main.backlog;
    let mut backlog = record.clone();
    let mut rest = Some(layout::receipts(shard, record.read_up_to.as_ref(), committed, ScanOrder::Forwards));
    let mut receipts = 0;
    while let Some(range) = rest.filter(|_| receipts < MAX_RECEIPTS) {
        let page = store.range(range).await?;
        receipts += page.items.len();
        for item in page.items {
            if let Some((first, part)) = receipt::first_part(&item)? {
                backlog.add(first, &part);
            }
        }
        rest = page.rest;
    }
    // Most calls find nothing new in most shards and write nothing.
    if backlog != record {
        for tenants in backlog.split_off() {
            // Named after the attempt, so that two calls at the same time never write one item.
            let key = layout::backlog_part(shard, attempt.id, items.len());
            let further = Backlog { read_up_to: None, tenants };
            let version = save(store, key.clone(), None, &further).await?;
            items.push(BacklogItem {
                shard: shard.clone(),
                key,
                backlog: Versioned { record: further, version },
            });
        }
        version = save(store, main.key.clone(), version, &backlog).await?;
        // The other process has read the same receipts. The further items written above stay and name tenants twice,
        // which is harmless.
        if version.is_none() {
            return Ok(Vec::new());
        }
    }
    items.push(BacklogItem { backlog: Versioned { record: backlog, version }, ..main });
    Ok(items)
}

/// Writes an item of a backlog. Returns its version, or `None` if another process has written the item since it was read.
pub(super) async fn save<S: Store>(
    store: &S,
    key: Key,
    held: Option<u64>,
    backlog: &Backlog,
) -> Result<Option<u64>, StoreError> {
    match stored::put_if(store, key, backlog, held).await {
        Ok(version) => Ok(Some(version)),
        Err(PutError::Conflict) => Ok(None),
        Err(PutError::Store(source)) => Err(source),
    }
}

/// When the oldest delta of a shard arrived that no block holds yet, from its backlog and the first receipt behind it.
pub(super) async fn oldest_unmerged<S: Store>(
    store: &S,
    shard: &ShardId,
    committed: &SequenceNumber,
) -> Result<Option<Timestamp>, ReadError> {
    let ShardBacklog { main, further } = read(store, shard).await?;
    let items = [&main].into_iter().chain(&further);
    let known = items.flat_map(|item| item.backlog.record.tenants.values());
    let mut oldest = known.map(|unmerged| unmerged.oldest).min();
    let read_up_to = main.backlog.record.read_up_to.as_ref();
    let behind = layout::receipts(shard, read_up_to, committed, ScanOrder::Forwards);
    // The first is enough: later batches arrived later, or at most marginally earlier.
    for item in store.range(Range { limit: 1, ..behind }).await?.items {
        let found = receipt::first_part(&item)?;
        oldest = oldest.into_iter().chain(found.map(|(_, part)| part.arrived_at)).min();
    }
    Ok(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::contended::ContendedStore;
    use crate::testing::{counting, samples};

    const AT: Timestamp = Timestamp::from_seconds(1_763_002_800);

    fn backlog(tenants: usize) -> Backlog {
        let unmerged = UnmergedDeltas { deltas: 3, bytes: 500, oldest: AT };
        let name = |number: usize| TenantId::new(&format!("{number:0128}")).unwrap();
        Backlog {
            read_up_to: Some(SequenceNumber::from(12)),
            tenants: (0..tenants).map(|number| (name(number), unmerged)).collect(),
        }
    }

    #[test]
    fn tenant_is_due_by_the_number_or_size_of_its_deltas_or_when_their_hour_is_over() {
        let settings = CompactionSettings::default();
        let at = |minute: i64| AT.plus_millis(60_000 * minute);
        for (deltas, bytes, now, expected) in [
            (31, 100, at(59), false),
            (32, 100, at(0), true),
            (1, 4 << 20, at(0), true),
            (1, (4 << 20) - 1, at(0), false),
            (1, 100, at(60), true),
        ] {
            let unmerged = UnmergedDeltas { deltas, bytes, oldest: at(0) };
            assert_eq!(unmerged.is_due(&settings, now), expected, "{deltas} {bytes} {now}");
        }
    }

    #[test]
    fn sum_over_shards_keeps_the_oldest_arrival() {
        let mut sum = UnmergedDeltas { deltas: 1, bytes: 10, oldest: AT };
        sum.add(&UnmergedDeltas { deltas: 2, bytes: 20, oldest: AT.plus_millis(-5) });
        assert_eq!(sum, UnmergedDeltas { deltas: 3, bytes: 30, oldest: AT.plus_millis(-5) });
    }

    #[test]
    fn backlog_is_read_as_it_was_written() {
        for backlog in [Backlog::default(), backlog(3)] {
            assert_eq!(Backlog::decode(&backlog.encode()), Ok(backlog));
        }
    }

    #[test]
    fn stored_sample_of_each_format_is_read() {
        samples::check("compaction-backlog-3", &backlog(1));
    }

    #[test]
    fn tenants_that_do_not_fit_into_an_item_are_split_into_groups_that_do() {
        for (tenants, groups) in [(0, 0), (2_000, 0), (2_500, 2), (10_000, 5)] {
            let mut backlog = backlog(tenants);
            let split = backlog.split_off();
            assert_eq!(split.len(), groups, "{tenants}");
            let kept = backlog.tenants.len() + split.iter().map(BTreeMap::len).sum::<usize>();
            assert_eq!(kept, tenants);
            for tenants in split {
                let body = Backlog { read_up_to: None, tenants }.encode();
                assert!(body.len() <= Item::MAX_BODY_BYTES, "{} bytes", body.len());
            }
        }
    }

    #[tokio::test]
    async fn backlog_that_another_process_wrote_meanwhile_is_left_to_it_and_no_receipt_is_missed() {
        let (shard, tenant) = (ShardId::new("s-1").unwrap(), TenantId::new("acme").unwrap());
        let attempt = Attempt { id: 5, deadline: AT };
        let number = SequenceNumber::from;
        let store = ContendedStore::new(0);
        for first in [1, 2, 3] {
            let send = format!(
                r#"{{"eventType":"Send","mail":{{"timestamp":"{AT}","messageId":"{first}","destination":["b@m.example"],"tags":{{"tenant":["acme"]}}}},"send":{{}}}}"#
            );
            counting::count(&store, &shard, first, send.as_bytes(), AT).await.unwrap();
            if first == 1 {
                let read = catch_up(&store, &shard, &number(1), attempt).await.unwrap();
                assert_eq!(read[0].backlog.record.tenants[&tenant].deltas, 1);
            }
        }
        store.lose(1);
        assert!(catch_up(&store, &shard, &number(3), attempt).await.unwrap().is_empty());
        // What is beyond the committed number is not read yet.
        for (committed, deltas) in [(2, 2), (3, 3), (3, 3)] {
            let read = catch_up(&store, &shard, &number(committed), attempt).await.unwrap();
            assert_eq!(read[0].backlog.record.tenants[&tenant].deltas, deltas, "{committed}");
        }
    }
}
