//! The whole router against a backend and an SNS made up here: what a client sends, what it sees, what the backend got.

mod alerts;
mod bounds;
mod described;
mod elsewhere;
mod files;
mod firehose;
mod ingesting;
mod problems;
mod reading;
mod rights;
mod sessions;
mod sns;
mod tenants;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use cells::query::{Answer, Execution, Freshness, Locale, Metric, Query, QueryError, QueryErrorKind, Scope};
use detection::budget::{self, Standing};
use detection::trend::{self, Trend};
use detection::{Change, Rules};
use event::attribution::{Dimension, TenantMaps};
use event::{Minute, TenantId, Timestamp};
use pipeline::alerting::registry::{Alert, Asked};
use pipeline::directory::audit::Entry;
use pipeline::directory::credentials::{Credential, Grant};
use pipeline::directory::mappings::{self, Packed};
use pipeline::directory::rules::OwnRules;
use pipeline::memory::MemoryStore;
use pipeline::stored::Versioned;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::{
    Access, Backend, Caller, CertificateUrl, Fetch, FetchError, IngestError, Ingested, IssuerUrl, NotReady,
    Reconciliation, Refusal, Settings, SubscribeUrl, Tenant, Unavailable, Values, router,
};

const OPERATOR: &str = "mg_operator";
const ACME: &str = "mg_acme";
const READER: &str = "mg_reader";
const SUSPENDED: &str = "mg_suspended";
const INGEST: &str = "mg_ingest";
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:ses-events";
/// A minute after the messages in `tests/sns` were published.
const NOW: &str = "2026-11-25T12:01:00Z";

/// How the backend fares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// It takes no more events for now.
    Busy,
    /// Its store fails.
    Down,
    /// It never answers a query.
    Stuck,
    /// It has no history that is fine enough.
    Coarse,
}

struct Fake {
    now: Mutex<Timestamp>,
    mood: Mood,
    /// What was asked of it, with whose numbers.
    asked: Mutex<Vec<String>>,
    payloads: Mutex<Vec<Bytes>>,
    rules: Mutex<Rules>,
    tenants: Mutex<BTreeMap<TenantId, Tenant>>,
    keys: Mutex<Vec<Credential>>,
    own: Mutex<BTreeMap<TenantId, OwnRules>>,
    trail: Mutex<Vec<Entry>>,
    store: MemoryStore,
}

fn alert() -> Alert {
    let alert = include_str!("tests/alert.json");
    serde_json::from_str(alert).unwrap()
}

impl Fake {
    fn note(&self, scope: &Scope, what: impl AsRef<str>) {
        let scope = match scope {
            Scope::All => "all",
            Scope::Tenant(tenant) => tenant.as_str(),
        };
        self.asked.lock().unwrap().push(format!("{scope}: {}", what.as_ref()));
    }

    fn well(&self) -> Result<(), Unavailable> {
        if self.mood == Mood::Down { Err(down()) } else { Ok(()) }
    }
}

fn down() -> Unavailable {
    Unavailable { operation: "reading", source: "disk /dev/secret broke".into() }
}

impl Backend for Fake {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    async fn authenticate(&self, key: &str) -> Result<Option<Caller>, Unavailable> {
        self.well()?;
        let access = match key {
            OPERATOR => Access::Operator,
            ACME => Access::Tenant { tenant: TenantId::new("acme").unwrap(), sets_rules: true },
            READER => Access::Tenant { tenant: TenantId::new("acme").unwrap(), sets_rules: false },
            SUSPENDED => Access::Suspended,
            INGEST => Access::Ingest,
            _ => return Ok(None),
        };
        Ok(Some(Caller { name: format!("key of {key}"), access }))
    }

    async fn locale(&self, _scope: &Scope) -> Result<Locale, Unavailable> {
        Ok(Locale { tags: [Some("brand".to_owned()), None, None, None], zone: None })
    }

    async fn query(&self, query: Query) -> Result<Answer, Refusal> {
        let groups: Vec<_> = query.group_by.iter().map(|group| group.name.as_str()).collect();
        let (from, to) = query.range();
        self.note(&query.scope, format!("query by {groups:?} {} {}", from.start(), to.start()));
        match self.mood {
            Mood::Stuck => std::future::pending().await,
            Mood::Coarse => Err(Refusal::Query(QueryError {
                kind: QueryErrorKind::Unanswerable,
                parameter: "granularity".to_owned(),
                problem: "minutes are kept for 30 days".to_owned(),
                allowed: "1h and coarser".into(),
                example: "1h".into(),
            })),
            Mood::Well | Mood::Busy | Mood::Down => {
                self.well()?;
                Ok(Execution::new(&query).finish(None, Freshness::default()))
            }
        }
    }

