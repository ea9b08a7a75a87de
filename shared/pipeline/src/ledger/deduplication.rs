//! Which events a shard counted lately: what drops the duplicates that upstream makes.
//!
//! EventBridge and SNS deliver at least once and SES may publish twice, mostly seconds to minutes apart. The memory holds the newest
//! [`Memory::MAX_IDENTITIES`] counted events of one shard, oldest out first, so it catches every duplicate that comes in
//! the same shard with at most so many events counted in between (at 1,000 records a second, the limit of a
//! Kinesis shard: a quarter of an hour; at a tenth of that, hours). A message's events share a partition key and
//! so a shard. Only committed events enter it, and a process that starts or lags behind reads it back from the receipts, so
//! a restart forgets nothing.

use event::{IdentityHash, SequenceNumber, ShardId};
use hashbrown::HashTable;

use super::registration::Registered;
use crate::layout;
use crate::ledger::receipt;
use crate::ports::{Order, Store};
use crate::stored::ReadError;

/// The newest events counted in one shard.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Places in `ring`, found by identity.
    places: HashTable<u32>,
    /// The identities, a ring once it is full.
    ring: Vec<IdentityHash>,
    /// Where the next one goes once it is full: the oldest.
    oldest: usize,
    limit: usize,
    /// All receipts up to here are in.
    as_of: Option<SequenceNumber>,
    /// Tenants that are known to have an entry in the register.
    pub(super) registered: Registered,
}

impl Default for Memory {
    fn default() -> Self {
        Self::with_limit(Self::MAX_IDENTITIES)
    }
}

impl Memory {
    /// 7/8 of 2^20: as many as a hash table of a million places holds; 13 MB per shard when full.
    pub const MAX_IDENTITIES: usize = 917_504;

    /// A memory of the newest `limit` events.
    pub fn with_limit(limit: usize) -> Self {
        let limit = limit.clamp(1, Self::MAX_IDENTITIES);
        Self {
            places: HashTable::new(),
            ring: Vec::new(),
            oldest: 0,
            limit,
            as_of: None,
            registered: Registered::default(),
        }
    }

    /// Whether the event was counted lately.
    pub fn contains(&self, identity: IdentityHash) -> bool {
        self.places.find(identity.0, |&place| self.at(place) == Some(identity)).is_some()
    }

    /// Takes the events of a batch that was committed up to `done`.
    pub(crate) fn remember(&mut self, identities: &[IdentityHash], done: Option<SequenceNumber>) {
        for &identity in identities {
            self.insert(identity);
        }
        self.as_of = done;
    }

    /// Reads what other processes, or this one before it started, committed up to `done`.
    pub(crate) async fn catch_up<S: Store>(
        &mut self,
        store: &S,
        shard: &ShardId,
        done: Option<&SequenceNumber>,
    ) -> Result<(), ReadError> {
        if self.as_of.as_ref() == done {
            return Ok(());
        }
        if self.as_of.as_ref() > done {
            // The store was set back, to a backup for one: what this memory knows was not counted there.
            *self = Self::with_limit(self.limit);
        }
        let Some(upto) = done else {
            return Ok(());
        };
        let mut newest_first: Vec<Vec<IdentityHash>> = Vec::new();
        let mut found = 0;
        let mut rest = Some(layout::receipts(shard, self.as_of.as_ref(), upto, Order::Backwards));
        while let Some(range) = rest.filter(|_| found < self.limit) {
            let page = store.range(range).await?;
            for item in page.items {
                let identities = receipt::identities_of_part(&item.key, &item.body)
                    .map_err(|source| ReadError::Record { key: item.key, source })?;
                found += identities.len();
                newest_first.push(identities);
            }
            rest = page.rest;
        }
        for identities in newest_first.iter().rev() {
            self.remember(identities, None);
        }
        self.as_of = Some(upto.clone());
        Ok(())
    }

    fn insert(&mut self, identity: IdentityHash) {
        if self.contains(identity) {
            return;
        }
        let place = if self.ring.len() < self.limit {
            self.ring.push(identity);
            self.ring.len() - 1
        } else {
            let place = self.oldest;
            self.oldest = (place + 1) % self.limit;
            self.forget(place);
            if let Some(slot) = self.ring.get_mut(place) {
                *slot = identity;
            }
            place
        };
        // The limit is below 2^20.
        let place = u32::try_from(place).unwrap_or_default();
        let ring = &self.ring;
        let hash = |place: &u32| ring.get(*place as usize).map_or(0, |identity| identity.0);
        self.places.insert_unique(identity.0, place, hash);
    }

    fn forget(&mut self, place: usize) {
        if let Some(old) = self.ring.get(place) {
            let found = self.places.find_entry(old.0, |&at| at as usize == place);
            if let Ok(entry) = found {
                entry.remove();
            }
        }
    }

    fn at(&self, place: u32) -> Option<IdentityHash> {
        self.ring.get(place as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a keyed hash would be: bits all over.
    fn identity(number: u64) -> IdentityHash {
        IdentityHash(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn the_oldest_identity_falls_out_when_the_limit_is_passed() {
        let mut memory = Memory::with_limit(100);
        for number in 0..250 {
            memory.remember(&[identity(number)], None);
            let held = (0..=number).filter(|&n| memory.contains(identity(n))).collect::<Vec<_>>();
            let expected = (0..=number)
                .skip(usize::try_from(number + 1).unwrap().saturating_sub(100))
                .collect::<Vec<_>>();
            assert_eq!(held, expected);
        }
    }

    #[test]
    fn a_full_memory_takes_no_more_than_its_documented_megabytes() {
        let mut memory = Memory::default();
        for number in 0..2_000_000 {
            memory.remember(&[identity(number)], None);
        }
        assert_eq!(memory.places.len(), Memory::MAX_IDENTITIES);
        let bytes = memory.places.allocation_size() + memory.ring.capacity() * size_of::<IdentityHash>();
        assert!(bytes <= 14_000_000, "{bytes}");
    }
}
