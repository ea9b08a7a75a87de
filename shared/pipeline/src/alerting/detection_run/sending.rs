//! Alerts about sending: reads the account events that batches have stored, and notifies the changes of alerts that result from them.
//!
//! ```text
//! account events ─▶ detection::SendingAlerts ─▶ changes, stored with it ─▶ alert registry, channels
//! ```
//!
//! This is apart from the evaluation of minutes: it needs no counts, waits for no minute to be over, and also works where no mail was
//! counted yet. The state of all such alerts and their pending changes are one small item, which is written conditionally. An account
//! event is removed only after that, and applying it again changes nothing. So a run that dies anywhere loses no event and makes no change
//! twice.

use detection::{Change, SendingAlerts};
use serde::{Deserialize, Serialize};

use super::journal::PendingChange;
use super::notify::Notifier;
use super::tenant_groups::GroupReaders;
use super::{ActiveRun, DetectionError, link};
use crate::codec::StoredRecord;
use crate::directory::tenants::ErasureCount;
use crate::layout;
use crate::ledger::account_events::StoredAccountEvent;
use crate::ports::{Clock, Key, PutError, Store};
use crate::stored::{self, ReadError, Versioned};

/// The most changes that wait to be notified. While there are this many, further events wait in the store.
const MAX_PENDING: usize = 60;

/// The state of the alerts about sending, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SendingJournal {
    alerts: SendingAlerts,
    /// The changes that are not recorded and notified yet, oldest first.
    pending: Vec<PendingChange>,
    /// Until when another run has the exclusive right to notify, in milliseconds since 1970.
    notifying_until: i64,
    /// The erasure count at which `alerts` was last compared with the alert registry.
    erasures: u64,
}

impl StoredRecord for SendingJournal {
    const NAME: &'static str = "alerts about sending";
    const FORMAT: u8 = 3;
}

impl<S: Store, C: Clock, N: Notifier, R: GroupReaders> ActiveRun<'_, S, C, N, R> {
    /// Applies the account events that arrived and notifies the changes, as long as there is time.
    pub(super) async fn alert_about_sending(&mut self) -> Result<(), DetectionError> {
        let store = self.context.store;
        let mut held: Versioned<SendingJournal> = stored::get(store, layout::sending_alerts()).await?;
        let now = self.context.clock.now();
        if held.record.notifying_until > now.millis() {
            return Ok(());
        }
        let has_forgotten = self.forget_erased(&mut held.record).await?;
        let applied = self.apply_account_events(&mut held.record).await?;
        let notifies = !held.record.pending.is_empty();
        if applied.is_empty() && !has_forgotten && !notifies {
            return Ok(());
        }
        held.record.notifying_until = if notifies { self.context.attempt.deadline.millis() } else { 0 };
        if !write(store, &mut held).await? {
            return Ok(());
        }
        // After the write: what was applied is in the stored state, and otherwise the next run reads it again.
        store.delete(applied).await?;
        if !notifies {
            return Ok(());
        }
        let failure = self.notify(&mut held.record.pending).await;
        held.record.notifying_until = 0;
        write(store, &mut held).await?;
        failure.map_or(Ok(()), Err)
    }

    /// Applies the stored account events to the journal, in the order of their times, and returns the keys of those that were applied.
    async fn apply_account_events(&self, journal: &mut SendingJournal) -> Result<Vec<Key>, DetectionError> {
        let mut applied = Vec::new();
        for item in stored::range(self.context.store, layout::whole(layout::ACCOUNT_EVENTS)).await? {
            if journal.pending.len() >= MAX_PENDING {
                break;
            }
            match stored::decode::<StoredAccountEvent>(&item) {
                Ok(StoredAccountEvent { scope, event }) => {
                    if let Some(change) = journal.alerts.apply(&scope, &event) {
                        journal.pending.push(self.pending(change));
                    }
                    applied.push(item.key);
                }
                // Kept for the program that can read it, and no reason not to apply the others.
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "an account event cannot be read and is kept");
                }
            }
        }
        Ok(applied)
    }

    fn pending(&self, mut change: Change) -> PendingChange {
        change.url = self.context.settings.dashboard.as_ref().map(|url| link(url, &change));
        let channels = self.context.notifier.channels(&change);
        let (first, since) = (change.sequence, self.context.clock.now().millis());
        PendingChange { change, first, channels, since, is_recorded: false, has_failed: false }
    }

    /// Forgets what is about tenants that were erased since the last run: their alerts are no longer in the registry. Returns whether the
    /// journal has changed.
    async fn forget_erased(&self, journal: &mut SendingJournal) -> Result<bool, ReadError> {
        let store = self.context.store;
        let erasures = ErasureCount::read(store).await?.number();
        // A change that is pending may not be in the registry yet, so that its alert would look erased.
        if erasures == journal.erasures || !journal.pending.is_empty() {
            return Ok(false);
        }
        let ids: Vec<(Key, String)> = journal
            .alerts
            .ids()
            .map(|(scope, id)| (layout::alert(scope.tenant(), id), id.to_owned()))
            .collect();
        let found = store.get(ids.iter().map(|(key, _)| key.clone()).collect()).await?;
        let exists =
            |id: &str| ids.iter().zip(&found).any(|((_, known), item)| known == id && item.is_some());
        journal.alerts.retain(exists);
        journal.erasures = erasures;
        Ok(true)
    }
}

/// Writes the journal. Returns false if another run was faster; this one then has no effect.
async fn write<S: Store>(store: &S, held: &mut Versioned<SendingJournal>) -> Result<bool, DetectionError> {
    match stored::put_if(store, layout::sending_alerts(), &held.record, held.version).await {
        Ok(version) => {
            held.version = Some(version);
            Ok(true)
        }
        Err(PutError::Conflict) => Ok(false),
        Err(PutError::Store(source)) => Err(source.into()),
    }
}

#[cfg(test)]
mod tests {
    use event::{AccountEvent, AlertScope, SendingChange, SendingResource};

    use super::*;
    use crate::codec::assert_damage_is_noticed;

    #[test]
    fn stored_form_is_read_back() {
        let event = AccountEvent {
            at_ms: 1_763_000_126_000,
            account: "123456789012".to_owned(),
            resource: SendingResource::Account,
            change: SendingChange::Status { is_enabled: false },
            text: "x".to_owned(),
        };
        let mut journal = SendingJournal { notifying_until: 7, erasures: 3, ..SendingJournal::default() };
        let change = journal.alerts.apply(&AlertScope::Platform, &event).unwrap();
        let (first, channels) = (change.sequence, vec!["hook".to_owned()]);
        let pending =
            PendingChange { change, first, channels, since: 5, is_recorded: false, has_failed: true };
        journal.pending.push(pending);
        let stored = journal.encode();
        assert_eq!(SendingJournal::decode(&stored).as_ref(), Ok(&journal));
        assert_damage_is_noticed::<SendingJournal>(&stored);
        // Damage shows, but the fullest journal must fit into an item too.
        assert!(stored.len() * MAX_PENDING < crate::ports::Item::MAX_BODY_BYTES, "{}", stored.len());
    }
}
