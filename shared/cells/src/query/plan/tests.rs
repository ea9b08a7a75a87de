//! Plans of given queries, and that every plan gives exactly the answer that the minutes would.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::testing::{NOW, PlainBlock, TestEvent, bodies, events, executed, query, tenant};
use super::super::{Execution, Freshness, time_zone};
use super::*;

/// A year of history up to [`NOW`]: minutes for 30 days, hours since 1 December, days of all completed months.
fn history() -> BlockCatalogue {
    let now = NOW.minute().hour();
    let kept_from = Hour(now.0 - 30 * 24);
    let days_from = super::super::testing::minute("2025-12-01T00:00:00Z").hour().day();
    let month = Month::of(now.day());
    BlockCatalogue {
        hours: (kept_from.0..=now.0).map(Hour).collect(),
        days: (days_from.0..now.day().0).map(Day).collect(),
        months: (month.0 - 12..month.0).map(Month).collect(),
        hours_kept_from: kept_from,
        days_kept_from: days_from,
        local_days: LocalDays::UTC,
    }
}

/// A tenant in one zone, and in another one for the last 50 days.
fn local_days() -> impl Strategy<Value = LocalDays> {
    let zone = || prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]);
    (zone(), zone()).prop_map(|(first, second)| {
        let change = Day(NOW.minute().hour().day().0 - 50);
        LocalDays::new([(Day(0), time_zone(first).unwrap()), (change, time_zone(second).unwrap())])
    })
}

/// The plan in short: runs of blocks of one level, as `2 month from 2025-03-01T00:00:00Z`.
fn planned(body: &Json, zone: &str) -> Result<String, QueryError> {
    let local_days = LocalDays::new([(Day(0), time_zone(zone).unwrap())]);
    let history = BlockCatalogue { local_days, ..history() };
    let mut runs: Vec<(&str, Minute, u32)> = Vec::new();
    for block in plan(&query(body), &history)? {
        let (level, start) = match block {
            BlockRef::Hour(hour) => ("hour", hour.first_minute()),
            BlockRef::Day(day) => ("day", minute_of(day)),
            BlockRef::Month(month) => ("month", minute_of(month.first_day())),
        };
        match runs.last_mut() {
            Some((last, _, count)) if *last == level => *count += 1,
            _ => runs.push((level, start, 1)),
        }
    }
    let runs =
        runs.into_iter().map(|(level, start, count)| format!("{count} {level} from {}", start.start()));
    Ok(runs.collect::<Vec<_>>().join(", "))
}

fn check(from: &str, to: &str, granularity: &str, more: &Json, expected: &str) {
    check_in("UTC", from, to, granularity, more, expected);
}

/// The same for a tenant in this zone.
fn check_in(zone: &str, from: &str, to: &str, granularity: &str, more: &Json, expected: &str) {
    let mut body = json!({ "metrics": ["sends"], "from": from, "to": to, "granularity": granularity });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let found = planned(&body, zone).unwrap_or_else(|refusal| refusal.to_string());
    assert_eq!(found, expected, "{body}");
}

#[test]
fn coarsest_blocks_that_answer_exactly_are_chosen() {
    let none = &json!({});
    check("2026-02-20", "2026-02-21", "1m", none, "24 hour from 2026-02-20T00:00:00Z");
    check("2026-01-05", "2026-01-08", "1h", none, "3 day from 2026-01-05T00:00:00Z");
    check("2026-01-05", "2026-01-08", "1d", none, "1 month from 2026-01-01T00:00:00Z");
    check("2025-10-01", "2026-01-01", "total", none, "3 month from 2025-10-01T00:00:00Z");
    check("2025-12-31", "2026-01-02", "1w", none, "2 month from 2025-12-01T00:00:00Z");
    // Half a day cannot be cut out of whole days, nor half an hour out of whole hours; the rest can.
    check(
        "2025-10-01",
        "2026-01-03T12:00:00Z",
        "total",
        none,
        "3 month from 2025-10-01T00:00:00Z, 3 day from 2026-01-01T00:00:00Z",
    );
    check(
        "2026-03-13",
        "2026-03-14T00:30:00Z",
        "total",
        none,
        "1 day from 2026-03-13T00:00:00Z, 1 hour from 2026-03-14T00:00:00Z",
    );
    // Today has blocks of hours only.
    check(
        "2026-03-14",
        "2026-03-16",
        "1d",
        none,
        "1 day from 2026-03-14T00:00:00Z, 13 hour from 2026-03-15T00:00:00Z",
    );
    check(
        "2025-12-03",
        "2025-12-05",
        "1d",
        &json!({ "timezone": "Europe/Berlin" }),
        "3 day from 2025-12-02T00:00:00Z",
    );
    // Days of a zone that begin at half past an hour need the minutes of the UTC days in which they begin.
    check(
        "2026-03-01",
        "2026-03-02",
        "1d",
        &json!({ "timezone": "Asia/Kolkata" }),
        "25 hour from 2026-02-28T18:00:00Z",
    );
    // No block is planned before the first one or after the last one.
    check("1970-01-01", "2025-03-02", "total", none, "1 month from 2025-03-01T00:00:00Z");
    check("2026-03-16", "9999-01-01", "total", none, "");
    check("2020-01-01", "2021-01-01", "1d", none, "");
    // The outcomes of a cohort can lie in any later block.
    check(
        "2026-01-05",
        "2026-01-06",
        "1h",
        &json!({ "basis": "send" }),
        "69 day from 2026-01-05T00:00:00Z, 13 hour from 2026-03-15T00:00:00Z",
    );
    check(
        "2026-01-05",
        "2026-01-06",
        "1d",
        &json!({ "basis": "send" }),
        "2 month from 2026-01-01T00:00:00Z, 14 day from 2026-03-01T00:00:00Z, 13 hour from 2026-03-15T00:00:00Z",
    );
}

