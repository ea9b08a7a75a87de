//! From scores to findings: which series reports a tenant's trouble, and when the trouble of many tenants has one cause.
//!
//! A provider with most of a tenant's excess is where the trouble is. Several tenants in trouble at one provider and nowhere else are one
//! finding about that provider. What an open alert explains must not become an alert of its own.

mod limit_findings;
mod platform;
mod recurring_campaigns;

use std::collections::BTreeMap;

use event::Minute;

use crate::alert::{AlertContent, AlertGroup, AlertKey, AlertRegistry, Finding};
use crate::cause::{self, Shares};
use crate::counts::MonitoredRate;
use crate::cusum::Cusum;
use crate::decline::DeclineFit;
use crate::minutes::{MINUTES_PER_DAY, minutes_between, plus};
use crate::report;
use crate::rules::{AlertRules, MailSubset};
use crate::series_monitor::SeriesMonitor;
use crate::tenant_state::{QUEUE_OFFSET, TenantState};
use event::AlertScope;

pub(crate) use self::limit_findings::{budgets, limits};

/// A score that counts as partial: not enough alone, but together with those of other tenants.
const PARTIAL_SCORE: f64 = 4.0;
/// Tenants with findings, and tenants with partial scores, that make trouble of the platform.
const MIN_TENANTS_WITH_FINDINGS: usize = 2;
const MIN_TENANTS_WITH_PARTIAL_SCORES: usize = 3;
/// A score that keeps an open alert open, as a share of the threshold, and minutes without an increase that end it.
const KEEP_SHARE: f64 = 0.25;
const STALE_MINUTES: u32 = 90;
/// A finding with this many times the threshold does not wait for one other tenant.
const BEYOND_DOUBT: f64 = 1.4;
/// A broken limit waits for this many minutes, so that an anomaly, which explains more, can be reported instead.
const LIMIT_HOLD_MINUTES: u32 = 30;
/// From this age on a tenant can have anomalies, in minutes.
const MIN_AGE_FOR_ANOMALIES_MINUTES: u32 = 3 * MINUTES_PER_DAY;
/// A queue has to grow by this factor before it is reported.
const QUEUE_FACTOR: f64 = 3.0;

/// Alert groups of rates, with the most telling rate first.
const RATE_GROUPS: [(AlertGroup, &[MonitoredRate]); 3] = [
    (
        AlertGroup::Delivery,
        &[MonitoredRate::HardBounce, MonitoredRate::Bounce, MonitoredRate::Delay, MonitoredRate::Delivery],
    ),
    (AlertGroup::Complaint, &[MonitoredRate::Complaint]),
    (AlertGroup::Engagement, &[MonitoredRate::Open, MonitoredRate::Click]),
];

/// Alert groups of slow changes, with the rates that change.
const DECLINE_GROUPS: [(AlertGroup, MonitoredRate); 3] = [
    (AlertGroup::DeliveryDecline, MonitoredRate::Delivery),
    (AlertGroup::EngagementDecline, MonitoredRate::Open),
    (AlertGroup::ComplaintDecline, MonitoredRate::Complaint),
];

/// The bucket that is evaluated, and what is known beside the series.
pub(crate) struct Evaluation<'a> {
    /// First minute of the bucket.
    pub now: Minute,
    /// The width of a bucket.
    pub bucket_minutes: u32,
    /// The score that makes an alert.
    pub threshold: f64,
    /// The alerts until now.
    pub registry: &'a AlertRegistry,
    pub rules: &'a AlertRules,
}

impl Evaluation<'_> {
    /// The first minute after the bucket.
    fn end(&self) -> Minute {
        plus(self.now, self.bucket_minutes)
    }

    /// Whether a score is high and recent enough to keep an open alert open.
    fn keeps_open(&self, cusum: &Cusum) -> bool {
        f64::from(cusum.score) >= KEEP_SHARE * self.threshold
            && cusum.last_increase().is_some_and(|last| minutes_between(last, self.end()) <= STALE_MINUTES)
    }
}

/// A tenant's finding before it is compared with those of other tenants.
struct TenantFinding {
    key: AlertKey,
    content: AlertContent,
    score: f64,
    /// Providers with their share of the excess, where the finding is about a rate.
    shares: Shares,
    /// Recurring campaigns that have most of the excess.
    campaigns: Vec<String>,
}

