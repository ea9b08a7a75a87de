//! How far the lines are at which SES reviews an account or pauses it, and when they are reached at the present rate.
//!
//! SES looks at hard bounces and complaints over what it calls a representative volume of mail, which it does not state; the caller
//! decides which recent mail stands for it. Sources: <https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-bounce-rate.html>,
//! <https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-complaint-rate.html>,
//! <https://support.google.com/a/answer/14229414> (Gmail tells SES of no complaint, so its lines have no rate here).

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::cusum::to_f32;

/// Mail that says something about an account. SES does not state its own number.
pub const VOLUME: f64 = 10_000.0;
/// Minutes in a day, and those whose rate is the present one.
const DAY: f64 = 1440.0;
const PRESENT: f64 = 180.0;
/// Mail, less of which is not representative.
const LEAST_MAIL: f64 = VOLUME / 2.0;
/// A line that is reached in so many hours is worth a word, if this share of the way is behind.
const SOON_HOURS: f64 = 24.0;
const SOON_USED: f64 = 0.5;
/// An alert goes on until the rate is clearly below its line and that is not soon reached.
const CLEAR_USED: f64 = 0.9;

/// A line not to be crossed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReputationThreshold {
    /// Its name, which stays.
    pub name: &'static str,
    /// The rate it is on, by the name of the metric.
    pub metric: &'static str,
    /// Where it is, as a fraction.
    pub limit: f64,
    /// What happens there.
    pub meaning: &'static str,
    /// Whether SES learns what is counted.
    pub is_known: bool,
}

/// All lines.
pub const REPUTATION_THRESHOLDS: [ReputationThreshold; 6] = [
    threshold("ses_bounce_review", "hard_bounce_rate", 0.05, "SES reviews the account"),
    threshold("ses_bounce_pause", "hard_bounce_rate", 0.10, "SES may pause sending"),
    threshold("ses_complaint_review", "complaint_rate", 0.001, "SES reviews the account"),
    threshold("ses_complaint_pause", "complaint_rate", 0.005, "SES may pause sending"),
    ReputationThreshold {
        is_known: false,
        ..threshold("gmail_spam_target", "complaint_rate", 0.001, "Gmail asks senders to stay below")
    },
    ReputationThreshold {
        is_known: false,
        ..threshold("gmail_spam_limit", "complaint_rate", 0.003, "Gmail rejects or files as spam")
    },
];

const fn threshold(
    name: &'static str,
    metric: &'static str,
    limit: f64,
    meaning: &'static str,
) -> ReputationThreshold {
    ReputationThreshold { name, metric, limit, meaning, is_known: true }
}

/// Events and the mail they are a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Proportion {
    /// Events.
    pub events: f64,
    /// Mail.
    pub mail: f64,
}

/// An account's recent mail, kept up bucket by bucket: the last day, or about [`VOLUME`] mails where that is longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountReputation {
    volume: [Recent; 2],
    present: [Recent; 2],
}

/// Decayed events and mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Recent {
    events: f32,
    mail: f32,
}

/// The rates that lines are on.
pub(crate) const RATES: [&str; 2] = ["hard_bounce_rate", "complaint_rate"];

impl AccountReputation {
    /// Adds a bucket of so many minutes.
    pub(crate) fn add(&mut self, counts: &Counts, bucket: u32) {
        let [day, present] = [DAY, PRESENT].map(|minutes| (-f64::from(bucket) / minutes).exp());
        let rates = [
            (counts.hard_bounces(), counts.denominator(crate::Denominator::Sends)),
            (counts.complaints, counts.deliveries),
        ];
        for ((volume, recent), (events, mail)) in self.volume.iter_mut().zip(&mut self.present).zip(rates) {
            volume.add(events, mail, day.max(1.0 - mail / VOLUME));
            recent.add(events, mail, present);
        }
    }

    /// Events of a rate of [`RATES`].
    pub(crate) fn events(&self, rate: usize) -> f64 {
        self.volume.get(rate).map_or(0.0, |volume| volume.events.into())
    }

