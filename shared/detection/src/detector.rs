//! The detector: one bucket in, changes of alerts out.
//!
//! Buckets come in order of their time. One that was seen already, or is older, changes nothing, so a run that is repeated is
//! harmless; buckets left out are buckets without events. A finding on a bucket knows no later one.

use std::collections::BTreeMap;

use event::Minute;
use serde::{Deserialize, Serialize};

use crate::alert::{AlertGroup, AlertKey, AlertRegistry, Change, Finding};
use crate::baseline::SeasonalFactors;
use crate::budget::AccountReputation;
use crate::correlate::{self, Evaluation};
use crate::counts::{Counts, DeliveryTimePercentiles, METRIC_COUNT, Metric};
use crate::outcome_delay::{DecayFactors, DelayKernel, LAGS};
use crate::report;
use crate::rules::Rules;
use crate::series_monitor::{BucketContext, SeriesMonitor, SeriesPrior};
use crate::silence::{SilenceMeaning, SilenceMonitor};
use crate::tenant_state::{self, OpenAlerts, PlatformContext, TenantCounts, TenantLimits, TenantState};
use crate::volume::{BurstHandling, VolumeContext, VolumeMonitor};

/// Tenants watched by one detector; more are shared out over several.
pub const MAX_TENANTS: usize = 100_000;
/// Providers watched over all tenants.
const MAX_PROVIDERS: usize = 256;
/// A gap longer than this many minutes is skipped: what was normal before it says little.
const LONGEST_GAP: u32 = 14 * 24 * 60;
/// Series and statistics a tenant is watched by, for the threshold: nine places, seven rates, two changes each, and the volume. Half of
/// them, since the whole moves with its places, and bounces with deliveries.
const STATISTICS: f64 = 0.5 * (9.0 * 14.0 + 4.0);
/// Minutes in a week.
const WEEK: f64 = 10_080.0;
/// Mail that has to be missing before silence of all tenants means anything, per bucket.
const LEAST_SILENT: f64 = 20.0;
/// Active tenants that make silence of all a fault of the pipeline.
const LEAST_TENANTS: usize = 3;

/// Counts of one (tenant, provider, campaign) in a bucket. Empty names mean "not said".
#[derive(Clone, Copy, Debug)]
pub struct CountsRow<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The mailbox provider.
    pub provider: &'a str,
    /// The campaign.
    pub campaign: &'a str,
    /// The counts.
    pub counts: Counts,
    /// How the delivery times spread, if that is known.
    pub times: Option<DeliveryTimePercentiles>,
}

/// All that happened in one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// Its first minute.
    pub start: Minute,
    /// The counts, by event time.
    pub rows: &'a [CountsRow<'a>],
}

/// What is known over all tenants: stored once, beside the tenants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlatformState {
    whole: SeriesMonitor,
    season: Box<[SeasonalFactors; METRIC_COUNT]>,
    providers: BTreeMap<String, SeriesMonitor>,
    volume: Box<VolumeMonitor>,
    account: AccountReputation,
    kernels: [DelayKernel; METRIC_COUNT],
    registry: AlertRegistry,
    tags_in_use: bool,
    bucket: u32,
    last: u32,
    silence: SilenceMonitor,
}

/// The state of detection, and its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    shared: PlatformState,
    tenants: BTreeMap<String, TenantState>,
    rules: Rules,
}

/// First guesses of when outcomes come, which the counts soon replace.
const GUESSES: [[f64; LAGS]; METRIC_COUNT] = [
    [0.8, 0.1, 0.1, 0.0, 0.0],
    [0.4, 0.2, 0.2, 0.2, 0.0],
    [0.7, 0.2, 0.1, 0.0, 0.0],
    [0.8, 0.1, 0.1, 0.0, 0.0],
    [0.1, 0.1, 0.2, 0.3, 0.3],
    [0.1, 0.2, 0.3, 0.3, 0.1],
    [0.1, 0.2, 0.3, 0.3, 0.1],
];

