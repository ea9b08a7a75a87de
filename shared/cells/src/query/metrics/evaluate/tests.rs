//! Values computed from counters and sketches.

use event::RecipientHash;

use super::*;
use crate::cell::Uniques;
use crate::counter::{Counter, CounterId};
use crate::query::metrics::{
    CLICK_TO_OPEN_RATE, COMPLAINT_RATE_REPORTED, IN_FLIGHT, MetricRegistry, OPEN_RATE, OPENS,
};

fn cell(counts: &[(Counter, u64)]) -> Cell {
    let mut cell = Cell::default();
    for &(counter, count) in counts {
        cell.counters.add(counter, count);
    }
    cell
}

#[test]
fn metric_needs_only_the_counters_it_asks_for() {
    let mut full = Cell::default();
    for number in 0..=u8::MAX {
        full.counters.add(CounterId::from_number(number), 1 << (number % 7));
    }
    for metric in MetricRegistry::builtin().iter() {
        let mut needs = Needs::default();
        metric.add_needs(&mut needs);
        let mut read = Cell::default();
        for (counter, count) in full.counters.iter() {
            if needs.projection.counters.contains(counter) {
                read.counters.add(counter, count);
            }
        }
        assert_eq!(metric.value(&full, Basis::Event), metric.value(&read, Basis::Event), "{metric:?}");
    }
}

#[test]
fn metrics_are_computed_from_the_counters_of_the_tables() {
    use Counter as C;
    let cell = cell(&[
        (C::Sends, 1000),
        (C::Deliveries, 900),
        (C::BouncesPermanent, 30),
        (C::BouncesTransient, 20),
        (C::BouncesUndetermined, 10),
        (C::SuppressedOutsideReputation, 5),
        (C::BouncesAfterAcceptance, 4),
        (C::Rejects, 3),
        (C::RenderingFailures, 2),
        (C::Complaints, 9),
        (C::Delays, 50),
        (C::Unsubscribes, 18),
        (C::DeliveryMillis, 3_000),
        (C::DeliveriesTimed, 8),
        (C::QueueDepth, 700),
        (C::QueueReadings, 2),
    ]);
    let check = |name: &str, expected: MetricValue| {
        let metric = MetricRegistry::builtin().get(name).unwrap();
        assert_eq!(metric.value(&cell, Basis::Event), expected, "{name}");
    };
    check("bounces", MetricValue::Count(60));
    check("hard_bounces", MetricValue::Count(25));
    check("delivered_net", MetricValue::Count(896));
    check("in_flight", MetricValue::Count(1000 + 4 - 900 - 60 - 3 - 2));
    check("delivery_rate", MetricValue::Number(0.9));
    check("bounce_rate", MetricValue::Number(0.06));
    check("hard_bounce_rate", MetricValue::Number(0.025));
    check("complaint_rate", MetricValue::Number(0.01));
    check("net_delivery_rate", MetricValue::Number(0.896));
    check("delay_rate", MetricValue::Number(0.05));
    check("unsubscribe_rate", MetricValue::Number(0.02));
    check("open_rate", MetricValue::Number(0.0));
    check("click_to_open_rate", MetricValue::Missing);
    check("delivery_ms_mean", MetricValue::Number(375.0));
    check("delivery_ms_p95", MetricValue::Missing);
    check("queue_depth", MetricValue::Number(350.0));
}

#[test]
fn more_outcomes_than_sends_leave_nothing_in_flight() {
    let late = cell(&[(Counter::Sends, 1), (Counter::Deliveries, 5)]);
    assert_eq!(IN_FLIGHT.value(&late, Basis::Event), MetricValue::Count(0));
}

#[test]
fn rate_over_reporting_providers_has_no_value_where_providers_are_unknown() {
    let cell = cell(&[(Counter::Deliveries, 100), (Counter::Complaints, 1)]);
    assert_eq!(COMPLAINT_RATE_REPORTED.value(&cell, Basis::Event), MetricValue::Missing);
}

#[test]
fn unique_counts_state_their_error_when_they_are_estimates() {
    let mut cell = cell(&[(Counter::Deliveries, 10_000)]);
    let is_exact = |error: f64| error.abs() < f64::EPSILON;
    assert!(is_exact(OPEN_RATE.relative_error(&cell)));
    for hash in 0..5_000_u64 {
        let spread = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        cell.opens.insert(RecipientHash(spread));
        cell.clicks.insert(RecipientHash(spread));
    }
    assert!(is_exact(OPEN_RATE.relative_error(&cell) - Uniques::STANDARD_ERROR));
    let both = CLICK_TO_OPEN_RATE.relative_error(&cell);
    assert!((both / Uniques::STANDARD_ERROR - 2_f64.sqrt()).abs() < 1e-9);
    assert!(is_exact(OPENS.relative_error(&cell)));
}
