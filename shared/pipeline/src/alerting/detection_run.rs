//! Detection runs over the store: each minute is evaluated once when it is over, and each change of an alert is notified once.
//!
//! ```text
//! stored counts ─▶ detector ─▶ changes ─▶ journal ─▶ alert registry, channels ─▶ struck off the journal ─▶ learned state
//! ```
//!
//! Runs may be repeated, interrupted anywhere or overlap. A change is in the journal before anybody is notified and leaves it
//! afterwards, and the journal moves conditionally together with the minute. What is lost between notifying and striking off is
//! notified again, with the same id and sequence.
//!
//! The learned state is by far the largest and is stored last, so that a failure to store it delays nobody's alert. A process that
//! lives on keeps the detector. Another one reads the learned state that was stored last and shows the detector the minutes since then
//! once more, without notifying anybody: their changes are in the journal already.

pub mod counts;
mod resume;
mod save;
pub mod shares;
mod state;

use std::collections::BTreeSet;
use std::future::Future;

use detection::{Bucket, Change, Detector, Row, State};
use event::{Minute, TenantId, Timestamp};

use crate::alerting::registry::{self, RegistryError};
use crate::directory::tenants;
use crate::history::answering::AnswerError;
use crate::history::compaction;
use crate::history::snapshot::Progress;
use crate::layout;
use crate::ledger::aggregate::Attempt;
use crate::ports::{Clock, Key, Store, StoreError};
use crate::stored::{self, ReadError};
use counts::{Line, Lines, Width};
use resume::Known;
use shares::Readers;
pub use state::StoredError;
use state::Waiting;

/// Width of the buckets that are evaluated.
const WIDTH: Width = Width::Minute;
/// Grace period: how long after the end of a minute its events may still arrive before the minute is evaluated.
const SETTLE_MS: i64 = 60_000;
/// How long the events of a minute are waited for while none newer has come: what is late is not missing.
const PATIENCE_MS: i64 = 10 * 60_000;
/// Minutes of history that a new installation learns from.
const LEARNED_MINUTES: u32 = 14 * 24 * 60;
/// Further behind than this, the minutes evaluated are the past: only what is still open at its end is notified.
const PAST_MINUTES: u32 = 6 * 60;
/// Minutes read together.
const MINUTES_AT_ONCE: u32 = 30;
/// Changes that no channel was tried with yet; while there are so many, nothing more is evaluated. Also the most that are kept of
/// changes that were not taken: a channel that takes nothing must not hold up the others.
pub const MAX_WAITING: usize = 1000;
/// A change that was not taken for so long is given up.
const GIVE_UP_MS: i64 = 24 * 60 * 60 * 1000;
/// Evaluating, and storing the learned state, end so long before the deadline.
const RESERVE_MS: i64 = 10_000;
/// Notifying ends so long before the deadline: the journal is still to be written.
const NOTIFY_RESERVE_MS: i64 = 7_000;

/// Where changes of alerts are notified.
pub trait Announce: Send + Sync {
    /// The names of the channels that are notified of a change.
    fn channels(&self, change: &Change) -> Vec<String>;

    /// Notifies one channel of a change, which may happen more than once.
    fn announce(
        &self,
        channel: &str,
        change: &Change,
    ) -> impl Future<Output = Result<(), AnnounceError>> + Send;
}

/// A channel was not notified, or its answer was lost.
pub type AnnounceError = Box<dyn std::error::Error + Send + Sync>;

/// What an installation decides.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long history is kept at which resolution.
    pub history: compaction::Settings,
    /// Where alerts point to: the address of the dashboard.
    pub dashboard: Option<String>,
}

/// Why a run came to nothing, or not to its end. The next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The counts could not be read.
    #[error("the counts to be judged could not be read")]
    Answer(#[from] AnswerError),
    /// The store failed or a stored record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The state of detection cannot be read or written.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// A change is not in the alert registry.
    #[error("a change of an alert was notified but is not in the alert registry; the next run tries again")]
    Alerts(#[from] RegistryError),
    /// A channel was not notified.
    #[error("channel {channel} was not notified; {count} notifications wait for the next run")]
    Announce {
        /// How many, over all channels.
        count: usize,
        /// The first channel that failed.
        channel: String,
        /// Why.
        #[source]
        source: AnnounceError,
    },
}

impl From<StoreError> for WatchError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Minutes evaluated.
    pub minutes: u32,
    /// Tenants evaluated.
    pub tenants: usize,
    /// Notifications sent, counted by channel.
    pub told: usize,
    /// Minutes that could be evaluated and were not, for want of time.
    pub behind: u32,
    /// Minutes since the learned state was stored, which another process would have to go through once more. About an hour at
    /// most, unless storing fails.
    pub unsaved: u32,
}

