//! Executions compared with the same answer computed naively.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::metrics::{
    BOUNCE_RATE, COMPLAINT_RATE_REPORTED, DELIVERY_RATE, IN_FLIGHT, Metric, MetricRegistry, MetricValue,
    SENDS,
};
use super::super::testing::{
    PlainBlock, TestEvent, bodies, events, executed, naive_cells, query, reply, tenant,
};
use super::super::{Answer, AnswerRow, Freshness};
use super::*;
use crate::block::Resolution;
use crate::cell::Cell;
use crate::counter::Counter;
use crate::testing::{RowTable, TestRow, build};

fn values(query: &Query, cell: &Cell) -> Vec<MetricValue> {
    query.metrics().iter().map(|metric| metric.value(cell, query.basis())).collect()
}

fn rows(answer: &Answer) -> Vec<AnswerRow<'_>> {
    answer.rows().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rows_equal_a_naive_count(events in events(), body in bodies()) {
        let query = query(&body);
        let answer = executed(&query, &events).finish(None, Freshness::default());
        prop_assume!(answer.next_cursor().is_none());
        let mut expected = naive_cells(&query, &events);
        for row in answer.rows() {
            let bucket = row.time().map_or(0, |time| query.edges().iter().position(|edge| *edge == time).unwrap());
            let group = row.groups().map(|(_, value)| value.to_owned()).collect();
            let cell = expected.remove(&(bucket, group)).unwrap_or_default();
            let found: Vec<MetricValue> = query.metrics().iter().map(|metric| row.value(*metric)).collect();
            prop_assert_eq!(found, values(&query, &cell));
        }
        prop_assert_eq!(expected.len(), 0);
    }

    #[test]
    fn filters_keep_what_a_naive_filter_keeps(events in events(), body in bodies(), prefix in "[a-g]?") {
        let mut body = body;
        body["filter"] = json!({ "or": [
            { "and": [
                { "dimension": "provider", "op": "in", "value": ["gmail", "apple"] },
                { "not": { "dimension": "campaign", "op": "eq", "value": "summer" } },
            ] },
            { "and": [
                { "dimension": "recipient_domain", "op": "prefix", "value": prefix },
                { "dimension": "tenant", "op": "ne", "value": "globex" },
            ] },
        ] });
        let filtered = executed(&query(&body), &events).finish(None, Freshness::default());
        body["filter"] = serde_json::Value::Null;
        let kept: Vec<_> = events.into_iter().filter(|one| {
            let first = ["gmail", "apple"].contains(&one.provider) && one.campaign != "summer";
            first || one.domain.starts_with(&prefix) && one.tenant != "globex"
        }).collect();
        let plain = executed(&query(&body), &kept).finish(None, Freshness::default());
        prop_assert_eq!(rows(&filtered), rows(&plain));
    }

    #[test]
    fn rate_over_reporting_providers_leaves_silent_ones_out(events in events(), by_send in any::<bool>()) {
        let mut body = json!({ "metrics": ["complaint_rate_reported"], "from": "2025-12-01", "to": "2026-03-16" });
        if by_send {
            body["basis"] = json!("send");
        }
        let query = query(&body);
        let whole = executed(&query, &events).finish(None, Freshness::default());
        let at_reporting = events.into_iter().filter(|event| provider::reports_complaints(event.provider));
        let cells = naive_cells(&query, &at_reporting.collect::<Vec<_>>());
        let cell = cells.into_values().next().unwrap_or_default();
        let counts = whole.rows().next().unwrap().ratio(COMPLAINT_RATE_REPORTED).unwrap();
        prop_assert_eq!(counts.numerator, cell.counters.get(Counter::Complaints));
        prop_assert_eq!(counts.denominator, cell.counters.get(Counter::Deliveries));
    }

    #[test]
    fn merged_executions_answer_like_a_single_one(events in events(), body in bodies(), cut in 0..60_usize) {
        let query = query(&body);
        let (left, right) = events.split_at(cut.min(events.len()));
        let mut merged = executed(&query, right);
        merged.merge(&executed(&query, left)).unwrap();
        let whole = executed(&query, &events).finish(None, Freshness::default());
        let merged = merged.finish(None, Freshness::default());
        prop_assert_eq!(rows(&merged), rows(&whole));
    }

    #[test]
    fn any_split_of_a_range_sums_to_the_range(events in events(), cut in 1..69 * 24 * 60_u32) {
        let cut = (super::super::testing::NOW.plus_millis(-i64::from(cut) * 60_000)).minute().start().to_string();
        let sends = |from: &str, to: &str| {
            let body = json!({ "metrics": ["sends", "delays"], "from": from, "to": to });
            let reply = reply(&body, &events);
            let metrics = &reply["rows"][0]["metrics"];
            (metrics["sends"].as_u64().unwrap(), metrics["delays"].as_u64().unwrap())
        };
        let (early, late) = (sends("2025-12-01", &cut), sends(&cut, "2026-04-01"));
        prop_assert_eq!((early.0 + late.0, early.1 + late.1), sends("2025-12-01", "2026-04-01"));
    }

    #[test]
    fn day_of_a_zone_is_the_sum_of_its_hours(events in events(), zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York"])) {
        let by = |granularity: &str| {
            let body = json!({ "metrics": ["sends"], "from": "2026-01-04", "to": "2026-03-16", "timezone": zone, "granularity": granularity, "fill": "zero" });
            let query = query(&body);
            let answer = executed(&query, &events).finish(None, Freshness::default());
            answer.rows().map(|row| (row.time().unwrap(), row.count(SENDS))).collect::<Vec<_>>()
        };
        let (days, hours) = (by("1d"), by("1h"));
        for ends in days.windows(2) {
            let of_day = hours.iter().filter(|(hour, _)| ends[0].0 <= *hour && *hour < ends[1].0);
            prop_assert_eq!(of_day.map(|(_, sends)| sends).sum::<u64>(), ends[0].1);
        }
    }

    #[test]
    fn rates_by_send_cohort_never_exceed_one(mails in prop::collection::vec((0..2000_u32, 0..4 * 24 * 60_u32, 0..4_u8), 1..60)) {
        // Each mail has one outcome, some time after it was sent.
        let events: Vec<_> = mails.iter().flat_map(|&(sent, took, outcome)| {
            let sent = Minute(super::super::testing::NOW.minute().0 - 9000 + sent);
            let send = TestEvent { at: sent, sent, ..TestEvent::new("2026-01-01T00:00:00Z", "gmail", Counter::Sends, 1) };
            let counter = [Counter::Deliveries, Counter::BouncesPermanent, Counter::BouncesTransient, Counter::Rejects][usize::from(outcome)];
            [send.clone(), TestEvent { at: Minute(sent.0 + took), counter: counter.into(), ..send }]
        }).collect();
        let body = json!({ "metrics": ["delivery_rate", "bounce_rate", "in_flight"], "from": "-30d", "granularity": "1h", "basis": "send" });
        let query = query(&body);
        let answer = executed(&query, &events).finish(None, Freshness::default());
        for row in answer.rows() {
            for rate in [DELIVERY_RATE, BOUNCE_RATE] {
                let counts = row.ratio(rate).unwrap();
                prop_assert!(counts.numerator <= counts.denominator);
                prop_assert!((0.0..=1.0).contains(&row.number(rate).unwrap()));
            }
            prop_assert_eq!(row.count(IN_FLIGHT), 0);
        }
    }
}

