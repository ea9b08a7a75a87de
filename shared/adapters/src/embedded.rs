//! The [`Store`] of the local process: a redb database in a folder.
//!
//! It is one table from bytes to bytes. The key is `partition \0 sort`; the value is version, expiry and body. So ranges are ranges of
//! the database, and no redb type is part of the file format. Every acknowledged write is on disk. Plain writes that do not wait for the disk
//! were rejected: administration consists mostly of them, and a crash would undo acknowledged changes.
//! redb's quick repair stays off because it bloats the file (cberner/redb#934), and so does `compact()`.
//!
//! redb has a checksum for every page, in the page above it, but looks at them only after a crash. So the whole file is checked when a
//! folder is opened: a flipped bit would otherwise hide items. Other processes may read a folder while one writes to it, which [`copy`]
//! does. In this mode every commit of redb has two phases. With one phase, a damaged commit would look like one that a crash interrupted,
//! and redb would go back to the commit before it.

use std::error::Error as StdError;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use event::Timestamp;
use pipeline::ports::{
    Expected, Item, Key, Page, PutError, Range, ScanOrder, Store, StoreError, StoreErrorKind,
};
use redb::{Builder, ConcurrencyMode, Database, ReadableDatabase as _, ReadableTable, TableDefinition};

pub use copy::copy;
use file::{DatabaseFile, FileFailure};

mod copy;
mod file;

const ITEMS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("items");
/// The key of the format number. It sorts before every item, because no partition name is empty.
const FORMAT_KEY: &[u8] = b"\0format";
const FORMAT: u8 = 1;
/// Written and removed to find out whether the disk accepts writes again. It sorts before every item, like the format.
const PROBE_KEY: &[u8] = b"\0probe";
const FILE: &str = "mailgauge.redb";
/// Holds the process id of the program that has the folder open, for the error message of a second one.
const OWNER_FILE: &str = "mailgauge.pid";
/// redb's page cache. The operating system caches the file in addition.
const CACHE_BYTES: usize = 64 << 20;
/// Length of version and expiry, which precede the body.
const HEADER_BYTES: usize = 16;
/// Items dropped in one transaction. Writers wait while it runs.
const EXPIRED_PER_TRANSACTION: usize = 1_000;

/// A folder cannot be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "data folder {folder} is in use by {owner}: stop it first or, if it is a server, use its API; \
         or choose another folder with --data"
    )]
    InUse {
        /// The data folder as it was named.
        folder: PathBuf,
        /// The process, or `another process` if it is not known.
        owner: String,
    },
    /// A newer version of the program wrote the folder.
    #[error(
        "data folder {folder} has format {format}, newer than this program's {FORMAT}: upgrade mailgauge"
    )]
    Newer {
        /// The data folder as it was named.
        folder: PathBuf,
        /// The format number in its file.
        format: u8,
    },
    /// The file in the folder is not as it was written.
    #[error("data folder {folder} is damaged: {what}; restore it from a backup")]
    Damaged {
        /// The data folder as it was named.
        folder: PathBuf,
        /// What the database found.
        what: String,
    },
    /// The folder or the file in it cannot be used.
    #[error("data folder {folder} cannot be opened: check that it exists, is writable and has free space")]
    Unusable {
        /// The data folder as it was named.
        folder: PathBuf,
        /// The error of the operating system or of the database.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Creates a data folder that only its owner may look into. One that exists keeps its rights: somebody chose them.
fn create_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// Creates an empty file that only its owner may read, which the database then begins. One that exists keeps its rights.
fn create_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop),
    }
}

/// How the database file is opened, by this process and by others.
fn builder() -> Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_concurrency_mode(ConcurrencyMode::SingleWriter)
        .set_check_integrity_on_open(true);
    builder
}

/// A store in a folder. Calls run on tokio's blocking threads, so they need a tokio runtime. Clones share the database.
#[derive(Clone)]
pub struct EmbeddedStore {
    file: Arc<DatabaseFile>,
}

