//! The whole router over the real service, and a store in memory that holds real counts: what a client sends, what it gets, and what is
//! stored afterwards. Only SNS, the clock and the intake's queue are replaced.

mod alerts;
mod bounds;
mod described;
mod elsewhere;
mod files;
mod firehose;
mod ingesting;
mod intake;
mod metrics;
mod problems;
mod reading;
mod rights;
mod schemas;
mod seed;
mod sessions;
mod sns;
mod store;
mod tenants;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use cells::query::MetricRegistry;
use cells::query::metrics::MetricDefinition;
use event::Timestamp;
use pipeline::history::compaction;
use serde_json::Value;
use tower::ServiceExt as _;

use self::intake::{Mode, TestClock, TestIntake};
use self::seed::seed;
use self::store::{Condition, TestStore};
use crate::{
    CertificateUrl, Fetch, FetchError, IssuerUrl, RouterSettings, Service, ServiceSettings, SubscribeUrl,
    router,
};

/// Keys as `ApiKey::from_random([N; 32])` makes them; the seed checks that.
const OPERATOR: &str = "mg_010101010101010101010101010101010101010101010101010101010101010172cd";
const ACME: &str = "mg_02020202020202020202020202020202020202020202020202020202020202027587";
const READER: &str = "mg_0303030303030303030303030303030303030303030303030303030303030303648a";
const SUSPENDED: &str = "mg_04040404040404040404040404040404040404040404040404040404040404049f4f";
const INGEST: &str = "mg_0505050505050505050505050505050505050505050505050505050505050505f849";
/// A well-formed key that does not exist.
const UNKNOWN: &str = "mg_09090909090909090909090909090909090909090909090909090909090909098c0c";
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:ses-events";
/// A minute after the messages in `tests/sns` were published.
const NOW: &str = "2026-11-25T12:01:00Z";
const CERTIFICATE: &str = include_str!("tests/sns/certificate.pem");

/// SNS's hosts: one certificate at every URL, or none.
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

type TestService = Service<Arc<TestStore>, TestClock, TestIntake>;

struct World {
    app: Router,
    service: Arc<TestService>,
    store: Arc<TestStore>,
    clock: TestClock,
    sns: Arc<FakeSns>,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl World {
    fn new() -> Self {
        Self::with(Mode::Counting, Some(CERTIFICATE))
    }

    /// A world whose store is in this condition.
    fn in_condition(condition: Condition) -> Self {
        let world = Self::new();
        world.store.set(condition);
        world
    }

    fn busy() -> Self {
        Self::with(Mode::Busy, Some(CERTIFICATE))
    }

    /// A world in which there is one more metric.
    fn with_metric(definition: &'static MetricDefinition) -> Self {
        Self::with_metrics(Mode::Counting, Some(CERTIFICATE), MetricRegistry::builtin().with(definition))
    }

    fn with(mode: Mode, certificate: Option<&'static str>) -> Self {
        Self::with_metrics(mode, certificate, MetricRegistry::builtin())
    }

    fn with_metrics(mode: Mode, certificate: Option<&'static str>, metrics: MetricRegistry) -> Self {
        let clock = TestClock::at(at(NOW));
        let store = Arc::new(at_once(TestStore::new(seed().items.clone())));
        let intake = TestIntake::new(Arc::clone(&store), clock.clone(), "test", mode);
        let settings = ServiceSettings {
            history: compaction::CompactionSettings::default(),
            declared_tags: vec!["brand".to_owned()],
            threads: NonZeroUsize::MIN,
        };
        let mut service = Service::new(Arc::clone(&store), clock.clone(), intake, settings);
        service.metrics = metrics;
        let service = Arc::new(service);
        let sns = Arc::new(FakeSns { certificate, visits: AtomicUsize::new(0), confirmed: Mutex::default() });
        let settings = RouterSettings { sns_topics: vec![TOPIC.to_owned()], ..RouterSettings::default() };
        let app = router(Arc::clone(&service), Arc::clone(&sns), settings);
        Self { app, service, store, clock, sns }
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

    /// A request with a JSON body, or without one if `body` is null.
    async fn call(&self, key: &str, method: &str, uri: &str, body: Value) -> Reply {
        let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
        self.send(bearer(key, method, uri).body(body).unwrap()).await
    }

    /// Payloads that the intake accepted.
    fn payloads(&self) -> Vec<Bytes> {
        self.service.intake.accepted()
    }
}

/// The result of a future that never waits, such as one over a healthy store in memory.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the future waits for something"),
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
