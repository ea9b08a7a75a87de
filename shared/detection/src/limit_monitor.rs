//! Monitors the limits that operators and tenants set: a limit is broken if a rate exceeds it beyond doubt in a short and in a long window.
//!
//! An exact binomial test and a least number of events decide: one bounce among 13 messages proves nothing, 30 among 500 do. A breach
//! lasts until the rate has been clearly below its limit, so a rate close to its limit does not flap. The two windows are the burn-rate
//! method of the Google SRE Workbook, chapter 5. A limit on the 95th percentile of delivery time is one on the share of mail that takes
//! longer (5 %); a limit on queue depth is one on a level. What another alert has reported must never be reported again as a breach.

mod metric;

use event::Minute;
use serde::{Deserialize, Serialize};

pub use self::metric::LimitedMetric;
use self::metric::{PerLimit, WindowPair};
use crate::baseline::EventSums;
use crate::counts::{Counts, DeliveryTimePercentiles, Denominator, MonitoredRate};
use crate::cusum::to_f32;
use crate::minutes::{self, minutes_between};
use crate::numbers::binomial_upper_tail;
use crate::outcome_delay::LeakyIntegrators;
use crate::ring::Ring;
use crate::rules::Limits;
use crate::send_balance::{AwaitingMail, are_sends_unknown};
use crate::series_monitor::BucketContext;

/// Windows consist of half hours, of which two days are kept.
const HALF_HOUR_MINUTES: u32 = 30;
const HALF_HOURS: u32 = 96;
const HALF_HOURS_PER_DAY: u32 = 48;
/// A limit is broken if as many events have at most this probability at a rate equal to the limit.
const MAX_P_VALUE: f64 = 1e-4;
/// A breach ends below this share of its limit.
const CLEAR_SHARE: f64 = 0.8;
/// It also ends when as few events as in these last half hours have at most this probability at a rate equal to the limit.
const OVER_HALF_HOURS: u32 = 3;
const OVER_P_VALUE: f64 = 1e-3;
/// A queue must be above its limit for this many minutes.
const MIN_WAITING_MINUTES: u32 = 10;
/// Half-life of mail without an outcome, in minutes, because for some mail no outcome ever arrives.
const IN_FLIGHT_HALF_LIFE_MINUTES: f64 = 360.0;
/// A reading of a gauge is valid for this many minutes, or until the next one.
const GAUGE_VALID_MINUTES: u32 = 15;

/// The delivery times of a bucket, compared with a limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlowDeliveries {
    /// Deliveries with a known time.
    measured: f64,
    /// Those that took longer than the limit.
    slow: f64,
    /// Sum over deliveries of the logarithm of the 95th percentile in milliseconds.
    p95_sum: f64,
}

impl SlowDeliveries {
    /// Adds deliveries with these percentiles.
    pub fn add(&mut self, times: DeliveryTimePercentiles, deliveries: f64, limit_ms: f64) {
        self.measured += deliveries;
        self.slow += deliveries * times.share_slower_than(limit_ms);
        self.p95_sum += deliveries * times.p95.ln();
    }
}

/// A limit that is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitBreach {
    /// The metric with the limit.
    pub metric: LimitedMetric,
    /// Bad outcomes in the short window.
    pub events: f64,
    /// The mail that they are a share of.
    pub denominator: f64,
    /// The value of a metric that is not a rate: milliseconds, or waiting messages.
    pub level: Option<f64>,
    /// The limit as users set it.
    pub limit: f64,
    /// The short window, in minutes.
    pub window_minutes: u32,
}

/// Half-hourly counts of the last two days, and which limits were broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitWindows {
    half_hours: Ring<HalfHour, { HALF_HOURS as usize }>,
    /// The present half hour, counted since 1970.
    current: u32,
    is_broken: PerLimit<bool>,
    covered: LastCovered,
    #[serde(with = "minutes::stored")]
    now: Minute,
    /// Deliveries, remembered until their complaints have come.
    delivered: LeakyIntegrators,
    awaiting: AwaitingMail,
    /// Mail sent less mail with an outcome, slowly forgotten.
    in_flight: f32,
    queue: QueueDepth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct HalfHour {
    with_outcome: f32,
    /// The part of `with_outcome` for which no send is known.
    unexplained: f32,
    permanent: f32,
    outside_reputation: f32,
    transient: f32,
    after_acceptance: f32,
    deliveries: f32,
    /// Deliveries whose complaints are due in this half hour.
    complaints_due: f32,
    complaints: f32,
    measured: f32,
    slow: f32,
    p95_sum: f32,
}

