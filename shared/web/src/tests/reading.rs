//! Calls that read: what they answer over the counted mail, and how replies may be cached.

use serde_json::json;

use super::seed::Mail;
use super::*;

/// The day of the mailing.
const DAY: &str = "from=2026-11-25&to=2026-11-26";
/// Two weeks of history, and the mailing.
const MONTH: &str = "from=2026-11-01&to=2026-11-26";

#[tokio::test]
async fn query_in_the_body_is_answered_in_the_form_of_the_contract() {
    let world = World::new();
    let body = r#"{"metrics":["sends","bounce_rate"],"from":"2026-11-01","to":"2026-11-26","group_by":["provider","brand"]}"#;
    let reply = world.post(ACME, "/v1/query", body).await;
    assert_eq!(reply.status, StatusCode::OK);
    let row = |provider: &str, bounces: u64, sends: u64| {
        json!({
            "group": {"provider": provider, "brand": "acme-brand"},
            "metrics": {"sends": sends, "bounce_rate": bounces as f64 / sends as f64},
            "counts": {"bounce_rate": {"numerator": bounces, "denominator": sends}},
        })
    };
    let rows = json!([row("gmail", 100, 200), row("yahoo", 9, 98)]);
    // Parsed from text like the reply, since the parser rounds fractions.
    let rows: Value = serde_json::from_str(&rows.to_string()).unwrap();
    assert_eq!(reply.json()["rows"], rows, "{}", reply.text());
    assert_eq!(reply.json()["meta"]["next_cursor"], Value::Null);
    assert_eq!(reply.json()["meta"]["newest_event"], "2026-11-25T11:23:19Z");
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "no-store");
}

#[tokio::test]
async fn same_query_in_the_query_string_has_the_same_answer() {
    let world = World::new();
    let body = json!({
        "metrics": ["sends", "bounce_rate"], "from": "2026-11-01", "to": "2026-11-26",
        "group_by": ["provider", "brand"],
        "filter": {"dimension": "campaign", "op": "eq", "value": "sp/odd"},
    });
    let uri = format!(
        "/v1/metrics?metrics=sends%2Cbounce_rate&{MONTH}&group_by=provider,brand&filter=campaign:sp%2Fodd"
    );
    let (by_post, by_get) =
        (world.post(ACME, "/v1/query", body.to_string()).await, world.get(ACME, &uri).await);
    assert_eq!(by_get.json()["rows"][0]["metrics"]["sends"], 49, "{}", by_get.text());
    assert_eq!(by_post.json(), by_get.json());
}

#[tokio::test]
async fn only_the_answer_for_a_settled_range_may_be_cached_and_only_by_the_client() {
    let world = World::new();
    let get =
        async |to: &str| world.get(ACME, &format!("/v1/metrics?metrics=sends&from=2026-11-01&to={to}")).await;
    let settled = get("2026-11-25T11:01:00Z").await;
    assert_eq!(settled.header("cache-control"), "private, max-age=60");
    assert_eq!(settled.header("vary"), "authorization, x-mailgauge-tenant, accept");
    assert_eq!(get("2026-11-25T11:02:00Z").await.header("cache-control"), "private, no-cache");
}

#[tokio::test(start_paused = true)]
async fn query_that_takes_too_long_is_cancelled() {
    let world = World::in_condition(Condition::Stuck);
    for uri in [
        &format!("/v1/metrics?metrics=sends&{DAY}"),
        "/v1/trends?metric=bounce_rate",
        "/v1/budget",
        "/v1/dimensions/campaign",
        "/v1/links",
        "/v1/reconcile?from=-1d",
    ] {
        let reply = world.get(ACME, uri).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::SERVICE_UNAVAILABLE, "timed-out".to_owned()),
            "{uri}"
        );
    }
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
        "provider_group",
        "brand",
    ];
    assert_eq!(names(ACME).await, expected);
    expected.insert(0, "tenant");
    assert_eq!(names(OPERATOR).await, expected);
}

#[tokio::test]
async fn values_of_a_dimension_are_listed_by_prefix_up_to_the_limit() {
    let world = World::new();
    let values = async |key, uri: &str| world.get(key, &format!("/v1/dimensions/{uri}")).await.json();
    let odd_and_even = json!(["sp/even", "sp/odd"]);
    assert_eq!(
        values(ACME, "campaign?prefix=sp%2F&limit=1000").await,
        json!({"name": "campaign", "values": odd_and_even, "truncated": false})
    );
    assert_eq!(
        values(ACME, "campaign?prefix=sp&limit=2").await,
        json!({"name": "campaign", "values": odd_and_even, "truncated": true})
    );
    assert_eq!(values(ACME, "campaign?prefix=hooli").await["values"], json!([]));
    // A tag is a dimension by its declared name.
    assert_eq!(values(ACME, "brand").await["values"], json!(["acme-brand"]));
    assert_eq!(values(OPERATOR, "brand").await["values"], json!(["acme-brand", "hooli-brand"]));
}

