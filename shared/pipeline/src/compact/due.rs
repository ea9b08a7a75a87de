//! Which tenants to compact now, told by receipts: a reader must never face thousands of small deltas, and a quiet tenant is
//! not rewritten every few minutes.
//!
//! Each shard has a backlog item: how far its receipts have been walked, and what the tenants in them still have in deltas. The
//! position moves together with what was found, in one conditional write, and a tenant leaves the backlog only after it was
//! compacted, so none is ever forgotten; one that stays too long is compacted once for nothing. [`Report::oldest_unmerged`] is
//! the alarm: deltas expire days later.

use std::collections::{BTreeMap, BTreeSet};

use event::{SequenceNumber, ShardId, TenantId, Timestamp};

use super::{CompactError, Compacted, Settings, compact};
use crate::aggregate::Attempt;
use crate::content::Content;
use crate::cursor;
use crate::keys;
use crate::ports::{Clock, Order, PutError, Range, Store};
use crate::receipt::Receipt;
use crate::stored::{self, ReadError, Versioned};
use crate::wire::{Malformed, Reader, Writer};

/// Receipts of one shard that one call walks: a bound on its time; the next call goes on.
const RECEIPTS_AT_ONCE: usize = 20_000;

/// What one call did.
#[derive(Debug, Default)]
pub struct Report {
    /// Tenants compacted, and what that did.
    pub compacted: BTreeMap<TenantId, Compacted>,
    /// Tenants that were due and failed; they stay due.
    pub failed: Vec<(TenantId, CompactError)>,
    /// When the oldest delta came that no block holds yet. Watch it: it must stay far below the time deltas are kept.
    pub oldest_unmerged: Option<Timestamp>,
}

/// What a tenant has in deltas of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unmerged {
    deltas: u64,
    bytes: u64,
    oldest: Timestamp,
}

/// What compaction has yet to do of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Backlog {
    walked: Option<SequenceNumber>,
    tenants: BTreeMap<TenantId, Unmerged>,
}

impl Unmerged {
    fn add(&mut self, other: &Self) {
        self.deltas += other.deltas;
        self.bytes += other.bytes;
        self.oldest = self.oldest.min(other.oldest);
    }

    /// Many deltas, large ones, or old ones: an hour that is over is folded once.
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
}

/// Compacts every tenant that is due. `attempt` gives each try its number and deadline; no tenant is begun after the first one's.
pub async fn compact_due<B: Content, S: Store, C: Clock>(
    store: &S,
    clock: &C,
    settings: &Settings,
    mut attempt: impl FnMut() -> Attempt,
) -> Result<Report, ReadError> {
    let until = attempt().deadline;
    let mut backlogs = Vec::new();
    for (shard, cursor) in cursor::read_all(store).await? {
        if let Some(done) = &cursor.done {
            backlogs.extend(walk(store, &shard, done).await?.map(|backlog| (shard, backlog)));
        }
    }
    let mut report = Report::default();
    for tenant in due(&backlogs, settings, clock.now()) {
        if clock.now() >= until {
            break;
        }
        match compact::<B, S, C>(store, clock, settings, &tenant, attempt()).await {
            Ok(compacted) => _ = report.compacted.insert(tenant, compacted),
            Err(error) => report.failed.push((tenant, error)),
        }
    }
    for (shard, held) in backlogs {
        let mut left = held.record.clone();
        left.tenants.retain(|tenant, _| report.compacted.get(tenant).is_none_or(|compacted| compacted.more));
        let oldest = left.tenants.values().map(|unmerged| unmerged.oldest).min();
        report.oldest_unmerged = report.oldest_unmerged.into_iter().chain(oldest).min();
        if left != held.record {
            save(store, &shard, &held, left).await?;
        }
    }
    Ok(report)
}

/// When the oldest delta came that no block holds yet, as far as is known without folding anything.
pub async fn oldest_unmerged<S: Store>(store: &S) -> Result<Option<Timestamp>, ReadError> {
    let mut oldest = None;
    for (shard, cursor) in cursor::read_all(store).await? {
        let Some(done) = &cursor.done else { continue };
        let backlog = stored::read(store, keys::backlog(&shard), Backlog::decode).await?.record;
        oldest = backlog.tenants.values().map(|unmerged| unmerged.oldest).chain(oldest).min();
        let behind = keys::receipts(&shard, backlog.walked.as_ref(), done, Order::Forwards);
        for item in store.range(Range { limit: 1, ..behind }).await?.items {
            let receipt = Receipt::decode_first(&item.body);
            let (receipt, _) = receipt.map_err(|source| ReadError::Record { key: item.key, source })?;
            oldest = oldest.into_iter().chain([receipt.arrived_at]).min();
        }
    }
    Ok(oldest)
}

/// Which tenants are due, over all shards.
fn due(
    backlogs: &[(ShardId, Versioned<Backlog>)],
    settings: &Settings,
    now: Timestamp,
) -> BTreeSet<TenantId> {
    let mut sums: BTreeMap<&TenantId, Unmerged> = BTreeMap::new();
    for (tenant, unmerged) in backlogs.iter().flat_map(|(_, held)| &held.record.tenants) {
        sums.entry(tenant).and_modify(|sum| sum.add(unmerged)).or_insert(*unmerged);
    }
    let due = sums.into_iter().filter(|(_, sum)| sum.is_due(settings, now));
    due.map(|(tenant, _)| tenant.clone()).collect()
}

/// Adds the receipts behind the last position to a shard's backlog; `None` if another process is at it.
async fn walk<S: Store>(
    store: &S,
    shard: &ShardId,
    done: &SequenceNumber,
) -> Result<Option<Versioned<Backlog>>, ReadError> {
    let held = stored::read(store, keys::backlog(shard), Backlog::decode).await?;
    let mut backlog = held.record.clone();
    let mut rest = Some(keys::receipts(shard, held.record.walked.as_ref(), done, Order::Forwards));
    let mut walked = 0;
    while let Some(range) = rest.filter(|_| walked < RECEIPTS_AT_ONCE) {
        let page = store.range(range).await?;
        walked += page.items.len();
        for item in page.items {
            // Further parts hold identities only.
            let Some(first) = keys::first_of(&item.key).filter(|_| item.key.sort.ends_with("#000")) else {
                continue;
            };
            match Receipt::decode_first(&item.body) {
                Ok((receipt, _)) => backlog.add(first, &receipt),
                Err(source) => return Err(ReadError::Record { key: item.key, source }),
            }
        }
        rest = page.rest;
    }
    if backlog == held.record {
        return Ok(Some(held));
    }
    save(store, shard, &held, backlog).await
}

async fn save<S: Store>(
    store: &S,
    shard: &ShardId,
    held: &Versioned<Backlog>,
    backlog: Backlog,
) -> Result<Option<Versioned<Backlog>>, ReadError> {
    match stored::write(store, keys::backlog(shard), backlog.encode(), held.version).await {
        Ok(version) => Ok(Some(Versioned { record: backlog, version: Some(version) })),
        Err(PutError::Conflict) => Ok(None),
        Err(PutError::Store(source)) => Err(source.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
