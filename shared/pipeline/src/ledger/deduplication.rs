//! The deduplication window of a shard: the events it counted most recently. It drops the duplicates that upstream services deliver.
//!
//! EventBridge and SNS deliver at least once and SES may publish an event twice, mostly seconds to minutes apart. The window holds
//! [`DeduplicationWindow::MAX_IDENTITIES`] counted events of one shard. At 1,000 records a second, the limit of a Kinesis shard, that is a
//! quarter of an hour; at a tenth of that rate, hours. All events of a message share a partition key and so a shard.
//!
//! Tenants share the window fairly: when it is full, the tenant that holds most of it forgets its oldest events. So a tenant that sends
//! much cannot push out the events of one that sends little. [`DeduplicationWindow::reach`] says since when the events of a tenant have
//! been held without a gap; a duplicate of an older event is counted again.
//!
//! A mail that is delayed has a second identity in the window, that of the fact that it was delayed, which all of its delays share. So
//! the first delay is distinguished from later ones for as long as the window reaches back to it; a delay after that counts as a first one again.
//!
//! Only committed events enter the window. A process that starts, or that another process has overtaken, reads the missing events from
//! the receipts, so a restart forgets nothing.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};

use event::invariant::or_broken;
use event::{IdentityHash, SequenceNumber, ShardId, TenantId, Timestamp};
use hashbrown::HashTable;

pub use self::reach::DeduplicationReach;
use crate::layout;
use crate::ledger::receipt::{self, CountedBatch, ReceiptPart, TenantIdentities};
use crate::ports::{ScanOrder, Store};
use crate::stored::ReadError;

mod reach;

/// How far back a process that starts reads, in milliseconds (15 minutes), so that a tenant that sends much does not keep it from reading
/// the events of the others.
const READ_BACK_MS: i64 = 15 * 60 * 1000;
/// How many times the events of a full window it reads at most for that: 29 MB.
const MAX_READ_BACK: usize = 4;

/// The events counted in one shard, as many as fit.
#[derive(Clone, Debug)]
pub struct DeduplicationWindow {
    /// Places in `identities`, found by the identity they hold.
    places: HashTable<u32>,
    /// Chunks, one after the other.
    identities: Vec<IdentityHash>,
    by_tenant: HashMap<TenantId, u32>,
    /// What each tenant holds, by the number in `by_tenant`. The numbers of tenants that hold nothing are in `unused`.
    shares: Vec<Share>,
    unused: Vec<u32>,
    /// All shares that have chunks, by [`Share::rank`].
    by_size: BTreeSet<(usize, Reverse<u64>, u32)>,
    /// The number of chunks that tenants have taken so far: the age of the next one.
    taken: u64,
    settings: WindowSize,
    /// The identities of all receipts up to here are in the window, or were in it.
    as_of: Option<SequenceNumber>,
    /// Older receipts were not read.
    read_from: Option<Timestamp>,
    /// When the newest forgotten event of all tenants that held nothing afterwards had arrived.
    forgotten: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct WindowSize {
    chunks: u32,
    /// The number of events that are forgotten at once.
    chunk: u32,
}

impl WindowSize {
    fn limit(self) -> usize {
        self.chunks as usize * self.chunk as usize
    }
}

/// What one tenant holds.
#[derive(Clone, Debug, Default)]
struct Share {
    tenant: Option<TenantId>,
    /// The oldest first.
    chunks: VecDeque<Chunk>,
    /// When the newest event that was forgotten had arrived.
    forgotten: Option<Timestamp>,
}

/// Identities of one tenant, in the order in which they were counted.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    number: u32,
    len: u32,
    /// When the newest of them had arrived.
    newest: Timestamp,
    age: u64,
}

impl Share {
    /// Shares are ordered by this. The last one forgets next: the largest, among equals the one whose oldest chunk is the oldest.
    fn rank(&self, number: u32) -> Option<(usize, Reverse<u64>, u32)> {
        self.chunks.front().map(|oldest| (self.chunks.len(), Reverse(oldest.age), number))
    }
}

impl Default for DeduplicationWindow {
    fn default() -> Self {
        Self::with_limit(Self::MAX_IDENTITIES)
    }
}

impl DeduplicationWindow {
    /// A quarter of an hour at 1,000 events a second. A full window takes 13 MB; a hash table with a million slots holds a few more
    /// events, and needs that room because places of removed ones are not free at once.
    pub const MAX_IDENTITIES: u32 = 14_080 * Self::CHUNK;
    /// The number of events that a full window forgets at once. Each tenant may leave one chunk partly empty.
    const CHUNK: u32 = 64;

