//! Sessions of the dashboard: the API key, or an identity provider's token, in a cookie that no script can read.
//!
//! Browsers send cookies with every request, also with those that another page caused. So the cookie counts only together with a header
//! that pages of other hosts cannot set, and it is `SameSite=Strict`. The credential in it is verified with each request as if it had come
//! in a header. The server keeps no sessions.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use event::invariant::or_broken;
use pipeline::ports::{Clock, Store};
use serde::Serialize;

use crate::auth::{authenticate, bearer};
use crate::problem::{Problem, ProblemType};
use crate::router::Shared;
use crate::service::{Access, Intake};

/// Set by the dashboard with each request.
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const DASHBOARD: &str = "mailgauge";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Names of the session cookie, over TLS and without. The prefix `__Host-` stops other hosts of the domain from setting it.
pub(crate) const COOKIES: [&str; 2] = ["__Host-mailgauge", "mailgauge"];
/// Life of a session: a working day.
const LIFE_S: u32 = 12 * 60 * 60;

/// The reply of `GET /session`.
#[derive(Serialize)]
struct Session {
    signed_in: bool,
    /// The path at which signing in with the identity provider begins, if there is one.
    provider: Option<&'static str>,
}

/// `GET`, `POST` and `DELETE /session`.
pub(crate) fn routes<S: Store, C: Clock, I: Intake>(web: Shared<S, C, I>) -> Router {
    Router::new()
        .route("/session", get(shown::<S, C, I>).post(sign_in::<S, C, I>).delete(sign_out))
        .with_state(web)
}

async fn shown<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    headers: HeaderMap,
) -> Result<Json<Session>, Problem> {
    let signed_in = match credential(&headers) {
        Some(held) => authenticate(&web, held).await.is_ok(),
        None => false,
    };
    Ok(Json(Session { signed_in, provider: web.tokens.is_some().then_some("sign-in") }))
}

/// Moves the key from its header into the cookie.
async fn sign_in<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = bearer(&headers)?;
    // An ingest key would open a dashboard that cannot read anything.
    if matches!(authenticate(&web, key).await?.access, Access::Ingest) {
        return Err(Problem::new(
            ProblemType::Forbidden,
            "this key sends events; sign in with one that reads",
        ));
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, session_cookie(&headers, key))]).into_response())
}

async fn sign_out(headers: HeaderMap) -> Response {
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie(&headers, "", 0))]).into_response()
}

/// Whether the browser uses TLS to reach us or the proxy in front of us.
pub(crate) fn is_secure(headers: &HeaderMap) -> bool {
    // A client can forge this header, but it decides only the name and the `Secure` attribute of the cookie that the same client gets.
    headers.get(FORWARDED).is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// The session cookie with a credential. A token in it may expire sooner.
pub(crate) fn session_cookie(headers: &HeaderMap, credential: &str) -> HeaderValue {
    cookie(headers, credential, LIFE_S)
}

fn cookie(headers: &HeaderMap, credential: &str, life_s: u32) -> HeaderValue {
    let [over_tls, plain] = COOKIES;
    let (name, secure) = if is_secure(headers) { (over_tls, "; Secure") } else { (plain, "") };
    // `HttpOnly` keeps the credential from scripts; `SameSite=Strict` keeps the browser from sending it with requests that other sites
    // cause.
    let text = format!("{name}={credential}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}");
    let value = HeaderValue::try_from(text).ok();
    or_broken(value, HeaderValue::from_static(""), "an accepted credential is not visible ASCII")
}

/// The credential in the cookie of a request by the dashboard. Cookies of requests by other pages are ignored.
pub(crate) fn credential(headers: &HeaderMap) -> Option<&str> {
    // A page of another host cannot add this header without a preflight request, which is refused unless an operator listed its origin.
    let is_ours = headers.get(REQUESTED_WITH).is_some_and(|by| by == DASHBOARD);
    // Browsers set this header and scripts cannot change it. Older browsers do not send it, and for them the header above must suffice.
    let is_same_site = headers.get(FETCH_SITE).is_none_or(|site| site == "same-origin");
    if !(is_ours && is_same_site) {
        return None;
    }
    COOKIES.into_iter().find_map(|name| cookie_value(headers, name)).filter(|held| !held.is_empty())
}

/// The value of a cookie.
pub(crate) fn cookie_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split("; ")).filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}
