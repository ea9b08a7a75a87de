//! Trends over weeks and years: slope, steps, seasons, and this period compared with the last one and with last year.
//!
//! Works on complete days with day-of-week effects removed. Steps are found first, because a step is no trend; the slope is then the median
//! over pairs of days between steps, with an interval that widens with the correlation of neighbouring days. It reports "no trend" unless
//! one is beyond doubt. It must not be used for alerts: it uses all days at once.

mod season;
mod sentence;
mod slope;
mod step;

use event::Hour;
use schemars::JsonSchema;
use serde::Serialize;

use crate::minutes::HOURS_PER_DAY;

pub use season::Seasonality;
pub use slope::Slope;
pub use step::ChangePoint;

/// Fewest complete days with a value that a trend needs.
pub const LEAST_DAYS: usize = 14;
/// Most days that are used, a little more than three years: the number of pairs of days stays below a million.
pub const MOST_DAYS: usize = 1_200;
/// Days of each compared period, if there are enough.
const PERIOD_DAYS: usize = 28;
/// A year in whole weeks, so that days of the week match.
const YEAR_DAYS: usize = 364;

/// What kind of numbers a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrendUnit {
    /// Something counted; a day's value is its sum.
    Total,
    /// A share of a whole, as a fraction.
    Share,
    /// A mean of milliseconds.
    Milliseconds,
    /// A mean of readings, such as a queue depth.
    Level,
}

/// What was counted in one hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HourlyCount {
    /// The hour it was counted in. Days begin at midnight UTC.
    pub hour: Hour,
    /// The events, or the sum of the averaged values.
    pub part: f64,
    /// The mail that the events are a share of, or the number of summed values. Not used for a total.
    pub whole: f64,
}

/// The trend of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Trend {
    /// The first complete day, such as `2026-09-01`.
    pub from: String,
    /// The last complete day.
    pub to: String,
    /// The number of complete days, `from` and `to` included.
    pub days: usize,
    /// The direction of the trend: `none` unless the 99 % confidence interval of the slope excludes 0.
    pub trend: TrendDirection,
    /// The slope with its confidence intervals.
    #[serde(flatten)]
    pub slope: Slope,
    /// Steps of the level, in order of time.
    pub change_points: Vec<ChangePoint>,
    /// The pattern over the hours of the day; null with less than three weeks of hours.
    pub hour_of_day: Option<Seasonality>,
    /// The pattern over the days of the week; null with less than three weeks.
    pub day_of_week: Option<Seasonality>,
    /// The latest period compared with earlier ones.
    pub periods: Periods,
    /// The trend in one sentence.
    pub summary: String,
}

/// The direction of a trend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrendDirection {
    /// The 99 % interval of the slope lies above 0.
    Rising,
    /// The 99 % interval of the slope lies below 0.
    Falling,
    /// No trend is beyond doubt.
    None,
}

/// A period, the one before it, and the same one a year ago (364 days before, so that days of the week match).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "PeriodComparison")]
pub struct Periods {
    /// The number of days of each period.
    pub days: usize,
    /// The value over the latest `days`; null where it has none.
    pub this: Option<f64>,
    /// The value over the period before; null where it has none.
    pub last: Option<f64>,
    /// The value over the same period a year ago; null where it has none.
    pub last_year: Option<f64>,
}

/// The sums of a complete day; no value where the denominator is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
struct DayTotals {
    part: f64,
    whole: f64,
    value: Option<f64>,
}

/// Computes the trend of a metric from hours in order of time. Hours that are left out had no events.
///
/// None with less than two complete weeks ([`LEAST_DAYS`]).
pub fn look_back(metric: &str, unit: TrendUnit, hours: &[HourlyCount]) -> Option<Trend> {
    let (first, days) = complete_days(unit, hours);
    if days.len() < LEAST_DAYS || days.iter().filter(|day| day.value.is_some()).count() < LEAST_DAYS {
        return None;
    }
    // A series that does not begin and end on the same day of the week would otherwise have a slope of its weekends.
    let weekdays = season::weekday_effects(unit, &days);
    let points: Vec<(usize, f64)> = days
        .iter()
        .enumerate()
        .filter_map(|(index, day)| Some((index, season::without(unit, day.value?, weekdays.get(index % 7)))))
        .collect();
    // Steps first: the slope is computed between them, because a step is no trend.
    let steps = step::steps(&points);
    let slope = slope::slope(&points, &steps);
    let trend = match slope.interval_99 {
        [low, _] if low > 0.0 => TrendDirection::Rising,
        [_, high] if high < 0.0 => TrendDirection::Falling,
        _ => TrendDirection::None,
    };
    let mut trend = Trend {
        from: date(first),
        to: date(first + days.len() - 1),
        days: days.len(),
        trend,
        slope,
        change_points: steps
            .into_iter()
            .map(|step| ChangePoint { date: date(first + step.day), ..step })
            .collect(),
        hour_of_day: season::hour_of_day(unit, hours),
        day_of_week: season::day_of_week(unit, &days, first),
        periods: periods(unit, &days),
        summary: String::new(),
    };
    trend.summary = sentence::sentence(metric, unit, &trend);
    Some(trend)
}

/// The first complete day, counted since 1970, and the sums of all complete days from it on.
fn complete_days(unit: TrendUnit, hours: &[HourlyCount]) -> (usize, Vec<DayTotals>) {
    let (Some(first), Some(last)) = (hours.first(), hours.last()) else { return (0, Vec::new()) };
    // A first day that lacks its first hours, and a last day that lacks its last one, are not complete.
    let begin = first.hour.0.div_ceil(HOURS_PER_DAY);
    let end = last.hour.plus(1).day().0;
    let begin = begin.max(end.saturating_sub(u32::try_from(MOST_DAYS).unwrap_or(u32::MAX)));
    let mut days = vec![DayTotals { part: 0.0, whole: 0.0, value: None }; index(end.saturating_sub(begin))];
    for hour in hours.iter().filter(|hour| hour.hour.day().0 >= begin) {
        if let Some(day) = days.get_mut(index(hour.hour.day().0 - begin)) {
            day.part += hour.part;
            day.whole += hour.whole;
        }
    }
    for day in &mut days {
        day.value = value(unit, day.part, day.whole);
    }
    (index(begin), days)
}

/// The value of sums: the sum itself for a total, else the quotient.
fn value(unit: TrendUnit, part: f64, whole: f64) -> Option<f64> {
    match unit {
        TrendUnit::Total => Some(part),
        TrendUnit::Share | TrendUnit::Milliseconds | TrendUnit::Level => (whole > 0.0).then(|| part / whole),
    }
}

/// Compares periods of whole weeks, of at most [`PERIOD_DAYS`].
fn periods(unit: TrendUnit, days: &[DayTotals]) -> Periods {
    let length = PERIOD_DAYS.min(days.len() / 14 * 7);
    let over = |back: usize| {
        let end = days.len().checked_sub(back)?;
        let days = days.get(end.checked_sub(length)?..end)?;
        value(unit, days.iter().map(|day| day.part).sum(), days.iter().map(|day| day.whole).sum())
    };
    Periods { days: length, this: over(0), last: over(length), last_year: over(YEAR_DAYS) }
}

fn index(number: u32) -> usize {
    number as usize
}

fn date(day: usize) -> String {
    let minute = u32::try_from(day * 24 * 60).unwrap_or(u32::MAX);
    event::Minute(minute).start().to_string().chars().take(10).collect()
}

/// The median; 0 without values. Sorts the values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(0.0);
    let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
    f64::midpoint(lower, upper)
}

#[cfg(test)]
mod tests;
