//! Bucket edges against the calendar.

use proptest::prelude::*;

use super::super::testing::minute;
use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn check_edges(granularity: Granularity, zone_name: &str, from: &str, to: &str, expected: &[&str]) {
    let found = edges(granularity, &zone(zone_name), minute(from), minute(to), 1000).unwrap();
    let found: Vec<_> = found.into_iter().map(|edge| rfc3339(edge, &zone(zone_name))).collect();
    assert_eq!(found, expected, "{granularity:?} {zone_name}");
}

#[test]
fn buckets_begin_where_the_calendar_says() {
    use Granularity::{Day, FiveMinutes, Hour, Month, QuarterHour, Total, Week};
    check_edges(
        Total,
        "UTC",
        "2026-03-01T10:07:00Z",
        "2026-03-01T10:09:00Z",
        &["2026-03-01T10:07:00Z", "2026-03-01T10:09:00Z"],
    );
    check_edges(
        FiveMinutes,
        "UTC",
        "2026-03-01T10:07:00Z",
        "2026-03-01T10:11:00Z",
        &["2026-03-01T10:05:00Z", "2026-03-01T10:10:00Z", "2026-03-01T10:15:00Z"],
    );
    check_edges(
        QuarterHour,
        "UTC",
        "2026-03-01T10:15:00Z",
        "2026-03-01T10:30:00Z",
        &["2026-03-01T10:15:00Z", "2026-03-01T10:30:00Z"],
    );
    check_edges(
        Hour,
        "UTC",
        "2026-03-01T23:59:00Z",
        "2026-03-02T00:00:00Z",
        &["2026-03-01T23:00:00Z", "2026-03-02T00:00:00Z"],
    );
    check_edges(
        Day,
        "Europe/Berlin",
        "2026-03-28T12:00:00Z",
        "2026-03-29T22:00:00Z",
        &["2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"],
    );
    check_edges(
        Week,
        "UTC",
        "2026-03-01T00:00:00Z",
        "2026-03-03T00:00:00Z",
        &["2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"],
    );
    check_edges(
        Month,
        "Asia/Kolkata",
        "2026-01-31T18:30:00Z",
        "2026-03-01T00:00:00Z",
        &["2026-02-01T00:00:00+05:30", "2026-03-01T00:00:00+05:30", "2026-04-01T00:00:00+05:30"],
    );
}

#[test]
fn day_has_the_length_that_its_zone_gives_it() {
    let check = |zone_name: &str, noon: &str, minutes: u32| {
        let day =
            edges(Granularity::Day, &zone(zone_name), minute(noon), Minute(minute(noon).0 + 1), 9).unwrap();
        assert_eq!(day.last().unwrap().0 - day[0].0, minutes, "{zone_name} {noon}");
    };
    check("Europe/Berlin", "2026-03-28T12:00:00Z", 24 * 60);
    check("Europe/Berlin", "2026-03-29T12:00:00Z", 23 * 60);
    check("Europe/Berlin", "2026-10-25T12:00:00Z", 25 * 60);
    check("Australia/Lord_Howe", "2026-04-05T02:00:00Z", 24 * 60 + 30);
    // Clocks jumped over midnight: the day began at one o'clock.
    check("America/Sao_Paulo", "2018-11-04T12:00:00Z", 23 * 60);
}

#[test]
fn date_that_a_zone_skipped_has_no_bucket() {
    check_edges(
        Granularity::Day,
        "Pacific/Apia",
        "2011-12-29T20:00:00Z",
        "2011-12-31T20:00:00Z",
        &[
            "2011-12-29T00:00:00-10:00",
            "2011-12-31T00:00:00+14:00",
            "2012-01-01T00:00:00+14:00",
            "2012-01-02T00:00:00+14:00",
        ],
    );
}

#[test]
fn bucket_in_which_1970_begins_starts_with_1970() {
    check_edges(
        Granularity::Week,
        "UTC",
        "1970-01-01T00:00:00Z",
        "1970-01-05T00:00:00Z",
        &["1970-01-01T00:00:00Z", "1970-01-05T00:00:00Z"],
    );
    let found = edges(Granularity::Day, &zone("America/New_York"), Minute(0), Minute(300), 9).unwrap();
    assert_eq!(found, [Minute(0), Minute(300)]);
}

#[test]
fn too_many_buckets_and_times_beyond_the_calendar_give_none() {
    let cut =
        |granularity, from, to, most| edges(granularity, &TimeZone::UTC, Minute(from), Minute(to), most);
    assert_eq!(cut(Granularity::Minute, 0, 10, 10).unwrap().len(), 11);
    assert_eq!(cut(Granularity::Minute, 0, 11, 10), None);
    assert_eq!(cut(Granularity::Day, 0, 10 * 1440, 10).unwrap().len(), 11);
    assert_eq!(cut(Granularity::Day, 0, 10 * 1440 + 1, 10), None);
    assert_eq!(cut(Granularity::Month, u32::MAX - 1, u32::MAX, 10), None);
    assert_eq!(cut(Granularity::Hour, u32::MAX - 1, u32::MAX, 10), None);
}

