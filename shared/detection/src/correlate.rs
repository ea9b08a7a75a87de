//! From evidence to findings: which series speaks for a tenant, and when many tenants' trouble is one cause.
//!
//! A provider that carries most of a tenant's excess is the place of the trouble; several tenants in trouble at one provider and
//! nowhere else are one alert for that provider. What an open alert explains stays silent.

mod limit_findings;
mod recurring_campaigns;

use std::collections::BTreeMap;

use crate::alert::{AlertContent, AlertGroup, AlertKey, AlertRegistry, Finding};
use crate::cause;
use crate::counts::Metric;
use crate::cusum::Cusum;
use crate::report;
use crate::rules::{MailSubset, Rules};
use crate::series_monitor::{DECLINES, SeriesMonitor};
use crate::tenant_state::{self, TenantState};

pub(crate) use self::limit_findings::{budgets, limits};

/// Cusum that counts as partial: not enough alone, but together with others'.
const PARTIAL: f64 = 4.0;
/// Tenants in trouble, and tenants with partial evidence, that make a platform's trouble.
const LEAST_ALARMED: usize = 2;
const LEAST_PARTIAL: usize = 3;
/// Cusum that keeps an open alert open, as a share of the threshold, and minutes without growth that end it.
const KEEP_SHARE: f64 = 0.25;
const STALE: u32 = 90;
/// Cusum of the sum over all tenants that a shared cause needs, as a share of the threshold.
const MOVES_SHARE: f64 = 0.7;
/// Cusum that does not wait for one other tenant, in thresholds.
const BEYOND_DOUBT: f64 = 1.4;
/// An anomaly may speak for so long before a limit repeats it, in minutes.
const LIMIT_HOLD: u32 = 30;
/// Age from which anomalies can speak, in minutes.
const GROWN: u32 = 3 * 24 * 60;

/// Families with rates, and the rates.
const RATES: [(AlertGroup, &[Metric]); 3] = [
    (AlertGroup::Delivery, &[Metric::HardBounce, Metric::Bounce, Metric::Delay, Metric::Delivery]),
    (AlertGroup::Complaint, &[Metric::Complaint]),
    (AlertGroup::Engagement, &[Metric::Open, Metric::Click]),
];

/// The bucket that is judged.
pub(crate) struct Evaluation<'a> {
    /// First minute of the bucket.
    pub now: u32,
    /// Its width in minutes.
    pub bucket: u32,
    /// Cusum needed.
    pub threshold: f64,
    /// Open alerts.
    pub registry: &'a AlertRegistry,
    /// The rules.
    pub rules: &'a Rules,
}

impl Evaluation<'_> {
    fn end(&self) -> u32 {
        self.now + self.bucket
    }

    fn keeps(&self, cusum: &Cusum) -> bool {
        f64::from(cusum.score) >= KEEP_SHARE * self.threshold
            && self.end() - cusum.last_increase.min(self.end()) <= STALE
    }
}

/// A tenant's trouble before it is compared with others'.
struct TenantFinding {
    key: AlertKey,
    content: AlertContent,
    score: f64,
    /// What providers have of the excess, where it is one of rates.
    shares: Vec<(String, f64)>,
    /// Regular campaigns that have most of it.
    campaigns: Vec<String>,
}

impl TenantFinding {
    /// Trouble that is not broken down any further.
    fn of(key: AlertKey, content: AlertContent) -> Self {
        Self { key, content, score: 0.0, shares: Vec::new(), campaigns: Vec::new() }
    }
}

/// Who has how much evidence where.
#[derive(Default)]
struct AllFindings {
    tenant_findings: Vec<TenantFinding>,
    /// Tenants with partial evidence, by group and provider.
    partial: BTreeMap<(AlertGroup, Option<String>), Vec<String>>,
    active: usize,
}

