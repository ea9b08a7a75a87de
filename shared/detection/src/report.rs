//! What an alert says: numbers, severity and one plain sentence, from the evidence behind it.

use crate::alert::{Cause, Facts, Kind, Severity};
use crate::budget::{Line, Standing};
use crate::counts::Metric;
use crate::decline::Creep;
use crate::evidence::Evidence;
use crate::limits::{Breach, LimitKind};
use crate::node::Node;
use crate::rules::Place;

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
    node: &Node,
    metric: Metric,
    evidence: &Evidence,
    now: u32,
    place: &str,
    cause: Vec<Cause>,
) -> Facts {
    let (seen, expected, base) =
        (f64::from(evidence.seen), f64::from(evidence.expected), f64::from(evidence.base).max(1e-9));
    // By night there are more opens than mail was delivered of late: told is the mail that they are usually the opens of.
    let base = match metric {
        Metric::Open | Metric::Click => node.usual(metric).map_or(base, |usual| expected / usual),
        _ => base,
    };
    let (low, high) = node.band(metric, expected);
    let window = now.saturating_sub(evidence.since).max(1);
    let way = if metric.falls() { "down to" } else { "up at" };
    Facts {
        kind: Kind::Anomaly,
        severity: severity(metric, seen, expected, base),
        metric: metric.name().to_owned(),
        value: seen / base,
        expected: Some([low / base, high / base]),
        limit: None,
        numerator: seen,
        denominator: Some(base),
        started: evidence.since,
        window,
        summary: format!(
            "The {} {place} is {way} {} ({seen:.0} of {base:.0} in {window} minutes), where {} to {} is usual{}.",
            metric.name().replace('_', " "),
            percent(seen / base),
            percent(low / base),
            percent(high / base),
            because(&cause),
        ),
        cause,
    }
}

