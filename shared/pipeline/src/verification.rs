//! Reads every stored record once and names those that are damaged or missing.
//!
//! A record is *missing* if another one says that it exists: the manifest of a tenant lists its blocks, receipts list the deltas of a batch,
//! blocks and deltas presuppose the manifest and the checkpoint that they belong to. Answers are made of these records, so each must be
//! there; a reader cannot tell one that was lost from a tenant or a shard that never had any.
//!
//! Counting and compaction may go on meanwhile. What they remove while this reads is not damage, so a record that is not found counts as
//! missing only if, read again, the records that list it still do.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Display;

use cells::Block;
use cells::query::Scope;
use event::{Minute, SequenceNumber, ShardId, TenantId, Timestamp};

use crate::alerting::registry::{self, AlertFilter};
use crate::block_id::Level;
use crate::directory::{alert_rules, api_keys, audit, learned_providers, mappings, tenants};
use crate::history::manifest::{self, BlockParts, Manifest};
use crate::layout;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::receipt::{self, FirstPart};
use crate::ports::{Key, Range, ScanOrder, Store, StoreError};
use crate::stored;

/// Items of blocks and deltas in one read. Each has at most 380 KB, so a read takes at most 12 MB.
const ITEMS_PER_READ: usize = 32;
/// The findings that are kept; further ones are only counted.
const MAX_FINDINGS: usize = 100;

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Records that were read and are whole.
    pub records: u64,
    /// The first 100 records that are damaged or missing.
    pub findings: Vec<Finding>,
    /// How many are damaged or missing.
    pub found: u64,
}

/// A record that is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The record: its key in the store, or what it is.
    pub record: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Verification {
    fn add(&mut self, record: &dyn Display, problem: impl Into<String>) {
        self.found += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { record: record.to_string(), problem: problem.into() });
        }
    }

    /// Takes the result of reading something. The names of damaged records are in the errors.
    fn take<T, E: Error>(&mut self, record: &dyn Display, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(read) => {
                self.records += 1;
                Some(read)
            }
            Err(error) => {
                self.add(record, with_sources(&error));
                None
            }
        }
    }
}

/// Reads every record of the store.
///
/// # Errors
/// The store failed, so nothing is known about the records that it did not return.
pub async fn verify<S: Store>(store: &S) -> Result<Verification, StoreError> {
    let mut verification = Verification::default();
    let checkpoints = checkpoints(store, &mut verification).await?;
    let tenants = tenants::list(store).await?;
    let mut frontiers = BTreeMap::new();
    for tenant in &tenants {
        if let Some(manifest) = history(store, tenant, &checkpoints, &mut verification).await? {
            frontiers.insert(tenant.clone(), manifest.frontier);
        }
    }
    for (shard, checkpoint) in &checkpoints {
        if let Some(committed) = &checkpoint.committed {
            batches(store, shard, committed, &frontiers, &mut verification).await?;
        }
    }
    directory(store, &tenants, &mut verification).await;
    Ok(verification)
}

async fn checkpoints<S: Store>(
    store: &S,
    verification: &mut Verification,
) -> Result<BTreeMap<ShardId, Checkpoint>, StoreError> {
    let mut checkpoints = BTreeMap::new();
    for item in stored::range(store, layout::whole(layout::CHECKPOINTS)).await? {
        let Some(checkpoint) = verification.take(&item.key, stored::decode::<Checkpoint>(&item)) else {
            continue;
        };
        match ShardId::new(&item.key.sort) {
            Ok(shard) => _ = checkpoints.insert(shard, checkpoint),
            Err(_) => verification.add(&item.key, "its key is not a shard"),
        }
    }
    Ok(checkpoints)
}

