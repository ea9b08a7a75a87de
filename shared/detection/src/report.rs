//! What an alert says: numbers, severity and one plain sentence, made from the evidence behind it.
//!
//! People read the sentence when they are woken at night. It must hold every number that is needed to assess the trouble, and no term of this
//! crate.

use event::{Minute, invariant};

use crate::alert::{AlertContent, AlertKind, Cause, Severity};
use crate::budget::{ReputationThreshold, ThresholdStatus};
use crate::counts::MonitoredRate;
use crate::cusum::Cusum;
use crate::decline::DeclineFit;
use crate::latency::SlownessSignal;
use crate::limit_monitor::{LimitBreach, LimitedMetric};
use crate::minutes::{MINUTES_PER_DAY, minus, minutes_between};
use crate::series_monitor::SeriesMonitor;
use crate::wording;
use event::AlertScope;

/// With at least this many events in excess an alert is critical, if the change is large too.
const MANY_EVENTS: f64 = 300.0;
/// With fewer events in excess than this an alert is for information only.
const FEW_EVENTS: f64 = 20.0;
/// Complaints are rarer and weigh more, so their bounds are these parts of the ones above.
const MANY_COMPLAINTS: f64 = MANY_EVENTS / 10.0;
const FEW_COMPLAINTS: f64 = FEW_EVENTS / 4.0;

/// The mail that an alert is about, in words.
pub(crate) fn scope_phrase(scope: &AlertScope, provider: Option<&str>, campaign: Option<&str>) -> String {
    let tenant = match scope {
        AlertScope::Platform => None,
        AlertScope::Tenant(id) => Some(id.as_str()),
    };
    wording::scope_phrase(tenant, provider, campaign)
}

/// When an excursion began.
fn start_of(since: Option<Minute>, now: Minute) -> Minute {
    invariant::or_broken(since, now, "a finding about a series without an excursion")
}

/// Minutes from the start of the trouble to now, at least 1.
fn window_minutes(started: Minute, now: Minute) -> u32 {
    minutes_between(started, now).max(1)
}

/// A rate that differs from its past.
pub(crate) fn rate(
    monitor: &SeriesMonitor,
    metric: MonitoredRate,
    cusum: &Cusum,
    now: Minute,
    scope_phrase: &str,
    cause: Vec<Cause>,
) -> AlertContent {
    let (observed, expected) = (f64::from(cusum.observed), f64::from(cusum.expected));
    let denominator = f64::from(cusum.denominator).max(1e-9);
    let denominator = match metric {
        // Opens lag deliveries by hours, so at night there can be more opens than recent deliveries. Report the number of deliveries that
        // this many opens normally come from.
        MonitoredRate::Open | MonitoredRate::Click => {
            monitor.own_rate(metric).map_or(denominator, |usual| expected / usual)
        }
        MonitoredRate::HardBounce
        | MonitoredRate::Bounce
        | MonitoredRate::Delay
        | MonitoredRate::Delivery
        | MonitoredRate::Complaint => denominator,
    };
    let (low, high) = monitor.expected_band(metric, expected);
    let started = start_of(cusum.since(), now);
    let window_minutes = window_minutes(started, now);
    let (change, excess) = if metric.fall_is_bad() { ("fallen", "loss") } else { ("risen", "excess") };
    AlertContent {
        kind: AlertKind::Anomaly,
        severity: rate_severity(metric, observed, expected, denominator),
        metric: metric.name().to_owned(),
        value: observed / denominator,
        expected: Some([low / denominator, high / denominator]),
        limit: None,
        numerator: observed,
        denominator: Some(denominator),
        started,
        window_minutes,
        summary: format!(
            "The {} {scope_phrase} has {change} to {} ({observed:.0} of {denominator:.0} in {window_minutes} minutes), where {} to {} is normal{}.",
            wording::metric(metric.name()),
            percent(observed / denominator),
            percent(low / denominator),
            percent(high / denominator),
            main_cause(&cause, excess),
        ),
        cause,
    }
}

