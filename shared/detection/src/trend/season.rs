//! How a series swings over the day and over the week, and how strongly.
//!
//! Strength is the share of the variance around the slowly moving level that the season explains (Wang, Smith, Hyndman 2006), corrected for
//! the factors it was fitted with; an F test says whether it is more than chance. Where there is not enough data nothing is said.

use serde::Serialize;

use super::{DayTotals, HourlyCount, Unit, index, median, value};
use crate::numbers::f_upper_tail;

/// Fewest weeks that show a season.
const LEAST_WEEKS: usize = 3;
/// Chance below which a season is told, and the least strength worth a word.
const LEAST_DOUBT: f64 = 0.001;
const LEAST_STRENGTH: f64 = 0.1;
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A swing that comes back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seasonality {
    /// Whether there is one beyond chance.
    pub found: bool,
    /// Share of the variance that it explains, 0 to 1.
    pub strength: f64,
    /// Where it is highest.
    pub peak: String,
    /// Where it is lowest.
    pub low: String,
    /// The level at each place: times the mean for a total, above or below it for everything else; from midnight, or from Monday.
    pub profile: Vec<f64>,
}

/// What a day of the week does to a value: a factor on totals, an addition to everything else. Days are numbered from the first one.
pub(super) fn weekday_effects(unit: Unit, days: &[DayTotals]) -> [f64; 7] {
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
        *effect = if unit == Unit::Total { *effect / mean.max(1e-9) } else { *effect - mean };
    }
    effects
}

/// A value with its day's effect taken out.
pub(super) fn without(unit: Unit, value: f64, effect: Option<&f64>) -> f64 {
    let effect = effect.copied().unwrap_or_else(|| neutral(unit));
    // A day on which next to nothing is sent, as on some Sundays, cannot be scaled up to a usual one.
    if unit == Unit::Total { value / effect.max(0.02) } else { value - effect }
}

fn neutral(unit: Unit) -> f64 {
    if unit == Unit::Total { 1.0 } else { 0.0 }
}

/// Each day against the mean of the seven days around it.
fn around_week(unit: Unit, days: &[DayTotals]) -> Vec<(usize, f64)> {
    let mut found = Vec::new();
    for (position, week) in days.windows(7).enumerate() {
        let known: Vec<f64> = week.iter().filter_map(|day| day.value).collect();
        let (Some(middle), true) = (week.get(3).and_then(|day| day.value), known.len() == 7) else {
            continue;
        };
        let mean = known.iter().sum::<f64>() / 7.0;
        found.extend(against(unit, middle, mean).map(|off| (position + 3, off)));
    }
    found
}

fn against(unit: Unit, value: f64, mean: f64) -> Option<f64> {
    if unit == Unit::Total { (mean > 0.0).then(|| value / mean) } else { Some(value - mean) }
}

/// The swing over the week.
pub(super) fn day_of_week(unit: Unit, days: &[DayTotals], first: usize) -> Option<Seasonality> {
    // DayTotals 0 of 1970 was a Thursday.
    let places = around_week(unit, days).into_iter().map(|(day, off)| ((first + day + 3) % 7, off, 1.0));
    let places: Vec<(usize, f64, f64)> = places.collect();
    let name = |place: usize| WEEKDAYS.get(place).copied().unwrap_or_default().to_owned();
    if days.len() < 7 * LEAST_WEEKS { None } else { season::<7>(&places, name) }
}

/// The swing over the day: each hour against the mean of its day.
pub(super) fn hour_of_day(unit: Unit, hours: &[HourlyCount]) -> Option<Seasonality> {
    let mut places = Vec::new();
    let mut weeks = 0;
    for day in hours.chunk_by(|a, b| a.hour / 24 == b.hour / 24) {
        let (part, whole) = day.iter().fold((0.0, 0.0), |sum, hour| (sum.0 + hour.part, sum.1 + hour.whole));
        let whole_day = day.first().is_some_and(|hour| {
            hours.first().is_some_and(|first| hour.hour / 24 > first.hour / 24 || first.hour % 24 == 0)
        });
        let Some(mean) = value(unit, part, whole).filter(|_| whole_day) else { continue };
        weeks += 1;
        let mut row = [None; 24];
        for hour in day {
            if let Some(cell) = row.get_mut(index(hour.hour % 24)) {
                *cell = value(unit, hour.part, hour.whole).map(|value| (value, hour.whole));
            }
        }
        for (place, cell) in row.into_iter().enumerate() {
            let (mean, cell) = if unit == Unit::Total {
                (mean / 24.0, Some(cell.unwrap_or((0.0, 1.0))))
            } else {
                (mean, cell)
            };
            let weight = |weight: f64| if unit == Unit::Total { 1.0 } else { weight };
            places.extend(
                cell.and_then(|(value, whole)| Some((place, against(unit, value, mean)?, weight(whole)))),
            );
        }
    }
    if weeks < 7 * LEAST_WEEKS { None } else { season::<24>(&places, |place| format!("{place:02}:00")) }
}

/// Variance between places against variance within them, over (place, deviation, weight).
fn season<const PLACES: usize>(
    points: &[(usize, f64, f64)],
    name: impl Fn(usize) -> String,
) -> Option<Seasonality> {
    let mut sums = [(0.0, 0.0); PLACES];
    let (mut sum, mut weights) = (0.0, 0.0);
    for &(place, value, weight) in points {
        if let Some(sums) = sums.get_mut(place) {
            sums.0 += weight * value;
            sums.1 += weight;
        }
        sum += weight * value;
        weights += weight;
    }
    let profile = sums.map(|(sum, weight)| if weight > 0.0 { sum / weight } else { 0.0 });
    let mean = sum / weights.max(1e-300);
    let (mut within, mut all) = (0.0, 0.0);
    for &(place, value, weight) in points {
        within += weight * (value - profile.get(place).copied().unwrap_or(mean)).powi(2);
        all += weight * (value - mean).powi(2);
    }
    let (places, count) = (PLACES as f64, points.len() as f64);
    let freedom = count - places;
    if freedom < places || all <= 0.0 {
        return None;
    }
    let ratio = (all - within) / (places - 1.0) / (within / freedom).max(1e-300);
    let strength = (1.0 - within / freedom / (all / (count - 1.0))).clamp(0.0, 1.0);
    let extreme = |sign: f64| {
        let places = profile.iter().enumerate();
        let place = places.max_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)));
        place.map_or_else(String::new, |(place, _)| name(place))
    };
    Some(Seasonality {
        found: strength >= LEAST_STRENGTH && f_upper_tail(ratio, places - 1.0, freedom) < LEAST_DOUBT,
        strength,
        peak: extreme(1.0),
        low: extreme(-1.0),
        profile: profile.to_vec(),
    })
}
