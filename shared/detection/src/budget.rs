//! How close an account is to the reputation thresholds at which SES reviews it or pauses its sending, and when it reaches them at the
//! present rate.
//!
//! SES computes hard bounce and complaint rates over what it calls a representative volume of mail, which it does not specify; the caller
//! decides which recent mail stands for it. Sources: <https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-bounce-rate.html>,
//! <https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-complaint-rate.html>,
//! <https://support.google.com/a/answer/14229414> (Gmail reports no complaints to SES, so its thresholds have no rate here).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::counts::{Counts, Denominator};
use crate::cusum::to_f32;
use crate::outcome_delay::DecayFactors;
use crate::send_balance::SendBalance;
use crate::wording;

/// The volume of mail, in messages, that is taken to be representative. SES does not specify its own.
pub const VOLUME: f64 = 10_000.0;
/// Time constants, in minutes: of the volume, and of the present rate.
const DAY_MINUTES: f64 = 1440.0;
const PRESENT_MINUTES: f64 = 180.0;
/// Less mail than this is not representative.
const MIN_MAIL: f64 = VOLUME / 2.0;
/// A threshold is reported if it is reached within this many hours and the rate is at this share of it already.
const SOON_HOURS: f64 = 24.0;
const SOON_USED: f64 = 0.5;
/// An open alert goes on until the rate is below this share of its threshold.
const CLEAR_USED: f64 = 0.9;

/// A reputation threshold of SES or a mailbox provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReputationThreshold {
    /// Its stable name in the public API.
    pub name: &'static str,
    /// The metric's name in the public API.
    pub metric: &'static str,
    /// The rate, as a fraction.
    pub limit: f64,
    /// What happens at the threshold.
    pub meaning: &'static str,
    /// Whether SES learns of the events that are counted.
    pub is_known_to_ses: bool,
}

/// The thresholds that are compared, by provider and rate, the lower ones first.
pub const REPUTATION_THRESHOLDS: [ReputationThreshold; 6] = [
    known_to_ses("ses_bounce_review", "hard_bounce_rate", 0.05, "SES reviews the account"),
    known_to_ses("ses_bounce_pause", "hard_bounce_rate", 0.10, "SES may pause sending"),
    known_to_ses("ses_complaint_review", "complaint_rate", 0.001, "SES reviews the account"),
    known_to_ses("ses_complaint_pause", "complaint_rate", 0.005, "SES may pause sending"),
    ReputationThreshold {
        name: "gmail_spam_target",
        metric: "complaint_rate",
        limit: 0.001,
        meaning: "Gmail asks senders to stay below",
        is_known_to_ses: false,
    },
    ReputationThreshold {
        name: "gmail_spam_limit",
        metric: "complaint_rate",
        limit: 0.003,
        meaning: "Gmail rejects mail or files it as spam above",
        is_known_to_ses: false,
    },
];

const fn known_to_ses(
    name: &'static str,
    metric: &'static str,
    limit: f64,
    meaning: &'static str,
) -> ReputationThreshold {
    ReputationThreshold { name, metric, limit, meaning, is_known_to_ses: true }
}

/// Events and the mail that they are a share of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Proportion {
    /// Hard bounces or complaints.
    pub events: f64,
    /// The mail they are a share of: sends or deliveries.
    pub mail: f64,
}

/// A rate that SES has reputation thresholds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReputationRate {
    HardBounce,
    Complaint,
}

impl ReputationRate {
    /// The metric's name in the public API.
    const fn metric(self) -> &'static str {
        match self {
            Self::HardBounce => "hard_bounce_rate",
            Self::Complaint => "complaint_rate",
        }
    }
}

/// An account's recent mail, updated bucket by bucket: that of the last day, or about [`VOLUME`] messages where that takes longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountReputation {
    hard_bounces: RecentRate,
    complaints: RecentRate,
    balance: SendBalance,
}

/// One rate over the representative volume and at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct RecentRate {
    volume: DecayedProportion,
    present: DecayedProportion,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct DecayedProportion {
    events: f32,
    mail: f32,
}

