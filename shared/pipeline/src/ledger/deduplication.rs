//! The deduplication window of a shard: the events it counted most recently. It drops the duplicates that upstream services deliver.
//!
//! EventBridge and SNS deliver at least once and SES may publish an event twice, mostly seconds to minutes apart. The window holds the
//! newest [`DeduplicationWindow::MAX_IDENTITIES`] counted events of one shard, so it recognises every duplicate that arrives through the
//! same shard before that many other events were counted. At 1,000 records a second, the limit of a Kinesis shard, that is a quarter of
//! an hour; at a tenth of that rate, hours. All events of a message share a partition key and so a shard.
//!
//! A mail that is delayed has a second identity in the window, that of the fact that it was delayed, which all of its delays share. So
//! the first delay is distinguished from later ones for as long as the window reaches back to it; a delay after that counts as a first one again.
//!
//! Only committed events enter the window. A process that starts, or that another process has overtaken, reads the missing events from
//! the receipts, so a restart forgets nothing.

use event::invariant::or_broken;
use event::{IdentityHash, SequenceNumber, ShardId};
use hashbrown::HashTable;

use crate::layout;
use crate::ledger::receipt;
use crate::ports::{ScanOrder, Store};
use crate::stored::ReadError;

/// The newest events counted in one shard.
#[derive(Clone, Debug)]
pub struct DeduplicationWindow {
    /// Slots of `ring`, found by the identity they hold.
    slots: HashTable<u32>,
    /// The identities, in the order they were counted; a ring once there are `limit` of them.
    ring: Vec<IdentityHash>,
    /// The slot that the next identity goes to. Once the ring is full it holds the oldest one.
    next: u32,
    limit: u32,
    /// The identities of all receipts up to here are in the window.
    as_of: Option<SequenceNumber>,
}

impl Default for DeduplicationWindow {
    fn default() -> Self {
        Self::with_limit(Self::MAX_IDENTITIES)
    }
}

impl DeduplicationWindow {
    /// 7/8 of 2^20: what a hash table with a million slots holds. A full window takes 13 MB.
    pub const MAX_IDENTITIES: u32 = 917_504;

    /// A window of the newest `limit` events, from 1 to [`Self::MAX_IDENTITIES`].
    pub fn with_limit(limit: u32) -> Self {
        let limit = limit.clamp(1, Self::MAX_IDENTITIES);
        Self { slots: HashTable::new(), ring: Vec::new(), next: 0, limit, as_of: None }
    }

    /// Whether the event is in the window: counting it again would be wrong.
    pub fn contains(&self, identity: IdentityHash) -> bool {
        self.slots.find(identity.0, |&slot| identity_in(&self.ring, slot) == identity).is_some()
    }

    /// Adds the events of a batch that was committed up to `committed`.
    pub(super) fn extend(&mut self, identities: &[IdentityHash], committed: Option<SequenceNumber>) {
        for &identity in identities {
            self.insert(identity);
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
            *self = Self::with_limit(self.limit);
        }
        let Some(up_to) = committed else {
            return Ok(());
        };
        // Backwards, because the newest events matter most and the limit may cut the rest off.
        let mut newest_first: Vec<Vec<IdentityHash>> = Vec::new();
        let mut found = 0;
        let mut rest = Some(layout::receipts(shard, self.as_of.as_ref(), up_to, ScanOrder::Backwards));
        // More than the window holds would be read in vain.
        while let Some(range) = rest.filter(|_| found < self.limit as usize) {
            let page = store.range(range).await?;
            for item in page.items {
                let identities = receipt::identities_of_part(&item)?;
                found += identities.len();
                newest_first.push(identities);
            }
            rest = page.rest;
        }
        // In the order in which they were counted, so that the oldest ones leave the window first.
        for identities in newest_first.iter().rev() {
            self.extend(identities, None);
        }
        self.as_of = Some(up_to.clone());
        Ok(())
    }

    fn insert(&mut self, identity: IdentityHash) {
        // A second entry would take the place of another event, and removing the older one would forget both.
        if self.contains(identity) {
            return;
        }
        let slot = self.next;
        self.next = (slot + 1) % self.limit;
        match self.ring.get_mut(slot as usize) {
            Some(oldest) => {
                let oldest = std::mem::replace(oldest, identity);
                // By slot: the ring holds the new identity there already.
                if let Ok(entry) = self.slots.find_entry(oldest.0, |&found| found == slot) {
                    entry.remove();
                }
            }
            None => self.ring.push(identity),
        }
        // The table holds slots only, 4 bytes each, and looks the identities up in the ring when it grows.
        let ring = &self.ring;
        self.slots.insert_unique(identity.0, slot, |&slot| identity_in(ring, slot).0);
    }
}

