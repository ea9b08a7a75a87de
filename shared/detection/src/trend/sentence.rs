//! A trend in one plain sentence.
//!
//! It names every number with its unit, so it can be read without the other fields of the trend.

use std::fmt::Write as _;

use super::{Trend, TrendDirection, TrendUnit};

/// The most important finding comes first.
pub(super) fn sentence(metric: &str, unit: TrendUnit, trend: &Trend) -> String {
    let name = metric.replace('_', " ");
    let weeks = trend.days as f64 / 7.0;
    let [low, high] = trend.slope.interval_95;
    let (slope, low, high) =
        (change(unit, trend.slope.slope_per_week), change(unit, low), change(unit, high));
    let direction = match trend.trend {
        TrendDirection::Rising => format!("rises by {slope} per week"),
        TrendDirection::Falling => {
            format!("falls by {} per week", change(unit, -trend.slope.slope_per_week).trim_start_matches('+'))
        }
        TrendDirection::None => "shows no trend".to_owned(),
    };
    let mut text = format!("Over {weeks:.0} weeks {name} {direction} ({low} to {high} with 95 % confidence)");
    for step in &trend.change_points {
        let _ = write!(text, ", changed by {} on {}", change(unit, step.change), step.date);
    }
    for (season, period) in [(&trend.day_of_week, "week"), (&trend.hour_of_day, "day")] {
        if let Some(season) = season.as_ref().filter(|season| season.found) {
            let _ =
                write!(text, ", varies over the {period} (highest {}, lowest {})", season.peak, season.low);
        }
    }
    let periods = &trend.periods;
    if let (Some(this), Some(last)) = (periods.this, periods.last) {
        let _ = write!(
            text,
            "; the value was {1} over the last {0} days and {2} over the {0} days before",
            periods.days,
            level(unit, this),
            level(unit, last)
        );
        if let Some(year) = periods.last_year {
            let _ = write!(text, ", and {} a year ago", level(unit, year));
        }
    }
    text + "."
}

fn level(unit: TrendUnit, value: f64) -> String {
    match unit {
        TrendUnit::Share => format!("{:.3} %", 100.0 * value),
        TrendUnit::Milliseconds => format!("{value:.0} ms"),
        TrendUnit::Total | TrendUnit::Level => format!("{value:.0}"),
    }
}

fn change(unit: TrendUnit, value: f64) -> String {
    match unit {
        TrendUnit::Share => format!("{:+.3} points", 100.0 * value),
        TrendUnit::Milliseconds => format!("{value:+.1} ms"),
        TrendUnit::Total | TrendUnit::Level => format!("{value:+.1}"),
    }
}