    /// The worst line of a rate that is crossed, or is at the present rate soon; if an alert is open already, the line that still is near.
    pub(crate) fn danger(
        &self,
        rate: usize,
        is_open: bool,
    ) -> Option<(ReputationThreshold, ThresholdStatus)> {
        let (volume, present) = (self.volume.get(rate)?.proportion(), self.present.get(rate)?.proportion());
        if volume.mail < LEAST_MAIL {
            return None;
        }
        // A day at the present rate.
        let day = DAY / PRESENT;
        let present = Proportion { events: day * present.events, mail: day * present.mail };
        let thresholds = REPUTATION_THRESHOLDS
            .into_iter()
            .filter(|threshold| threshold.is_known && RATES.get(rate) == Some(&threshold.metric));
        let statuses = thresholds.map(|threshold| {
            let status = status(&threshold, volume, present);
            (threshold, status)
        });
        let near = statuses.filter(|(_, status)| {
            let used = status.used.unwrap_or_default();
            let soon = status.hours_left.is_some_and(|hours| hours <= SOON_HOURS) && used >= SOON_USED;
            used >= 1.0 || soon || (is_open && used >= CLEAR_USED)
        });
        near.max_by(|a, b| a.0.limit.total_cmp(&b.0.limit))
    }
}

impl Recent {
    fn add(&mut self, events: f64, mail: f64, keep: f64) {
        self.events = to_f32(keep * f64::from(self.events) + events);
        self.mail = to_f32(keep * f64::from(self.mail) + mail);
    }

    fn proportion(self) -> Proportion {
        Proportion { events: self.events.into(), mail: self.mail.into() }
    }
}

/// Where one stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThresholdStatus {
    /// The line.
    pub threshold: &'static str,
    /// The rate it is on.
    pub metric: &'static str,
    /// Where it is, as a fraction.
    pub limit: f64,
    /// What happens there.
    pub meaning: &'static str,
    /// The rate over the volume that is looked at; none without mail, or where SES learns of none.
    pub rate: Option<f64>,
    /// Events in that volume.
    pub numerator: Option<f64>,
    /// Mail in that volume.
    pub denominator: Option<f64>,
    /// The rate's share of the limit; 1 and more is beyond it.
    pub used: Option<f64>,
    /// Further events that fit into this volume.
    pub left: Option<f64>,
    /// The rate of the last day.
    pub rate_last_day: Option<f64>,
    /// Hours until the line is reached at the present rate and volume: 0 if it is crossed, none if it is not reached.
    pub hours_left: Option<f64>,
    /// One sentence.
    pub summary: String,
}

/// Where one stands to a line, from the volume that is looked at and the part of it that is of the last day.
pub fn status(threshold: &ReputationThreshold, volume: Proportion, last_day: Proportion) -> ThresholdStatus {
    let known = threshold.is_known && volume.mail > 0.0;
    let rate = known.then(|| volume.events / volume.mail);
    let rate_last_day = (threshold.is_known && last_day.mail > 0.0).then(|| last_day.events / last_day.mail);
    let hours_left = rate.and_then(|rate| {
        if rate >= threshold.limit {
            return Some(0.0);
        }
        let above = rate_last_day? - threshold.limit;
        // (events + r v t) / (mail + v t) = limit, with r and v those of the last day.
        (above > 0.0).then(|| {
            let hourly = last_day.mail / 24.0;
            (threshold.limit * volume.mail - volume.events) / (hourly * above)
        })
    });
    let mut status = ThresholdStatus {
        threshold: threshold.name,
        metric: threshold.metric,
        limit: threshold.limit,
        meaning: threshold.meaning,
        rate,
        numerator: known.then_some(volume.events),
        denominator: known.then_some(volume.mail),
        used: rate.map(|rate| rate / threshold.limit),
        left: known.then(|| (threshold.limit * volume.mail - volume.events).max(0.0).floor()),
        rate_last_day,
        hours_left,
        summary: String::new(),
    };
    status.summary = status.sentence(threshold);
    status
}

