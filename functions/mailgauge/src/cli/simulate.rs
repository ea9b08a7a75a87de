//! `mailgauge simulate`: SES events that look real, from a seed.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use simulator::{Envelope, Incident, Plan, Simulation};

use crate::cli::Usage;
use crate::cli::moment::Moment;
use crate::output;
use crate::progress::Progress;

/// Make SES events that look real, as NDJSON. The same seed gives the same bytes.
#[derive(Debug, Args)]
#[command(
    after_help = "Incidents: gmail-block, bad-list, complaint-spike, volume-drop, volume-spike, slow-decline, \
    open-outage, latency;\nOFFSET is in minutes from the start.\n\nExample:\n  \
    mailgauge simulate --tenants 3 --minutes 120 --incident gmail-block@60:minutes=30 --out events.ndjson"
)]
pub struct Options {
    /// How many tenants send; the first sends the most
    #[arg(long, value_name = "N", default_value_t = 5)]
    tenants: u32,

    /// How many emails all of them send a minute, on average
    #[arg(long, value_name = "N", default_value_t = 100.0)]
    emails_per_minute: f64,

    /// For how many minutes
    #[arg(long, value_name = "N", default_value_t = 60)]
    minutes: u32,

    /// When the first minute begins
    #[arg(allow_hyphen_values = true, long, value_name = "TIME", default_value = "2026-01-05T00:00:00Z")]
    start: Moment,

    /// What the randomness comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// What goes wrong, and when; may be repeated
    #[arg(long = "incident", value_name = "KIND@OFFSET[:KEY=VALUE...]")]
    incidents: Vec<Incident>,

    /// What the events are wrapped in
    #[arg(long, value_enum, default_value_t = Wrapping::Ses)]
    envelope: Wrapping,

    /// Records in a Kinesis Lambda payload
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,

    /// Where to; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Wrapping {
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
        incidents: options.incidents.clone(),
    };
    let envelope = match options.envelope {
        Wrapping::Ses => Envelope::Raw,
        Wrapping::Eventbridge => Envelope::EventBridge,
        Wrapping::Sns => Envelope::Sns,
        Wrapping::KinesisLambda => Envelope::KinesisLambda(options.batch),
    };
    let simulation =
        Simulation::new(plan).map_err(|error| Usage::error(format!("cannot simulate: {error}")))?;
    let simulation = simulation.in_envelopes(envelope);
    let to_terminal = options.out.as_os_str() == "-";
    let out: Box<dyn Write> = if to_terminal {
        Box::new(io::stdout().lock())
    } else {
        let path = options.out.display();
        Box::new(BufWriter::new(File::create(&options.out).with_context(|| format!("cannot write {path}"))?))
    };
    let quiet = to_terminal && io::stdout().is_terminal();
    let events = write(simulation, options.minutes, quiet, out);
    match events {
        // Whoever reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot write {}", options.out.display())),
        Ok(events) => {
            output::tell(&format!("{} events", output::grouped(events)));
            Ok(())
        }
    }
}

fn write(mut simulation: Simulation, minutes: u32, quiet: bool, mut out: Box<dyn Write>) -> io::Result<u64> {
    let progress = if quiet { Progress::hidden() } else { Progress::new(Some(minutes.into()), "minutes") };
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
