//! Files, folders and standard input as streams of decompressed bytes.
//!
//! The compression is recognised by the first bytes of a stream, never by the file name: archives copied from S3 often lack the
//! right extension. Streams are read once and never held in memory as a whole.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::progress::ProgressReporter;

/// Size of the read buffer of a compressed stream, in bytes: large enough that system calls cost next to nothing.
const BUFFER_BYTES: usize = 256 * 1024;

/// An input of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard input, `-` on the command line.
    Stdin,
    /// A file; folders are expanded to their files by [`sources`].
    File(PathBuf),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Expands the names on the command line. A folder stands for all files below it, ordered by path and without hidden files, as in
/// an S3 or Firehose archive that was copied to disk.
///
/// # Errors
/// A name that does not exist, a folder without files, or a folder that cannot be listed.
pub fn sources(names: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for name in names {
        if name.as_os_str() == "-" {
            sources.push(Source::Stdin);
        } else if name.is_dir() {
            let before = sources.len();
            files_below(name, &mut sources)?;
            if sources.len() == before {
                bail!("{} holds no files: name a folder with event files in it", name.display());
            }
        } else if name.exists() {
            sources.push(Source::File(name.clone()));
        } else {
            bail!("{} does not exist: name a file, a folder, or - for standard input", name.display());
        }
    }
    Ok(sources)
}

fn files_below(folder: &Path, sources: &mut Vec<Source>) -> anyhow::Result<()> {
    let listing = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("cannot list {}", folder.display()))?;
    // The order of a listing depends on the file system; sorted, a folder is read in the same order everywhere.
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        // Such as .DS_Store, which would be reported as an unreadable record.
        if hidden {
            continue;
        }
        if path.is_dir() {
            files_below(&path, sources)?;
        } else {
            sources.push(Source::File(path));
        }
    }
    Ok(())
}

/// Size of the source on disk in bytes, before decompression. `None` for standard input.
pub fn size(source: &Source) -> Option<u64> {
    match source {
        Source::Stdin => None,
        Source::File(path) => path.metadata().ok().map(|data| data.len()),
    }
}

/// Opens a source and decompresses gzip (all members) or zstd. Bytes read before decompression count as progress.
pub fn open(source: &Source, progress: &ProgressReporter) -> anyhow::Result<Box<dyn Read + Send>> {
    let raw: Box<dyn Read + Send> = match source {
        Source::Stdin => Box::new(progress.metered(io::stdin())),
        Source::File(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            Box::new(progress.metered(file))
        }
    };
    decompressed(raw).with_context(|| format!("cannot read {source}"))
}

/// Decompresses a stream that begins like gzip or zstd; any other is returned as it is.
pub fn decompressed(mut raw: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    // Read and put back in front, since a pipe cannot be rewound.
    let mut head = Vec::with_capacity(4);
    raw.by_ref().take(4).read_to_end(&mut head)?;
    // Magic numbers of RFC 1952 and RFC 8878.
    let is_gzip = head.starts_with(&[0x1f, 0x8b]);
    let is_zstd = head == [0x28, 0xb5, 0x2f, 0xfd];
    let whole = Cursor::new(head).chain(raw);
    Ok(if is_gzip {
        // Firehose and `cat a.gz b.gz` concatenate gzip members.
        Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, whole)))
    } else if is_zstd {
        Box::new(zstd::stream::read::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}

/// Refuses an input that begins with a table, which is not read as events: all of its rows would be unreadable.
pub fn refuse_table(source: &Source, first_block: &[u8]) -> anyhow::Result<()> {
    if event::decode::begins_with_table(first_block) {
        bail!(
            "{source} is a table (CSV), not events in JSON: if its rows are counts over time, evaluate them with \
             `mailgauge backtest --counts`; otherwise export the events"
        );
    }
    Ok(())
}

/// Reads until `room` is full or the stream ends, and returns how many bytes were read.
pub fn fill(stream: &mut dyn Read, room: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = room.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn check(bytes: Vec<u8>, expected: &str) {
        let mut text = String::new();
        decompressed(Box::new(Cursor::new(bytes))).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    }

    #[test]
    fn compression_is_recognised_by_the_first_bytes() {
        check(b"{}\n".to_vec(), "{}\n");
        check(b"{".to_vec(), "{");
        check(Vec::new(), "");
        check(gzip("one\n"), "one\n");
        check([gzip("one\n"), gzip("two\n")].concat(), "one\ntwo\n");
        check(zstd::encode_all("one\n".as_bytes(), 1).unwrap(), "one\n");
    }

    #[test]
    fn folder_stands_for_the_files_below_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["b/2.json", "a.json", ".hidden"] {
            std::fs::write(folder.path().join(name), "{}").unwrap();
        }
        let found = sources(&[folder.path().to_path_buf(), PathBuf::from("-")]).unwrap();
        let expected = [
            Source::File(folder.path().join("a.json")),
            Source::File(folder.path().join("b/2.json")),
            Source::Stdin,
        ];
        assert_eq!(found, expected);
        assert!(sources(&[folder.path().join("absent")]).unwrap_err().to_string().contains("does not exist"));
    }
}