impl EmbeddedStore {
    /// Whether `folder` holds a store.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    /// Opens the store in `folder`, creating it if necessary. Blocking. One process at a time can open a folder.
    ///
    /// # Errors
    /// [`OpenError`] if another process uses the folder, a newer program wrote it, it is damaged, or it is not usable.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let unusable = |source: redb::Error| match source {
            redb::Error::Corrupted(what) => OpenError::Damaged { folder: folder.to_owned(), what },
            source => OpenError::Unusable { folder: folder.to_owned(), source: source.into() },
        };
        create_folder(folder).map_err(|error| unusable(error.into()))?;
        let path = folder.join(FILE);
        create_file(&path).map_err(|error| unusable(error.into()))?;
        let open = move || Ok(builder().create(&path)?);
        let file = match DatabaseFile::new(Box::new(open)) {
            Ok(file) => file,
            Err(redb::Error::DatabaseAlreadyOpen) => {
                // Only for the message. The lock that counts is the one that redb holds on its file.
                let owner = std::fs::read_to_string(folder.join(OWNER_FILE))
                    .map_or_else(|_| "another process".to_owned(), |pid| format!("process {}", pid.trim()));
                return Err(OpenError::InUse { folder: folder.to_owned(), owner });
            }
            Err(error) => return Err(unusable(error)),
        };
        let format = file
            .write(check_format)
            .map_err(|failure| OpenError::Unusable { folder: folder.to_owned(), source: failure.into() })?;
        // A newer format may mean anything, so this program must not write into it.
        if format > FORMAT {
            return Err(OpenError::Newer { folder: folder.to_owned(), format });
        }
        // After the file was opened, so that a process that is refused does not replace the name of the owner.
        std::fs::write(folder.join(OWNER_FILE), std::process::id().to_string())
            .map_err(|error| unusable(error.into()))?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Whether nothing was ever stored, or all of it was removed. Blocking.
    ///
    /// # Errors
    /// [`OpenError::Unusable`] if the store cannot be read.
    pub fn is_empty(&self, folder: &Path) -> Result<bool, OpenError> {
        let first = |database: &Database| {
            let table = database.begin_read()?.open_table(ITEMS)?;
            // Items sort after the store's own keys, which begin with a zero.
            Ok(table.range::<&[u8]>((Bound::Included([1].as_slice()), Bound::Unbounded))?.next().is_none())
        };
        self.file
            .read(first)
            .map_err(|failure| OpenError::Unusable { folder: folder.to_owned(), source: failure.into() })
    }

    /// Why the last write failed, if none has succeeded since: the disk is full, read-only or broken.
    pub fn fault(&self) -> Option<String> {
        self.file.fault()
    }

    /// If the last write failed, checks with a test write whether the disk accepts writes again.
    pub async fn recover(&self) -> Result<(), StoreError> {
        self.run("recovery", String::new(), DatabaseFile::recover).await
    }

    /// Drops items that had expired at `now` and returns their number. In every partition, items expire in the order of their sort keys or
    /// never, so the search leaves a partition at the first item that has not expired.
    pub async fn drop_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut dropped = 0;
        loop {
            let some = self.run("expiry", String::new(), move |file| drop_some(file, now)).await?;
            dropped += some;
            // In several transactions, so that other writers get their turn in between.
            if some < EXPIRED_PER_TRANSACTION {
                return Ok(dropped);
            }
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        target: String,
        work: impl FnOnce(&DatabaseFile) -> Result<T, FileFailure> + Send + 'static,
    ) -> Result<T, StoreError> {
        // redb blocks on the disk, and a task of tokio must not.
        let file = Arc::clone(&self.file);
        match tokio::task::spawn_blocking(move || work(&file)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(failure)) => {
                let kind = match &failure {
                    FileFailure::Database(redb::Error::Corrupted(_)) => StoreErrorKind::Damaged,
                    FileFailure::Database(_) | FileFailure::Faulty { .. } => StoreErrorKind::Unavailable,
                };
                Err(StoreError::new(kind, operation, target, failure))
            }
            Err(panicked) => Err(StoreError::new(StoreErrorKind::Unavailable, operation, target, panicked)),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        target: String,
        change: impl FnOnce(&mut EmbeddedTable<'_>) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(operation, target, move |file| file.write(|database| write(database, change))).await
    }
}

