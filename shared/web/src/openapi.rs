//! The calls, each with its route and its description in one place, so that neither can be without the other; and the document that
//! comes of it, `OpenAPI` 3.1.
//!
//! What a description says of replies is held against real ones by the tests of the whole.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use cells::query::{Metric, MetricRegistry};
use event::invariant::or_broken;
use serde_json::{Map, Value, json};

/// The shapes that descriptions name.
const SCHEMAS: &str = include_str!("openapi/schemas.json");
const INTRODUCTION: &str = "Real-time analytics for email programs that send through Amazon SES. A key sees one tenant, or all of them \
    (operators). Times are RFC 3339 in UTC. Errors are problem details with a stable type, the parameter that is wrong and what is allowed.";

/// Who may make a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever has a key that reads, within its scope.
    Readers,
    /// Keys that may set rules.
    Setters,
    /// Operators alone.
    Operators,
    /// Keys that send events in, and operators.
    Senders,
    /// Operators, and whoever asks from the machine itself.
    OperatorsOrLocal,
    /// Anybody.
    All,
}

/// What is said of a call.
pub(crate) struct Operation {
    summary: &'static str,
    group: &'static str,
    who: Who,
    parameters: Vec<Value>,
    body: Option<(Value, Value)>,
    /// Whether the body may be left out.
    is_body_optional: bool,
    reply: Value,
    more: &'static [u16],
    /// Whether refusals too are as another protocol has them.
    is_foreign: bool,
    /// Whether a client that has the reply gets 304.
    is_tagged: bool,
}

/// A call that replies with JSON of this shape.
pub(crate) fn replies(group: &'static str, summary: &'static str, shape: &'static str) -> Operation {
    let content = json!({ "application/json": { "schema": reference(shape) } });
    with_reply(group, summary, json!({ "description": "As asked.", "content": content }))
}

/// A call that answers a query, in the form that is accepted.
pub(crate) fn answers(group: &'static str, summary: &'static str) -> Operation {
    let text = json!({ "schema": { "type": "string" } });
    let content = json!({
        "application/json": { "schema": reference("Answer") },
        "text/csv": text,
        "application/x-ndjson": text,
    });
    with_reply(group, summary, json!({ "description": "As asked.", "content": content }))
}

/// A call that replies with text.
pub(crate) fn says(group: &'static str, summary: &'static str) -> Operation {
    let content = json!({ "text/plain": { "schema": { "type": "string" } } });
    with_reply(group, summary, json!({ "description": "As asked.", "content": content }))
}

fn with_reply(group: &'static str, summary: &'static str, reply: Value) -> Operation {
    Operation {
        summary,
        group,
        who: Who::Readers,
        parameters: Vec::new(),
        body: None,
        is_body_optional: false,
        reply,
        more: &[],
        is_foreign: false,
        is_tagged: false,
    }
}

fn reference(shape: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{shape}") })
}