/// What all tenants together say.
pub(crate) fn findings(
    tenants: &BTreeMap<String, TenantState>,
    whole: &SeriesMonitor,
    providers: &BTreeMap<String, SeriesMonitor>,
    evaluation: &Evaluation<'_>,
) -> Vec<Finding> {
    let mut all = AllFindings::default();
    let mut findings = Vec::new();
    for (name, tenant) in tenants {
        all.active += usize::from(tenant.whole.age(evaluation.now) > 0);
        if evaluation.rules.anomalies {
            rates(name, tenant, evaluation, &mut all);
            slow(name, tenant, evaluation, &mut all);
            volume(name, tenant, evaluation, &mut all);
            declines(name, tenant, evaluation, &mut findings);
        }
    }
    let platform = platform_findings(&all, whole, providers, evaluation);
    let explained = |key: &AlertKey| {
        platform.iter().any(|finding| covers(&finding.key, key))
            || ancestors(key).iter().any(|ancestor| evaluation.registry.explains(ancestor, evaluation.now))
            || (key.campaign.is_some() && evaluation.registry.told_elsewhere(key, evaluation.now))
    };
    for tenant_finding in &all.tenant_findings {
        let TenantFinding { key, content, score, shares, .. } = tenant_finding;
        let is_explained = || {
            explained(key)
                || other_explains(key, shares, evaluation)
                || recurring_campaigns::is_told(tenant_finding, evaluation)
        };
        if evaluation.registry.is_firing(key) || !is_explained() {
            let hold = hold(&all, key, *score, evaluation);
            findings.push(Finding { key: key.clone(), content: content.clone(), hold });
        }
    }
    findings.extend(platform);
    findings
}

/// A first candidate that others share waits a bucket, so that the provider's own alert can speak first.
fn hold(all: &AllFindings, key: &AlertKey, score: f64, evaluation: &Evaluation<'_>) -> u32 {
    let place = (key.group, key.provider.clone());
    let others = all.partial.get(&place).map_or(0, Vec::len);
    let beyond_doubt = score >= BEYOND_DOUBT * evaluation.threshold;
    let needed = if beyond_doubt { LEAST_PARTIAL } else { LEAST_ALARMED };
    if others >= needed { evaluation.bucket } else { 0 }
}

/// Whether an alert of a tenant or of the platform explains one below it.
fn covers(above: &AlertKey, below: &AlertKey) -> bool {
    above.tenant == "*"
        && above.group == below.group
        && (above.provider.is_none() || above.provider == below.provider || below.campaign.is_some())
}

fn ancestors(key: &AlertKey) -> Vec<AlertKey> {
    let of = |tenant: &str, provider: Option<String>| AlertKey::of(tenant, provider, key.group);
    let mut above = vec![of("*", None)];
    if key.provider.is_some() {
        above.push(of("*", key.provider.clone()));
        above.push(of(&key.tenant, None));
    }
    above
}

/// Trouble with deliveries explains missing opens and waiting mail; trouble at one provider explains the whole's echo.
fn other_explains(key: &AlertKey, shares: &[(String, f64)], evaluation: &Evaluation<'_>) -> bool {
    // What is not seen elsewhere was at the provider that is told, which may be over it already.
    let carries = |provider: &str| {
        let elsewhere = shares.iter().filter(|(name, _)| name != provider);
        elsewhere.map(|(_, share)| share).sum::<f64>() < 0.5
    };
    evaluation.registry.firing().any(|open| {
        let same_tenant = open.tenant == key.tenant || open.tenant == "*";
        let overlaps = (open.provider.is_none() || key.provider.is_none() || open.provider == key.provider)
            && (open.campaign.is_none() || open.campaign == key.campaign);
        let follows = matches!(key.group, AlertGroup::Engagement | AlertGroup::Queue | AlertGroup::Latency)
            && open.group == AlertGroup::Delivery;
        let echo = open.group == key.group
            && !metrics_of(key.group).is_empty()
            && key.provider.is_none()
            && open.provider.as_deref().is_some_and(carries);
        same_tenant && ((follows && overlaps) || echo)
    })
}

