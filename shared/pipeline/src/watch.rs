//! Detection over the store: each minute is judged once when it is over, and each change of an alert told once.
//!
//! ```text
//! stored counts ─▶ detector ─▶ changes ─▶ kept with the alerts ─▶ journal ─▶ told ─▶ struck off the journal
//! ```
//!
//! Safe under runs that are repeated, interrupted anywhere or beside each other: a change is in the journal before it is told and
//! leaves it after, and the journal moves conditionally. What is lost between telling and striking off is told again, with the
//! same id and sequence. A process that lives on keeps the detector; another one reads what was learned within the hour and
//! looks at the minutes since then once more.

pub mod counts;
pub mod shares;
mod state;

use std::collections::BTreeSet;
use std::future::Future;

use detection::{Bucket, Change, Detector, Row, State};
use event::{Minute, TenantId, Timestamp};

use crate::aggregate::Attempt;
use crate::alerts::{self, AlertsError};
use crate::answer::AnswerError;
use crate::compact;
use crate::ports::{Clock, Key, Store, StoreError};
use crate::rules::{self, RulesError};
use crate::snapshot::Progress;
use crate::stored::{self, ReadError};
use crate::{keys, tenants};
use counts::{Line, Lines, Width};
use shares::Readers;
pub use state::StoredError;
use state::{Head, Journal, Waiting};

/// Width of the buckets that are judged.
const WIDTH: Width = Width::Minute;
/// Events of a minute have so long to come.
const SETTLE_MS: i64 = 60_000;
/// So long the events of a minute are waited for while none newer has come: what is late is not missing.
const PATIENCE_MS: i64 = 10 * 60_000;
/// Minutes of history that a new installation learns from.
const LEARNED_MINUTES: u32 = 14 * 24 * 60;
/// Further behind, what is judged is the past: only what is still open at its end is told.
const PAST_MINUTES: u32 = 6 * 60;
/// Minutes read together.
const MINUTES_AT_ONCE: u32 = 30;
/// What was learned is stored so often, in minutes: another process has at most so many to look at again.
const STORED_EVERY: u32 = 60;
/// Changes that wait to be told; while there are so many, nothing more is judged.
pub const MAX_WAITING: usize = 1000;
/// A channel that takes nothing for so long is not told any more.
const GIVE_UP_MS: i64 = 24 * 60 * 60 * 1000;
/// Writing takes so long at most: judging ends before.
const RESERVE_MS: i64 = 10_000;

/// Where changes of alerts are told.
pub trait Announce: Send + Sync {
    /// The names of the channels that are told a change.
    fn channels(&self, change: &Change) -> Vec<String>;

    /// Tells one channel a change. It may be told the same one again.
    fn announce(
        &self,
        channel: &str,
        change: &Change,
    ) -> impl Future<Output = Result<(), AnnounceError>> + Send;
}

/// A change was not told, or the answer was lost.
pub type AnnounceError = Box<dyn std::error::Error + Send + Sync>;

/// What an installation decides.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long history is kept at which resolution.
    pub history: compact::Settings,
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
    /// The rules cannot be read.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Alerts cannot be kept.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// Alerts could not be told.
    #[error("{count} changes of alerts were not told on channel {channel} and will be by the next run")]
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
    /// Minutes judged.
    pub minutes: u32,
    /// Tenants looked at.
    pub tenants: usize,
    /// Changes told, counted by channel.
    pub told: usize,
    /// Minutes that could be judged and were not, for want of time.
    pub behind: u32,
}

/// What a process remembers between runs.
#[derive(Debug, Default)]
pub struct Memory {
    known: Option<Known>,
}

/// All there is to know, as of one version of the head.
#[derive(Debug)]
struct Known {
    version: Option<u64>,
    head: Head,
    journal: Journal,
    /// The journal as it is stored.
    stored: Journal,
    detector: Detector,
}

/// Judges what is due and tells what changed. The attempt's deadline is when the platform ends the run.
pub async fn run<S: Store, C: Clock, A: Announce, R: Readers>(
    store: &S,
    clock: &C,
    announce: &A,
    readers: &R,
    settings: &Settings,
    memory: &mut Memory,
    attempt: Attempt,
) -> Result<Watched, WatchError> {
    let (writes, watched) = Default::default();
    let mut run = Run { store, clock, announce, readers, settings, attempt, writes, watched };
    let Some(mut known) = run.load(memory).await? else { return Ok(run.watched) };
    if run.is_told_by_another(&known) {
        memory.known = Some(known);
        return Ok(run.watched);
    }
    let acknowledged = run.acknowledge(&mut known).await?;
    run.judge(&mut known).await?;
    // The past is told when it is over.
    let tells = !known.head.is_learning && !known.journal.waiting.is_empty();
    if !tells && run.watched.minutes == 0 && acknowledged.is_empty() {
        memory.known = Some(known);
        return Ok(run.watched);
    }
    // What is to be told is claimed together with what was judged.
    known.head.telling_until = if tells { run.attempt.deadline.millis() } else { 0 };
    if !run.save(&mut known).await? {
        return Ok(run.watched);
    }
    store.delete(acknowledged).await?;
    let mut failure = None;
    if tells {
        failure = run.tell(&mut known.journal.waiting).await;
        known.head.telling_until = 0;
        if !run.save(&mut known).await? {
            return Ok(run.watched);
        }
    }
    memory.known = Some(known);
    failure.map_or(Ok(run.watched), Err)
}

