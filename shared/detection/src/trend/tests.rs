//! Trends of generated years whose slope, steps and seasons are known.

use simulator::random::Random;

use super::*;

struct Series {
    days: u32,
    slope_per_week: f64,
    noise: f64,
    correlation: f64,
    weekend: f64,
    /// The day of a step, and its size.
    step: (u32, f64),
}

const CALM: Series =
    Series { days: 365, slope_per_week: 0.0, noise: 50.0, correlation: 0.0, weekend: 0.4, step: (0, 0.0) };

/// Hours of generated totals of about 2000 per day, more by day than by night.
fn hours(series: &Series, seed: u64) -> Vec<HourlyCount> {
    let mut random = Random::from_seed(seed);
    let mut wave = 0.0;
    let mut hours = Vec::new();
    for day in 0..series.days {
        let correlation = series.correlation;
        wave = correlation * wave + (1.0 - correlation * correlation).sqrt() * random.normal();
        let step = if series.step.1 != 0.0 && day >= series.step.0 { series.step.1 } else { 0.0 };
        let level = 2000.0 + series.slope_per_week * f64::from(day) / 7.0 + step + series.noise * wave;
        let weekday = if day % 7 >= 5 { series.weekend } else { (7.0 - 2.0 * series.weekend) / 5.0 };
        for hour in 0..24 {
            let by_day = if (8..20).contains(&hour) { 1.5 } else { 0.5 };
            hours.push(HourlyCount {
                hour: Hour(490_000 / 168 * 168 + 24 * day + hour),
                part: level * weekday * by_day / 24.0,
                whole: 0.0,
            });
        }
    }
    hours
}

#[test]
fn intervals_cover_the_true_slope_as_often_as_they_claim() {
    for (days, correlation) in [(56, 0.0), (120, 0.3), (365, 0.0), (365, 0.5)] {
        let (mut in_95, mut in_99) = (0, 0);
        let rounds = 300;
        for seed in 0..rounds {
            let slope_per_week = Random::from_seed(seed + 7).normal() * 10.0;
            let trend = look_back(
                "sends",
                TrendUnit::Total,
                &hours(&Series { days, slope_per_week, correlation, ..CALM }, seed),
            )
            .unwrap();
            let holds = |[low, high]: [f64; 2]| u64::from((low..=high).contains(&slope_per_week));
            in_95 += holds(trend.slope.interval_95);
            in_99 += holds(trend.slope.interval_99);
        }
        let (share_95, share_99) = (in_95 as f64 / rounds as f64, in_99 as f64 / rounds as f64);
        println!("{days} {correlation} {share_95} {share_99}");
        assert!(
            (0.92..=0.985).contains(&share_95),
            "{days} days, correlation {correlation}: {share_95} of 95 %"
        );
        assert!(share_99 >= 0.965, "{days} days, correlation {correlation}: {share_99} of 99 %");
    }
}

#[test]
fn series_without_a_trend_has_none() {
    let trend_of = |seed| {
        look_back("sends", TrendUnit::Total, &hours(&Series { days: 120, correlation: 0.3, ..CALM }, seed))
            .unwrap()
    };
    let wrong = (0..200).filter(|&seed| trend_of(seed).trend != TrendDirection::None).count();
    assert!(wrong <= 6, "{wrong} of 200");
    assert!((0..200).filter(|&seed| !trend_of(seed).change_points.is_empty()).count() <= 4);
    assert!(trend_of(3).summary.contains("no trend"), "{}", trend_of(3).summary);
}

#[test]
fn step_is_reported_with_its_day_and_size_and_is_no_trend() {
    let mut with_trend = 0;
    for seed in 0..100 {
        let hours = hours(&Series { step: (200, 400.0), ..CALM }, seed);
        let trend = look_back("sends", TrendUnit::Total, &hours).unwrap();
        with_trend += u32::from(trend.trend != TrendDirection::None);
        assert_eq!(trend.change_points.len(), 1, "seed {seed}: {}", trend.summary);
        assert!((trend.change_points[0].change - 400.0).abs() < 60.0, "seed {seed}: {}", trend.summary);
        assert!(trend.change_points[0].day.abs_diff(200) <= 1, "seed {seed}: {}", trend.summary);
    }
    println!("{with_trend} of 100");
    // A 99 % interval misses the true slope, which is 0, for one series in 100.
    assert!(with_trend <= 3, "{with_trend} of 100");
}

#[test]
fn growth_is_reported_with_its_seasons() {
    let trend =
        look_back("sends", TrendUnit::Total, &hours(&Series { slope_per_week: 20.0, ..CALM }, 5)).unwrap();
    assert_eq!(trend.trend, TrendDirection::Rising);
    assert!(trend.change_points.is_empty(), "{}", trend.summary);
    let (week, day) = (trend.day_of_week.unwrap(), trend.hour_of_day.unwrap());
    assert!(week.found && week.strength > 0.9 && day.found && day.strength > 0.9);
    assert!((week.profile.iter().sum::<f64>() / 7.0 - 1.0).abs() < 0.05);
    assert!(trend.summary.starts_with("Over 52 weeks sends rises by +2"), "{}", trend.summary);
}

#[test]
fn noise_is_no_season() {
    let mut random = Random::from_seed(9);
    let hours: Vec<HourlyCount> = (0..24 * 60)
        .map(|hour| HourlyCount { hour: Hour(hour), part: 100.0 + 10.0 * random.normal(), whole: 0.0 })
        .collect();
    let trend = look_back("sends", TrendUnit::Total, &hours).unwrap();
    assert!(!trend.day_of_week.unwrap().found && !trend.hour_of_day.unwrap().found);
}

#[test]
fn rates_are_compared_by_period_and_with_a_year_ago() {
    let rate = |day: u32| if day < 100 { 0.01 } else { 0.02 };
    let hours: Vec<HourlyCount> = (0..24 * 400)
        .map(|hour| HourlyCount { hour: Hour(hour), part: 1000.0 * rate(hour / 24), whole: 1000.0 })
        .collect();
    let periods = look_back("bounce_rate", TrendUnit::Share, &hours).unwrap().periods;
    assert_eq!(periods.days, 28);
    assert!((periods.this.unwrap() - 0.02).abs() < 1e-9);
    assert!((periods.last.unwrap() - 0.02).abs() < 1e-9);
    assert!((periods.last_year.unwrap() - 0.01).abs() < 1e-9);
}

#[test]
fn too_little_data_has_no_trend() {
    assert_eq!(look_back("sends", TrendUnit::Total, &[]), None);
    assert_eq!(look_back("sends", TrendUnit::Total, &hours(&Series { days: 13, ..CALM }, 1)), None);
    let nothing: Vec<HourlyCount> =
        (0..24 * 30).map(|hour| HourlyCount { hour: Hour(hour), part: 0.0, whole: 0.0 }).collect();
    assert_eq!(look_back("open_rate", TrendUnit::Share, &nothing), None);
    assert_eq!(look_back("sends", TrendUnit::Total, &nothing).unwrap().trend, TrendDirection::None);
}
