//! Where a run starts: from the state that the process kept since its last run, or from the stored state.
//!
//! A process that starts from the stored state replays to its detector the minutes between the learned state and the head. That may take
//! several runs, since storing the learned state may have failed for hours. Nothing may prevent the evaluation of new minutes for good:
//! what cannot be read is learned again from the history, and after each process that ends before it has caught up, the next one replays
//! half as much.

use detection::{AlertRules, Detector};
use event::{Minute, Timestamp};

use super::counts::{CountsReader, Width};
use super::head::{self, Head};
use super::journal::{self, NotificationJournal};
use super::learned_state::{self, LearnedStateWriter};
use super::notify::Notifier;
use super::parts::StoredParts;
use super::tenant_groups::GroupReaders;
use super::{
    ActiveRun, DetectionCache, DetectionError, DetectionStateError, LEARNED_MINUTES, MINUTES_AT_ONCE, WIDTH,
};
use crate::directory::{alert_rules, tenants};
use crate::history::snapshot::CountingProgress;
use crate::ports::{Clock, Store};
use crate::stored::ReadError;

/// The state of detection in memory. Where it differs from the store, it is ahead of it.
#[derive(Debug)]
pub(super) struct DetectionState {
    /// The version of the stored head; `None` before the first.
    pub(super) version: Option<u64>,
    pub(super) head: Head,
    pub(super) journal: NotificationJournal,
    /// The head and the journal as they are stored.
    pub(super) stored: (Head, NotificationJournal),
    pub(super) detector: Detector,
    /// The first minute that the detector has not observed. It is before the head's next minute while the process catches up.
    pub(super) observed: Minute,
    /// Whether this process has not yet recorded in the head that it catches up.
    is_new: bool,
    /// Whether the stored alerts are lost, so that those of the detector are the best available ones.
    has_lost_alerts: bool,
    /// The learned state that is being stored.
    pub(super) learned_writer: Option<LearnedStateWriter>,
}

impl DetectionState {
    /// Detection that has evaluated nothing yet and learns from `first` on.
    fn new(first: Minute, rules: AlertRules) -> Self {
        let head = Head {
            next: first,
            is_learning: true,
            learned_from: first,
            learned_next: first,
            ..Head::default()
        };
        Self {
            version: None,
            stored: (head, NotificationJournal::default()),
            head,
            journal: NotificationJournal::default(),
            detector: Detector::new(WIDTH.minutes(), rules),
            observed: first,
            is_new: false,
            has_lost_alerts: false,
            learned_writer: None,
        }
    }

    /// Whether the head or the journal are ahead of the store.
    pub(super) fn differs_from_stored(&self) -> bool {
        self.version.is_none() || self.head != self.stored.0 || self.journal != self.stored.1
    }

    /// Whether this is still what is stored, or ahead of it. A write whose answer was lost may have happened.
    fn is_current(&mut self, head: &Head, version: u64) -> bool {
        let next = self.version.map_or(1, |version| version + 1);
        if version == next && *head == self.head {
            self.version = Some(version);
            self.stored = (self.head, self.journal.clone());
        }
        // Another version means that another process has moved the head, so this state is outdated.
        self.version == Some(version)
    }

    /// Number of minutes to show to the detector together: fewer after processes that did not survive more.
    pub(super) fn minutes_at_once(&self) -> u32 {
        (MINUTES_AT_ONCE >> (self.failed_starts() / 3).min(8)).max(1)
    }

    /// Number of evaluated minutes that are not part of the stored learned state.
    pub(super) fn unsaved_minutes(&self) -> u32 {
        self.head.next.0.saturating_sub(self.head.learned_next.0)
    }

    /// Number of processes before this one that ended before they had caught up.
    fn failed_starts(&self) -> u32 {
        self.head.starts.saturating_sub(1)
    }

    fn end_catch_up(&mut self) {
        if !self.has_lost_alerts {
            self.detector.set_registry(self.journal.alerts.clone());
        }
    }
}

