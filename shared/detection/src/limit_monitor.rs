//! Promised limits: is a rate above its limit beyond doubt, in a short and in a long window?
//!
//! An exact binomial test and a least number of events: one bounce in 13 mails is no proof of anything, 30 in 500 are. A broken
//! limit stays broken until the rate has been clearly below it, so a rate just at its limit does not flap. A limit on the 95th
//! percentile of delivery time is one on the share of mail that takes longer: 5 %. A limit on waiting mail is one on a level.

use serde::{Deserialize, Serialize};

use crate::baseline::{EventSums, to_index};
use crate::counts::{Counts, DeliveryTimePercentiles, Denominator, Metric};
use crate::cusum::to_f32;
use crate::numbers::binomial_upper_tail;
use crate::outcome_delay::LeakyIntegrators;
use crate::rules::Limits;
use crate::series_monitor::BucketContext;

/// Half hours kept: two days.
const SLOTS: usize = 96;
/// Chance of as many events at the limit itself, below which it is broken.
const LEAST_DOUBT: f64 = 1e-4;
/// SlowDeliveries the limit that makes a fast burn.
const FAST_BURN: f64 = 2.0;
/// An open breach ends below this share of its limit.
const CLEAR_SHARE: f64 = 0.8;
/// Half hours in which a rate so low would be a chance of [`OVER_DOUBT`] at the limit itself, so that the trouble is over.
const OVER_SLOTS: usize = 3;
const OVER_DOUBT: f64 = 1e-3;
/// Share of deliveries that may take longer than the 95th percentile's limit.
const SLOW_SHARE: f64 = 0.05;
/// Minutes that more mail than allowed has to wait.
const WAITING_MINUTES: u32 = 10;
/// Mail without an outcome is forgotten by half in so many minutes: for some, none ever comes.
const FLIGHT_HALF_LIFE: f64 = 360.0;
/// What a gauge said stands for so many minutes, until it speaks again.
const GAUGE_STANDS: u32 = 15;

/// A limit on a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LimitedMetric {
    /// Failures of mail with an outcome, against 1 - the delivery rate.
    Delivery = 0,
    /// All bounces.
    Bounce = 1,
    /// Bounces that SES counts against the sender: permanent ones without suppressed mail, except to its global suppression list.
    HardBounce = 2,
    /// Complaints.
    Complaint = 3,
    /// Deliveries that take longer than allowed.
    DeliveryTime = 4,
    /// Mail that waits.
    Queue = 5,
}

impl LimitedMetric {
    /// All of them.
    pub const ALL: [Self; KINDS] =
        [Self::Delivery, Self::Bounce, Self::HardBounce, Self::Complaint, Self::DeliveryTime, Self::Queue];

    /// The name of its metric.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery_rate",
            Self::Bounce => "bounce_rate",
            Self::HardBounce => "hard_bounce_rate",
            Self::Complaint => "complaint_rate",
            Self::DeliveryTime => "delivery_ms_p95",
            Self::Queue => "queue_depth",
        }
    }

    /// The limit on bad outcomes, as a fraction; of waiting mail, as a number.
    fn of(self, limits: &Limits) -> Option<f64> {
        match self {
            Self::Delivery => limits.delivery_rate.map(|rate| 1.0 - rate),
            Self::Bounce => limits.bounce_rate,
            Self::HardBounce => limits.hard_bounce_rate,
            Self::Complaint => limits.complaint_rate,
            Self::DeliveryTime => limits.delivery_ms_p95.map(|_| SLOW_SHARE),
            Self::Queue => limits.queue_depth,
        }
    }

    /// Short and long window in half hours, and the factor on the limit.
    const fn windows(self) -> [(usize, usize, f64); 2] {
        match self {
            Self::Delivery | Self::Bounce | Self::HardBounce => [(24, 96, 1.0), (2, 12, FAST_BURN)],
            // Complaints come hours after their mail: an hour's share of both says little.
            Self::Complaint => [(24, 96, 1.0), (12, 48, FAST_BURN)],
            Self::DeliveryTime | Self::Queue => [(4, 24, 1.0), (2, 6, FAST_BURN)],
        }
    }

    const fn least_events(self) -> f64 {
        match self {
            Self::Delivery | Self::Bounce | Self::HardBounce => 8.0,
            Self::Complaint => 5.0,
            Self::DeliveryTime | Self::Queue => 20.0,
        }
    }
}

/// How many there are.
const KINDS: usize = 6;

