//! The counts of one bucket and the metrics that are made of them.
//!
//! Detection knows numbers only, no messages. A metric says what it counts, which mail it is a share of, which direction is bad and how
//! large a change must be to be reported; every constant that belongs to a metric is in this file and nowhere else.

use serde::{Deserialize, Serialize};

use crate::minutes::MINUTES_PER_DAY;
use crate::numbers::normal_upper_tail;

/// What happened in one bucket to the mail of one (tenant, provider, campaign). Recipients are counted, not messages.
///
/// Counts are floating-point numbers because sums over decayed or weighted buckets are counts too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Recipients that mail was sent to.
    pub sends: f64,
    /// Recipients that mail was delivered to.
    pub deliveries: f64,
    /// Permanent bounces, suppressed mail included.
    pub bounces_permanent: f64,
    /// The part of the permanent bounces that SES leaves out of its bounce rate: suppressed mail, except for its global suppression list.
    pub outside_reputation: f64,
    /// Transient and undetermined bounces.
    pub bounces_transient: f64,
    /// The part of all bounces that the receiving side reported after it had accepted the mail: it is among the deliveries too.
    pub after_acceptance: f64,
    /// Mail that the receiving server deferred and that SES retries, at its first delay. In history and tables that do not tell the first
    /// one apart, all delay events.
    pub delays: f64,
    /// Complaints that mailbox providers reported to SES.
    pub complaints: f64,
    /// Opens, by people and machines.
    pub opens: f64,
    /// Clicks, by people and machines.
    pub clicks: f64,
    /// Sum over deliveries of the natural logarithm of the delivery time in milliseconds.
    pub latency_sum: f64,
    /// The number of deliveries behind [`Counts::latency_sum`].
    pub latency_weight: f64,
    /// Mail that SES accepted and that has no outcome yet, where a gauge event reports it.
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
        self.after_acceptance += other.after_acceptance;
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

    /// The bounces that SES counts against the sender.
    pub fn hard_bounces(&self) -> f64 {
        self.bounces_permanent - self.outside_reputation
    }

    /// Bounces of every type.
    pub(crate) fn bounces(&self) -> f64 {
        self.bounces_permanent + self.bounces_transient
    }

    /// Mail whose delivery succeeded or failed for good. What bounced after it was accepted counts once, as delivered.
    pub fn with_outcome(&self) -> f64 {
        self.deliveries + self.bounces() - self.after_acceptance
    }

    /// Adds a delivery time of `milliseconds` that was measured on `deliveries`. Values that are not positive are ignored.
    pub fn note_latency(&mut self, milliseconds: f64, deliveries: f64) {
        if milliseconds > 0.0 && deliveries > 0.0 {
            self.latency_sum += milliseconds.ln() * deliveries;
            self.latency_weight += deliveries;
        }
    }

    /// The events that are the numerator of a metric.
    pub fn events(&self, metric: MonitoredRate) -> f64 {
        match metric {
            MonitoredRate::HardBounce => self.hard_bounces(),
            MonitoredRate::Bounce => self.bounces(),
            MonitoredRate::Delay => self.delays,
            MonitoredRate::Delivery => self.deliveries,
            MonitoredRate::Complaint => self.complaints,
            MonitoredRate::Open => self.opens,
            MonitoredRate::Click => self.clicks,
        }
    }

    /// The mail that is the denominator of a rate. Where sends are not counted, mail with an outcome stands in for them.
    pub fn denominator(&self, denominator: Denominator) -> f64 {
        match denominator {
            Denominator::Sends if self.sends > 0.0 => self.sends,
            Denominator::Sends => self.with_outcome(),
            Denominator::Deliveries => self.deliveries,
        }
    }
}

/// Two percentiles of the delivery times of a row, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryTimePercentiles {
    /// The median, in milliseconds.
    pub p50: f64,
    /// The 95th percentile, in milliseconds; not below the median.
    pub p95: f64,
}

