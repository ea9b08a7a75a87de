//! Detection runs over the store: each minute is evaluated once when it is over, and each change of an alert is notified once.
//!
//! ```text
//! stored counts ─▶ detector ─▶ changes ─▶ notification journal ─▶ alert registry, channels ─▶ removed from the journal ─▶ learned state
//! ```
//!
//! Runs may be repeated, may be interrupted anywhere and may overlap. A change is in the journal before anybody is notified, and is
//! removed afterwards; the head of detection, which names the valid journal, moves conditionally together with the minute.
//!
//! The learned state is by far the largest part and is stored last, so that a failure to store it delays nobody's alert. A process
//! keeps its detector between runs. A new process reads the learned state that was stored last and replays the minutes since then to its
//! detector, without notifying anybody: their changes are in the journal already.

mod backtest;
pub mod counts;
mod counts_query;
mod head;
mod journal;
mod learned_state;
mod notify;
mod parts;
mod resume;
mod save;
mod sending;
pub mod tenant_groups;

use detection::{Bucket, Change, Detector};
use event::{Hour, Minute, TenantId, Timestamp};

use crate::alerting::registry::{self, RegistryError};
use crate::codec::MalformedRecord;
use crate::directory::tenants;
use crate::history::answering::AnswerError;
use crate::history::compaction;
use crate::history::snapshot::CountingProgress;
use crate::layout;
use crate::ledger::aggregate::Attempt;
use crate::ports::{Clock, Key, Store, StoreError};
use crate::stored::{self, ReadError};
pub use backtest::BacktestRun;
use counts::{CountsByMinute, CountsReader, OwnedCountsRow, Width};
use journal::PendingChange;
pub use notify::{MAX_PENDING, Notifier, NotifyError};
use resume::DetectionState;
use tenant_groups::GroupReaders;

/// Width of the buckets that are evaluated.
const WIDTH: Width = Width::Minute;
/// Grace period: how long after the end of a minute its events may still arrive before the minute is evaluated.
const GRACE_MS: i64 = 60_000;
/// How long a run waits for a minute's events while no newer event has arrived: the stream may be late, and late mail is not missing.
const MAX_WAIT_MS: i64 = 10 * 60_000;
/// Minutes of history that a new installation learns from: 14 days.
const LEARNED_MINUTES: u32 = 14 * 24 * 60;
/// If detection is further behind than this, it evaluates the past, of which only what is still open at its end is notified.
const PAST_MINUTES: u32 = 6 * 60;
/// Minutes that are read together: more take fewer calls, fewer take less memory.
const MINUTES_AT_ONCE: u32 = 30;
/// How long before the deadline a run stops evaluating, and storing the learned state. One call to the store may take 6 seconds, and the
/// head is still to be written.
const RESERVE_MS: i64 = 10_000;
/// How long before the deadline a run stops notifying: the journal is still to be written, in a call that may take 6 seconds.
const NOTIFY_RESERVE_MS: i64 = 7_000;

/// The settings of detection in an installation.
#[derive(Clone, Debug, Default)]
pub struct DetectionSettings {
    /// How long history is kept at which resolution.
    pub history: compaction::CompactionSettings,
    /// The address of the dashboard, which alerts link to. Without one they have no link.
    pub dashboard: Option<String>,
}

