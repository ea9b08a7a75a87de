//! Pages, the long tail, filling, comparing, and the JSON.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::testing::{Happening, NOW, bodies, executed, happenings, query, reply};
use super::*;
use crate::counter::Counter;

const PROVIDERS: [(&str, u64); 5] = [("gmail", 50), ("yahoo", 20), ("apple", 20), ("proton", 5), ("zoho", 1)];

/// Sends by provider over two hours of 1 March: half of them, rounded up, in the first.
fn sends() -> Vec<Happening> {
    let mut happenings = Vec::new();
    for (provider, count) in PROVIDERS {
        happenings.push(Happening::new("2026-03-01T10:20:00Z", provider, Counter::Sends, count.div_ceil(2)));
        happenings.push(Happening::new("2026-03-01T11:40:00Z", provider, Counter::Sends, count / 2));
    }
    happenings
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
fn the_long_tail_is_last_in_any_order() {
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
    // A whole without groups always has its row.
    check(&json!({ "from": "2026-02-01", "to": "2026-02-02" }), &[" 0"]);
    check(&json!({ "from": "2026-02-01", "to": "2026-02-02", "group_by": ["provider"] }), &[]);
}

#[test]
fn folded_values_belong_to_the_long_tail() {
    let mut happenings = sends();
    happenings.push(Happening::new("2026-03-01T10:20:00Z", "(other)", Counter::Sends, 1000));
    let found = |more: &Json| short(&reply(&body(more), &happenings));
    assert_eq!(found(&json!({ "group_by": ["provider"], "limit": 1 })), ["gmail 50", "(other) 1046"]);
    assert_eq!(found(&json!({ "group_by": ["provider"] })).last().unwrap(), "(other) 1000");
}

/// All pages of a query, each with its cursor followed.
fn pages(body: &Json, happenings: &[Happening]) -> Vec<Json> {
    let (mut body, mut pages) = (body.clone(), Vec::new());
    loop {
        let page = reply(&body, happenings);
        body["cursor"] = page["meta"]["next_cursor"].clone();
        pages.push(page);
        if body["cursor"].is_null() {
            return pages;
        }
        assert!(pages.len() < 100, "pages without end");
    }
}

#[test]
fn each_page_goes_on_where_the_one_before_ended() {
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
fn pages_say_where_they_are_and_lead_back_and_to_the_end() {
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
fn bounced(groups: &[(&'static str, u64, u64)]) -> Vec<Happening> {
    let one = |campaign, counter, count| Happening {
        campaign,
        ..Happening::new("2026-03-01T10:20:00Z", "yahoo", counter, count)
    };
    let each = |&(campaign, bounces, sends): &(&'static str, u64, u64)| {
        [one(campaign, Counter::Sends, sends), one(campaign, Counter::BouncesPermanent, bounces)]
    };
    groups.iter().flat_map(each).filter(|happening| happening.count > 0).collect()
}

/// The campaigns on all pages, two per page, in order and without `(other)`.
fn campaigns(order_by: &str, happenings: &[Happening]) -> Vec<String> {
    let body = json!({
        "metrics": ["bounce_rate"], "from": "2026-03-01", "to": "2026-03-02",
        "group_by": ["campaign"], "order_by": [order_by], "limit": 2,
    });
    let pages = pages(&body, happenings);
    let rows = pages.iter().flat_map(|page| page["rows"].as_array().unwrap());
    let names = rows.map(|row| row["group"]["campaign"].as_str().unwrap().to_owned());
    names.filter(|name| name != "(other)").collect()
}

#[test]
fn pages_by_a_rate_have_ties_by_name_and_nulls_last_in_both_directions() {
    // The bounces of "unsent" belong to mail that was sent before the range, so it has no rate.
    let groups =
        bounced(&[("d", 1, 10), ("b", 2, 10), ("unsent", 3, 0), ("c", 1, 10), ("a", 1, 10), ("e", 0, 10)]);
    assert_eq!(campaigns("bounce_rate:desc", &groups), ["b", "a", "c", "d", "e", "unsent"]);
    assert_eq!(campaigns("bounce_rate:asc", &groups), ["e", "a", "c", "d", "b", "unsent"]);
}

#[test]
fn the_worst_rate_is_the_one_that_is_proven() {
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
fn a_complaint_rate_is_absent_where_complaints_are_not_reported() {
    let mut happenings = Vec::new();
    for (provider, domain) in [("gmail", "gmail.com"), ("apple", "icloud.com"), ("yahoo", "yahoo.com")] {
        let delivered = Happening::new("2026-03-01T10:20:00Z", provider, Counter::Deliveries, 100);
        happenings.push(Happening { domain, ..delivered });
    }
    happenings.push(Happening {
        domain: "yahoo.com",
        ..Happening::new("2026-03-01T11:20:00Z", "yahoo", Counter::Complaints, 3)
    });
    let found = |more: &Json| -> Vec<String> {
        let mut body = body(more);
        body["metrics"] = json!(["complaint_rate", "deliveries"]);
        let reply = reply(&body, &happenings);
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
        (json!({ "not": { "dimension": "provider", "value": "yahoo" } }), "{} 0.0 null".to_owned()),
    ] {
        assert_eq!(found(&json!({ "filter": filter })), [expected], "{filter}");
    }
}

#[test]
fn a_page_never_has_more_rows_than_its_limit() {
    let from = NOW.plus_millis(-40_000 * 60_000).to_string();
    let body = json!({ "metrics": ["sends"], "from": from, "granularity": "1m", "group_by": ["provider"], "fill": "zero" });
    let mut happenings = sends();
    happenings.push(Happening::new("2026-03-14T10:20:00Z", "gmail", Counter::Sends, 1));
    let reply = reply(&body, &happenings);
    // One group and the long tail.
    assert_eq!(reply["rows"].as_array().unwrap().len(), 2 * 40_001);
    assert!(reply["meta"]["next_cursor"].is_string());
}

#[test]
fn each_row_has_its_values_of_the_range_before() {
    let body = json!({
        "metrics": ["sends", "delivery_rate"],
        "from": "2026-03-01T11:00:00Z",
        "to": "2026-03-01T12:00:00Z",
        "group_by": ["provider"],
        "limit": 2,
        "compare": "previous_period",
    });
    let mut happenings = sends();
    happenings.push(Happening::new("2026-03-01T10:00:00Z", "gone", Counter::Sends, 7));
    let reply = reply(&body, &happenings);
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
fn the_reply_has_the_promised_shape() {
    let mut happenings = sends();
    happenings.push(Happening::new("2026-03-01T10:20:00Z", "gmail", Counter::Deliveries, 45));
    happenings
        .push(Happening { opener: 4, ..Happening::new("2026-03-01T10:21:00Z", "gmail", Counter::Opens, 2) });
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
    let earlier = query.earlier().unwrap().map(|earlier| executed(&earlier, &happenings));
    let freshness = Freshness { complete_until: Some(NOW), newest_event: None };
    let answer = executed(&query, &happenings).finish(earlier, freshness);
    insta::assert_snapshot!("reply", serde_json::to_string_pretty(&answer).unwrap());
}

#[test]
fn an_estimate_is_named_with_its_error() {
    let opens = (1..=3000).map(|opener| Happening {
        // Far apart, as hashes are.
        opener: u64::wrapping_mul(opener, 0x9E37_79B9_7F4A_7C15),
        ..Happening::new("2026-03-01T10:20:00Z", "gmail", Counter::Opens, 1)
    });
    let opens: Vec<_> = opens.collect();
    let estimates = |metrics: &[&str], opens: &[Happening]| {
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
    fn every_page_and_its_long_tail_sum_to_the_whole(happenings in happenings(), body in bodies(), limit in 1..6_usize) {
        let mut body = body;
        let mut whole = body.clone();
        whole["group_by"] = json!([]);
        whole["granularity"] = json!("total");
        let whole = if body["granularity"] == "total" { reply(&whole, &happenings) } else {
            // Buckets are widened to whole ones; so is the range that is compared.
            let (from, to) = query(&body).range();
            whole["from"] = json!(from.start().to_string());
            whole["to"] = json!(to.start().to_string());
            reply(&whole, &happenings)
        };
        prop_assume!(!body["group_by"].as_array().unwrap().is_empty());
        body["limit"] = json!(limit);
        let sum = |rows: &[&Json], metric: &str| rows.iter().map(|row| row["metrics"][metric].as_u64().unwrap()).sum::<u64>();
        let pages = pages(&body, &happenings);
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
        prop_assert_eq!(distinct.len(), shown.len(), "a group comes once");
    }
}