    async fn values(
        &self,
        scope: &Scope,
        dimension: Dimension,
        prefix: &str,
        limit: usize,
    ) -> Result<Values, Unavailable> {
        self.note(scope, format!("values {dimension:?} {prefix:?} {limit}"));
        Ok(Values { values: vec!["spring".to_owned()], truncated: true })
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<Tenant>, Unavailable> {
        let tenants = self.tenants.lock().unwrap();
        let behind = tenants.iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
        Ok(behind.map(|(_, tenant)| tenant.clone()).take(limit).collect())
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>, Unavailable> {
        Ok(self.tenants.lock().unwrap().get(id).cloned())
    }

    async fn describe(&self, id: &TenantId, tenant: Tenant) -> Result<(), Unavailable> {
        self.tenants.lock().unwrap().insert(id.clone(), tenant);
        Ok(())
    }

    async fn mappings(&self) -> Result<Versioned<TenantMaps>, Unavailable> {
        mappings::read(&self.store).await.map_err(|_| down())
    }

    async fn set_mappings(&self, packed: Packed, version: Option<u64>) -> Result<bool, Unavailable> {
        mappings::set(&self.store, packed, version).await.map_err(|_| down())
    }

    async fn erase(&self, id: &TenantId) -> Result<(), Unavailable> {
        self.tenants.lock().unwrap().remove(id);
        self.keys.lock().unwrap().retain(|key| key.grant.tenant() != Some(id));
        Ok(())
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<(Credential, Option<Timestamp>)>, Unavailable> {
        let keys = self.keys.lock().unwrap();
        let own = keys.iter().filter(|key| key.grant.tenant() == Some(tenant));
        Ok(own.map(|key| (key.clone(), Some(self.now()))).collect())
    }

    async fn note(&self, who: &str, action: &'static str, subject: &str) -> Result<(), Unavailable> {
        self.well()?;
        let (at, who, subject) = (self.now().to_string(), who.to_owned(), subject.to_owned());
        self.trail.lock().unwrap().push(Entry { at, who, action: action.to_owned(), subject });
        Ok(())
    }

    async fn audit(&self, _: Timestamp, _: Timestamp, limit: usize) -> Result<Vec<Entry>, Unavailable> {
        Ok(self.trail.lock().unwrap().iter().rev().take(limit).cloned().collect())
    }

    async fn add_key(
        &self,
        grant: Grant,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(String, Credential), Unavailable> {
        let mut keys = self.keys.lock().unwrap();
        let (id, created_at) = (format!("k{}", keys.len()), self.now());
        let key = Credential { id, grant, name: name.to_owned(), created_at, expires_at, revoked_at: None };
        keys.push(key.clone());
        Ok((format!("mg_{}", key.id), key))
    }

    async fn end_key(&self, id: &str, at: Option<Timestamp>) -> Result<Option<Credential>, Unavailable> {
        let mut keys = self.keys.lock().unwrap();
        let key = keys.iter_mut().find(|key| key.id == id);
        Ok(key.map(|key| {
            match at {
                Some(at) => key.expires_at = Some(at),
                None => key.revoked_at = Some(self.now()),
            }
            key.clone()
        }))
    }

    async fn reconcile(
        &self,
        scope: &Scope,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Reconciliation, Refusal> {
        self.note(scope, format!("reconcile {from} {to}"));
        Ok(Reconciliation {
            from,
            to,
            events_read: 10,
            duplicates: 1,
            late: 2,
            quarantined: 3,
            aggregated: 6,
            drift: 0,
        })
    }

    async fn alerts(&self, scope: &Scope, asked: Asked) -> Result<Vec<Alert>, Unavailable> {
        self.well()?;
        let Asked { is_open, from, to, limit } = asked;
        self.note(scope, format!("alerts {is_open:?} {} {} {limit}", from.start(), to.start()));
        Ok(vec![alert()])
    }

    async fn alert(&self, scope: &Scope, id: &str) -> Result<Option<Alert>, Unavailable> {
        self.note(scope, format!("alert {id}"));
        Ok((id == alert().change.id).then(alert))
    }

    async fn acknowledge(&self, scope: &Scope, id: &str, by: &str) -> Result<Option<Alert>, Unavailable> {
        self.note(scope, format!("acknowledge {id} {by:?}"));
        Ok((id == alert().change.id).then(alert))
    }

    async fn rules(&self) -> Result<Rules, Unavailable> {
        self.well()?;
        Ok(self.rules.lock().unwrap().clone())
    }

    async fn set_rules(&self, rules: Rules) -> Result<(), Unavailable> {
        self.note(&Scope::All, "set rules");
        *self.rules.lock().unwrap() = rules;
        Ok(())
    }

    async fn own_rules(&self, tenant: &TenantId) -> Result<OwnRules, Unavailable> {
        Ok(self.own.lock().unwrap().get(tenant).cloned().unwrap_or_default())
    }

    async fn set_own_rules(&self, tenant: &TenantId, rules: OwnRules) -> Result<(), Unavailable> {
        self.note(&Scope::Tenant(tenant.clone()), "set own rules");
        self.own.lock().unwrap().insert(tenant.clone(), rules);
        Ok(())
    }

    async fn backtest(
        &self,
        tenant: &TenantId,
        rules: Rules,
        (from, to): (Minute, Minute),
    ) -> Result<Vec<Change>, Refusal> {
        let limit = rules.limits_of(tenant.as_str()).bounce_rate;
        let scope = Scope::Tenant(tenant.clone());
        self.note(&scope, format!("backtest {} {} {limit:?}", from.start(), to.start()));
        Ok(vec![alert().change])
    }

    async fn trend(
        &self,
        scope: &Scope,
        metric: Metric,
        weeks: u32,
        filters: &[String],
    ) -> Result<Option<Trend>, Refusal> {
        self.note(scope, format!("trend {} {weeks} {filters:?}", metric.name()));
        let hours: Vec<trend::Hour> =
            (0..24 * 21).map(|hour| trend::Hour { hour, part: 1.0, whole: 10.0 }).collect();
        Ok(trend::look_back(&metric.name(), trend::Unit::Share, &hours))
    }

    async fn budget(&self, scope: &Scope) -> Result<Vec<Standing>, Refusal> {
        self.note(scope, "budget");
        let volume = budget::Proportion { events: 1.0, mail: 100.0 };
        Ok(budget::LINES.iter().map(|line| budget::standing(line, volume, volume)).collect())
    }

    async fn ingest(&self, payloads: Vec<Bytes>) -> Result<Ingested, IngestError> {
        self.well()?;
        if self.mood == Mood::Busy {
            return Err(IngestError::Busy { retry_after_s: 7 });
        }
        let events = payloads.len() as u64;
        self.payloads.lock().unwrap().extend(payloads);
        Ok(Ingested { events, ..Ingested::default() })
    }

    async fn ready(&self) -> Result<(), NotReady> {
        Ok(self.well()?)
    }

    async fn metrics(&self) -> Result<String, Unavailable> {
        self.well()?;
        Ok("mailgauge_events_total 10\n".to_owned())
    }
}

/// SNS's hosts: one certificate for every address, or none.
struct FakeSns {
    certificate: Option<&'static str>,
    visits: AtomicUsize,
    confirmed: Mutex<Vec<String>>,
}

impl Fetch for Arc<FakeSns> {
    async fn certificate(&self, _url: &CertificateUrl) -> Result<Bytes, FetchError> {
        self.visits.fetch_add(1, Ordering::Relaxed);
        match self.certificate {
            Some(pem) => Ok(pem.as_bytes().into()),
            None => Err(FetchError { what: "a certificate", source: "no route".into() }),
        }
    }

    async fn confirm(&self, url: &SubscribeUrl) -> Result<(), FetchError> {
        self.confirmed.lock().unwrap().push(url.as_str().to_owned());
        Ok(())
    }

    async fn document(&self, _url: &IssuerUrl, _form: Option<String>) -> Result<Bytes, FetchError> {
        Err(FetchError { what: "a document", source: "no route".into() })
    }
}

struct World {
    app: Router,
    fake: Arc<Fake>,
    sns: Arc<FakeSns>,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl World {
    fn new() -> Self {
        Self::with(Mood::Well, Some(include_str!("tests/sns/certificate.pem")))
    }

    fn with(mood: Mood, certificate: Option<&'static str>) -> Self {
        let now = Mutex::new(at(NOW));
        let (asked, payloads, rules, own, keys, trail) = Default::default();
        let (timezone, tag_names, queues, store) = Default::default();
        let (id, name) = ("acme".to_owned(), "Acme".to_owned());
        let acme = Tenant { id, name, suspended: false, timezone, tag_names, queues };
        let tenants = Mutex::new(BTreeMap::from([(TenantId::new("acme").unwrap(), acme)]));
        let fake = Arc::new(Fake { now, mood, asked, payloads, rules, tenants, keys, own, trail, store });
        let sns = Arc::new(FakeSns { certificate, visits: AtomicUsize::new(0), confirmed: Mutex::default() });
        let settings = Settings { sns_topics: vec![TOPIC.to_owned()], ..Settings::default() };
        Self { app: router(Arc::clone(&fake), Arc::clone(&sns), settings), fake, sns }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.unwrap(),
        }
    }

    async fn get(&self, key: &str, uri: &str) -> Reply {
        self.send(bearer(key, "GET", uri).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, key: &str, uri: &str, body: impl Into<Body>) -> Reply {
        self.send(bearer(key, "POST", uri).body(body.into()).unwrap()).await
    }

    fn asked(&self) -> Vec<String> {
        self.fake.asked.lock().unwrap().clone()
    }

    fn payloads(&self) -> Vec<Bytes> {
        self.fake.payloads.lock().unwrap().clone()
    }
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The last part of the problem's type.
    fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["type"].as_str().unwrap().strip_prefix("urn:mailgauge:problem:").unwrap().to_owned()
    }
}

fn bearer(key: &str, method: &str, uri: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {key}"))
}

fn at(time: &str) -> Timestamp {
    Timestamp::from_millis(time.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}
