//! `mailgauge ingest`: send files of events to a running server, onto a Kinesis stream, or straight into a data folder.
//!
//! What was acknowledged is noted, so that a run that was cut off goes on where it stopped. Sending something twice
//! does no harm: the server knows what it has counted.

mod journal;
#[cfg(feature = "aws")]
mod stream;

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use event::attribution::Attribution;
use event::decode::stream::{Piece, Splitter};
use indicatif::ProgressBar;

use self::journal::Journal;
use crate::cli::Usage;
use crate::cli::tags::Tags;
use crate::input::{self, Source};
use crate::output;
use crate::standalone::{Counted, Standalone};

/// About so much is sent at once.
const CHUNK_BYTES: usize = 256 << 10;
/// A server that does not answer is tried for so long.
const PATIENCE: Duration = Duration::from_mins(5);
/// Time for one request: the server answers when all is counted.
const REQUEST_TIME: Duration = Duration::from_mins(1);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Send files of events to a running server, onto a stream, or into a data folder that no server uses.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge ingest archive/ --to http://127.0.0.1:8080 --key mg_...\n  \
    mailgauge simulate | mailgauge ingest - --to data/mailgauge\n  \
    mailgauge ingest archive/ --to kinesis://mailgauge-events --rate 500")]
pub struct Options {
    /// Files, folders (all files below), or - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// A server's address, kinesis:// and the name of a stream, or a data folder
    #[arg(long, value_name = "URL|kinesis://STREAM|DIR")]
    to: String,

    /// Key of the server, with ingest or operator scope
    #[arg(long, value_name = "KEY", env = "MAILGAUGE_KEY", hide_env_values = true)]
    key: Option<String>,

    /// At most so many events a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Where it is noted how far each file was sent; a later run goes on from there [default: the user's state folder]
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

/// Sends all files.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let sources = input::sources(&options.files)?;
    let mut journal = Journal::open(options.journal.as_deref(), &options.to)?;
    let mut destination = destination(options)?;
    let total: u64 = sources.iter().filter_map(input::size).sum();
    let progress = output::progress(total, "bytes");
    let mut run = Run { rate: options.rate, progress, sent: Counted::default(), started: None };
    for source in &sources {
        let from = if options.from_start { 0 } else { journal.sent(source) };
        run.source(source, from, &mut *destination, &mut journal)?;
    }
    run.progress.finish_and_clear();
    output::tell(&destination.summary(run.sent));
    if run.sent.quarantined > 0 {
        output::tell("what could not be read is kept with the reason: mailgauge quarantine list");
    }
    Ok(())
}

fn destination(options: &Options) -> anyhow::Result<Box<dyn Destination>> {
    if options.to.starts_with("http://") || options.to.starts_with("https://") {
        let key = options
            .key
            .as_deref()
            .ok_or_else(|| Usage::error("a server needs a key: give --key or set MAILGAUGE_KEY"))?;
        return Ok(Box::new(Server::new(&options.to, key)));
    }
    if let Some(name) = options.to.strip_prefix("kinesis://") {
        return stream(name);
    }
    if let Some((scheme, _)) = options.to.split_once("://") {
        let message = format!(
            "--to {}: {scheme} is not known here; use http://, https://, kinesis:// or a data folder",
            options.to
        );
        return Err(Usage::error(message));
    }
    Ok(Box::new(Folder::open(&options.to, options.tags.attribution()?)?))
}

#[cfg(feature = "aws")]
fn stream(name: &str) -> anyhow::Result<Box<dyn Destination>> {
    Ok(Box::new(stream::ToStream::new(name)?))
}

#[cfg(not(feature = "aws"))]
fn stream(_: &str) -> anyhow::Result<Box<dyn Destination>> {
    Err(Usage::without_aws("--to kinesis://"))
}

struct Run {
    rate: Option<u32>,
    progress: ProgressBar,
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
        let mut reader = input::open(source)?;
        let skipped = std::io::copy(&mut reader.by_ref().take(from), &mut std::io::sink())
            .with_context(|| format!("cannot read {source}"))?;
        if skipped > 0 {
            output::tell(&format!("{source}: going on after {} bytes", output::grouped(skipped)));
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
                        .with_context(|| {
                            format!("{source}: what lies behind byte {} was not sent", skipped + offset)
                        })
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
        self.progress.inc(block.len() as u64);
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

/// A running server.
struct Server {
    agent: ureq::Agent,
    url: String,
    authorization: String,
}

impl Server {
    fn new(address: &str, key: &str) -> Self {
        let config =
            ureq::Agent::config_builder().timeout_global(Some(REQUEST_TIME)).http_status_as_error(false);
        Self {
            agent: config.build().new_agent(),
            url: format!("{}/v1/ingest/ses", address.trim_end_matches('/')),
            authorization: format!("Bearer {key}"),
        }
    }

    /// One try: what became of it, or why it is worth another one.
    fn attempt(&self, block: &[u8]) -> anyhow::Result<Result<Counted, String>> {
        let request = self.agent.post(&self.url).header("authorization", &self.authorization);
        let mut reply = match request.send(block) {
            Ok(reply) => reply,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let status = reply.status().as_u16();
        let body = match reply.body_mut().read_to_string() {
            Ok(body) => body,
            Err(error) => return Ok(Err(error.to_string())),
        };
        match status {
            200..=299 => Ok(Ok(serde_json::from_str(&body).context("the server's reply is not understood")?)),
            408 | 429 | 500..=599 => Ok(Err(format!("the server says {status}: {body}"))),
            _ => bail!("the server refuses: {status}: {body}"),
        }
    }
}

impl Destination for Server {
    fn send(&mut self, block: &[u8]) -> anyhow::Result<Counted> {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_millis(200);
        loop {
            let why = match self.attempt(block)? {
                Ok(sent) => return Ok(sent),
                Err(why) => why,
            };
            if waited >= PATIENCE {
                bail!(
                    "gave up after {} s: {why}; run the same command again later, it goes on here",
                    waited.as_secs()
                );
            }
            std::thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A data folder that no server uses.
struct Folder {
    runtime: tokio::runtime::Runtime,
    home: Standalone,
}

impl Folder {
    fn open(folder: &str, attribution: Attribution) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
        let home = Standalone::open(folder.as_ref(), attribution)?;
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