fn severity(metric: Metric, seen: f64, expected: f64, base: f64) -> Severity {
    let excess = (seen - expected).abs();
    let large = match metric {
        Metric::HardBounce | Metric::Bounce | Metric::Delivery => excess > 0.1 * base,
        Metric::Delay => excess > 0.3 * base,
        Metric::Complaint => excess > 0.002 * base,
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
    seen: f64,
    expected: f64,
    deliveries: f64,
    started: u32,
    now: u32,
    place: &str,
) -> Facts {
    let factor = seen / expected.max(1.0);
    Facts {
        kind: Kind::Anomaly,
        severity: if factor > 10.0 && deliveries > MANY { Severity::Critical } else { Severity::Warning },
        metric: "delivery_ms_p95".to_owned(),
        value: seen,
        expected: Some([expected * 0.6, expected * 1.6]),
        limit: None,
        numerator: seen,
        denominator: Some(deliveries),
        started,
        window: now.saturating_sub(started).max(1),
        summary: format!(
            "Delivery {place} takes {:.1} s, {factor:.1} times as long as usual ({deliveries:.0} deliveries).",
            seen / 1000.0,
        ),
        cause: Vec::new(),
    }
}

/// Mail waiting.
pub(crate) fn queue(seen: f64, expected: f64, started: u32, now: u32, place: &str) -> Facts {
    Facts {
        kind: Kind::Anomaly,
        severity: Severity::Warning,
        metric: "queue_depth".to_owned(),
        value: seen,
        expected: Some([expected * 0.3, expected * 3.0]),
        limit: None,
        numerator: seen,
        denominator: None,
        started,
        window: now.saturating_sub(started).max(1),
        cause: Vec::new(),
        summary: format!("The queue {place} holds {seen:.0} mails, where about {expected:.0} is usual."),
    }
}

/// Too little or too much mail.
pub(crate) fn volume(evidence: &Evidence, falls: bool, now: u32, place: &str) -> Facts {
    let (seen, expected) = (f64::from(evidence.seen), f64::from(evidence.expected));
    let silent = falls && evidence.seen <= 0.0;
    let window = now.saturating_sub(evidence.since).max(1);
    let (low, high) = (expected * 0.5, expected * 2.0);
    let severity = match (expected - seen).abs() {
        many if many >= MANY => Severity::Critical,
        few if few < FEW => Severity::Info,
        _ => Severity::Warning,
    };
    let words = if silent { "No mail".to_owned() } else { format!("{seen:.0} mails") };
    Facts {
        kind: if silent { Kind::Silence } else { Kind::Anomaly },
        severity,
        metric: "sends".to_owned(),
        value: seen,
        expected: Some([low, high]),
        limit: None,
        numerator: seen,
        denominator: None,
        started: evidence.since,
        window,
        summary: format!("{words} {place} in {window} minutes, where about {expected:.0} is usual."),
        cause: Vec::new(),
    }
}

/// Whose part of the mail it is, in words.
pub(crate) fn part(tenant: &str, part: &Place) -> String {
    let place = place(tenant, part.provider.as_deref());
    part.campaign.as_ref().map_or(place.clone(), |campaign| format!("{place} in campaign {campaign}"))
}

/// A limit that is broken.
pub(crate) fn limit(breach: &Breach, started: u32, place: &str) -> Facts {
    let Breach { events, base, limit, window, .. } = *breach;
    let bad = events / base.max(1.0);
    let name = breach.kind.name().replace('_', " ");
    let level = breach.level.unwrap_or_default();
    let rate = |value: f64, numerator: f64, side: &str| {
        let summary = format!(
            "The {name} {place} is {} ({numerator:.0} of {base:.0} in {window} minutes), {side} its limit of {}.",
            percent(value),
            percent(limit),
        );
        (value, numerator, Some(base), summary)
    };
    let (value, numerator, denominator, summary) = match breach.kind {
        LimitKind::Delivery => rate(1.0 - bad, base - events, "below"),
        LimitKind::Bounce | LimitKind::HardBounce | LimitKind::Complaint => rate(bad, events, "above"),
        LimitKind::DeliveryTime => {
            let summary = format!(
                "Delivery {place} takes longer than {:.0} s for {} of mail ({events:.0} of {base:.0} in {window} minutes), which 5 % may.",
                limit / 1000.0,
                percent(bad),
            );
            (level, events, Some(base), summary)
        }
        LimitKind::Queue => {
            let summary = format!(
                "{level:.0} mails {place} wait, and have been more than the limit of {limit:.0} for {window} minutes."
            );
            (level, level, None, summary)
        }
    };
    Facts {
        kind: Kind::Limit,
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
pub(crate) fn decline(metric: Metric, creep: &Creep, now: u32, place: &str, cause: Vec<Cause>) -> Facts {
    let days = creep.days;
    Facts {
        kind: Kind::Anomaly,
        severity: Severity::Warning,
        metric: metric.name().to_owned(),
        value: creep.to,
        expected: Some([creep.from.min(creep.from * 0.98), creep.from.max(creep.from * 1.02)]),
        limit: None,
        numerator: creep.to * creep.base,
        denominator: Some(creep.base),
        started: now.saturating_sub(days * 24 * 60),
        window: days * 24 * 60,
        summary: format!(
            "The {} {place} has crept from {} to {} over {days} days{}.",
            metric.name().replace('_', " "),
            percent(creep.from.min(1.0)),
            percent(creep.to.min(1.0)),
            because(&cause),
        ),
        cause,
    }
}

/// A line of SES's that is crossed, or soon will be.
pub(crate) fn budget(line: &Line, standing: &Standing, now: u32, cause: Vec<Cause>) -> Facts {
    let crossed = standing.used.is_some_and(|used| used >= 1.0);
    let pauses = line.name.ends_with("_pause");
    Facts {
        kind: Kind::Budget,
        severity: if crossed && pauses { Severity::Critical } else { Severity::Warning },
        metric: line.metric.to_owned(),
        value: standing.rate.unwrap_or_default(),
        expected: None,
        limit: Some(line.limit),
        numerator: standing.numerator.unwrap_or_default(),
        denominator: standing.denominator,
        started: now.saturating_sub(DAY),
        window: DAY,
        summary: format!("{}{}", standing.summary.trim_end_matches('.'), because(&cause) + "."),
        cause,
    }
}

/// No counts from anybody.
pub(crate) fn pipeline(silent_since: u32, expected: f64, now: u32) -> Facts {
    Facts {
        kind: Kind::Pipeline,
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