/// Why a run failed, in whole or in part. The next run continues where it ended.
#[derive(Debug, thiserror::Error)]
pub enum DetectionError {
    /// The counts could not be read.
    #[error("the counts to evaluate could not be read")]
    Counts(#[from] AnswerError),
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The state of detection cannot be read or written.
    #[error(transparent)]
    State(#[from] DetectionStateError),
    /// A change is not in the alert registry.
    #[error("a change of an alert was notified but is not in the alert registry; the next run tries again")]
    Registry(#[from] RegistryError),
    /// A channel was not notified.
    #[error("channel {channel} was not notified; {count} notifications wait for the next run")]
    Notify {
        /// Number of notifications that were not sent, of all channels.
        count: usize,
        /// The first channel that failed.
        channel: String,
        /// The error of that channel.
        #[source]
        source: NotifyError,
    },
}

impl From<StoreError> for DetectionError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// The stored state of detection cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DetectionStateError {
    /// The store failed or the head cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Parts have expired or were removed.
    #[error("parts of the stored detection state are missing")]
    Incomplete,
    /// The notification journal cannot be read.
    #[error("the stored notification journal cannot be read")]
    Journal(#[source] MalformedRecord),
    /// The learned state cannot be read.
    #[error("the stored learned state of detection cannot be read")]
    LearnedState(#[source] MalformedRecord),
    /// The learned state cannot be compressed or decompressed.
    #[error("the learned state of detection cannot be compressed or decompressed")]
    Compression(#[from] std::io::Error),
}

impl From<StoreError> for DetectionStateError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Minutes that were evaluated, without those replayed to catch up.
    pub minutes: u32,
    /// Tenants whose counts were read, whether or not they had mail.
    pub tenants: usize,
    /// Notifications sent, counted by channel.
    pub notified: usize,
    /// Minutes that could have been evaluated but were not, for lack of time.
    pub behind: u32,
    /// Minutes since the learned state was stored, which a new process would replay. About an hour at most, unless storing fails.
    pub unsaved: u32,
}

/// The state of detection that a process keeps between runs, so that it need not read the stored one.
#[derive(Debug, Default)]
pub struct DetectionCache {
    state: Option<DetectionState>,
}

/// How a run ended.
enum Outcome {
    /// The state in memory is what is stored, or ahead of it.
    Current,
    /// Another run moved the head meanwhile, so that this one has no effect since it last moved it.
    Overtaken,
}

/// A detection run: what it works with.
#[derive(Debug)]
pub struct DetectionRun<'a, S, C, N, R> {
    /// The store of the counts, of the state of detection and of the alert registry.
    pub store: &'a S,
    /// The clock, since time passes during a run.
    pub clock: &'a C,
    /// Notifies people of changes.
    pub notifier: &'a N,
    /// Functions that read groups of tenants, if there are any.
    pub readers: &'a R,
    /// What the installation is configured to do.
    pub settings: &'a DetectionSettings,
    /// The attempt, whose deadline is when the platform ends the run.
    pub attempt: Attempt,
}

impl<S: Store, C: Clock, N: Notifier, R: GroupReaders> DetectionRun<'_, S, C, N, R> {
    /// Evaluates the minutes that are due and notifies the changes.
    ///
    /// # Errors
    /// [`DetectionError`] with the first failure. What does not depend on it was done nevertheless.
    pub async fn run(self, cache: &mut DetectionCache) -> Result<RunReport, DetectionError> {
        let started_at = self.clock.now();
        let mut run =
            ActiveRun { context: self, started_at, writes: 0, chunks: 0, report: RunReport::default() };
        // First, since it is short and waits for no counts. Neither part fails for the other.
        let sending = Box::pin(run.alert_about_sending()).await;
        let evaluated = run.load_and_evaluate(cache).await;
        evaluated.and(sending).map(|()| run.report)
    }
}

/// A run in progress.
struct ActiveRun<'a, S, C, N, R> {
    context: DetectionRun<'a, S, C, N, R>,
    started_at: Timestamp,
    /// Number of writes so far that have an attempt number of their own.
    writes: u64,
    /// Number of chunks of minutes that were shown to the detector so far.
    chunks: u32,
    report: RunReport,
}

/// What the detector has observed.
struct Observed {
    changes: Vec<Change>,
    /// The first minute that was not observed.
    to: Minute,
}

impl<S: Store, C: Clock, N: Notifier, R: GroupReaders> ActiveRun<'_, S, C, N, R> {
    async fn load_and_evaluate(&mut self, cache: &mut DetectionCache) -> Result<(), DetectionError> {
        let Some(mut state) = self.load(cache).await? else { return Ok(()) };
        let outcome = self.evaluate_and_notify(&mut state).await;
        self.report.unsaved = state.unsaved_minutes();
        // After an error the state is ahead of the store, never beside it, so the next run can continue with it.
        if !matches!(outcome, Ok(Outcome::Overtaken)) {
            cache.state = Some(state);
        }
        outcome.map(drop)
    }

    /// The evaluation and its notifications. A failure to evaluate does not prevent the notification of what is pending; it is the run's error nevertheless.
    async fn evaluate_and_notify(&mut self, state: &mut DetectionState) -> Result<Outcome, DetectionError> {
        // Another run is notifying. It has the exclusive right until its deadline, after which the platform has ended it.
        if state.head.notifying_until > self.context.clock.now().millis() {
            return Ok(Outcome::Current);
        }
        // Evaluated before notifying, so that new changes go out in the same run.
        let (acknowledged, failure) = match self.evaluate(state).await {
            Ok(Some(acknowledged)) => (acknowledged, None),
            Ok(None) => return Ok(Outcome::Overtaken),
            Err(error) => (Vec::new(), Some(error)),
        };
        // The past is notified when all of it was evaluated.
        let notifies = !state.head.is_learning && !state.journal.pending.is_empty();
        // The right to notify is claimed together with the minutes that were evaluated.
        state.head.notifying_until = if notifies { self.context.attempt.deadline.millis() } else { 0 };
        // Before anybody is notified: the next process would not know of a change that is not in the stored journal.
        if state.differs_from_stored() && !self.save(state).await? {
            return Ok(Outcome::Overtaken);
        }
        // After the save: an acknowledgement that was removed before would be lost with a run that fails in between.
        if !acknowledged.is_empty() {
            self.context.store.delete(acknowledged).await?;
        }
        let mut not_notified = None;
        if notifies {
            not_notified = self.notify(&mut state.journal.pending).await;
            // Given up at once rather than at the deadline, so that the next run need not wait.
            state.head.notifying_until = 0;
            if !self.save(state).await? {
                return Ok(Outcome::Overtaken);
            }
        }
        // Last, since it is the slowest: nobody's alert waits for it.
        if !self.save_learned_state(state).await? {
            return Ok(Outcome::Overtaken);
        }
        not_notified.or(failure).map_or(Ok(Outcome::Current), Err)
    }