impl TenantFinding {
    /// A finding that is not broken down any further.
    fn new(key: AlertKey, content: AlertContent) -> Self {
        Self { key, content, score: 0.0, shares: Vec::new(), campaigns: Vec::new() }
    }
}

/// What all tenants together show.
#[derive(Default)]
struct AllFindings {
    findings: Vec<TenantFinding>,
    /// The number of tenants with partial scores, by group and provider.
    partial: BTreeMap<(AlertGroup, Option<String>), usize>,
    active_tenants: usize,
}

impl AllFindings {
    fn add_partial(&mut self, group: AlertGroup, provider: Option<&str>) {
        *self.partial.entry((group, provider.map(str::to_owned))).or_default() += 1;
    }

    fn partial(&self, group: AlertGroup, provider: Option<&str>) -> usize {
        self.partial.get(&(group, provider.map(str::to_owned))).copied().unwrap_or(0)
    }
}

/// All findings of a bucket except broken limits and budgets.
pub(crate) fn findings(
    tenants: &BTreeMap<String, TenantState>,
    all_mail: &SeriesMonitor,
    providers: &BTreeMap<String, SeriesMonitor>,
    evaluation: &Evaluation<'_>,
) -> Vec<Finding> {
    let mut all = AllFindings::default();
    let mut findings = Vec::new();
    for (name, tenant) in tenants {
        all.active_tenants += usize::from(tenant.all_mail.age_minutes(evaluation.now) > 0);
        if evaluation.rules.anomalies {
            let scope = AlertScope::of_counted(name);
            rates(&scope, tenant, evaluation, &mut all);
            latency(&scope, tenant, evaluation, &mut all);
            volume(&scope, tenant, evaluation, &mut all);
            queue(&scope, tenant, evaluation, &mut all);
            declines(&scope, tenant, evaluation, &mut findings);
        }
    }
    // Before the tenants' findings are kept, because a shared cause explains them.
    let platform = platform::findings(&all, all_mail, providers, evaluation);
    for tenant_finding in &all.findings {
        let TenantFinding { key, content, score, .. } = tenant_finding;
        if evaluation.registry.is_firing(key) || !is_explained(tenant_finding, &platform, evaluation) {
            let hold_minutes = hold_minutes(&all, key, *score, evaluation);
            findings.push(Finding { key: key.clone(), content: content.clone(), hold_minutes });
        }
    }
    findings.extend(platform);
    findings
}

/// Whether another finding or a recent alert explains a tenant's finding.
fn is_explained(finding: &TenantFinding, platform: &[Finding], evaluation: &Evaluation<'_>) -> bool {
    let key = &finding.key;
    platform.iter().any(|above| covers(&above.key, key))
        || ancestors(key).iter().any(|above| evaluation.registry.explains(above, evaluation.now))
        || (key.campaign.is_some() && evaluation.registry.is_reported_elsewhere(key, evaluation.now))
        || is_explained_by_open_alert(key, &finding.shares, evaluation)
        || recurring_campaigns::is_reported(finding, evaluation)
}

/// A first finding that other tenants share waits for one bucket, so that the provider's own finding can come first.
fn hold_minutes(all: &AllFindings, key: &AlertKey, score: f64, evaluation: &Evaluation<'_>) -> u32 {
    // A provider's block reaches its tenants within minutes. Without the wait the first tenants would be notified one by one.
    let others = all.partial(key.group, key.provider.as_deref());
    let is_beyond_doubt = score >= BEYOND_DOUBT * evaluation.threshold;
    let needed = if is_beyond_doubt { MIN_TENANTS_WITH_PARTIAL_SCORES } else { MIN_TENANTS_WITH_FINDINGS };
    if others >= needed { evaluation.bucket_minutes } else { 0 }
}

/// Whether a finding about the platform explains one of a tenant.
fn covers(above: &AlertKey, below: &AlertKey) -> bool {
    above.scope == AlertScope::Platform
        && above.group == below.group
        && (above.provider.is_none() || above.provider == below.provider || below.campaign.is_some())
}

