//! One tenant: its whole, its providers, its volume, its limits and the campaigns that may explain trouble.
//!
//! All state of a tenant is here, so that it can be stored and loaded as one item and tenants can be shared out over runs. Must
//! stay small: providers and campaigns are bounded, what is beyond them counts for the whole only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::baseline::SeasonalFactors;
use crate::budget::AccountReputation;
use crate::counts::{Counts, METRIC_COUNT};
use crate::cusum::to_f32;
use crate::decline::DeclineMonitor;
use crate::detector::CountsRow;
use crate::latency::LatencyMonitor;
use crate::limit_monitor::{AlertCoverage, LimitWindows, SlowDeliveries};
use crate::outcome_delay::DelayKernel;
use crate::recurring::RecurringCampaigns;
use crate::rules::{Limits, MAX_SUBSETS, MailSubset, Rules};
use crate::series_monitor::{BucketContext, DECLINES, SeriesMonitor, SeriesPrior};
use crate::volume::{BurstHandling, VolumeContext, VolumeMonitor};

/// Providers watched per tenant: mail platforms know about a dozen.
pub const MAX_PROVIDERS: usize = 32;
/// Campaigns remembered per tenant: those of the last hours.
pub const MAX_CAMPAIGNS: usize = 64;
/// Share of mail above which that without a campaign, or of one that is sent all day long, is watched alone: other campaigns come and go by design.
const STEADY_SHARE: f32 = 0.15;
/// So much more steady mail than there was, since a campaign became known to be steady: what was usual before says little then.
const MUCH: f64 = 0.5;
/// Bytes kept of a campaign's or provider's name: names are chosen by senders.
pub(crate) const MAX_NAME: usize = 128;

/// Recent counts of a campaign, decayed over two hours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecentCampaign {
    /// Its name.
    pub name: String,
    /// Recent events per metric.
    pub events: [f32; METRIC_COUNT],
    /// Recent sends and deliveries.
    pub denominator: [f32; 2],
}

/// Everything known about a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantState {
    /// All its mail.
    pub whole: SeriesMonitor,
    /// Its mail at each provider, by name.
    pub providers: Vec<(String, SeriesMonitor)>,
    season: Box<[SeasonalFactors; METRIC_COUNT]>,
    /// Its volume.
    pub volume: Box<VolumeMonitor>,
    steady: f32,
    others: f32,
    watches_steady: bool,
    /// What its limits are held against, and those of parts of its mail.
    pub windows: LimitWindows,
    /// Parts of its mail with limits of their own.
    pub subsets: Vec<(MailSubset, LimitWindows)>,
    /// Its recent campaigns.
    pub campaigns: Vec<RecentCampaign>,
    /// Those with a series of their own.
    pub recurring: RecurringCampaigns,
    /// Mail waiting.
    pub queue: LatencyMonitor,
    /// Its part in the account's reputation.
    pub(crate) account: AccountReputation,
}

/// The counts of one tenant in one bucket.
#[derive(Clone, Debug, Default)]
pub struct TenantCounts<'a> {
    /// All of them.
    pub whole: Counts,
    /// By provider.
    pub providers: Vec<(&'a str, Counts)>,
    /// By campaign.
    pub campaigns: Vec<(&'a str, Counts)>,
    /// Sends without a campaign.
    pub untagged: f64,
    /// The rows that all of these are sums of.
    pub rows: Vec<&'a CountsRow<'a>>,
}

/// The limits of a tenant.
pub struct TenantLimits {
    /// Of all its mail.
    pub whole: Limits,
    /// Of parts of it.
    pub subsets: Vec<(MailSubset, Limits)>,
}

impl TenantLimits {
    /// As the rules have them.
    pub fn of(rules: &Rules, tenant: &str) -> Self {
        Self { whole: rules.limits_of(tenant), subsets: rules.subset_limits(tenant) }
    }
}

/// What a tenant leans on.
pub struct PlatformContext<'a> {
    /// Rates of all mail.
    pub rates: &'a [f64; METRIC_COUNT],
    /// Seasonal factors of all mail.
    pub season: &'a [f64; METRIC_COUNT],
    /// Each provider's rates and suspicions.
    pub providers: &'a BTreeMap<&'a str, ([f64; METRIC_COUNT], [bool; METRIC_COUNT])>,
    /// The drop of volume that all tenants share.
    pub common: f64,
    /// Whether anybody names campaigns.
    pub tags_in_use: bool,
    /// Whether all tenants are silent, as they usually are at this time.
    pub all_silent: bool,
}