    /// Catches up and evaluates what is due. Returns the keys of the acknowledgements to remove once the state is stored; `None` if another
    /// run moved the head first.
    async fn evaluate(&mut self, state: &mut DetectionState) -> Result<Option<Vec<Key>>, DetectionError> {
        let until = self.evaluate_until(state);
        if state.observed < state.head.next {
            if !self.begin_catch_up(state).await? {
                return Ok(None);
            }
            if !self.catch_up(state, until).await? {
                self.report.behind = self.first_not_due().await?.0.saturating_sub(state.observed.0);
                return Ok(Some(Vec::new()));
            }
        }
        let acknowledged = self.read_acknowledgements(state).await?;
        // Acknowledgements first, so that this run sends no reminder of an alert that somebody takes care of.
        let evaluated = self.evaluate_due(state, until).await;
        state.journal.alerts = state.detector.registry().clone();
        // This process has caught up, whether or not all counts could be read.
        state.head.starts = 0;
        evaluated.map(|()| Some(acknowledged))
    }

    /// When to stop evaluating. If the learned state is to be stored, it gets half of the time: otherwise a process that has much to catch
    /// up with would never store it.
    fn evaluate_until(&self, state: &DetectionState) -> Timestamp {
        let end = self.context.attempt.deadline.plus_millis(-RESERVE_MS);
        let half = end.millis_since(self.started_at).max(0) / 2;
        let catches_up = state.observed < state.head.next;
        if catches_up || save::is_due(state) { end.plus_millis(-half) } else { end }
    }

    /// Whether no further chunk of minutes is started. The first one always is, so that every run makes progress.
    fn is_out_of_time(&self, until: Timestamp) -> bool {
        self.chunks > 0 && self.context.clock.now() >= until
    }

    /// Evaluates the minutes that are due, as long as there is time.
    async fn evaluate_due(
        &mut self,
        state: &mut DetectionState,
        until: Timestamp,
    ) -> Result<(), DetectionError> {
        loop {
            // Read again in each round: time passes, and events arrive, while minutes are evaluated.
            let due = self.first_not_due().await?;
            self.report.behind = due.0.saturating_sub(state.head.next.0);
            // Nobody can act on an alert that was over hours ago, and a flood of them would hide the one that is not.
            state.head.is_learning |= self.report.behind > PAST_MINUTES;
            // While detection learns, later changes of an alert replace earlier ones, so the journal stays small.
            let is_full = state.journal.unattempted() >= MAX_PENDING && !state.head.is_learning;
            if self.report.behind == 0 || is_full || self.is_out_of_time(until) {
                break;
            }
            let to = Minute((state.head.next.0 + state.minutes_at_once()).min(due.0));
            let observed = self.observe(&mut state.detector, state.observed, to).await?;
            self.report.minutes += observed.to.0 - state.head.next.0;
            state.head.next = observed.to;
            state.observed = observed.to;
            if state.head.is_learning {
                self.record_past(&observed.changes).await;
            }
            self.add_to_journal(observed.changes, state);
        }
        let was_learning = state.head.is_learning;
        state.head.is_learning &= self.report.behind > 0;
        if was_learning {
            state.journal.remove_past(state.detector.registry(), state.head.is_learning);
        }
        Ok(())
    }

    /// Records changes of the past in the alert registry at once: most of them are replaced in the journal before they are notified. A
    /// failure leaves a gap in the alert's history and nothing else.
    async fn record_past(&self, changes: &[Change]) {
        for change in changes {
            if let Err(error) = registry::record(self.context.store, change, self.context.clock.now()).await {
                tracing::warn!(alert.id = %change.id, error = %error, "a past change of an alert is not in the registry");
            }
        }
    }

    /// The first minute that cannot be evaluated yet.
    async fn first_not_due(&self) -> Result<Minute, DetectionError> {
        let newest_event = CountingProgress::read(self.context.store).await?.newest_event();
        Ok(first_not_due(self.context.clock.now(), newest_event))
    }

    /// The first hour that is kept by the minute.
    fn minutes_kept_from(&self) -> Hour {
        self.context.settings.history.first_day_of_hours(self.context.clock.now()).first_hour()
    }

