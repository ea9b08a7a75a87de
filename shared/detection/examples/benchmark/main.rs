//! The benchmark of detection: generated worlds with labelled incidents, evaluated by this detector and by four simpler ones.
//!
//! `cargo run --release -p detection --example benchmark -- --seeds 100..110 [--bucket 5] [--tenants 20] [--weeks 6]
//! [--recurring CAMPAIGNS] [--narrow] [--no-campaigns] [--no-incidents] [--verbose]`; `--csv FILE` writes the counts of the first seed.
//! With `--recurring` the steady mail of each tenant belongs to that many recurring campaigns, and some incidents concern one of them. With
//! `--narrow` each tenant sends nearly all of a day's mail within an hour or two.
//! `--scale TENANTS` evaluates ten buckets of that many tenants at twelve providers instead, and encodes and decodes the state each time;
//! measure the time from outside.

#![expect(clippy::disallowed_methods, reason = "a command-line tool that writes files")]
#![allow(
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark for people at a terminal"
)]
#![allow(unreachable_pub, reason = "nothing outside a program can use its items")]

mod distributions;
mod incident;
mod recurring_campaigns;
mod rivals;
mod score;
mod world;

use std::fs::File;
use std::io::{BufWriter, Write};

use detection::{AlertRules, AlertState, Bucket, BucketRow, Change, Counts, Detector, state};
use distributions::Distributions as _;
use event::Minute;
use rivals::{RIVALS, Rivals};
use score::{Fired, Tally};
use simulator::random::Random;
use world::{PROVIDERS, Shape, World, WorldRow};

/// 2026-01-05, a Monday, in minutes since 1970.
const START: u32 = 29_459_520;

struct BenchmarkOptions {
    seeds: std::ops::Range<u64>,
    shape: Shape,
    verbose: bool,
    csv: Option<String>,
    scale: Option<usize>,
}