impl DeliveryTimePercentiles {
    /// From the percentiles that are known; none without a positive, finite 95th percentile.
    ///
    /// Where the median is missing or larger than the 95th percentile, the logarithms of the times are taken to have a standard deviation
    /// of 1.
    pub fn new(p50: Option<f64>, p95: Option<f64>) -> Option<Self> {
        let p95 = p95.filter(|time| *time > 0.0 && time.is_finite())?;
        let p50 = p50.filter(|time| *time > 0.0 && *time <= p95).unwrap_or(p95 * (-Z95).exp());
        Some(Self { p50, p95 })
    }

    /// The share of deliveries that take longer than `limit_ms`, if delivery times are log-normal.
    ///
    /// At the 95th percentile itself it is exactly 5 %, whatever the distribution.
    pub(crate) fn share_slower_than(&self, limit_ms: f64) -> f64 {
        let sigma = (self.p95 / self.p50).ln() / Z95;
        // All times are practically equal: the share is all or nothing.
        if sigma < 1e-3 {
            return if self.p95 > limit_ms { 1.0 } else { 0.0 };
        }
        normal_upper_tail((limit_ms.max(1e-3) / self.p50).ln() / sigma)
    }
}

/// The 95th percentile of the normal distribution, in standard deviations.
const Z95: f64 = 1.644_853_626_951_472;

/// The mail that a rate is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denominator {
    /// Recipients that mail was sent to, or that have an outcome where sends are not counted.
    Sends,
    /// Recipients that mail was delivered to.
    Deliveries,
}

/// A rate that is compared with its own past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MonitoredRate {
    /// Permanent bounces over sends.
    HardBounce,
    /// All bounces over sends: providers report a block as either type of bounce, or as both.
    Bounce,
    /// Delayed mail over sends.
    Delay,
    /// Deliveries over sends. A fall is bad.
    Delivery,
    /// Complaints over deliveries, those to Gmail included, which reports none.
    Complaint,
    /// Opens over deliveries. A fall is bad.
    Open,
    /// Clicks over deliveries. A fall is bad.
    Click,
}

/// How a metric is monitored. The minimums apply to all of an excursion, never to a single bucket.
#[derive(Clone, Copy, Debug)]
pub struct RateParameters {
    /// The mail it is a share of.
    pub denominator: Denominator,
    /// A small and a large change to test for, as factors of the expected rate; below 1 where a fall is bad.
    pub ratios: [f64; 2],
    /// Fewest events in excess (or missing) that are reported.
    pub min_events: f64,
    /// Smallest absolute change of the rate that is reported.
    pub min_rate_change: f64,
    /// Smallest relative change that is reported: observed over expected, or expected over observed where a fall is bad.
    pub min_factor: f64,
    /// The rate that is assumed before anything is learned.
    pub prior_rate: f64,
    /// History that is needed before anything is reported, in minutes.
    pub min_history_minutes: u32,
}

impl MonitoredRate {
    /// All metrics, in the order in which values per metric are stored.
    pub const ALL: [Self; 7] = [
        Self::HardBounce,
        Self::Bounce,
        Self::Delay,
        Self::Delivery,
        Self::Complaint,
        Self::Open,
        Self::Click,
    ];

    /// The name of the rate in the public API.
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

    /// How the metric is monitored. The numbers were chosen with the benchmark (`BENCHMARKS.md`).
    pub const fn parameters(self) -> RateParameters {
        const DAY: u32 = MINUTES_PER_DAY;
        let (denominator, ratios, min_events, min_rate_change, min_factor, prior_rate, min_history_minutes) =
            match self {
                Self::HardBounce => (Denominator::Sends, [2.0, 6.0], 8.0, 0.004, 1.6, 0.01, 2 * DAY),
                Self::Bounce => (Denominator::Sends, [2.0, 6.0], 8.0, 0.01, 1.6, 0.015, 2 * DAY),
                Self::Delay => (Denominator::Sends, [2.5, 8.0], 10.0, 0.03, 2.0, 0.03, 2 * DAY),
                Self::Delivery => (Denominator::Sends, [0.8, 0.4], 15.0, 0.08, 1.1, 0.97, 2 * DAY),
                Self::Complaint => (Denominator::Deliveries, [3.0, 12.0], 5.0, 0.0005, 2.2, 0.0005, 3 * DAY),
                Self::Open => (Denominator::Deliveries, [0.5, 0.15], 15.0, 0.0, 1.7, 0.2, 4 * DAY),
                Self::Click => (Denominator::Deliveries, [0.4, 0.1], 20.0, 0.0, 2.2, 0.03, 4 * DAY),
            };
        RateParameters {
            denominator,
            ratios,
            min_events,
            min_rate_change,
            min_factor,
            prior_rate,
            min_history_minutes,
        }
    }

