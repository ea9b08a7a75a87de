//! What an alert says: numbers, severity and one plain sentence, from the evidence behind it.

use crate::alert::{AlertContent, AlertKind, Cause, Severity};
use crate::budget::{ReputationThreshold, ThresholdStatus};
use crate::counts::Metric;
use crate::cusum::Cusum;
use crate::decline::DeclineFit;
use crate::limit_monitor::{LimitBreach, LimitedMetric};
use crate::rules::MailSubset;
use crate::series_monitor::SeriesMonitor;

/// Excess events that make an alert critical, if the change is large too.
const MANY: f64 = 300.0;
/// Below so many events in excess an alert is information only.
const FEW: f64 = 20.0;

/// Minutes in a day.
const DAY: u32 = 24 * 60;

/// Whose trouble it is, in words.
pub(crate) fn place(tenant: &str, provider: Option<&str>) -> String {
    match (tenant, provider) {
        ("*", None) => "over all tenants".to_owned(),
        ("*", Some(provider)) => format!("at {provider}, over all tenants"),
        (tenant, None) => format!("of {tenant}"),
        (tenant, Some(provider)) => format!("of {tenant} at {provider}"),
    }
}

/// A rate that is unlike its past.
pub(crate) fn rate(
    monitor: &SeriesMonitor,
    metric: Metric,
    cusum: &Cusum,
    now: u32,
    place: &str,
    cause: Vec<Cause>,
) -> AlertContent {
    let (observed, expected, denominator) =
        (f64::from(cusum.observed), f64::from(cusum.expected), f64::from(cusum.denominator).max(1e-9));
    // By night there are more opens than mail was delivered of late: told is the mail that they are usually the opens of.
    let denominator = match metric {
        Metric::Open | Metric::Click => monitor.usual(metric).map_or(denominator, |usual| expected / usual),
        _ => denominator,
    };
    let (low, high) = monitor.band(metric, expected);
    let window = now.saturating_sub(cusum.since).max(1);
    let way = if metric.falls() { "down to" } else { "up at" };
    AlertContent {
        kind: AlertKind::Anomaly,
        severity: severity(metric, observed, expected, denominator),
        metric: metric.name().to_owned(),
        value: observed / denominator,
        expected: Some([low / denominator, high / denominator]),
        limit: None,
        numerator: observed,
        denominator: Some(denominator),
        started: cusum.since,
        window,
        summary: format!(
            "The {} {place} is {way} {} ({observed:.0} of {denominator:.0} in {window} minutes), where {} to {} is usual{}.",
            metric.name().replace('_', " "),
            percent(observed / denominator),
            percent(low / denominator),
            percent(high / denominator),
            because(&cause),
        ),
        cause,
    }
}

fn severity(metric: Metric, observed: f64, expected: f64, denominator: f64) -> Severity {
    let excess = (observed - expected).abs();
    let large = match metric {
        Metric::HardBounce | Metric::Bounce | Metric::Delivery => excess > 0.1 * denominator,
        Metric::Delay => excess > 0.3 * denominator,
        Metric::Complaint => excess > 0.002 * denominator,
        Metric::Open | Metric::Click => excess > 0.8 * expected,
    };
    let many = if metric == Metric::Complaint { MANY / 10.0 } else { MANY };
    let few = if metric == Metric::Complaint { FEW / 4.0 } else { FEW };
    match (large, excess) {
        (true, excess) if excess >= many => Severity::Critical,
        (_, excess) if excess < few => Severity::Info,
        _ => Severity::Warning,
    }
}

/// Mail that takes longer than usual, in milliseconds.
pub(crate) fn latency(
    observed: f64,
    expected: f64,
    deliveries: f64,
    started: u32,
    now: u32,
    place: &str,
) -> AlertContent {
    let factor = observed / expected.max(1.0);
    AlertContent {
        kind: AlertKind::Anomaly,
        severity: if factor > 10.0 && deliveries > MANY { Severity::Critical } else { Severity::Warning },
        metric: "delivery_ms_p95".to_owned(),
        value: observed,
        expected: Some([expected * 0.6, expected * 1.6]),
        limit: None,
        numerator: observed,
        denominator: Some(deliveries),
        started,
        window: now.saturating_sub(started).max(1),
        summary: format!(
            "Delivery {place} takes {:.1} s, {factor:.1} times as long as usual ({deliveries:.0} deliveries).",
            observed / 1000.0,
        ),
        cause: Vec::new(),
    }
}

/// Mail waiting.
pub(crate) fn queue(observed: f64, expected: f64, started: u32, now: u32, place: &str) -> AlertContent {
    AlertContent {
        kind: AlertKind::Anomaly,
        severity: Severity::Warning,
        metric: "queue_depth".to_owned(),
        value: observed,
        expected: Some([expected * 0.3, expected * 3.0]),
        limit: None,
        numerator: observed,
        denominator: None,
        started,
        window: now.saturating_sub(started).max(1),
        cause: Vec::new(),
        summary: format!("The queue {place} holds {observed:.0} mails, where about {expected:.0} is usual."),
    }
}

