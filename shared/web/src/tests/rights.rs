//! Who may see what: attempts to get past a key's scope.

use std::future::IntoFuture as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use axum::extract::ConnectInfo;

use super::*;

const READING: [&str; 5] = [
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
    for uri in READING.into_iter().chain(["/v1/tenants", "/v1/whoami", "/metrics", "/v1/ingest/ses"]) {
        let reply = world.send(request(uri, &[])).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::UNAUTHORIZED, "missing-credential".to_owned()),
            "{uri}"
        );
        assert_eq!(reply.header("www-authenticate"), r#"Bearer realm="mailgauge""#);
    }
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn what_is_not_one_valid_key_opens_nothing() {
    let world = World::new();
    let long = format!("Bearer {}", "x".repeat(5000));
    for headers in [
        &[("authorization", "Bearer mg_unknown")][..],
        &[("authorization", "Bearer ")],
        &[("authorization", "Bearer")],
        &[("authorization", "")],
        &[("authorization", "Basic bWdfb3BlcmF0b3I=")],
        &[("authorization", "mg_operator")],
        &[("authorization", "Bearer mg_operator,mg_acme")],
        &[("authorization", "Bearer mg_operator\u{e4}")],
        &[("authorization", &long)],
        &[("authorization", "Bearer mg_acme"), ("authorization", "Bearer mg_operator")],
    ] {
        for uri in READING {
            let reply = world.send(request(uri, headers)).await;
            assert_eq!(reply.problem(), "invalid-credential", "{headers:?}");
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        }
    }
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn a_key_is_never_repeated_in_an_answer() {
    let reply = World::new().get("mg_secret_of_somebody", "/v1/whoami").await;
    assert!(!reply.text().contains("secret"));
}

#[tokio::test]
async fn the_scheme_is_written_in_any_case() {
    let reply = World::new().send(request("/v1/whoami", &[("authorization", "bEaReR   mg_acme")])).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn a_tenants_key_never_leaves_its_tenant() {
    let world = World::new();
    let key = ("authorization", "Bearer mg_acme");
    for uri in READING {
        let reply = world.send(request(uri, &[key, ("x-mailgauge-tenant", "globex")])).await;
        assert_eq!((reply.status, reply.problem()), (StatusCode::FORBIDDEN, "forbidden".to_owned()), "{uri}");
        for name in ["globex, acme", "", "a b", "acme\u{e4}", "../globex"] {
            let reply = world.send(request(uri, &[key, ("x-mailgauge-tenant", name)])).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri} {name:?}");
        }
        let twice = [key, ("x-mailgauge-tenant", "acme"), ("x-mailgauge-tenant", "globex")];
        assert_eq!(world.send(request(uri, &twice)).await.status, StatusCode::BAD_REQUEST);
    }
    assert!(world.asked().is_empty());
    for uri in READING {
        assert_eq!(world.send(request(uri, &[key])).await.status, StatusCode::OK);
        assert_eq!(
            world.send(request(uri, &[key, ("x-mailgauge-tenant", "acme")])).await.status,
            StatusCode::OK
        );
    }
    assert!(world.asked().iter().all(|asked| asked.starts_with("acme: ")));
}

#[tokio::test]
async fn an_operator_sees_all_tenants_or_the_one_it_names() {
    let world = World::new();
    let uri = "/v1/dimensions/campaign";
    let key = ("authorization", "Bearer mg_operator");
    world.send(request(uri, &[key])).await;
    world.send(request(uri, &[key, ("x-mailgauge-tenant", "globex")])).await;
    world.send(request(uri, &[key, ("x-mailgauge-tenant", "(unassigned)")])).await;
    let asked = ["all", "globex", "(unassigned)"].map(|scope| format!("{scope}: values Campaign \"\" 100"));
    assert_eq!(world.asked(), asked);
    // Operators see all tenants by naming none; reserved names other than (unassigned) are refused.
    for name in ["*", "(other)", "(none)", "(Unassigned)"] {
        let reply = world.send(request(uri, &[key, ("x-mailgauge-tenant", name)])).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{name}");
        assert!(reply.text().contains("reserved"), "{}", reply.text());
    }
    assert_eq!(world.asked().len(), 3);
}

#[tokio::test]
async fn each_key_does_only_its_own_work() {
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
    assert!(world.asked().is_empty() && world.payloads().is_empty());
}

#[tokio::test]
async fn the_programs_metrics_are_open_on_this_machine_only() {
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
    assert_eq!(reply.text(), "mailgauge_events_total 10\n");
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
}

#[tokio::test]
async fn a_true_connection_from_this_machine_is_known_as_such() {
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
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("mailgauge_events_total 10\n"),
        "{answer}"
    );
    server.abort();
}
