//! Cross-origin requests: which pages of other hosts may call the API. None, unless an operator lists them.
//!
//! Browsers never send keys by themselves, because a page must set the header. So an allowed origin has no access without a key.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::auth::TENANT_HEADER;

/// How long browsers may cache the answer to a preflight request. Some cache it for two hours at most.
const MAX_AGE: Duration = Duration::from_hours(1);

/// The origin of a page, such as `https://app.example.com`, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// A text is not an origin.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an origin: write https://HOST or https://HOST:PORT without a path, or *")]
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

/// The layer that answers preflight requests; `None` if no origin is allowed.
pub(crate) fn layer(origins: Vec<Origin>) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    // `AllowOrigin::list` panics on `*`.
    let allowed = if origins.iter().any(|origin| origin.0 == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.into_iter().map(|origin| origin.0))
    };
    let request_id = HeaderName::from_static("x-request-id");
    let rate_limits =
        ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(HeaderName::from_static);
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
                [header::ETAG, header::RETRY_AFTER, request_id]
                    .into_iter()
                    .chain(rate_limits)
                    .collect::<Vec<_>>(),
            )
            .max_age(MAX_AGE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_has_the_form_that_browsers_send() {
        for valid in ["*", "https://app.example.com", "http://localhost:3000", "http://[::1]:8080"] {
            assert!(valid.parse::<Origin>().is_ok(), "{valid}");
        }
        for invalid in
            ["", "app.example.com", "https://", "https://a/", "https://A.com", "null", "https://a b", "*.a"]
        {
            assert!(invalid.parse::<Origin>().is_err(), "{invalid}");
        }
    }
}
