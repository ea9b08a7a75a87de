//! Slow decline: a rate that creeps away over weeks, too slowly for any bucket to look odd.
//!
//! At the end of each day, a weighted line through the last days with the days of the week taken out; the scatter of the days
//! themselves widens the error, so day-to-day list quality never looks like a trend. A step is not a decline: the halves must
//! agree. Keeps 28 days of sums and nothing else.

use serde::{Deserialize, Serialize};

use crate::baseline::EventSums;
use crate::cusum::to_f32;
use crate::numbers::f_upper_tail;

/// Days kept.
pub(crate) const DAYS: usize = 28;
/// LimitWindows tried, in days.
const WINDOWS: [usize; 4] = [10, 14, 21, 28];
/// Fewest days with enough mail in a window, as a share.
const LEAST_DAYS: f64 = 0.8;
/// Fewest mails in a day that counts.
const LEAST_BASE: f32 = 50.0;
/// Chance of a slope by which none is believed any more, by Student's t: many series are tried every day, in windows of few days.
const LEAST_DOUBT: f64 = 1e-5;

/// Daily sums of one rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeclineMonitor {
    days: [EventSums; DAYS],
    today: EventSums,
    /// What the last day's end found.
    pub found: Option<DeclineFit>,
}

/// A decline found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclineFit {
    /// The fitted rate at the start and at the end of the window.
    pub from: f64,
    /// At its end.
    pub to: f64,
    /// Chance of a slope as far from none, either way, where there is none.
    pub doubt: f64,
    /// Days in the window.
    pub days: u32,
    /// Mails of the last day.
    pub last_day_messages: f64,
}

impl DeclineMonitor {
    /// Adds a bucket.
    pub fn add(&mut self, events: f64, base: f64) {
        self.today.events += to_f32(events);
        self.today.exposure += to_f32(base);
    }

    /// Ends the day.
    pub fn close_day(&mut self) {
        self.days.rotate_left(1);
        if let Some(last) = self.days.last_mut() {
            *last = self.today;
        }
        self.today = EventSums::default();
    }

    /// The clearest line over the windows that changes by at least `least_change` in the bad direction.
    pub fn look(&self, falls: bool, least_change: impl Fn(f64, f64) -> bool) -> Option<DeclineFit> {
        let mut best: Option<DeclineFit> = None;
        for window in WINDOWS {
            let Some(days) = self.days.get(DAYS - window..) else { continue };
            let Some(creep) = fit(days) else { continue };
            let bad = (creep.to < creep.from) == falls;
            if bad
                && creep.doubt <= LEAST_DOUBT
                && least_change(creep.from, creep.to)
                && best.is_none_or(|other| creep.doubt < other.doubt)
            {
                best = Some(creep);
            }
        }
        best
    }
}

/// Weighted line with the days of the week taken out; none with too few days, or if the change is one step.
fn fit(days: &[EventSums]) -> Option<DeclineFit> {
    let points: Vec<(usize, f64, f64)> = days
        .iter()
        .enumerate()
        .filter(|(_, day)| day.exposure >= LEAST_BASE)
        .map(|(index, day)| {
            let base = f64::from(day.exposure);
            (index, f64::from(day.events) / base, base)
        })
        .collect();
    if (points.len() as f64) < LEAST_DAYS * days.len() as f64 {
        return None;
    }
    let base_mean = points.iter().map(|point| point.2).sum::<f64>() / points.len() as f64;
    // Between equal weights and weights by mail: days scatter by more than their counts.
    let weighted: Vec<(usize, f64, f64)> =
        points.iter().map(|&(day, rate, base)| (day, rate, base / (base + base_mean))).collect();
    let mut weekdays = [0.0_f64; 7];
    let mut line = line_through(&weighted, &weekdays)?;
    if days.len() >= 14 {
        for _ in 0..8 {
            weekdays = weekday_effects(&weighted, line);
            line = line_through(&weighted, &weekdays)?;
        }
    }
    let (intercept, slope) = line;
    let parameters = if days.len() >= 14 { 8.0 } else { 2.0 };
    let freedom = (points.len() as f64 - parameters).max(1.0);
    let mean_day =
        weighted.iter().map(|p| p.2 * p.0 as f64).sum::<f64>() / weighted.iter().map(|p| p.2).sum::<f64>();
    let mut scatter = 0.0;
    let mut spread = 0.0;
    for &(day, rate, weight) in &weighted {
        let season = weekdays.get(day % 7).copied().unwrap_or_default();
        scatter += weight * (rate - season - intercept - slope * day as f64).powi(2);
        spread += weight * (day as f64 - mean_day).powi(2);
    }
    let middle = intercept + slope * mean_day;
    // The days' own counting noise is the least the scatter can be.
    let noise = (middle * (1.0 - middle)).max(middle.abs() * 0.01).max(1e-9) / (2.0 * base_mean);
    let error = ((scatter / freedom).max(noise) / spread.max(1e-9)).sqrt();
    let last = days.len() as f64 - 1.0;
    let creep = DeclineFit {
        from: intercept,
        to: intercept + slope * last,
        doubt: f_upper_tail((slope / error).powi(2), 1.0, freedom),
        days: u32::try_from(days.len()).unwrap_or(u32::MAX),
        last_day_messages: points.last().map_or(0.0, |point| point.2),
    };
    thirds_agree(&weighted, &weekdays, days.len(), slope).then_some(creep)
}

fn line_through(points: &[(usize, f64, f64)], weekdays: &[f64; 7]) -> Option<(f64, f64)> {
    let (mut w, mut x, mut y, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &(day, rate, weight) in points {
        let (day_number, rate) = (day as f64, rate - weekdays.get(day % 7).copied().unwrap_or_default());
        w += weight;
        x += weight * day_number;
        y += weight * rate;
        xx += weight * day_number * day_number;
        xy += weight * day_number * rate;
    }
    let determinant = w * xx - x * x;
    (determinant > 1e-9).then(|| {
        let slope = (w * xy - x * y) / determinant;
        ((y - slope * x) / w, slope)
    })
}

fn weekday_effects(points: &[(usize, f64, f64)], (intercept, slope): (f64, f64)) -> [f64; 7] {
    let mut sums = [(0.0, 0.0); 7];
    for &(day, rate, weight) in points {
        if let Some(sum) = sums.get_mut(day % 7) {
            sum.0 += weight * (rate - intercept - slope * day as f64);
            sum.1 += weight;
        }
    }
    sums.map(|(sum, weight)| if weight > 0.0 { sum / weight } else { 0.0 })
}

/// Whether each third goes on where the one before it stopped: a single step does not.
fn thirds_agree(points: &[(usize, f64, f64)], weekdays: &[f64; 7], days: usize, slope: f64) -> bool {
    let mut sums = [(0.0, 0.0); 3];
    for &(day, rate, weight) in points {
        if let Some(sum) = sums.get_mut((day * 3 / days).min(2)) {
            sum.0 += weight * (rate - weekdays.get(day % 7).copied().unwrap_or_default());
            sum.1 += weight;
        }
    }
    let [first, second, third] = sums.map(|(sum, weight)| if weight > 0.0 { sum / weight } else { 0.0 });
    let sign = slope.signum();
    let whole = (third - first) * sign;
    whole > 0.0 && (second - first) * sign > 0.15 * whole && (third - second) * sign > 0.15 * whole
}
