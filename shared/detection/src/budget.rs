//! How far the lines are at which SES reviews an account or pauses it, and when they are reached at the present rate.
//!
//! SES looks at hard bounces and complaints over what it calls a representative volume of mail, which it does not state; the caller
//! decides which recent mail stands for it. Sources: <https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-bounce-rate.html>,
//! <https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-complaint-rate.html>,
//! <https://support.google.com/a/answer/14229414> (Gmail tells SES of no complaint, so its lines have no rate here).

use serde::Serialize;

/// A line not to be crossed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
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
pub const LINES: [Line; 6] = [
    line("ses_bounce_review", "hard_bounce_rate", 0.05, "SES reviews the account"),
    line("ses_bounce_pause", "hard_bounce_rate", 0.10, "SES may pause sending"),
    line("ses_complaint_review", "complaint_rate", 0.001, "SES reviews the account"),
    line("ses_complaint_pause", "complaint_rate", 0.005, "SES may pause sending"),
    Line {
        is_known: false,
        ..line("gmail_spam_target", "complaint_rate", 0.001, "Gmail asks senders to stay below")
    },
    Line {
        is_known: false,
        ..line("gmail_spam_limit", "complaint_rate", 0.003, "Gmail rejects or files as spam")
    },
];

const fn line(name: &'static str, metric: &'static str, limit: f64, meaning: &'static str) -> Line {
    Line { name, metric, limit, meaning, is_known: true }
}

/// Events and the mail they are a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Proportion {
    /// Events.
    pub events: f64,
    /// Mail.
    pub mail: f64,
}

/// Where one stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The line.
    pub line: &'static str,
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
    /// Hours until the line is reached at the last day's rate and volume: 0 if it is crossed, none if it is not reached.
    pub hours_left: Option<f64>,
    /// One sentence.
    pub summary: String,
}

/// Where one stands to a line, from the volume that is looked at and the part of it that is of the last day.
pub fn standing(line: &Line, volume: Proportion, last_day: Proportion) -> Standing {
    let known = line.is_known && volume.mail > 0.0;
    let rate = known.then(|| volume.events / volume.mail);
    let rate_last_day = (line.is_known && last_day.mail > 0.0).then(|| last_day.events / last_day.mail);
    let hours_left = rate.and_then(|rate| {
        if rate >= line.limit {
            return Some(0.0);
        }
        let above = rate_last_day? - line.limit;
        // (events + r v t) / (mail + v t) = limit, with r and v those of the last day.
        (above > 0.0).then(|| {
            let hourly = last_day.mail / 24.0;
            (line.limit * volume.mail - volume.events) / (hourly * above)
        })
    });
    let mut standing = Standing {
        line: line.name,
        metric: line.metric,
        limit: line.limit,
        meaning: line.meaning,
        rate,
        numerator: known.then_some(volume.events),
        denominator: known.then_some(volume.mail),
        used: rate.map(|rate| rate / line.limit),
        left: known.then(|| (line.limit * volume.mail - volume.events).max(0.0).floor()),
        rate_last_day,
        hours_left,
        summary: String::new(),
    };
    standing.summary = standing.sentence(line);
    standing
}

impl Standing {
    fn sentence(&self, line: &Line) -> String {
        let percent = |rate: f64| format!("{:.*} %", if rate < 0.01 { 3 } else { 1 }, rate * 100.0);
        let (name, limit) = (line.metric.replace('_', " "), percent(line.limit));
        if !line.is_known {
            return format!(
                "{} {limit} of complaints; it tells SES of none: look at Google Postmaster Tools.",
                line.meaning
            );
        }
        let (Some(rate), Some(left)) = (self.rate, self.left) else {
            return format!("No mail; {} at {limit}.", line.meaning);
        };
        match self.hours_left {
            Some(hours) if hours <= 0.0 => {
                format!("The {name} is {}, beyond {limit}, where {}.", percent(rate), line.meaning)
            }
            Some(hours) => format!(
                "The {name} is {}; at the last day's rate it reaches {limit}, where {}, in about {hours:.0} hours.",
                percent(rate),
                line.meaning
            ),
            None => format!(
                "The {name} is {}; {left:.0} more fit below {limit}, where {}.",
                percent(rate),
                line.meaning
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(events: f64, mail: f64, day_events: f64, day_mail: f64) -> Standing {
        let day = Proportion { events: day_events, mail: day_mail };
        standing(&LINES[0], Proportion { events, mail }, day)
    }

    #[test]
    fn the_line_is_reached_when_the_volume_with_what_comes_is_on_it() {
        let standing = check(200.0, 10_000.0, 100.0, 1_000.0);
        let hours = standing.hours_left.unwrap();
        let coming = 1_000.0 / 24.0 * hours;
        assert!(((200.0 + 0.1 * coming) / (10_000.0 + coming) - 0.05).abs() < 1e-9);
        assert_eq!(standing.left, Some(300.0));
        assert!((standing.used.unwrap() - 0.4).abs() < 1e-9);
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
        let standing = standing(&LINES[5], volume, volume);
        assert_eq!((standing.rate, standing.used, standing.hours_left), (None, None, None));
        assert!(standing.summary.contains("Postmaster"), "{}", standing.summary);
    }
}
