//! When keys were used: written once an hour for each key, since a write for every request would cost more than the answer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use event::Timestamp;

/// Time between two written uses of one key, for each process.
const WRITTEN_EVERY_MS: i64 = 60 * 60 * 1000;
/// Keys remembered at most; beyond it all are forgotten and some uses are written again.
const MAX_KEYS: usize = 10_000;

/// The last written use of each key.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<String, Timestamp>>);

impl Uses {
    /// Whether a use of the key at `now` is to be written; if so, it counts as written.
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
