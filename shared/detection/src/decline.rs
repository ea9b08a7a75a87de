//! Slow changes: a rate that gets worse over weeks, too slowly for any single bucket to look unusual.
//!
//! At the end of each day a weighted line is fitted through the last days with day-of-week effects removed. The scatter of the days
//! themselves widens the error of the slope, so day-to-day differences between lists are not taken for a trend. A single step is not a
//! slow change: each third of the window must continue the one before it, and the line must fit better than any step. The state is 28 days
//! of sums and nothing else.

use serde::{Deserialize, Serialize};

use crate::baseline::EventSums;
use crate::numbers::f_upper_tail;
use crate::ring::Ring;

/// Days that are kept.
pub(crate) const DAYS: usize = 28;
/// The windows that are tried, in days.
const WINDOWS: [usize; 4] = [10, 14, 21, 28];
/// Day-of-week effects are fitted from this many days on; a shorter window has too few of each day.
const MIN_DAYS_FOR_WEEKDAYS: usize = 14;
/// Rounds of fitting line and day-of-week effects alternately; they converge within a few.
const WEEKDAY_ROUNDS: usize = 8;
/// The smallest share of a window's days that must have enough mail.
const MIN_SHARE_OF_DAYS: f64 = 0.8;
/// The least mail of a day that counts.
const MIN_DAILY_MAIL: f32 = 50.0;
/// A slope is reported if its p-value (F test with one degree of freedom, which is Student's t squared) is at most this. It is strict
/// because many series are tested every day, each in several short windows.
const MAX_P_VALUE: f64 = 1e-5;
/// The share of the change over the window that each third must contribute, at least.
const MIN_SHARE_PER_THIRD: f64 = 0.15;

/// Daily sums of one rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeclineMonitor {
    /// One sum per complete day, the oldest first.
    days: [EventSums; DAYS],
    today: EventSums,
    /// The slow change that was found at the end of the last day.
    pub found: Option<DeclineFit>,
}

/// A slow change that was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclineFit {
    /// The fitted rate on the first day of the window.
    pub from: f64,
    /// The fitted rate on its last day.
    pub to: f64,
    /// The p-value of the slope: the probability of one as steep, in either direction, if there is none.
    pub p_value: f64,
    /// Days in the window.
    pub days: u32,
    /// Mail of the last day.
    pub last_day_mail: f64,
}

/// One day of a window: its number, rate and weight.
#[derive(Clone, Copy)]
struct DayRate {
    day: usize,
    rate: f64,
    weight: f64,
}

/// A rate as a straight line over the days of a window.
#[derive(Clone, Copy)]
struct FittedLine {
    intercept: f64,
    slope: f64,
}

impl FittedLine {
    fn at(self, day: f64) -> f64 {
        self.intercept + self.slope * day
    }
}

impl DeclineMonitor {
    pub fn add(&mut self, events: f64, mail: f64) {
        self.today.add(events, mail);
    }

    pub fn close_day(&mut self) {
        self.days.rotate_left(1);
        let [.., last] = &mut self.days;
        *last = std::mem::take(&mut self.today);
    }

    /// Fits each window, and returns the most significant change in the bad direction that `is_large_enough`, which is given the rates
    /// at its two ends.
    pub fn find(&self, fall_is_bad: bool, is_large_enough: impl Fn(f64, f64) -> bool) -> Option<DeclineFit> {
        let mut best: Option<DeclineFit> = None;
        // A decline that began a week ago is diluted in a long window, and a very slow one does not show in a short window.
        for window in WINDOWS {
            // No window is longer than the days that are kept.
            let (_, days) = self.days.split_at(DAYS - window);
            let Some(fit) = fit(days) else { continue };
            let is_bad = (fit.to < fit.from) == fall_is_bad;
            if is_bad
                && fit.p_value <= MAX_P_VALUE
                && is_large_enough(fit.from, fit.to)
                && best.is_none_or(|other| fit.p_value < other.p_value)
            {
                best = Some(fit);
            }
        }
        best
    }
}

