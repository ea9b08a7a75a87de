//! The register of tenants: who has ever been counted for, so that operators can be shown all of them.
//!
//! A tenant is registered with the first batch a process counts for it, before that batch becomes visible. The entry holds nothing but
//! the name: writing it again changes nothing.

use event::TenantId;

use crate::keys;
use crate::ports::{Item, Store, StoreError};
use crate::stored;

/// All tenants, sorted by name.
pub async fn list<S: Store>(store: &S) -> Result<Vec<TenantId>, StoreError> {
    let items = stored::range(store, keys::whole(keys::TENANTS.to_owned())).await?;
    // A name that is none was not written by this program: it has no items to show either.
    Ok(items.into_iter().filter_map(|item| TenantId::new(&item.key.sort).ok()).collect())
}

/// Registers a tenant that has not been counted for yet.
pub async fn register<S: Store>(store: &S, tenant: &TenantId) -> Result<(), StoreError> {
    store.put(vec![entry(tenant)]).await
}

pub(crate) fn entry(tenant: &TenantId) -> Item {
    Item { key: keys::tenant(tenant), body: Vec::new(), version: 0, expires_at: None }
}
