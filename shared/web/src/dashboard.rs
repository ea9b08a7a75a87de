//! Serves the files of the dashboard, which are compiled into the program. Browsers revalidate them at each load, and a content security
//! policy keeps them from contacting any other host.

use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use rapidhash::v3::rapidhash_v3;

/// Forbids inline code, turning text into code, other hosts, and embedding in a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

/// A table of files in the folder `dashboard`, with names and contents.
macro_rules! files {
    ($($name:literal)*) => { &[$(($name, include_bytes!(concat!("dashboard/", $name)))),*] };
}

/// Every file that the browser loads.
pub(crate) const FILES: &[(&str, &[u8])] = files![
    "alerts.js"
    "api.js"
    "app.js"
    "base.css"
    "board.js"
    "chance.js"
    "chart.js"
    "controls.js"
    "cursor.js"
    "docs.css"
    "docs.html"
    "docs.js"
    "dom.js"
    "format.js"
    "frame.css"
    "icon.svg"
    "index.html"
    "live.js"
    "menus.js"
    "metrics.js"
    "panels.css"
    "period.js"
    "plot.js"
    "queries.js"
    "reasons.js"
    "scale.js"
    "sparkline.js"
    "state.js"
    "states.js"
    "table.js"
    "tenants.js"
    "theme.js"
    "tiles.js"
];

/// A route for each file: the page at `/`, what it loads under `/assets/`.
pub(crate) fn routes(document: String) -> Router {
    let document: Arc<str> = document.into();
    let described = move || {
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
        ready((headers, document.to_string()))
    };
    let mut routes = Router::new().route("/openapi.json", get(described));
    for &(name, content) in FILES {
        let path = match name {
            "index.html" => "/".to_owned(),
            "docs.html" => "/docs".to_owned(),
            _ => format!("/assets/{name}"),
        };
        let etag: Arc<str> = etag(content).into();
        let handler = move |headers: HeaderMap| ready(file(&headers, content_type(name), content, &etag));
        routes = routes.route(&path, get(handler));
    }
    routes
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    }
}

fn file(headers: &HeaderMap, content_type: &'static str, content: &'static [u8], etag: &str) -> Response {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| matches(value, etag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, content_type)], content).into_response()
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    // Cached but revalidated each time, so that a new version of the program is visible at once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

/// `If-None-Match` compares weakly: `*` or a list of tags. Source: RFC 9110 section 13.1.2.
pub(crate) fn matches(value: &HeaderValue, etag: &str) -> bool {
    let Ok(list) = value.to_str() else { return false };
    list.split(',').map(str::trim).any(|tag| tag == "*" || opaque(tag) == opaque(etag))
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The entity tag of some content, the same on every server. It is weak because the content may be sent compressed. A fast hash is enough:
/// nobody gains from two contents with the same tag, and a cryptographic hash of a large answer took as long as the answer.
pub(crate) fn etag(content: &[u8]) -> String {
    format!("W/\"{:016x}\"", rapidhash_v3(content))
}