fn check_earlier(
    compare: Compare,
    granularity: Granularity,
    zone_name: &str,
    range: [&str; 2],
    expected: [&str; 2],
) {
    let zone = zone(zone_name);
    let now = edges(granularity, &zone, minute(range[0]), minute(range[1]), 50_000).unwrap();
    let before = earlier(compare, granularity, &zone, &now).unwrap();
    assert_eq!(before.len(), now.len());
    let ends = [before[0], *before.last().unwrap()].map(|edge| rfc3339(edge, &zone));
    assert_eq!(ends, expected, "{compare:?} {granularity:?} {range:?}");
}

#[test]
fn previous_period_has_as_many_buckets_and_ends_where_the_range_begins() {
    use Granularity::{Day, Hour, Month, Total};
    let check = |granularity, zone, range, expected| {
        check_earlier(Compare::PreviousPeriod, granularity, zone, range, expected);
    };
    check(
        Total,
        "UTC",
        ["2026-03-10T10:07:00Z", "2026-03-10T12:00:00Z"],
        ["2026-03-10T08:14:00Z", "2026-03-10T10:07:00Z"],
    );
    check(
        Hour,
        "UTC",
        ["2026-03-10T10:00:00Z", "2026-03-11T10:00:00Z"],
        ["2026-03-09T10:00:00Z", "2026-03-10T10:00:00Z"],
    );
    check(
        Day,
        "Europe/Berlin",
        ["2026-03-28T23:00:00Z", "2026-03-30T22:00:00Z"],
        ["2026-03-27T00:00:00+01:00", "2026-03-29T00:00:00+01:00"],
    );
    check(
        Month,
        "UTC",
        ["2026-03-01T00:00:00Z", "2026-05-01T00:00:00Z"],
        ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"],
    );
}

#[test]
fn previous_year_has_the_same_dates_or_the_same_weekdays() {
    use Granularity::{Day, Hour, Month, Total, Week};
    let check = |granularity, zone, range, expected| {
        check_earlier(Compare::PreviousYear, granularity, zone, range, expected);
    };
    check(
        Total,
        "UTC",
        ["2026-03-10T10:07:00Z", "2026-03-12T00:00:00Z"],
        ["2025-03-10T10:07:00Z", "2025-03-12T00:00:00Z"],
    );
    check(
        Hour,
        "UTC",
        ["2026-03-10T10:00:00Z", "2026-03-11T10:00:00Z"],
        ["2025-03-10T10:00:00Z", "2025-03-11T10:00:00Z"],
    );
    check(
        Day,
        "UTC",
        ["2024-02-29T00:00:00Z", "2024-03-02T00:00:00Z"],
        ["2023-02-28T00:00:00Z", "2023-03-02T00:00:00Z"],
    );
    check(
        Week,
        "UTC",
        ["2026-03-02T00:00:00Z", "2026-03-16T00:00:00Z"],
        ["2025-03-03T00:00:00Z", "2025-03-17T00:00:00Z"],
    );
    check(
        Month,
        "UTC",
        ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"],
        ["2025-01-01T00:00:00Z", "2025-03-01T00:00:00Z"],
    );
}

#[test]
fn range_before_1970_cannot_be_compared_with() {
    for compare in [Compare::PreviousPeriod, Compare::PreviousYear] {
        for granularity in Granularity::ALL {
            let now =
                edges(granularity, &TimeZone::UTC, Minute(5 * 1440), Minute(20 * 1440), 50_000).unwrap();
            assert_eq!(
                earlier(compare, granularity, &TimeZone::UTC, &now),
                None,
                "{compare:?} {granularity:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn edges_rise_and_cover_the_range(
        granularity in prop::sample::select(Granularity::ALL.to_vec()),
        name in prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"]),
        from in 0..40_000_000_u32,
        length in 1..3_000_000_u32,
    ) {
        let (from, to) = (Minute(from), Minute(from + length));
        if let Some(edges) = edges(granularity, &zone(name), from, to, 50_000) {
            prop_assert!(edges.windows(2).all(|ends| ends[0] < ends[1]));
            prop_assert!(edges[0] <= from && from < edges[1]);
            prop_assert!(edges[edges.len() - 2] < to && to <= edges[edges.len() - 1]);
            for compare in [Compare::PreviousPeriod, Compare::PreviousYear] {
                if let Some(before) = earlier(compare, granularity, &zone(name), &edges) {
                    prop_assert_eq!(before.len(), edges.len());
                    prop_assert!(before.windows(2).all(|ends| ends[0] < ends[1]));
                }
            }
        } else {
            prop_assert!(length > 50_000 - 60);
        }
    }
}

#[test]
fn every_granularity_is_found_by_its_name() {
    for granularity in Granularity::ALL {
        assert_eq!(Granularity::from_name(granularity.name()), Some(granularity));
    }
    assert_eq!(Granularity::from_name("2m"), None);
}