#[test]
fn days_of_the_tenants_zone_are_answered_from_the_coarsest_blocks() {
    for zone in ["Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"] {
        // All but the last day lie in whole months, days of UTC cover the last one.
        let body = json!({
            "metrics": ["sends"], "from": "2025-08-01", "to": "2026-03-15", "granularity": "1d", "timezone": zone,
        });
        let found = planned(&body, zone).unwrap();
        assert!(found.contains(" month from 2025-0") && !found.contains("hour from 2025"), "{zone}: {found}");
        let body = json!({
            "metrics": ["sends"], "from": "2025-08-01", "to": "2026-01-01", "granularity": "1w", "timezone": zone, "basis": "send",
        });
        assert!(planned(&body, zone).is_ok(), "{zone}");
        // Months of UTC are cuts in every zone.
        check_in(
            zone,
            "2025-09-01",
            "2025-11-01",
            "1mo",
            &json!({ "timezone": "UTC" }),
            "2 month from 2025-09-01T00:00:00Z",
        );
    }
    check_in(
        "Asia/Kolkata",
        "2026-01-05",
        "2026-01-06",
        "1d",
        &json!({ "timezone": "Asia/Kolkata" }),
        "1 month from 2026-01-01T00:00:00Z",
    );
}

#[test]
fn refusal_of_another_zones_days_names_the_boundary_and_the_tenants_zone() {
    let kolkata = |from, to, granularity, zone: &str, expected| {
        check_in("Asia/Kolkata", from, to, granularity, &json!({ "timezone": zone }), expected);
    };
    // By the hour, only days that begin within an hour are lost; by the day, all others are.
    kolkata("2026-01-05", "2026-01-07", "1d", "UTC", "2 day from 2026-01-05T00:00:00Z");
    kolkata(
        "2026-01-05",
        "2026-01-06",
        "1d",
        "Asia/Kathmandu",
        "timezone: history before 2026-02-13T12:00:00Z is kept by the hour and cannot be cut at 2026-01-04T18:15:00Z; \
         allowed: Asia/Kolkata, or a zone whose days begin at full hours; for example Asia/Kolkata",
    );
    kolkata(
        "2025-10-05",
        "2025-10-06",
        "1d",
        "UTC",
        "timezone: history before 2025-12-01T00:00:00Z is kept by the day of Asia/Kolkata and cannot be cut at 2025-10-05T00:00:00Z; \
         allowed: Asia/Kolkata, or a zone whose days begin when its days do; for example Asia/Kolkata",
    );
    kolkata(
        "2025-10-05T00:00:00Z",
        "2025-11-01",
        "total",
        "UTC",
        "from: history before 2025-12-01T00:00:00Z is kept by the day of Asia/Kolkata and cannot be cut at 2025-10-05T00:00:00Z; \
         allowed: midnight in Asia/Kolkata, or the beginning of a month in UTC; for example 2026-01-01",
    );
    // Sri Lanka's clocks show the same time.
    kolkata("2025-09-02", "2025-09-05", "1d", "Asia/Colombo", "1 month from 2025-09-01T00:00:00Z");
}

