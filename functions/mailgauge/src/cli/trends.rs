//! `mailgauge trends`: trend, change points and seasons of a metric, from a table of counts or from stored counts.
//!
//! Reads and prints; the statistics are in `detection::trend`. A metric of the table is a part and a whole per row, so that rates are
//! computed from sums, never averaged.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use adapters::system_clock::SystemClock;
use anyhow::{Context as _, bail};
use cells::query::{Filter, MetricRegistry, Scope};
use clap::Args;
use detection::trend::{self, HourlyCount, LEAST_DAYS, Seasonality, Trend, TrendUnit};
use event::attribution::Dimension;
use event::{Minute, TenantId};
use pipeline::history::trend_and_budget::{self, StoredCounts};
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use crate::cli::counts_table::{CountsTable, CountsTableRow, DeliveryTimes};
use crate::cli::store_options::StoreOptions;
use crate::output::{self, Format, OutputTable};
use crate::server;
use crate::usage_error::usage_error;

/// Show the trend, change points and seasons of a metric over weeks or years, and compare this period with the last.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --counts, the stored counts of the data folder or table are read. FILE.csv is a table of counts as for \
    backtest. A trend is reported only if it is significant; the interval contains the true slope with 95 % confidence.\n\n\
    Examples:\n  \
    mailgauge trends --counts counts.csv --metric bounce_rate\n  \
    mailgauge trends --counts counts.csv --metric sends --tenant acme --format json\n  \
    mailgauge trends --data /var/lib/mailgauge --metric open_rate --weeks 26"
)]
pub struct Options {
    /// Table of counts to read; - is standard input
    #[arg(long, value_name = "FILE.csv")]
    counts: Option<PathBuf>,

    #[command(flatten)]
    store: StoreOptions,

    /// Weeks of stored counts to read, 3 to 56
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(3..=56), conflicts_with = "counts")]
    weeks: u32,

    /// The metric: a count such as sends, a rate such as bounce_rate, delivery_ms_mean, delivery_ms_p50, delivery_ms_p95 or queue_depth
    #[arg(long, value_name = "METRIC", value_parser = parse_metric)]
    metric: TableMetric,

    /// Read the counts of this tenant only
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,

    /// Read the counts of this mailbox provider only
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,

    /// Read the counts of this campaign only
    #[arg(long, value_name = "CAMPAIGN")]
    campaign: Option<String>,
}

/// Returns what a row adds to the part and the whole of a metric.
type PartAndWhole = fn(&CountsTableRow) -> (f64, f64);

/// A metric of a table of counts.
#[derive(Clone, Copy, Debug)]
struct TableMetric {
    name: &'static str,
    unit: TrendUnit,
    /// The whole of a total is 0.
    part_and_whole: PartAndWhole,
}

/// The metrics that both a table and stored counts have.
const METRICS: [TableMetric; 21] = [
    total("sends", |row| (row.counts.sends, 0.0)),
    total("deliveries", |row| (row.counts.deliveries, 0.0)),
    total("bounces", |row| (bounces(row), 0.0)),
    total("bounces_permanent", |row| (row.counts.bounces_permanent, 0.0)),
    total("bounces_transient", |row| (row.counts.bounces_transient, 0.0)),
    total("delays", |row| (row.counts.delays, 0.0)),
    total("complaints", |row| (row.counts.complaints, 0.0)),
    total("opens", |row| (row.counts.opens, 0.0)),
    total("clicks", |row| (row.counts.clicks, 0.0)),
    rate("delivery_rate", |row| (row.counts.deliveries, row.counts.sends)),
    rate("bounce_rate", |row| (bounces(row), row.counts.sends)),
    rate("hard_bounce_rate", |row| (row.counts.bounces_permanent, row.counts.sends)),
    rate("complaint_rate", |row| (row.counts.complaints, row.counts.deliveries)),
    rate("open_rate", |row| (row.counts.opens, row.counts.deliveries)),
    rate("click_rate", |row| (row.counts.clicks, row.counts.deliveries)),
    rate("click_to_open_rate", |row| (row.counts.clicks, row.counts.opens)),
    rate("delay_rate", |row| (row.counts.delays, row.counts.sends)),
    delivery_time("delivery_ms_mean", |row| delivery_ms(row, |times| times.mean)),
    delivery_time("delivery_ms_p50", |row| delivery_ms(row, |times| times.p50)),
    delivery_time("delivery_ms_p95", |row| delivery_ms(row, |times| times.p95)),
    TableMetric {
        name: "queue_depth",
        unit: TrendUnit::Level,
        // A row without a depth says that nothing was waiting, as for any other count.
        part_and_whole: |row| (row.counts.queue_depth.unwrap_or(0.0), 0.0),
    },
];

