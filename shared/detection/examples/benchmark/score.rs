//! How well alerts match incidents: found or missed, false alerts, delay, alerts per cause, and the right scope.

use std::collections::BTreeMap;

use crate::incident::{IncidentType, LabelledIncident, Size};
use crate::world::{PROVIDERS, World};

/// An alert that fired, of any detector.
#[derive(Clone, Debug)]
pub struct Fired {
    pub tenant: String,
    pub provider: Option<String>,
    /// The campaign that it is about or names as its cause.
    pub campaign: Option<String>,
    pub metric: String,
    pub kind: String,
    pub bucket: usize,
    /// For people who read the verbose output.
    pub summary: String,
}

/// The log-likelihood ratio from which on an incident is visible: that of a probability of 1 in 100,000.
pub const VISIBLE: f64 = 11.5;

#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub visible: usize,
    pub found: usize,
    pub right_scope: usize,
    pub false_alerts: usize,
    pub early_false: usize,
    pub minutes: Vec<f64>,
    pub busy_minutes: Vec<f64>,
    pub most_alerts: usize,
    pub tenant_weeks: f64,
    pub by_kind: BTreeMap<(IncidentType, Size), (usize, usize, Vec<f64>)>,
    pub false_by: BTreeMap<String, usize>,
    pub declines: (usize, usize),
}

fn fits_metric(kind: IncidentType, metric: &str) -> bool {
    let outcomes = ["hard_bounce_rate", "bounce_rate", "delay_rate", "delivery_rate", "delivery_ms_p95"];
    match kind {
        IncidentType::ProviderBlock
        | IncidentType::ProviderDeferral
        | IncidentType::BadList
        | IncidentType::SlowDecline => {
            outcomes.contains(&metric) || metric == "open_rate" || metric == "sends"
        }
        IncidentType::Latency => outcomes.contains(&metric),
        IncidentType::ComplaintBurst => metric == "complaint_rate",
        IncidentType::VolumeDrop | IncidentType::VolumeSpike => {
            metric == "sends" || outcomes.contains(&metric)
        }
        IncidentType::CampaignBounces => outcomes.contains(&metric),
        IncidentType::OpenOutage | IncidentType::CampaignOpens => {
            metric == "open_rate" || metric == "click_rate"
        }
    }
}

fn fits(incident: &LabelledIncident, fired: &Fired, world: &World) -> bool {
    // Evidence arrives late: complaints by hours, and a decline shows at the end of a day.
    let tail = match incident.kind {
        IncidentType::SlowDecline => 4 * world.buckets_per_day,
        IncidentType::ComplaintBurst => world.buckets_per_day,
        _ => world.buckets_per_day / 4,
    };
    let tenant = incident.tenant.map(|index| world.names[index].as_str());
    let place = match tenant {
        Some(name) => fired.tenant == name,
        None => true,
    };
    place
        && fired.bucket >= incident.start
        && fired.bucket <= incident.end + tail
        && fits_metric(incident.kind, &fired.metric)
}

fn right_scope(incident: &LabelledIncident, fired: &Fired) -> bool {
    let tenant = if incident.tenant.is_none() { fired.tenant == "*" } else { fired.tenant != "*" };
    if let Some(recurring_campaign) = incident.recurring_campaign {
        return tenant && fired.campaign == Some(format!("recurring-{recurring_campaign}"));
    }
    let provider = incident.provider.map(|index| PROVIDERS[index]);
    tenant && fired.provider.as_deref() == provider
}

impl Tally {
    pub fn add(&mut self, world: &World, alerts: &[Fired], verbose: bool) {
        let mut used = vec![false; alerts.len()];
        if verbose {
            println!(
                "world of {} minutes, warm-up {}, {} buckets",
                world.shape.bucket_minutes, world.warm_up, world.buckets
            );
            for fired in alerts {
                println!("all {fired:?}: {}", fired.summary);
            }
            for incident in &world.incidents {
                println!("incident {incident:?}");
            }
        }
        for incident in &world.incidents {
            let matching: Vec<usize> =
                (0..alerts.len()).filter(|&index| fits(incident, &alerts[index], world)).collect();
            for &index in &matching {
                used[index] = true;
            }
            if incident.log_likelihood_ratio < VISIBLE {
                continue;
            }
            self.visible += 1;
            let slot = self.by_kind.entry((incident.kind, incident.size)).or_default();
            slot.1 += 1;
            if incident.kind == IncidentType::SlowDecline {
                self.declines.1 += 1;
            }
            let Some(first) = matching.iter().min_by_key(|&&index| alerts[index].bucket) else {
                if verbose {
                    println!("missed {incident:?}");
                }
                continue;
            };
            self.found += 1;
            slot.0 += 1;
            slot.2.push(((alerts[*first].bucket + 1 - incident.start) * world.shape.bucket_minutes) as f64);
            if incident.kind == IncidentType::SlowDecline {
                self.declines.0 += 1;
            } else {
                let minutes =
                    ((alerts[*first].bucket + 1 - incident.start) * world.shape.bucket_minutes) as f64;
                self.minutes.push(minutes);
                if incident.size == Size::Large
                    && incident.tenant.is_none_or(|tenant| tenant < 3)
                    && incident.log_likelihood_ratio > 200.0
                {
                    self.busy_minutes.push(minutes);
                    if verbose && minutes > 5.0 {
                        println!("busy {minutes} {incident:?}");
                    }
                }
            }
            self.right_scope +=
                usize::from(matching.iter().any(|&index| right_scope(incident, &alerts[index])));
            if incident.tenant.is_none() {
                self.most_alerts = self.most_alerts.max(matching.len());
            }
            if verbose && !matching.iter().any(|&index| right_scope(incident, &alerts[index])) {
                println!("scope {incident:?}: {:?}", alerts[*first]);
            }
        }
        for (fired, used) in alerts.iter().zip(used) {
            if used {
                continue;
            }
            if fired.bucket < world.warm_up {
                self.early_false += 1;
                continue;
            }
            self.false_alerts += 1;
            *self.false_by.entry(format!("{} {}", fired.kind, fired.metric)).or_default() += 1;
            if verbose {
                println!("false {fired:?}");
            }
        }
        self.tenant_weeks +=
            (world.names.len() * (world.buckets - world.warm_up)) as f64 / (world.buckets_per_day * 7) as f64;
    }

    pub fn print(&mut self, name: &str) {
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        println!(
            "| {name} | {:.2} | {:.2} ({}/{}) | {:.3} | {:.0} / {:.0} | {:.0} | {:.2} | {} | {}/{} | {} |",
            share(self.found, self.found + self.false_alerts),
            share(self.found, self.visible),
            self.found,
            self.visible,
            self.false_alerts as f64 / self.tenant_weeks,
            quantile(&mut self.minutes, 0.5),
            quantile(&mut self.minutes, 0.9),
            quantile(&mut self.busy_minutes, 0.5),
            share(self.right_scope, self.found),
            self.most_alerts,
            self.declines.0,
            self.declines.1,
            self.early_false,
        );
    }

    pub fn print_kinds(&mut self) {
        for ((kind, size), (found, visible, minutes)) in &mut self.by_kind {
            println!("| {kind:?} | {size:?} | {found} of {visible} | {:.0} |", quantile(minutes, 0.5));
        }
        println!("false: {:?}", self.false_by);
    }
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len() as f64) * share) as usize).copied().unwrap_or(f64::NAN)
}

pub const HEADER: &str = "| detector | precision | recall | false / tenant-week | median / 90 % minutes | busy, large: median | right scope | most alerts per cause | declines | false in warm-up |\n|---|---|---|---|---|---|---|---|---|---|";