#[test]
fn refusal_of_too_fine_a_cut_names_the_finest_possible() {
    check(
        "2026-01-05",
        "2026-01-06",
        "15m",
        &json!({}),
        "granularity: history before 2026-02-13T12:00:00Z is kept by the hour and cannot be cut at 2026-01-05T00:15:00Z; \
         allowed: total 1h 1d 1w 1mo; or a later from; for example 1h",
    );
    check(
        "2025-10-05",
        "2025-10-06",
        "1h",
        &json!({}),
        "granularity: history before 2025-12-01T00:00:00Z is kept by the day and cannot be cut at 2025-10-05T01:00:00Z; \
         allowed: total 1d 1w 1mo; or a later from; for example 1d",
    );
    check(
        "2026-01-05T00:30:00Z",
        "2026-01-06",
        "total",
        &json!({}),
        "from: history before 2026-02-13T12:00:00Z is kept by the hour and cannot be cut at 2026-01-05T00:30:00Z; \
         allowed: full hours; for example 2026-01-01T00:00:00Z",
    );
    check(
        "2025-10-01",
        "2025-10-06T10:00:00Z",
        "total",
        &json!({}),
        "to: history before 2025-12-01T00:00:00Z is kept by the day and cannot be cut at 2025-10-06T10:00:00Z; \
         allowed: midnight in UTC; for example 2026-01-01T00:00:00Z",
    );
    check(
        "2026-01-05",
        "2026-01-06",
        "1d",
        &json!({ "timezone": "Asia/Kolkata" }),
        "timezone: history before 2026-02-13T12:00:00Z is kept by the hour and cannot be cut at 2026-01-04T18:30:00Z; \
         allowed: UTC, or a zone whose days begin at full hours; for example UTC",
    );
    check(
        "2025-10-05",
        "2025-10-06",
        "1h",
        &json!({ "basis": "send" }),
        "granularity: history before 2025-12-01T00:00:00Z is kept by the day and cannot be cut at 2025-10-05T01:00:00Z; \
         allowed: total 1d 1w 1mo; or a later from; for example 1d",
    );
}

#[test]
fn earlier_range_that_cannot_be_cut_is_refused_as_compare() {
    let body = json!({
        "metrics": ["sends"], "from": "2026-03-05", "to": "2026-03-06", "granularity": "1m", "compare": "previous_year",
    });
    let earlier = query(&body).earlier().unwrap().unwrap();
    let refusal = plan(&earlier, &history()).unwrap_err();
    assert_eq!((refusal.parameter.as_str(), refusal.kind), ("compare", QueryErrorKind::Unanswerable));
}

#[test]
fn range_relative_to_now_is_widened_to_what_is_kept() {
    let today = NOW.minute().hour().day();
    let days_kept_from = Day(today.0 - 400);
    let history =
        BlockCatalogue { days: (days_kept_from.0..today.0).map(Day).collect(), days_kept_from, ..history() };
    for zone in ["UTC", "Europe/Berlin", "Asia/Kathmandu"] {
        let local_days = LocalDays::new([(Day(0), time_zone(zone).unwrap())]);
        let history = BlockCatalogue { local_days, ..history.clone() };
        for from in ["-24h", "-20d", "-30d", "-90d", "-52w", "-1000d"] {
            for compare in [Json::Null, json!("previous_period"), json!("previous_year")] {
                let body =
                    json!({ "metrics": ["sends"], "from": from, "compare": compare, "timezone": zone });
                let query = query(&body);
                assert!(plan(&query, &history).is_ok(), "{from} in {zone}");
                if let Some(earlier) = query.earlier().unwrap() {
                    assert!(plan(&earlier, &history).is_ok(), "{from} {compare} in {zone}");
                }
            }
        }
    }
}

#[test]
fn event_far_away_in_time_causes_no_walk_to_it() {
    let mut catalogue = history();
    catalogue.hours.insert(Minute(u32::MAX).hour());
    catalogue.hours.insert(Hour(0));
    let body = json!({ "metrics": ["sends"], "from": "1970-01-01", "to": "9999-12-30" });
    assert!(plan(&query(&body), &catalogue).unwrap().len() < 100);
}

#[test]
fn day_without_events_hides_no_other_day() {
    let mut history = history();
    let quiet = super::super::testing::minute("2026-01-11T00:00:00Z").hour().day();
    history.days.remove(&quiet);
    let body = json!({ "metrics": ["sends"], "from": "2026-01-10", "to": "2026-01-13", "granularity": "1h" });
    assert_eq!(
        plan(&query(&body), &history).unwrap(),
        [quiet.0 - 1, quiet.0 + 1].map(|day| BlockRef::Day(Day(day)))
    );
}

#[test]
fn block_that_may_lack_late_events_is_read_only_if_there_is_no_other() {
    let mut history = history();
    let hour = Hour(history.hours_kept_from.0 - 1);
    history.hours.insert(hour);
    let (from, to) = (hour.start().to_string(), Hour(hour.0 + 1).start().to_string());
    let body = json!({ "metrics": ["sends"], "from": from, "to": to, "granularity": "5m" });
    assert!(plan(&query(&body), &history).is_err());
    // If there is no other block, it is read after all.
    history.days.remove(&hour.day());
    assert_eq!(plan(&query(&body), &history).unwrap(), [BlockRef::Hour(hour)]);
}

