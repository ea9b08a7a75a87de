//! `mailgauge ingest`: sends files of events to a running server, to a Kinesis stream, or straight into a data folder.
//!
//! Acknowledged progress is recorded in a journal, so an interrupted run continues where it stopped. The journal is written after the
//! acknowledgement, never before: after a crash some events are sent again, and counting drops them as duplicates.

mod journal;
mod retry;
mod server;
#[cfg(feature = "aws")]
mod stream;
mod target;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adapters::embedded::EmbeddedStore;
use anyhow::Context as _;
use clap::Args;
use event::attribution::Attribution;
use event::decode::stream::{Piece, Splitter};

use self::journal::Journal;
use self::server::ServerDestination;
use self::target::Target;
use crate::cli::attribution_options::AttributionOptions;
use crate::input::{self, Source};
use crate::output;
use crate::progress::ProgressReporter;
use crate::standalone::{Counted, Standalone};
#[cfg(not(feature = "aws"))]
use crate::usage_error::built_without_aws;
use crate::usage_error::usage_error;

/// Approximate size of one request, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// The longest allowed `--give-up-after`.
const MAX_GIVE_UP_AFTER: Duration = Duration::from_hours(7 * 24);

/// Send files of events to a running server, to a Kinesis stream, or into a data folder that no server uses.
///
/// If a server cannot be reached or a stream is full, each failure and the time of the next attempt are reported, until --give-up-after
/// has passed. A later run of the same command continues where this one stopped. A permanent refusal, such as a wrong key, ends the run
/// at once. Exit codes: 0 everything was sent, 1 not everything was sent, 2 wrong usage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge ingest archive/ --to http://127.0.0.1:8080 --key mg_...\n  \
    mailgauge simulate | mailgauge ingest - --to data/mailgauge\n  \
    mailgauge ingest archive/ --to kinesis://mailgauge-events --rate 500")]
pub struct Options {
    /// Files, folders (all files below), or - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// A server's URL (http:// or https://), kinesis:// and the name of a stream, or the path of a data folder, which is created if it
    /// does not exist
    #[arg(long, value_name = "URL|kinesis://STREAM|DIR")]
    to: Target,

    /// API key of the server, with the ingest or operator scope
    #[arg(long, value_name = "KEY", env = "MAILGAUGE_KEY", hide_env_values = true)]
    key: Option<String>,

    /// Limit in events per second [default: as fast as possible]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// How long to retry a failing server or full stream, such as 30s, 5m or 2h, at most 168h (7 days); 0s makes a single attempt
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_give_up_after)]
    give_up_after: Duration,

    /// The file that records how far each input file was sent, so that a later run continues there
    /// [default: mailgauge/ingest.json in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

    /// Ignore the journal and start at the beginning of each file
    #[arg(long)]
    from_start: bool,

    #[command(flatten)]
    attribution: AttributionOptions,
}

/// Where events are sent.
trait IngestDestination {
    /// Sends a block of events. Returns once the destination has stored them durably; retries are up to the destination.
    fn send(&mut self, block: &[u8]) -> anyhow::Result<Counted>;

    /// The last line of a successful run.
    fn summary(&self, sent: Counted) -> String {
        let Counted { events, duplicates, ignored, ignored_kinds, quarantined } = sent;
        format!(
            "{} events counted, {} counted before, {}, {} unreadable",
            output::grouped(events),
            output::grouped(duplicates),
            output::ignored(ignored, &ignored_kinds),
            output::grouped(quarantined)
        )
    }
}

fn parse_give_up_after(text: &str) -> Result<Duration, String> {
    let given = text.parse::<jiff::SignedDuration>().ok().and_then(|given| Duration::try_from(given).ok());
    given
        .filter(|given| *given <= MAX_GIVE_UP_AFTER)
        .ok_or_else(|| "use a duration from 0s to 168h (7 days), such as 30s, 5m or 2h".to_owned())
}

