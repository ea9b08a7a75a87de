//! The detector: one bucket in, changes of alerts out.
//!
//! Buckets come in order of time. One that was observed already, or is older, changes nothing, so a repeated run is harmless; buckets
//! that are left out are buckets without events. A finding about a bucket must never depend on a later one.

mod bucket_sums;

use std::collections::BTreeMap;

use event::Minute;
use serde::{Deserialize, Serialize};

use self::bucket_sums::BucketSums;
use crate::alert::{AlertGroup, AlertKey, AlertRegistry, Change, Finding};
use crate::baseline::SeasonalFactors;
use crate::budget::AccountReputation;
use crate::correlate::{self, Evaluation};
use crate::counts::{Counts, DeliveryTimePercentiles, Denominator, MonitoredRate};
use crate::limit_monitor::AlertCoverage;
use crate::minutes::{
    self, MINUTES_PER_DAY, MINUTES_PER_HOUR, MINUTES_PER_WEEK, day_of, minus, minutes_between, plus,
};
use crate::outcome_delay::{DELAYS, DecayFactors, DelayKernel};
use crate::per_rate::PerRate;
use crate::report;
use crate::rules::AlertRules;
use crate::series_monitor::{BucketContext, SeriesMonitor, SeriesPrior};
use crate::silence::{SilenceMeaning, SilenceMonitor};
use crate::tenant_state::{
    OpenAnomalies, PlatformContext, ProviderContext, TenantCounts, TenantLimits, TenantState,
};
use crate::volume::{BurstHandling, VolumeContext, VolumeMonitor};
use event::AlertScope;

/// Tenants that one detector monitors; more are distributed over several detectors.
pub const MAX_TENANTS: usize = 100_000;
/// Providers that are monitored over all tenants.
const MAX_PROVIDERS: usize = 256;
/// A longer gap between buckets is skipped: the baselines from before it are out of date.
const MAX_GAP_MINUTES: u32 = 14 * MINUTES_PER_DAY;
/// The number of independent tests per tenant and bucket, from which the threshold is derived: nine series (all mail and about eight
/// providers) with seven rates and two changes each, and four for the volume. Half of them, because the rates of all mail move with those
/// of its providers, and bounces with deliveries.
const TESTS_PER_TENANT: f64 = 0.5 * (9.0 * 14.0 + 4.0);
/// Silence of all tenants is an outage only if at least this much mail was expected per bucket, and there are this many tenants.
const MIN_EXPECTED_FOR_OUTAGE: f64 = 20.0;
const MIN_TENANTS_FOR_OUTAGE: usize = 3;
/// A drop that all tenants share is derived from at least this many tenants, and is at most this deep.
const MIN_TENANTS_FOR_COMMON_DROP: usize = 5;
const MAX_COMMON_DROP: f64 = 0.25;

/// Counts of one (tenant, provider, campaign) in a bucket. An empty provider or campaign is unknown.
#[derive(Clone, Copy, Debug)]
pub struct BucketRow<'a> {
    /// The tenant's id, or `(unassigned)`.
    pub tenant: &'a str,
    /// The recipient's mailbox provider, such as `gmail`; empty if unknown.
    pub provider: &'a str,
    /// The campaign's name; empty if the mail has none.
    pub campaign: &'a str,
    /// Events of this bucket, by event time.
    pub counts: Counts,
    /// Percentiles of the delivery times, if they are known.
    pub times: Option<DeliveryTimePercentiles>,
}

/// Everything that happened in one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// Its first minute; rounded down to a whole bucket.
    pub start: Minute,
    /// The counts, by event time.
    pub rows: &'a [BucketRow<'a>],
}

/// What is known over all tenants. It is stored once, beside the tenants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlatformState {
    all_mail: SeriesMonitor,
    season: Box<PerRate<SeasonalFactors>>,
    providers: BTreeMap<String, SeriesMonitor>,
    volume: Box<VolumeMonitor>,
    reputation: AccountReputation,
    kernels: PerRate<DelayKernel>,
    registry: AlertRegistry,
    /// Whether any tenant has ever named a campaign.
    uses_campaigns: bool,
    bucket_minutes: u32,
    /// First minute of the last bucket.
    #[serde(with = "minutes::stored_option")]
    last: Option<Minute>,
    silence: SilenceMonitor,
}

/// The state of detection, and its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    platform: PlatformState,
    tenants: BTreeMap<String, TenantState>,
    rules: AlertRules,
}

