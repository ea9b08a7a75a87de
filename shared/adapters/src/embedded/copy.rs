//! Copies a data folder while its owner goes on writing to it: one read transaction sees the items as they were when it began.

use std::path::Path;

use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable as _};

use super::{EmbeddedStore, FILE, ITEMS, OpenError, builder, create_file, create_folder, write};

/// Bytes of items that one transaction of a copy writes.
const COPIED_PER_TRANSACTION: usize = 16 << 20;

/// Copies the items of a folder, as they are at one instant, to a folder that has no store yet. Another process may write meanwhile.
/// Calls `progress` with the number of items copied so far. Blocking.
///
/// # Errors
/// [`OpenError`] of either folder, also if `to` has a store. The copy is then incomplete, and is not taken for a store.
pub fn copy(from: &Path, to: &Path, progress: &mut dyn FnMut(u64)) -> Result<u64, OpenError> {
    let unusable = |folder: &Path, source: redb::Error| OpenError::Unusable {
        folder: folder.to_owned(),
        source: source.into(),
    };
    if EmbeddedStore::is_in(to) {
        let held = std::io::Error::new(
            std::io::ErrorKind::AlreadyExists,
            "it has data, which a copy must not replace",
        );
        return Err(unusable(to, held.into()));
    }
    // Opened for writing if nobody else has it open, because only that checks the file and repairs it after a crash.
    let own = match EmbeddedStore::open(from) {
        Ok(store) => Some(store),
        Err(OpenError::InUse { .. }) => None,
        Err(error) => return Err(error),
    };
    let snapshot = match &own {
        Some(store) => store
            .file
            .read(|database| Ok(database.begin_read()?))
            .map_err(|failure| OpenError::Unusable { folder: from.to_owned(), source: failure.into() })?,
        None => builder()
            .open_read_only(from.join(FILE))
            .map_err(redb::Error::from)
            .and_then(|database| Ok(database.begin_read()?))
            .map_err(|error| unusable(from, error))?,
    };
    create_folder(to).map_err(|error| unusable(to, error.into()))?;
    let (partial, complete) = (to.join(FILE).with_extension("partial"), to.join(FILE));
    // Of a copy that was interrupted: its items may be gone by now.
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unusable(to, error.into())),
        _ => {}
    }
    create_file(&partial).map_err(|error| unusable(to, error.into()))?;
    let items = copy_items(&snapshot, &partial, progress).map_err(|error| unusable(to, error))?;
    // Under its name only now, so that a copy that was interrupted is not taken for a whole one.
    std::fs::rename(&partial, &complete)
        .and_then(|()| std::fs::File::open(to)?.sync_all())
        .map_err(|error| unusable(to, error.into()))?;
    Ok(items)
}

fn copy_items(
    snapshot: &ReadTransaction,
    to: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, redb::Error> {
    let target = builder().create(to)?;
    let source = snapshot.open_table(ITEMS)?;
    let mut entries = source.iter()?;
    let mut items = 0;
    loop {
        // A transaction holds in memory what it writes.
        let copied = write(&target, |table| {
            let mut bytes = 0;
            while bytes < COPIED_PER_TRANSACTION {
                let Some(entry) = entries.next() else { return Ok(None) };
                let (key, value) = entry?;
                bytes += key.value().len() + value.value().len();
                table.insert(key.value(), value.value())?;
                items += 1;
            }
            Ok(Some(()))
        })?;
        progress(items);
        if copied.is_none() {
            return Ok(items);
        }
    }
}