/// Sends all files, one after the other, in the order in which they were named.
///
/// # Errors
/// Wrong usage, a file that cannot be read, or a destination that refuses events or fails for too long.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let sources = input::sources(&options.files)?;
    let (name, is_new) = identify(&options.to)?;
    // Only servers need a key, so with one a new folder is almost certainly a mistyped URL.
    if is_new && options.key.is_some() {
        return Err(usage_error(format!(
            "--to: there is no data folder {name}, and --key applies only to servers: write http://HOST:PORT or https://HOST, \
             or create the folder without --key and MAILGAUGE_KEY"
        )));
    }
    let mut journal = Journal::open(options.journal.as_deref(), &name)?;
    // The size of standard input is not known before its end.
    let total: Option<u64> = sources.iter().map(input::size).sum();
    let progress = ProgressReporter::new(total, "bytes");
    let mut destination = destination(options, &progress)?;
    if is_new {
        progress.print_status(&format!("created the data folder {name}, which did not exist"));
    }
    let read = ProgressReporter::hidden();
    let mut run = IngestRun { rate: options.rate, progress, read, sent: Counted::default(), started: None };
    for source in &sources {
        // A new folder is empty, even if the journal knows an earlier folder at the same path.
        let from = if options.from_start || is_new { 0 } else { journal.sent(source) };
        run.send_source(source, from, &mut *destination, &mut journal)?;
    }
    run.progress.finish();
    output::print_status(&destination.summary(run.sent));
    if run.sent.quarantined > 0 {
        output::print_status(
            "unreadable records are kept in quarantine with the reason: mailgauge quarantine list",
        );
    }
    Ok(())
}

/// The destination's name in the journal, and whether it is a data folder that does not exist yet.
fn identify(target: &Target) -> anyhow::Result<(String, bool)> {
    match target {
        Target::Server(url) => Ok((url.clone(), false)),
        Target::Stream(name) => Ok((format!("kinesis://{name}"), false)),
        Target::Folder(path) => {
            if path.is_file() {
                return Err(usage_error(format!(
                    "--to {}: this is a file, not a data folder",
                    path.display()
                )));
            }
            // A relative path names another folder in another working directory.
            let full =
                std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
            Ok((full.display().to_string(), !EmbeddedStore::is_in(path)))
        }
    }
}

fn destination(options: &Options, progress: &ProgressReporter) -> anyhow::Result<Box<dyn IngestDestination>> {
    match &options.to {
        Target::Server(url) => {
            let key = options.key.as_deref();
            let key =
                key.ok_or_else(|| usage_error("a server needs a key: give --key or set MAILGAUGE_KEY"))?;
            Ok(Box::new(ServerDestination::new(url, key, options.give_up_after, progress)))
        }
        Target::Stream(name) => stream(name, options.give_up_after, progress),
        Target::Folder(path) => Ok(Box::new(DataFolder::open(path, options.attribution.attribution()?)?)),
    }
}

#[cfg(feature = "aws")]
fn stream(
    name: &str,
    give_up_after: Duration,
    progress: &ProgressReporter,
) -> anyhow::Result<Box<dyn IngestDestination>> {
    Ok(Box::new(stream::StreamDestination::new(name, give_up_after, progress)?))
}

#[cfg(not(feature = "aws"))]
fn stream(_: &str, _: Duration, _: &ProgressReporter) -> anyhow::Result<Box<dyn IngestDestination>> {
    Err(built_without_aws("--to kinesis://"))
}

/// One run of the command over all sources.
struct IngestRun {
    /// The limit in events per second; `None` sends as fast as the destination accepts.
    rate: Option<u32>,
    progress: ProgressReporter,
    /// Bytes read from disk so far, before decompression. They become the visible progress once the events in them are sent.
    read: ProgressReporter,
    sent: Counted,
    /// When the first block was sent.
    started: Option<Instant>,
}