/// Delivery times of a bucket, against a limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlowDeliveries {
    measured: f64,
    slow: f64,
    /// Logarithm of the 95th percentile, times the deliveries.
    p95: f64,
}

impl SlowDeliveries {
    /// Adds deliveries with such times.
    pub fn add(&mut self, spread: DeliveryTimePercentiles, deliveries: f64, limit: f64) {
        self.measured += deliveries;
        self.slow += deliveries * spread.slower_than(limit);
        self.p95 += deliveries * spread.p95.ln();
    }
}

/// A limit that is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitBreach {
    /// Which.
    pub kind: LimitedMetric,
    /// Bad outcomes in the short window.
    pub events: f64,
    /// Mail they are a part of.
    pub denominator: f64,
    /// What the metric is, where it is no rate: milliseconds, or mail that waits.
    pub level: Option<f64>,
    /// The limit on the rate as users know it.
    pub limit: f64,
    /// The short window, in minutes.
    pub window: u32,
}

/// Half-hourly counts of two days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitWindows {
    slots: Vec<HalfHour>,
    slot: u32,
    open: [bool; KINDS],
    /// The slot in which another alert last told of bounces, of complaints, and of delivery times.
    told: [u32; 3],
    now: u32,
    /// Deliveries, remembered until their complaints have come.
    mail: LeakyIntegrators,
    /// Mail sent less outcomes, slowly forgotten.
    in_flight: f32,
    /// What waits, when a gauge last said so, and since when it is too much.
    depth: f32,
    gauged: u32,
    too_many_since: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct HalfHour {
    outcomes: f32,
    permanent: f32,
    outside_reputation: f32,
    transient: f32,
    deliveries: f32,
    /// Deliveries whose complaints are due now.
    due: f32,
    complaints: f32,
    measured: f32,
    slow: f32,
    p95: f32,
}

/// What an open alert tells already: its mail is no evidence for a limit once more.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlertCoverage {
    /// Bounces.
    pub delivery: bool,
    /// Complaints.
    pub complaint: bool,
    /// Delivery times.
    pub latency: bool,
}

impl LimitWindows {
    /// No mail yet.
    pub fn new(now: u32) -> Self {
        Self {
            slots: vec![HalfHour::default(); SLOTS],
            slot: now / 30,
            open: [false; KINDS],
            told: [0; 3],
            now,
            mail: LeakyIntegrators::default(),
            in_flight: 0.0,
            depth: 0.0,
            gauged: 0,
            too_many_since: 0,
        }
    }

