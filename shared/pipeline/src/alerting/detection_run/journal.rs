//! The notification journal: the open alerts, and the changes of alerts that are to be recorded in the registry and notified.
//!
//! A change is in the stored journal before anybody is notified of it. This is what makes each change notified at least once, and, unless
//! an outcome is lost, exactly once.

use detection::{AlertRegistry, AlertState, Change};
use event::Timestamp;
use serde::{Deserialize, Serialize};

use super::DetectionStateError;
use super::parts::{self, StoredParts};
use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::{Item, Store};

/// Number of parts that are written in one call.
const WRITES_AT_ONCE: usize = 64;

/// The open alerts and the pending changes, as they are stored together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct NotificationJournal {
    /// The alerts that are not over, as detection keeps them.
    pub(super) alerts: AlertRegistry,
    /// The changes that are not recorded and notified yet, oldest first.
    pub(super) pending: Vec<PendingChange>,
}

/// A change that is not in the alert registry yet, or that some channels were not notified of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PendingChange {
    #[serde(with = "crate::codec::json")]
    pub(super) change: Change,
    /// The sequence of the first change that this one replaced in the journal.
    pub(super) first: u32,
    /// The names of the channels that were not notified yet.
    pub(super) channels: Vec<String>,
    /// When the change was made, in milliseconds since 1970.
    pub(super) since: i64,
    /// Whether the alert registry has the change.
    pub(super) is_recorded: bool,
    /// Whether a channel or the registry has failed to accept the change.
    pub(super) has_failed: bool,
}

impl StoredRecord for NotificationJournal {
    const NAME: &'static str = "notification journal";
    const FORMAT: u8 = detection::state::VERSION;
}

impl NotificationJournal {
    /// Removes the earlier changes of an alert, which `change` replaces while detection learns from the past, and returns the sequence of
    /// the first of them. Nobody was notified of those, so if `change` replaces the alert's first change, it becomes the first one.
    pub(super) fn replace_earlier(&mut self, change: &mut Change) -> u32 {
        let mut first = change.sequence;
        // Of the past only the last state matters, and the journal stays as small as the number of alerts.
        for earlier in self.pending.extract_if(.., |other| other.change.id == change.id) {
            first = first.min(earlier.first);
        }
        // A first message is neither an escalation nor a recurrence.
        if first == 1 && change.state != AlertState::Resolved {
            (change.state, change.escalated, change.recurred) = (AlertState::Firing, false, false);
        }
        first
    }

    /// Removes alerts of the past that nobody was notified of and that are over. While the past is not over, an alert that may fire again
    /// under its id is kept.
    pub(super) fn remove_past(&mut self, alerts: &AlertRegistry, is_learning: bool) {
        self.pending.retain(|pending| {
            // A change whose predecessors were notified before must be notified as well, or people would wait for the
            // end of the alert.
            let is_over = pending.first == 1 && pending.change.state == AlertState::Resolved;
            !is_over || (is_learning && alerts.has(&pending.change.id))
        });
    }

    /// Number of changes that no channel has been notified of, or failed to be, so far.
    pub(super) fn unattempted(&self) -> usize {
        self.pending.iter().filter(|pending| !pending.has_failed).count()
    }
}

/// Stores the journal and returns its parts.
pub(super) async fn write<S: Store>(
    store: &S,
    journal: &NotificationJournal,
    attempt: u64,
    now: Timestamp,
) -> Result<StoredParts, DetectionStateError> {
    let bytes = journal.encode();
    // Under the number of this write: the parts that the head still names stay as they are until it names these.
    let mut written = StoredParts { attempt, count: 0 };
    for some in bytes.chunks(Item::MAX_BODY_BYTES * WRITES_AT_ONCE) {
        let mut items = Vec::new();
        for body in some.chunks(Item::MAX_BODY_BYTES) {
            items.push(parts::item(layout::journal_part(attempt, written.count as usize), body, now));
            written.count += 1;
        }
        store.put(items).await?;
    }
    Ok(written)
}

/// Reads the stored journal; empty if none was stored.
pub(super) async fn read<S: Store>(
    store: &S,
    parts: StoredParts,
) -> Result<NotificationJournal, DetectionStateError> {
    if parts.is_none() {
        return Ok(NotificationJournal::default());
    }
    let bytes = parts::read(store, &parts.keys(layout::journal_part)).await?;
    NotificationJournal::decode(&bytes).map_err(DetectionStateError::Journal)
}