/// The queue depth, and since when it has been above its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct QueueDepth {
    messages: f32,
    /// When a gauge last reported it.
    #[serde(with = "minutes::stored_option")]
    gauged: Option<Minute>,
    /// Since when it has been above the limit.
    #[serde(with = "minutes::stored_option")]
    above_limit_since: Option<Minute>,
}

/// The half hours in which another alert last covered bounces, complaints and delivery times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct LastCovered {
    delivery: Option<u32>,
    complaint: Option<u32>,
    latency: Option<u32>,
}

/// What open anomaly alerts report already. Their mail is not counted against a limit as well.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlertCoverage {
    pub delivery: bool,
    pub complaint: bool,
    pub latency: bool,
}

impl AlertCoverage {
    /// Adds what other alerts cover.
    pub(crate) fn add(&mut self, other: Self) {
        self.delivery |= other.delivery;
        self.complaint |= other.complaint;
        self.latency |= other.latency;
    }
}

impl LimitWindows {
    /// Windows without any mail.
    pub fn new(now: Minute) -> Self {
        Self {
            half_hours: Ring::filled(HalfHour::default()),
            current: now.0 / HALF_HOUR_MINUTES,
            is_broken: PerLimit::default(),
            covered: LastCovered::default(),
            now,
            delivered: LeakyIntegrators::default(),
            awaiting: AwaitingMail::default(),
            in_flight: 0.0,
            queue: QueueDepth::default(),
        }
    }

    pub fn add(
        &mut self,
        counts: &Counts,
        slow: SlowDeliveries,
        coverage: AlertCoverage,
        context: &BucketContext<'_>,
    ) {
        self.note_queue(counts, context.now);
        self.delivered.add(counts.deliveries, context.decay);
        let unexplained = self.awaiting.add(counts, context.decay);
        // Complaints arrive hours after their mail, so they are compared with the deliveries they are due for.
        let complaints_due = context.kernels[MonitoredRate::Complaint].exposure(&self.delivered);
        self.advance_to(context.now.0 / HALF_HOUR_MINUTES);
        let half_hour = self.half_hours.at_mut(self.current);
        // What an open anomaly reports must not count against a limit as well: one cause would be two alerts.
        if coverage.delivery {
            self.covered.delivery = Some(self.current);
        } else {
            half_hour.with_outcome += to_f32(counts.with_outcome());
            half_hour.unexplained += unexplained;
            half_hour.permanent += to_f32(counts.bounces_permanent);
            half_hour.outside_reputation += to_f32(counts.outside_reputation);
            half_hour.transient += to_f32(counts.bounces_transient);
            half_hour.after_acceptance += to_f32(counts.after_acceptance);
        }
        if coverage.complaint {
            self.covered.complaint = Some(self.current);
        } else {
            half_hour.deliveries += to_f32(counts.deliveries);
            half_hour.complaints_due += to_f32(complaints_due);
            half_hour.complaints += to_f32(counts.complaints);
        }
        if coverage.latency {
            self.covered.latency = Some(self.current);
        } else {
            half_hour.measured += to_f32(slow.measured);
            half_hour.slow += to_f32(slow.slow);
            half_hour.p95_sum += to_f32(slow.p95_sum);
        }
    }

    /// Clears the half hours that begin after the present one, up to `half_hour`.
    fn advance_to(&mut self, half_hour: u32) {
        // After a long gap every slot is stale, and one turn of the ring clears them all.
        let first = (self.current + 1).max(half_hour.saturating_sub(HALF_HOURS - 1));
        for stale in first..=half_hour {
            *self.half_hours.at_mut(stale) = HalfHour::default();
        }
        self.current = self.current.max(half_hour);
    }

