//! The sentences of alerts, word by word, and the numbers and severity beside them.

use event::TenantId;

use super::*;
use crate::cusum::{CusumTest, Observation};

const NOW: Minute = Minute(10_000);

fn acme() -> AlertScope {
    AlertScope::Tenant(TenantId::new("acme").unwrap())
}

/// An excursion of one bucket that began ten minutes ago.
fn excursion(observed: f64, expected: f64, denominator: f64) -> Cusum {
    let mut cusum = Cusum::default();
    let test = CusumTest {
        ratio: if observed > expected { 2.0 } else { 0.5 },
        dispersion: 0.01,
        margin: 1.0,
        threshold: 16.0,
        recent_decay: 0.9,
        caution: 1.0,
    };
    cusum.add(&Observation { observed, expected, denominator }, &test, Minute(NOW.0 - 10));
    cusum
}

fn campaign(share: f64) -> Vec<Cause> {
    vec![Cause { filter: [("campaign".to_owned(), "spring".to_owned())].into(), share }]
}

#[test]
fn rate_is_reported_with_its_counts_its_band_and_its_main_cause() {
    let monitor = SeriesMonitor::new(Minute(0), false);
    let scope_phrase = scope_phrase(&acme(), Some("gmail"), None);
    let report = |metric, observed, expected, cause| {
        rate(&monitor, metric, &excursion(observed, expected, 1000.0), NOW, &scope_phrase, cause)
    };
    let bounces = report(MonitoredRate::Bounce, 300.0, 10.0, campaign(0.916));
    assert_eq!(
        bounces.summary,
        "The bounce rate for acme at gmail has risen to 30.0 % (300 of 1000 in 10 minutes), where 0.07 % to 2.0 % is normal; \
         91.6 % of the excess comes from campaign spring."
    );
    assert_eq!((bounces.started, bounces.window_minutes), (Minute(NOW.0 - 10), 10));
    let opens = report(MonitoredRate::Open, 10.0, 200.0, Vec::new());
    assert_eq!(
        opens.summary,
        "The open rate for acme at gmail has fallen to 1.0 % (10 of 1000 in 10 minutes), where 11.3 % to 31.1 % is normal."
    );
}

#[test]
fn volume_is_silence_if_nothing_was_sent() {
    let scope_phrase = scope_phrase(&acme(), None, None);
    let silence = volume(&excursion(0.0, 250.0, 0.0), true, NOW, &scope_phrase);
    assert_eq!(silence.summary, "No mail was sent for acme in 10 minutes, where about 250 is normal.");
    assert_eq!((silence.kind, silence.severity), (AlertKind::Silence, Severity::Warning));
    let spike = volume(&excursion(900.0, 250.0, 0.0), false, NOW, &scope_phrase);
    assert_eq!(spike.summary, "900 messages were sent for acme in 10 minutes, where about 250 is normal.");
    assert_eq!((spike.kind, spike.severity), (AlertKind::Anomaly, Severity::Critical));
}

#[test]
fn slow_delivery_and_long_queues_are_reported_with_what_is_usual() {
    let scope_phrase = scope_phrase(&acme(), Some("gmail"), None);
    let signal = SlownessSignal { observed: 12_000.0, expected: 1_500.0, deliveries: 1200.0 };
    let slow = latency(&signal, Some(Minute(NOW.0 - 30)), NOW, &scope_phrase);
    assert_eq!(
        slow.summary,
        "Delivery for acme at gmail takes 12.0 s, which is 8.0 times the usual time (1200 deliveries)."
    );
    assert_eq!(slow.severity, Severity::Warning);
    let slower = SlownessSignal { observed: 60_000.0, ..signal };
    assert_eq!(latency(&slower, Some(NOW), NOW, &scope_phrase).severity, Severity::Critical);
    let waiting = queue(5000.0, 700.0, Some(NOW), NOW, &scope_phrase);
    assert_eq!(
        waiting.summary,
        "The queue for acme at gmail holds 5000 messages, where about 700 is normal."
    );
    assert_eq!(waiting.window_minutes, 1, "a window is never empty");
}

