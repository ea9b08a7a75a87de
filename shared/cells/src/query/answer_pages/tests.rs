//! Pages, the long tail, filling, comparing, and the JSON.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::Freshness;
use super::super::testing::{NOW, TestEvent, bodies, events, executed, query, reply};
use crate::counter::Counter;

const PROVIDERS: [(&str, u64); 5] = [("gmail", 50), ("yahoo", 20), ("apple", 20), ("proton", 5), ("zoho", 1)];

/// Sends by provider over two hours of 1 March: half of them, rounded up, in the first.
fn sends() -> Vec<TestEvent> {
    let mut events = Vec::new();
    for (provider, count) in PROVIDERS {
        events.push(TestEvent::new("2026-03-01T10:20:00Z", provider, Counter::Sends, count.div_ceil(2)));
        events.push(TestEvent::new("2026-03-01T11:40:00Z", provider, Counter::Sends, count / 2));
    }
    events
}

fn body(more: &Json) -> Json {
    let mut body =
        json!({ "metrics": ["sends"], "from": "2026-03-01T10:00:00Z", "to": "2026-03-01T13:00:00Z" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The rows in short: `10:00 gmail 25`.
fn short(reply: &Json) -> Vec<String> {
    let row = |row: &Json| {
        let time = row["time"].as_str().map(|time| format!("{} ", &time[11..16])).unwrap_or_default();
        let group: Vec<_> =
            row["group"].as_object().unwrap().values().map(|value| value.as_str().unwrap()).collect();
        format!("{time}{} {}", group.join("/"), row["metrics"]["sends"])
    };
    reply["rows"].as_array().unwrap().iter().map(row).collect()
}

fn check(more: &Json, expected: &[&str]) {
    assert_eq!(short(&reply(&body(more), &sends())), expected, "{more}");
}

#[test]
fn groups_come_largest_first_and_the_rest_in_one_row() {
    check(&json!({ "group_by": ["provider"] }), &["gmail 50", "apple 20", "yahoo 20", "proton 5", "zoho 1"]);
    check(&json!({ "group_by": ["provider"], "limit": 2 }), &["gmail 50", "apple 20", "(other) 26"]);
    check(
        &json!({ "group_by": ["provider"], "limit": 4 }),
        &["gmail 50", "apple 20", "yahoo 20", "proton 5", "(other) 1"],
    );
    check(
        &json!({ "group_by": ["provider"], "limit": 5 }),
        &["gmail 50", "apple 20", "yahoo 20", "proton 5", "zoho 1"],
    );
    check(
        &json!({ "group_by": ["provider", "campaign"], "limit": 1 }),
        &["spring/gmail 50", "(other)/(other) 46"],
    );
}

#[test]
fn long_tail_is_last_in_any_order() {
    check(
        &json!({ "group_by": ["provider"], "limit": 2, "order_by": "sends:asc" }),
        &["zoho 1", "proton 5", "(other) 90"],
    );
    check(
        &json!({ "group_by": ["provider"], "limit": 2, "order_by": "provider" }),
        &["apple 20", "gmail 50", "(other) 26"],
    );
    check(
        &json!({ "group_by": ["provider"], "limit": 2, "order_by": "-provider" }),
        &["zoho 1", "yahoo 20", "(other) 75"],
    );
}

#[test]
fn series_keep_their_groups_from_bucket_to_bucket() {
    check(
        &json!({ "group_by": ["provider"], "limit": 1, "granularity": "1h" }),
        &["10:00 gmail 25", "10:00 (other) 24", "11:00 gmail 25", "11:00 (other) 22"],
    );
    check(
        &json!({ "group_by": ["provider"], "limit": 1, "granularity": "1h", "fill": "zero" }),
        &[
            "10:00 gmail 25",
            "10:00 (other) 24",
            "11:00 gmail 25",
            "11:00 (other) 22",
            "12:00 gmail 0",
            "12:00 (other) 0",
        ],
    );
    check(
        &json!({ "group_by": ["provider"], "limit": 1, "granularity": "1h", "order_by": ["-time", "sends"] }),
        &["11:00 gmail 25", "11:00 (other) 22", "10:00 gmail 25", "10:00 (other) 24"],
    );
}

#[test]
fn empty_buckets_are_filled_only_if_asked() {
    check(&json!({ "granularity": "1h" }), &["10:00  49", "11:00  47"]);
    check(&json!({ "granularity": "1h", "fill": "zero" }), &["10:00  49", "11:00  47", "12:00  0"]);
    check(&json!({ "granularity": "1h", "order_by": "sends:asc" }), &["11:00  47", "10:00  49"]);
    check(&json!({}), &[" 96"]);
    // A total without groups always has its row.
    check(&json!({ "from": "2026-02-01", "to": "2026-02-02" }), &[" 0"]);
    check(&json!({ "from": "2026-02-01", "to": "2026-02-02", "group_by": ["provider"] }), &[]);
}

#[test]
fn collapsed_values_belong_to_the_long_tail() {
    let mut events = sends();
    events.push(TestEvent::new("2026-03-01T10:20:00Z", "(other)", Counter::Sends, 1000));
    let found = |more: &Json| short(&reply(&body(more), &events));
    assert_eq!(found(&json!({ "group_by": ["provider"], "limit": 1 })), ["gmail 50", "(other) 1046"]);
    assert_eq!(found(&json!({ "group_by": ["provider"] })).last().unwrap(), "(other) 1000");
}

/// All pages of a query, each with its cursor followed.
fn pages(body: &Json, events: &[TestEvent]) -> Vec<Json> {
    let (mut body, mut pages) = (body.clone(), Vec::new());
    loop {
        let page = reply(&body, events);
        body["cursor"] = page["meta"]["next_cursor"].clone();
        pages.push(page);
        if body["cursor"].is_null() {
            return pages;
        }
        assert!(pages.len() < 100, "the cursors never end");
    }
}

#[test]
fn each_page_continues_where_the_previous_one_ended() {
    let found: Vec<_> =
        pages(&body(&json!({ "group_by": ["provider"], "limit": 2 })), &sends()).iter().map(short).collect();
    assert_eq!(
        found,
        [
            vec!["gmail 50", "apple 20", "(other) 26"],
            vec!["yahoo 20", "proton 5", "(other) 1"],
            vec!["zoho 1"]
        ]
    );
    let found: Vec<_> = pages(&body(&json!({ "granularity": "1h", "fill": "zero", "limit": 2 })), &sends())
        .iter()
        .map(short)
        .collect();
    assert_eq!(found, [vec!["10:00  49", "11:00  47"], vec!["12:00  0"]]);
}

#[test]
fn page_states_its_offset_and_links_to_the_previous_and_last_page() {
    let mut asked = body(&json!({ "group_by": ["provider"], "limit": 2 }));
    let mut go = |cursor: &Json| {
        asked["cursor"] = cursor.clone();
        let page = reply(&asked, &sends());
        (short(&page)[0].clone(), page["meta"].clone())
    };
    let (first, meta) = go(&Json::Null);
    assert_eq!(first, "gmail 50");
    assert_eq!(
        (&meta["offset"], &meta["total"], &meta["previous_cursor"]),
        (&json!(0), &json!(5), &Json::Null)
    );
    let (last, meta) = go(&meta["last_cursor"]);
    assert_eq!(last, "zoho 1");
    assert_eq!(
        (&meta["offset"], &meta["last_cursor"], &meta["next_cursor"]),
        (&json!(4), &Json::Null, &Json::Null)
    );
    let (second, meta) = go(&meta["previous_cursor"]);
    assert_eq!((second.as_str(), &meta["offset"]), ("yahoo 20", &json!(2)));
    assert_eq!(go(&meta["previous_cursor"]).0, "gmail 50");
}

/// Events of campaigns with the given numbers of bounces and sends.
fn bounced(groups: &[(&'static str, u64, u64)]) -> Vec<TestEvent> {
    let one = |campaign, counter, count| TestEvent {
        campaign,
        ..TestEvent::new("2026-03-01T10:20:00Z", "yahoo", counter, count)
    };
    let each = |&(campaign, bounces, sends): &(&'static str, u64, u64)| {
        [one(campaign, Counter::Sends, sends), one(campaign, Counter::BouncesPermanent, bounces)]
    };
    groups.iter().flat_map(each).filter(|event| event.count > 0).collect()
}

/// The campaigns on all pages, two per page, in order and without `(other)`.
fn campaigns(order_by: &str, events: &[TestEvent]) -> Vec<String> {
    let body = json!({
        "metrics": ["bounce_rate"], "from": "2026-03-01", "to": "2026-03-02",
        "group_by": ["campaign"], "order_by": [order_by], "limit": 2,
    });
    let pages = pages(&body, events);
    let rows = pages.iter().flat_map(|page| page["rows"].as_array().unwrap());
    let names = rows.map(|row| row["group"]["campaign"].as_str().unwrap().to_owned());
    names.filter(|name| name != "(other)").collect()
}

#[test]
fn order_by_a_rate_breaks_ties_by_name_and_puts_nulls_last_in_both_directions() {
    // The bounces of "unsent" belong to mail that was sent before the range, so it has no rate.
    let groups =
        bounced(&[("d", 1, 10), ("b", 2, 10), ("unsent", 3, 0), ("c", 1, 10), ("a", 1, 10), ("e", 0, 10)]);
    assert_eq!(campaigns("bounce_rate:desc", &groups), ["b", "a", "c", "d", "e", "unsent"]);
    assert_eq!(campaigns("bounce_rate:asc", &groups), ["e", "a", "c", "d", "b", "unsent"]);
}

#[test]
fn worst_rate_is_the_one_with_the_highest_lower_bound() {
    let groups = bounced(&[
        ("one-of-one", 1, 1),
        ("two-of-two", 2, 2),
        ("large", 1_200, 10_000),
        ("small", 4, 20),
        ("usual", 200, 10_000),
        ("clean", 0, 10_000),
        ("untried", 0, 1),
        ("unsent", 1, 0),
    ]);
    let worst = campaigns("bounce_rate:worst", &groups);
    assert_eq!(worst[..2], ["large", "usual"], "{worst:?}");
    assert_eq!(worst[6..], ["untried", "unsent"].map(str::to_owned), "{worst:?}");
    assert_eq!(campaigns("bounce_rate:best", &groups)[0], "clean");
}

#[test]
fn complaint_rate_is_absent_where_complaints_are_not_reported() {
    let mut events = Vec::new();
    for (provider, domain) in [("gmail", "gmail.com"), ("apple", "icloud.com"), ("yahoo", "yahoo.com")] {
        let delivered = TestEvent::new("2026-03-01T10:20:00Z", provider, Counter::Deliveries, 100);
        events.push(TestEvent { domain, ..delivered });
    }
    events.push(TestEvent {
        domain: "yahoo.com",
        ..TestEvent::new("2026-03-01T11:20:00Z", "yahoo", Counter::Complaints, 3)
    });
    let found = |more: &Json| -> Vec<String> {
        let mut body = body(more);
        body["metrics"] = json!(["complaint_rate", "deliveries"]);
        let reply = reply(&body, &events);
        let row =
            |row: &Json| format!("{} {} {}", row["group"], row["metrics"]["complaint_rate"], row["reasons"]);
        reply["rows"].as_array().unwrap().iter().map(row).collect()
    };
    let silent = r#"null {"complaint_rate":"not_reported"}"#;
    assert_eq!(
        found(&json!({ "group_by": ["provider"], "order_by": ["complaint_rate:asc"] })),
        [
            r#"{"provider":"yahoo"} 0.03 null"#.to_owned(),
            format!(r#"{{"provider":"apple"}} {silent}"#),
            format!(r#"{{"provider":"gmail"}} {silent}"#),
        ]
    );
    assert_eq!(
        found(&json!({ "group_by": ["recipient_domain"], "limit": 1, "order_by": ["complaint_rate"] })),
        [
            r#"{"recipient_domain":"yahoo.com"} 0.03 null"#.to_owned(),
            format!(r#"{{"recipient_domain":"(other)"}} {silent}"#),
        ]
    );
    assert_eq!(found(&json!({})), ["{} 0.01 null"]);
    for (filter, expected) in [
        (json!({ "dimension": "provider", "value": "gmail" }), format!("{{}} {silent}")),
        (
            json!({ "dimension": "provider", "op": "in", "value": ["gmail", "apple"] }),
            format!("{{}} {silent}"),
        ),
        (json!({ "dimension": "recipient_domain", "value": "icloud.com" }), format!("{{}} {silent}")),
        (
            json!({ "dimension": "provider", "op": "in", "value": ["gmail", "yahoo"] }),
            "{} 0.015 null".to_owned(),
        ),
        // The filter names no provider, but the mail that passes it is at one that is silent.
        (json!({ "not": { "dimension": "provider", "value": "yahoo" } }), format!("{{}} {silent}")),
    ] {
        assert_eq!(found(&json!({ "filter": filter })), [expected], "{filter}");
    }
}

#[test]
fn complaint_rate_where_reported_leaves_silent_providers_out() {
    let event = |provider, counter, count| TestEvent::new("2026-03-01T10:20:00Z", provider, counter, count);
    let events = [
        event("gmail", Counter::Deliveries, 100),
        event("yahoo", Counter::Deliveries, 300),
        event("yahoo", Counter::Complaints, 3),
    ];
    let found = |more: &Json| {
        let mut body = body(more);
        body["metrics"] = json!(["complaint_rate", "complaint_rate_reported"]);
        let rows = reply(&body, &events)["rows"].clone();
        let row = |row: &Json| (row["metrics"].clone(), row["reasons"].clone());
        rows.as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    let both = |all: Option<f64>, reported: Option<f64>| json!({ "complaint_rate": all, "complaint_rate_reported": reported });
    assert_eq!(found(&json!({})), [(both(Some(0.0075), Some(0.01)), Json::Null)]);
    let reasons = json!({ "complaint_rate": "not_reported", "complaint_rate_reported": "not_reported" });
    assert_eq!(
        found(&json!({ "group_by": ["provider"], "order_by": ["provider"] })),
        [(both(None, None), reasons), (both(Some(0.01), Some(0.01)), Json::Null)]
    );
}

#[test]
fn rates_by_send_cohort_are_absent_where_sends_are_missing() {
    let event = |campaign, counter, count| TestEvent {
        campaign,
        ..TestEvent::new("2026-03-01T10:20:00Z", "yahoo", counter, count)
    };
    let events = [
        event("spring", Counter::Sends, 100),
        event("spring", Counter::Deliveries, 95),
        event("spring", Counter::BouncesPermanent, 10),
        event("summer", Counter::Sends, 100),
        event("summer", Counter::Deliveries, 96),
        event("summer", Counter::BouncesPermanent, 10),
        event("winter", Counter::Deliveries, 7),
    ];
    let found = |basis: &str| {
        let more = json!({ "basis": basis, "group_by": ["campaign"], "order_by": ["campaign"] });
        let mut body = body(&more);
        body["metrics"] = json!(["delivery_rate", "complaint_rate"]);
        let rows = reply(&body, &events)["rows"].clone();
        let row = |row: &Json| format!("{} {}", row["metrics"]["delivery_rate"], row["reasons"]);
        rows.as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    let unknown = r#"null {"delivery_rate":"denominator_unknown"}"#;
    assert_eq!(found("send"), ["0.95 null", unknown, unknown]);
    assert_eq!(found("event"), ["0.95 null", "0.96 null", "null null"]);
}

#[test]
fn page_has_at_most_its_limit_of_rows_and_one_long_tail() {
    let from = NOW.plus_millis(-40_000 * 60_000).to_string();
    let body = json!({ "metrics": ["sends"], "from": from, "granularity": "1m", "group_by": ["provider"], "fill": "zero" });
    let mut events = sends();
    events.push(TestEvent::new("2026-03-14T10:20:00Z", "gmail", Counter::Sends, 1));
    let reply = reply(&body, &events);
    // One group and the long tail.
    assert_eq!(reply["rows"].as_array().unwrap().len(), 2 * 40_001);
    assert!(reply["meta"]["next_cursor"].is_string());
}

#[test]
fn each_row_has_its_values_of_the_earlier_range() {
    let body = json!({
        "metrics": ["sends", "delivery_rate"],
        "from": "2026-03-01T11:00:00Z",
        "to": "2026-03-01T12:00:00Z",
        "group_by": ["provider"],
        "limit": 2,
        "compare": "previous_period",
    });
    let mut events = sends();
    events.push(TestEvent::new("2026-03-01T10:00:00Z", "gone", Counter::Sends, 7));
    let reply = reply(&body, &events);
    let found: Vec<_> = reply["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["group"]["provider"].as_str().unwrap(),
                row["metrics"]["sends"].as_u64(),
                row["previous"]["sends"].as_u64(),
            )
        })
        .collect();
    let expected =
        [("gmail", Some(25), Some(25)), ("apple", Some(10), Some(10)), ("(other)", Some(12), Some(21))];
    assert_eq!(found, expected);
}

#[test]
fn reply_has_the_documented_shape() {
    let mut events = sends();
    events.push(TestEvent::new("2026-03-01T10:20:00Z", "gmail", Counter::Deliveries, 45));
    events
        .push(TestEvent { opener: 4, ..TestEvent::new("2026-03-01T10:21:00Z", "gmail", Counter::Opens, 2) });
    let body = json!({
        "metrics": ["sends", "delivery_rate", "open_rate", "delivery_ms_p95", "queue_depth"],
        "from": "2026-03-01",
        "to": "2026-03-02",
        "granularity": "1d",
        "timezone": "America/New_York",
        "group_by": ["provider"],
        "limit": 1,
        "compare": "previous_period",
    });
    let query = query(&body);
    let earlier = query.earlier().unwrap().map(|earlier| executed(&earlier, &events));
    let freshness = Freshness { complete_until: Some(NOW), ..Freshness::default() };
    let answer = executed(&query, &events).finish(earlier, freshness);
    insta::assert_snapshot!("reply", serde_json::to_string_pretty(&answer).unwrap());
}

#[test]
fn estimate_is_listed_with_its_error() {
    let opens = (1..=3000).map(|opener| TestEvent {
        // Spread like hashes.
        opener: u64::wrapping_mul(opener, 0x9E37_79B9_7F4A_7C15),
        ..TestEvent::new("2026-03-01T10:20:00Z", "gmail", Counter::Opens, 1)
    });
    let opens: Vec<_> = opens.collect();
    let estimates = |metrics: &[&str], opens: &[TestEvent]| {
        let body = json!({ "metrics": metrics, "from": "2026-03-01", "to": "2026-03-02" });
        reply(&body, opens)["meta"]["estimates"].clone()
    };
    assert_eq!(
        estimates(&["opens", "unique_opens"], &opens),
        json!({ "unique_opens": crate::Uniques::STANDARD_ERROR })
    );
    assert_eq!(estimates(&["opens", "unique_opens"], &opens[..200]), json!({}));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn pages_and_their_long_tail_sum_to_the_whole(events in events(), body in bodies(), limit in 1..6_usize) {
        let mut body = body;
        let mut whole = body.clone();
        whole["group_by"] = json!([]);
        whole["granularity"] = json!("total");
        let whole = if body["granularity"] == "total" { reply(&whole, &events) } else {
            // Buckets are widened to whole ones; so is the range that is compared.
            let (from, to) = query(&body).range();
            whole["from"] = json!(from.start().to_string());
            whole["to"] = json!(to.start().to_string());
            reply(&whole, &events)
        };
        prop_assume!(!body["group_by"].as_array().unwrap().is_empty());
        body["limit"] = json!(limit);
        let sum = |rows: &[&Json], metric: &str| rows.iter().map(|row| row["metrics"][metric].as_u64().unwrap()).sum::<u64>();
        let pages = pages(&body, &events);
        let mut shown: Vec<&Json> = Vec::new();
        for page in &pages {
            let is_other = |row: &&Json| row["group"].as_object().unwrap().values().all(|value| value == "(other)");
            let (other, named): (Vec<_>, Vec<_>) = page["rows"].as_array().unwrap().iter().partition(is_other);
            shown.extend(named);
            for metric in ["sends", "bounces"] {
                prop_assert_eq!(sum(&shown, metric) + sum(&other, metric), sum(&[&whole["rows"][0]], metric));
            }
        }
        let distinct: BTreeSet<String> = shown.iter().map(|row| format!("{}{}", row["time"], row["group"])).collect();
        prop_assert_eq!(distinct.len(), shown.len(), "each group is on one page only");
    }
}