    /// A window of `limit` events, from 1 to [`Self::MAX_IDENTITIES`]. A small one forgets them one by one.
    pub fn with_limit(limit: u32) -> Self {
        let limit = limit.clamp(1, Self::MAX_IDENTITIES);
        let chunk = if limit < Self::CHUNK * Self::CHUNK { 1 } else { Self::CHUNK };
        Self {
            places: HashTable::new(),
            identities: Vec::new(),
            by_tenant: HashMap::new(),
            shares: Vec::new(),
            unused: Vec::new(),
            by_size: BTreeSet::new(),
            taken: 0,
            settings: WindowSize { chunks: limit / chunk, chunk },
            as_of: None,
            read_from: None,
            forgotten: None,
        }
    }

    /// Whether the event is in the window: counting it again would be wrong.
    pub fn contains(&self, identity: IdentityHash) -> bool {
        self.places.find(identity.0, |&place| identity_at(&self.identities, place) == identity).is_some()
    }

    /// Every event of the tenant is in the window that arrived later than this. `None`: all that were ever counted, as far as receipts of
    /// them are kept.
    pub fn reach(&self, tenant: &TenantId) -> Option<Timestamp> {
        let share = self.by_tenant.get(tenant).and_then(|&number| self.shares.get(number as usize));
        self.read_from.max(share.map_or(self.forgotten, |share| share.forgotten))
    }

    /// What [`DeduplicationWindow::reach`] says about all tenants.
    pub(super) fn stated_reach(&self) -> DeduplicationReach {
        let forgotten =
            self.shares.iter().filter_map(|share| Some((share.tenant.as_ref()?, share.forgotten?)));
        DeduplicationReach::new(self.read_from.max(self.forgotten), forgotten)
    }