/// One run at work.
struct Run<'a, S, C, A, R> {
    store: &'a S,
    clock: &'a C,
    announce: &'a A,
    readers: &'a R,
    settings: &'a Settings,
    attempt: Attempt,
    /// Attempts to write so far: each has a number of its own.
    writes: u64,
    watched: Watched,
}

impl<S: Store, C: Clock, A: Announce, R: Readers> Run<'_, S, C, A, R> {
    /// What is known; nothing yet if there is nothing to learn from.
    async fn load(&mut self, memory: &mut Memory) -> Result<Option<Known>, WatchError> {
        let rules = rules::effective(self.store).await?;
        let remembered = memory.known.take();
        let Some((head, version)) = state::head(self.store).await? else {
            let Some(next) = self.first_minute().await? else { return Ok(None) };
            let head = Head { next: next.0, is_learning: true, ..Head::default() };
            let detector = Detector::new(WIDTH.minutes(), rules);
            let (journal, stored) = Default::default();
            return Ok(Some(Known { version: None, head, journal, stored, detector }));
        };
        if let Some(mut known) = remembered.filter(|known| known.version == Some(version)) {
            known.detector.set_rules(rules);
            return Ok(Some(known));
        }
        let journal = state::read_journal(self.store, head.journal).await?;
        let mut detector = state::read_learned(self.store, head.snapshot, rules).await?;
        let mut next = Minute(head.snapshot_next);
        while next < head.next() {
            let to = Minute((next.0 + MINUTES_AT_ONCE).min(head.next));
            // Told already, and what is not is in the journal.
            next = self.observe(&mut detector, next, to).await?.1;
        }
        detector.set_book(journal.book.clone());
        Ok(Some(Known { version: Some(version), head, stored: journal.clone(), journal, detector }))
    }

    /// The hour of the first event there is to learn from; nothing if there is none.
    async fn first_minute(&self) -> Result<Option<Minute>, WatchError> {
        let now = self.clock.now();
        let to = now.minute().hour().start().minute().0 + 60;
        let from = Minute(to - LEARNED_MINUTES);
        let progress = Progress::read(self.store).await?;
        let tenants = tenants::list(self.store).await?;
        let kept_from = self.settings.history.first_day_of_hours(now).first_hour();
        let lines =
            counts::read(self.store, &progress, &tenants, (from, Minute(to)), Width::Hour, kept_from).await?;
        Ok(lines.keys().next().copied())
    }

    fn is_told_by_another(&self, known: &Known) -> bool {
        known.head.telling_until > self.clock.now().millis()
    }

    /// Judges minutes up to now, as long as there is time.
    async fn judge(&mut self, known: &mut Known) -> Result<(), WatchError> {
        let end = self.attempt.deadline.plus_millis(-RESERVE_MS);
        let mut fresh: Vec<Change> = Vec::new();
        loop {
            let now = self.clock.now();
            let due = self.due(now).await?;
            self.watched.behind = due.0.saturating_sub(known.head.next);
            known.head.is_learning |= self.watched.behind > PAST_MINUTES;
            let is_full = known.journal.waiting.len() + fresh.len() >= MAX_WAITING && !known.head.is_learning;
            if self.watched.behind == 0 || is_full || (now >= end && self.watched.minutes > 0) {
                break;
            }
            let to = Minute((known.head.next + MINUTES_AT_ONCE).min(due.0));
            let (changes, to) = self.observe(&mut known.detector, known.head.next(), to).await?;
            self.watched.minutes += to.0 - known.head.next;
            known.head.next = to.0;
            fresh.extend(changes);
        }
        alerts::record(self.store, &fresh, self.clock.now()).await?;
        self.hand_over(fresh, known);
        known.journal.book = known.detector.book().clone();
        Ok(())
    }

    /// The first minute that cannot be judged yet.
    async fn due(&self, now: Timestamp) -> Result<Minute, WatchError> {
        let progress = Progress::read(self.store).await?;
        let settled = now.plus_millis(-SETTLE_MS).minute();
        let patient = now.plus_millis(-PATIENCE_MS).minute();
        let newest = progress.newest_event().map_or(patient, Timestamp::minute);
        Ok(settled.min(newest.max(patient)))
    }

    /// Judges the minutes in `[from, to)`, or fewer; the first one that was not.
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
        let mut changes = Vec::new();
        for minute in from.0..to.0 {
            changes.extend(observe(detector, Minute(minute), &mut lines));
        }
        Ok((changes, to))
    }

    /// Tells the detector of alerts that somebody looks after; what is to be removed once that is stored.
    async fn acknowledge(&self, known: &mut Known) -> Result<Vec<Key>, WatchError> {
        let mut done = Vec::new();
        for item in stored::range(self.store, keys::acknowledgements()).await? {
            if let Some(alert) = keys::acknowledged(&item.key) {
                known.detector.acknowledge(alert);
            }
            done.push(item.key);
        }
        Ok(done)
    }

    /// Puts changes into the journal: of the past only what is still open at its end.
    fn hand_over(&self, fresh: Vec<Change>, known: &mut Known) {
        let now = self.clock.now();
        let waiting = &mut known.journal.waiting;
        for mut change in fresh {
            let mut first = change.sequence;
            if known.head.is_learning {
                for other in waiting.extract_if(.., |other| other.change.id == change.id) {
                    first = first.min(other.first);
                }
                // Nobody has heard of it, and it is over.
                if first == 1 && change.state == State::Resolved {
                    continue;
                }
            }
            change.url = self.settings.dashboard.as_ref().map(|url| address(url, &change));
            let channels = self.announce.channels(&change);
            waiting.push(Waiting { change, first, channels, since: now.millis() });
        }
        if self.watched.behind == 0 {
            known.head.is_learning = false;
        }
    }

    /// Stores what is known; false if another run was faster, so that nothing of this one counts.
    async fn save(&mut self, known: &mut Known) -> Result<bool, WatchError> {
        let now = self.clock.now();
        let replaced = (known.head.snapshot, known.head.journal);
        let is_due = known.version.is_none() || known.head.next >= known.head.snapshot_next + STORED_EVERY;
        if is_due {
            known.head.snapshot =
                state::write_learned(self.store, &known.detector, self.number(), now).await?;
            known.head.snapshot_next = known.head.next;
        }
        if is_due || known.journal != known.stored {
            known.head.journal = state::write_journal(self.store, &known.journal, self.number(), now).await?;
            known.stored.clone_from(&known.journal);
        }
        let Some(version) = state::move_head(self.store, &known.head, known.version).await? else {
            return Ok(false);
        };
        known.version = Some(version);
        for (old, new) in [(replaced.0, known.head.snapshot), (replaced.1, known.head.journal)] {
            if old != new {
                state::remove(self.store, old).await;
            }
        }
        Ok(true)
    }

    /// A number that nobody else writes under.
    fn number(&mut self) -> u64 {
        self.writes += 1;
        self.attempt.id.wrapping_add(self.writes.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Tells what waits. A channel that fails is left alone until the next run.
    async fn tell(&mut self, waiting: &mut Vec<Waiting>) -> Option<WatchError> {
        let now = self.clock.now();
        let mut failed: BTreeSet<String> = BTreeSet::new();
        let mut failure: Option<(String, AnnounceError)> = None;
        for Waiting { change, channels, since, .. } in &mut *waiting {
            let mut left = Vec::new();
            for channel in channels.drain(..) {
                if failed.contains(&channel) {
                    left.push(channel);
                    continue;
                }
                match self.announce.announce(&channel, change).await {
                    Ok(()) => self.watched.told += 1,
                    Err(error) if now.millis() - *since > GIVE_UP_MS => {
                        tracing::error!(alert.id = %change.id, channel, error = %error, "a change of an alert was not told for a day and is given up");
                    }
                    Err(error) => {
                        failed.insert(channel.clone());
                        failure.get_or_insert((channel.clone(), error));
                        left.push(channel);
                    }
                }
            }
            *channels = left;
        }
        waiting.retain(|waiting| !waiting.channels.is_empty());
        let count = waiting.iter().map(|waiting| waiting.channels.len()).sum();
        failure.map(|(channel, source)| WatchError::Announce { count, channel, source })
    }
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

/// Judges the past without keeping or telling anything: each change as it would have been told.
///
/// # Errors
/// [`WatchError`] if the counts cannot be read.
pub async fn backtest<S: Store>(
    store: &S,
    history: &compact::Settings,
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
