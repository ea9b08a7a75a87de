//! `mailgauge backtest`: detection over the past, so that a rule can be tried before it is switched on.
//!
//! Takes a table of counts, or what is stored, gives it bucket by bucket to the same detector that watches live mail, and prints each
//! change of an alert as it would have been published. A change printed for a bucket knows no later bucket.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::str::FromStr;

use adapters::system_clock::SystemClock;
use anyhow::bail;
use clap::Args;
use detection::{Bucket, Change, Detector, Row, Rules, Spread};
use event::{Minute, TenantId, Timestamp};
use pipeline::alerting::detection_run::{self, counts};
use pipeline::directory::tenants;
use pipeline::ports::Clock as _;

use crate::cli::counts_table::{CountsTable, Line};
use crate::cli::folder::{self, Folder};
use crate::cli::moment::Moment;
use crate::cli::{Usage, settings};
use crate::output;
use crate::server;

/// Lines looked at to infer the width of a bucket.
const LINES_TO_INFER: usize = 100_000;
/// As long as history is surely kept by the minute.
const FOUR_WEEKS_MS: i64 = 28 * 24 * 60 * 60 * 1000;

/// Run detection over past counts, and print the changes of alerts as JSON lines.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --counts, what is counted in the data folder or table is looked at, and nothing there is changed.\n\nFILE.csv has a header of time,tenant,provider,campaign,sends,deliveries,bounces_permanent,\
    bounces_transient,delays,\ncomplaints,opens,clicks,delivery_ms_mean,delivery_ms_p50,delivery_ms_p95,queue_depth; any column after time\nmay be \
    missing. Rows are in time order; a bucket without rows is one without events.\n\nExamples:\n  \
    mailgauge backtest --counts counts.csv --bucket 5m --rules rules.toml\n  \
    mailgauge backtest --data /var/lib/mailgauge --tenant acme --from 2026-11-01"
)]
pub struct Options {
    /// The table of counts; - is standard input
    #[arg(long, value_name = "FILE.csv")]
    counts: Option<PathBuf>,

    #[command(flatten)]
    folder: Folder,

    /// Stored counts of this tenant alone
    #[arg(long, value_name = "TENANT", value_parser = folder::tenant_to_read, conflicts_with = "counts")]
    tenant: Option<TenantId>,

    /// Stored counts from this moment on [default: four weeks ago]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME", conflicts_with = "counts")]
    from: Option<Moment>,

    /// Stored counts before this moment [default: now]
    #[arg(allow_hyphen_values = true, long, value_name = "TIME", conflicts_with = "counts")]
    to: Option<Moment>,

    /// Width of a bucket, as 1m, 5m, 15m or 1h; taken from the times if left out, 5m for stored counts
    #[arg(long, value_name = "WIDTH")]
    bucket: Option<Width>,

