//! `mailgauge trends`: what a table of counts, or what is stored, says about weeks and years.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use adapters::system_clock::SystemClock;
use anyhow::{Context as _, bail};
use cells::query::{Locale, Scope};
use clap::Args;
use detection::trend::{self, Hour, LEAST_DAYS, Season, Trend, Unit};
use event::TenantId;
use pipeline::history::look_back::{self, Source};
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use crate::cli::Usage;
use crate::cli::counts_table::{CountsTable, Line};
use crate::cli::folder::Folder;
use crate::output::{self, Format, Table};
use crate::server;

/// Trend, change points and seasons of a metric over weeks or years, and this period against the last.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --counts, what is counted in the data folder or table is looked at. FILE.csv is a table of counts as for backtest. A trend is said only beyond doubt; the interval holds the true slope 95 times of 100.\n\n\
    Examples:\n  \
    mailgauge trends --counts counts.csv --metric bounce_rate\n  \
    mailgauge trends --counts counts.csv --metric sends --tenant acme --format json\n  \
    mailgauge trends --data /var/lib/mailgauge --metric open_rate --weeks 26"
)]
pub struct Options {
    /// The table of counts; - is standard input
    #[arg(long, value_name = "FILE.csv")]
    counts: Option<PathBuf>,

    #[command(flatten)]
    folder: Folder,

    /// Weeks of stored counts, up to 56
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(3..=56), conflicts_with = "counts")]
    weeks: u32,

    /// A count, a rate, a delivery time or queue_depth, by the names of the metrics
    #[arg(long, value_name = "METRIC", value_parser = parse_metric)]
    metric: Metric,

    /// Rows of this tenant alone
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,

    /// Rows of this mailbox provider alone
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,

    /// Rows of this campaign alone
    #[arg(long, value_name = "CAMPAIGN")]
    campaign: Option<String>,
}

/// What is looked back on: its name, its unit, and what a row adds to its part and its whole.
#[derive(Clone, Copy, Debug)]
struct Metric {
    name: &'static str,
    unit: Unit,
    of: fn(&Line) -> (f64, f64),
}

const METRICS: [Metric; 21] = [
    total("sends", |line| (line.counts.sends, 0.0)),
    total("deliveries", |line| (line.counts.deliveries, 0.0)),
    total("bounces", |line| (bounces(line), 0.0)),
    total("bounces_permanent", |line| (line.counts.bounces_permanent, 0.0)),
    total("bounces_transient", |line| (line.counts.bounces_transient, 0.0)),
    total("delays", |line| (line.counts.delays, 0.0)),
    total("complaints", |line| (line.counts.complaints, 0.0)),
    total("opens", |line| (line.counts.opens, 0.0)),
    total("clicks", |line| (line.counts.clicks, 0.0)),
    share("delivery_rate", |line| (line.counts.deliveries, line.counts.sends)),
    share("bounce_rate", |line| (bounces(line), line.counts.sends)),
    share("hard_bounce_rate", |line| (line.counts.bounces_permanent, line.counts.sends)),
    share("complaint_rate", |line| (line.counts.complaints, line.counts.deliveries)),
    share("open_rate", |line| (line.counts.opens, line.counts.deliveries)),
    share("click_rate", |line| (line.counts.clicks, line.counts.deliveries)),
    share("click_to_open_rate", |line| (line.counts.clicks, line.counts.opens)),
    share("delay_rate", |line| (line.counts.delays, line.counts.sends)),
    Metric { name: "delivery_ms_mean", unit: Unit::Milliseconds, of: |line| delivery_ms(line, 0) },
    Metric { name: "delivery_ms_p50", unit: Unit::Milliseconds, of: |line| delivery_ms(line, 1) },
    Metric { name: "delivery_ms_p95", unit: Unit::Milliseconds, of: |line| delivery_ms(line, 2) },
    Metric {
        name: "queue_depth",
        unit: Unit::Level,
        of: |line| (line.counts.queue_depth.unwrap_or(0.0), 0.0),
    },
];

const fn total(name: &'static str, of: fn(&Line) -> (f64, f64)) -> Metric {
    Metric { name, unit: Unit::Total, of }
}

const fn share(name: &'static str, of: fn(&Line) -> (f64, f64)) -> Metric {
    Metric { name, unit: Unit::Share, of }
}

