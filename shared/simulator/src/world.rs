//! The simulated senders: tenants, their campaigns, and how much mail of each is sent in a minute.
//!
//! Tenants' shares fall as 1/rank. Each has two campaigns sent in bursts, one in a drip and two transactional streams,
//! all following the hours and weekdays of the tenant's own time zone. Everything follows from the tenant's number: no random draw is made here.

use crate::random::{choose, mix};

const MINUTES_PER_DAY: i64 = 24 * 60;

/// How a campaign is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To a full list within [`BURST_MINUTES`], every day at this local hour.
    Burst { hour: i64 },
    /// A little all the time, triggered by what recipients did.
    Drip,
    /// Mail that recipients wait for: receipts, password resets.
    Transactional,
}

/// A campaign, the same for each tenant.
#[derive(Debug)]
pub(crate) struct Campaign {
    pub(crate) name: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) flow: Flow,
    /// Share of the tenant's mail, in percent.
    pub(crate) percent: u32,
    /// Whether it is sent from a template, which may fail to render.
    pub(crate) templated: bool,
}

/// The campaigns that every tenant has.
pub(crate) const CAMPAIGNS: [Campaign; 5] = [
    Campaign {
        name: "weekly-digest",
        subject: "Your week in five minutes",
        flow: Flow::Burst { hour: 9 },
        percent: 20,
        templated: false,
    },
    Campaign {
        name: "spring-sale",
        subject: "Save 20 % until Sunday",
        flow: Flow::Burst { hour: 17 },
        percent: 20,
        templated: false,
    },
    Campaign {
        name: "onboarding",
        subject: "Three things to try next",
        flow: Flow::Drip,
        percent: 15,
        templated: true,
    },
    Campaign {
        name: "receipts",
        subject: "Your receipt",
        flow: Flow::Transactional,
        percent: 30,
        templated: false,
    },
    Campaign {
        name: "password-reset",
        subject: "Reset your password",
        flow: Flow::Transactional,
        percent: 15,
        templated: true,
    },
];

impl Campaign {
    /// Whether it is bulk mail, as opposed to mail that each recipient asked for.
    pub(crate) const fn is_bulk(&self) -> bool {
        !matches!(self.flow, Flow::Transactional)
    }
}

/// The segments of recipients.
pub(crate) const SEGMENTS: [&str; 5] = ["active", "new", "loyal", "dormant", "trial"];

/// A sender, and how much of all mail it sends at what local time.
#[derive(Debug)]
pub(crate) struct SimulatedTenant {
    pub(crate) name: String,
    /// Share of all mail, 0 to 1.
    pub(crate) share: f64,
    /// Offset of its local time from UTC, in minutes.
    utc_offset_minutes: i64,
}

const NAMES: [&str; 32] = [
    "acme",
    "northwind",
    "globex",
    "initech",
    "contoso",
    "fabrikam",
    "bluebird",
    "lumen",
    "tidewater",
    "harvest",
    "kestrel",
    "foxglove",
    "granite",
    "sundial",
    "papermill",
    "cloudberry",
    "driftwood",
    "evergreen",
    "firefly",
    "goldleaf",
    "halcyon",
    "ironbark",
    "jubilee",
    "kingfisher",
    "larkspur",
    "moonrise",
    "nightingale",
    "orchard",
    "pebble",
    "quill",
    "redwood",
    "saffron",
];

const UTC_OFFSETS_MINUTES: [i64; 8] = [-480, -360, -300, 0, 60, 120, 330, 540];

/// Relative volume of each local hour.
const HOURS: [u32; 24] = [
    35, 25, 20, 20, 25, 40, 65, 95, 120, 135, 145, 150, 145, 145, 145, 140, 140, 145, 150, 155, 145, 120, 85,
    55,
];
/// Relative volume of each weekday, Monday first.
const DAYS: [u32; 7] = [105, 110, 110, 108, 105, 85, 77];
/// Duration of a burst.
const BURST_MINUTES: i64 = 120;

/// The tenants, the largest first.
pub(crate) fn tenants(count: u32) -> Vec<SimulatedTenant> {
    let sum: f64 = (1..=count).map(|rank| 1.0 / f64::from(rank)).sum();
    let mut tenants = Vec::new();
    for number in 0..count {
        let index = number as usize;
        let round = index / NAMES.len() + 1;
        let known = NAMES.get(index % NAMES.len()).copied().unwrap_or_default();
        let name = if round == 1 { known.to_owned() } else { format!("{known}-{round}") };
        tenants.push(SimulatedTenant {
            name,
            share: 1.0 / (f64::from(number + 1) * sum),
            utc_offset_minutes: *choose(mix(u64::from(number)), &UTC_OFFSETS_MINUTES),
        });
    }
    tenants
}

