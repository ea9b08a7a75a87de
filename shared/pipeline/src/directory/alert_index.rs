//! The alert index: the scope of each alert, by the alert's id. The alert registry writes it, so that an operator finds an alert without
//! knowing its tenant. It is a part of the directory because an erasure must remove the entries that name the tenant.

use event::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::Item;
use crate::stored::{self, ReadError};

/// An entry of the index.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IndexEntry {
    /// `None` for an alert of the platform.
    #[serde(with = "crate::codec::option")]
    tenant: Option<TenantId>,
}

impl StoredRecord for IndexEntry {
    const NAME: &'static str = "alert index entry";
    const FORMAT: u8 = 3;
}

/// The item for the alert `id` of a tenant, or of the platform if `None`.
pub(crate) fn item(id: &str, tenant: Option<&TenantId>, expires_at: Timestamp) -> Item {
    let entry = IndexEntry { tenant: tenant.cloned() };
    stored::item(layout::alert_index_entry(id), &entry, Some(expires_at))
}

/// The tenant in an entry of the index; `None` for an alert of the platform.
pub(crate) fn tenant_of(item: &Item) -> Result<Option<TenantId>, ReadError> {
    Ok(stored::decode::<IndexEntry>(item)?.tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_entries_of_this_format_are_read() {
        crate::codec::assert_stored(&IndexEntry { tenant: None }, "03c28f8d8a00");
        let acme = TenantId::new("acme").unwrap();
        crate::codec::assert_stored(&IndexEntry { tenant: Some(acme.clone()) }, "0396b5555b010461636d65");
        let item = item("al_1", Some(&acme), Timestamp::from_millis(5));
        assert_eq!(item.key, layout::alert_index_entry("al_1"));
        assert_eq!(tenant_of(&item).unwrap(), Some(acme));
    }
}
