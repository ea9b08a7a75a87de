//! One watched series: a tenant, a tenant at a provider, a provider over all tenants, or everything.
//!
//! Takes a bucket's counts, judges each rate against what was expected before the bucket, and only then learns from it. Must
//! never see a later bucket: a verdict depends on the past alone.

use serde::{Deserialize, Serialize};

use crate::baseline::{Level, NEW_NORMAL, SUSPECT_WEIGHT, Season};
use crate::counts::{Base, Counts, METRICS, Metric};
use crate::decline::Decline;
use crate::evidence::{CAUTION, Evidence, Outcome, Test, narrow, recent_fade};
use crate::exposure::{Decay, Integrators, Kernel};
use crate::latency::Latency;

/// What one bucket's run knows beside the counts.
pub struct Context<'a> {
    /// The bucket's first minute.
    pub now: u32,
    /// Its width in minutes.
    pub bucket: u32,
    /// Evidence needed to alert.
    pub threshold: f64,
    /// When outcomes come, per metric.
    pub kernels: &'a [Kernel; METRICS],
    /// What integrators keep per bucket.
    pub decay: &'a Decay,
}

/// What a series leans on.
#[derive(Clone, Copy, Debug)]
pub struct Lean {
    /// The parent's rates.
    pub rates: [f64; METRICS],
    /// Seasonal factors of this bucket.
    pub season: [f64; METRICS],
    /// Whether the parent is under suspicion.
    pub suspicious: [bool; METRICS],
    /// Whether an alert on delivery time is open.
    pub slow: bool,
    /// Whether nothing at all was counted for the tenant in this bucket.
    pub absent: bool,
}

/// What one rate is judged against.
#[derive(Clone, Copy)]
struct Judging {
    rate: f64,
    suspicious: bool,
    absent: bool,
}

/// What a bucket brought for one metric, and how far it may be learned from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    /// Seen, expected, and the mail behind.
    pub outcome: Outcome,
    /// Weight it was learned with.
    pub weight: f64,
}

/// The state of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    mail: [Integrators; 2],
    levels: [Level; METRICS],
    /// Evidence for a small and a large change, per metric.
    pub evidence: [[Evidence; 2]; METRICS],
    suspicious_since: [u32; METRICS],
    settled: [f32; METRICS],
    /// Delivery time.
    pub latency: Latency,
    /// Slow decline of deliveries, of opens, and slow growth of complaints.
    pub declines: Option<Box<[Decline; 3]>>,
    first: u32,
}

/// Where so many times the mail of a usual bucket is due, it is a burst.
const BURST: f64 = 3.0;

/// Age from which the level of a rate is known, in minutes.
const LEVEL_KNOWN: u32 = 24 * 60;

/// What slow decline is watched on: deliveries of mail with an outcome, opens and complaints of deliveries.
pub(crate) const DECLINES: [Metric; 3] = [Metric::Delivery, Metric::Open, Metric::Complaint];

impl Node {
    /// A series first seen in this minute.
    pub fn new(first: u32, with_declines: bool) -> Self {
        Self {
            mail: Default::default(),
            levels: Default::default(),
            evidence: Default::default(),
            suspicious_since: [0; METRICS],
            settled: [0.0; METRICS],
            latency: Latency::default(),
            declines: with_declines.then(Box::default),
            first,
        }
    }

    /// Its rates, leaning on `parents`.
    pub fn rates(&self, parents: &[f64; METRICS]) -> [f64; METRICS] {
        let mut rates = *parents;
        for (rate, level) in rates.iter_mut().zip(&self.levels) {
            *rate = level.rate(*rate);
        }
        rates
    }

    /// Which metrics are under suspicion.
    pub fn suspicious(&self) -> [bool; METRICS] {
        self.suspicious_since.map(|since| since > 0)
    }

    /// Minutes since it was first seen.
    pub fn age(&self, now: u32) -> u32 {
        now.saturating_sub(self.first)
    }

