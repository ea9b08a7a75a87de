//! Every call against its `OpenAPI` description and its own errors: examples in either are accepted, and parameters and fields in neither
//! are refused by name.

use axum::http::StatusCode;
use serde_json::{Map, json};

use super::*;

/// Calls whose parameters or bodies are defined by another protocol: services of AWS, health checks, scrapers.
const OTHER_PROTOCOLS: [&str; 6] =
    ["/v1/ingest/sns", "/v1/ingest/firehose", "/v1/ingest/eventbridge", "/healthz", "/readyz", "/metrics"];

/// A call as the document describes it. Ids in its path are those of a tenant, a key and an alert that exist.
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) description: Value,
    schemas: Value,
}

pub(super) async fn all() -> Vec<Call> {
    let request = Request::builder().uri("/openapi.json").body(Body::empty()).unwrap();
    let document = World::new().send(request).await.json();
    let mut calls = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, description) in methods.as_object().unwrap() {
            let (method, description) = (method.to_uppercase(), description.clone());
            calls.push(Call {
                method,
                path: path.clone(),
                description,
                schemas: document["components"].clone(),
            });
        }
    }
    assert!(calls.len() > 25, "{}", calls.len());
    calls
}

impl Call {
    fn is_ours(&self) -> bool {
        !OTHER_PROTOCOLS.contains(&self.path.as_str())
    }

    /// Keys that may make the call.
    pub(super) fn keys(&self) -> &'static [&'static str] {
        match self.description["x-callers"].as_str().unwrap() {
            "keys of operators and tenants" | "any key" | "everybody, without a key" => &[ACME],
            "operators, and tenants' keys with the scope rules" => &[ACME, OPERATOR],
            "operators, and ingest keys" => &[INGEST, OPERATOR],
            _ => &[OPERATOR],
        }
    }

    fn parameters(&self) -> impl Iterator<Item = &Value> {
        self.description["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|parameter| parameter["in"] == "query")
    }

    /// The call's path and query string: `others`, and an example for every further parameter that is required.
    pub(super) fn uri(&self, others: &[(&str, &str)]) -> String {
        let id = if self.path.starts_with("/v1/alerts") { &seed().alert } else { "acme" };
        let path = self.path.replace("{id}", id).replace("{name}", "provider");
        let path = path.replace(
            "{key}",
            if path.starts_with("/v1/keys") { &seed().feed_key } else { &seed().spare_key },
        );
        let needed = self.parameters().filter(|parameter| parameter["required"] == true);
        let needed = needed
            .map(|parameter| (parameter["name"].as_str().unwrap(), text_of(&parameter["schema"]["example"])));
        let kept = needed.filter(|(name, _)| others.iter().all(|(other, _)| other != name));
        let pairs: Vec<String> = kept
            .chain(others.iter().map(|(name, value)| (*name, (*value).to_owned())))
            .map(|(name, value)| format!("{name}={}", percent_encoded(&value)))
            .collect();
        format!("{path}?{}", pairs.join("&"))
    }

    /// The example of the JSON body, if the call has one.
    pub(super) fn example(&self) -> Option<&Value> {
        Some(&self.description["requestBody"]["content"]["application/json"]["example"])
            .filter(|it| !it.is_null())
    }

    /// The fields of the body that the document names.
    fn fields(&self) -> Map<String, Value> {
        let shape = &self.description["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let name = shape.as_str().and_then(|shape| shape.rsplit('/').next()).unwrap_or_default();
        self.schemas["schemas"][name]["properties"].as_object().cloned().unwrap_or_default()
    }

    async fn make(&self, key: &str, uri: &str, body: &str) -> Reply {
        let body = if body.is_empty() { Body::empty() } else { body.to_owned().into() };
        World::new().send(bearer(key, &self.method, uri).body(body).unwrap()).await
    }

    async fn with_body(&self, key: &str, body: &Value) -> Reply {
        self.make(key, self.uri(&[]).trim_end_matches('?'), &body.to_string()).await
    }

    /// Whether a reply to a valid body is as expected: success, or the one failure that the fixed data causes.
    fn accepts(&self, reply: &Reply) -> bool {
        let expected_failure = match (self.method.as_str(), self.path.as_str()) {
            // The example's tenant exists already.
            ("POST", "/v1/tenants") => StatusCode::CONFLICT,
            // An example cannot carry a valid signature.
            ("POST", "/v1/ingest/sns") => StatusCode::FORBIDDEN,
            _ => StatusCode::OK,
        };
        reply.status == StatusCode::OK || reply.status == expected_failure
    }

    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// A value as a query string has it: the items of a list are separated by commas.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
        _ => value.to_string(),
    }
}

