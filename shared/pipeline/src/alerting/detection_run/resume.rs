//! Where a run begins: with what the process remembers, or with what is stored.
//!
//! A process that begins from the stored state shows its detector the minutes between the learned state and the head once more. That may
//! take several runs, since storing the learned state may have failed for hours. Nothing may keep minutes from being evaluated for good:
//! what cannot be read is learned anew from the history, and each time that a process dies before it has caught up, the next one goes
//! through half as much.

use detection::{Detector, Rules};
use event::{Minute, Timestamp};

use super::shares::Readers;
use super::state::{self, Head, Journal, Parts, Saving, StoredError};
use super::{Announce, LEARNED_MINUTES, MINUTES_AT_ONCE, Memory, Run, WIDTH, WatchError, Width, counts};
use crate::directory::rules;
use crate::directory::tenants;
use crate::history::snapshot::Progress;
use crate::ports::{Clock, Store};

/// All there is to know. Where it differs from the store, it is ahead of it.
#[derive(Debug)]
pub(super) struct Known {
    /// The version of the stored head; none before the first.
    pub(super) version: Option<u64>,
    pub(super) head: Head,
    pub(super) journal: Journal,
    /// The head and the journal as they are stored.
    pub(super) stored: (Head, Journal),
    pub(super) detector: Detector,
    /// The first minute that the detector has not seen; before the head's while it catches up.
    pub(super) observed: Minute,
    /// Whether this process has yet to say that it catches up.
    is_new: bool,
    /// Whether the stored alerts are lost, so that those of the detector are the best there are.
    has_lost_alerts: bool,
    /// The learned state that is being stored.
    pub(super) saving: Option<Saving>,
}

impl Known {
    /// Whether the head or the journal are ahead of the store.
    pub(super) fn differs(&self) -> bool {
        self.version.is_none() || self.head != self.stored.0 || self.journal != self.stored.1
    }

    /// Whether this is still what is stored, or ahead of it. A write whose answer was lost may have happened.
    fn is_current(&mut self, head: &Head, version: u64) -> bool {
        let next = self.version.map_or(1, |version| version + 1);
        if version == next && *head == self.head {
            self.version = Some(version);
            self.stored = (self.head.clone(), self.journal.clone());
        }
        self.version == Some(version)
    }

    /// Minutes shown to the detector together: fewer after each process that died over them.
    pub(super) fn minutes_at_once(&self) -> u32 {
        (MINUTES_AT_ONCE >> (self.deaths() / 3).min(8)).max(1)
    }

    /// Processes before this one that died before they had caught up.
    fn deaths(&self) -> u32 {
        self.head.starts.saturating_sub(1)
    }

    fn end_catch_up(&mut self) {
        if !self.has_lost_alerts {
            self.detector.set_book(self.journal.book.clone());
        }
    }
}

