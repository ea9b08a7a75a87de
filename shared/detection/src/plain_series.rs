//! Scores how unusual the next point of a plain series is, in [0, 1], comparable between series and from earlier points only.
//!
//! Three views of a point are each compared with their own past: its distance from the last points and from its hour of the day, how far
//! the mean of the last points has moved, and how much rougher or smoother they are than usual. The past of a view is the value that one
//! point in 20,000 exceeds (peaks over a threshold that follows the series, after Siffer et al., KDD 2017), so the score does not depend
//! on the unit. The span of "the last points" is a time where points are dense and a count where they are sparse: an hour of trouble is
//! found as well with one point per minute as with one per hour. What was reported is reported again only if it gets worse.

use crate::ring::Ring;

/// Points after which the mean of an hour of the day is used, and points that this mean is over.
const HOUR_TRUSTED_POINTS: f64 = 3.0;
const HOUR_MEMORY_POINTS: f64 = 100.0;
/// Points that the usual value of a view is over.
const USUAL_MEMORY_POINTS: f64 = 3000.0;
/// Points that the mean time between points is over. A gap counts as two such times.
const STEP_MEMORY_POINTS: f64 = 100.0;
/// The span of the last mean and its roughness, of the level, and of the time after a high score in which points are news only in part:
/// trouble comes in runs of points, and is reported once.
const RECENT: Span = Span { hours: 1.0, min_points: 1.0, max_points: 20.0 };
const LEVEL: Span = Span { hours: 9.0, min_points: 10.0, max_points: 28.0 };
const REST: Span = Span { hours: 4.0, min_points: 5.0, max_points: 128.0 };
/// The share of a point's news that counts during the rest after a high score.
const RESTING_WEIGHT: f64 = 0.25;
/// The weights of the views: distance, shift, roughness. A lasting shift is the surest sign.
const VIEW_WEIGHTS: [f64; 3] = [0.4, 1.0, 0.6];
/// Added to the roughness on both sides of the comparison, as a share of the usual one, so that a flat line is unusual but not infinitely.
const ROUGHNESS_OFFSET: f64 = 0.15;
/// Points that views begin with, and points before anything is reported: the first maxima are no news.
const WARM_UP_POINTS: f64 = 30.0;
const QUIET_POINTS: f64 = 60.0;
/// The share of what was reported before that a point must exceed, and how that fades: per point, per hour, and faster in a young series,
/// whose first high scores are often chance.
const REPORTED_SHARE: f64 = 0.9;
const FADE_PER_POINT: f64 = 0.0002;
const FADE_PER_HOUR: f64 = 0.001;
const FADE_YOUNG: f64 = 0.5;
/// Nats (natural logarithm of one over the probability) that make a score of 1/2.
const NATS_OF_HALF: f64 = 1.7;
/// Beyond this the sums of squares of absurd values would overflow; no real series comes near it.
const MAX_VALUE: f64 = 1e100;
const MILLISECONDS_PER_HOUR: f64 = 3_600_000.0;

/// A span of time, as a number of points with bounds.
struct Span {
    hours: f64,
    min_points: f64,
    max_points: f64,
}

impl Span {
    fn points(&self, step_hours: f64) -> f64 {
        (self.hours / step_hours).min(self.max_points).max(self.min_points)
    }
}

/// Scores the points of one series in the order of time, with about 600 bytes of state.
#[derive(Clone, Debug)]
pub struct Scorer {
    last_time_ms: Option<i64>,
    /// Usual time between points, in hours; 0 before the second point.
    step_hours: f64,
    score: f64,
    points: f64,
    last_value: f64,
    level: f64,
    shift: RecentAndUsual,
    /// The mean change from point to point.
    roughness: RecentAndUsual,
    hours: Ring<HourMean, 24>,
    views: [ViewTail; 3],
    /// The highest nats reported, decayed.
    reported: f64,
    rests_until: f64,
}

/// A mean over the last points, and what it usually is.
#[derive(Clone, Copy, Debug, Default)]
struct RecentAndUsual {
    recent: f64,
    usual: f64,
}

/// The mean at one hour of the day (UTC).
#[derive(Clone, Copy, Debug, Default)]
struct HourMean {
    mean: f64,
    points: f64,
}

impl Default for Scorer {
    fn default() -> Self {
        Self {
            last_time_ms: None,
            step_hours: 0.0,
            score: 0.0,
            points: 0.0,
            last_value: 0.0,
            level: 0.0,
            shift: RecentAndUsual::default(),
            roughness: RecentAndUsual::default(),
            hours: Ring::filled(HourMean::default()),
            views: Default::default(),
            reported: 0.0,
            rests_until: 0.0,
        }
    }
}

