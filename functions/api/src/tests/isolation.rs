//! Attacks: thousands of attempts to read another tenant's numbers through the router, by every part of a request that a client controls.
//!
//! The other tenant's mail carries a marker that no request contains. The marker must never come back, and only requests for one's own
//! data may succeed. The environment variable `MAILGAUGE_ISOLATION` sets the number of attempts of each kind.

#![allow(clippy::disallowed_methods, reason = "the number of attempts is the caller's choice")]

use std::sync::Arc;

use adapters::system_clock::SystemClock;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use event::{ShardId, TenantId, Timestamp};
use pipeline::alerting::detection_run::{
    DetectionCache, DetectionRun, DetectionSettings, Notifier, NotifyError,
};
use pipeline::directory::alert_rules;
use pipeline::directory::api_keys::{self, ApiKey, Grant};
use pipeline::directory::mappings::{self, CheckedMappings};
use pipeline::ledger::aggregate::Attempt;
use pipeline::memory::MemoryStore;
use pipeline::ports::Clock as _;
use pipeline::testing::counting;
use serde_json::{Value, json};
use simulator::random::Random;
use tower::ServiceExt as _;
use web::{Issuer, RouterSettings};

use self::token_issuer::TokenIssuer;

mod token_issuer;

const OTHER: &str = "globex";
/// The marker: part of names that only the other tenant's mail has.
const MARK: &str = "zq7mark";
/// The default number of attempts of each kind.
const ATTEMPTS: usize = 10_000;

/// An alert channel that does not exist.
struct NoChannel;

impl Notifier for NoChannel {
    fn channels(&self, _: &detection::Change) -> Vec<String> {
        Vec::new()
    }

    async fn notify(&self, _: &str, _: &detection::Change) -> Result<(), NotifyError> {
        Ok(())
    }
}

/// Two tenants with mail, alerts, rules and keys.
struct World {
    token_issuer: TokenIssuer,
    router: Router,
    /// The attacker's keys: one that may set rules, one that may only read.
    own: [String; 2],
    /// The other tenant's invalid keys: expired, revoked.
    invalid: [String; 2],
    /// The other tenant's valid key, which the attacker does not have.
    other: String,
    /// Ids and tags of the other tenant that the attacker knows.
    alert: String,
    key_id: String,
    cursor: String,
    etag: String,
}

/// Choices that are the same in every run.
struct Choices(Random);

impl Choices {
    fn from_seed(seed: u64) -> Self {
        Self(Random::from_seed(seed))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.below(u32::try_from(end).unwrap()) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

fn mails(tenant: &str, mark: &str, now: Timestamp) -> String {
    let mut lines = Vec::new();
    for number in 0..200 {
        let at = now.plus_millis(-30 * 60_000 + number);
        let mail = json!({
            "timestamp": at.to_string(),
            "messageId": format!("{tenant}-{number}"),
            "source": format!("a@{mark}.example"),
            "destination": [format!("b@{mark}-mail.example")],
            "tags": { "tenant": [tenant], "campaign": [format!("{mark}-{}", number % 5)] },
        });
        lines.push(json!({ "eventType": "Send", "mail": mail, "send": {} }).to_string());
        let bounce = json!({
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [{ "emailAddress": format!("b@{mark}-mail.example") }],
            "timestamp": at.to_string(),
            "feedbackId": "f",
        });
        lines.push(json!({ "eventType": "Bounce", "mail": mail, "bounce": bounce }).to_string());
    }
    lines.join("\n") + "\n"
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let now = SystemClock.now();
        let shard = ShardId::new("shard-1").unwrap();
        let data = mails("acme", "own", now) + &mails(OTHER, MARK, now);
        counting::count(&store, &shard, 1, data.as_bytes(), now).await.unwrap();
        let attempt = Attempt { id: 1, deadline: now.plus_millis(60_000) };
        let run = DetectionRun {
            store: &store,
            clock: &SystemClock,
            notifier: &NoChannel,
            readers: &(),
            settings: &DetectionSettings::default(),
            attempt,
        };
        run.run(&mut DetectionCache::default()).await.unwrap();
        let [acme, other] = ["acme", OTHER].map(|name| TenantId::new(name).unwrap());
        let maps = json!({ "by_sending_domain": { format!("{MARK}.example"): OTHER } });
        let checked = CheckedMappings::new(&serde_json::from_value(maps).unwrap()).unwrap();
        mappings::write(&store, &checked, None).await.unwrap();
        alert_rules::write_tenant(&store, &other, &alert_rules::TenantRules::default()).await.unwrap();
        let key = async |number: u8, grant: Grant, expires_at: Option<Timestamp>| {
            let key = ApiKey::from_random([number; 32]);
            let stored = api_keys::add(&store, &key, grant, "key", now, expires_at).await.unwrap();
            (key.reveal().to_owned(), stored.id)
        };
        let (full, _) = key(1, Grant::Tenant(acme.clone()), None).await;
        let (reads, _) = key(2, Grant::Reader(acme.clone()), None).await;
        let (expired, _) = key(3, Grant::Tenant(other.clone()), Some(now.plus_millis(-1))).await;
        let (revoked, revoked_id) = key(4, Grant::Tenant(other.clone()), None).await;
        api_keys::revoke(&store, &revoked_id, now).await.unwrap();
        let (other, key_id) = key(5, Grant::Tenant(other), None).await;
        let service = super::service(store, SystemClock);
        let token_issuer = TokenIssuer::new(1);
        let audiences = vec!["dashboard".to_owned()];
        let settings = RouterSettings {
            // The attempts must not run into the rate limit.
            requests_per_second: Some(u32::MAX),
            issuer: Some(
                Issuer::new(TokenIssuer::URL, audiences, "tenant".to_owned(), Some("role=operator")).unwrap(),
            ),
            ..RouterSettings::default()
        };
        let router = web::router(Arc::new(service), token_issuer.clone(), settings);
        let mut world = Self {
            token_issuer,
            router,
            own: [full, reads],
            invalid: [expired, revoked],
            other,
            alert: String::new(),
            key_id,
            cursor: String::new(),
            etag: String::new(),
        };
        world.look_up_the_others_ids().await;
        world
    }

    /// Looks up ids with the other tenant's own key, which also proves that there is something to find.
    async fn look_up_the_others_ids(&mut self) {
        let key = self.other.clone();
        let (status, headers, body) = self
            .call("GET", "/v1/metrics?metrics=sends&group_by=campaign&limit=1&from=-2h", &key, &[], "")
            .await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(MARK), "{body}");
        headers["etag"].to_str().unwrap().clone_into(&mut self.etag);
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["meta"]["next_cursor"].as_str().unwrap().clone_into(&mut self.cursor);
        let (_, _, body) = self.call("GET", "/v1/alerts", &key, &[], "").await;
        let alerts: Value = serde_json::from_str(&body).unwrap();
        alerts["alerts"][0]["id"].as_str().unwrap().clone_into(&mut self.alert);
    }

