//! How queries are read, and the full text of every refusal.

use std::fmt::Write as _;

use event::Minute;
use event::attribution::Dimension;
use proptest::prelude::*;
use serde_json::json;

use super::super::columns::MetricColumn;
use super::super::cursor::Cursor;
use super::super::filter::Filter;
use super::super::metrics::{OPEN_RATE, OPENS, SENDS};
use super::super::order::RowOrderKey;
use super::super::testing::{NOW, query, read, tenant};
use super::super::{QueryDimension, QueryErrorKind};
use super::parameters::PARAMETERS;
use super::*;

fn pairs(text: &str, scope: Scope) -> Result<Query, QueryError> {
    let names = Locale { tags: [Some("team".into()), None, None, None], ..Locale::default() };
    let pairs = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    Query::from_pairs(pairs, scope, &names, NOW)
}

#[test]
fn body_and_query_string_give_the_same_query() {
    let body = json!({
        "metrics": ["sends", "bounce_rate"],
        "from": "-7d",
        "to": "now",
        "granularity": "1h",
        "group_by": ["provider", "campaign"],
        "filter": { "and": [
            { "dimension": "campaign", "op": "in", "value": ["spring"] },
            { "dimension": "provider", "op": "in", "value": ["gmail", "yahoo"] },
        ] },
        "order_by": ["-bounce_rate"],
        "limit": 5,
        "fill": "zero",
    });
    let text = "metrics=sends,bounce_rate&from=-7d&to=now&granularity=1h&group_by=provider,campaign&filter=provider:yahoo\
                &filter=campaign:spring&filter=provider:gmail&order_by=-bounce_rate&limit=5&fill=zero";
    let (posted, got) = (query(&body), pairs(text, Scope::All).unwrap());
    assert_eq!(format!("{posted:?}"), format!("{got:?}"));
}

#[test]
fn omitted_parameters_have_defaults() {
    let query = query(&json!({ "metrics": "sends" }));
    let expected = (Granularity::Total, Basis::Event, Fill::None, Query::MAX_LIMIT, 24 * 60 + 1);
    let (from, to) = query.range();
    assert_eq!((query.granularity, query.basis, query.fill, query.limit, to.0 - from.0), expected);
    assert_eq!(query.filter, Filter::everything());
}

#[test]
fn declared_tag_is_a_dimension() {
    let query = pairs("metrics=sends&group_by=team&filter=tag1:red", Scope::All).unwrap();
    assert_eq!(
        query.group_by,
        [GroupColumn { name: "team".into(), dimension: QueryDimension::Mail(Dimension::Tag1) }]
    );
}

#[test]
fn orders_are_read_in_every_form() {
    let query_by = |text: &str| {
        let text = format!("metrics=sends,opens,open_rate&group_by=provider&order_by={text}");
        pairs(&text, Scope::All).unwrap()
    };
    let columns = query_by("time").metrics;
    let column = |metric| columns.column(metric).unwrap();
    let check = |text: &str, key: RowOrderKey, descending: bool| {
        let [order] = query_by(text).order_by[..] else { panic!("{text} is one key") };
        assert_eq!((order.key, order.descending), (key, descending), "{text}");
    };
    let metric = |column: MetricColumn| RowOrderKey::Metric(column);
    check("sends", metric(column(SENDS)), true);
    check("-opens", metric(column(OPENS)), true);
    check("opens:asc", metric(column(OPENS)), false);
    check("opens desc", metric(column(OPENS)), true);
    check("time", RowOrderKey::Time, false);
    check("-time", RowOrderKey::Time, true);
    check("provider", RowOrderKey::Group(0), false);
    check("provider:desc", RowOrderKey::Group(0), true);
    check("open_rate:worst", RowOrderKey::Rate(column(OPEN_RATE), RateEnd::Worst), true);
    check("open_rate:best", RowOrderKey::Rate(column(OPEN_RATE), RateEnd::Best), true);
}

