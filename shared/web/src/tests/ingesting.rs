//! Events by plain posts and by EventBridge.

use std::io::Write as _;

use event::decode::MAX_RECORD_BYTES;
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

#[tokio::test]
async fn a_body_is_one_payload_and_the_reply_says_what_became_of_it() {
    let world = World::new();
    for key in [INGEST, OPERATOR] {
        let reply = world.post(key, "/v1/ingest/ses", "{\"eventType\":\"Send\"}\n{}").await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.json(), json!({"events": 1, "duplicates": 0, "ignored": 0, "quarantined": 0}));
    }
    assert_eq!(world.payloads(), ["{\"eventType\":\"Send\"}\n{}"; 2]);
}

#[tokio::test]
async fn a_large_body_is_cut_between_its_values() {
    let event = format!("{{\"eventType\":\"Send\",\"filler\":\"{}\"}}", "x".repeat(2000));
    let count = 10_000;
    let lines = format!("{event}\n").repeat(count);
    let array = format!("[{}]", vec![event.as_str(); count].join(","));
    for body in [lines, array] {
        let world = World::new();
        assert_eq!(world.post(INGEST, "/v1/ingest/ses", body).await.status, StatusCode::OK);
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
async fn a_single_value_that_is_too_large_is_refused_and_bytes_that_are_no_text_are_never_cut() {
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
async fn gzip_is_unpacked_with_the_header_and_without_it() {
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
async fn a_proxy_may_have_unpacked_what_the_header_still_calls_gzip() {
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
async fn a_full_queue_and_a_failed_store_are_told_apart() {
    let busy = World::with(Mood::Busy, None).post(INGEST, "/v1/ingest/ses", "{}").await;
    assert_eq!((busy.status, busy.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "7"));
    let down = World::with(Mood::Down, None).post(INGEST, "/v1/ingest/ses", "{}").await;
    assert_eq!((down.status, down.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
}

#[tokio::test]
async fn eventbridge_sends_its_key_in_the_header_of_the_operators_choice() {
    async fn check(name: &str, value: &str, expected: StatusCode) {
        let world = World::new();
        let request = Request::post("/v1/ingest/eventbridge").header(name, value);
        let reply = world.send(request.body(r#"{"source":"aws.ses"}"#.into()).unwrap()).await;
        assert_eq!(reply.status, expected, "{name}: {value}");
        assert_eq!(world.payloads().len(), usize::from(expected == StatusCode::OK));
    }
    check("authorization", "Bearer mg_ingest", StatusCode::OK).await;
    check("authorization", "mg_ingest", StatusCode::OK).await;
    check("x-api-key", "mg_ingest", StatusCode::OK).await;
    check("x-api-key", "mg_unknown", StatusCode::UNAUTHORIZED).await;
    check("x-api-key", "mg_acme", StatusCode::FORBIDDEN).await;
    check("x-other", "mg_ingest", StatusCode::UNAUTHORIZED).await;
}