fn bounces(line: &Line) -> f64 {
    line.counts.bounces_permanent + line.counts.bounces_transient
}

/// Delivery times count as much as the deliveries behind them; once, where those are not counted.
fn delivery_ms(line: &Line, which: usize) -> (f64, f64) {
    let weight = if line.counts.deliveries > 0.0 { line.counts.deliveries } else { 1.0 };
    let known = line.delivery_ms.get(which).copied().flatten();
    known.map_or((0.0, 0.0), |milliseconds| (milliseconds * weight, weight))
}

fn parse_metric(name: &str) -> Result<Metric, String> {
    let known = METRICS.into_iter().find(|metric| metric.name == name);
    known.ok_or_else(|| format!("use one of {}", METRICS.map(|metric| metric.name).join(", ")))
}

/// Prints what the table says.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let Some(counts) = &options.counts else {
        let trend = stored(options)?;
        return output::until_closed(print(options, &trend, &mut io::stdout().lock()));
    };
    let mut table = CountsTable::open_file(counts)?;
    let hours = hours(&mut table, options)?;
    if hours.is_empty() {
        bail!("{}: no row is of what was asked for", table.name);
    }
    let Some(trend) = trend::look_back(options.metric.name, options.metric.unit, &hours) else {
        bail!(
            "{}: less than {LEAST_DAYS} complete days with {}: nothing can be said",
            table.name,
            options.metric.name
        );
    };
    output::until_closed(print(options, &trend, &mut io::stdout().lock()))
}

/// What stored counts say.
fn stored(options: &Options) -> anyhow::Result<Trend> {
    let name = options.metric.name;
    let metric = look_back::metric(name).map_err(|error| Usage::error(error.to_string()))?;
    let scope = match options.tenant.as_deref().map(TenantId::to_read) {
        None => Scope::All,
        Some(Ok(tenant)) => Scope::Tenant(tenant),
        Some(Err(error)) => return Err(Usage::error(format!("--tenant: {error}"))),
    };
    let named = [("provider", &options.provider), ("campaign", &options.campaign)];
    let filters: Vec<String> =
        named.iter().filter_map(|(name, value)| Some(format!("{name}:{}", value.as_ref()?))).collect();
    let runtime = server::runtime()?;
    let home = options.folder.open(&runtime)?;
    let source = Source {
        store: &home.store,
        history: &home.history,
        now: SystemClock.now(),
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    let no_tags = Locale::default();
    let trend = runtime.block_on(source.trend(&scope, &no_tags, metric, options.weeks, &filters))?;
    trend.with_context(|| format!("less than {LEAST_DAYS} complete days with {name}: nothing can be said"))
}

/// The hours of the rows asked for. Rows in the order of time, or it is an error.
fn hours(table: &mut CountsTable, options: &Options) -> anyhow::Result<Vec<Hour>> {
    let fits = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let mut hours: Vec<Hour> = Vec::new();
    let mut last = 0;
    while let Some(line) = table.next_line()? {
        if line.minute < last {
            return Err(Usage::error(format!(
                "{}: line {}: time is earlier than the line before; sort the rows by time",
                table.name, line.number
            )));
        }
        let new_reading = line.minute > last;
        last = line.minute;
        if !(fits(&options.tenant, &line.tenant)
            && fits(&options.provider, &line.provider)
            && fits(&options.campaign, &line.campaign))
        {
            continue;
        }
        let (part, whole) = (options.metric.of)(&line);
        // Depths of one moment add up, those of several are averaged.
        let whole = if options.metric.unit == Unit::Level { f64::from(u8::from(new_reading)) } else { whole };
        match hours.last_mut() {
            Some(hour) if hour.hour == line.minute / 60 => {
                hour.part += part;
                hour.whole += whole;
            }
            _ => hours.push(Hour { hour: line.minute / 60, part, whole }),
        }
    }
    Ok(hours)
}

fn print(options: &Options, trend: &Trend, out: &mut impl Write) -> anyhow::Result<()> {
    match options.folder.format() {
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

fn rows(trend: &Trend) -> Table {
    let mut table = Table::new(["what", "value"]);
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
        if let Some(Season { strength, peak, low, .. }) = season {
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