impl<S: Store, C: Clock, A: Announce, R: Readers> Run<'_, S, C, A, R> {
    /// What is known; nothing yet if there is nothing to learn from.
    pub(super) async fn load(&mut self, memory: &mut Memory) -> Result<Option<Known>, WatchError> {
        let rules = rules::effective(self.store).await?;
        let found = state::head(self.store).await?;
        if let Some(mut known) = memory.known.take() {
            let is_current = match &found {
                Some((head, version)) => known.is_current(head, *version),
                None => known.version.is_none(),
            };
            if is_current {
                known.detector.set_rules(rules);
                return Ok(Some(known));
            }
        }
        match found {
            Some((head, version)) => self.resume(head, version, &rules).await,
            None => self.begin(rules).await,
        }
    }

    /// Detection that has evaluated nothing yet.
    async fn begin(&self, rules: Rules) -> Result<Option<Known>, WatchError> {
        let Some(next) = self.first_minute().await? else { return Ok(None) };
        let head = Head {
            next: next.0,
            is_learning: true,
            learned_from: next.0,
            snapshot_next: next.0,
            ..Head::default()
        };
        Ok(Some(Known {
            version: None,
            stored: (head.clone(), Journal::default()),
            head,
            journal: Journal::default(),
            detector: Detector::new(WIDTH.minutes(), rules),
            observed: next,
            is_new: false,
            has_lost_alerts: false,
            saving: None,
        }))
    }

    /// The hour of the first event there is to learn from; nothing if there is none.
    async fn first_minute(&self) -> Result<Option<Minute>, WatchError> {
        let now = self.clock.now();
        let to = now.minute().hour().start().minute().0 + 60;
        let from = Minute(to - LEARNED_MINUTES);
        let progress = Progress::read(self.store).await?;
        let tenants = tenants::list(self.store).await?;
        let kept_from = self.settings.history.first_day_of_hours(now).first_hour();
        let lines = counts::read_readable(
            self.store,
            &progress,
            &tenants,
            (from, Minute(to)),
            Width::Hour,
            kept_from,
        )
        .await?;
        Ok(lines.keys().next().copied())
    }

    /// Restores detection from the store. Returns nothing if another run moved the head during the reads.
    async fn resume(&self, mut head: Head, version: u64, rules: &Rules) -> Result<Option<Known>, WatchError> {
        let journal = readable(state::read_journal(self.store, head.journal).await)?;
        let learned = if head.snapshot.is_none() {
            Ok(None)
        } else {
            readable(state::read_learned(self.store, head.snapshot, rules).await)?.map(Some)
        };
        let is_lost = journal.is_err() || learned.is_err();
        if is_lost && state::head(self.store).await?.is_none_or(|(_, found)| found != version) {
            return Ok(None);
        }
        let stored = head.clone();
        let has_lost_alerts = journal.is_err();
        let journal = journal.unwrap_or_else(|error| {
            tracing::error!(error = %error, "the journal of alerts is lost: changes that waited are not notified, open alerts are found anew");
            head.journal = Parts::default();
            Journal::default()
        });
        let learned = learned.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "the learned state of detection is lost and is learned anew from the history");
            head.snapshot = Parts::default();
            None
        });
        if learned.is_none() {
            head.snapshot_next = head.learned_from.max(head.next.saturating_sub(LEARNED_MINUTES));
        }
        let mut known = Known {
            version: Some(version),
            observed: Minute(head.snapshot_next),
            head,
            stored: (stored, journal.clone()),
            journal,
            detector: learned.unwrap_or_else(|| Detector::new(WIDTH.minutes(), rules.clone())),
            is_new: true,
            has_lost_alerts,
            saving: None,
        };
        if known.observed >= known.head.next() {
            known.end_catch_up();
        }
        Ok(Some(known))
    }

    /// Counts this process before it replays what may be too much for it, and skips what was too much for the processes before it.
    /// Returns false if another run moved the head first.
    pub(super) async fn begin_catch_up(&mut self, known: &mut Known) -> Result<bool, WatchError> {
        if !known.is_new {
            return Ok(true);
        }
        known.is_new = false;
        known.head.starts = known.head.starts.saturating_add(1);
        let most = LEARNED_MINUTES >> known.deaths().min(16);
        let from = Minute(known.head.next.saturating_sub(most));
        if known.observed < from {
            tracing::warn!(
                minutes = from.0 - known.observed.0,
                "detection does not come to learn from what was too much for it"
            );
            known.detector.skip_to(from);
            known.observed = from;
        }
        self.save(known).await
    }

    /// Replays to the detector the minutes that an earlier process evaluated, and returns whether it has seen all of them. Their changes
    /// were notified already or wait in the journal.
    pub(super) async fn catch_up(&mut self, known: &mut Known, until: Timestamp) -> Result<bool, WatchError> {
        while known.observed < known.head.next() {
            if self.is_over(until) {
                return Ok(false);
            }
            let to = Minute((known.observed.0 + known.minutes_at_once()).min(known.head.next));
            known.observed = self.observe(&mut known.detector, known.observed, to).await?.1;
        }
        known.end_catch_up();
        Ok(true)
    }
}

/// Separates stored data that is unreadable (inner error) from a store that fails (outer error).
fn readable<T>(read: Result<T, StoredError>) -> Result<Result<T, StoredError>, StoredError> {
    match read {
        Err(StoredError::Store(error)) => Err(error.into()),
        read => Ok(read),
    }
}
