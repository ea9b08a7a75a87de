//! Corrects the provider of what was exported before it was known.
//!
//! Counts of a company's domain are exported under the provider for unknown domains until an outcome names its provider. Each shard keeps a
//! list of such batches for a while. Once compaction has learned a provider, the batch's points of that domain are written again: the old
//! ones with counts of 0 under a higher version, and the right ones. What is not learned in time keeps its first provider in the
//! time-series store; the API does not depend on it.

use std::collections::{BTreeMap, BTreeSet};

use event::provider::learned::LearnedProviders;
use event::{SequenceNumber, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Export, ExportError, ExportSummary, points};
use crate::codec::{self, StoredRecord};
use crate::directory::learned_providers;
use crate::layout;
use crate::ledger::receipt;
use crate::ports::{Clock, PutError, Sink, Store};
use crate::stored;

/// How long a batch waits for its providers. Most domains have a first outcome within minutes, and compaction learns it within the hour.
const WAIT_MS: i64 = 3 * 60 * 60 * 1000;
/// The most domains of all waiting batches; the oldest batches are given up first. Each takes some 30 bytes of one item.
const MAX_DOMAINS: usize = 5_000;

/// Batches whose points may need another provider, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingCorrections {
    batches: Vec<PendingBatch>,
}

/// A batch that was exported with unknown providers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingBatch {
    #[serde(with = "codec::form")]
    pub(super) first: SequenceNumber,
    /// When it was exported, in milliseconds since 1970.
    pub(super) exported_at: i64,
    /// The unknown domains by tenant.
    #[serde(with = "codec::keyed")]
    pub(super) domains: BTreeMap<TenantId, BTreeSet<String>>,
}

impl StoredRecord for PendingCorrections {
    const NAME: &'static str = "pending export corrections";
    const FORMAT: u8 = 3;
}

impl PendingBatch {
    pub(super) fn new(first: SequenceNumber, exported_at: Timestamp) -> Self {
        Self { first, exported_at: exported_at.millis(), domains: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, tenant: &TenantId, domains: BTreeSet<String>) {
        if !domains.is_empty() {
            self.domains.entry(tenant.clone()).or_default().extend(domains);
        }
    }
}

impl PendingCorrections {
    /// Adds batches, and gives up those that waited long enough or are too many.
    fn extend(&mut self, batches: Vec<PendingBatch>, now: Timestamp) {
        for batch in batches.into_iter().filter(|batch| !batch.domains.is_empty()) {
            // A batch that is exported again, after a crash, replaces its entry.
            self.batches.retain(|known| known.first != batch.first);
            self.batches.push(batch);
        }
        self.batches.retain(|batch| now.millis() - batch.exported_at < WAIT_MS);
        let domains = |batch: &PendingBatch| batch.domains.values().map(BTreeSet::len).sum::<usize>();
        let mut excess = self.batches.iter().map(domains).sum::<usize>().saturating_sub(MAX_DOMAINS);
        let mut given_up = 0;
        for batch in &self.batches {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(domains(batch));
            given_up += 1;
        }
        self.batches.drain(..given_up);
    }
}

impl<S: Store, K: Sink, C: Clock> Export<'_, S, K, C> {
    /// Remembers batches that are about to be exported. Before the position moves, so that a crash in between loses nothing: the batches
    /// are then exported and remembered again.
    pub(super) async fn remember(&self, batches: Vec<PendingBatch>) -> Result<(), ExportError> {
        if batches.iter().all(|batch| batch.domains.is_empty()) {
            return Ok(());
        }
        let key = layout::export_corrections(self.sink.name(), self.shard);
        let now = self.clock.now();
        let change = |held: Option<&PendingCorrections>| {
            let mut pending = held.cloned().unwrap_or_default();
            pending.extend(batches.clone(), now);
            Some(pending)
        };
        match stored::change(self.store, &key, None, change).await {
            Ok(_) => Ok(()),
            Err(stored::ChangeError::Read(error)) => Err(error.into()),
            Err(stored::ChangeError::Contended(_)) => Err(ExportError::Moving(self.shard.clone())),
        }
    }

