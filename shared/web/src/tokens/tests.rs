//! Valid tokens, and all ways to forge one. Keys are generated in each run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::fetch::FetchError;

/// 2025-11-13T02:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_762_999_200_000);
const ISSUER: &str = "https://id.example.com/pool";

type Change = fn(&mut Value);

/// Who signs.
struct Signer {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            random,
        }
    }

    /// Its public keys, as an issuer shows them.
    fn keys(&self, id: &str) -> Vec<Value> {
        let point = self.ec.public_key().as_ref();
        vec![
            json!({ "kty": "EC", "crv": "P-256", "kid": format!("{id}-ec"), "use": "sig", "alg": "ES256",
                "x": text(&point[1..33]), "y": text(&point[33..65]) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": format!("{id}-ed"), "x": text(self.ed.public_key().as_ref()) }),
            json!({ "kty": "unheard-of", "kid": "new" }),
        ]
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
        let signature = match header["alg"].as_str() {
            Some("EdDSA") => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
            _ => self.ec.sign(&self.random, message.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{message}.{}", text(signature))
    }
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn in_seconds(seconds: i64) -> i64 {
    NOW.millis() / 1000 + seconds
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "dashboard", "sub": "u-1", "exp": in_seconds(600), "tenant": "acme" })
}

fn ec() -> Value {
    json!({ "alg": "ES256", "kid": "a-ec" })
}

/// An issuer that shows keys, and counts visits.
struct World {
    signer: Signer,
    shown: Arc<Mutex<Option<Vec<Value>>>>,
    visits: Arc<AtomicUsize>,
    issuer: Issuer,
    keys: IssuerKeys,
}

impl World {
    fn new() -> Self {
        let signer = Signer::new();
        let shown = Arc::new(Mutex::new(Some(signer.keys("a"))));
        let visits = Arc::new(AtomicUsize::new(0));
        let (held, counted) = (Arc::clone(&shown), Arc::clone(&visits));
        let get: GetDocument = Arc::new(move |url, form| {
            assert_eq!(form, None);
            let (held, counted) = (Arc::clone(&held), Arc::clone(&counted));
            Box::pin(async move {
                counted.fetch_add(1, Ordering::Relaxed);
                let keys = held.lock().unwrap().clone();
                let keys = keys.ok_or_else(|| FetchError { what: "a document", source: "down".into() })?;
                let body = if url.as_str() == "https://id.example.com/pool/.well-known/openid-configuration" {
                    json!({ "issuer": ISSUER, "jwks_uri": "https://keys.example.com/jwks" })
                } else {
                    assert_eq!(url.as_str(), "https://keys.example.com/jwks");
                    json!({ "keys": keys })
                };
                Ok(Bytes::from(body.to_string()))
            })
        });
        let audiences = vec!["dashboard".to_owned(), "app".to_owned()];
        let issuer = Issuer::new(ISSUER, audiences, "tenant".to_owned(), Some("groups=operators")).unwrap();
        Self { signer, shown, visits, keys: IssuerKeys::new(issuer.url.clone(), get), issuer }
    }

    async fn verify(&self, token: &str) -> Result<Bearer, String> {
        assert!(is_token(token), "{token}");
        verify(&self.issuer, &self.keys, token, NOW).await.map_err(|error| error.to_string())
    }

    async fn with(&self, header: Value, change: impl FnOnce(&mut Value)) -> Result<Bearer, String> {
        let mut claims = claims();
        change(&mut claims);
        self.verify(&self.signer.sign(&header, &claims)).await
    }
}

fn acme(sets_rules: bool) -> Granted {
    Granted::Tenant { tenant: TenantId::new("acme").unwrap(), sets_rules }
}

#[tokio::test]
async fn valid_token_grants_what_its_claims_say() {
    let world = World::new();
    let bearer = world.with(ec(), |_| ()).await.unwrap();
    assert_eq!(bearer, Bearer { subject: "u-1".to_owned(), grant: acme(false), nonce: None });
    let header = json!({ "alg": "EdDSA", "kid": "a-ed", "typ": "at+jwt" });
    assert_eq!(world.with(header, |_| ()).await.unwrap().grant, acme(false));
    for scope in [json!("openid mailgauge/rules"), json!("rules")] {
        let bearer = world.with(ec(), |claims| claims["scope"] = scope).await.unwrap();
        assert_eq!(bearer.grant, acme(true));
    }
    for scopes in [json!(["openid", "mailgauge/rules"]), json!(["rules"])] {
        assert_eq!(world.with(ec(), |claims| claims["scp"] = scopes).await.unwrap().grant, acme(true));
    }
    let operator = world.with(ec(), |claims| claims["groups"] = json!(["x", "operators"])).await.unwrap();
    assert_eq!(operator.grant, Granted::Operator);
    // As Cognito's access tokens are.
    let access = world.with(ec(), |claims| {
        claims.as_object_mut().unwrap().remove("aud");
        claims["client_id"] = json!("app");
    });
    assert_eq!(access.await.unwrap().grant, acme(false));
}

#[tokio::test]
async fn scopes_that_merely_resemble_the_one_for_rules_grant_nothing() {
    let world = World::new();
    for scope in [
        "evil/rules",
        "xrules",
        "x:rules",
        "mailgauge:rules",
        "/rules",
        "mailgauge//rules",
        "evil/mailgauge/rules",
        "mailgauge/rules/read",
        "mailgauge/Rules",
        "RULES",
        "rules/",
        "rules,openid",
        "openid\trules",
        "rules\u{a0}",
        "read",
        "",
    ] {
        for claim in ["scope", "scp"] {
            for held in [json!(scope), json!([scope]), json!(format!("openid {scope} read"))] {
                let bearer = world.with(ec(), |claims| claims[claim] = held.clone()).await.unwrap();
                assert_eq!(bearer.grant, acme(false), "{claim} {held}");
            }
        }
    }
    // Each element of a list is one scope.
    let joined = world.with(ec(), |claims| claims["scp"] = json!(["openid rules"])).await.unwrap();
    assert_eq!(joined.grant, acme(false));
}

#[tokio::test]
async fn email_address_of_a_subject_is_not_kept() {
    let bearer = World::new().with(ec(), |claims| claims["sub"] = json!("ann@example.com")).await.unwrap();
    assert!(bearer.subject.starts_with("user ") && !bearer.subject.contains('@'), "{}", bearer.subject);
}

#[tokio::test]
async fn invalid_token_is_refused_with_the_reason() {
    let world = World::new();
    let cases: [(&str, Change); 13] = [
        ("has expired", |claims| claims["exp"] = json!(in_seconds(-60))),
        ("is not valid yet", |claims| claims["nbf"] = json!(in_seconds(60))),
        ("is not valid yet", |claims| claims["nbf"] = json!("soon")),
        ("lacks exp", |claims| claims["exp"] = json!(null)),
        ("lacks exp", |claims| claims["exp"] = json!("9999999999")),
        ("another issuer", |claims| claims["iss"] = json!("https://evil.example.com")),
        ("another audience", |claims| claims["aud"] = json!(["other"])),
        ("another audience", |claims| claims["aud"] = json!(null)),
        ("names no tenant", |claims| claims["tenant"] = json!(["acme"])),
        ("is not the name of a tenant", |claims| claims["tenant"] = json!("acme#d")),
        ("\"*\" is reserved", |claims| claims["tenant"] = json!("*")),
        ("\"(unassigned)\" is reserved", |claims| claims["tenant"] = json!("(unassigned)")),
        ("\"(other)\" is reserved", |claims| claims["tenant"] = json!("(other)")),
    ];
    for (reason, change) in cases {
        let told = world.with(ec(), change).await.unwrap_err();
        assert!(told.contains(reason), "{reason}: {told}");
    }
}

#[tokio::test]
async fn token_cannot_choose_how_it_is_verified() {
    let world = World::new();
    let point = world.signer.ec.public_key().as_ref().to_vec();
    for header in [
        json!({ "alg": "none", "kid": "a-ec" }),
        json!({ "alg": "ES384", "kid": "a-ec" }),
        json!({ "alg": "RS256", "kid": "a-ec" }),
        json!({ "alg": "EdDSA", "kid": "a-ec" }),
        json!({ "alg": "ES256", "kid": "a-ed" }),
        json!({ "alg": "ES256", "kid": "new" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "ES256", "kid": "a-ec", "crit": ["exp"] }),
    ] {
        assert!(world.with(header.clone(), |_| ()).await.is_err(), "{header}");
    }
    // The public key as a shared secret: known to everybody.
    let message = format!("{}.{}", text(r#"{"alg":"HS256","kid":"a-ec"}"#), text(claims().to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &point), message.as_bytes());
    assert!(world.verify(&format!("{message}.{}", text(tag))).await.is_err());
    assert!(world.verify(&format!("{message}.")).await.is_err());
    // Keys of its own, in the header and by address.
    let other = Signer::new();
    for more in [
        json!({ "jwk": other.keys("a")[0] }),
        json!({ "jku": "https://evil.example.com/jwks" }),
        json!({ "x5u": "https://evil.example.com/pem" }),
    ] {
        let mut header = ec();
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert!(world.verify(&other.sign(&header, &claims())).await.is_err(), "{header}");
    }
}

#[tokio::test]
async fn any_changed_byte_invalidates_a_token() {
    let world = World::new();
    let token = world.signer.sign(&ec(), &claims());
    assert!(world.verify(&token).await.is_ok());
    for place in (0..token.len()).filter(|&place| token.as_bytes()[place] != b'.') {
        let mut changed = token.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'Q' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(world.verify(&changed).await.is_err(), "{place} of {token}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_cached_rotated_and_usable_while_the_issuer_is_down() {
    let world = World::new();
    let other = Signer::new();
    let rotated = other.sign(&json!({ "alg": "ES256", "kid": "b-ec" }), &claims());
    for _ in 0..100 {
        assert!(world.with(ec(), |_| ()).await.is_ok());
    }
    assert_eq!(world.visits.load(Ordering::Relaxed), 2, "the configuration and the keys, once");
    // Strangers' keys make no visit until half a minute has gone by.
    for _ in 0..100 {
        assert!(world.verify(&rotated).await.is_err());
    }
    assert_eq!(world.visits.load(Ordering::Relaxed), 2);
    *world.shown.lock().unwrap() = Some(other.keys("b"));
    tokio::time::advance(std::time::Duration::from_secs(31)).await;
    assert!(world.verify(&rotated).await.is_ok());
    assert!(world.with(ec(), |_| ()).await.is_err(), "the old key is withdrawn");
    *world.shown.lock().unwrap() = None;
    tokio::time::advance(std::time::Duration::from_hours(2)).await;
    assert!(world.verify(&rotated).await.is_ok(), "the issuer is down");
    tokio::time::advance(std::time::Duration::from_hours(24)).await;
    assert!(world.verify(&rotated).await.unwrap_err().contains("could not be read"));
}

#[test]
fn issuer_is_reached_by_tls_or_on_this_machine() {
    for right in [
        "https://id.example.com",
        "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_a1",
        "http://127.0.0.1:99/x",
        "http://localhost",
    ] {
        assert!(IssuerUrl::parse(right).is_ok(), "{right}");
    }
    for wrong in [
        "",
        "id.example.com",
        "http://id.example.com",
        "https://",
        "https://a@b",
        "https://a?b",
        "ftp://localhost",
        "http://localhost.evil.com",
        "http://127.0.0.1.evil.com:80/",
    ] {
        assert!(IssuerUrl::parse(wrong).is_err(), "{wrong}");
    }
    assert!(Issuer::new(ISSUER, Vec::new(), "tenant".to_owned(), None).is_err());
    assert!(Issuer::new(ISSUER, vec!["a".to_owned()], "tenant".to_owned(), Some("groups")).is_err());
}
