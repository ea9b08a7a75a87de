//! What the other tenants notice while many clients of one key send the heaviest queries they may: response times of another tenant's query, of
//! ingestion and of the health check, with 0, 4, 32 and 64 such clients.
//!
//! ```sh
//! mailgauge demo --tenants 20 --days 30 --emails-per-minute 400 --data DIR       # prints the key
//! cargo run -p mailgauge --example fairness -- http://127.0.0.1:8080 mg_... 20
//! ```
//!
//! Arguments: URL, operator key, seconds for each number of clients. Each request is timed from the moment at which it was due.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and prints its results"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use simulator::{Plan, Simulation};

/// The numbers of hostile clients.
const CLIENTS: [usize; 4] = [0, 4, 32, 64];
/// Time between two requests of the same kind.
const INTERVAL: Duration = Duration::from_millis(100);
/// The query of the other tenant: what a dashboard asks for.
const QUERY: &str = "/v1/metrics?metrics=sends,delivery_rate,bounce_rate&from=-24h&granularity=1h";
/// Queries among which the one that takes longest is the hostile one.
const HEAVY: [&str; 4] = [
    "/v1/metrics?metrics=sends,unique_opens,unique_clicks,delivery_ms_p99&from=-30d&granularity=1h&group_by=campaign,provider,recipient_domain,segment&limit=10000",
    "/v1/metrics?metrics=sends,unique_opens,unique_clicks,delivery_ms_p99&from=-30d&granularity=total&group_by=campaign,provider,recipient_domain,segment&limit=10000",
    "/v1/metrics?metrics=sends,delivery_ms_p99,unique_opens&from=-30d&granularity=1m&group_by=provider&limit=10000",
    "/v1/metrics?metrics=sends,delivery_ms_p99,unique_opens&from=-7d&granularity=1m&group_by=campaign,provider&limit=10000",
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, operator, seconds] = arguments.as_slice() else {
        bail!("usage: fairness URL OPERATOR_KEY SECONDS");
    };
    let time = Duration::from_secs(seconds.parse()?);
    let server = Server { address, agent: agent() };
    let tenants = server.json("/v1/tenants", operator)?;
    let names: Vec<&str> = tenants["tenants"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tenant| tenant["id"].as_str())
        .filter(|id| !id.starts_with('('))
        .collect();
    let [hostile, other, ..] = names.as_slice() else { bail!("the server needs two tenants") };
    let (hostile, other) = (server.key(hostile, operator)?, server.key(other, operator)?);
    let heavy = server.heaviest(&hostile)?;
    println!(
        "clients  other tenant's query p50/p99   ingestion p50/p99   /healthz p50/p99   replies to the hostile clients"
    );
    for clients in CLIENTS {
        let end = Instant::now() + time;
        let stop = AtomicBool::new(false);
        let replies = Mutex::new(BTreeMap::<u16, u64>::new());
        let [query, ingestion, health] = std::thread::scope(|scope| -> anyhow::Result<_> {
            for _ in 0..clients {
                scope.spawn(|| {
                    let own = Server { address, agent: agent() };
                    while !stop.load(Ordering::Relaxed) {
                        let status = own.get(heavy, Some(&hostile));
                        *replies.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() +=
                            1;
                    }
                });
            }
            let query = scope.spawn(|| measure(end, || server.get(QUERY, Some(&other))));
            let health = scope.spawn(|| measure(end, || server.get("/healthz", None)));
            let ingestion = scope.spawn(|| server.ingest(operator, end));
            let failed = |_| anyhow::anyhow!("a measurement failed");
            let times = [
                query.join().map_err(failed),
                ingestion.join().map_err(failed).and_then(|times| times),
                health.join().map_err(failed),
            ];
            stop.store(true, Ordering::Relaxed);
            let [query, ingestion, health] = times;
            Ok([query?, ingestion?, health?])
        })?;
        let replies = replies.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!("{clients:7}  {query:>28}   {ingestion:>17}   {health:>16}   {replies:?}");
    }
    Ok(())
}

struct Server<'a> {
    address: &'a str,
    agent: ureq::Agent,
}

