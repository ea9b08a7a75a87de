//! The tables as a whole, and a metric that only a test knows.

use std::collections::BTreeSet;

use event::{BounceClass, TenantId};
use serde_json::json;

use super::super::*;
use super::*;
use crate::counter::Counter;
use crate::query::testing::{NOW, TestEvent, executed};
use crate::query::{Freshness, LineFormat, Locale, Query, Scope};

/// A metric that no table has: one row, over counters that are there.
static SPAM_SIGNALS: MetricDefinition = MetricDefinition {
    unit: Unit::Count,
    direction: Direction::LowerIsBetter,
    ..MetricDefinition::new(
        "spam_signals",
        "Spam signals",
        Formula::Counters(CounterFormula::Sum(&[Counter::Complaints, Counter::Unsubscribes])),
        "Complaints and unsubscribes.",
    )
};
static SPAM_SIGNAL_RATE: MetricDefinition = MetricDefinition {
    unit: Unit::Fraction,
    direction: Direction::LowerIsBetter,
    limit: LimitPolicy::DefaultLimit(0.01),
    ..MetricDefinition::new(
        "spam_signal_rate",
        "Spam signal rate",
        Formula::ratio(Metric::of(&SPAM_SIGNALS), DELIVERIES),
        "The share of delivered mail with a spam signal.",
    )
};

#[test]
fn metric_that_is_one_row_is_parsed_answered_and_written() {
    let registry = MetricRegistry::builtin().with(&SPAM_SIGNALS).with(&SPAM_SIGNAL_RATE);
    let locale = Locale { metrics: registry.clone(), ..Locale::default() };
    let body = json!({
        "metrics": ["spam_signals", "spam_signal_rate"], "from": "2026-03-01", "to": "2026-03-02",
        "order_by": ["spam_signal_rate:worst"],
    });
    let body = body.to_string();
    let query = Query::from_json(body.as_bytes(), Scope::All, &locale, NOW).unwrap();
    let events = [(Counter::Deliveries, 100), (Counter::Complaints, 2), (Counter::Unsubscribes, 3)]
        .map(|(counter, count)| TestEvent::new("2026-03-01T10:20:00Z", "yahoo", counter, count));
    let answer = executed(&query, &events).finish(None, Freshness::default());

    let (count, rate) = (Metric::of(&SPAM_SIGNALS), Metric::of(&SPAM_SIGNAL_RATE));
    let row = answer.rows().next().unwrap();
    assert_eq!((row.count(count), row.number(rate)), (5, Some(0.05)));
    let reply = serde_json::to_value(&answer).unwrap();
    assert_eq!(reply["rows"][0]["metrics"], json!({ "spam_signals": 5, "spam_signal_rate": 0.05 }));
    let mut csv = Vec::new();
    answer.write_lines(LineFormat::Csv, &mut csv).unwrap();
    assert_eq!(String::from_utf8(csv).unwrap(), "spam_signals,spam_signal_rate\r\n5,0.05\r\n");

    let rate = registry.rates().find(|rate| rate.metric.name() == "spam_signal_rate").unwrap();
    assert_eq!((rate.numerator, rate.denominator), (count, DELIVERIES));
    assert!(registry.limitable().any(|metric| metric.limit().default_limit() == Some(0.01)));
    assert!(registry.additive().any(|(metric, _)| metric == count));
    assert_eq!(rate.metric.formula_text(), "spam_signals / deliveries");

    let tenant = Scope::Tenant(TenantId::new("acme").unwrap());
    let refusal = Query::from_json(body.as_bytes(), tenant, &Locale::default(), NOW).unwrap_err();
    assert_eq!(refusal.problem, r#""spam_signals" is not a metric"#);
}

#[test]
fn every_metric_is_found_by_its_name_and_no_two_share_one() {
    let registry = MetricRegistry::builtin();
    let mut names = BTreeSet::new();
    for metric in registry.iter() {
        assert_eq!(registry.get(metric.name()), Some(metric));
        assert!(names.insert(metric.name()), "{metric:?}");
    }
    let tables = COUNTS.len() + RATES.len() + DELIVERY_TIMES.len();
    assert_eq!(names.len(), tables + 2 * BounceClass::ALL.len());
    assert_eq!(registry.get("opened"), None);
    assert_eq!(registry.get(""), None);
}

#[test]
fn metric_of_a_known_name_replaces_the_known_one() {
    static OTHER_SENDS: MetricDefinition = MetricDefinition::new(
        "sends",
        "Sends",
        Formula::Counters(CounterFormula::Sum(&[Counter::Opens])),
        "Opens, for a test.",
    );
    let registry = MetricRegistry::builtin().with(&OTHER_SENDS);
    assert_eq!(registry.get("sends"), Some(Metric::of(&OTHER_SENDS)));
    assert_eq!(registry.iter().count(), MetricRegistry::builtin().iter().count());
}

#[test]
fn every_metric_has_a_label_and_a_sentence_of_its_own() {
    let registry = MetricRegistry::builtin();
    let distinct = |texts: &mut dyn Iterator<Item = &'static str>| {
        let texts: Vec<&str> = texts.collect();
        assert!(texts.iter().all(|text| text.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit())));
        texts.iter().collect::<BTreeSet<_>>().len()
    };
    let count = registry.iter().count();
    assert_eq!(distinct(&mut registry.iter().map(Metric::label)), count);
    assert_eq!(distinct(&mut registry.iter().map(Metric::description)), count);
    assert!(registry.iter().all(|metric| metric.description().ends_with('.')));
}

