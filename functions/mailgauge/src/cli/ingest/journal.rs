//! How far each file was sent to each destination, so that a run that was cut off goes on where it stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::input::Source;

/// The journal of one destination. Standard input is not noted: it cannot be read twice.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    destination: String,
    notes: BTreeMap<String, BTreeMap<PathBuf, Note>>,
}

/// How far a file was sent, as long as it is the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Bytes, after decompression.
    sent: u64,
    /// Size of the file on disk.
    size: u64,
    /// When it was changed last, in milliseconds since 1970.
    changed_ms: u128,
}

impl Journal {
    /// Reads the journal, or begins one.
    pub fn open(path: Option<&Path>, destination: &str) -> anyhow::Result<Self> {
        let path = path.map_or_else(default_path, Path::to_path_buf);
        let notes = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                format!("{} is no journal: remove it or name another with --journal", path.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the journal {}", path.display()));
            }
        };
        Ok(Self { path, destination: destination.to_owned(), notes })
    }

    /// How many bytes of the source were sent before; 0 if it has changed since.
    pub fn sent(&self, source: &Source) -> u64 {
        let Some((path, now)) = identify(source) else { return 0 };
        let note = self.notes.get(&self.destination).and_then(|notes| notes.get(&path));
        note.filter(|note| Note { sent: 0, ..**note } == now).map_or(0, |note| note.sent)
    }

    /// Notes that the source was sent up to `sent` bytes.
    pub fn note(&mut self, source: &Source, sent: u64) -> anyhow::Result<()> {
        let Some((path, now)) = identify(source) else { return Ok(()) };
        self.notes.entry(self.destination.clone()).or_default().insert(path, Note { sent, ..now });
        let text = serde_json::to_vec(&self.notes)?;
        let new = self.path.with_extension("new");
        let write = || {
            self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&new, text)?;
            std::fs::rename(&new, &self.path)
        };
        write().with_context(|| format!("cannot write the journal {}", self.path.display()))
    }
}

fn identify(source: &Source) -> Option<(PathBuf, Note)> {
    let Source::File(path) = source else { return None };
    let path = path.canonicalize().ok()?;
    let data = path.metadata().ok()?;
    let changed_ms = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_millis();
    Some((path, Note { sent: 0, size: data.len(), changed_ms }))
}

/// `~/.local/state/mailgauge/ingest.json`, or as XDG says.
fn default_path() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "where a user's state lies is told by the environment")]
    let folder = |name| std::env::var(name).ok().filter(|text| !text.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("mailgauge/ingest.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_on_where_it_stopped_unless_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) = (folder.path().join("journal.json"), folder.path().join("events"));
        std::fs::write(&file, "one\n").unwrap();
        let source = Source::File(file.clone());
        Journal::open(Some(&path), "http://a").unwrap().note(&source, 3).unwrap();
        assert_eq!(Journal::open(Some(&path), "http://a").unwrap().sent(&source), 3);
        assert_eq!(Journal::open(Some(&path), "http://b").unwrap().sent(&source), 0);
        std::fs::write(&file, "one\ntwo\n").unwrap();
        assert_eq!(Journal::open(Some(&path), "http://a").unwrap().sent(&source), 0);
    }

    #[test]
    fn standard_input_is_never_noted() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(Some(&folder.path().join("journal.json")), "http://a").unwrap();
        journal.note(&Source::Stdin, 3).unwrap();
        assert_eq!(journal.sent(&Source::Stdin), 0);
    }
}
