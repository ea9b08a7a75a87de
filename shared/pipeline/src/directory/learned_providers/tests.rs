//! Providers through all steps: what readers see before and after compaction, and what an attacker can reach.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use cells::query::metrics::SENDS;
use cells::query::{Locale, MetricRegistry, Query, QueryDimension, Scope};
use event::Timestamp;
use event::attribution::Dimension;

use super::*;
use crate::history::answering;
use crate::history::compaction::CompactionSettings;
use crate::ports::Clock as _;
use crate::testing::samples;
use crate::tests::TestPipeline;

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const GOOGLE: &str = "250 2.0.0 OK 1764500000 x - gsmtp";
const MICROSOFT: &str = "250 2.6.0 <x> [Hostname=a.prod.outlook.com] Queued mail for delivery";
const UNKNOWN: &str = "250 2.0.0 Ok: queued as 4F2B1C0A";

fn tenant(name: &str) -> Scope {
    Scope::Tenant(TenantId::new(name).unwrap())
}

fn send(tenant: &str, message: u64, domain: &str, at: Timestamp) -> String {
    let mail = mail(tenant, message, domain, at);
    format!(r#"{{"eventType":"Send",{mail},"send":{{}}}}"#)
}

fn delivery(
    tenant: &str,
    message: u64,
    domain: &str,
    sent: Timestamp,
    at: Timestamp,
    answer: &str,
) -> String {
    let mail = mail(tenant, message, domain, sent);
    format!(
        r#"{{"eventType":"Delivery",{mail},"delivery":{{"timestamp":"{at}","recipients":["a@{domain}"],"processingTimeMillis":800,"smtpResponse":"{answer}"}}}}"#
    )
}

fn mail(tenant: &str, message: u64, domain: &str, at: Timestamp) -> String {
    format!(
        r#""mail":{{"timestamp":"{at}","messageId":"m-{tenant}-{message}","source":"a@news.example","destination":["a@{domain}"],"tags":{{"tenant":["{tenant}"]}}}}"#
    )
}

/// Sends and deliveries by provider or by another dimension, over all time.
async fn by(
    pipeline: &TestPipeline,
    scope: Scope,
    dimension: &str,
    basis: &str,
) -> BTreeMap<String, (u64, u64)> {
    let now = pipeline.clock.now();
    let (from, to) =
        (now.plus_millis(-90 * 24 * HOUR_MS).to_string(), now.plus_millis(24 * HOUR_MS).to_string());
    let (from, to) = (format!("{}T00:00:00Z", &from[..10]), format!("{}T00:00:00Z", &to[..10]));
    let pairs = [
        ("metrics", "sends,deliveries"),
        ("from", &from),
        ("to", &to),
        ("granularity", "total"),
        ("group_by", dimension),
        ("basis", basis),
    ];
    let query = Query::from_pairs(pairs, scope, &Locale::default(), now).unwrap();
    let settings = CompactionSettings::default();
    let answer = answering::answer(&pipeline.store, &query, &settings, now, NonZeroUsize::MIN).await.unwrap();
    let deliveries = MetricRegistry::builtin().get("deliveries").unwrap();
    let group = query.group_by()[0].dimension;
    let count = |number: Option<f64>| format!("{}", number.unwrap_or(0.0)).parse().unwrap();
    answer
        .rows()
        .map(|row| (row.group(group).to_owned(), (count(row.number(SENDS)), count(row.number(deliveries)))))
        .collect()
}

fn expected(rows: &[(&str, u64, u64)]) -> BTreeMap<String, (u64, u64)> {
    rows.iter().map(|(name, sends, deliveries)| ((*name).to_owned(), (*sends, *deliveries))).collect()
}

#[tokio::test]
async fn send_and_outcome_of_a_message_are_under_one_provider_before_and_after_every_compaction() {
    let mut pipeline = TestPipeline::new();
    let answer_of = |domain: u64| [GOOGLE, MICROSOFT, UNKNOWN][(domain % 3) as usize];
    let mut number = 0;
    for hour in 0..3_u64 {
        for domain in 0..9 {
            let name = format!("d{domain}.example");
            let sent = pipeline.clock.now();
            let message = hour * 100 + domain;
            let at = sent.plus_millis(2 * MINUTE_MS);
            pipeline.aggregate(&[(number + 1, send("acme", message, &name, sent))]).await.unwrap();
            // Before any outcome, the provider is not known, whatever the domain.
            if (hour, domain) == (0, 0) {
                let rows = by(&pipeline, tenant("acme"), "provider", "event").await;
                assert_eq!(rows, expected(&[("other", 1, 0)]));
            }
            let outcome = delivery("acme", message, &name, sent, at, answer_of(domain));
            pipeline.aggregate(&[(number + 2, outcome)]).await.unwrap();
            number += 2;
            pipeline.advance(3 * MINUTE_MS);
        }
        let so_far = 3 * (hour + 1);
        let rows = expected(&[
            ("google-workspace", so_far, so_far),
            ("microsoft-365", so_far, so_far),
            ("other", so_far, so_far),
        ]);
        for basis in ["event", "send"] {
            assert_eq!(
                by(&pipeline, tenant("acme"), "provider", basis).await,
                rows,
                "hour {hour}, not compacted"
            );
        }
        pipeline.advance(HOUR_MS);
        assert!(pipeline.compact().await.failed.is_empty());
        for basis in ["event", "send"] {
            assert_eq!(by(&pipeline, tenant("acme"), "provider", basis).await, rows, "hour {hour}, {basis}");
        }
    }
    // A domain may become known when its rows are in blocks of hours already.
    let sent = pipeline.clock.now();
    let late = delivery("acme", 999, "d2.example", sent, sent, GOOGLE);
    pipeline.aggregate(&[(number + 1, late)]).await.unwrap();
    let rows = expected(&[("google-workspace", 12, 13), ("microsoft-365", 9, 9), ("other", 6, 6)]);
    assert_eq!(by(&pipeline, tenant("acme"), "provider", "event").await, rows);
    // Days and months are built from hours whose rows name their provider or still have a marker.
    for days in [2, 40] {
        pipeline.advance(days * 24 * HOUR_MS);
        assert!(pipeline.compact().await.failed.is_empty());
        assert_eq!(by(&pipeline, tenant("acme"), "provider", "event").await, rows, "after {days} days");
    }
    let domains = by(&pipeline, tenant("acme"), "recipient_domain", "event").await;
    assert_eq!(domains.len(), 9);
}

#[tokio::test]
async fn provider_group_follows_from_the_provider() {
    let mut pipeline = TestPipeline::new();
    let at = pipeline.clock.now();
    let events = [
        (1, send("acme", 1, "gmx.de", at)),
        (2, send("acme", 2, "web.de", at)),
        (3, send("acme", 3, "company.example", at)),
        (4, delivery("acme", 3, "company.example", at, at, GOOGLE)),
    ];
    pipeline.aggregate(&events).await.unwrap();
    for _ in 0..2 {
        let rows = by(&pipeline, tenant("acme"), QueryDimension::ProviderGroup.name(), "event").await;
        assert_eq!(rows, expected(&[("gmx", 2, 0), ("google-workspace", 1, 1)]));
        pipeline.advance(HOUR_MS);
        pipeline.compact().await;
    }
}

#[tokio::test]
async fn attacker_changes_no_other_tenants_numbers() {
    let mut pipeline = TestPipeline::new();
    let at = pipeline.clock.now();
    let mut number = 0;
    let mut take = |events: Vec<String>| -> Vec<(u64, String)> {
        events
            .into_iter()
            .map(|event| {
                number += 1;
                (number, event)
            })
            .collect()
    };
    // The victim's own outcomes name Google for one domain; of the other it has a send only.
    let honest = take(vec![
        send("victim", 1, "known.example", at),
        delivery("victim", 1, "known.example", at, at, GOOGLE),
        send("victim", 2, "silent.example", at),
        send("victim", 3, "gmail.com", at),
    ]);
    pipeline.aggregate(&honest).await.unwrap();
    pipeline.advance(HOUR_MS);
    pipeline.compact().await;
    // The attacker claims other providers, for these and for a fixed domain.
    for domain in ["known.example", "silent.example", "gmail.com"] {
        let claims =
            take((0..50).map(|message| delivery("attacker", message, domain, at, at, MICROSOFT)).collect());
        pipeline.aggregate(&claims).await.unwrap();
    }
    for round in 0..3 {
        let gmail = 1 + u64::from(round > 0);
        let untouched = expected(&[("gmail", gmail, 0), ("google-workspace", 1, 1), ("other", 1, 0)]);
        assert_eq!(by(&pipeline, tenant("victim"), "provider", "event").await, untouched, "round {round}");
        // Compactions of both tenants, and more mail of the victim, which makes it look at the shared table again.
        pipeline.advance(HOUR_MS);
        let more = take(vec![send("victim", 9, "gmail.com", at)]);
        pipeline.aggregate(&more).await.unwrap();
        assert!(pipeline.compact().await.failed.is_empty());
    }
    let own = read(&pipeline.store, &TenantId::new("victim").unwrap()).await.unwrap();
    assert_eq!((own.get("known.example"), own.get("silent.example")), (Some("google-workspace"), None));
}

#[tokio::test]
async fn tenant_adopts_what_two_others_agree_on() {
    let mut pipeline = TestPipeline::new();
    let at = pipeline.clock.now();
    let agreed = [
        (1, delivery("one", 1, "shared.example", at, at, GOOGLE)),
        (2, delivery("two", 1, "shared.example", at, at, GOOGLE)),
    ];
    pipeline.aggregate(&agreed).await.unwrap();
    pipeline.advance(HOUR_MS);
    pipeline.compact().await;
    pipeline.aggregate(&[(3, send("three", 1, "shared.example", pipeline.clock.now()))]).await.unwrap();
    pipeline.advance(HOUR_MS);
    pipeline.compact().await;
    let rows = by(&pipeline, tenant("three"), Dimension::Provider.name(), "event").await;
    assert_eq!(rows, expected(&[("google-workspace", 1, 0)]));
}

#[tokio::test]
async fn erasure_removes_what_a_tenant_learned() {
    let mut pipeline = TestPipeline::new();
    let at = pipeline.clock.now();
    pipeline.aggregate(&[(1, delivery("acme", 1, "a.example", at, at, GOOGLE))]).await.unwrap();
    pipeline.advance(HOUR_MS);
    pipeline.compact().await;
    let acme = TenantId::new("acme").unwrap();
    assert!(!read(&pipeline.store, &acme).await.unwrap().is_empty());
    crate::directory::erasure::erase(&pipeline.store, &acme).await.unwrap();
    assert!(read(&pipeline.store, &acme).await.unwrap().is_empty());
}

#[test]
fn stored_sample_of_each_format_is_read() {
    let mut evidence = EvidenceCounts::default();
    evidence.add("a.example", "google-workspace", 5);
    let mut own = LearnedProviders::default();
    let learned = own.learn(&evidence);
    own.adopt("b.example", "mimecast");
    samples::check("learned-providers-3", &own);
    let mut shared = SharedProviders::default();
    shared.vote(7, true, &learned);
    samples::check("shared-providers-3", &shared);
}
