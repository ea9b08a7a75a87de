//! Describes metrics: label, formula, unit, and the direction that is better.
//!
//! `GET /v1/metrics/catalogue` serves these descriptions, so that clients need no such table of their own.

use super::count::Count;
use super::metric::Metric;

/// The direction in which a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Higher values are better, as for a delivery rate.
    Higher,
    /// Lower values are better, as for a bounce rate.
    Lower,
    /// Neither direction is better.
    None,
}

impl Direction {
    /// The name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::None => "none",
        }
    }
}

impl Metric {
    /// A title for people, such as `Bounce rate`.
    pub fn label(self) -> String {
        match self {
            Self::Count(Count::DeliveredNet) => "Delivered, net".into(),
            Self::Count(Count::Simulator) => "Mail to the SES simulator".into(),
            Self::DeliveryMs(percent) => format!("Delivery time, p{percent}"),
            Self::DeliveryMsMean => "Delivery time, mean".into(),
            Self::Count(Count::BouncesFor(reason)) => format!("Bounces: {}", spaced(reason.name())),
            Self::Count(Count::DelaysFor(reason)) => format!("Delays: {}", spaced(reason.name())),
            Self::Count(_) | Self::Rate(_) | Self::QueueDepth => {
                let name = spaced(&self.name());
                let mut letters = name.chars();
                letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
            }
        }
    }

    /// `count`, `fraction` or `milliseconds`.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Count(_) | Self::QueueDepth => "count",
            Self::Rate(_) => "fraction",
            Self::DeliveryMs(_) | Self::DeliveryMsMean => "milliseconds",
        }
    }

    /// How the metric is computed: from the names of other metrics where it is made of them, otherwise in words.
    pub fn formula(self) -> String {
        match self {
            Self::Count(count) => formula(count).into(),
            Self::Rate(rate) => {
                let (numerator, denominator) = rate.parts();
                format!("{} / {}", Self::Count(numerator).name(), Self::Count(denominator).name())
            }
            Self::DeliveryMs(percent) => format!("{percent} of 100 deliveries took at most this long"),
            Self::DeliveryMsMean => "mean time from send to delivery".into(),
            Self::QueueDepth => "mean of the depths that senders and queues reported".into(),
        }
    }

    /// The direction that is better.
    pub const fn direction(self) -> Direction {
        match self {
            Self::Rate(rate) => {
                if rate.is_better_high() {
                    Direction::Higher
                } else {
                    Direction::Lower
                }
            }
            Self::Count(
                Count::Deliveries
                | Count::DeliveredNet
                | Count::Opens
                | Count::Clicks
                | Count::UniqueOpens
                | Count::UniqueClicks,
            ) => Direction::Higher,
            Self::Count(
                Count::Sends
                | Count::AutoReplies
                | Count::OpensMachine
                | Count::ClicksBot
                | Count::InFlight
                | Count::Simulator,
            ) => Direction::None,
            Self::DeliveryMs(_)
            | Self::DeliveryMsMean
            | Self::QueueDepth
            | Self::Count(
                Count::Bounces
                | Count::BouncesPermanent
                | Count::BouncesTransient
                | Count::BouncesUndetermined
                | Count::HardBounces
                | Count::Suppressed
                | Count::Complaints
                | Count::Rejects
                | Count::RenderingFailures
                | Count::Delays
                | Count::Unsubscribes
                | Count::BouncesFor(_)
                | Count::DelaysFor(_),
            ) => Direction::Lower,
        }
    }

    /// The names of numerator and denominator, if the metric is a rate.
    pub fn parts(self) -> Option<(String, String)> {
        let Self::Rate(rate) = self else { return None };
        let (numerator, denominator) = rate.parts();
        Some((Self::Count(numerator).name(), Self::Count(denominator).name()))
    }
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

const fn formula(count: Count) -> &'static str {
    match count {
        Count::Sends => "recipients of messages that SES accepted",
        Count::Deliveries => "recipients whose mail server took the message",
        Count::DeliveredNet => {
            "deliveries - bounces that the receiving server reported after it had accepted the message"
        }
        Count::Bounces => "bounces_permanent + bounces_transient + bounces_undetermined",
        Count::BouncesPermanent => "recipients with a permanent bounce",
        Count::BouncesTransient => "recipients with a transient bounce, automatic replies left out",
        Count::BouncesUndetermined => "recipients with a bounce of undetermined type",
        Count::HardBounces => {
            "bounces_permanent - suppressed mail that SES leaves out of its own bounce rate"
        }
        Count::Suppressed => "the part of bounces_permanent that SES did not try to deliver",
        Count::AutoReplies => "automatic replies, which SES publishes as transient bounces",
        Count::Complaints => "complaints, each counted once",
        Count::Rejects => "recipients of messages that SES refused for their content",
        Count::RenderingFailures => "recipients of messages whose template could not be rendered",
        Count::Delays => "delivery delays",
        Count::Opens => "opens, by people and machines",
        Count::OpensMachine => "the part of opens made by machines",
        Count::Clicks => "clicks, by people and machines",
        Count::ClicksBot => "the part of clicks made by machines",
        Count::Unsubscribes => "unsubscribes",
        Count::UniqueOpens => "messages that people opened",
        Count::UniqueClicks => "messages that people clicked in",
        Count::InFlight => "sends - deliveries - bounces - rejects - rendering_failures, at least 0",
        Count::Simulator => "events of mail to the SES mailbox simulator, which no other metric counts",
        Count::BouncesFor(_) => "the part of bounces classified with this reason",
        Count::DelaysFor(_) => "the part of delays classified with this reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_label_of_its_own() {
        let mut labels: Vec<String> = Metric::all().map(Metric::label).collect();
        let count = labels.len();
        assert!(labels.iter().all(|label| label.starts_with(char::is_uppercase)), "{labels:?}");
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), count);
    }

    #[test]
    fn a_rate_is_described_by_its_counts() {
        let rate = Metric::from_name("bounce_rate").unwrap();
        let described = (rate.label(), rate.unit(), rate.formula(), rate.direction());
        let expected = ("Bounce rate".into(), "fraction", "bounces / sends".into(), Direction::Lower);
        assert_eq!(described, expected);
        assert_eq!(Metric::from_name("open_rate").unwrap().direction(), Direction::Higher);
        assert_eq!(Metric::from_name("delivery_ms_p95").unwrap().label(), "Delivery time, p95");
        assert_eq!(Metric::from_name("bounces_spam_block").unwrap().label(), "Bounces: spam block");
    }
}
