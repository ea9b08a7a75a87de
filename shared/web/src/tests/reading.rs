//! Calls that read: what reaches the backend and what comes back.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_query_in_the_body_is_answered_as_the_backend_says() {
    let world = World::new();
    let reply = world.post(ACME, "/v1/query", r#"{"metrics":["sends"]}"#).await;
    assert_eq!((reply.status, reply.text()), (StatusCode::OK, r#"{"rows":[]}"#));
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(world.asked(), [r#"acme: query {"metrics":["sends"]}"#]);
}

#[tokio::test]
async fn a_query_in_the_query_string_comes_decoded_and_in_order() {
    let world = World::new();
    let reply = world
        .get(ACME, "/v1/metrics?metrics=sends,opens&filter=campaign:a%20b%26c&filter=provider:gmail")
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(
        world.asked(),
        ["acme: query metrics=sends,opens & filter=campaign:a b&c & filter=provider:gmail"]
    );
}

#[tokio::test]
async fn only_a_settled_answer_may_be_kept_and_only_by_the_one_who_asked() {
    let world = World::new();
    let settled = world.get(ACME, "/v1/metrics?settled").await;
    assert_eq!(settled.header("cache-control"), "private, max-age=60");
    assert_eq!(settled.header("vary"), "authorization, x-mailgauge-tenant");
    assert_eq!(world.get(ACME, "/v1/metrics?open").await.header("cache-control"), "no-store");
}

#[tokio::test(start_paused = true)]
async fn a_query_that_takes_too_long_is_given_up() {
    let reply = World::new().post(ACME, "/v1/query", "forever").await;
    assert_eq!((reply.status, reply.problem()), (StatusCode::SERVICE_UNAVAILABLE, "timed-out".to_owned()));
}

#[tokio::test]
async fn dimensions_and_their_values_are_listed() {
    let world = World::new();
    assert_eq!(
        world.get(ACME, "/v1/dimensions").await.json(),
        json!({"dimensions": [{"name": "campaign", "description": "what was sent"}]})
    );
    assert_eq!(
        world.get(ACME, "/v1/dimensions/campaign?prefix=sp%2F&limit=1000").await.json(),
        json!({"name": "campaign", "values": ["spring"], "truncated": true})
    );
    world.get(OPERATOR, "/v1/dimensions/campaign").await;
    assert_eq!(
        world.asked(),
        ["acme: dimensions", r#"acme: values campaign "sp/" 1000"#, r#"all: values campaign "" 100"#]
    );
}

#[tokio::test]
async fn counting_is_proved_over_the_range_that_was_asked() {
    let world = World::new();
    let reply =
        world.get(ACME, "/v1/reconcile?from=2026-11-01T00:00:00Z&to=2026-11-02T02:00:00%2B02:00").await;
    assert_eq!(
        reply.json(),
        json!({"from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z", "events_read": 10, "duplicates": 1,
            "late": 2, "quarantined": 3, "aggregated": 6, "drift": 0})
    );
    assert_eq!(world.asked(), ["acme: reconcile 2026-11-01T00:00:00Z 2026-11-02T00:00:00Z"]);
}

#[tokio::test]
async fn a_key_says_who_it_is() {
    let world = World::new();
    for (key, expected) in [
        (OPERATOR, json!({"name": "key of mg_operator", "scope": "operator", "tenant": null})),
        (ACME, json!({"name": "key of mg_acme", "scope": "tenant", "tenant": "acme"})),
        (INGEST, json!({"name": "key of mg_ingest", "scope": "ingest", "tenant": null})),
    ] {
        assert_eq!(world.get(key, "/v1/whoami").await.json(), expected);
    }
}

#[tokio::test]
async fn operators_list_tenants() {
    let reply = World::new().get(OPERATOR, "/v1/tenants").await;
    assert_eq!(reply.json(), json!({"tenants": [{"id": "acme", "name": "Acme"}]}));
}

#[tokio::test]
async fn health_needs_no_key_and_readiness_follows_the_backend() {
    async fn check(mood: Mood, uri: &str, expected: StatusCode) {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        assert_eq!(World::with(mood, None).send(request).await.status, expected, "{uri}");
    }
    check(Mood::Well, "/healthz", StatusCode::OK).await;
    check(Mood::Well, "/readyz", StatusCode::OK).await;
    check(Mood::Down, "/healthz", StatusCode::OK).await;
    check(Mood::Down, "/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
}
