//! Bytes that are stored in several items, since an item holds less than 400 KB: the notification journal and the learned state.
//!
//! The parts of each write have keys of their own, under the number of the attempt that wrote them, so that no write damages what the
//! head still names. Parts that the head does not name any more, or never did because a run was interrupted, expire.

use event::Timestamp;
use serde::{Deserialize, Serialize};

use super::DetectionStateError;
use crate::ports::{Item, Key, Store};

/// How long parts are kept: 14 days. The journal and the learned state are written again at least once a day.
const LIFE_MS: i64 = 14 * 24 * 60 * 60 * 1000;
/// Number of parts that are read in one call.
const READS_AT_ONCE: usize = 64;

/// Where bytes are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredParts {
    /// The attempt that wrote them.
    pub(super) attempt: u64,
    /// The number of parts; 0 if nothing was stored.
    pub(super) count: u32,
}

impl StoredParts {
    /// Whether nothing was stored.
    pub(super) fn is_none(self) -> bool {
        self.count == 0
    }

    /// The keys of the parts, which `key` makes of the attempt and the number of a part.
    pub(super) fn keys(self, key: impl Fn(u64, usize) -> Key) -> Vec<Key> {
        (0..self.count as usize).map(|part| key(self.attempt, part)).collect()
    }
}

/// The item of one part.
pub(super) fn item(key: Key, body: &[u8], now: Timestamp) -> Item {
    Item { key, body: body.to_vec(), version: 0, expires_at: Some(now.plus_millis(LIFE_MS)) }
}

/// Reads the bytes in the parts at `keys`.
pub(super) async fn read<S: Store>(store: &S, keys: &[Key]) -> Result<Vec<u8>, DetectionStateError> {
    let mut bytes = Vec::new();
    for some in keys.chunks(READS_AT_ONCE) {
        for item in store.get(some.to_vec()).await? {
            // A missing part makes the rest worthless, so it is an error and not a gap.
            bytes.extend_from_slice(&item.ok_or(DetectionStateError::Incomplete)?.body);
        }
    }
    Ok(bytes)
}