impl SimulatedTenant {
    /// How much of `campaign` goes out in a minute (counted from the Unix epoch), relative to its mean over the week.
    pub(crate) fn shape(&self, campaign: &Campaign, minute: i64) -> f64 {
        let local = minute + self.utc_offset_minutes;
        // 1970-01-01 was a Thursday.
        let weekday = (local.div_euclid(MINUTES_PER_DAY) + 3).rem_euclid(7);
        let of_day = local.rem_euclid(MINUTES_PER_DAY);
        let by_day = relative(&DAYS, weekday);
        match campaign.flow {
            Flow::Burst { hour } if (0..BURST_MINUTES).contains(&(of_day - hour * 60)) => {
                by_day * MINUTES_PER_DAY as f64 / BURST_MINUTES as f64
            }
            Flow::Burst { .. } => 0.0,
            Flow::Drip | Flow::Transactional => by_day * relative(&HOURS, of_day / 60),
        }
    }
}

/// How much mail all tenants send in these minutes, relative to the mean over a week: what to divide by for a plan's rate to be
/// its mean. Of a plan longer than a week, the first one is looked at.
pub(crate) fn mean_shape(tenants: &[SimulatedTenant], first_minute: i64, minutes: u32) -> f64 {
    let minutes = minutes.min(7 * 24 * 60);
    let mut sum = 0.0;
    for utc_offset_minutes in UTC_OFFSETS_MINUTES {
        // One tenant stands for all of its zone.
        let here = |tenant: &&SimulatedTenant| tenant.utc_offset_minutes == utc_offset_minutes;
        let Some(tenant) = tenants.iter().find(here) else { continue };
        let share = tenants.iter().filter(here).map(|tenant| tenant.share).sum::<f64>();
        for campaign in &CAMPAIGNS {
            let shapes = (0..i64::from(minutes)).map(|minute| tenant.shape(campaign, first_minute + minute));
            sum += share * f64::from(campaign.percent) / 100.0 * shapes.sum::<f64>();
        }
    }
    if minutes == 0 { 1.0 } else { sum / f64::from(minutes) }
}

/// A weight relative to the mean of all.
fn relative(weights: &[u32], index: i64) -> f64 {
    let weight =
        usize::try_from(index).ok().and_then(|index| weights.get(index)).copied().unwrap_or_default();
    f64::from(weight) * weights.len() as f64 / f64::from(weights.iter().sum::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_one_and_fall_by_rank() {
        let tenants = tenants(100);
        assert!((tenants.iter().map(|tenant| tenant.share).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((tenants[0].share / tenants[9].share - 10.0).abs() < 1e-9);
        let mut names: Vec<&str> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 100);
        assert_eq!(CAMPAIGNS.iter().map(|campaign| campaign.percent).sum::<u32>(), 100);
    }

    #[test]
    fn mean_shape_of_a_week_is_one() {
        for tenant in tenants(5) {
            for campaign in &CAMPAIGNS {
                let week = (0..7 * MINUTES_PER_DAY).map(|minute| tenant.shape(campaign, minute)).sum::<f64>();
                assert!((week / (7 * MINUTES_PER_DAY) as f64 - 1.0).abs() < 1e-9, "{} {week}", campaign.name);
            }
        }
    }

    #[test]
    fn mean_shape_averages_the_tenants_over_the_minutes() {
        let tenants = tenants(40);
        assert!((mean_shape(&tenants, 12_345, 7 * 24 * 60) - 1.0).abs() < 1e-9);
        let mut sum = 0.0;
        for tenant in &tenants {
            for campaign in &CAMPAIGNS {
                sum += tenant.share * f64::from(campaign.percent) / 100.0 * tenant.shape(campaign, 777);
            }
        }
        assert!((mean_shape(&tenants, 777, 1) - sum).abs() < 1e-9);
    }

    #[test]
    fn burst_is_sent_within_two_local_hours_of_the_tenant() {
        let tenant = SimulatedTenant { name: "acme".to_owned(), share: 1.0, utc_offset_minutes: 60 };
        let [digest, ..] = &CAMPAIGNS;
        let active: Vec<i64> =
            (0..MINUTES_PER_DAY).filter(|&minute| tenant.shape(digest, minute) > 0.0).collect();
        assert_eq!((active.first(), active.last(), active.len()), (Some(&480), Some(&599), 120));
    }
}