/// Reads a tenant's manifest and all blocks that it lists. Returns the manifest if it can be read.
async fn history<S: Store>(
    store: &S,
    tenant: &TenantId,
    checkpoints: &BTreeMap<ShardId, Checkpoint>,
    verification: &mut Verification,
) -> Result<Option<Manifest>, StoreError> {
    let key = layout::manifest(tenant);
    let Some(read) = verification.take(&key, manifest::read(store, tenant).await) else { return Ok(None) };
    if read.version.is_none() {
        // A tenant has none before its first compaction. If it has blocks, it had one.
        for level in Level::ALL {
            let first = Range { limit: 1, ..layout::whole(layout::block_partition(tenant, level)) };
            if !store.range(first).await?.items.is_empty() {
                verification.add(&key, "it is missing, although the tenant has compacted blocks");
                return Ok(None);
            }
        }
    }
    let manifest = read.record;
    for shard in manifest.frontier.keys().filter(|shard| !checkpoints.contains_key(*shard)) {
        verification.add(
            &layout::checkpoint(shard),
            format!("it is missing or damaged, although blocks of tenant {tenant} hold events of the shard"),
        );
    }
    let blocks = manifest.blocks.iter();
    let keys: Vec<Key> =
        blocks.flat_map(|(id, live)| live.keys(tenant, *id, BlockParts::CountsAndSketches)).collect();
    let missing = blocks_at(store, &keys, verification).await?;
    if !missing.is_empty() {
        // A compaction may have replaced them since the manifest was read.
        let listed = match manifest::read(store, tenant).await {
            Ok(now) => now.record.blocks,
            Err(_) => manifest.blocks.clone(),
        };
        let listed: BTreeSet<Key> = listed
            .iter()
            .flat_map(|(id, live)| live.keys(tenant, *id, BlockParts::CountsAndSketches))
            .collect();
        for key in missing.iter().filter(|key| listed.contains(*key)) {
            verification
                .add(key, format!("it is missing, although the manifest of tenant {tenant} lists it"));
        }
    }
    Ok(Some(manifest))
}

/// Reads the receipts of a shard and the deltas that they list.
async fn batches<S: Store>(
    store: &S,
    shard: &ShardId,
    committed: &SequenceNumber,
    frontiers: &BTreeMap<TenantId, BTreeMap<ShardId, SequenceNumber>>,
    verification: &mut Verification,
) -> Result<(), StoreError> {
    let mut rest = Some(layout::receipts(shard, None, committed, ScanOrder::Forwards));
    while let Some(range) = rest.take() {
        let page = store.range(range).await?;
        rest = page.rest;
        for item in &page.items {
            let Some(first_part) = verification.take(&item.key, receipt::first_part(item)) else { continue };
            match first_part {
                Some((first, part)) => {
                    deltas(store, shard, &first, &part, frontiers, verification).await?;
                }
                None => _ = verification.take(&item.key, receipt::identities_of_part(item)),
            }
        }
    }
    Ok(())
}

async fn deltas<S: Store>(
    store: &S,
    shard: &ShardId,
    first: &SequenceNumber,
    part: &FirstPart,
    frontiers: &BTreeMap<TenantId, BTreeMap<ShardId, SequenceNumber>>,
    verification: &mut Verification,
) -> Result<(), StoreError> {
    let mut keys = Vec::new();
    for entry in &part.deltas {
        // Tenants that are erased have neither a register entry nor deltas, but receipts still name them.
        let Some(frontier) = frontiers.get(&entry.tenant) else { continue };
        // What is merged into blocks may be removed at any time.
        if frontier.get(shard) < Some(first) {
            keys.extend(entry.keys(shard, first).map(|key| (entry.tenant.clone(), key)));
        }
    }
    let tenant_of: BTreeMap<Key, TenantId> =
        keys.iter().map(|(tenant, key)| (key.clone(), tenant.clone())).collect();
    let keys: Vec<Key> = keys.into_iter().map(|(_, key)| key).collect();
    for key in blocks_at(store, &keys, verification).await? {
        let Some(tenant) = tenant_of.get(&key) else { continue };
        // Since the manifest was read, the delta may have been merged and the tenant may have been erased.
        let is_merged = manifest::read(store, tenant)
            .await
            .is_ok_and(|manifest| manifest.record.frontier.get(shard) >= Some(first));
        if !is_merged && tenants::is_registered(store, tenant).await? {
            verification.add(&key, "it is missing, although the receipt of its batch lists it");
        }
    }
    Ok(())
}

/// Reads the blocks at `keys` and returns the keys at which there is none.
async fn blocks_at<S: Store>(
    store: &S,
    keys: &[Key],
    verification: &mut Verification,
) -> Result<Vec<Key>, StoreError> {
    let mut missing = Vec::new();
    for keys in keys.chunks(ITEMS_PER_READ) {
        let found = store.get(keys.to_vec()).await?;
        for (key, item) in keys.iter().zip(found) {
            match item {
                Some(item) => _ = verification.take(key, Block::decode(&item.body)),
                None => missing.push(key.clone()),
            }
        }
    }
    Ok(missing)
}