#[test]
fn months_are_counted_from_january_1970() {
    let check = |date: &str, month: u32| {
        let day = super::super::testing::minute(&format!("{date}T00:00:00Z")).hour().day();
        assert_eq!(Month::of(day), Month(month), "{date}");
        assert!(Month(month).first_day() <= day && day < Month(month + 1).first_day());
    };
    check("1970-01-01", 0);
    check("1970-01-31", 0);
    check("1970-02-01", 1);
    check("2024-02-29", 54 * 12 + 1);
    check("2026-12-31", 56 * 12 + 11);
}

/// The blocks of a history of these events; older blocks exist at coarse resolution only.
fn kept(events: &[TestEvent], local_days: &LocalDays) -> BlockCatalogue {
    let now = NOW.minute().hour();
    let (kept_from, days_from) = (Hour(now.0 - 20 * 24), Day(now.day().0 - 40));
    let hours = events.iter().map(|one| one.at.hour());
    BlockCatalogue {
        hours: hours.clone().filter(|hour| *hour >= kept_from).collect(),
        days: hours.clone().map(Hour::day).filter(|day| (days_from..now.day()).contains(day)).collect(),
        months: hours
            .map(|hour| Month::of(hour.day()))
            .filter(|month| *month < Month::of(now.day()))
            .collect(),
        hours_kept_from: kept_from,
        days_kept_from: days_from,
        local_days: local_days.clone(),
    }
}

/// Whether an event lies in a block that is the only one left and that the query cuts more finely than its resolution.
fn is_cut_too_fine(query: &Query, events: &[TestEvent], local_days: &LocalDays) -> bool {
    let kept = kept(events, local_days);
    let cut = |start: Minute, end: Minute, resolution| {
        let first = if query.basis() == Basis::Send { Minute(0) } else { start };
        let is_cut = |edge: Minute| local_days.bucket(edge, resolution) != edge;
        query.edges().iter().any(|edge| first < *edge && *edge < end && is_cut(*edge))
    };
    events.iter().any(|one| {
        let (hour, day, month) = (one.at.hour(), one.at.hour().day(), Month::of(one.at.hour().day()));
        let (day_start, next_month) = (minute_of(day), minute_of(Month(month.0 + 1).first_day()));
        hour < kept.hours_kept_from
            && kept.days.contains(&day)
            && cut(day_start, minute_of(Day(day.0 + 1)), Resolution::Hour)
            || kept.months.contains(&month) && cut(minute_of(month.first_day()), next_month, Resolution::Day)
    })
}

fn executed_by_plan(query: &Query, events: &[TestEvent], local_days: &LocalDays) -> Option<Execution> {
    let blocks = match plan(query, &kept(events, local_days)) {
        Ok(blocks) => blocks,
        Err(refusal) => {
            assert_eq!(refusal.kind, QueryErrorKind::Unanswerable);
            assert!(is_cut_too_fine(query, events, local_days), "{refusal}");
            return None;
        }
    };
    let mut rows: BTreeMap<BlockRef, Vec<TestEvent>> =
        blocks.into_iter().map(|block| (block, Vec::new())).collect();
    for one in events {
        let hour = one.at.hour();
        for block in [BlockRef::Hour(hour), BlockRef::Day(hour.day()), BlockRef::Month(Month::of(hour.day()))]
        {
            if let Some(rows) = rows.get_mut(&block) {
                rows.push(one.clone());
            }
        }
    }
    let mut execution = Execution::new(query);
    for (block, rows) in rows {
        let resolution = match block {
            BlockRef::Hour(_) => Resolution::Minute,
            BlockRef::Day(_) => Resolution::Hour,
            BlockRef::Month(_) => Resolution::Day,
        };
        let local_days = local_days.clone();
        execution
            .add(
                &tenant("acme"),
                &event::provider::learned::LearnedProviders::default(),
                &PlainBlock { resolution, local_days, rows },
            )
            .unwrap();
    }
    Some(execution)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn planned_blocks_give_the_same_answer_as_the_minutes(
        events in events(),
        body in bodies(),
        send in any::<bool>(),
        local_days in local_days(),
    ) {
        let mut body = body;
        if send {
            body["basis"] = json!("send");
            body["group_by"] = json!(["provider"]);
        }
        let acme: Vec<_> = events.into_iter().map(|one| TestEvent { tenant: "acme", ..one }).collect();
        let query = query(&body);
        if let Some(by_plan) = executed_by_plan(&query, &acme, &local_days) {
            let by_plan = by_plan.finish(None, Freshness::default());
            let by_minutes = executed(&query, &acme).finish(None, Freshness::default());
            prop_assert_eq!(by_plan.rows().collect::<Vec<_>>(), by_minutes.rows().collect::<Vec<_>>());
        }
    }
}
