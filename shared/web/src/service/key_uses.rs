//! When keys were used: written once an hour per key, since a write for every request would cost more than answering it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use event::Timestamp;

/// The least time between two writes for one key by one process, in milliseconds.
const WRITE_INTERVAL_MS: i64 = 60 * 60 * 1000;
/// The most keys remembered. Beyond it all are forgotten, and some uses are written early.
const MAX_KEYS: usize = 10_000;

/// The last written use of each key.
#[derive(Debug, Default)]
pub(super) struct KeyUses(Mutex<HashMap<String, Timestamp>>);

impl KeyUses {
    /// Whether a use of the key at `now` must be written. If so, it is remembered as written.
    pub(super) fn is_due(&self, id: &str, now: Timestamp) -> bool {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= MAX_KEYS {
            // Sorting out the oldest would cost a scan under the lock; an early write costs one write.
            written.clear();
        }
        let is_due = written.get(id).is_none_or(|at| now.millis_since(*at) >= WRITE_INTERVAL_MS);
        if is_due {
            // Remembered before it is written: if the write fails, the next one is tried an hour later instead of with every request.
            written.insert(id.to_owned(), now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_written_once_an_hour_for_each_key() {
        let uses = KeyUses::default();
        for (id, at_ms, is_due) in [
            ("a", 0, true),
            ("a", WRITE_INTERVAL_MS - 1, false),
            ("b", WRITE_INTERVAL_MS - 1, true),
            ("a", WRITE_INTERVAL_MS, true),
            ("a", WRITE_INTERVAL_MS + 1, false),
            ("b", WRITE_INTERVAL_MS, false),
        ] {
            assert_eq!(uses.is_due(id, Timestamp::from_millis(at_ms)), is_due, "{id} at {at_ms}");
        }
    }

    #[test]
    fn the_number_of_remembered_keys_is_bounded() {
        let uses = KeyUses::default();
        let now = Timestamp::from_millis(0);
        for number in 0..MAX_KEYS {
            assert!(uses.is_due(&number.to_string(), now));
        }
        assert!(uses.is_due("one more", now));
        assert_eq!(uses.0.lock().unwrap().len(), 1);
    }
}