/// The keys of wider alerts of the same group.
fn ancestors(key: &AlertKey) -> Vec<AlertKey> {
    let mut above = vec![AlertKey::all_mail(&AlertScope::Platform, key.group)];
    if key.provider.is_some() {
        above.push(AlertKey::at_provider(&AlertScope::Platform, key.provider.clone(), key.group));
        above.push(AlertKey::all_mail(&key.scope, key.group));
    }
    above
}

/// Whether an open alert explains trouble of a tenant: trouble with deliveries explains missing opens and waiting mail, and trouble at
/// one provider explains its trace in the tenant's total.
fn is_explained_by_open_alert(key: &AlertKey, shares: &[(String, f64)], evaluation: &Evaluation<'_>) -> bool {
    // What is not found elsewhere was at the provider of the alert, which may have recovered already.
    let has_most = |provider: &str| {
        let elsewhere = shares.iter().filter(|(name, _)| name != provider);
        elsewhere.map(|(_, share)| share).sum::<f64>() < 0.5
    };
    evaluation.registry.firing().any(|open| {
        let overlaps = (open.provider.is_none() || key.provider.is_none() || open.provider == key.provider)
            && (open.campaign.is_none() || open.campaign == key.campaign);
        // Mail that is not delivered is not opened, and waits: that is no second problem.
        let follows_from_delivery =
            matches!(key.group, AlertGroup::Engagement | AlertGroup::Queue | AlertGroup::Latency)
                && open.group == AlertGroup::Delivery;
        let is_echo = open.group == key.group
            && !metrics_of(key.group).is_empty()
            && key.provider.is_none()
            && open.provider.as_deref().is_some_and(has_most);
        open.scope.contains(&key.scope) && ((follows_from_delivery && overlaps) || is_echo)
    })
}

fn rates(scope: &AlertScope, tenant: &TenantState, evaluation: &Evaluation<'_>, all: &mut AllFindings) {
    for (group, metrics) in RATE_GROUPS {
        note_partial_scores(tenant, group, metrics, all);
        let best = metrics.iter().filter_map(|&metric| highest_signal(tenant, metric, evaluation));
        // Of equal scores the first of the list is the most telling.
        let best = best.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let finding = match best {
            Some((metric, _)) => Some(rate_finding(scope, tenant, group, metric, evaluation)),
            None => recurring_campaigns::finding(scope, tenant, (group, metrics), evaluation),
        };
        all.findings.extend(finding);
        keep_rates_open(scope, tenant, (group, metrics), evaluation, all);
    }
}

fn note_partial_scores(
    tenant: &TenantState,
    group: AlertGroup,
    metrics: &[MonitoredRate],
    all: &mut AllFindings,
) {
    let has_partial_score = |monitor: &SeriesMonitor| {
        metrics.iter().any(|&metric| f64::from(monitor.highest_score(metric).score) >= PARTIAL_SCORE)
    };
    if has_partial_score(&tenant.all_mail) {
        all.add_partial(group, None);
    }
    for (provider, monitor) in &tenant.providers {
        if has_partial_score(monitor) {
            all.add_partial(group, Some(provider));
        }
    }
}

