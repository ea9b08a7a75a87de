//! The API description: collects each operation with its route, so that neither can exist without the other, and writes the `OpenAPI` 3.1
//! document that `/openapi.json` serves.
//!
//! Nothing that the program knows already is written down a second time: schemas are derived from the types that requests are read into
//! and replies are written from, statuses and their meaning come from [`ProblemType`], and names of metrics from the metric registry.
//! The tests of the whole router hold every description against real requests and replies.

mod operation;
pub(crate) mod query_language;
pub(crate) mod schemas;

use axum::Router;
use axum::handler::Handler;
use axum::http::{Method, StatusCode};
use axum::routing::{MethodFilter, MethodRouter, on};
use cells::query::MetricRegistry;
use event::invariant::or_broken;
use serde_json::{Map, Value, json};

pub(crate) use self::operation::{Callers, Operation};
use self::schemas::Schemas;
use crate::problem::{ProblemBody, ProblemType};

const INTRODUCTION: &str = "Metrics and alerts for email sent through Amazon SES, updated while events arrive.\n\n\
    Authentication: send an API key or a token of the configured identity provider as `Authorization: Bearer KEY`. An operator's \
    key reads every tenant; the header `X-Mailgauge-Tenant` narrows a request to one. A tenant's key reads its own tenant only.\n\n\
    Times are RFC 3339 in UTC. Parameters that take a time also take `now` and a time relative to now, such as `-24h` or `-7d`. \
    Ranges include their start and exclude their end.\n\n\
    Rates are fractions: 0.02 is 2 %. A rate whose denominator is 0 is null.\n\n\
    Errors are problem details (RFC 9457). They have a stable type, and name the parameter that is wrong, what is allowed, and an \
    example. Unknown parameters and fields are errors, so that a typing error never changes the meaning of a request.\n\n\
    Rate limits: each key has a rate limit. After the status 429 or 503, wait for the number of seconds in `Retry-After`.";

/// A group of operations in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OperationGroup {
    /// The heading, which operations refer to.
    pub(crate) name: &'static str,
    /// What the operations have in common, in one sentence.
    pub(crate) description: &'static str,
}

/// The operations added so far: a router, and the parts of the document.
pub(crate) struct ApiBuilder<S> {
    router: Router<S>,
    paths: Map<String, Value>,
    schemas: Schemas,
    /// In the order of their first operations.
    groups: Vec<OperationGroup>,
}

impl<S: Clone + Send + Sync + 'static> ApiBuilder<S> {
    /// An API without operations.
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), paths: Map::new(), schemas: Schemas::new(), groups: Vec::new() }
    }

    /// Adds an operation: its route and its description.
    #[must_use]
    pub(crate) fn add<H: Handler<T, S>, T: 'static>(
        self,
        method: &Method,
        path: &'static str,
        handler: H,
        operation: Operation,
    ) -> Self {
        let filter = MethodFilter::try_from(method.clone()).ok();
        let filter = or_broken(filter, MethodFilter::GET, "an operation has a method without a filter");
        self.add_route(method, path, on(filter, handler), operation)
    }

    /// Adds an operation whose handler has a state of its own.
    #[must_use]
    pub(crate) fn add_route(
        mut self,
        method: &Method,
        path: &'static str,
        route: MethodRouter<S>,
        operation: Operation,
    ) -> Self {
        self.router = self.router.route(path, route);
        if !self.groups.contains(&operation.group) {
            self.groups.push(operation.group);
        }
        let document = operation.document(&mut self.schemas);
        let methods = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(method.as_str().to_ascii_lowercase(), document);
        }
        self
    }

    /// The routes, and the document that describes them. `metrics` provides the names of metrics.
    pub(crate) fn finish(mut self, metrics: &MetricRegistry) -> (Router<S>, String) {
        let problem = self.schemas.of_reply::<ProblemBody>();
        let tags: Vec<Value> = self.groups.iter().map(OperationGroup::document).collect();
        let mut document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Mailgauge",
                "version": env!("CARGO_PKG_VERSION"),
                "description": INTRODUCTION,
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "tags": tags,
            "paths": self.paths,
            "components": {
                "responses": problem_responses(&problem),
                "headers": headers(),
                "securitySchemes": {
                    "key": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An API key, `mg_...`, or a token of the configured identity provider.",
                    },
                },
            },
        });
        self.schemas.insert_into(&mut document, metrics);
        (self.router, document.to_string())
    }
}

impl OperationGroup {
    fn document(&self) -> Value {
        json!({ "name": self.name, "description": self.description })
    }
}

