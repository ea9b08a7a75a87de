//! Queries built from typed parts.

use event::attribution::Dimension;
use event::{Minute, TenantId};

use super::super::metrics::{BOUNCE_RATE, OPENS, SENDS};
use super::super::order::RateEnd;
use super::super::testing::{NOW, query};
use super::*;

fn acme() -> Scope {
    Scope::Tenant(TenantId::new("acme").unwrap())
}

fn full() -> QueryBuilder {
    Query::builder(Scope::All)
        .metrics([SENDS, BOUNCE_RATE])
        .range(QueryTime::days_ago(7), QueryTime::Now)
        .granularity(Granularity::Hour)
        .group_by([Dimension::Provider, Dimension::Campaign])
        .filter(Filter::one_of(Dimension::Provider, ["gmail", "yahoo"]))
        .order_by([OrderBy::rate(BOUNCE_RATE, RateEnd::Worst), OrderBy::time()])
        .limit(5)
        .fill(Fill::Zero)
}

#[test]
fn typed_query_equals_the_same_query_read_from_text() {
    let read = query(&serde_json::json!({
        "metrics": ["sends", "bounce_rate"],
        "from": "-7d",
        "granularity": "1h",
        "group_by": ["provider", "campaign"],
        "filter": { "dimension": "provider", "op": "in", "value": ["yahoo", "gmail"] },
        "order_by": ["bounce_rate:worst", "time"],
        "limit": 5,
        "fill": "zero",
    }));
    assert_eq!(format!("{read:?}"), format!("{:?}", full().build(NOW).unwrap()));
}

#[test]
fn each_rule_names_its_parameter() {
    let check = |query: QueryBuilder, parameter: &str| {
        assert_eq!(query.build(NOW).unwrap_err().parameter, parameter);
    };
    let sends = || Query::builder(acme()).metrics([SENDS]);
    check(Query::builder(acme()), "metrics");
    check(Query::builder(acme()).metrics([SENDS; Query::MAX_METRICS + 1]), "metrics");
    check(sends().group_by([QueryDimension::Tenant]), "group_by");
    check(sends().group_by([Dimension::Campaign; 2]), "group_by");
    check(sends().group_by(Dimension::ALL), "group_by");
    check(sends().filter(Filter::equal(QueryDimension::Tenant, "acme")), "filter.dimension");
    check(sends().filter(Filter::equal(Dimension::Campaign, "x".repeat(257))), "filter.value");
    check(sends().order_by([OrderBy::metric(OPENS)]), "order_by");
    check(sends().order_by([OrderBy::group(Dimension::Campaign)]), "order_by");
    check(sends().order_by([OrderBy::rate(SENDS, RateEnd::Best)]), "order_by");
    check(sends().order_by([OrderBy::time(); Query::MAX_ORDER_BY + 1]), "order_by");
    check(sends().limit(0), "limit");
    check(sends().limit(Query::MAX_LIMIT + 1), "limit");
    check(sends().cursor("abc"), "cursor");
    check(sends().range(Minute(200), Minute(100)), "to");
    check(sends().range(Minute(0), Minute(60_000)).granularity(Granularity::Minute), "granularity");
    check(sends().basis(Basis::Send).group_by([Dimension::Segment]), "group_by");
    check(sends().basis(Basis::Send).granularity(Granularity::FiveMinutes), "granularity");
}

#[test]
fn every_part_of_a_query_changes_what_its_cursors_are_bound_to() {
    let changed = [
        full(),
        QueryBuilder { scope: acme(), ..full() },
        full().metrics([SENDS]),
        full().range(QueryTime::days_ago(8), QueryTime::Now),
        full().range(QueryTime::days_ago(7), QueryTime::hours_ago(1)),
        full().granularity(Granularity::Day),
        full().group_by([Dimension::Provider]),
        full().filter(Filter::one_of(Dimension::Provider, ["gmail"])),
        full().basis(Basis::Send),
        full().zone(TimeZone::get("Europe/Berlin").unwrap()),
        full().order_by([OrderBy::time()]),
        full().limit(6),
        full().compare(Compare::PreviousYear),
        full().fill(Fill::None),
    ];
    let mut fingerprints: Vec<u64> = changed.iter().map(QueryBuilder::fingerprint).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), changed.len());
    assert_eq!(full().cursor("any").fingerprint(), full().fingerprint());
}
