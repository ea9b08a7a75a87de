//! The audit log: one entry for each administrative change. The entry is written before the change is made, so that nothing changes
//! without one; an entry may therefore describe a change that failed.
//!
//! An entry contains the name of the API key that was used, never the key itself, and nothing personal. No call changes or removes an
//! entry; entries expire.
//!
//! The order of the entries is total. Entries of one millisecond are numbered from 0 by conditional writes, so an entry that was written
//! before another one began comes before it, whichever processes wrote them.

use event::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::{PutError, Range, ScanOrder, Store, StoreError, StoreErrorKind};
use crate::stored::{self, ReadError};

/// How long entries are kept: 400 days.
const LIFE_MS: i64 = 400 * 24 * 60 * 60 * 1000;
/// How often an entry is written that loses its number to another entry of the same millisecond. Administration is done by people, so
/// even two entries in a millisecond are rare.
const MAX_ATTEMPTS: usize = 8;

/// An entry of the audit trail: who set out to make which administrative change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// The time of the request.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// The name of the key or the subject of the token; `(command line)` for a user with access to the data folder or the table.
    pub who: String,
    /// The kind of change, such as `tenant.erase`.
    #[schemars(extend("example" = "tenant.erase"))]
    pub action: String,
    /// What the change is about: the id of a tenant, a key or an alert; `*` for the whole installation.
    pub subject: String,
}

impl StoredRecord for AuditEntry {
    const NAME: &'static str = "audit entry";
    const FORMAT: u8 = 3;
}

/// A change that somebody is about to make.
#[derive(Clone, Copy, Debug)]
pub struct AuditAction<'a> {
    /// Who makes the change, as [`AuditEntry::who`] says it.
    pub who: &'a str,
    /// The change, as [`AuditEntry::action`] says it.
    pub action: &'a str,
    /// What is changed, as [`AuditEntry::subject`] says it.
    pub subject: &'a str,
}

/// Writes an entry. If this fails, the caller must not make the change.
///
/// # Errors
/// [`StoreError`] if the store fails, or if other entries of the same millisecond took the number of this one at each attempt.
pub async fn record<S: Store>(store: &S, action: AuditAction<'_>, now: Timestamp) -> Result<(), StoreError> {
    let AuditAction { who, action, subject } = action;
    let entry = AuditEntry {
        at: now.to_string(),
        who: who.to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
    };
    // From the time of the entry, so that entries expire in the order of their keys: the embedded store relies on
    // that.
    let expires_at = Some(now.plus_millis(LIFE_MS));
    // Nearly every entry is the only one of its millisecond, so the first attempt does without a read.
    let mut number = 0;
    for _ in 0..MAX_ATTEMPTS {
        let key = layout::audit_entry(now, number);
        match stored::put_if_expiring(store, key, &entry, None, expires_at).await {
            Ok(_) => return Ok(()),
            Err(PutError::Conflict) => number = next_number(store, now).await?,
            Err(PutError::Store(error)) => return Err(error),
        }
    }
    let source = "other entries of the same millisecond came first at every attempt";
    Err(StoreError::new(StoreErrorKind::Throttled, "put_if", layout::AUDIT, source))
}

/// The number after those of the entries of this millisecond.
async fn next_number<S: Store>(store: &S, now: Timestamp) -> Result<u64, StoreError> {
    let newest = store.range(Range { limit: 1, ..layout::audit_entries_at(now) }).await?.items;
    let number = newest.first().and_then(|item| layout::audit_number(&item.key));
    Ok(number.map_or(0, |number| number.saturating_add(1)))
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
    // Backwards and page by page: of a long log only the newest entries are read.
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
    use crate::testing::contended::ContendedStore;

    fn erasure_of(subject: &str) -> AuditAction<'_> {
        AuditAction { who: "ops", action: "tenant.erase", subject }
    }

    #[tokio::test]
    async fn entries_of_one_millisecond_are_listed_in_the_order_in_which_they_were_written() {
        // A clock before 1970 must not break the order either.
        for now in [Timestamp::from_millis(1_763_000_000_123), Timestamp::from_millis(-5)] {
            let store = MemoryStore::new();
            let written: Vec<String> = (0..40).map(|number| format!("tenant-{number}")).collect();
            for subject in &written {
                record(&store, erasure_of(subject), now).await.unwrap();
            }
            let listed = list(&store, now, now.plus_millis(1_000), 100).await.unwrap();
            let listed: Vec<String> = listed.into_iter().rev().map(|entry| entry.subject).collect();
            assert_eq!(listed, written);
        }
    }

    #[tokio::test]
    async fn entry_that_loses_its_number_takes_the_next_one_and_is_refused_after_too_many_losses() {
        let now = Timestamp::from_seconds(10);
        for (losses, is_written) in [(0, true), (1, true), (MAX_ATTEMPTS - 1, true), (MAX_ATTEMPTS, false)] {
            let store = ContendedStore::new(losses);
            let recorded = record(&store, erasure_of("acme"), now).await;
            assert_eq!(recorded.is_ok(), is_written, "{recorded:?}");
            // The entries that came first are all kept.
            assert_eq!(store.inner.snapshot().len(), losses + usize::from(is_written), "{losses}");
        }
    }

    #[tokio::test]
    async fn entries_are_listed_newest_first_within_the_range_and_the_limit() {
        let store = MemoryStore::new();
        let at = Timestamp::from_seconds;
        for (second, subject) in [(10, "a"), (10, "b"), (20, "c"), (30, "d")] {
            record(&store, erasure_of(subject), at(second)).await.unwrap();
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