impl AccountReputation {
    /// Adds a bucket of `bucket_minutes`, the width that `decay` was made for.
    pub(crate) fn add(&mut self, counts: &Counts, bucket_minutes: u32, decay: &DecayFactors) {
        self.balance.add(counts, decay.over_a_day(), decay);
        let sends = counts.denominator(Denominator::Sends);
        self.hard_bounces.add(counts.hard_bounces(), sends, bucket_minutes);
        self.complaints.add(counts.complaints, counts.deliveries, bucket_minutes);
    }

    const fn rate(&self, rate: ReputationRate) -> &RecentRate {
        match rate {
            ReputationRate::HardBounce => &self.hard_bounces,
            ReputationRate::Complaint => &self.complaints,
        }
    }

    /// The events of a rate in the representative volume.
    pub(crate) fn events(&self, rate: ReputationRate) -> f64 {
        self.rate(rate).volume.events.into()
    }

    /// The highest threshold of a rate that is crossed, or will be soon at the present rate. If an alert is open already, a threshold
    /// that is still close counts too. None without a representative volume.
    pub(crate) fn danger(
        &self,
        rate: ReputationRate,
        is_open: bool,
    ) -> Option<(ReputationThreshold, ThresholdStatus)> {
        // Hard bounces are a share of the sends, complaints of the deliveries.
        if rate == ReputationRate::HardBounce && self.balance.are_sends_unknown() {
            return None;
        }
        let RecentRate { volume, present } = *self.rate(rate);
        let volume = volume.proportion();
        // SES computes its rates over a representative volume, so a rate over less mail is not comparable.
        if volume.mail < MIN_MAIL {
            return None;
        }
        let present = present.proportion();
        // The present rate and volume, continued for a day.
        let scale = DAY_MINUTES / PRESENT_MINUTES;
        let day = Proportion { events: scale * present.events, mail: scale * present.mail };
        REPUTATION_THRESHOLDS
            .into_iter()
            .filter(|threshold| threshold.is_known_to_ses && threshold.metric == rate.metric())
            .map(|threshold| (threshold, threshold_status(&threshold, volume, day)))
            .filter(|(_, status)| status.is_danger(is_open))
            // Crossing the higher threshold has the worse consequence, and one alert per rate is enough.
            .max_by(|a, b| a.0.limit.total_cmp(&b.0.limit))
    }
}

impl RecentRate {
    fn add(&mut self, events: f64, mail: f64, bucket_minutes: u32) {
        let [day, present] =
            [DAY_MINUTES, PRESENT_MINUTES].map(|minutes| (-f64::from(bucket_minutes) / minutes).exp());
        // Decays no faster than the volume is replaced, so that little mail is remembered for longer than a day.
        self.volume.add(events, mail, day.max(1.0 - mail / VOLUME));
        self.present.add(events, mail, present);
    }
}

impl DecayedProportion {
    fn add(&mut self, events: f64, mail: f64, keep: f64) {
        self.events = to_f32(keep * f64::from(self.events) + events);
        self.mail = to_f32(keep * f64::from(self.mail) + mail);
    }

    fn proportion(self) -> Proportion {
        Proportion { events: self.events.into(), mail: self.mail.into() }
    }
}

/// The distance of a rate to a threshold at which SES or a mailbox provider acts against a sender.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ReputationThresholdStatus")]
pub struct ThresholdStatus {
    /// The name of the threshold.
    #[serde(rename = "line")]
    pub threshold: &'static str,
    /// The name of the metric.
    pub metric: &'static str,
    /// The threshold, as a fraction.
    pub limit: f64,
    /// What happens at the threshold.
    pub meaning: &'static str,
    /// The rate over the representative volume of mail that SES evaluates; null without mail, or where SES learns of no events.
    pub rate: Option<f64>,
    /// Events in the representative volume; null where the rate is.
    pub numerator: Option<f64>,
    /// Messages in the representative volume; null where the rate is.
    pub denominator: Option<f64>,
    /// The rate as a share of the threshold; 1 or more is beyond it.
    pub used: Option<f64>,
    /// Further events in the representative volume until the threshold is reached.
    pub left: Option<f64>,
    /// The rate of the last day; null without mail.
    pub rate_last_day: Option<f64>,
    /// Hours until the threshold is reached at the rate and volume of the last day: 0 if it is crossed, null if it is not reached.
    pub hours_left: Option<f64>,
    /// The distance in one sentence.
    pub summary: String,
}

