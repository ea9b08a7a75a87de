//! The state of one tenant: all its mail, its providers, its volume, its limits, and the campaigns that may explain trouble.
//!
//! All state of a tenant is here, so it can be stored and loaded as one item and tenants can be distributed over runs. It must stay
//! small: providers and campaigns are bounded, and mail beyond the bounds counts only towards all mail.

use std::collections::BTreeMap;

use event::{Hour, Minute};
use serde::{Deserialize, Serialize};

use crate::baseline::SeasonalFactors;
use crate::budget::AccountReputation;
use crate::counts::{Counts, Denominator, MonitoredRate};
use crate::cusum::to_f32;
use crate::detector::BucketRow;
use crate::latency::LatencyMonitor;
use crate::limit_monitor::{AlertCoverage, LimitWindows, SlowDeliveries};
use crate::minutes::{HOURS_PER_DAY, HOURS_PER_WEEK, MINUTES_PER_HOUR};
use crate::outcome_delay::DelayKernel;
use crate::per_rate::{PerDenominator, PerRate};
use crate::recurring::RecurringCampaigns;
use crate::rules::{AlertRules, Limits, MAX_SUBSETS, MailSubset};
use crate::series_monitor::{BucketContext, SeriesMonitor, SeriesPrior};
use crate::volume::{BurstHandling, VolumeContext, VolumeMonitor};

/// Providers that are monitored per tenant. Mail platforms distinguish about a dozen.
pub const MAX_PROVIDERS: usize = 32;
/// Campaigns of the last hours that are remembered per tenant.
pub const MAX_CAMPAIGNS: usize = 64;
/// Longest name of a campaign or provider that gets state of its own, in bytes. Senders choose these names.
pub(crate) const MAX_NAME_BYTES: usize = 256;
/// Steady mail (without a campaign, or of a recurring one) is monitored alone if it is more than this share of the mail, because other
/// campaigns come and go by design.
const STEADY_SHARE: f32 = 0.15;
/// If newly recognised recurring campaigns add more than this share to the steady mail, its volume is learned anew.
const MUCH_MORE_STEADY: f64 = 0.5;
/// Series of a provider are monitored for slow changes from this many messages per day on.
const MIN_DAILY_MAIL_FOR_DECLINES: f64 = 100.0;
/// Time constant of the recent counts of campaigns, in minutes.
const CAMPAIGN_MEMORY_MINUTES: f64 = 120.0;
/// Added to a queue depth before its logarithm is taken, so that small queues are alike.
pub(crate) const QUEUE_OFFSET: f64 = 20.0;
/// The number of deliveries that one reading of a queue depth counts for.
const QUEUE_READING_WEIGHT: f64 = 30.0;
/// A tenant's rate at a provider differs from its overall rate at most by these factors because of the provider.
const PROVIDER_FACTOR_RANGE: (f64, f64) = (0.02, 20.0);

/// Recent counts of a campaign, decayed with a time constant of two hours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecentCampaign {
    pub name: String,
    /// Recent events per metric.
    pub events: PerRate<f32>,
    /// Recent sends and deliveries.
    pub mail: PerDenominator<f32>,
}

/// Everything that detection knows about a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantState {
    /// All mail of the tenant.
    pub all_mail: SeriesMonitor,
    /// Its mail at each provider, by the provider's name.
    pub providers: Vec<(String, SeriesMonitor)>,
    season: Box<PerRate<SeasonalFactors>>,
    /// How much mail it sends.
    pub volume: Box<VolumeMonitor>,
    /// Decayed steady and other mail, from which it is decided what volume is monitored.
    steady_mail: f32,
    other_mail: f32,
    /// Whether the volume is that of steady mail alone.
    monitors_steady_mail: bool,
    /// The windows over which its limits are evaluated.
    pub limit_windows: LimitWindows,
    /// The same for the subsets of its mail that have limits of their own.
    pub subsets: Vec<(MailSubset, LimitWindows)>,
    /// The campaigns of about the last two hours, which may explain trouble of the tenant.
    pub campaigns: Vec<RecentCampaign>,
    /// Its recurring campaigns, which are monitored as series.
    pub recurring: RecurringCampaigns,
    /// Queue depth, monitored like a delivery time.
    pub queue: LatencyMonitor,
    /// What it contributes to the account's reputation.
    pub(crate) reputation: AccountReputation,
}

