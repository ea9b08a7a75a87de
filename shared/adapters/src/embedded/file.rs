//! The database file behind the store: opened once, and opened again after the disk failed.
//!
//! redb latches the first I/O error and refuses every later call until the file is opened anew, so a disk that was full for a second
//! would stop a server for good. Here the first failure reopens the file at once, so that reads go on; writes are refused for
//! a growing pause and then tried for real. Reopening loses nothing that was acknowledged: every acknowledged write is on disk.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, Durability};

use super::{PROBE_KEY, write};

/// The first pause after a failed write.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two tries to write.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Larger than an ordinary write, so that a probe that succeeds means that ordinary writes will.
const PROBE_BYTES: usize = 1 << 20;

/// Opens the file, creating it if it is missing.
type Open = Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>;

/// Why the store cannot work at the moment.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The database refused the call.
    #[error(transparent)]
    Database(#[from] redb::Error),
    /// The disk failed a moment ago, and writing is not tried again yet.
    #[error("the disk failed: {reason}; make room on it or mend it, writing is tried again in {pause:?}")]
    Faulty {
        /// What the operating system said.
        reason: String,
        /// From one try to the next.
        pause: Duration,
    },
}

/// The database, or nothing while it cannot be opened.
pub(super) struct DatabaseFile {
    open: Open,
    /// Shared by calls while they work, held alone to reopen: the file's lock allows one open database, so all calls must be over.
    opened: RwLock<Opened>,
    fault: Mutex<Option<Fault>>,
}

struct Opened {
    database: Option<Database>,
    /// Counts reopenings, so that of several calls that failed together only the first reopens.
    generation: u64,
}

/// A failure of the disk that no write has got past yet.
struct Fault {
    reason: String,
    pause: Duration,
    try_again_at: Instant,
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

    /// Runs work that only reads.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, Failure> {
        let (result, generation) = self.run(work);
        if let Err(Failure::Database(error)) = &result
            && is_of_disk(error)
        {
            self.note_fault(error, generation);
        }
        result
    }

    /// Runs work that writes. Refused without a try for a pause after a write failed: each failed try makes redb repair its file.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, Failure> {
        if let Some(fault) = &*self.lock_fault()
            && now() < fault.try_again_at
        {
            return Err(Failure::Faulty { reason: fault.reason.clone(), pause: fault.pause });
        }
        let (result, generation) = self.run(work);
        match &result {
            Ok(_) => *self.lock_fault() = None,
            Err(Failure::Database(error)) if is_of_disk(error) => self.note_fault(error, generation),
            Err(_) => {}
        }
        result
    }

    /// Writes for the sake of it if the last write failed, so that a server without traffic notices when the disk is well again.
    pub(super) fn recover(&self) -> Result<(), Failure> {
        if self.fault().is_none() {
            return Ok(());
        }
        self.write(|database| {
            write(database, Durability::Immediate, |table| {
                table.insert(PROBE_KEY, vec![0; PROBE_BYTES].as_slice())?;
                Ok(())
            })?;
            write(database, Durability::Immediate, |table| {
                table.remove(PROBE_KEY)?;
                Ok(())
            })
        })
    }

    fn run<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> (Result<T, Failure>, u64) {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let generation = opened.generation;
        if let Some(database) = &opened.database {
            return (work(database).map_err(Failure::Database), generation);
        }
        drop(opened);
        // The last try to reopen failed; this call tries once more.
        if let Err(error) = self.reopen(generation) {
            return (Err(Failure::Database(error)), generation);
        }
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let result = match &opened.database {
            Some(database) => work(database).map_err(Failure::Database),
            None => Err(Failure::Database(redb::Error::DatabaseClosed)),
        };
        (result, opened.generation)
    }

    fn note_fault(&self, error: &redb::Error, generation: u64) {
        let reopened = self.reopen(generation);
        let mut fault = self.lock_fault();
        let pause = fault.as_ref().map_or(FIRST_PAUSE, |fault| (fault.pause * 2).min(LONGEST_PAUSE));
        // The latched error says only that there was one before.
        let reason = match (error, fault.take()) {
            (redb::Error::PreviousIo | redb::Error::DatabaseClosed, Some(before)) => before.reason,
            (error, _) => error.to_string(),
        };
        match reopened {
            Ok(()) => tracing::error!(reason, "the data folder's disk failed; its database was opened anew"),
            Err(error) => {
                tracing::error!(reason, %error, "the data folder's disk failed; its database cannot be opened yet")
            }
        }
        *fault = Some(Fault { reason, pause, try_again_at: now() + pause });
    }

    /// Opens the file anew, unless another call has done so since `generation`.
    fn reopen(&self, generation: u64) -> Result<(), redb::Error> {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.generation != generation {
            return Ok(());
        }
        // Closed first: its lock on the file would refuse the new one.
        drop(opened.database.take());
        opened.database = Some((self.open)()?);
        opened.generation += 1;
        Ok(())
    }

    fn lock_fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the database has latched an error of the disk, so that only reopening helps.
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
    reason = "pauses between tries to write are of this machine's disk, not of the data"
)]
fn now() -> Instant {
    Instant::now()
}
