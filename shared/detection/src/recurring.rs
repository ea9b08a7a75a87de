//! The busiest campaigns that are sent all day long, day after day: receipts, password resets, alerts. Each has a series of its own, so
//! that trouble of one that drowns in the whole is seen; together with mail of no campaign they are a tenant's steady mail.
//!
//! A burst has no past to be unlike, even if it comes each day: what comes of it comes later, and depends on its subject. Where it
//! hurts, the whole or a provider speaks and names it as the cause.

use serde::{Deserialize, Serialize};

use crate::counts::{Counts, Denominator};
use crate::cusum::to_f32;
use crate::series_monitor::{BucketContext, SeriesMonitor, SeriesPrior};
use crate::tenant_state::{MAX_NAME, counts_of};

/// Campaigns with a series of their own, per tenant.
const MAX_RECURRING: usize = 8;
/// Campaigns counted in a day; beyond it a new one takes the place and the count of the smallest (Metwally, Agrawal, El Abbadi:
/// Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005), so a flood of names cannot hide a busy one.
const MAX_COUNTED: usize = 64;
/// Mails a day that are worth a series.
const LEAST_A_DAY: f32 = 100.0;
/// A campaign takes the place of a smaller one if it has so many times its mail.
const BUSIER: f32 = 2.0;
/// Below so many mails a day a campaign is over.
const OVER_A_DAY: f32 = 1.0;

/// The most of a day's mail in one hour if a campaign is sent all day long; of a burst there is more, even of one that comes each day.
const ALL_DAY: f32 = 0.25;

/// A tenant's regular campaigns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecurringCampaigns {
    /// Their series, by name.
    pub series: Vec<(String, SeriesMonitor)>,
    /// The campaigns of this day.
    today: Vec<CampaignDay>,
    /// The busiest of those that were sent all of the day before.
    yesterday: Vec<String>,
}

/// A campaign's mail of one day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct CampaignDay {
    name: String,
    mail: f32,
    /// The last hour with mail, its mail, and that of the busiest hour.
    hour: u32,
    this_hour: f32,
    busiest: f32,
}

impl CampaignDay {
    fn add(&mut self, mail: f32, hour: u32) {
        if hour != self.hour {
            (self.hour, self.this_hour) = (hour, 0.0);
        }
        self.mail += mail;
        self.this_hour += mail;
        self.busiest = self.busiest.max(self.this_hour);
    }

    fn is_all_day(&self) -> bool {
        self.busiest <= ALL_DAY * self.mail
    }
}

impl RecurringCampaigns {
    /// Judges a bucket's campaigns and learns from it.
    pub fn step(&mut self, campaigns: &[(&str, Counts)], context: &BucketContext<'_>, prior: &SeriesPrior) {
        for (name, counts) in campaigns {
            self.count(name, to_f32(counts.denominator(Denominator::Sends)), context.now);
        }
        for (name, monitor) in &mut self.series {
            monitor.step(&counts_of(name, campaigns), context, prior);
        }
    }

    /// Mail of regular campaigns.
    pub fn mail(&self, campaigns: &[(&str, Counts)]) -> f64 {
        self.series.iter().map(|(name, _)| counts_of(name, campaigns).denominator(Denominator::Sends)).sum()
    }

    fn count(&mut self, name: &str, mail: f32, now: u32) {
        if mail <= 0.0 || name.len() > MAX_NAME {
            return;
        }
        let known = self.today.iter().position(|day| day.name == name);
        if known.is_none() && self.today.len() < MAX_COUNTED {
            self.today.push(CampaignDay { name: name.to_owned(), ..CampaignDay::default() });
        }
        let day = match known {
            Some(place) => self.today.get_mut(place),
            None => self.today.iter_mut().min_by(|a, b| a.mail.total_cmp(&b.mail)),
        };
        if let Some(day) = day {
            name.clone_into(&mut day.name);
            day.add(mail, now / 60);
        }
    }

    /// Closes an hour.
    pub fn close_hour(&mut self) {
        for (_, monitor) in &mut self.series {
            monitor.close_hour();
        }
    }

    /// Ends a day: a campaign that was among the busiest today and yesterday gets a series, and one that is over loses it. The mail of
    /// today that is known to be regular from now on.
    pub fn close_day(&mut self, now: u32, buckets_a_day: f64) -> f64 {
        let a_day = |monitor: &SeriesMonitor| to_f32(monitor.sends_a_day(buckets_a_day));
        self.series.retain(|(_, monitor)| a_day(monitor) >= OVER_A_DAY);
        let mut today = std::mem::take(&mut self.today);
        today.retain(|day| day.mail >= LEAST_A_DAY && day.is_all_day());
        today.sort_by(|a, b| b.mail.total_cmp(&a.mail).then_with(|| a.name.cmp(&b.name)));
        today.truncate(MAX_RECURRING);
        let mut more = 0.0;
        for CampaignDay { name, mail, .. } in &today {
            if !self.yesterday.contains(name) || self.series.iter().any(|(known, _)| known == name) {
                continue;
            }
            if self.series.len() >= MAX_RECURRING {
                let loads = self.series.iter().map(|(_, monitor)| a_day(monitor)).enumerate();
                match loads.min_by(|a, b| a.1.total_cmp(&b.1)) {
                    Some((place, least)) if *mail > BUSIER * least => self.series.swap_remove(place),
                    _ => continue,
                };
            }
            self.series.push((name.clone(), SeriesMonitor::new(now, false)));
            more += f64::from(*mail);
        }
        self.yesterday = today.into_iter().map(|day| day.name).collect();
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mail in each of some hours.
    fn day(recurring: &mut RecurringCampaigns, mail: &[(&str, f32, std::ops::Range<u32>)]) {
        for (name, mail, hours) in mail {
            hours.clone().for_each(|hour| recurring.count(name, *mail, hour * 60));
        }
        recurring.close_day(1, 288.0);
    }

    fn names(recurring: &RecurringCampaigns) -> Vec<&str> {
        recurring.series.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_campaign_of_two_whole_days_has_a_series() {
        let mut recurring = RecurringCampaigns::default();
        let receipts = ("receipts", 50.0, 8..20);
        day(
            &mut recurring,
            &[receipts.clone(), ("sale", 900.0, 8..20), ("rare", 5.0, 8..20), ("digest", 5000.0, 9..10)],
        );
        day(
            &mut recurring,
            &[receipts, ("launch", 900.0, 8..20), ("rare", 5.0, 8..20), ("digest", 5000.0, 9..10)],
        );
        assert_eq!(names(&recurring), ["receipts"]);
        let counts = Counts { sends: 10.0, ..Counts::default() };
        assert!((recurring.mail(&[("digest", counts), ("receipts", counts)]) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_flood_of_names_hides_no_busy_campaign() {
        let mut recurring = RecurringCampaigns::default();
        for _ in 0..2 {
            for index in 0..10_000 {
                let now = index / 500 * 60;
                recurring.count(&format!("made-up-{index}"), 1.0, now);
                recurring.count("receipts", 1.0, now);
            }
            assert!(recurring.today.len() <= MAX_COUNTED);
            recurring.close_day(1, 288.0);
        }
        assert_eq!(recurring.series[0].0, "receipts");
        assert!(recurring.series.len() <= MAX_RECURRING);
    }
}
