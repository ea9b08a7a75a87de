//! Alerts, rules, back-tests, trends and budgets: whose they are, what is refused, and what is stored.

use detection::budget;
use pipeline::layout;
use pipeline::ports::Item;
use serde_json::json;

use super::*;

/// The ids in a list of alerts.
fn ids(reply: &Reply) -> Vec<String> {
    let alerts = reply.json()["alerts"].as_array().unwrap().clone();
    alerts.iter().map(|alert| alert["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn listed_alerts_are_those_of_the_keys_scope() {
    let world = World::new();
    let reply = world.get(ACME, "/v1/alerts?state=firing&from=-1h&to=now&limit=5").await;
    let alerts = reply.json()["alerts"].as_array().unwrap().clone();
    let own = alerts.iter().find(|alert| alert["id"] == seed().alert.as_str()).unwrap();
    assert_eq!((&own["tenant"], &own["state"]), (&json!("acme"), &json!("firing")));
    assert!(alerts.iter().all(|alert| alert["tenant"] == "acme"), "{}", reply.text());
    assert!(!reply.text().contains("hooli"), "{}", reply.text());
    let all = ids(&world.get(OPERATOR, "/v1/alerts").await);
    assert!(all.contains(&seed().alert) && all.contains(&seed().other_alert), "{all:?}");
    assert_eq!(ids(&world.get(OPERATOR, "/v1/alerts?limit=1").await), all[..1]);
}

#[tokio::test]
async fn alerts_are_filtered_by_state_and_time() {
    let world = World::new();
    let alert = world.get(ACME, &format!("/v1/alerts/{}", seed().alert)).await.json();
    let fired_at = alert["fired_at"].as_str().unwrap();
    assert!(ids(&world.get(ACME, "/v1/alerts?state=resolved").await).is_empty());
    let before = ids(&world.get(ACME, &format!("/v1/alerts?to={fired_at}")).await);
    assert!(!before.contains(&seed().alert), "the end is exclusive");
    // By default an alert of the current minute is listed, and one of the last seven days that is still open.
    for now in [at(fired_at), at(fired_at).plus_millis(6 * 24 * 60 * 60 * 1000)] {
        world.clock.set(now);
        let listed = ids(&world.get(ACME, "/v1/alerts").await);
        assert!(listed.contains(&seed().alert), "{now}: {listed:?}");
    }
}

#[tokio::test]
async fn acknowledgement_is_stored_with_the_keys_name() {
    let world = World::new();
    let uri = format!("/v1/alerts/{}", seed().alert);
    let acknowledged = world.post(ACME, &format!("{uri}/acknowledge"), "").await;
    let expected = json!({"by": "acme key", "at": NOW});
    assert_eq!(acknowledged.json()["acknowledged"], expected, "{}", acknowledged.text());
    assert_eq!(world.get(ACME, &uri).await.json()["acknowledged"], expected);
    let entries = world.get(OPERATOR, "/v1/audit").await.json()["entries"].clone();
    let expected =
        json!([{"at": NOW, "who": "acme key", "action": "alert.acknowledge", "subject": seed().alert}]);
    assert_eq!(entries, expected);
}

#[tokio::test]
async fn alert_of_another_tenant_is_not_found_and_not_changed() {
    let world = World::new();
    let uri = format!("/v1/alerts/{}", seed().other_alert);
    assert_eq!(world.get(OPERATOR, &uri).await.json()["tenant"], "hooli");
    let before = world.store.state().await;
    assert_eq!(world.get(ACME, &uri).await.problem(), "not-found");
    assert_eq!(world.post(ACME, &format!("{uri}/acknowledge"), "").await.problem(), "not-found");
    assert_eq!(world.store.state().await, before, "not even the audit trail");
}

#[tokio::test]
async fn malformed_alert_id_is_not_found_and_never_looked_up() {
    let world = World::new();
    let before = world.store.state().await;
    for id in ["al_", "al_0000000000", "x", "al_..%2f", "al_%00", &"al_a".repeat(40)] {
        for (method, path) in
            [("GET", format!("/v1/alerts/{id}")), ("POST", format!("/v1/alerts/{id}/acknowledge"))]
        {
            let reply = world.call(ACME, method, &path, Value::Null).await;
            assert_eq!(
                (reply.status, reply.problem()),
                (StatusCode::NOT_FOUND, "not-found".to_owned()),
                "{path}"
            );
        }
    }
    let reads = world.store.take_reads();
    assert!(reads.iter().all(|read| !read.contains("..") && !read.contains('\0')), "{reads:?}");
    for uri in
        ["/v1/alerts?state=open", "/v1/alerts?limit=0", "/v1/alerts?from=yesterday", "/v1/alerts?sort=x"]
    {
        let reply = world.get(ACME, uri).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::BAD_REQUEST, "invalid-parameter".to_owned())
        );
    }
    assert_eq!(world.store.state().await, before);
}

