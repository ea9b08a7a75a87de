//! Load test of a running server: queries at a steady rate over many connections while events are ingested, and how long the replies take.
//!
//! ```sh
//! mailgauge demo --tenants 200 --days 8 --emails-per-minute 400 --data DIR       # prints the key
//! cargo run -p mailgauge --example load -- http://127.0.0.1:8080 mg_... 60 100 5000 PID
//! ```
//!
//! Arguments: URL, operator key, seconds, queries per second, events per second, and optionally the process id of the server, to print
//! its memory. A query is timed from the moment at which it was due, so that a server that stalls is not measured by fewer queries.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a load test reads the clock and prints its results"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use simulator::{Plan, Simulation};

/// Connections that send queries.
const CONNECTIONS: usize = 32;
/// The queries, each about one tenant: name, relative frequency, path.
const QUERIES: [(&str, u64, &str); 6] = [
    (
        "24 h by the minute, by provider",
        4,
        "/v1/metrics?metrics=sends,delivery_rate,bounce_rate&from=-24h&granularity=1m&group_by=provider",
    ),
    (
        "24 h by the hour",
        6,
        "/v1/metrics?metrics=sends,delivery_rate,open_rate,delivery_ms_p95&from=-24h&granularity=1h",
    ),
    (
        "7 d by the hour, by provider",
        2,
        "/v1/metrics?metrics=sends,bounce_rate&from=-7d&granularity=1h&group_by=provider",
    ),
    (
        "24 h, by campaign",
        4,
        "/v1/metrics?metrics=sends,open_rate,click_rate&from=-24h&granularity=total&group_by=campaign&order_by=sends:desc&limit=20",
    ),
    ("alerts", 2, "/v1/alerts?state=firing"),
    ("values of a dimension", 2, "/v1/dimensions/campaign?limit=50"),
];

/// Response times by query, in milliseconds.
type Times = Arc<Mutex<BTreeMap<&'static str, Vec<f64>>>>;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, key, seconds, rate, events, rest @ ..] = arguments.as_slice() else {
        bail!("usage: load URL KEY SECONDS QUERIES_PER_SECOND EVENTS_PER_SECOND [PID]");
    };
    let (seconds, rate, events): (u64, u64, u64) = (seconds.parse()?, rate.parse()?, events.parse()?);
    let agent = agent();
    let tenants = tenants(&agent, address, key)?;
    let times = Times::default();
    let failed = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let sender = scope.spawn(|| send_events(address, key, events, tenants.len(), end));
        let (due, queue) = mpsc::sync_channel::<(Instant, u64)>(100_000);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..CONNECTIONS {
            let (queue, times, failed) = (Arc::clone(&queue), Arc::clone(&times), Arc::clone(&failed));
            let (agent, tenants) = (agent.clone(), &tenants);
            scope.spawn(move || send_queries(&agent, address, key, tenants, &queue, &times, &failed));
        }
        let start = Instant::now();
        let mut number = 0;
        while Instant::now() < end {
            let at = start + Duration::from_secs_f64(number as f64 / rate as f64);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            due.send((at, number)).context("all connections failed")?;
            number += 1;
            if number % (30 * rate) == 0 {
                println!("{:4} s: server {}", start.elapsed().as_secs(), memory(rest.first()));
            }
        }
        drop(due);
        let sent = sender.join().map_err(|_| anyhow::anyhow!("sending events failed"))??;
        println!("{sent} events counted, {:.0} per second", sent as f64 / seconds as f64);
        Ok(())
    })?;
    report(&times);
    println!("{} queries were refused or not answered", failed.load(Ordering::Relaxed));
    Ok(())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .max_idle_connections(CONNECTIONS * 2)
        .max_idle_connections_per_host(CONNECTIONS * 2)
        .timeout_global(Some(Duration::from_mins(1)))
        .build()
        .new_agent()
}

/// The ids of all tenants.
fn tenants(agent: &ureq::Agent, address: &str, key: &str) -> anyhow::Result<Vec<String>> {
    let reply = agent.get(format!("{address}/v1/tenants")).header("authorization", format!("Bearer {key}"));
    let reply: serde_json::Value = serde_json::from_str(&reply.call()?.body_mut().read_to_string()?)?;
    let tenants = reply["tenants"].as_array().context("no tenants")?;
    let names: Vec<String> =
        tenants.iter().filter_map(|tenant| Some(tenant["id"].as_str()?.to_owned())).collect();
    println!("{} tenants", names.len());
    Ok(names)
}

