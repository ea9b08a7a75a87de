//! The busiest campaigns that come back day after day: receipts, password resets, the daily digest. Each has a series of its own, so that
//! trouble of one that drowns in the whole is seen.
//!
//! A campaign that is sent once has no past to be unlike; where it hurts, the whole or a provider speaks and names it as the cause.

use serde::{Deserialize, Serialize};

use crate::counts::{Base, Counts};
use crate::evidence::narrow;
use crate::node::{Context, Lean, Node};
use crate::tenant::MAX_NAME;

/// Campaigns with a series of their own, per tenant.
const MAX_REGULARS: usize = 8;
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
pub struct Regulars {
    /// Their series, by name.
    pub series: Vec<(String, Node)>,
    /// Those that are sent all day long.
    steady: Vec<String>,
    /// The campaigns of this day.
    today: Vec<Day>,
    /// The busiest ones of the day before.
    yesterday: Vec<Day>,
}

/// A campaign's mail of one day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Day {
    name: String,
    mail: f32,
    /// The last hour with mail, its mail, and that of the busiest hour.
    hour: u32,
    this_hour: f32,
    busiest: f32,
}

impl Day {
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

impl Regulars {
    /// Judges a bucket's campaigns and learns from it.
    pub fn step(&mut self, campaigns: &[(&str, Counts)], context: &Context<'_>, lean: &Lean) {
        for (name, counts) in campaigns {
            self.count(name, narrow(counts.base(Base::Sends)), context.now);
        }
        for (name, node) in &mut self.series {
            let counts = campaigns.iter().find(|(known, _)| known == name);
            node.step(&counts.map_or_else(Counts::default, |(_, counts)| *counts), context, lean);
        }
    }

    /// Whether a campaign is sent all day long.
    pub fn is_steady(&self, name: &str) -> bool {
        self.steady.iter().any(|known| known == name)
    }

    /// Mail of those that are sent all day long.
    pub fn steady_mail(&self, campaigns: &[(&str, Counts)]) -> f64 {
        campaigns
            .iter()
            .filter(|(name, _)| self.is_steady(name))
            .map(|(_, counts)| counts.base(Base::Sends))
            .sum()
    }

    fn count(&mut self, name: &str, mail: f32, now: u32) {
        if mail <= 0.0 || name.len() > MAX_NAME {
            return;
        }
        let place = self.today.iter().position(|day| day.name == name);
        let smallest = || {
            let days = self.today.iter().enumerate();
            days.min_by(|a, b| a.1.mail.total_cmp(&b.1.mail)).map(|(place, _)| place)
        };
        let place = place.or_else(|| if self.today.len() < MAX_COUNTED { None } else { smallest() });
        let place = place.unwrap_or_else(|| {
            self.today.push(Day::default());
            self.today.len() - 1
        });
        if let Some(day) = self.today.get_mut(place) {
            if day.name != name {
                name.clone_into(&mut day.name);
            }
            day.add(mail, now / 60);
        }
    }

    /// Closes an hour.
    pub fn close_hour(&mut self) {
        for (_, node) in &mut self.series {
            node.close_hour();
        }
    }

    /// Ends a day: a campaign that was among the busiest today and yesterday gets a series, and one that is over loses it. The mail of
    /// today that is known from now on to be sent all day long.
    pub fn close_day(&mut self, now: u32, buckets_a_day: f64) -> f64 {
        let mut today = std::mem::take(&mut self.today);
        today.retain(|day| day.mail >= LEAST_A_DAY);
        today.sort_by(|a, b| b.mail.total_cmp(&a.mail).then_with(|| a.name.cmp(&b.name)));
        today.truncate(MAX_REGULARS);
        let a_day = |node: &Node| narrow(node.sends_a_day(buckets_a_day));
        self.series.retain(|(_, node)| a_day(node) >= OVER_A_DAY);
        for day in &today {
            let is_new = !self.series.iter().any(|(known, _)| *known == day.name);
            if is_new && self.yesterday.iter().any(|before| before.name == day.name) {
                if self.series.len() >= MAX_REGULARS {
                    let loads = self.series.iter().map(|(_, node)| a_day(node)).enumerate();
                    match loads.min_by(|a, b| a.1.total_cmp(&b.1)) {
                        Some((place, least)) if day.mail > BUSIER * least => self.series.swap_remove(place),
                        _ => continue,
                    };
                }
                self.series.push((day.name.clone(), Node::new(now, false)));
            }
        }
        self.steady.retain(|name| self.series.iter().any(|(known, _)| known == name));
        let mut more = 0.0;
        for day in &today {
            let all_day =
                [day].into_iter().chain(self.yesterday.iter().filter(|before| before.name == day.name));
            if self.series.iter().any(|(known, _)| *known == day.name)
                && !self.steady.contains(&day.name)
                && all_day.filter(|day| day.is_all_day()).count() == 2
            {
                self.steady.push(day.name.clone());
                more += f64::from(day.mail);
            }
        }
        self.yesterday = today;
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(regulars: &mut Regulars, mail: &[(&str, f32)]) {
        for (name, mail) in mail {
            regulars.count(name, *mail, 0);
        }
        regulars.close_day(1, 288.0);
    }

    fn names(regulars: &Regulars) -> Vec<&str> {
        regulars.series.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_campaign_of_two_days_has_a_series_and_one_of_a_day_has_none() {
        let mut regulars = Regulars::default();
        day(&mut regulars, &[("receipts", 500.0), ("sale", 9000.0), ("rare", 99.0)]);
        day(&mut regulars, &[("receipts", 500.0), ("launch", 9000.0), ("rare", 99.0)]);
        assert_eq!(names(&regulars), ["receipts"]);
    }

    #[test]
    fn a_flood_of_names_hides_no_busy_campaign() {
        let mut regulars = Regulars::default();
        for _ in 0..2 {
            for index in 0..10_000 {
                regulars.count(&format!("made-up-{index}"), 1.0, 0);
                regulars.count("receipts", 1.0, 0);
            }
            assert!(regulars.today.len() <= MAX_COUNTED);
            regulars.close_day(1, 288.0);
        }
        assert_eq!(regulars.series[0].0, "receipts");
        assert!(regulars.series.len() <= MAX_REGULARS);
    }

    #[test]
    fn a_burst_that_comes_each_day_is_no_steady_stream() {
        let mut regulars = Regulars::default();
        for _ in 0..3 {
            for hour in 0..12 {
                regulars.count("receipts", 100.0, hour * 60);
            }
            regulars.count("digest", 5000.0, 9 * 60);
            regulars.close_day(1, 288.0);
        }
        let counts = Counts { sends: 10.0, ..Counts::default() };
        assert_eq!(regulars.series.len(), 2);
        assert!((regulars.steady_mail(&[("digest", counts), ("receipts", counts)]) - 10.0).abs() < 1e-9);
    }
}
