//! `mailgauge backtest`: runs detection over past counts, so that rules can be tried before they take effect.
//!
//! Passes a table of counts, or the stored counts, bucket by bucket to the detector that evaluates live mail, and prints each change of
//! an alert as it would have been published. An alert printed for a bucket must never depend on a later bucket.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::str::FromStr;

use adapters::system_clock::SystemClock;
use anyhow::bail;
use clap::Args;
use detection::{AlertRules, Bucket, Change, DeliveryTimePercentiles, Detector};
use event::{Minute, TenantId, Timestamp};
use pipeline::alerting::detection_run::BacktestRun;
use pipeline::alerting::detection_run::counts::Width;
use pipeline::directory::tenants;
use pipeline::ports::Clock as _;
use serde_json::json;

use crate::cli::change_rows;
use crate::cli::config_file;
use crate::cli::counts_table::{CountsTable, CountsTableRow};
use crate::cli::store_options::{self, StoreLocation};
use crate::cli::time_argument::TimeArgument;
use crate::output::{self, Format, OutputTable};
use crate::server;
use crate::usage_error::usage_error;

/// Number of rows from which the bucket width is inferred, at most: they are held in memory.
const MAX_ROWS_TO_INFER: usize = 100_000;
/// The default range of stored counts, in milliseconds: safely within the 30 days for which hour blocks keep minutes.
const FOUR_WEEKS_MS: i64 = 28 * 24 * 60 * 60 * 1000;

/// Run detection over past counts, and print each change of an alert.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --counts, the stored counts of the data folder or table are evaluated; nothing stored is changed. JSON has \
    one object per line, with the fields of the messages on SNS.\n\n\
    FILE.csv has the header\n  \
    time,tenant,provider,campaign,sends,deliveries,bounces_permanent,bounces_transient,delays,\n  \
    complaints,opens,clicks,delivery_ms_mean,delivery_ms_p50,delivery_ms_p95,queue_depth\n\
    Any column after time may be missing or empty. Rows are in time order; a bucket without rows is a bucket without events.\n\n\
    Examples:\n  \
    mailgauge backtest --counts counts.csv --bucket 5m --rules rules.toml\n  \
    mailgauge backtest --data /var/lib/mailgauge --tenant acme --from 2026-11-01"
)]
pub struct Options {
    /// Table of counts to evaluate; - is standard input
    #[arg(long, value_name = "FILE.csv")]
    counts: Option<PathBuf>,

    #[command(flatten)]
    store: StoreLocation,

    /// Format of the output
    #[arg(long, value_enum, default_value_t = Format::Json, display_order = 101)]
    format: Format,

    /// Evaluate the stored counts of this tenant only
    #[arg(long, value_name = "TENANT", value_parser = store_options::tenant_to_read, conflicts_with = "counts")]
    tenant: Option<TenantId>,

    /// Evaluate stored counts from this time on [default: four weeks ago]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME", conflicts_with = "counts")]
    from: Option<TimeArgument>,

    /// Evaluate stored counts before this time [default: now]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME", conflicts_with = "counts")]
    to: Option<TimeArgument>,

    /// Bucket width, a divisor of one hour such as 1m, 5m, 15m or 1h [default: inferred from the times in FILE.csv; 5m for stored
    /// counts, which allow 1m, 5m and 1h]
    #[arg(long, value_name = "WIDTH")]
    bucket: Option<BucketWidth>,

    /// Rules in TOML or JSON [default: the built-in rules]
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// The bucket width in minutes, a divisor of 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BucketWidth(u32);

impl FromStr for BucketWidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = text.split_at(text.len() - usize::from(text.ends_with(['m', 'h'])));
        let minutes = match (number.parse::<u32>(), unit) {
            (Ok(number), "m") => number,
            (Ok(number), "h") => number.saturating_mul(60),
            _ => 0,
        };
        if minutes == 0 || minutes > 60 || !60_u32.is_multiple_of(minutes) {
            return Err("use a width that divides an hour, such as 1m, 5m, 15m or 1h".to_owned());
        }
        Ok(Self(minutes))
    }
}