    /// Writes the points again whose provider is known by now.
    pub(super) async fn correct(&mut self, summary: &mut ExportSummary) -> Result<(), ExportError> {
        let key = layout::export_corrections(self.sink.name(), self.shard);
        let held = stored::get::<_, PendingCorrections>(self.store, key.clone()).await?;
        let mut pending = held.record;
        let before = pending.clone();
        pending.extend(Vec::new(), self.clock.now());
        let mut known: BTreeMap<TenantId, LearnedProviders> = BTreeMap::new();
        for tenant in pending.batches.iter().flat_map(|batch| batch.domains.keys()) {
            if !known.contains_key(tenant) {
                known.insert(tenant.clone(), learned_providers::read(self.store, tenant).await?);
            }
        }
        for batch in &mut pending.batches {
            for (tenant, waiting) in &mut batch.domains {
                let Some(known) = known.get(tenant) else { continue };
                let due: BTreeSet<String> =
                    waiting.iter().filter(|domain| known.get(domain).is_some()).cloned().collect();
                if !due.is_empty() {
                    self.add_corrections(&batch.first, tenant, known, &due).await?;
                    waiting.retain(|domain| !due.contains(domain));
                }
            }
            batch.domains.retain(|_, waiting| !waiting.is_empty());
        }
        pending.batches.retain(|batch| !batch.domains.is_empty());
        // The points first: a crash in between writes them once more, which changes nothing.
        if pending == before || !self.write(summary).await? {
            return Ok(());
        }
        match stored::put_if(self.store, key, &pending, held.version).await {
            // Another process changed the list meanwhile, and will find the same corrections due.
            Ok(_) | Err(PutError::Conflict) => Ok(()),
            Err(PutError::Store(source)) => Err(source.into()),
        }
    }

    async fn add_corrections(
        &mut self,
        first: &SequenceNumber,
        tenant: &TenantId,
        known: &LearnedProviders,
        due: &BTreeSet<String>,
    ) -> Result<(), ExportError> {
        let found = self.store.get(vec![layout::receipt(self.shard, first, 0)]).await?;
        // A batch whose receipt has expired keeps what was exported.
        let Some(item) = found.into_iter().flatten().next() else { return Ok(()) };
        let Some((_, receipt)) = receipt::first_part(&item)? else { return Ok(()) };
        let offset_ns = points::offset_ns(self.shard, first);
        for entry in receipt.deltas.iter().filter(|entry| entry.tenant == *tenant) {
            for item in self.store.get(entry.keys(self.shard, first).collect()).await?.into_iter().flatten() {
                points::add_corrections(&entry.tenant, known, due, &item.body, offset_ns, &mut self.points)
                    .map_err(|source| ExportError::Block { key: item.key.clone(), source })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, minutes: i64, domains: usize) -> PendingBatch {
        let mut batch =
            PendingBatch::new(SequenceNumber::from(number), Timestamp::from_millis(minutes * 60_000));
        let domains = (0..domains).map(|domain| format!("d{domain}.example")).collect();
        batch.add(&TenantId::unassigned(), domains);
        batch
    }

    #[test]
    fn batches_wait_for_a_bounded_time_and_in_bounded_number() {
        let now = Timestamp::from_millis(1_000 * 60_000);
        let waiting = |batches: Vec<PendingBatch>| {
            let mut pending = PendingCorrections::default();
            pending.extend(batches, now);
            pending.batches.iter().map(|batch| batch.first.clone()).collect::<Vec<_>>()
        };
        let numbers =
            |numbers: &[u64]| numbers.iter().map(|number| SequenceNumber::from(*number)).collect::<Vec<_>>();
        assert_eq!(waiting(vec![batch(1, 999, 1), batch(2, 999, 0), batch(1, 999, 2)]), numbers(&[1]));
        assert_eq!(waiting(vec![batch(1, 1_000 - 3 * 60, 1), batch(2, 1_001 - 3 * 60, 1)]), numbers(&[2]));
        let many = vec![batch(1, 999, 10), batch(2, 999, MAX_DOMAINS - 5), batch(3, 999, 5)];
        assert_eq!(waiting(many), numbers(&[2, 3]));
    }

    #[test]
    fn stored_sample_is_read() {
        let pending = PendingCorrections { batches: vec![batch(7, 999, 2)] };
        crate::testing::samples::check("pending-export-corrections-3", &pending);
    }
}