impl Operation {
    /// Who may make it.
    pub(crate) fn of(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    /// A parameter of the query string, with an example.
    pub(crate) fn takes(self, name: &str, says: &str, schema: &Value) -> Self {
        self.parameter("query", name, says, schema)
    }

    /// One that it cannot do without.
    pub(crate) fn needs(mut self, name: &str, says: &str, schema: &Value) -> Self {
        self = self.parameter("query", name, says, schema);
        if let Some(Value::Object(parameter)) = self.parameters.last_mut() {
            parameter.insert("required".to_owned(), true.into());
        }
        self
    }

    /// A part of the path.
    pub(crate) fn at(self, name: &str, says: &str) -> Self {
        self.parameter("path", name, says, &json!({ "type": "string", "minLength": 1 }))
    }

    fn parameter(mut self, place: &str, name: &str, says: &str, schema: &Value) -> Self {
        let required = place == "path";
        self.parameters.push(
            json!({ "in": place, "name": name, "description": says, "required": required, "schema": schema }),
        );
        self
    }

    /// Its body, with an example.
    pub(crate) fn body(mut self, shape: &'static str, example: Value) -> Self {
        self.body = Some((reference(shape), example));
        self
    }

    /// Takes an optional body, which is an empty object.
    pub(crate) fn empty_body(mut self) -> Self {
        let schema = json!({ "type": "object", "additionalProperties": false });
        self.body = Some((schema, json!({})));
        self.is_body_optional = true;
        self
    }

    /// A body of any bytes.
    pub(crate) fn bytes(mut self, says: &str) -> Self {
        self.body = Some((json!({ "description": says }), Value::Null));
        self
    }

    /// Statuses that are its own.
    pub(crate) fn also(mut self, statuses: &'static [u16]) -> Self {
        self.more = statuses;
        self
    }

    /// It is not sent again to a client that has it.
    pub(crate) fn tagged(mut self) -> Self {
        self.is_tagged = true;
        self
    }

    /// It replies as another protocol has it, in JSON, refusals too.
    pub(crate) fn by_another_protocol(mut self) -> Self {
        self.is_foreign = true;
        self.reply = foreign();
        self
    }

    fn document(mut self) -> Value {
        if matches!(self.who, Who::Readers | Who::Setters) {
            self = self.tenant_header();
        }
        let mut replies = Map::from_iter([("200".to_owned(), self.reply.clone())]);
        if self.is_tagged {
            replies.insert("304".to_owned(), json!({ "description": "The client has it already." }));
        }
        let mut statuses = vec![400, 405, 408, 414, 429, 431, 503];
        if self.who != Who::All {
            statuses.extend([401, 403]);
        }
        if self.body.is_some() {
            statuses.extend([413, 415]);
        }
        statuses.extend(self.more);
        for status in statuses {
            let problem = json!({ "$ref": "#/components/responses/Problem" });
            replies.insert(status.to_string(), if self.is_foreign { foreign() } else { problem });
        }
        let mut operation = json!({
            "summary": self.summary,
            "tags": [self.group],
            "parameters": self.parameters,
            "responses": replies,
            "security": match self.who {
                Who::All => json!([]),
                Who::OperatorsOrLocal => json!([{}, { "key": [] }]),
                Who::Readers | Who::Setters | Who::Operators | Who::Senders => json!([{ "key": [] }]),
            },
            "x-who": match self.who {
                Who::Readers => "any key that reads",
                Who::Setters => "keys with the scope rules, and operators",
                Who::Operators => "operators",
                Who::OperatorsOrLocal => "operators, and the machine itself",
                Who::Senders => "keys that send events, and operators",
                Who::All => "anybody",
            },
        });
        if let (Some((schema, example)), Value::Object(operation)) = (self.body, &mut operation) {
            let (kind, content) = if example.is_null() {
                ("application/octet-stream", json!({ "schema": schema }))
            } else {
                ("application/json", json!({ "schema": schema, "example": example }))
            };
            let body = json!({ "required": !self.is_body_optional, "content": { kind: content } });
            operation.insert("requestBody".to_owned(), body);
        }
        operation
    }

    fn tenant_header(self) -> Self {
        let says = "Lets an operator look at one tenant; a tenant's own key may name its tenant alone.";
        self.parameter(
            "header",
            "X-Mailgauge-Tenant",
            says,
            &json!({ "type": "string", "minLength": 1, "maxLength": 128 }),
        )
    }
}

fn foreign() -> Value {
    let content = json!({
        "application/json": { "schema": { "type": "object" } },
        "application/problem+json": { "schema": reference("Problem") },
    });
    json!({ "description": "As the protocol has it.", "content": content })
}

/// Calls on their way to a router and a document.
pub(crate) struct Calls<S> {
    router: Router<S>,
    paths: Map<String, Value>,
    /// In the order of their first calls.
    groups: Vec<&'static str>,
}

impl<S: Clone + Send + Sync + 'static> Calls<S> {
    /// None.
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), paths: Map::new(), groups: Vec::new() }
    }

    /// Adds a call: a route and what is said of it.
    #[must_use]
    pub(crate) fn add<H: Handler<T, S>, T: 'static>(
        self,
        method: &Method,
        path: &'static str,
        handler: H,
        operation: Operation,
    ) -> Self {
        // All methods there are have a filter.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        self.route(method, path, on(filter, handler), operation)
    }

    /// Adds a call that has a state of its own.
    #[must_use]
    pub(crate) fn route(
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
        let described = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = described {
            methods.insert(method.as_str().to_ascii_lowercase(), operation.document());
        }
        self
    }

    /// The routes, and the document that describes them.
    pub(crate) fn finish(self, metrics: &MetricRegistry) -> (Router<S>, String) {
        let schemas = schemas(metrics);
        let problem = json!({
            "description": "What is wrong, as problem details.",
            "content": { "application/problem+json": { "schema": reference("Problem") } },
        });
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Mailgauge",
                "version": env!("CARGO_PKG_VERSION"),
                "description": INTRODUCTION,
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "tags": self.groups.iter().map(|group| json!({ "name": group })).collect::<Vec<_>>(),
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "responses": { "Problem": problem },
                "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "description": "An API key, mg_..." } },
            },
        });
        (self.router, document.to_string())
    }
}

/// The schemas, with the names that the registry defines.
fn schemas(metrics: &MetricRegistry) -> Value {
    let parsed: Result<Value, _> = serde_json::from_str(SCHEMAS);
    let mut schemas = or_broken(parsed.ok(), Value::Null, "the API's schemas are not JSON");
    let names: Vec<&str> = metrics.iter().map(Metric::name).collect();
    if let Some(metric) = schemas.pointer_mut("/Query/properties/metrics/items") {
        *metric = json!({ "type": "string", "enum": names });
    }
    schemas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_that_is_named_is_there() {
        let schemas: Value = serde_json::from_str(SCHEMAS).unwrap();
        let text = schemas.to_string();
        for named in text.split("#/components/schemas/").skip(1) {
            let name: String = named.chars().take_while(char::is_ascii_alphanumeric).collect();
            assert!(schemas.get(&name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_call_has_a_route_and_a_description() {
        let operation =
            || replies("Numbers", "All of it.", "Answer").takes("x", "so", &json!({})).also(&[422]);
        let calls = Calls::<()>::new().add(&Method::GET, "/a/{b}", async || "", operation().at("b", "what"));
        let (_, document) =
            calls.add(&Method::POST, "/a/{b}", async || "", operation()).finish(&MetricRegistry::builtin());
        let document: Value = serde_json::from_str(&document).unwrap();
        let get = &document["paths"]["/a/{b}"]["get"];
        assert_eq!(
            get["parameters"][1],
            json!({"in": "path", "name": "b", "description": "what", "required": true, "schema": {"type": "string", "minLength": 1}})
        );
        assert!(get["responses"]["422"].is_object() && get["responses"]["413"].is_null());
        assert!(document["paths"]["/a/{b}"]["post"].is_object());
    }
}
