//! Every kind of error, as a client reads it.

use std::fmt::Write as _;

use super::*;

/// Method, address and body, then the reply.
async fn told(world: &World, key: &str, method: &str, uri: &str, body: &'static str) -> String {
    let reply = world.send(bearer(key, method, uri).body(Body::from(body)).unwrap()).await;
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.header("cache-control"), "no-store");
    let mut text = format!("{method} {uri} {body}\n");
    for name in ["allow", "retry-after"] {
        if reply.headers.contains_key(name) {
            writeln!(text, "{name}: {}", reply.header(name)).unwrap();
        }
    }
    writeln!(text, "{}\n", serde_json::to_string_pretty(&reply.json()).unwrap()).unwrap();
    text
}

#[tokio::test]
async fn every_problem_says_what_is_wrong_and_what_is_allowed() {
    let world = World::new();
    let mut text = String::new();
    for (key, method, uri, body) in [
        (ACME, "POST", "/v1/query", "{"),
        (ACME, "POST", "/v1/query", r#"{"metrics":["sends"],"from":"-1d","to":"now","limit":10001}"#),
        (ACME, "GET", "/v1/metrics?metrics=sends&from=-1d&to=now&group_by=tenant", ""),
        (ACME, "GET", "/v1/query", ""),
        (ACME, "PUT", "/v1/metrics", ""),
        (ACME, "GET", "/v1/colours", ""),
        (ACME, "GET", "/v1/dimensions/colour", ""),
        (ACME, "GET", "/v1/dimensions?limit=1", ""),
        (ACME, "GET", "/v1/dimensions/campaign?limit=0", ""),
        (ACME, "GET", "/v1/dimensions/campaign?limit=1001", ""),
        (ACME, "GET", "/v1/dimensions/campaign?prefix=a&prefix=b", ""),
        (ACME, "GET", "/v1/dimensions/%ff", ""),
        (ACME, "GET", "/v1/reconcile?to=2026-11-02T00:00:00Z", ""),
        (ACME, "GET", "/v1/reconcile?from=yesterday&to=2026-11-02T00:00:00Z", ""),
        (ACME, "GET", "/v1/reconcile?from=2026-11-02T00:00:00Z&to=2026-11-02T00:00:00Z", ""),
        (ACME, "GET", "/v1/reconcile?from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z&tenant=globex", ""),
        (ACME, "GET", "/v1/tenants", ""),
        (ACME, "POST", "/v1/ingest/ses", "{}"),
        (INGEST, "GET", "/v1/dimensions", ""),
        (INGEST, "POST", "/v1/ingest/ses", ""),
        (INGEST, "POST", "/v1/ingest/sns", "{}"),
        ("mg_unknown", "GET", "/v1/whoami", ""),
    ] {
        text.push_str(&told(&world, key, method, uri, body).await);
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn what_the_backend_cannot_do_is_told_without_its_causes() {
    let mut text = told(&World::with(Mood::Down, None), ACME, "GET", "/v1/whoami", "").await;
    let query = "/v1/metrics?metrics=sends&from=-60d&to=now&granularity=1d";
    text.push_str(&told(&World::with(Mood::Coarse, None), ACME, "GET", query, "").await);
    text.push_str(&told(&World::with(Mood::Busy, None), INGEST, "POST", "/v1/ingest/ses", "{}").await);
    assert!(!text.contains("secret"));
    insta::assert_snapshot!(text);
}