    /// Adds a bucket.
    pub fn add(
        &mut self,
        counts: &Counts,
        times: SlowDeliveries,
        told: AlertCoverage,
        context: &BucketContext<'_>,
    ) {
        let now = context.now;
        self.note_waiting(counts, now);
        self.mail.add(counts.deliveries, context.decay);
        let lag = context.kernels.get(Metric::Complaint as usize);
        let due = lag.map_or(counts.deliveries, |lag| lag.exposure(&self.mail));
        let slot = now / 30;
        while self.slot < slot {
            self.slot = if slot - self.slot > u32::try_from(SLOTS).unwrap_or(u32::MAX) {
                slot
            } else {
                self.slot + 1
            };
            let index = to_index(self.slot) % SLOTS;
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = HalfHour::default();
            }
        }
        for (last, told) in self.told.iter_mut().zip([told.delivery, told.complaint, told.latency]) {
            if told {
                *last = slot;
            }
        }
        if let Some(slot) = self.slots.get_mut(to_index(slot) % SLOTS) {
            if !told.delivery {
                slot.outcomes +=
                    to_f32(counts.deliveries + counts.bounces_permanent + counts.bounces_transient);
                slot.permanent += to_f32(counts.bounces_permanent);
                slot.outside_reputation += to_f32(counts.outside_reputation);
                slot.transient += to_f32(counts.bounces_transient);
            }
            if !told.complaint {
                slot.deliveries += to_f32(counts.deliveries);
                slot.due += to_f32(due);
                slot.complaints += to_f32(counts.complaints);
            }
            if !told.latency {
                slot.measured += to_f32(times.measured);
                slot.slow += to_f32(times.slow);
                slot.p95 += to_f32(times.p95);
            }
        }
    }

    fn note_waiting(&mut self, counts: &Counts, now: u32) {
        let keep = 0.5_f64.powf(f64::from(now.saturating_sub(self.now)) / FLIGHT_HALF_LIFE);
        self.now = now;
        let outcomes = counts.deliveries + counts.bounces_permanent + counts.bounces_transient;
        let sent = counts.denominator(Denominator::Sends);
        self.in_flight = to_f32((keep * f64::from(self.in_flight) + sent - outcomes).max(0.0));
        if let Some(depth) = counts.queue_depth {
            (self.depth, self.gauged) = (to_f32(depth), now);
        } else if now.saturating_sub(self.gauged) > GAUGE_STANDS {
            self.depth = self.in_flight;
        }
    }

    /// Bad outcomes and their mail in each of the last half hours.
    fn recent(&self, kind: LimitedMetric, window: usize) -> impl Iterator<Item = EventSums> {
        self.last(window).map(move |slot| match kind {
            LimitedMetric::Delivery | LimitedMetric::Bounce => {
                EventSums { events: slot.permanent + slot.transient, exposure: slot.outcomes }
            }
            LimitedMetric::HardBounce => {
                EventSums { events: slot.permanent - slot.outside_reputation, exposure: slot.outcomes }
            }
            LimitedMetric::Complaint => EventSums { events: slot.complaints, exposure: slot.due },
            LimitedMetric::DeliveryTime => EventSums { events: slot.slow, exposure: slot.measured },
            LimitedMetric::Queue => EventSums::default(),
        })
    }

    fn last(&self, window: usize) -> impl Iterator<Item = &HalfHour> {
        (0..window).filter_map(|back| self.slots.get((to_index(self.slot) + SLOTS - back) % SLOTS))
    }

    fn sum(&self, kind: LimitedMetric, window: usize) -> EventSums {
        let mut sum = self.recent(kind, window).fold(EventSums::default(), |sum, slot| EventSums {
            events: sum.events + slot.events,
            exposure: sum.exposure + slot.exposure,
        });
        if kind == LimitedMetric::Complaint {
            // The complaints about a burst are no rate of the little mail after it; nor the first ones one of what is due so far.
            sum.exposure = sum.exposure.max(self.last(window).map(|slot| slot.deliveries).sum());
        }
        sum
    }

    /// How much more the half hours scatter than coins would: Pearson's chi squared over its degrees of freedom, at least 1.
    fn dispersion(&self, kind: LimitedMetric, window: usize) -> f64 {
        let sums = self.sum(kind, window);
        let rate = f64::from(sums.events) / f64::from(sums.exposure).max(1.0);
        let (mut squares, mut slots) = (0.0, 0.0);
        for slot in self.recent(kind, window).filter(|slot| slot.exposure > 0.0) {
            let expected = f64::from(slot.exposure) * rate;
            squares += (f64::from(slot.events) - expected).powi(2) / (expected * (1.0 - rate)).max(1e-9);
            slots += 1.0;
        }
        if slots > 1.0 { (squares / (slots - 1.0)).max(1.0) } else { 1.0 }
    }

    /// The limits that are broken now, or were and are not clearly kept yet.
    pub fn breaches(&mut self, limits: &Limits) -> Vec<LimitBreach> {
        let mut breaches = Vec::new();
        for kind in LimitedMetric::ALL {
            let Some(limit) = kind.of(limits) else { continue };
            if kind == LimitedMetric::Queue {
                breaches.extend(self.waiting(limit));
                continue;
            }
            let was_open = self.open.get(kind as usize).copied().unwrap_or_default();
            if !was_open && self.told_lately(kind) {
                continue;
            }
            if was_open && self.is_over(kind, limit) {
                self.forget(kind);
            }
            let broken = kind
                .windows()
                .into_iter()
                .find(|&(short, long, factor)| {
                    // A sudden breach is itself a scatter of half hours; a creeping one has to rise above theirs.
                    let dispersion = if factor > 1.0 { 1.0 } else { self.dispersion(kind, long) };
                    [short, long].iter().all(|&window| self.broken(kind, window, limit * factor, dispersion))
                })
                .map(|(short, _, _)| short)
                .or_else(|| (was_open && !self.kept(kind, limit)).then_some(kind.windows()[0].0));
            if let Some(open) = self.open.get_mut(kind as usize) {
                *open = broken.is_some();
            }
            if let Some(window) = broken {
                breaches.push(self.breach(kind, limits, limit, window));
            }
        }
        breaches
    }

    /// Too much mail waits, and has for a while; over when it is clearly less.
    fn waiting(&mut self, limit: f64) -> Option<LimitBreach> {
        let depth = f64::from(self.depth);
        if depth <= CLEAR_SHARE * limit || (depth <= limit && self.too_many_since == 0) {
            self.too_many_since = 0;
            return None;
        }
        if self.too_many_since == 0 {
            self.too_many_since = self.now;
        }
        let minutes = self.now - self.too_many_since;
        let level = Some(depth);
        (minutes >= WAITING_MINUTES).then_some(LimitBreach {
            kind: LimitedMetric::Queue,
            events: depth,
            denominator: depth,
            level,
            limit,
            window: minutes,
        })
    }

    /// Whether the windows still hold the beginning of what another alert told.
    fn told_lately(&self, kind: LimitedMetric) -> bool {
        let [delivery, complaint, latency] = self.told;
        let last = match kind {
            LimitedMetric::Complaint => complaint,
            LimitedMetric::DeliveryTime => latency,
            LimitedMetric::Delivery
            | LimitedMetric::Bounce
            | LimitedMetric::HardBounce
            | LimitedMetric::Queue => delivery,
        };
        last > 0 && to_index(self.slot.saturating_sub(last)) <= kind.windows()[0].0
    }

    fn breach(&self, kind: LimitedMetric, limits: &Limits, limit: f64, window: usize) -> LimitBreach {
        let sums = self.sum(kind, window);
        let (limit, level) = match kind {
            LimitedMetric::Delivery => (1.0 - limit, None),
            LimitedMetric::DeliveryTime => (limits.delivery_ms_p95.unwrap_or_default(), self.p95(window)),
            LimitedMetric::Bounce
            | LimitedMetric::HardBounce
            | LimitedMetric::Complaint
            | LimitedMetric::Queue => (limit, None),
        };
        let window = u32::try_from(window * 30).unwrap_or(u32::MAX);
        LimitBreach {
            kind,
            events: sums.events.into(),
            denominator: sums.exposure.into(),
            level,
            limit,
            window,
        }
    }

    /// The 95th percentile of delivery time of the last half hours, about.
    fn p95(&self, window: usize) -> Option<f64> {
        let mut sums = (0.0, 0.0);
        for slot in self.last(window) {
            sums = (sums.0 + f64::from(slot.p95), sums.1 + f64::from(slot.measured));
        }
        (sums.1 > 0.0).then(|| (sums.0 / sums.1).exp())
    }

    fn broken(&self, kind: LimitedMetric, window: usize, limit: f64, dispersion: f64) -> bool {
        let sums = self.sum(kind, window);
        let (events, denominator) = (f64::from(sums.events), f64::from(sums.exposure));
        events >= kind.least_events()
            && events > limit * denominator
            && binomial_upper_tail(events / dispersion, denominator / dispersion, limit) < LEAST_DOUBT
    }

    /// Whether the last hour and a half have had so much mail and so few bad outcomes that it cannot be going on.
    fn is_over(&self, kind: LimitedMetric, limit: f64) -> bool {
        let sums = self.sum(kind, OVER_SLOTS);
        let (events, denominator) = (f64::from(sums.events), f64::from(sums.exposure));
        events < CLEAR_SHARE * limit * denominator
            && 1.0 - binomial_upper_tail(events + 1.0, denominator, limit) < OVER_DOUBT
    }

    /// Bad outcomes of trouble that is over must not break the limit again; its mail stays.
    fn forget(&mut self, kind: LimitedMetric) {
        let current = to_index(self.slot) % SLOTS;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if (current + SLOTS - index) % SLOTS < OVER_SLOTS {
                continue;
            }
            match kind {
                LimitedMetric::Complaint => slot.complaints = 0.0,
                LimitedMetric::DeliveryTime => slot.slow = 0.0,
                LimitedMetric::Queue => {}
                LimitedMetric::Delivery | LimitedMetric::Bounce | LimitedMetric::HardBounce => {
                    slot.permanent = 0.0;
                    slot.outside_reputation = 0.0;
                    slot.transient = 0.0;
                }
            }
        }
    }

    /// Whether the rate is clearly below the limit over the last day, or nothing was sent in it.
    fn kept(&self, kind: LimitedMetric, limit: f64) -> bool {
        let day = self.sum(kind, 48);
        day.exposure <= 0.0 || f64::from(day.events) < CLEAR_SHARE * limit * f64::from(day.exposure)
    }
}

#[cfg(test)]
mod tests;