impl TenantState {
    /// A tenant first seen in this minute.
    pub fn new(now: u32) -> Self {
        Self {
            whole: SeriesMonitor::new(now, true),
            providers: Vec::new(),
            season: Box::default(),
            volume: Box::new(VolumeMonitor::new(now)),
            steady: 0.0,
            others: 0.0,
            watches_steady: true,
            windows: LimitWindows::new(now),
            subsets: Vec::new(),
            campaigns: Vec::new(),
            recurring: RecurringCampaigns::default(),
            queue: LatencyMonitor::default(),
            account: AccountReputation::default(),
        }
    }

    /// Judges a bucket and learns from it.
    pub fn step(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &BucketContext<'_>,
        platform: &PlatformContext<'_>,
        open_alerts: OpenAlerts,
        learned: &mut [DelayKernel; METRIC_COUNT],
    ) {
        let mut season = *platform.season;
        for (factor, own) in season.iter_mut().zip(self.season.iter()) {
            *factor = own.factor(context.now, *factor);
        }
        let rates = self.whole.rates(platform.rates);
        let absent = counts.whole == Counts::default();
        let prior = SeriesPrior {
            rates: *platform.rates,
            season,
            suspicious: [false; METRIC_COUNT],
            slow: open_alerts.latency,
            absent,
        };
        let evaluated = self.whole.step(&counts.whole, context, &prior);
        let of_the_whole = SeriesPrior { rates, suspicious: self.whole.suspicious(), ..prior };
        self.recurring.step(&counts.campaigns, context, &of_the_whole);
        self.whole.teach(&evaluated, &rates, learned);
        self.whole.teach_seasons(&evaluated, context.now, &mut self.season);
        self.step_providers(counts, context, platform, &rates, &season, open_alerts);
        self.step_volume(counts, context, platform, open_alerts);
        self.note_campaigns(counts, context.bucket);
        self.account.add(&counts.whole, context.bucket);
        if let Some(depth) = counts.whole.queue_depth {
            // A depth is one reading, worth as much as some deliveries; small queues are alike.
            let sum = (depth.max(0.0) + 20.0).ln() * 30.0;
            self.queue.step(sum, 30.0, context.now, context.bucket, context.threshold, open_alerts.queue);
        }
    }

    /// Adds a bucket to what limits are held against.
    pub fn watch_limits(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &BucketContext<'_>,
        tenant_limits: &TenantLimits,
        told: AlertCoverage,
    ) {
        let whole = times(counts.rows.iter().copied(), &tenant_limits.whole);
        self.windows.add(&counts.whole, whole, told, context);
        self.subsets.retain(|(place, _)| tenant_limits.subsets.iter().any(|(known, _)| known == place));
        for (place, limits) in &tenant_limits.subsets {
            let rows = || counts.rows.iter().copied().filter(|row| place.holds(row.provider, row.campaign));
            let known = self.subsets.iter().position(|(known, _)| known == place);
            let position = match known {
                Some(position) => position,
                None if rows().next().is_some() && self.subsets.len() < MAX_SUBSETS => {
                    self.subsets.push((place.clone(), LimitWindows::new(context.now)));
                    self.subsets.len() - 1
                }
                None => continue,
            };
            let mut sum = Counts::default();
            rows().for_each(|row| sum.add(&row.counts));
            if let Some((_, windows)) = self.subsets.get_mut(position) {
                windows.add(&sum, times(rows(), limits), told, context);
            }
        }
    }

