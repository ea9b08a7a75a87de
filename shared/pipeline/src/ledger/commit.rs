//! One commit of one shard: begin, write, end.
//!
//! ```text
//! a dead attempt's batch in flight? ─▶ take its lease over ─▶ remove what it may have written and this batch will not
//!        │                                                                    │
//!        ▼                                                                    ▼
//!      begin (lease) ─▶ receipt ─▶ deltas, quarantine ─▶ register of tenants ─▶ end (visible)
//! ```
//!
//! The receipt is written first and alone, so that the next attempt knows every key that this one may have written: no receipt, no
//! deltas. Keys that both attempts write are overwritten, never removed: a removal that lands twice must not hit what was written in
//! between.
//!
//! A commit writes deltas first, then entries in the register of tenants, and then reads the erasure count again. An erasure removes the
//! entry, increments the count, and then looks for deltas again. So at least one of the two sees the other, and a tenant with deltas is
//! always listed.

use std::collections::HashSet;

use event::{SequenceNumber, ShardId, Timestamp};

use super::account_events;
use super::accumulate::{Accumulated, Delta};
use super::batch::{Attempt, Record};
use super::checkpoint::{self, Checkpoint, InFlight};
use super::deduplication::DeduplicationReach;
use super::quarantine;
use super::receipt::{DeltaEntry, FirstPart, Receipt};
use super::registration::RegisteredTenants;
use crate::directory::tenants::{self, ErasureCount};
use crate::layout;
use crate::ports::{Clock, Item, Key, PutError, Store, StoreError};
use crate::stored::{self, ReadError, Versioned};

/// Items in one call to the store: few enough to finish within the landing time, many enough to use the store's concurrency.
const ITEMS_PER_CALL: usize = 100;

/// Time limits of the commit protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitSettings {
    /// The longest time from issuing a write until it takes effect, plus the largest difference between the clocks of two processes.
    /// Defaults to 10 seconds, which is above the store client's timeout for one call with all its retries.
    pub landing_ms: i64,
    /// How long deltas are kept. Receipts are kept twice as long. Defaults to 3 days; compaction merges deltas within hours.
    pub keep_ms: i64,
    /// How long quarantined records are kept. Defaults to 14 days.
    pub quarantine_ms: i64,
}

impl Default for CommitSettings {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        Self { landing_ms: 10_000, keep_ms: 3 * DAY_MS, quarantine_ms: 14 * DAY_MS }
    }
}

/// Why a batch was not handled, or only in part. The trigger delivers it again; nothing is lost and nothing is counted twice.
#[derive(Debug, thiserror::Error)]
pub enum AggregateError {
    /// Another attempt holds the lease, or died while it held it.
    #[error(
        "shard {shard} is being written by another attempt until {until}: deliver the batch again after that"
    )]
    Busy {
        /// The shard of the batch.
        shard: ShardId,
        /// When the lease expires.
        until: Timestamp,
    },
    /// Another attempt moved the checkpoint since this one read it.
    #[error("another attempt moved the checkpoint of shard {shard}: deliver the batch again")]
    Conflict {
        /// The shard of the batch.
        shard: ShardId,
    },
    /// The attempt reached its deadline.
    #[error("no time left to count shard {shard}: allow more time or deliver smaller batches")]
    OutOfTime {
        /// The shard of the batch.
        shard: ShardId,
    },
    /// A call to the store failed. Its write may have happened all the same.
    #[error("a batch of shard {shard} was not counted")]
    Store {
        /// The shard of the batch.
        shard: ShardId,
        /// The call and why it failed.
        #[source]
        source: StoreError,
    },
    /// A stored record cannot be read.
    #[error("a batch of shard {shard} was not counted")]
    Read {
        /// The shard of the batch.
        shard: ShardId,
        /// The record and what is wrong with it.
        #[source]
        source: ReadError,
    },
}

/// Everything a commit needs except the batch.
pub(super) struct Commit<'a, S, C> {
    pub(super) store: &'a S,
    pub(super) clock: &'a C,
    pub(super) settings: CommitSettings,
    pub(super) attempt: Attempt,
    pub(super) shard: &'a ShardId,
    /// Tenants whose register entries need not be written.
    pub(super) registered: &'a RegisteredTenants,
}