impl ThresholdStatus {
    fn sentence(&self, threshold: &ReputationThreshold) -> String {
        let percent = |rate: f64| format!("{:.*} %", if rate < 0.01 { 3 } else { 1 }, rate * 100.0);
        let (name, limit) = (threshold.metric.replace('_', " "), percent(threshold.limit));
        if !threshold.is_known {
            return format!(
                "{} {limit} of complaints; it tells SES of none: look at Google Postmaster Tools.",
                threshold.meaning
            );
        }
        let (Some(rate), Some(left)) = (self.rate, self.left) else {
            return format!("No mail; {} at {limit}.", threshold.meaning);
        };
        match self.hours_left {
            Some(hours) if hours <= 0.0 => {
                format!("The {name} is {}, beyond {limit}, where {}.", percent(rate), threshold.meaning)
            }
            Some(hours) => format!(
                "The {name} is {}; at the present rate it reaches {limit}, where {}, in about {hours:.0} hours.",
                percent(rate),
                threshold.meaning
            ),
            None => format!(
                "The {name} is {}; {left:.0} more fit below {limit}, where {}.",
                percent(rate),
                threshold.meaning
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes until there is danger, and whether it is of a pause, at so many mails a minute and this rate of hard bounces.
    fn danger(mails: f64, rate: impl Fn(u32) -> f64) -> Option<(u32, &'static str)> {
        let mut account = AccountReputation::default();
        (0..20_000).find_map(|minute| {
            let bounces_permanent = mails * rate(minute);
            let counts = Counts { sends: mails, bounces_permanent, ..Counts::default() };
            account.add(&counts, 1);
            account.danger(0, false).map(|(threshold, _)| (minute, threshold.name))
        })
    }

    #[test]
    fn a_line_is_told_before_it_is_crossed_and_not_for_a_moments_trouble() {
        assert_eq!(danger(100.0, |_| 0.02), None);
        // Ten minutes of every second mail in a day of good ones.
        assert_eq!(danger(100.0, |minute| if (8000..8010).contains(&minute) { 0.5 } else { 0.005 }), None);
        let (minute, threshold) = danger(100.0, |minute| if minute < 8000 { 0.01 } else { 0.12 }).unwrap();
        assert!((8001..8600).contains(&minute), "{minute}");
        assert_eq!(threshold, "ses_bounce_review");
        assert_eq!(danger(0.1, |_| 0.5), None, "hardly any mail");
    }

    fn check(events: f64, mail: f64, day_events: f64, day_mail: f64) -> ThresholdStatus {
        let day = Proportion { events: day_events, mail: day_mail };
        status(&REPUTATION_THRESHOLDS[0], Proportion { events, mail }, day)
    }

    #[test]
    fn the_line_is_reached_when_the_volume_with_what_comes_is_on_it() {
        let status = check(200.0, 10_000.0, 100.0, 1_000.0);
        let hours = status.hours_left.unwrap();
        let coming = 1_000.0 / 24.0 * hours;
        assert!(((200.0 + 0.1 * coming) / (10_000.0 + coming) - 0.05).abs() < 1e-9);
        assert_eq!(status.left, Some(300.0));
        assert!((status.used.unwrap() - 0.4).abs() < 1e-9);
    }

    #[test]
    fn a_rate_below_the_line_never_reaches_it_and_one_beyond_has() {
        assert_eq!(check(200.0, 10_000.0, 10.0, 1_000.0).hours_left, None);
        assert_eq!(check(600.0, 10_000.0, 0.0, 0.0).hours_left, Some(0.0));
        assert_eq!(check(600.0, 10_000.0, 0.0, 0.0).left, Some(0.0));
        assert_eq!(check(0.0, 0.0, 0.0, 0.0).rate, None);
    }

    #[test]
    fn what_ses_does_not_learn_has_no_rate() {
        let volume = Proportion { events: 1.0, mail: 100.0 };
        let status = status(&REPUTATION_THRESHOLDS[5], volume, volume);
        assert_eq!((status.rate, status.used, status.hours_left), (None, None, None));
        assert!(status.summary.contains("Postmaster"), "{}", status.summary);
    }
}
