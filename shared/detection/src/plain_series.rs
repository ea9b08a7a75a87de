//! How odd is the next point of a plain series? A score in [0, 1] that means the same for all series, from the past alone.
//!
//! Three views of a point are each held against their own past: how far it is from the last points and from its hour of the day, how
//! far the mean of the last points has moved, and how much rougher or smoother they are than usual. A view's past is the value that one
//! point in 20,000 exceeds (peaks over a threshold that follows the series, after Siffer et al., KDD 2017), so the score is free of the
//! unit. What "last" means is a time where points are close and a count where they are far apart: an hour of trouble is an hour, at
//! points of a minute and of an hour. What was told is told again only if it gets worse, and forgotten slowly.

use crate::baseline::to_index;

/// Hours of the day, each with a mean of its own.
const SLOTS: usize = 24;
/// Points after which a slot is trusted, and points its mean is over.
const SLOT_TRUSTED: f64 = 3.0;
const SLOT_MEMORY: f64 = 100.0;
/// Points that what is usual of a view is over.
const LONG: f64 = 3000.0;
/// Points of a series before its step is known well; a gap counts as two steps.
const STEP_MEMORY: f64 = 100.0;
/// What the last mean and its roughness are over, what the level is over, and how long points are news by a part only after one that
/// scored above 1/2: trouble comes in runs of points, and is one trouble.
const SHORT: Span = Span { hours: 1.0, least: 1.0, most: 20.0 };
const LEVEL: Span = Span { hours: 9.0, least: 10.0, most: 28.0 };
const REST: Span = Span { hours: 4.0, least: 5.0, most: 128.0 };
/// The part by which points are news while trouble rests.
const RESTING: f64 = 0.25;
/// What the views count for: distance, shift, roughness. A shift that lasts is the surest of them.
const WEIGHTS: [f64; 3] = [0.4, 1.0, 0.6];
/// What is added to the roughness on both sides, as a part of what is usual, so that a flat line is odd but not infinitely so.
const ROUGH: f64 = 0.15;
/// Points that views begin with, and points before anything is said: the first that were largest are no news.
const WARM_UP: f64 = 30.0;
const QUIET: f64 = 60.0;
/// What a point has to exceed of what was told lately, and how that fades: with each point, each hour, and faster in a young series,
/// whose first days say little.
const AGAIN: f64 = 0.9;
const FADE: f64 = 0.0002;
const FADE_HOUR: f64 = 0.001;
const FADE_YOUNG: f64 = 0.5;
/// Nats (natural logarithms of one over the chance) that make a score of 1/2.
const HALF: f64 = 1.7;
/// Beyond this the sums of squares of nothing overflow; no series of this world comes near it.
const LARGEST: f64 = 1e100;

/// A span of time, in points of a series: no fewer and no more than these, however far apart they are.
struct Span {
    hours: f64,
    least: f64,
    most: f64,
}

impl Span {
    fn points(&self, step_hours: f64) -> f64 {
        (self.hours / step_hours).min(self.most).max(self.least)
    }
}

/// Scores the points of one series, in the order of their time; about 600 bytes of state.
#[derive(Clone, Debug, Default)]
pub struct Scorer {
    time: Option<i64>,
    /// Hours from point to point, as usual; 0 before the second.
    step: f64,
    score: f64,
    points: f64,
    last: f64,
    level: f64,
    shift: [f64; 2],
    roughness: [f64; 2],
    slots: [HourMean; SLOTS],
    views: [Tail; 3],
    told: f64,
    rests_until: f64,
}

/// The mean at one hour of the day.
#[derive(Clone, Copy, Debug, Default)]
struct HourMean {
    mean: f64,
    points: f64,
}

impl Scorer {
    /// The score of the next point. A point that is not later than the one before brings nothing new and has its score; no number
    /// scores 0.
    pub fn score(&mut self, time_ms: i64, value: f64) -> f64 {
        if !value.is_finite() {
            return 0.0;
        }
        if self.time.is_some_and(|last| time_ms <= last) {
            return self.score;
        }
        if let Some(last) = self.time.replace(time_ms) {
            self.learn_step(time_ms.saturating_sub(last));
        }
        let value = value.clamp(-LARGEST, LARGEST);
        if self.points < 1.0 {
            (self.last, self.level) = (value, value);
        }
        self.points += 1.0;
        let nats = self.look(hour_of_day(time_ms), value);
        let weight = if self.points < self.rests_until { RESTING } else { 1.0 };
        let news = weight * (nats - AGAIN * self.told).max(0.0);
        let fade = FADE.max(FADE_HOUR * self.step).max(FADE_YOUNG / self.points).min(1.0);
        self.told = ((1.0 - fade) * self.told).max(nats);
        if news > HALF {
            self.rests_until = self.points + REST.points(self.step);
        }
        self.score = if self.points <= QUIET { 0.0 } else { 1.0 - (-news / HALF).exp2() };
        self.score
    }

