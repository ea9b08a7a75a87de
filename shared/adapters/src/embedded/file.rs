//! The database file of the embedded store, which is reopened after a failure of the disk.
//!
//! redb latches the first I/O error and refuses every later call until the file is reopened, so a disk that was full for a second would
//! stop a server permanently. This type reopens the file after the first failure, so that reads continue, and refuses writes during a pause
//! that doubles with each failure. Reopening loses nothing that was acknowledged, because every acknowledged write is on disk.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::Database;

use super::{PROBE_KEY, write};

/// The first pause after a failed write.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to write.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Larger than an ordinary write, so that ordinary writes succeed after a successful probe.
const PROBE_BYTES: usize = 1 << 20;

/// Opens the file, creating it if it is missing.
type Open = Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>;

/// Why the store cannot work at the moment.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileFailure {
    /// The database refused the call.
    #[error(transparent)]
    Database(#[from] redb::Error),
    /// A write failed a moment ago, and the pause before the next attempt is not over.
    #[error(
        "the disk failed: {reason}; free space on it or repair it; writes are attempted again within {pause:?}"
    )]
    Faulty {
        /// What the operating system said.
        reason: String,
        /// The whole pause between the failed write and the next attempt.
        pause: Duration,
    },
}

/// A database that is reopened after a failure of the disk.
pub(super) struct DatabaseFile {
    open: Open,
    /// Calls share the lock while they use the database. Reopening takes it exclusively, since the file's own lock allows one open database.
    opened: RwLock<Opened>,
    fault: Mutex<Option<Fault>>,
}

struct Opened {
    database: Option<Database>,
    /// The number of times the file was reopened, so that of several calls that fail together only the first reopens it.
    generation: u64,
}

/// A failure of the disk since which no write has succeeded.
struct Fault {
    reason: String,
    pause: Duration,
    next_attempt_at: Instant,
}

impl DatabaseFile {
    pub(super) fn new(open: Open) -> Result<Self, redb::Error> {
        let database = Some(open()?);
        Ok(Self { open, opened: RwLock::new(Opened { database, generation: 0 }), fault: Mutex::new(None) })
    }

    /// Why the last write failed, if none has succeeded since.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock_fault().as_ref().map(|fault| fault.reason.clone())
    }

    /// Runs work that only reads, also while writes are paused.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, FileFailure> {
        let (result, generation) = self.run(work);
        if let Err(FileFailure::Database(error)) = &result
            && is_of_disk(error)
        {
            // A failed read latches the database as well, but says nothing about writing.
            self.reopen_after(error, generation);
        }
        result
    }

    /// Runs work that writes. Writes are refused during the pause after a failure, since each failed one makes redb repair its file.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, FileFailure> {
        if let Some(fault) = &*self.lock_fault()
            && now() < fault.next_attempt_at
        {
            return Err(FileFailure::Faulty { reason: fault.reason.clone(), pause: fault.pause });
        }
        let (result, generation) = self.run(work);
        match &result {
            // Any write that succeeds proves that the disk accepts writes again.
            Ok(_) => *self.lock_fault() = None,
            Err(FileFailure::Database(error)) if is_of_disk(error) => self.note_fault(error, generation),
            Err(_) => {}
        }
        result
    }

    /// Makes a test write if the last write failed, so that a server without traffic notices that the disk has recovered.
    pub(super) fn recover(&self) -> Result<(), FileFailure> {
        // A healthy disk is not written to: the probe is for a server that has nothing else to write.
        if self.fault().is_none() {
            return Ok(());
        }
        self.write(|database| {
            write(database, |table| {
                table.insert(PROBE_KEY, vec![0; PROBE_BYTES].as_slice())?;
                Ok(())
            })?;
            write(database, |table| {
                table.remove(PROBE_KEY)?;
                Ok(())
            })
        })
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> (Result<T, FileFailure>, u64) {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let generation = opened.generation;
        if let Some(database) = &opened.database {
            return (work(database).map_err(FileFailure::Database), generation);
        }
        // Reopening needs the lock exclusively.
        drop(opened);
        // The last attempt to reopen failed, so this call makes another.
        if let Err(error) = self.reopen(generation) {
            return (Err(FileFailure::Database(error)), generation);
        }
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let result = match &opened.database {
            Some(database) => work(database).map_err(FileFailure::Database),
            None => Err(FileFailure::Database(redb::Error::DatabaseClosed)),
        };
        (result, opened.generation)
    }

    /// Pauses writes after one failed. Calls that fail together pause them once: the first of them reopens the file.
    fn note_fault(&self, error: &redb::Error, generation: u64) {
        if !self.reopen_after(error, generation) {
            return;
        }
        let mut fault = self.lock_fault();
        let pause = fault.as_ref().map_or(FIRST_PAUSE, |fault| (fault.pause * 2).min(LONGEST_PAUSE));
        // The latched error only says that an earlier call failed, so keep that call's reason.
        let reason = match (error, fault.take()) {
            (redb::Error::PreviousIo | redb::Error::DatabaseClosed, Some(before)) => before.reason,
            (error, _) => error.to_string(),
        };
        *fault = Some(Fault { reason, pause, next_attempt_at: now() + pause });
    }

    /// Reopens the file after an error of the disk, and whether this call had to: another may have done so since `generation`.
    fn reopen_after(&self, error: &redb::Error, generation: u64) -> bool {
        match self.reopen(generation) {
            Ok(false) => return false,
            Ok(true) => tracing::error!(%error, "the data folder's disk failed; its database was reopened"),
            Err(again) => {
                tracing::error!(%error, %again, "the data folder's disk failed; its database cannot be reopened yet");
            }
        }
        true
    }

    /// Reopens the file, unless another call has done so since `generation`; whether it was reopened.
    fn reopen(&self, generation: u64) -> Result<bool, redb::Error> {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.generation != generation {
            return Ok(false);
        }
        // Close it first, since its lock on the file would keep the new database from opening.
        drop(opened.database.take());
        opened.database = Some((self.open)()?);
        // Counted only if it could be opened: otherwise the next call must try again.
        opened.generation += 1;
        Ok(true)
    }

    fn lock_fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the error is one of the disk, which redb latches, so that only reopening helps.
fn is_of_disk(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::Io(_)
            | redb::Error::Backend(_)
            | redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::LockPoisoned(_)
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between writes depends on this machine's disk, not on the data"
)]
fn now() -> Instant {
    Instant::now()
}
