//! Errors as every client sees them: problem details with stable types (RFC 9457).
//!
//! A problem says which parameter is wrong and what is allowed. It never says why a dependency failed, and never repeats a key, an email
//! address or a payload. Source: <https://www.rfc-editor.org/rfc/rfc9457>

use std::error::Error;
use std::fmt::Write as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cells::query::{QueryError, QueryErrorKind};
use serde::Serialize;

use crate::service::{IngestError, Refusal, Unavailable};

/// The type of a problem. Clients may rely on its type: `urn:mailgauge:problem:` and the name.
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

/// The body as RFC 9457 defines it, extended by `parameter`, `allowed` and `example`.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a str>,
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
        self.r#type.parts().0
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Adds the headers that the status requires. A protocol that has its own form of errors needs them too.
    pub(crate) fn add_headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="mailgauge""#));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = self.r#type.parts();
        let body = Body {
            r#type: format!("urn:mailgauge:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
            allowed: self.allowed.as_deref(),
            example: self.example.as_deref(),
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
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