impl Server<'_> {
    /// The status of the reply; 0 if there was none.
    fn get(&self, path: &str, key: Option<&str>) -> u16 {
        let mut request = self.agent.get(format!("{}{path}", self.address));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let Ok(mut reply) = request.call() else { return 0 };
        match reply.body_mut().with_config().limit(1 << 30).read_to_vec() {
            Ok(_) => reply.status().as_u16(),
            Err(_) => 0,
        }
    }

    fn json(&self, path: &str, key: &str) -> anyhow::Result<serde_json::Value> {
        let url = format!("{}{path}", self.address);
        let mut reply = self.agent.get(url).header("authorization", format!("Bearer {key}")).call()?;
        Ok(serde_json::from_str(&reply.body_mut().read_to_string()?)?)
    }

    /// A new key of a tenant.
    fn key(&self, tenant: &str, operator: &str) -> anyhow::Result<String> {
        let request = self
            .agent
            .post(format!("{}/v1/tenants/{tenant}/keys", self.address))
            .header("authorization", format!("Bearer {operator}"))
            .header("content-type", "application/json");
        let text = request.send(r#"{"name":"fairness"}"#)?.body_mut().read_to_string()?;
        let reply: serde_json::Value = serde_json::from_str(&text)?;
        Ok(reply["key"].as_str().with_context(|| format!("no key for {tenant}: {text}"))?.to_owned())
    }

    /// The query that takes longest, of those that are answered.
    fn heaviest(&self, key: &str) -> anyhow::Result<&'static str> {
        let mut heaviest: Option<(Duration, &str)> = None;
        for path in HEAVY {
            let start = Instant::now();
            let status = self.get(path, Some(key));
            let taken = start.elapsed();
            println!("{status} after {:.0} ms: {path}", taken.as_secs_f64() * 1000.0);
            if status == 200 && heaviest.is_none_or(|(longest, _)| taken > longest) {
                heaviest = Some((taken, path));
            }
        }
        Ok(heaviest.context("no heavy query was answered")?.1)
    }

    /// Sends a few events at a time, and measures when they are counted.
    fn ingest(&self, key: &str, end: Instant) -> anyhow::Result<Times> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let plan = Plan {
            tenants: 20,
            emails_per_minute: 4000.0,
            minutes: 60,
            start_ms: now,
            // Each run needs message ids of its own, as repeated ones are dropped as duplicates.
            seed: now.unsigned_abs(),
            hosted_percent: None,
            incidents: Vec::new(),
        };
        let mut simulation = Simulation::new(plan)?;
        let (mut text, mut position) = (Vec::new(), 0);
        Ok(measure(end, || {
            let mut body = Vec::new();
            for _ in 0..20 {
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
            let request = self.agent.post(format!("{}/v1/ingest/ses", self.address));
            let reply = request.header("authorization", format!("Bearer {key}")).send(&body[..]);
            reply.map_or(0, |reply| reply.status().as_u16())
        }))
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(Duration::from_mins(1))).build().new_agent()
}

/// Response times in milliseconds, and how many requests were not answered with 200.
struct Times {
    sorted: Vec<f64>,
    failed: usize,
}

/// Makes a request every [`INTERVAL`] until the end.
fn measure(end: Instant, mut request: impl FnMut() -> u16) -> Times {
    let (mut sorted, mut failed) = (Vec::new(), 0);
    let mut due = Instant::now();
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        failed += usize::from(request() != 200);
        sorted.push(due.elapsed().as_secs_f64() * 1000.0);
        due += INTERVAL;
    }
    sorted.sort_by(f64::total_cmp);
    Times { sorted, failed }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The smallest time that is not exceeded by the given per cent of the requests.
        let percent = |of_100: usize| {
            let at = (self.sorted.len() * of_100).div_ceil(100).max(1) - 1;
            self.sorted.get(at).copied().unwrap_or_default()
        };
        let mut text = format!("{:.1}/{:.1} ms", percent(50), percent(99));
        if self.failed > 0 {
            text = format!("{text}, {} failed", self.failed);
        }
        f.pad(&text)
    }
}