/// The name of the shared response for a status that reports a problem: `NotFound`.
fn problem_response(status: StatusCode) -> String {
    status.canonical_reason().map_or_else(|| status.as_str().to_owned(), |reason| reason.replace(' ', ""))
}

/// One response for each status that a problem can have, which lists the problems.
fn problem_responses(problem: &Value) -> Map<String, Value> {
    let mut responses = Map::new();
    for status in ProblemType::ALL.map(ProblemType::status) {
        let problems = ProblemType::ALL.into_iter().filter(|one| one.status() == status);
        let lines: Vec<String> = problems.map(|one| format!("`{}`: {}.", one.urn(), one.title())).collect();
        let mut response = json!({
            "description": lines.join(" "),
            "content": { "application/problem+json": { "schema": problem } },
        });
        let header = match status {
            StatusCode::UNAUTHORIZED => Some("WWW-Authenticate"),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some("Retry-After"),
            StatusCode::METHOD_NOT_ALLOWED => Some("Allow"),
            _ => None,
        };
        if let (Some(name), Value::Object(response)) = (header, &mut response) {
            let reference = json!({ "$ref": format!("#/components/headers/{name}") });
            response.insert("headers".to_owned(), json!({ name: reference }));
        }
        responses.insert(problem_response(status), response);
    }
    responses
}

/// The response headers that clients need.
fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 0 });
    json!({
        "Allow": header("The methods that the path has.", text()),
        "ETag": header("Identifies the content. Send it as `If-None-Match` to get 304 while the content is the same.", text()),
        "RateLimit-Limit": header("How many requests the key may send at once.", number()),
        "RateLimit-Remaining": header("How many of them are left.", number()),
        "RateLimit-Reset": header("Seconds until all of them are available again.", number()),
        "Retry-After": header("When to send the request again, in seconds.", number()),
        "WWW-Authenticate": header("The authentication scheme, `Bearer`.", text()),
        "X-Mailgauge-Age-Unknown-Before": header(
            "CSV and NDJSON only: `meta.age_unknown_before` of the JSON reply. Absent if all ages are known.",
            json!({ "type": "string", "format": "date-time" }),
        ),
        "X-Mailgauge-Late-By-Hour-Before": header(
            "CSV and NDJSON only: `meta.late_by_hour_before` of the JSON reply. Absent in most replies.",
            json!({ "type": "string", "format": "date-time" }),
        ),
        "X-Mailgauge-Complete-Until": header(
            "CSV and NDJSON only: `meta.complete_until` of the JSON reply.",
            json!({ "type": "string", "format": "date-time" }),
        ),
        "X-Mailgauge-Next-Cursor": header(
            "CSV and NDJSON only: `meta.next_cursor` of the JSON reply. Absent on the last page.",
            text(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: OperationGroup = OperationGroup { name: "Numbers", description: "All of them." };

    #[test]
    fn operation_has_a_route_and_a_description() {
        let operation = |id| {
            let operation = Operation::json::<ProblemBody>(GROUP, id, "Get everything");
            operation
                .query_parameter("x", "A number.", &json!({}))
                .statuses(&[StatusCode::UNPROCESSABLE_ENTITY])
        };
        let api = ApiBuilder::<()>::new()
            .add(
                &Method::GET,
                "/a/{b}",
                async || "",
                operation("getAll").path_parameter("b", "The name of a b."),
            )
            .add(&Method::POST, "/a/{b}", async || "", operation("postAll"));
        let (_, document) = api.finish(&MetricRegistry::builtin());
        let document: Value = serde_json::from_str(&document).unwrap();
        let get = &document["paths"]["/a/{b}"]["get"];
        assert_eq!(
            get["parameters"][1],
            json!({
                "in": "path", "name": "b", "description": "The name of a b.", "required": true,
                "schema": {"type": "string", "minLength": 1}
            })
        );
        assert_eq!(get["operationId"], "getAll");
        assert!(get["responses"]["422"].is_object() && get["responses"]["413"].is_null());
        assert!(document["paths"]["/a/{b}"]["post"].is_object());
        assert_eq!(document["tags"][0]["name"], "Numbers");
    }

    #[test]
    fn problem_response_lists_every_problem_of_its_status() {
        let responses = problem_responses(&json!({}));
        let description = responses["ServiceUnavailable"]["description"].as_str().unwrap();
        assert!(description.contains("problem:unavailable`") && description.contains("problem:timed-out`"));
        assert!(responses["ServiceUnavailable"]["headers"]["Retry-After"].is_object());
        assert!(responses["NotFound"]["headers"].is_null());
    }
}
