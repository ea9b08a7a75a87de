//! One operation of the API: what it takes, what it replies with, and who may call it.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use super::{OperationGroup, problem_response};

/// The metadata of an answer, for formats that hold rows only.
const ROWS_HEADERS: [&str; 4] = [
    "X-Mailgauge-Age-Unknown-Before",
    "X-Mailgauge-Complete-Until",
    "X-Mailgauge-Late-By-Hour-Before",
    "X-Mailgauge-Next-Cursor",
];
/// What is left of the key's rate limit.
const RATE_LIMIT_HEADERS: [&str; 3] = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];

/// Who may call an operation. Handlers enforce it; the document states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callers {
    /// Keys that read, of operators and tenants, each within its scope.
    Readers,
    /// Operators, and tenants' keys with the scope `rules`.
    RulesWriters,
    /// Keys of operators, and tokens that grant the same.
    Operators,
    /// Operators, and keys that send events in.
    EventSenders,
    /// Operators, and anybody on the machine that the process runs on.
    OperatorsOrLocal,
    /// Any valid key, whatever it allows.
    AnyKey,
    /// Everybody, without a key.
    Everybody,
}

impl Callers {
    const fn description(self) -> &'static str {
        match self {
            Self::Readers => "keys of operators and tenants",
            Self::RulesWriters => "operators, and tenants' keys with the scope rules",
            Self::Operators => "operators",
            Self::EventSenders => "operators, and ingest keys",
            Self::OperatorsOrLocal => "operators, and local clients without a key",
            Self::AnyKey => "any key",
            Self::Everybody => "everybody, without a key",
        }
    }

    fn security(self) -> Value {
        match self {
            Self::Everybody => json!([]),
            // The empty object stands for a request without a key.
            Self::OperatorsOrLocal => json!([{}, { "key": [] }]),
            Self::Readers | Self::RulesWriters | Self::Operators | Self::EventSenders | Self::AnyKey => {
                json!([{ "key": [] }])
            }
        }
    }

    /// Whether an operator can narrow the request to one tenant with a header.
    const fn choose_tenant(self) -> bool {
        matches!(self, Self::Readers | Self::RulesWriters)
    }
}

/// Adds the schema of a type to the document, and returns a reference to it.
type SchemaSource = fn(&mut Schemas) -> Value;

enum RequestBody {
    Json {
        schema: SchemaSource,
        example: Value,
    },
    /// Empty, or a JSON object without fields.
    Empty,
    Bytes {
        description: &'static str,
    },
}

enum ReplyBody {
    Json(SchemaSource),
    /// The answer of a query: JSON, or rows as text, by the header `Accept`.
    Rows(SchemaSource),
    Text,
    /// JSON as another protocol defines it, errors included.
    Foreign(SchemaSource),
}

/// The description of an operation.
pub(crate) struct Operation {
    /// Unique in the document; generated clients name a function after it.
    id: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    pub(super) group: OperationGroup,
    callers: Callers,
    parameters: Vec<Value>,
    /// The type whose fields are further query parameters.
    parameters_type: Option<SchemaSource>,
    body: Option<RequestBody>,
    reply: ReplyBody,
    /// Statuses besides those that every operation of its kind can have.
    statuses: &'static [StatusCode],
    has_etag: bool,
}

impl Operation {
    /// An operation that replies with JSON of the type `T`.
    pub(crate) fn json<T: JsonSchema>(
        group: OperationGroup,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(group, id, summary, ReplyBody::Json(Schemas::of_reply::<T>))
    }

    /// An operation that replies with the answer of a query: JSON of the type `T`, CSV or NDJSON.
    pub(crate) fn rows<T: JsonSchema>(
        group: OperationGroup,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(group, id, summary, ReplyBody::Rows(Schemas::of_reply::<T>))
    }

    /// An operation that replies with plain text.
    pub(crate) fn text(group: OperationGroup, id: &'static str, summary: &'static str) -> Self {
        Self::new(group, id, summary, ReplyBody::Text)
    }

