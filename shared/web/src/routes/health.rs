//! `GET /healthz`, `GET /readyz` and `GET /metrics`: what watches the program, not the mail.
//!
//! Health needs no key, so it reveals nothing but whether the process works, and the operating system's reason if it does not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse as _, Response};

use crate::auth::Operator;
use crate::backend::Backend;
use crate::problem::Problem;
use crate::router::Web;

/// Marks of a proxy: behind one on the same machine, everybody comes from the loopback address.
const PROXY_MARKS: [HeaderName; 3] =
    [header::FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// `GET /healthz`: the process lives.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: whether the process can store events and answer queries, and if not, why.
pub(crate) async fn readyz<B: Backend>(State(web): State<Arc<Web<B>>>) -> Result<&'static str, Problem> {
    web.backend.ready().await?;
    Ok("ready\n")
}

/// `GET /metrics`, for operators and for a scraper on the same machine.
pub(crate) async fn metrics<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if !is_local(peer, &parts.headers) {
        Operator::from_request_parts(&mut parts, &web).await?;
    }
    let text = web.backend.metrics().await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Whether the request comes from this machine, by no proxy, and to a local name: a page whose host name was pointed at
/// the loopback address reaches us with its own name in `Host`.
fn is_local(peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    peer.is_some_and(|peer| peer.to_canonical().is_loopback())
        && !PROXY_MARKS.iter().any(|mark| headers.contains_key(mark))
        && is_local_host(host)
}

fn is_local_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}
