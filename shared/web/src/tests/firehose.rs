//! The protocol of a Firehose HTTP endpoint destination.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::ingesting::gzip;
use super::*;

const ID: &str = "ed1d787c-b9e2-4631-92dc-8e7c9d26d804";

async fn deliver(world: &World, key: Option<&str>, body: impl Into<Body>) -> Reply {
    let mut request = Request::post("/v1/ingest/firehose")
        .header("x-amz-firehose-protocol-version", "1.0")
        .header("x-amz-firehose-request-id", ID);
    if let Some(key) = key {
        request = request.header("x-amz-firehose-access-key", key);
    }
    world.send(request.body(body.into()).unwrap()).await
}

fn delivery(records: &[&str]) -> String {
    let records: Vec<Value> = records.iter().map(|data| json!({"data": data})).collect();
    json!({"requestId": ID, "timestamp": 1_578_090_901_599_i64, "records": records}).to_string()
}

#[tokio::test]
async fn each_record_is_a_payload_and_the_reply_repeats_the_request_id() {
    let world = World::new();
    let body = delivery(&[&STANDARD.encode("{\"a\":1}\n"), &STANDARD.encode([0, 255])]);
    for body in [body.clone().into_bytes(), gzip(body.as_bytes())] {
        let reply = deliver(&world, Some(INGEST), body).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.json(), json!({"requestId": ID, "timestamp": at(NOW).millis()}));
    }
    assert_eq!(world.payloads(), [&b"{\"a\":1}\n"[..], &[0, 255], b"{\"a\":1}\n", &[0, 255]]);
}

#[tokio::test]
async fn record_that_is_not_base64_is_quarantined() {
    let world = World::new();
    let reply = deliver(&world, Some(INGEST), delivery(&["%%%", &STANDARD.encode("{}"), "a\"b"])).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(world.payloads(), ["%%%", "{}", "a\"b"]);
    let metrics = world.get(OPERATOR, "/metrics").await;
    // The seed has one such part; `{}` is not an event, which is no reason for quarantine.
    assert!(metrics.text().contains("mailgauge_quarantined_total 4\n"), "{}", metrics.text());
}

#[tokio::test]
async fn delivery_without_records_succeeds() {
    let world = World::new();
    assert_eq!(deliver(&world, Some(INGEST), delivery(&[])).await.status, StatusCode::OK);
    assert!(world.payloads().is_empty());
}

#[tokio::test]
async fn every_error_has_the_form_that_firehose_expects() {
    async fn check(world: World, key: Option<&str>, body: &'static str, expected: StatusCode) {
        let reply = deliver(&world, key, body).await;
        assert_eq!(reply.status, expected, "{key:?} {body}");
        let receipt = reply.json();
        assert_eq!((&receipt["requestId"], &receipt["timestamp"]), (&json!(ID), &json!(at(NOW).millis())));
        assert!(!receipt["errorMessage"].as_str().unwrap().is_empty());
        assert!(world.payloads().is_empty());
    }
    let good = r#"{"requestId":"x","timestamp":1,"records":[{"data":"e30="}]}"#;
    check(World::new(), None, good, StatusCode::UNAUTHORIZED).await;
    check(World::new(), Some(UNKNOWN), good, StatusCode::UNAUTHORIZED).await;
    check(World::new(), Some(ACME), good, StatusCode::FORBIDDEN).await;
    check(World::busy(), Some(INGEST), good, StatusCode::TOO_MANY_REQUESTS).await;
    check(World::in_condition(Condition::Failing), Some(INGEST), good, StatusCode::SERVICE_UNAVAILABLE).await;
    for body in
        ["", "[]", "{}", r#"{"records":{}}"#, r#"{"records":[{"data":1}]}"#, r#"{"records":[{"data":"e30="}"#]
    {
        check(World::new(), Some(INGEST), body, StatusCode::BAD_REQUEST).await;
    }
}

#[tokio::test]
async fn number_of_records_is_limited() {
    let world = World::new();
    let body =
        |count: usize| format!("{{\"records\":[{}{{\"data\":\"\"}}]}}", "{\"data\":\"\"},".repeat(count - 1));
    assert_eq!(deliver(&world, Some(INGEST), body(100_000)).await.status, StatusCode::OK);
    assert_eq!(deliver(&world, Some(INGEST), body(100_001)).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.payloads().len(), 100_000);
}

#[tokio::test]
async fn overlong_request_id_is_not_repeated() {
    let request = Request::post("/v1/ingest/firehose").header("x-amz-firehose-request-id", "x".repeat(129));
    let reply = World::new().send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.json()["requestId"], "");
}
