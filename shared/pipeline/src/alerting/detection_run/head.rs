//! The head of detection: which minute is evaluated next, and which stored journal and learned state are valid.
//!
//! The head is moved by conditional writes, so of two concurrent runs the second has no effect. Everything else is written before the head
//! names it.

use event::Minute;
use serde::{Deserialize, Serialize};

use super::DetectionStateError;
use super::parts::StoredParts;
use crate::codec::{MalformedRecord, StoredRecord};
use crate::layout;
use crate::ports::{PutError, Store};
use crate::stored::{self, ReadError};

/// The position of detection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The first minute that was not evaluated yet.
    #[serde(with = "crate::codec::form")]
    pub(super) next: Minute,
    /// Whether the evaluated minutes are the past. Of the past, only what is still open at its end is notified.
    pub(super) is_learning: bool,
    /// The first minute that detection learned from.
    #[serde(with = "crate::codec::form")]
    pub(super) learned_from: Minute,
    /// The learned state as of [`Head::learned_next`]; no parts if none was stored yet.
    pub(super) learned: StoredParts,
    /// The first minute that is not part of the stored learned state.
    #[serde(with = "crate::codec::form")]
    pub(super) learned_next: Minute,
    /// Where the valid notification journal is stored.
    pub(super) journal: StoredParts,
    /// [`Head::next`] when the journal was written.
    #[serde(with = "crate::codec::form")]
    pub(super) journal_next: Minute,
    /// Until this time, in milliseconds since 1970, one run has the exclusive right to notify pending changes. 0: no run has it.
    pub(super) notifying_until: i64,
    /// Number of processes that resumed from the stored state since one of them last caught up and evaluated what was due.
    pub(super) starts: u32,
}

impl StoredRecord for Head {
    const NAME: &'static str = "detection head";
    // Detection's own number: if the layout of its state changes, head, journal and learned state are of no use together.
    const FORMAT: u8 = detection::state::VERSION;
}

/// Reads the head and its version; `None` if there is none. The head of an older program is removed, so that everything is learned
/// again from the history.
pub(super) async fn read<S: Store>(store: &S) -> Result<Option<(Head, u64)>, DetectionStateError> {
    let Some(item) = store.get(vec![layout::detection_head()]).await?.into_iter().flatten().next() else {
        return Ok(None);
    };
    match Head::decode(&item.body) {
        Ok(head) => Ok(Some((head, item.version))),
        // Unlike other records, this one can be made again, so an upgrade need not be stopped by it.
        Err(MalformedRecord::Older(format)) => {
            tracing::warn!(format, "what an older program learned is learned again from the history");
            store.delete(vec![item.key]).await?;
            Ok(None)
        }
        Err(source) => Err(ReadError::Record { key: item.key, source }.into()),
    }
}

/// Moves the head that was read with `read_version`, and returns the new version; `None` if another run moved it since.
pub(super) async fn write<S: Store>(
    store: &S,
    head: &Head,
    read_version: Option<u64>,
) -> Result<Option<u64>, DetectionStateError> {
    match stored::put_if(store, layout::detection_head(), head, read_version).await {
        Ok(version) => Ok(Some(version)),
        Err(PutError::Conflict) => Ok(None),
        Err(PutError::Store(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::ports::Item;

    #[tokio::test]
    async fn the_second_of_two_concurrent_runs_does_not_move_the_head() {
        let store = MemoryStore::new();
        assert_eq!(read(&store).await.unwrap(), None);
        let head = Head { next: Minute(7), starts: 2, ..Head::default() };
        assert_eq!(write(&store, &head, None).await.unwrap(), Some(1));
        assert_eq!(write(&store, &Head::default(), None).await.unwrap(), None);
        assert_eq!(read(&store).await.unwrap(), Some((head, 1)));
        assert_eq!(write(&store, &head, Some(1)).await.unwrap(), Some(2));
    }

    #[tokio::test]
    async fn a_head_of_an_older_program_is_removed_and_a_newer_or_damaged_one_is_an_error() {
        let store = MemoryStore::new();
        for (format, is_removed) in
            [(Head::FORMAT - 1, true), (Head::FORMAT, false), (Head::FORMAT + 1, false)]
        {
            let body = vec![format, 0, 0, 0, 0];
            let item = Item { key: layout::detection_head(), body, version: 1, expires_at: None };
            store.put(vec![item]).await.unwrap();
            assert_eq!(read(&store).await.is_ok(), is_removed, "{format}");
            assert_eq!(store.snapshot().is_empty(), is_removed, "{format}");
        }
    }

    #[test]
    fn stored_head_of_this_format_is_read() {
        let head = Head {
            next: Minute(29_383_333),
            is_learning: true,
            learned_from: Minute(29_000_000),
            learned: StoredParts { attempt: 1, count: 2 },
            learned_next: Minute(29_383_300),
            journal: StoredParts { attempt: 3, count: 1 },
            journal_next: Minute(29_383_332),
            notifying_until: 1_763_000_000_000,
            starts: 4,
        };
        // Without the format and the checksum, which change with every layout of detection's own state.
        let sample: [u8; 28] = [
            0xa5, 0xb5, 0x81, 0x0e, 1, 0xc0, 0x82, 0xea, 0x0d, 1, 2, 0x84, 0xb5, 0x81, 0x0e, 3, 1, 0xa4,
            0xb5, 0x81, 0x0e, 0x80, 0xf8, 0xe8, 0xaf, 0xcf, 0x66, 4,
        ];
        assert_eq!(head.encode()[5..], sample);
        assert_eq!(Head::decode(&head.encode()), Ok(head));
    }
}