/// Every refusal in full: the text is all that its reader has to go by.
#[test]
fn refusals_name_the_parameter_and_what_to_do() {
    let long = "x".repeat(300);
    let many_metrics = format!("metrics={}", vec!["sends"; 41].join(","));
    let texts = [
        "",
        "metrics=",
        "metrics=sends,opned",
        &many_metrics,
        "metrics=sends&metric=opens",
        "metrics=sends&from=yesterday",
        "metrics=sends&from=now&to=-1h",
        "metrics=sends&from=-1h&from=-2h",
        "metrics=sends&granularity=2h",
        "metrics=sends&from=-60d&granularity=1m",
        "metrics=sends&from=1970-01-01&granularity=1h",
        "metrics=sends&timezone=Berlin",
        "metrics=sends&basis=sent",
        "metrics=sends&fill=null",
        "metrics=sends&compare=last_year",
        "metrics=sends&group_by=isp",
        "metrics=sends&group_by=provider,provider",
        "metrics=sends&group_by=provider,campaign,segment,tag1,tag2",
        "metrics=sends&order_by=opens",
        "metrics=sends&order_by=sends:up",
        "metrics=sends&order_by=sends:worst",
        "metrics=sends&limit=0",
        "metrics=sends&limit=10001",
        "metrics=sends&limit=ten",
        "metrics=sends&cursor=abc",
        "metrics=sends&filter=provider",
        "metrics=sends&filter=isp:gmail",
        "metrics=sends&filter={",
        &format!("metrics=sends&filter=provider:{long}"),
        "metrics=sends&basis=send&granularity=5m",
        "metrics=sends&basis=send&granularity=1d&timezone=Africa/Monrovia&from=1971-01-01&to=1971-01-02",
        "metrics=sends&basis=send&max_age=2h",
        "metrics=sends&basis=event&max_age=24h",
        "metrics=sends&basis=send&group_by=recipient_domain",
        "metrics=sends&basis=send&filter=segment:a",
    ];
    let mut refusals = String::new();
    for text in texts {
        let refusal = pairs(text, Scope::All).unwrap_err();
        assert_eq!(refusal.kind, QueryErrorKind::Malformed);
        let shown: String = text.chars().take(90).collect();
        writeln!(refusals, "{shown}\n    {refusal}").unwrap();
    }
    insta::assert_snapshot!("refusals", refusals);
}

#[test]
fn refusals_of_bodies_name_the_part_at_fault() {
    let filters = [
        json!("provider"),
        json!({}),
        json!({ "and": [] }),
        json!({ "and": {} }),
        json!({ "and": [{ "or": [{ "dimension": "provider", "op": "like", "value": "g" }] }] }),
        json!({ "not": { "dimension": "provider", "op": "in", "value": "gmail" } }),
        json!({ "not": { "dimension": "provider", "value": 5 } }),
        json!({ "not": { "dimension": 5, "value": "gmail" } }),
        json!({ "dimension": "provider", "value": "gmail", "values": [] }),
        json!({ "and": [{ "dimension": "provider", "value": "a" }], "or": [] }),
    ];
    let mut refusals = String::new();
    for filter in filters {
        let refusal = read(&json!({ "metrics": ["sends"], "filter": filter }), Scope::All).unwrap_err();
        writeln!(refusals, "{filter}\n    {refusal}").unwrap();
    }
    for body in [
        "",
        "[]",
        "{\"metrics\": [\"sends\"],\n 5}",
        r#"{"metrics": [5]}"#,
        r#"{"metrics": ["sends"], "from": 5}"#,
    ] {
        let names = Locale::default();
        let refusal = Query::from_json(body.as_bytes(), Scope::All, &names, NOW).unwrap_err();
        writeln!(refusals, "{body}\n    {refusal}").unwrap();
    }
    insta::assert_snapshot!("refusals_of_bodies", refusals);
}

#[test]
fn filters_of_other_requests_are_read_like_those_of_queries() {
    let locale = Locale::default();
    let read = |texts: &[&str]| Filter::from_pairs(texts, &locale);
    assert_eq!(read(&[]).unwrap(), Filter::everything());
    assert_eq!(read(&["provider:gmail"]).unwrap(), Filter::one_of(Dimension::Provider, ["gmail"]));
    assert_eq!(read(&["isp:gmail"]).unwrap_err().parameter, "filter.dimension");
}

#[test]
fn filter_value_is_never_repeated_in_a_refusal() {
    let secret = "someone@example.com";
    let filters = [
        json!({ "dimension": "provider", "op": "like", "value": secret }),
        json!({ "dimension": "provider", "op": "in", "value": secret }),
        json!({ "dimension": "provider", "value": [secret] }),
        json!({ "dimension": "provider", "value": secret.repeat(50) }),
    ];
    for filter in filters {
        let refusal = read(&json!({ "metrics": ["sends"], "filter": filter }), Scope::All).unwrap_err();
        assert!(!refusal.to_string().contains("someone"), "{refusal}");
    }
}

#[test]
fn tenant_scope_cannot_group_or_filter_by_tenant() {
    let scope = || Scope::Tenant(tenant("acme"));
    for text in [
        "metrics=sends&group_by=tenant",
        "metrics=sends&filter=tenant:globex",
        "metrics=sends&filter=tenant:acme",
    ] {
        let refusal = pairs(text, scope()).unwrap_err();
        assert_eq!(refusal.kind, QueryErrorKind::Forbidden, "{text}");
        assert!(pairs(text, Scope::All).is_ok());
    }
}

