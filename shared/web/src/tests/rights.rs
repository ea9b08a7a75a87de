//! Who may see what: attempts to get beyond a key's scope.

use std::collections::BTreeSet;
use std::future::IntoFuture as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use axum::extract::ConnectInfo;
use serde_json::json;

use super::*;

const READ_CALLS: [&str; 5] = [
    "/v1/metrics?metrics=sends&from=-1d&to=now",
    "/v1/dimensions",
    "/v1/dimensions/campaign",
    "/v1/reconcile?from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z",
    "/v1/query",
];

fn request(uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let method = if uri.starts_with("/v1/query") || uri.starts_with("/v1/ingest") { "POST" } else { "GET" };
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(r#"{"metrics":["sends"],"from":"-1d","to":"now"}"#.into()).unwrap()
}

#[tokio::test]
async fn nothing_is_read_without_a_key() {
    let world = World::new();
    for uri in READ_CALLS.into_iter().chain(["/v1/tenants", "/v1/whoami", "/metrics", "/v1/ingest/ses"]) {
        let reply = world.send(request(uri, &[])).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::UNAUTHORIZED, "missing-credential".to_owned()),
            "{uri}"
        );
        assert_eq!(reply.header("www-authenticate"), r#"Bearer realm="mailgauge""#);
    }
    let reads = world.store.take_reads();
    assert!(reads.is_empty(), "{reads:?}");
}

#[tokio::test]
async fn anything_but_one_valid_key_is_refused() {
    let world = World::new();
    let long = format!("Bearer {}", "x".repeat(5000));
    let [unknown, acme, operator] = [UNKNOWN, ACME, OPERATOR].map(|key| format!("Bearer {key}"));
    let (several, umlaut) = (format!("{operator},{ACME}"), format!("{operator}\u{e4}"));
    for headers in [
        &[("authorization", unknown.as_str())][..],
        &[("authorization", "Bearer mg_unknown")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Bearer")],
        &[("authorization", "")],
        &[("authorization", "Basic bWdfb3BlcmF0b3I=")],
        &[("authorization", OPERATOR)],
        &[("authorization", &several)],
        &[("authorization", &umlaut)],
        &[("authorization", &long)],
        &[("authorization", &acme), ("authorization", &operator)],
    ] {
        for uri in READ_CALLS {
            let reply = world.send(request(uri, headers)).await;
            assert_eq!(reply.problem(), "invalid-credential", "{headers:?}");
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        }
    }
    let reads = world.store.take_reads();
    assert!(reads.iter().all(|read| read.starts_with("api-keys/")), "{reads:?}");
}

#[tokio::test]
async fn key_is_never_repeated_in_a_reply() {
    let reply = World::new().get("mg_secret_of_somebody", "/v1/whoami").await;
    assert!(!reply.text().contains("secret"));
}

#[tokio::test]
async fn scheme_may_be_in_any_case() {
    let header = format!("bEaReR   {ACME}");
    let reply = World::new().send(request("/v1/whoami", &[("authorization", &header)])).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn tenants_key_never_reaches_another_tenant() {
    let world = World::new();
    let bearer = format!("Bearer {ACME}");
    let key = ("authorization", bearer.as_str());
    for uri in READ_CALLS {
        let reply = world.send(request(uri, &[key, ("x-mailgauge-tenant", "hooli")])).await;
        assert_eq!((reply.status, reply.problem()), (StatusCode::FORBIDDEN, "forbidden".to_owned()), "{uri}");
        for name in ["hooli, acme", "", "a b", "acme\u{e4}", "../hooli"] {
            let reply = world.send(request(uri, &[key, ("x-mailgauge-tenant", name)])).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri} {name:?}");
        }
        let twice = [key, ("x-mailgauge-tenant", "acme"), ("x-mailgauge-tenant", "hooli")];
        assert_eq!(world.send(request(uri, &twice)).await.status, StatusCode::BAD_REQUEST);
    }
    let tenants_read = |reads: Vec<String>| -> BTreeSet<String> {
        let of_tenants = reads.into_iter().filter_map(|read| Some(read.strip_prefix("t#")?.to_owned()));
        of_tenants.map(|read| read.split('#').next().unwrap().to_owned()).collect()
    };
    assert_eq!(tenants_read(world.store.take_reads()), BTreeSet::new());
    for uri in READ_CALLS {
        for headers in [&[key][..], &[key, ("x-mailgauge-tenant", "acme")]] {
            let reply = world.send(request(uri, headers)).await;
            assert_eq!(reply.status, StatusCode::OK, "{uri}: {}", reply.text());
            assert!(!reply.text().contains("hooli"), "{uri}: {}", reply.text());
        }
    }
    assert_eq!(tenants_read(world.store.take_reads()), BTreeSet::from(["acme".to_owned()]));
}

#[tokio::test]
async fn operator_sees_all_tenants_or_the_one_it_names() {
    let world = World::new();
    let uri = "/v1/dimensions/campaign";
    let bearer = format!("Bearer {OPERATOR}");
    let key = ("authorization", bearer.as_str());
    for (headers, campaigns) in [
        (&[key][..], &["hooli-launch", "sp/even", "sp/odd", "spring"][..]),
        (&[key, ("x-mailgauge-tenant", "acme")], &["sp/even", "sp/odd", "spring"]),
        (&[key, ("x-mailgauge-tenant", "hooli")], &["hooli-launch"]),
        (&[key, ("x-mailgauge-tenant", "(unassigned)")], &[]),
        (&[key, ("x-mailgauge-tenant", "globex")], &[]),
    ] {
        let reply = world.send(request(uri, headers)).await;
        assert_eq!(reply.json()["values"], json!(campaigns), "{headers:?}");
    }
    let reads = world.store.take_reads().len();
    // Operators see all tenants by naming none; reserved names other than (unassigned) are refused.
    for name in ["*", "(other)", "(none)", "(Unassigned)"] {
        let reply = world.send(request(uri, &[key, ("x-mailgauge-tenant", name)])).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{name}");
        assert!(reply.text().contains("reserved"), "{}", reply.text());
    }
    assert!(reads > 0 && world.store.take_reads().iter().all(|read| read.starts_with("api-keys/")));
}

#[tokio::test]
async fn keys_may_only_make_the_calls_they_are_for() {
    let world = World::new();
    for (key, uri) in [
        (ACME, "/v1/tenants"),
        (ACME, "/metrics"),
        (ACME, "/v1/ingest/ses"),
        (ACME, "/v1/ingest/eventbridge"),
        (INGEST, "/v1/tenants"),
        (INGEST, "/metrics"),
        (INGEST, "/v1/query"),
        (INGEST, "/v1/dimensions"),
    ] {
        let reply = world.send(request(uri, &[("authorization", &format!("Bearer {key}"))])).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::FORBIDDEN, "forbidden".to_owned()),
            "{key} {uri}"
        );
    }
    let reads = world.store.take_reads();
    assert!(reads.iter().all(|read| !read.starts_with("t#")) && world.payloads().is_empty(), "{reads:?}");
}

