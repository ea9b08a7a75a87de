//! Seasons over the hours of the day and the days of the week, and how strong they are.
//!
//! The strength is the share of the variance around the slowly moving level that the season explains (Wang, Smith, Hyndman 2006), corrected
//! for the number of fitted factors. An F test decides whether it is more than chance. With too little data there is no season.

use schemars::JsonSchema;
use serde::Serialize;

use super::{DayTotals, HourlyCount, TrendUnit, index, median, value};
use crate::minutes::HOURS_PER_DAY;
use crate::numbers::f_upper_tail;

/// Fewest weeks that a season needs.
const MIN_WEEKS: usize = 3;
/// A season is reported with at most this p-value and at least this strength.
const MAX_P_VALUE: f64 = 0.001;
const MIN_STRENGTH: f64 = 0.1;
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A pattern that repeats every day or every week.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Seasonality {
    /// Whether the pattern is more than chance and strong enough to be reported.
    pub found: bool,
    /// The share of the variance that the pattern explains, 0 to 1.
    pub strength: f64,
    /// The hour or day at which it is highest.
    pub peak: String,
    /// The hour or day at which it is lowest.
    pub low: String,
    /// The level at each hour from midnight (UTC), or each day from Monday: as a factor of the mean for counts, otherwise as a difference
    /// from the mean.
    pub profile: Vec<f64>,
}

/// The effect of each day of the week: a factor on totals, a difference for everything else. Day 0 is the first day of the series.
pub(super) fn weekday_effects(unit: TrendUnit, days: &[DayTotals]) -> [f64; 7] {
    let mut effects = [(); 7].map(|()| Vec::new());
    for (day, off) in around_week(unit, days) {
        if let Some(effects) = effects.get_mut(day % 7) {
            effects.push(off);
        }
    }
    let mut effects =
        effects.map(|mut effects| if effects.is_empty() { neutral(unit) } else { median(&mut effects) });
    let mean = effects.iter().sum::<f64>() / 7.0;
    for effect in &mut effects {
        *effect = if unit == TrendUnit::Total { *effect / mean.max(1e-9) } else { *effect - mean };
    }
    effects
}

/// A value with the effect of its day removed.
pub(super) fn without(unit: TrendUnit, value: f64, effect: Option<&f64>) -> f64 {
    let effect = effect.copied().unwrap_or_else(|| neutral(unit));
    // A day on which hardly anything is sent, such as a Sunday, cannot be scaled up to a usual one.
    if unit == TrendUnit::Total { value / effect.max(0.02) } else { value - effect }
}

fn neutral(unit: TrendUnit) -> f64 {
    if unit == TrendUnit::Total { 1.0 } else { 0.0 }
}

/// Each day compared with the mean of the seven days around it.
fn around_week(unit: TrendUnit, days: &[DayTotals]) -> Vec<(usize, f64)> {
    let mut found = Vec::new();
    for (position, week) in days.windows(7).enumerate() {
        let known: Vec<f64> = week.iter().filter_map(|day| day.value).collect();
        let (Some(middle), true) = (week.get(3).and_then(|day| day.value), known.len() == 7) else {
            continue;
        };
        let mean = known.iter().sum::<f64>() / 7.0;
        found.extend(deviation(unit, middle, mean).map(|off| (position + 3, off)));
    }
    found
}

fn deviation(unit: TrendUnit, value: f64, mean: f64) -> Option<f64> {
    if unit == TrendUnit::Total { (mean > 0.0).then(|| value / mean) } else { Some(value - mean) }
}

/// The season over the week.
pub(super) fn day_of_week(unit: TrendUnit, days: &[DayTotals], first: usize) -> Option<Seasonality> {
    // Day 0 of 1970 was a Thursday, and the profile begins on a Monday.
    let slots = around_week(unit, days).into_iter().map(|(day, off)| ((first + day + 3) % 7, off, 1.0));
    let slots: Vec<(usize, f64, f64)> = slots.collect();
    let name = |slot: usize| WEEKDAYS.get(slot).copied().unwrap_or_default().to_owned();
    if days.len() < 7 * MIN_WEEKS { None } else { season::<7>(&slots, name) }
}

