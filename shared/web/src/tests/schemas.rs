//! Real replies against the schemas of the `OpenAPI` document, and the document against itself.

use std::collections::BTreeSet;

use event::TenantId;
use pipeline::directory::queue_url::QueueUrl;
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, json};

use super::described::{Call, all};
use super::*;

/// The keywords that the checks here know; others only describe.
const KEYWORDS: [&str; 24] = [
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "default",
    "description",
    "enum",
    "example",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "uniqueItems",
];

struct Document(Value);

impl Document {
    async fn get() -> Self {
        let request = Request::builder().uri("/openapi.json").body(Body::empty()).unwrap();
        Self(World::new().send(request).await.json())
    }

    fn schemas(&self) -> &Map<String, Value> {
        self.0["components"]["schemas"].as_object().unwrap()
    }

    fn operations(&self) -> impl Iterator<Item = &Value> {
        let methods = self.0["paths"].as_object().unwrap().values();
        methods.flat_map(|methods| methods.as_object().unwrap().values())
    }

    /// What a reference points to; any other value itself.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(reference) => {
                let target = self.0.pointer(reference.strip_prefix('#').unwrap());
                target.unwrap_or_else(|| panic!("{reference} points nowhere"))
            }
        }
    }

    /// Where a value does not match a schema. A field that the schema does not name is a mismatch.
    fn mismatches(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        let Value::Object(keywords) = schema else { return vec![format!("{at}: the schema is {schema}")] };
        let unknown = keywords.keys().find(|name| !KEYWORDS.contains(&name.as_str()));
        assert_eq!(unknown, None, "a keyword at {at} that this test does not check");
        let mut found = Vec::new();
        if let Some(options) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            if !options.iter().any(|option| self.mismatches(option, value, at).is_empty()) {
                found.push(format!("{at}: {value} is none of the alternatives"));
            }
            return found;
        }
        let types = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        if !types.iter().any(|name| name.is_null() || is_of_type(value, name.as_str().unwrap())) {
            found.push(format!("{at}: {value} is not {types:?}"));
        }
        let is_listed = schema["enum"].as_array().is_none_or(|values| values.contains(value));
        let is_constant = schema.get("const").is_none_or(|constant| constant == value);
        let is_large_enough = !value.is_number()
            || schema["minimum"].as_f64().is_none_or(|least| value.as_f64() >= Some(least));
        if !is_listed || !is_constant || !is_large_enough {
            found.push(format!("{at}: {value} is not allowed by {schema}"));
        }
        match value {
            Value::Object(fields) => found.extend(self.mismatches_of_fields(schema, fields, at)),
            Value::Array(items) => {
                for (nth, item) in items.iter().enumerate() {
                    found.extend(self.mismatches(&schema["items"], item, &format!("{at}[{nth}]")));
                }
            }
            _ => {}
        }
        found
    }

    fn mismatches_of_fields(&self, schema: &Value, fields: &Map<String, Value>, at: &str) -> Vec<String> {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let missing = required.filter(|name| !fields.contains_key(*name));
        let mut found: Vec<String> = missing.map(|name| format!("{at}.{name}: is missing")).collect();
        for (name, value) in fields {
            let at = format!("{at}.{name}");
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(property), _) => found.extend(self.mismatches(property, value, &at)),
                (None, Some(others @ Value::Object(_))) => found.extend(self.mismatches(others, value, &at)),
                (None, Some(_) | None) => found.push(format!("{at}: is not described")),
            }
        }
        found
    }

    /// The mismatches of a JSON reply to a call.
    fn mismatches_of_reply(&self, call: &Call, reply: &Reply) -> Vec<String> {
        let response = self.resolve(&call.description["responses"][reply.status.as_str()]);
        let schema = &response["content"][reply.header("content-type")]["schema"];
        self.mismatches(schema, &reply.json(), "reply")
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("{name} is not a type"),
    }
}

