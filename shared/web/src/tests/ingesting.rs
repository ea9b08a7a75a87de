//! Events by plain POST and from EventBridge.

use std::io::Write as _;

use event::decode::{MAX_PARTS, MAX_RECORD_BYTES};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::*;
use crate::ingest::ses::BLOCK_BYTES;

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Lines of this many sends of `acme`.
fn sends(count: usize) -> String {
    let line = |number: usize| {
        let id = format!("new{number}");
        seed::Mail {
            tenant: "acme",
            campaign: "new",
            id: &id,
            domain: "gmail.com",
            at: at(NOW).plus_millis(-60_000),
        }
        .send()
    };
    (0..count).map(line).collect()
}

#[tokio::test]
async fn body_is_counted_as_one_payload_and_the_reply_has_the_outcome() {
    let world = World::new();
    let body = format!("{}{{\"Type\":\n", sends(2));
    for (key, outcome) in [
        (INGEST, json!({"events": 2, "duplicates": 0, "ignored": 0, "quarantined": 1})),
        (OPERATOR, json!({"events": 0, "duplicates": 2, "ignored": 0, "quarantined": 1})),
    ] {
        let reply = world.post(key, "/v1/ingest/ses", body.clone()).await;
        assert_eq!((reply.status, reply.json()), (StatusCode::OK, outcome));
    }
    assert_eq!(world.payloads(), [body.clone(), body]);
    let counted = world.get(ACME, "/v1/metrics?metrics=sends&filter=campaign:new").await.json();
    assert_eq!(counted["rows"][0]["metrics"]["sends"], 2, "{counted}");
}

#[tokio::test]
async fn large_body_is_split_between_its_values() {
    let count = 10_000;
    let filled = |line: &str| line.replacen('{', &format!("{{\"filler\":\"{}\",", "x".repeat(2000)), 1);
    let events: Vec<String> = sends(count).lines().map(filled).collect();
    for body in [events.join("\n"), format!("[{}]", events.join(","))] {
        let world = World::new();
        let reply = world.post(INGEST, "/v1/ingest/ses", body).await;
        assert_eq!(reply.json(), json!({"events": count, "duplicates": 0, "ignored": 0, "quarantined": 0}));
        let payloads = world.payloads();
        assert!(payloads.len() > 10 && payloads.iter().all(|payload| payload.len() <= 2 * BLOCK_BYTES));
        let whole: usize = payloads
            .iter()
            .map(|payload| std::str::from_utf8(payload).unwrap().matches("eventType").count())
            .sum();
        assert_eq!(whole, count);
    }
}

#[tokio::test]
async fn value_that_is_too_large_is_refused_and_binary_body_is_never_split() {
    let world = World::new();
    let giant = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_RECORD_BYTES));
    let reply = world.post(INGEST, "/v1/ingest/ses", format!("{{}}\n{giant}\n")).await;
    assert_eq!((reply.status, reply.problem()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large".to_owned()));
    assert!(world.payloads().is_empty());
    let packed = [&[0x28, 0xb5, 0x2f, 0xfd][..], &b"}\n{".repeat(BLOCK_BYTES)].concat();
    assert_eq!(world.post(INGEST, "/v1/ingest/ses", packed.clone()).await.status, StatusCode::OK);
    assert_eq!(world.payloads(), [packed]);
}

#[tokio::test]
async fn gzip_is_unpacked_with_and_without_the_header() {
    let world = World::new();
    let mut members = gzip(b"one ");
    members.extend(gzip(b"two"));
    for header in ["gzip", "x-gzip", "GZIP", "identity"] {
        let request = bearer(INGEST, "POST", "/v1/ingest/ses").header("content-encoding", header);
        assert_eq!(world.send(request.body(members.clone().into()).unwrap()).await.status, StatusCode::OK);
    }
    world.post(INGEST, "/v1/ingest/ses", members).await;
    assert_eq!(world.payloads(), ["one two"; 5]);
}

#[tokio::test]
async fn plain_body_with_a_gzip_header_left_by_a_proxy_is_accepted() {
    let world = World::new();
    let request = bearer(INGEST, "POST", "/v1/ingest/ses").header("content-encoding", "gzip");
    assert_eq!(world.send(request.body("{}".into()).unwrap()).await.status, StatusCode::OK);
    assert_eq!(world.payloads(), ["{}"]);
}

#[tokio::test]
async fn broken_and_unknown_encodings_are_refused() {
    let world = World::new();
    let mut broken = gzip(&vec![7; 100_000]);
    broken.truncate(60);
    let reply = world.post(INGEST, "/v1/ingest/ses", broken).await;
    assert_eq!((reply.status, reply.problem()), (StatusCode::BAD_REQUEST, "invalid-body".to_owned()));
    for encoding in ["br", "deflate", "gzip, gzip", "zstd"] {
        let request = bearer(INGEST, "POST", "/v1/ingest/ses").header("content-encoding", encoding);
        let reply = world.send(request.body("{}".into()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
    }
    assert!(world.payloads().is_empty());
}

#[tokio::test]
async fn full_queue_and_failed_store_get_different_statuses() {
    let busy = World::busy().post(INGEST, "/v1/ingest/ses", "{}").await;
    assert_eq!((busy.status, busy.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "7"));
    let down = World::in_condition(Condition::Failing).post(INGEST, "/v1/ingest/ses", "{}").await;
    assert_eq!((down.status, down.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
}

#[tokio::test]
async fn eventbridge_may_send_its_key_in_authorization_or_x_api_key() {
    async fn check(name: &str, value: &str, expected: StatusCode) {
        let world = World::new();
        let request = Request::post("/v1/ingest/eventbridge").header(name, value);
        let reply = world.send(request.body(r#"{"source":"aws.ses"}"#.into()).unwrap()).await;
        assert_eq!(reply.status, expected, "{name}: {value}");
        assert_eq!(world.payloads().len(), usize::from(expected == StatusCode::OK));
    }
    check("authorization", &format!("Bearer {INGEST}"), StatusCode::OK).await;
    check("authorization", INGEST, StatusCode::OK).await;
    check("x-api-key", INGEST, StatusCode::OK).await;
    check("x-api-key", UNKNOWN, StatusCode::UNAUTHORIZED).await;
    check("x-api-key", ACME, StatusCode::FORBIDDEN).await;
    check("x-other", INGEST, StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn body_over_a_budget_of_decoding_is_answered_for_good_and_the_rest_counts() {
    let event = sends(1);
    let parts = gzip(format!("{event}{}", "7\n".repeat(MAX_PARTS + 1000)).as_bytes());
    let work = format!("{event}{}", "7 ".repeat(58_000)).into_bytes();
    for (body, budget) in [(parts, "Parts"), (work, "Work")] {
        assert!(body.len() < 119 * 1024, "{budget}");
        let world = World::new();
        let reply = world.post(INGEST, "/v1/ingest/ses", body).await;
        // Success: sent again, it could only end in the same way.
        assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::OK, ""), "{budget}");
        let outcome = reply.json();
        assert_eq!(outcome["events"], 1, "{budget}: {outcome}");
        let quarantined = outcome["quarantined"].as_u64().unwrap();
        assert!((1..=MAX_PARTS as u64).contains(&quarantined), "{budget}: {outcome}");
    }
}
