//! The detector: one bucket in, changes of alerts out.
//!
//! Buckets come in order of their time. One that was seen already, or is older, changes nothing, so a run that is repeated is
//! harmless; buckets left out are buckets without events. A verdict on a bucket knows no later one.

use std::collections::BTreeMap;

use event::Minute;
use serde::{Deserialize, Serialize};

use crate::alert::{Book, Change, Family, Key, Verdict};
use crate::baseline::Season;
use crate::budget::Account;
use crate::counts::{Counts, METRICS, Metric, Spread};
use crate::exposure::{Decay, Kernel, LAGS};
use crate::judge::{self, Moment};
use crate::node::{Context, Lean, Node};
use crate::report;
use crate::rules::Rules;
use crate::silence::{Meaning, Silence};
use crate::tenant::{self, Alerting, Bounds, Platform, Tenant, TenantCounts};
use crate::volume::{Around, Bursts, Volume};

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
pub struct Row<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The mailbox provider.
    pub provider: &'a str,
    /// The campaign.
    pub campaign: &'a str,
    /// The counts.
    pub counts: Counts,
    /// How the delivery times spread, if that is known.
    pub times: Option<Spread>,
}

/// All that happened in one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket<'a> {
    /// Its first minute.
    pub start: Minute,
    /// The counts, by event time.
    pub rows: &'a [Row<'a>],
}

/// What is known over all tenants: stored once, beside the tenants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shared {
    whole: Node,
    season: Box<[Season; METRICS]>,
    providers: BTreeMap<String, Node>,
    volume: Box<Volume>,
    account: Account,
    kernels: [Kernel; METRICS],
    book: Book,
    tags_in_use: bool,
    bucket: u32,
    last: u32,
    silence: Silence,
}

/// The state of detection, and its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    shared: Shared,
    tenants: BTreeMap<String, Tenant>,
    rules: Rules,
}