    /// An operation that replies as another protocol defines it: JSON of the type `T`, also for errors.
    pub(crate) fn foreign<T: JsonSchema>(
        group: OperationGroup,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(group, id, summary, ReplyBody::Foreign(Schemas::of_reply::<T>))
    }

    fn new(group: OperationGroup, id: &'static str, summary: &'static str, reply: ReplyBody) -> Self {
        Self {
            id,
            summary,
            description: None,
            group,
            callers: Callers::Readers,
            parameters: Vec::new(),
            parameters_type: None,
            body: None,
            reply,
            statuses: &[],
            has_etag: false,
        }
    }

    /// Adds what a caller must know beyond the summary.
    pub(crate) fn description(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// Sets who may call it. Defaults to [`Callers::Readers`].
    pub(crate) fn callers(mut self, callers: Callers) -> Self {
        self.callers = callers;
        self
    }

    /// Adds an optional parameter of the query string.
    pub(crate) fn query_parameter(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter(json!({ "in": "query", "name": name, "description": description, "required": false, "schema": schema }))
    }

    /// Adds a parameter of the query string that must be given. Its schema has an example.
    pub(crate) fn required_query_parameter(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter(json!({ "in": "query", "name": name, "description": description, "required": true, "schema": schema }))
    }

    /// Adds a query parameter for each field of the request type `T`. Lists of names are separated by commas.
    pub(crate) fn query_parameters_of<T: JsonSchema>(mut self) -> Self {
        self.parameters_type = Some(Schemas::of_request::<T>);
        self
    }

    /// Adds a part of the path.
    pub(crate) fn path_parameter(self, name: &str, description: &str) -> Self {
        let schema = json!({ "type": "string", "minLength": 1 });
        self.parameter(json!({ "in": "path", "name": name, "description": description, "required": true, "schema": schema }))
    }

    fn parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// Takes a JSON body of the type `T`.
    pub(crate) fn body<T: JsonSchema>(mut self, example: Value) -> Self {
        self.body = Some(RequestBody::Json { schema: Schemas::of_request::<T>, example });
        self
    }

    /// Takes no body, or an empty JSON object.
    pub(crate) fn empty_body(mut self) -> Self {
        self.body = Some(RequestBody::Empty);
        self
    }

    /// Takes a body of any bytes.
    pub(crate) fn bytes(mut self, description: &'static str) -> Self {
        self.body = Some(RequestBody::Bytes { description });
        self
    }

    /// Adds statuses that not every operation of its kind can have.
    pub(crate) fn statuses(mut self, statuses: &'static [StatusCode]) -> Self {
        self.statuses = statuses;
        self
    }

    /// The reply has an `ETag`, and is not sent again to a client that sends the tag back.
    pub(crate) fn with_etag(mut self) -> Self {
        self.has_etag = true;
        self
    }

    /// The operation object of the document.
    pub(super) fn document(mut self, schemas: &mut Schemas) -> Value {
        if let Some(source) = self.parameters_type {
            let reference = source(schemas);
            self.parameters.extend(schemas.parameters_of(&reference));
        }
        if self.callers.choose_tenant() {
            self = self.tenant_header();
        }
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "tags": [self.group.name],
            "parameters": self.parameters,
            "responses": self.responses(schemas),
            "security": self.callers.security(),
            "x-callers": self.callers.description(),
        });
        if let Value::Object(operation) = &mut operation {
            if let Some(description) = self.description {
                operation.insert("description".to_owned(), description.into());
            }
            if let Some(body) = self.body {
                operation.insert("requestBody".to_owned(), body.document(schemas));
            }
        }
        operation
    }

    fn tenant_header(self) -> Self {
        self.parameter(json!({
            "in": "header",
            "name": "X-Mailgauge-Tenant",
            "description": "The tenant that an operator's request is about. With a tenant's key it may only name the tenant of the key.",
            "required": false,
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
        }))
    }

    fn responses(&self, schemas: &mut Schemas) -> Map<String, Value> {
        let problem_content = schemas.of_reply::<crate::problem::ProblemBody>();
        let mut responses = Map::new();
        let mut success = self.reply.document(schemas);
        if let Value::Object(success) = &mut success {
            let headers = self.success_headers().map(|name| (name.to_owned(), header_reference(name)));
            success.insert("headers".to_owned(), Value::Object(headers.collect()));
        }
        if self.has_etag {
            responses.insert(
                "304".to_owned(),
                json!({ "description": "The content is still what the client has." }),
            );
        }
        responses.insert("200".to_owned(), success);
        for status in self.problem_statuses() {
            let response = match &self.reply {
                ReplyBody::Foreign(source) => foreign(&source(schemas), &problem_content),
                ReplyBody::Json(_) | ReplyBody::Rows(_) | ReplyBody::Text => {
                    json!({ "$ref": format!("#/components/responses/{}", problem_response(status)) })
                }
            };
            responses.insert(status.as_str().to_owned(), response);
        }
        responses
    }

    /// The headers that a client may want to read.
    fn success_headers(&self) -> impl Iterator<Item = &'static str> {
        let etag = self.has_etag.then_some("ETag");
        let rows = matches!(self.reply, ReplyBody::Rows(_)).then_some(ROWS_HEADERS);
        // Requests without a key have no rate limit of their own.
        let rate_limit = (self.callers != Callers::Everybody).then_some(RATE_LIMIT_HEADERS);
        etag.into_iter().chain(rows.into_iter().flatten()).chain(rate_limit.into_iter().flatten())
    }

    /// The statuses of errors. The layers around all routes and the credential's check cause most of them.
    fn problem_statuses(&self) -> Vec<StatusCode> {
        let mut statuses = vec![
            StatusCode::BAD_REQUEST,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::URI_TOO_LONG,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        if self.callers != Callers::Everybody {
            statuses.extend([StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN]);
        }
        if self.body.is_some() {
            statuses.extend([StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE]);
        }
        statuses.extend(self.statuses);
        statuses
    }
}

