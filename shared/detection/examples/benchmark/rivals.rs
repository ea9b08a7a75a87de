//! Four simpler detectors, as they are commonly written: fixed thresholds, a rolling z-score, an EWMA chart, a seasonal median with MAD.
//!
//! Each monitors the same five series of each tenant and is silent for six hours after an alert on one of them.

use std::collections::VecDeque;

use detection::Counts;

use crate::score::Fired;
use crate::world::{World, WorldRow};

pub const RIVALS: [&str; 4] = ["fixed thresholds", "rolling z-score", "EWMA", "seasonal median/MAD"];

const METRICS: [&str; 5] = ["bounce_rate", "delay_rate", "complaint_rate", "open_rate", "sends"];
/// Standard deviations that raise an alert; the usual three would raise alerts all day.
const FAR: f64 = 5.0;

/// The state of one series.
#[derive(Clone, Default)]
struct Series {
    day: VecDeque<f64>,
    sums: [f64; 2],
    ewma: f64,
    weeks: Vec<VecDeque<f64>>,
    quiet_until: [usize; 4],
}

pub struct Rivals {
    buckets_per_day: usize,
    series: Vec<[Series; 5]>,
    pub fired: [Vec<Fired>; 4],
}

impl Rivals {
    pub fn new(world: &World) -> Self {
        let week = Series { weeks: vec![VecDeque::new(); 168], ..Series::default() };
        let series = vec![[(); 5].map(|()| week.clone()); world.names.len()];
        Self { buckets_per_day: world.buckets_per_day, series, fired: Default::default() }
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
                let alerts = series.evaluate(metric, value, bucket, self.buckets_per_day);
                for (rival, _) in alerts.into_iter().enumerate().filter(|(_, is_alert)| *is_alert) {
                    if bucket < series.quiet_until[rival] {
                        continue;
                    }
                    series.quiet_until[rival] = bucket + self.buckets_per_day / 4;
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
    /// Whether each rival raises an alert for a value. Then the value is learned.
    fn evaluate(&mut self, metric: usize, value: f64, bucket: usize, buckets_per_day: usize) -> [bool; 4] {
        // A rise is bad for bounces, delays and complaints, a fall for opens, and both for volume.
        let bad = |off: f64| match metric {
            0..=2 => off,
            3 => -off,
            _ => off.abs(),
        };
        let fixed = [value > 0.02, value > 0.1, value > 0.001, value < 0.05, value <= 0.0][metric];
        let full = self.day.len() >= buckets_per_day;
        let count = self.day.len().max(1) as f64;
        let mean = self.sums[0] / count;
        let deviation = (self.sums[1] / count - mean * mean).max(0.0).sqrt().max(1e-9);
        let z = full && bad(value - mean) > FAR * deviation;
        self.ewma += 0.2 * (value - self.ewma);
        // The variance of an EWMA with weight w is w / (2 - w) times that of its values.
        let chart = full && bad(self.ewma - mean) > FAR * deviation * (0.2_f64 / 1.8).sqrt();
        let slot = &mut self.weeks[bucket * 24 / buckets_per_day % 168];
        let mut sorted: Vec<f64> = slot.iter().copied().collect();
        let middle = median(&mut sorted);
        let mut off: Vec<f64> = sorted.iter().map(|other| (other - middle).abs()).collect();
        let spread = 1.4826 * median(&mut off);
        let seasonal = bucket > 14 * buckets_per_day && bad(value - middle) > FAR * spread.max(1e-9);
        slot.push_back(value);
        if slot.len() > 4 * buckets_per_day / 24 {
            slot.pop_front();
        }
        self.day.push_back(value);
        self.sums[0] += value;
        self.sums[1] += value * value;
        if self.day.len() > buckets_per_day {
            let old = self.day.pop_front().unwrap();
            self.sums[0] -= old;
            self.sums[1] -= old * old;
        }
        [fixed, z, chart, seasonal]
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
