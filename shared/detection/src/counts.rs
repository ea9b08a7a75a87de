//! What is counted and watched: the counts of one bucket, and the metrics made of them.
//!
//! Knows numbers only. A metric says what it counts, what it is a part of, which way is bad, and how much of a change
//! is worth a word; every constant of a metric is here and nowhere else.

use serde::{Deserialize, Serialize};

use crate::numbers::normal_upper_tail;

/// What happened in one bucket to one (tenant, provider, campaign).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Recipients mail was sent to.
    pub sends: f64,
    /// Deliveries.
    pub deliveries: f64,
    /// Permanent bounces.
    pub bounces_permanent: f64,
    /// The part of the permanent bounces that SES leaves out of its bounce rate: suppressed mail, except to its global suppression list.
    pub outside_reputation: f64,
    /// Transient and undetermined bounces.
    pub bounces_transient: f64,
    /// Delivery delays (deferrals).
    pub delays: f64,
    /// Complaints.
    pub complaints: f64,
    /// Opens.
    pub opens: f64,
    /// Clicks.
    pub clicks: f64,
    /// Delivery time: natural logarithm of milliseconds, times the deliveries it was measured on.
    pub latency_sum: f64,
    /// The deliveries it was measured on.
    pub latency_weight: f64,
    /// Mail accepted without an outcome yet, if a gauge says so.
    pub queue_depth: Option<f64>,
}

impl Counts {
    /// Adds the counts of another series of the same bucket.
    pub fn add(&mut self, other: &Self) {
        self.sends += other.sends;
        self.deliveries += other.deliveries;
        self.bounces_permanent += other.bounces_permanent;
        self.outside_reputation += other.outside_reputation;
        self.bounces_transient += other.bounces_transient;
        self.delays += other.delays;
        self.complaints += other.complaints;
        self.opens += other.opens;
        self.clicks += other.clicks;
        self.latency_sum += other.latency_sum;
        self.latency_weight += other.latency_weight;
        if let Some(depth) = other.queue_depth {
            self.queue_depth = Some(self.queue_depth.unwrap_or(0.0) + depth);
        }
    }

    /// Bounces that SES counts against the sender.
    pub fn hard_bounces(&self) -> f64 {
        self.bounces_permanent - self.outside_reputation
    }

    /// Notes a delivery time in milliseconds, measured on `deliveries`.
    pub fn note_latency(&mut self, milliseconds: f64, deliveries: f64) {
        if milliseconds > 0.0 && deliveries > 0.0 {
            self.latency_sum += milliseconds.ln() * deliveries;
            self.latency_weight += deliveries;
        }
    }

    /// The count a rate is made of.
    pub fn of(&self, metric: Metric) -> f64 {
        match metric {
            Metric::HardBounce => self.hard_bounces(),
            Metric::Bounce => self.bounces_permanent + self.bounces_transient,
            Metric::Delay => self.delays,
            Metric::Delivery => self.deliveries,
            Metric::Complaint => self.complaints,
            Metric::Open => self.opens,
            Metric::Click => self.clicks,
        }
    }

    /// The count a rate is a part of. Where sends are not counted, mail with an outcome stands for them.
    pub fn denominator(&self, denominator: Denominator) -> f64 {
        match denominator {
            Denominator::Sends if self.sends > 0.0 => self.sends,
            Denominator::Sends => self.deliveries + self.bounces_permanent + self.bounces_transient,
            Denominator::Deliveries => self.deliveries,
        }
    }
}

/// How delivery times of a row spread, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryTimePercentiles {
    /// Half of the deliveries take no longer.
    pub p50: f64,
    /// 95 of 100 take no longer.
    pub p95: f64,
}

impl DeliveryTimePercentiles {
    /// From what is known of it; nothing without the 95th percentile. Where the median is not known, times spread e-fold.
    pub fn new(p50: Option<f64>, p95: Option<f64>) -> Option<Self> {
        let p95 = p95.filter(|time| *time > 0.0 && time.is_finite())?;
        let p50 = p50.filter(|time| *time > 0.0 && *time <= p95).unwrap_or(p95 * (-Z95).exp());
        Some(Self { p50, p95 })
    }

