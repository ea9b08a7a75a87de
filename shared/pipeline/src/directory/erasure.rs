//! Erasing a tenant: everything that lies under its name, and its keys.
//!
//! The manifest goes first: a compaction that is under way finds its version gone and stops. The entry in the register goes last, so an
//! erasure that died half-way can be repeated. Mail that is counted during or after an erasure creates the tenant again: raising the erasure
//! count makes every process register its tenants again, and the erasure itself does so if it finds blocks that were written meanwhile.

use event::TenantId;

use crate::block_id::Level;
use crate::directory::credentials::{self, CredentialError};
use crate::directory::tenants::{self, ErasureCount};
use crate::layout;
use crate::ledger::checkpoint;
use crate::ports::{Key, Order, Range, Store, StoreError};
use crate::stored::ReadError;

/// Keys removed together.
const AT_ONCE: usize = 100;

/// Why a tenant was not erased, or not all of it: try again.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A key was changed meanwhile.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl From<StoreError> for EraseError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Erases a tenant; how many items were removed.
pub async fn erase<S: Store>(store: &S, tenant: &TenantId) -> Result<usize, EraseError> {
    let mut removed = credentials::remove_of(store, tenant).await?;
    for partition in partitions(store, tenant).await? {
        removed += empty(store, partition, |_| true).await?;
    }
    removed +=
        empty(store, layout::ALERT_INDEX.to_owned(), |body| body == tenant.as_str().as_bytes()).await?;
    let rest = vec![layout::tenant_rules(tenant), layout::tenant_settings(tenant), layout::tenant(tenant)];
    removed += rest.len();
    store.delete(rest).await?;
    // In this order: a batch that reads the old count wrote its deltas before this search for them, see `aggregate::commit`.
    ErasureCount::raise(store).await?;
    if has_numbers(store, tenant).await? {
        tenants::register(store, tenant).await?;
    }
    Ok(removed)
}

/// Whether the tenant has a delta or a manifest. Deltas of a batch in flight count as well.
async fn has_numbers<S: Store>(store: &S, tenant: &TenantId) -> Result<bool, ReadError> {
    for partition in partitions(store, tenant).await? {
        let first = Range { order: Order::Forwards, limit: 1, ..layout::whole(partition) };
        if !store.range(first).await?.items.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every partition that a tenant's items lie in.
async fn partitions<S: Store>(store: &S, tenant: &TenantId) -> Result<Vec<String>, ReadError> {
    let mut partitions = vec![layout::manifest(tenant).partition];
    for level in [Level::Hour, Level::Day, Level::Month] {
        partitions.push(layout::block_partition(tenant, level));
    }
    for (shard, _) in checkpoint::read_all(store).await? {
        partitions.push(layout::delta_partition(tenant, &shard));
    }
    partitions.push(layout::alerts(Some(tenant)));
    Ok(partitions)
}

/// Removes the items of a partition whose body fits.
async fn empty<S: Store>(
    store: &S,
    partition: String,
    fits: impl Fn(&[u8]) -> bool,
) -> Result<usize, StoreError> {
    let mut rest = Some(Range { order: Order::Forwards, ..layout::whole(partition) });
    let mut removed = 0;
    while let Some(range) = rest.take() {
        let page = store.range(range).await?;
        rest = page.rest;
        let keys: Vec<Key> =
            page.items.into_iter().filter(|item| fits(&item.body)).map(|item| item.key).collect();
        removed += keys.len();
        for some in keys.chunks(AT_ONCE) {
            store.delete(some.to_vec()).await?;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
