//! Alerts, rules, trends and budgets: whose they are, what is refused, what the backend is asked.

use axum::http::StatusCode;
use serde_json::json;

use super::*;

const ID: &str = "al_01c2f3a40123456789";

#[tokio::test]
async fn alerts_are_those_of_the_keys_scope() {
    let world = World::new();
    let reply = world.get(ACME, "/v1/alerts?state=firing&from=-1h&to=now&limit=5").await;
    assert_eq!(reply.json()["alerts"][0]["id"], ID);
    assert_eq!(reply.json()["alerts"][0]["cause"][0]["filter"]["campaign"], "spring");
    world.get(OPERATOR, "/v1/alerts").await;
    world.get(ACME, &format!("/v1/alerts/{ID}")).await;
    world.post(ACME, &format!("/v1/alerts/{ID}/acknowledge"), "").await;
    assert_eq!(
        world.asked(),
        [
            "acme: alerts Some(true) 2026-11-25T11:01:00Z 2026-11-25T12:01:00Z 5".to_owned(),
            "all: alerts None 2026-11-18T12:01:00Z 2026-11-25T12:02:00Z 100".to_owned(),
            format!("acme: alert {ID}"),
            format!("acme: alert {ID}"),
            format!("acme: acknowledge {ID} \"key of mg_acme\""),
        ]
    );
}

#[tokio::test]
async fn what_is_no_alert_is_not_found_and_never_asked_for() {
    let world = World::new();
    for id in ["al_", "al_0000000000", "x", "al_..%2f", "al_%00", &"al_a".repeat(40)] {
        for (method, path) in
            [("GET", format!("/v1/alerts/{id}")), ("POST", format!("/v1/alerts/{id}/acknowledge"))]
        {
            let reply = world.send(bearer(ACME, method, &path).body(Body::empty()).unwrap()).await;
            assert_eq!(
                (reply.status, reply.problem()),
                (StatusCode::NOT_FOUND, "not-found".to_owned()),
                "{path}"
            );
        }
    }
    assert!(world.asked().iter().all(|asked| !asked.contains("..") && !asked.contains('\0')));
    for uri in
        ["/v1/alerts?state=open", "/v1/alerts?limit=0", "/v1/alerts?from=yesterday", "/v1/alerts?sort=x"]
    {
        let reply = world.get(ACME, uri).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::BAD_REQUEST, "invalid-parameter".to_owned())
        );
    }
}

#[tokio::test]
async fn a_tenant_sets_its_own_rules_and_sees_what_holds() {
    let world = World::new();
    let put = |key, body: serde_json::Value| {
        world.send(bearer(key, "PUT", "/v1/rules").body(body.to_string().into()).unwrap())
    };
    let reply = put(OPERATOR, json!({"limits": {"bounce_rate": 0.03}})).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let gmail = json!({"provider": "gmail", "delivery_ms_p95": 60_000});
    let reply = put(ACME, json!({"limits": {"complaint_rate": 0.002}, "overrides": [gmail]})).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let seen = world.get(ACME, "/v1/rules").await.json();
    assert_eq!(seen["limits"]["bounce_rate"], 0.03);
    assert_eq!(seen["limits"]["complaint_rate"], 0.002);
    assert_eq!(seen["own"]["limits"]["complaint_rate"], 0.002);
    assert_eq!(world.get(OPERATOR, "/v1/rules").await.json()["limits"]["complaint_rate"], 0.001);
    assert_eq!(world.asked(), ["all: set rules", "acme: set own rules"]);
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
    assert_eq!(world.asked().len(), 2, "nothing more was set");
}

#[tokio::test]
async fn rules_are_tried_on_one_tenants_past() {
    let world = World::new();
    let body = json!({"rules": {"limits": {"bounce_rate": 0.5}}, "from": "-1d"}).to_string();
    let reply = world.post(ACME, "/v1/rules/backtest", body.clone()).await;
    assert_eq!(reply.json()["changes"][0]["id"], ID, "{}", reply.text());
    assert_eq!(world.asked(), ["acme: backtest 2026-11-24T12:00:00Z 2026-11-25T12:00:00Z Some(0.5)"]);
    assert_eq!(world.post(OPERATOR, "/v1/rules/backtest", body).await.problem(), "invalid-parameter");
    for body in [json!({"from": "-40d"}), json!({"from": "now"}), json!({"from": "x"})] {
        let reply = world.post(ACME, "/v1/rules/backtest", body.to_string()).await;
        assert_eq!(reply.problem(), "invalid-parameter", "{body}");
    }
}

#[tokio::test]
async fn trends_and_budgets_are_within_the_scope() {
    let world = World::new();
    let reply = world.get(ACME, "/v1/trends?metric=bounce_rate&weeks=8&filter=provider:gmail").await;
    assert_eq!((&reply.json()["metric"], &reply.json()["trend"]), (&json!("bounce_rate"), &json!("none")));
    assert!(reply.json()["summary"].is_string());
    let lines = world.get(OPERATOR, "/v1/budget").await.json();
    assert_eq!(lines["lines"].as_array().unwrap().len(), budget::LINES.len());
    assert_eq!(world.asked(), ["acme: trend bounce_rate 8 [\"provider:gmail\"]", "all: budget"]);
    for uri in ["/v1/trends", "/v1/trends?metric=x", "/v1/trends?metric=sends&weeks=99", "/v1/budget?x=1"] {
        assert_eq!(world.get(ACME, uri).await.status, StatusCode::BAD_REQUEST, "{uri}");
    }
}

#[tokio::test]
async fn the_catalogue_names_the_limits_that_hold_for_the_caller() {
    let world = World::new();
    let put = |key, body: serde_json::Value| {
        world.send(bearer(key, "PUT", "/v1/rules").body(body.to_string().into()).unwrap())
    };
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
        let catalogue = world.send(request.body(axum::body::Body::empty()).unwrap()).await.json();
        let metrics = catalogue["metrics"].as_array().unwrap().clone();
        (catalogue["tenant"].clone(), metrics.into_iter().find(|metric| metric["name"] == name).unwrap())
    };
    let (tenant, bounces) = entry(OPERATOR, None, "bounce_rate").await;
    assert_eq!(
        (tenant, bounces),
        (
            serde_json::Value::Null,
            json!({
                "name": "bounce_rate", "label": "Bounce rate", "unit": "fraction", "formula": "bounces / sends",
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
        assert_eq!(limit("delivery_rate").await, serde_json::Value::Null, "above 1 it is off");
        assert_eq!(limit("sends").await, serde_json::Value::Null);
    }
    assert_eq!(world.get(INGEST, "/v1/metrics/catalogue").await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.get(ACME, "/v1/metrics/catalogue?x=1").await.status, StatusCode::BAD_REQUEST);
}
