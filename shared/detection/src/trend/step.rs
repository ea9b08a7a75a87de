//! Steps of the level of a series, found one at a time.
//!
//! Each day is tried as a step beside a straight line, so growth is no step. The best one is kept if it explains more than the scatter and
//! the correlation of neighbouring days could (the sup-Wald test of Andrews 1993, with a stricter bound than that of its 1 % level).

use schemars::JsonSchema;
use serde::Serialize;

use super::median;

/// Most steps that are reported, and fewest days before and after one.
const MAX_STEPS: usize = 5;
const MIN_SIDE_DAYS: usize = 7;
/// The least Wald statistic of a step: its squared size in standard errors. Andrews' bound at 1 % is 12.
const MIN_WALD: f64 = 25.0;
/// Deviations are clipped at this many median deviations, because an incident is no step.
const CLIP_MEDIANS: f64 = 6.0;

/// A lasting step of the level from one day to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ChangePoint {
    /// The first day of the new level, such as `2026-11-25`.
    pub date: String,
    /// By how much the level changed, in the unit of a day's value.
    pub change: f64,
    /// Days after the first day of the series.
    #[serde(skip)]
    pub(super) day: usize,
}

/// The steps of days (number, value), in order of time.
pub(super) fn steps(points: &[(usize, f64)]) -> Vec<ChangePoint> {
    let mut steps: Vec<ChangePoint> = Vec::new();
    let mut rest: Vec<(f64, f64)> = points.iter().map(|&(day, value)| (day as f64, value)).collect();
    while steps.len() < MAX_STEPS {
        let Some((position, change)) = best(&rest) else { break };
        let Some(&(day, _)) = points.get(position) else { break };
        // A second step at the same place only corrects the size of the first; what is left is no step.
        if steps.iter().any(|known| known.day.abs_diff(day) < MIN_SIDE_DAYS) {
            break;
        }
        // The step is removed before the next is sought, so that a large one does not hide a small one.
        for (_, value) in rest.iter_mut().skip(position) {
            *value -= change;
        }
        steps.push(ChangePoint { date: String::new(), change, day });
    }
    steps.sort_by_key(|step| step.day);
    steps
}

/// Position and size of the clearest step beside a straight line; none if scatter could explain it.
fn best(points: &[(f64, f64)]) -> Option<(usize, f64)> {
    let count = points.len();
    if count < 2 * MIN_SIDE_DAYS {
        return None;
    }
    let n = count as f64;
    let mean_day = points.iter().map(|point| point.0).sum::<f64>() / n;
    let spread: f64 = points.iter().map(|point| (point.0 - mean_day).powi(2)).sum();
    let left = clipped(&without_line(points, mean_day, spread));
    let total: f64 = left.iter().map(|value| value * value).sum();
    // With the line removed from values and step alike, the size of the step is a simple regression.
    let (mut after, mut days_after): (f64, f64) =
        (left.iter().sum(), points.iter().map(|point| point.0 - mean_day).sum());
    let mut best = (0, 0.0, 0.0);
    for (position, (value, (day, _))) in left.iter().zip(points).enumerate() {
        if position >= MIN_SIDE_DAYS && position + MIN_SIDE_DAYS <= count {
            let share = (count - position) as f64;
            let own = share - share * share / n - days_after * days_after / spread.max(1e-300);
            let gain = if own > 1e-9 { after * after / own } else { 0.0 };
            if gain > best.1 {
                best = (position, gain, after / own);
            }
        }
        after -= value;
        days_after -= day - mean_day;
    }
    let (position, gain, change) = best;
    let mut rest: Vec<(f64, f64)> = points.to_vec();
    for (_, value) in rest.iter_mut().skip(position) {
        *value -= change;
    }
    let rest = clipped(&without_line(&rest, mean_day, spread));
    let neighbours: f64 = rest.iter().zip(rest.iter().skip(1)).map(|(a, b)| a * b).sum();
    let scatter: f64 = rest.iter().map(|value| value * value).sum();
    let correlation = (neighbours / scatter.max(1e-300) + 3.0 / n).clamp(0.0, 0.9);
    let noise = scatter / (n - 3.0) * (1.0 + correlation) / (1.0 - correlation);
    let exact = noise <= 1e-12 * total;
    (gain > 0.0 && (exact || gain >= MIN_WALD * noise)).then_some((position, change))
}

fn without_line(points: &[(f64, f64)], mean_day: f64, spread: f64) -> Vec<f64> {
    let mean = points.iter().map(|point| point.1).sum::<f64>() / points.len().max(1) as f64;
    let slope =
        points.iter().map(|point| (point.0 - mean_day) * (point.1 - mean)).sum::<f64>() / spread.max(1e-300);
    points.iter().map(|point| point.1 - mean - slope * (point.0 - mean_day)).collect()
}

fn clipped(values: &[f64]) -> Vec<f64> {
    let far = CLIP_MEDIANS * median(&mut values.iter().map(|value| value.abs()).collect::<Vec<f64>>());
    values.iter().map(|value| value.clamp(-far, far)).collect()
}