    async fn call(
        &self,
        method: &str,
        uri: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, axum::http::HeaderMap, String) {
        let mut request =
            Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {key}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // A client cannot send what is not a valid request.
        let Ok(request) = request.body(Body::from(body.to_owned())) else {
            return (StatusCode::BAD_REQUEST, axum::http::HeaderMap::new(), String::new());
        };
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    /// One attempt. It may succeed only with the attacker's own data, which must not contain the marker.
    async fn attempt(
        &self,
        expected: &[u16],
        method: &str,
        uri: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) {
        let (status, reply_headers, text) = self.call(method, uri, key, headers, body).await;
        let described = format!("{method} {uri} {headers:?} {body}: {status} {text}");
        assert!(expected.contains(&status.as_u16()), "{described}");
        assert!(!text.contains(MARK), "{described}");
        let names_other = uri.contains(OTHER)
            || body.contains(OTHER)
            || headers.iter().any(|(_, value)| value.contains(OTHER));
        assert!(names_other || !text.contains(OTHER), "{described}");
        assert!(
            reply_headers.values().all(|value| !value.to_str().unwrap_or_default().contains(MARK)),
            "{described}"
        );
    }
}

const READS: [&str; 8] = [
    "/v1/metrics?metrics=sends&group_by=campaign&from=-2h",
    "/v1/dimensions",
    "/v1/dimensions/campaign",
    "/v1/alerts",
    "/v1/rules",
    "/v1/budget",
    "/v1/reconcile?from=-1d",
    "/v1/trends?metric=sends",
];
/// Statuses of requests for one's own data, and of refusals.
const OWN_OR_REFUSED: [u16; 7] = [200, 304, 400, 401, 403, 404, 422];
const REFUSED: [u16; 5] = [400, 401, 403, 404, 405];

fn attempts() -> usize {
    std::env::var("MAILGAUGE_ISOLATION").ok().and_then(|text| text.parse().ok()).unwrap_or(ATTEMPTS)
}

#[tokio::test]
async fn headers_do_not_reach_another_tenant() {
    let (world, mut random) = (Box::pin(World::new()).await, Choices::from_seed(1));
    for _ in 0..attempts() {
        let name = random.pick(&[
            "globex",
            "GLOBEX",
            " globex",
            "globex,acme",
            "acme,globex",
            "*",
            "(unassigned)",
            "globex#d",
            "..",
            "",
        ]);
        let header = random.pick(&[
            "x-mailgauge-tenant",
            "X-Mailgauge-Tenant",
            "x-tenant",
            "x-original-url",
            "x-forwarded-user",
        ]);
        let key = &world.own[random.below(2)];
        let uri = random.pick(&READS);
        let twice = [(header, name), ("x-mailgauge-tenant", "acme")];
        let headers = if random.below(3) == 0 { &twice[..] } else { &twice[..1] };
        world.attempt(&OWN_OR_REFUSED, "GET", uri, key, headers, "").await;
        let tenant_header = [("x-mailgauge-tenant", OTHER)];
        world.attempt(&[403], "GET", uri, key, &tenant_header, "").await;
    }
}

#[tokio::test]
async fn parameters_filters_and_cursors_do_not_reach_another_tenant() {
    let (world, mut random) = (Box::pin(World::new()).await, Choices::from_seed(2));
    let dimensions =
        ["tenant", "Tenant", "provider", "campaign", "sending_domain", "recipient_domain", "segment"];
    for _ in 0..attempts() {
        let key = &world.own[random.below(2)];
        let dimension = random.pick(&dimensions);
        let value = random.pick(&["globex", "zq7", "*", "", "globex-0", "'", "%"]);
        let operation = random.pick(&["eq", "ne", "in", "prefix"]);
        let test = json!({ "dimension": dimension, "op": operation, "value": if operation == "in" { json!([value]) } else { json!(value) } });
        let filter = match random.below(4) {
            0 => json!({ "not": test }),
            1 => json!({ "or": [test, { "dimension": "campaign", "op": "ne", "value": "x" }] }),
            2 => json!({ "and": [test, { "not": { "or": [] } }] }),
            _ => test,
        };
        let mut body = json!({ "metrics": ["sends", "bounces"], "from": "-2h", "filter": filter, "group_by": [random.pick(&dimensions)] });
        match random.below(6) {
            0 => body["tenant"] = json!(OTHER),
            1 => body["scope"] = json!({ "tenant": OTHER }),
            2 => body["cursor"] = json!(world.cursor),
            3 => body["group_by"] = json!(["tenant", "campaign"]),
            _ => {}
        }
        world.attempt(&OWN_OR_REFUSED, "POST", "/v1/query", key, &[], &body.to_string()).await;
        let uri = format!(
            "/v1/metrics?metrics=sends&from=-2h&group_by={dimension}&filter={dimension}:{value}&cursor={}",
            world.cursor
        );
        world.attempt(&REFUSED, "GET", &uri, key, &[], "").await;
        let uri = format!("/v1/dimensions/{dimension}?prefix={value}");
        world.attempt(&OWN_OR_REFUSED, "GET", &uri, key, &[], "").await;
    }
}

#[tokio::test]
async fn ids_of_another_tenants_alerts_and_keys_are_not_found() {
    let (world, mut random) = (Box::pin(World::new()).await, Choices::from_seed(3));
    for _ in 0..attempts() {
        let key = &world.own[random.below(2)];
        let mut alert = world.alert.clone();
        if random.below(4) > 0 {
            let place = random.below(alert.len() - 3) + 3;
            alert.replace_range(place..=place, random.pick(&["0", "f", "%2e", "A"]));
        }
        let (method, uri) = match random.below(2) {
            0 => ("GET", format!("/v1/alerts/{alert}")),
            _ => ("POST", format!("/v1/alerts/{alert}/acknowledge")),
        };
        world.attempt(&[403, 404], method, &uri, key, &[], "").await;
        let (method, uri) = match random.below(12) {
            8 => ("GET", "/v1/attribution".to_owned()),
            9 => ("PUT", "/v1/attribution".to_owned()),
            10 => ("PATCH", "/v1/attribution".to_owned()),
            11 => ("PATCH", format!("/v1/tenants/{OTHER}")),
            6 => ("GET", "/v1/overview".to_owned()),
            7 => ("GET", "/v1/audit?limit=1000".to_owned()),
            0 => ("GET", "/v1/tenants".to_owned()),
            1 => ("GET", format!("/v1/tenants/{OTHER}")),
            2 => ("GET", format!("/v1/tenants/{OTHER}/keys")),
            3 => ("POST", format!("/v1/tenants/{OTHER}/keys")),
            4 => ("POST", format!("/v1/tenants/acme/keys/{}/rotate", world.key_id)),
            _ => ("DELETE", format!("/v1/tenants/{OTHER}/keys/{}", world.key_id)),
        };
        world.attempt(&[403], method, &uri, key, &[], r#"{"name":"k"}"#).await;
    }
}

#[tokio::test]
async fn only_valid_keys_are_accepted() {
    let (world, mut random) = (Box::pin(World::new()).await, Choices::from_seed(4));
    for _ in 0..attempts() {
        let mut key = match random.below(4) {
            0 => world.invalid[random.below(2)].clone(),
            _ => world.other.clone(),
        };
        if key == world.other {
            let place = random.below(key.len() - 3) + 3;
            match random.below(4) {
                0 => key.truncate(place),
                1 => key.insert(place, 'a'),
                2 => key = format!("{}{}", &key[..3], &key[place..]),
                _ => {
                    let digit = if &key[place..=place] == "0" { "1" } else { "0" };
                    key.replace_range(place..=place, digit);
                }
            }
        }
        let algorithm =
            random.pick(&["eyJhbGciOiJub25lIn0.eyJ0ZW5hbnQiOiJnbG9iZXgifQ.", "null", "undefined", "", "mg_"]);
        let key = if random.below(5) == 0 { algorithm } else { key.as_str() };
        if key != world.other {
            world.attempt(&[401], "GET", random.pick(&READS), key, &[], "").await;
        }
    }
}

#[tokio::test]
async fn only_valid_tokens_are_accepted() {
    let (world, mut random) = (Box::pin(World::new()).await, Choices::from_seed(6));
    let stranger = TokenIssuer::new(2);
    let (now, uri) = (SystemClock.now().millis() / 1000, READS[0]);
    let header = json!({ "alg": "EdDSA", "kid": "1" });
    let claims = |tenant: &str| json!({ "iss": TokenIssuer::URL, "aud": "dashboard", "sub": "u", "exp": now + 3600, "tenant": tenant });
    let valid = world.token_issuer.token(&header, &claims(OTHER));
    let (status, _, text) = world.call("GET", uri, &valid, &[], "").await;
    assert!(status == StatusCode::OK && text.contains(MARK), "{text}");
    let own = world.token_issuer.token(&header, &claims("acme"));
    for _ in 0..attempts() {
        let mut header = header.clone();
        let mut claims = claims(OTHER);
        let mut signer = &world.token_issuer;
        match random.below(8) {
            0 => {
                header["alg"] = json!(random.pick(&["none", "None", "HS256", "RS256", "ES256", "PS512", ""]));
            }
            1 => {
                header["kid"] =
                    json!(random.pick(&["2", "", "../keys", "1\u{0}", "https://evil.example.com"]));
            }
            2 => {
                claims["iss"] =
                    json!(random.pick(&["https://evil.example.com", "https://id.example.com/", ""]));
            }
            3 => claims["aud"] = json!(random.pick(&["other", "Dashboard", "", "*"])),
            4 => claims["exp"] = json!(now - 31 - i64::try_from(random.below(1000)).unwrap()),
            5 => {
                claims["tenant"] = json!([OTHER]);
                claims["tenants"] = json!(OTHER);
                claims["role"] = json!(random.pick(&["Operator", "operators", "admin"]));
            }
            _ => signer = &stranger,
        }
        let mut token = signer.token(&header, &claims);
        match random.below(4) {
            // The attacker's signature under the other's claims, and the other way round.
            0 => token = splice(&token, &own),
            1 => token = splice(&own, &valid),
            _ => {}
        }
        world.attempt(&[401, 403], "GET", uri, &token, &[], "").await;
        // The attacker's valid token gives access to the attacker's tenant only.
        let named = [("x-mailgauge-tenant", OTHER)];
        world.attempt(&[403], "GET", uri, &own, &named, "").await;
        world.attempt(&OWN_OR_REFUSED, "GET", random.pick(&READS), &own, &[], "").await;
    }
}

/// The message of one token with the signature of another.
fn splice(message: &str, signature: &str) -> String {
    let (message, _) = message.rsplit_once('.').unwrap();
    format!("{message}.{}", signature.rsplit_once('.').unwrap().1)
}

#[tokio::test]
async fn paths_and_caches_do_not_reach_another_tenant() {
    let (world, mut random) = (Box::pin(World::new()).await, Choices::from_seed(5));
    for _ in 0..attempts() {
        let key = &world.own[random.below(2)];
        let uri = random.pick(&[
            "/v1/tenants/globex",
            "//v1/tenants",
            "/v1/tenants/",
            "/v1/alerts/../tenants",
            "/v1/alerts/%2e%2e/tenants",
            "/v1/alerts/..%2ftenants%2fglobex",
            "/v1/tenants;tenant=globex",
            "/v1//metrics?metrics=sends",
            "/V1/TENANTS",
            "/v1/tenants/globex%00",
            "/v1/tenants/globex/keys/../keys",
            "/t%23globex%23m",
        ]);
        let method = random.pick(&["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]);
        world.attempt(&REFUSED, method, uri, key, &[], "").await;
        // Knowing the ETag of the other's answer must not get a 304.
        let known = [("if-none-match", world.etag.as_str())];
        let uri = "/v1/metrics?metrics=sends&group_by=campaign&limit=1&from=-2h";
        world.attempt(&[200], "GET", uri, key, &known, "").await;
    }
}