/// Critical if the change is large and concerns many events, information if it concerns few.
fn rate_severity(metric: MonitoredRate, observed: f64, expected: f64, denominator: f64) -> Severity {
    let excess = (observed - expected).abs();
    // Severity follows the harm: many events in a small change of a large sender can wait for the morning.
    let is_large = match metric {
        MonitoredRate::HardBounce | MonitoredRate::Bounce | MonitoredRate::Delivery => {
            excess > 0.1 * denominator
        }
        MonitoredRate::Delay => excess > 0.3 * denominator,
        MonitoredRate::Complaint => excess > 0.002 * denominator,
        MonitoredRate::Open | MonitoredRate::Click => excess > 0.8 * expected,
    };
    // Complaints are counted in other numbers than bounces, so they have bounds of their own.
    let (few, many) = match metric {
        MonitoredRate::Complaint => (FEW_COMPLAINTS, MANY_COMPLAINTS),
        MonitoredRate::HardBounce
        | MonitoredRate::Bounce
        | MonitoredRate::Delay
        | MonitoredRate::Delivery
        | MonitoredRate::Open
        | MonitoredRate::Click => (FEW_EVENTS, MANY_EVENTS),
    };
    if is_large && excess >= many {
        Severity::Critical
    } else if excess < few {
        Severity::Info
    } else {
        Severity::Warning
    }
}

/// Mail that takes longer than usual to deliver.
pub(crate) fn latency(
    signal: &SlownessSignal,
    since: Option<Minute>,
    now: Minute,
    scope_phrase: &str,
) -> AlertContent {
    let SlownessSignal { observed, expected, deliveries } = *signal;
    let factor = observed / expected.max(1.0);
    let started = start_of(since, now);
    // A large factor on a handful of deliveries is no reason to wake someone.
    let is_critical = factor > 10.0 && deliveries > MANY_EVENTS;
    AlertContent {
        kind: AlertKind::Anomaly,
        severity: if is_critical { Severity::Critical } else { Severity::Warning },
        metric: LimitedMetric::DeliveryTime.name().to_owned(),
        value: observed,
        expected: Some([expected * 0.6, expected * 1.6]),
        limit: None,
        numerator: observed,
        denominator: Some(deliveries),
        started,
        window_minutes: window_minutes(started, now),
        summary: format!(
            "Delivery {scope_phrase} takes {:.1} s, which is {factor:.1} times the usual time ({deliveries:.0} deliveries).",
            observed / 1000.0,
        ),
        cause: Vec::new(),
    }
}

/// More waiting mail than usual.
pub(crate) fn queue(
    depth: f64,
    usual: f64,
    since: Option<Minute>,
    now: Minute,
    scope_phrase: &str,
) -> AlertContent {
    let started = start_of(since, now);
    AlertContent {
        kind: AlertKind::Anomaly,
        severity: Severity::Warning,
        metric: LimitedMetric::Queue.name().to_owned(),
        value: depth,
        expected: Some([usual * 0.3, usual * 3.0]),
        limit: None,
        numerator: depth,
        denominator: None,
        started,
        window_minutes: window_minutes(started, now),
        cause: Vec::new(),
        summary: format!(
            "The queue {scope_phrase} holds {depth:.0} messages, where about {usual:.0} is normal."
        ),
    }
}

/// Too little or too much mail.
pub(crate) fn volume(cusum: &Cusum, is_fall: bool, now: Minute, scope_phrase: &str) -> AlertContent {
    let (observed, expected) = (f64::from(cusum.observed), f64::from(cusum.expected));
    // Silence has an alert kind of its own, because a stopped sender is a different problem from a slow day.
    let is_silent = is_fall && observed <= 0.0;
    let started = start_of(cusum.since(), now);
    let window_minutes = window_minutes(started, now);
    let off = (expected - observed).abs();
    let severity = if off >= MANY_EVENTS {
        Severity::Critical
    } else if off < FEW_EVENTS {
        Severity::Info
    } else {
        Severity::Warning
    };
    let sent = if is_silent { "No mail was".to_owned() } else { format!("{observed:.0} messages were") };
    AlertContent {
        kind: if is_silent { AlertKind::Silence } else { AlertKind::Anomaly },
        severity,
        metric: "sends".to_owned(),
        value: observed,
        expected: Some([expected * 0.5, expected * 2.0]),
        limit: None,
        numerator: observed,
        denominator: None,
        started,
        window_minutes,
        summary: format!(
            "{sent} sent {scope_phrase} in {window_minutes} minutes, where about {expected:.0} is normal."
        ),
        cause: Vec::new(),
    }
}

