//! Signing in at the dashboard with a key or at an identity provider, and what another page can do with a session.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::Issuer;

const PROVIDER: &str = "https://id.example.com";

/// An identity provider that gives a token for the code `good`.
#[derive(Clone)]
struct Provider {
    key: Arc<Ed25519KeyPair>,
    nonce: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    fn new() -> Self {
        let key = Arc::new(Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap());
        Self { key, nonce: Arc::default(), asked: Arc::default() }
    }

    fn token(&self) -> String {
        let text = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let expires = at(NOW).millis() / 1000 + 600;
        let nonce = self.nonce.lock().unwrap().clone();
        let claims = json!({ "iss": PROVIDER, "aud": "dash", "sub": "u", "exp": expires, "tenant": "acme", "nonce": nonce });
        let message = format!("{}.{}", text(json!({ "alg": "EdDSA", "kid": "1" })), text(claims));
        let signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Fetch for Provider {
    async fn certificate(&self, _: &CertificateUrl) -> Result<Bytes, FetchError> {
        Err(FetchError { what: "a certificate", source: "none".into() })
    }

    async fn confirm(&self, _: &SubscribeUrl) -> Result<(), FetchError> {
        Err(FetchError { what: "a confirmation", source: "none".into() })
    }

    async fn document(&self, url: &IssuerUrl, form: Option<String>) -> Result<Bytes, FetchError> {
        let point = URL_SAFE_NO_PAD.encode(self.key.public_key());
        let reply = match (url.as_str().strip_prefix(PROVIDER).unwrap(), form) {
            ("/.well-known/openid-configuration", None) => json!({
                "issuer": PROVIDER,
                "jwks_uri": format!("{PROVIDER}/keys"),
                "authorization_endpoint": format!("{PROVIDER}/authorize"),
                "token_endpoint": format!("{PROVIDER}/token"),
            }),
            ("/keys", None) => {
                json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": point }] })
            }
            ("/token", Some(form)) => {
                let is_good = form.contains("code=good&");
                self.asked.lock().unwrap().push(form);
                if !is_good {
                    return Err(FetchError { what: "a token", source: "invalid_grant".into() });
                }
                json!({ "id_token": self.token() })
            }
            (path, form) => panic!("{path} {form:?}"),
        };
        Ok(reply.to_string().into())
    }
}

async fn send(app: &Router, method: &str, uri: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap) {
    let mut request = Request::builder().method(method).uri(uri).header("host", "mail.example.com");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (response.status(), response.headers().clone())
}

/// The cookie of this name that a reply sets, as a browser sends it back; its attributes.
fn cookie(headers: &HeaderMap, name: &str) -> (String, String) {
    let mut set = headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let cookie = set.find(|cookie| cookie.starts_with(&format!("{name}="))).unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    (pair.to_owned(), attributes.to_owned())
}

#[tokio::test]
async fn browsers_are_told_to_stay_on_tls_where_there_is_tls() {
    let app = World::new().app;
    for uri in ["/", "/healthz", "/v1/whoami", "/nothing"] {
        let (_, headers) = send(&app, "GET", uri, &[("x-forwarded-proto", "https")]).await;
        assert_eq!(headers["strict-transport-security"], "max-age=31536000", "{uri}");
        let (_, headers) = send(&app, "GET", uri, &[]).await;
        assert!(!headers.contains_key("strict-transport-security"), "{uri}");
    }
}

#[tokio::test]
async fn key_signs_in_and_is_then_hidden_from_scripts() {
    let app = World::new().app;
    let bearer = format!("Bearer {ACME}");
    let bearer = ("authorization", bearer.as_str());
    let (status, headers) = send(&app, "POST", "/session", &[bearer]).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (held, attributes) = cookie(&headers, "mailgauge");
    assert_eq!(attributes, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
    let (_, headers) = send(&app, "POST", "/session", &[bearer, ("x-forwarded-proto", "https")]).await;
    let (secure, attributes) = cookie(&headers, "__Host-mailgauge");
    assert!(attributes.ends_with("; Secure"), "{attributes}");
    for held in [&held, &secure] {
        let cookie = format!("theme=dark; {held}");
        let ours = [("cookie", cookie.as_str()), ("x-requested-with", "mailgauge")];
        assert_eq!(send(&app, "GET", "/v1/whoami", &ours).await.0, StatusCode::OK);
    }
    let (status, headers) = send(&app, "DELETE", "/session", &[]).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(cookie(&headers, "mailgauge").1.contains("Max-Age=0"));
    for key in ["mg_wrong", UNKNOWN, INGEST] {
        let (status, headers) =
            send(&app, "POST", "/session", &[("authorization", &format!("Bearer {key}"))]).await;
        assert!(status.is_client_error() && !headers.contains_key("set-cookie"), "{key}");
    }
}

#[tokio::test]
async fn request_caused_by_another_page_is_not_signed_in() {
    let app = World::new().app;
    let session = format!("mailgauge={OPERATOR}");
    let (cookie, other_name) = (("cookie", session.as_str()), format!("x={session}"));
    let ours = ("x-requested-with", "mailgauge");
    for headers in [
        &[cookie][..],
        &[cookie, ("x-requested-with", "XMLHttpRequest")],
        &[cookie, ours, ("sec-fetch-site", "cross-site")],
        &[cookie, ours, ("sec-fetch-site", "same-site")],
        &[("cookie", "mailgauge="), ours],
        &[("cookie", &other_name), ours],
    ] {
        let (status, _) = send(&app, "DELETE", "/v1/tenants/acme", headers).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{headers:?}");
    }
    let (status, _) =
        send(&app, "GET", "/v1/tenants", &[cookie, ours, ("sec-fetch-site", "same-origin")]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn identity_provider_signs_in_only_the_browser_that_started() {
    let provider = Provider::new();
    let audiences = vec!["dash".to_owned()];
    let issuer = Some(Issuer::new(PROVIDER, audiences, "tenant".to_owned(), None).unwrap());
    let app = router(
        World::new().service,
        provider.clone(),
        RouterSettings { issuer, ..RouterSettings::default() },
    );
    let (status, headers) = send(&app, "GET", "/sign-in", &[]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (held, attributes) = cookie(&headers, "mailgauge-sign-in");
    assert_eq!(attributes, "Path=/sign-in; Max-Age=600; HttpOnly; SameSite=Lax");
    let there = headers["location"].to_str().unwrap();
    let asked = there.strip_prefix("https://id.example.com/authorize?").unwrap();
    let asked: BTreeMap<String, String> = serde_urlencoded::from_str(asked).unwrap();
    assert_eq!(asked["redirect_uri"], "http://mail.example.com/sign-in/back");
    assert_eq!((asked["client_id"].as_str(), asked["code_challenge_method"].as_str()), ("dash", "S256"));
    provider.nonce.lock().unwrap().clone_from(&asked["nonce"]);
    let (state, verifier) = (&asked["state"], held.rsplit('.').next().unwrap());
    assert_eq!(asked["code_challenge"], URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
    let back = |code: &str, state: &str| format!("/sign-in/back?code={code}&state={state}");
    let with = [("cookie", held.as_str())];
    let other = format!("mailgauge-sign-in=x.y.{verifier}");
    for (uri, headers) in [
        (back("good", state), &[][..]),
        (back("good", "other"), &with),
        (back("bad", state), &with),
        (back("good", state), &[("cookie", other.as_str())]),
        ("/sign-in/back?error=access_denied".to_owned(), &with),
    ] {
        let (status, headers) = send(&app, "GET", &uri, headers).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{uri}");
        assert_eq!(headers["location"], "/#sign-in=failed", "{uri}");
        assert_eq!(headers.get_all("set-cookie").iter().count(), 1, "{uri}");
    }
    let (_, headers) = send(&app, "GET", &back("good", state), &with).await;
    assert_eq!(headers["location"], "/");
    let form = provider.asked.lock().unwrap().last().unwrap().clone();
    assert!(form.contains(&format!("code_verifier={verifier}")), "{form}");
    let (session, _) = cookie(&headers, "mailgauge");
    let ours = [("cookie", session.as_str()), ("x-requested-with", "mailgauge")];
    assert_eq!(send(&app, "GET", "/v1/whoami", &ours).await.0, StatusCode::OK);
    // A token that was issued for another sign-in.
    "other".clone_into(&mut provider.nonce.lock().unwrap());
    let (_, headers) = send(&app, "GET", &back("good", state), &with).await;
    assert_eq!(headers["location"], "/#sign-in=failed");
    // Without an identity provider there is no such path.
    assert_eq!(send(&World::new().app, "GET", "/sign-in", &[]).await.0, StatusCode::NOT_FOUND);
}
