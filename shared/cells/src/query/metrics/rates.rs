//! The table of rates: which count is divided by which.
//!
//! Denominators are those of SES and of common postmaster practice. A rate is computed last, from summed counts, and never averaged;
//! `query/proportion.rs` holds the arithmetic.

use super::counts::{
    BOUNCES, COMPLAINTS, DELAYED, DELIVERED_NET, DELIVERIES, HARD_BOUNCES, SENDS, UNIQUE_CLICKS,
    UNIQUE_OPENS, UNSUBSCRIBES,
};
use super::definition::{Direction, Formula, LimitPolicy, Metric, MetricDefinition, SilentProviders, Unit};
use super::metric_table;

metric_table! {
    /// All rates, in the order in which they are listed.
    RATES
    DELIVERY_RATE {
        name: "delivery_rate",
        label: "Delivery rate",
        unit: Fraction,
        better: HigherIsBetter,
        formula: Formula::ratio(DELIVERIES, SENDS),
        limit: LimitPolicy::DefaultLimit(0.95),
        description: "The share of sent mail that the receiving servers accepted.",
    }
    BOUNCE_RATE {
        name: "bounce_rate",
        label: "Bounce rate",
        unit: Fraction,
        better: LowerIsBetter,
        formula: Formula::ratio(BOUNCES, SENDS),
        limit: LimitPolicy::DefaultLimit(0.02),
        description: "The share of sent mail that bounced.",
    }
    // What SES looks at when it reviews an account:
    // https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-bounce-rate.html
    HARD_BOUNCE_RATE {
        name: "hard_bounce_rate",
        label: "Hard bounce rate",
        unit: Fraction,
        better: LowerIsBetter,
        formula: Formula::ratio(HARD_BOUNCES, SENDS),
        limit: LimitPolicy::Limitable,
        description: "The share of sent mail with a bounce that SES counts against the sender.",
    }
    COMPLAINT_RATE {
        name: "complaint_rate",
        label: "Complaint rate",
        unit: Fraction,
        better: LowerIsBetter,
        formula: Formula::ratio_where(COMPLAINTS, DELIVERIES, SilentProviders::CountedIfMixed),
        limit: LimitPolicy::DefaultLimit(0.001),
        description: "The share of delivered mail that was complained about.",
    }
    OPEN_RATE {
        name: "open_rate",
        label: "Open rate",
        unit: Fraction,
        better: HigherIsBetter,
        formula: Formula::ratio(UNIQUE_OPENS, DELIVERIES),
        description: "The share of delivered mail that people opened, whether the pixel or a click shows it.",
    }
    CLICK_RATE {
        name: "click_rate",
        label: "Click rate",
        unit: Fraction,
        better: HigherIsBetter,
        formula: Formula::ratio(UNIQUE_CLICKS, DELIVERIES),
        description: "The share of delivered mail in which people clicked.",
    }
    CLICK_TO_OPEN_RATE {
        name: "click_to_open_rate",
        label: "Click to open rate",
        unit: Fraction,
        better: HigherIsBetter,
        formula: Formula::ratio(UNIQUE_CLICKS, UNIQUE_OPENS),
        description: "The share of opened mail in which people clicked.",
    }
    DELAY_RATE {
        name: "delay_rate",
        label: "Delay rate",
        unit: Fraction,
        better: LowerIsBetter,
        formula: Formula::ratio(DELAYED, SENDS),
        description: "The share of sent mail that was delayed, however often.",
    }
    NET_DELIVERY_RATE {
        name: "net_delivery_rate",
        label: "Net delivery rate",
        unit: Fraction,
        better: HigherIsBetter,
        formula: Formula::ratio(DELIVERED_NET, SENDS),
        limit: LimitPolicy::Limitable,
        description: "The share of sent mail that was delivered and did not bounce afterwards.",
    }
    COMPLAINT_RATE_REPORTED {
        name: "complaint_rate_reported",
        label: "Complaint rate where reported",
        unit: Fraction,
        better: LowerIsBetter,
        formula: Formula::ratio_where(COMPLAINTS, DELIVERIES, SilentProviders::LeftOut),
        description: "The share of mail delivered at providers that report complaints to SES that was complained about.",
    }
    UNSUBSCRIBE_RATE {
        name: "unsubscribe_rate",
        label: "Unsubscribe rate",
        unit: Fraction,
        better: LowerIsBetter,
        formula: Formula::ratio(UNSUBSCRIBES, DELIVERIES),
        description: "Unsubscribes per delivered mail.",
    }
}