/// What a process remembers between runs.
#[derive(Debug, Default)]
pub struct Memory {
    known: Option<Known>,
}

/// How a run left what it knows.
enum Outcome {
    /// As the store has it, or ahead of it.
    Current,
    /// Another run moved on meanwhile: what this one did since does not count.
    Overtaken,
}

/// Evaluates what is due and notifies what changed. The attempt's deadline is when the platform ends the run.
pub async fn run<S: Store, C: Clock, A: Announce, R: Readers>(
    store: &S,
    clock: &C,
    announce: &A,
    readers: &R,
    settings: &Settings,
    memory: &mut Memory,
    attempt: Attempt,
) -> Result<Watched, WatchError> {
    let began = clock.now();
    let (writes, chunks, watched) = Default::default();
    let mut run = Run { store, clock, announce, readers, settings, attempt, began, writes, chunks, watched };
    let Some(mut known) = run.load(memory).await? else { return Ok(run.watched) };
    let outcome = run.all(&mut known).await;
    run.watched.unsaved = known.head.next.saturating_sub(known.head.snapshot_next);
    // What failed is tried again from here: the detector is ahead of the store, never beside it.
    if !matches!(outcome, Ok(Outcome::Overtaken)) {
        memory.known = Some(known);
    }
    outcome.map(|_| run.watched)
}

/// One run at work.
struct Run<'a, S, C, A, R> {
    store: &'a S,
    clock: &'a C,
    announce: &'a A,
    readers: &'a R,
    settings: &'a Settings,
    attempt: Attempt,
    began: Timestamp,
    /// Attempts to write so far: each has a number of its own.
    writes: u64,
    /// Chunks of minutes shown to the detector so far.
    chunks: u32,
    watched: Watched,
}