#[tokio::test]
async fn clicks_are_listed_by_link_for_the_callers_own_mail() {
    let world = World::new();
    // Hours before the mailing, so that no other test sees it.
    let (at, twin) = (at("2026-11-24T08:00:00Z"), at("2026-11-24T08:00:01Z"));
    let sent = at.plus_millis(-3_600_000);
    let mail = |tenant, id| Mail { tenant, campaign: "winter", id, domain: "gmail.com", at: sent };
    let clicks = [
        mail("acme", "one").click("https://shop.example/a?u=1", at),
        mail("acme", "two").click("https://shop.example/a?u=2", at),
        // Two links within a second.
        mail("acme", "three").click("https://shop.example/a", at),
        mail("acme", "three").click("https://shop.example/b", twin),
        mail("hooli", "four").click("https://shop.example/a", at),
    ];
    assert_eq!(world.post(INGEST, "/v1/ingest/ses", clicks.concat()).await.status, StatusCode::OK);
    let uri = "/v1/links?campaign=winter&from=2026-11-24&to=2026-11-25";
    let reply = world.get(ACME, uri).await;
    let json = reply.json();
    assert_eq!(json["meta"]["from"], "2026-11-24T00:00:00Z", "{}", reply.text());
    assert_eq!((&json["meta"]["to"], &json["meta"]["total"]), (&json!("2026-11-25T00:00:00Z"), &json!(2)));
    assert!(json["meta"]["rules"]["machines"].is_u64());
    assert!(json["meta"]["complete_until"].is_string() && json["meta"]["newest_event"].is_string());
    let link = json["rows"][0]["group"]["link"].as_str().unwrap().to_owned();
    assert!(link.starts_with("link:"), "{link}");
    let row = |link: &Value, clicks, bot| json!({"group": {"campaign": "winter", "link": link}, "metrics": {"clicks": clicks, "clicks_bot": bot}});
    assert_eq!(json["rows"], json!([row(&json!(link), 3, 1), row(&json["rows"][1]["group"]["link"], 1, 1)]));
    let all = world.get(OPERATOR, uri).await.json();
    assert_eq!(all["rows"].as_array().unwrap().len(), 3);
    assert_eq!(all["rows"][0]["group"], json!({"tenant": "acme", "campaign": "winter", "link": link}));
    assert_eq!(world.get(ACME, &format!("{uri}&limit=1")).await.json()["rows"].as_array().unwrap().len(), 1);
    assert_eq!(world.get(ACME, &uri.replace("winter", "spring")).await.json()["rows"], json!([]));
    let request = bearer(ACME, "GET", uri).header("accept", "text/csv").body(Body::empty()).unwrap();
    let csv = world.send(request).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert!(
        csv.text().starts_with(&format!("campaign,link,clicks,clicks_bot\r\nwinter,{link},3,1\r\n")),
        "{}",
        csv.text()
    );
    assert_ne!(csv.header("x-mailgauge-complete-until"), "");
}

#[tokio::test]
async fn counting_is_proved_over_the_hours_that_the_range_touches() {
    let world = World::new();
    let range = "from=2026-11-25T11:10:00Z&to=2026-11-25T13:30:00%2B02:00";
    let proof = async |key| world.get(key, &format!("/v1/reconcile?{range}")).await.json();
    // The first event of acme arrived twice. What could not be read has no tenant.
    let (from, to) = ("2026-11-25T11:00:00Z", "2026-11-25T12:00:00Z");
    assert_eq!(
        proof(ACME).await,
        json!({"from": from, "to": to, "events_read": 301, "duplicates": 1, "late": 0, "quarantined": 0,
            "aggregated": 300, "deduplicated_since": null, "drift": 0})
    );
    assert_eq!(
        proof(OPERATOR).await,
        json!({"from": from, "to": to, "events_read": 601, "duplicates": 1, "late": 0, "quarantined": 1,
            "aggregated": 600, "deduplicated_since": null, "drift": 0})
    );
    let late = world.get(ACME, "/v1/reconcile?from=2026-11-16&to=2026-11-17").await.json();
    assert_eq!((&late["aggregated"], &late["late"], &late["drift"]), (&json!(6), &json!(6), &json!(0)));
}

#[tokio::test]
async fn whoami_describes_the_key() {
    let world = World::new();
    for (key, expected) in [
        (OPERATOR, json!({"name": "operator key", "scope": "operator", "tenant": null})),
        (ACME, json!({"name": "acme key", "scope": "tenant", "tenant": "acme"})),
        (INGEST, json!({"name": "ingest key", "scope": "ingest", "tenant": null})),
    ] {
        assert_eq!(world.get(key, "/v1/whoami").await.json(), expected);
    }
}