    fn note_queue(&mut self, counts: &Counts, now: Minute) {
        let minutes = f64::from(minutes_between(self.now, now));
        let keep = 0.5_f64.powf(minutes / IN_FLIGHT_HALF_LIFE_MINUTES);
        self.now = now;
        let sent = counts.denominator(Denominator::Sends);
        // For some mail no outcome ever arrives. Forgetting slowly keeps it from adding up.
        let in_flight = keep * f64::from(self.in_flight) + sent - counts.with_outcome();
        // Negative after a start, when outcomes arrive for mail that was sent before.
        self.in_flight = to_f32(in_flight.max(0.0));
        if let Some(depth) = counts.queue_depth {
            (self.queue.messages, self.queue.gauged) = (to_f32(depth), Some(now));
        } else if self.queue.gauged.is_none_or(|gauged| minutes_between(gauged, now) > GAUGE_VALID_MINUTES) {
            self.queue.messages = self.in_flight;
        }
    }

    /// Bad outcomes, and the mail they are a share of, of each half hour of a window.
    fn outcomes(&self, metric: LimitedMetric, half_hours: u32) -> impl Iterator<Item = EventSums> {
        self.last(half_hours).map(move |half_hour| match metric {
            LimitedMetric::Delivery => EventSums {
                events: half_hour.permanent + half_hour.transient - half_hour.after_acceptance,
                exposure: half_hour.with_outcome,
            },
            LimitedMetric::NetDelivery | LimitedMetric::Bounce => EventSums {
                events: half_hour.permanent + half_hour.transient,
                exposure: half_hour.with_outcome,
            },
            LimitedMetric::HardBounce => EventSums {
                events: half_hour.permanent - half_hour.outside_reputation,
                exposure: half_hour.with_outcome,
            },
            LimitedMetric::Complaint => {
                EventSums { events: half_hour.complaints, exposure: half_hour.complaints_due }
            }
            LimitedMetric::DeliveryTime => EventSums { events: half_hour.slow, exposure: half_hour.measured },
            LimitedMetric::Queue => EventSums::default(),
        })
    }

    fn last(&self, half_hours: u32) -> impl Iterator<Item = &HalfHour> {
        self.half_hours.newest_first(self.current, half_hours)
    }

    fn sum(&self, metric: LimitedMetric, half_hours: u32) -> EventSums {
        let mut sum = self.outcomes(metric, half_hours).fold(EventSums::default(), |sum, half_hour| {
            EventSums { events: sum.events + half_hour.events, exposure: sum.exposure + half_hour.exposure }
        });
        // Mail that was delivered before the window can bounce in it, and no share exceeds the whole.
        sum.exposure = sum.exposure.max(sum.events);
        if metric == LimitedMetric::Complaint {
            // Complaints lag their mail by hours. After a burst they must not be divided by the little mail since, nor at its beginning by the
            // few deliveries whose complaints are due so far.
            sum.exposure =
                sum.exposure.max(self.last(half_hours).map(|half_hour| half_hour.deliveries).sum());
        }
        sum
    }

    /// The over-dispersion of the half hours against a binomial: Pearson's chi-squared over its degrees of freedom, at least 1.
    fn dispersion(&self, metric: LimitedMetric, half_hours: u32) -> f64 {
        let sums = self.sum(metric, half_hours);
        let rate = f64::from(sums.events) / f64::from(sums.exposure).max(1.0);
        let (mut squares, mut used) = (0.0, 0.0);
        for half_hour in self.outcomes(metric, half_hours).filter(|half_hour| half_hour.exposure > 0.0) {
            let expected = f64::from(half_hour.exposure) * rate;
            squares += (f64::from(half_hour.events) - expected).powi(2) / (expected * (1.0 - rate)).max(1e-9);
            used += 1.0;
        }
        if used > 1.0 { (squares / (used - 1.0)).max(1.0) } else { 1.0 }
    }

    /// The limits that are broken now, or were broken and are not clearly kept yet.
    pub fn breaches(&mut self, limits: &Limits) -> Vec<LimitBreach> {
        let mut breaches = Vec::new();
        for metric in LimitedMetric::ALL {
            let Some(allowed) = metric.allowed(limits) else { continue };
            breaches.extend(match metric {
                LimitedMetric::Queue => self.queue_breach(allowed),
                LimitedMetric::Delivery
                | LimitedMetric::NetDelivery
                | LimitedMetric::Bounce
                | LimitedMetric::HardBounce
                | LimitedMetric::Complaint
                | LimitedMetric::DeliveryTime => self.rate_breach(metric, allowed, limits),
            });
        }
        breaches
    }