    /// Judges a bucket, then learns from it.
    pub fn step(&mut self, counts: &Counts, context: &Context<'_>, lean: &Lean) -> [Judged; METRICS] {
        let mut judged = [Judged::default(); METRICS];
        for (mail, base) in self.mail.iter_mut().zip([counts.base(Base::Sends), counts.deliveries]) {
            mail.add(base, context.decay);
        }
        if self.mail.iter().all(Integrators::is_spent) {
            return judged;
        }
        let rates = self.rates(&lean.rates);
        for (index, (metric, judged)) in Metric::ALL.into_iter().zip(&mut judged).enumerate() {
            let (Some(rate), Some(season), Some(inherited)) =
                (rates.get(index), lean.season.get(index), lean.suspicious.get(index))
            else {
                continue;
            };
            let lean = Judging { rate: rate * season, suspicious: *inherited, absent: lean.absent };
            *judged = self.judge(metric, counts.of(metric), context, lean);
        }
        // After a burst only late deliveries are left, of which most are slow.
        let fresh = self.mail.first().map_or(0.0, Integrators::now);
        let part = (2.0 * fresh / counts.latency_weight.max(1.0)).min(1.0);
        let (sum, weight) = (part * counts.latency_sum, part * counts.latency_weight);
        self.latency.step(sum, weight, context.now, context.bucket, context.threshold, lean.slow);
        if let Some(declines) = &mut self.declines {
            let with_outcome = counts.deliveries + counts.bounces_permanent + counts.bounces_transient;
            for (decline, metric) in declines.iter_mut().zip(DECLINES) {
                let base = if metric == Metric::Delivery { with_outcome } else { counts.deliveries };
                decline.add(counts.of(metric), base);
            }
        }
        judged
    }

    fn judge(&mut self, metric: Metric, seen: f64, context: &Context<'_>, lean: Judging) -> Judged {
        let index = metric as usize;
        let watch = metric.watch();
        let (Some(mail), Some(kernel), Some(level), Some(evidence), Some(since), Some(settled)) = (
            self.mail.get(watch.base as usize),
            context.kernels.get(index),
            self.levels.get_mut(index),
            self.evidence.get_mut(index),
            self.suspicious_since.get_mut(index),
            self.settled.get_mut(index),
        ) else {
            return Judged::default();
        };
        let exposure = kernel.exposure(mail);
        let outcome = Outcome { seen, expected: exposure * lean.rate, base: exposure };
        let fade = recent_fade(context.bucket);
        *settled = fade * *settled + (1.0 - fade) * narrow(exposure);
        // Nobody opens in the first minutes: in the first hour of a campaign less may be missing than the mix of lags says.
        let sure = match metric {
            Metric::Open | Metric::Click => exposure.min((*settled).into()),
            // When mail stops, so do its deliveries, and only late ones are due: how many is not known well.
            Metric::Delivery => exposure.min(mail.now()),
            Metric::HardBounce | Metric::Bounce | Metric::Delay | Metric::Complaint => exposure,
        };
        // A series without any counts may be one whose counts are missing: its volume speaks, its rates do not.
        let sure = if lean.absent && metric.falls() { 0.0 } else { sure };
        // Late deliveries make rates above 1; of what was sent now, no more than all is to come.
        let rate = if metric == Metric::Delivery { lean.rate.min(1.0) } else { lean.rate };
        let tested = Outcome { seen, expected: sure * rate, base: sure };
        // Complaints come so few at a time that neither an hour's drift nor an error of the baseline shows in them; the gate on the factor
        // leaves room for both.
        let (direction, caution) = match metric {
            Metric::Complaint => (0.0, 0.9),
            _ if metric.falls() => (-2.0, CAUTION),
            _ => (2.0, CAUTION),
        };
        let is_burst = exposure > BURST * mail.slowest();
        let margin = (direction * level.drift(is_burst)).exp();
        let mut strongest = 0.0_f64;
        for (evidence, ratio) in evidence.iter_mut().zip(watch.ratios) {
            let dispersion = level.dispersion();
            let test = Test { ratio, dispersion, margin, threshold: context.threshold, fade, caution };
            evidence.add(&tested, &test, context.now);
            strongest = strongest.max(evidence.strength.into());
        }
        let suspected = lean.suspicious || strongest > context.threshold / 2.0;
        if !suspected {
            *since = 0;
        } else if *since == 0 {
            *since = context.now;
        }
        let settled = !suspected || context.now.saturating_sub(*since) > NEW_NORMAL;
        let weight = if settled { 1.0 } else { SUSPECT_WEIGHT };
        level.learn(&outcome, is_burst, weight);
        Judged { outcome, weight }
    }

