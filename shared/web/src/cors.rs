//! Which pages of other hosts may call the API. None, unless an operator names them.
//!
//! Keys travel in a header that a page has to set itself, never by themselves, so what is allowed here opens nothing without a key.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::auth::TENANT_HEADER;

/// Browsers ask no sooner again; some keep an answer for two hours at most.
const KEPT: Duration = Duration::from_hours(1);

/// A page's origin, `https://app.example.com`, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// Not an origin.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no origin: write https://HOST or https://HOST:PORT without a path, or *")]
pub struct InvalidOrigin(String);

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(text.to_owned());
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        // As browsers write them: in lower case and without a path.
        let is_host = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte)
                })
        };
        if text != "*" && !host.is_some_and(is_host) {
            return Err(invalid());
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| invalid())
    }
}

/// What answers the questions of browsers; nothing if no page of another host may call.
pub(crate) fn layer(origins: Vec<Origin>) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin.0 == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.into_iter().map(|origin| origin.0))
    };
    let request_id = HeaderName::from_static("x-request-id");
    let told = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(HeaderName::from_static);
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::ACCEPT,
                header::CONTENT_TYPE,
                header::IF_NONE_MATCH,
                TENANT_HEADER,
                request_id.clone(),
            ])
            .expose_headers(
                [header::ETAG, header::RETRY_AFTER, request_id].into_iter().chain(told).collect::<Vec<_>>(),
            )
            .max_age(KEPT),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_as_browsers_write_it() {
        for right in ["*", "https://app.example.com", "http://localhost:3000", "http://[::1]:8080"] {
            assert!(right.parse::<Origin>().is_ok(), "{right}");
        }
        for wrong in
            ["", "app.example.com", "https://", "https://a/", "https://A.com", "null", "https://a b", "*.a"]
        {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }
}