    fn step_providers(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &BucketContext<'_>,
        platform: &PlatformContext<'_>,
        rates: &[f64; METRIC_COUNT],
        season: &[f64; METRIC_COUNT],
        open_alerts: OpenAlerts,
    ) {
        for (name, _) in &counts.providers {
            if self.providers.len() < MAX_PROVIDERS
                && name.len() <= MAX_NAME
                && !self.providers.iter().any(|(known, _)| known == name)
            {
                self.providers.push(((*name).to_owned(), SeriesMonitor::new(context.now, false)));
            }
        }
        let suspicious = self.whole.suspicious();
        let absent = counts.whole == Counts::default();
        for (name, monitor) in &mut self.providers {
            let counts = counts_of(name, &counts.providers);
            let mut prior =
                SeriesPrior { rates: *rates, season: *season, suspicious, slow: open_alerts.latency, absent };
            if let Some((provider, doubted)) = platform.providers.get(name.as_str()) {
                for (((rate, provider), all), (suspicious, doubted)) in prior
                    .rates
                    .iter_mut()
                    .zip(provider)
                    .zip(platform.rates)
                    .zip(prior.suspicious.iter_mut().zip(doubted))
                {
                    *rate *= (provider / all.max(1e-9)).clamp(0.02, 20.0);
                    *suspicious |= doubted;
                }
                // A tenant's share of deliveries cannot pass 1.
                if let Some(delivery) = prior.rates.get_mut(crate::Metric::Delivery as usize) {
                    *delivery = delivery.min(1.0);
                }
            }
            monitor.step(&counts, context, &prior);
        }
    }

    fn step_volume(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &BucketContext<'_>,
        platform: &PlatformContext<'_>,
        open_alerts: OpenAlerts,
    ) {
        let all = counts.whole.denominator(crate::Denominator::Sends);
        let steady = counts.untagged + self.recurring.mail(&counts.campaigns);
        self.steady += to_f32(steady);
        self.others += to_f32(all - steady.min(all));
        let observed = if self.watches_steady { steady } else { all };
        let bursts = match (self.watches_steady, platform.tags_in_use) {
            (true, true) => BurstHandling::Excluded,
            (true, false) => BurstHandling::Unknown,
            (false, _) => BurstHandling::Dominant,
        };
        let volume_context = VolumeContext {
            common: platform.common,
            bursts,
            is_alert_open: open_alerts.volume,
            all_silent: platform.all_silent,
        };
        self.volume.step(observed, context.now, context.bucket, context.threshold, &volume_context);
    }

    fn note_campaigns(&mut self, counts: &TenantCounts<'_>, bucket: u32) {
        let fade = to_f32((-f64::from(bucket) / 120.0).exp());
        for campaign in &mut self.campaigns {
            for value in campaign.events.iter_mut().chain(&mut campaign.denominator) {
                *value *= fade;
            }
        }
        self.campaigns
            .retain(|campaign| campaign.events.iter().chain(&campaign.denominator).any(|&value| value > 0.1));
        for (name, counts) in &counts.campaigns {
            let known = self.campaigns.iter().position(|campaign| campaign.name == *name);
            let position = match known {
                Some(position) => position,
                None if self.campaigns.len() < MAX_CAMPAIGNS && name.len() <= MAX_NAME => {
                    let campaign = RecentCampaign {
                        name: (*name).to_owned(),
                        events: [0.0; METRIC_COUNT],
                        denominator: [0.0; 2],
                    };
                    self.campaigns.push(campaign);
                    self.campaigns.len() - 1
                }
                None => continue,
            };
            let Some(campaign) = self.campaigns.get_mut(position) else { continue };
            for (value, metric) in campaign.events.iter_mut().zip(crate::Metric::ALL) {
                *value += to_f32(counts.of(metric));
            }
            for (value, denominator) in campaign
                .denominator
                .iter_mut()
                .zip([counts.denominator(crate::Denominator::Sends), counts.deliveries])
            {
                *value += to_f32(denominator);
            }
        }
    }

