//! Begin, write, end: one commit of one shard.
//!
//! ```text
//! in flight of a dead try? ─▶ take its lease over ─▶ remove what it may have written and this batch will not
//!        │                                                                    │
//!        ▼                                                                    ▼
//!      begin (lease) ─▶ receipt ─▶ deltas, quarantine ─▶ register of tenants ─▶ end (visible)
//! ```
//!
//! The receipt is written first and alone, so that whoever finds the batch in flight knows every key it may have written: no
//! receipt, no deltas. Keys that both tries write are not removed but overwritten: a removal that lands twice must
//! not hit what was written in between.
//!
//! A commit writes deltas first, then entries in the register of tenants, and then reads the erasure count again. An erasure removes the
//! entry, raises the count, and then looks for deltas again. So either the commit or the erasure sees the other, and a tenant with
//! deltas is always listed.

use std::collections::HashSet;

use event::{SequenceNumber, ShardId, Timestamp};

use super::aggregate::{AggregateError, Attempt, Delta, Folded, Record, Settings};
use super::registration::Registered;
use crate::directory::tenants::{self, ErasureCount};
use crate::layout;
use crate::ledger::checkpoint::{self, Cursor, InFlight};
use crate::ledger::quarantine;
use crate::ledger::receipt::{Entry, Receipt};
use crate::ports::{Clock, Item, Key, PutError, Store};
use crate::stored::{ReadError, Versioned};

/// Items in one call to the store: small enough that the call is over within the landing time, large enough for its concurrency.
const ITEMS_PER_CALL: usize = 100;

/// What a commit needs besides the batch.
pub(super) struct Step<'a, S, C> {
    pub(super) store: &'a S,
    pub(super) clock: &'a C,
    pub(super) settings: &'a Settings,
    pub(super) shard: &'a ShardId,
    pub(super) attempt: Attempt,
    /// Tenants that are known to have an entry in the register.
    pub(super) registered: &'a Registered,
}

/// A commit that happened.
pub(super) struct Done {
    pub(super) cursor: Versioned<Cursor>,
    pub(super) items: u64,
}

/// What a batch will write.
struct Plan {
    first: SequenceNumber,
    last: SequenceNumber,
    arrived_at: Timestamp,
    items: Vec<Item>,
}

/// Nobody touches a batch under a lease that has not ended.
pub(super) fn refuse_if_busy<C: Clock>(
    cursor: &Cursor,
    clock: &C,
    shard: &ShardId,
) -> Result<(), AggregateError> {
    match &cursor.in_flight {
        Some(batch) if clock.now() < batch.lease_until => {
            Err(AggregateError::Busy { shard: shard.clone(), until: batch.lease_until })
        }
        _ => Ok(()),
    }
}