fn options() -> BenchmarkOptions {
    let mut options = BenchmarkOptions {
        seeds: 1..4,
        shape: Shape {
            bucket_minutes: 5,
            tenants: 20,
            weeks: 6,
            campaigns: true,
            incidents: true,
            recurring: 0,
            narrow: false,
        },
        verbose: false,
        csv: None,
        scale: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--seeds" => {
                let text = value();
                let (from, to) = text.split_once("..").expect("FROM..TO");
                options.seeds = from.parse().unwrap()..to.parse().unwrap();
            }
            "--bucket" => options.shape.bucket_minutes = value().parse().unwrap(),
            "--tenants" => options.shape.tenants = value().parse().unwrap(),
            "--weeks" => options.shape.weeks = value().parse().unwrap(),
            "--recurring" => options.shape.recurring = value().parse().unwrap(),
            "--narrow" => options.shape.narrow = true,
            "--no-campaigns" => options.shape.campaigns = false,
            "--no-incidents" => options.shape.incidents = false,
            "--verbose" => options.verbose = true,
            "--csv" => options.csv = Some(value()),
            "--scale" => options.scale = Some(value().parse().unwrap()),
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn main() {
    let options = options();
    if let Some(tenants) = options.scale {
        return scale(tenants);
    }
    let mut ours = Tally::default();
    let mut theirs = RIVALS.map(|_| Tally::default());
    for seed in options.seeds.clone() {
        let mut world = World::new(seed, options.shape);
        let mut csv = options.csv.take_if_first(seed, options.seeds.start);
        let mut rivals = Rivals::new(&world);
        let alerts = run(&mut world, &mut csv, &mut rivals);
        ours.add(&world, &alerts, options.verbose);
        for (tally, alerts) in theirs.iter_mut().zip(&rivals.fired) {
            tally.add(&world, alerts, false);
        }
    }
    println!("{}", score::HEADER);
    ours.print("mailgauge");
    for (tally, name) in theirs.iter_mut().zip(RIVALS) {
        tally.print(name);
    }
    ours.print_kinds();
}

/// Evaluates ten buckets of many tenants; the state is encoded and decoded around each.
fn scale(tenants: usize) {
    let names: Vec<String> = (0..tenants).map(|tenant| format!("tenant-{tenant:05}")).collect();
    let providers: Vec<String> = (0..12).map(|provider| format!("provider-{provider}")).collect();
    let mut random = Random::from_seed(1);
    let mut detector = Detector::new(1, AlertRules::default());
    let mut bytes = 0;
    for minute in 0..10 {
        let mut rows = Vec::new();
        for name in &names {
            for provider in &providers {
                let sends = random.poisson_events(20.0);
                let bounces_permanent = random.binomial_events(sends, 0.01);
                let deliveries = sends - bounces_permanent;
                let counts = Counts { sends, deliveries, bounces_permanent, ..Counts::default() };
                rows.push(BucketRow { tenant: name, provider, campaign: "", counts, times: None });
            }
        }
        detector.observe(&Bucket { start: Minute(START + minute), rows: &rows });
        // Production stores the state after each run, so its cost belongs to the measurement.
        let platform = state::encode(detector.platform_state()).unwrap();
        let stored = state::encode(detector.tenants()).unwrap();
        bytes = stored.len();
        let tenants = state::decode(&stored).unwrap();
        detector = Detector::restore(state::decode(&platform).unwrap(), tenants, AlertRules::default());
    }
    println!("{} bytes of state per tenant", bytes / tenants);
}

trait FirstOnly {
    fn take_if_first(&self, seed: u64, first: u64) -> Option<BufWriter<File>>;
}

impl FirstOnly for Option<String> {
    fn take_if_first(&self, seed: u64, first: u64) -> Option<BufWriter<File>> {
        let name = self.as_ref().filter(|_| seed == first)?;
        let mut file = BufWriter::new(File::create(name).unwrap());
        writeln!(file, "time,tenant,provider,campaign,sends,deliveries,bounces_permanent,bounces_transient,delays,complaints,opens,clicks,delivery_ms_mean").unwrap();
        Some(file)
    }
}

fn run(world: &mut World, csv: &mut Option<BufWriter<File>>, rivals: &mut Rivals) -> Vec<Fired> {
    let width = world.shape.bucket_minutes as u32;
    let mut detector = Detector::new(width, AlertRules::default());
    let mut fired = Vec::new();
    let mut bucket = 0;
    while let Some(rows) = world.next() {
        let start = Minute(START + bucket as u32 * width);
        if let Some(csv) = csv {
            write(csv, start, &rows, &world.names);
        }
        // The simpler detectors observe the same rows, so that all are measured on the same world.
        rivals.observe(bucket, &rows, &world.names);
        let rows: Vec<BucketRow<'_>> = rows
            .iter()
            .map(|row| BucketRow {
                tenant: &world.names[row.tenant],
                provider: PROVIDERS[row.provider],
                campaign: &row.campaign,
                counts: row.counts,
                times: None,
            })
            .collect();
        for change in detector.observe(&Bucket { start, rows: &rows }) {
            // An alert about the pipeline is right whenever data is missing, so it is not scored.
            if change.state == AlertState::Firing && change.kind != detection::AlertKind::Pipeline {
                fired.push(Fired {
                    tenant: change.tenant.to_string(),
                    provider: change.scope.get("provider").cloned(),
                    campaign: named_campaign(&change),
                    metric: change.metric.clone(),
                    kind: change.kind.name().to_owned(),
                    bucket,
                    summary: change.summary.clone(),
                });
            }
        }
        bucket += 1;
    }
    fired
}

/// The campaign that an alert is about, or names as its main cause.
fn named_campaign(change: &Change) -> Option<String> {
    let first = change.cause.first().and_then(|cause| cause.filter.get("campaign"));
    change.scope.get("campaign").or(first).cloned()
}

fn write(csv: &mut BufWriter<File>, start: Minute, rows: &[WorldRow], names: &[String]) {
    for row in rows {
        let c = &row.counts;
        let latency = if c.latency_weight > 0.0 {
            format!("{:.0}", (c.latency_sum / c.latency_weight).exp())
        } else {
            String::new()
        };
        writeln!(
            csv,
            "{},{},{},{},{},{},{},{},{},{},{},{},{latency}",
            start.start(),
            names[row.tenant],
            PROVIDERS[row.provider],
            row.campaign,
            c.sends,
            c.deliveries,
            c.bounces_permanent,
            c.bounces_transient,
            c.delays,
            c.complaints,
            c.opens,
            c.clicks
        )
        .unwrap();
    }
}
