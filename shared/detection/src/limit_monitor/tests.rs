//! When a limit is broken, and when the breach is over.

use super::metric::SLOW_SHARE;
use super::*;
use crate::outcome_delay::{DecayFactors, DelayKernel};
use crate::per_rate::PerRate;
use crate::rules::AlertRules;

fn add(windows: &mut LimitWindows, counts: &Counts, slow: SlowDeliveries, minute: u32) {
    add_covered(windows, counts, slow, minute, AlertCoverage::default());
}

/// Adds a bucket of one minute, whose complaints arrive over four hours. Without sends, those of its outcomes.
fn add_covered(
    windows: &mut LimitWindows,
    counts: &Counts,
    slow: SlowDeliveries,
    minute: u32,
    coverage: AlertCoverage,
) {
    let kernels = PerRate::from_fn(|_| DelayKernel::assumed([0.0, 0.0, 0.0, 1.0, 0.0]));
    let decay = DecayFactors::new(1);
    let context = BucketContext {
        now: Minute(minute),
        bucket_minutes: 1,
        threshold: 16.0,
        kernels: &kernels,
        decay: &decay,
    };
    let sends = if counts.sends > 0.0 { counts.sends } else { counts.with_outcome() };
    windows.add(&Counts { sends, ..*counts }, slow, coverage, &context);
}

/// The metrics whose limits are broken after an hour of minutes with these counts.
fn broken_after_an_hour(counts: &Counts, limits: &Limits) -> Vec<LimitedMetric> {
    let mut windows = LimitWindows::new(Minute(0));
    (0..60).for_each(|minute| add(&mut windows, counts, SlowDeliveries::default(), minute));
    windows.breaches(limits).iter().map(|breach| breach.metric).collect()
}

#[test]
fn bounce_after_acceptance_breaks_the_limit_on_the_net_delivery_rate_alone() {
    let counts = Counts {
        sends: 100.0,
        deliveries: 100.0,
        bounces_permanent: 40.0,
        after_acceptance: 40.0,
        ..Counts::default()
    };
    let limits = Limits { delivery_rate: Some(0.95), net_delivery_rate: Some(0.9), ..Limits::NONE };
    assert_eq!(broken_after_an_hour(&counts, &limits), [LimitedMetric::NetDelivery]);
    let breach = {
        let mut windows = LimitWindows::new(Minute(0));
        add(&mut windows, &counts, SlowDeliveries::default(), 0);
        windows.breaches(&limits).remove(0)
    };
    assert!((breach.events - 40.0).abs() < 1e-3 && (breach.denominator - 100.0).abs() < 1e-3, "{breach:?}");
    assert!((breach.limit - 0.9).abs() < 1e-9, "{breach:?}");
    let strict = Limits { net_delivery_rate: Some(0.5), ..limits };
    assert_eq!(broken_after_an_hour(&counts, &strict), []);
}

#[test]
fn bounce_before_acceptance_breaks_both_limits_on_delivery() {
    let counts = Counts { deliveries: 60.0, bounces_transient: 40.0, ..Counts::default() };
    let limits = Limits { delivery_rate: Some(0.95), net_delivery_rate: Some(0.95), ..Limits::NONE };
    let both = [LimitedMetric::Delivery, LimitedMetric::NetDelivery];
    assert_eq!(broken_after_an_hour(&counts, &limits), both);
}

#[test]
fn limits_on_shares_of_the_sends_are_not_evaluated_where_sends_are_missing() {
    let counts = |sends| Counts {
        sends,
        deliveries: 80.0,
        bounces_permanent: 20.0,
        complaints: 4.0,
        ..Counts::default()
    };
    let limits = Limits { net_delivery_rate: Some(0.95), hard_bounce_rate: Some(0.05), ..Limits::default() };
    let by_sends = [
        LimitedMetric::Delivery,
        LimitedMetric::NetDelivery,
        LimitedMetric::Bounce,
        LimitedMetric::HardBounce,
    ];
    let all = [by_sends.as_slice(), &[LimitedMetric::Complaint]].concat();
    assert_eq!(broken_after_an_hour(&counts(100.0), &limits), all);
    assert_eq!(broken_after_an_hour(&counts(96.0), &limits), all);
    assert_eq!(broken_after_an_hour(&counts(94.0), &limits), [LimitedMetric::Complaint]);
}

fn breached(bounces: f64, sent: f64) -> bool {
    let mut windows = LimitWindows::new(Minute(0));
    add(
        &mut windows,
        &Counts { deliveries: sent - bounces, bounces_permanent: bounces, ..Counts::default() },
        SlowDeliveries::default(),
        0,
    );
    !windows.breaches(&Limits::default()).is_empty()
}

#[test]
fn breach_needs_evidence_that_the_rate_exceeds_its_limit() {
    assert!(!breached(1.0, 13.0));
    assert!(breached(30.0, 500.0));
    assert!(!breached(7.0, 7.0), "fewer than eight events prove nothing");
    assert!(!breached(0.0, 0.0));
}

