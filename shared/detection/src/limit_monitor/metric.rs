//! The metrics that limits can be set on, and the windows over which each is evaluated.
//!
//! Every constant that depends on the metric is here; how a breach is decided is in the parent.

use serde::{Deserialize, Serialize};

use crate::rules::Limits;

/// A fast breach is a rate above this many times the limit.
const FAST_FACTOR: f64 = 2.0;
/// The share of deliveries that may take longer than the limit on the 95th percentile.
pub(super) const SLOW_SHARE: f64 = 0.05;

/// What a limit can be set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LimitedMetric {
    /// The delivery rate: bounces of mail with an outcome, against 1 minus the limit. Mail that bounced after it was accepted was
    /// delivered.
    Delivery,
    /// The net delivery rate: the same with the bounces after acceptance.
    NetDelivery,
    /// Permanent, transient and undetermined bounces.
    Bounce,
    /// Bounces that SES counts against the sender: permanent ones without suppressed mail, except for its global suppression list.
    HardBounce,
    /// Complaints, over the deliveries that they are due for.
    Complaint,
    /// The 95th percentile of delivery time.
    DeliveryTime,
    /// Mail accepted by SES without an outcome, or the depth that a gauge reports.
    Queue,
}

/// A short and a long window in which a rate must exceed `factor` times its limit.
#[derive(Clone, Copy)]
pub(super) struct WindowPair {
    pub(super) short_half_hours: u32,
    pub(super) long_half_hours: u32,
    pub(super) factor: f64,
}

impl LimitedMetric {
    /// Every metric that a limit can be set on, in the order in which breaches are reported.
    pub const ALL: [Self; 7] = [
        Self::Delivery,
        Self::NetDelivery,
        Self::Bounce,
        Self::HardBounce,
        Self::Complaint,
        Self::DeliveryTime,
        Self::Queue,
    ];

    /// The metric's name in the public API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery_rate",
            Self::NetDelivery => "net_delivery_rate",
            Self::Bounce => "bounce_rate",
            Self::HardBounce => "hard_bounce_rate",
            Self::Complaint => "complaint_rate",
            Self::DeliveryTime => "delivery_ms_p95",
            Self::Queue => "queue_depth",
        }
    }

    /// The limit on this metric as users set it, in the metric's unit; none without one. A floor for the delivery rates, else a ceiling.
    pub const fn limit_in(self, limits: &Limits) -> Option<f64> {
        match self {
            Self::Delivery => limits.delivery_rate,
            Self::NetDelivery => limits.net_delivery_rate,
            Self::Bounce => limits.bounce_rate,
            Self::HardBounce => limits.hard_bounce_rate,
            Self::Complaint => limits.complaint_rate,
            Self::DeliveryTime => limits.delivery_ms_p95,
            Self::Queue => limits.queue_depth,
        }
    }

    /// The largest allowed share of bad outcomes, or the largest allowed queue depth; none without a limit.
    pub(super) fn allowed(self, limits: &Limits) -> Option<f64> {
        let limit = self.limit_in(limits)?;
        Some(match self {
            Self::Delivery | Self::NetDelivery => 1.0 - limit,
            Self::DeliveryTime => SLOW_SHARE,
            Self::Bounce | Self::HardBounce | Self::Complaint | Self::Queue => limit,
        })
    }

    /// Whether it is a share of the mail that was sent, and so is not known where sends are missing.
    pub(super) const fn is_by_sends(self) -> bool {
        match self {
            Self::Delivery | Self::NetDelivery | Self::Bounce | Self::HardBounce => true,
            Self::Complaint | Self::DeliveryTime | Self::Queue => false,
        }
    }

    /// The windows for a lasting breach and for a fast one.
    pub(super) const fn windows(self) -> [WindowPair; 2] {
        let (slow, fast) = match self {
            Self::Delivery | Self::NetDelivery | Self::Bounce | Self::HardBounce => ((24, 96), (2, 12)),
            // Complaints lag their mail by hours, so an hour of both is no evidence of a rate.
            Self::Complaint => ((24, 96), (12, 48)),
            Self::DeliveryTime | Self::Queue => ((4, 24), (2, 6)),
        };
        [
            WindowPair { short_half_hours: slow.0, long_half_hours: slow.1, factor: 1.0 },
            WindowPair { short_half_hours: fast.0, long_half_hours: fast.1, factor: FAST_FACTOR },
        ]
    }

    /// The short window of a lasting breach.
    pub(super) const fn usual_window(self) -> u32 {
        let [lasting, _] = self.windows();
        lasting.short_half_hours
    }

    pub(super) const fn min_events(self) -> f64 {
        match self {
            Self::Delivery | Self::NetDelivery | Self::Bounce | Self::HardBounce => 8.0,
            Self::Complaint => 5.0,
            Self::DeliveryTime | Self::Queue => 20.0,
        }
    }
}

/// A value for each [`LimitedMetric`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PerLimit<T> {
    delivery: T,
    net_delivery: T,
    bounce: T,
    hard_bounce: T,
    complaint: T,
    delivery_time: T,
    queue: T,
}

impl<T> PerLimit<T> {
    pub(super) fn get_mut(&mut self, metric: LimitedMetric) -> &mut T {
        match metric {
            LimitedMetric::Delivery => &mut self.delivery,
            LimitedMetric::NetDelivery => &mut self.net_delivery,
            LimitedMetric::Bounce => &mut self.bounce,
            LimitedMetric::HardBounce => &mut self.hard_bounce,
            LimitedMetric::Complaint => &mut self.complaint,
            LimitedMetric::DeliveryTime => &mut self.delivery_time,
            LimitedMetric::Queue => &mut self.queue,
        }
    }
}