const fn total(name: &'static str, part_and_whole: PartAndWhole) -> TableMetric {
    TableMetric { name, unit: TrendUnit::Total, part_and_whole }
}

const fn rate(name: &'static str, part_and_whole: PartAndWhole) -> TableMetric {
    TableMetric { name, unit: TrendUnit::Share, part_and_whole }
}

const fn delivery_time(name: &'static str, part_and_whole: PartAndWhole) -> TableMetric {
    TableMetric { name, unit: TrendUnit::Milliseconds, part_and_whole }
}

fn bounces(row: &CountsTableRow) -> f64 {
    row.counts.bounces_permanent + row.counts.bounces_transient
}

/// A delivery time weighted by the deliveries behind it, or by 1 in a table that does not count deliveries.
fn delivery_ms(row: &CountsTableRow, select: fn(DeliveryTimes) -> Option<f64>) -> (f64, f64) {
    let weight = if row.counts.deliveries > 0.0 { row.counts.deliveries } else { 1.0 };
    select(row.delivery_ms).map_or((0.0, 0.0), |milliseconds| (milliseconds * weight, weight))
}

fn parse_metric(name: &str) -> Result<TableMetric, String> {
    let known = METRICS.into_iter().find(|metric| metric.name == name);
    known.ok_or_else(|| format!("use one of {}", METRICS.map(|metric| metric.name).join(", ")))
}

/// Prints the trend of the metric.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let Some(counts) = &options.counts else {
        let trend = stored_trend(options)?;
        return output::ignore_broken_pipe(print(options, &trend, &mut io::stdout().lock()));
    };
    let mut table = CountsTable::open_file(counts)?;
    let hours = hours(&mut table, options)?;
    // Almost always a misspelt name, which must not look like a quiet tenant.
    if hours.is_empty() {
        bail!("{}: no row matches --tenant, --provider and --campaign", table.name);
    }
    let Some(trend) = trend::look_back(options.metric.name, options.metric.unit, &hours) else {
        bail!(
            "{}: fewer than {LEAST_DAYS} complete days with {}: not enough for a trend",
            table.name,
            options.metric.name
        );
    };
    output::ignore_broken_pipe(print(options, &trend, &mut io::stdout().lock()))
}

