//! `GET /healthz`, `GET /readyz` and `GET /metrics`: for whoever watches over this process.
//!
//! Health and readiness need no key, so they say only whether the process works and, if it does not, the operating system's reason.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse as _, Response};
use event::invariant::broken_count;
use pipeline::history::snapshot::CountingProgress;
use pipeline::ports::{Clock, Store};

use super::prometheus;
use crate::auth::Operator;
use crate::problem::{Problem, ProblemType};
use crate::router::Shared;
use crate::service::{During as _, Intake};

/// Headers that a proxy adds. Behind a proxy on the same machine every client has the loopback address.
const PROXY_HEADERS: [HeaderName; 3] =
    [header::FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// `GET /healthz`: the process runs.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: whether the process can store events and answer queries, and if not, why.
pub(crate) async fn readyz<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
) -> Result<&'static str, Problem> {
    if let Some(reason) = web.service.intake.storage_fault() {
        return Err(Problem::new(ProblemType::Unavailable, format!("events cannot be stored: {reason}")));
    }
    // A read shows that the store can be reached; the answer itself is not needed.
    CountingProgress::read(&web.service.store).await.during("reading the store")?;
    Ok("ready\n")
}

/// `GET /metrics`, for operators and for a scraper on the same machine.
pub(crate) async fn metrics<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if !is_local(peer, &parts.headers) {
        Operator::from_request_parts(&mut parts, &web).await?;
    }
    let progress = CountingProgress::read(&web.service.store).await.during("reading the store")?;
    let oldest_unmerged = web.service.intake.oldest_unmerged();
    let text = prometheus::render(&progress, oldest_unmerged, broken_count(), web.service.now());
    Ok(([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response())
}

/// Whether the request comes from this machine, without a proxy, to a local host name. The name matters because a web page can point
/// its own host name at the loopback address (DNS rebinding); its requests then carry that name in `Host`.
fn is_local(peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
    let is_proxied = PROXY_HEADERS.iter().any(|name| headers.contains_key(name));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // IPv4 clients of a dual-stack socket have an IPv6 address that wraps 127.0.0.1.
    peer.is_some_and(|peer| peer.to_canonical().is_loopback())
        && !is_proxied
        && host.is_some_and(is_local_host)
}

fn is_local_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_address_are_local() {
        for (host, is_local) in [
            ("localhost", true),
            ("localhost:8080", true),
            ("127.0.0.1:8080", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("", false),
            ("localhost.", false),
            ("localhost:8080x", false),
            ("localhost.example:80", false),
            ("127.0.0.1.example", false),
            ("10.0.0.7", false),
        ] {
            assert_eq!(is_local_host(host), is_local, "{host:?}");
        }
    }
}