fn rates(name: &str, tenant: &TenantState, evaluation: &Evaluation<'_>, all: &mut AllFindings) {
    for (group, metrics) in RATES {
        note_partial(name, tenant, group, metrics, all);
        let best =
            metrics.iter().filter_map(|&metric| strongest(tenant, metric, evaluation)).max_by(|a, b| {
                // Equal evidence: the first of the list is the more telling one.
                a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))
            });
        match best {
            Some((metric, _)) => {
                all.tenant_findings.push(tenant_finding(name, tenant, group, metric, evaluation))
            }
            None => all.tenant_findings.extend(recurring_campaigns::tenant_finding(
                name,
                tenant,
                (group, metrics),
                evaluation,
            )),
        }
        keep_open(name, tenant, group, metrics, evaluation, all);
    }
}

fn note_partial(
    name: &str,
    tenant: &TenantState,
    group: AlertGroup,
    metrics: &[Metric],
    all: &mut AllFindings,
) {
    let weighty = |monitor: &SeriesMonitor| {
        metrics.iter().any(|&metric| f64::from(monitor.strongest(metric).score) >= PARTIAL)
    };
    if weighty(&tenant.whole) {
        all.partial.entry((group, None)).or_default().push(name.to_owned());
    }
    for (provider, monitor) in &tenant.providers {
        if weighty(monitor) {
            all.partial.entry((group, Some(provider.clone()))).or_default().push(name.to_owned());
        }
    }
}

