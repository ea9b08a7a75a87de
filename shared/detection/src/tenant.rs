//! One tenant: its whole, its providers, its volume, its limits and the campaigns that may explain trouble.
//!
//! All state of a tenant is here, so that it can be stored and loaded as one item and tenants can be shared out over runs. Must
//! stay small: providers and campaigns are bounded, what is beyond them counts for the whole only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::baseline::Season;
use crate::budget::Account;
use crate::counts::{Counts, METRICS};
use crate::decline::Decline;
use crate::evidence::narrow;
use crate::exposure::Kernel;
use crate::latency::Latency;
use crate::limits::{Times, Told, Windows};
use crate::node::{Context, DECLINES, Lean, Node};
use crate::observe::Row;
use crate::regulars::Regulars;
use crate::rules::{Limits, MAX_PLACES, Place, Rules};
use crate::volume::{Around, Bursts, Volume};

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
pub struct Campaign {
    /// Its name.
    pub name: String,
    /// Recent events per metric.
    pub events: [f32; METRICS],
    /// Recent sends and deliveries.
    pub base: [f32; 2],
}

/// Everything known about a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// All its mail.
    pub whole: Node,
    /// Its mail at each provider, by name.
    pub providers: Vec<(String, Node)>,
    season: Box<[Season; METRICS]>,
    /// Its volume.
    pub volume: Box<Volume>,
    steady: f32,
    others: f32,
    watches_steady: bool,
    /// What its limits are held against, and those of parts of its mail.
    pub windows: Windows,
    /// Parts of its mail with limits of their own.
    pub places: Vec<(Place, Windows)>,
    /// Its recent campaigns.
    pub campaigns: Vec<Campaign>,
    /// Those with a series of their own.
    pub regulars: Regulars,
    /// Mail waiting.
    pub queue: Latency,
    /// Its part in the account's reputation.
    pub(crate) account: Account,
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
    pub rows: Vec<&'a Row<'a>>,
}

/// The limits of a tenant.
pub struct Bounds {
    /// Of all its mail.
    pub whole: Limits,
    /// Of parts of it.
    pub places: Vec<(Place, Limits)>,
}

impl Bounds {
    /// As the rules have them.
    pub fn of(rules: &Rules, tenant: &str) -> Self {
        Self { whole: rules.limits_of(tenant), places: rules.places_of(tenant) }
    }
}

/// What a tenant leans on.
pub struct Platform<'a> {
    /// Rates of all mail.
    pub rates: &'a [f64; METRICS],
    /// Seasonal factors of all mail.
    pub season: &'a [f64; METRICS],
    /// Each provider's rates and suspicions.
    pub providers: &'a BTreeMap<&'a str, ([f64; METRICS], [bool; METRICS])>,
    /// The drop of volume that all tenants share.
    pub common: f64,
    /// Whether anybody names campaigns.
    pub tags_in_use: bool,
    /// Whether all tenants are silent, as they usually are at this time.
    pub all_silent: bool,
}

impl Tenant {
    /// A tenant first seen in this minute.
    pub fn new(now: u32) -> Self {
        Self {
            whole: Node::new(now, true),
            providers: Vec::new(),
            season: Box::default(),
            volume: Box::new(Volume::new(now)),
            steady: 0.0,
            others: 0.0,
            watches_steady: true,
            windows: Windows::new(now),
            places: Vec::new(),
            campaigns: Vec::new(),
            regulars: Regulars::default(),
            queue: Latency::default(),
            account: Account::default(),
        }
    }

