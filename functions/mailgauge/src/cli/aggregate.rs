//! `mailgauge aggregate`: counts files of events, without a server or a store.
//!
//! Rows go to standard output, the summary of what was read and what could not be read to standard error. Nothing is stored, so
//! the same files can be counted again and again under different groupings.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use cells::query::metrics::{SENDS, SilentProviders};
use cells::query::{Basis, Metric, MetricRegistry, MetricValue};
use cells::{Accumulator, Cell, Grouping, Resolution, RowKey, SortKey};
use clap::Args;
use event::attribution::Dimension;
use serde_json::{Map, Value, json};

use crate::cli::attribution_options::AttributionOptions;
use crate::input;
use crate::offline::{self, InputForm, InputStats, OfflineInput};
use crate::output::{self, Format, RowProducer};
use crate::progress::ProgressReporter;
use crate::usage_error::usage_error;
use row_sum::RowSum;

mod links;
mod row_sum;

/// How many unreadable records are reported one by one: enough to find the cause, without flooding the terminal.
const MAX_REPORTED: usize = 10;

/// Count events in files, without a server or a store.
///
/// Reads SES events in every form that AWS and the tools around it deliver them in, also mixed in one file: raw events and older
/// notifications; in EventBridge, SNS, Kinesis, Kafka and Firehose envelopes; as messages of a queue, entries of CloudWatch Logs, HTTP
/// requests, failed deliveries or emails; as a single value, NDJSON, arrays, strings or pretty-printed; plain, base64, gzip, zstd or
/// KPL-aggregated. At the end, standard error states how many records were read, which were ignored, and how many were unreadable.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 if the input was read, even if it is empty or some records were unreadable; 1 if every \
    record was unreadable, a file could not be read to its end, or an input begins with another form than --input says; 2 for wrong \
    usage.\n\n\
    Examples:\n  \
    mailgauge aggregate events.ndjson.gz --group-by tenant,provider --metrics sends,bounce_rate\n  \
    zcat archive/*.gz | mailgauge aggregate - --group-by hour --metrics sends,opens --format csv\n  \
    mailgauge aggregate events.ndjson --by-link --attribution attribution.toml"
)]
pub struct Options {
    /// Files, folders (all files below), or - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// One row per combination of these: tenant, event, one of minute/hour/day (UTC), campaign, segment, provider,
    /// recipient_domain, sending_domain, configuration_set, tag1 to tag4 [default: one row in all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_key)]
    group_by: Vec<GroupKey>,

    /// The metrics to print, in this order [default: all in JSON and CSV; in a table, those with a value]. Rates and other metrics
    /// that combine several event types are empty in rows by event, and omitted there by default. Named here, or in rows by provider
    /// or recipient_domain, complaint rates have no value where all mail is at providers that report no complaints; JSON then says so
    /// in `reasons`
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_metric)]
    metrics: Vec<Metric>,

    /// Count clicks by tenant, campaign and link instead: all clicks, and those of machines. Links are printed as hashes unless the
    /// attribution file allows their tags or their host and path (links.store = "tags" or "host_and_path")
    #[arg(long, conflicts_with_all = ["group_by", "metrics"])]
    by_link: bool,

    /// The form that each input must begin with; if one begins with another form, the command fails and counts nothing of it. The form
    /// of each record is always detected from its content
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    input: InputForm,

    /// Number of counting threads, 1 to 256
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,

    /// Format of the rows on standard output
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Print statistics as the last line of standard error, in JSON: events, records, bytes, ignored (by kind), quarantined, duplicates,
    /// seconds, cpu_seconds, peak_rss_bytes
    #[arg(long)]
    stats: bool,

    #[command(flatten)]
    attribution: AttributionOptions,
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
            Self::Event => key.event_type.into(),
            Self::Time(_) => key.bucket.map_or_else(String::new, |bucket| bucket.start().to_string()).into(),
            Self::Dimension(dimension) => key.value(dimension).into(),
        }
    }

    /// Whether two rows are in the same group as far as this word says.
    fn is_same(self, a: &RowKey<'_>, b: &RowKey<'_>) -> bool {
        match self {
            Self::Tenant => a.tenant == b.tenant,
            Self::Event => a.event_type == b.event_type,
            Self::Time(_) => a.bucket == b.bucket,
            Self::Dimension(dimension) => a.value(dimension) == b.value(dimension),
        }
    }

    const fn sort_key(self) -> SortKey {
        match self {
            Self::Tenant => SortKey::Tenant,
            Self::Event => SortKey::EventType,
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
    let registry = MetricRegistry::builtin();
    registry.get(word).ok_or_else(|| format!("use {}", registry.names()))
}

/// Counts the files, prints the rows, and reports what was read.
///
/// # Errors
/// A file that cannot be read to its end, or begins with another form than `--input` says. If every record was unreadable, the rows and
/// the statistics are printed all the same, so the failure is the returned exit code.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    #[expect(clippy::disallowed_methods, reason = "the command measures itself")]
    let started = Instant::now();
    refuse_repeated(&options.metrics)?;
    let grouping = with_provider_if_needed(grouping(&options.group_by)?, &options.metrics);
    let attribution = options.attribution.attribution()?;
    let sources = input::sources(&options.files)?;
    let progress = ProgressReporter::new(sources.iter().map(input::size).sum(), "bytes");
    let reported = AtomicUsize::new(0);
    let report_unreadable = |source: &input::Source, offset: u64, reason: &str| {
        // Threads report at once. Relaxed, because nothing but the number itself depends on their order.
        let number = reported.fetch_add(1, Ordering::Relaxed);
        if number < MAX_REPORTED {
            progress.print_status(&format!(
                "unreadable record in {source}, in the block at byte {offset}: {reason}"
            ));
        } else if number == MAX_REPORTED {
            progress.print_status("further unreadable records are counted but not reported one by one");
        }
    };
    let threads = options.threads.into();
    let input = OfflineInput { sources: &sources, form: options.input, by_link: options.by_link };
    let (cells, stats) =
        offline::count(input, &grouping, &attribution, threads, &progress, &report_unreadable)?;
    // Before the rows, so that no bar is drawn between them.
    progress.finish();
    let knows_providers = groups_by(&grouping, Dimension::Provider);
    let printed = if options.by_link {
        links::print(&cells, options.format)
    } else {
        print(&cells, options, knows_providers)
    };
    output::ignore_broken_pipe(printed.context("cannot write to standard output"))?;
    output::print_status(&summary(stats, &sources));
    if grouping.event_type
        && let Some(metric) = options.metrics.iter().find(|metric| metric.mixes_event_types())
    {
        output::print_status(&format!(
            "{} combines several event types, so it is empty in rows by event: leave event out of --group-by",
            metric.name()
        ));
    }
    let nothing_readable = stats.records > 0 && stats.quarantined == stats.records;
    if nothing_readable {
        output::print_error(&anyhow!(
            "no record of {} could be read: aggregate needs SES events as JSON, raw or in an envelope of EventBridge, SNS, \
             Kinesis, Kafka or Firehose",
            label(&sources)
        ));
    }
    // Printed last, so that scripts can read the last line.
    if options.stats {
        output::print_status(&stats_json(stats, started.elapsed().as_secs_f64())?.to_string());
    }
    Ok(if nothing_readable { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line about what was read: records, events, duplicates and unreadable records.
fn summary(stats: InputStats, sources: &[input::Source]) -> String {
    let InputStats { events, records, ignored, quarantined, duplicates, .. } = stats;
    let label = label(sources);
    if records == 0 {
        return format!("{label}: the input is empty");
    }
    let number = output::grouped;
    format!(
        "{label}: {} records read: {} events ({} of them duplicates), {}, {} unreadable",
        number(records),
        number(events),
        number(duplicates),
        output::ignored(ignored.total(), &ignored),
        number(quarantined)
    )
}

/// The input as the summary names it: its file, or the number of files.
fn label(sources: &[input::Source]) -> String {
    match sources {
        [source] => source.to_string(),
        _ => format!("{} files", output::grouped(sources.len() as u64)),
    }
}

fn grouping(keys: &[GroupKey]) -> anyhow::Result<Grouping> {
    let mut grouping =
        Grouping { tenant: false, bucket: None, dimensions: [false; Dimension::COUNT], event_type: false };
    for (position, key) in keys.iter().enumerate() {
        if keys.iter().take(position).any(|other| other == key) {
            return Err(usage_error(format!("--group-by names {} twice", key.name())));
        }
        match key {
            GroupKey::Tenant => grouping.tenant = true,
            GroupKey::Event => grouping.event_type = true,
            GroupKey::Time(resolution) => {
                if grouping.bucket.replace(*resolution).is_some() {
                    return Err(usage_error("--group-by takes one of minute, hour and day"));
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

/// Refuses a metric that is named twice: a JSON object with two equal keys is read differently by every program.
fn refuse_repeated(metrics: &[Metric]) -> anyhow::Result<()> {
    let is_repeated =
        |(position, metric): &(usize, &Metric)| metrics.iter().take(*position).any(|other| other == *metric);
    match metrics.iter().enumerate().find(is_repeated) {
        Some((_, metric)) => Err(usage_error(format!("--metrics names {} twice", metric.name()))),
        None => Ok(()),
    }
}

fn groups_by(grouping: &Grouping, dimension: Dimension) -> bool {
    grouping.dimensions.iter().zip(Dimension::ALL).any(|(grouped, known)| *grouped && known == dimension)
}

/// Groups by provider as well where a complaint rate is to be printed: it depends on which providers report complaints. [`print`] sums
/// the providers of a group again.
///
/// Not for the complaint rate that is printed by default: every group would be counted in as many cells as there are providers.
fn with_provider_if_needed(mut grouping: Grouping, metrics: &[Metric]) -> Grouping {
    let is_named = metrics.iter().any(|metric| metric.depends_on_complaint_reports());
    // The provider follows from the domain, so there it makes no more cells.
    let is_needed = is_named || groups_by(&grouping, Dimension::RecipientDomain);
    for (grouped, dimension) in grouping.dimensions.iter_mut().zip(Dimension::ALL) {
        *grouped |= is_needed && dimension == Dimension::Provider;
    }
    grouping
}

/// Prints the rows, ordered by their groups. Rows are formatted one at a time, as there may be as many as events.
fn print(cells: &Accumulator, options: &Options, knows_providers: bool) -> io::Result<()> {
    let keys = &options.group_by;
    let by_event = keys.contains(&GroupKey::Event);
    let metrics = match options.metrics.as_slice() {
        [] => default_metrics(by_event, knows_providers, options.format, cells),
        requested => requested.to_vec(),
    };
    let groups = keys.iter().map(|key| key.name().to_owned());
    let columns: Vec<String> = groups.chain(metrics.iter().map(|metric| metric.name().to_owned())).collect();
    // The providers of a group that is not by provider lie one after the other.
    let order: Vec<SortKey> = keys.iter().map(|key| key.sort_key()).collect();
    // Numbers are sorted instead of rows, of which there may be as many as events.
    let order = cells.sorted(&order);
    let rows: ReasonedRowProducer<'_> = &|each| {
        let mut row = Vec::with_capacity(columns.len());
        let mut cells = order.iter().filter_map(|&number| cells.row(number)).peekable();
        while let Some(first) = cells.next() {
            let mut sum = RowSum::new(first, knows_providers);
            while let Some(more) =
                cells.next_if(|(key, _)| keys.iter().all(|group_key| group_key.is_same(key, &first.0)))
            {
                sum.add(more);
            }
            row.clear();
            row.extend(keys.iter().map(|group_key| group_key.value(&sum.key)));
            let mut reasons = Map::new();
            for metric in &metrics {
                // A row by event lacks the other event types of such a metric, so any value would be wrong.
                if by_event && metric.mixes_event_types() {
                    row.push(Value::Null);
                    continue;
                }
                let (value, absence) = sum.value(*metric);
                row.push(json!(value));
                if let Some(absence) = absence {
                    reasons.insert(metric.name().to_owned(), absence.name().into());
                }
            }
            each(&row, &reasons)?;
        }
        Ok(())
    };
    let without_reasons: RowProducer<'_> = &|each| rows(&mut |row, _| each(row));
    let mut out = BufWriter::new(io::stdout().lock());
    match options.format {
        Format::Json => write_json(&columns, keys.len(), rows, &mut out)?,
        Format::Csv => output::write_csv(&columns, without_reasons, &mut out)?,
        Format::Table => output::write_table(&columns, without_reasons, &mut out)?,
    }
    out.flush()
}

/// [`RowProducer`] with the reasons for which metrics of the row have no value.
type ReasonedRowProducer<'a> =
    &'a dyn Fn(&mut dyn FnMut(&[Value], &Map<String, Value>) -> io::Result<()>) -> io::Result<()>;

/// Writes `{"rows":[{"group":{...},"metrics":{...}}]}`, and in rows that have some, `"reasons":{...}`. The first `group_columns` columns
/// belong to `group`.
fn write_json(
    columns: &[String],
    group_columns: usize,
    rows: ReasonedRowProducer<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    out.write_all(b"{\"rows\":[")?;
    let mut is_first = true;
    rows(&mut |row, reasons| {
        let start: &[u8] = if is_first { b"{\"group\":{" } else { b",{\"group\":{" };
        is_first = false;
        out.write_all(start)?;
        for (position, (name, value)) in columns.iter().zip(row).enumerate() {
            if position == group_columns {
                out.write_all(b"},\"metrics\":{")?;
            } else if position > 0 {
                out.write_all(b",")?;
            }
            serde_json::to_writer(&mut *out, name)?;
            out.write_all(b":")?;
            serde_json::to_writer(&mut *out, value)?;
        }
        out.write_all(b"}")?;
        if !reasons.is_empty() {
            out.write_all(b",\"reasons\":")?;
            serde_json::to_writer(&mut *out, reasons)?;
        }
        out.write_all(b"}")
    })?;
    out.write_all(b"]}\n")
}

/// The metrics of a request that names none, in the order of the documentation. CSV and JSON are read by programs, so their columns
/// depend on the request alone; the table is read by people, so it omits columns without a single value.
fn default_metrics(
    by_event: bool,
    knows_providers: bool,
    format: Format,
    cells: &Accumulator,
) -> Vec<Metric> {
    // A row that sums providers does not know which of them report complaints, so rates that leave the others out have no value there.
    let has_value = |metric: &Metric| {
        let leaves_out =
            metric.ratio().is_some_and(|ratio| ratio.silent_providers == SilentProviders::LeftOut);
        knows_providers || !leaves_out
    };
    let registry = MetricRegistry::builtin();
    let metrics =
        registry.iter().filter(has_value).filter(|metric| !(by_event && metric.mixes_event_types()));
    if format != Format::Table {
        return metrics.collect();
    }
    let mut total = Cell::default();
    for (_, cell) in cells.rows() {
        total.merge(cell);
    }
    let metrics: Vec<Metric> = metrics
        .filter(|metric| match metric.value(&total, Basis::Event) {
            MetricValue::Count(count) => count > 0,
            MetricValue::Number(_) => true,
            MetricValue::Missing => false,
        })
        .collect();
    // A table without columns would not show that nothing was counted.
    if metrics.is_empty() { vec![SENDS] } else { metrics }
}

/// The line of `--stats`. The field names are part of the contract.
fn stats_json(stats: InputStats, seconds: f64) -> anyhow::Result<Value> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike as _;
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("cannot read the resource usage of this process")?;
    let cpu_micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    // ru_maxrss is in kilobytes on Linux and in bytes on macOS.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let peak_rss_bytes = peak_rss_bytes().or_else(|| u64::try_from(usage.max_rss() * unit).ok());
    Ok(json!({
        "events": stats.events,
        "records": stats.records,
        "bytes": stats.bytes,
        "ignored": stats.ignored,
        "quarantined": stats.quarantined,
        "duplicates": stats.duplicates,
        "seconds": seconds,
        "cpu_seconds": cpu_micros as f64 / 1e6,
        "peak_rss_bytes": peak_rss_bytes,
    }))
}

/// The peak resident memory of this program, on Linux. `getrusage` would include the size of the process that started it, which
/// `exec` does not reset.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))?;
    kilobytes.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use event::{Ignored, IgnoredCounts};

    use super::*;

    #[test]
    fn group_keys_have_the_names_that_select_them() {
        for name in ["tenant", "event", "minute", "hour", "day", "campaign", "provider", "tag4"] {
            assert_eq!(parse_key(name).map(GroupKey::name), Ok(name));
        }
        let error = parse_key("colour").unwrap_err();
        assert!(error.contains("tenant, event, minute") && error.contains("recipient_domain"), "{error}");
    }

    #[test]
    fn grouping_refuses_repeated_keys_and_two_widths() {
        let parse =
            |words: &[&str]| -> Vec<GroupKey> { words.iter().map(|word| parse_key(word).unwrap()).collect() };
        for (words, expected) in [
            (["tenant", "tenant"], "names tenant twice"),
            (["campaign", "campaign"], "names campaign twice"),
            (["minute", "hour"], "one of minute, hour and day"),
        ] {
            let error = grouping(&parse(&words)).unwrap_err();
            assert!(error.to_string().contains(expected), "{words:?}: {error}");
        }
        let grouping = grouping(&parse(&["tenant", "hour", "event"])).unwrap();
        assert!(grouping.tenant && grouping.event_type && grouping.bucket == Some(Resolution::Hour));
        assert_eq!(grouping.dimensions, [false; Dimension::COUNT]);
    }

    #[test]
    fn metric_that_is_named_twice_is_refused() {
        let parse = |words: &[&str]| -> Vec<Metric> {
            words.iter().map(|word| parse_metric(word).unwrap()).collect()
        };
        let error = refuse_repeated(&parse(&["sends", "bounce_rate", "sends"])).unwrap_err();
        assert_eq!(error.to_string(), "--metrics names sends twice; see --help");
        refuse_repeated(&parse(&["sends", "bounce_rate"])).unwrap();
    }

    #[test]
    fn providers_are_told_apart_where_a_complaint_rate_is_named() {
        let by_provider = |words: &[&str], metrics: &[&str]| {
            let keys: Vec<GroupKey> = words.iter().map(|word| parse_key(word).unwrap()).collect();
            let metrics: Vec<Metric> = metrics.iter().map(|word| parse_metric(word).unwrap()).collect();
            groups_by(&with_provider_if_needed(grouping(&keys).unwrap(), &metrics), Dimension::Provider)
        };
        for (words, metrics, expected) in [
            (&[][..], &[][..], false),
            (&["minute"], &["sends", "bounce_rate"], false),
            (&["minute"], &["complaint_rate"], true),
            (&[], &["complaint_rate_reported"], true),
            (&["recipient_domain"], &[], true),
            (&["provider"], &["sends"], true),
        ] {
            assert_eq!(by_provider(words, metrics), expected, "{words:?} {metrics:?}");
        }
    }

    #[test]
    fn summary_accounts_for_every_record() {
        let mut ignored = IgnoredCounts::default();
        for _ in 0..6 {
            ignored.count(&Ignored::InboundMail);
        }
        ignored.count(&Ignored::Empty);
        let stats =
            InputStats { events: 1200, records: 1210, bytes: 0, ignored, quarantined: 3, duplicates: 5 };
        let files = [input::Source::Stdin, input::Source::File("a".into())];
        assert_eq!(
            summary(stats, &files),
            "2 files: 1,210 records read: 1,200 events (5 of them duplicates), 7 ignored \
             (6 inbound_mail, 1 empty), 3 unreadable"
        );
        assert_eq!(summary(InputStats::default(), &files[..1]), "standard input: the input is empty");
    }
}