/// The weights of [`DelayKernel`] that are assumed at first; the counts soon replace them.
fn assumed_delays(metric: MonitoredRate) -> [f64; DELAYS] {
    match metric {
        MonitoredRate::HardBounce | MonitoredRate::Delivery => [0.8, 0.1, 0.1, 0.0, 0.0],
        // Transient bounces come after hours of attempts.
        MonitoredRate::Bounce => [0.4, 0.2, 0.2, 0.2, 0.0],
        MonitoredRate::Delay => [0.7, 0.2, 0.1, 0.0, 0.0],
        MonitoredRate::Complaint => [0.1, 0.1, 0.2, 0.3, 0.3],
        MonitoredRate::Open | MonitoredRate::Click => [0.1, 0.2, 0.3, 0.3, 0.1],
    }
}

/// The rates that are assumed before anything is learned.
fn prior_rates() -> PerRate<f64> {
    PerRate::from_fn(|metric| metric.parameters().prior_rate)
}

impl Detector {
    /// A detector that has observed nothing, for buckets of `bucket_minutes` (1 to 60).
    pub fn new(bucket_minutes: u32, rules: AlertRules) -> Self {
        // The platform has no beginning: its rates are monitored from the first bucket on.
        let always = Minute(0);
        let platform = PlatformState {
            all_mail: SeriesMonitor::new(always, false),
            season: Box::default(),
            providers: BTreeMap::new(),
            volume: Box::new(VolumeMonitor::new(always)),
            reputation: AccountReputation::default(),
            kernels: PerRate::from_fn(|metric| DelayKernel::assumed(assumed_delays(metric))),
            registry: AlertRegistry::default(),
            uses_campaigns: false,
            bucket_minutes: bucket_minutes.clamp(1, 60),
            last: None,
            silence: SilenceMonitor::default(),
        };
        Self { platform, tenants: BTreeMap::new(), rules }
    }

    /// A detector from its stored state.
    pub fn restore(
        platform: PlatformState,
        tenants: BTreeMap<String, TenantState>,
        rules: AlertRules,
    ) -> Self {
        Self { platform, tenants, rules }
    }

    /// What is known over all tenants, to be stored.
    pub fn platform_state(&self) -> &PlatformState {
        &self.platform
    }

    /// What is known of each tenant, to be stored.
    pub fn tenants(&self) -> &BTreeMap<String, TenantState> {
        &self.tenants
    }

    /// The alerts, to be stored.
    pub fn registry(&self) -> &AlertRegistry {
        &self.platform.registry
    }

    /// Replaces the alerts by ones that were stored later than the rest of the state.
    pub fn set_registry(&mut self, registry: AlertRegistry) {
        self.platform.registry = registry;
    }

    /// Replaces the rules from the next bucket on.
    pub fn set_rules(&mut self, rules: AlertRules) {
        self.rules = rules;
    }

    /// The first minute of the bucket that was observed last; none before the first.
    pub fn last(&self) -> Option<Minute> {
        self.platform.last
    }

    /// Continues at `minute` although the minutes before it were not observed. They are unknown, not without mail.
    pub fn skip_to(&mut self, minute: Minute) {
        let before = minus(self.start_of_bucket(minute), self.platform.bucket_minutes);
        self.platform.last = self.platform.last.map(|last| last.max(before));
    }

    /// Forgets the tenants for which `exists` is false.
    pub fn retain_tenants(&mut self, exists: impl Fn(&str) -> bool) {
        self.tenants.retain(|name, _| exists(name));
    }

    /// Acknowledges an alert: there are no reminders until it is resolved. False if no such alert is open.
    pub fn acknowledge(&mut self, id: &str) -> bool {
        self.platform.registry.acknowledge(id)
    }

    fn start_of_bucket(&self, minute: Minute) -> Minute {
        let width = self.platform.bucket_minutes;
        Minute(minute.0 / width * width)
    }

    /// Observes the next bucket. One that was observed already or is older changes nothing; buckets left out count as empty.
    pub fn observe(&mut self, bucket: &Bucket<'_>) -> Vec<Change> {
        let width = self.platform.bucket_minutes;
        let start = self.start_of_bucket(bucket.start);
        if self.platform.last.is_some_and(|last| start <= last) {
            return Vec::new();
        }
        let before = minus(start, width);
        let last = self.platform.last.filter(|last| minutes_between(*last, start) <= MAX_GAP_MINUTES);
        let last = last.unwrap_or(before);
        self.platform.last = Some(last);
        let mut changes = Vec::new();
        let mut next = plus(last, width);
        while next < start {
            changes.extend(self.evaluate(next, &[]));
            next = plus(next, width);
        }
        changes.extend(self.evaluate(start, bucket.rows));
        changes
    }