/// What a successful commit leaves: the new checkpoint, and how many items were written.
pub(super) struct CommitResult {
    pub(super) checkpoint: Versioned<Checkpoint>,
    pub(super) items: u64,
}

/// The items of a batch, the first part of the receipt first.
struct WritePlan {
    first: SequenceNumber,
    last: SequenceNumber,
    arrived_at: Timestamp,
    items: Vec<Item>,
}

/// Refuses to go on while another attempt's lease is valid.
pub(super) fn refuse_if_leased(
    checkpoint: &Checkpoint,
    now: Timestamp,
    shard: &ShardId,
) -> Result<(), AggregateError> {
    match checkpoint.leased_at(now) {
        // Also if the lease is this attempt's own from an earlier call: writes of that call may still be landing.
        Some(batch) => Err(AggregateError::Busy { shard: shard.clone(), until: batch.lease_until }),
        None => Ok(()),
    }
}

impl<S: Store, C: Clock> Commit<'_, S, C> {
    /// Commits what was accumulated from `taken`. `held` is the checkpoint that the attempt read.
    pub(super) async fn run(
        &self,
        mut held: Versioned<Checkpoint>,
        taken: &[Record<'_>],
        accumulated: &Accumulated,
        deduplication: DeduplicationReach,
    ) -> Result<CommitResult, AggregateError> {
        // Nothing taken means nothing to make visible, so the checkpoint does not move either.
        let Some(plan) = self.plan(taken, accumulated) else {
            return Ok(CommitResult { checkpoint: held, items: 0 });
        };
        if let Some(dead) = held.record.in_flight.clone() {
            // Under a lease of its own, so that two attempts never clean up at the same time.
            let taken_over = held.record.with_in_flight(self.lease(dead.first.clone(), dead.last));
            held = self.replace(&held, taken_over).await?;
            // Before `begin`: from then on the checkpoint names this batch, and nothing would lead to what the dead
            // one left.
            if let Err(error) = self.clean_up(&dead.first, &plan).await {
                self.shorten_lease(&held).await;
                return Err(error);
            }
            // The stream was set back behind the dead batch, so its keys lie ahead of this one.
            if dead.first > plan.last {
                return Err(self.wait_for_removals(&held, &plan).await?);
            }
        }
        let begun = held.record.with_in_flight(self.lease(plan.first.clone(), plan.last.clone()));
        // *Begin* is conditional: of two attempts that read the same checkpoint, one stops here with nothing written.
        held = self.replace(&held, begun).await?;
        let written = match self.write(&plan).await {
            // Deltas first, then the register: see the head of this file for what an erasure may do in between.
            Ok(()) => self.register(&accumulated.deltas).await,
            failed => failed,
        };
        if let Err(error) = written {
            self.shorten_lease(&held).await;
            return Err(error);
        }
        // From the checkpoint that this attempt wrote at *begin*, not from one read again: if it has moved, another
        // attempt has taken over, and the condition below must fail.
        let ended = held.record.after_commit(
            plan.last,
            plan.arrived_at,
            &accumulated.totals,
            accumulated.newest_event,
            deduplication,
        );
        let checkpoint = self.replace(&held, ended).await?;
        Ok(CommitResult { checkpoint, items: plan.items.len() as u64 })
    }

    /// The items to write; `None` if `taken` is empty.
    fn plan(&self, taken: &[Record<'_>], accumulated: &Accumulated) -> Option<WritePlan> {
        let (first, last) = (taken.first()?.sequence.clone(), taken.last()?.sequence.clone());
        // The newest record, not the last: arrival times of a shard are not guaranteed to grow.
        let arrived_at = taken.iter().map(|record| record.arrived_at).max()?;
        // From now on if the batch was delayed: deltas must live long enough to be compacted.
        let kept_from = arrived_at.max(self.clock.now());
        let expires_at = Some(kept_from.plus_millis(self.settings.keep_ms));
        let mut items = Vec::new();
        let mut deltas = Vec::with_capacity(accumulated.deltas.len());
        for delta in &accumulated.deltas {
            let bytes = delta.parts.iter().map(|part| part.len() as u64).sum();
            // One commit counts far fewer events.
            let identities = u32::try_from(delta.identities.len()).unwrap_or(u32::MAX);
            deltas.push(DeltaEntry {
                tenant: delta.tenant.clone(),
                parts: delta.parts.len(),
                bytes,
                identities,
            });
            for (part, body) in delta.parts.iter().enumerate() {
                let key = layout::delta(&delta.tenant, self.shard, &first, part);
                // Written unconditionally: the key is made of the batch alone, so a second write of the same batch
                // replaces the first.
                items.push(Item { key, body: body.clone(), version: 0, expires_at });
            }
        }
        let quarantine_until = arrived_at.plus_millis(self.settings.quarantine_ms);
        // From the arrival and not from now: the key has the day of arrival, and a batch that is written again must
        // use the same keys.
        let quarantined = quarantine::items(&accumulated.quarantined, self.shard, &first, arrived_at);
        let receipt = Receipt {
            arrived_at,
            deltas,
            quarantine: quarantined.iter().map(|item| item.key.clone()).collect(),
            totals: accumulated.totals,
            identities: accumulated.deltas.iter().flat_map(|delta| &delta.identities).copied().collect(),
        };
        items.extend(quarantined.into_iter().map(|item| Item { expires_at: Some(quarantine_until), ..item }));
        // Twice as long as deltas: the keys that a dead attempt wrote must be known for as long as anything may lie there.
        let receipt_until = kept_from.plus_millis(self.settings.keep_ms.saturating_mul(2));
        items.extend(account_events::items(&accumulated.account_events, kept_from));
        // In front of everything that it lists, since `write` keeps the order.
        items.splice(0..0, receipt.items(self.shard, &first, receipt_until));
        Some(WritePlan { first, last, arrived_at, items })
    }

    /// Removes what a dead attempt of the batch beginning at `dead` may have written and this attempt will not overwrite.
    async fn clean_up(&self, dead: &SequenceNumber, plan: &WritePlan) -> Result<(), AggregateError> {
        let receipt_key = layout::receipt(self.shard, dead, 0);
        let found = self.store.get(vec![receipt_key.clone()]).await.map_err(|source| self.failed(source))?;
        // No receipt, no deltas: the dead attempt did not get past its first write.
        let Some(item) = found.into_iter().flatten().next() else {
            return Ok(());
        };
        let receipt: FirstPart = stored::decode(&item)
            .map_err(|source| AggregateError::Read { shard: self.shard.clone(), source })?;
        let overwritten: HashSet<&Key> = plan.items.iter().map(|item| &item.key).collect();
        let mut keys = receipt.keys_of_batch(self.shard, dead);
        // A removal that lands late would hit what this attempt is about to write there.
        keys.retain(|key| !overwritten.contains(key));
        for keys in keys.chunks(ITEMS_PER_CALL) {
            self.delete(keys.to_vec()).await?;
        }
        // The first part of the receipt comes last, because it is what lists the other keys: if this attempt dies in between, the next one
        // finds the rest.
        if !overwritten.contains(&receipt_key) {
            self.delete(vec![receipt_key]).await?;
        }
        Ok(())
    }

    /// Leases the shard until no removal can land any more, and returns the error that makes the trigger deliver the batch again.
    ///
    /// The removed keys lie ahead of this batch, where a later batch may write as soon as this one is committed, and a removal that
    /// lands twice must not hit those writes. Rare: an attempt died after the stream had been set forward and back again.
    async fn wait_for_removals(
        &self,
        held: &Versioned<Checkpoint>,
        plan: &WritePlan,
    ) -> Result<AggregateError, AggregateError> {
        let until = self.clock.now().plus_millis(self.settings.landing_ms);
        let lease = InFlight { lease_until: until, ..self.lease(plan.first.clone(), plan.last.clone()) };
        self.replace(held, held.record.with_in_flight(lease)).await?;
        Ok(AggregateError::Busy { shard: self.shard.clone(), until })
    }

    async fn write(&self, plan: &WritePlan) -> Result<(), AggregateError> {
        let (receipt, others) = plan.items.split_at(plan.items.len().min(1));
        // Alone and acknowledged before anything else is issued: after a crash at any later moment it names every key
        // that may exist.
        self.put(receipt.to_vec()).await?;
        for items in others.chunks(ITEMS_PER_CALL) {
            self.put(items.to_vec()).await?;
        }
        Ok(())
    }

    /// Writes the missing register entries of the batch's tenants, after their deltas. The receipt does not list them, since an entry
    /// that a failed attempt wrote does no harm.
    async fn register(&self, deltas: &[Delta]) -> Result<(), AggregateError> {
        let missing = deltas.iter().filter(|delta| !self.registered.contains(&delta.tenant));
        self.put_entries(missing).await?;
        let erasures = ErasureCount::read(self.store).await.map_err(|source| self.failed(source))?;
        if erasures == self.registered.as_of() {
            return Ok(());
        }
        // An erasure ran since this batch began. It may have removed any entry that this process believes to exist.
        self.put_entries(deltas.iter()).await
    }

    async fn put_entries(&self, deltas: impl Iterator<Item = &Delta>) -> Result<(), AggregateError> {
        let entries: Vec<Item> = deltas.map(|delta| tenants::entry(&delta.tenant)).collect();
        for entries in entries.chunks(ITEMS_PER_CALL) {
            self.put(entries.to_vec()).await?;
        }
        Ok(())
    }

    /// After a failure the next attempt need not wait for the whole lease: every write issued so far has landed once the landing time is
    /// over. Best effort, since the lease expires by itself too.
    async fn shorten_lease(&self, held: &Versioned<Checkpoint>) {
        let until = self.clock.now().plus_millis(self.settings.landing_ms);
        let shortened = held.record.with_shorter_lease(until);
        if let Err(error) = checkpoint::replace(self.store, self.shard, held, shortened).await {
            tracing::debug!(shard.id = %self.shard, %error, "the lease of a failed attempt was not shortened");
        }
    }

    async fn replace(
        &self,
        from: &Versioned<Checkpoint>,
        to: Checkpoint,
    ) -> Result<Versioned<Checkpoint>, AggregateError> {
        self.check_deadline()?;
        checkpoint::replace(self.store, self.shard, from, to).await.map_err(|error| match error {
            PutError::Conflict => AggregateError::Conflict { shard: self.shard.clone() },
            PutError::Store(source) => self.failed(source),
        })
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), AggregateError> {
        self.check_deadline()?;
        self.store.put(items).await.map_err(|source| self.failed(source))
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), AggregateError> {
        self.check_deadline()?;
        self.store.delete(keys).await.map_err(|source| self.failed(source))
    }

    /// A batch in flight that this attempt holds until every write it may issue has landed.
    fn lease(&self, first: SequenceNumber, last: SequenceNumber) -> InFlight {
        let lease_until = self.attempt.deadline.plus_millis(self.settings.landing_ms);
        InFlight { first, last, attempt: self.attempt.id, lease_until }
    }

    /// Checked before every write: a write issued after the deadline could land after the lease.
    fn check_deadline(&self) -> Result<(), AggregateError> {
        if self.clock.now() < self.attempt.deadline {
            Ok(())
        } else {
            Err(AggregateError::OutOfTime { shard: self.shard.clone() })
        }
    }

    fn failed(&self, source: StoreError) -> AggregateError {
        AggregateError::Store { shard: self.shard.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use event::{IdentityHash, TenantId};
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::quarantine::QuarantinedPart;
    use crate::memory::MemoryStore;
    use crate::testing::counting::FixedClock;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_000_000);

    fn number(value: u64) -> SequenceNumber {
        SequenceNumber::from(value)
    }

    fn quarantined(index: usize, bytes: usize) -> QuarantinedPart {
        QuarantinedPart {
            sequence: number(7),
            index,
            arrived_at: NOW,
            reason: "invalid JSON".to_owned(),
            sealed: Some(vec![1; bytes]),
            bytes: bytes as u64,
        }
    }

    /// Deltas with these numbers of parts, quarantined parts of these sizes, and this many identities.
    fn accumulated(parts: &[usize], quarantined_bytes: &[usize], identities: u64) -> Accumulated {
        let delta = |(tenant, &parts): (usize, &usize)| Delta {
            tenant: TenantId::new(&format!("tenant-{tenant}")).unwrap(),
            parts: vec![vec![7; 9]; parts],
            identities: Vec::new(),
        };
        let mut deltas: Vec<Delta> = parts.iter().enumerate().map(delta).collect();
        if let Some(first) = deltas.first_mut() {
            first.identities = (0..identities).map(IdentityHash).collect();
        }
        Accumulated {
            deltas,
            quarantined: quarantined_bytes
                .iter()
                .enumerate()
                .map(|(index, &bytes)| quarantined(index, bytes))
                .collect(),
            ..Accumulated::default()
        }
    }

    /// The plan of a batch that begins at 7 and arrived this long before now.
    fn plan(accumulated: &Accumulated, age_ms: i64) -> WritePlan {
        let (shard, registered) = (ShardId::new("shard-1").unwrap(), RegisteredTenants::default());
        let commit = Commit {
            store: &MemoryStore::new(),
            clock: &FixedClock(NOW),
            settings: CommitSettings::default(),
            attempt: Attempt { id: 1, deadline: NOW.plus_millis(60_000) },
            shard: &shard,
            registered: &registered,
        };
        let arrived_at = NOW.plus_millis(-age_ms);
        let taken = [7, 9].map(|value| Record { sequence: number(value), arrived_at, data: b"" });
        commit.plan(&taken, accumulated).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn receipt_comes_first_and_lists_every_other_item_of_its_batch(
            parts in prop::collection::vec(1..4_usize, 0..6),
            quarantined in prop::collection::vec(prop::sample::select(vec![0, 1_000, 120 * 1024]), 0..9),
            identities in prop::sample::select(vec![0, 1, 10_000, 10_001, 25_000]),
        ) {
            let plan = plan(&accumulated(&parts, &quarantined, identities), 0);
            let shard = ShardId::new("shard-1").unwrap();
            let (first, part) = crate::ledger::receipt::first_part(&plan.items[0]).unwrap().unwrap();
            prop_assert_eq!(&first, &plan.first);
            let mut listed = part.keys_of_batch(&shard, &first);
            listed.push(layout::receipt(&shard, &first, 0));
            listed.sort();
            let mut written: Vec<Key> = plan.items.iter().map(|item| item.key.clone()).collect();
            written.sort();
            prop_assert_eq!(listed, written);
            prop_assert!(plan.items.iter().all(Item::fits));
        }
    }

    #[test]
    fn receipt_outlives_what_it_lists_and_deltas_of_a_delayed_batch_live_as_long_as_others() {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        for age_ms in [0, DAY_MS, 30 * DAY_MS] {
            let plan = plan(&accumulated(&[1, 2], &[10], 1), age_ms);
            let expiry = |beginning: &str| {
                let item = plan.items.iter().find(|item| item.key.partition.starts_with(beginning));
                item.and_then(|item| item.expires_at).unwrap()
            };
            assert_eq!(expiry("t#"), NOW.plus_millis(3 * DAY_MS), "{age_ms}");
            assert_eq!(expiry("r#"), NOW.plus_millis(6 * DAY_MS), "{age_ms}");
            // Two weeks from the arrival, whenever it is counted: addresses are not kept longer than promised.
            assert_eq!(expiry("q#"), NOW.plus_millis(14 * DAY_MS - age_ms), "{age_ms}");
        }
    }

    #[test]
    fn batch_that_takes_nothing_writes_nothing() {
        let (shard, registered) = (ShardId::new("shard-1").unwrap(), RegisteredTenants::default());
        let commit = Commit {
            store: &MemoryStore::new(),
            clock: &FixedClock(NOW),
            settings: CommitSettings::default(),
            attempt: Attempt { id: 1, deadline: NOW },
            shard: &shard,
            registered: &registered,
        };
        assert!(commit.plan(&[], &Accumulated::default()).is_none());
    }
}