impl Store for EmbeddedStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        let target = target(keys.first());
        let read = move |database: &Database| {
            // One transaction for all keys: they are read as of one instant.
            let table = database.begin_read()?.open_table(ITEMS)?;
            let mut items = Vec::with_capacity(keys.len());
            for key in keys {
                let value = table.get(stored_key(&key).as_slice())?;
                items.push(value.map(|value| item(key, value.value())).transpose()?);
            }
            Ok(items)
        };
        self.run("get", target, move |file| file.read(read)).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.run("range", range.partition.clone(), move |file| file.read(|database| page(database, &range)))
            .await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        self.write("put", target(items.first().map(|item| &item.key)), move |table| {
            for item in &items {
                table.insert(stored_key(&item.key).as_slice(), stored_value(item).as_slice())?;
            }
            Ok(())
        })
        .await
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        let held = self.write("put_if", target(Some(&item.key)), move |table| {
            let key = stored_key(&item.key);
            // Compared and written in one transaction. redb has one writer at a time, so nothing comes in between.
            let stored = table.get(key.as_slice())?.map(|value| header(value.value())).transpose()?;
            let holds = match (expected, stored) {
                (Expected::Absent, None) => true,
                (Expected::Version(version), Some((stored, _))) => stored == version,
                (Expected::Absent, Some(_)) | (Expected::Version(_), None) => false,
            };
            if holds {
                table.insert(key.as_slice(), stored_value(&item).as_slice())?;
            }
            Ok(holds)
        });
        if held.await? { Ok(()) } else { Err(PutError::Conflict) }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        self.write("delete", target(keys.first()), move |table| {
            for key in &keys {
                table.remove(stored_key(key).as_slice())?;
            }
            Ok(())
        })
        .await
    }
}

type EmbeddedTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

