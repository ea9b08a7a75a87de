//! Promised limits: is a rate above its limit beyond doubt, in a short and in a long window?
//!
//! An exact binomial test and a least number of events: one bounce in 13 mails is no proof of anything, 30 in 500 are. A broken
//! limit stays broken until the rate has been clearly below it, so a rate just at its limit does not flap.

use serde::{Deserialize, Serialize};

use crate::baseline::{Sums, usize_of};
use crate::counts::Counts;
use crate::evidence::narrow;
use crate::numbers::binomial_upper_tail;
use crate::rules::Limits;

/// Half hours kept: two days.
const SLOTS: usize = 96;
/// Chance of as many events at the limit itself, below which it is broken.
const LEAST_DOUBT: f64 = 1e-4;
/// Times the limit that makes a fast burn.
const FAST_BURN: f64 = 2.0;
/// An open breach ends below this share of its limit.
const CLEAR_SHARE: f64 = 0.8;
/// Half hours in which a rate so low would be a chance of [`OVER_DOUBT`] at the limit itself, so that the trouble is over.
const OVER_SLOTS: usize = 3;
const OVER_DOUBT: f64 = 1e-3;

/// A limit on a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LimitKind {
    /// Failures of mail with an outcome, against 1 - the delivery rate.
    Delivery = 0,
    /// All bounces.
    Bounce = 1,
    /// Permanent bounces.
    HardBounce = 2,
    /// Complaints.
    Complaint = 3,
}

impl LimitKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Delivery, Self::Bounce, Self::HardBounce, Self::Complaint];

    /// The name of its rate.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery_rate",
            Self::Bounce => "bounce_rate",
            Self::HardBounce => "hard_bounce_rate",
            Self::Complaint => "complaint_rate",
        }
    }

    /// The limit on bad outcomes, as a fraction.
    fn of(self, limits: &Limits) -> Option<f64> {
        match self {
            Self::Delivery => limits.delivery_rate.map(|rate| 1.0 - rate),
            Self::Bounce => limits.bounce_rate,
            Self::HardBounce => limits.hard_bounce_rate,
            Self::Complaint => limits.complaint_rate,
        }
    }

    /// Short and long window in half hours, and the factor on the limit.
    const fn windows(self) -> [(usize, usize, f64); 2] {
        match self {
            Self::Delivery | Self::Bounce | Self::HardBounce => [(24, 96, 1.0), (2, 12, FAST_BURN)],
            // Complaints come hours after their mail: an hour's share of both says nothing.
            Self::Complaint => [(24, 96, 1.0), (12, 48, FAST_BURN)],
        }
    }

    const fn least_events(self) -> f64 {
        match self {
            Self::Delivery | Self::Bounce | Self::HardBounce => 8.0,
            Self::Complaint => 5.0,
        }
    }
}

/// A limit that is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breach {
    /// Which.
    pub kind: LimitKind,
    /// Bad outcomes in the short window.
    pub events: f64,
    /// Mail they are a part of.
    pub base: f64,
    /// The limit on the rate as users know it.
    pub limit: f64,
    /// The short window, in minutes.
    pub window: u32,
}

/// Half-hourly counts of two days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    slots: Vec<Slot>,
    slot: u32,
    open: [bool; 4],
    /// The slot in which another alert last told of bounces, and of complaints.
    told: [u32; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    outcomes: f32,
    permanent: f32,
    transient: f32,
    deliveries: f32,
    complaints: f32,
}

/// What an open alert tells already: its mail is no evidence for a limit once more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Bounces.
    pub delivery: bool,
    /// Complaints.
    pub complaint: bool,
}

impl Windows {
    /// No mail yet.
    pub fn new(now: u32) -> Self {
        Self { slots: vec![Slot::default(); SLOTS], slot: now / 30, open: [false; 4], told: [0; 2] }
    }