    fn rate_breach(&mut self, metric: LimitedMetric, allowed: f64, limits: &Limits) -> Option<LimitBreach> {
        let was_broken = *self.is_broken.get_mut(metric);
        // The window still holds the rest of what another alert has reported; it must not open a second one.
        if !was_broken && self.was_covered_recently(metric) {
            return None;
        }
        // With much mail an hour and a half proves the end, long before the trouble has left the windows.
        if was_broken && self.is_over(metric, allowed) {
            self.forget_older_outcomes(metric);
        }
        let broken = metric.windows().into_iter().find(|pair| self.breaks(metric, allowed, *pair));
        let goes_on =
            was_broken && !self.is_clearly_kept(metric, allowed) && self.is_known(metric, HALF_HOURS_PER_DAY);
        let window = match broken {
            Some(pair) => Some(pair.short_half_hours),
            None => goes_on.then(|| metric.usual_window()),
        };
        *self.is_broken.get_mut(metric) = window.is_some();
        window.map(|half_hours| self.breach(metric, limits, allowed, half_hours))
    }

    /// Whether a rate exceeds its limit in both windows of a pair.
    fn breaks(&self, metric: LimitedMetric, allowed: f64, pair: WindowPair) -> bool {
        // A fast breach is itself a scatter of half hours; a lasting one has to exceed the scatter that is usual.
        let dispersion = if pair.factor > 1.0 { 1.0 } else { self.dispersion(metric, pair.long_half_hours) };
        [pair.short_half_hours, pair.long_half_hours]
            .into_iter()
            // The long window proves that the breach matters, the short one that it still goes on.
            .all(|half_hours| {
                self.exceeds(metric, half_hours, allowed * pair.factor, dispersion)
                    && self.is_known(metric, half_hours)
            })
    }

    /// Whether the mail that a metric is a share of was counted in a window.
    fn is_known(&self, metric: LimitedMetric, half_hours: u32) -> bool {
        let (mut outcomes, mut unexplained) = (0.0, 0.0);
        for half_hour in self.last(half_hours).filter(|_| metric.is_by_sends()) {
            outcomes += half_hour.with_outcome;
            unexplained += half_hour.unexplained;
        }
        !are_sends_unknown(outcomes, unexplained)
    }

    /// A queue that has been above its limit for [`MIN_WAITING_MINUTES`] and is not clearly below it yet.
    fn queue_breach(&mut self, limit: f64) -> Option<LimitBreach> {
        let depth = f64::from(self.queue.messages);
        // A queue that swings around its limit is one alert: it opens above the limit and ends clearly below.
        if depth <= CLEAR_SHARE * limit || (depth <= limit && self.queue.above_limit_since.is_none()) {
            self.queue.above_limit_since = None;
            return None;
        }
        // One high reading is no problem yet: senders hand over their mail in bursts.
        let since = *self.queue.above_limit_since.get_or_insert(self.now);
        let window_minutes = minutes_between(since, self.now);
        (window_minutes >= MIN_WAITING_MINUTES).then_some(LimitBreach {
            metric: LimitedMetric::Queue,
            events: depth,
            denominator: depth,
            level: Some(depth),
            limit,
            window_minutes,
        })
    }

    /// Whether the usual window still holds the beginning of what another alert reported.
    fn was_covered_recently(&self, metric: LimitedMetric) -> bool {
        let last = match metric {
            LimitedMetric::Complaint => self.covered.complaint,
            LimitedMetric::DeliveryTime => self.covered.latency,
            LimitedMetric::Delivery
            | LimitedMetric::NetDelivery
            | LimitedMetric::Bounce
            | LimitedMetric::HardBounce
            | LimitedMetric::Queue => self.covered.delivery,
        };
        last.is_some_and(|last| self.current.saturating_sub(last) <= metric.usual_window())
    }

    /// The shortest window of at least `half_hours` that has any mail to report about.
    ///
    /// While nothing is delivered a breach goes on, and what was observed last is still true; a value of 0 would not be.
    fn window_with_outcomes(&self, metric: LimitedMetric, half_hours: u32) -> u32 {
        let empty = self.outcomes(metric, HALF_HOURS).take_while(|sums| sums.exposure <= 0.0).count();
        let with_mail = u32::try_from(empty).unwrap_or(HALF_HOURS) + 1;
        if with_mail > HALF_HOURS { half_hours } else { half_hours.max(with_mail) }
    }