#[tokio::test]
async fn tenants_are_listed_page_by_page() {
    let world = World::new();
    let tenant = |id: &str, name: &str, suspended: bool| json!({"id": id, "name": name, "suspended": suspended, "timezone": null, "tag_names": {}, "queues": []});
    let expected =
        [tenant("acme", "Acme", false), tenant("hooli", "hooli", false), tenant("initech", "initech", true)];
    let all = world.get(OPERATOR, "/v1/tenants").await.json();
    assert_eq!(all, json!({"tenants": expected, "next_cursor": null}));
    for id in ["zeta", "beta"] {
        world.post(OPERATOR, "/v1/tenants", json!({"id": id}).to_string()).await;
    }
    let mut seen = Vec::new();
    let mut uri = "/v1/tenants?limit=2".to_owned();
    for has_more in [true, true, false] {
        let page = world.get(OPERATOR, &uri).await.json();
        seen.extend(page["tenants"].as_array().unwrap().iter().map(|tenant| tenant["id"].clone()));
        assert_eq!(page["next_cursor"].is_string(), has_more);
        uri = format!("/v1/tenants?limit=2&cursor={}", page["next_cursor"].as_str().unwrap_or_default());
    }
    assert_eq!(seen, ["acme", "beta", "hooli", "initech", "zeta"]);
    assert_eq!(world.get(OPERATOR, "/v1/tenants?cursor=%20").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn overview_has_the_health_and_the_alerts_of_each_tenant() {
    let world = World::new();
    let overview = world.get(OPERATOR, &format!("/v1/overview?{MONTH}")).await.json();
    let tenants = overview["tenants"].as_array().unwrap();
    let ids: Vec<&str> = tenants.iter().map(|tenant| tenant["tenant"].as_str().unwrap()).collect();
    assert_eq!(ids, ["acme", "hooli"], "most sends first");
    for (tenant, sends, bounces) in [(&tenants[0], 298.0, 109.0), (&tenants[1], 200.0, 100.0)] {
        let is = |name: &str, expected: f64| {
            let value = tenant[name].as_f64().unwrap();
            // The parser rounds fractions.
            assert!((value - expected).abs() < 1e-12, "{name}: {tenant}");
        };
        is("sends", sends);
        is("hard_bounce_rate", bounces / sends);
        is("share_of_sends", sends / 498.0);
        is("share_of_hard_bounces", bounces / 209.0);
        assert_eq!(tenant["share_of_complaints"], Value::Null, "nobody complained");
        assert!(tenant["open_alerts"].as_u64().unwrap() > 0 && tenant["worst_alert"].is_string(), "{tenant}");
    }
}

#[tokio::test]
async fn health_needs_no_key_and_readiness_follows_the_store() {
    async fn check(condition: Condition, uri: &str, expected: StatusCode) {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        assert_eq!(World::in_condition(condition).send(request).await.status, expected, "{uri}");
    }
    check(Condition::Healthy, "/healthz", StatusCode::OK).await;
    check(Condition::Healthy, "/readyz", StatusCode::OK).await;
    check(Condition::Failing, "/healthz", StatusCode::OK).await;
    check(Condition::Failing, "/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
}

#[tokio::test]
async fn answer_has_the_format_that_the_client_accepts() {
    let world = World::new();
    let range = "from=2026-11-16&to=2026-11-30";
    let uri = format!("/v1/metrics?metrics=sends,open_rate&group_by=provider&granularity=1w&{range}");
    let csv =
        world.send(bearer(ACME, "GET", &uri).header("accept", "text/csv").body(Body::empty()).unwrap()).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        csv.text(),
        "time,provider,sends,open_rate\r\n\
         2026-11-16T00:00:00Z,yahoo,8,\r\n\
         2026-11-23T00:00:00Z,gmail,200,\r\n"
    );
    assert_eq!(csv.header("x-mailgauge-complete-until"), NOW);
    let lines = bearer(ACME, "POST", "/v1/query").header("accept", "application/x-ndjson");
    let query = r#"{"metrics":["sends"],"group_by":["provider"],"limit":1,"from":"2026-11-01"}"#;
    let lines = world.send(lines.body(query.into()).unwrap()).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let rows: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&rows[0]["group"]["provider"], &rows[0]["metrics"]["sends"]), (&json!("gmail"), &json!(200)));
    assert!(!lines.header("x-mailgauge-next-cursor").is_empty(), "there is another page");
}

#[tokio::test]
async fn answer_that_the_client_has_is_not_sent_again() {
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
    // A tag is no substitute for a key.
    let stranger = bearer(UNKNOWN, "GET", uri).header("if-none-match", &tag).body(Body::empty()).unwrap();
    assert_eq!(world.send(stranger).await.status, StatusCode::UNAUTHORIZED);
}