/// Sends the queries that are due, one after the other, until the queue is closed.
fn send_queries(
    agent: &ureq::Agent,
    address: &str,
    key: &str,
    tenants: &[String],
    queue: &Mutex<mpsc::Receiver<(Instant, u64)>>,
    times: &Times,
    failed: &AtomicU64,
) {
    let all: u64 = QUERIES.iter().map(|(_, share, _)| share).sum();
    loop {
        let Ok((due, number)) = queue.lock().unwrap_or_else(PoisonError::into_inner).recv() else { return };
        // Derived from the number, so that every run sends the same queries.
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let mut rest = random % all;
        let query = QUERIES.iter().find(|(_, share, _)| {
            let found = rest < *share;
            rest = rest.saturating_sub(*share);
            found
        });
        let Some((name, _, path)) = query else { continue };
        let Some(tenant) =
            usize::try_from(random >> 8).ok().and_then(|random| tenants.get(random % tenants.len()))
        else {
            continue;
        };
        let reply = agent
            .get(format!("{address}{path}"))
            .header("authorization", format!("Bearer {key}"))
            .header("x-mailgauge-tenant", tenant)
            .call()
            .and_then(|mut reply| reply.body_mut().with_config().limit(100 << 20).read_to_vec());
        if reply.is_err() {
            failed.fetch_add(1, Ordering::Relaxed);
        }
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.entry(name).or_default().push(due.elapsed().as_secs_f64() * 1000.0);
    }
}

/// Sends simulated events at a steady rate, ten requests a second.
fn send_events(address: &str, key: &str, events: u64, tenants: usize, end: Instant) -> anyhow::Result<u64> {
    if events == 0 {
        return Ok(0);
    }
    let agent = agent();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let plan = Plan {
        tenants: u32::try_from(tenants)?,
        // A mail has some 2.4 events, so this simulates more than are sent.
        emails_per_minute: events as f64 * 60.0 / 2.0,
        minutes: 60,
        start_ms: i64::try_from(now)?,
        // Each run needs message ids of its own, as repeated ones are dropped as duplicates.
        seed: u64::try_from(now)?,
        hosted_percent: None,
        incidents: Vec::new(),
    };
    let mut simulation = Simulation::new(plan)?;
    let (mut text, mut position, mut counted) = (Vec::new(), 0, 0);
    let start = Instant::now();
    for tick in 0.. {
        std::thread::sleep(
            (start + Duration::from_millis(100 * tick)).saturating_duration_since(Instant::now()),
        );
        if Instant::now() >= end {
            break;
        }
        let mut body = Vec::new();
        for _ in 0..events / 10 {
            if position >= text.len() {
                text.clear();
                position = 0;
                simulation.next_minute(&mut text);
            }
            let line =
                text.get(position..).and_then(|rest| rest.split_inclusive(|byte| *byte == b'\n').next());
            let Some(line) = line else { break };
            body.extend_from_slice(line);
            position += line.len();
        }
        let reply = agent
            .post(format!("{address}/v1/ingest/ses"))
            .header("authorization", format!("Bearer {key}"))
            .send(&body[..]);
        let reply: serde_json::Value = serde_json::from_str(&reply?.body_mut().read_to_string()?)?;
        counted +=
            reply["events"].as_u64().context("the reply to events does not say how many were counted")?;
    }
    Ok(counted)
}

/// The resident memory of a process, as Linux prints it.
fn memory(process: Option<&String>) -> String {
    let status = process.and_then(|id| std::fs::read_to_string(format!("/proc/{id}/status")).ok());
    let line = status.as_deref().and_then(|text| text.lines().find(|line| line.starts_with("VmRSS")));
    line.map_or_else(|| "memory not measured".to_owned(), |line| line.replace(['\t', ' '], ""))
}

/// Prints the distribution of response times.
fn report(times: &Times) {
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{:34} {:>7} {:>9} {:>9} {:>9}", "query", "sent", "median", "p99", "longest");
    for (name, times) in times.iter_mut() {
        times.sort_by(f64::total_cmp);
        // The smallest time that is not exceeded by the given per mille of the queries.
        let permille = |of_1000: usize| {
            times.get((times.len() * of_1000).div_ceil(1000).max(1) - 1).copied().unwrap_or_default()
        };
        println!(
            "{name:34} {:7} {:6.1} ms {:6.1} ms {:6.1} ms",
            times.len(),
            permille(500),
            permille(990),
            permille(1000)
        );
    }
}