/// Prints the changes of alerts over the whole table, or over the stored counts.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let rules = match &options.rules {
        Some(file) => config_file::read(file, "rules")?,
        None => AlertRules::default(),
    };
    let Some(counts) = &options.counts else { return evaluate_stored(options, rules) };
    let mut table = CountsTable::open_file(counts)?;
    // The rows that the width is inferred from: standard input cannot be read twice.
    let mut ahead = Vec::new();
    let width = match options.bucket {
        Some(BucketWidth(minutes)) => minutes,
        None => infer_width(&mut table, &mut ahead)?,
    };
    let mut printer = ChangePrinter::new(options.format, io::stdout().lock());
    let replayed = replay(&mut table, ahead, width, rules, &mut printer);
    // Also after a failure: what was evaluated before it is right, and helps to find the faulty line.
    let finished = printer.finish();
    output::ignore_broken_pipe(replayed.and(finished))
}

/// Prints the changes of alerts over the stored counts.
fn evaluate_stored(options: &Options, rules: AlertRules) -> anyhow::Result<()> {
    let width = match options.bucket {
        Some(BucketWidth(1)) => Width::Minute,
        None | Some(BucketWidth(5)) => Width::FiveMinutes,
        Some(BucketWidth(60)) => Width::Hour,
        Some(BucketWidth(_)) => {
            return Err(usage_error("--bucket: stored counts can be evaluated by 1m, 5m or 1h"));
        }
    };
    let now = SystemClock.now();
    // A bucket that --from cuts in two would be evaluated with a part of its counts.
    let round_down = |at: Timestamp| Minute(at.minute().0 / width.minutes() * width.minutes());
    let from = options.from.map_or(now.plus_millis(-FOUR_WEEKS_MS), |time| time.0);
    let to = options.to.map_or(now, |time| time.0);
    if from >= to {
        return Err(usage_error("--from must be before --to"));
    }
    let runtime = server::runtime()?;
    let standalone = options.store.open(&runtime)?;
    let mut detector = Detector::new(width.minutes(), rules);
    let changes = runtime.block_on(async {
        let mut tenants = tenants::list(&standalone.store).await?;
        tenants.retain(|tenant| options.tenant.as_ref().is_none_or(|only| only == tenant));
        let backtest = BacktestRun {
            store: &standalone.store,
            history: &standalone.history,
            tenants: &tenants,
            from: round_down(from),
            to: round_down(to),
            width,
            now,
        };
        anyhow::Ok(backtest.run(&mut detector).await?)
    })?;
    let mut printer = ChangePrinter::new(options.format, io::stdout().lock());
    output::ignore_broken_pipe(printer.print(&changes).and_then(|()| printer.finish()))
}

/// Prints changes of alerts: JSON as they come, tables and CSV as a whole at the end.
struct ChangePrinter<W: Write> {
    format: Format,
    out: BufWriter<W>,
    table: OutputTable,
}

impl<W: Write> ChangePrinter<W> {
    fn new(format: Format, out: W) -> Self {
        // A resolved alert keeps the time at which it fired, so the time of the change is a column of its own.
        let table = OutputTable::new(["updated_at"].into_iter().chain(change_rows::COLUMNS));
        Self { format, out: BufWriter::new(out), table }
    }

