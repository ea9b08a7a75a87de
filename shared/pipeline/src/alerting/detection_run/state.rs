//! What is stored of detection: the head, the journal of alerts, and the learned state.
//!
//! The head names what is live and moves conditionally, so of two runs at once the second changes nothing. The journal and the learned
//! state lie in parts under the number of the attempt that wrote them, and are written before the head names them. Parts that were
//! replaced, or left by a run that died, expire.

use std::borrow::Cow;
use std::collections::BTreeMap;

use detection::state::{self, StateError};
use detection::{Book, Change, Detector, Rules, Shared, Tenant};
use event::{Minute, Timestamp};
use serde::{Deserialize, Serialize};

use crate::layout;
use crate::ports::{Item, Key, PutError, Store, StoreError};
use crate::stored;

/// Parts expire so long after they were written; the journal is written anew at least once a day.
const LIFE_MS: i64 = 14 * 24 * 60 * 60 * 1000;
/// Parts read, or written of the journal, in one call.
const PARTS_AT_ONCE: usize = 64;
/// Parts of the learned state written in one call: DynamoDB takes about 2 MB within two seconds even if all of them lie in one of its
/// partitions, which is far below the time of a call.
const LEARNED_PARTS_AT_ONCE: usize = 5;
const COMPRESSION_LEVEL: i32 = 1;

/// Where detection stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The first minute that was not evaluated yet.
    pub(super) next: u32,
    /// Whether the minutes evaluated are the past, of which only what is still open at its end is notified.
    pub(super) is_learning: bool,
    /// The first minute that detection learned from.
    pub(super) learned_from: u32,
    /// The learned state as of the minute [`Head::snapshot_next`]; no parts if none was stored yet.
    pub(super) snapshot: Parts,
    /// The first minute that is not part of the snapshot.
    pub(super) snapshot_next: u32,
    /// The alerts, and the changes that wait to be notified.
    pub(super) journal: Parts,
    /// [`Head::next`] when the journal was written.
    pub(super) journal_next: u32,
    /// Until then a run notifies what waits, in milliseconds since 1970; no other run may.
    pub(super) telling_until: i64,
    /// Processes that began from the stored state since one last caught up and evaluated what was due.
    pub(super) starts: u32,
}

/// Where bytes lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parts {
    attempt: u64,
    count: u32,
}

/// The learned state.
#[derive(Serialize, Deserialize)]
struct Learned<'a> {
    shared: Cow<'a, Shared>,
    tenants: Cow<'a, BTreeMap<String, Tenant>>,
}

/// What changes with each minute in which there is trouble.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Journal {
    /// The alerts that are not over.
    pub(super) book: Book,
    /// Changes to notify.
    pub(super) waiting: Vec<Waiting>,
}

/// A change that is not in the alert registry yet, or that some channels were not notified of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) change: Change,
    /// The sequence of the first change that this one stands for.
    pub(super) first: u32,
    /// Names of the channels.
    pub(super) channels: Vec<String>,
    /// Since when, in milliseconds since 1970.
    pub(super) since: i64,
    /// Whether the alert registry has it.
    pub(super) is_recorded: bool,
    /// Whether a channel or the registry has failed to take it.
    pub(super) has_failed: bool,
}