/// Fits a weighted line with day-of-week effects removed. None with too few days, or if the change is a single step.
fn fit(days: &[EventSums]) -> Option<DeclineFit> {
    let points = weighted_points(days);
    if (points.len() as f64) < MIN_SHARE_OF_DAYS * days.len() as f64 {
        return None;
    }
    let last_day_mail = points.last().map_or(0.0, |(_, mail)| *mail);
    let mean_mail = points.iter().map(|(_, mail)| mail).sum::<f64>() / points.len() as f64;
    // Between equal weights and weights by mail, because days vary by more than their counting noise.
    let points: Vec<DayRate> = points
        .into_iter()
        .map(|(point, mail)| DayRate { weight: mail / (mail + mean_mail), ..point })
        .collect();
    let fits_weekdays = days.len() >= MIN_DAYS_FOR_WEEKDAYS;
    let mut weekdays = Ring::filled(0.0);
    let mut line = line_through(&points, &weekdays)?;
    if fits_weekdays {
        for _ in 0..WEEKDAY_ROUNDS {
            weekdays = weekday_effects(&points, line);
            line = line_through(&points, &weekdays)?;
        }
    }
    // Two for the line and six for the days of the week.
    let parameters = if fits_weekdays { 8.0 } else { 2.0 };
    let freedom = (points.len() as f64 - parameters).max(1.0);
    let error = slope_error(&points, &weekdays, line, freedom, mean_mail);
    let fit = DeclineFit {
        from: line.intercept,
        to: line.at(days.len() as f64 - 1.0),
        p_value: f_upper_tail((line.slope / error).powi(2), 1.0, freedom),
        days: u32::try_from(days.len()).unwrap_or(u32::MAX),
        last_day_mail,
    };
    let is_gradual = thirds_agree(&points, &weekdays, days.len(), line.slope)
        && scatter_around_line(&points, &weekdays, line) <= scatter_around_best_step(&points, &weekdays);
    is_gradual.then_some(fit)
}

/// The weighted sum of squared deviations from the line.
fn scatter_around_line(points: &[DayRate], weekdays: &Ring<f64, 7>, line: FittedLine) -> f64 {
    let squares = points.iter().map(|point| {
        let expected = weekday(weekdays, point.day) + line.at(point.day as f64);
        point.weight * (point.rate - expected).powi(2)
    });
    squares.sum()
}

/// The weighted sum of squared deviations from two levels, with the step between them where it fits best.
///
/// A step in the middle of the window passes the comparison of thirds, because the middle third then lies between the other two.
fn scatter_around_best_step(points: &[DayRate], weekdays: &Ring<f64, 7>) -> f64 {
    let scatter_around_level = |points: &[DayRate]| {
        let (mut w, mut y, mut yy) = (0.0, 0.0, 0.0);
        for point in points {
            let rate = point.rate - weekday(weekdays, point.day);
            w += point.weight;
            y += point.weight * rate;
            yy += point.weight * rate * rate;
        }
        yy - y * y / w.max(1e-9)
    };
    let scatters = (1..points.len()).map(|first_after| {
        let (before, after) = points.split_at(first_after);
        scatter_around_level(before) + scatter_around_level(after)
    });
    scatters.fold(f64::INFINITY, f64::min)
}

/// The days with enough mail, with that mail.
fn weighted_points(days: &[EventSums]) -> Vec<(DayRate, f64)> {
    let usable = days.iter().enumerate().filter(|(_, day)| day.exposure >= MIN_DAILY_MAIL);
    usable
        .map(|(day, sums)| {
            let mail = f64::from(sums.exposure);
            (DayRate { day, rate: f64::from(sums.events) / mail, weight: 1.0 }, mail)
        })
        .collect()
}

/// The standard error of the slope.
fn slope_error(
    points: &[DayRate],
    weekdays: &Ring<f64, 7>,
    line: FittedLine,
    freedom: f64,
    mean_mail: f64,
) -> f64 {
    // Only the deviation of the days from the line tells how certain the slope is; counting noise alone would call every difference
    // between lists a trend.
    let mean_day = points.iter().map(|point| point.weight * point.day as f64).sum::<f64>()
        / points.iter().map(|point| point.weight).sum::<f64>();
    let scatter = scatter_around_line(points, weekdays, line);
    let spread: f64 = points.iter().map(|point| point.weight * (point.day as f64 - mean_day).powi(2)).sum();
    let middle = line.at(mean_day);
    // The scatter cannot be less than the days' own counting noise.
    let noise = (middle * (1.0 - middle)).max(middle.abs() * 0.01).max(1e-9) / (2.0 * mean_mail);
    ((scatter / freedom).max(noise) / spread.max(1e-9)).sqrt()
}

fn weekday(weekdays: &Ring<f64, 7>, day: usize) -> f64 {
    *weekdays.at(u32::try_from(day).unwrap_or(u32::MAX))
}

