//! `mailgauge aggregate`: count files of events, without a server or a store.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use cells::query::{Basis, Count, Metric, Value as Figure};
use cells::{Accumulator, Cell, Grouping, Resolution, RowKey, SortKey};
use clap::Args;
use event::attribution::Dimension;
use serde_json::{Value, json};

use crate::cli::Usage;
use crate::cli::tags::Tags;
use crate::input;
use crate::offline::{self, Tally};
use crate::output::{self, Format, Rows};
use crate::progress::Progress;

/// How many unreadable records are reported one by one.
const COMPLAINTS_TOLD: usize = 10;

/// Count events in files, without a server or a store.
///
/// Reads every shape SES events come in, mixed as they may be: raw events and older notifications; in EventBridge, SNS, Kinesis,
/// Kafka and Firehose envelopes; one value, NDJSON, arrays, pretty-printed; plain, gzip, zstd, KPL-aggregated. Standard error says at the
/// end how many records were read and how many could not be.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 if the input was read, even if it is empty or some records could not be read; 1 if no record \
    at all could be read, or a file not to its end; 2 for wrong usage.\n\n\
    Examples:\n  \
    mailgauge aggregate events.ndjson.gz --group-by tenant,provider --metrics sends,delivery_rate,bounce_rate\n  \
    zcat archive/*.gz | mailgauge aggregate - --group-by hour,campaign --metrics sends,deliveries,bounces,opens --format csv"
)]
pub struct Options {
    /// Files, folders (all files below), or - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// What rows are made of: tenant, event, one of minute/hour/day (UTC), campaign, segment, provider, recipient_domain,
    /// sending_domain, configuration_set, tag1 to tag4
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_key)]
    group_by: Vec<GroupKey>,

    /// The columns, in this order [default: every metric in JSON and CSV, whatever the input; in a table those with a value]. Rates and
    /// other figures made of several event types are empty in rows by event, and left out there by default
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

    fn value(self, key: &RowKey<'_>) -> Value {
        match self {
            Self::Tenant => key.tenant.into(),
            Self::Event => key.kind.into(),
            Self::Time(_) => key.bucket.map_or_else(String::new, |bucket| bucket.start().to_string()).into(),
            Self::Dimension(dimension) => key.value(dimension).into(),
        }
    }

    const fn sort_key(self) -> SortKey {
        match self {
            Self::Tenant => SortKey::Tenant,
            Self::Event => SortKey::Kind,
            Self::Time(_) => SortKey::Bucket,
            Self::Dimension(dimension) => SortKey::Dimension(dimension),
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

/// Counts the files, prints the rows, and reports what was read and what could not be read.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    #[expect(clippy::disallowed_methods, reason = "the command measures itself")]
    let started = Instant::now();
    let grouping = grouping(&options.group_by)?;
    let attribution = options.tags.attribution()?;
    let sources = input::sources(&options.files)?;
    let progress = Progress::new(sources.iter().map(input::size).sum(), "bytes");
    let told = std::sync::atomic::AtomicUsize::new(0);
    let complain = |source: &input::Source, offset: u64, reason: &str| {
        let number = told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if number < COMPLAINTS_TOLD {
            progress.tell(&format!("not counted: {source}, in the block at byte {offset}: {reason}"));
        } else if number == COMPLAINTS_TOLD {
            progress.tell("further unreadable records are counted but not reported one by one");
        }
    };
    let threads = options.threads.into();
    let (cells, tally) = offline::count(&sources, &grouping, &attribution, threads, &progress, &complain)?;
    progress.finish();
    output::until_closed(print(&cells, options).context("cannot write to standard output"))?;
    output::tell(&summary(tally, &sources));
    let mixed = || options.metrics.iter().find(|metric| mixes_event_types(**metric));
    if let Some(metric) = grouping.kind.then(mixed).flatten() {
        let name = metric.name();
        output::tell(&format!(
            "{name} is made of several event types, so it is empty in rows by event: leave event out of --group-by"
        ));
    }
    let nothing_was_read = tally.records > 0 && tally.quarantined == tally.records;
    if nothing_was_read {
        output::report(&anyhow!(
            "no record of {} could be read: this needs SES events as JSON, raw or in an envelope of EventBridge, SNS, Kinesis, Kafka or \
             Firehose",
            name(&sources)
        ));
    }
    // Printed last, so that scripts can read the last line.
    if options.stats {
        output::tell(&stats(tally, started.elapsed().as_secs_f64())?.to_string());
    }
    Ok(if nothing_was_read { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line about what was read: records, events, duplicates and unreadable records.
fn summary(tally: Tally, sources: &[input::Source]) -> String {
    let Tally { events, records, quarantined, duplicates, .. } = tally;
    let name = name(sources);
    if records == 0 {
        return format!("{name}: the input is empty");
    }
    let ignored = records.saturating_sub(events + quarantined);
    let number = output::grouped;
    format!(
        "{name}: {} records read: {} events ({} of them duplicates), {} without a countable event, {} unreadable",
        number(records),
        number(events),
        number(duplicates),
        number(ignored),
        number(quarantined)
    )
}

fn name(sources: &[input::Source]) -> String {
    match sources {
        [source] => source.to_string(),
        _ => format!("{} files", output::grouped(sources.len() as u64)),
    }
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

/// Prints the rows in the order of their groups, one after the other: there may be as many as events.
fn print(cells: &Accumulator, options: &Options) -> io::Result<()> {
    let keys = &options.group_by;
    let by_event = keys.contains(&GroupKey::Event);
    let metrics = match options.metrics.as_slice() {
        [] => default_metrics(by_event, options.format, cells),
        asked => asked.to_vec(),
    };
    let groups = keys.iter().map(|key| key.name().to_owned());
    let columns: Vec<String> = groups.chain(metrics.iter().map(|metric| metric.name())).collect();
    let order: Vec<SortKey> = keys.iter().map(|key| key.sort_key()).collect();
    let order = cells.sorted(&order);
    let rows: Rows<'_> = &|each| {
        let mut row = Vec::with_capacity(columns.len());
        for (key, cell) in order.iter().filter_map(|&number| cells.row(number)) {
            row.clear();
            row.extend(keys.iter().map(|word| word.value(&key)));
            row.extend(metrics.iter().map(|metric| {
                let is_mixed = by_event && mixes_event_types(*metric);
                if is_mixed { Value::Null } else { figure(*metric, cell) }
            }));
            each(&row)?;
        }
        Ok(())
    };
    let mut out = BufWriter::new(io::stdout().lock());
    match options.format {
        Format::Json => write_json(&columns, keys.len(), rows, &mut out)?,
        Format::Csv => output::write_csv(&columns, rows, &mut out)?,
        Format::Table => output::write_table(&columns, rows, &mut out)?,
    }
    out.flush()
}

/// `{"rows":[{"group":{...},"metrics":{...}}]}`; the first `keys` columns are those of the group.
fn write_json(columns: &[String], keys: usize, rows: Rows<'_>, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"{\"rows\":[")?;
    let mut is_first = true;
    rows(&mut |row| {
        let start: &[u8] = if is_first { b"{\"group\":{" } else { b",{\"group\":{" };
        is_first = false;
        out.write_all(start)?;
        for (position, (name, value)) in columns.iter().zip(row).enumerate() {
            if position == keys {
                out.write_all(b"},\"metrics\":{")?;
            } else if position > 0 {
                out.write_all(b",")?;
            }
            serde_json::to_writer(&mut *out, name)?;
            out.write_all(b":")?;
            serde_json::to_writer(&mut *out, value)?;
        }
        out.write_all(b"}}")
    })?;
    out.write_all(b"]}\n")
}

/// The columns of a request that names no metrics, in the order of the documentation. CSV and JSON are read by programs, so their columns
/// depend on the request alone; the table is read by people, so it omits columns without a single value.
fn default_metrics(by_event: bool, format: Format, cells: &Accumulator) -> Vec<Metric> {
    let metrics = Metric::all().filter(|metric| !(by_event && mixes_event_types(*metric)));
    if format != Format::Table {
        return metrics.collect();
    }
    let mut all = Cell::default();
    for (_, cell) in cells.rows() {
        all.merge(cell);
    }
    let metrics: Vec<Metric> = metrics
        .filter(|metric| match metric.value(&all, Basis::Event) {
            Figure::Count(count) => count > 0,
            Figure::Number(_) => true,
            Figure::Missing => false,
        })
        .collect();
    if metrics.is_empty() { Metric::from_name("sends").into_iter().collect() } else { metrics }
}

/// Whether a metric combines events of different types. Within the rows of one event type such a metric would be a misleading 0: the rows
/// of Send events, for example, would show a delivery rate of 0.
const fn mixes_event_types(metric: Metric) -> bool {
    matches!(metric, Metric::Rate(_) | Metric::Count(Count::InFlight | Count::DeliveredNet))
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
