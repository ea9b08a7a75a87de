//! Recurring campaigns: the busiest campaigns that are sent all day long, day after day, such as receipts, password resets and
//! notifications. Each is monitored as a series of its own, so that trouble is found that would drown in the
//! tenant's other mail. Together with mail without a campaign they are a tenant's steady mail.
//!
//! A burst has no past to be compared with, even if it comes each day: its outcomes come later and depend on its subject. Where a burst
//! causes trouble, all mail or a provider shows it and the burst is named as the cause.

use event::Minute;
use serde::{Deserialize, Serialize};

use crate::counts::{Counts, Denominator};
use crate::cusum::to_f32;
use crate::series_monitor::{BucketContext, SeriesMonitor, SeriesPrior};
use crate::tenant_state::{MAX_NAME_BYTES, counts_of};

/// Recurring campaigns per tenant.
const MAX_RECURRING: usize = 8;
/// Campaigns that are counted per day. Beyond that a new one takes the place and the count of the smallest (Metwally, Agrawal, El Abbadi:
/// Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005), so a flood of names cannot hide a busy campaign.
const MAX_COUNTED: usize = 64;
/// The least mail per day that is worth a series.
const MIN_DAILY_MAIL: f32 = 100.0;
/// A campaign replaces a smaller one if it has this many times its mail.
const REPLACE_FACTOR: f32 = 2.0;
/// With less mail per day a campaign is over.
const OVER_DAILY_MAIL: f32 = 1.0;
/// The largest share of a day's mail in one hour of a campaign that is sent all day long. A burst has more, even one that comes each day.
const MAX_HOUR_SHARE: f32 = 0.25;

/// A tenant's recurring campaigns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecurringCampaigns {
    /// Their series, by name.
    pub series: Vec<(String, SeriesMonitor)>,
    /// The campaigns that were counted today.
    today: Vec<CampaignDay>,
    /// The busiest of those that were sent all day long yesterday.
    yesterday: Vec<String>,
}

/// A campaign's mail of one day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct CampaignDay {
    name: String,
    mail: f32,
    /// The last hour with mail, in hours since 1970, with its mail, and the mail of the busiest hour.
    hour: u32,
    this_hour: f32,
    busiest_hour: f32,
}

impl CampaignDay {
    fn add(&mut self, mail: f32, hour: u32) {
        if hour != self.hour {
            (self.hour, self.this_hour) = (hour, 0.0);
        }
        self.mail += mail;
        self.this_hour += mail;
        self.busiest_hour = self.busiest_hour.max(self.this_hour);
    }

    fn is_all_day(&self) -> bool {
        self.busiest_hour <= MAX_HOUR_SHARE * self.mail
    }
}

impl RecurringCampaigns {
    /// Counts a bucket's campaigns, and evaluates those that recur.
    pub fn evaluate(
        &mut self,
        campaigns: &[(&str, Counts)],
        context: &BucketContext<'_>,
        prior: &SeriesPrior,
    ) {
        for (name, counts) in campaigns {
            self.count(name, to_f32(counts.denominator(Denominator::Sends)), context.now);
        }
        for (name, monitor) in &mut self.series {
            monitor.evaluate(&counts_of(name, campaigns), context, prior);
        }
    }

    /// The sends of recurring campaigns in a bucket.
    pub fn sends(&self, campaigns: &[(&str, Counts)]) -> f64 {
        self.series.iter().map(|(name, _)| counts_of(name, campaigns).denominator(Denominator::Sends)).sum()
    }

    fn count(&mut self, name: &str, mail: f32, now: Minute) {
        if mail <= 0.0 || name.len() > MAX_NAME_BYTES {
            return;
        }
        let known = self.today.iter().position(|day| day.name == name);
        if known.is_none() && self.today.len() < MAX_COUNTED {
            self.today.push(CampaignDay { name: name.to_owned(), ..CampaignDay::default() });
        }
        let day = match known {
            Some(position) => self.today.get_mut(position),
            // The entry just added has no mail yet, so it is the smallest; without room for it, it takes the place of the smallest.
            None => self.today.iter_mut().min_by(|a, b| a.mail.total_cmp(&b.mail)),
        };
        if let Some(day) = day {
            name.clone_into(&mut day.name);
            day.add(mail, now.hour().0);
        }
    }

