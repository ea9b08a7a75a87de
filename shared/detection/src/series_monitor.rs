//! One watched series: a tenant, a tenant at a provider, a provider over all tenants, or everything.
//!
//! Takes a bucket's counts, judges each rate against what was expected before the bucket, and only then learns from it. Must
//! never see a later bucket: a finding depends on the past alone.

use serde::{Deserialize, Serialize};

use crate::baseline::{NEW_NORMAL, RateBaseline, SUSPECT_WEIGHT, SeasonalFactors};
use crate::counts::{Counts, Denominator, METRIC_COUNT, Metric};
use crate::cusum::{CAUTION, Cusum, CusumTest, Observation, recent_fade, to_f32};
use crate::decline::DeclineMonitor;
use crate::latency::LatencyMonitor;
use crate::outcome_delay::{DecayFactors, DelayKernel, LeakyIntegrators};

/// What one bucket's run knows beside the counts.
pub struct BucketContext<'a> {
    /// The bucket's first minute.
    pub now: u32,
    /// Its width in minutes.
    pub bucket: u32,
    /// Cusum needed to alert.
    pub threshold: f64,
    /// When outcomes come, per metric.
    pub kernels: &'a [DelayKernel; METRIC_COUNT],
    /// What integrators keep per bucket.
    pub decay: &'a DecayFactors,
}

/// What a series leans on.
#[derive(Clone, Copy, Debug)]
pub struct SeriesPrior {
    /// The parent's rates.
    pub rates: [f64; METRIC_COUNT],
    /// Seasonal factors of this bucket.
    pub season: [f64; METRIC_COUNT],
    /// Whether the parent is under suspicion.
    pub suspicious: [bool; METRIC_COUNT],
    /// Whether an alert on delivery time is open.
    pub slow: bool,
    /// Whether nothing at all was counted for the tenant in this bucket.
    pub absent: bool,
}

/// What one rate is judged against.
#[derive(Clone, Copy)]
struct RatePrior {
    rate: f64,
    suspicious: bool,
    absent: bool,
}

/// What a bucket brought for one metric, and how far it may be learned from.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateEvaluation {
    /// Seen, expected, and the mail behind.
    pub observation: Observation,
    /// Weight it was learned with.
    pub weight: f64,
}

/// The state of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesMonitor {
    mail: [LeakyIntegrators; 2],
    levels: [RateBaseline; METRIC_COUNT],
    /// Cusum for a small and a large change, per metric.
    pub cusum: [[Cusum; 2]; METRIC_COUNT],
    suspicious_since: [u32; METRIC_COUNT],
    settled: [f32; METRIC_COUNT],
    /// Delivery time.
    pub latency: LatencyMonitor,
    /// Slow decline of deliveries, of opens, and slow growth of complaints.
    pub declines: Option<Box<[DeclineMonitor; 3]>>,
    first: u32,
}

/// Where so many times the mail of a usual bucket is due, it is a burst.
const BURST: f64 = 3.0;

/// Age from which the level of a rate is known, in minutes.
const LEVEL_KNOWN: u32 = 24 * 60;

/// What slow decline is watched on: deliveries of mail with an outcome, opens and complaints of deliveries.
pub(crate) const DECLINES: [Metric; 3] = [Metric::Delivery, Metric::Open, Metric::Complaint];

impl SeriesMonitor {
    /// A series first seen in this minute.
    pub fn new(first: u32, with_declines: bool) -> Self {
        Self {
            mail: Default::default(),
            levels: Default::default(),
            cusum: Default::default(),
            suspicious_since: [0; METRIC_COUNT],
            settled: [0.0; METRIC_COUNT],
            latency: LatencyMonitor::default(),
            declines: with_declines.then(Box::default),
            first,
        }
    }

    /// Its rates, leaning on `parents`.
    pub fn rates(&self, parents: &[f64; METRIC_COUNT]) -> [f64; METRIC_COUNT] {
        let mut rates = *parents;
        for (rate, level) in rates.iter_mut().zip(&self.levels) {
            *rate = level.rate(*rate);
        }
        rates
    }

    /// Which metrics are under suspicion.
    pub fn suspicious(&self) -> [bool; METRIC_COUNT] {
        self.suspicious_since.map(|since| since > 0)
    }

    /// Minutes since it was first seen.
    pub fn age(&self, now: u32) -> u32 {
        now.saturating_sub(self.first)
    }

