//! When a limit is broken, and when it is kept again.

use super::*;
use crate::counts::METRIC_COUNT;
use crate::outcome_delay::{DecayFactors, DelayKernel};

fn add(windows: &mut LimitWindows, counts: &Counts, times: SlowDeliveries, now: u32) {
    add_told(windows, counts, times, now, AlertCoverage::default());
}

/// A bucket of a minute, whose complaints come over four hours.
fn add_told(
    windows: &mut LimitWindows,
    counts: &Counts,
    times: SlowDeliveries,
    now: u32,
    told: AlertCoverage,
) {
    let decay = DecayFactors::new(1);
    let kernels = [DelayKernel::guess([0.0, 0.0, 0.0, 1.0, 0.0]); METRIC_COUNT];
    let context = BucketContext { now, bucket: 1, threshold: 16.0, kernels: &kernels, decay: &decay };
    windows.add(counts, times, told, &context);
}

fn breached(bounces: f64, sent: f64) -> bool {
    let mut windows = LimitWindows::new(0);
    add(
        &mut windows,
        &Counts { deliveries: sent - bounces, bounces_permanent: bounces, ..Counts::default() },
        SlowDeliveries::default(),
        0,
    );
    !windows.breaches(&Limits::default()).is_empty()
}

#[test]
fn one_bounce_in_13_mails_is_no_breach_and_30_in_500_is() {
    assert!(!breached(1.0, 13.0));
    assert!(breached(30.0, 500.0));
    assert!(!breached(7.0, 7.0), "fewer than eight events say nothing");
    assert!(!breached(0.0, 0.0));
}

#[test]
fn a_rate_about_its_limit_opens_at_most_once_and_stays_open() {
    let mut windows = LimitWindows::new(0);
    let mut changes = 0;
    let mut open = false;
    for bucket in 0..2000_u32 {
        let bounces = if bucket % 2 == 0 { 23.0 } else { 21.0 };
        add(
            &mut windows,
            &Counts { deliveries: 1000.0 - bounces, bounces_permanent: bounces, ..Counts::default() },
            SlowDeliveries::default(),
            bucket * 5,
        );
        let now = !windows.breaches(&Limits::default()).is_empty();
        changes += u32::from(now != open);
        open = now;
    }
    assert!(changes <= 1, "{changes} changes");
}

#[test]
fn a_breach_ends_soon_after_its_trouble_where_there_is_much_mail() {
    let mut windows = LimitWindows::new(0);
    let broken = |windows: &mut LimitWindows, minute: u32, bounces: f64| {
        let counts = Counts { deliveries: 1000.0 - bounces, bounces_permanent: bounces, ..Counts::default() };
        add(windows, &counts, SlowDeliveries::default(), minute);
        !windows.breaches(&Limits::default()).is_empty()
    };
    assert!((0..60).all(|minute| broken(&mut windows, minute, 300.0)));
    let ended = (60..600).find(|&minute| !broken(&mut windows, minute, 2.0)).unwrap();
    assert!((120..=180).contains(&ended), "{ended}");
    assert!((ended..ended + 3000).all(|minute| !broken(&mut windows, minute, 2.0)), "and does not come back");
}

#[test]
fn deliveries_may_take_longer_than_the_limit_in_one_of_twenty_cases() {
    let limits = Limits { delivery_ms_p95: Some(60_000.0), ..Limits::NONE };
    let broken_after = |p95: f64, a_minute: f64| {
        let mut windows = LimitWindows::new(0);
        (0..600).find(|&minute| {
            let mut times = SlowDeliveries::default();
            times.add(DeliveryTimePercentiles::new(Some(2_000.0), Some(p95)).unwrap(), a_minute, 60_000.0);
            add(&mut windows, &Counts::default(), times, minute);
            !windows.breaches(&limits).is_empty()
        })
    };
    assert_eq!(broken_after(59_000.0, 100.0), None);
    assert!(broken_after(300_000.0, 100.0).unwrap() <= 5);
    assert!(broken_after(300_000.0, 2.0).is_some_and(|minute| minute > 30), "few mails are little proof");
}

#[test]
fn mail_waits_for_a_while_before_it_is_too_much_and_is_over_when_it_is_clearly_less() {
    let limits = Limits { queue_depth: Some(1000.0), ..Limits::NONE };
    let mut windows = LimitWindows::new(0);
    let mut minute = 0;
    let mut broken = |depth: Option<f64>, sends: f64| {
        minute += 1;
        let counts = Counts { sends, queue_depth: depth, ..Counts::default() };
        add(&mut windows, &counts, SlowDeliveries::default(), minute);
        windows.breaches(&limits).first().is_some_and(|breach| breach.level.unwrap() > 800.0)
    };
    assert!((0..9).all(|_| !broken(Some(1500.0), 0.0)));
    assert!((0..9).all(|_| !broken(Some(700.0), 0.0)), "it was a evaluation's");
    assert_eq!((0..20).filter(|_| broken(Some(1500.0), 0.0)).count(), 10);
    assert!(broken(Some(900.0), 0.0) && !broken(Some(700.0), 0.0));
    // What a gauge said stands for a while; then what was sent and has no outcome waits.
    assert_eq!((0..9).filter(|_| broken(Some(1500.0), 0.0)).count(), 0);
    assert!(!broken(None, 0.0) && broken(None, 0.0));
    assert!((0..60).any(|_| broken(None, 100.0)));
}

#[test]
fn a_breach_ends_when_the_rate_has_been_clearly_below() {
    let mut windows = LimitWindows::new(0);
    add(
        &mut windows,
        &Counts { deliveries: 400.0, bounces_permanent: 100.0, ..Counts::default() },
        SlowDeliveries::default(),
        0,
    );
    assert!(!windows.breaches(&Limits::default()).is_empty());
    for bucket in 1..180_u32 {
        add(
            &mut windows,
            &Counts { deliveries: 999.0, bounces_permanent: 1.0, ..Counts::default() },
            SlowDeliveries::default(),
            bucket * 5,
        );
    }
    assert!(windows.breaches(&Limits::default()).is_empty());
}

#[test]
fn complaints_about_mail_that_was_told_are_no_rate_of_the_little_mail_after_it() {
    let broken = |rate: f64| {
        let mut windows = LimitWindows::new(0);
        (0..2880_u32).any(|minute| {
            // A million mails in an hour, while an alert is open, then a few; complaints come over four hours.
            let deliveries = if minute < 60 { 1e6 / 60.0 } else { 0.5 };
            let complaints = rate * 1e6 / 240.0 * (-f64::from(minute) / 240.0).exp();
            let counts = Counts { deliveries, complaints, ..Counts::default() };
            let told = AlertCoverage { complaint: minute < 60, ..AlertCoverage::default() };
            add_told(&mut windows, &counts, SlowDeliveries::default(), minute, told);
            !windows.breaches(&Limits::default()).is_empty()
        })
    };
    assert!(!broken(0.0005));
    assert!(broken(0.005));
}
