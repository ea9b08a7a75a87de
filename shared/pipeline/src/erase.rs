//! Erasing a tenant: everything that lies under its name, and its keys.
//!
//! The manifest goes first: a compaction that is under way finds its version gone and stops. What is left behind by a step that dies is
//! found again by the next try, since the register is the last to go. Events that come later make the tenant anew.

use event::TenantId;

use crate::credentials::{self, CredentialError};
use crate::cursor;
use crate::keys;
use crate::manifest::Level;
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
    removed += empty(store, keys::ALERT_INDEX.to_owned(), |body| body == tenant.as_str().as_bytes()).await?;
    let rest = vec![keys::rules_of(tenant), keys::tenant_details(tenant), keys::tenant(tenant)];
    removed += rest.len();
    store.delete(rest).await?;
    Ok(removed)
}

/// Every partition that a tenant's items lie in.
async fn partitions<S: Store>(store: &S, tenant: &TenantId) -> Result<Vec<String>, ReadError> {
    let mut partitions = vec![keys::manifest(tenant).partition];
    for level in [Level::Hour, Level::Day, Level::Month] {
        partitions.push(keys::blocks(tenant, level));
    }
    for (shard, _) in cursor::read_all(store).await? {
        partitions.push(keys::deltas_of(tenant, &shard));
    }
    partitions.push(keys::alerts(Some(tenant)));
    Ok(partitions)
}

/// Removes the items of a partition whose body fits.
async fn empty<S: Store>(
    store: &S,
    partition: String,
    fits: impl Fn(&[u8]) -> bool,
) -> Result<usize, StoreError> {
    let mut rest = Some(Range { order: Order::Forwards, ..keys::whole(partition) });
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
mod tests {
    use event::{Minute, SequenceNumber, ShardId, Timestamp};

    use super::*;
    use crate::credentials::{ApiKey, Grant};
    use crate::cursor::Cursor;
    use crate::manifest::BlockId;
    use crate::memory::MemoryStore;
    use crate::ports::Item;
    use crate::tenants::{self, Details};
    use crate::{alerts, rules};

    fn item(key: Key, body: &str) -> Item {
        Item { key, body: body.as_bytes().to_vec(), version: 1, expires_at: None }
    }

    /// Something at every place there is for a tenant.
    async fn fill(store: &MemoryStore, tenant: &TenantId, number: u8) {
        let (shard, sequence) = (ShardId::new("shard-1").unwrap(), SequenceNumber::from(u64::from(number)));
        let mut items = vec![Item { body: Cursor::default().encode(), ..item(keys::cursor(&shard), "") }];
        for part in 0..3 {
            items.push(item(keys::delta(tenant, &shard, &sequence, part), "d"));
            for level in [Level::Hour, Level::Day, Level::Month] {
                items.push(item(keys::block(tenant, BlockId { level, period: 5 }, 1, part), "b"));
            }
        }
        items.push(item(keys::manifest(tenant), "m"));
        items.push(item(keys::attempt(tenant, Timestamp::from_millis(1), 1), "a"));
        store.put(items).await.unwrap();
        let change = format!(
            r#"{{"id":"al_{number}","sequence":1,"tenant":"{tenant}","severity":"info","kind":"limit","metric":"m","state":"firing","scope":{{}},"value":1.0,"numerator":1.0,"denominator":1.0,"started_at":"","fired_at":"","updated_at":"","window":"","cause":[],"summary":"","dedup_key":""}}"#
        );
        let change = serde_json::from_str(&change).unwrap();
        alerts::record(store, &[change], Timestamp::from_millis(0)).await.unwrap();
        rules::set_of_tenant(store, tenant, &rules::OwnRules::default()).await.unwrap();
        tenants::describe(store, tenant, &Details::default()).await.unwrap();
        let key = ApiKey::from_random([number; 32]);
        let grant = Grant::Reader(tenant.clone());
        credentials::add(store, &key, grant, "k", Timestamp::from_millis(0), None).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_of_an_erased_tenant_is_left_and_all_of_the_others() {
        let store = MemoryStore::new();
        let (acme, acmeco) = (TenantId::new("acme").unwrap(), TenantId::new("acme-co").unwrap());
        fill(&store, &acmeco, 2).await;
        // A cursor is what a real one begins with: none has done anything.
        let before = store.snapshot();
        fill(&store, &acme, 1).await;
        assert!(erase(&store, &acme).await.unwrap() > 15);
        assert_eq!(store.snapshot(), before);
        assert!(!tenants::is_known(&store, &acme).await.unwrap());
        assert_eq!(tenants::list(&store).await.unwrap(), [acmeco]);
        let asked = alerts::Asked { is_open: None, from: Minute(0), to: Minute(u32::MAX), limit: 10 };
        assert_eq!(alerts::list(&store, &cells::query::Scope::Tenant(acme), &asked).await.unwrap(), []);
    }
}