/// Reads what operators and detection have stored.
async fn directory<S: Store>(store: &S, tenants: &[TenantId], verification: &mut Verification) {
    let ever = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
    verification.take(&"settings of tenants", tenants::all_settings(store).await);
    verification.take(&"API keys", api_keys::list(store).await);
    verification.take(&"mappings", mappings::read(store).await);
    verification.take(&"the operator's alert rules", alert_rules::read_operator(store).await);
    verification.take(&"audit log", audit::list(store, ever.0, ever.1, usize::MAX).await);
    let filter = AlertFilter { is_open: None, from: Minute(0), to: Minute(u32::MAX), limit: usize::MAX };
    verification.take(&"alerts", registry::list(store, &Scope::All, &filter).await);
    for tenant in tenants {
        let rules = alert_rules::read_tenant(store, tenant).await;
        verification.take(&format!("alert rules of tenant {tenant}"), rules);
        let providers = learned_providers::read(store, tenant).await;
        verification.take(&format!("mailbox providers learned for tenant {tenant}"), providers);
    }
}

/// An error with everything that caused it.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Item;
    use crate::tests::{TestPipeline, acme, messages};

    /// A store with blocks, deltas, receipts, a key and rules.
    async fn counted() -> TestPipeline {
        let mut pipeline = TestPipeline::new();
        let first = messages(&pipeline, 1, 20);
        pipeline.aggregate(&first).await.unwrap();
        pipeline.advance(2 * 60 * 60 * 1000);
        pipeline.compact().await;
        let second = messages(&pipeline, 100, 20);
        pipeline.aggregate(&second).await.unwrap();
        pipeline
    }

    #[tokio::test]
    async fn whole_store_has_no_findings() {
        let pipeline = counted().await;
        let verification = verify(&pipeline.store).await.unwrap();
        assert_eq!(verification.findings, []);
        assert!(verification.records > 10, "{verification:?}");
        assert_eq!(verify(&TestPipeline::new().store).await.unwrap().findings, []);
    }

    #[tokio::test]
    async fn every_record_that_counts_are_made_of_is_named_when_it_is_damaged_or_missing() {
        let pipeline = counted().await;
        let (mut blocks, mut deltas) = (0, 0);
        for item in pipeline.store.snapshot() {
            let partition = item.key.partition.as_str();
            blocks += usize::from(partition.contains("#b"));
            deltas += usize::from(partition.contains("#d#"));
            // Its body means nothing, or it is a note that nobody needs any more.
            let is_empty = item.body.is_empty();
            let damaged = Item { body: item.body.iter().map(|byte| byte ^ 0x10).collect(), ..item.clone() };
            pipeline.store.put(vec![damaged]).await.unwrap();
            let found = verify(&pipeline.store).await.unwrap();
            let names = |found: &Verification| {
                found.findings.iter().any(|finding| {
                    finding.record == item.key.to_string() || finding.problem.contains(&item.key.to_string())
                })
            };
            let is_read =
                !is_empty && !partition.starts_with("backlog") && !item.key.sort.starts_with("attempt#");
            // A delta that is merged is not read, and neither is its receipt's list.
            let is_merged = found.findings.is_empty() && partition.contains("#d#");
            assert_eq!(names(&found), is_read && !is_merged, "damaged {}: {found:?}", item.key);
            pipeline.store.delete(vec![item.key.clone()]).await.unwrap();
            let found = verify(&pipeline.store).await.unwrap();
            let is_listed =
                partition.contains("#b") || partition.ends_with("#m") || partition == "checkpoints";
            if is_listed && is_read {
                assert!(names(&found), "missing {}: {found:?}", item.key);
            }
            pipeline.store.put(vec![item]).await.unwrap();
        }
        assert!(blocks > 0 && deltas > 1, "{blocks} {deltas}");
        assert_eq!(verify(&pipeline.store).await.unwrap().findings, []);
        assert!(tenants::is_registered(&pipeline.store, &acme()).await.unwrap());
    }
}