/// The season over the day: each hour compared with the mean of its day.
pub(super) fn hour_of_day(unit: TrendUnit, hours: &[HourlyCount]) -> Option<Seasonality> {
    let mut slots = Vec::new();
    let mut weeks = 0;
    for day in hours.chunk_by(|a, b| a.hour.day() == b.hour.day()) {
        let (part, whole) = day.iter().fold((0.0, 0.0), |sum, hour| (sum.0 + hour.part, sum.1 + hour.whole));
        let whole_day = day.first().is_some_and(|hour| {
            hours.first().is_some_and(|first| {
                hour.hour.day() > first.hour.day() || first.hour.0.is_multiple_of(HOURS_PER_DAY)
            })
        });
        let Some(mean) = value(unit, part, whole).filter(|_| whole_day) else { continue };
        weeks += 1;
        // An hour without a row had no events: a 0 for a total, but no value for a rate.
        let mut row = [None; 24];
        for hour in day {
            if let Some(cell) = row.get_mut(index(hour.hour.0 % HOURS_PER_DAY)) {
                *cell = value(unit, hour.part, hour.whole).map(|value| (value, hour.whole));
            }
        }
        for (slot, cell) in row.into_iter().enumerate() {
            let (mean, cell) = if unit == TrendUnit::Total {
                (mean / 24.0, Some(cell.unwrap_or((0.0, 1.0))))
            } else {
                (mean, cell)
            };
            let weight = |weight: f64| if unit == TrendUnit::Total { 1.0 } else { weight };
            slots.extend(
                cell.and_then(|(value, whole)| Some((slot, deviation(unit, value, mean)?, weight(whole)))),
            );
        }
    }
    if weeks < 7 * MIN_WEEKS { None } else { season::<24>(&slots, |slot| format!("{slot:02}:00")) }
}

/// Compares the variance between slots with that within them (one-way analysis of variance), over points (slot, deviation, weight).
fn season<const SLOTS: usize>(
    points: &[(usize, f64, f64)],
    name: impl Fn(usize) -> String,
) -> Option<Seasonality> {
    let mut sums = [(0.0, 0.0); SLOTS];
    let (mut sum, mut weights) = (0.0, 0.0);
    for &(slot, value, weight) in points {
        if let Some(sums) = sums.get_mut(slot) {
            sums.0 += weight * value;
            sums.1 += weight;
        }
        sum += weight * value;
        weights += weight;
    }
    let profile = sums.map(|(sum, weight)| if weight > 0.0 { sum / weight } else { 0.0 });
    let mean = sum / weights.max(1e-300);
    let (mut within, mut all) = (0.0, 0.0);
    for &(slot, value, weight) in points {
        within += weight * (value - profile.get(slot).copied().unwrap_or(mean)).powi(2);
        all += weight * (value - mean).powi(2);
    }
    let (slots, count) = (SLOTS as f64, points.len() as f64);
    let freedom = count - slots;
    if freedom < slots || all <= 0.0 {
        return None;
    }
    // Both are divided by their degrees of freedom, because 24 free factors explain part of any noise.
    let ratio = (all - within) / (slots - 1.0) / (within / freedom).max(1e-300);
    let strength = (1.0 - within / freedom / (all / (count - 1.0))).clamp(0.0, 1.0);
    let extreme = |sign: f64| {
        let slots = profile.iter().enumerate();
        let slot = slots.max_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)));
        slot.map_or_else(String::new, |(slot, _)| name(slot))
    };
    Some(Seasonality {
        found: strength >= MIN_STRENGTH && f_upper_tail(ratio, slots - 1.0, freedom) < MAX_P_VALUE,
        strength,
        peak: extreme(1.0),
        low: extreme(-1.0),
        profile: profile.to_vec(),
    })
}