#[test]
fn rate_close_to_its_limit_is_one_breach() {
    let mut windows = LimitWindows::new(Minute(0));
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
fn breach_ends_soon_after_its_trouble_where_there_is_much_mail() {
    let mut windows = LimitWindows::new(Minute(0));
    let broken = |windows: &mut LimitWindows, minute: u32, bounces: f64| {
        let counts = Counts { deliveries: 1000.0 - bounces, bounces_permanent: bounces, ..Counts::default() };
        add(windows, &counts, SlowDeliveries::default(), minute);
        !windows.breaches(&Limits::default()).is_empty()
    };
    assert!((0..60).all(|minute| broken(&mut windows, minute, 300.0)));
    let ended = (60..600).find(|&minute| !broken(&mut windows, minute, 2.0)).unwrap();
    assert!((120..=180).contains(&ended), "{ended}");
    assert!(
        (ended..ended + 3000).all(|minute| !broken(&mut windows, minute, 2.0)),
        "the breach does not come back"
    );
}

#[test]
fn one_delivery_of_twenty_may_take_longer_than_the_limit() {
    let limits = Limits { delivery_ms_p95: Some(60_000.0), ..Limits::NONE };
    let broken_after = |p95: f64, per_minute: f64| {
        let mut windows = LimitWindows::new(Minute(0));
        (0..600).find(|&minute| {
            let mut times = SlowDeliveries::default();
            times.add(DeliveryTimePercentiles::new(Some(2_000.0), Some(p95)).unwrap(), per_minute, 60_000.0);
            add(&mut windows, &Counts::default(), times, minute);
            !windows.breaches(&limits).is_empty()
        })
    };
    assert_eq!(broken_after(59_000.0, 100.0), None);
    assert!(broken_after(300_000.0, 100.0).unwrap() <= 5);
    assert!(broken_after(300_000.0, 2.0).is_some_and(|minute| minute > 30), "few messages prove little");
}

#[test]
fn open_breach_reports_the_last_observed_delivery_time_while_nothing_is_delivered() {
    let limits = Limits { delivery_ms_p95: Some(60_000.0), ..Limits::NONE };
    let mut windows = LimitWindows::new(Minute(0));
    for minute in 0..60 {
        let mut times = SlowDeliveries::default();
        times.add(DeliveryTimePercentiles::new(Some(20_000.0), Some(300_000.0)).unwrap(), 100.0, 60_000.0);
        add(&mut windows, &Counts::default(), times, minute);
        windows.breaches(&limits);
    }
    let mut open_minutes = 0;
    for minute in 60..1200 {
        add(&mut windows, &Counts::default(), SlowDeliveries::default(), minute);
        let breaches = windows.breaches(&limits);
        let Some(breach) = breaches.first() else { continue };
        open_minutes += 1;
        assert!((breach.level.unwrap() - 300_000.0).abs() < 1_000.0, "{minute}: {breach:?}");
        assert!(breach.events > 0.05 * breach.denominator, "{minute}: {breach:?}");
    }
    assert!(open_minutes > 600, "{open_minutes}");
}

#[test]
fn mail_from_before_a_long_gap_is_in_no_window() {
    for gap_half_hours in [HALF_HOURS - 1, HALF_HOURS, HALF_HOURS + 1, 10 * HALF_HOURS + 7] {
        let mut windows = LimitWindows::new(Minute(0));
        let counts = Counts { deliveries: 400.0, bounces_permanent: 100.0, ..Counts::default() };
        for half_hour in 0..HALF_HOURS {
            add(&mut windows, &counts, SlowDeliveries::default(), half_hour * HALF_HOUR_MINUTES);
        }
        let last = HALF_HOURS - 1 + gap_half_hours;
        add(&mut windows, &Counts::default(), SlowDeliveries::default(), last * HALF_HOUR_MINUTES);
        let kept = 500.0 * f64::from(HALF_HOURS.saturating_sub(gap_half_hours));
        let exposure = f64::from(windows.sum(LimitedMetric::Bounce, HALF_HOURS).exposure);
        assert!((exposure - kept).abs() < 1.0, "{gap_half_hours}: {exposure} instead of {kept}");
    }
}

#[test]
fn rate_limit_above_1_never_fires() {
    let counts = Counts { deliveries: 10.0, bounces_permanent: 490.0, complaints: 9.0, ..Counts::default() };
    for limits in [
        Limits { delivery_rate: Some(2.0), ..Limits::NONE },
        Limits { bounce_rate: Some(1.5), ..Limits::NONE },
        Limits { hard_bounce_rate: Some(1.01), ..Limits::NONE },
        Limits { complaint_rate: Some(2.0), ..Limits::NONE },
    ] {
        let rules = AlertRules { limits, ..AlertRules::default() };
        let mut windows = LimitWindows::new(Minute(0));
        add(&mut windows, &counts, SlowDeliveries::default(), 0);
        assert_eq!(windows.breaches(&rules.limits_of("acme")), [], "{limits:?}");
        assert_eq!(rules.limits_of("acme"), Limits::NONE);
    }
}

#[test]
fn queue_breaks_its_limit_after_ten_minutes_and_until_it_is_clearly_below() {
    let limits = Limits { queue_depth: Some(1000.0), ..Limits::NONE };
    let mut windows = LimitWindows::new(Minute(0));
    let mut minute = 0;
    let mut broken = |depth: Option<f64>, sends: f64| {
        minute += 1;
        let counts = Counts { sends, queue_depth: depth, ..Counts::default() };
        add(&mut windows, &counts, SlowDeliveries::default(), minute);
        windows.breaches(&limits).first().is_some_and(|breach| breach.level.unwrap() > 800.0)
    };
    assert!((0..9).all(|_| !broken(Some(1500.0), 0.0)));
    assert!((0..9).all(|_| !broken(Some(700.0), 0.0)), "the ten minutes begin again");
    assert_eq!((0..20).filter(|_| broken(Some(1500.0), 0.0)).count(), 10);
    assert!(broken(Some(900.0), 0.0) && !broken(Some(700.0), 0.0));
    // A reading of a gauge is valid for a while; then mail without an outcome counts as waiting.
    assert_eq!((0..9).filter(|_| broken(Some(1500.0), 0.0)).count(), 0);
    assert!(!broken(None, 0.0) && broken(None, 0.0));
    assert!((0..60).any(|_| broken(None, 100.0)));
}

#[test]
fn breach_ends_when_the_rate_has_been_clearly_below_the_limit() {
    let mut windows = LimitWindows::new(Minute(0));
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
fn complaints_about_covered_mail_are_not_divided_by_the_little_mail_after_it() {
    let broken = |rate: f64| {
        let mut windows = LimitWindows::new(Minute(0));
        (0..2880_u32).any(|minute| {
            // A million messages in an hour in which an alert is open, then a few; complaints arrive over four hours.
            let deliveries = if minute < 60 { 1e6 / 60.0 } else { 0.5 };
            let complaints = rate * 1e6 / 240.0 * (-f64::from(minute) / 240.0).exp();
            let counts = Counts { deliveries, complaints, ..Counts::default() };
            let coverage = AlertCoverage { complaint: minute < 60, ..AlertCoverage::default() };
            add_covered(&mut windows, &counts, SlowDeliveries::default(), minute, coverage);
            !windows.breaches(&Limits::default()).is_empty()
        })
    };
    assert!(!broken(0.0005));
    assert!(broken(0.005));
}

#[test]
fn limits_of_users_are_turned_into_allowed_shares_of_bad_outcomes() {
    let limits = Limits { delivery_ms_p95: Some(60_000.0), queue_depth: Some(10.0), ..Limits::default() };
    for (metric, allowed) in [
        (LimitedMetric::Delivery, Some(1.0 - 0.95)),
        (LimitedMetric::Bounce, Some(0.02)),
        (LimitedMetric::HardBounce, None),
        (LimitedMetric::Complaint, Some(0.001)),
        (LimitedMetric::DeliveryTime, Some(SLOW_SHARE)),
        (LimitedMetric::Queue, Some(10.0)),
    ] {
        assert_eq!(metric.allowed(&limits), allowed, "{metric:?}");
    }
}

#[test]
fn windows_of_each_pair_are_kept_in_full_and_in_order() {
    for metric in LimitedMetric::ALL {
        for pair in metric.windows() {
            assert!(pair.short_half_hours < pair.long_half_hours, "{metric:?}");
            assert!(pair.long_half_hours <= HALF_HOURS, "{metric:?}");
        }
    }
}

#[test]
fn half_hours_that_vary_more_than_a_binomial_are_over_dispersed() {
    let dispersion = |bounces: fn(u32) -> f64| {
        let mut windows = LimitWindows::new(Minute(0));
        for half_hour in 0..48 {
            let bounces_permanent = bounces(half_hour);
            let deliveries = 1000.0 - bounces_permanent;
            let counts = Counts { deliveries, bounces_permanent, ..Counts::default() };
            add(&mut windows, &counts, SlowDeliveries::default(), half_hour * HALF_HOUR_MINUTES);
        }
        windows.dispersion(LimitedMetric::Bounce, 48)
    };
    assert!((dispersion(|_| 20.0) - 1.0).abs() < 1e-9, "never below 1");
    assert!(dispersion(|half_hour| if half_hour % 2 == 0 { 0.0 } else { 40.0 }) > 10.0);
}

#[test]
fn covered_outcomes_are_not_counted_against_a_limit() {
    let counts = Counts { deliveries: 400.0, bounces_permanent: 100.0, ..Counts::default() };
    let breaks = |coverage: AlertCoverage| {
        let mut windows = LimitWindows::new(Minute(3000));
        add_covered(&mut windows, &counts, SlowDeliveries::default(), 3000, coverage);
        !windows.breaches(&Limits::default()).is_empty()
    };
    assert!(breaks(AlertCoverage::default()));
    assert!(breaks(AlertCoverage { complaint: true, latency: true, ..AlertCoverage::default() }));
    assert!(!breaks(AlertCoverage { delivery: true, ..AlertCoverage::default() }));
}