#[tokio::test]
async fn tenant_sets_its_own_rules_and_sees_the_limits_that_apply() {
    let world = World::new();
    let put = |key, body: Value| world.call(key, "PUT", "/v1/rules", body);
    let reply = put(OPERATOR, json!({"limits": {"bounce_rate": 0.03}})).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let gmail = json!({"provider": "gmail", "delivery_ms_p95": 60_000});
    let reply = put(ACME, json!({"limits": {"complaint_rate": 0.002}, "overrides": [gmail]})).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let seen = world.get(ACME, "/v1/rules").await.json();
    assert_eq!(seen["limits"]["bounce_rate"], 0.03);
    assert_eq!(seen["limits"]["complaint_rate"], 0.002);
    assert_eq!(seen["own"]["limits"]["complaint_rate"], 0.002);
    assert_eq!(seen["own"]["overrides"][0]["provider"], "gmail");
    assert_eq!(world.get(OPERATOR, "/v1/rules").await.json()["limits"]["complaint_rate"], 0.001);
    let stored = rules(&world).await;
    assert_eq!(stored.len(), 2, "the operator's rules and those of acme: {stored:?}");
    for (key, body, problem) in [
        (ACME, json!({"limits": {"tenant": "globex", "bounce_rate": 0.9}}), "invalid-parameter"),
        (ACME, json!({"anomalies": false}), "invalid-body"),
        (ACME, json!({"overrides": [{"bounce_rate": 0.9}]}), "invalid-parameter"),
        (ACME, json!({"overrides": [{"tenant": "globex", "provider": "gmail"}]}), "invalid-parameter"),
        (ACME, json!({"limits": {"delivery_ms_p95": -5}}), "invalid-parameter"),
        (ACME, json!({"limits": {"bounce_rate": -1}}), "invalid-parameter"),
        (OPERATOR, json!({"reminder_hours": 0}), "invalid-parameter"),
        (OPERATOR, json!([]), "invalid-body"),
        (INGEST, json!({}), "forbidden"),
    ] {
        assert_eq!(put(key, body.clone()).await.problem(), problem, "{body}");
    }
    assert_eq!(rules(&world).await, stored, "nothing more was set");
}

/// All stored rules.
async fn rules(world: &World) -> Vec<Item> {
    let mut items = world.store.items().await;
    items.retain(|item| item.key.partition == layout::RULES);
    items
}

#[tokio::test]
async fn rules_are_tried_on_the_past_of_one_tenant() {
    let world = World::new();
    let backtest = async |key, body: Value| world.post(key, "/v1/rules/backtest", body.to_string()).await;
    let limited = |changes: &Value, metric: &str, limit: f64| {
        let mut changes = changes.as_array().unwrap().iter();
        changes.any(|change| change["metric"] == metric && change["limit"] == limit)
    };
    // Nothing of the mailing was delivered, and half of it bounced.
    let strict = json!({"rules": {"limits": {"delivery_rate": 0.6}}, "from": "-1d"});
    let reply = backtest(ACME, strict.clone()).await;
    let changes = reply.json()["changes"].clone();
    assert!(limited(&changes, "delivery_rate", 0.6), "{}", reply.text());
    assert!(changes.as_array().unwrap().iter().all(|change| change["tenant"] == "acme"), "{}", reply.text());
    // No delivery rate is below 0, so that limit is off. The rules are only tried, not set.
    let other = json!({"rules": {"limits": {"delivery_rate": 0, "bounce_rate": 0.2}}, "from": "-1d"});
    let reply = backtest(ACME, other).await;
    let changes = reply.json()["changes"].clone();
    assert!(!changes.to_string().contains("delivery_rate"), "{}", reply.text());
    assert!(
        limited(&changes, "bounce_rate", 0.2) || limited(&changes, "hard_bounce_rate", 0.05),
        "{}",
        reply.text()
    );
    assert_eq!(world.get(OPERATOR, "/v1/audit").await.json()["entries"], json!([]));
    assert!(rules(&world).await.is_empty());
    // After the mailing.
    let after = json!({"rules": {"limits": {"delivery_rate": 0.6}}, "from": "-10m"});
    assert_eq!(backtest(ACME, after).await.json()["changes"], json!([]));
    assert_eq!(backtest(OPERATOR, strict).await.problem(), "invalid-parameter");
    for body in [json!({"from": "-40d"}), json!({"from": "now"}), json!({"from": "x"})] {
        assert_eq!(backtest(ACME, body.clone()).await.problem(), "invalid-parameter", "{body}");
    }
}