impl<S: Store, C: Clock> Step<'_, S, C> {
    /// Commits what was folded from `taken`, which is not empty.
    pub(super) async fn commit(
        &self,
        mut held: Versioned<Cursor>,
        taken: &[Record<'_>],
        folded: &Folded,
    ) -> Result<Done, AggregateError> {
        let Some(plan) = self.plan(taken, folded) else {
            return Ok(Done { cursor: held, items: 0 });
        };
        if let Some(dead) = held.record.in_flight.clone() {
            let taken_over = self.lease(dead.first.clone(), dead.last);
            held = self.move_to(&held, Cursor { in_flight: Some(taken_over), ..held.record.clone() }).await?;
            if let Err(error) = self.clean_up(&dead.first, &plan).await {
                self.shorten_lease(&held).await;
                return Err(error);
            }
            if dead.first > plan.last {
                return Err(self.wait(&held, &plan).await?);
            }
        }
        let in_flight = self.lease(plan.first.clone(), plan.last.clone());
        held = self.move_to(&held, Cursor { in_flight: Some(in_flight), ..held.record.clone() }).await?;
        let written = match self.write(&plan).await {
            Ok(()) => self.register(&folded.deltas).await,
            failed => failed,
        };
        if let Err(error) = written {
            self.shorten_lease(&held).await;
            return Err(error);
        }
        let before = &held.record;
        let mut after = Cursor {
            done: Some(plan.last),
            in_flight: None,
            totals: before.totals,
            newest_event: before.newest_event.max(folded.newest_event),
            last_arrival: before.last_arrival.max(Some(plan.arrived_at)),
        };
        after.totals.add(&folded.totals);
        let cursor = self.move_to(&held, after).await?;
        Ok(Done { cursor, items: plan.items.len() as u64 })
    }

    fn plan(&self, taken: &[Record<'_>], folded: &Folded) -> Option<Plan> {
        let (first, last) = (taken.first()?.sequence.clone(), taken.last()?.sequence.clone());
        let arrived_at = taken.iter().map(|record| record.arrived_at).max()?;
        let expires_at = Some(arrived_at.max(self.clock.now()).plus_millis(self.settings.keep_ms));
        let mut items = Vec::new();
        let mut tenants = Vec::with_capacity(folded.deltas.len());
        for delta in &folded.deltas {
            let bytes = delta.parts.iter().map(|part| part.len() as u64).sum();
            tenants.push(Entry { tenant: delta.tenant.clone(), parts: delta.parts.len(), bytes });
            for (part, body) in delta.parts.iter().enumerate() {
                let key = layout::delta(&delta.tenant, self.shard, &first, part);
                items.push(Item { key, body: body.clone(), version: 0, expires_at });
            }
        }
        let mut quarantined = quarantine::items(&folded.quarantined, self.shard, &first, arrived_at);
        super::aggregate::expiring(&mut quarantined, arrived_at.plus_millis(self.settings.quarantine_ms));
        let receipt = Receipt {
            arrived_at,
            tenants,
            quarantine: quarantined.iter().map(|item| item.key.clone()).collect(),
            totals: folded.totals,
            identities: folded.identities.clone(),
        };
        items.extend(quarantined);
        // Twice as long as deltas: what a dead try wrote must stay known as long as it may lie there.
        let kept_until =
            self.clock.now().max(arrived_at).plus_millis(self.settings.keep_ms.saturating_mul(2));
        items.splice(0..0, receipt.items(self.shard, &first, kept_until));
        Some(Plan { first, last, arrived_at, items })
    }

    /// Removes what a dead try of the batch beginning at `dead` may have written and this one will not.
    async fn clean_up(&self, dead: &SequenceNumber, plan: &Plan) -> Result<(), AggregateError> {
        let place = layout::receipt(self.shard, dead, 0);
        let found = self.store.get(vec![place.clone()]).await.map_err(|source| self.failed(source))?;
        let Some(item) = found.into_iter().flatten().next() else {
            return Ok(());
        };
        let (mut receipt, parts) =
            Receipt::decode_first(&item.body).map_err(|source| AggregateError::Read {
                shard: self.shard.clone(),
                source: ReadError::Record { key: place.clone(), source },
            })?;
        // Only the first part was read: the others are known by their number.
        receipt.identities.clear();
        let mut keys = receipt.keys(self.shard, dead);
        keys.extend((1..parts).map(|part| layout::receipt(self.shard, dead, part)));
        let kept: HashSet<Key> = plan.items.iter().map(|item| item.key.clone()).collect();
        keys.retain(|key| !kept.contains(key));
        for keys in keys.chunks(ITEMS_PER_CALL) {
            self.check_time()?;
            self.store.delete(keys.to_vec()).await.map_err(|source| self.failed(source))?;
        }
        // Last, because it is what the others are known by.
        if !kept.contains(&place) {
            self.check_time()?;
            self.store.delete(vec![place]).await.map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    /// What was removed lies ahead of this batch, where a later one may write as soon as this one is done; a removal that lands twice must
    /// not hit it. So everyone waits until none can land any more. Rare: a try died after the stream had been set forward and back.
    async fn wait(&self, held: &Versioned<Cursor>, plan: &Plan) -> Result<AggregateError, AggregateError> {
        let until = self.clock.now().plus_millis(self.settings.landing_ms);
        let lease = InFlight { lease_until: until, ..self.lease(plan.first.clone(), plan.last.clone()) };
        self.move_to(held, Cursor { in_flight: Some(lease), ..held.record.clone() }).await?;
        Ok(AggregateError::Busy { shard: self.shard.clone(), until })
    }

    async fn write(&self, plan: &Plan) -> Result<(), AggregateError> {
        let (receipt, others) = plan.items.split_at(plan.items.len().min(1));
        self.check_time()?;
        self.store.put(receipt.to_vec()).await.map_err(|source| self.failed(source))?;
        for items in others.chunks(ITEMS_PER_CALL) {
            self.check_time()?;
            self.store.put(items.to_vec()).await.map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    /// Writes the missing entries of the batch's tenants to the register, after their deltas. The receipt does not list them, since
    /// an entry that a failed attempt wrote does no harm.
    async fn register(&self, deltas: &[Delta]) -> Result<(), AggregateError> {
        let unknown = deltas.iter().filter(|delta| !self.registered.contains(&delta.tenant));
        self.put_entries(unknown).await?;
        if self.registered.as_of()
            == ErasureCount::read(self.store).await.map_err(|source| self.failed(source))?
        {
            return Ok(());
        }
        // An erasure ran since this batch began and may have removed any entry that was taken for written.
        self.put_entries(deltas.iter()).await
    }

    async fn put_entries(&self, deltas: impl Iterator<Item = &Delta>) -> Result<(), AggregateError> {
        let entries: Vec<Item> = deltas.map(|delta| tenants::entry(&delta.tenant)).collect();
        for entries in entries.chunks(ITEMS_PER_CALL) {
            self.check_time()?;
            self.store.put(entries.to_vec()).await.map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    /// After a failure the batch need not wait for the whole lease: what was issued until now has landed once the landing time is over.
    /// Best effort; the lease ends by itself too.
    async fn shorten_lease(&self, held: &Versioned<Cursor>) {
        let mut given_back = held.record.clone();
        if let Some(batch) = &mut given_back.in_flight {
            batch.lease_until = batch.lease_until.min(self.clock.now().plus_millis(self.settings.landing_ms));
        }
        if let Err(error) = checkpoint::move_to(self.store, self.shard, held, given_back).await {
            tracing::debug!(shard = %self.shard, %error, "lease not shortened");
        }
    }

    async fn move_to(
        &self,
        from: &Versioned<Cursor>,
        to: Cursor,
    ) -> Result<Versioned<Cursor>, AggregateError> {
        self.check_time()?;
        checkpoint::move_to(self.store, self.shard, from, to).await.map_err(|error| match error {
            PutError::Conflict => AggregateError::Conflict { shard: self.shard.clone() },
            PutError::Store(source) => self.failed(source),
        })
    }

    fn lease(&self, first: SequenceNumber, last: SequenceNumber) -> InFlight {
        let lease_until = self.attempt.deadline.plus_millis(self.settings.landing_ms);
        InFlight { first, last, attempt: self.attempt.id, lease_until }
    }

    fn check_time(&self) -> Result<(), AggregateError> {
        if self.clock.now() < self.attempt.deadline {
            Ok(())
        } else {
            Err(AggregateError::OutOfTime { shard: self.shard.clone() })
        }
    }

    fn failed(&self, source: crate::ports::StoreError) -> AggregateError {
        AggregateError::Store { shard: self.shard.clone(), source }
    }
}