impl<S: Store, C: Clock, A: Announce, R: Readers> Run<'_, S, C, A, R> {
    /// Everything there is to do. What fails on the way does not keep the run from notifying what waits; it is the run's error
    /// nevertheless.
    async fn all(&mut self, known: &mut Known) -> Result<Outcome, WatchError> {
        if known.head.telling_until > self.clock.now().millis() {
            return Ok(Outcome::Current);
        }
        let (acknowledged, failure) = match self.evaluate(known).await {
            Ok(Some(acknowledged)) => (acknowledged, None),
            Ok(None) => return Ok(Outcome::Overtaken),
            Err(error) => (Vec::new(), Some(error)),
        };
        // The past is notified when it is over.
        let notifies = !known.head.is_learning && !known.journal.waiting.is_empty();
        // The right to notify is claimed together with the minutes that were evaluated.
        known.head.telling_until = if notifies { self.attempt.deadline.millis() } else { 0 };
        if known.differs() && !self.save(known).await? {
            return Ok(Outcome::Overtaken);
        }
        if !acknowledged.is_empty() {
            self.store.delete(acknowledged).await?;
        }
        let mut not_notified = None;
        if notifies {
            not_notified = self.notify(&mut known.journal.waiting).await;
            known.head.telling_until = 0;
            if !self.save(known).await? {
                return Ok(Outcome::Overtaken);
            }
        }
        if !self.save_learned(known).await? {
            return Ok(Outcome::Overtaken);
        }
        not_notified.or(failure).map_or(Ok(Outcome::Current), Err)
    }

    /// Catches up and evaluates what is due. The acknowledgements to remove once that is stored; nothing if another run was faster.
    async fn evaluate(&mut self, known: &mut Known) -> Result<Option<Vec<Key>>, WatchError> {
        let until = self.evaluate_until(known);
        if known.observed < known.head.next() {
            if !self.begin_catch_up(known).await? {
                return Ok(None);
            }
            if !self.catch_up(known, until).await? {
                self.watched.behind = self.due().await?.0.saturating_sub(known.observed.0);
                return Ok(Some(Vec::new()));
            }
        }
        let acknowledged = self.acknowledge(known).await?;
        let judged = self.judge(known, until).await;
        known.journal.book = known.detector.book().clone();
        // This process came through, whether or not all could be read.
        known.head.starts = 0;
        judged.map(|()| Some(acknowledged))
    }

    /// When evaluating ends: early enough for the learned state to be stored, if that is due, or it would never be by a process that has
    /// much to catch up with.
    fn evaluate_until(&self, known: &Known) -> Timestamp {
        let end = self.attempt.deadline.plus_millis(-RESERVE_MS);
        let half = end.millis_since(self.began).max(0) / 2;
        let reads_far = known.observed < known.head.next();
        if reads_far || save::is_due(known) { end.plus_millis(-half) } else { end }
    }

    /// Whether a chunk is not begun any more; the first one always is.
    fn is_over(&self, until: Timestamp) -> bool {
        self.chunks > 0 && self.clock.now() >= until
    }

    /// Evaluates minutes up to now, as long as there is time.
    async fn judge(&mut self, known: &mut Known, until: Timestamp) -> Result<(), WatchError> {
        loop {
            let due = self.due().await?;
            self.watched.behind = due.0.saturating_sub(known.head.next);
            known.head.is_learning |= self.watched.behind > PAST_MINUTES;
            let untried = known.journal.waiting.iter().filter(|waiting| !waiting.has_failed).count();
            let is_full = untried >= MAX_WAITING && !known.head.is_learning;
            if self.watched.behind == 0 || is_full || self.is_over(until) {
                break;
            }
            let to = Minute((known.head.next + known.minutes_at_once()).min(due.0));
            let (changes, to) = self.observe(&mut known.detector, known.observed, to).await?;
            self.watched.minutes += to.0 - known.head.next;
            known.head.next = to.0;
            known.observed = to;
            if known.head.is_learning {
                self.record_past(&changes).await;
            }
            self.hand_over(changes, known);
        }
        let was_past = known.head.is_learning;
        known.head.is_learning &= self.watched.behind > 0;
        if was_past {
            forget_past(known);
        }
        Ok(())
    }

    /// Puts changes of the past into the alert registry: many of them will not wait to be notified.
    async fn record_past(&self, changes: &[Change]) {
        for change in changes {
            if let Err(error) = registry::record(self.store, change, self.clock.now()).await {
                tracing::warn!(alert.id = %change.id, error = %error, "a past change of an alert is not in the registry");
            }
        }
    }

    /// The first minute that cannot be evaluated yet.
    async fn due(&self) -> Result<Minute, WatchError> {
        let now = self.clock.now();
        let progress = Progress::read(self.store).await?;
        let settled = now.plus_millis(-SETTLE_MS).minute();
        let patient = now.plus_millis(-PATIENCE_MS).minute();
        let newest = progress.newest_event().map_or(patient, Timestamp::minute);
        Ok(settled.min(newest.max(patient)))
    }

    /// Shows the detector the minutes in `[from, to)`, or fewer; the changes, and the first minute that was not shown. After an error
    /// the detector is as it was.
    async fn observe(
        &mut self,
        detector: &mut Detector,
        from: Minute,
        to: Minute,
    ) -> Result<(Vec<Change>, Minute), WatchError> {
        let progress = Progress::read(self.store).await?;
        let tenants: Vec<TenantId> = tenants::list(self.store).await?;
        self.watched.tenants = tenants.len();
        detector.retain_tenants(|name| tenants.binary_search_by(|tenant| tenant.as_str().cmp(name)).is_ok());
        let kept_from = self.settings.history.first_day_of_hours(self.clock.now()).first_hour();
        let (store, readers, range) = (self.store, self.readers, (from, to));
        let read = shares::read(store, readers, &progress, &tenants, range, kept_from);
        let (mut lines, to) = Box::pin(read).await?;
        self.chunks += 1;
        let mut changes = Vec::new();
        for minute in from.0..to.0 {
            changes.extend(observe(detector, Minute(minute), &mut lines));
        }
        Ok((changes, to))
    }

    /// Tells the detector which alerts were acknowledged; the items to remove once that is stored.
    async fn acknowledge(&self, known: &mut Known) -> Result<Vec<Key>, WatchError> {
        let mut done = Vec::new();
        for item in stored::range(self.store, layout::acknowledgements()).await? {
            if let Some(alert) = layout::acknowledged_alert(&item.key) {
                known.detector.acknowledge(alert);
            }
            done.push(item.key);
        }
        Ok(done)
    }

    /// Puts changes into the journal: of the past only the last one of each alert.
    fn hand_over(&self, fresh: Vec<Change>, known: &mut Known) {
        let since = self.clock.now().millis();
        let waiting = &mut known.journal.waiting;
        for mut change in fresh {
            let mut first = change.sequence;
            if known.head.is_learning {
                for other in waiting.extract_if(.., |other| other.change.id == change.id) {
                    first = first.min(other.first);
                }
                // No channel was notified of the alert, so its first message is neither an escalation nor a recurrence.
                if first == 1 && change.state != State::Resolved {
                    (change.state, change.escalated, change.recurred) = (State::Firing, false, false);
                }
            }
            change.url = self.settings.dashboard.as_ref().map(|url| address(url, &change));
            let channels = self.announce.channels(&change);
            waiting.push(Waiting { change, first, channels, since, is_recorded: false, has_failed: false });
        }
    }

    /// Puts what waits into the alert registry and notifies its channels. A channel that fails is left alone until the next run, and so
    /// is the registry; neither holds up the others.
    async fn notify(&mut self, waiting: &mut Vec<Waiting>) -> Option<WatchError> {
        let until = self.attempt.deadline.plus_millis(-NOTIFY_RESERVE_MS);
        let mut failed: BTreeSet<String> = BTreeSet::new();
        let mut failure: Option<(String, AnnounceError)> = None;
        let mut not_recorded: Option<RegistryError> = None;
        for (number, waiting) in waiting.iter_mut().enumerate() {
            let now = self.clock.now();
            if number > 0 && now >= until {
                break;
            }
            let Waiting { change, channels, since, is_recorded, has_failed, .. } = waiting;
            let gives_up = now.millis() - *since > GIVE_UP_MS;
            if !*is_recorded && !matches!(not_recorded, Some(RegistryError::Read(ReadError::Store(_)))) {
                match registry::record(self.store, change, now).await {
                    Ok(()) => *is_recorded = true,
                    Err(error) if gives_up => {
                        tracing::error!(alert.id = %change.id, error = %error, "a change of an alert was not put into the registry for a day and is given up");
                        *is_recorded = true;
                    }
                    Err(error) => _ = not_recorded.get_or_insert(error),
                }
            }
            let mut left = Vec::new();
            for channel in channels.drain(..) {
                if failed.contains(&channel) {
                    left.push(channel);
                    continue;
                }
                match self.announce.announce(&channel, change).await {
                    Ok(()) => self.watched.told += 1,
                    Err(error) if gives_up => {
                        tracing::error!(alert.id = %change.id, channel, error = %error, "a channel was not notified of a change of an alert for a day, which is given up");
                    }
                    Err(error) => {
                        failed.insert(channel.clone());
                        failure.get_or_insert((channel.clone(), error));
                        left.push(channel);
                    }
                }
            }
            *channels = left;
            *has_failed |= !channels.is_empty() || !*is_recorded;
        }
        waiting.retain(|waiting| !waiting.channels.is_empty() || !waiting.is_recorded);
        drop_oldest(waiting);
        let count = waiting.iter().map(|waiting| waiting.channels.len()).sum();
        let failure = failure.map(|(channel, source)| WatchError::Announce { count, channel, source });
        failure.or(not_recorded.map(Into::into))
    }
}