    /// Teaches the kernels from a bucket just judged.
    pub fn teach(&self, judged: &[Judged; METRICS], rates: &[f64; METRICS], kernels: &mut [Kernel; METRICS]) {
        for (index, metric) in Metric::ALL.into_iter().enumerate() {
            let (Some(judged), Some(rate), Some(kernel), Some(level), Some(mail)) = (
                judged.get(index),
                rates.get(index),
                kernels.get_mut(index),
                self.levels.get(index),
                self.mail.get(metric.watch().base as usize),
            ) else {
                continue;
            };
            if judged.weight < 1.0 || level.events() < 30.0 {
                continue;
            }
            let expected = judged.outcome.expected;
            let seen = judged.outcome.seen.min(5.0 * expected + 10.0);
            kernel.learn(seen, mail, *rate, expected + level.dispersion() * expected * expected);
        }
    }

    /// Teaches the seasons from a bucket just judged. Not on the first day: as long as the level is not known, its error would be taken for
    /// the hour's.
    pub(crate) fn teach_seasons(
        &self,
        judged: &[Judged; METRICS],
        now: u32,
        seasons: &mut [Season; METRICS],
    ) {
        if self.age(now) < LEVEL_KNOWN {
            return;
        }
        for (season, judged) in seasons.iter_mut().zip(judged) {
            season.learn(now, judged.outcome.seen, judged.outcome.expected, judged.weight);
        }
    }

    /// Mails a day, over about the last day.
    pub fn sends_a_day(&self, buckets_a_day: f64) -> f64 {
        self.mail.first().map_or(0.0, |mail| mail.slowest() * buckets_a_day)
    }

    /// Closes an hour.
    pub fn close_hour(&mut self) {
        for level in &mut self.levels {
            level.close_hour();
        }
    }

    /// The strongest evidence of a metric that passes its gates, once there is enough history.
    pub fn signal(&self, metric: Metric, now: u32, threshold: f64) -> Option<Evidence> {
        let watch = metric.watch();
        if self.age(now) < watch.least_history {
            return None;
        }
        let evidence = self.evidence.get(metric as usize)?;
        let passing = evidence
            .iter()
            .filter(|evidence| f64::from(evidence.strength) >= threshold && passes(metric, evidence));
        passing.max_by(|a, b| a.strength.total_cmp(&b.strength)).copied()
    }

    /// Forgets what was gathered on some metrics: an alert has told it, and it is over.
    pub fn forget(&mut self, metrics: &[Metric]) {
        for metric in metrics {
            if let Some(evidence) = self.evidence.get_mut(*metric as usize) {
                *evidence = Default::default();
            }
        }
    }

    /// The strongest evidence of a metric, gates or not.
    pub fn strongest(&self, metric: Metric) -> Evidence {
        let [small, large] = self.evidence.get(metric as usize).copied().unwrap_or_default();
        if large.strength > small.strength { large } else { small }
    }

    /// The rate over all hours; none before there was any mail.
    pub fn usual(&self, metric: Metric) -> Option<f64> {
        self.levels.get(metric as usize).and_then(Level::usual)
    }

    /// The usual band of a count of `expected`: drift, dispersion and counting noise together, two standard deviations wide.
    pub fn band(&self, metric: Metric, expected: f64) -> (f64, f64) {
        let Some(level) = self.levels.get(metric as usize) else { return (expected, expected) };
        let drift = 2.0 * level.drift(false);
        let noise = 2.0 * expected.max(1.0).sqrt();
        ((expected * (-drift).exp() - noise).max(0.0), expected * drift.exp() + noise)
    }
}

fn passes(metric: Metric, evidence: &Evidence) -> bool {
    let watch = metric.watch();
    let (seen, expected) = (f64::from(evidence.seen), f64::from(evidence.expected));
    let (excess, factor) = if metric.falls() {
        (expected - seen, expected / seen.max(0.5))
    } else {
        (seen - expected, seen / expected.max(1e-9))
    };
    excess >= watch.least_events
        && factor >= watch.least_factor
        && excess >= watch.least_gap * f64::from(evidence.base)
}