    fn breach(&self, metric: LimitedMetric, limits: &Limits, allowed: f64, half_hours: u32) -> LimitBreach {
        let half_hours = self.window_with_outcomes(metric, half_hours);
        let sums = self.sum(metric, half_hours);
        let (limit, level) = match metric {
            LimitedMetric::Delivery | LimitedMetric::NetDelivery => (1.0 - allowed, None),
            LimitedMetric::DeliveryTime => {
                let limit = event::invariant::or_broken(
                    limits.delivery_ms_p95,
                    0.0,
                    "a breach of a delivery time without a limit",
                );
                let p95 = self.delivery_time_p95(half_hours);
                (
                    limit,
                    Some(event::invariant::or_broken(
                        p95,
                        0.0,
                        "a breach of a delivery time without deliveries",
                    )),
                )
            }
            LimitedMetric::Bounce
            | LimitedMetric::HardBounce
            | LimitedMetric::Complaint
            | LimitedMetric::Queue => (allowed, None),
        };
        LimitBreach {
            metric,
            events: sums.events.into(),
            denominator: sums.exposure.into(),
            level,
            limit,
            window_minutes: half_hours * HALF_HOUR_MINUTES,
        }
    }

    /// The geometric mean over deliveries of the 95th percentile, in milliseconds; none without measured deliveries.
    fn delivery_time_p95(&self, half_hours: u32) -> Option<f64> {
        let (mut sum, mut measured) = (0.0, 0.0);
        for half_hour in self.last(half_hours) {
            sum += f64::from(half_hour.p95_sum);
            measured += f64::from(half_hour.measured);
        }
        (measured > 0.0).then(|| (sum / measured).exp())
    }

    /// Whether the rate in a window is above `allowed` beyond doubt.
    fn exceeds(&self, metric: LimitedMetric, half_hours: u32, allowed: f64, dispersion: f64) -> bool {
        let sums = self.sum(metric, half_hours);
        let (events, mail) = (f64::from(sums.events), f64::from(sums.exposure));
        // Over-dispersed counts hold less evidence than independent events. Dividing events and mail by the dispersion gives the sample of
        // independent events that is worth as much.
        events >= metric.min_events()
            && events > allowed * mail
            && binomial_upper_tail(events / dispersion, mail / dispersion, allowed) < MAX_P_VALUE
    }

    /// Whether the last half hours had so much mail and so few bad outcomes that the breach cannot be going on.
    fn is_over(&self, metric: LimitedMetric, allowed: f64) -> bool {
        let sums = self.sum(metric, OVER_HALF_HOURS);
        let (events, mail) = (f64::from(sums.events), f64::from(sums.exposure));
        events < CLEAR_SHARE * allowed * mail
            && 1.0 - binomial_upper_tail(events + 1.0, mail, allowed) < OVER_P_VALUE
    }

    /// Clears the bad outcomes of a breach that is over, so that they do not break the limit again. The mail stays.
    fn forget_older_outcomes(&mut self, metric: LimitedMetric) {
        for half_hour in self.half_hours.all_but_newest_mut(self.current, OVER_HALF_HOURS) {
            match metric {
                LimitedMetric::Complaint => half_hour.complaints = 0.0,
                LimitedMetric::DeliveryTime => half_hour.slow = 0.0,
                LimitedMetric::Queue => {}
                LimitedMetric::Delivery
                | LimitedMetric::NetDelivery
                | LimitedMetric::Bounce
                | LimitedMetric::HardBounce => {
                    half_hour.permanent = 0.0;
                    half_hour.outside_reputation = 0.0;
                    half_hour.transient = 0.0;
                    half_hour.after_acceptance = 0.0;
                }
            }
        }
    }

    /// Whether the rate is clearly below its limit over the last day, or nothing was sent in it.
    fn is_clearly_kept(&self, metric: LimitedMetric, allowed: f64) -> bool {
        // Clearly below and over a whole day, so that a rate close to its limit is one alert and not one per day.
        let day = self.sum(metric, HALF_HOURS_PER_DAY);
        day.exposure <= 0.0 || f64::from(day.events) < CLEAR_SHARE * allowed * f64::from(day.exposure)
    }
}

#[cfg(test)]
mod tests;
