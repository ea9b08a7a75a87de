//! Typed access to rows.

use event::attribution::Dimension;

use super::super::metrics::{COMPLAINT_RATE, DELIVERIES, DELIVERY_RATE, OPENS, QUEUE_DEPTH, SENDS};
use super::super::request::Scope;
use super::super::testing::{NOW, TestEvent, executed, minute};
use super::super::{Compare, Granularity};
use super::*;
use crate::counter::Counter;

fn answer() -> Answer {
    let event = |provider, counter, count| TestEvent::new("2026-03-01T10:20:00Z", provider, counter, count);
    let events = [
        event("gmail", Counter::Sends, 10),
        event("gmail", Counter::Deliveries, 8),
        event("yahoo", Counter::Sends, 5),
        event("apple", Counter::Sends, 2),
        TestEvent::new("2026-02-28T10:20:00Z", "gmail", Counter::Sends, 7),
    ];
    let query = Query::builder(Scope::All)
        .metrics([SENDS, DELIVERIES, DELIVERY_RATE, COMPLAINT_RATE, QUEUE_DEPTH])
        .range(minute("2026-03-01T00:00:00Z"), minute("2026-03-02T00:00:00Z"))
        .granularity(Granularity::Day)
        .group_by([Dimension::Provider])
        .limit(2)
        .compare(Compare::PreviousPeriod)
        .build(NOW)
        .unwrap();
    let earlier = query.earlier().unwrap().map(|earlier| executed(&earlier, &events));
    executed(&query, &events).finish(earlier, Freshness::default())
}

#[test]
fn row_is_read_by_metric_and_dimension() {
    let answer = answer();
    let row = answer.rows().next().unwrap();
    assert_eq!(row.time(), Some(minute("2026-03-01T00:00:00Z")));
    assert_eq!(row.group(Dimension::Provider), "gmail");
    assert_eq!((row.count(SENDS), row.count(DELIVERIES)), (10, 8));
    assert_eq!((row.value(DELIVERY_RATE), row.number(QUEUE_DEPTH)), (MetricValue::Number(0.8), None));
    assert_eq!(row.ratio(DELIVERY_RATE), Some(RatioCounts { numerator: 8, denominator: 10 }));
    assert_eq!((row.ratio(SENDS), row.absence(SENDS)), (None, None));
    assert_eq!(row.absence(COMPLAINT_RATE), Some(Absence::NotReported));
    assert_eq!(row.previous(SENDS), Some(MetricValue::Count(7)));
}

#[test]
fn last_row_is_the_sum_of_all_other_groups() {
    let answer = answer();
    let others: Vec<bool> = answer.rows().map(AnswerRow::is_other).collect();
    assert_eq!(others, [false, false, true]);
    let other = answer.rows().next_back().unwrap();
    assert_eq!((other.group(Dimension::Provider), other.count(SENDS)), ("(other)", 2));
}

#[test]
#[should_panic(expected = "a metric that its query does not ask for")]
fn metric_that_was_not_asked_for_breaks_an_invariant() {
    let _ = answer().rows().next().unwrap().value(OPENS);
}

#[test]
#[should_panic(expected = "a metric that is not a count")]
fn count_of_a_rate_breaks_an_invariant() {
    let _ = answer().rows().next().unwrap().count(DELIVERY_RATE);
}

#[test]
#[should_panic(expected = "a dimension that its query does not group by")]
fn dimension_that_was_not_asked_for_breaks_an_invariant() {
    let _ = answer().rows().next().unwrap().group(Dimension::Campaign);
}