    /// Closes an hour.
    pub fn close_hour(&mut self, now: u32) {
        self.whole.close_hour();
        for season in self.season.iter_mut() {
            season.close_hour();
        }
        for (_, monitor) in &mut self.providers {
            monitor.close_hour();
        }
        self.recurring.close_hour();
        self.volume.close_hour(now);
        self.choose_steady(now);
    }

    /// Once a day until there is a week of history, then once a week.
    fn choose_steady(&mut self, now: u32) {
        let hour = now / 60;
        let age = self.whole.age(now) / 60;
        let due = if age < 168 { hour.is_multiple_of(24) } else { hour.is_multiple_of(168) };
        if !due {
            return;
        }
        let steady = self.steady > STEADY_SHARE * (self.steady + self.others);
        if steady != self.watches_steady && self.others > 0.0 {
            self.watches_steady = steady;
            *self.volume = VolumeMonitor::new(now);
        }
        self.steady *= 0.5;
        self.others *= 0.5;
    }

    /// Ends a day: lines are fitted anew.
    pub fn close_day(&mut self, now: u32, buckets_a_day: f64) {
        look(&mut self.whole);
        let more = self.recurring.close_day(now, buckets_a_day);
        if self.watches_steady && more > MUCH * self.volume.a_day(buckets_a_day) {
            *self.volume = VolumeMonitor::new(now);
        }
        self.queue.close_day();
        self.volume.close_day();
        for (_, monitor) in &mut self.providers {
            if monitor.declines.is_none() && monitor.sends_a_day(buckets_a_day) > 100.0 {
                monitor.declines = Some(Box::default());
            }
            look(monitor);
        }
    }
}

/// What a list has of a name; nothing if it is not in it.
pub(crate) fn counts_of(name: &str, list: &[(&str, Counts)]) -> Counts {
    list.iter().find(|(known, _)| *known == name).map_or_else(Counts::default, |(_, counts)| *counts)
}

/// Delivery times against their limit, if there is one.
fn times<'a>(rows: impl Iterator<Item = &'a CountsRow<'a>>, limits: &Limits) -> SlowDeliveries {
    let mut times = SlowDeliveries::default();
    if let Some(limit) = limits.delivery_ms_p95 {
        for (row, spread) in rows.filter_map(|row| row.times.map(|spread| (row, spread))) {
            times.add(spread, row.counts.deliveries, limit);
        }
    }
    times
}

/// Which alerts of a tenant are open.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAlerts {
    /// On delivery time.
    pub latency: bool,
    /// On volume.
    pub volume: bool,
    /// On the queue.
    pub queue: bool,
    /// On what limits watch too.
    pub told: AlertCoverage,
}

/// Ends a day of a series and looks for a decline.
pub(crate) fn look(monitor: &mut SeriesMonitor) {
    monitor.latency.close_day();
    let Some(declines) = &mut monitor.declines else { return };
    for (decline, metric) in declines.iter_mut().zip(DECLINES) {
        decline.close_day();
        decline.found = match metric {
            crate::Metric::Delivery => decline.look(true, |from, to| from - to >= 0.012),
            crate::Metric::Complaint => decline.look(false, |from, to| to >= 1.6 * from.max(0.0) + 0.0003),
            _ => decline.look(true, |from, to| to <= 0.75 * from && from - to >= 0.01),
        };
    }
}

/// Declines of a series, by the place of their metric in [`DECLINES`].
pub(crate) fn declines(monitor: &SeriesMonitor) -> impl Iterator<Item = (usize, &DeclineMonitor)> {
    monitor.declines.iter().flat_map(|declines| declines.iter().enumerate())
}