/// The counts of one tenant in one bucket.
#[derive(Clone, Debug, Default)]
pub struct TenantCounts<'a> {
    pub all_mail: Counts,
    pub providers: Vec<(&'a str, Counts)>,
    pub campaigns: Vec<(&'a str, Counts)>,
    /// Sends without a campaign.
    pub untagged: f64,
    /// The rows that all of these are sums of.
    pub rows: Vec<&'a BucketRow<'a>>,
}

/// The limits of a tenant under the present rules.
pub struct TenantLimits {
    /// Limits of all its mail.
    pub all_mail: Limits,
    /// Limits of subsets of it.
    pub subsets: Vec<(MailSubset, Limits)>,
}

impl TenantLimits {
    /// Looks up the limits of `tenant`.
    pub fn of(rules: &AlertRules, tenant: &str) -> Self {
        Self { all_mail: rules.limits_of(tenant), subsets: rules.subset_limits(tenant) }
    }
}

/// The rates of a provider over all tenants, and which of them are suspected.
pub struct ProviderContext {
    pub rates: PerRate<f64>,
    /// Whether a rate is suspected.
    pub suspected: PerRate<bool>,
}

/// What is known over all tenants when a tenant is evaluated.
pub struct PlatformContext<'a> {
    /// Rates of all mail.
    pub rates: &'a PerRate<f64>,
    /// Seasonal factors of all mail.
    pub season: &'a PerRate<f64>,
    pub providers: &'a BTreeMap<&'a str, ProviderContext>,
    /// The factor by which the mail of most tenants has dropped; 1 for no drop.
    pub common_drop: f64,
    /// Whether any tenant names campaigns.
    pub uses_campaigns: bool,
    /// Whether all tenants are silent, as they usually are at this time.
    pub all_usually_silent: bool,
}

/// Which alerts of a tenant are open.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAnomalies {
    pub latency: bool,
    pub volume: bool,
    pub queue: bool,
    /// On what limits cover as well.
    pub coverage: AlertCoverage,
}

impl TenantState {
    /// A tenant that was first counted in the minute `now`.
    pub fn new(now: Minute) -> Self {
        Self {
            all_mail: SeriesMonitor::new(now, true),
            providers: Vec::new(),
            season: Box::default(),
            volume: Box::new(VolumeMonitor::new(now)),
            steady_mail: 0.0,
            other_mail: 0.0,
            monitors_steady_mail: true,
            limit_windows: LimitWindows::new(now),
            subsets: Vec::new(),
            campaigns: Vec::new(),
            recurring: RecurringCampaigns::default(),
            queue: LatencyMonitor::default(),
            reputation: AccountReputation::default(),
        }
    }

    /// Evaluates a bucket and learns from it. `kernels` learn as well, but the bucket is evaluated with those of the context.
    pub fn evaluate(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &BucketContext<'_>,
        platform: &PlatformContext<'_>,
        open_alerts: OpenAnomalies,
        kernels: &mut PerRate<DelayKernel>,
    ) {
        let season =
            PerRate::from_fn(|metric| self.season[metric].factor(context.now, platform.season[metric]));
        let rates = self.all_mail.rates(platform.rates);
        let prior = SeriesPrior {
            rates: *platform.rates,
            season,
            suspected: PerRate::default(),
            is_latency_alert_open: open_alerts.latency,
            has_no_counts: counts.all_mail == Counts::default(),
        };
        let evaluations = self.all_mail.evaluate(&counts.all_mail, context, &prior);
        // Parts of the tenant have the tenant as their parent.
        let prior = SeriesPrior { rates, suspected: self.all_mail.suspected(), ..prior };
        self.recurring.evaluate(&counts.campaigns, context, &prior);
        self.all_mail.train_kernels(&evaluations, &rates, kernels);
        self.all_mail.train_seasons(&evaluations, context.now, &mut self.season);
        self.evaluate_providers(counts, context, platform, &prior);
        self.evaluate_volume(counts, context, platform, open_alerts);
        self.note_campaigns(counts, context.bucket_minutes);
        self.reputation.add(&counts.all_mail, context.bucket_minutes, context.decay);
        if let Some(depth) = counts.all_mail.queue_depth {
            let sum = (depth.max(0.0) + QUEUE_OFFSET).ln() * QUEUE_READING_WEIGHT;
            self.queue.add(sum, QUEUE_READING_WEIGHT, context, open_alerts.queue);
        }
    }