    /// Judges a bucket and learns from it.
    pub fn step(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &Context<'_>,
        platform: &Platform<'_>,
        alerting: Alerting,
        learned: &mut [Kernel; METRICS],
    ) {
        let mut season = *platform.season;
        for (factor, own) in season.iter_mut().zip(self.season.iter()) {
            *factor = own.factor(context.now, *factor);
        }
        let rates = self.whole.rates(platform.rates);
        let absent = counts.whole == Counts::default();
        let lean = Lean {
            rates: *platform.rates,
            season,
            suspicious: [false; METRICS],
            slow: alerting.latency,
            absent,
        };
        let judged = self.whole.step(&counts.whole, context, &lean);
        let of_the_whole = Lean { rates, suspicious: self.whole.suspicious(), ..lean };
        self.regulars.step(&counts.campaigns, context, &of_the_whole);
        self.whole.teach(&judged, &rates, learned);
        self.whole.teach_seasons(&judged, context.now, &mut self.season);
        self.step_providers(counts, context, platform, &rates, &season, alerting);
        self.step_volume(counts, context, platform, alerting);
        self.note_campaigns(counts, context.bucket);
        self.account.add(&counts.whole, context.bucket);
        if let Some(depth) = counts.whole.queue_depth {
            // A depth is one reading, worth as much as some deliveries; small queues are alike.
            let sum = (depth.max(0.0) + 20.0).ln() * 30.0;
            self.queue.step(sum, 30.0, context.now, context.bucket, context.threshold, alerting.queue);
        }
    }

    /// Adds a bucket to what limits are held against.
    pub fn watch_limits(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &Context<'_>,
        bounds: &Bounds,
        told: Told,
    ) {
        let whole = times(counts.rows.iter().copied(), &bounds.whole);
        self.windows.add(&counts.whole, whole, told, context);
        self.places.retain(|(place, _)| bounds.places.iter().any(|(known, _)| known == place));
        for (place, limits) in &bounds.places {
            let rows = || counts.rows.iter().copied().filter(|row| place.holds(row.provider, row.campaign));
            let known = self.places.iter().position(|(known, _)| known == place);
            let position = match known {
                Some(position) => position,
                None if rows().next().is_some() && self.places.len() < MAX_PLACES => {
                    self.places.push((place.clone(), Windows::new(context.now)));
                    self.places.len() - 1
                }
                None => continue,
            };
            let mut sum = Counts::default();
            rows().for_each(|row| sum.add(&row.counts));
            if let Some((_, windows)) = self.places.get_mut(position) {
                windows.add(&sum, times(rows(), limits), told, context);
            }
        }
    }

    fn step_providers(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &Context<'_>,
        platform: &Platform<'_>,
        rates: &[f64; METRICS],
        season: &[f64; METRICS],
        alerting: Alerting,
    ) {
        for (name, _) in &counts.providers {
            if self.providers.len() < MAX_PROVIDERS
                && name.len() <= MAX_NAME
                && !self.providers.iter().any(|(known, _)| known == name)
            {
                self.providers.push(((*name).to_owned(), Node::new(context.now, false)));
            }
        }
        let suspicious = self.whole.suspicious();
        let absent = counts.whole == Counts::default();
        for (name, node) in &mut self.providers {
            let counts = counts_of(name, &counts.providers);
            let mut lean =
                Lean { rates: *rates, season: *season, suspicious, slow: alerting.latency, absent };
            if let Some((provider, doubted)) = platform.providers.get(name.as_str()) {
                for (((rate, provider), all), (suspicious, doubted)) in lean
                    .rates
                    .iter_mut()
                    .zip(provider)
                    .zip(platform.rates)
                    .zip(lean.suspicious.iter_mut().zip(doubted))
                {
                    *rate *= (provider / all.max(1e-9)).clamp(0.02, 20.0);
                    *suspicious |= doubted;
                }
                // A tenant's share of deliveries cannot pass 1.
                if let Some(delivery) = lean.rates.get_mut(crate::Metric::Delivery as usize) {
                    *delivery = delivery.min(1.0);
                }
            }
            node.step(&counts, context, &lean);
        }
    }

    fn step_volume(
        &mut self,
        counts: &TenantCounts<'_>,
        context: &Context<'_>,
        platform: &Platform<'_>,
        alerting: Alerting,
    ) {
        let all = counts.whole.base(crate::Base::Sends);
        let steady = counts.untagged + self.regulars.mail(&counts.campaigns);
        self.steady += narrow(steady);
        self.others += narrow(all - steady.min(all));
        let seen = if self.watches_steady { steady } else { all };
        let bursts = match (self.watches_steady, platform.tags_in_use) {
            (true, true) => Bursts::LeftOut,
            (true, false) => Bursts::Unknown,
            (false, _) => Bursts::All,
        };
        let around = Around {
            common: platform.common,
            bursts,
            alerting: alerting.volume,
            all_silent: platform.all_silent,
        };
        self.volume.step(seen, context.now, context.bucket, context.threshold, &around);
    }