impl<S: Store, C: Clock, N: Notifier, R: GroupReaders> ActiveRun<'_, S, C, N, R> {
    /// The state to start from; `None` if there is no history to learn from yet, or if another run moved the head meanwhile.
    pub(super) async fn load(
        &mut self,
        cache: &mut DetectionCache,
    ) -> Result<Option<DetectionState>, DetectionError> {
        // Read with each run, so that a change of the rules takes effect within a minute.
        let rules = alert_rules::effective(self.context.store).await?;
        let found = head::read(self.context.store).await?;
        if let Some(mut state) = cache.state.take() {
            let is_current = match &found {
                Some((head, version)) => state.is_current(head, *version),
                None => state.version.is_none(),
            };
            if is_current {
                state.detector.set_rules(rules);
                return Ok(Some(state));
            }
        }
        match found {
            Some((head, version)) => self.resume(head, version, &rules).await,
            None => Ok(self.first_minute().await?.map(|first| DetectionState::new(first, rules))),
        }
    }

    /// The hour of the first event to learn from; `None` if there is none.
    async fn first_minute(&self) -> Result<Option<Minute>, DetectionError> {
        let now = self.context.clock.now();
        // By the hour: only the hour of the first event is looked for.
        let to = now.minute().hour().start().minute().0 + 60;
        let from = Minute(to - LEARNED_MINUTES);
        let progress = CountingProgress::read(self.context.store).await?;
        let tenants = tenants::list(self.context.store).await?;
        let minutes_kept_from = self.minutes_kept_from();
        let (store, width) = (self.context.store, Width::Hour);
        let reader = CountsReader { store, progress: &progress, width, minutes_kept_from };
        let rows = reader.read_available(&tenants, &(from..Minute(to))).await?;
        Ok(rows.keys().next().copied())
    }

    /// Restores detection from the store. Returns `None` if another run moved the head during the reads.
    async fn resume(
        &self,
        stored_head: Head,
        version: u64,
        rules: &AlertRules,
    ) -> Result<Option<DetectionState>, DetectionError> {
        let store = self.context.store;
        // A copy, so that the next save sees what differs from the stored one.
        let mut head = stored_head;
        let journal = or_lost(journal::read(store, head.journal).await)?;
        let learned = if head.learned.is_none() {
            Stored::Read(None)
        } else {
            or_lost(learned_state::read(store, head.learned, rules).await.map(Some))?
        };
        let is_lost = matches!(journal, Stored::Lost(_)) || matches!(learned, Stored::Lost(_));
        // Parts are also missing if another run has replaced them since the head was read.
        if is_lost && head::read(store).await?.is_none_or(|(_, found)| found != version) {
            return Ok(None);
        }
        let has_lost_alerts = matches!(journal, Stored::Lost(_));
        let journal = match journal {
            Stored::Read(journal) => journal,
            Stored::Lost(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(
                    error,
                    "the notification journal is lost: pending changes are not notified, open alerts are detected again"
                );
                head.journal = StoredParts::default();
                NotificationJournal::default()
            }
        };
        let learned = match learned {
            Stored::Read(learned) => learned,
            Stored::Lost(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    "the learned state of detection is lost and is learned again from the history"
                );
                head.learned = StoredParts::default();
                None
            }
        };
        if learned.is_none() {
            let from = Minute(head.next.0.saturating_sub(LEARNED_MINUTES));
            head.learned_next = head.learned_from.max(from);
        }
        let mut state = DetectionState {
            version: Some(version),
            observed: head.learned_next,
            head,
            stored: (stored_head, journal.clone()),
            journal,
            detector: learned.unwrap_or_else(|| Detector::new(WIDTH.minutes(), rules.clone())),
            is_new: true,
            has_lost_alerts,
            learned_writer: None,
        };
        if state.observed >= state.head.next {
            state.end_catch_up();
        }
        Ok(Some(state))
    }

    /// Counts this process in the head before it replays what may be too much for it, and skips what was too much for the processes before
    /// it. Returns false if another run moved the head first.
    pub(super) async fn begin_catch_up(
        &mut self,
        state: &mut DetectionState,
    ) -> Result<bool, DetectionError> {
        if !state.is_new {
            return Ok(true);
        }
        // Once per process, not once per run: a run that ends for lack of time is no failed start.
        state.is_new = false;
        // Counted before the attempt: a process that dies of it cannot count it afterwards.
        state.head.starts = state.head.starts.saturating_add(1);
        let most = LEARNED_MINUTES >> state.failed_starts().min(16);
        let from = Minute(state.head.next.0.saturating_sub(most));
        if state.observed < from {
            tracing::warn!(
                minutes = from.0 - state.observed.0,
                "detection skips minutes that processes before this one failed to learn from"
            );
            state.detector.skip_to(from);
            state.observed = from;
        }
        self.save(state).await
    }

    /// Replays to the detector the minutes that an earlier process evaluated, and returns whether it has observed all of them. Their
    /// changes were notified already or are in the journal.
    pub(super) async fn catch_up(
        &mut self,
        state: &mut DetectionState,
        until: Timestamp,
    ) -> Result<bool, DetectionError> {
        while state.observed < state.head.next {
            if self.is_out_of_time(until) {
                return Ok(false);
            }
            let to = Minute((state.observed.0 + state.minutes_at_once()).min(state.head.next.0));
            // The changes are dropped: an earlier process put them into the journal.
            let observed = self.observe(&mut state.detector, state.observed, to).await?;
            state.observed = observed.to;
        }
        state.end_catch_up();
        Ok(true)
    }
}