    /// Adds a bucket to the windows over which limits are evaluated. Subsets that have lost their limits are forgotten.
    pub fn add_to_limit_windows(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &BucketContext<'_>,
        limits: &TenantLimits,
        coverage: AlertCoverage,
    ) {
        let slow = slow_deliveries(counts.rows.iter().copied(), &limits.all_mail);
        self.limit_windows.add(&counts.all_mail, slow, coverage, context);
        // Otherwise each change of the rules would leave windows behind, and state must stay bounded.
        self.subsets.retain(|(subset, _)| limits.subsets.iter().any(|(known, _)| known == subset));
        for (subset, limits) in &limits.subsets {
            let rows =
                || counts.rows.iter().copied().filter(|row| subset.contains(row.provider, row.campaign));
            let is_known = self.subsets.iter().any(|(known, _)| known == subset);
            if !is_known && rows().next().is_some() && self.subsets.len() < MAX_SUBSETS {
                self.subsets.push((subset.clone(), LimitWindows::new(context.now)));
            }
            let known = self.subsets.iter_mut().find(|(known, _)| known == subset);
            let Some((_, windows)) = known else { continue };
            let mut sum = Counts::default();
            rows().for_each(|row| sum.add(&row.counts));
            windows.add(&sum, slow_deliveries(rows(), limits), coverage, context);
        }
    }

    /// Evaluates each provider. `prior` is that of a part of the tenant.
    fn evaluate_providers(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &BucketContext<'_>,
        platform: &PlatformContext<'_>,
        prior: &SeriesPrior,
    ) {
        for (name, _) in &counts.providers {
            if self.providers.len() < MAX_PROVIDERS
                && name.len() <= MAX_NAME_BYTES
                && !self.providers.iter().any(|(known, _)| known == name)
            {
                self.providers.push(((*name).to_owned(), SeriesMonitor::new(context.now, false)));
            }
        }
        for (name, monitor) in &mut self.providers {
            let mut prior = *prior;
            if let Some(provider) = platform.providers.get(name.as_str()) {
                for metric in MonitoredRate::ALL {
                    // A provider's effect is a factor on the tenant's own rate, so mail to a provider that is new to a tenant starts near
                    // its true rate.
                    let factor = provider.rates[metric] / platform.rates[metric].max(1e-9);
                    prior.rates[metric] *= factor.clamp(PROVIDER_FACTOR_RANGE.0, PROVIDER_FACTOR_RANGE.1);
                    prior.suspected[metric] |= provider.suspected[metric];
                }
                // No more than all mail can be delivered.
                prior.rates[MonitoredRate::Delivery] = prior.rates[MonitoredRate::Delivery].min(1.0);
            }
            monitor.evaluate(&counts_of(name, &counts.providers), context, &prior);
        }
    }

    fn evaluate_volume(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &BucketContext<'_>,
        platform: &PlatformContext<'_>,
        open_alerts: OpenAnomalies,
    ) {
        let all = counts.all_mail.denominator(Denominator::Sends);
        // Bursts come and go by design. A drop can be seen only in mail that is sent all the time.
        let steady = counts.untagged + self.recurring.sends(&counts.campaigns);
        self.steady_mail += to_f32(steady);
        self.other_mail += to_f32(all - steady.min(all));
        let observed = if self.monitors_steady_mail { steady } else { all };
        let bursts = match (self.monitors_steady_mail, platform.uses_campaigns) {
            (true, true) => BurstHandling::Excluded,
            (true, false) => BurstHandling::Unknown,
            (false, _) => BurstHandling::Dominant,
        };
        let volume_context = VolumeContext {
            common_drop: platform.common_drop,
            bursts,
            is_alert_open: open_alerts.volume,
            all_usually_silent: platform.all_usually_silent,
        };
        self.volume.add(observed, context, &volume_context);
    }