/// Removes the parts of a journal that the head no longer names. A failure only wastes space, since parts expire.
pub(super) async fn remove<S: Store>(store: &S, parts: StoredParts) {
    let keys = parts.keys(layout::journal_part);
    if !keys.is_empty()
        && let Err(error) = store.delete(keys).await
    {
        tracing::debug!(error = %error, "a replaced notification journal stays until it expires");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    pub(in super::super) fn pending(id: &str, sequence: u32, state: &str) -> PendingChange {
        let change = serde_json::from_str(&format!(
            r#"{{"id":"{id}","sequence":{sequence},"tenant":"acme","severity":"info","kind":"limit","metric":"m","state":"{state}","scope":{{}},"value":1.0,"numerator":1.0,"denominator":null,"started_at":"","fired_at":"","updated_at":"","window":"","cause":[],"summary":"","dedup_key":""}}"#
        ))
        .unwrap();
        let channels = vec!["hook".to_owned()];
        PendingChange { change, first: sequence, channels, since: 5, is_recorded: false, has_failed: false }
    }

    fn journal(changes: &[(&str, u32, &str)], is_learning: bool) -> NotificationJournal {
        let mut journal = NotificationJournal::default();
        for (id, sequence, state) in changes {
            let mut pending = pending(id, *sequence, state);
            if is_learning {
                pending.first = journal.replace_earlier(&mut pending.change);
            }
            journal.pending.push(pending);
        }
        journal
    }

    fn shown(journal: &NotificationJournal) -> Vec<(&str, u32, u32, AlertState)> {
        let change = |pending: &PendingChange| (pending.change.sequence, pending.first, pending.change.state);
        let shown = journal.pending.iter().map(|pending| (pending.change.id.as_str(), change(pending)));
        shown.map(|(id, (sequence, first, state))| (id, sequence, first, state)).collect()
    }

    #[test]
    fn live_changes_are_all_kept_and_of_the_past_only_the_last_of_each_alert() {
        let changes = [("a", 1, "firing"), ("b", 1, "firing"), ("a", 2, "reminder"), ("b", 2, "resolved")];
        let live = journal(&changes, false);
        assert_eq!(live.pending.len(), 4);
        assert_eq!(live.unattempted(), 4);
        let past = journal(&changes, true);
        assert_eq!(shown(&past), [("a", 2, 1, AlertState::Firing), ("b", 2, 1, AlertState::Resolved)]);
    }

    #[test]
    fn alerts_of_the_past_that_are_over_are_removed_unless_they_were_notified_before() {
        let mut past = journal(&[("a", 1, "firing"), ("b", 1, "resolved"), ("c", 3, "resolved")], true);
        past.remove_past(&AlertRegistry::default(), false);
        let left: Vec<&str> = past.pending.iter().map(|pending| pending.change.id.as_str()).collect();
        assert_eq!(left, ["a", "c"]);
    }

    #[tokio::test]
    async fn a_journal_is_read_as_it_was_stored_and_one_with_lost_or_damaged_parts_is_an_error() {
        let store = MemoryStore::new();
        let now = Timestamp::from_millis(0);
        let mut long = journal(&[("a", 1, "firing"), ("b", 1, "firing")], false);
        long.pending[0].change.summary = "x".repeat(2 * Item::MAX_BODY_BYTES);
        let parts = write(&store, &long, 9, now).await.unwrap();
        assert_eq!(parts, StoredParts { attempt: 9, count: 3 });
        assert_eq!(read(&store, parts).await.unwrap(), long);
        assert_eq!(read(&store, StoredParts::default()).await.unwrap(), NotificationJournal::default());
        let fewer = StoredParts { count: 2, ..parts };
        assert!(matches!(read(&store, fewer).await, Err(DetectionStateError::Journal(_))));
        store.delete(vec![layout::journal_part(9, 1)]).await.unwrap();
        assert!(matches!(read(&store, parts).await, Err(DetectionStateError::Incomplete)));
        remove(&store, parts).await;
        assert!(store.snapshot().is_empty());
    }
}