/// The trend of the metric in the stored counts.
fn stored_trend(options: &Options) -> anyhow::Result<Trend> {
    let name = options.metric.name;
    let metric = trend_and_budget::metric(name, &MetricRegistry::builtin())
        .map_err(|error| usage_error(error.to_string()))?;
    let scope = match options.tenant.as_deref().map(TenantId::new_or_unassigned) {
        None => Scope::All,
        Some(Ok(tenant)) => Scope::Tenant(tenant),
        Some(Err(error)) => return Err(usage_error(format!("--tenant: {error}"))),
    };
    let conditions = [(Dimension::Provider, &options.provider), (Dimension::Campaign, &options.campaign)]
        .into_iter()
        .filter_map(|(dimension, value)| Some(Filter::equal(dimension, value.as_deref()?)));
    let filter = Filter::And(conditions.collect());
    let runtime = server::runtime()?;
    let standalone = options.store.location.open(&runtime)?;
    let counts = StoredCounts {
        store: &standalone.store,
        settings: &standalone.history,
        now: SystemClock.now(),
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    let trend = runtime.block_on(counts.trend(&scope, metric, options.weeks, filter))?;
    trend
        .with_context(|| format!("fewer than {LEAST_DAYS} complete days with {name}: not enough for a trend"))
}

/// Sums the matching rows by hour. Rows must be in time order.
fn hours(table: &mut CountsTable, options: &Options) -> anyhow::Result<Vec<HourlyCount>> {
    let matches = |only: &Option<String>, value: &str| only.as_deref().is_none_or(|only| only == value);
    let mut hours: Vec<HourlyCount> = Vec::new();
    let mut last = 0;
    while let Some(row) = table.next_row()? {
        // Hours are summed while they pass, so a row out of order would split its hour in two.
        if row.minute < last {
            return Err(usage_error(format!(
                "{}: line {}: time is earlier than the line before; sort the rows by time",
                table.name, row.line
            )));
        }
        let is_new_minute = row.minute > last;
        last = row.minute;
        if !(matches(&options.tenant, &row.tenant)
            && matches(&options.provider, &row.provider)
            && matches(&options.campaign, &row.campaign))
        {
            continue;
        }
        let (part, whole) = (options.metric.part_and_whole)(&row);
        // Queue depths of one minute are added up, and those of several minutes averaged.
        let whole =
            if options.metric.unit == TrendUnit::Level { f64::from(u8::from(is_new_minute)) } else { whole };
        let hour = Minute(row.minute).hour();
        match hours.last_mut() {
            Some(last) if last.hour == hour => {
                last.part += part;
                last.whole += whole;
            }
            _ => hours.push(HourlyCount { hour, part, whole }),
        }
    }
    Ok(hours)
}

fn print(options: &Options, trend: &Trend, out: &mut impl Write) -> anyhow::Result<()> {
    match options.store.format() {
        Format::Json => {
            let mut object = json!(trend);
            object["metric"] = json!(options.metric.name);
            serde_json::to_writer_pretty(&mut *out, &object).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Table => {
            writeln!(out, "{}\n", trend.summary)?;
            rows(trend).write(Format::Table, out)?;
        }
        Format::Csv => rows(trend).write(Format::Csv, out)?,
    }
    Ok(())
}

/// The trend as rows of a name and a value, for tables and CSV.
fn rows(trend: &Trend) -> OutputTable {
    let mut table = OutputTable::new(["what", "value"]);
    let mut row = |what: &str, value: Value| table.push(vec![json!(what), value]);
    row("from", json!(trend.from));
    row("to", json!(trend.to));
    row("trend", json!(trend.trend));
    row("slope_per_week", json!(trend.slope.slope_per_week));
    row("interval_95_low", json!(trend.slope.interval_95[0]));
    row("interval_95_high", json!(trend.slope.interval_95[1]));
    for step in &trend.change_points {
        row(&format!("change_on_{}", step.date), json!(step.change));
    }
    for (name, season) in [("hour_of_day", &trend.hour_of_day), ("day_of_week", &trend.day_of_week)] {
        if let Some(Seasonality { strength, peak, low, .. }) = season {
            row(&format!("{name}_strength"), json!(strength));
            row(&format!("{name}_peak"), json!(peak));
            row(&format!("{name}_low"), json!(low));
        }
    }
    row("period_days", json!(trend.periods.days));
    row("this_period", json!(trend.periods.this));
    row("last_period", json!(trend.periods.last));
    row("last_year", json!(trend.periods.last_year));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_by_name() {
        for metric in METRICS {
            assert_eq!(parse_metric(metric.name).unwrap().name, metric.name);
        }
        assert!(parse_metric("unique_opens").unwrap_err().contains("use one of sends, deliveries"));
    }

    #[test]
    fn metrics_are_a_part_and_a_whole_of_a_row() {
        let csv = "time,sends,deliveries,bounces_permanent,bounces_transient,complaints,delivery_ms_p50\n\
            2026-11-02T10:00:00Z,200,180,15,5,2,1000\n";
        let mut table = CountsTable::open(Box::new(io::Cursor::new(csv)), "c.csv").unwrap();
        let row = table.next_row().unwrap().unwrap();
        for (name, expected) in [
            ("sends", (200.0, 0.0)),
            ("bounces", (20.0, 0.0)),
            ("bounce_rate", (20.0, 200.0)),
            ("hard_bounce_rate", (15.0, 200.0)),
            ("complaint_rate", (2.0, 180.0)),
            ("delivery_ms_p50", (180_000.0, 180.0)),
            ("delivery_ms_p95", (0.0, 0.0)),
            ("queue_depth", (0.0, 0.0)),
        ] {
            let (part, whole) = (parse_metric(name).unwrap().part_and_whole)(&row);
            assert!(
                (part - expected.0).abs() < 1e-9 && (whole - expected.1).abs() < 1e-9,
                "{name}: {part}, {whole}"
            );
        }
    }
}