impl IngestRun {
    /// Sends one source from byte `from` (after decompression) to its end.
    fn send_source(
        &mut self,
        source: &Source,
        from: u64,
        destination: &mut dyn IngestDestination,
        journal: &mut Journal,
    ) -> anyhow::Result<()> {
        let mut reader = input::open(source, &self.read)?;
        let skipped = std::io::copy(&mut reader.by_ref().take(from), &mut std::io::sink())
            .with_context(|| format!("cannot read {source}"))?;
        if skipped > 0 {
            self.progress
                .print_status(&format!("{source}: continuing after {} bytes", output::grouped(skipped)));
        }
        let mut splitter = Splitter::new(CHUNK_BYTES);
        let mut failure = None;
        loop {
            // One read, which may return only a few bytes: events from a pipe are sent as they arrive.
            let length = reader.read(splitter.room()).with_context(|| format!("cannot read {source}"))?;
            let mut each = |piece: Piece<'_>| {
                let (Piece::Values { offset, bytes } | Piece::TooLarge { offset, head: bytes }) = piece;
                if failure.is_none() {
                    let end = skipped + offset + bytes.len() as u64;
                    // Checked where the source begins: behind that, a row is not known from other lines.
                    let refused =
                        if skipped + offset == 0 { input::refuse_table(source, bytes) } else { Ok(()) };
                    failure = refused
                        .and_then(|()| self.send_block(bytes, destination))
                        .and_then(|()| journal.record(source, end))
                        .with_context(|| not_sent(source, skipped + offset))
                        .err();
                }
            };
            match length {
                0 => splitter.finish(&mut each),
                _ => splitter.filled(length, &mut each),
            }
            if let Some(error) = failure {
                return Err(error);
            }
            if length == 0 {
                return Ok(());
            }
        }
    }

    /// Sends one block, then waits if that was faster than the rate.
    fn send_block(&mut self, block: &[u8], destination: &mut dyn IngestDestination) -> anyhow::Result<()> {
        let sent = destination.send(block)?;
        self.sent.add(sent);
        self.progress.set_position(self.read.position());
        self.progress
            .set_message(format!("{} events", output::grouped(self.sent.events + self.sent.duplicates)));
        #[expect(
            clippy::disallowed_methods,
            reason = "a rate is measured by the clock, and a command may read it"
        )]
        let now = Instant::now();
        // The clock starts at the first block, so that the time spent waiting for it does not permit a burst.
        let started = *self.started.get_or_insert(now);
        if let Some(rate) = self.rate {
            let due =
                Duration::from_secs_f64((self.sent.events + self.sent.duplicates) as f64 / f64::from(rate));
            std::thread::sleep(due.saturating_sub(now - started));
        }
        Ok(())
    }
}

/// The error for a source that was not sent completely: where it stopped, and how to continue.
fn not_sent(source: &Source, byte: u64) -> String {
    let byte = output::grouped(byte);
    match source {
        Source::File(_) => {
            format!("{source} was sent only up to byte {byte}; run the same command again to continue there")
        }
        Source::Stdin => format!(
            "{source} was sent only up to byte {byte}; send all of it again: nothing is counted twice"
        ),
    }
}

/// A data folder, opened by this process.
struct DataFolder {
    runtime: tokio::runtime::Runtime,
    standalone: Standalone,
}

impl DataFolder {
    fn open(folder: &Path, attribution: Attribution) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
        let standalone = Standalone::open(folder, attribution)?;
        runtime.block_on(standalone.end_stale_leases())?;
        Ok(Self { runtime, standalone })
    }
}

impl IngestDestination for DataFolder {
    fn send(&mut self, block: &[u8]) -> anyhow::Result<Counted> {
        let counted = self.runtime.block_on(self.standalone.count(&[block]))?;
        // Compacts as it goes, since a large archive would leave thousands of deltas for the next reader to merge.
        self.runtime.block_on(self.standalone.tidy())?;
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn give_up_after_is_a_duration_of_at_most_a_week() {
        for (text, expected) in [("0s", 0), ("30s", 30), ("5m", 300), ("2h", 7200), ("168h", 604_800)] {
            assert_eq!(parse_give_up_after(text), Ok(Duration::from_secs(expected)), "{text}");
        }
        // A day has no fixed length for the parser, so a week is written in hours.
        for text in ["", "5", "-5m", "169h", "7d", "soon", "99999999999h"] {
            assert!(parse_give_up_after(text).unwrap_err().contains("0s to 168h"), "{text}");
        }
    }

    #[test]
    fn destinations_have_one_name_however_they_are_written() {
        let name = |to: &str| identify(&to.parse().unwrap()).unwrap();
        assert_eq!(name("http://host:8080/"), ("http://host:8080".to_owned(), false));
        assert_eq!(name("kinesis://events"), ("kinesis://events".to_owned(), false));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let (full, is_new) = name(path.to_str().unwrap());
        assert!(Path::new(&full).is_absolute() && is_new, "{full}");
        std::fs::write(&path, "").unwrap();
        assert!(identify(&Target::Folder(path)).unwrap_err().to_string().contains("is a file"));
    }
}