    /// The share of deliveries that take longer than so many milliseconds, if the logarithms of times are normal: exactly 5 % at the
    /// 95th percentile, whatever they are.
    pub(crate) fn slower_than(&self, limit: f64) -> f64 {
        let sigma = (self.p95 / self.p50).ln() / Z95;
        if sigma < 1e-3 {
            return if self.p95 > limit { 1.0 } else { 0.0 };
        }
        normal_upper_tail((limit.max(1e-3) / self.p50).ln() / sigma)
    }
}

/// The 95th percentile of the normal distribution, in standard deviations.
const Z95: f64 = 1.644_853_626_951_472;

/// What a rate is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denominator {
    /// Mail sent.
    Sends = 0,
    /// Mail delivered.
    Deliveries = 1,
}

/// A watched rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// Permanent bounces of sends.
    HardBounce = 0,
    /// All bounces of sends: a block is reported as either kind, or as both.
    Bounce = 1,
    /// Deferrals of sends.
    Delay = 2,
    /// Deliveries of sends: fewer is bad.
    Delivery = 3,
    /// Complaints of deliveries.
    Complaint = 4,
    /// Opens of deliveries: fewer is bad.
    Open = 5,
    /// Clicks of deliveries: fewer is bad.
    Click = 6,
}

/// How many rates are watched.
pub(crate) const METRIC_COUNT: usize = 7;

/// What a metric is watched for. Gates are on the whole excursion, never on one bucket.
#[derive(Clone, Copy, Debug)]
pub struct MetricParameters {
    /// What it is a part of.
    pub denominator: Denominator,
    /// Two changes looked for, as factors of the expected rate; below 1 when fewer is bad.
    pub ratios: [f64; 2],
    /// Fewest events in excess (or missing) before a word is said.
    pub least_events: f64,
    /// Smallest absolute change of the rate.
    pub least_gap: f64,
    /// Smallest relative change: seen over expected (or expected over seen).
    pub least_factor: f64,
    /// Rate assumed before anything is known.
    pub prior_rate: f64,
    /// History needed before a word is said, in minutes.
    pub least_history: u32,
}

const DAY: u32 = 24 * 60;

impl Metric {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; METRIC_COUNT] = [
        Self::HardBounce,
        Self::Bounce,
        Self::Delay,
        Self::Delivery,
        Self::Complaint,
        Self::Open,
        Self::Click,
    ];

    /// The name of its rate, as users know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HardBounce => "hard_bounce_rate",
            Self::Bounce => "bounce_rate",
            Self::Delay => "delay_rate",
            Self::Delivery => "delivery_rate",
            Self::Complaint => "complaint_rate",
            Self::Open => "open_rate",
            Self::Click => "click_rate",
        }
    }

    /// What it is watched for.
    pub const fn parameters(self) -> MetricParameters {
        let (denominator, ratios, least_events, least_gap, least_factor, prior_rate, least_history) =
            match self {
                Self::HardBounce => (Denominator::Sends, [2.0, 6.0], 8.0, 0.004, 1.6, 0.01, 2 * DAY),
                Self::Bounce => (Denominator::Sends, [2.0, 6.0], 8.0, 0.01, 1.6, 0.015, 2 * DAY),
                Self::Delay => (Denominator::Sends, [2.5, 8.0], 10.0, 0.03, 2.0, 0.03, 2 * DAY),
                Self::Delivery => (Denominator::Sends, [0.8, 0.4], 15.0, 0.08, 1.1, 0.97, 2 * DAY),
                Self::Complaint => (Denominator::Deliveries, [3.0, 12.0], 5.0, 0.0005, 2.2, 0.0005, 3 * DAY),
                Self::Open => (Denominator::Deliveries, [0.5, 0.15], 15.0, 0.0, 1.7, 0.2, 4 * DAY),
                Self::Click => (Denominator::Deliveries, [0.4, 0.1], 20.0, 0.0, 2.2, 0.03, 4 * DAY),
            };
        MetricParameters {
            denominator,
            ratios,
            least_events,
            least_gap,
            least_factor,
            prior_rate,
            least_history,
        }
    }

    /// Whether fewer is bad.
    pub const fn falls(self) -> bool {
        matches!(self, Self::Delivery | Self::Open | Self::Click)
    }
}