#[test]
fn rows_of_another_tenant_are_never_counted() {
    let body = json!({ "metrics": ["sends"], "from": "2026-03-01", "to": "2026-03-02" });
    let query = super::super::testing::read(&body, super::super::Scope::Tenant(tenant("acme"))).unwrap();
    let row = TestEvent::new("2026-03-01T10:00:00Z", "gmail", Counter::Sends, 7);
    let mut execution = Execution::new(&query);
    for name in ["globex", "acme"] {
        execution
            .add(&tenant(name), &LearnedProviders::default(), &PlainBlock::by_minute(vec![row.clone()]))
            .unwrap();
    }
    let answer = execution.finish(None, Freshness::default());
    assert_eq!(answer.rows().map(|row| row.value(SENDS)).collect::<Vec<_>>(), [MetricValue::Count(7)]);
}

#[test]
fn counts_saturate_instead_of_wrapping() {
    let row = TestEvent::new("2026-03-01T10:00:00Z", "gmail", Counter::Sends, u64::MAX);
    let body = json!({ "metrics": ["sends"], "from": "2026-03-01", "to": "2026-03-02" });
    let reply = reply(&body, &[row.clone(), row]);
    assert_eq!(reply["rows"][0]["metrics"]["sends"], u64::MAX);
}

#[test]
fn answer_that_does_not_fit_is_refused_with_advice() {
    let names: Vec<&'static str> =
        (0..500).map(|n| &*Box::leak(format!("{n}.com").into_boxed_str())).collect();
    let rows = names.iter().map(|name| TestEvent {
        domain: name,
        ..TestEvent::new("2026-03-01T10:00:00Z", "gmail", Counter::Sends, 1)
    });
    let body = json!({ "metrics": ["sends"], "from": "2026-02-10", "to": "2026-03-15", "granularity": "1m", "group_by": ["recipient_domain"] });
    let query = query(&body);
    let refusal = Execution::new(&query)
        .add(&tenant("acme"), &LearnedProviders::default(), &PlainBlock::by_minute(rows.collect()))
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "group_by: the answer has too many groups and buckets; allowed: fewer or smaller dimensions, a coarser granularity, \
         a shorter range or a filter; for example group_by=provider"
    );
}

