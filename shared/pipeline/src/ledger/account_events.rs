//! The stored form of account events, which wait here until detection has turned them into alerts.
//!
//! The key is made of the event alone, so that an event that is stored twice, by an attempt that died or because it was delivered twice, is
//! stored once. It needs no receipt: it is true whether or not its batch is committed, and applying it again changes nothing. It is
//! removed once it has been applied.

use std::collections::BTreeMap;

use event::{AccountEvent, AlertScope, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::{Item, Key};
use crate::stored;

/// How long an event waits for detection: as long as an installation may be left without it.
const LIFE_MS: i64 = 90 * 24 * 60 * 60 * 1000;

/// An account event and what it concerns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredAccountEvent {
    /// The tenant, or the platform if the event concerns no single one.
    pub(crate) scope: AlertScope,
    pub(crate) event: AccountEvent,
}

impl StoredRecord for StoredAccountEvent {
    const NAME: &'static str = "account event";
    const FORMAT: u8 = 3;
}

/// The items of the events that a batch read at `now`, each once.
pub(super) fn items(events: &[(AlertScope, AccountEvent)], now: Timestamp) -> impl Iterator<Item = Item> {
    let stored = events.iter().map(|(scope, event)| {
        let stored = StoredAccountEvent { scope: scope.clone(), event: event.clone() };
        stored.item(now)
    });
    // DynamoDB refuses a call that writes one key twice.
    let by_key: BTreeMap<Key, Item> = stored.map(|item| (item.key.clone(), item)).collect();
    by_key.into_values()
}

impl StoredAccountEvent {
    fn item(&self, now: Timestamp) -> Item {
        // Without the text, which may be worded anew in a second delivery.
        let AccountEvent { account, resource, change, .. } = &self.event;
        let identity = format!("{account}\n{resource:?}\n{change:?}\n{}", self.scope);
        let digest = Sha256::digest(identity.as_bytes());
        let hash = digest.iter().take(8).fold(0, |hash: u64, byte| hash << 8 | u64::from(*byte));
        let key = layout::account_event(self.event.at(), self.event.is_end(), hash);
        stored::item(key, self, Some(now.plus_millis(LIFE_MS)))
    }
}

#[cfg(test)]
mod tests {
    use event::{SendingChange, SendingResource};

    use super::*;
    use crate::codec::assert_stored;

    fn event(at_ms: i64, is_enabled: bool, text: &str) -> StoredAccountEvent {
        StoredAccountEvent {
            scope: AlertScope::Platform,
            event: AccountEvent {
                at_ms,
                account: "123456789012".to_owned(),
                resource: SendingResource::Account,
                change: SendingChange::Status { is_enabled },
                text: text.to_owned(),
            },
        }
    }

    #[test]
    fn event_has_one_key_however_often_it_is_delivered_and_keys_are_sorted_by_time() {
        let now = Timestamp::from_seconds(1_763_000_000);
        let key = |at_ms, is_enabled, text| event(at_ms, is_enabled, text).item(now).key;
        assert_eq!(key(5, false, "a"), key(5, false, "b"));
        let sorted = [key(5, false, ""), key(5, true, ""), key(40, false, ""), key(1_000, false, "")];
        assert!(sorted.is_sorted_by(|a, b| a < b), "{sorted:?}");
        let twice: Vec<_> = ["a", "b"].map(|text| (AlertScope::Platform, event(5, false, text).event)).into();
        assert_eq!(items(&twice, now).count(), 1);
    }

    #[test]
    fn stored_form_is_fixed() {
        assert_stored(&event(5, false, "x"), "0327d91d3d012a0a0c3132333435363738393031320000000178");
    }
}
