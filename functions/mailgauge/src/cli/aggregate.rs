//! `mailgauge aggregate`: count files of events, without a server or a store.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use cells::query::{Basis, Metric, Value as Figure};
use cells::{Accumulator, Cell, Grouping, Resolution, RowKey};
use clap::Args;
use event::attribution::Dimension;
use serde_json::{Map, Value, json};

use crate::cli::Usage;
use crate::cli::tags::Tags;
use crate::input;
use crate::offline::{self, Tally};
use crate::output::{self, Format, Table};

/// So many parts that cannot be read are told one by one.
const COMPLAINTS_TOLD: usize = 10;

/// Count events in files, without a server or a store.
///
/// Reads every shape SES events come in, mixed as they may be: raw events and older notifications; in EventBridge, SNS, Kinesis,
/// Kafka and Firehose envelopes; one value, NDJSON, arrays, pretty-printed; plain, gzip, zstd, KPL-aggregated.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge aggregate events.ndjson.gz --group-by tenant,provider --metrics sends,delivery_rate,bounce_rate\n  \
    zcat archive/*.gz | mailgauge aggregate - --group-by hour,event --format csv")]
pub struct Options {
    /// Files, folders (all files below), or - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// What rows are made of: tenant, event, one of minute/hour/day (UTC), campaign, segment, provider, recipient_domain,
    /// sending_domain, configuration_set, tag1 to tag4
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_key)]
    group_by: Vec<GroupKey>,

    /// Columns; all that the input has by default
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_metric)]
    metrics: Vec<Metric>,

    /// What the input is. It is recognised by its content, part by part, whatever is said here
    #[arg(long, value_enum, default_value_t = Input::Auto)]
    input: Input,

    /// Threads that count
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,

    /// How the rows are printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Print what was read, how fast and in how much memory, as a JSON line on standard error
    #[arg(long)]
    stats: bool,

    #[command(flatten)]
    tags: Tags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Input {
    Auto,
    Ses,
    KinesisLambda,
    KafkaLambda,
}

/// One word of `--group-by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupKey {
    Tenant,
    Event,
    Time(Resolution),
    Dimension(Dimension),
}

impl GroupKey {
    fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Event => "event",
            Self::Time(Resolution::Minute) => "minute",
            Self::Time(Resolution::Hour) => "hour",
            Self::Time(Resolution::Day) => "day",
            Self::Dimension(dimension) => dimension.name(),
        }
    }

    fn value(self, key: &RowKey<'_>) -> String {
        match self {
            Self::Tenant => key.tenant.to_owned(),
            Self::Event => key.kind.to_owned(),
            Self::Time(_) => key.bucket.map_or_else(String::new, |bucket| bucket.start().to_string()),
            Self::Dimension(dimension) => key.value(dimension).to_owned(),
        }
    }
}

fn parse_key(word: &str) -> Result<GroupKey, String> {
    Ok(match word {
        "tenant" => GroupKey::Tenant,
        "event" => GroupKey::Event,
        "minute" => GroupKey::Time(Resolution::Minute),
        "hour" => GroupKey::Time(Resolution::Hour),
        "day" => GroupKey::Time(Resolution::Day),
        _ => GroupKey::Dimension(Dimension::from_name(word).ok_or_else(|| {
            let dimensions: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.name()).collect();
            format!("use tenant, event, minute, hour, day, {}", dimensions.join(", "))
        })?),
    })
}

fn parse_metric(word: &str) -> Result<Metric, String> {
    Metric::from_name(word).ok_or_else(|| {
        let names: Vec<String> = Metric::all().map(Metric::name).collect();
        format!("use {}", names.join(", "))
    })
}

/// Counts, prints the rows, says what could not be read.
pub fn run(options: &Options) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the command measures itself")]
    let started = Instant::now();
    let grouping = grouping(&options.group_by)?;
    let attribution = options.tags.attribution()?;
    let sources = input::sources(&options.files)?;
    let told = std::sync::atomic::AtomicUsize::new(0);
    let complain = |source: &input::Source, offset: u64, reason: &str| {
        let number = told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if number < COMPLAINTS_TOLD {
            output::tell(&format!("not counted: {source}, in the block at byte {offset}: {reason}"));
        } else if number == COMPLAINTS_TOLD {
            output::tell("further parts that cannot be read are counted, but not told one by one");
        }
    };
    let (cells, tally) =
        offline::count(&sources, &grouping, &attribution, options.threads.into(), &complain)?;
    let rows = rows(&cells, &options.group_by);
    print(&rows, options).context("cannot write to standard output")?;
    if options.stats {
        output::tell(&stats(tally, started.elapsed().as_secs_f64())?.to_string());
    }
    Ok(())
}

fn grouping(keys: &[GroupKey]) -> anyhow::Result<Grouping> {
    let mut grouping =
        Grouping { tenant: false, bucket: None, dimensions: [false; Dimension::COUNT], kind: false };
    for (position, key) in keys.iter().enumerate() {
        if keys.iter().take(position).any(|other| other == key) {
            return Err(Usage::error(format!("--group-by names {} twice", key.name())));
        }
        match key {
            GroupKey::Tenant => grouping.tenant = true,
            GroupKey::Event => grouping.kind = true,
            GroupKey::Time(resolution) => {
                if grouping.bucket.replace(*resolution).is_some() {
                    return Err(Usage::error("--group-by takes one of minute, hour and day"));
                }
            }
            GroupKey::Dimension(dimension) => {
                for (number, held) in grouping.dimensions.iter_mut().enumerate() {
                    *held |= number == *dimension as usize;
                }
            }
        }
    }
    Ok(grouping)
}

type Rows = BTreeMap<Vec<String>, Cell>;

/// The rows in the order of their groups. Cells of a message's several readers have the same group, so they merge.
fn rows(cells: &Accumulator, keys: &[GroupKey]) -> Rows {
    let mut rows = Rows::new();
    for (key, cell) in cells.rows() {
        let group = keys.iter().map(|word| word.value(&key)).collect();
        rows.entry(group).or_default().merge(cell);
    }
    rows
}

fn print(rows: &Rows, options: &Options) -> io::Result<()> {
    let metrics = if options.metrics.is_empty() { metrics_in(rows) } else { options.metrics.clone() };
    let names: Vec<String> = metrics.iter().map(|metric| metric.name()).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    if options.format == Format::Json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(group, cell)| {
                let group: Map<String, Value> = options
                    .group_by
                    .iter()
                    .zip(group)
                    .map(|(key, value)| (key.name().to_owned(), json!(value)))
                    .collect();
                let figures = metrics.iter().map(|metric| figure(*metric, cell));
                let figures: Map<String, Value> = names.iter().cloned().zip(figures).collect();
                json!({ "group": group, "metrics": figures })
            })
            .collect();
        serde_json::to_writer(&mut out, &json!({ "rows": rows }))?;
        writeln!(out)?;
        return out.flush();
    }
    let keys = options.group_by.iter().map(|key| key.name().to_owned());
    let mut table = Table::new(keys.chain(names));
    for (group, cell) in rows {
        let group = group.iter().map(|value| json!(value));
        table.push(group.chain(metrics.iter().map(|metric| figure(*metric, cell))).collect());
    }
    table.write(options.format, &mut out)?;
    out.flush()
}

/// What the input has something of, in the order of the documentation: nobody wants seventy columns of nothing.
fn metrics_in(rows: &Rows) -> Vec<Metric> {
    let mut all = Cell::default();
    for cell in rows.values() {
        all.merge(cell);
    }
    let plain = |metric: &Metric| match metric.value(&all, Basis::Event) {
        Figure::Count(count) => count > 0,
        Figure::Number(_) => true,
        Figure::Missing => false,
    };
    let metrics: Vec<Metric> = Metric::all().filter(plain).collect();
    if metrics.is_empty() { Metric::from_name("sends").into_iter().collect() } else { metrics }
}

fn figure(metric: Metric, cell: &Cell) -> Value {
    match metric.value(cell, Basis::Event) {
        Figure::Count(count) => json!(count),
        Figure::Number(number) => json!(number),
        Figure::Missing => Value::Null,
    }
}

fn stats(tally: Tally, seconds: f64) -> anyhow::Result<Value> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike as _;
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("cannot read the process's own usage")?;
    let cpu_micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    // Linux counts kilobytes, macOS bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let peak_rss_bytes = peak_rss_bytes().or_else(|| u64::try_from(usage.max_rss() * unit).ok());
    Ok(json!({
        "events": tally.events,
        "records": tally.records,
        "bytes": tally.bytes,
        "quarantined": tally.quarantined,
        "duplicates": tally.duplicates,
        "seconds": seconds,
        "cpu_seconds": cpu_micros as f64 / 1e6,
        "peak_rss_bytes": peak_rss_bytes,
    }))
}

/// Linux knows the peak of this program itself; what `getrusage` says begins with the size of whoever started it.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))?;
    kilobytes.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
