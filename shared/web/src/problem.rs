//! Errors as every client sees them: problem details with stable types (RFC 9457).
//!
//! A problem says which parameter is wrong and what is allowed. It never says why a dependency failed, and never repeats a key, an email
//! address or a payload. Source: <https://www.rfc-editor.org/rfc/rfc9457>

use std::error::Error;
use std::fmt::Write as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cells::query::{QueryError, QueryErrorKind};
use event::invariant::or_broken;
use schemars::JsonSchema;
use serde::Serialize;

use crate::openapi::schemas::one_of;
use crate::service::{IngestError, Refusal, Unavailable};

/// The type of a problem. Clients may rely on its URN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemType {
    InvalidParameter,
    InvalidBody,
    MissingCredential,
    InvalidCredential,
    Forbidden,
    NotFound,
    Conflict,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    UriTooLong,
    UnsupportedEncoding,
    Unanswerable,
    TooManyRequests,
    HeadersTooLarge,
    Unavailable,
    TimedOut,
}

impl ProblemType {
    /// Every type, by status.
    pub(crate) const ALL: [Self; 17] = [
        Self::InvalidParameter,
        Self::InvalidBody,
        Self::MissingCredential,
        Self::InvalidCredential,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::UnsupportedEncoding,
        Self::Unanswerable,
        Self::TooManyRequests,
        Self::HeadersTooLarge,
        Self::Unavailable,
        Self::TimedOut,
    ];

    /// Status, last part of the type, and title.
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidParameter => {
                (StatusCode::BAD_REQUEST, "invalid-parameter", "A parameter is not valid")
            }
            Self::InvalidBody => (StatusCode::BAD_REQUEST, "invalid-body", "The body cannot be read"),
            Self::MissingCredential => (StatusCode::UNAUTHORIZED, "missing-credential", "A key is required"),
            Self::InvalidCredential => {
                (StatusCode::UNAUTHORIZED, "invalid-credential", "The key is not valid")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The key does not allow this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::Conflict => {
                (StatusCode::CONFLICT, "conflict", "The request conflicts with the current state")
            }
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed")
            }
            Self::RequestTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "request-timeout", "The body arrived too slowly")
            }
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "uri-too-long", "The URI is too long"),
            Self::UnsupportedEncoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-encoding",
                "The body's encoding is not supported",
            ),
            Self::Unanswerable => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unanswerable", "The stored history cannot answer this")
            }
            Self::TooManyRequests => {
                (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
            }
            Self::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "The request's headers are too large",
            ),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed-out", "The answer took too long"),
        }
    }

    /// The status of replies that report the problem.
    pub(crate) const fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The stable name that clients may compare: `urn:mailgauge:problem:not-found`.
    pub(crate) fn urn(self) -> String {
        format!("urn:mailgauge:problem:{}", self.parts().1)
    }

    /// What happened, in a few words that are the same for every problem of the type.
    pub(crate) const fn title(self) -> &'static str {
        self.parts().2
    }
}

/// One problem, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    r#type: ProblemType,
    detail: String,
    parameter: Option<String>,
    allowed: Option<String>,
    example: Option<String>,
    retry_after_s: Option<u32>,
}

one_of!(ProblemUrn, ProblemType::ALL.map(ProblemType::urn));

/// Problem details as RFC 9457 defines them, extended by `parameter`, `allowed` and `example`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemBody<'a> {
    /// The stable type of the problem.
    #[schemars(with = "ProblemUrn")]
    r#type: String,
    /// What happened, in a few words that are the same for every problem of the type.
    title: &'static str,
    /// The status of the reply.
    status: u16,
    /// What is wrong with this request, where, and what is allowed.
    detail: &'a str,
    /// The parameter or field that is wrong; a field by its path in the body, such as `filter.and[1].op`.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    /// What the parameter or field may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a str>,
    /// A value of the parameter or field, or a body, that would be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<&'a str>,
}

impl Problem {
    /// A problem with this detail.
    pub(crate) fn new(problem_type: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            r#type: problem_type,
            detail: detail.into(),
            parameter: None,
            allowed: None,
            example: None,
            retry_after_s: None,
        }
    }

    /// A problem with one parameter or field; a field is named by its path in the body, as `filter.and[1].op`.
    pub(crate) fn about(problem_type: ProblemType, parameter: impl Into<String>, problem: &str) -> Self {
        let parameter = parameter.into();
        let detail = format!("{parameter}: {problem}");
        Self { parameter: Some(parameter), ..Self::new(problem_type, detail) }
    }

    /// Adds what is allowed, which also ends the detail.
    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        let allowed = allowed.into();
        // Writing to a string cannot fail.
        let _ = write!(self.detail, "; allowed: {allowed}");
        self.allowed = Some(allowed);
        self
    }

    /// Adds a value that would be accepted.
    pub(crate) fn example(mut self, example: impl Into<String>) -> Self {
        self.example = Some(example.into());
        self
    }

    /// Adds when to send the request again.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.r#type.status()
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Adds the headers that the status requires. A protocol that has its own form of errors needs them too.
    pub(crate) fn add_headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.status() == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 11.6.1, requires it with the status 401.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="mailgauge""#));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = ProblemBody {
            r#type: self.r#type.urn(),
            title: self.r#type.title(),
            status: status.as_u16(),
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
            allowed: self.allowed.as_deref(),
            example: self.example.as_deref(),
        };
        let json = or_broken(serde_json::to_vec(&body).ok(), Vec::new(), "a problem is not JSON");
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], json).into_response();
        self.add_headers(&mut response);
        response
    }
}

/// Logs the failure with its causes, once and only here. The client learns the operation and when to try again.
impl From<Unavailable> for Problem {
    fn from(failure: Unavailable) -> Self {
        let mut causes = String::new();
        let mut cause = failure.source();
        while let Some(error) = cause {
            // Writing to a string cannot fail.
            let _ = write!(causes, ": {error}");
            cause = error.source();
        }
        tracing::error!("{failure}{causes}");
        Self::new(ProblemType::Unavailable, format!("{failure}, try again later")).retry_after(5)
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let problem_type = match error.kind {
            QueryErrorKind::Malformed => ProblemType::InvalidParameter,
            QueryErrorKind::Forbidden => ProblemType::Forbidden,
            QueryErrorKind::Unanswerable => ProblemType::Unanswerable,
        };
        Self::about(problem_type, error.parameter, &error.problem)
            .allowed(error.allowed)
            .example(error.example)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Query(error) => error.into(),
            conflict @ Refusal::Conflict { .. } => Self::new(ProblemType::Conflict, conflict.to_string()),
            Refusal::Unavailable(failure) => failure.into(),
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Busy { retry_after_s } => {
                Self::new(ProblemType::TooManyRequests, error.to_string()).retry_after(retry_after_s)
            }
            IngestError::StreamOnly => Self::new(ProblemType::NotFound, error.to_string()),
            IngestError::Unavailable(failure) => failure.into(),
        }
    }
}
