//! Exactly-once counting by the real process: `kill -9` at random times while a client sends, and sends again what was not acknowledged.
//! A naive model counts the same events from their JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Server, mailgauge};

/// How often the server is killed by default. More by hand: `MAILGAUGE_KILLS=100 cargo test --test end_to_end killed`.
const KILLS: usize = 10;
const LINES_PER_REQUEST: usize = 100;
const FROM: &str = "2026-01-05T00:00:00Z";

/// Counts by tenant and metric.
type Totals = BTreeMap<(String, &'static str), u64>;

/// The counts of events, straight from their JSON.
fn model(lines: &str) -> Totals {
    let mut totals = Totals::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let mail = &event["mail"];
        let tenant = mail["tags"]["tenant"][0].as_str().unwrap_or("(unassigned)").to_owned();
        let destination = mail["destination"].as_array().unwrap().len() as u64;
        let (metric, count) = match event["eventType"].as_str().unwrap() {
            "Send" => ("sends", destination),
            "Delivery" => ("deliveries", event["delivery"]["recipients"].as_array().unwrap().len() as u64),
            // However many recipients it lists.
            "Complaint" => ("complaints", 1),
            "Open" => ("opens", 1),
            "Click" => ("clicks", 1),
            "DeliveryDelay" => {
                ("delays", event["deliveryDelay"]["delayedRecipients"].as_array().unwrap().len() as u64)
            }
            _ => continue,
        };
        *totals.entry((tenant, metric)).or_default() += count;
    }
    totals
}

/// The counts as the API answers them.
fn served(server: &Server, key: &str, to: &str) -> Totals {
    let url = format!(
        "{}/v1/metrics?metrics=sends,deliveries,complaints,opens,clicks,delays&from={FROM}&to={to}&granularity=total&group_by=tenant&limit=1000",
        server.address
    );
    let reply: Value = get(&url, key);
    let mut totals = Totals::new();
    for row in reply["rows"].as_array().unwrap() {
        let tenant = row["group"]["tenant"].as_str().unwrap();
        for metric in ["sends", "deliveries", "complaints", "opens", "clicks", "delays"] {
            let count = row["metrics"][metric].as_u64().unwrap();
            if count > 0 {
                totals.insert((tenant.to_owned(), metric), count);
            }
        }
    }
    totals
}

fn get(url: &str, key: &str) -> Value {
    let mut reply = ureq::get(url).header("authorization", format!("Bearer {key}")).call().unwrap();
    serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap()
}

/// A linear congruential generator, good enough for choosing the times of kills.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn server_killed_at_any_time_counts_every_event_once() {
    let kills = std::env::var("MAILGAUGE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let minutes = (kills * 3).to_string();
    let plan = [
        "simulate",
        "--tenants",
        "3",
        "--emails-per-minute",
        "120",
        "--minutes",
        &minutes,
        "--start",
        FROM,
        "--seed",
        "7",
    ];
    let (code, lines, errors) = mailgauge(&plan, b"");
    assert_eq!(code, 0, "{errors}");
    let requests: Vec<String> =
        lines.lines().collect::<Vec<_>>().chunks(LINES_PER_REQUEST).map(|chunk| chunk.join("\n")).collect();
    assert!(requests.len() > kills, "{} requests for {kills} kills", requests.len());

    let data = folder.path().join("data");
    let server = Server::start("serve", &data, &[]);
    let key = server.key.clone().expect("the first start prints a key");
    let running = Mutex::new(Some(server));
    let sent = AtomicUsize::new(0);
    let resent = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send_all(&requests, &key, &running, &sent, &resent);
            done.store(true, Ordering::SeqCst);
        });
        kill_often(kills, requests.len(), &data, &running, &sent, &done);
    });
    assert_eq!(sent.load(Ordering::SeqCst), requests.len());
    let server = running.into_inner().unwrap().unwrap();
    let to = "2027-01-01T00:00:00Z";
    assert_eq!(served(&server, &key, to), model(&lines));
    let proof = get(&format!("{}/v1/reconcile?from={FROM}&to={to}", server.address), &key);
    assert_eq!(proof["drift"], 0, "{proof}");
    println!(
        "{kills} kills, {} requests, {} sent again; {proof}",
        requests.len(),
        resent.load(Ordering::SeqCst)
    );
}

/// Sends each request until it is acknowledged, as a client with retries does.
fn send_all(
    requests: &[String],
    key: &str,
    running: &Mutex<Option<Server>>,
    sent: &AtomicUsize,
    resent: &AtomicUsize,
) {
    for request in requests {
        loop {
            let address = {
                let server = running.lock().unwrap_or_else(PoisonError::into_inner);
                server.as_ref().map(|server| server.address.clone())
            };
            let answer = address.map(|address| {
                ureq::post(format!("{address}/v1/ingest/ses"))
                    .header("authorization", format!("Bearer {key}"))
                    .config()
                    .timeout_global(Some(Duration::from_secs(20)))
                    .build()
                    .send(request.as_bytes())
            });
            match answer {
                Some(Ok(_)) => break,
                Some(Err(_)) => resent.fetch_add(1, Ordering::SeqCst),
                None => 0,
            };
            std::thread::yield_now();
        }
        sent.fetch_add(1, Ordering::SeqCst);
    }
}

/// Kills and restarts the server: each time after a random number of further requests, plus a random part of one.
fn kill_often(
    kills: usize,
    requests: usize,
    data: &Path,
    running: &Mutex<Option<Server>>,
    sent: &AtomicUsize,
    done: &AtomicBool,
) {
    let mut seed = 42;
    for kill in 0..kills {
        let until = requests * kill / kills;
        while sent.load(Ordering::SeqCst) < until && !done.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // A time inside a request, which takes some milliseconds. The wait is the subject of the test, not a synchronisation.
        std::thread::park_timeout(Duration::from_micros(next(&mut seed) % 20_000));
        let mut server = running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = server.take() {
            server.kill();
        }
        *server = Some(Server::start("serve", data, &[]));
    }
}