/// Forgets alerts of the past of which nobody was notified, and which are over. As long as they may fire again under their id, they are
/// kept, if the past is not over.
fn forget_past(known: &mut Known) {
    let (is_past, book) = (known.head.is_learning, known.detector.book());
    known.journal.waiting.retain(|waiting| {
        let is_over = waiting.first == 1 && waiting.change.state == State::Resolved;
        !is_over || (is_past && book.has(&waiting.change.id))
    });
}

/// Gives up the oldest changes that were not taken if they are too many to keep.
fn drop_oldest(waiting: &mut Vec<Waiting>) {
    let failed = waiting.iter().filter(|waiting| waiting.has_failed).count();
    let mut excess = failed.saturating_sub(MAX_WAITING);
    if excess > 0 {
        tracing::error!(changes = excess, "channels take nothing: the oldest changes of alerts are given up");
    }
    waiting.retain(|waiting| {
        let is_dropped = waiting.has_failed && excess > 0;
        excess -= usize::from(is_dropped);
        !is_dropped
    });
}

/// Gives the detector one bucket's lines, none if it has none.
fn observe(detector: &mut Detector, start: Minute, lines: &mut Lines) -> Vec<Change> {
    let lines = lines.remove(&start).unwrap_or_default();
    let rows: Vec<Row<'_>> = lines.iter().map(Line::row).collect();
    detector.observe(&Bucket { start, rows: &rows })
}

/// Where to look at an alert.
fn address(dashboard: &str, change: &Change) -> String {
    format!("{}/?alert={}", dashboard.trim_end_matches('/'), change.id)
}

/// Evaluates the past without storing or notifying anything: each change as it would have been notified.
///
/// # Errors
/// [`WatchError`] if the counts cannot be read.
pub async fn backtest<S: Store>(
    store: &S,
    history: &compaction::Settings,
    tenants: &[TenantId],
    (from, to): (Minute, Minute),
    width: Width,
    detector: &mut Detector,
    now: Timestamp,
) -> Result<Vec<Change>, WatchError> {
    let progress = Progress::read(store).await?;
    let kept_from = history.first_day_of_hours(now).first_hour();
    let mut changes = Vec::new();
    let step = MINUTES_AT_ONCE * width.minutes();
    let mut next = from;
    while next < to {
        let end = Minute(next.0.saturating_add(step).min(to.0));
        let mut lines = counts::read(store, &progress, tenants, (next, end), width, kept_from).await?;
        for start in (next.0..end.0).step_by(width.minutes() as usize) {
            changes.extend(observe(detector, Minute(start), &mut lines));
        }
        next = end;
    }
    Ok(changes)
}
