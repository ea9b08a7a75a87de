//! The slope of a series: the median over pairs of days, with its interval (the Theil-Sen estimator).
//!
//! Theil 1950 and Sen 1968: no single day can bend it, and the interval follows from Kendall's variance of ranks. Neighbouring days are
//! correlated, so the variance is multiplied by (1 + r) / (1 - r) for a lag-one correlation r of the residuals (Yue and Wang 2004), where r
//! is corrected for the bias of short series (Marriott and Pope 1954).

use schemars::JsonSchema;
use serde::Serialize;

use super::median;
use super::step::ChangePoint;

/// Two-sided 95 % and 99 % quantiles of the normal distribution.
const Z_95: f64 = 1.960;
const Z_99: f64 = 2.576;
/// The correlation of neighbouring days is assumed to be at most this: beyond it the interval would cover everything.
const MAX_CORRELATION: f64 = 0.9;

/// A slope with its intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Slope {
    /// Change per week, in the unit of a day's value.
    pub slope_per_week: f64,
    /// 95 % confidence interval of the slope per week.
    pub interval_95: [f64; 2],
    /// 99 % confidence interval of the slope per week.
    pub interval_99: [f64; 2],
}

/// The slope of days (number, value) in order, over pairs with no step between them.
pub(super) fn slope(points: &[(usize, f64)], steps: &[ChangePoint]) -> Slope {
    // Pairs across a step would take the step for a slope.
    let segment = |day: usize| steps.iter().filter(|step| step.day <= day).count();
    let segments: Vec<&[(usize, f64)]> = points.chunk_by(|a, b| segment(a.0) == segment(b.0)).collect();
    let mut slopes = Vec::new();
    let mut variance = 0.0;
    for segment in &segments {
        let n = segment.len() as f64;
        variance += n * (n - 1.0) * (2.0 * n + 5.0) / 18.0;
        for (position, &(day, value)) in segment.iter().enumerate() {
            let later = segment.iter().skip(position + 1);
            slopes.extend(later.map(|&(other, then)| (then - value) / (other - day) as f64));
        }
    }
    let middle = median(&mut slopes);
    let correlation = correlation(&segments, middle);
    let spread = (variance * (1.0 + correlation) / (1.0 - correlation)).sqrt();
    // Sen's ranks of the bounds. Short series know their own scatter less well, so they get wider ones.
    let short = 1.0 + 3.0 / points.len().max(1) as f64;
    let at = |z: f64| {
        let rank = f64::midpoint(slopes.len() as f64, z * short * spread);
        let rank = rank.clamp(0.0, slopes.len().saturating_sub(1) as f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to an index")]
        let rank = rank as usize;
        7.0 * slopes.get(rank).copied().unwrap_or(middle)
    };
    Slope {
        slope_per_week: 7.0 * middle,
        interval_95: [at(-Z_95), at(Z_95)],
        interval_99: [at(-Z_99), at(Z_99)],
    }
}

/// Lag-one correlation of the residuals, between 0 and [`MAX_CORRELATION`].
fn correlation(segments: &[&[(usize, f64)]], slope: f64) -> f64 {
    let mut residuals: Vec<(usize, f64)> = Vec::new();
    for segment in segments {
        let rest = |&(day, value): &(usize, f64)| value - slope * day as f64;
        let middle = median(&mut segment.iter().map(rest).collect::<Vec<f64>>());
        residuals.extend(segment.iter().map(|point| (point.0, rest(point) - middle)));
    }
    // Clipped, because one outlier would hide the correlation of all other neighbours.
    let far = 4.0 * median(&mut residuals.iter().map(|(_, value)| value.abs()).collect::<Vec<f64>>());
    let (mut together, mut alone) = (0.0, 0.0);
    let mut before: Option<(usize, f64)> = None;
    for (day, value) in residuals {
        let value = value.clamp(-far, far);
        alone += value * value;
        if let Some((last, other)) = before
            && last + 1 == day
        {
            together += value * other;
        }
        before = Some((day, value));
    }
    let days = segments.iter().map(|segment| segment.len()).sum::<usize>().max(1) as f64;
    let seen = if alone > 0.0 { together / alone } else { 0.0 };
    (seen + (1.0 + 4.0 * seen) / days).clamp(0.0, MAX_CORRELATION)
}
