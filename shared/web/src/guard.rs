//! Surrounds every request: its id, its limits, and the headers of every reply.
//!
//! It runs before anything else reads the request, so refused requests cost very little.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;

use crate::limits::{
    ANONYMOUS_REQUESTS_AT_ONCE, HEADER_BYTES, HEALTH_REQUESTS_AT_ONCE, REQUESTS_AT_ONCE, URI_BYTES,
};
use crate::problem::{Problem, ProblemType};
use crate::rate_limit::RateLimits;
use crate::session;

/// Browsers reach this host over TLS only, for a year. Subdomains are not ours to decide about.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Long enough for the ids of all tracing systems.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// The limits that all requests share.
pub(crate) struct Guard {
    /// How many requests may run at the same time.
    pub(crate) slots: Slots,
    /// Rate limits by key.
    pub(crate) rate_limits: RateLimits,
}

/// One permit per request that may run at the same time. Whoever may call a route without a key cannot take the slots of the others.
pub(crate) struct Slots {
    /// Health checks: a server that is merely busy must not be restarted.
    health: Semaphore,
    /// Messages of SNS, whose sender is unknown until the body is read.
    sns: Semaphore,
    /// Signing in, which waits for the identity provider.
    sign_in: Semaphore,
    /// Routes that refuse a request without a key before they read its body.
    others: Semaphore,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self {
            health: Semaphore::new(HEALTH_REQUESTS_AT_ONCE),
            sns: Semaphore::new(ANONYMOUS_REQUESTS_AT_ONCE),
            sign_in: Semaphore::new(ANONYMOUS_REQUESTS_AT_ONCE),
            others: Semaphore::new(REQUESTS_AT_ONCE),
        }
    }

    /// The slots of the route at this path.
    fn of(&self, path: &str) -> &Semaphore {
        match path {
            "/healthz" | "/readyz" => &self.health,
            "/v1/ingest/sns" => &self.sns,
            "/sign-in" | "/sign-in/back" => &self.sign_in,
            _ => &self.others,
        }
    }
}

/// Applies the limits, runs the request and completes the reply.
pub(crate) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    // Log lines of this request carry the id that the client sees.
    let span = tracing::error_span!("request", id = id.as_ref().and_then(|id| id.to_str().ok()));
    let headers = request.headers();
    let over_tls = session::is_secure(headers);
    // The limit applies before the key is verified: looking a key up costs a read of the store, which a flood of requests must not cause.
    let asked = guard.rate_limits.check_all(headers);
    let (mut response, left) = match (admit(&guard.slots, &request), asked) {
        // Whatever else is wrong with a request, a client over its rate must slow down first.
        (_, Err(refused)) => (refused.0.into_response(), Some(refused.1)),
        (Err(problem), Ok(left)) => (problem.into_response(), left),
        (Ok(_slot), Ok(left)) => (next.run(request).instrument(span).await, left),
    };
    complete(response.headers_mut(), id);
    if over_tls {
        // Browsers ignore this header on a connection without TLS, so a forged `X-Forwarded-Proto` has no effect.
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
    }
    if let Some(left) = left {
        left.add_headers(response.headers_mut());
    }
    response
}

/// Checks the size of URI and headers, and takes a slot, which is held until the reply is complete.
fn admit<'a>(slots: &'a Slots, request: &Request) -> Result<SemaphorePermit<'a>, Problem> {
    let uri_bytes = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    if uri_bytes > URI_BYTES {
        let detail =
            format!("path and query may have {URI_BYTES} bytes; use POST /v1/query for a long query");
        return Err(Problem::new(ProblemType::UriTooLong, detail));
    }
    let header_bytes: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if header_bytes > HEADER_BYTES {
        let detail = format!("all headers together may have {HEADER_BYTES} bytes");
        return Err(Problem::new(ProblemType::HeadersTooLarge, detail));
    }
    // Waiting for a slot would let requests pile up in memory; a refusal costs next to nothing.
    slots.of(request.uri().path()).try_acquire().map_err(|_| {
        Problem::new(ProblemType::Unavailable, "too many requests at once, try again later").retry_after(1)
    })
}

/// The client's own id if it can be logged, otherwise a random one. `None` if there are no random numbers.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    // The id goes into logs as the client sent it, so it must not contain anything that forges a line.
    if let Some(id) = headers.get(&REQUEST_ID)
        && (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
        && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    {
        return Some(id.clone());
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random).ok()?;
    HeaderValue::try_from(URL_SAFE_NO_PAD.encode(random)).ok()
}

/// Adds headers: unless the route says otherwise, replies are not cached, not sniffed, not framed and cannot run code.
fn complete(headers: &mut HeaderMap, id: Option<HeaderValue>) {
    // Most replies depend on the key, so no cache may keep them unless the route knows better.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    if let Some(id) = id {
        headers.insert(REQUEST_ID, id);
    }
}