/// A limit that is broken.
pub(crate) fn limit(breach: &LimitBreach, started: Minute, scope_phrase: &str) -> AlertContent {
    let LimitBreach { events, denominator: mail, limit, window_minutes, metric, .. } = *breach;
    let bad_share = events / mail.max(1.0);
    let rate = |value: f64, numerator: f64, side: &str| {
        let summary = format!(
            "The {} {scope_phrase} is {} ({numerator:.0} of {mail:.0} in {window_minutes} minutes), {side} its limit of {}.",
            wording::metric(metric.name()),
            percent(value),
            percent(limit),
        );
        (value, numerator, Some(mail), summary)
    };
    let known =
        |level: Option<f64>| invariant::or_broken(level, 0.0, "a breach without the level it is about");
    let (value, numerator, denominator, summary) = match metric {
        LimitedMetric::Delivery | LimitedMetric::NetDelivery => rate(1.0 - bad_share, mail - events, "below"),
        LimitedMetric::Bounce | LimitedMetric::HardBounce | LimitedMetric::Complaint => {
            rate(bad_share, events, "above")
        }
        LimitedMetric::DeliveryTime => {
            let summary = format!(
                "{} of deliveries {scope_phrase} took longer than {:.0} s ({events:.0} of {mail:.0} in {window_minutes} minutes), above the 5 % that the limit allows.",
                percent(bad_share),
                limit / 1000.0,
            );
            (known(breach.level), events, Some(mail), summary)
        }
        LimitedMetric::Queue => {
            let level = known(breach.level);
            let summary = format!(
                "{level:.0} messages {scope_phrase} are waiting, and the queue has been above its limit of {limit:.0} for {window_minutes} minutes."
            );
            (level, level, None, summary)
        }
    };
    AlertContent {
        kind: AlertKind::Limit,
        severity: Severity::Warning,
        metric: metric.name().to_owned(),
        value,
        expected: None,
        limit: Some(limit),
        numerator,
        denominator,
        started,
        window_minutes,
        summary,
        cause: Vec::new(),
    }
}

/// A rate that has become worse over weeks.
pub(crate) fn decline(
    metric: MonitoredRate,
    fit: &DeclineFit,
    now: Minute,
    scope_phrase: &str,
    cause: Vec<Cause>,
) -> AlertContent {
    let days = fit.days;
    let window_minutes = days * MINUTES_PER_DAY;
    let change = if metric.fall_is_bad() { "fallen" } else { "risen" };
    AlertContent {
        kind: AlertKind::Anomaly,
        severity: Severity::Warning,
        metric: metric.name().to_owned(),
        value: fit.to,
        expected: Some([fit.from.min(fit.from * 0.98), fit.from.max(fit.from * 1.02)]),
        limit: None,
        numerator: fit.to * fit.last_day_mail,
        denominator: Some(fit.last_day_mail),
        started: minus(now, window_minutes),
        window_minutes,
        summary: format!(
            "The {} {scope_phrase} has slowly {change} from {} to {} over {days} days{}.",
            wording::metric(metric.name()),
            percent(fit.from.min(1.0)),
            percent(fit.to.min(1.0)),
            main_cause(&cause, "change"),
        ),
        cause,
    }
}

/// A reputation threshold that is crossed, or soon will be.
pub(crate) fn budget(
    threshold: &ReputationThreshold,
    status: &ThresholdStatus,
    now: Minute,
    cause: Vec<Cause>,
) -> AlertContent {
    let is_crossed = status.used.is_some_and(|used| used >= 1.0);
    let pauses = threshold.name.ends_with("_pause");
    let known = |value: Option<f64>| invariant::or_broken(value, 0.0, "a budget alert without mail");
    AlertContent {
        kind: AlertKind::Budget,
        severity: if is_crossed && pauses { Severity::Critical } else { Severity::Warning },
        metric: threshold.metric.to_owned(),
        value: known(status.rate),
        expected: None,
        limit: Some(threshold.limit),
        numerator: known(status.numerator),
        denominator: status.denominator,
        started: minus(now, MINUTES_PER_DAY),
        window_minutes: MINUTES_PER_DAY,
        summary: format!("{}{}.", status.summary.trim_end_matches('.'), main_cause(&cause, "events")),
        cause,
    }
}

/// No events from any tenant.
pub(crate) fn pipeline(silent_since: Minute, expected: f64, now: Minute) -> AlertContent {
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
        window_minutes: window_minutes(silent_since, now),
        cause: Vec::new(),
        summary:
            "No events arrive from any tenant: a failure of the pipeline is more likely than silence of all senders."
                .to_owned(),
    }
}

/// The summary of trouble that several tenants share while their sum shows nothing.
pub(crate) fn shared(tenants: usize, scope_phrase: &str, first_summary: &str) -> String {
    format!("{tenants} tenants have the same problem {scope_phrase}, for example: {first_summary}")
}

/// The largest cause, with its share `of_what`, as the end of a sentence; empty if none is known.
fn main_cause(cause: &[Cause], of_what: &str) -> String {
    let Some(first) = cause.first() else { return String::new() };
    let names: Vec<String> = first.filter.iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!("; {} of the {of_what} comes from {}", percent(first.share), names.join(" and "))
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 1.0 { format!("{percent:.2} %") } else { format!("{percent:.1} %") }
}

#[cfg(test)]
mod tests;
