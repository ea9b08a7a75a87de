//! `mailgauge ingest`: send files of events to a running server, onto a Kinesis stream, or straight into a data folder.
//!
//! Acknowledged progress is recorded in a journal, so a run that was interrupted continues where it stopped. Sending an event twice does no
//! harm: a server recognises events that it has counted.

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
use self::server::Server;
use self::target::Target;
use crate::cli::Usage;
use crate::cli::tags::Tags;
use crate::input::{self, Source};
use crate::output;
use crate::progress::Progress;
use crate::standalone::{Counted, Standalone};

/// Approximate size of one request, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// The longest `--give-up-after`.
const LONGEST_PATIENCE: Duration = Duration::from_hours(7 * 24);

/// Send files of events to a running server, onto a stream, or into a data folder that no server uses.
///
/// When a server cannot be reached, or a stream is full, each failure is reported and the next attempt announced, until --give-up-after
/// has passed. A later run of the same command continues where this one stopped. What a server refuses for good, such as a wrong key, ends
/// the run at once. Exit codes: 0 all was sent, 1 not all of it, 2 wrong usage.
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

    /// Key of the server, with ingest or operator scope
    #[arg(long, value_name = "KEY", env = "MAILGAUGE_KEY", hide_env_values = true)]
    key: Option<String>,

    /// At most so many events a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// How long a failing server or full stream is retried, such as 30s, 5m or 2h; 0s for a single attempt
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_patience)]
    give_up_after: Duration,

    /// The file that records how far each file was sent; a later run continues from there [default: in the user's state folder]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

    /// Begin at the start of each file, whatever the journal says
    #[arg(long)]
    from_start: bool,

    #[command(flatten)]
    tags: Tags,
}

/// Takes blocks of events and returns when they are counted.
trait Destination {
    fn send(&mut self, block: &[u8]) -> anyhow::Result<Counted>;

    /// What to tell at the end.
    fn summary(&self, sent: Counted) -> String {
        let Counted { events, duplicates, ignored, quarantined } = sent;
        format!(
            "{} events counted, {} counted before, {} ignored, {} unreadable",
            output::grouped(events),
            output::grouped(duplicates),
            output::grouped(ignored),
            output::grouped(quarantined)
        )
    }
}

fn parse_patience(text: &str) -> Result<Duration, String> {
    let given = text.parse::<jiff::SignedDuration>().ok().and_then(|given| Duration::try_from(given).ok());
    given
        .filter(|given| *given <= LONGEST_PATIENCE)
        .ok_or_else(|| "use a duration from 0s to 7d, such as 30s, 5m or 2h".to_owned())
}

/// Sends all files.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let sources = input::sources(&options.files)?;
    let (key, is_new) = identity(&options.to)?;
    // Only servers need a key, so with one a new folder is almost certainly a mistyped URL.
    if is_new && options.key.is_some() {
        return Err(Usage::error(format!(
            "--to: there is no data folder {key}, and a key is for a server: write http://HOST:PORT or https://HOST, \
             or create the folder without --key and MAILGAUGE_KEY"
        )));
    }
    let mut journal = Journal::open(options.journal.as_deref(), &key)?;
    // The size of standard input is not known before its end.
    let total: Option<u64> = sources.iter().map(input::size).sum();
    let progress = Progress::new(total, "bytes");
    let mut destination = destination(options, &progress)?;
    if is_new {
        progress.tell(&format!("created the data folder {key}, which did not exist"));
    }
    let read = Progress::hidden();
    let mut run = Run { rate: options.rate, progress, read, sent: Counted::default(), started: None };
    for source in &sources {
        // A new folder is empty, even if the journal knows an earlier folder at the same path.
        let from = if options.from_start || is_new { 0 } else { journal.sent(source) };
        run.source(source, from, &mut *destination, &mut journal)?;
    }
    run.progress.finish();
    output::tell(&destination.summary(run.sent));
    if run.sent.quarantined > 0 {
        output::tell("what could not be read is kept with the reason: mailgauge quarantine list");
    }
    Ok(())
}