/// Percent-encodes a value for a query string.
fn percent_encoded(value: &str) -> String {
    let bytes: Vec<String> = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bytes.concat()
}

/// The value of an example in an error: parsed JSON, or else the text itself.
fn example_value(example: &Value) -> Option<Value> {
    let text = example.as_str()?;
    Some(serde_json::from_str(text).unwrap_or_else(|_| text.into()))
}

#[tokio::test]
async fn every_example_of_a_body_is_accepted_by_its_own_call() {
    let mut tried = 0;
    for call in all().await {
        let Some(example) = call.example() else { continue };
        for key in call.keys() {
            let reply = call.with_body(key, example).await;
            assert!(call.accepts(&reply), "{} {example}: {}", call.name(), reply.text());
            for wrong in ["7", "{", "[]", r#"{"colour":"blue"}"#] {
                let refused = call.make(key, call.uri(&[]).trim_end_matches('?'), wrong).await;
                assert!(refused.status.is_client_error(), "{} {wrong}: {}", call.name(), refused.text());
                let Some(example) = example_value(&refused.json()["example"]) else { continue };
                let reply = call.with_body(key, &example).await;
                assert!(call.accepts(&reply), "{} {example}: {}", call.name(), reply.text());
                tried += 1;
            }
        }
    }
    assert!(tried > 40, "{tried}");
}

