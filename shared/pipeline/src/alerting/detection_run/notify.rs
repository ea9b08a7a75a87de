//! Notifying: records each pending change in the alert registry and notifies its channels.
//!
//! A change is pending in the notification journal, which is stored, before anybody is notified, and is removed from it afterwards. A
//! notification whose outcome is lost is therefore sent again, with the same id and sequence. A channel that fails, or a registry that
//! fails, is not used again until the next run and does not hold up the others.

use std::collections::BTreeSet;
use std::future::Future;

use detection::Change;
use event::Timestamp;

use super::journal::PendingChange;
use super::{ActiveRun, DetectionError, NOTIFY_RESERVE_MS};
use crate::alerting::registry::{self, RegistryError};
use crate::ports::{Clock, Store};
use crate::stored::ReadError;

use super::tenant_groups::GroupReaders;

/// How long a change is kept if a channel or the registry does not accept it.
const GIVE_UP_MS: i64 = 24 * 60 * 60 * 1000;
/// Maximum number of changes that no channel was notified of yet. At this number nothing more is evaluated. It is also the maximum
/// number of failed changes that are kept: a channel that accepts nothing must not hold up the others.
pub const MAX_PENDING: usize = 1000;

/// Notifies people of changes of alerts.
pub trait Notifier: Send + Sync {
    /// The names of the channels that are to be notified of a change.
    fn channels(&self, change: &Change) -> Vec<String>;

    /// Notifies one channel of a change. A change may be notified more than once.
    fn notify(&self, channel: &str, change: &Change) -> impl Future<Output = Result<(), NotifyError>> + Send;
}

/// A channel was not notified, or its answer was lost.
pub type NotifyError = Box<dyn std::error::Error + Send + Sync>;

/// What failed while the pending changes were notified.
#[derive(Default)]
struct Failures {
    /// The channels that failed.
    channels: BTreeSet<String>,
    /// The first of them, with its error.
    first: Option<(String, NotifyError)>,
    registry: Option<RegistryError>,
}

impl<S: Store, C: Clock, N: Notifier, R: GroupReaders> ActiveRun<'_, S, C, N, R> {
    /// Notifies the pending changes, as long as there is time, and removes those that are done. Returns the first failure.
    pub(super) async fn notify(&mut self, pending: &mut Vec<PendingChange>) -> Option<DetectionError> {
        let until = self.context.attempt.deadline.plus_millis(-NOTIFY_RESERVE_MS);
        let mut failures = Failures::default();
        for (number, change) in pending.iter_mut().enumerate() {
            let now = self.context.clock.now();
            // The first change is always notified, so that every run makes progress.
            if number > 0 && now >= until {
                break;
            }
            self.notify_one(change, now, &mut failures).await;
        }
        // A change stays until everybody has it, the registry included.
        pending.retain(|change| !change.channels.is_empty() || !change.is_recorded);
        drop_oldest_failed(pending);
        let count = pending.iter().map(|change| change.channels.len()).sum();
        let not_notified =
            failures.first.map(|(channel, source)| DetectionError::Notify { count, channel, source });
        not_notified.or(failures.registry.map(Into::into))
    }

    async fn notify_one(&mut self, pending: &mut PendingChange, now: Timestamp, failures: &mut Failures) {
        let gives_up = now.millis() - pending.since > GIVE_UP_MS;
        let change = &pending.change;
        // A store that fails would fail for the next change as well; an alert that is damaged concerns only its own changes.
        let registry_fails = matches!(failures.registry, Some(RegistryError::Read(ReadError::Store(_))));
        if !pending.is_recorded && !registry_fails {
            // Before the channels: the link in a notification leads to the registry.
            match registry::record(self.context.store, change, now).await {
                Ok(()) => pending.is_recorded = true,
                Err(error) if gives_up => {
                    tracing::error!(alert.id = %change.id, error = %error, "a change of an alert was not put into the registry for a day and is given up");
                    pending.is_recorded = true;
                }
                Err(error) => _ = failures.registry.get_or_insert(error),
            }
        }
        let mut left = Vec::new();
        for channel in pending.channels.drain(..) {
            // Not tried again in this run: each attempt may take as long as a timeout, and the other changes wait.
            if failures.channels.contains(&channel) {
                left.push(channel);
                continue;
            }
            match self.context.notifier.notify(&channel, change).await {
                Ok(()) => self.report.notified += 1,
                Err(error) if gives_up => {
                    tracing::error!(alert.id = %change.id, channel, error = %error, "a channel was not notified of a change of an alert for a day, which is given up");
                }
                Err(error) => {
                    failures.channels.insert(channel.clone());
                    failures.first.get_or_insert((channel.clone(), error));
                    left.push(channel);
                }
            }
        }
        pending.channels = left;
        pending.has_failed |= !pending.channels.is_empty() || !pending.is_recorded;
    }
}

/// Gives up the oldest failed changes if there are more of them than are kept.
fn drop_oldest_failed(pending: &mut Vec<PendingChange>) {
    let failed = pending.iter().filter(|change| change.has_failed).count();
    let mut excess = failed.saturating_sub(MAX_PENDING);
    if excess > 0 {
        tracing::error!(
            changes = excess,
            "channels accept nothing: the oldest changes of alerts are given up"
        );
    }
    pending.retain(|change| {
        let is_dropped = change.has_failed && excess > 0;
        excess -= usize::from(is_dropped);
        !is_dropped
    });
}

#[cfg(test)]
mod tests {
    use super::super::journal::tests::pending;
    use super::*;

    #[test]
    fn only_the_oldest_failed_changes_in_excess_are_given_up() {
        for (failed, fresh, left) in
            [(0, 5, 5), (MAX_PENDING, 5, MAX_PENDING + 5), (MAX_PENDING + 3, 2, MAX_PENDING + 2)]
        {
            let mut changes: Vec<PendingChange> = Vec::new();
            for number in 0..failed + fresh {
                let sequence = u32::try_from(number + 1).unwrap();
                changes.push(PendingChange {
                    has_failed: number < failed,
                    ..pending("al_1", sequence, "firing")
                });
            }
            drop_oldest_failed(&mut changes);
            assert_eq!(changes.len(), left, "{failed} {fresh}");
            assert_eq!(changes.iter().filter(|change| !change.has_failed).count(), fresh);
            let last = u32::try_from(failed + fresh).unwrap();
            assert_eq!(changes.last().map(|change| change.change.sequence), Some(last));
        }
    }
}
