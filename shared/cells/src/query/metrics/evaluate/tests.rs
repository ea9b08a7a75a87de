//! Values computed from counters and sketches.

use event::RecipientHash;
use proptest::prelude::*;

use super::*;
use crate::cell::Uniques;
use crate::counter::{Counter, CounterId};
use crate::query::metrics::{
    CLICK_TO_OPEN_RATE, COMPLAINT_RATE, COMPLAINT_RATE_REPORTED, DELAY_RATE, DELAYED, DELAYS, DELIVERY_RATE,
    IN_FLIGHT, MetricRegistry, NET_DELIVERY_RATE, OPEN_RATE, OPENS, UNIQUE_CLICKS, UNIQUE_OPENS,
    UNIQUE_OPENS_TRACKED,
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
    for (metric, basis) in
        MetricRegistry::builtin().iter().flat_map(|metric| Basis::ALL.map(|basis| (metric, basis)))
    {
        let mut needs = Needs::default();
        metric.add_needs(&mut needs, basis);
        let mut read = Cell::default();
        for (counter, count) in full.counters.iter() {
            if needs.projection.counters.contains(counter) {
                read.counters.add(counter, count);
            }
        }
        assert_eq!(metric.value(&full, basis), metric.value(&read, basis), "{metric:?}");
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
        (C::DelaysRepeated, 15),
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
    check("delays", MetricValue::Count(50));
    check("delayed", MetricValue::Count(35));
    check("delay_rate", MetricValue::Number(0.035));
    check("bounces_after_acceptance", MetricValue::Count(4));
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
    // A click proves an open, so the clicks alone make an estimate of the opens.
    let mut clicked = cell.clone();
    clicked.opens = Uniques::default();
    assert!(is_exact(UNIQUE_OPENS.relative_error(&clicked) - Uniques::STANDARD_ERROR));
    assert!(is_exact(UNIQUE_OPENS_TRACKED.relative_error(&clicked)));
    let both = CLICK_TO_OPEN_RATE.relative_error(&cell);
    assert!((both / Uniques::STANDARD_ERROR - 2_f64.sqrt()).abs() < 1e-9);
    assert!(is_exact(OPENS.relative_error(&cell)));
}

fn spread(number: u64) -> RecipientHash {
    RecipientHash((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn uniques(numbers: std::ops::Range<u64>) -> Uniques {
    let mut uniques = Uniques::default();
    numbers.for_each(|number| uniques.insert(spread(number)));
    uniques
}

#[test]
fn click_without_a_loaded_pixel_proves_an_open() {
    // Of ten messages two were opened and six clicked, one of which was opened too.
    let mut cell = cell(&[(Counter::Deliveries, 10), (Counter::Opens, 2), (Counter::Clicks, 6)]);
    (cell.opens, cell.clicks) = (uniques(0..2), uniques(1..7));
    let check =
        |metric: Metric, expected| assert_eq!(metric.value(&cell, Basis::Event), expected, "{metric:?}");
    check(UNIQUE_OPENS, MetricValue::Count(7));
    check(UNIQUE_OPENS_TRACKED, MetricValue::Count(2));
    check(UNIQUE_CLICKS, MetricValue::Count(6));
    check(OPEN_RATE, MetricValue::Number(0.7));
    check(CLICK_TO_OPEN_RATE, MetricValue::Number(6.0 / 7.0));
}

/// Empty, small, about the limit of what is counted exactly, and large.
fn people() -> impl Strategy<Value = Uniques> {
    (0..3_000_u64, prop_oneof![Just(0_u64), 1..40_u64, 1_000..1_050_u64, 2_000..9_000_u64])
        .prop_map(|(first, count)| uniques(first..first + count))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_more_people_click_than_open_whatever_the_sketches_estimate(
        parts in prop::collection::vec((people(), people()), 1..3),
    ) {
        let mut row = Cell::default();
        let mut backwards = Cell::default();
        let cells: Vec<Cell> =
            parts.into_iter().map(|(opens, clicks)| Cell { opens, clicks, ..Cell::default() }).collect();
        for part in &cells {
            row.merge(part);
        }
        cells.iter().rev().for_each(|part| backwards.merge(part));
        // By event time rates are not capped, so it is the counts that keep it.
        let rate = |cell: &Cell| CLICK_TO_OPEN_RATE.value(cell, Basis::Event);
        prop_assert_eq!(rate(&row), rate(&backwards));
        let count = |metric: Metric| metric.value(&row, Basis::Event).as_number().unwrap();
        prop_assert!(count(UNIQUE_CLICKS) <= count(UNIQUE_OPENS));
        prop_assert!(count(UNIQUE_OPENS_TRACKED) <= count(UNIQUE_OPENS));
        prop_assert!(rate(&row).as_number().is_none_or(|rate| rate <= 1.0));
    }

    #[test]
    fn delayed_mail_is_a_part_of_the_delays_and_adds_up(
        parts in prop::collection::vec((0..50_u64, 0..50_u64), 1..5),
    ) {
        let parts: Vec<Cell> = parts
            .iter()
            .map(|&(first, repeated)| {
                cell(&[(Counter::Delays, first + repeated), (Counter::DelaysRepeated, repeated)])
            })
            .collect();
        let mut whole = Cell::default();
        for part in &parts {
            whole.merge(part);
        }
        let delayed = |cell: &Cell| DELAYED.value(cell, Basis::Event).as_number().unwrap();
        prop_assert!((parts.iter().map(delayed).sum::<f64>() - delayed(&whole)).abs() < 0.5);
        prop_assert!(delayed(&whole) <= DELAYS.value(&whole, Basis::Event).as_number().unwrap());
    }
}

#[test]
fn history_in_which_delays_were_not_told_apart_gives_all_of_them() {
    let old = cell(&[(Counter::Sends, 100), (Counter::Delays, 30)]);
    assert_eq!(DELAYED.value(&old, Basis::Event), MetricValue::Count(30));
    assert_eq!(DELAY_RATE.value(&old, Basis::Event), MetricValue::Number(0.3));
}

#[test]
fn share_of_sent_mail_has_no_value_by_send_cohort_if_sends_are_missing() {
    use Counter as C;
    let cohort = |sends| {
        cell(&[(C::Sends, sends), (C::Deliveries, 90), (C::BouncesPermanent, 16), (C::Complaints, 9)])
    };
    let scope = |basis| RowScope { basis, is_silent: false };
    let reporting = cohort(0).counters;
    for (sends, basis, expected) in [
        (100, Basis::Send, Some(Absence::DenominatorUnknown)),
        (101, Basis::Send, None),
        (0, Basis::Send, Some(Absence::DenominatorUnknown)),
        (100, Basis::Event, None),
    ] {
        let aggregate = Aggregate { cell: cohort(sends), reporting: reporting.clone() };
        for metric in MetricRegistry::builtin().rates() {
            let measured = metric.metric.measure(&aggregate, scope(basis));
            let of_sends = metric.denominator == SENDS;
            assert_eq!(measured.absence(), expected.filter(|_| of_sends), "{metric:?} of {sends}");
            if measured.absence().is_some() {
                assert_eq!(measured.value(basis), MetricValue::Missing);
            }
        }
    }
}

#[test]
fn mail_that_bounces_after_acceptance_does_not_make_sends_unknown() {
    use Counter as C;
    let cohort = cell(&[
        (C::Sends, 10),
        (C::Deliveries, 10),
        (C::BouncesPermanent, 4),
        (C::BouncesAfterAcceptance, 4),
    ]);
    for basis in Basis::ALL {
        assert_eq!(DELIVERY_RATE.value(&cohort, basis), MetricValue::Number(1.0));
        assert_eq!(NET_DELIVERY_RATE.value(&cohort, basis), MetricValue::Number(0.6));
    }
}

#[test]
fn complaint_rate_has_no_value_where_none_of_the_mail_is_at_a_provider_that_reports() {
    let all = cell(&[(Counter::Deliveries, 100)]);
    let reporting = |deliveries| cell(&[(Counter::Deliveries, deliveries)]).counters;
    for (deliveries, absence) in [(0, Some(Absence::NotReported)), (1, None)] {
        for metric in [COMPLAINT_RATE, COMPLAINT_RATE_REPORTED] {
            let (value, found) = metric.value_with_reporting(&all, &reporting(deliveries), Basis::Event);
            assert_eq!((value.as_number(), found), (absence.is_none().then_some(0.0), absence), "{metric:?}");
        }
    }
    // A complaint arrived all the same, so somebody reports.
    let complained = cell(&[(Counter::Deliveries, 100), (Counter::Complaints, 2)]);
    let (value, found) = COMPLAINT_RATE.value_with_reporting(&complained, &reporting(0), Basis::Event);
    assert_eq!((value, found), (MetricValue::Number(0.02), None));
    let nothing = COMPLAINT_RATE.value_with_reporting(&Cell::default(), &Counters::new(), Basis::Event);
    assert_eq!(nothing, (MetricValue::Missing, None));
}
