//! The incidents of a generated world, which are also its labels.

use simulator::random::Random;

use crate::distributions::Distributions as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IncidentType {
    ProviderBlock,
    ProviderDeferral,
    BadList,
    ComplaintBurst,
    VolumeDrop,
    VolumeSpike,
    OpenOutage,
    Latency,
    SlowDecline,
    /// Bounces of one recurring campaign.
    CampaignBounces,
    /// Opens of one recurring campaign are missing.
    CampaignOpens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    Small,
    Medium,
    Large,
}

#[derive(Clone, Debug)]
pub struct LabelledIncident {
    pub kind: IncidentType,
    pub size: Size,
    /// None for all tenants.
    pub tenant: Option<usize>,
    pub provider: Option<usize>,
    /// The recurring campaign it happens to; none for all mail.
    pub recurring_campaign: Option<usize>,
    /// First bucket, and first bucket after the end.
    pub start: usize,
    pub end: usize,
    /// The share of mail it happens to, or the factor by which a value changes.
    pub amount: f64,
    /// Log-likelihood ratio of the counts with the incident against those without, computed from the true rates.
    pub log_likelihood_ratio: f64,
}

impl LabelledIncident {
    /// Whether mail is affected. `stream` is the number of the recurring campaign; none for other mail.
    pub fn touches(&self, tenant: usize, provider: usize, stream: Option<usize>, bucket: usize) -> bool {
        (self.start..self.end).contains(&bucket)
            && self.recurring_campaign.is_none_or(|one| Some(one) == stream)
            && self.tenant.is_none_or(|one| one == tenant)
            && self.provider.is_none_or(|one| one == provider)
    }
}

pub struct IncidentPlan {
    pub tenants: usize,
    pub providers: usize,
    pub warm_up: usize,
    pub buckets: usize,
    pub buckets_per_day: usize,
    /// Recurring campaigns per tenant.
    pub recurring: usize,
}

/// Incidents after the warm-up that do not overlap within a tenant.
pub fn plan(random: &mut Random, plan: &IncidentPlan, campaigns: bool) -> Vec<LabelledIncident> {
    let mut incidents: Vec<LabelledIncident> = Vec::new();
    let hour = plan.buckets_per_day / 24;
    let mut kinds = vec![
        IncidentType::ProviderBlock,
        IncidentType::ProviderBlock,
        IncidentType::ProviderDeferral,
        IncidentType::BadList,
        IncidentType::BadList,
        IncidentType::ComplaintBurst,
        IncidentType::ComplaintBurst,
        IncidentType::VolumeDrop,
        IncidentType::VolumeDrop,
        IncidentType::VolumeSpike,
        IncidentType::OpenOutage,
        IncidentType::Latency,
        IncidentType::SlowDecline,
    ];
    if plan.recurring > 0 {
        kinds.extend([
            IncidentType::CampaignBounces,
            IncidentType::CampaignBounces,
            IncidentType::CampaignOpens,
        ]);
    }
    for round in 0..36 {
        let kind = kinds[round % kinds.len()];
        if kind == IncidentType::VolumeSpike && !campaigns {
            continue;
        }
        let size = [Size::Small, Size::Medium, Size::Large][random.index(3)];
        let step = size as usize;
        let everyone = matches!(
            kind,
            IncidentType::ProviderBlock | IncidentType::ProviderDeferral | IncidentType::OpenOutage
        ) && random.happens(0.25);
        // Incidents of small tenants are hard to find, so tenants of all sizes have some.
        let tenant = (!everyone).then(|| (plan.tenants as f64 * random.unit().powf(1.3)) as usize);
        let one_provider = match kind {
            IncidentType::ProviderBlock | IncidentType::ProviderDeferral => true,
            IncidentType::Latency => random.happens(0.5),
            _ => false,
        };
        let provider = one_provider.then(|| random.index(plan.providers.min(5)));
        let one_campaign = matches!(kind, IncidentType::CampaignBounces | IncidentType::CampaignOpens);
        let recurring_campaign = one_campaign.then(|| random.index(plan.recurring));
        let hours = match kind {
            IncidentType::SlowDecline => 21.0 * 24.0,
            IncidentType::BadList | IncidentType::ComplaintBurst => random.between(2.0, 12.0),
            _ => random.between(1.0, 8.0),
        };
        let amount = match kind {
            IncidentType::ProviderBlock => random.between([0.15, 0.35, 0.6][step], [0.35, 0.6, 0.95][step]),
            IncidentType::ProviderDeferral => random.between([0.2, 0.4, 0.6][step], [0.4, 0.6, 0.95][step]),
            IncidentType::BadList => random.between([0.03, 0.08, 0.15][step], [0.08, 0.15, 0.35][step]),
            IncidentType::ComplaintBurst => {
                random.between([0.002, 0.005, 0.01][step], [0.005, 0.01, 0.03][step])
            }
            IncidentType::VolumeDrop => {
                random.between([0.7, 0.85, 1.0][step], [0.85, 1.0, 1.01][step]).min(1.0)
            }
            IncidentType::VolumeSpike => random.between([3.5, 5.0, 9.0][step], [5.0, 9.0, 25.0][step]),
            IncidentType::OpenOutage => random.between([0.6, 0.8, 0.95][step], [0.8, 0.95, 1.0][step]),
            IncidentType::Latency => random.between([4.0, 7.0, 12.0][step], [7.0, 12.0, 30.0][step]),
            IncidentType::SlowDecline => random.between(0.05, 0.1),
            IncidentType::CampaignBounces => random.between([0.08, 0.2, 0.4][step], [0.2, 0.4, 0.9][step]),
            IncidentType::CampaignOpens => random.between([0.6, 0.8, 0.95][step], [0.8, 0.95, 1.0][step]),
        };
        let length = (hours * hour as f64) as usize;
        let last = plan.buckets.saturating_sub(length + hour);
        if last <= plan.warm_up {
            continue;
        }
        // A full world has no room for every incident; one that finds none is left out.
        for _ in 0..20 {
            let start = plan.warm_up + random.index(last - plan.warm_up);
            let end = start + length;
            // Incidents of a tenant keep apart, so that an alert can be matched with one of them.
            let gap = 12 * hour;
            let slow = kind == IncidentType::SlowDecline;
            let clash = incidents.iter().any(|other| {
                let same = other.tenant.is_none() || tenant.is_none() || other.tenant == tenant;
                let either_slow = slow || other.kind == IncidentType::SlowDecline;
                // A decline lasts for weeks, so shorter incidents may fall into it; two declines of one tenant may not.
                let apart = either_slow && other.kind != kind;
                same && !apart && start < other.end + gap && other.start < end + gap
            });
            if !clash {
                incidents.push(LabelledIncident {
                    kind,
                    size,
                    tenant,
                    provider,
                    recurring_campaign,
                    start,
                    end,
                    amount,
                    log_likelihood_ratio: 0.0,
                });
                break;
            }
        }
    }
    incidents
}