/// The strongest signal of a metric over a tenant's series.
fn strongest(tenant: &TenantState, metric: Metric, evaluation: &Evaluation<'_>) -> Option<(Metric, f32)> {
    let monitors = tenant.providers.iter().map(|(_, monitor)| monitor).chain([&tenant.whole]);
    let signals = monitors.filter_map(|monitor| monitor.signal(metric, evaluation.now, evaluation.threshold));
    signals.map(|cusum| (metric, cusum.score)).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// The series that speaks for a tenant: the provider that carries most of the excess, or the whole.
fn tenant_finding(
    name: &str,
    tenant: &TenantState,
    group: AlertGroup,
    metric: Metric,
    evaluation: &Evaluation<'_>,
) -> TenantFinding {
    let shares = cause::providers(tenant, metric);
    let alone = tenant.providers.len() < 2;
    let place = shares
        .first()
        .filter(|(_, share)| *share > cause::MOST && !alone)
        .map(|(provider, _)| provider.clone());
    let at = place.as_ref().and_then(|place| tenant.providers.iter().find(|(provider, _)| provider == place));
    let mut monitor = at.map_or(&tenant.whole, |(_, monitor)| monitor);
    if monitor.strongest(metric).since == 0 {
        // The whole shows nothing: a provider that does speaks with its own numbers.
        let monitors = tenant.providers.iter().map(|(_, monitor)| monitor);
        let strongest =
            monitors.max_by(|a, b| a.strongest(metric).score.total_cmp(&b.strongest(metric).score));
        monitor = strongest.unwrap_or(monitor);
    }
    let cusum = monitor
        .signal(metric, evaluation.now, evaluation.threshold)
        .unwrap_or_else(|| monitor.strongest(metric));
    let usual = f64::from(cusum.expected) / f64::from(cusum.denominator).max(1.0);
    let mut causes = if alone { Vec::new() } else { cause::causes("provider", &shares) };
    causes.extend(cause::causes("campaign", &cause::campaigns(tenant, metric, usual)));
    causes.sort_by(|a, b| b.share.total_cmp(&a.share));
    let content = report::rate(
        monitor,
        metric,
        &cusum,
        evaluation.end(),
        &report::place(name, place.as_deref()),
        causes,
    );
    let key = AlertKey::of(name, place, group);
    let campaigns = recurring_campaigns::carriers(tenant, metric, &cusum);
    TenantFinding { key, content, score: cusum.score.into(), shares, campaigns }
}

/// Delivery time: the one provider that is slow, or the whole.
fn slow(name: &str, tenant: &TenantState, evaluation: &Evaluation<'_>, all: &mut AllFindings) {
    let weighty: Vec<&(String, SeriesMonitor)> =
        tenant.providers.iter().filter(|(_, monitor)| f64::from(monitor.latency.score) > PARTIAL).collect();
    for (provider, _) in &weighty {
        all.partial.entry((AlertGroup::Latency, Some(provider.clone()))).or_default().push(name.to_owned());
    }
    let strong: Vec<&&(String, SeriesMonitor)> = weighty
        .iter()
        .filter(|(_, monitor)| monitor.latency.signal(evaluation.threshold).is_some())
        .collect();
    let one = match strong.as_slice() {
        [one] if weighty.len() == 1 && tenant.providers.len() > 1 => Some(**one),
        _ => None,
    };
    let provider = one.map(|(provider, _)| provider.clone());
    let monitor = one.map_or(&tenant.whole, |(_, monitor)| monitor);
    let key = AlertKey::of(name, provider, AlertGroup::Latency);
    let open =
        evaluation.registry.firing().find(|open| open.tenant == name && open.group == AlertGroup::Latency);
    let kept = f64::from(monitor.latency.score) > KEEP_SHARE * evaluation.threshold;
    let found = monitor
        .latency
        .signal(evaluation.threshold)
        .or_else(|| if open.is_some() && kept { monitor.latency.signal(0.0) } else { None });
    let Some((observed, expected, deliveries)) = found else { return };
    // One slow time is one alert, wherever it was seen first.
    let key = open.cloned().unwrap_or(key);
    let place = report::place(name, key.provider.as_deref());
    let content =
        report::latency(observed, expected, deliveries, monitor.latency.since, evaluation.end(), &place);
    all.tenant_findings.push(TenantFinding::of(key, content));
}

/// An open alert stays open while its own series has evidence left.
fn keep_open(
    name: &str,
    tenant: &TenantState,
    group: AlertGroup,
    metrics: &[Metric],
    evaluation: &Evaluation<'_>,
    all: &mut AllFindings,
) {
    let at = |provider, campaign, monitor| (MailSubset { provider, campaign }, monitor);
    let providers = tenant.providers.iter().map(|(name, monitor)| at(Some(name.clone()), None, monitor));
    let campaigns = tenant.recurring.series.iter();
    let campaigns = campaigns.map(|(name, monitor)| at(None, Some(name.clone()), monitor));
    for (place, monitor) in [at(None, None, &tenant.whole)].into_iter().chain(providers).chain(campaigns) {
        let key = AlertKey::at(name, place.clone(), group);
        let mut known = all.tenant_findings.iter().rev().take_while(|known| known.key.tenant == name);
        if !evaluation.registry.is_firing(&key) || known.any(|known| known.key == key) {
            continue;
        }
        let kept = metrics.iter().map(|&metric| (metric, monitor.strongest(metric)));
        let kept =
            kept.filter(|(_, cusum)| evaluation.keeps(cusum)).max_by(|a, b| a.1.score.total_cmp(&b.1.score));
        let Some((metric, cusum)) = kept else { continue };
        let causes = match &place.campaign {
            Some(_) => cause::causes("campaign", &cause::recurring(tenant, metric)),
            None => cause::causes("provider", &cause::providers(tenant, metric)),
        };
        let words = report::part(name, &place);
        let content = report::rate(monitor, metric, &cusum, evaluation.end(), &words, causes);
        all.tenant_findings.push(TenantFinding::of(key, content));
    }
}

fn volume(name: &str, tenant: &TenantState, evaluation: &Evaluation<'_>, all: &mut AllFindings) {
    let place = report::place(name, None);
    let key = AlertKey::of(name, None, AlertGroup::Volume);
    let signal = tenant.volume.signal(evaluation.now, evaluation.bucket, evaluation.threshold);
    let kept = || {
        let cusum = tenant
            .volume
            .falls
            .iter()
            .map(|e| (e, true))
            .chain(tenant.volume.rises.iter().map(|e| (e, false)));
        let kept = cusum.filter(|(cusum, _)| evaluation.keeps(cusum));
        kept.max_by(|a, b| a.0.score.total_cmp(&b.0.score)).map(|(cusum, falls)| (*cusum, falls))
    };
    let found = match signal {
        Some(signal) => Some((signal.cusum, signal.falls)),
        None if evaluation.registry.is_firing(&key) => kept(),
        None => None,
    };
    if let Some((cusum, falls)) = found {
        if falls {
            all.partial.entry((AlertGroup::Volume, None)).or_default().push(name.to_owned());
        }
        let content = report::volume(&cusum, falls, evaluation.end(), &place);
        all.tenant_findings.push(TenantFinding::of(key.clone(), content));
    }
    // A queue has to grow threefold before it is told.
    let queue = tenant
        .queue
        .signal(evaluation.threshold)
        .filter(|(observed, expected, _)| *observed > 3.0 * expected);
    let key = AlertKey { group: AlertGroup::Queue, ..key };
    let kept = evaluation.registry.is_firing(&key)
        && f64::from(tenant.queue.score) > KEEP_SHARE * evaluation.threshold;
    let queue = queue.or_else(|| if kept { tenant.queue.signal(0.0) } else { None });
    if let Some((observed, expected, _)) = queue {
        let content =
            report::queue(observed - 20.0, expected - 20.0, tenant.queue.since, evaluation.end(), &place);
        all.tenant_findings.push(TenantFinding::of(key, content));
    }
}

fn declines(name: &str, tenant: &TenantState, evaluation: &Evaluation<'_>, findings: &mut Vec<Finding>) {
    const GROUPS: [AlertGroup; 3] =
        [AlertGroup::DeliveryDecline, AlertGroup::EngagementDecline, AlertGroup::ComplaintDecline];
    for ((metric, group), index) in DECLINES.into_iter().zip(GROUPS).zip(0..) {
        let found = |monitor: &SeriesMonitor| {
            tenant_state::declines(monitor)
                .find(|(at, _)| *at == index)
                .and_then(|(_, decline)| decline.found)
        };
        let at: Vec<(String, f64)> = tenant
            .providers
            .iter()
            .filter_map(|(provider, monitor)| {
                found(monitor)
                    .map(|fit| (provider.clone(), (fit.to - fit.from).abs() * fit.last_day_messages))
            })
            .collect();
        let whole = found(&tenant.whole);
        if whole.is_none() && at.is_empty() {
            continue;
        }
        // One provider of several declines, and no other: it is the place.
        let place = match at.as_slice() {
            [(provider, _)] if tenant.providers.len() > 1 => Some(provider.clone()),
            _ => None,
        };
        let place = if place.is_none() && whole.is_none() {
            at.first().map(|(provider, _)| provider.clone())
        } else {
            place
        };
        let monitor = tenant.providers.iter().find(|(provider, _)| Some(provider) == place.as_ref());
        let Some(fit) = monitor.map_or(whole, |(_, monitor)| found(monitor)) else { continue };
        let open = |provider: Option<String>| AlertKey::of(name, provider, group);
        // An alert that is open goes on where it began, so that one decline is one alert.
        let key = evaluation
            .registry
            .firing()
            .find(|key| key.tenant == name && key.group == group)
            .cloned()
            .unwrap_or_else(|| open(place));
        let causes = cause::causes("provider", &cause::shares(at));
        let words = report::place(name, key.provider.as_deref());
        let content = report::decline(metric, &fit, evaluation.end(), &words, causes);
        findings.push(Finding { key, content, hold: 0 });
    }
}

/// Trouble that many tenants share: one finding for a provider, or for everything.
fn platform_findings(
    all: &AllFindings,
    whole: &SeriesMonitor,
    providers: &BTreeMap<String, SeriesMonitor>,
    evaluation: &Evaluation<'_>,
) -> Vec<Finding> {
    let mut alarmed: BTreeMap<(AlertGroup, Option<String>), Vec<&TenantFinding>> = BTreeMap::new();
    for tenant_finding in
        all.tenant_findings.iter().filter(|tenant_finding| tenant_finding.key.campaign.is_none())
    {
        let key = &tenant_finding.key;
        alarmed.entry((key.group, key.provider.clone())).or_default().push(tenant_finding);
    }
    let mut findings: Vec<Finding> = Vec::new();
    for ((group, provider), tenant_findings) in &alarmed {
        let partial = all.partial.get(&(*group, provider.clone())).map_or(0, Vec::len);
        let key = AlertKey::of("*", provider.clone(), *group);
        let firing = evaluation.registry.is_firing(&key);
        let enough = match provider {
            Some(_) => tenant_findings.len() >= LEAST_ALARMED && partial >= LEAST_PARTIAL,
            None => tenant_findings.len() >= LEAST_PARTIAL && partial * 5 >= all.active,
        };
        let own = provider.as_ref().map_or(Some(whole), |provider| providers.get(provider));
        let share = if firing { KEEP_SHARE } else { MOVES_SHARE };
        let moved = own.is_some_and(|monitor| moves(monitor, *group, share * evaluation.threshold));
        if !(moved && (enough || (firing && tenant_findings.len() >= LEAST_ALARMED))) {
            continue;
        }
        if let Some(content) =
            shared_content(tenant_findings, *group, provider.as_deref(), whole, providers, evaluation)
        {
            findings.push(Finding { key, content, hold: 0 });
        }
    }
    findings
}

/// Whether the sum over all tenants moves too: weak evidence here and there is chance, not one cause.
fn moves(monitor: &SeriesMonitor, group: AlertGroup, least: f64) -> bool {
    let Some((_, metrics)) = RATES.iter().find(|(known, _)| *known == group) else {
        return group != AlertGroup::Latency || f64::from(monitor.latency.score) >= least;
    };
    metrics.iter().any(|&metric| f64::from(monitor.strongest(metric).score) >= least)
}

/// The numbers of trouble that tenants share: the provider's own series, or the sum of what they lost.
fn shared_content(
    tenant_findings: &[&TenantFinding],
    group: AlertGroup,
    provider: Option<&str>,
    whole: &SeriesMonitor,
    providers: &BTreeMap<String, SeriesMonitor>,
    evaluation: &Evaluation<'_>,
) -> Option<AlertContent> {
    let monitor = provider.map_or(Some(whole), |provider| providers.get(provider))?;
    let first = tenant_findings.first()?;
    let words = report::place("*", provider);
    let lost = tenant_findings.iter().map(|tenant_finding| {
        let content = &tenant_finding.content;
        let usual = content.expected.map_or(0.0, |[low, high]| f64::midpoint(low, high));
        (
            tenant_finding.key.tenant.clone(),
            (content.value - usual).abs() * content.denominator.unwrap_or(1.0),
        )
    });
    let mut causes = Vec::new();
    if let Some(provider) = provider {
        causes.extend(cause::causes("provider", &[(provider.to_owned(), 1.0)]));
    }
    causes.extend(cause::causes("tenant", &cause::shares(lost.collect())));
    let metrics = metrics_of(group);
    let strongest = metrics.iter().map(|&metric| (metric, monitor.strongest(metric)));
    let strongest = strongest.max_by(|a, b| a.1.score.total_cmp(&b.1.score).then(b.0.cmp(&a.0)));
    match strongest {
        Some((metric, cusum)) if f64::from(cusum.score) >= PARTIAL => {
            Some(report::rate(monitor, metric, &cusum, evaluation.end(), &words, causes))
        }
        _ => {
            let started =
                tenant_findings.iter().map(|tenant_finding| tenant_finding.content.started).min()?;
            let summary = format!(
                "{} tenants are in the same trouble {words}: {}",
                tenant_findings.len(),
                first.content.summary
            );
            Some(AlertContent { started, summary, cause: causes, ..first.content.clone() })
        }
    }
}

/// Rates whose evidence an alert of this group stands for.
pub(crate) fn metrics_of(group: AlertGroup) -> &'static [Metric] {
    RATES.iter().find(|(known, _)| *known == group).map_or(&[], |(_, metrics)| *metrics)
}