    /// Adds the events of a batch that arrived at `arrived_at` and was committed up to `committed`.
    pub(super) fn extend<'i>(
        &mut self,
        batch: impl IntoIterator<Item = TenantIdentities<'i>>,
        arrived_at: Timestamp,
        committed: Option<SequenceNumber>,
    ) {
        for TenantIdentities { tenant, identities } in batch {
            for &identity in identities {
                self.insert(tenant, identity, arrived_at);
            }
        }
        // Only after a commit: an event of an attempt that failed must be counted when it is delivered again.
        self.as_of = committed;
    }

    /// Reads the events that other processes, or this one before a restart, committed up to `committed`.
    pub(super) async fn catch_up<S: Store>(
        &mut self,
        store: &S,
        shard: &ShardId,
        committed: Option<&SequenceNumber>,
    ) -> Result<(), ReadError> {
        // The usual case: this process handled the batch before as well, so it reads nothing.
        if self.as_of.as_ref() == committed {
            return Ok(());
        }
        if self.as_of.as_ref() > committed {
            // The store was set back, for example to a backup: the events in this window were not counted there.
            let WindowSize { chunks, chunk } = self.settings;
            *self = Self::with_limit(chunks * chunk);
        }
        let Some(up_to) = committed else {
            return Ok(());
        };
        // Backwards, because the newest events matter most and the rest may be too much.
        let mut newest_first: Vec<CountedBatch> = Vec::new();
        let (limit, mut found) = (self.settings.limit(), 0);
        let mut further_parts: Vec<Vec<IdentityHash>> = Vec::new();
        let mut rest = Some(layout::receipts(shard, self.as_of.as_ref(), up_to, ScanOrder::Backwards));
        'reading: while let Some(range) = rest {
            let page = store.range(range).await?;
            for item in page.items {
                // The further parts of a receipt come before its first part here.
                match receipt::part_of(&item)? {
                    ReceiptPart::Further(identities) => further_parts.push(identities),
                    ReceiptPart::First(mut batch) => {
                        further_parts.drain(..).rev().for_each(|part| batch.identities.extend(part));
                        found += batch.identities.len();
                        let newest =
                            newest_first.first().map_or(batch.arrived_at, |newest| newest.arrived_at);
                        let is_old = newest.millis_since(batch.arrived_at) > READ_BACK_MS;
                        let oldest = batch.arrived_at;
                        newest_first.push(batch);
                        if found >= limit && (is_old || found >= MAX_READ_BACK * limit) {
                            self.read_from = Some(oldest);
                            break 'reading;
                        }
                    }
                }
            }
            rest = page.rest;
        }
        // In the order in which they were counted, so that the oldest ones leave the window first.
        for batch in newest_first.iter().rev() {
            self.extend(batch.by_tenant(), batch.arrived_at, None);
        }
        self.as_of = Some(up_to.clone());
        Ok(())
    }

    fn insert(&mut self, tenant: &TenantId, identity: IdentityHash, arrived_at: Timestamp) {
        // A second entry would take the place of another event, and removing the older one would forget both.
        if self.contains(identity) {
            return;
        }
        self.make_room();
        let Some(place) = self.next_place(tenant, arrived_at) else { return };
        if let Some(free) = self.identities.get_mut(place as usize) {
            *free = identity;
        }
        // The table holds places only, 4 bytes each, and looks the identities up when it grows.
        let identities = &self.identities;
        self.places.insert_unique(identity.0, place, |&place| identity_at(identities, place).0);
    }

    /// Keeps the table from growing beyond what a full window needs: removals leave marks that fill it, and then it would double.
    fn make_room(&mut self) {
        let Self { places, identities, shares, settings, .. } = self;
        let is_full = places.len() == places.capacity();
        if !is_full || places.num_buckets() / 8 * 7 <= settings.limit() {
            return;
        }
        places.clear();
        for chunk in shares.iter().flat_map(|share| &share.chunks) {
            let first = chunk.number * settings.chunk;
            for place in first..first + chunk.len {
                let hash = |&place: &u32| identity_at(identities, place).0;
                places.insert_unique(hash(&place), place, hash);
            }
        }
    }

    /// The place of the next identity of a tenant.
    fn next_place(&mut self, tenant: &TenantId, arrived_at: Timestamp) -> Option<u32> {
        let size = self.settings.chunk;
        let has_room = |share: &Share| share.chunks.back().is_some_and(|chunk| chunk.len < size);
        let held = self.by_tenant.get(tenant).copied();
        if !held.and_then(|number| self.shares.get(number as usize)).is_some_and(has_room) {
            // First, because it may take the last chunk of this very tenant, and then the tenant holds nothing.
            let chunk = self.free_chunk(tenant)?;
            self.give_chunk(tenant, chunk, arrived_at);
        }
        let number = self.by_tenant.get(tenant)?;
        let chunk = self.shares.get_mut(*number as usize)?.chunks.back_mut()?;
        chunk.newest = chunk.newest.max(arrived_at);
        let place = chunk.number * size + chunk.len;
        chunk.len += 1;
        Some(place)
    }

    /// A chunk for a tenant. If none is unused, the tenant that holds most loses its oldest one.
    fn free_chunk(&mut self, tenant: &TenantId) -> Option<u32> {
        let size = self.settings.chunk as usize;
        let chunks = self.identities.len() / size;
        if chunks < self.settings.chunks as usize {
            if self.identities.len() == self.identities.capacity() {
                // Not doubled: the last step would take 8 MB more than the window needs.
                self.identities.reserve_exact(size * 1_024);
            }
            self.identities.resize(self.identities.len() + size, IdentityHash(0));
            return u32::try_from(chunks).ok();
        }
        let (largest, ..) = *self.by_size.last()?;
        // Among equals the tenant itself, so that none of them ends with less than its share.
        let own = self.by_tenant.get(tenant).copied();
        let own = own.and_then(|number| self.shares.get(number as usize)?.rank(number));
        let rank = own.filter(|(chunks, ..)| *chunks == largest).or_else(|| self.by_size.last().copied())?;
        self.forget_chunk(rank)
    }

    fn give_chunk(&mut self, tenant: &TenantId, number: u32, newest: Timestamp) {
        let shares = &mut self.shares;
        let unused = &mut self.unused;
        let share_number = *self.by_tenant.entry(tenant.clone()).or_insert_with(|| {
            unused.pop().unwrap_or_else(|| {
                shares.push(Share::default());
                // There are at most as many shares as chunks.
                u32::try_from(shares.len() - 1).unwrap_or(u32::MAX)
            })
        });
        let Some(share) = self.shares.get_mut(share_number as usize) else { return };
        share.rank(share_number).map(|rank| self.by_size.remove(&rank));
        if share.tenant.is_none() {
            *share = Share { tenant: Some(tenant.clone()), forgotten: self.forgotten, ..Share::default() };
        }
        share.chunks.push_back(Chunk { number, len: 0, newest, age: self.taken });
        self.taken += 1;
        self.by_size.extend(share.rank(share_number));
    }

    /// Forgets the oldest chunk of the share with this rank, and returns its number.
    fn forget_chunk(&mut self, rank: (usize, Reverse<u64>, u32)) -> Option<u32> {
        self.by_size.remove(&rank);
        let (.., share_number) = rank;
        let share = self.shares.get_mut(share_number as usize)?;
        let chunk = share.chunks.pop_front()?;
        let first = chunk.number * self.settings.chunk;
        for place in first..first + chunk.len {
            let identity = identity_at(&self.identities, place);
            if let Ok(entry) = self.places.find_entry(identity.0, |&found| found == place) {
                entry.remove();
            }
        }
        share.forgotten = share.forgotten.max(Some(chunk.newest));
        if let Some(rank) = share.rank(share_number) {
            self.by_size.insert(rank);
        } else {
            // Nothing is kept of tenants that hold nothing, so what was forgotten of them bounds all such tenants.
            self.forgotten = self.forgotten.max(share.forgotten);
            if let Some(tenant) = std::mem::take(share).tenant {
                self.by_tenant.remove(&tenant);
            }
            self.unused.push(share_number);
        }
        Some(chunk.number)
    }
}

fn identity_at(identities: &[IdentityHash], place: u32) -> IdentityHash {
    or_broken(
        identities.get(place as usize).copied(),
        IdentityHash(0),
        "a deduplication place outside its chunks",
    )
}

#[cfg(test)]
mod tests;