    /// Shows the detector the minutes in `[from, to)`, or fewer. After an error the detector is as it was.
    async fn observe(
        &mut self,
        detector: &mut Detector,
        from: Minute,
        to: Minute,
    ) -> Result<Observed, DetectionError> {
        let store = self.context.store;
        let progress = CountingProgress::read(store).await?;
        // Again for each chunk: a tenant that was erased meanwhile must not be evaluated.
        let tenants: Vec<TenantId> = tenants::list(store).await?;
        self.report.tenants = tenants.len();
        detector.retain_tenants(|name| tenants.binary_search_by(|tenant| tenant.as_str().cmp(name)).is_ok());
        let minutes_kept_from = self.minutes_kept_from();
        let reader = CountsReader { store, progress: &progress, width: WIDTH, minutes_kept_from };
        let range = from..to;
        // All minutes of a chunk are read in one query: one read for each minute would be most of the time.
        let read = tenant_groups::read_all(&reader, self.context.readers, &tenants, &range);
        let (mut rows, to) = Box::pin(read).await?;
        self.chunks += 1;
        let mut changes = Vec::new();
        for minute in from.0..to.0 {
            changes.extend(observe_bucket(detector, Minute(minute), &mut rows));
        }
        Ok(Observed { changes, to })
    }

    /// Passes the acknowledgements on to the detector. Returns their keys, to remove them once the state is stored.
    async fn read_acknowledgements(&self, state: &mut DetectionState) -> Result<Vec<Key>, DetectionError> {
        let mut keys = Vec::new();
        for item in stored::range(self.context.store, layout::acknowledgements()).await? {
            if let Some(alert) = layout::acknowledged_alert(&item.key) {
                state.detector.acknowledge(alert);
            }
            // Also of an alert that detection does not know: otherwise its acknowledgement would be read for ever.
            keys.push(item.key);
        }
        Ok(keys)
    }

    /// Puts changes into the journal, with the link to the dashboard and the channels that are to be notified.
    fn add_to_journal(&self, changes: Vec<Change>, state: &mut DetectionState) {
        let since = self.context.clock.now().millis();
        for mut change in changes {
            let first = if state.head.is_learning {
                state.journal.replace_earlier(&mut change)
            } else {
                change.sequence
            };
            change.url = self.context.settings.dashboard.as_ref().map(|url| link(url, &change));
            // Stored with the change, which then loses each channel that was notified.
            let channels = self.context.notifier.channels(&change);
            let pending =
                PendingChange { change, first, channels, since, is_recorded: false, has_failed: false };
            state.journal.pending.push(pending);
        }
    }
}

/// The first minute that cannot be evaluated yet: its grace period is not over, or no event after it has arrived and it is recent enough
/// to wait.
fn first_not_due(now: Timestamp, newest_event: Option<Timestamp>) -> Minute {
    let settled = now.plus_millis(-GRACE_MS).minute();
    let waited = now.plus_millis(-MAX_WAIT_MS).minute();
    let newest = newest_event.map_or(waited, Timestamp::minute);
    // The newest event shows how far the stream is; without one, the longest wait decides.
    settled.min(newest.max(waited))
}

/// Shows the detector one bucket, which is empty if no row begins with it, and returns the changes.
fn observe_bucket(detector: &mut Detector, start: Minute, rows: &mut CountsByMinute) -> Vec<Change> {
    let rows = rows.remove(&start).unwrap_or_default();
    let rows: Vec<detection::BucketRow<'_>> = rows.iter().map(OwnedCountsRow::row).collect();
    detector.observe(&Bucket { start, rows: &rows })
}

/// The link to an alert on the dashboard.
fn link(dashboard: &str, change: &Change) -> String {
    format!("{}/?alert={}", dashboard.trim_end_matches('/'), change.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_due_after_its_grace_period_or_after_the_longest_wait() {
        let at = |minute: i64, second: i64| Timestamp::from_seconds(minute * 60 + second);
        for (newest_event, expected) in [
            // Newer events have arrived: only the grace period counts.
            (Some(at(100, 59)), 99),
            (Some(at(99, 0)), 99),
            (Some(at(98, 30)), 98),
            // The stream is late: minutes after the newest event are waited for.
            (Some(at(95, 0)), 95),
            (Some(at(80, 0)), 90),
            (None, 90),
        ] {
            assert_eq!(first_not_due(at(100, 0), newest_event), Minute(expected), "{newest_event:?}");
        }
    }

    #[test]
    fn a_link_names_the_alert_whether_or_not_the_dashboards_address_ends_in_a_slash() {
        let change = journal::tests::pending("al_1", 1, "firing").change;
        for dashboard in ["https://mail.example", "https://mail.example/"] {
            assert_eq!(link(dashboard, &change), "https://mail.example/?alert=al_1");
        }
    }
}
