//! What a run stores: the head and the notification journal before and after notifying; then, if it is due, the learned state.
//!
//! The learned state grows with the number of tenants, and DynamoDB may refuse or delay it for hours. It is therefore stored last, as far
//! as there is time, and the next run of the same process continues where this one ended. Until all of it is stored, the head names the
//! previous one.

use super::learned_state::{self, LearnedStateWriter};
use super::notify::Notifier;
use super::resume::DetectionState;
use super::tenant_groups::GroupReaders;
use super::{ActiveRun, DetectionError, RESERVE_MS, head, journal};
use crate::ports::{Clock, Store};

/// Minutes between two stored learned states. A new process replays at most as many while storing succeeds.
const LEARNED_EVERY_MINUTES: u32 = 60;
/// Minutes after which an unchanged journal is written again, since its parts expire.
const JOURNAL_EVERY_MINUTES: u32 = 24 * 60;

/// Whether the learned state, or the rest of it, is to be stored.
pub(super) fn is_due(state: &DetectionState) -> bool {
    // The first one is stored at once: until then a new process has to learn everything again.
    let every = if state.head.learned.is_none() { 1 } else { LEARNED_EVERY_MINUTES };
    state.learned_writer.is_some() || state.observed.0 >= state.head.learned_next.0 + every
}

/// How far storing the learned state came.
enum SaveProgress {
    Complete,
    /// There was no time for the rest.
    Partial,
    /// Another run moved the head first.
    Overtaken,
}

impl<S: Store, C: Clock, N: Notifier, R: GroupReaders> ActiveRun<'_, S, C, N, R> {
    /// Stores the head and the journal. Returns false if another run moved the head first; this run then has no effect.
    pub(super) async fn save(&mut self, state: &mut DetectionState) -> Result<bool, DetectionError> {
        let (store, now) = (self.context.store, self.context.clock.now());
        let replaced = state.stored.0.journal;
        let is_old = !state.head.journal.is_none()
            && state.head.next.0 >= state.head.journal_next.0 + JOURNAL_EVERY_MINUTES;
        // An unchanged journal is not written again with each minute: it is far larger than the head.
        if is_old || state.journal != state.stored.1 {
            state.head.journal = journal::write(store, &state.journal, self.next_attempt(), now).await?;
            state.head.journal_next = state.head.next;
        }
        // The head last: until it names the new journal, the old one is valid.
        let Some(version) = head::write(store, &state.head, state.version).await? else {
            return Ok(false);
        };
        state.version = Some(version);
        state.stored = (state.head, state.journal.clone());
        // Only now, when no head names these parts any more. What a failure leaves expires.
        if replaced != state.head.journal {
            journal::remove(store, replaced).await;
        }
        Ok(true)
    }

    /// Stores the learned state if it is due, as far as time allows. Returns false if another run moved the head first. A failure does not
    /// fail the run: the channels were notified before, and the next run retries.
    pub(super) async fn save_learned_state(
        &mut self,
        state: &mut DetectionState,
    ) -> Result<bool, DetectionError> {
        if !is_due(state) {
            return Ok(true);
        }
        let unsaved_minutes = state.unsaved_minutes();
        match self.write_learned_state(state).await {
            Ok(SaveProgress::Complete) => {}
            Ok(SaveProgress::Partial) => {
                tracing::info!(
                    unsaved_minutes,
                    "the next run continues storing the learned state of detection"
                );
            }
            Ok(SaveProgress::Overtaken) => return Ok(false),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    unsaved_minutes,
                    error,
                    "the learned state of detection was not stored; the next run tries again"
                );
            }
        }
        Ok(true)
    }

    async fn write_learned_state(
        &mut self,
        state: &mut DetectionState,
    ) -> Result<SaveProgress, DetectionError> {
        let until = self.context.attempt.deadline.plus_millis(-RESERVE_MS);
        let mut writer = match state.learned_writer.take() {
            Some(writer) => writer,
            None => LearnedStateWriter::new(&state.detector, state.observed, self.next_attempt())?,
        };
        let parts = loop {
            let now = self.context.clock.now();
            if now >= until {
                state.learned_writer = Some(writer);
                return Ok(SaveProgress::Partial);
            }
            match writer.write_some(self.context.store, now).await {
                Ok(None) => {}
                Ok(Some(parts)) => break parts,
                Err(error) => {
                    state.learned_writer = Some(writer);
                    return Err(error.into());
                }
            }
        };
        // Named only when all parts are stored: a process that reads it must find all of them.
        let replaced = std::mem::replace(&mut state.head.learned, parts);
        state.head.learned_next = writer.next;
        state.head.starts = 0;
        if !self.save(state).await? {
            return Ok(SaveProgress::Overtaken);
        }
        learned_state::remove(self.context.store, replaced, || self.context.clock.now() >= until).await;
        Ok(SaveProgress::Complete)
    }

    /// A number that no other write uses, so that its parts overwrite no others. The factor spreads the numbers of one run over all 64
    /// bits, since the numbers of attempts are random and must not meet.
    fn next_attempt(&mut self) -> u64 {
        self.writes += 1;
        self.context.attempt.id.wrapping_add(self.writes.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}