/// What is stored of detection cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not what this program writes.
    #[error(transparent)]
    State(#[from] StateError),
    /// Parts have expired or were removed.
    #[error("parts of the stored detection state are gone")]
    Incomplete,
    /// Changes that wait cannot be read.
    #[error("changes of alerts that wait to be notified cannot be read")]
    Waiting(#[from] serde_json::Error),
    /// The learned state cannot be compressed or decompressed.
    #[error("the learned state of detection cannot be compressed or decompressed")]
    Compressed(#[from] std::io::Error),
}

/// The head and its version, if there is one. One of an older program is removed.
pub(super) async fn head<S: Store>(store: &S) -> Result<Option<(Head, u64)>, StoredError> {
    let Some(item) = store.get(vec![layout::detection_head()]).await?.into_iter().flatten().next() else {
        return Ok(None);
    };
    match state::decode(&item.body) {
        Ok(head) => Ok(Some((head, item.version))),
        Err(StateError::Version { found }) if found < state::VERSION => {
            tracing::warn!(found, "what an older program learned is learned anew from the history");
            store.delete(vec![item.key]).await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Moves the head; the new version, or nothing if somebody else moved it.
pub(super) async fn move_head<S: Store>(
    store: &S,
    head: &Head,
    version: Option<u64>,
) -> Result<Option<u64>, StoredError> {
    match stored::write(store, layout::detection_head(), state::encode(head)?, version).await {
        Ok(next) => Ok(Some(next)),
        Err(PutError::Conflict) => Ok(None),
        Err(PutError::Store(error)) => Err(error.into()),
    }
}

/// The learned state on its way into the store, which may take several runs: it is far larger than everything else, and DynamoDB
/// takes only so much a second.
#[derive(Debug)]
pub(super) struct Saving {
    bytes: Vec<u8>,
    parts: Parts,
    /// The first minute that is not part of it.
    pub(super) next: u32,
}

impl Saving {
    /// The state of a detector that has seen all minutes before `next`.
    pub(super) fn new(detector: &Detector, next: Minute, attempt: u64) -> Result<Self, StoredError> {
        let learned =
            Learned { shared: Cow::Borrowed(detector.shared()), tenants: Cow::Borrowed(detector.tenants()) };
        let bytes = zstd::bulk::compress(&state::encode(&learned)?, COMPRESSION_LEVEL)?;
        Ok(Self { bytes, parts: Parts { attempt, count: 0 }, next: next.0 })
    }

    /// Writes some more parts; where all of them lie once there are no more to write.
    pub(super) async fn go_on<S: Store>(
        &mut self,
        store: &S,
        now: Timestamp,
    ) -> Result<Option<Parts>, StoredError> {
        let written = self.parts.count as usize;
        let mut items = Vec::new();
        for body in self.bytes.chunks(Item::MAX_BODY_BYTES).skip(written).take(LEARNED_PARTS_AT_ONCE) {
            items.push(part(layout::learned_part(self.parts.attempt, written + items.len()), body, now));
        }
        if items.is_empty() {
            return Ok(Some(self.parts));
        }
        let more = u32::try_from(items.len()).unwrap_or(u32::MAX);
        store.put(items).await?;
        self.parts.count += more;
        Ok(None)
    }
}

/// A detector that knows what is stored.
pub(super) async fn read_learned<S: Store>(
    store: &S,
    parts: Parts,
    rules: &Rules,
) -> Result<Detector, StoredError> {
    let bytes = read(store, learned_keys(parts)).await?;
    let Learned { shared, tenants } = state::decode(&zstd::stream::decode_all(bytes.as_slice())?)?;
    Ok(Detector::restore(shared.into_owned(), tenants.into_owned(), rules.clone()))
}

/// Stores the journal.
pub(super) async fn write_journal<S: Store>(
    store: &S,
    journal: &Journal,
    attempt: u64,
    now: Timestamp,
) -> Result<Parts, StoredError> {
    // Changes leave out what they do not have, which the layout of the rest cannot.
    let bytes = state::encode(&(&journal.book, serde_json::to_vec(&journal.waiting)?))?;
    let mut count = 0;
    for some in bytes.chunks(Item::MAX_BODY_BYTES * PARTS_AT_ONCE) {
        let mut items = Vec::new();
        for body in some.chunks(Item::MAX_BODY_BYTES) {
            items.push(part(layout::journal_part(attempt, count as usize), body, now));
            count += 1;
        }
        store.put(items).await?;
    }
    Ok(Parts { attempt, count })
}

/// The journal as it is stored.
pub(super) async fn read_journal<S: Store>(store: &S, parts: Parts) -> Result<Journal, StoredError> {
    if parts.count == 0 {
        return Ok(Journal::default());
    }
    let (book, waiting): (Book, Vec<u8>) = state::decode(&read(store, journal_keys(parts)).await?)?;
    Ok(Journal { book, waiting: serde_json::from_slice(&waiting)? })
}

/// Removes the parts of a journal that the head does not name any more. A failure wastes space only: parts expire.
pub(super) async fn remove_journal<S: Store>(store: &S, parts: Parts) {
    let keys = journal_keys(parts);
    if !keys.is_empty()
        && let Err(error) = store.delete(keys).await
    {
        tracing::debug!(error = %error, "a replaced journal of alerts stays until it expires");
    }
}

/// Removes the parts of a learned state that the head does not name any more, until `is_late`. As large as they are, removing them
/// takes as long as writing them; what is left expires.
pub(super) async fn remove_learned<S: Store>(store: &S, parts: Parts, is_late: impl Fn() -> bool) {
    for keys in learned_keys(parts).chunks(LEARNED_PARTS_AT_ONCE) {
        if is_late() {
            break;
        }
        if let Err(error) = store.delete(keys.to_vec()).await {
            tracing::debug!(error = %error, "a replaced learned state stays until it expires");
            break;
        }
    }
}

fn journal_keys(parts: Parts) -> Vec<Key> {
    (0..parts.count as usize).map(|part| layout::journal_part(parts.attempt, part)).collect()
}

fn learned_keys(parts: Parts) -> Vec<Key> {
    (0..parts.count as usize).map(|part| layout::learned_part(parts.attempt, part)).collect()
}

fn part(key: Key, body: &[u8], now: Timestamp) -> Item {
    Item { key, body: body.to_vec(), version: 0, expires_at: Some(now.plus_millis(LIFE_MS)) }
}

async fn read<S: Store>(store: &S, keys: Vec<Key>) -> Result<Vec<u8>, StoredError> {
    let mut bytes = Vec::new();
    for some in keys.chunks(PARTS_AT_ONCE) {
        for item in store.get(some.to_vec()).await? {
            bytes.extend_from_slice(&item.ok_or(StoredError::Incomplete)?.body);
        }
    }
    Ok(bytes)
}

impl Head {
    /// The first minute that was not evaluated yet.
    pub(super) fn next(&self) -> Minute {
        Minute(self.next)
    }
}

impl Parts {
    /// Whether nothing was stored.
    pub(super) fn is_none(self) -> bool {
        self.count == 0
    }
}
