//! Signing in with an identity provider: the browser is sent there and returns with a code, which only we can exchange for a token
//! (authorization code with PKCE, no client secret).
//!
//! Only the browser that left can return: state, nonce and verifier are in a cookie that lives for ten minutes. The token is then verified
//! like any other. Sources: <https://www.rfc-editor.org/rfc/rfc7636>, <https://www.rfc-editor.org/rfc/rfc9700>

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::invariant::or_broken;
use pipeline::ports::{Clock, Store};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::problem::{Problem, ProblemType};
use crate::router::{Shared, Web};
use crate::service::{Intake, Unavailable};
use crate::session;
use crate::tokens::{self, Issuer, IssuerKeys};

const COOKIE: &str = "mailgauge-sign-in";
const LIFE_S: u32 = 600;
const MAX_CODE_BYTES: usize = 2048;

/// The parameters with which the provider sends the browser back.
#[derive(Deserialize)]
struct Callback {
    code: Option<String>,
    state: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

/// `GET /sign-in`, and `GET /sign-in/back`, to which the provider returns the browser.
pub(crate) fn routes<S: Store, C: Clock, I: Intake>(web: Shared<S, C, I>) -> Router {
    Router::new()
        .route("/sign-in", get(redirect_to_provider::<S, C, I>))
        .route("/sign-in/back", get(callback::<S, C, I>))
        .with_state(web)
}

fn provider<S, C, I>(web: &Web<S, C, I>) -> Result<(&Issuer, &IssuerKeys), Problem> {
    let not_configured =
        || Problem::new(ProblemType::NotFound, "no identity provider is set up here; sign in with a key");
    web.tokens.as_ref().map(|(issuer, keys)| (issuer, keys)).ok_or_else(not_configured)
}

async fn redirect_to_provider<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (issuer, keys) = provider(&web)?;
    let endpoints = keys.endpoints().await?;
    let [state, nonce, verifier] = [random()?, random()?, random()?];
    // The provider stores the hash, and only the browser with the cookie has the verifier: a stolen code alone is worth nothing.
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let parameters = form(&[
        ("response_type", "code"),
        ("client_id", issuer.client()),
        ("redirect_uri", &redirect_uri(&headers)?),
        ("scope", "openid"),
        ("state", &state),
        ("nonce", &nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ])?;
    // A checked URL has no query of its own.
    let url = format!("{}?{parameters}", endpoints.authorization);
    let cookie = cookie(&headers, &format!("{state}.{nonce}.{verifier}"), LIFE_S);
    redirect(&url, &[cookie])
}

async fn callback<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Result<Response, Problem> {
    // A state is used once, whether signing in succeeds or not.
    let removed = cookie(&headers, "", 0);
    match token_for(&web, &headers, callback).await {
        Ok(token) => redirect("/", &[session::session_cookie(&headers, &token), removed]),
        Err(problem) => {
            // The browser shows a page, not problem details, so the reason is logged and the dashboard says only that signing in failed.
            tracing::warn!(problem = problem.detail(), "signing in with the identity provider failed");
            redirect("/#sign-in=failed", &[removed])
        }
    }
}

/// Exchanges the code for a token and verifies it.
async fn token_for<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    headers: &HeaderMap,
    callback: Callback,
) -> Result<String, Problem> {
    let refused = |why: &str| Problem::new(ProblemType::InvalidCredential, why);
    let (issuer, keys) = provider(web)?;
    let held = session::cookie_value(headers, COOKIE)
        .ok_or_else(|| refused("this browser did not begin to sign in here"))?;
    let mut parts = held.split('.');
    let (Some(state), Some(nonce), Some(verifier)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(refused("the sign-in cookie is damaged"));
    };
    // Otherwise another page could sign this browser in as somebody else (RFC 9700, section 4.7).
    if callback.state.as_deref() != Some(state) {
        return Err(refused("the reply of the identity provider belongs to another browser"));
    }
    let code = callback.code.filter(|code| code.len() <= MAX_CODE_BYTES);
    let code = code.ok_or_else(|| refused("the identity provider returned no code"))?;
    let parameters = form(&[
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", &redirect_uri(headers)?),
        ("client_id", issuer.client()),
        ("code_verifier", verifier),
    ])?;
    let reply = keys.exchange(parameters).await?;
    let tokens: Tokens =
        serde_json::from_slice(&reply).map_err(|_| refused("the identity provider returned no token"))?;
    // The token came from the provider over TLS, and is verified all the same: only its claims say whom it is for.
    let bearer = tokens::verify(issuer, keys, &tokens.id_token, web.service.now()).await?;
    // Binds the token to this sign-in, so that a code of another one cannot be injected.
    if bearer.nonce.as_deref() != Some(nonce) {
        return Err(refused("the token was issued for another sign-in"));
    }
    Ok(tokens.id_token)
}

/// The URL to which the provider returns the browser. The provider accepts only URLs that were registered with it, so a forged host has no
/// effect.
fn redirect_uri(headers: &HeaderMap) -> Result<String, Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host =
        host.ok_or_else(|| Problem::new(ProblemType::InvalidParameter, "the request names no host"))?;
    let scheme = if session::is_secure(headers) { "https" } else { "http" };
    Ok(format!("{scheme}://{host}/sign-in/back"))
}

/// The sign-in cookie. It must be sent when the provider redirects the browser to us, so it is `Lax` and not `Strict`.
fn cookie(headers: &HeaderMap, value: &str, life_s: u32) -> HeaderValue {
    let secure = if session::is_secure(headers) { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/sign-in; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}");
    let value = HeaderValue::try_from(text).ok();
    or_broken(value, HeaderValue::from_static(""), "a sign-in cookie is not visible ASCII")
}

fn redirect(url: &str, cookies: &[HeaderValue]) -> Result<Response, Problem> {
    let url = HeaderValue::try_from(url)
        .map_err(|error| Unavailable { operation: "redirecting the browser", source: error.into() })?;
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, url)]).into_response();
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
    Ok(response)
}

fn random() -> Result<String, Problem> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Unavailable { operation: "drawing a random number", source: error.into() })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn form(pairs: &[(&str, &str)]) -> Result<String, Problem> {
    let written = serde_urlencoded::to_string(pairs)
        .map_err(|error| Unavailable { operation: "writing a form", source: error.into() })?;
    Ok(written)
}