#[tokio::test]
async fn own_metrics_are_open_to_this_machine_only() {
    async fn check(peer: &str, headers: &[(&str, &str)], open: bool) {
        let mut request = request("/metrics", headers);
        request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        let reply = World::new().send(request).await;
        let expected = if open { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        assert_eq!(reply.status, expected, "{peer} {headers:?}");
    }
    let host = ("host", "localhost:8080");
    check("127.0.0.1:5000", &[host], true).await;
    check("[::1]:5000", &[("host", "[::1]:8080")], true).await;
    check("[::ffff:127.0.0.1]:5000", &[("host", "127.0.0.1")], true).await;
    check("10.0.0.7:5000", &[host], false).await;
    check("127.0.0.1:5000", &[], false).await;
    check("127.0.0.1:5000", &[("host", "rebound.example:8080")], false).await;
    check("127.0.0.1:5000", &[("host", "localhost.example")], false).await;
    check("127.0.0.1:5000", &[host, ("x-forwarded-for", "10.0.0.7")], false).await;
    check("127.0.0.1:5000", &[host, ("forwarded", "for=10.0.0.7")], false).await;
    let reply = World::new().get(OPERATOR, "/metrics").await;
    let history = seed::MESSAGES_OF_HISTORY + seed::MESSAGES_OF_HISTORY / seed::HISTORY_PER_BOUNCE;
    // Plus one duplicate and the one event of the old message.
    let read = 2 * (seed::MAILED + seed::BOUNCED) + history + 2;
    assert!(reply.text().contains(&format!("\nmailgauge_events_total {read}\n")), "{}", reply.text());
    for line in [
        "mailgauge_duplicates_total 1",
        "mailgauge_quarantined_total 1",
        "mailgauge_impossible_states_total 0",
        "mailgauge_newest_event_age_seconds 2261",
        "mailgauge_oldest_unmerged_seconds 0",
        "# TYPE mailgauge_events_total counter",
    ] {
        assert!(reply.text().lines().any(|held| held == line), "{line}: {}", reply.text());
    }
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test]
async fn real_connection_from_this_machine_is_recognised() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = World::new().app.into_make_service_with_connect_info::<SocketAddr>();
    let server = tokio::spawn(axum::serve(listener, service).into_future());
    let ask = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = tokio::task::spawn_blocking(ask).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\nmailgauge_events_total "),
        "{answer}"
    );
    server.abort();
}
