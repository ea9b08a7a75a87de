//! Limits: sizes, requests at once, the headers that every reply carries, and hostile requests.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use axum::http::HeaderValue;
use http_body::{Frame, SizeHint};
use proptest::prelude::*;

use super::ingesting::gzip;
use super::*;
use crate::limits::{
    ANONYMOUS_REQUESTS_AT_ONCE, Budget, HEADER_BYTES, INGEST_BODY_BYTES, INGEST_BUDGET_BYTES,
    QUERY_BODY_BYTES, REQUESTS_AT_ONCE, UNPACKED_BODY_BYTES, URI_BYTES, read_events,
};
use crate::query_slots::WAITING_PER_KEY;

/// A body that declares its length and never arrives.
struct Stuck(u64);

impl HttpBody for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// A body that declares no length and never ends.
struct Endless;

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 16_384])))))
    }
}

/// Lets spawned tasks begin. The runtime starts some of them at each turn, in the order in which they were spawned.
async fn start_tasks() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bodies_are_accepted_up_to_their_limit() {
    let world = World::with(Mode::Dropping, None);
    let query = r#"{"metrics":["sends"],"from":"-1d","to":"now"}"#;
    for (key, uri, limit) in [
        (ACME, "/v1/query", QUERY_BODY_BYTES),
        (INGEST, "/v1/ingest/ses", INGEST_BODY_BYTES),
        (INGEST, "/v1/ingest/eventbridge", INGEST_BODY_BYTES),
    ] {
        // One query after spaces; many lines where events are expected.
        let mut body = if key == ACME { " ".repeat(limit - query.len()) } else { String::new() };
        while body.len() < limit {
            body.push_str(query);
            body.push('\n');
        }
        body.truncate(limit);
        assert_eq!(world.post(key, uri, body.clone()).await.status, StatusCode::OK, "{uri}");
        body.push(' ');
        let reply = world.post(key, uri, body).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large".to_owned())
        );
        let reply = world.post(key, uri, Body::new(Endless)).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{uri}");
    }
}