    pub fn close_hour(&mut self) {
        for (_, monitor) in &mut self.series {
            monitor.close_hour();
        }
    }

    /// Ends a day. A campaign that was among the busiest today and yesterday gets a series, and one that is over loses it.
    ///
    /// Returns today's mail of the campaigns that count as recurring from now on.
    pub fn close_day(&mut self, now: Minute, buckets_per_day: f64) -> f64 {
        let daily_mail = |monitor: &SeriesMonitor| to_f32(monitor.sends_per_day(buckets_per_day));
        self.series.retain(|(_, monitor)| daily_mail(monitor) >= OVER_DAILY_MAIL);
        // Only what is sent all day has a past to be compared with; a daily burst of the same size does not.
        let mut today = std::mem::take(&mut self.today);
        today.retain(|day| day.mail >= MIN_DAILY_MAIL && day.is_all_day());
        // The busiest first, and equal ones by name, so that a repeated run chooses the same campaigns.
        today.sort_by(|a, b| b.mail.total_cmp(&a.mail).then_with(|| a.name.cmp(&b.name)));
        today.truncate(MAX_RECURRING);
        let mut added = 0.0;
        for CampaignDay { name, mail, .. } in &today {
            // Two days in a row, so that a promotion of one day gets no series.
            if !self.yesterday.contains(name) || self.series.iter().any(|(known, _)| known == name) {
                continue;
            }
            if self.series.len() >= MAX_RECURRING {
                let sizes = self.series.iter().map(|(_, monitor)| daily_mail(monitor)).enumerate();
                match sizes.min_by(|a, b| a.1.total_cmp(&b.1)) {
                    // Clearly larger, so that two campaigns of about equal size do not replace each other every day.
                    Some((position, least)) if *mail > REPLACE_FACTOR * least => {
                        self.series.swap_remove(position)
                    }
                    _ => continue,
                };
            }
            self.series.push((name.clone(), SeriesMonitor::new(now, false)));
            added += f64::from(*mail);
        }
        self.yesterday = today.into_iter().map(|day| day.name).collect();
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day of campaigns, each with some mail in each of some hours.
    fn day(campaigns: &mut RecurringCampaigns, mail: &[(&str, f32, std::ops::Range<u32>)]) {
        for (name, mail, hours) in mail {
            hours.clone().for_each(|hour| campaigns.count(name, *mail, Minute(hour * 60)));
        }
        campaigns.close_day(Minute(1), 288.0);
    }

    fn names(campaigns: &RecurringCampaigns) -> Vec<&str> {
        campaigns.series.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn campaign_sent_all_day_on_two_days_gets_a_series() {
        let mut campaigns = RecurringCampaigns::default();
        let receipts = ("receipts", 50.0, 8..20);
        day(
            &mut campaigns,
            &[receipts.clone(), ("sale", 900.0, 8..20), ("rare", 5.0, 8..20), ("digest", 5000.0, 9..10)],
        );
        day(
            &mut campaigns,
            &[receipts, ("launch", 900.0, 8..20), ("rare", 5.0, 8..20), ("digest", 5000.0, 9..10)],
        );
        assert_eq!(names(&campaigns), ["receipts"]);
        let counts = Counts { sends: 10.0, ..Counts::default() };
        assert!((campaigns.sends(&[("digest", counts), ("receipts", counts)]) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn flood_of_names_hides_no_busy_campaign() {
        let mut campaigns = RecurringCampaigns::default();
        for _ in 0..2 {
            for index in 0..10_000 {
                let now = Minute(index / 500 * 60);
                campaigns.count(&format!("made-up-{index}"), 1.0, now);
                campaigns.count("receipts", 1.0, now);
            }
            assert!(campaigns.today.len() <= MAX_COUNTED);
            campaigns.close_day(Minute(1), 288.0);
        }
        assert_eq!(campaigns.series[0].0, "receipts");
        assert!(campaigns.series.len() <= MAX_RECURRING);
    }

    #[test]
    fn campaign_is_sent_all_day_if_no_hour_has_a_quarter_of_it() {
        for (hours, is_all_day) in [(1, false), (3, false), (4, true), (24, true)] {
            let mut day = CampaignDay::default();
            (0..hours).for_each(|hour| day.add(10.0, hour));
            assert_eq!(day.is_all_day(), is_all_day, "{hours} hours");
        }
    }
}