#[test]
fn rates_are_made_of_counts_and_limits_have_a_direction() {
    let registry = MetricRegistry::builtin();
    let is_count = |metric: Metric| metric.unit() == Unit::Count && metric.ratio().is_none();
    for RateMetric { metric, numerator, denominator } in registry.rates() {
        assert!(is_count(numerator) && is_count(denominator), "{metric:?}");
        assert_eq!((metric.unit(), metric.base()), (Unit::Fraction, Some(denominator)), "{metric:?}");
    }
    assert!(registry.limitable().all(|metric| metric.direction() != Direction::Neutral));
    let limitable: Vec<_> =
        registry.limitable().map(|metric| (metric.name(), metric.limit().default_limit())).collect();
    let expected = [
        ("queue_depth", None),
        ("delivery_rate", Some(0.95)),
        ("bounce_rate", Some(0.02)),
        ("hard_bounce_rate", None),
        ("complaint_rate", Some(0.001)),
        ("net_delivery_rate", None),
        ("delivery_ms_p95", None),
    ];
    assert_eq!(limitable, expected);
}

#[test]
fn metrics_are_described_by_their_counters_and_counts() {
    assert_eq!(BOUNCE_RATE.label(), "Bounce rate");
    assert_eq!((BOUNCE_RATE.unit().name(), BOUNCE_RATE.direction().name()), ("fraction", "lower"));
    assert_eq!(OPEN_RATE.direction(), Direction::HigherIsBetter);
    assert_eq!(DELIVERY_MS_P95.label(), "Delivery time, p95");
    let by_class = MetricRegistry::builtin().get("bounces_spam_block").unwrap();
    assert_eq!(by_class.label(), "Bounces: spam block");
    for (metric, expected) in [
        (BOUNCE_RATE, "bounces / sends"),
        (SENDS, "recipients of messages that SES accepted"),
        (BOUNCES, "bounces_permanent + bounces_transient + bounces_undetermined"),
        (HARD_BOUNCES, "bounces_permanent - suppressed_outside_reputation"),
        (DELIVERED_NET, "deliveries - bounces_after_acceptance, at least 0"),
        (DELAYED, "delays - delays_repeated"),
        (UNIQUE_OPENS, "messages that people opened; a click proves an open"),
        (COMPLAINT_RATE_REPORTED, "complaints / deliveries, over providers that report complaints"),
        (DELIVERY_MS_P95, "95 of 100 deliveries took at most this long"),
        (by_class, "the part of the bounces classified as spam block"),
    ] {
        assert_eq!(metric.formula_text(), expected);
    }
}