    fn print(&mut self, changes: &[Change]) -> anyhow::Result<()> {
        for change in changes {
            if self.format == Format::Json {
                serde_json::to_writer(&mut self.out, change).map_err(io::Error::from)?;
                self.out.write_all(b"\n")?;
            } else {
                self.table
                    .push([json!(change.updated_at)].into_iter().chain(change_rows::row(change)).collect());
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        if self.format != Format::Json {
            self.table.write(self.format, &mut self.out)?;
        }
        Ok(self.out.flush()?)
    }
}

/// Infers the bucket width in minutes: the greatest common divisor of an hour and of the distances between the first times. The rows
/// that were read for this are put into `ahead`.
///
/// # Errors
/// Times that are no bucket boundaries of the inferred width.
fn infer_width(table: &mut CountsTable, ahead: &mut Vec<CountsTableRow>) -> anyhow::Result<u32> {
    /// The width for a table with a single time, which has no distance to infer it from.
    const DEFAULT_WIDTH: u32 = 5;
    let mut width = 0;
    let mut first = None;
    while ahead.len() < MAX_ROWS_TO_INFER {
        let Some(row) = table.next_row()? else { break };
        let first = *first.get_or_insert(row.minute);
        width = greatest_common_divisor(width, row.minute.abs_diff(first));
        ahead.push(row);
    }
    let start = ahead.first().map_or(0, |row| row.minute);
    if width == 0 {
        // Buckets of one minute begin at every time, also at one at which no bucket of the default width begins.
        return Ok(if start.is_multiple_of(DEFAULT_WIDTH) { DEFAULT_WIDTH } else { 1 });
    }
    let width = greatest_common_divisor(60, width);
    if !start.is_multiple_of(width) {
        return Err(usage_error(format!(
            "{}: the times are {width} minutes apart, but no bucket of {width} minutes begins at the first one: set the bucket width \
             with --bucket",
            table.name
        )));
    }
    Ok(width)
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Evaluates the rows bucket by bucket: first those in `ahead`, then the rest of the table.
fn replay(
    table: &mut CountsTable,
    ahead: Vec<CountsTableRow>,
    width: u32,
    rules: AlertRules,
    printer: &mut ChangePrinter<impl Write>,
) -> anyhow::Result<()> {
    let mut detector = Detector::new(width, rules);
    let mut bucket: Vec<CountsTableRow> = Vec::new();
    let mut ahead = ahead.into_iter();
    loop {
        let row = match ahead.next() {
            Some(row) => Some(row),
            None => table.next_row()?,
        };
        let Some(row) = row else { break };
        let number = row.minute / width;
        // Rows are in time order, so the first row of a later bucket closes the one before.
        if let Some(open) = bucket.first().map(|row| row.minute / width)
            && open != number
        {
            if number < open {
                bail!(
                    "{}: line {}: time is earlier than the line before; sort the rows by time",
                    table.name,
                    row.line
                );
            }
            evaluate(&mut detector, &bucket, width, printer)?;
            bucket.clear();
        }
        bucket.push(row);
    }
    evaluate(&mut detector, &bucket, width, printer)
}

/// The counts of a row. Where a table does not give the sends, mail with an outcome stands in for them; sends of 0 are a count.
fn counts(row: &CountsTableRow) -> detection::Counts {
    let sends = if row.has_sends { row.counts.sends } else { row.counts.with_outcome() };
    detection::Counts { sends, ..row.counts }
}

/// Evaluates the rows of one bucket and prints what changed.
fn evaluate(
    detector: &mut Detector,
    bucket: &[CountsTableRow],
    width: u32,
    printer: &mut ChangePrinter<impl Write>,
) -> anyhow::Result<()> {
    let Some(first) = bucket.first() else { return Ok(()) };
    let rows: Vec<detection::BucketRow<'_>> = bucket
        .iter()
        .map(|row| detection::BucketRow {
            tenant: &row.tenant,
            provider: &row.provider,
            campaign: &row.campaign,
            counts: counts(row),
            times: DeliveryTimePercentiles::new(row.delivery_ms.p50, row.delivery_ms.p95),
        })
        .collect();
    let start = Minute(first.minute / width * width);
    printer.print(&detector.observe(&Bucket { start, rows: &rows }))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn bucket_width_divides_an_hour() {
        let width = |text: &str| text.parse::<BucketWidth>().ok();
        assert_eq!(width("5m"), Some(BucketWidth(5)));
        assert_eq!(width("1h"), Some(BucketWidth(60)));
        for wrong in ["", "m", "7m", "0m", "2h", "5", "-5m", "5s", "99999999999m"] {
            assert_eq!(width(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn bucket_width_is_inferred_from_the_distance_of_times() {
        for (times, expected) in [
            (&["10:00", "10:01", "10:02"][..], Some(1)),
            (&["10:00", "10:05", "10:20"], Some(5)),
            (&["10:00", "10:00", "10:30"], Some(30)),
            (&["10:00", "12:00"], Some(60)),
            (&["10:00", "10:07"], Some(1)),
            (&["10:00"], Some(5)),
            (&[], Some(5)),
            // A single bucket that does not begin on the hour.
            (&["10:05"], Some(5)),
            (&["10:05", "10:05"], Some(5)),
            (&["10:07"], Some(1)),
            // Quarter hours that do not begin on the hour.
            (&["10:05", "10:20"], None),
        ] {
            let mut csv = "time,sends\n".to_owned();
            for time in times {
                writeln!(csv, "2026-11-02T{time}:00Z,1").unwrap();
            }
            let mut table = CountsTable::open(Box::new(io::Cursor::new(csv)), "counts.csv").unwrap();
            let mut ahead = Vec::new();
            assert_eq!(infer_width(&mut table, &mut ahead).ok(), expected, "{times:?}");
            assert_eq!(ahead.len(), times.len(), "no row is lost");
        }
    }

    /// What a back-test of a table prints.
    fn printed(csv: &str, width: u32, format: Format) -> anyhow::Result<String> {
        let mut table = CountsTable::open(Box::new(io::Cursor::new(csv.to_owned())), "counts.csv")?;
        let mut out = Vec::new();
        let mut printer = ChangePrinter::new(format, &mut out);
        replay(&mut table, Vec::new(), width, AlertRules::default(), &mut printer)?;
        printer.finish()?;
        drop(printer);
        Ok(String::from_utf8(out)?)
    }

    /// The changes of alerts that a table yields.
    fn changes(csv: &str, width: u32) -> anyhow::Result<Vec<serde_json::Value>> {
        let lines = printed(csv, width, Format::Json)?;
        Ok(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    #[test]
    fn changes_are_printed_in_the_requested_format() {
        let header = "time,tenant,sends,deliveries,bounces_permanent\n";
        let counts = format!("{header}2026-11-02T10:00:00Z,acme,500,470,30\n");
        let csv = printed(&counts, 5, Format::Csv).unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0], "updated_at,fired_at,state,severity,tenant,metric,scope,value,id,summary");
        assert_eq!(lines.len(), 2, "{csv}");
        assert!(lines[1].contains(",firing,") && lines[1].contains(",acme,"), "{csv}");
        let table = printed(&counts, 5, Format::Table).unwrap();
        assert!(table.starts_with("updated_at ") && table.contains("  firing "), "{table}");
        let quiet = printed(&format!("{header}2026-11-02T10:00:00Z,acme,13,12,1\n"), 5, Format::Csv).unwrap();
        assert_eq!(quiet.lines().collect::<Vec<_>>(), lines[..1], "the header alone");
    }

    #[test]
    fn thirty_bounces_of_500_fire_an_alert_and_one_of_13_does_not() {
        let header = "time,tenant,sends,deliveries,bounces_permanent\n";
        let quiet = changes(&format!("{header}2026-11-02T10:00:00Z,acme,13,12,1\n"), 5).unwrap();
        assert!(quiet.is_empty(), "{quiet:?}");
        let loud = changes(&format!("{header}2026-11-02T10:00:00Z,acme,500,470,30\n"), 5).unwrap();
        assert_eq!(loud.len(), 1);
        assert_eq!(loud[0]["kind"], "limit");
        assert_eq!(loud[0]["tenant"], "acme");
        assert_eq!(loud[0]["state"], "firing");
    }

    #[test]
    fn changes_do_not_depend_on_later_buckets() {
        let mut csv = "time,tenant,provider,sends,deliveries,bounces_permanent\n".to_owned();
        for bucket in 0..2000_u32 {
            let time = Minute(29_000_000 + bucket * 5).start();
            let bounces = if bucket > 1500 { 60 } else { bucket % 3 };
            writeln!(csv, "{time},acme,gmail,200,{},{bounces}", 200 - bounces).unwrap();
        }
        let whole = changes(&csv, 5).unwrap();
        assert!(!whole.is_empty());
        let cut: String = csv.lines().take(1600).fold(String::new(), |text, line| text + line + "\n");
        let part = changes(&cut, 5).unwrap();
        assert!(!part.is_empty());
        assert_eq!(part, whole[..part.len()]);
    }

    #[test]
    fn rows_out_of_order_are_refused_with_their_line() {
        let csv = "time,sends\n2026-11-02T10:00:00Z,5\n2026-11-02T09:00:00Z,5\n";
        assert!(changes(csv, 5).unwrap_err().to_string().contains("line 3"));
    }
}
