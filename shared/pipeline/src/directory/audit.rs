//! Who did what: one entry for each thing that somebody set out to change, written before it is changed, so that nothing changes without.
//!
//! An entry names the key that asked, never the key itself, and nothing personal. Entries cannot be changed by any call and expire.

use event::Timestamp;
use serde::{Deserialize, Serialize};

use crate::layout;
use crate::ports::{Item, Key, Order, Range, Store, StoreError};

/// Entries are kept so long.
const LIFE_MS: i64 = 400 * 24 * 60 * 60 * 1000;

/// What somebody set out to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, RFC 3339.
    pub at: String,
    /// The name of the key, or the subject of the token; `(command line)` for whoever has the data folder or the table.
    pub who: String,
    /// What, as `tenant.erase`.
    pub action: String,
    /// To what: a tenant, a key's id, an alert.
    pub subject: String,
}

/// The trail cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored entry is not what this program writes.
    #[error("audit entry {key} cannot be read: upgrade mailgauge")]
    Damaged {
        /// Where it lies.
        key: Key,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// Writes an entry. `number` tells it from others of the same millisecond.
pub async fn note<S: Store>(
    store: &S,
    (who, action, subject): (&str, &str, &str),
    now: Timestamp,
    number: u64,
) -> Result<(), AuditError> {
    let entry = Entry {
        at: now.to_string(),
        who: who.to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
    };
    let key = layout::audit_entry(now, number);
    let body =
        serde_json::to_vec(&entry).map_err(|source| AuditError::Damaged { key: key.clone(), source })?;
    let expires_at = Some(now.plus_millis(LIFE_MS));
    Ok(store.put(vec![Item { key, body, version: 0, expires_at }]).await?)
}

/// At most `limit` entries of `[from, to)`, the newest first.
pub async fn list<S: Store>(
    store: &S,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
) -> Result<Vec<Entry>, AuditError> {
    let mut rest = Some(Range {
        from: layout::audit_entry(from, 0).sort,
        to: Some(layout::audit_entry(to, 0).sort),
        order: Order::Backwards,
        ..layout::whole(layout::AUDIT)
    });
    let mut entries = Vec::new();
    while let Some(range) = rest.take().filter(|_| entries.len() < limit) {
        let page = store.range(range).await?;
        rest = page.rest;
        for item in page.items.into_iter().take(limit - entries.len()) {
            let entry = serde_json::from_slice(&item.body)
                .map_err(|source| AuditError::Damaged { key: item.key, source })?;
            entries.push(entry);
        }
    }
    Ok(entries)
}