    /// Whether a fall of the rate is bad, and a rise is not.
    pub const fn fall_is_bad(self) -> bool {
        matches!(self, Self::Delivery | Self::Open | Self::Click)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denominator_of_sends_falls_back_to_mail_with_an_outcome() {
        let outcomes =
            Counts { deliveries: 90.0, bounces_permanent: 6.0, bounces_transient: 4.0, ..Counts::default() };
        let counted = Counts { sends: 120.0, ..outcomes };
        for (counts, denominator, expected) in [
            (counted, Denominator::Sends, 120.0),
            (outcomes, Denominator::Sends, 100.0),
            (counted, Denominator::Deliveries, 90.0),
            (Counts::default(), Denominator::Sends, 0.0),
        ] {
            assert!((counts.denominator(denominator) - expected).abs() < 1e-12, "{denominator:?}");
        }
    }

    #[test]
    fn sums_keep_queue_depth_unknown_until_a_gauge_reports_it() {
        let mut sum = Counts::default();
        sum.add(&Counts { sends: 2.0, ..Counts::default() });
        assert_eq!(sum.queue_depth, None);
        sum.add(&Counts { queue_depth: Some(5.0), ..Counts::default() });
        sum.add(&Counts { queue_depth: Some(7.0), ..Counts::default() });
        assert_eq!(sum.queue_depth, Some(12.0));
    }

    #[test]
    fn delivery_times_that_are_not_positive_are_ignored() {
        let mut counts = Counts::default();
        for (milliseconds, deliveries) in [(0.0, 5.0), (-1.0, 5.0), (f64::NAN, 5.0), (100.0, 0.0)] {
            counts.note_latency(milliseconds, deliveries);
        }
        assert_eq!(counts, Counts::default());
        counts.note_latency(std::f64::consts::E, 3.0);
        assert!((counts.latency_sum - 3.0).abs() < 1e-12);
    }

    #[test]
    fn share_of_slow_deliveries_is_five_percent_at_the_95th_percentile() {
        for (p50, p95, limit_ms, expected) in [
            (1_000.0, 10_000.0, 10_000.0, 0.05),
            (1_000.0, 10_000.0, 1_000.0, 0.5),
            (1_000.0, 1_000.0, 999.0, 1.0),
            (1_000.0, 1_000.0, 1_000.0, 0.0),
        ] {
            let times = DeliveryTimePercentiles::new(Some(p50), Some(p95)).unwrap();
            let share = times.share_slower_than(limit_ms);
            assert!((share - expected).abs() < 1e-6, "{p50} {p95} {limit_ms}: {share}");
        }
    }

    #[test]
    fn percentiles_need_a_usable_95th_and_mend_a_missing_median() {
        for p95 in [None, Some(0.0), Some(-5.0), Some(f64::INFINITY), Some(f64::NAN)] {
            assert_eq!(DeliveryTimePercentiles::new(Some(1.0), p95), None, "{p95:?}");
        }
        for p50 in [None, Some(0.0), Some(20_000.0)] {
            let times = DeliveryTimePercentiles::new(p50, Some(10_000.0)).unwrap();
            assert!((times.p95 / times.p50 - Z95.exp()).abs() < 1e-9, "{p50:?}");
        }
    }

    #[test]
    fn parameters_of_every_metric_test_in_its_bad_direction() {
        for metric in MonitoredRate::ALL {
            let parameters = metric.parameters();
            let [small, large] = parameters.ratios;
            assert_eq!(small < 1.0, metric.fall_is_bad(), "{metric:?}");
            assert_eq!(large < small, metric.fall_is_bad(), "{metric:?}");
            assert!(
                (0.0..=1.0).contains(&parameters.prior_rate) && parameters.min_factor > 1.0,
                "{metric:?}"
            );
        }
    }
}
