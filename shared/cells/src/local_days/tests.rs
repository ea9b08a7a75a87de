//! Buckets of many zones, and that they are the same one by one and together.

use proptest::prelude::*;

use super::*;
use crate::query::{Month, time_zone};

fn minute_at(text: &str) -> Minute {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).minute()
}

fn days_of(zone: &str) -> LocalDays {
    LocalDays::new([(Day(0), time_zone(zone).unwrap())])
}

fn check(days: &LocalDays, at: &str, hour: &str, day: &str) {
    let at = minute_at(at);
    assert_eq!(days.bucket(at, Resolution::Minute), at);
    assert_eq!(days.bucket(at, Resolution::Hour), minute_at(hour), "{at:?} by the hour");
    assert_eq!(days.bucket(at, Resolution::Day), minute_at(day), "{at:?} by the day");
}

#[test]
fn hour_in_which_a_local_day_begins_is_two_buckets() {
    let kolkata = days_of("Asia/Kolkata");
    check(&kolkata, "2026-03-10T18:29:00Z", "2026-03-10T18:00:00Z", "2026-03-09T18:30:00Z");
    check(&kolkata, "2026-03-10T18:30:00Z", "2026-03-10T18:30:00Z", "2026-03-10T18:30:00Z");
    check(&kolkata, "2026-03-10T18:59:00Z", "2026-03-10T18:30:00Z", "2026-03-10T18:30:00Z");
    check(&kolkata, "2026-03-10T19:00:00Z", "2026-03-10T19:00:00Z", "2026-03-10T18:30:00Z");
    let kathmandu = days_of("Asia/Kathmandu");
    check(&kathmandu, "2026-03-10T18:14:00Z", "2026-03-10T18:00:00Z", "2026-03-09T18:15:00Z");
    check(&kathmandu, "2026-03-10T18:15:00Z", "2026-03-10T18:15:00Z", "2026-03-10T18:15:00Z");
}

#[test]
fn days_begin_where_clocks_say_so_in_winter_and_in_summer() {
    // UTC-3:30 in winter, UTC-2:30 in summer.
    let st_johns = days_of("America/St_Johns");
    check(&st_johns, "2026-01-15T03:31:00Z", "2026-01-15T03:30:00Z", "2026-01-15T03:30:00Z");
    check(&st_johns, "2026-07-15T02:31:00Z", "2026-07-15T02:30:00Z", "2026-07-15T02:30:00Z");
    // UTC+11 in summer, UTC+10:30 in winter.
    let lord_howe = days_of("Australia/Lord_Howe");
    check(&lord_howe, "2026-01-15T13:01:00Z", "2026-01-15T13:00:00Z", "2026-01-15T13:00:00Z");
    check(&lord_howe, "2026-07-15T13:31:00Z", "2026-07-15T13:30:00Z", "2026-07-15T13:30:00Z");
    // Until 2011 clocks went back from 0:01 to 23:01: an hour of the day before follows the first minute of the day.
    check(&st_johns, "2010-11-07T02:30:00Z", "2010-11-07T02:30:00Z", "2010-11-07T02:30:00Z");
    check(&st_johns, "2010-11-07T03:10:00Z", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z");
}

#[test]
fn month_of_utc_is_a_cut_in_every_zone() {
    let kolkata = days_of("Asia/Kolkata");
    check(&kolkata, "2026-03-31T23:59:00Z", "2026-03-31T23:00:00Z", "2026-03-31T18:30:00Z");
    check(&kolkata, "2026-04-01T00:10:00Z", "2026-04-01T00:00:00Z", "2026-04-01T00:00:00Z");
    check(&kolkata, "2026-04-01T18:30:00Z", "2026-04-01T18:30:00Z", "2026-04-01T18:30:00Z");
}

#[test]
fn change_of_zone_holds_from_its_day_on() {
    let day = minute_at("2026-03-10T00:00:00Z").hour().day();
    let days = LocalDays::new([(day, time_zone("Asia/Kolkata").unwrap())]);
    check(&days, "2026-03-09T18:40:00Z", "2026-03-09T18:00:00Z", "2026-03-09T00:00:00Z");
    check(&days, "2026-03-10T00:20:00Z", "2026-03-10T00:00:00Z", "2026-03-10T00:00:00Z");
    check(&days, "2026-03-10T18:40:00Z", "2026-03-10T18:30:00Z", "2026-03-10T18:30:00Z");
    let (from, to) = (minute_at("2026-03-01T00:00:00Z"), minute_at("2026-04-01T00:00:00Z"));
    let at = minute_at("2026-03-10T00:00:00Z");
    let change = ZoneChange { at, from: "UTC".to_owned(), to: "Asia/Kolkata".to_owned() };
    assert!(days.changes(from, to).eq([change]));
    assert_eq!(days.changes(from, at).count() + days.changes(at, to).count(), 0);
    assert_eq!(days_of("Asia/Kolkata").changes(Minute(0), to).count(), 0);
}

#[test]
fn days_of_an_unknown_zone_are_no_cuts() {
    let day = minute_at("2026-03-10T00:00:00Z").hour().day();
    let days = LocalDays::new([(Day(0), time_zone("Asia/Kolkata").ok()), (day, None)]);
    check(&days, "2026-03-09T18:40:00Z", "2026-03-09T18:30:00Z", "2026-03-09T18:30:00Z");
    check(&days, "2026-03-12T18:40:00Z", "2026-03-12T18:00:00Z", "2026-03-10T00:00:00Z");
    check(&days, "2026-04-12T00:00:00Z", "2026-04-12T00:00:00Z", "2026-04-01T00:00:00Z");
}

proptest! {
    #[test]
    fn buckets_of_many_rows_are_those_of_each(
        zone in prop::sample::select(vec!["Asia/Kolkata", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"]),
        second in prop::sample::select(vec!["Europe/Berlin", "Australia/Eucla", "UTC"]),
        offsets in prop::collection::vec(0..3 * 365 * 1440_u32, 1..40),
    ) {
        // From November 2009 on, with a change after a year.
        let start = minute_at("2009-11-01T00:00:00Z");
        let change = Day(start.hour().day().0 + 400);
        let days = LocalDays::new([(Day(0), time_zone(zone).unwrap()), (change, time_zone(second).unwrap())]);
        for resolution in [Resolution::Minute, Resolution::Hour, Resolution::Day] {
            let mut starts = BucketStarts::new(&days, resolution);
            for offset in &offsets {
                let at = Minute(start.0 + offset);
                let bucket = starts.bucket(at);
                prop_assert_eq!(bucket, days.bucket(at, resolution));
                prop_assert!(bucket <= at && days.is_cut(bucket, resolution));
                // In steps as at once, and no bucket crosses a cut that a query may ask for.
                let by_hour = days.bucket(at, Resolution::Hour);
                prop_assert_eq!(days.bucket(by_hour, resolution), days.bucket(at, resolution.max(Resolution::Hour)));
                prop_assert_eq!(Month::of(bucket.hour().day()), Month::of(at.hour().day()));
                let zone = days.zone(at.hour().day());
                let midnight = start_of(date_of(at, &zone).unwrap(), &zone).unwrap();
                if resolution != Resolution::Minute && midnight.hour().day() >= change {
                    prop_assert!(midnight > at || bucket >= midnight);
                }
            }
        }
    }
}