impl Scorer {
    /// The score of the next point, whose time is in milliseconds since 1970.
    ///
    /// A point that is not later than the one before is ignored and gets the score of that one. A value that is not finite gets 0.
    pub fn score(&mut self, time_ms: i64, value: f64) -> f64 {
        if !value.is_finite() {
            return 0.0;
        }
        if self.last_time_ms.is_some_and(|last| time_ms <= last) {
            return self.score;
        }
        if let Some(last) = self.last_time_ms.replace(time_ms) {
            self.learn_step(time_ms.saturating_sub(last));
        }
        let value = value.clamp(-MAX_VALUE, MAX_VALUE);
        // The first point has no past, so it is its own.
        if self.points < 1.0 {
            (self.last_value, self.level) = (value, value);
        }
        self.points += 1.0;
        let nats = self.nats_of_point(hour_of_day(time_ms), value);
        let weight = if self.points < self.rests_until { RESTING_WEIGHT } else { 1.0 };
        // An incident is many unusual points; what was reported is reported again only if it gets worse.
        let news = weight * (nats - REPORTED_SHARE * self.reported).max(0.0);
        let fade = FADE_PER_POINT.max(FADE_PER_HOUR * self.step_hours).max(FADE_YOUNG / self.points).min(1.0);
        self.reported = ((1.0 - fade) * self.reported).max(nats);
        if news > NATS_OF_HALF {
            self.rests_until = self.points + REST.points(self.step_hours);
        }
        self.score = if self.points <= QUIET_POINTS { 0.0 } else { 1.0 - (-news / NATS_OF_HALF).exp2() };
        self.score
    }

    fn learn_step(&mut self, elapsed_ms: i64) {
        // A gap is no sign that points have become sparse, so it counts as two usual steps at most.
        let hours = elapsed_ms as f64 / MILLISECONDS_PER_HOUR;
        self.step_hours = if self.step_hours > 0.0 {
            let step = hours.min(2.0 * self.step_hours);
            self.step_hours + (step - self.step_hours) / self.points.min(STEP_MEMORY_POINTS)
        } else {
            hours
        };
    }

    /// How unlikely a point is in all views together, in nats. Then the point is learned.
    fn nats_of_point(&mut self, hour: u32, value: f64) -> f64 {
        let (level, usual_memory) = (self.level, USUAL_MEMORY_POINTS.min(self.points));
        let recent_memory = RECENT.points(self.step_hours);
        let of_hour = self.hours.at_mut(hour);
        let usual = if of_hour.points >= HOUR_TRUSTED_POINTS { of_hour.mean } else { level };
        let (off, step) = (value - usual, (value - self.last_value).abs());
        let shift = &mut self.shift;
        shift.recent += (off - shift.recent) / recent_memory;
        let moved = (shift.recent - shift.usual).abs();
        shift.usual += (off - shift.usual) / usual_memory;
        let rough = &mut self.roughness;
        rough.recent += (step - rough.recent) / recent_memory;
        // A logarithm, because a flat line where there was movement is as unusual as the reverse.
        let rougher = if rough.usual > 0.0 {
            let offset = ROUGHNESS_OFFSET * rough.usual;
            ((rough.recent + offset) / ((1.0 + ROUGHNESS_OFFSET) * rough.usual)).ln().abs()
        } else {
            0.0
        };
        rough.usual += (step - rough.usual) / usual_memory;
        // The smaller distance: a point is ordinary if it fits the present level or its hour of the day.
        let far = (value - level).abs().min(off.abs());
        let views = self.views.iter_mut().zip([far, moved, rougher]).zip(VIEW_WEIGHTS);
        let nats = views.map(|((tail, amount), weight)| weight * tail.nats(amount, self.points)).sum();
        self.level += (value - level) / LEVEL.points(self.step_hours);
        self.last_value = value;
        of_hour.points += 1.0;
        of_hour.mean += (value - of_hour.mean) / of_hour.points.min(HOUR_MEMORY_POINTS);
        nats
    }
}

fn hour_of_day(time_ms: i64) -> u32 {
    let hour = time_ms.div_euclid(3_600_000).rem_euclid(24);
    event::invariant::or_broken(u32::try_from(hour).ok(), 0, "an hour of the day outside 0 to 23")
}

/// The tail of a view: the value that it rarely exceeds.
#[derive(Clone, Copy, Debug, Default)]
struct ViewTail {
    /// One point in [`ViewTail::ONE_IN`] lies above.
    edge: f64,
}

impl ViewTail {
    const ONE_IN: f64 = 20_000.0;
    /// The relative growth of the edge with a point above it.
    const PACE: f64 = 0.033;

