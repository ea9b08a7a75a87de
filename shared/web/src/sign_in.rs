//! Signing in by an identity provider: the browser is sent there and comes back with a code, which is worth a token to us alone
//! (authorization code with PKCE, no secret).
//!
//! The way back has to be that of the browser that left: state, nonce and verifier lie in a cookie of ten minutes. What comes of it is
//! checked as any other token. Sources: <https://www.rfc-editor.org/rfc/rfc7636>, <https://www.rfc-editor.org/rfc/rfc9700>

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pipeline::ports::{Clock, Store};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::problem::{Problem, ProblemType};
use crate::router::{Shared, Web};
use crate::service::{Intake, Unavailable};
use crate::session;
use crate::tokens::{self, Issuer, Keys};

const COOKIE: &str = "mailgauge-sign-in";
const LIFE_S: u32 = 600;
const MAX_CODE_BYTES: usize = 2048;

/// What the provider says when the browser is back.
#[derive(Deserialize)]
struct Back {
    code: Option<String>,
    state: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

/// `GET /sign-in` and the way back.
pub(crate) fn routes<S: Store, C: Clock, I: Intake>(web: Shared<S, C, I>) -> Router {
    Router::new()
        .route("/sign-in", get(leave::<S, C, I>))
        .route("/sign-in/back", get(back::<S, C, I>))
        .with_state(web)
}

fn provider<S, C, I>(web: &Web<S, C, I>) -> Result<(&Issuer, &Keys), Problem> {
    let none =
        || Problem::new(ProblemType::NotFound, "no identity provider is set up here; sign in with a key");
    web.tokens.as_ref().map(|(issuer, keys)| (issuer, keys)).ok_or_else(none)
}

async fn leave<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (issuer, keys) = provider(&web)?;
    let endpoints = keys.endpoints().await?;
    let [state, nonce, verifier] = [random()?, random()?, random()?];
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let asked = form(&[
        ("response_type", "code"),
        ("client_id", issuer.client()),
        ("redirect_uri", &way_back(&headers)?),
        ("scope", "openid"),
        ("state", &state),
        ("nonce", &nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ])?;
    let joint = if endpoints.authorization.contains('?') { '&' } else { '?' };
    let there = format!("{}{joint}{asked}", endpoints.authorization);
    let cookie = cookie(&headers, &format!("{state}.{nonce}.{verifier}"), LIFE_S);
    go(&there, &[cookie])
}

async fn back<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    headers: HeaderMap,
    Query(back): Query<Back>,
) -> Result<Response, Problem> {
    let gone = cookie(&headers, "", 0);
    match signed_in(&web, &headers, back).await {
        Ok(token) => go("/", &[session::begun(&headers, &token), gone]),
        Err(problem) => {
            tracing::warn!(problem = problem.detail(), "signing in by the identity provider failed");
            go("/#sign-in=failed", &[gone])
        }
    }
}

async fn signed_in<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    headers: &HeaderMap,
    back: Back,
) -> Result<String, Problem> {
    let refused = |why: &str| Problem::new(ProblemType::InvalidCredential, why);
    let (issuer, keys) = provider(web)?;
    let held =
        session::held(headers, COOKIE).ok_or_else(|| refused("this browser did not leave from here"))?;
    let mut parts = held.split('.');
    let (Some(state), Some(nonce), Some(verifier)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(refused("the cookie of signing in is damaged"));
    };
    if back.state.as_deref() != Some(state) {
        return Err(refused("the way back is not this browser's"));
    }
    let code = back.code.filter(|code| code.len() <= MAX_CODE_BYTES);
    let code = code.ok_or_else(|| refused("the identity provider gave no code"))?;
    let asked = form(&[
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", &way_back(headers)?),
        ("client_id", issuer.client()),
        ("code_verifier", verifier),
    ])?;
    let reply = keys.exchange(asked).await?;
    let tokens: Tokens =
        serde_json::from_slice(&reply).map_err(|_| refused("the identity provider gave no token"))?;
    let bearer = tokens::verify(issuer, keys, &tokens.id_token, web.service.now()).await?;
    if bearer.nonce.as_deref() != Some(nonce) {
        return Err(refused("the token was made for another sign-in"));
    }
    Ok(tokens.id_token)
}

/// Where the provider sends the browser. It goes there only if it was told of this address beforehand, so a forged host leads nowhere.
fn way_back(headers: &HeaderMap) -> Result<String, Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host =
        host.ok_or_else(|| Problem::new(ProblemType::InvalidParameter, "the request names no host"))?;
    let scheme = if session::is_secure(headers) { "https" } else { "http" };
    Ok(format!("{scheme}://{host}/sign-in/back"))
}

/// Sent along when the provider sends the browser back, so not as strict as the session's.
fn cookie(headers: &HeaderMap, value: &str, life_s: u32) -> HeaderValue {
    let secure = if session::is_secure(headers) { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/sign-in; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

fn go(there: &str, cookies: &[HeaderValue]) -> Result<Response, Problem> {
    let there = HeaderValue::try_from(there)
        .map_err(|error| Unavailable { operation: "sending the browser on", source: error.into() })?;
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, there)]).into_response();
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
