//! `mailgauge simulate`: realistic SES events from a seed.
//!
//! The same options give the same bytes on every machine, so nothing here may read the clock, except for a relative `--start`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use simulator::{Incident, OutputEnvelope, Plan, Simulation};

use crate::cli::time_argument::TimeArgument;
use crate::output;
use crate::progress::ProgressReporter;
use crate::usage_error::usage_error;

/// Simulate realistic SES events, as NDJSON. The same seed gives the same bytes.
#[derive(Debug, Args)]
#[command(
    after_help = "Kinds of incidents: gmail-block, bad-list, complaint-spike, volume-drop, volume-spike, slow-decline, open-outage, \
    latency. OFFSET is in minutes from the start.\n\nExample:\n  \
    mailgauge simulate --minutes 120 --incident gmail-block@60:minutes=30 --out events.ndjson"
)]
pub struct Options {
    /// Number of tenants, 1 to 10000; the first sends the most
    #[arg(long, value_name = "N", default_value_t = 5)]
    tenants: u32,

    /// Emails per minute of all tenants together, on average; more than 0, at most 2000000
    #[arg(long, value_name = "N", default_value_t = 100.0)]
    emails_per_minute: f64,

    /// Minutes to simulate, at most ten years
    #[arg(long, value_name = "N", default_value_t = 60)]
    minutes: u32,

    /// Start of the first minute: RFC 3339, a date, or a time before now such as -3h
    #[arg(allow_hyphen_values = true, long, value_name = "TIME", default_value = "2026-01-05T00:00:00Z")]
    start: TimeArgument,

    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Percentage of recipients in companies' own domains at Google, Microsoft 365 and behind security gateways, 0 to 100
    /// [default: mostly consumer domains]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    hosted_domains: Option<u32>,

    /// An incident to stage; may be repeated
    #[arg(long = "incident", value_name = "KIND@OFFSET[:KEY=VALUE...]")]
    incidents: Vec<Incident>,

    /// Envelope around the events, as the given source delivers them
    #[arg(long, value_enum, default_value_t = EnvelopeKind::Ses)]
    envelope: EnvelopeKind,

    /// Records per invocation with --envelope kinesis-lambda, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,

    /// Output file; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum EnvelopeKind {
    Ses,
    Eventbridge,
    Sns,
    KinesisLambda,
}

/// Writes the events of the whole plan.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let plan = Plan {
        tenants: options.tenants,
        emails_per_minute: options.emails_per_minute,
        minutes: options.minutes,
        start_ms: options.start.0.millis(),
        seed: options.seed,
        hosted_percent: options.hosted_domains,
        incidents: options.incidents.clone(),
    };
    let envelope = match options.envelope {
        EnvelopeKind::Ses => OutputEnvelope::Raw,
        EnvelopeKind::Eventbridge => OutputEnvelope::EventBridge,
        EnvelopeKind::Sns => OutputEnvelope::Sns,
        EnvelopeKind::KinesisLambda => OutputEnvelope::KinesisLambda(options.batch),
    };
    let simulation =
        Simulation::new(plan).map_err(|error| usage_error(format!("cannot simulate: {error}")))?;
    let simulation = simulation.in_envelopes(envelope);
    // Created only now: a plan that is refused must not leave an empty file, or empty one that exists.
    let to_stdout = options.out.as_os_str() == "-";
    let out: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout().lock())
    } else {
        let path = options.out.display();
        Box::new(BufWriter::new(File::create(&options.out).with_context(|| format!("cannot write {path}"))?))
    };
    // A progress bar would run through the events.
    let quiet = to_stdout && io::stdout().is_terminal();
    let events = write(simulation, options.minutes, quiet, out);
    match events {
        // The reader of a pipe ended it, such as `head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", options.out.display())),
        Ok(events) => {
            output::print_status(&format!("{} events", output::grouped(events)));
            Ok(())
        }
    }
}

/// Writes all events, one per line. Returns how many.
fn write(mut simulation: Simulation, minutes: u32, quiet: bool, mut out: Box<dyn Write>) -> io::Result<u64> {
    let progress = if quiet {
        ProgressReporter::hidden()
    } else {
        ProgressReporter::new(Some(minutes.into()), "minutes")
    };
    let mut bytes = Vec::new();
    let mut events = 0;
    while let Some(minute) = simulation.next_minute(&mut bytes) {
        out.write_all(&bytes)?;
        bytes.clear();
        events += minute.events;
        progress.inc(1);
    }
    progress.finish();
    out.flush()?;
    Ok(events)
}
