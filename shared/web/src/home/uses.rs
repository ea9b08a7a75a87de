//! Records when keys were used: once an hour per key, since a write for every request would cost more than answering it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use event::Timestamp;

/// The least time between two writes for one key by one process, in milliseconds.
const WRITTEN_EVERY_MS: i64 = 60 * 60 * 1000;
/// The most keys remembered. Beyond it all are forgotten, and some uses are written early.
const MAX_KEYS: usize = 10_000;

/// The last written use of each key.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<String, Timestamp>>);

impl Uses {
    /// Whether a use of the key at `now` must be written. If so, it is remembered as written.
    pub(super) fn is_due(&self, id: &str, now: Timestamp) -> bool {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= MAX_KEYS {
            written.clear();
        }
        let is_due = written.get(id).is_none_or(|at| now.millis_since(*at) >= WRITTEN_EVERY_MS);
        if is_due {
            written.insert(id.to_owned(), now);
        }
        is_due
    }
}