    /// Rules in TOML or JSON; the defaults if left out
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// The width of a bucket, in minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Width(u32);

impl FromStr for Width {
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

/// Prints the changes of alerts over the whole table.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let rules = match &options.rules {
        Some(file) => settings::read(file, "rules")?,
        None => Rules::default(),
    };
    let Some(counts) = &options.counts else { return stored(options, rules) };
    let mut table = CountsTable::open_file(counts)?;
    let mut ahead = Vec::new();
    let width = match options.bucket {
        Some(Width(minutes)) => minutes,
        None => infer(&mut table, &mut ahead)?,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    output::until_closed(replay(&mut table, ahead, width, rules, &mut out).and_then(|()| Ok(out.flush()?)))
}

/// Prints the changes of alerts over what is stored.
fn stored(options: &Options, rules: Rules) -> anyhow::Result<()> {
    let width = match options.bucket {
        Some(Width(1)) => counts::Width::Minute,
        None | Some(Width(5)) => counts::Width::FiveMinutes,
        Some(Width(60)) => counts::Width::Hour,
        Some(Width(_)) => return Err(Usage::error("--bucket: stored counts are read by 1m, 5m or 1h")),
    };
    let now = SystemClock.now();
    let round = |at: Timestamp| Minute(at.minute().0 / width.minutes() * width.minutes());
    let from = options.from.map_or(now.plus_millis(-FOUR_WEEKS_MS), |moment| moment.0);
    let to = options.to.map_or(now, |moment| moment.0);
    if from >= to {
        return Err(Usage::error("--from must be before --to"));
    }
    let runtime = server::runtime()?;
    let home = options.folder.open(&runtime)?;
    let mut detector = Detector::new(width.minutes(), rules);
    let changes = runtime.block_on(async {
        let mut tenants = tenants::list(&home.store).await?;
        tenants.retain(|tenant| options.tenant.as_ref().is_none_or(|wanted| wanted == tenant));
        let range = (round(from), round(to));
        let replayed =
            detection_run::backtest(&home.store, &home.history, &tenants, range, width, &mut detector, now);
        anyhow::Ok(replayed.await?)
    })?;
    let mut out = BufWriter::new(io::stdout().lock());
    output::until_closed(print(&changes, &mut out).and_then(|()| Ok(out.flush()?)))
}

fn print(changes: &[Change], out: &mut impl Write) -> anyhow::Result<()> {
    for change in changes {
        serde_json::to_writer(&mut *out, change).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The greatest width that all the first times are multiples of, as seen from the first.
fn infer(table: &mut CountsTable, ahead: &mut Vec<Line>) -> anyhow::Result<u32> {
    let mut width = 0;
    let mut first = None;
    while ahead.len() < LINES_TO_INFER {
        let Some(line) = table.next_line()? else { break };
        let first = *first.get_or_insert(line.minute);
        width = greatest_common_divisor(width, line.minute.abs_diff(first));
        ahead.push(line);
    }
    let width = greatest_common_divisor(60, width);
    if ahead.is_empty() {
        return Ok(5);
    }
    if ahead.first().is_some_and(|line| line.minute % width != 0) {
        return Err(Usage::error("the times are not whole buckets; say how wide a bucket is with --bucket"));
    }
    // A single bucket says nothing about its width.
    Ok(if ahead.iter().all(|line| Some(line.minute) == first) { 5 } else { width })
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn replay(
    table: &mut CountsTable,
    ahead: Vec<Line>,
    width: u32,
    rules: Rules,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut detector = Detector::new(width, rules);
    let mut bucket: Vec<Line> = Vec::new();
    let mut ahead = ahead.into_iter();
    loop {
        let line = match ahead.next() {
            Some(line) => Some(line),
            None => table.next_line()?,
        };
        let Some(line) = line else { break };
        let start = line.minute / width;
        if let Some(open) = bucket.first().map(|line| line.minute / width)
            && open != start
        {
            if start < open {
                bail!(
                    "{}: line {}: time is earlier than the line before; sort the rows by time",
                    table.name,
                    line.number
                );
            }
            close(&mut detector, &bucket, width, out)?;
            bucket.clear();
        }
        bucket.push(line);
    }
    close(&mut detector, &bucket, width, out)
}

fn close(detector: &mut Detector, lines: &[Line], width: u32, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(first) = lines.first() else { return Ok(()) };
    let rows: Vec<Row<'_>> = lines
        .iter()
        .map(|line| Row {
            tenant: &line.tenant,
            provider: &line.provider,
            campaign: &line.campaign,
            counts: line.counts,
            times: Spread::new(line.delivery_ms[1], line.delivery_ms[2]),
        })
        .collect();
    let start = Minute(first.minute / width * width);
    print(&detector.observe(&Bucket { start, rows: &rows }), out)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn a_width_divides_an_hour() {
        let width = |text: &str| text.parse::<Width>().ok();
        assert_eq!(width("5m"), Some(Width(5)));
        assert_eq!(width("1h"), Some(Width(60)));
        for wrong in ["", "m", "7m", "0m", "2h", "5", "-5m", "5s", "99999999999m"] {
            assert_eq!(width(wrong), None, "{wrong:?}");
        }
    }

    fn printed(csv: &str, width: u32) -> anyhow::Result<Vec<serde_json::Value>> {
        let mut table = CountsTable::open(Box::new(io::Cursor::new(csv.to_owned())), "counts.csv")?;
        let mut out = Vec::new();
        replay(&mut table, Vec::new(), width, Rules::default(), &mut out)?;
        Ok(String::from_utf8(out)?.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    #[test]
    fn thirty_bounces_in_500_alert_and_one_in_13_does_not() {
        let header = "time,tenant,sends,deliveries,bounces_permanent\n";
        let quiet = printed(&format!("{header}2026-11-02T10:00:00Z,acme,13,12,1\n"), 5).unwrap();
        assert!(quiet.is_empty(), "{quiet:?}");
        let loud = printed(&format!("{header}2026-11-02T10:00:00Z,acme,500,470,30\n"), 5).unwrap();
        assert_eq!(loud.len(), 1);
        assert_eq!(loud[0]["kind"], "limit");
        assert_eq!(loud[0]["tenant"], "acme");
        assert_eq!(loud[0]["state"], "firing");
    }

    #[test]
    fn a_change_knows_no_later_bucket() {
        let mut csv = "time,tenant,provider,sends,deliveries,bounces_permanent\n".to_owned();
        for bucket in 0..2000_u32 {
            let time = Minute(29_000_000 + bucket * 5).start();
            let bounces = if bucket > 1500 { 60 } else { bucket % 3 };
            writeln!(csv, "{time},acme,gmail,200,{},{bounces}", 200 - bounces).unwrap();
        }
        let whole = printed(&csv, 5).unwrap();
        assert!(!whole.is_empty());
        let cut: String = csv.lines().take(1600).fold(String::new(), |text, line| text + line + "\n");
        let part = printed(&cut, 5).unwrap();
        assert!(!part.is_empty());
        assert_eq!(part, whole[..part.len()]);
    }

    #[test]
    fn rows_out_of_order_are_refused_by_line() {
        let csv = "time,sends\n2026-11-02T10:00:00Z,5\n2026-11-02T09:00:00Z,5\n";
        assert!(printed(csv, 5).unwrap_err().to_string().contains("line 3"));
    }
}