/// Weighted least squares; none if all points lie on one day.
fn line_through(points: &[DayRate], weekdays: &Ring<f64, 7>) -> Option<FittedLine> {
    let (mut w, mut x, mut y, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &DayRate { day, rate, weight } in points {
        let (number, rate) = (day as f64, rate - weekday(weekdays, day));
        w += weight;
        x += weight * number;
        y += weight * rate;
        xx += weight * number * number;
        xy += weight * number * rate;
    }
    let determinant = w * xx - x * x;
    (determinant > 1e-9).then(|| {
        let slope = (w * xy - x * y) / determinant;
        FittedLine { intercept: (y - slope * x) / w, slope }
    })
}

/// The weighted mean deviation from the line per day of the week.
fn weekday_effects(points: &[DayRate], line: FittedLine) -> Ring<f64, 7> {
    let mut sums = Ring::filled((0.0, 0.0));
    for &DayRate { day, rate, weight } in points {
        let (sum, weights) = sums.at_mut(u32::try_from(day).unwrap_or(u32::MAX));
        *sum += weight * (rate - line.intercept - line.slope * day as f64);
        *weights += weight;
    }
    sums.map(mean)
}

fn mean((sum, weight): (f64, f64)) -> f64 {
    if weight > 0.0 { sum / weight } else { 0.0 }
}

/// Whether each third of the window continues the change of the one before it, which a single step does not.
fn thirds_agree(points: &[DayRate], weekdays: &Ring<f64, 7>, days: usize, slope: f64) -> bool {
    let (mut first, mut second, mut third) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
    for &DayRate { day, rate, weight } in points {
        let (sum, weights) = match day * 3 / days {
            0 => &mut first,
            1 => &mut second,
            _ => &mut third,
        };
        *sum += weight * (rate - weekday(weekdays, day));
        *weights += weight;
    }
    let (first, second, third) = (mean(first), mean(second), mean(third));
    // Noise gives each third some change in either direction, so each must contribute a fair part.
    let sign = slope.signum();
    let change = (third - first) * sign;
    change > 0.0
        && (second - first) * sign > MIN_SHARE_PER_THIRD * change
        && (third - second) * sign > MIN_SHARE_PER_THIRD * change
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The change that is found after days of 10,000 messages at `rate`, the oldest day first.
    fn found(days: usize, rate: impl Fn(usize) -> f64) -> Option<DeclineFit> {
        let mut monitor = DeclineMonitor::default();
        for day in 0..days {
            monitor.add(10_000.0 * rate(day), 10_000.0);
            monitor.close_day();
        }
        monitor.find(true, |from, to| to < 0.9 * from)
    }

    #[test]
    fn steady_fall_is_found_with_its_two_ends() {
        let fit = found(28, |day| 0.3 - 0.005 * day as f64).unwrap();
        assert!((fit.from - 0.3).abs() < 0.01 && (fit.to - 0.165).abs() < 0.01, "{fit:?}");
        assert_eq!(fit.days, 28);
        assert!((fit.last_day_mail - 10_000.0).abs() < 1e-6);
    }

    #[test]
    fn rise_step_weekend_and_noise_are_no_decline() {
        let check = |name: &str, rate: fn(usize) -> f64| assert_eq!(found(28, rate), None, "{name}");
        check("rise", |day| 0.1 + 0.005 * day as f64);
        check("step", |day| if day < 4 { 0.3 } else { 0.2 });
        check("weekends", |day| if day % 7 >= 5 { 0.1 } else { 0.3 });
        check("noise", |day| 0.2 + 0.1 * (day as f64 * 2.4).sin());
    }

    #[test]
    fn step_in_the_middle_of_a_window_is_no_decline() {
        for (first_after, noise) in [(10, 0.0), (14, 0.0), (14, 0.01), (18, 0.01)] {
            let rate = |day: usize| {
                let level = if day < first_after { 0.3 } else { 0.2 };
                level + noise * (day as f64 * 2.4).sin()
            };
            assert_eq!(found(28, rate), None, "step at day {first_after} with noise {noise}");
        }
    }

    #[test]
    fn steady_fall_with_scatter_is_a_decline() {
        assert!(found(28, |day| 0.3 - 0.005 * day as f64 + 0.01 * (day as f64 * 2.4).sin()).is_some());
    }

    #[test]
    fn decline_ignores_days_without_enough_mail() {
        let mut monitor = DeclineMonitor::default();
        for day in 0..28 {
            let mail = if day % 2 == 0 { 10_000.0 } else { 10.0 };
            monitor.add(mail * (0.3 - 0.005 * f64::from(day)), mail);
            monitor.close_day();
        }
        assert_eq!(monitor.find(true, |_, _| true), None, "half of the days are missing");
    }
}