    fn learn_step(&mut self, elapsed_ms: i64) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of many thousand years are exact")]
        let hours = elapsed_ms as f64 / 3_600_000.0;
        self.step = if self.step > 0.0 {
            self.step + (hours.min(2.0 * self.step) - self.step) / self.points.min(STEP_MEMORY)
        } else {
            hours
        };
    }

    /// What the views say of a point, in nats; then it is learned.
    fn look(&mut self, hour: usize, value: f64) -> f64 {
        let (level, past) = (self.level, LONG.min(self.points));
        let short = SHORT.points(self.step);
        let mut slot = self.slots.get(hour).copied().unwrap_or_default();
        let usual = if slot.points >= SLOT_TRUSTED { slot.mean } else { level };
        let (off, step) = (value - usual, (value - self.last).abs());
        let [shift, usual_shift] = &mut self.shift;
        *shift += (off - *shift) / short;
        let moved = (*shift - *usual_shift).abs();
        *usual_shift += (off - *usual_shift) / past;
        let [rough, usual_rough] = &mut self.roughness;
        *rough += (step - *rough) / short;
        let rougher = if *usual_rough > 0.0 {
            ((*rough + ROUGH * *usual_rough) / ((1.0 + ROUGH) * *usual_rough)).ln().abs()
        } else {
            0.0
        };
        *usual_rough += (step - *usual_rough) / past;
        let far = (value - level).abs().min(off.abs());
        let views = self.views.iter_mut().zip([far, moved, rougher]).zip(WEIGHTS);
        let nats = views.map(|((tail, amount), weight)| weight * tail.nats(amount, self.points)).sum();
        self.level += (value - level) / LEVEL.points(self.step);
        self.last = value;
        slot.points += 1.0;
        slot.mean += (value - slot.mean) / slot.points.min(SLOT_MEMORY);
        if let Some(kept) = self.slots.get_mut(hour) {
            *kept = slot;
        }
        nats
    }
}

fn hour_of_day(time_ms: i64) -> usize {
    let hour = time_ms.div_euclid(3_600_000).rem_euclid(24);
    to_index(u32::try_from(hour).unwrap_or_default())
}

/// The tail of a view: what it rarely exceeds.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    /// One point in [`Tail::ONE_IN`] lies above.
    edge: f64,
}

impl Tail {
    const ONE_IN: f64 = 20_000.0;
    /// How far the edge moves with a point above.
    const PACE: f64 = 0.033;

    /// The logarithm of one over the chance of so much or more, judged by the past; then learns it.
    fn nats(&mut self, amount: f64, points: f64) -> f64 {
        if points <= WARM_UP {
            self.edge = self.edge.max(amount);
            return 0.0;
        }
        if amount <= 0.0 {
            return 0.0;
        }
        let ratio = amount / self.edge.max(f64::MIN_POSITIVE);
        if ratio > 1.0 {
            // A line that was flat until now has no edge to grow from.
            self.edge = if self.edge > 0.0 { self.edge * (1.0 + Self::PACE) } else { Self::PACE * amount };
        } else {
            self.edge *= 1.0 - Self::PACE / (Self::ONE_IN - 1.0);
        }
        // Who saw few points cannot be surer.
        (Self::ONE_IN.ln() * ratio).min(points.ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wave over the day with a little scatter.
    fn wave(point: i64, minutes: i64) -> f64 {
        let scatter =
            f64::from(u32::try_from(point.wrapping_mul(0x9e37_79b9).rem_euclid(1000)).unwrap()) / 1000.0;
        let days = (point * minutes) as f64 / 1440.0;
        100.0 + 30.0 * (std::f64::consts::TAU * days).sin() + 4.0 * scatter
    }

    fn scores(count: i64, minutes: i64, value: impl Fn(i64) -> f64) -> Vec<f64> {
        let mut scorer = Scorer::default();
        (0..count).map(|point| scorer.score(point * minutes * 60_000, value(point))).collect()
    }

    fn highest(scores: &[f64]) -> f64 {
        scores.iter().copied().fold(0.0, f64::max)
    }

    #[test]
    fn what_is_odd_scores_above_all_that_was_ordinary() {
        let odd: [fn(f64) -> f64; 3] = [|usual| usual + 150.0, |usual| usual + 40.0, |usual| usual * -3.0];
        for minutes in [1, 5, 60] {
            for (case, odd) in odd.into_iter().enumerate() {
                let value = |point| {
                    let usual = wave(point, minutes);
                    if point >= 4000 { odd(usual) } else { usual }
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
    fn a_gap_is_no_step() {
        let mut scorer = Scorer::default();
        for point in 0..1000 {
            let gap = if point < 500 { 0 } else { 30 * 86_400_000 };
            scorer.score(point * 300_000 + gap, wave(point, 5));
        }
        assert!((0.08..0.09).contains(&scorer.step), "{} hours", scorer.step);
    }

    #[test]
    fn the_unit_does_not_matter() {
        let plain = scores(3000, 5, |point| if point == 2500 { 400.0 } else { wave(point, 5) });
        let large = scores(3000, 5, |point| if point == 2500 { 400e9 } else { wave(point, 5) * 1e9 });
        assert!(plain.iter().zip(&large).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn any_numbers_make_scores_between_0_and_1() {
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
    fn a_constant_series_is_never_odd_until_it_changes() {
        let scores = scores(2000, 5, |point| if point == 1500 { 8.0 } else { 7.0 });
        assert!(highest(&scores[..1500]) <= 0.0);
        assert!(scores[1500] > 0.5);
    }

    #[test]
    fn a_repeated_point_has_its_score_and_teaches_nothing() {
        let mut once = Scorer::default();
        let mut twice = Scorer::default();
        for point in 0..1000 {
            let score = once.score(point * 300_000, wave(point, 5));
            assert!((score - twice.score(point * 300_000, wave(point, 5))).abs() <= 0.0);
            assert!((score - twice.score(point * 300_000, 1e9)).abs() <= 0.0);
        }
    }
}