    /// Adds a bucket.
    pub fn add(&mut self, counts: &Counts, now: u32, told: Told) {
        let slot = now / 30;
        while self.slot < slot {
            self.slot = if slot - self.slot > u32::try_from(SLOTS).unwrap_or(u32::MAX) {
                slot
            } else {
                self.slot + 1
            };
            let index = usize_of(self.slot) % SLOTS;
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = Slot::default();
            }
        }
        for (last, told) in self.told.iter_mut().zip([told.delivery, told.complaint]) {
            if told {
                *last = slot;
            }
        }
        if let Some(slot) = self.slots.get_mut(usize_of(slot) % SLOTS) {
            if !told.delivery {
                slot.outcomes +=
                    narrow(counts.deliveries + counts.bounces_permanent + counts.bounces_transient);
                slot.permanent += narrow(counts.bounces_permanent);
                slot.transient += narrow(counts.bounces_transient);
            }
            if !told.complaint {
                slot.deliveries += narrow(counts.deliveries);
                slot.complaints += narrow(counts.complaints);
            }
        }
    }

    /// Bad outcomes and their mail in each of the last half hours.
    fn recent(&self, kind: LimitKind, window: usize) -> impl Iterator<Item = Sums> {
        let slots =
            (0..window).filter_map(|back| self.slots.get((usize_of(self.slot) + SLOTS - back) % SLOTS));
        slots.map(move |slot| match kind {
            LimitKind::Delivery | LimitKind::Bounce => {
                Sums { events: slot.permanent + slot.transient, exposure: slot.outcomes }
            }
            LimitKind::HardBounce => Sums { events: slot.permanent, exposure: slot.outcomes },
            LimitKind::Complaint => Sums { events: slot.complaints, exposure: slot.deliveries },
        })
    }

    fn sum(&self, kind: LimitKind, window: usize) -> Sums {
        self.recent(kind, window).fold(Sums::default(), |sum, slot| Sums {
            events: sum.events + slot.events,
            exposure: sum.exposure + slot.exposure,
        })
    }

    /// How much more the half hours scatter than coins would: Pearson's chi squared over its degrees of freedom, at least 1.
    fn dispersion(&self, kind: LimitKind, window: usize) -> f64 {
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
    pub fn breaches(&mut self, limits: &Limits) -> Vec<Breach> {
        let mut breaches = Vec::new();
        for kind in LimitKind::ALL {
            let Some(limit) = kind.of(limits) else { continue };
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
                breaches.push(self.breach(kind, limit, window));
            }
        }
        breaches
    }

    /// Whether the windows still hold the beginning of what another alert told.
    fn told_lately(&self, kind: LimitKind) -> bool {
        let [delivery, complaint] = self.told;
        let last = if kind == LimitKind::Complaint { complaint } else { delivery };
        last > 0 && usize_of(self.slot.saturating_sub(last)) <= kind.windows()[0].0
    }

    fn breach(&self, kind: LimitKind, limit: f64, window: usize) -> Breach {
        let sums = self.sum(kind, window);
        let limit = if kind == LimitKind::Delivery { 1.0 - limit } else { limit };
        let window = u32::try_from(window * 30).unwrap_or(u32::MAX);
        Breach { kind, events: sums.events.into(), base: sums.exposure.into(), limit, window }
    }

    fn broken(&self, kind: LimitKind, window: usize, limit: f64, dispersion: f64) -> bool {
        let sums = self.sum(kind, window);
        let (events, base) = (f64::from(sums.events), f64::from(sums.exposure));
        events >= kind.least_events()
            && events > limit * base
            && binomial_upper_tail(events / dispersion, base / dispersion, limit) < LEAST_DOUBT
    }

    /// Whether the last hour and a half have had so much mail and so few bad outcomes that it cannot be going on.
    fn is_over(&self, kind: LimitKind, limit: f64) -> bool {
        let sums = self.sum(kind, OVER_SLOTS);
        let (events, base) = (f64::from(sums.events), f64::from(sums.exposure));
        events < CLEAR_SHARE * limit * base
            && 1.0 - binomial_upper_tail(events + 1.0, base, limit) < OVER_DOUBT
    }

    /// Bad outcomes of trouble that is over must not break the limit again; its mail stays.
    fn forget(&mut self, kind: LimitKind) {
        let current = usize_of(self.slot) % SLOTS;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if (current + SLOTS - index) % SLOTS < OVER_SLOTS {
                continue;
            }
            match kind {
                LimitKind::Complaint => slot.complaints = 0.0,
                LimitKind::Delivery | LimitKind::Bounce | LimitKind::HardBounce => {
                    slot.permanent = 0.0;
                    slot.transient = 0.0;
                }
            }
        }
    }

    /// Whether the rate is clearly below the limit over the last day, or nothing was sent in it.
    fn kept(&self, kind: LimitKind, limit: f64) -> bool {
        let day = self.sum(kind, 48);
        day.exposure <= 0.0 || f64::from(day.events) < CLEAR_SHARE * limit * f64::from(day.exposure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breached(bounces: f64, sent: f64) -> bool {
        let mut windows = Windows::new(0);
        windows.add(
            &Counts { deliveries: sent - bounces, bounces_permanent: bounces, ..Counts::default() },
            0,
            Told::default(),
        );
        !windows.breaches(&Limits::default()).is_empty()
    }

    #[test]
    fn one_bounce_in_13_mails_is_no_breach_and_30_in_500_is() {
        assert!(!breached(1.0, 13.0));
        assert!(breached(30.0, 500.0));
        assert!(!breached(7.0, 7.0), "fewer than eight events say nothing");
        assert!(!breached(0.0, 0.0));
    }

    #[test]
    fn a_rate_about_its_limit_opens_at_most_once_and_stays_open() {
        let mut windows = Windows::new(0);
        let mut changes = 0;
        let mut open = false;
        for bucket in 0..2000_u32 {
            let bounces = if bucket % 2 == 0 { 23.0 } else { 21.0 };
            windows.add(
                &Counts { deliveries: 1000.0 - bounces, bounces_permanent: bounces, ..Counts::default() },
                bucket * 5,
                Told::default(),
            );
            let now = !windows.breaches(&Limits::default()).is_empty();
            changes += u32::from(now != open);
            open = now;
        }
        assert!(changes <= 1, "{changes} changes");
    }

    #[test]
    fn a_breach_ends_soon_after_its_trouble_where_there_is_much_mail() {
        let mut windows = Windows::new(0);
        let add = |windows: &mut Windows, minute: u32, bounces: f64| {
            let counts =
                Counts { deliveries: 1000.0 - bounces, bounces_permanent: bounces, ..Counts::default() };
            windows.add(&counts, minute, Told::default());
            !windows.breaches(&Limits::default()).is_empty()
        };
        assert!((0..60).all(|minute| add(&mut windows, minute, 300.0)));
        let ended = (60..600).find(|&minute| !add(&mut windows, minute, 2.0)).unwrap();
        assert!((120..=180).contains(&ended), "{ended}");
        assert!(
            (ended..ended + 3000).all(|minute| !add(&mut windows, minute, 2.0)),
            "and does not come back"
        );
    }

    #[test]
    fn a_breach_ends_when_the_rate_has_been_clearly_below() {
        let mut windows = Windows::new(0);
        windows.add(
            &Counts { deliveries: 400.0, bounces_permanent: 100.0, ..Counts::default() },
            0,
            Told::default(),
        );
        assert!(!windows.breaches(&Limits::default()).is_empty());
        for bucket in 1..180_u32 {
            windows.add(
                &Counts { deliveries: 999.0, bounces_permanent: 1.0, ..Counts::default() },
                bucket * 5,
                Told::default(),
            );
        }
        assert!(windows.breaches(&Limits::default()).is_empty());
    }
}