    fn note_campaigns(&mut self, counts: &TenantCounts<'_>, bucket_minutes: u32) {
        let keep = to_f32((-f64::from(bucket_minutes) / CAMPAIGN_MEMORY_MINUTES).exp());
        self.campaigns.iter_mut().for_each(|campaign| campaign.decay(keep));
        self.campaigns.retain(RecentCampaign::is_recent);
        for (name, counts) in &counts.campaigns {
            let is_known = self.campaigns.iter().any(|campaign| campaign.name == *name);
            if !is_known && self.campaigns.len() < MAX_CAMPAIGNS && name.len() <= MAX_NAME_BYTES {
                self.campaigns.push(RecentCampaign {
                    name: (*name).to_owned(),
                    events: PerRate::default(),
                    mail: PerDenominator::default(),
                });
            }
            if let Some(campaign) = self.campaigns.iter_mut().find(|campaign| campaign.name == *name) {
                campaign.add(counts);
            }
        }
    }

    /// Closes the hour before `now`.
    pub fn close_hour(&mut self, now: Minute) {
        self.all_mail.close_hour();
        self.season.values_mut().for_each(SeasonalFactors::close_hour);
        for (_, monitor) in &mut self.providers {
            monitor.close_hour();
        }
        self.recurring.close_hour();
        self.volume.close_hour(now);
        self.choose_monitored_volume(now);
    }

    /// Decides whether steady mail is monitored alone: once a day until there is a week of history, then once a week.
    fn choose_monitored_volume(&mut self, now: Minute) {
        let Hour(hour) = now.hour();
        let age_hours = self.all_mail.age_minutes(now) / MINUTES_PER_HOUR;
        let interval = if age_hours < HOURS_PER_WEEK { HOURS_PER_DAY } else { HOURS_PER_WEEK };
        if !hour.is_multiple_of(interval) {
            return;
        }
        // Decided rarely, because each change of what is monitored starts learning again.
        let is_steady = self.steady_mail > STEADY_SHARE * (self.steady_mail + self.other_mail);
        if is_steady != self.monitors_steady_mail && self.other_mail > 0.0 {
            // What was learned is the level of other mail, so learning starts again.
            self.monitors_steady_mail = is_steady;
            *self.volume = VolumeMonitor::new(now);
        }
        // Halved and not cleared, so that one odd week does not decide alone.
        self.steady_mail *= 0.5;
        self.other_mail *= 0.5;
    }

    /// Ends the day before `now`: looks for slow changes, and recognises recurring campaigns.
    pub fn close_day(&mut self, now: Minute, buckets_per_day: f64) {
        self.all_mail.close_day();
        let more_steady = self.recurring.close_day(now, buckets_per_day);
        if self.monitors_steady_mail
            && more_steady > MUCH_MORE_STEADY * self.volume.messages_per_day(buckets_per_day)
        {
            *self.volume = VolumeMonitor::new(now);
        }
        self.queue.close_day();
        self.volume.close_day();
        for (_, monitor) in &mut self.providers {
            if monitor.declines.is_none()
                && monitor.sends_per_day(buckets_per_day) > MIN_DAILY_MAIL_FOR_DECLINES
            {
                monitor.declines = Some(Box::default());
            }
            monitor.close_day();
        }
    }
}

impl RecentCampaign {
    fn decay(&mut self, keep: f32) {
        let PerDenominator { sends, deliveries } = &mut self.mail;
        for value in self.events.values_mut().chain([sends, deliveries]) {
            *value *= keep;
        }
    }

    fn is_recent(&self) -> bool {
        self.events.values().chain(self.mail.values()).any(|&value| value > 0.1)
    }

    fn add(&mut self, counts: &Counts) {
        for metric in MonitoredRate::ALL {
            self.events[metric] += to_f32(counts.events(metric));
        }
        self.mail.sends += to_f32(counts.denominator(Denominator::Sends));
        self.mail.deliveries += to_f32(counts.deliveries);
    }
}

/// The counts of `name` in a list; zero if it is not in the list.
pub(crate) fn counts_of(name: &str, list: &[(&str, Counts)]) -> Counts {
    list.iter().find(|(known, _)| *known == name).map_or_else(Counts::default, |(_, counts)| *counts)
}

/// Delivery times compared with their limit, if there is one.
fn slow_deliveries<'a>(rows: impl Iterator<Item = &'a BucketRow<'a>>, limits: &Limits) -> SlowDeliveries {
    let mut slow = SlowDeliveries::default();
    if let Some(limit_ms) = limits.delivery_ms_p95 {
        for (row, times) in rows.filter_map(|row| row.times.map(|times| (row, times))) {
            slow.add(times, row.counts.deliveries, limit_ms);
        }
    }
    slow
}
