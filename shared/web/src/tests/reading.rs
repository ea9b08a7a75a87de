//! Calls that read: what reaches the backend and what comes back.

use serde_json::json;

use super::*;

const DAY: &str = "from=2026-11-01&to=2026-11-02";

#[tokio::test]
async fn a_query_in_the_body_is_answered_in_the_form_of_the_contract() {
    let world = World::new();
    let body = r#"{"metrics":["sends","bounce_rate"],"from":"2026-11-01","to":"2026-11-02","group_by":["provider","brand"]}"#;
    let reply = world.post(ACME, "/v1/query", body).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!((&reply.json()["rows"], &reply.json()["meta"]["next_cursor"]), (&json!([]), &Value::Null));
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(
        world.asked(),
        [r#"acme: query by ["provider", "brand"] 2026-11-01T00:00:00Z 2026-11-02T00:00:00Z"#]
    );
}

#[tokio::test]
async fn the_same_query_in_the_query_string_is_the_same_query() {
    let world = World::new();
    let uri = format!(
        "/v1/metrics?metrics=sends%2Cbounce_rate&{DAY}&group_by=provider,brand&filter=campaign:a%20b%26c"
    );
    assert_eq!(world.get(ACME, &uri).await.status, StatusCode::OK);
    assert_eq!(
        world.asked(),
        [r#"acme: query by ["provider", "brand"] 2026-11-01T00:00:00Z 2026-11-02T00:00:00Z"#]
    );
}

#[tokio::test]
async fn only_the_answer_for_a_range_that_is_over_may_be_kept_and_only_by_the_one_who_asked() {
    let world = World::new();
    let get =
        async |to: &str| world.get(ACME, &format!("/v1/metrics?metrics=sends&from=2026-11-01&to={to}")).await;
    let over = get("2026-11-25T11:01:00Z").await;
    assert_eq!(over.header("cache-control"), "private, max-age=60");
    assert_eq!(over.header("vary"), "authorization, x-mailgauge-tenant, accept");
    assert_eq!(get("2026-11-25T11:02:00Z").await.header("cache-control"), "private, no-cache");
}

#[tokio::test(start_paused = true)]
async fn a_query_that_takes_too_long_is_given_up() {
    let reply = World::with(Mood::Stuck, None).get(ACME, &format!("/v1/metrics?metrics=sends&{DAY}")).await;
    assert_eq!((reply.status, reply.problem()), (StatusCode::SERVICE_UNAVAILABLE, "timed-out".to_owned()));
}

#[tokio::test]
async fn dimensions_are_listed_with_declared_tags_and_for_operators_the_tenant() {
    let world = World::new();
    let names = async |key| {
        let list = world.get(key, "/v1/dimensions").await.json();
        let names =
            list["dimensions"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let mut expected = vec![
        "campaign",
        "segment",
        "sending_domain",
        "recipient_domain",
        "provider",
        "configuration_set",
        "brand",
    ];
    assert_eq!(names(ACME).await, expected);
    expected.insert(0, "tenant");
    assert_eq!(names(OPERATOR).await, expected);
}

#[tokio::test]
async fn values_of_a_dimension_are_listed_by_its_name_or_its_tags() {
    let world = World::new();
    assert_eq!(
        world.get(ACME, "/v1/dimensions/campaign?prefix=sp%2F&limit=1000").await.json(),
        json!({"name": "campaign", "values": ["spring"], "truncated": true})
    );
    world.get(OPERATOR, "/v1/dimensions/brand").await;
    assert_eq!(world.asked(), [r#"acme: values Campaign "sp/" 1000"#, r#"all: values Tag1 "" 100"#]);
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
    let world = World::new();
    let acme = json!({"id": "acme", "name": "Acme", "suspended": false, "timezone": null, "tag_names": {}, "queues": []});
    let all = world.get(OPERATOR, "/v1/tenants").await.json();
    assert_eq!(all, json!({"tenants": [acme], "next_cursor": null}));
    for id in ["zeta", "beta"] {
        world.post(OPERATOR, "/v1/tenants", json!({"id": id}).to_string()).await;
    }
    let mut seen = Vec::new();
    let mut uri = "/v1/tenants?limit=2".to_owned();
    for has_more in [true, false] {
        let page = world.get(OPERATOR, &uri).await.json();
        seen.extend(page["tenants"].as_array().unwrap().iter().map(|tenant| tenant["id"].clone()));
        assert_eq!(page["next_cursor"].is_string(), has_more);
        uri = format!("/v1/tenants?limit=2&cursor={}", page["next_cursor"].as_str().unwrap_or_default());
    }
    assert_eq!(seen, ["acme", "beta", "zeta"]);
    assert_eq!(world.get(OPERATOR, "/v1/tenants?cursor=%20").await.status, StatusCode::BAD_REQUEST);
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

#[tokio::test]
async fn an_answer_comes_in_the_form_that_is_accepted() {
    let world = World::new();
    let uri = "/v1/metrics?metrics=sends,open_rate&group_by=provider&granularity=1h";
    let csv =
        world.send(bearer(ACME, "GET", uri).header("accept", "text/csv").body(Body::empty()).unwrap()).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(csv.text(), "time,provider,sends,open_rate\r\n");
    let lines = bearer(ACME, "POST", "/v1/query").header("accept", "application/x-ndjson");
    let lines = world.send(lines.body(r#"{"metrics":["sends"]}"#.into()).unwrap()).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    assert_eq!(lines.json()["metrics"]["sends"], 0);
}

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let world = World::new();
    let uri = "/v1/metrics?metrics=sends";
    let first = world.get(ACME, uri).await;
    let tag = first.header("etag").to_owned();
    let again = bearer(ACME, "GET", uri).header("if-none-match", &tag).body(Body::empty()).unwrap();
    let again = world.send(again).await;
    assert_eq!(
        (again.status, again.body.len(), again.header("etag")),
        (StatusCode::NOT_MODIFIED, 0, tag.as_str())
    );
    let other = bearer(ACME, "GET", "/v1/metrics?metrics=opens").header("if-none-match", &tag);
    assert_eq!(world.send(other.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    // Whoever may not ask learns nothing by a tag.
    let stranger = bearer("mg_nobody", "GET", uri).header("if-none-match", &tag).body(Body::empty()).unwrap();
    assert_eq!(world.send(stranger).await.status, StatusCode::UNAUTHORIZED);
}