fn identity_in(ring: &[IdentityHash], slot: u32) -> IdentityHash {
    or_broken(ring.get(slot as usize).copied(), IdentityHash(0), "a deduplication slot outside its ring")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::MemoryStore;

    /// Spreads over all bits, as a keyed hash does.
    fn identity(number: u64) -> IdentityHash {
        IdentityHash(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn oldest_identity_leaves_a_full_window() {
        let mut window = DeduplicationWindow::with_limit(100);
        for number in 0..250 {
            window.extend(&[identity(number)], None);
            let held = (0..=number).filter(|&n| window.contains(identity(n))).collect::<Vec<_>>();
            let expected = (0..=number)
                .skip(usize::try_from(number + 1).unwrap().saturating_sub(100))
                .collect::<Vec<_>>();
            assert_eq!(held, expected);
        }
    }

    proptest! {
        #[test]
        fn window_holds_what_a_list_of_the_newest_distinct_events_holds(
            limit in 1..20_u32, numbers in prop::collection::vec(0..40_u64, 0..200),
        ) {
            let mut window = DeduplicationWindow::with_limit(limit);
            let mut newest: Vec<u64> = Vec::new();
            for number in numbers {
                window.extend(&[identity(number)], None);
                if !newest.contains(&number) {
                    newest.push(number);
                }
                if newest.len() > limit as usize {
                    newest.remove(0);
                }
                for candidate in 0..40 {
                    prop_assert_eq!(window.contains(identity(candidate)), newest.contains(&candidate));
                }
            }
        }
    }

    #[test]
    fn window_of_one_holds_the_newest_identity() {
        let mut window = DeduplicationWindow::with_limit(0);
        for number in 1..5 {
            window.extend(&[identity(number), identity(number)], None);
            assert!(window.contains(identity(number)) && !window.contains(identity(number - 1)));
        }
    }

    #[test]
    fn full_window_takes_no_more_than_its_documented_megabytes() {
        let mut window = DeduplicationWindow::default();
        for number in 0..2_000_000 {
            window.extend(&[identity(number)], None);
        }
        assert_eq!(window.slots.len(), DeduplicationWindow::MAX_IDENTITIES as usize);
        let bytes = window.slots.allocation_size() + window.ring.capacity() * size_of::<IdentityHash>();
        assert!(bytes <= 14_000_000, "{bytes}");
    }

    /// Stores receipts of batches 10, 20, ... that count one event each, of the same number.
    async fn store_with_receipts(batches: u64) -> (MemoryStore, ShardId) {
        let (store, shard) = (MemoryStore::new(), ShardId::new("shard-1").unwrap());
        for first in (1..=batches).map(|batch| 10 * batch) {
            let receipt =
                receipt::Receipt { identities: vec![identity(first)], ..receipt::Receipt::default() };
            let expires_at = event::Timestamp::from_millis(i64::MAX);
            store.put(receipt.items(&shard, &SequenceNumber::from(first), expires_at)).await.unwrap();
        }
        (store, shard)
    }

    async fn held_after_catching_up(window: &mut DeduplicationWindow, committed: Option<u64>) -> Vec<u64> {
        let (store, shard) = store_with_receipts(5).await;
        window.catch_up(&store, &shard, committed.map(SequenceNumber::from).as_ref()).await.unwrap();
        (1..=50).filter(|&number| window.contains(identity(number))).collect()
    }

    #[tokio::test]
    async fn window_catches_up_with_receipts_and_starts_over_when_the_store_was_set_back() {
        let mut window = DeduplicationWindow::with_limit(3);
        for (committed, expected) in [
            (None, &[][..]),
            (Some(20), &[10, 20]),
            (Some(20), &[10, 20]),
            (Some(50), &[30, 40, 50]),
            (Some(30), &[10, 20, 30]),
            (None, &[]),
        ] {
            assert_eq!(held_after_catching_up(&mut window, committed).await, expected, "{committed:?}");
        }
    }
}
