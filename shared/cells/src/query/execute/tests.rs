//! Executions against the same answer computed the slow way.

use proptest::prelude::*;
use serde_json::json;

use super::super::testing::{Happening, Plain, bodies, executed, happenings, query, reply, slowly, tenant};
use super::super::{Freshness, Metric, Value};
use super::*;
use crate::block::Resolution;
use crate::cell::Cell;
use crate::counter::Counter;

fn values(query: &Query, cell: &Cell) -> Vec<Value> {
    query.metrics.iter().map(|metric| metric.value(cell, query.basis)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rows_are_what_a_slow_count_finds(happenings in happenings(), body in bodies()) {
        let query = query(&body);
        let answer = executed(&query, &happenings).finish(None, Freshness::default());
        prop_assume!(answer.next_cursor().is_none());
        let mut expected = slowly(&query, &happenings);
        for row in answer.rows() {
            let bucket = row.time.map_or(0, |time| query.edges().iter().position(|edge| *edge == time).unwrap());
            let group = row.group.iter().map(ToString::to_string).collect();
            let cell = expected.remove(&(bucket, group)).unwrap_or_default();
            prop_assert_eq!(row.metrics.as_slice(), values(&query, &cell));
        }
        prop_assert_eq!(expected.len(), 0);
    }

    #[test]
    fn filters_keep_what_a_slow_count_keeps(happenings in happenings(), body in bodies(), prefix in "[a-g]?") {
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
        let filtered = executed(&query(&body), &happenings).finish(None, Freshness::default());
        body["filter"] = serde_json::Value::Null;
        let kept: Vec<_> = happenings.into_iter().filter(|one| {
            let first = ["gmail", "apple"].contains(&one.provider) && one.campaign != "summer";
            first || one.domain.starts_with(&prefix) && one.tenant != "globex"
        }).collect();
        let plain = executed(&query(&body), &kept).finish(None, Freshness::default());
        prop_assert_eq!(filtered.rows(), plain.rows());
    }

    #[test]
    fn merged_executions_answer_like_one(happenings in happenings(), body in bodies(), cut in 0..60_usize) {
        let query = query(&body);
        let (left, right) = happenings.split_at(cut.min(happenings.len()));
        let mut merged = executed(&query, right);
        merged.merge(&executed(&query, left)).unwrap();
        let whole = executed(&query, &happenings).finish(None, Freshness::default());
        let merged = merged.finish(None, Freshness::default());
        prop_assert_eq!(merged.rows(), whole.rows());
    }

    #[test]
    fn any_split_of_a_range_sums_to_the_range(happenings in happenings(), cut in 1..69 * 24 * 60_u32) {
        let cut = (super::super::testing::NOW.plus_millis(-i64::from(cut) * 60_000)).minute().start().to_string();
        let sends = |from: &str, to: &str| {
            let body = json!({ "metrics": ["sends", "delays"], "from": from, "to": to });
            let reply = reply(&body, &happenings);
            let metrics = &reply["rows"][0]["metrics"];
            (metrics["sends"].as_u64().unwrap(), metrics["delays"].as_u64().unwrap())
        };
        let (early, late) = (sends("2025-12-01", &cut), sends(&cut, "2026-04-01"));
        prop_assert_eq!((early.0 + late.0, early.1 + late.1), sends("2025-12-01", "2026-04-01"));
    }

    #[test]
    fn a_day_of_a_zone_sums_its_hours(happenings in happenings(), zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York"])) {
        let by = |granularity: &str| {
            let body = json!({ "metrics": ["sends"], "from": "2026-01-04", "to": "2026-03-16", "timezone": zone, "granularity": granularity, "fill": "zero" });
            let query = query(&body);
            let answer = executed(&query, &happenings).finish(None, Freshness::default());
            answer.rows().iter().map(|row| (row.time.unwrap(), row.metrics[0])).collect::<Vec<_>>()
        };
        let (days, hours) = (by("1d"), by("1h"));
        for ends in days.windows(2) {
            let of_day = hours.iter().filter(|(hour, _)| ends[0].0 <= *hour && *hour < ends[1].0);
            let sum = of_day.map(|(_, sends)| match sends {
                Value::Count(sends) => sends,
                _ => panic!("sends are counted"),
            });
            prop_assert_eq!(Value::Count(sum.sum()), ends[0].1);
        }
    }

    #[test]
    fn a_cohort_never_passes_one(mails in prop::collection::vec((0..2000_u32, 0..4 * 24 * 60_u32, 0..4_u8), 1..60)) {
        // Each mail has one outcome, some time after it was sent.
        let happenings: Vec<_> = mails.iter().flat_map(|&(sent, took, outcome)| {
            let sent = Minute(super::super::testing::NOW.minute().0 - 9000 + sent);
            let send = Happening { at: sent, sent, ..Happening::new("2026-01-01T00:00:00Z", "gmail", Counter::Sends, 1) };
            let counter = [Counter::Deliveries, Counter::BouncesPermanent, Counter::BouncesTransient, Counter::Rejects][usize::from(outcome)];
            [send.clone(), Happening { at: Minute(sent.0 + took), counter: counter.into(), ..send }]
        }).collect();
        let body = json!({ "metrics": ["delivery_rate", "bounce_rate", "in_flight"], "from": "-30d", "granularity": "1h", "basis": "send" });
        let query = query(&body);
        let answer = executed(&query, &happenings).finish(None, Freshness::default());
        for row in answer.rows() {
            for (numerator, denominator) in row.counts.iter().flatten() {
                prop_assert!(numerator <= denominator);
            }
            prop_assert_eq!(row.metrics[2], Value::Count(0));
            prop_assert!(row.metrics[..2].iter().all(|rate| (0.0..=1.0).contains(&rate.as_number().unwrap())));
        }
    }
}

#[test]
fn rows_of_another_tenant_are_never_counted() {
    let body = json!({ "metrics": ["sends"], "from": "2026-03-01", "to": "2026-03-02" });
    let query = super::super::testing::read(&body, super::super::Scope::Tenant(tenant("acme"))).unwrap();
    let row = Happening::new("2026-03-01T10:00:00Z", "gmail", Counter::Sends, 7);
    let mut execution = Execution::new(&query);
    for name in ["globex", "acme"] {
        execution
            .add(&tenant(name), &Plain { resolution: Resolution::Minute, rows: vec![row.clone()] })
            .unwrap();
    }
    let answer = execution.finish(None, Freshness::default());
    assert_eq!(answer.rows()[0].metrics.as_slice(), [Value::Count(7)]);
}

#[test]
fn counts_stay_at_the_end_of_the_scale() {
    let row = Happening::new("2026-03-01T10:00:00Z", "gmail", Counter::Sends, u64::MAX);
    let body = json!({ "metrics": ["sends"], "from": "2026-03-01", "to": "2026-03-02" });
    let reply = reply(&body, &[row.clone(), row]);
    assert_eq!(reply["rows"][0]["metrics"]["sends"], u64::MAX);
}

#[test]
fn an_answer_that_does_not_fit_is_refused_and_says_what_to_do() {
    let names: Vec<&'static str> =
        (0..500).map(|n| &*Box::leak(format!("{n}.com").into_boxed_str())).collect();
    let rows = names.iter().map(|name| Happening {
        domain: name,
        ..Happening::new("2026-03-01T10:00:00Z", "gmail", Counter::Sends, 1)
    });
    let body = json!({ "metrics": ["sends"], "from": "2026-02-10", "to": "2026-03-15", "granularity": "1m", "group_by": ["recipient_domain"] });
    let query = query(&body);
    let refusal = Execution::new(&query)
        .add(&tenant("acme"), &Plain { resolution: Resolution::Minute, rows: rows.collect() })
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "group_by: the answer has too many groups and buckets; allowed: fewer or smaller dimensions, a coarser granularity, \
         a shorter range or a filter; for example group_by=provider"
    );
}

#[test]
fn a_minute_is_found_in_its_bucket_whatever_the_widths() {
    for edges in [[10, 20, 25, 60], [10, 20, 30, 40], [10, 40, 45, 60]] {
        let clock = Clock::new(&edges.map(Minute));
        for minute in 0..70 {
            let expected = edges.windows(2).position(|edge| (edge[0]..edge[1]).contains(&minute));
            assert_eq!(clock.bucket(Minute(minute)), expected, "{minute} in {edges:?}");
        }
    }
}

#[test]
fn queries_of_every_metric_are_answered() {
    let all: Vec<_> = Metric::all().map(Metric::name).collect();
    for metrics in all.chunks(Query::MAX_METRICS) {
        let reply = reply(&json!({ "metrics": metrics }), &[]);
        assert_eq!(reply["rows"][0]["metrics"].as_object().unwrap().len(), metrics.len());
    }
}
