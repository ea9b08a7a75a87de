//! Every type of problem, as a client sees it.

use std::fmt::Write as _;

use pipeline::layout;

use super::*;

/// Method, URI and body, then the reply.
async fn request(world: &World, key: &str, method: &str, uri: &str, body: &'static str) -> String {
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
        (UNKNOWN, "GET", "/v1/whoami", ""),
    ] {
        text.push_str(&request(&world, key, method, uri, body).await);
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn failures_are_reported_without_their_causes() {
    let failing = World::in_condition(Condition::Failing);
    let mut text = request(&failing, ACME, "GET", "/v1/whoami", "").await;
    let query = "/v1/metrics?metrics=sends&from=2026-09-20&to=2026-09-21&granularity=1m";
    text.push_str(&request(&World::new(), ACME, "GET", query, "").await);
    text.push_str(&request(&World::busy(), INGEST, "POST", "/v1/ingest/ses", "{}").await);
    let without_audit = World::in_condition(Condition::RefusingWrites(layout::AUDIT));
    text.push_str(&request(&without_audit, OPERATOR, "DELETE", "/v1/tenants/acme", "").await);
    assert!(!text.contains("secret"));
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn every_call_that_reads_the_store_gets_503_when_the_store_fails() {
    for uri in [
        "/v1/metrics?metrics=sends",
        "/v1/metrics/catalogue",
        "/v1/dimensions",
        "/v1/dimensions/campaign",
        "/v1/reconcile?from=-1d",
        "/v1/trends?metric=bounce_rate",
        "/v1/budget",
        "/v1/whoami",
        "/v1/alerts",
        "/v1/rules",
        "/v1/tenants",
        "/v1/tenants/acme",
        "/v1/tenants/acme/keys",
        "/v1/overview",
        "/v1/audit",
        "/v1/attribution",
        "/metrics",
        "/readyz",
    ] {
        let world = World::in_condition(Condition::Failing);
        let reply = world.get(OPERATOR, uri).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable".to_owned()),
            "{uri}"
        );
        assert_eq!(reply.header("retry-after"), "5", "{uri}");
        assert!(!reply.text().contains("secret"), "{uri}: {}", reply.text());
    }
}

#[tokio::test]
async fn change_that_always_loses_the_race_is_a_conflict() {
    const MAPPINGS: &str = "mappings";
    let (alert, key) = (&seed().alert, &seed().spare_key);
    for (partition, method, uri) in [
        ("t#acme#a", "POST", format!("/v1/alerts/{alert}/acknowledge")),
        (layout::API_KEYS, "DELETE", format!("/v1/tenants/acme/keys/{key}")),
        (MAPPINGS, "PUT", "/v1/attribution".to_owned()),
        (MAPPINGS, "PATCH", "/v1/attribution".to_owned()),
    ] {
        let world = World::in_condition(Condition::LosingRaces(partition));
        let body = if partition == MAPPINGS { serde_json::json!({}) } else { Value::Null };
        let reply = world.call(OPERATOR, method, &uri, body).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::CONFLICT, "conflict".to_owned()),
            "{method} {uri}: {}",
            reply.text()
        );
        assert!(reply.text().contains("try again"), "{}", reply.text());
    }
}