impl RequestBody {
    fn document(self, schemas: &mut Schemas) -> Value {
        match self {
            Self::Json { schema, example } => {
                let schema = schema(schemas);
                json!({ "required": true, "content": { "application/json": { "schema": schema, "example": example } } })
            }
            Self::Empty => {
                let schema = json!({ "type": "object", "additionalProperties": false });
                json!({ "required": false, "content": { "application/json": { "schema": schema, "example": {} } } })
            }
            Self::Bytes { description } => {
                let schema = json!({ "description": description });
                json!({ "required": true, "content": { "application/octet-stream": { "schema": schema } } })
            }
        }
    }
}

impl ReplyBody {
    fn document(&self, schemas: &mut Schemas) -> Value {
        const DESCRIPTION: &str = "Success.";
        let text = || json!({ "schema": { "type": "string" } });
        match self {
            Self::Json(source) | Self::Foreign(source) => {
                let content = json!({ "application/json": { "schema": source(schemas) } });
                json!({ "description": DESCRIPTION, "content": content })
            }
            Self::Rows(source) => {
                let content = json!({
                    "application/json": { "schema": source(schemas) },
                    "text/csv": text(),
                    "application/x-ndjson": text(),
                });
                json!({ "description": DESCRIPTION, "content": content })
            }
            Self::Text => json!({ "description": DESCRIPTION, "content": { "text/plain": text() } }),
        }
    }
}

/// An error of another protocol. The layers around the routes know only problem details.
fn foreign(schema: &Value, problem: &Value) -> Value {
    json!({
        "description": "An error in the form of the protocol, or problem details if the request did not reach the operation.",
        "content": {
            "application/json": { "schema": schema },
            "application/problem+json": { "schema": problem },
        },
    })
}

fn header_reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}