    fn evaluate(&mut self, now: Minute, rows: &[BucketRow<'_>]) -> Vec<Change> {
        let bucket_minutes = self.platform.bucket_minutes;
        let end = plus(now, bucket_minutes);
        // What ended before this bucket is learned first, so the bucket is compared with everything before it.
        self.close_hour_and_day(now);
        self.platform.last = Some(now);
        let sums = BucketSums::new(rows);
        // Before anything learns: missing counts would be learned as silence.
        if let Some(findings) = self.missing_counts(now, &sums.total) {
            self.platform.registry.keep_open(end);
            return self.platform.registry.apply(end, findings, &self.rules);
        }
        self.platform.uses_campaigns |= rows.iter().any(|row| !row.campaign.is_empty());
        // All series of the bucket are evaluated with the kernels as they were before it, so the order of tenants does not matter.
        let kernels = self.platform.kernels;
        let mut trained = kernels;
        let context = BucketContext {
            now,
            bucket_minutes,
            threshold: threshold(&self.rules, bucket_minutes),
            kernels: &kernels,
            decay: &DecayFactors::new(bucket_minutes),
        };
        let common_drop = self.common_drop(now);
        // The platform comes first, because its rates are the priors of its tenants.
        self.evaluate_platform(&sums, &context, &mut trained);
        let limits = self.evaluate_tenants(&sums.tenants, &context, common_drop, &mut trained);
        self.platform.kernels = trained;
        let findings = self.findings(&context, &limits);
        let changes = self.platform.registry.apply(end, findings, &self.rules);
        self.reset_resolved(end);
        changes
    }

    /// Resets the scores that an alert reported when it is resolved. What is left of them would otherwise raise alerts about parts of the mail.
    fn reset_resolved(&mut self, now: Minute) {
        for key in self.platform.registry.resolved_at(now) {
            let metrics = correlate::metrics_of(key.group);
            let is_at = |name: &str| key.provider.as_deref().is_none_or(|provider| provider == name);
            let is_of = |name: &str| key.campaign.as_deref().is_none_or(|campaign| campaign == name);
            for (_, tenant) in self.tenants.iter_mut().filter(|(name, _)| key.scope.contains_tenant(name)) {
                tenant.all_mail.reset_scores(metrics);
                for (_, monitor) in tenant.providers.iter_mut().filter(|(name, _)| is_at(name)) {
                    monitor.reset_scores(metrics);
                }
                for (_, monitor) in tenant.recurring.series.iter_mut().filter(|(name, _)| is_of(name)) {
                    monitor.reset_scores(metrics);
                }
            }
            if key.scope == AlertScope::Platform {
                self.platform.all_mail.reset_scores(metrics);
                for (_, monitor) in self.platform.providers.iter_mut().filter(|(name, _)| is_at(name)) {
                    monitor.reset_scores(metrics);
                }
            }
        }
    }

    /// The findings about a bucket without any event where much mail is expected: counts are missing, so nothing may be learned from it.
    /// None for any other bucket.
    fn missing_counts(&mut self, now: Minute, total: &Counts) -> Option<Vec<Finding>> {
        if *total != Counts::default() {
            self.platform.silence.add_events();
            return None;
        }
        let bucket_minutes = self.platform.bucket_minutes;
        // Mail that begins or ends an hour early or late is no outage.
        let expected = [minus(now, MINUTES_PER_HOUR), now, plus(now, MINUTES_PER_HOUR)]
            .map(|minute| self.platform.volume.expected(minute))
            .into_iter()
            .fold(f64::INFINITY, f64::min);
        let is_mail_due = self.tenants.len() >= MIN_TENANTS_FOR_OUTAGE && expected > MIN_EXPECTED_FOR_OUTAGE;
        let since = match self.platform.silence.add_silent(now, bucket_minutes, is_mail_due) {
            SilenceMeaning::Usual => return None,
            SilenceMeaning::Suspicious => return Some(Vec::new()),
            SilenceMeaning::Outage { since } => since,
        };
        let key = AlertKey::all_mail(&AlertScope::Platform, AlertGroup::Pipeline);
        let content = report::pipeline(since, expected, plus(now, bucket_minutes));
        Some(vec![Finding { key, content, hold_minutes: 0 }])
    }

    /// The factor by which the mail of most tenants has dropped, 1 for no drop: a holiday is no incident of any tenant.
    fn common_drop(&self, now: Minute) -> f64 {
        let mut ratios: Vec<f64> =
            self.tenants.values().filter_map(|tenant| tenant.volume.recent_ratio(now)).collect();
        // With few tenants a common drop cannot be told from the incident of one of them.
        if ratios.len() < MIN_TENANTS_FOR_COMMON_DROP {
            return 1.0;
        }
        // The median, because one large sender that stops must not lower what is expected of all others.
        ratios.sort_by(f64::total_cmp);
        let median = ratios.get(ratios.len() / 2).copied();
        event::invariant::or_broken(median, 1.0, "a list without a middle").clamp(MAX_COMMON_DROP, 1.0)
    }

    fn platform_season(&self, now: Minute) -> PerRate<f64> {
        PerRate::from_fn(|metric| self.platform.season[metric].factor(now, 1.0))
    }

    fn evaluate_platform(
        &mut self,
        sums: &BucketSums<'_>,
        context: &BucketContext<'_>,
        kernels: &mut PerRate<DelayKernel>,
    ) {
        let season = self.platform_season(context.now);
        let platform = &mut self.platform;
        let rates = platform.all_mail.rates(&prior_rates());
        let prior = SeriesPrior {
            rates: prior_rates(),
            season,
            suspected: PerRate::default(),
            is_latency_alert_open: false,
            has_no_counts: false,
        };
        let evaluations = platform.all_mail.evaluate(&sums.total, context, &prior);
        platform.all_mail.train_kernels(&evaluations, &rates, kernels);
        platform.all_mail.train_seasons(&evaluations, context.now, &mut platform.season);
        platform.reputation.add(&sums.total, context.bucket_minutes, context.decay);
        let volume_context = VolumeContext {
            common_drop: 1.0,
            bursts: BurstHandling::Unknown,
            is_alert_open: false,
            all_usually_silent: platform.silence.is_usual(),
        };
        platform.volume.add(sums.total.denominator(Denominator::Sends), context, &volume_context);
        for name in sums.providers.keys() {
            if platform.providers.len() < MAX_PROVIDERS && !platform.providers.contains_key(*name) {
                platform.providers.insert((*name).to_owned(), SeriesMonitor::new(context.now, false));
            }
        }
        // Providers are compared with all mail of the platform, so their prior is its rate.
        let prior = SeriesPrior { rates, suspected: platform.all_mail.suspected(), ..prior };
        let nothing = Counts::default();
        for (name, monitor) in &mut platform.providers {
            let counts = sums.providers.get(name.as_str()).unwrap_or(&nothing);
            monitor.evaluate(counts, context, &prior);
        }
    }

    /// Evaluates the bucket of each tenant. Returns the limits of each, in the order of the tenants.
    fn evaluate_tenants(
        &mut self,
        counts: &BTreeMap<&str, TenantCounts<'_>>,
        context: &BucketContext<'_>,
        common_drop: f64,
        kernels: &mut PerRate<DelayKernel>,
    ) -> Vec<TenantLimits> {
        // A limit, so that invented tenant names cannot grow the state without bound.
        for name in counts.keys() {
            if self.tenants.len() < MAX_TENANTS && !self.tenants.contains_key(*name) {
                self.tenants.insert((*name).to_owned(), TenantState::new(context.now));
            }
        }
        let season = self.platform_season(context.now);
        let platform = &self.platform;
        let rates = platform.all_mail.rates(&prior_rates());
        let providers: BTreeMap<&str, ProviderContext> = platform
            .providers
            .iter()
            .map(|(name, monitor)| {
                let (rates, suspected) = (monitor.rates(&rates), monitor.suspected());
                (name.as_str(), ProviderContext { rates, suspected })
            })
            .collect();
        let platform_context = PlatformContext {
            rates: &rates,
            season: &season,
            providers: &providers,
            common_drop,
            uses_campaigns: platform.uses_campaigns,
            all_usually_silent: platform.silence.is_usual(),
        };
        let (platform_coverage, open_alerts) = open_alerts(&platform.registry);
        let nothing = TenantCounts::default();
        let mut all_limits = Vec::with_capacity(self.tenants.len());
        for (name, tenant) in &mut self.tenants {
            let mut open_alerts = open_alerts.get(name.as_str()).copied().unwrap_or_default();
            open_alerts.coverage.add(platform_coverage);
            let counts = counts.get(name.as_str()).unwrap_or(&nothing);
            tenant.evaluate(counts, context, &platform_context, open_alerts, kernels);
            let limits = TenantLimits::of(&self.rules, name);
            tenant.add_to_limit_windows(counts, context, &limits, open_alerts.coverage);
            all_limits.push(limits);
        }
        all_limits
    }

    /// The findings about the bucket, from the scores of all series.
    fn findings(&mut self, context: &BucketContext<'_>, limits: &[TenantLimits]) -> Vec<Finding> {
        let platform = &self.platform;
        let evaluation = Evaluation {
            now: context.now,
            bucket_minutes: context.bucket_minutes,
            threshold: context.threshold,
            registry: &platform.registry,
            rules: &self.rules,
        };
        let mut findings =
            correlate::findings(&self.tenants, &platform.all_mail, &platform.providers, &evaluation);
        for ((name, tenant), limits) in self.tenants.iter_mut().zip(limits) {
            findings.extend(correlate::limits(&AlertScope::of_counted(name), tenant, limits, &evaluation));
        }
        if self.rules.budgets {
            findings.extend(correlate::budgets(&platform.reputation, &self.tenants, &evaluation));
        }
        findings
    }

    /// Closes the hour and the day that ended before `now`.
    fn close_hour_and_day(&mut self, now: Minute) {
        let Some(last) = self.platform.last else { return };
        let platform = &mut self.platform;
        if now.hour() != last.hour() {
            platform.silence.close_hour(last.hour());
            platform.all_mail.close_hour();
            platform.volume.close_hour(now);
            platform.season.values_mut().for_each(SeasonalFactors::close_hour);
            platform.providers.values_mut().for_each(SeriesMonitor::close_hour);
            platform.kernels.values_mut().for_each(DelayKernel::close_hour);
            self.tenants.values_mut().for_each(|tenant| tenant.close_hour(now));
        }
        if day_of(now) != day_of(last) {
            let buckets_per_day = f64::from(MINUTES_PER_DAY / platform.bucket_minutes);
            self.tenants.values_mut().for_each(|tenant| tenant.close_day(now, buckets_per_day));
            platform.volume.close_day();
            platform.providers.values_mut().for_each(SeriesMonitor::close_day);
        }
    }
}

/// The score at which no more than the accepted number of false alarms is expected: a test raises one in `exp(threshold)` buckets.
fn threshold(rules: &AlertRules, bucket_minutes: u32) -> f64 {
    // The bound holds for one test. The false alarms of all tests of a tenant add up, so the budget is divided among them.
    let buckets_per_week = f64::from(MINUTES_PER_WEEK) / f64::from(bucket_minutes);
    (TESTS_PER_TENANT * buckets_per_week / rules.false_alerts_per_tenant_week.clamp(1e-6, 10.0)).ln()
}

/// What open alerts of the platform cover, and the open alerts of each tenant.
fn open_alerts(registry: &AlertRegistry) -> (AlertCoverage, BTreeMap<&str, OpenAnomalies>) {
    let mut platform = OpenAnomalies::default();
    let mut tenants: BTreeMap<&str, OpenAnomalies> = BTreeMap::new();
    for key in registry.firing() {
        let open = match &key.scope {
            AlertScope::Platform => &mut platform,
            AlertScope::Tenant(id) => tenants.entry(id.as_str()).or_default(),
        };
        match key.group {
            AlertGroup::Latency => (open.latency, open.coverage.latency) = (true, true),
            AlertGroup::Volume => open.volume = true,
            AlertGroup::Queue => open.queue = true,
            AlertGroup::Delivery => open.coverage.delivery = true,
            AlertGroup::Complaint => open.coverage.complaint = true,
            AlertGroup::Engagement
            | AlertGroup::DeliveryLimit
            | AlertGroup::ComplaintLimit
            | AlertGroup::LatencyLimit
            | AlertGroup::QueueLimit
            | AlertGroup::DeliveryDecline
            | AlertGroup::EngagementDecline
            | AlertGroup::ComplaintDecline
            | AlertGroup::BounceBudget
            | AlertGroup::ComplaintBudget
            | AlertGroup::Pipeline => {}
        }
    }
    (platform.coverage, tenants)
}

#[cfg(test)]
mod tests;
