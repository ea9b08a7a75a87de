//! What is stored of detection, and how it moves: the head names what is live, everything else lies in parts under the number of the
//! attempt that wrote it.
//!
//! Parts are written before the head, and the head moves conditionally: of two runs at once the second changes nothing. What was
//! replaced, or left by a run that died, expires.

use detection::state::{self, StateError};
use detection::{Book, Change, Detector, Rules, Shared, Tenant};
use event::{Minute, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::keys;
use crate::ports::{Item, PutError, Store, StoreError};
use crate::stored;

/// Parts live so long unless they are written anew, which they are every hour while detection runs.
const LIFE_MS: i64 = 14 * 24 * 60 * 60 * 1000;
/// Parts read together.
const PARTS_AT_ONCE: usize = 64;

/// Where detection stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The first minute that was not judged yet.
    pub(super) next: u32,
    /// Whether what is judged is the past.
    pub(super) is_learning: bool,
    /// What was known when [`Head::snapshot_next`] was the next minute.
    pub(super) snapshot: Parts,
    pub(super) snapshot_next: u32,
    /// The alerts, and what is to be told of them.
    pub(super) journal: Parts,
    /// Until then a run tells what waits, in milliseconds since 1970; another one must not.
    pub(super) telling_until: i64,
}

/// Where bytes lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parts {
    attempt: u64,
    count: u32,
}

/// All that was learned, as of the snapshot.
#[derive(Serialize, Deserialize)]
struct Learned<'a> {
    shared: std::borrow::Cow<'a, Shared>,
    tenants: std::borrow::Cow<'a, BTreeMap<String, Tenant>>,
}

/// What changes with each minute in which there is trouble.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Journal {
    /// The alerts that are not over.
    pub(super) book: Book,
    /// What is to be told.
    pub(super) waiting: Vec<Waiting>,
}

/// A change that some channels have not been told yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) change: Change,
    /// The number of the first change that this one stands for.
    pub(super) first: u32,
    /// Names of the channels.
    pub(super) channels: Vec<String>,
    /// Since when, in milliseconds since 1970.
    pub(super) since: i64,
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
    /// Parts are gone.
    #[error("detection state is incomplete: remove it, it is learned anew from the history")]
    Incomplete,
    /// Changes that wait cannot be read.
    #[error("changes of alerts that are to be told cannot be read")]
    Waiting(#[from] serde_json::Error),
}

/// The head and its version, if there is one. One of an older program is removed.
pub(super) async fn head<S: Store>(store: &S) -> Result<Option<(Head, u64)>, StoredError> {
    let Some(item) = store.get(vec![keys::watch_head()]).await?.into_iter().flatten().next() else {
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
    match stored::write(store, keys::watch_head(), state::encode(head)?, version).await {
        Ok(next) => Ok(Some(next)),
        Err(PutError::Conflict) => Ok(None),
        Err(PutError::Store(error)) => Err(error.into()),
    }
}

/// Stores what was learned.
pub(super) async fn write_learned<S: Store>(
    store: &S,
    detector: &Detector,
    attempt: u64,
    now: Timestamp,
) -> Result<Parts, StoredError> {
    let learned = Learned {
        shared: std::borrow::Cow::Borrowed(detector.shared()),
        tenants: std::borrow::Cow::Borrowed(detector.tenants()),
    };
    write(store, &state::encode(&learned)?, attempt, now).await
}

/// A detector that knows what is stored.
pub(super) async fn read_learned<S: Store>(
    store: &S,
    parts: Parts,
    rules: Rules,
) -> Result<Detector, StoredError> {
    let Learned { shared, tenants } = decode(&read(store, parts).await?)?;
    Ok(Detector::restore(shared.into_owned(), tenants.into_owned(), rules))
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
    write(store, &bytes, attempt, now).await
}

/// The journal as it is stored.
pub(super) async fn read_journal<S: Store>(store: &S, parts: Parts) -> Result<Journal, StoredError> {
    if parts.count == 0 {
        return Ok(Journal::default());
    }
    let (book, waiting): (Book, Vec<u8>) = decode(&read(store, parts).await?)?;
    Ok(Journal { book, waiting: serde_json::from_slice(&waiting)? })
}

/// Removes parts that nothing names any more; they would expire anyway.
pub(super) async fn remove<S: Store>(store: &S, parts: Parts) {
    let keys: Vec<_> = keys_of(parts).collect();
    if !keys.is_empty()
        && let Err(error) = store.delete(keys).await
    {
        tracing::debug!(error = %error, "replaced parts of detection state stay until they expire");
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    state::decode(bytes)
}

fn keys_of(parts: Parts) -> impl Iterator<Item = crate::ports::Key> {
    (0..parts.count as usize).map(move |part| keys::watch_part(parts.attempt, part))
}

async fn write<S: Store>(
    store: &S,
    bytes: &[u8],
    attempt: u64,
    now: Timestamp,
) -> Result<Parts, StoredError> {
    let expires_at = Some(now.plus_millis(LIFE_MS));
    let mut count = 0;
    for some in bytes.chunks(Item::MAX_BODY_BYTES * PARTS_AT_ONCE) {
        let mut items = Vec::new();
        for body in some.chunks(Item::MAX_BODY_BYTES) {
            let key = keys::watch_part(attempt, count as usize);
            items.push(Item { key, body: body.to_vec(), version: 0, expires_at });
            count += 1;
        }
        store.put(items).await?;
    }
    Ok(Parts { attempt, count })
}

async fn read<S: Store>(store: &S, parts: Parts) -> Result<Vec<u8>, StoredError> {
    let keys: Vec<_> = keys_of(parts).collect();
    let mut bytes = Vec::new();
    for some in keys.chunks(PARTS_AT_ONCE) {
        for item in store.get(some.to_vec()).await? {
            bytes.extend_from_slice(&item.ok_or(StoredError::Incomplete)?.body);
        }
    }
    Ok(bytes)
}

impl Head {
    /// The first minute that was not judged yet.
    pub(super) fn next(&self) -> Minute {
        Minute(self.next)
    }
}
