//! What goes wrong in a made-up world, with its label.

use crate::random::Random;

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
    /// Bounces of one regular campaign.
    CampaignBounces,
    /// Opens of one regular campaign are not seen any more.
    CampaignOpens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    Small,
    Medium,
    Large,
}

#[derive(Clone, Debug)]
pub struct Incident {
    pub kind: IncidentType,
    pub size: Size,
    /// None: all tenants.
    pub tenant: Option<usize>,
    pub provider: Option<usize>,
    /// The regular campaign it happens to; none: all mail.
    pub regular: Option<usize>,
    /// In buckets.
    pub start: usize,
    pub end: usize,
    /// The part of mail it happens to, or the factor.
    pub amount: f64,
    /// Log likelihood ratio of what happened, given the truth.
    pub evidence: f64,
}

impl Incident {
    /// `stream` is the regular campaign, or none for other mail.
    pub fn touches(&self, tenant: usize, provider: usize, stream: Option<usize>, bucket: usize) -> bool {
        (self.start..self.end).contains(&bucket)
            && self.regular.is_none_or(|one| Some(one) == stream)
            && self.tenant.is_none_or(|one| one == tenant)
            && self.provider.is_none_or(|one| one == provider)
    }
}

pub struct Plan {
    pub tenants: usize,
    pub providers: usize,
    pub warm_up: usize,
    pub buckets: usize,
    pub a_day: usize,
    /// Regular campaigns a tenant.
    pub regulars: usize,
}

/// Incidents that do not overlap in a tenant, spread over the time after the warm-up.
pub fn plan(chance: &mut Random, plan: &Plan, campaigns: bool) -> Vec<Incident> {
    let mut incidents: Vec<Incident> = Vec::new();
    let hour = plan.a_day / 24;
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
    if plan.regulars > 0 {
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
        let size = [Size::Small, Size::Medium, Size::Large][chance.below(3)];
        let step = size as usize;
        let everyone = matches!(
            kind,
            IncidentType::ProviderBlock | IncidentType::ProviderDeferral | IncidentType::OpenOutage
        ) && chance.happens(0.25);
        // Incidents of tiny tenants are hard; of all sizes there are some.
        let tenant = (!everyone).then(|| (plan.tenants as f64 * chance.unit().powf(1.3)) as usize);
        let one_provider = match kind {
            IncidentType::ProviderBlock | IncidentType::ProviderDeferral => true,
            IncidentType::Latency => chance.happens(0.5),
            _ => false,
        };
        let provider = one_provider.then(|| chance.below(plan.providers.min(5)));
        let one_campaign = matches!(kind, IncidentType::CampaignBounces | IncidentType::CampaignOpens);
        let regular = one_campaign.then(|| chance.below(plan.regulars));
        let hours = match kind {
            IncidentType::SlowDecline => 21.0 * 24.0,
            IncidentType::BadList | IncidentType::ComplaintBurst => chance.between(2.0, 12.0),
            _ => chance.between(1.0, 8.0),
        };
        let amount = match kind {
            IncidentType::ProviderBlock => chance.between([0.15, 0.35, 0.6][step], [0.35, 0.6, 0.95][step]),
            IncidentType::ProviderDeferral => chance.between([0.2, 0.4, 0.6][step], [0.4, 0.6, 0.95][step]),
            IncidentType::BadList => chance.between([0.03, 0.08, 0.15][step], [0.08, 0.15, 0.35][step]),
            IncidentType::ComplaintBurst => {
                chance.between([0.002, 0.005, 0.01][step], [0.005, 0.01, 0.03][step])
            }
            IncidentType::VolumeDrop => {
                chance.between([0.7, 0.85, 1.0][step], [0.85, 1.0, 1.01][step]).min(1.0)
            }
            IncidentType::VolumeSpike => chance.between([3.5, 5.0, 9.0][step], [5.0, 9.0, 25.0][step]),
            IncidentType::OpenOutage => chance.between([0.6, 0.8, 0.95][step], [0.8, 0.95, 1.0][step]),
            IncidentType::Latency => chance.between([4.0, 7.0, 12.0][step], [7.0, 12.0, 30.0][step]),
            IncidentType::SlowDecline => chance.between(0.05, 0.1),
            IncidentType::CampaignBounces => chance.between([0.08, 0.2, 0.4][step], [0.2, 0.4, 0.9][step]),
            IncidentType::CampaignOpens => chance.between([0.6, 0.8, 0.95][step], [0.8, 0.95, 1.0][step]),
        };
        let length = (hours * hour as f64) as usize;
        let last = plan.buckets.saturating_sub(length + hour);
        if last <= plan.warm_up {
            continue;
        }
        for _ in 0..20 {
            let start = plan.warm_up + chance.below(last - plan.warm_up);
            // Mail happens by day; a drop at night is nobody's trouble.
            let end = start + length;
            let gap = 12 * hour;
            let slow = kind == IncidentType::SlowDecline;
            let clash = incidents.iter().any(|other| {
                let same = other.tenant.is_none() || tenant.is_none() || other.tenant == tenant;
                let either_slow = slow || other.kind == IncidentType::SlowDecline;
                // A decline lasts so long that shorter trouble falls into it; two of them do not meet in a tenant.
                let apart = either_slow && other.kind != kind;
                same && !apart && start < other.end + gap && other.start < end + gap
            });
            if !clash {
                let evidence = 0.0;
                incidents.push(Incident {
                    kind,
                    size,
                    tenant,
                    provider,
                    regular,
                    start,
                    end,
                    amount,
                    evidence,
                });
                break;
            }
        }
    }
    incidents
}