fn write<T>(
    database: &Database,
    change: impl FnOnce(&mut EmbeddedTable<'_>) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let transaction = database.begin_write()?;
    let changed = change(&mut transaction.open_table(ITEMS)?)?;
    transaction.commit()?;
    Ok(changed)
}

/// The format of the file. A new file gets this program's format.
fn check_format(database: &Database) -> Result<u8, redb::Error> {
    write(database, |table| {
        // In a write transaction, so that a new file has its number before its first item.
        let found = table.get(FORMAT_KEY)?.and_then(|value| value.value().first().copied());
        if found.is_none() {
            table.insert(FORMAT_KEY, [FORMAT].as_slice())?;
        }
        Ok(found.unwrap_or(FORMAT))
    })
}

fn page(database: &Database, range: &Range) -> Result<Page, redb::Error> {
    let table = database.begin_read()?.open_table(ITEMS)?;
    let from = joined(&range.partition, &range.from);
    let to = range.to.as_ref().map_or_else(|| end_of(&range.partition), |to| joined(&range.partition, to));
    if from >= to {
        return Ok(Page::default());
    }
    let bounds = (Bound::Included(from.as_slice()), Bound::Excluded(to.as_slice()));
    let mut found = table.range::<&[u8]>(bounds)?;
    let mut page = Page::default();
    loop {
        let next = match range.order {
            ScanOrder::Forwards => found.next(),
            ScanOrder::Backwards => found.next_back(),
        };
        let Some(next) = next else { return Ok(page) };
        let (key, value) = next?;
        let sort =
            key.value().get(range.partition.len() + 1..).ok_or_else(|| damaged("stored key is cut short"))?;
        let sort = std::str::from_utf8(sort).map_err(|error| damaged(&error.to_string()))?.to_owned();
        // The item after the page is looked at first: without it there is no rest, and the reader need not ask again.
        if page.items.len() >= range.limit.max(1) {
            page.rest = Some(range.resume_at(&sort));
            return Ok(page);
        }
        page.items.push(item(Key { partition: range.partition.clone(), sort }, value.value())?);
    }
}

fn drop_some(file: &DatabaseFile, now: Timestamp) -> Result<usize, FileFailure> {
    let expired = file.read(|database| expired(database, now))?;
    if expired.is_empty() {
        return Ok(0);
    }
    file.write(|database| {
        write(database, |table| {
            for key in &expired {
                table.remove(key.as_slice())?;
            }
            Ok(expired.len())
        })
    })
}

fn expired(database: &Database, now: Timestamp) -> Result<Vec<Vec<u8>>, redb::Error> {
    let table = database.begin_read()?.open_table(ITEMS)?;
    let mut expired = Vec::new();
    let mut from = vec![1];
    while expired.len() < EXPIRED_PER_TRANSACTION {
        let Some(next) = table.range::<&[u8]>(from.as_slice()..)?.next() else { break };
        let (key, value) = next?;
        let (_, expires_at) = header(value.value())?;
        if expires_at.is_some_and(|at| at <= now) {
            expired.push(key.value().to_vec());
            from = key.value().to_vec();
            // The smallest key after this one.
            from.push(0);
        } else {
            // The first part of a split always exists.
            let partition = key.value().split(|&byte| byte == 0).next().unwrap_or(&[]);
            // Behind the partition: its other items expire later or never, so one look per partition is enough.
            from = [partition, &[1]].concat();
        }
    }
    Ok(expired)
}

/// The key of a call, for its error message; a call may have none.
fn target(key: Option<&Key>) -> String {
    key.map(ToString::to_string).unwrap_or_default()
}

fn stored_key(key: &Key) -> Vec<u8> {
    joined(&key.partition, &key.sort)
}

fn joined(partition: &str, sort: &str) -> Vec<u8> {
    [partition.as_bytes(), &[0], sort.as_bytes()].concat()
}

/// Sorts after every key of the partition and before those of the next one, because partition names contain no byte below `#`.
fn end_of(partition: &str) -> Vec<u8> {
    [partition.as_bytes(), &[1]].concat()
}

fn stored_value(item: &Item) -> Vec<u8> {
    // The end of time stands for never: the header has a fixed length.
    let expires_at = item.expires_at.map_or(i64::MAX, Timestamp::millis);
    let mut value = Vec::with_capacity(HEADER_BYTES + item.body.len());
    value.extend_from_slice(&item.version.to_le_bytes());
    value.extend_from_slice(&expires_at.to_le_bytes());
    value.extend_from_slice(&item.body);
    value
}

fn header(value: &[u8]) -> Result<(u64, Option<Timestamp>), redb::Error> {
    let short = || damaged("stored item is shorter than its header");
    let (version, rest) = value.split_first_chunk().ok_or_else(short)?;
    let (expires_at, _) = rest.split_first_chunk().ok_or_else(short)?;
    let expires_at = i64::from_le_bytes(*expires_at);
    Ok((u64::from_le_bytes(*version), (expires_at != i64::MAX).then_some(Timestamp::from_millis(expires_at))))
}

fn item(key: Key, value: &[u8]) -> Result<Item, redb::Error> {
    let (version, expires_at) = header(value)?;
    let body = value.get(HEADER_BYTES..).ok_or_else(|| damaged("stored item is shorter than its header"))?;
    Ok(Item { key, body: body.to_vec(), version, expires_at })
}

fn damaged(what: &str) -> redb::Error {
    redb::Error::Corrupted(what.to_owned())
}

#[cfg(test)]
mod tests;