    /// The natural logarithm of one over the probability of at least `amount`, by the past. Then `amount` is learned.
    fn nats(&mut self, amount: f64, points: f64) -> f64 {
        if points <= WARM_UP_POINTS {
            self.edge = self.edge.max(amount);
            return 0.0;
        }
        if amount <= 0.0 {
            return 0.0;
        }
        let ratio = amount / self.edge.max(f64::MIN_POSITIVE);
        if ratio > 1.0 {
            // A line that was flat so far has no edge to grow from.
            self.edge = if self.edge > 0.0 { self.edge * (1.0 + Self::PACE) } else { Self::PACE * amount };
        } else {
            self.edge *= 1.0 - Self::PACE / (Self::ONE_IN - 1.0);
        }
        // No probability below one over the number of points can be known from them.
        (Self::ONE_IN.ln() * ratio).min(points.ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A daily wave with a little noise.
    fn wave(point: i64, minutes: i64) -> f64 {
        let noise =
            f64::from(u32::try_from(point.wrapping_mul(0x9e37_79b9).rem_euclid(1000)).unwrap()) / 1000.0;
        let days = (point * minutes) as f64 / 1440.0;
        100.0 + 30.0 * (std::f64::consts::TAU * days).sin() + 4.0 * noise
    }

    fn scores(count: i64, minutes: i64, value: impl Fn(i64) -> f64) -> Vec<f64> {
        let mut scorer = Scorer::default();
        (0..count).map(|point| scorer.score(point * minutes * 60_000, value(point))).collect()
    }

    fn highest(scores: &[f64]) -> f64 {
        scores.iter().copied().fold(0.0, f64::max)
    }

    #[test]
    fn unusual_points_score_above_all_ordinary_ones() {
        let unusual: [fn(f64) -> f64; 3] =
            [|usual| usual + 150.0, |usual| usual + 40.0, |usual| usual * -3.0];
        for minutes in [1, 5, 60] {
            for (case, unusual) in unusual.into_iter().enumerate() {
                let value = |point| {
                    let usual = wave(point, minutes);
                    if point >= 4000 { unusual(usual) } else { usual }
                };
                let scores = scores(4100, minutes, value);
                let (before, after) = scores.split_at(4000);
                let (before, after) = (highest(&before[1500..]), highest(after));
                assert!(
                    after > before + 0.1,
                    "case {case}, points of {minutes} minutes: {after} after {before}"
                );
            }
        }
    }

    #[test]
    fn gap_hardly_changes_the_usual_step() {
        let mut scorer = Scorer::default();
        for point in 0..1000 {
            let gap = if point < 500 { 0 } else { 30 * 86_400_000 };
            scorer.score(point * 300_000 + gap, wave(point, 5));
        }
        assert!((0.08..0.09).contains(&scorer.step_hours), "{} hours", scorer.step_hours);
    }

    #[test]
    fn score_does_not_depend_on_the_unit() {
        let plain = scores(3000, 5, |point| if point == 2500 { 400.0 } else { wave(point, 5) });
        let large = scores(3000, 5, |point| if point == 2500 { 400e9 } else { wave(point, 5) * 1e9 });
        assert!(plain.iter().zip(&large).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn any_values_have_scores_between_0_and_1() {
        let values = [0.0, -1e308, 1e308, f64::NAN, f64::INFINITY, 5e-324, -0.0, 1e100, -7.0];
        let mut scorer = Scorer::default();
        for point in 0..5000_u32 {
            let value = values[(point * 7 % 9) as usize];
            let score = scorer.score(i64::from(point) * 60_000, value);
            assert!((0.0..=1.0).contains(&score), "{value} scores {score}");
        }
        assert!((0.0..=1.0).contains(&scorer.score(i64::MAX, 0.0)));
    }

    #[test]
    fn constant_series_is_never_unusual_until_it_changes() {
        let scores = scores(2000, 5, |point| if point == 1500 { 8.0 } else { 7.0 });
        assert!(highest(&scores[..1500]) <= 0.0);
        assert!(scores[1500] > 0.5);
    }

    #[test]
    fn repeated_point_has_the_same_score_and_is_not_learned() {
        let mut once = Scorer::default();
        let mut twice = Scorer::default();
        for point in 0..1000 {
            let score = once.score(point * 300_000, wave(point, 5));
            assert!((score - twice.score(point * 300_000, wave(point, 5))).abs() <= 0.0);
            assert!((score - twice.score(point * 300_000, 1e9)).abs() <= 0.0);
        }
    }

    #[test]
    fn span_is_a_time_within_bounds_of_points() {
        for (step_hours, points) in [(1.0 / 60.0, 20.0), (0.1, 10.0), (1.0, 1.0), (24.0, 1.0)] {
            assert!((RECENT.points(step_hours) - points).abs() < 1e-9, "{step_hours}");
        }
    }

    #[test]
    fn hour_of_day_is_that_of_utc_before_and_after_1970() {
        for (time_ms, hour) in [(0, 0), (3_599_999, 0), (3_600_000, 1), (-1, 23), (86_400_000, 0)] {
            assert_eq!(hour_of_day(time_ms), hour, "{time_ms}");
        }
    }
}