    /// Judges a bucket, then learns from it.
    pub fn step(
        &mut self,
        counts: &Counts,
        context: &BucketContext<'_>,
        prior: &SeriesPrior,
    ) -> [RateEvaluation; METRIC_COUNT] {
        let mut evaluated = [RateEvaluation::default(); METRIC_COUNT];
        for (mail, denominator) in
            self.mail.iter_mut().zip([counts.denominator(Denominator::Sends), counts.deliveries])
        {
            mail.add(denominator, context.decay);
        }
        if self.mail.iter().all(LeakyIntegrators::is_spent) {
            return evaluated;
        }
        let rates = self.rates(&prior.rates);
        for (index, (metric, evaluated)) in Metric::ALL.into_iter().zip(&mut evaluated).enumerate() {
            let (Some(rate), Some(season), Some(inherited)) =
                (rates.get(index), prior.season.get(index), prior.suspicious.get(index))
            else {
                continue;
            };
            let prior = RatePrior { rate: rate * season, suspicious: *inherited, absent: prior.absent };
            *evaluated = self.judge(metric, counts.of(metric), context, prior);
        }
        // After a burst only late deliveries are left, of which most are slow.
        let fresh = self.mail.first().map_or(0.0, LeakyIntegrators::now);
        let part = (2.0 * fresh / counts.latency_weight.max(1.0)).min(1.0);
        let (sum, weight) = (part * counts.latency_sum, part * counts.latency_weight);
        self.latency.step(sum, weight, context.now, context.bucket, context.threshold, prior.slow);
        if let Some(declines) = &mut self.declines {
            let with_outcome = counts.deliveries + counts.bounces_permanent + counts.bounces_transient;
            for (decline, metric) in declines.iter_mut().zip(DECLINES) {
                let denominator = if metric == Metric::Delivery { with_outcome } else { counts.deliveries };
                decline.add(counts.of(metric), denominator);
            }
        }
        evaluated
    }

    fn judge(
        &mut self,
        metric: Metric,
        observed: f64,
        context: &BucketContext<'_>,
        prior: RatePrior,
    ) -> RateEvaluation {
        let index = metric as usize;
        let parameters = metric.parameters();
        let (Some(mail), Some(kernel), Some(level), Some(cusum), Some(since), Some(settled)) = (
            self.mail.get(parameters.denominator as usize),
            context.kernels.get(index),
            self.levels.get_mut(index),
            self.cusum.get_mut(index),
            self.suspicious_since.get_mut(index),
            self.settled.get_mut(index),
        ) else {
            return RateEvaluation::default();
        };
        let exposure = kernel.exposure(mail);
        let observation = Observation { observed, expected: exposure * prior.rate, denominator: exposure };
        let fade = recent_fade(context.bucket);
        *settled = fade * *settled + (1.0 - fade) * to_f32(exposure);
        // Nobody opens in the first minutes: in the first hour of a campaign less may be missing than the mix of lags says.
        let sure = match metric {
            Metric::Open | Metric::Click => exposure.min((*settled).into()),
            // When mail stops, so do its deliveries, and only late ones are due: how many is not known well.
            Metric::Delivery => exposure.min(mail.now()),
            Metric::HardBounce | Metric::Bounce | Metric::Delay | Metric::Complaint => exposure,
        };
        // A series without any counts may be one whose counts are missing: its volume speaks, its rates do not.
        let sure = if prior.absent && metric.falls() { 0.0 } else { sure };
        // Late deliveries make rates above 1; of what was sent now, no more than all is to come.
        let rate = if metric == Metric::Delivery { prior.rate.min(1.0) } else { prior.rate };
        let tested = Observation { observed, expected: sure * rate, denominator: sure };
        // Complaints come so few at a time that neither an hour's drift nor an error of the baseline shows in them; the gate on the factor
        // leaves room for both.
        let (direction, caution) = match metric {
            Metric::Complaint => (0.0, 0.9),
            _ if metric.falls() => (-2.0, CAUTION),
            _ => (2.0, CAUTION),
        };
        let is_burst = exposure > BURST * mail.slowest();
        let margin = (direction * level.hourly_deviation(is_burst)).exp();
        let mut strongest = 0.0_f64;
        for (cusum, ratio) in cusum.iter_mut().zip(parameters.ratios) {
            let dispersion = level.dispersion();
            let test = CusumTest { ratio, dispersion, margin, threshold: context.threshold, fade, caution };
            cusum.add(&tested, &test, context.now);
            strongest = strongest.max(cusum.score.into());
        }
        let suspected = prior.suspicious || strongest > context.threshold / 2.0;
        if !suspected {
            *since = 0;
        } else if *since == 0 {
            *since = context.now;
        }
        let settled = !suspected || context.now.saturating_sub(*since) > NEW_NORMAL;
        let weight = if settled { 1.0 } else { SUSPECT_WEIGHT };
        level.learn(&observation, is_burst, weight);
        RateEvaluation { observation, weight }
    }

