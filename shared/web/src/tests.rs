//! The whole router against a backend and an SNS made up here: what a client sends, what it sees, what the backend got.

mod bounds;
mod files;
mod firehose;
mod ingesting;
mod problems;
mod reading;
mod rights;
mod sns;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use cells::query::{Answer, DimensionNames, Execution, Freshness, Query, QueryError, QueryErrorKind, Scope};
use event::attribution::Dimension;
use event::{TenantId, Timestamp};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::{
    Access, Backend, Caller, CertificateUrl, Fetch, FetchError, IngestError, Ingested, Reconciliation,
    Refusal, Settings, SubscribeUrl, Tenant, Unavailable, Values, router,
};

const OPERATOR: &str = "mg_operator";
const ACME: &str = "mg_acme";
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
            ACME => Access::Tenant(TenantId::new("acme").unwrap()),
            INGEST => Access::Ingest,
            _ => return Ok(None),
        };
        Ok(Some(Caller { name: format!("key of {key}"), access }))
    }

    async fn dimension_names(&self, _scope: &Scope) -> Result<DimensionNames, Unavailable> {
        Ok(DimensionNames { tags: [Some("brand".to_owned()), None, None, None] })
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

    async fn tenants(&self) -> Result<Vec<Tenant>, Unavailable> {
        Ok(vec![Tenant { id: "acme".to_owned(), name: "Acme".to_owned() }])
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

    async fn ingest(&self, payloads: Vec<Bytes>) -> Result<Ingested, IngestError> {
        self.well()?;
        if self.mood == Mood::Busy {
            return Err(IngestError::Busy { retry_after_s: 7 });
        }
        let events = payloads.len() as u64;
        self.payloads.lock().unwrap().extend(payloads);
        Ok(Ingested { events, ..Ingested::default() })
    }

    async fn ready(&self) -> Result<(), Unavailable> {
        self.well()
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
        let fake = Arc::new(Fake { now, mood, asked: Mutex::default(), payloads: Mutex::default() });
        let sns = Arc::new(FakeSns { certificate, visits: AtomicUsize::new(0), confirmed: Mutex::default() });
        let settings = Settings { sns_topics: vec![TOPIC.to_owned()] };
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