/// Compares a threshold with the rate over the representative volume and over the part of it that is of the last day.
pub fn threshold_status(
    threshold: &ReputationThreshold,
    volume: Proportion,
    last_day: Proportion,
) -> ThresholdStatus {
    let is_known = threshold.is_known_to_ses && volume.mail > 0.0;
    let rate = is_known.then(|| volume.events / volume.mail);
    let rate_last_day =
        (threshold.is_known_to_ses && last_day.mail > 0.0).then(|| last_day.events / last_day.mail);
    let hours_left = rate.and_then(|rate| {
        if rate >= threshold.limit {
            return Some(0.0);
        }
        let above = rate_last_day? - threshold.limit;
        // Solves (events + r v t) / (mail + v t) = limit for t, where r and v are the rate and the hourly volume of the last day.
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
        numerator: is_known.then_some(volume.events),
        denominator: is_known.then_some(volume.mail),
        used: rate.map(|rate| rate / threshold.limit),
        left: is_known.then(|| (threshold.limit * volume.mail - volume.events).max(0.0).floor()),
        rate_last_day,
        hours_left,
        summary: String::new(),
    };
    status.summary = status.sentence(threshold);
    status
}

impl ThresholdStatus {
    /// Whether the threshold is crossed or will be soon; if an alert is open, also whether the rate is still close to it.
    fn is_danger(&self, is_open: bool) -> bool {
        let Some(used) = self.used else { return false };
        // Brief trouble would reach the threshold within a day only if it went on. Until half of the threshold is used, the anomaly is enough.
        let is_soon = self.hours_left.is_some_and(|hours| hours <= SOON_HOURS) && used >= SOON_USED;
        // An open alert ends only clearly below its threshold, so that it does not flap.
        used >= 1.0 || is_soon || (is_open && used >= CLEAR_USED)
    }

    fn sentence(&self, threshold: &ReputationThreshold) -> String {
        let percent = |rate: f64| format!("{:.*} %", if rate < 0.01 { 3 } else { 1 }, rate * 100.0);
        let (name, limit) = (wording::metric(threshold.metric), percent(threshold.limit));
        let meaning = threshold.meaning;
        if !threshold.is_known_to_ses {
            return format!(
                "{meaning} a {name} of {limit}; Gmail reports no complaints to SES, so see Google Postmaster Tools."
            );
        }
        let (Some(rate), Some(left)) = (self.rate, self.left) else {
            return format!("No mail was sent; at a {name} of {limit} {meaning}.");
        };
        let rate = percent(rate);
        match self.hours_left {
            Some(hours) if hours <= 0.0 => {
                format!("The {name} is {rate}, above the threshold of {limit} at which {meaning}.")
            }
            Some(hours) => format!(
                "The {name} is {rate}; at the present rate it reaches {limit}, at which {meaning}, in about {hours:.0} hours."
            ),
            None => format!(
                "The {name} is {rate}; {left:.0} more events would bring it to {limit}, at which {meaning}."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes until a threshold is in danger, and its name, for this many messages per minute and this rate of hard bounces.
    fn danger(messages: f64, rate: impl Fn(u32) -> f64) -> Option<(u32, &'static str)> {
        let mut account = AccountReputation::default();
        (0..20_000).find_map(|minute| {
            let bounces_permanent = messages * rate(minute);
            let counts = Counts { sends: messages, bounces_permanent, ..Counts::default() };
            account.add(&counts, 1, &DecayFactors::new(1));
            let danger = account.danger(ReputationRate::HardBounce, false);
            danger.map(|(threshold, _)| (minute, threshold.name))
        })
    }

    #[test]
    fn threshold_is_in_danger_before_it_is_crossed_and_not_for_brief_trouble() {
        assert_eq!(danger(100.0, |_| 0.02), None);
        // Ten minutes with a bounce for every second message, in a day of good ones.
        assert_eq!(danger(100.0, |minute| if (8000..8010).contains(&minute) { 0.5 } else { 0.005 }), None);
        let (minute, threshold) = danger(100.0, |minute| if minute < 8000 { 0.01 } else { 0.12 }).unwrap();
        assert!((8001..8600).contains(&minute), "{minute}");
        assert_eq!(threshold, "ses_bounce_review");
        assert_eq!(danger(0.1, |_| 0.5), None, "hardly any mail");
    }

    fn check(events: f64, mail: f64, day_events: f64, day_mail: f64) -> ThresholdStatus {
        let day = Proportion { events: day_events, mail: day_mail };
        threshold_status(&REPUTATION_THRESHOLDS[0], Proportion { events, mail }, day)
    }

    #[test]
    fn threshold_is_reached_when_the_volume_including_future_mail_is_at_it() {
        let status = check(200.0, 10_000.0, 100.0, 1_000.0);
        let hours = status.hours_left.unwrap();
        let coming = 1_000.0 / 24.0 * hours;
        assert!(((200.0 + 0.1 * coming) / (10_000.0 + coming) - 0.05).abs() < 1e-9);
        assert_eq!(status.left, Some(300.0));
        assert!((status.used.unwrap() - 0.4).abs() < 1e-9);
    }

    #[test]
    fn rate_below_the_threshold_never_reaches_it_and_one_above_has_crossed_it() {
        assert_eq!(check(200.0, 10_000.0, 10.0, 1_000.0).hours_left, None);
        assert_eq!(check(600.0, 10_000.0, 0.0, 0.0).hours_left, Some(0.0));
        assert_eq!(check(600.0, 10_000.0, 0.0, 0.0).left, Some(0.0));
        assert_eq!(check(0.0, 0.0, 0.0, 0.0).rate, None);
    }

    #[test]
    fn events_that_ses_does_not_learn_of_have_no_rate() {
        let volume = Proportion { events: 1.0, mail: 100.0 };
        let status = threshold_status(&REPUTATION_THRESHOLDS[5], volume, volume);
        assert_eq!((status.rate, status.used, status.hours_left), (None, None, None));
        assert!(status.summary.contains("Postmaster"), "{}", status.summary);
    }

    #[test]
    fn sentence_says_where_the_account_stands() {
        for (status, sentence) in [
            (
                check(0.0, 0.0, 0.0, 0.0),
                "No mail was sent; at a hard bounce rate of 5.0 % SES reviews the account.",
            ),
            (
                check(600.0, 10_000.0, 0.0, 0.0),
                "The hard bounce rate is 6.0 %, above the threshold of 5.0 % at which SES reviews the account.",
            ),
            (
                check(200.0, 10_000.0, 100.0, 1_000.0),
                "The hard bounce rate is 2.0 %; at the present rate it reaches 5.0 %, at which SES reviews the account, in about 144 hours.",
            ),
            (
                check(200.0, 10_000.0, 10.0, 1_000.0),
                "The hard bounce rate is 2.0 %; 300 more events would bring it to 5.0 %, at which SES reviews the account.",
            ),
        ] {
            assert_eq!(status.summary, sentence);
        }
    }

    #[test]
    fn open_alert_goes_on_while_the_rate_is_close_to_its_threshold() {
        for (used, hours_left, is_open, is_danger) in [
            (0.95, None, false, false),
            (0.95, None, true, true),
            (0.85, None, true, false),
            (1.0, Some(0.0), false, true),
            (0.5, Some(24.0), false, true),
            (0.49, Some(1.0), false, false),
            (0.9, Some(25.0), false, false),
        ] {
            let status = ThresholdStatus { used: Some(used), hours_left, ..check(0.0, 1.0, 0.0, 0.0) };
            assert_eq!(status.is_danger(is_open), is_danger, "{used} {hours_left:?} {is_open}");
        }
    }

    #[test]
    fn statuses_keep_their_names_in_the_public_api() {
        let json = serde_json::to_value(check(1.0, 100.0, 0.0, 0.0)).unwrap();
        assert_eq!(json["line"], "ses_bounce_review");
        let names = REPUTATION_THRESHOLDS.map(|threshold| threshold.name);
        assert!(names.iter().all(|name| name.starts_with("ses_") || name.starts_with("gmail_")));
    }
}