    /// Teaches the kernels from a bucket just judged.
    pub fn teach(
        &self,
        evaluated: &[RateEvaluation; METRIC_COUNT],
        rates: &[f64; METRIC_COUNT],
        kernels: &mut [DelayKernel; METRIC_COUNT],
    ) {
        for (index, metric) in Metric::ALL.into_iter().enumerate() {
            let (Some(evaluated), Some(rate), Some(kernel), Some(level), Some(mail)) = (
                evaluated.get(index),
                rates.get(index),
                kernels.get_mut(index),
                self.levels.get(index),
                self.mail.get(metric.parameters().denominator as usize),
            ) else {
                continue;
            };
            if evaluated.weight < 1.0 || level.events() < 30.0 {
                continue;
            }
            let expected = evaluated.observation.expected;
            let observed = evaluated.observation.observed.min(5.0 * expected + 10.0);
            kernel.learn(observed, mail, *rate, expected + level.dispersion() * expected * expected);
        }
    }

    /// Teaches the seasons from a bucket just judged. Not on the first day: as long as the level is not known, its error would be taken for
    /// the hour's.
    pub(crate) fn teach_seasons(
        &self,
        evaluated: &[RateEvaluation; METRIC_COUNT],
        now: u32,
        seasons: &mut [SeasonalFactors; METRIC_COUNT],
    ) {
        if self.age(now) < LEVEL_KNOWN {
            return;
        }
        for (season, evaluated) in seasons.iter_mut().zip(evaluated) {
            season.learn(
                now,
                evaluated.observation.observed,
                evaluated.observation.expected,
                evaluated.weight,
            );
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
    pub fn signal(&self, metric: Metric, now: u32, threshold: f64) -> Option<Cusum> {
        let parameters = metric.parameters();
        if self.age(now) < parameters.least_history {
            return None;
        }
        let cusum = self.cusum.get(metric as usize)?;
        let passing =
            cusum.iter().filter(|cusum| f64::from(cusum.score) >= threshold && passes(metric, cusum));
        passing.max_by(|a, b| a.score.total_cmp(&b.score)).copied()
    }

    /// Forgets what was gathered on some metrics: an alert has told it, and it is over.
    pub fn forget(&mut self, metrics: &[Metric]) {
        for metric in metrics {
            if let Some(cusum) = self.cusum.get_mut(*metric as usize) {
                *cusum = Default::default();
            }
        }
    }

    /// The strongest evidence of a metric, gates or not.
    pub fn strongest(&self, metric: Metric) -> Cusum {
        let [small, large] = self.cusum.get(metric as usize).copied().unwrap_or_default();
        if large.score > small.score { large } else { small }
    }

    /// The rate over all hours; none before there was any mail.
    pub fn usual(&self, metric: Metric) -> Option<f64> {
        self.levels.get(metric as usize).and_then(RateBaseline::usual)
    }

    /// The usual band of a count of `expected`: drift, dispersion and counting noise together, two standard deviations wide.
    pub fn band(&self, metric: Metric, expected: f64) -> (f64, f64) {
        let Some(level) = self.levels.get(metric as usize) else { return (expected, expected) };
        let hourly_deviation = 2.0 * level.hourly_deviation(false);
        let noise = 2.0 * expected.max(1.0).sqrt();
        ((expected * (-hourly_deviation).exp() - noise).max(0.0), expected * hourly_deviation.exp() + noise)
    }
}

fn passes(metric: Metric, cusum: &Cusum) -> bool {
    let parameters = metric.parameters();
    let (observed, expected) = (f64::from(cusum.observed), f64::from(cusum.expected));
    let (excess, factor) = if metric.falls() {
        (expected - observed, expected / observed.max(0.5))
    } else {
        (observed - expected, observed / expected.max(1e-9))
    };
    excess >= parameters.least_events
        && factor >= parameters.least_factor
        && excess >= parameters.least_gap * f64::from(cusum.denominator)
}