/// The highest score of a metric that makes a finding in any of a tenant's series.
fn highest_signal(
    tenant: &TenantState,
    metric: MonitoredRate,
    evaluation: &Evaluation<'_>,
) -> Option<(MonitoredRate, f32)> {
    let monitors = tenant.providers.iter().map(|(_, monitor)| monitor).chain([&tenant.all_mail]);
    let signals = monitors.filter_map(|monitor| monitor.signal(metric, evaluation.now, evaluation.threshold));
    signals.map(|cusum| (metric, cusum.score)).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// The finding about a rate: of the provider that has most of the excess, or of all mail.
fn rate_finding(
    scope: &AlertScope,
    tenant: &TenantState,
    group: AlertGroup,
    metric: MonitoredRate,
    evaluation: &Evaluation<'_>,
) -> TenantFinding {
    // With most of the excess at one provider, the provider is where the trouble is and gets the alert.
    let shares = cause::providers(tenant, metric);
    let has_one_provider = tenant.providers.len() < 2;
    let provider = shares
        .first()
        .filter(|(_, share)| *share > cause::DOMINANT_SHARE && !has_one_provider)
        .map(|(provider, _)| provider.clone());
    let at_provider =
        provider.as_ref().and_then(|provider| tenant.providers.iter().find(|(name, _)| name == provider));
    let mut monitor = at_provider.map_or(&tenant.all_mail, |(_, monitor)| monitor);
    if monitor.highest_score(metric).since().is_none() {
        // The total shows nothing, so the numbers are those of the provider with the highest score.
        let monitors = tenant.providers.iter().map(|(_, monitor)| monitor);
        let highest =
            monitors.max_by(|a, b| a.highest_score(metric).score.total_cmp(&b.highest_score(metric).score));
        monitor = highest.unwrap_or(monitor);
    }
    let cusum = monitor
        .signal(metric, evaluation.now, evaluation.threshold)
        .unwrap_or_else(|| monitor.highest_score(metric));
    let usual_rate = f64::from(cusum.expected) / f64::from(cusum.denominator).max(1.0);
    let mut causes = if has_one_provider { Vec::new() } else { cause::causes("provider", &shares) };
    causes.extend(cause::causes("campaign", &cause::recent_campaigns(tenant, metric, usual_rate)));
    causes.sort_by(|a, b| b.share.total_cmp(&a.share));
    let scope_phrase = report::scope_phrase(scope, provider.as_deref(), None);
    let content = report::rate(monitor, metric, &cusum, evaluation.end(), &scope_phrase, causes);
    let key = AlertKey::at_provider(scope, provider, group);
    let campaigns = recurring_campaigns::with_most_excess(tenant, metric, &cusum);
    TenantFinding { key, content, score: cusum.score.into(), shares, campaigns }
}

/// Finds slow delivery: at the one provider that is slow, or of all mail.
fn latency(scope: &AlertScope, tenant: &TenantState, evaluation: &Evaluation<'_>, all: &mut AllFindings) {
    let partial: Vec<&(String, SeriesMonitor)> = tenant
        .providers
        .iter()
        .filter(|(_, monitor)| f64::from(monitor.latency.score) > PARTIAL_SCORE)
        .collect();
    for (provider, _) in &partial {
        all.add_partial(AlertGroup::Latency, Some(provider));
    }
    let slow: Vec<&&(String, SeriesMonitor)> = partial
        .iter()
        .filter(|(_, monitor)| monitor.latency.signal(evaluation.threshold).is_some())
        .collect();
    let only = match slow.as_slice() {
        [only] if partial.len() == 1 && tenant.providers.len() > 1 => Some(**only),
        _ => None,
    };
    let monitor = only.map_or(&tenant.all_mail, |(_, monitor)| monitor);
    let open =
        evaluation.registry.firing().find(|open| open.scope == *scope && open.group == AlertGroup::Latency);
    // An alert that is open ends on its own evidence, and not because the trouble falls just below the threshold.
    let is_kept = open.is_some() && f64::from(monitor.latency.score) > KEEP_SHARE * evaluation.threshold;
    let signal = monitor
        .latency
        .signal(evaluation.threshold)
        .or_else(|| if is_kept { monitor.latency.signal(0.0) } else { None });
    let Some(signal) = signal else { return };
    // Slow delivery is one alert, wherever it was found first.
    let key = open.cloned().unwrap_or_else(|| {
        AlertKey::at_provider(scope, only.map(|(provider, _)| provider.clone()), AlertGroup::Latency)
    });
    let scope_phrase = report::scope_phrase(scope, key.provider.as_deref(), None);
    let content = report::latency(&signal, monitor.latency.since(), evaluation.end(), &scope_phrase);
    all.findings.push(TenantFinding::new(key, content));
}

/// Keeps open alerts on rates open while their own series still has a score.
fn keep_rates_open(
    scope: &AlertScope,
    tenant: &TenantState,
    (group, metrics): (AlertGroup, &[MonitoredRate]),
    evaluation: &Evaluation<'_>,
    all: &mut AllFindings,
) {
    let of = |provider, campaign, monitor| (MailSubset { provider, campaign }, monitor);
    let all_mail = of(None, None, &tenant.all_mail);
    let providers = tenant.providers.iter().map(|(name, monitor)| of(Some(name.clone()), None, monitor));
    let campaigns = &tenant.recurring.series;
    let campaigns = campaigns.iter().map(|(name, monitor)| of(None, Some(name.clone()), monitor));
    for (subset, monitor) in [all_mail].into_iter().chain(providers).chain(campaigns) {
        let key = AlertKey::of_subset(scope, subset, group);
        // The findings of this tenant are the last ones.
        let mut known = all.findings.iter().rev().take_while(|known| known.key.scope == *scope);
        if !evaluation.registry.is_firing(&key) || known.any(|known| known.key == key) {
            continue;
        }
        let scores = metrics.iter().map(|&metric| (metric, monitor.highest_score(metric)));
        let kept = scores
            .filter(|(_, cusum)| evaluation.keeps_open(cusum))
            .max_by(|a, b| a.1.score.total_cmp(&b.1.score));
        let Some((metric, cusum)) = kept else { continue };
        let causes = match &key.campaign {
            Some(_) => cause::causes("campaign", &cause::recurring_campaigns(tenant, metric)),
            None => cause::causes("provider", &cause::providers(tenant, metric)),
        };
        let scope_phrase = report::scope_phrase(scope, key.provider.as_deref(), key.campaign.as_deref());
        let content = report::rate(monitor, metric, &cusum, evaluation.end(), &scope_phrase, causes);
        all.findings.push(TenantFinding::new(key, content));
    }
}

/// Finds that the tenant sends far less or far more than usual.
fn volume(scope: &AlertScope, tenant: &TenantState, evaluation: &Evaluation<'_>, all: &mut AllFindings) {
    let key = AlertKey::all_mail(scope, AlertGroup::Volume);
    let signal = tenant.volume.signal(evaluation.now, evaluation.bucket_minutes, evaluation.threshold);
    // Between the end of an incident and a score of 0 the counts prove little; the alert stays open as long as its score is recent.
    let kept = || {
        let falls = tenant.volume.falls.iter().map(|cusum| (*cusum, true));
        let rises = tenant.volume.rises.iter().map(|cusum| (*cusum, false));
        let kept = falls.chain(rises).filter(|(cusum, _)| evaluation.keeps_open(cusum));
        kept.max_by(|a, b| a.0.score.total_cmp(&b.0.score))
    };
    let found = match signal {
        Some(signal) => Some((signal.cusum, signal.is_fall)),
        None if evaluation.registry.is_firing(&key) => kept(),
        None => None,
    };
    let Some((cusum, is_fall)) = found else { return };
    if is_fall {
        all.add_partial(AlertGroup::Volume, None);
    }
    let scope_phrase = report::scope_phrase(scope, None, None);
    let content = report::volume(&cusum, is_fall, evaluation.end(), &scope_phrase);
    all.findings.push(TenantFinding::new(key, content));
}

/// Finds a queue that is much longer than usual.
fn queue(scope: &AlertScope, tenant: &TenantState, evaluation: &Evaluation<'_>, all: &mut AllFindings) {
    let key = AlertKey::all_mail(scope, AlertGroup::Queue);
    let signal = tenant
        .queue
        .signal(evaluation.threshold)
        .filter(|signal| signal.observed > QUEUE_FACTOR * signal.expected);
    let is_kept = evaluation.registry.is_firing(&key)
        && f64::from(tenant.queue.score) > KEEP_SHARE * evaluation.threshold;
    let signal = signal.or_else(|| if is_kept { tenant.queue.signal(0.0) } else { None });
    let Some(signal) = signal else { return };
    let scope_phrase = report::scope_phrase(scope, None, None);
    // The offset was added before the logarithm, so that small queues are alike; it is no mail.
    let (depth, usual) = (signal.observed - QUEUE_OFFSET, signal.expected - QUEUE_OFFSET);
    let content = report::queue(depth, usual, tenant.queue.since(), evaluation.end(), &scope_phrase);
    all.findings.push(TenantFinding::new(key, content));
}

/// Finds slow changes: at the one provider that declines, or of all mail.
fn declines(
    scope: &AlertScope,
    tenant: &TenantState,
    evaluation: &Evaluation<'_>,
    findings: &mut Vec<Finding>,
) {
    for (group, metric) in DECLINE_GROUPS {
        let declining: Vec<(&str, DeclineFit)> = tenant
            .providers
            .iter()
            .filter_map(|(provider, monitor)| Some((provider.as_str(), monitor.decline(metric)?)))
            .collect();
        let all_mail = tenant.all_mail.decline(metric);
        let (provider, fit) = match (declining.as_slice(), all_mail) {
            ([(provider, fit)], _) if tenant.providers.len() > 1 => (Some(*provider), *fit),
            (_, Some(fit)) => (None, fit),
            ([(provider, fit), ..], None) => (Some(*provider), *fit),
            ([], None) => continue,
        };
        // An open alert continues where it began, so that one decline is one alert.
        let key = evaluation
            .registry
            .firing()
            .find(|key| key.scope == *scope && key.group == group)
            .cloned()
            .unwrap_or_else(|| AlertKey::at_provider(scope, provider.map(str::to_owned), group));
        let lost = declining
            .iter()
            .map(|(provider, fit)| ((*provider).to_owned(), (fit.to - fit.from).abs() * fit.last_day_mail));
        let causes = cause::causes("provider", &cause::shares(lost.collect()));
        let scope_phrase = report::scope_phrase(scope, key.provider.as_deref(), None);
        let content = report::decline(metric, &fit, evaluation.end(), &scope_phrase, causes);
        findings.push(Finding { key, content, hold_minutes: 0 });
    }
}

/// The rates whose scores an alert of this group reports; none for groups that are not about rates.
pub(crate) fn metrics_of(group: AlertGroup) -> &'static [MonitoredRate] {
    RATE_GROUPS.iter().find(|(known, _)| *known == group).map_or(&[], |(_, metrics)| *metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(scope: &str, provider: Option<&str>, campaign: Option<&str>, group: AlertGroup) -> AlertKey {
        let scope = AlertScope::from_stored(scope).unwrap();
        let subset =
            MailSubset { provider: provider.map(str::to_owned), campaign: campaign.map(str::to_owned) };
        AlertKey::of_subset(&scope, subset, group)
    }

    #[test]
    fn platform_finding_explains_those_of_tenants_at_the_same_provider_in_the_same_group() {
        let gmail = key("*", Some("gmail"), None, AlertGroup::Delivery);
        let everywhere = key("*", None, None, AlertGroup::Delivery);
        let tenant = key("acme", None, None, AlertGroup::Delivery);
        for (above, below, covers_it) in [
            (&gmail, key("acme", Some("gmail"), None, AlertGroup::Delivery), true),
            (&gmail, key("acme", Some("yahoo"), None, AlertGroup::Delivery), false),
            (&gmail, key("acme", None, Some("spring"), AlertGroup::Delivery), true),
            (&gmail, key("acme", Some("gmail"), None, AlertGroup::Complaint), false),
            (&everywhere, key("acme", Some("yahoo"), None, AlertGroup::Delivery), true),
            (&tenant, key("acme", Some("gmail"), None, AlertGroup::Delivery), false),
        ] {
            assert_eq!(covers(above, &below), covers_it, "{above:?} {below:?}");
        }
    }

    #[test]
    fn wider_alerts_of_a_provider_are_those_of_the_platform_and_of_its_tenant() {
        let all_mail = ancestors(&key("acme", None, None, AlertGroup::Delivery));
        assert_eq!(all_mail, [key("*", None, None, AlertGroup::Delivery)]);
        let gmail = ancestors(&key("acme", Some("gmail"), None, AlertGroup::Delivery));
        assert_eq!(
            gmail,
            [
                key("*", None, None, AlertGroup::Delivery),
                key("*", Some("gmail"), None, AlertGroup::Delivery),
                key("acme", None, None, AlertGroup::Delivery),
            ]
        );
    }

    #[test]
    fn finding_that_tenants_share_is_held_for_a_bucket_unless_it_is_beyond_doubt() {
        let evaluation = Evaluation {
            now: Minute(0),
            bucket_minutes: 5,
            threshold: 10.0,
            registry: &AlertRegistry::default(),
            rules: &AlertRules::default(),
        };
        let gmail = key("acme", Some("gmail"), None, AlertGroup::Delivery);
        for (tenants, score, held) in [(1, 10.0, 0), (2, 10.0, 5), (2, 13.9, 5), (2, 14.0, 0), (3, 14.0, 5)] {
            let mut all = AllFindings::default();
            (0..tenants).for_each(|_| all.add_partial(AlertGroup::Delivery, Some("gmail")));
            assert_eq!(hold_minutes(&all, &gmail, score, &evaluation), held, "{tenants} {score}");
        }
    }
}
