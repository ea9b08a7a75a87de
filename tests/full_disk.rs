//! A disk that is full for a while: the real process reports it, still answers queries, loses nothing that it acknowledged, and resumes
//! counting by itself once there is space.
//!
//! `prlimit` (Linux) simulates the full disk with a limit on the size of the process's files, and lifts it. A real full disk differs only
//! in the error code, and the store treats every failed write alike.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{MAILGAUGE, Server, mailgauge};

/// The largest file, in bytes: enough for the empty database and a few hundred requests.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// The size of an unreadable record, in bytes: about as much as quarantine keeps, so that the disk is full within a hundred requests.
const JUNK_BYTES: usize = 110_000;
/// The largest number of requests to `/readyz`, one every 0.1 s, until the process has recovered. It retries within 15 seconds.
const MAX_POLLS: usize = 600;

/// Starts a server whose files cannot grow beyond the limit.
fn start(data: &Path) -> Server {
    // Ignored signals stay ignored across `exec`; without this the kernel ends a process that writes beyond its limit.
    let script = format!(r#"trap "" XFSZ; exec prlimit --fsize={MAX_FILE_BYTES}:unlimited "$0" "$@""#);
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, MAILGAUGE]).env("MAILGAUGE_LOG", "error");
    Server::launch(&mut limited, "serve", data, &[])
}

/// Lifts the limit of the running server.
fn lift_limit(server: &Server) {
    let process = server.process().to_string();
    let lifted =
        Command::new("prlimit").args(["--pid", &process, "--fsize=unlimited:unlimited"]).status().unwrap();
    assert!(lifted.success());
}

fn send(server: &Server, key: &str, body: &[u8]) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let reply = agent
        .post(format!("{}/v1/ingest/ses", server.address))
        .header("authorization", format!("Bearer {key}"))
        .send(body)
        .unwrap();
    reply.status().as_u16()
}

fn get(server: &Server, key: &str, path: &str) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut reply = agent
        .get(format!("{}{path}", server.address))
        .header("authorization", format!("Bearer {key}"))
        .call()
        .unwrap();
    let text = reply.body_mut().read_to_string().unwrap();
    (reply.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The counted sends, as the API answers them.
fn counted_sends(server: &Server, key: &str) -> u64 {
    let (status, reply) =
        get(server, key, "/v1/metrics?metrics=sends&from=2026-01-05&to=2026-01-06&granularity=total");
    assert_eq!(status, 200, "{reply}");
    reply["rows"][0]["metrics"]["sends"].as_u64().unwrap()
}

/// The number of recipients of all sends, straight from the events.
fn recipients(lines: &str) -> u64 {
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sends = events.filter(|event| event["eventType"] == "Send");
    sends.map(|event| event["mail"]["destination"].as_array().unwrap().len() as u64).sum()
}

/// Bytes that are not an event and hardly compress, so that quarantine stores all of them.
fn junk(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let mut bytes = Vec::with_capacity(JUNK_BYTES);
    while bytes.len() < JUNK_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(format!("{state:016x}").as_bytes());
    }
    bytes
}

#[test]
fn full_disk_is_reported_and_counting_resumes_once_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let (code, lines, errors) = mailgauge(
        &[
            "simulate",
            "--tenants",
            "2",
            "--emails-per-minute",
            "60",
            "--minutes",
            "20",
            "--start",
            "2026-01-05T00:00:00Z",
        ],
        b"",
    );
    assert_eq!(code, 0, "{errors}");
    let half = lines.len() / 2 + lines.get(lines.len() / 2..).unwrap().find('\n').unwrap() + 1;
    let (before, after) = lines.split_at(half);
    let server = start(&folder.path().join("data"));
    let key = server.key.clone().expect("the first start prints a key");
    assert_eq!(send(&server, &key, before.as_bytes()), 200);
    assert_eq!(get(&server, &key, "/readyz").0, 200);
    let full = (0..200).find(|&number| send(&server, &key, &junk(number)) == 503);
    assert!(full.is_some(), "the disk never became full");

    let (status, reply) = get(&server, &key, "/readyz");
    assert_eq!(status, 503, "{reply}");
    assert!(reply["detail"].as_str().unwrap().contains("File too large"), "{reply}");
    assert_eq!(get(&server, &key, "/healthz").0, 200);
    assert_eq!(counted_sends(&server, &key), recipients(before), "what was acknowledged stays readable");

    lift_limit(&server);
    let recovered = (0..MAX_POLLS).any(|_| {
        std::thread::park_timeout(Duration::from_millis(100));
        get(&server, &key, "/readyz").0 == 200
    });
    assert!(recovered, "{:?}", get(&server, &key, "/readyz"));
    assert_eq!(send(&server, &key, after.as_bytes()), 200);
    assert_eq!(counted_sends(&server, &key), recipients(&lines));
    let (_, proof) = get(&server, &key, "/v1/reconcile?from=2026-01-05&to=2026-01-06");
    assert_eq!(proof["drift"], 0, "{proof}");
}
