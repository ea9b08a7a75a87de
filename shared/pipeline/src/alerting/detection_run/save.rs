//! What a run stores: the head and the journal, before and after notifying; then, if it is due, the learned state.
//!
//! The learned state grows with the number of tenants, and DynamoDB may refuse or delay it for hours. It is therefore stored last, as far
//! as there is time, and the next run of the same process goes on where this one ended. Until all of it is stored, the head names the
//! one before.

use super::resume::Known;
use super::shares::Readers;
use super::state::{self, Saving};
use super::{Announce, RESERVE_MS, Run, WatchError};
use crate::ports::{Clock, Store};

/// Minutes between two stored learned states, which is also how many a new process replays at most while storing succeeds.
const LEARNED_EVERY: u32 = 60;
/// Minutes after which an unchanged journal is written again, since its parts expire.
const JOURNAL_EVERY: u32 = 24 * 60;

/// Whether the learned state is to be stored, or the rest of it.
pub(super) fn is_due(known: &Known) -> bool {
    let every = if known.head.snapshot.is_none() { 1 } else { LEARNED_EVERY };
    known.saving.is_some() || known.observed.0 >= known.head.snapshot_next + every
}

impl<S: Store, C: Clock, A: Announce, R: Readers> Run<'_, S, C, A, R> {
    /// Stores the head and the journal. Returns false if another run moved the head first; this run then has no effect.
    pub(super) async fn save(&mut self, known: &mut Known) -> Result<bool, WatchError> {
        let now = self.clock.now();
        let replaced = known.stored.0.journal;
        let is_old =
            !known.head.journal.is_none() && known.head.next >= known.head.journal_next + JOURNAL_EVERY;
        if is_old || known.journal != known.stored.1 {
            known.head.journal = state::write_journal(self.store, &known.journal, self.number(), now).await?;
            known.head.journal_next = known.head.next;
        }
        let Some(version) = state::move_head(self.store, &known.head, known.version).await? else {
            return Ok(false);
        };
        known.version = Some(version);
        known.stored = (known.head.clone(), known.journal.clone());
        if replaced != known.head.journal {
            state::remove_journal(self.store, replaced).await;
        }
        Ok(true)
    }

    /// Stores the learned state if it is due, as far as time allows. Returns false if another run moved the head first. A failure does not
    /// fail the run: the channels were notified before, and the next run retries.
    pub(super) async fn save_learned(&mut self, known: &mut Known) -> Result<bool, WatchError> {
        if !is_due(known) {
            return Ok(true);
        }
        let unsaved = known.head.next.saturating_sub(known.head.snapshot_next);
        match self.write_learned(known).await {
            Ok(Written::All) => {}
            Ok(Written::Some) => {
                tracing::info!(unsaved, "the next run goes on storing the learned state of detection");
            }
            Ok(Written::Overtaken) => return Ok(false),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    unsaved,
                    error,
                    "the learned state of detection was not stored; the next run tries again"
                );
            }
        }
        Ok(true)
    }

    async fn write_learned(&mut self, known: &mut Known) -> Result<Written, WatchError> {
        let until = self.attempt.deadline.plus_millis(-RESERVE_MS);
        let mut saving = match known.saving.take() {
            Some(saving) => saving,
            None => Saving::new(&known.detector, known.observed, self.number())?,
        };
        let parts = loop {
            let now = self.clock.now();
            if now >= until {
                known.saving = Some(saving);
                return Ok(Written::Some);
            }
            match saving.go_on(self.store, now).await {
                Ok(None) => {}
                Ok(Some(parts)) => break parts,
                Err(error) => {
                    known.saving = Some(saving);
                    return Err(error.into());
                }
            }
        };
        let replaced = std::mem::replace(&mut known.head.snapshot, parts);
        known.head.snapshot_next = saving.next;
        known.head.starts = 0;
        if !self.save(known).await? {
            return Ok(Written::Overtaken);
        }
        state::remove_learned(self.store, replaced, || self.clock.now() >= until).await;
        Ok(Written::All)
    }

    /// A number that no other write uses, so that its parts overwrite no others.
    fn number(&mut self) -> u64 {
        self.writes += 1;
        self.attempt.id.wrapping_add(self.writes.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// How much of the learned state is stored.
enum Written {
    /// All of it.
    All,
    /// As much as there was time for.
    Some,
    /// Another run was faster.
    Overtaken,
}