#[tokio::test]
async fn body_unpacks_to_its_limit_and_no_further() {
    let world = World::with(Mode::Dropping, None);
    let full = world.post(INGEST, "/v1/ingest/ses", gzip(&vec![b' '; UNPACKED_BODY_BYTES])).await;
    assert_eq!(full.status, StatusCode::OK);
    let bomb = world.post(INGEST, "/v1/ingest/ses", gzip(&vec![b' '; UNPACKED_BODY_BYTES + 1])).await;
    assert_eq!((bomb.status, bomb.problem()), (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large".to_owned()));
    assert_eq!(world.payloads().len(), 1);
}

#[tokio::test]
async fn bodies_share_a_budget_that_is_given_back() {
    let world = World::new();
    let stuck: Vec<_> = (0..INGEST_BUDGET_BYTES / INGEST_BODY_BYTES)
        .map(|_| {
            let request = bearer(INGEST, "POST", "/v1/ingest/ses");
            let body = Body::new(Stuck(INGEST_BODY_BYTES as u64));
            tokio::spawn(world.app.clone().oneshot(request.body(body).unwrap()))
        })
        .collect();
    start_tasks().await;
    let refused = world.post(INGEST, "/v1/ingest/ses", "{}").await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(world.get(ACME, "/v1/dimensions").await.status, StatusCode::OK, "queries are still answered");
    for task in &stuck {
        task.abort();
    }
    for task in stuck {
        assert!(task.await.is_err());
    }
    assert_eq!(world.post(INGEST, "/v1/ingest/ses", "{}").await.status, StatusCode::OK);
}

#[tokio::test]
async fn unpacked_body_is_part_of_the_budget() {
    let read = async |unpacked: usize| {
        let request = Request::new(Body::from(gzip(&vec![b' '; unpacked])));
        read_events(request, &Budget::new(100 * 1024), INGEST_BODY_BYTES)
            .await
            .map(|events| events.body.len())
    };
    assert_eq!(read(90 * 1024).await.ok(), Some(90 * 1024));
    assert_eq!(read(110 * 1024).await.unwrap_err().status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn body_that_arrives_too_slowly_is_refused() {
    let reply = World::new().post(INGEST, "/v1/ingest/ses", Body::new(Stuck(2))).await;
    assert_eq!((reply.status, reply.problem()), (StatusCode::REQUEST_TIMEOUT, "request-timeout".to_owned()));
}

#[tokio::test]
async fn number_of_requests_at_once_is_limited() {
    let world = World::new();
    let stuck: Vec<_> = (0..REQUESTS_AT_ONCE)
        .map(|_| {
            let request = bearer(ACME, "POST", "/v1/query").body(Body::new(Stuck(2))).unwrap();
            tokio::spawn(world.app.clone().oneshot(request))
        })
        .collect();
    start_tasks().await;
    let refused = world.get(ACME, "/v1/dimensions").await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert!(!refused.header("x-request-id").is_empty());
    assert_eq!(world.get(ACME, "/healthz").await.status, StatusCode::OK, "a busy process is healthy");
    assert_eq!(world.get(ACME, "/readyz").await.status, StatusCode::OK);
    for task in stuck {
        task.abort();
        assert!(task.await.is_err());
    }
    assert_eq!(world.get(ACME, "/v1/dimensions").await.status, StatusCode::OK);
}

#[tokio::test]
async fn requests_without_a_key_leave_the_slots_of_others_free() {
    let world = World::new();
    let stuck: Vec<_> = (0..REQUESTS_AT_ONCE)
        .map(|_| {
            let request = Request::post("/v1/ingest/sns").body(Body::new(Stuck(2))).unwrap();
            tokio::spawn(world.app.clone().oneshot(request))
        })
        .collect();
    start_tasks().await;
    let waiting = stuck.iter().filter(|task| !task.is_finished()).count();
    assert_eq!(waiting, ANONYMOUS_REQUESTS_AT_ONCE, "the rest is refused");
    assert_eq!(world.get(ACME, "/v1/dimensions").await.status, StatusCode::OK);
    assert_eq!(world.post(INGEST, "/v1/ingest/ses", "{}").await.status, StatusCode::OK);
    // 404: no identity provider is set up here, so the request had a slot.
    assert_eq!(world.get(ACME, "/sign-in").await.status, StatusCode::NOT_FOUND);
    for task in stuck {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn body_gets_time_by_its_declared_length() {
    let world = World::new();
    let start = tokio::time::Instant::now();
    let reply = world.post(INGEST, "/v1/ingest/ses", Body::new(Stuck(2))).await;
    assert_eq!(reply.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn many_clients_of_one_key_leave_ingestion_health_and_other_keys_alone() {
    let world = World::in_condition(Condition::Stuck);
    let ask = |key: &str| {
        let request = bearer(key, "GET", "/v1/dimensions/campaign").body(Body::empty()).unwrap();
        tokio::spawn(world.app.clone().oneshot(request))
    };
    let stuck: Vec<_> = (0..64).map(|_| ask(ACME)).collect();
    start_tasks().await;
    let waiting = stuck.iter().filter(|task| !task.is_finished()).count();
    assert_eq!(waiting, 2 + WAITING_PER_KEY, "two run, some wait, and the rest is refused");
    let refused = world.get(ACME, "/v1/dimensions/campaign").await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    for other in [READER, OPERATOR] {
        world.store.take_reads();
        let query = ask(other);
        start_tasks().await;
        assert!(!query.is_finished());
        // Keys are looked up one by one; a range is read by a query that runs.
        assert!(world.store.take_reads().iter().any(|read| !read.contains('/')), "{other} must not wait");
    }
    assert_eq!(world.post(INGEST, "/v1/ingest/ses", "{}").await.status, StatusCode::OK);
    assert_eq!(world.get(ACME, "/healthz").await.status, StatusCode::OK);
    for task in stuck {
        task.abort();
    }
}

#[tokio::test]
async fn sizes_of_uri_and_headers_are_limited() {
    let world = World::new();
    let uri = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    assert_eq!(world.get(ACME, &uri(URI_BYTES)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get(ACME, &uri(URI_BYTES + 1)).await.status, StatusCode::URI_TOO_LONG);
    let pairs = |count: usize| format!("/v1/dimensions?{}", vec!["a=b"; count].join("&"));
    let detail =
        async |count| world.get(ACME, &pairs(count)).await.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail(128).await.starts_with("a: is not a parameter"));
    assert_eq!(detail(129).await, "the query string has too many parameters; at most 128 are allowed");
    let headers = |bytes: usize| {
        let taken = "authorization".len() + "Bearer ".len() + ACME.len() + "cookie".len();
        bearer(ACME, "GET", "/v1/dimensions")
            .header("cookie", "x".repeat(bytes - taken))
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(world.send(headers(HEADER_BYTES)).await.status, StatusCode::OK);
    let reply = world.send(headers(HEADER_BYTES + 1)).await;
    assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn every_reply_has_a_request_id_and_forbids_scripts() {
    let world = World::new();
    for (method, uri) in
        [("GET", "/healthz"), ("GET", "/nothing"), ("POST", "/healthz"), ("GET", "/v1/dimensions")]
    {
        let reply = world.send(bearer(ACME, method, uri).body(Body::empty()).unwrap()).await;
        assert_eq!(reply.header("x-request-id").len(), 11);
        assert_eq!(reply.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn request_id_of_a_client_is_kept_if_it_fits_a_log_line() {
    let world = World::new();
    let send = async |id: &[u8]| {
        let request = Request::get("/healthz").header("x-request-id", HeaderValue::from_bytes(id).unwrap());
        world.send(request.body(Body::empty()).unwrap()).await.header("x-request-id").to_owned()
    };
    for id in ["1-67891233-abcdef012345678912345678", "a.b_c", &"x".repeat(64)] {
        assert_eq!(send(id.as_bytes()).await, id);
    }
    for id in ["", "a b", "a\tb", "{}", &"x".repeat(65)] {
        assert_ne!(send(id.as_bytes()).await, id);
    }
    assert_eq!(send(b"\xff").await.len(), 11);
}

#[tokio::test]
async fn head_request_gets_headers_only() {
    let reply = World::new().send(bearer(ACME, "HEAD", "/v1/dimensions").body(Body::empty()).unwrap()).await;
    assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_makes_the_server_fail(
        route in 0_usize..8,
        uri in "[!-~]{0,80}",
        header in "[ -~\u{80}-\u{ff}]{0,40}",
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let routes = ["/v1/query", "/v1/metrics", "/v1/dimensions/", "/v1/reconcile", "/v1/ingest/ses",
            "/v1/ingest/sns", "/v1/ingest/firehose", "/"];
        let method = if route == 0 || (4..7).contains(&route) { "POST" } else { "GET" };
        let separator = if route == 2 || route == 7 { "" } else { "?" };
        let uri = format!("{}{separator}{}", routes[route], uri.replace('#', ""));
        let header = HeaderValue::from_str(&header).unwrap();
        let request = bearer(OPERATOR, method, &uri)
            .header("x-amz-firehose-access-key", INGEST)
            .header("x-mailgauge-tenant", &header)
            .header("x-amz-firehose-request-id", &header)
            .header("x-request-id", &header)
            .header("if-none-match", &header)
            .body(Body::from(body));
        if let Ok(request) = request {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let reply = runtime.block_on(async { World::new().send(request).await });
            prop_assert!(!reply.status.is_server_error(), "{uri} {}", reply.status);
        }
    }
}