#[tokio::test]
async fn every_example_of_a_field_is_accepted_by_its_own_call() {
    let hostile = [
        json!(-1),
        json!(1e15),
        json!("\u{1}"),
        json!("(other)"),
        json!([]),
        json!(["\u{1}"]),
        json!({}),
        json!({"\u{1}": "*"}),
        json!(true),
    ];
    let mut tried = 0;
    for call in all().await.iter().filter(|call| call.is_ours()) {
        let Some(example) = call.example() else { continue };
        for (field, _) in call.fields() {
            for value in &hostile {
                let mut body = example.clone();
                body[&field] = value.clone();
                let problem = call.with_body(call.keys()[0], &body).await.json();
                let Some(example) = example_value(&problem["example"]) else { continue };
                // The example is a whole body, or the field's value.
                if problem["parameter"].is_null() || example["metrics"].is_array() {
                    body = example;
                } else if problem["parameter"] == json!(field) {
                    body[&field] = example;
                } else {
                    continue;
                }
                let reply = call.with_body(call.keys()[0], &body).await;
                assert!(call.accepts(&reply), "{} {body}: {}", call.name(), reply.text());
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "{tried}");
}

#[tokio::test]
async fn every_example_of_a_parameter_is_accepted_by_its_own_call() {
    let (mut tried, mut described) = (0, 0);
    for call in all().await.iter().filter(|call| call.is_ours()) {
        let body = call.example().map(ToString::to_string).unwrap_or_default();
        for parameter in call.parameters() {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let accepted = async |uri: String| {
                let reply = call.make(call.keys()[0], &uri, &body).await;
                let is_right = matches!(reply.status, StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY);
                assert!(is_right, "{} {uri}: {}", call.name(), reply.text());
            };
            let shown = [&schema["example"], &schema["minimum"], &schema["maximum"]].into_iter();
            for value in shown.chain(schema["enum"].as_array().into_iter().flatten()) {
                let value = text_of(value);
                if value != "null" {
                    accepted(call.uri(&[(name, &value)])).await;
                    described += 1;
                }
            }
            for wrong in ["\u{1}", "-1", "999999999999", "x:y:z", "(other)"] {
                let refused = call.make(call.keys()[0], &call.uri(&[(name, wrong)]), &body).await;
                if refused.status != StatusCode::BAD_REQUEST || refused.json()["parameter"] != name {
                    continue;
                }
                let problem = refused.json();
                let Some(example) = problem["example"].as_str() else { continue };
                // The example is a whole query string, or the parameter's value.
                match example.strip_prefix("metrics=") {
                    Some(_) => accepted(format!("{}?{example}", call.path)).await,
                    None => accepted(call.uri(&[(name, example)])).await,
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 30 && described > 30, "{tried} {described}");
}

#[tokio::test]
async fn unknown_parameter_is_refused_by_name() {
    let mut tried = 0;
    for call in all().await.iter().filter(|call| call.is_ours()) {
        let body = call.example().map(ToString::to_string).unwrap_or_default();
        for key in call.keys() {
            let reply = call.make(key, &call.uri(&[("colour", "blue")]), &body).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}: {}", call.name(), reply.text());
            let problem = reply.json();
            assert_eq!(problem["parameter"], "colour", "{}: {problem}", call.name());
            assert!(problem["allowed"].is_string(), "{}: {problem}", call.name());
            for parameter in call.parameters() {
                let name = parameter["name"].as_str().unwrap();
                assert!(problem["allowed"].as_str().unwrap().contains(name), "{} {name}", call.name());
            }
            tried += 1;
        }
    }
    assert!(tried > 25, "{tried}");
}

#[tokio::test]
async fn unknown_field_is_refused_by_name() {
    let mut tried = 0;
    for call in all().await.iter().filter(|call| call.is_ours() && call.method != "GET") {
        if call.description["requestBody"]["content"].get("application/octet-stream").is_some() {
            continue;
        }
        let mut body = call.example().cloned().unwrap_or(json!({}));
        body["colour"] = json!("blue");
        for key in call.keys() {
            let reply = call.with_body(key, &body).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}: {}", call.name(), reply.text());
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("colour"), "{}: {detail}", call.name());
            for (field, _) in call.fields() {
                assert!(detail.contains(&field), "{} {field}: {detail}", call.name());
            }
            tried += 1;
        }
    }
    assert!(tried > 12, "{tried}");
    let rule = json!({"bounce_rate": 0.1, "colour": 1});
    let quiet = json!({"from": "2026-11-25T08:00:00Z", "until": "2026-11-25T09:00:00Z", "colour": 1});
    for (key, method, path, body) in [
        (OPERATOR, "PUT", "/v1/rules", json!({"limits": rule})),
        (OPERATOR, "PUT", "/v1/rules", json!({"overrides": [rule]})),
        (OPERATOR, "PUT", "/v1/rules", json!({"maintenance": [quiet]})),
        (ACME, "PUT", "/v1/rules", json!({"limits": rule})),
        (ACME, "PUT", "/v1/rules", json!({"overrides": [rule]})),
        (ACME, "PUT", "/v1/rules", json!({"maintenance": [quiet]})),
        (ACME, "POST", "/v1/rules/backtest", json!({"from": "-1d", "rules": {"limits": rule}})),
        (ACME, "POST", "/v1/rules/backtest", json!({"from": "-1d", "rules": {"colour": 1}})),
        (
            ACME,
            "POST",
            "/v1/query",
            json!({"metrics": ["sends"], "filter": {"dimension": "provider", "op": "eq", "value": "x", "colour": 1}}),
        ),
        (
            ACME,
            "POST",
            "/v1/query",
            json!({"metrics": ["sends"], "filter": {"and": [{"dimension": "provider", "op": "eq", "value": "x"}], "colour": 1}}),
        ),
    ] {
        let world = World::new();
        let before = world.store.state().await;
        let reply = world.call(key, method, path, body.clone()).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path} {body}: {}", reply.text());
        assert!(reply.text().contains("colour"), "{path} {body}: {}", reply.text());
        assert_eq!(world.store.state().await, before, "{path} {body}");
    }
}

#[tokio::test]
async fn alert_is_acknowledged_without_a_body_or_fields() {
    let world = World::new();
    let uri = format!("/v1/alerts/{}/acknowledge", seed().alert);
    for body in ["", "{}", " {} "] {
        assert_eq!(world.post(ACME, &uri, body).await.status, StatusCode::OK, "{body:?}");
    }
    let world = World::new();
    let before = world.store.state().await;
    for body in [r#"{"by":"Ann"}"#, r#"{"until":"2026-12-01"}"#, "[]", "null", "x", "{"] {
        let reply = world.post(ACME, &uri, body).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (StatusCode::BAD_REQUEST, "invalid-body".to_owned()),
            "{body}"
        );
    }
    assert_eq!(world.store.state().await, before, "nothing was acknowledged");
}

#[tokio::test]
async fn tenant_is_not_erased_by_a_request_with_unknown_fields() {
    let world = World::new();
    for (uri, body) in [("/v1/tenants/acme", r#"{"dry_run":true}"#), ("/v1/tenants/acme?dry_run=true", "")] {
        let reply = world.send(bearer(OPERATOR, "DELETE", uri).body(body.into()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri} {body}");
        assert!(reply.text().contains("dry_run"), "{}", reply.text());
    }
    assert_eq!(world.get(OPERATOR, "/v1/tenants/acme").await.status, StatusCode::OK);
}