/// The journal's key for a destination, and whether it is a data folder that does not exist yet.
fn identity(target: &Target) -> anyhow::Result<(String, bool)> {
    match target {
        Target::Server(url) => Ok((url.clone(), false)),
        Target::Stream(name) => Ok((format!("kinesis://{name}"), false)),
        Target::Folder(path) => {
            if path.is_file() {
                return Err(Usage::error(format!(
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

fn destination(options: &Options, progress: &Progress) -> anyhow::Result<Box<dyn Destination>> {
    match &options.to {
        Target::Server(url) => {
            let key = options.key.as_deref();
            let key =
                key.ok_or_else(|| Usage::error("a server needs a key: give --key or set MAILGAUGE_KEY"))?;
            Ok(Box::new(Server::new(url, key, options.give_up_after, progress)))
        }
        Target::Stream(name) => stream(name, options.give_up_after, progress),
        Target::Folder(path) => Ok(Box::new(Folder::open(path, options.tags.attribution()?)?)),
    }
}

#[cfg(feature = "aws")]
fn stream(name: &str, give_up_after: Duration, progress: &Progress) -> anyhow::Result<Box<dyn Destination>> {
    Ok(Box::new(stream::ToStream::new(name, give_up_after, progress)?))
}

#[cfg(not(feature = "aws"))]
fn stream(_: &str, _: Duration, _: &Progress) -> anyhow::Result<Box<dyn Destination>> {
    Err(Usage::without_aws("--to kinesis://"))
}

struct Run {
    rate: Option<u32>,
    progress: Progress,
    /// Bytes read from disk so far, before decompression. They become the visible progress once the events in them are sent.
    read: Progress,
    sent: Counted,
    started: Option<Instant>,
}

impl Run {
    fn source(
        &mut self,
        source: &Source,
        from: u64,
        destination: &mut dyn Destination,
        journal: &mut Journal,
    ) -> anyhow::Result<()> {
        let mut reader = input::open(source, &self.read)?;
        let skipped = std::io::copy(&mut reader.by_ref().take(from), &mut std::io::sink())
            .with_context(|| format!("cannot read {source}"))?;
        if skipped > 0 {
            self.progress.tell(&format!("{source}: continuing after {} bytes", output::grouped(skipped)));
        }
        let mut splitter = Splitter::new(CHUNK_BYTES);
        let mut failure = None;
        loop {
            // No more than comes at once: a pipe's events are sent as they come.
            let length = reader.read(splitter.room()).with_context(|| format!("cannot read {source}"))?;
            let mut each = |piece: Piece<'_>| {
                let (Piece::Values { offset, bytes } | Piece::TooLarge { offset, head: bytes }) = piece;
                if failure.is_none() {
                    let end = skipped + offset + bytes.len() as u64;
                    failure = self
                        .block(bytes, destination)
                        .and_then(|()| journal.note(source, end))
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

    fn block(&mut self, block: &[u8], destination: &mut dyn Destination) -> anyhow::Result<()> {
        let sent = destination.send(block)?;
        self.sent.add(sent);
        self.progress.set_position(self.read.position());
        self.progress
            .set_message(format!("{} events", output::grouped(self.sent.events + self.sent.duplicates)));
        #[expect(
            clippy::disallowed_methods,
            reason = "the rate is kept against the clock, and this is the edge"
        )]
        let now = Instant::now();
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
            format!("{source} was not sent from byte {byte} on; the same command continues there")
        }
        Source::Stdin => format!(
            "{source} was not sent from byte {byte} on; send all of it again: events that were counted are not counted twice"
        ),
    }
}

/// A data folder that no server uses.
struct Folder {
    runtime: tokio::runtime::Runtime,
    home: Standalone,
}

impl Folder {
    fn open(folder: &Path, attribution: Attribution) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
        let home = Standalone::open(folder, attribution)?;
        runtime.block_on(home.begin())?;
        Ok(Self { runtime, home })
    }
}

impl Destination for Folder {
    fn send(&mut self, block: &[u8]) -> anyhow::Result<Counted> {
        let counted = self.runtime.block_on(self.home.count(&[block]))?;
        self.runtime.block_on(self.home.tidy())?;
        Ok(counted)
    }
}