    fn note_campaigns(&mut self, counts: &TenantCounts<'_>, bucket: u32) {
        let fade = narrow((-f64::from(bucket) / 120.0).exp());
        for campaign in &mut self.campaigns {
            for value in campaign.events.iter_mut().chain(&mut campaign.base) {
                *value *= fade;
            }
        }
        self.campaigns
            .retain(|campaign| campaign.events.iter().chain(&campaign.base).any(|&value| value > 0.1));
        for (name, counts) in &counts.campaigns {
            let known = self.campaigns.iter().position(|campaign| campaign.name == *name);
            let position = match known {
                Some(position) => position,
                None if self.campaigns.len() < MAX_CAMPAIGNS && name.len() <= MAX_NAME => {
                    let campaign =
                        Campaign { name: (*name).to_owned(), events: [0.0; METRICS], base: [0.0; 2] };
                    self.campaigns.push(campaign);
                    self.campaigns.len() - 1
                }
                None => continue,
            };
            let Some(campaign) = self.campaigns.get_mut(position) else { continue };
            for (value, metric) in campaign.events.iter_mut().zip(crate::Metric::ALL) {
                *value += narrow(counts.of(metric));
            }
            for (value, base) in
                campaign.base.iter_mut().zip([counts.base(crate::Base::Sends), counts.deliveries])
            {
                *value += narrow(base);
            }
        }
    }

    /// Closes an hour.
    pub fn close_hour(&mut self, now: u32) {
        self.whole.close_hour();
        for season in self.season.iter_mut() {
            season.close_hour();
        }
        for (_, node) in &mut self.providers {
            node.close_hour();
        }
        self.regulars.close_hour();
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
            *self.volume = Volume::new(now);
        }
        self.steady *= 0.5;
        self.others *= 0.5;
    }

    /// Ends a day: lines are fitted anew.
    pub fn close_day(&mut self, now: u32, buckets_a_day: f64) {
        look(&mut self.whole);
        let more = self.regulars.close_day(now, buckets_a_day);
        if self.watches_steady && more > MUCH * self.volume.a_day(buckets_a_day) {
            *self.volume = Volume::new(now);
        }
        self.queue.close_day();
        self.volume.close_day();
        for (_, node) in &mut self.providers {
            if node.declines.is_none() && node.sends_a_day(buckets_a_day) > 100.0 {
                node.declines = Some(Box::default());
            }
            look(node);
        }
    }
}

/// What a list has of a name; nothing if it is not in it.
pub(crate) fn counts_of(name: &str, list: &[(&str, Counts)]) -> Counts {
    list.iter().find(|(known, _)| *known == name).map_or_else(Counts::default, |(_, counts)| *counts)
}

/// Delivery times against their limit, if there is one.
fn times<'a>(rows: impl Iterator<Item = &'a Row<'a>>, limits: &Limits) -> Times {
    let mut times = Times::default();
    if let Some(limit) = limits.delivery_ms_p95 {
        for (row, spread) in rows.filter_map(|row| row.times.map(|spread| (row, spread))) {
            times.add(spread, row.counts.deliveries, limit);
        }
    }
    times
}

/// Which alerts of a tenant are open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alerting {
    /// On delivery time.
    pub latency: bool,
    /// On volume.
    pub volume: bool,
    /// On the queue.
    pub queue: bool,
    /// On what limits watch too.
    pub told: Told,
}

/// Ends a day of a series and looks for a decline.
pub(crate) fn look(node: &mut Node) {
    node.latency.close_day();
    let Some(declines) = &mut node.declines else { return };
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
pub(crate) fn declines(node: &Node) -> impl Iterator<Item = (usize, &Decline)> {
    node.declines.iter().flat_map(|declines| declines.iter().enumerate())
}
