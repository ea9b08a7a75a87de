//! Looking back over weeks and years: is there a trend, a step, a season, and how do this period and the last compare?
//!
//! Works on complete days with the days of the week taken out. Steps are looked for first, since a step is no trend; the slope is then
//! the median over pairs of days between steps, with an interval that widens when days follow one another. Says "no trend" unless one is
//! beyond doubt. Must not be used for alerts: it looks at all days at once.

mod season;
mod sentence;
mod slope;
mod step;

use serde::Serialize;

pub use season::Seasonality;
pub use slope::Slope;
pub use step::Step;

/// Fewest complete days that say anything.
pub const LEAST_DAYS: usize = 14;
/// Most days looked at: three years and a bit, so that pairs of days stay below a million.
pub const MOST_DAYS: usize = 1_200;
/// Days of a period that is compared with another, if there are enough.
const PERIOD: usize = 28;
/// The same days of the week a year ago.
const YEAR: usize = 364;

/// What a metric's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Something counted; a day's value is its sum.
    Total,
    /// A part of a whole, as a fraction.
    Share,
    /// A mean of milliseconds.
    Milliseconds,
    /// A mean of readings.
    Level,
}

/// What was counted in an hour. For a total, `whole` means nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HourlyCount {
    /// Hours since 1970, UTC.
    pub hour: u32,
    /// Events, or the sum of what is averaged.
    pub part: f64,
    /// What they are a part of, or how many were summed.
    pub whole: f64,
}

/// What a look back found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// The first complete day.
    pub from: String,
    /// The last complete day.
    pub to: String,
    /// Days between them, both included.
    pub days: usize,
    /// `rising`, `falling` or `none`: said only beyond doubt (99 %).
    pub trend: TrendDirection,
    /// How fast.
    #[serde(flatten)]
    pub slope: Slope,
    /// Days on which the level stepped, in order of time.
    pub change_points: Vec<Step>,
    /// How it swings over the day; none with less than three weeks of hours.
    pub hour_of_day: Option<Seasonality>,
    /// How it swings over the week; none with less than three weeks.
    pub day_of_week: Option<Seasonality>,
    /// The last days against those before.
    pub periods: Periods,
    /// All of it in one sentence.
    pub summary: String,
}

/// Which way a trend goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrendDirection {
    /// Up.
    Rising,
    /// Down.
    Falling,
    /// Nowhere, as far as can be told.
    None,
}

/// A period, the one before it, and the same one a year ago (364 days, so that days of the week match).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Periods {
    /// Days in each.
    pub days: usize,
    /// The value over the last days.
    pub this: Option<f64>,
    /// Over as many days before them.
    pub last: Option<f64>,
    /// Over the same days a year before.
    pub last_year: Option<f64>,
}

/// A complete day; no value where there was nothing to divide by.
#[derive(Clone, Copy, Debug, PartialEq)]
struct DayTotals {
    part: f64,
    whole: f64,
    value: Option<f64>,
}

/// Looks back over hours in the order of time; hours left out are hours without events. None with less than two complete weeks.
pub fn look_back(metric: &str, unit: Unit, hours: &[HourlyCount]) -> Option<Trend> {
    let (first, days) = complete_days(unit, hours);
    if days.len() < LEAST_DAYS || days.iter().filter(|day| day.value.is_some()).count() < LEAST_DAYS {
        return None;
    }
    let weekdays = season::weekday_effects(unit, &days);
    let points: Vec<(usize, f64)> = days
        .iter()
        .enumerate()
        .filter_map(|(index, day)| Some((index, season::without(unit, day.value?, weekdays.get(index % 7)))))
        .collect();
    let steps = step::steps(&points);
    let slope = slope::slope(&points, &steps);
    let beyond_doubt = slope.interval_99;
    let trend = match beyond_doubt {
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
        change_points: steps.into_iter().map(|step| Step { date: date(first + step.day), ..step }).collect(),
        hour_of_day: season::hour_of_day(unit, hours),
        day_of_week: season::day_of_week(unit, &days, first),
        periods: periods(unit, &days),
        summary: String::new(),
    };
    trend.summary = sentence::sentence(metric, unit, &trend);
    Some(trend)
}

/// The number of the first complete day since 1970, and all complete days from it on.
fn complete_days(unit: Unit, hours: &[HourlyCount]) -> (usize, Vec<DayTotals>) {
    let (Some(first), Some(last)) = (hours.first(), hours.last()) else { return (0, Vec::new()) };
    let begin = first.hour.div_ceil(24);
    let end = (last.hour + 1) / 24;
    let begin = begin.max(end.saturating_sub(u32::try_from(MOST_DAYS).unwrap_or(u32::MAX)));
    let mut days = vec![DayTotals { part: 0.0, whole: 0.0, value: None }; index(end.saturating_sub(begin))];
    for hour in hours.iter().filter(|hour| hour.hour / 24 >= begin) {
        if let Some(day) = days.get_mut(index(hour.hour / 24 - begin)) {
            day.part += hour.part;
            day.whole += hour.whole;
        }
    }
    for day in &mut days {
        day.value = value(unit, day.part, day.whole);
    }
    (index(begin), days)
}

/// The value of sums: a total as it is, everything else divided.
fn value(unit: Unit, part: f64, whole: f64) -> Option<f64> {
    match unit {
        Unit::Total => Some(part),
        Unit::Share | Unit::Milliseconds | Unit::Level => (whole > 0.0).then(|| part / whole),
    }
}

/// Whole weeks are compared if there are enough of them.
fn periods(unit: Unit, days: &[DayTotals]) -> Periods {
    let length = PERIOD.min(days.len() / 14 * 7);
    let over = |back: usize| {
        let end = days.len().checked_sub(back)?;
        let days = days.get(end.checked_sub(length)?..end)?;
        value(unit, days.iter().map(|day| day.part).sum(), days.iter().map(|day| day.whole).sum())
    };
    Periods { days: length, this: over(0), last: over(length), last_year: over(YEAR) }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn date(day: usize) -> String {
    let minute = u32::try_from(day * 24 * 60).unwrap_or(u32::MAX);
    event::Minute(minute).start().to_string().chars().take(10).collect()
}

/// The middle of values, which are put into order.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(0.0);
    let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
    f64::midpoint(lower, upper)
}

#[cfg(test)]
mod tests;