#[test]
fn broken_limits_are_reported_with_the_limit() {
    let scope_phrase = scope_phrase(&acme(), None, None);
    let breach = |metric, events, denominator, level, limit, window_minutes| {
        let breach = LimitBreach { metric, events, denominator, level, limit, window_minutes };
        super::limit(&breach, NOW, &scope_phrase)
    };
    for (content, summary, value) in [
        (
            breach(LimitedMetric::Bounce, 30.0, 1000.0, None, 0.02, 60),
            "The bounce rate for acme is 3.0 % (30 of 1000 in 60 minutes), above its limit of 2.0 %.",
            0.03,
        ),
        (
            breach(LimitedMetric::Delivery, 80.0, 1000.0, None, 0.95, 720),
            "The delivery rate for acme is 92.0 % (920 of 1000 in 720 minutes), below its limit of 95.0 %.",
            0.92,
        ),
        (
            breach(LimitedMetric::DeliveryTime, 80.0, 1000.0, Some(75_000.0), 60_000.0, 120),
            "8.0 % of deliveries for acme took longer than 60 s (80 of 1000 in 120 minutes), above the 5 % that the limit allows.",
            75_000.0,
        ),
        (
            breach(LimitedMetric::Queue, 1500.0, 1500.0, Some(1500.0), 1000.0, 12),
            "1500 messages for acme are waiting, and the queue has been above its limit of 1000 for 12 minutes.",
            1500.0,
        ),
    ] {
        assert_eq!(content.summary, summary);
        assert!((content.value - value).abs() < 1e-9, "{summary}: {}", content.value);
    }
}

#[test]
fn slow_changes_are_reported_with_both_ends() {
    let fit = DeclineFit { from: 0.22, to: 0.15, p_value: 1e-9, days: 28, last_day_mail: 1000.0 };
    let scope_phrase = scope_phrase(&acme(), None, None);
    let content = decline(MonitoredRate::Open, &fit, Minute(100_000), &scope_phrase, Vec::new());
    assert_eq!(
        content.summary,
        "The open rate for acme has slowly fallen from 22.0 % to 15.0 % over 28 days."
    );
    assert_eq!(content.started, Minute(100_000 - 28 * 1440));
    let fit = DeclineFit { from: 0.0002, to: 0.0009, ..fit };
    let content = decline(MonitoredRate::Complaint, &fit, NOW, &scope_phrase, campaign(0.5));
    assert_eq!(
        content.summary,
        "The complaint rate for acme has slowly risen from 0.02 % to 0.09 % over 28 days; \
         50.0 % of the change comes from campaign spring."
    );
}

#[test]
fn severity_depends_on_the_number_of_events_and_the_size_of_the_change() {
    for (metric, observed, expected, denominator, severity) in [
        (MonitoredRate::Bounce, 310.0, 10.0, 1000.0, Severity::Critical),
        // Many events, but a small part of the mail.
        (MonitoredRate::Bounce, 310.0, 10.0, 100_000.0, Severity::Warning),
        (MonitoredRate::Bounce, 29.0, 10.0, 100.0, Severity::Info),
        (MonitoredRate::Bounce, 30.0, 10.0, 100.0, Severity::Warning),
        (MonitoredRate::Complaint, 35.0, 5.0, 1000.0, Severity::Critical),
        (MonitoredRate::Complaint, 9.9, 5.0, 1000.0, Severity::Info),
        (MonitoredRate::Open, 0.0, 400.0, 2000.0, Severity::Critical),
        (MonitoredRate::Open, 200.0, 600.0, 2000.0, Severity::Warning),
    ] {
        assert_eq!(
            rate_severity(metric, observed, expected, denominator),
            severity,
            "{metric:?} {observed} {expected}"
        );
    }
}

#[test]
fn percentages_below_one_have_two_digits() {
    for (share, expected) in
        [(0.5, "50.0 %"), (0.01, "1.0 %"), (0.00999, "1.00 %"), (0.0005, "0.05 %"), (0.0, "0.00 %")]
    {
        assert_eq!(percent(share), expected);
    }
}