impl Detector {
    /// A detector that has seen nothing, for buckets of so many minutes (1 to 60).
    pub fn new(bucket_minutes: u32, rules: Rules) -> Self {
        let shared = PlatformState {
            whole: SeriesMonitor::new(0, false),
            season: Box::default(),
            providers: BTreeMap::new(),
            volume: Box::new(VolumeMonitor::new(0)),
            account: AccountReputation::default(),
            kernels: GUESSES.map(DelayKernel::guess),
            registry: AlertRegistry::default(),
            tags_in_use: false,
            bucket: bucket_minutes.clamp(1, 60),
            last: 0,
            silence: SilenceMonitor::default(),
        };
        Self { shared, tenants: BTreeMap::new(), rules }
    }

    /// A detector as it was stored.
    pub fn restore(shared: PlatformState, tenants: BTreeMap<String, TenantState>, rules: Rules) -> Self {
        Self { shared, tenants, rules }
    }

    /// What is known over all tenants, to be stored.
    pub fn shared(&self) -> &PlatformState {
        &self.shared
    }

    /// What is known of each tenant, to be stored.
    pub fn tenants(&self) -> &BTreeMap<String, TenantState> {
        &self.tenants
    }

    /// The alerts that are not over, to be stored.
    pub fn registry(&self) -> &AlertRegistry {
        &self.shared.registry
    }

    /// Goes on with alerts stored later than all else.
    pub fn set_registry(&mut self, registry: AlertRegistry) {
        self.shared.registry = registry;
    }

    /// Judges by other rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The first minute of the bucket observed last; none before the first.
    pub fn last(&self) -> Option<Minute> {
        (self.shared.last != 0).then_some(Minute(self.shared.last))
    }

    /// Goes on at a minute although the minutes before it were not observed. They are unknown, not without mail.
    pub fn skip_to(&mut self, minute: Minute) {
        let before = (minute.0 / self.shared.bucket * self.shared.bucket).saturating_sub(self.shared.bucket);
        if self.shared.last != 0 {
            self.shared.last = self.shared.last.max(before);
        }
    }

    /// Forgets tenants that are no more.
    pub fn retain_tenants(&mut self, is_there: impl Fn(&str) -> bool) {
        self.tenants.retain(|name, _| is_there(name));
    }

    /// Somebody looks after an alert; false if no such alert is open.
    pub fn acknowledge(&mut self, id: &str) -> bool {
        self.shared.registry.acknowledge(id)
    }

    /// Takes the next bucket. Seen or older ones change nothing; buckets left out count as empty.
    pub fn observe(&mut self, bucket: &Bucket<'_>) -> Vec<Change> {
        let width = self.shared.bucket;
        let start = bucket.start.0 / width * width;
        if self.shared.last != 0 && start <= self.shared.last {
            return Vec::new();
        }
        let mut changes = Vec::new();
        if self.shared.last == 0 || start - self.shared.last > LONGEST_GAP {
            self.shared.last = start.saturating_sub(width);
        }
        let mut next = self.shared.last + width;
        while next < start {
            changes.extend(self.step(next, &[]));
            next += width;
        }
        changes.extend(self.step(start, bucket.rows));
        changes
    }