#[test]
fn minute_is_found_in_its_bucket_whatever_the_widths() {
    for edges in [[10, 20, 25, 60], [10, 20, 30, 40], [10, 40, 45, 60]] {
        let buckets = BucketFinder::new(&edges.map(Minute));
        for minute in 0..70 {
            let expected = edges.windows(2).position(|edge| (edge[0]..edge[1]).contains(&minute));
            assert_eq!(buckets.find(Minute(minute)), expected, "{minute} in {edges:?}");
        }
    }
}

#[test]
fn queries_of_every_metric_are_answered() {
    let all: Vec<_> = MetricRegistry::builtin().iter().map(Metric::name).collect();
    for metrics in all.chunks(Query::MAX_METRICS) {
        let reply = reply(&json!({ "metrics": metrics }), &[]);
        assert_eq!(reply["rows"][0]["metrics"].as_object().unwrap().len(), metrics.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn query_at_an_age_counts_the_outcomes_within_it(
        events in events(),
        body in bodies(),
        age in prop::sample::select(AgeClass::BOUNDED.to_vec()),
    ) {
        let mut body = body;
        body["basis"] = json!("send");
        body["group_by"] = json!(["provider"]);
        let younger: Vec<TestEvent> = events.iter().filter(|one| one.age() <= age).cloned().collect();
        let expected = executed(&query(&body), &younger).finish(None, Freshness::default());
        // It asks by send time, if nothing else is asked.
        body["max_age"] = json!(age.name());
        body["basis"] = Json::Null;
        let answer = executed(&query(&body), &events).finish(None, Freshness::default());
        prop_assert!(answer.rows().eq(expected.rows()));
        prop_assert_eq!(answer.notes(), &HistoryNotes::default());
    }
}

/// An answer by send time about a block from before ages were stored: 5 sends at 10:07, and 2 opens of mail from the hour of 10:00.
fn answer_from_before_ages(more: &Json) -> Answer {
    let row = |age, bucket: &str, counter, count| {
        let mut cell = Cell::default();
        cell.counters.add(counter, count);
        let bucket = super::super::testing::minute(bucket);
        TestRow { table: RowTable::Cohorts, values: Default::default(), age, bucket, cell }
    };
    let block = build(
        Resolution::Minute,
        &[
            row(AgeClass::Unknown, "2026-03-01T10:07:00Z", Counter::Sends, 5),
            row(AgeClass::UnknownLate, "2026-03-01T10:00:00Z", Counter::Opens, 2),
        ],
    );
    let mut body =
        json!({ "metrics": ["sends", "opens"], "from": "2026-03-01", "to": "2026-03-02", "basis": "send" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut execution = Execution::new(&query(&body));
    execution.add(&tenant("acme"), &LearnedProviders::default(), &block).unwrap();
    execution.finish(None, Freshness::default())
}

#[test]
fn history_from_before_ages_is_left_out_at_an_age_and_said() {
    let answer = answer_from_before_ages(&json!({ "max_age": "24h", "fill": "zero" }));
    let reply = serde_json::to_value(&answer).unwrap();
    assert_eq!(reply["rows"][0]["metrics"], json!({ "sends": 0, "opens": 0 }));
    assert_eq!(reply["meta"]["age_unknown_before"], "2026-03-01T11:00:00Z");
    assert_eq!(reply["meta"].get("late_by_hour_before"), None);
    let reply = serde_json::to_value(answer_from_before_ages(&json!({}))).unwrap();
    assert_eq!(reply["rows"][0]["metrics"], json!({ "sends": 5, "opens": 2 }));
    assert_eq!(reply["meta"].get("age_unknown_before"), None);
}

#[test]
fn history_from_before_ages_that_is_cut_within_an_hour_is_said() {
    for (more, expected) in [
        (json!({ "granularity": "15m" }), Some("2026-03-01T11:00:00Z")),
        (json!({ "granularity": "1d", "timezone": "Asia/Kolkata" }), Some("2026-03-01T11:00:00Z")),
        (json!({ "granularity": "1h" }), None),
        (json!({ "granularity": "1d", "timezone": "Europe/Berlin" }), None),
    ] {
        let reply = serde_json::to_value(answer_from_before_ages(&more)).unwrap();
        let said = reply["meta"].get("late_by_hour_before").and_then(Json::as_str);
        assert_eq!(said, expected, "{more}");
        let opens: u64 =
            reply["rows"].as_array().unwrap().iter().filter_map(|row| row["metrics"]["opens"].as_u64()).sum();
        assert_eq!(opens, 2, "{more}");
    }
}