/// What was read of the stored state.
enum Stored<T> {
    Read(T),
    /// It is missing or damaged.
    Lost(DetectionStateError),
}

/// Distinguishes a store that fails, which is an error of the run, from stored data that cannot be read, which is lost.
fn or_lost<T>(read: Result<T, DetectionStateError>) -> Result<Stored<T>, DetectionStateError> {
    match read {
        Ok(read) => Ok(Stored::Read(read)),
        Err(error @ DetectionStateError::Read(ReadError::Store(_))) => Err(error),
        Err(error) => Ok(Stored::Lost(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::MalformedRecord;
    use crate::ports::{StoreError, StoreErrorKind};

    fn state() -> DetectionState {
        DetectionState::new(Minute(1_000), AlertRules::default())
    }

    #[test]
    fn fewer_minutes_are_shown_together_after_processes_that_did_not_survive_more() {
        for (starts, expected) in
            [(0, 30), (1, 30), (3, 30), (4, 15), (6, 15), (7, 7), (10, 3), (13, 1), (16, 1), (u32::MAX, 1)]
        {
            let mut state = state();
            state.head.starts = starts;
            assert_eq!(state.minutes_at_once(), expected, "{starts} starts");
        }
    }

    #[test]
    fn state_in_memory_is_used_as_long_as_no_other_process_has_moved_the_head() {
        let moved = |state: &DetectionState| Head { next: Minute(1_001), ..state.head };
        for (held, stored, is_same_head, expected) in [
            (Some(4), 4, true, true),
            (Some(4), 6, true, false),
            // The write of this state may have happened although its reply was lost.
            (Some(4), 5, true, true),
            (None, 1, true, true),
            // The same version by somebody else.
            (Some(4), 5, false, false),
            (None, 1, false, false),
        ] {
            let mut state = state();
            state.version = held;
            let head = if is_same_head { state.head } else { moved(&state) };
            assert_eq!(state.is_current(&head, stored), expected, "{held:?} {stored} {is_same_head}");
            if expected {
                assert_eq!(state.version, Some(stored));
                assert!(!state.differs_from_stored());
            }
        }
    }

    #[test]
    fn store_that_fails_is_an_error_and_what_cannot_be_read_is_lost() {
        let failed = StoreError::new(StoreErrorKind::Throttled, "get", "p", "slow");
        assert!(or_lost::<()>(Err(failed.into())).is_err());
        let unreadable = [
            DetectionStateError::Incomplete,
            DetectionStateError::Journal(MalformedRecord::Older(2)),
            DetectionStateError::LearnedState(MalformedRecord::Damaged("cut short")),
            std::io::Error::other("no zstd").into(),
        ];
        for error in unreadable {
            assert!(matches!(or_lost::<()>(Err(error)), Ok(Stored::Lost(_))));
        }
        assert!(matches!(or_lost(Ok(7)), Ok(Stored::Read(7))));
    }
}