    fn step(&mut self, now: u32, rows: &[CountsRow<'_>]) -> Vec<Change> {
        let bucket = self.shared.bucket;
        self.close(now);
        self.shared.last = now;
        let (total, providers, counts) = sum(rows);
        let threshold = threshold(&self.rules, bucket);
        if let Some(finding) = self.silence(now, &total) {
            self.shared.registry.keep_open(now + bucket);
            return self.shared.registry.apply(now + bucket, finding, &self.rules);
        }
        self.shared.tags_in_use |= rows.iter().any(|row| !row.campaign.is_empty());
        let kernels = self.shared.kernels;
        let decay = DecayFactors::new(bucket);
        let context = BucketContext { now, bucket, threshold, kernels: &kernels, decay: &decay };
        let common = self.common_drop(now);
        let mut learned = self.shared.kernels;
        self.step_platform(&total, &providers, &context, &mut learned);
        let tenant_limits = self.step_tenants(&counts, &context, common, &mut learned);
        self.shared.kernels = learned;
        let findings = self.judge(now, threshold, &tenant_limits);
        let changes = self.shared.registry.apply(now + bucket, findings, &self.rules);
        self.forget_resolved(now + bucket);
        changes
    }

    /// What a resolved alert told is over for all series below it; else its rest would make alerts of their own.
    fn forget_resolved(&mut self, now: u32) {
        for key in self.shared.registry.resolved_at(now) {
            let metrics = correlate::metrics_of(key.group);
            let at = |name: &str| key.provider.as_deref().is_none_or(|provider| provider == name);
            for (name, tenant) in &mut self.tenants {
                if key.tenant != "*" && key.tenant != *name {
                    continue;
                }
                tenant.whole.forget(metrics);
                for (_, monitor) in tenant.providers.iter_mut().filter(|(name, _)| at(name)) {
                    monitor.forget(metrics);
                }
                let of = |name: &str| key.campaign.as_deref().is_none_or(|campaign| campaign == name);
                for (_, monitor) in tenant.recurring.series.iter_mut().filter(|(name, _)| of(name)) {
                    monitor.forget(metrics);
                }
            }
            if key.tenant == "*" {
                self.shared.whole.forget(metrics);
                for (_, monitor) in self.shared.providers.iter_mut().filter(|(name, _)| at(name)) {
                    monitor.forget(metrics);
                }
            }
        }
    }

    /// Nobody sends anything where much is expected: counts are missing, so nothing is learned from them.
    fn silence(&mut self, now: u32, total: &Counts) -> Option<Vec<Finding>> {
        if *total != Counts::default() {
            self.shared.silence.add();
            return None;
        }
        let bucket = self.shared.bucket;
        // Hours that begin or end a little early or late are no outage.
        let volume_context =
            [now.saturating_sub(60), now, now + 60].map(|minute| self.shared.volume.expected(minute));
        let expected = volume_context.into_iter().fold(f64::INFINITY, f64::min);
        let due = self.tenants.len() >= LEAST_TENANTS && expected > LEAST_SILENT;
        let since = match self.shared.silence.add_silent(now, bucket, due) {
            SilenceMeaning::Usual => return None,
            SilenceMeaning::Suspicious => return Some(Vec::new()),
            SilenceMeaning::Outage { since } => since,
        };
        let key = AlertKey::of("*", None, AlertGroup::Pipeline);
        let content = report::pipeline(since, expected, now + bucket);
        Some(vec![Finding { key, content, hold: 0 }])
    }

    /// The drop of volume that most tenants share, 1 for none: a holiday is nobody's incident.
    fn common_drop(&self, now: u32) -> f64 {
        let mut ratios: Vec<f64> =
            self.tenants.values().filter_map(|tenant| tenant.volume.recent_ratio(now)).collect();
        if ratios.len() < 5 {
            return 1.0;
        }
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(1.0).clamp(0.25, 1.0)
    }

    fn step_platform(
        &mut self,
        total: &Counts,
        providers: &BTreeMap<&str, Counts>,
        context: &BucketContext<'_>,
        learned: &mut [DelayKernel; METRIC_COUNT],
    ) {
        let shared = &mut self.shared;
        let priors = Metric::ALL.map(|metric| metric.parameters().prior_rate);
        let mut season = [1.0; METRIC_COUNT];
        for (factor, own) in season.iter_mut().zip(shared.season.iter()) {
            *factor = own.factor(context.now, 1.0);
        }
        let prior = SeriesPrior {
            rates: priors,
            season,
            suspicious: [false; METRIC_COUNT],
            slow: false,
            absent: false,
        };
        let rates = shared.whole.rates(&priors);
        let evaluated = shared.whole.step(total, context, &prior);
        shared.whole.teach(&evaluated, &rates, learned);
        shared.whole.teach_seasons(&evaluated, context.now, &mut shared.season);
        shared.account.add(total, context.bucket);
        let sends = total.denominator(crate::Denominator::Sends);
        let all_silent = shared.silence.is_usual();
        let volume_context =
            VolumeContext { common: 1.0, bursts: BurstHandling::Unknown, is_alert_open: false, all_silent };
        shared.volume.step(sends, context.now, context.bucket, context.threshold, &volume_context);
        for name in providers.keys() {
            if shared.providers.len() < MAX_PROVIDERS && !shared.providers.contains_key(*name) {
                shared.providers.insert((*name).to_owned(), SeriesMonitor::new(context.now, false));
            }
        }
        let prior =
            SeriesPrior { rates, season, suspicious: shared.whole.suspicious(), slow: false, absent: false };
        let zero = Counts::default();
        for (name, monitor) in &mut shared.providers {
            monitor.step(providers.get(name.as_str()).unwrap_or(&zero), context, &prior);
        }
    }

    /// Judges and learns each tenant's bucket; the limits of each, in their order.
    fn step_tenants(
        &mut self,
        counts: &BTreeMap<&str, TenantCounts<'_>>,
        context: &BucketContext<'_>,
        common: f64,
        learned: &mut [DelayKernel; METRIC_COUNT],
    ) -> Vec<TenantLimits> {
        for name in counts.keys() {
            if self.tenants.len() < MAX_TENANTS && !self.tenants.contains_key(*name) {
                self.tenants.insert((*name).to_owned(), TenantState::new(context.now));
            }
        }
        let shared = &self.shared;
        let priors = Metric::ALL.map(|metric| metric.parameters().prior_rate);
        let rates = shared.whole.rates(&priors);
        let mut season = [1.0; METRIC_COUNT];
        for (factor, own) in season.iter_mut().zip(shared.season.iter()) {
            *factor = own.factor(context.now, 1.0);
        }
        let known: BTreeMap<&str, ([f64; METRIC_COUNT], [bool; METRIC_COUNT])> = shared
            .providers
            .iter()
            .map(|(name, monitor)| (name.as_str(), (monitor.rates(&rates), monitor.suspicious())))
            .collect();
        let platform = PlatformContext {
            rates: &rates,
            season: &season,
            providers: &known,
            common,
            tags_in_use: shared.tags_in_use,
            all_silent: shared.silence.is_usual(),
        };
        let open_alerts = open_alerts(&shared.registry);
        let everywhere = open_alerts.get("*").copied().unwrap_or_default().told;
        let none = TenantCounts::default();
        let rules = &self.rules;
        let mut all = Vec::with_capacity(self.tenants.len());
        for (name, tenant) in &mut self.tenants {
            let mut open_alerts = open_alerts.get(name.as_str()).copied().unwrap_or_default();
            open_alerts.told.delivery |= everywhere.delivery;
            open_alerts.told.complaint |= everywhere.complaint;
            open_alerts.told.latency |= everywhere.latency;
            let counts = counts.get(name.as_str()).unwrap_or(&none);
            tenant.step(counts, context, &platform, open_alerts, learned);
            let tenant_limits = TenantLimits::of(rules, name);
            tenant.watch_limits(counts, context, &tenant_limits, open_alerts.told);
            all.push(tenant_limits);
        }
        all
    }

    fn judge(&mut self, now: u32, threshold: f64, tenant_limits: &[TenantLimits]) -> Vec<Finding> {
        let shared = &self.shared;
        let evaluation = Evaluation {
            now,
            bucket: shared.bucket,
            threshold,
            registry: &shared.registry,
            rules: &self.rules,
        };
        let mut findings = correlate::findings(&self.tenants, &shared.whole, &shared.providers, &evaluation);
        for ((name, tenant), tenant_limits) in self.tenants.iter_mut().zip(tenant_limits) {
            findings.extend(correlate::limits(name, tenant, tenant_limits, &evaluation));
        }
        if self.rules.budgets {
            findings.extend(correlate::budgets(&shared.account, &self.tenants, &evaluation));
        }
        findings
    }

    /// Closes the hour and the day that ended before this bucket.
    fn close(&mut self, now: u32) {
        let last = self.shared.last;
        if now / 60 != last / 60 {
            self.shared.silence.close_hour(last);
            self.shared.whole.close_hour();
            self.shared.volume.close_hour(now);
            for season in self.shared.season.iter_mut() {
                season.close_hour();
            }
            for monitor in self.shared.providers.values_mut() {
                monitor.close_hour();
            }
            for kernel in &mut self.shared.kernels {
                kernel.close_hour();
            }
            for tenant in self.tenants.values_mut() {
                tenant.close_hour(now);
            }
        }
        if now / (24 * 60) != last / (24 * 60) {
            let buckets_a_day = f64::from(24 * 60 / self.shared.bucket);
            for tenant in self.tenants.values_mut() {
                tenant.close_day(now, buckets_a_day);
            }
            self.shared.volume.close_day();
            for monitor in self.shared.providers.values_mut() {
                tenant_state::look(monitor);
            }
        }
    }
}

/// Cusum needed so that no more than the accepted number of false alarms is expected.
fn threshold(rules: &Rules, bucket: u32) -> f64 {
    let buckets = WEEK / f64::from(bucket);
    (STATISTICS * buckets / rules.false_alerts_per_tenant_week.clamp(1e-6, 10.0)).ln()
}

fn open_alerts(registry: &AlertRegistry) -> BTreeMap<&str, OpenAlerts> {
    let mut tenants: BTreeMap<&str, OpenAlerts> = BTreeMap::new();
    for key in registry.firing() {
        let open_alerts = tenants.entry(key.tenant.as_str()).or_default();
        match key.group {
            AlertGroup::Latency => (open_alerts.latency, open_alerts.told.latency) = (true, true),
            AlertGroup::Volume => open_alerts.volume = true,
            AlertGroup::Queue => open_alerts.queue = true,
            AlertGroup::Delivery => open_alerts.told.delivery = true,
            AlertGroup::Complaint => open_alerts.told.complaint = true,
            _ => {}
        }
    }
    tenants
}

type EventSums<'a> = (Counts, BTreeMap<&'a str, Counts>, BTreeMap<&'a str, TenantCounts<'a>>);

/// A bucket's rows, summed over everything, per provider and per tenant.
fn sum<'a>(rows: &'a [CountsRow<'a>]) -> EventSums<'a> {
    let mut total = Counts::default();
    let mut providers: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut tenants: BTreeMap<&str, TenantCounts<'_>> = BTreeMap::new();
    for row in rows {
        total.add(&row.counts);
        let tenant = tenants.entry(row.tenant).or_default();
        tenant.whole.add(&row.counts);
        tenant.rows.push(row);
        if row.campaign.is_empty() {
            tenant.untagged += row.counts.denominator(crate::Denominator::Sends);
        } else {
            add_to(&mut tenant.campaigns, row.campaign, &row.counts);
        }
        if !row.provider.is_empty() {
            providers.entry(row.provider).or_default().add(&row.counts);
            add_to(&mut tenant.providers, row.provider, &row.counts);
        }
    }
    (total, providers, tenants)
}

fn add_to<'a>(list: &mut Vec<(&'a str, Counts)>, name: &'a str, counts: &Counts) {
    match list.iter_mut().find(|(known, _)| *known == name) {
        Some((_, sum)) => sum.add(counts),
        None => list.push((name, *counts)),
    }
}

#[cfg(test)]
mod tests;