#[test]
fn only_tenants_that_can_have_rows_are_read() {
    let check = |filter: &str, scope: Scope, expected: [bool; 2]| {
        let query = pairs(&format!("metrics=sends&{filter}"), scope).unwrap();
        assert_eq!(["acme", "globex"].map(|name| query.reads(&tenant(name))), expected, "{filter}");
    };
    check("", Scope::Tenant(tenant("acme")), [true, false]);
    check("", Scope::All, [true, true]);
    check("filter=tenant:acme", Scope::All, [true, false]);
    check("filter=tenant:acme&filter=tenant:globex", Scope::All, [true, true]);
    check("filter=provider:gmail", Scope::All, [true, true]);
    check(r#"filter={"not":{"dimension":"tenant","value":"acme"}}"#, Scope::All, [false, true]);
}

#[test]
fn query_for_a_tenant_reads_only_that_tenant() {
    let query = pairs("metrics=sends", Scope::All).unwrap().for_tenant(&tenant("acme"));
    assert_eq!(query.scope(), &Scope::Tenant(tenant("acme")));
    assert_eq!(["acme", "globex"].map(|name| query.reads(&tenant(name))), [true, false]);
}

/// A filter of `depth` levels, with `conditions` on the deepest one, of `values` values each.
fn filter(depth: usize, conditions: usize, values: usize) -> Value {
    let condition = json!({ "dimension": "provider", "op": "in", "value": vec!["a"; values] });
    let mut filter = json!({ "or": vec![condition; conditions] });
    for _ in 2..depth {
        filter = json!({ "not": filter });
    }
    filter
}

#[test]
fn filters_are_bounded_at_their_limits() {
    let check = |depth, conditions, values, fits: bool| {
        let body = json!({ "metrics": ["sends"], "filter": filter(depth, conditions, values) });
        assert_eq!(read(&body, Scope::All).is_ok(), fits, "{depth} {conditions} {values}");
    };
    check(8, 1, 1, true);
    check(9, 1, 1, false);
    check(2, 100, 1, true);
    check(2, 101, 1, false);
    check(2, 1, 1000, true);
    check(2, 1, 1001, false);
    let value = |bytes: usize| json!({ "metrics": ["sends"], "filter": { "dimension": "provider", "value": "x".repeat(bytes) } });
    assert!(read(&value(256), Scope::All).is_ok());
    assert!(read(&value(257), Scope::All).is_err());
}

#[test]
fn ranges_are_bounded_at_their_limits() {
    let check = |minutes: u32, fits: bool| {
        let to = Minute(29_000_000 + minutes).start().to_string();
        let from = Minute(29_000_000).start().to_string();
        let body = json!({ "metrics": ["sends"], "from": from, "to": to, "granularity": "1m" });
        assert_eq!(read(&body, Scope::All).is_ok(), fits, "{minutes}");
    };
    check(50_000, true);
    check(50_001, false);
}

#[test]
fn cursor_fixes_the_range_of_the_first_page() {
    let first = pairs("metrics=sends&from=-1h&to=now&limit=3", Scope::All).unwrap();
    let (from, to) = first.range();
    let cursor = Cursor { from, to, skip: 3 }.encode(first.fingerprint);
    let later = NOW.plus_millis(600_000);
    let text =
        [("metrics", "sends"), ("from", "-1h"), ("to", "now"), ("limit", "3"), ("cursor", cursor.as_str())];
    let names = Locale::default();
    let second = Query::from_pairs(text, Scope::All, &names, later).unwrap();
    assert_eq!((second.range(), second.skip), ((from, to), 3));
    let refusal = Query::from_pairs(text, Scope::Tenant(tenant("acme")), &names, later).unwrap_err();
    assert_eq!(refusal.parameter, "cursor");
}

proptest! {
    #[test]
    fn any_bytes_give_a_query_or_a_refusal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Query::from_json(&bytes, Scope::All, &Locale::default(), NOW);
    }

    #[test]
    fn any_parameter_values_give_a_query_or_a_refusal(
        name in prop::sample::select(PARAMETERS.to_vec()),
        text in "\\PC{0,12}|[-+0-9a-z:{}\\[\\]\",.]{0,20}",
    ) {
        let result = Query::from_pairs([("metrics", "sends"), (name, text.as_str())], Scope::All, &Locale::default(), NOW);
        if let Ok(query) = result {
            prop_assert!(query.edges.windows(2).all(|ends| ends[0] < ends[1]));
        }
    }
}
