//! Erasing a tenant: everything that is stored under its name, and its API keys.
//!
//! The manifest is removed first: a compaction that is running finds that its version has changed, and stops. The entry in the register is
//! removed last, so an erasure that was interrupted can be repeated. Mail that is counted during or after an erasure creates the tenant
//! again: incrementing the erasure count makes every process register its tenants again, and the erasure itself does so if it finds
//! blocks that were written meanwhile.

use event::{ShardId, TenantId};

use crate::block_id::Level;
use crate::directory::alert_index;
use crate::directory::api_keys::{self, CredentialError};
use crate::directory::tenants::{self, ErasureCount};
use crate::layout;
use crate::ports::{Item, Key, Range, Store, StoreError};
use crate::stored::{self, ReadError};

/// Number of items that are removed in one call.
const DELETES_AT_ONCE: usize = 100;

/// A tenant was not erased, or not completely: repeat the erasure.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The tenant's API keys could not be removed.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl From<StoreError> for EraseError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Erases a tenant and returns the number of removed items.
pub async fn erase<S: Store>(store: &S, tenant: &TenantId) -> Result<usize, EraseError> {
    // Keys first: whoever holds one is locked out before the numbers disappear piece by piece.
    let mut removed = api_keys::remove_all_of(store, tenant).await?;
    // Read from the checkpoints now: a shard that appears later has deltas of new mail only.
    for partition in partitions(store, tenant).await? {
        removed += remove_matching(store, partition, |_| Ok(true)).await?;
    }
    removed += remove_matching(store, layout::ALERT_INDEX.to_owned(), |entry| {
        Ok(alert_index::tenant_of(entry)?.as_ref() == Some(tenant))
    })
    .await?;
    // The entry in the register goes with the last call: as long as it exists, the erasure can be repeated.
    let rest = vec![layout::tenant_rules(tenant), layout::tenant_settings(tenant), layout::tenant(tenant)];
    removed += rest.len();
    store.delete(rest).await?;
    // In this order: a batch that reads the old count wrote its deltas before the following search for them, see `ledger::commit`.
    ErasureCount::increment(store).await?;
    if has_numbers(store, tenant).await? {
        tenants::register(store, tenant).await?;
    }
    Ok(removed)
}

/// Whether the tenant has a delta or a manifest. Deltas of a batch in flight count as well.
async fn has_numbers<S: Store>(store: &S, tenant: &TenantId) -> Result<bool, StoreError> {
    for partition in partitions(store, tenant).await? {
        // One item is enough to know.
        let first = Range { limit: 1, ..layout::whole(partition) };
        if !store.range(first).await?.items.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every partition that may contain items of the tenant, the manifest's first.
async fn partitions<S: Store>(store: &S, tenant: &TenantId) -> Result<Vec<String>, StoreError> {
    let mut partitions = vec![layout::manifest(tenant).partition];
    for level in [Level::Hour, Level::Day, Level::Month] {
        partitions.push(layout::block_partition(tenant, level));
    }
    for item in stored::range(store, layout::whole(layout::CHECKPOINTS)).await? {
        match ShardId::new(&item.key.sort) {
            Ok(shard) => partitions.push(layout::delta_partition(tenant, &shard)),
            // No delta can have been written for such a shard.
            Err(error) => tracing::warn!(key = %item.key, %error, "a checkpoint is ignored"),
        }
    }
    partitions.push(layout::alerts(Some(tenant)));
    partitions.push(layout::learned_providers(tenant).partition);
    Ok(partitions)
}

/// Removes the matching items of a partition and returns their number.
async fn remove_matching<S: Store>(
    store: &S,
    partition: String,
    matches: impl Fn(&Item) -> Result<bool, ReadError>,
) -> Result<usize, ReadError> {
    let mut rest = Some(layout::whole(partition));
    let mut removed = 0;
    while let Some(range) = rest.take() {
        let page = store.range(range).await?;
        rest = page.rest;
        // Removed page by page, so that memory does not grow with the tenant.
        let mut keys: Vec<Key> = Vec::new();
        for item in page.items {
            if matches(&item)? {
                keys.push(item.key);
            }
        }
        removed += keys.len();
        for some in keys.chunks(DELETES_AT_ONCE) {
            store.delete(some.to_vec()).await?;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
