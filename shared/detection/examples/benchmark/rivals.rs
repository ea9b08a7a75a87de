//! Four simpler detectors, as people write them: fixed thresholds, a rolling z-score, an EWMA chart, a seasonal median with MAD.
//!
//! Each watches the same five series of each tenant and rests for six hours after an alert on one of them.

use std::collections::VecDeque;

use detection::Counts;

use crate::score::Fired;
use crate::world::{World, WorldRow};

pub const RIVALS: [&str; 4] = ["fixed thresholds", "rolling z-score", "EWMA", "seasonal median/MAD"];

const METRICS: [&str; 5] = ["bounce_rate", "delay_rate", "complaint_rate", "open_rate", "sends"];
/// Standard deviations that alarm; the usual three would alarm all day.
const FAR: f64 = 5.0;

/// What is kept of one series.
#[derive(Clone, Default)]
struct Series {
    day: VecDeque<f64>,
    sums: [f64; 2],
    ewma: f64,
    weeks: Vec<VecDeque<f64>>,
    quiet_until: [usize; 4],
}

pub struct Rivals {
    a_day: usize,
    series: Vec<[Series; 5]>,
    pub fired: [Vec<Fired>; 4],
}

impl Rivals {
    pub fn new(world: &World) -> Self {
        let week = Series { weeks: vec![VecDeque::new(); 168], ..Series::default() };
        let series = vec![[(); 5].map(|()| week.clone()); world.names.len()];
        Self { a_day: world.a_day, series, fired: Default::default() }
    }

    pub fn observe(&mut self, bucket: usize, rows: &[WorldRow], names: &[String]) {
        let mut counts = vec![Counts::default(); names.len()];
        for row in rows {
            counts[row.tenant].add(&row.counts);
        }
        for (tenant, counts) in counts.iter().enumerate() {
            let bounces = counts.bounces_permanent + counts.bounces_transient;
            let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
            let values = [
                share(bounces, counts.sends),
                share(counts.delays, counts.sends),
                share(counts.complaints, counts.deliveries),
                share(counts.opens, counts.deliveries),
                Some(counts.sends),
            ];
            for (metric, value) in values.into_iter().enumerate() {
                let Some(value) = value else { continue };
                let series = &mut self.series[tenant][metric];
                let says = series.judge(metric, value, bucket, self.a_day);
                for (rival, _) in says.into_iter().enumerate().filter(|(_, says)| *says) {
                    if bucket < series.quiet_until[rival] {
                        continue;
                    }
                    series.quiet_until[rival] = bucket + self.a_day / 4;
                    self.fired[rival].push(Fired {
                        tenant: names[tenant].clone(),
                        provider: None,
                        campaign: None,
                        metric: METRICS[metric].to_owned(),
                        kind: RIVALS[rival].to_owned(),
                        bucket,
                        summary: String::new(),
                    });
                }
            }
        }
    }
}

impl Series {
    /// What each rival says of a value; then it is learned.
    fn judge(&mut self, metric: usize, value: f64, bucket: usize, a_day: usize) -> [bool; 4] {
        // More is bad for bounces, delays and complaints; less for opens; both for volume.
        let bad = |off: f64| match metric {
            0..=2 => off,
            3 => -off,
            _ => off.abs(),
        };
        let fixed = [value > 0.02, value > 0.1, value > 0.001, value < 0.05, value <= 0.0][metric];
        let full = self.day.len() >= a_day;
        let count = self.day.len().max(1) as f64;
        let mean = self.sums[0] / count;
        let deviation = (self.sums[1] / count - mean * mean).max(0.0).sqrt().max(1e-9);
        let z = full && bad(value - mean) > FAR * deviation;
        self.ewma += 0.2 * (value - self.ewma);
        // The variance of an EWMA with weight l is l / (2 - l) of that of its values.
        let chart = full && bad(self.ewma - mean) > FAR * deviation * (0.2_f64 / 1.8).sqrt();
        let slot = &mut self.weeks[bucket * 24 / a_day % 168];
        let mut sorted: Vec<f64> = slot.iter().copied().collect();
        let median = middle(&mut sorted);
        let mut off: Vec<f64> = sorted.iter().map(|other| (other - median).abs()).collect();
        let spread = 1.4826 * middle(&mut off);
        let seasonal = bucket > 14 * a_day && bad(value - median) > FAR * spread.max(1e-9);
        slot.push_back(value);
        if slot.len() > 4 * a_day / 24 {
            slot.pop_front();
        }
        self.day.push_back(value);
        self.sums[0] += value;
        self.sums[1] += value * value;
        if self.day.len() > a_day {
            let old = self.day.pop_front().unwrap();
            self.sums[0] -= old;
            self.sums[1] -= old * old;
        }
        [fixed, z, chart, seasonal]
    }
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