/// Sends the example of a call, or what stands for one where the example cannot succeed.
async fn succeed(call: &Call, key: &str) -> Reply {
    let body = match call.path.as_str() {
        // The tenant of the example exists already.
        "/v1/tenants" if call.method == "POST" => json!({ "id": "zenith" }).to_string(),
        // An example cannot carry a valid signature.
        "/v1/ingest/sns" => include_str!("sns/notification-v1.json").to_owned(),
        "/v1/ingest/firehose" => r#"{"requestId":"1","timestamp":1,"records":[]}"#.to_owned(),
        "/v1/ingest/ses" | "/v1/ingest/eventbridge" => r#"{"eventType":"Send"}"#.to_owned(),
        _ => call.example().map(ToString::to_string).unwrap_or_default(),
    };
    let uri = call.uri(&[]);
    let request =
        bearer(key, &call.method, uri.trim_end_matches('?')).header("x-amz-firehose-access-key", key);
    World::new().send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn reply_of_every_call_matches_its_schema() {
    let document = Document::get().await;
    for call in all().await {
        let content = &document.resolve(&call.description["responses"]["200"])["content"];
        for key in call.keys() {
            let reply = succeed(&call, key).await;
            assert_eq!(reply.status, StatusCode::OK, "{}: {}", call.name(), reply.text());
            if content.get("application/json").is_some() {
                let mismatches = document.mismatches_of_reply(&call, &reply);
                assert!(mismatches.is_empty(), "{}: {mismatches:#?}", call.name());
            } else {
                assert!(reply.header("content-type").starts_with("text/plain"), "{}", call.name());
            }
        }
    }
}

#[tokio::test]
async fn reply_with_every_optional_part_matches_its_schema() {
    let document = Document::get().await;
    let calls = all().await;
    let everything = "metrics=sends,bounce_rate,complaint_rate,unique_opens&from=-2d&granularity=1h&group_by=provider\
        &compare=previous_period&fill=zero&limit=1";
    for (key, path, query) in [
        (OPERATOR, "/v1/rules", ""),
        (OPERATOR, "/v1/alerts", "from=-30d"),
        (OPERATOR, "/v1/metrics/catalogue", ""),
        (OPERATOR, "/v1/budget", ""),
        (INGEST, "/v1/whoami", ""),
        (OPERATOR, "/v1/whoami", ""),
        (ACME, "/v1/metrics", everything),
        (ACME, "/v1/metrics", "metrics=complaint_rate&from=-2d&filter=provider:gmail"),
    ] {
        let call = calls.iter().find(|call| call.method == "GET" && call.path == path).unwrap();
        let reply = World::new().get(key, &format!("{path}?{query}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}?{query}: {}", reply.text());
        let mismatches = document.mismatches_of_reply(call, &reply);
        assert!(mismatches.is_empty(), "{path}?{query}: {mismatches:#?}");
    }
}

#[tokio::test]
async fn refusal_of_every_call_matches_its_schema() {
    let document = Document::get().await;
    for call in all().await {
        let public = ["/healthz", "/readyz"].contains(&call.path.as_str());
        for body in ["{", r#"{"colour":"blue"}"#] {
            // A key that does not exist: every call but the public ones refuses it.
            let request = bearer(UNKNOWN, &call.method, &call.uri(&[]));
            let reply = World::new().send(request.body(body.into()).unwrap()).await;
            assert!(public || reply.status.is_client_error(), "{}: {}", call.name(), reply.text());
            if !public {
                let mismatches = document.mismatches_of_reply(&call, &reply);
                assert!(mismatches.is_empty(), "{}: {mismatches:#?}", call.name());
            }
        }
    }
}

/// All references in a value, and in what they point to.
fn add_references(document: &Document, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str)
                && found.insert(reference.to_owned())
            {
                add_references(document, document.resolve(value), found);
            }
            fields.values().for_each(|value| add_references(document, value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| add_references(document, value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_component_is_referred_to() {
    let document = Document::get().await;
    let mut found = BTreeSet::new();
    add_references(&document, &document.0["paths"], &mut found);
    for kind in ["schemas", "responses", "headers"] {
        for name in document.0["components"][kind].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/{kind}/{name}")), "{kind}: {name}");
        }
    }
}

#[tokio::test]
async fn every_operation_has_a_unique_id_a_summary_and_a_described_group() {
    let document = Document::get().await;
    let mut ids = BTreeSet::new();
    for operation in document.operations() {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} is used twice");
        let summary = operation["summary"].as_str().unwrap();
        assert!(!summary.ends_with('.') && summary.len() <= 80, "{id}: {summary}");
        let mut tags = document.0["tags"].as_array().unwrap().iter();
        let tag = tags.find(|tag| tag["name"] == operation["tags"][0]).unwrap();
        assert!(tag["description"].as_str().unwrap().ends_with('.'), "{tag}");
    }
}

/// Fields without a description of their own or of their type.
fn undescribed(document: &Document, schema: &Value, at: &str, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        if property["description"].is_null() && document.resolve(property)["description"].is_null() {
            found.push(at.clone());
        }
        undescribed(document, property, &at, found);
    }
    for nested in [&schema["items"], &schema["additionalProperties"]] {
        if nested.is_object() {
            undescribed(document, nested, at, found);
        }
    }
    for option in ["anyOf", "oneOf"].iter().filter_map(|name| schema[name].as_array()).flatten() {
        undescribed(document, option, at, found);
    }
}

#[tokio::test]
async fn every_schema_and_field_is_described_in_plain_text() {
    let document = Document::get().await;
    let mut found = Vec::new();
    for (name, schema) in document.schemas() {
        if schema["description"].is_null() {
            found.push(name.clone());
        }
        undescribed(&document, schema, name, &mut found);
    }
    assert_eq!(found, [""; 0]);
    let text = document.0.to_string();
    assert!(!text.contains("[`") && !text.contains("::"), "a description links to the source");
}

#[tokio::test]
async fn every_parameter_of_a_query_is_described() {
    let document = Document::get().await;
    let reply = World::new().call(ACME, "POST", "/v1/query", json!({ "colour": 1 })).await;
    let problem = reply.json();
    let allowed: BTreeSet<&str> = problem["allowed"].as_str().unwrap().split(", ").collect();
    let query = &document.schemas()["Query"]["properties"];
    let described: BTreeSet<&str> = query.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(described, allowed);
}

/// Draws values from the pattern of a type's schema.
fn every_value_of_the_pattern<T: JsonSchema>(is_accepted: impl Fn(&str) -> bool) {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    let pattern = schema.get("pattern").and_then(Value::as_str).unwrap();
    let inner = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')).unwrap();
    let run = TestRunner::deterministic().run(&string_regex(inner).unwrap(), |text| {
        assert!(is_accepted(&text), "{text}");
        Ok(())
    });
    run.unwrap();
}

#[test]
fn values_that_a_pattern_allows_are_accepted() {
    every_value_of_the_pattern::<TenantId>(|text| TenantId::new(text).is_ok());
    every_value_of_the_pattern::<QueueUrl>(|text| QueueUrl::try_from(text.to_owned()).is_ok());
}
