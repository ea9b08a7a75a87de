//! Errors as every client sees them: problem details with stable types (RFC 9457).
//!
//! A problem says which parameter is wrong and what is allowed. It never says why the platform failed, and never repeats
//! a key, an address or a payload. Source: <https://www.rfc-editor.org/rfc/rfc9457>

use std::error::Error;
use std::fmt::Write as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cells::query::{QueryError, QueryErrorKind};
use serde::Serialize;

use crate::backend::{IngestError, NotReady, Refusal, Unavailable};

/// What went wrong. The type that clients may rely on is `urn:mailgauge:problem:` and the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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

impl Kind {
    /// Status, last part of the type, title.
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidParameter => {
                (StatusCode::BAD_REQUEST, "invalid-parameter", "A parameter is not valid")
            }
            Self::InvalidBody => (StatusCode::BAD_REQUEST, "invalid-body", "The body cannot be read"),
            Self::MissingCredential => (StatusCode::UNAUTHORIZED, "missing-credential", "A key is needed"),
            Self::InvalidCredential => {
                (StatusCode::UNAUTHORIZED, "invalid-credential", "The key is not valid")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The key does not allow this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "It is there already"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed here")
            }
            Self::RequestTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "request-timeout", "The body came too slowly")
            }
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "uri-too-long", "The address is too long"),
            Self::UnsupportedEncoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-encoding",
                "The body's encoding is not supported",
            ),
            Self::Unanswerable => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unanswerable", "What is kept cannot answer this")
            }
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too much at once"),
            Self::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "The request's headers are too large",
            ),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Try again later"),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed-out", "The answer took too long"),
        }
    }
}

/// One problem, told to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    parameter: Option<String>,
    allowed: Option<String>,
    example: Option<String>,
    retry_after_s: Option<u32>,
}

/// The body, as RFC 9457 names its members; `parameter`, `allowed` and `example` are ours.
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
    /// A problem with a sentence of its own.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            parameter: None,
            allowed: None,
            example: None,
            retry_after_s: None,
        }
    }

    /// A problem with one parameter, named with its place in a body: `filter.and[1].op`.
    pub(crate) fn about(kind: Kind, parameter: impl Into<String>, problem: &str) -> Self {
        let parameter = parameter.into();
        let detail = format!("{parameter}: {problem}");
        Self { parameter: Some(parameter), ..Self::new(kind, detail) }
    }

    /// Says what is allowed.
    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        let allowed = allowed.into();
        // Writing to a string cannot fail.
        let _ = write!(self.detail, "; allowed: {allowed}");
        self.allowed = Some(allowed);
        self
    }

    /// Gives a value that would be right.
    pub(crate) fn example(mut self, example: impl Into<String>) -> Self {
        self.example = Some(example.into());
        self
    }

    /// Tells the client when to come again.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Its status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.kind.parts().0
    }

    /// Its sentence.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Headers that belong to the status, whatever the form of the body.
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
        let (status, name, title) = self.kind.parts();
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

/// Logged here, once and with its causes; the client learns only that it should come again.
impl From<Unavailable> for Problem {
    fn from(failure: Unavailable) -> Self {
        let mut causes = String::new();
        let mut cause = failure.source();
        while let Some(error) = cause {
            let _ = write!(causes, ": {error}");
            cause = error.source();
        }
        tracing::error!("{failure}{causes}");
        Self::new(Kind::Unavailable, format!("{failure}, try again later")).retry_after(5)
    }
}

impl From<NotReady> for Problem {
    fn from(why: NotReady) -> Self {
        match why {
            NotReady::Fault(_) => Self::new(Kind::Unavailable, why.to_string()),
            NotReady::Unavailable(failure) => failure.into(),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let kind = match error.kind {
            QueryErrorKind::Malformed => Kind::InvalidParameter,
            QueryErrorKind::Forbidden => Kind::Forbidden,
            QueryErrorKind::Unanswerable => Kind::Unanswerable,
        };
        Self::about(kind, error.parameter, &error.problem).allowed(error.allowed).example(error.example)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Query(error) => error.into(),
            Refusal::Unavailable(failure) => failure.into(),
        }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Busy { retry_after_s } => {
                Self::new(Kind::TooManyRequests, error.to_string()).retry_after(retry_after_s)
            }
            IngestError::Elsewhere => Self::new(Kind::NotFound, error.to_string()),
            IngestError::Unavailable(failure) => failure.into(),
        }
    }
}