/// First guesses of when outcomes come, which the counts soon replace.
const GUESSES: [[f64; LAGS]; METRICS] = [
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
        let shared = Shared {
            whole: Node::new(0, false),
            season: Box::default(),
            providers: BTreeMap::new(),
            volume: Box::new(Volume::new(0)),
            account: Account::default(),
            kernels: GUESSES.map(Kernel::guess),
            book: Book::default(),
            tags_in_use: false,
            bucket: bucket_minutes.clamp(1, 60),
            last: 0,
            silence: Silence::default(),
        };
        Self { shared, tenants: BTreeMap::new(), rules }
    }

    /// A detector as it was stored.
    pub fn restore(shared: Shared, tenants: BTreeMap<String, Tenant>, rules: Rules) -> Self {
        Self { shared, tenants, rules }
    }

    /// What is known over all tenants, to be stored.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What is known of each tenant, to be stored.
    pub fn tenants(&self) -> &BTreeMap<String, Tenant> {
        &self.tenants
    }

    /// The alerts that are not over, to be stored.
    pub fn book(&self) -> &Book {
        &self.shared.book
    }

    /// Goes on with alerts stored later than all else.
    pub fn set_book(&mut self, book: Book) {
        self.shared.book = book;
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
        self.shared.book.acknowledge(id)
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

    fn step(&mut self, now: u32, rows: &[Row<'_>]) -> Vec<Change> {
        let bucket = self.shared.bucket;
        self.close(now);
        self.shared.last = now;
        let (total, providers, counts) = sum(rows);
        let threshold = threshold(&self.rules, bucket);
        if let Some(verdict) = self.silence(now, &total) {
            self.shared.book.keep_open(now + bucket);
            return self.shared.book.apply(now + bucket, verdict, &self.rules);
        }
        self.shared.tags_in_use |= rows.iter().any(|row| !row.campaign.is_empty());
        let kernels = self.shared.kernels;
        let decay = Decay::new(bucket);
        let context = Context { now, bucket, threshold, kernels: &kernels, decay: &decay };
        let common = self.common_drop(now);
        let mut learned = self.shared.kernels;
        self.step_platform(&total, &providers, &context, &mut learned);
        let bounds = self.step_tenants(&counts, &context, common, &mut learned);
        self.shared.kernels = learned;
        let verdicts = self.judge(now, threshold, &bounds);
        let changes = self.shared.book.apply(now + bucket, verdicts, &self.rules);
        self.forget_resolved(now + bucket);
        changes
    }

    /// What a resolved alert told is over for all series below it; else its rest would make alerts of their own.
    fn forget_resolved(&mut self, now: u32) {
        for key in self.shared.book.resolved_at(now) {
            let metrics = judge::metrics_of(key.family);
            let at = |name: &str| key.provider.as_deref().is_none_or(|provider| provider == name);
            for (name, tenant) in &mut self.tenants {
                if key.tenant != "*" && key.tenant != *name {
                    continue;
                }
                tenant.whole.forget(metrics);
                for (_, node) in tenant.providers.iter_mut().filter(|(name, _)| at(name)) {
                    node.forget(metrics);
                }
                let of = |name: &str| key.campaign.as_deref().is_none_or(|campaign| campaign == name);
                for (_, node) in tenant.regulars.series.iter_mut().filter(|(name, _)| of(name)) {
                    node.forget(metrics);
                }
            }
            if key.tenant == "*" {
                self.shared.whole.forget(metrics);
                for (_, node) in self.shared.providers.iter_mut().filter(|(name, _)| at(name)) {
                    node.forget(metrics);
                }
            }
        }
    }

    /// Nobody sends anything where much is expected: counts are missing, so nothing is learned from them.
    fn silence(&mut self, now: u32, total: &Counts) -> Option<Vec<Verdict>> {
        if *total != Counts::default() {
            self.shared.silence.add();
            return None;
        }
        let bucket = self.shared.bucket;
        // Hours that begin or end a little early or late are no outage.
        let around =
            [now.saturating_sub(60), now, now + 60].map(|minute| self.shared.volume.expected(minute));
        let expected = around.into_iter().fold(f64::INFINITY, f64::min);
        let due = self.tenants.len() >= LEAST_TENANTS && expected > LEAST_SILENT;
        let since = match self.shared.silence.add_silent(now, bucket, due) {
            Meaning::Usual => return None,
            Meaning::Suspicious => return Some(Vec::new()),
            Meaning::Outage { since } => since,
        };
        let key = Key::of("*", None, Family::Pipeline);
        let facts = report::pipeline(since, expected, now + bucket);
        Some(vec![Verdict { key, facts, hold: 0 }])
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
        context: &Context<'_>,
        learned: &mut [Kernel; METRICS],
    ) {
        let shared = &mut self.shared;
        let priors = Metric::ALL.map(|metric| metric.watch().prior_rate);
        let mut season = [1.0; METRICS];
        for (factor, own) in season.iter_mut().zip(shared.season.iter()) {
            *factor = own.factor(context.now, 1.0);
        }
        let lean = Lean { rates: priors, season, suspicious: [false; METRICS], slow: false, absent: false };
        let rates = shared.whole.rates(&priors);
        let judged = shared.whole.step(total, context, &lean);
        shared.whole.teach(&judged, &rates, learned);
        shared.whole.teach_seasons(&judged, context.now, &mut shared.season);
        shared.account.add(total, context.bucket);
        let sends = total.base(crate::Base::Sends);
        let all_silent = shared.silence.is_usual();
        let around = Around { common: 1.0, bursts: Bursts::Unknown, alerting: false, all_silent };
        shared.volume.step(sends, context.now, context.bucket, context.threshold, &around);
        for name in providers.keys() {
            if shared.providers.len() < MAX_PROVIDERS && !shared.providers.contains_key(*name) {
                shared.providers.insert((*name).to_owned(), Node::new(context.now, false));
            }
        }
        let lean = Lean { rates, season, suspicious: shared.whole.suspicious(), slow: false, absent: false };
        let zero = Counts::default();
        for (name, node) in &mut shared.providers {
            node.step(providers.get(name.as_str()).unwrap_or(&zero), context, &lean);
        }
    }

    /// Judges and learns each tenant's bucket; the limits of each, in their order.
    fn step_tenants(
        &mut self,
        counts: &BTreeMap<&str, TenantCounts<'_>>,
        context: &Context<'_>,
        common: f64,
        learned: &mut [Kernel; METRICS],
    ) -> Vec<Bounds> {
        for name in counts.keys() {
            if self.tenants.len() < MAX_TENANTS && !self.tenants.contains_key(*name) {
                self.tenants.insert((*name).to_owned(), Tenant::new(context.now));
            }
        }
        let shared = &self.shared;
        let priors = Metric::ALL.map(|metric| metric.watch().prior_rate);
        let rates = shared.whole.rates(&priors);
        let mut season = [1.0; METRICS];
        for (factor, own) in season.iter_mut().zip(shared.season.iter()) {
            *factor = own.factor(context.now, 1.0);
        }
        let known: BTreeMap<&str, ([f64; METRICS], [bool; METRICS])> = shared
            .providers
            .iter()
            .map(|(name, node)| (name.as_str(), (node.rates(&rates), node.suspicious())))
            .collect();
        let platform = Platform {
            rates: &rates,
            season: &season,
            providers: &known,
            common,
            tags_in_use: shared.tags_in_use,
            all_silent: shared.silence.is_usual(),
        };
        let alerting = alerting(&shared.book);
        let everywhere = alerting.get("*").copied().unwrap_or_default().told;
        let none = TenantCounts::default();
        let rules = &self.rules;
        let mut all = Vec::with_capacity(self.tenants.len());
        for (name, tenant) in &mut self.tenants {
            let mut alerting = alerting.get(name.as_str()).copied().unwrap_or_default();
            alerting.told.delivery |= everywhere.delivery;
            alerting.told.complaint |= everywhere.complaint;
            alerting.told.latency |= everywhere.latency;
            let counts = counts.get(name.as_str()).unwrap_or(&none);
            tenant.step(counts, context, &platform, alerting, learned);
            let bounds = Bounds::of(rules, name);
            tenant.watch_limits(counts, context, &bounds, alerting.told);
            all.push(bounds);
        }
        all
    }

    fn judge(&mut self, now: u32, threshold: f64, bounds: &[Bounds]) -> Vec<Verdict> {
        let shared = &self.shared;
        let moment = Moment { now, bucket: shared.bucket, threshold, book: &shared.book, rules: &self.rules };
        let mut verdicts = judge::verdicts(&self.tenants, &shared.whole, &shared.providers, &moment);
        for ((name, tenant), bounds) in self.tenants.iter_mut().zip(bounds) {
            verdicts.extend(judge::limits(name, tenant, bounds, &moment));
        }
        if self.rules.budgets {
            verdicts.extend(judge::budgets(&shared.account, &self.tenants, &moment));
        }
        verdicts
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
            for node in self.shared.providers.values_mut() {
                node.close_hour();
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
            for node in self.shared.providers.values_mut() {
                tenant::look(node);
            }
        }
    }
}

/// Evidence needed so that no more than the accepted number of false alarms is expected.
fn threshold(rules: &Rules, bucket: u32) -> f64 {
    let buckets = WEEK / f64::from(bucket);
    (STATISTICS * buckets / rules.false_alerts_per_tenant_week.clamp(1e-6, 10.0)).ln()
}

fn alerting(book: &Book) -> BTreeMap<&str, Alerting> {
    let mut tenants: BTreeMap<&str, Alerting> = BTreeMap::new();
    for key in book.firing() {
        let alerting = tenants.entry(key.tenant.as_str()).or_default();
        match key.family {
            Family::Latency => (alerting.latency, alerting.told.latency) = (true, true),
            Family::Volume => alerting.volume = true,
            Family::Queue => alerting.queue = true,
            Family::Delivery => alerting.told.delivery = true,
            Family::Complaint => alerting.told.complaint = true,
            _ => {}
        }
    }
    tenants
}

type Sums<'a> = (Counts, BTreeMap<&'a str, Counts>, BTreeMap<&'a str, TenantCounts<'a>>);

/// A bucket's rows, summed over everything, per provider and per tenant.
fn sum<'a>(rows: &'a [Row<'a>]) -> Sums<'a> {
    let mut total = Counts::default();
    let mut providers: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut tenants: BTreeMap<&str, TenantCounts<'_>> = BTreeMap::new();
    for row in rows {
        total.add(&row.counts);
        let tenant = tenants.entry(row.tenant).or_default();
        tenant.whole.add(&row.counts);
        tenant.rows.push(row);
        if row.campaign.is_empty() {
            tenant.untagged += row.counts.base(crate::Base::Sends);
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
