//! The journal of `ingest`: how far each file was sent to each destination, so that an interrupted run continues where it stopped.
//!
//! A file that was changed since is sent from its beginning. An entry may be behind what was sent, never ahead of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::input::Source;

/// The journal file, as seen by a run to one destination. Standard input is not recorded, as it cannot be read twice.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    destination: String,
    /// By destination and file.
    entries: BTreeMap<String, BTreeMap<PathBuf, FileProgress>>,
}

/// How far a file was sent. Size and time of change tell whether it is still the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileProgress {
    /// Bytes sent, after decompression.
    sent: u64,
    /// Size of the file on disk, in bytes.
    size: u64,
    /// When the file was last modified, in milliseconds since the Unix epoch.
    changed_ms: u128,
}

impl Journal {
    /// Reads the journal at `path`, or at the default path. A missing file is an empty journal.
    pub fn open(path: Option<&Path>, destination: &str) -> anyhow::Result<Self> {
        let path = path.map_or_else(default_path, Path::to_path_buf);
        let entries = match std::fs::read(&path) {
            // Never taken for an empty journal: --journal may name a file of some other kind.
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                format!("{} is not a journal: remove it, or name another file with --journal", path.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the journal {}", path.display()));
            }
        };
        Ok(Self { path, destination: destination.to_owned(), entries })
    }

    /// How many bytes of the source earlier runs have sent, after decompression. 0 for a file that is new or has changed since.
    pub fn sent(&self, source: &Source) -> u64 {
        let Some((path, now)) = identify(source) else { return 0 };
        let entry = self.entries.get(&self.destination).and_then(|files| files.get(&path));
        entry.filter(|entry| FileProgress { sent: 0, ..**entry } == now).map_or(0, |entry| entry.sent)
    }

    /// Records that the first `sent` bytes of the source were sent, and writes the journal to disk.
    pub fn record(&mut self, source: &Source, sent: u64) -> anyhow::Result<()> {
        let Some((path, now)) = identify(source) else { return Ok(()) };
        self.entries.entry(self.destination.clone()).or_default().insert(path, FileProgress { sent, ..now });
        let text = serde_json::to_vec(&self.entries)?;
        // A rename replaces the file as a whole, so a crash leaves the old journal or the new one.
        let new = self.path.with_extension("new");
        let write = || {
            self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&new, text)?;
            std::fs::rename(&new, &self.path)
        };
        write().with_context(|| format!("cannot write the journal {}", self.path.display()))
    }
}

/// The full path and the present state of a file. `None` for standard input, and for a file that was removed meanwhile.
fn identify(source: &Source) -> Option<(PathBuf, FileProgress)> {
    let Source::File(path) = source else { return None };
    // However a file is named, by a link or a relative path, it has one entry.
    let path = path.canonicalize().ok()?;
    let data = path.metadata().ok()?;
    let changed_ms = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_millis();
    Some((path, FileProgress { sent: 0, size: data.len(), changed_ms }))
}

/// `$XDG_STATE_HOME/mailgauge/ingest.json`, by default `~/.local/state/mailgauge/ingest.json`, see
/// <https://specifications.freedesktop.org/basedir-spec/latest/>. Without a home, in the folder for temporary files.
fn default_path() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the environment names the user's state folder")]
    let folder = |name| std::env::var(name).ok().filter(|text| !text.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("mailgauge/ingest.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_continues_where_it_stopped_unless_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) = (folder.path().join("journal.json"), folder.path().join("events"));
        std::fs::write(&file, "one\n").unwrap();
        let source = Source::File(file.clone());
        Journal::open(Some(&path), "http://a").unwrap().record(&source, 3).unwrap();
        assert_eq!(Journal::open(Some(&path), "http://a").unwrap().sent(&source), 3);
        assert_eq!(Journal::open(Some(&path), "http://b").unwrap().sent(&source), 0);
        std::fs::write(&file, "one\ntwo\n").unwrap();
        assert_eq!(Journal::open(Some(&path), "http://a").unwrap().sent(&source), 0);
    }

    #[test]
    fn standard_input_is_never_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(Some(&folder.path().join("journal.json")), "http://a").unwrap();
        journal.record(&Source::Stdin, 3).unwrap();
        assert_eq!(journal.sent(&Source::Stdin), 0);
    }
}
