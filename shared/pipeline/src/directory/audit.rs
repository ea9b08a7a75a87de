//! The audit log: one entry for each administrative change. The entry is written before the change is made, so that nothing changes
//! without one; an entry may therefore describe a change that failed.
//!
//! An entry contains the name of the API key that was used, never the key itself, and nothing personal. No call changes or removes an
//! entry; entries expire.

use event::Timestamp;
use serde::{Deserialize, Serialize};

use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::{Range, ScanOrder, Store, StoreError};
use crate::stored::{self, ReadError};

/// How long entries are kept: 400 days.
const LIFE_MS: i64 = 400 * 24 * 60 * 60 * 1000;

/// An entry of the audit log. The field names are those of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The time of the request, RFC 3339.
    pub at: String,
    /// The name of the key or the subject of the token; `(command line)` for a user with access to the data folder or the table.
    pub who: String,
    /// The change, such as `tenant.erase`.
    pub action: String,
    /// What is changed: a tenant, the id of a key, an alert.
    pub subject: String,
}

impl StoredRecord for AuditEntry {
    const NAME: &'static str = "audit entry";
    const FORMAT: u8 = 3;
}

/// A change that somebody is about to make.
#[derive(Clone, Copy, Debug)]
pub struct AuditAction<'a> {
    /// See [`AuditEntry::who`].
    pub who: &'a str,
    /// See [`AuditEntry::action`].
    pub action: &'a str,
    /// See [`AuditEntry::subject`].
    pub subject: &'a str,
}

/// Writes an entry. `number` distinguishes it from other entries of the same millisecond; callers pass a random number.
pub async fn record<S: Store>(
    store: &S,
    action: AuditAction<'_>,
    now: Timestamp,
    number: u64,
) -> Result<(), StoreError> {
    let AuditAction { who, action, subject } = action;
    let entry = AuditEntry {
        at: now.to_string(),
        who: who.to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
    };
    let expires_at = Some(now.plus_millis(LIFE_MS));
    store.put(vec![stored::item(layout::audit_entry(now, number), &entry, expires_at)]).await
}

/// The newest `limit` entries of `[from, to)`, newest first.
pub async fn list<S: Store>(
    store: &S,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
) -> Result<Vec<AuditEntry>, ReadError> {
    let mut rest = Some(Range {
        from: layout::audit_entry(from, 0).sort,
        to: Some(layout::audit_entry(to, 0).sort),
        order: ScanOrder::Backwards,
        ..layout::whole(layout::AUDIT)
    });
    let mut entries = Vec::new();
    while let Some(range) = rest.take().filter(|_| entries.len() < limit) {
        let page = store.range(range).await?;
        rest = page.rest;
        for item in page.items.iter().take(limit - entries.len()) {
            entries.push(stored::decode(item)?);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[tokio::test]
    async fn entries_are_listed_newest_first_within_the_range_and_the_limit() {
        let store = MemoryStore::new();
        let at = Timestamp::from_seconds;
        for (second, number, subject) in [(10, 2, "b"), (10, 1, "a"), (20, 0, "c"), (30, 0, "d")] {
            let action = AuditAction { who: "ops", action: "tenant.erase", subject };
            record(&store, action, at(second), number).await.unwrap();
        }
        for (from, to, limit, expected) in [
            (0, 100, 10, &["d", "c", "b", "a"][..]),
            (10, 30, 10, &["c", "b", "a"]),
            (11, 30, 10, &["c"]),
            (0, 100, 2, &["d", "c"]),
            (0, 100, 0, &[]),
            (30, 10, 10, &[]),
        ] {
            let found = list(&store, at(from), at(to), limit).await.unwrap();
            let subjects: Vec<&str> = found.iter().map(|entry| entry.subject.as_str()).collect();
            assert_eq!(subjects, expected, "{from} to {to}, {limit}");
        }
        store.expire(at(30).plus_millis(LIFE_MS));
        assert_eq!(list(&store, at(0), at(100), 10).await.unwrap(), []);
    }

    #[test]
    fn stored_entry_of_this_format_is_read() {
        let text = str::to_owned;
        let entry = AuditEntry {
            at: text("2025-11-13T02:13:20Z"),
            who: text("ops"),
            action: text("tenant.erase"),
            subject: text("acme"),
        };
        crate::codec::assert_stored(
            &entry,
            "038cb24e0714323032352d31312d31335430323a31333a32305a036f70730c74656e616e742e65726173650461636d65",
        );
    }
}