#[tokio::test]
async fn trends_and_budgets_are_within_the_scope() {
    let world = World::new();
    let reply = world.get(ACME, "/v1/trends?metric=bounce_rate&weeks=8&filter=provider:yahoo").await;
    assert_eq!(
        (&reply.json()["metric"], &reply.json()["trend"]),
        (&json!("bounce_rate"), &json!("none")),
        "{}",
        reply.text()
    );
    assert!(reply.json()["summary"].is_string());
    let gmail = world.get(ACME, "/v1/trends?metric=bounce_rate&weeks=8&filter=provider:gmail").await;
    assert_eq!(gmail.problem(), "unanswerable", "one mailing makes no trend");
    let lines = world.get(OPERATOR, "/v1/budget").await.json();
    assert_eq!(
        (&lines["tenant"], lines["lines"].as_array().unwrap().len()),
        (&Value::Null, budget::REPUTATION_THRESHOLDS.len())
    );
    let own = world.get(ACME, "/v1/budget").await.json();
    assert_eq!(own["tenant"], "acme");
    assert_ne!(own["lines"], lines["lines"], "hooli's mail is only in the operator's");
    for uri in ["/v1/trends", "/v1/trends?metric=x", "/v1/trends?metric=sends&weeks=99", "/v1/budget?x=1"] {
        assert_eq!(world.get(ACME, uri).await.status, StatusCode::BAD_REQUEST, "{uri}");
    }
}

#[tokio::test]
async fn catalogue_has_the_limits_that_apply_to_the_caller() {
    let world = World::new();
    let put = |key, body: Value| world.call(key, "PUT", "/v1/rules", body);
    let overrides =
        json!([{"tenant": "acme", "bounce_rate": 0.05}, {"provider": "gmail", "bounce_rate": 0.01}]);
    let rules = json!({"limits": {"bounce_rate": 0.03, "delivery_ms_p95": 60_000}, "overrides": overrides});
    assert_eq!(put(OPERATOR, rules).await.status, StatusCode::OK);
    assert_eq!(
        put(ACME, json!({"limits": {"complaint_rate": 0.002, "delivery_rate": 2}})).await.status,
        StatusCode::OK
    );
    let entry = async |key, tenant: Option<&str>, name: &str| {
        let mut request = bearer(key, "GET", "/v1/metrics/catalogue");
        if let Some(tenant) = tenant {
            request = request.header("x-mailgauge-tenant", tenant);
        }
        let catalogue = world.send(request.body(Body::empty()).unwrap()).await.json();
        let metrics = catalogue["metrics"].as_array().unwrap().clone();
        (catalogue["tenant"].clone(), metrics.into_iter().find(|metric| metric["name"] == name).unwrap())
    };
    let (tenant, bounces) = entry(OPERATOR, None, "bounce_rate").await;
    assert_eq!(
        (tenant, bounces),
        (
            Value::Null,
            json!({
                "name": "bounce_rate", "label": "Bounce rate",
                "description": "The share of sent mail that bounced.", "unit": "fraction", "formula": "bounces / sends",
                "direction": "lower", "numerator": "bounces", "denominator": "sends",
                "limit": {"value": 0.03, "side": "above"},
            })
        )
    );
    for (key, tenant) in [(ACME, None), (OPERATOR, Some("acme"))] {
        let limit = async |name: &str| entry(key, tenant, name).await.1["limit"].clone();
        assert_eq!(entry(key, tenant, "sends").await.0, "acme");
        assert_eq!(limit("bounce_rate").await, json!({"value": 0.05, "side": "above"}));
        assert_eq!(limit("complaint_rate").await, json!({"value": 0.002, "side": "above"}));
        assert_eq!(limit("delivery_ms_p95").await, json!({"value": 60_000.0, "side": "above"}));
        assert_eq!(limit("delivery_rate").await, Value::Null, "a limit above 1 is off");
        assert_eq!(limit("sends").await, Value::Null);
    }
    assert_eq!(world.get(INGEST, "/v1/metrics/catalogue").await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.get(ACME, "/v1/metrics/catalogue?x=1").await.status, StatusCode::BAD_REQUEST);
}
