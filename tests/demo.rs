//! A demo that is killed while it simulates its history and started again has no gap, counts nothing twice, and catches up with the
//! present.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{MAILGAUGE, Server};

const SIZE: [&str; 6] = ["--tenants", "3", "--days", "2", "--emails-per-minute", "12"];

/// Starts the demo and kills it (`kill -9`) once it has counted `blocks` blocks of history. Returns the lines it printed.
fn killed_after(blocks: usize, data: &Path) -> Vec<String> {
    let mut child = Command::new(MAILGAUGE)
        .args(["demo", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(SIZE)
        .env("MAILGAUGE_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    let mut counted = 0;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        counted += usize::from(line.contains("history counted"));
        lines.push(line);
        if counted == blocks {
            break;
        }
    }
    assert_eq!(counted, blocks, "the history ended too soon: {lines:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    lines
}

/// The reply to `GET path`, with the operator's key.
fn get(server: &Server, path: &str) -> Value {
    let url = format!("{}{path}", server.address);
    let key = server.key.as_ref().unwrap();
    let mut reply = ureq::get(url).header("authorization", format!("Bearer {key}")).call().unwrap();
    serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap()
}

#[test]
fn killed_demo_continues_without_a_gap_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let first = killed_after(1, &data);
    assert!(first.iter().any(|line| line.starts_with("Simulating mail from ")), "{first:?}");
    killed_after(2, &data);
    let server = Server::start("demo", &data, &SIZE);
    // Standard error is not a terminal here, so progress must appear as lines in the log.
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(log.contains(" minutes of history ("), "{log}");
    let answer = get(&server, "/v1/metrics?metrics=sends&from=-47h&to=now&granularity=1h&fill=none");
    let rows = answer["rows"].as_array().unwrap();
    assert!(rows.len() >= 47, "hours are missing: {answer}");
    for row in rows.iter().skip(1).take(46) {
        assert!(row["metrics"]["sends"].as_u64().unwrap() > 100, "{row}: {answer}");
    }
    let newest: jiff::Timestamp = answer["meta"]["newest_event"].as_str().unwrap().parse().unwrap();
    let behind_ms = jiff::Timestamp::now().as_millisecond() - newest.as_millisecond();
    assert!(behind_ms < 2 * 60_000, "{behind_ms} ms behind");
    let proof = get(&server, "/v1/reconcile?from=-3d&to=now");
    assert_eq!(proof["drift"], 0, "{proof}");
    assert!(proof["duplicates"].as_u64().unwrap() < 10, "only events in flight may be duplicates: {proof}");
}