/// Too little or too much mail.
pub(crate) fn volume(cusum: &Cusum, falls: bool, now: u32, place: &str) -> AlertContent {
    let (observed, expected) = (f64::from(cusum.observed), f64::from(cusum.expected));
    let silent = falls && cusum.observed <= 0.0;
    let window = now.saturating_sub(cusum.since).max(1);
    let (low, high) = (expected * 0.5, expected * 2.0);
    let severity = match (expected - observed).abs() {
        many if many >= MANY => Severity::Critical,
        few if few < FEW => Severity::Info,
        _ => Severity::Warning,
    };
    let words = if silent { "No mail".to_owned() } else { format!("{observed:.0} mails") };
    AlertContent {
        kind: if silent { AlertKind::Silence } else { AlertKind::Anomaly },
        severity,
        metric: "sends".to_owned(),
        value: observed,
        expected: Some([low, high]),
        limit: None,
        numerator: observed,
        denominator: None,
        started: cusum.since,
        window,
        summary: format!("{words} {place} in {window} minutes, where about {expected:.0} is usual."),
        cause: Vec::new(),
    }
}

/// Whose part of the mail it is, in words.
pub(crate) fn part(tenant: &str, part: &MailSubset) -> String {
    let place = place(tenant, part.provider.as_deref());
    part.campaign.as_ref().map_or(place.clone(), |campaign| format!("{place} in campaign {campaign}"))
}

/// A limit that is broken.
pub(crate) fn limit(breach: &LimitBreach, started: u32, place: &str) -> AlertContent {
    let LimitBreach { events, denominator, limit, window, .. } = *breach;
    let bad = events / denominator.max(1.0);
    let name = breach.kind.name().replace('_', " ");
    let level = breach.level.unwrap_or_default();
    let rate = |value: f64, numerator: f64, side: &str| {
        let summary = format!(
            "The {name} {place} is {} ({numerator:.0} of {denominator:.0} in {window} minutes), {side} its limit of {}.",
            percent(value),
            percent(limit),
        );
        (value, numerator, Some(denominator), summary)
    };
    let (value, numerator, denominator, summary) = match breach.kind {
        LimitedMetric::Delivery => rate(1.0 - bad, denominator - events, "below"),
        LimitedMetric::Bounce | LimitedMetric::HardBounce | LimitedMetric::Complaint => {
            rate(bad, events, "above")
        }
        LimitedMetric::DeliveryTime => {
            let summary = format!(
                "Delivery {place} takes longer than {:.0} s for {} of mail ({events:.0} of {denominator:.0} in {window} minutes), which 5 % may.",
                limit / 1000.0,
                percent(bad),
            );
            (level, events, Some(denominator), summary)
        }
        LimitedMetric::Queue => {
            let summary = format!(
                "{level:.0} mails {place} wait, and have been more than the limit of {limit:.0} for {window} minutes."
            );
            (level, level, None, summary)
        }
    };
    AlertContent {
        kind: AlertKind::Limit,
        severity: Severity::Warning,
        metric: breach.kind.name().to_owned(),
        value,
        expected: None,
        limit: Some(limit),
        numerator,
        denominator,
        started,
        window,
        summary,
        cause: Vec::new(),
    }
}

/// A rate that creeps away over weeks.
pub(crate) fn decline(
    metric: Metric,
    fit: &DeclineFit,
    now: u32,
    place: &str,
    cause: Vec<Cause>,
) -> AlertContent {
    let days = fit.days;
    AlertContent {
        kind: AlertKind::Anomaly,
        severity: Severity::Warning,
        metric: metric.name().to_owned(),
        value: fit.to,
        expected: Some([fit.from.min(fit.from * 0.98), fit.from.max(fit.from * 1.02)]),
        limit: None,
        numerator: fit.to * fit.last_day_messages,
        denominator: Some(fit.last_day_messages),
        started: now.saturating_sub(days * 24 * 60),
        window: days * 24 * 60,
        summary: format!(
            "The {} {place} has crept from {} to {} over {days} days{}.",
            metric.name().replace('_', " "),
            percent(fit.from.min(1.0)),
            percent(fit.to.min(1.0)),
            because(&cause),
        ),
        cause,
    }
}

/// A line of SES's that is crossed, or soon will be.
pub(crate) fn budget(
    threshold: &ReputationThreshold,
    status: &ThresholdStatus,
    now: u32,
    cause: Vec<Cause>,
) -> AlertContent {
    let crossed = status.used.is_some_and(|used| used >= 1.0);
    let pauses = threshold.name.ends_with("_pause");
    AlertContent {
        kind: AlertKind::Budget,
        severity: if crossed && pauses { Severity::Critical } else { Severity::Warning },
        metric: threshold.metric.to_owned(),
        value: status.rate.unwrap_or_default(),
        expected: None,
        limit: Some(threshold.limit),
        numerator: status.numerator.unwrap_or_default(),
        denominator: status.denominator,
        started: now.saturating_sub(DAY),
        window: DAY,
        summary: format!("{}{}", status.summary.trim_end_matches('.'), because(&cause) + "."),
        cause,
    }
}

/// No counts from anybody.
pub(crate) fn pipeline(silent_since: u32, expected: f64, now: u32) -> AlertContent {
    AlertContent {
        kind: AlertKind::Pipeline,
        severity: Severity::Critical,
        metric: "sends".to_owned(),
        value: 0.0,
        expected: Some([expected * 0.5, expected * 2.0]),
        limit: None,
        numerator: 0.0,
        denominator: None,
        started: silent_since,
        window: now.saturating_sub(silent_since).max(1),
        cause: Vec::new(),
        summary: "No events of any tenant arrive: the pipeline is more likely down than all senders."
            .to_owned(),
    }
}

fn because(cause: &[Cause]) -> String {
    let Some(first) = cause.first() else { return String::new() };
    let names: Vec<String> = first.filter.iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!("; {} of it is {}", percent(first.share), names.join(" and "))
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 1.0 { format!("{percent:.2} %") } else { format!("{percent:.1} %") }
}
