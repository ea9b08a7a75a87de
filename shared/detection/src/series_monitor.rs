//! Monitors one series: a tenant, a tenant at a provider, a recurring campaign, a provider over all tenants, or all mail of the platform.
//!
//! Takes a bucket's counts, scores each rate against what was expected before the bucket, and only then learns from it. It must never
//! see a later bucket: a finding depends on the past alone.

use event::Minute;
use serde::{Deserialize, Serialize};

use crate::baseline::{RateBaseline, SUSPECTED_WEIGHT, SeasonalFactors, Suspicion};
use crate::counts::{Counts, Denominator, MonitoredRate};
use crate::cusum::{CAUTION, Cusum, CusumTest, Observation, recent_decay, to_f32};
use crate::decline::{DeclineFit, DeclineMonitor};
use crate::latency::LatencyMonitor;
use crate::minutes::{self, MINUTES_PER_DAY, minutes_between};
use crate::outcome_delay::{DecayFactors, DelayKernel, LeakyIntegrators};
use crate::per_rate::{PerDenominator, PerRate};
use crate::send_balance::SendBalance;

/// Mail due that exceeds its daily mean by this factor is a burst.
const BURST_FACTOR: f64 = 3.0;
/// From this age on the level of a rate is known well enough to learn seasonal factors.
const LEVEL_KNOWN_MINUTES: u32 = MINUTES_PER_DAY;
/// Standard deviations by which an hour may be off before its score grows.
const MARGIN_DEVIATIONS: f64 = 2.0;
/// Half the width of the expected band, in standard deviations.
const BAND_DEVIATIONS: f64 = 2.0;
/// Complaints come in such small numbers that neither the deviation of an hour nor an error of the baseline shows in them, and
/// [`crate::counts::RateParameters::min_factor`] leaves room for both.
const COMPLAINT_CAUTION: f64 = 0.9;
/// Fewer events than this say too little about the delay of outcomes.
const MIN_EVENTS_FOR_KERNEL: f64 = 30.0;

/// What is known about the bucket that is evaluated, beside its counts.
pub struct BucketContext<'a> {
    /// The bucket's first minute.
    pub now: Minute,
    /// The width of a bucket.
    pub bucket_minutes: u32,
    /// The score that makes an alert.
    pub threshold: f64,
    /// How the outcomes of each metric are distributed over time.
    pub kernels: &'a PerRate<DelayKernel>,
    /// The share of each integrator that is kept per bucket.
    pub decay: &'a DecayFactors,
}

/// What a series takes over from its parent before it is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct SeriesPrior {
    pub rates: PerRate<f64>,
    /// Seasonal factors of this bucket.
    pub season: PerRate<f64>,
    /// Whether the parent is suspected.
    pub suspected: PerRate<bool>,
    /// Whether an alert on delivery time is open.
    pub is_latency_alert_open: bool,
    /// Whether nothing at all was counted for the tenant in this bucket.
    pub has_no_counts: bool,
}

/// The expectation of one rate in this bucket.
#[derive(Clone, Copy)]
struct RatePrior {
    rate: f64,
    is_suspected: bool,
    has_no_counts: bool,
}

/// The counts and expectation of one metric in a bucket, and how far the bucket was learned.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateEvaluation {
    /// Counted and expected events, and the mail behind them.
    pub observation: Observation,
    /// The weight with which the bucket was learned; 1 unless the series is suspected.
    pub weight: f64,
}

/// The state of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesMonitor {
    mail: PerDenominator<LeakyIntegrators>,
    balance: SendBalance,
    baselines: PerRate<RateBaseline>,
    /// Scores of a small and of a large change.
    cusums: PerRate<[Cusum; 2]>,
    suspicions: PerRate<Suspicion>,
    /// Mail due, smoothed over about an hour.
    smoothed_exposure: PerRate<f32>,
    pub latency: LatencyMonitor,
    /// Slow changes of each of [`DECLINE_METRICS`]; none where they are not monitored.
    pub declines: Option<Box<[DeclineMonitor; DECLINE_METRICS.len()]>>,
    #[serde(with = "minutes::stored")]
    first: Minute,
}

/// The metrics whose slow changes are monitored. Deliveries are compared with mail that has an outcome, not with sends.
pub(crate) const DECLINE_METRICS: [MonitoredRate; 3] =
    [MonitoredRate::Delivery, MonitoredRate::Open, MonitoredRate::Complaint];

/// The rates that are not known where sends are missing.
const RATES_BY_SENDS: [MonitoredRate; 4] =
    [MonitoredRate::HardBounce, MonitoredRate::Bounce, MonitoredRate::Delay, MonitoredRate::Delivery];

impl SeriesMonitor {
    /// A series that was first counted in the minute `first`.
    pub fn new(first: Minute, with_declines: bool) -> Self {
        Self {
            mail: PerDenominator::default(),
            balance: SendBalance::default(),
            baselines: PerRate::default(),
            cusums: PerRate::default(),
            suspicions: PerRate::default(),
            smoothed_exposure: PerRate::default(),
            latency: LatencyMonitor::default(),
            declines: with_declines.then(Box::default),
            first,
        }
    }

    /// The series' rates, with those of its parent as the prior.
    pub fn rates(&self, parents: &PerRate<f64>) -> PerRate<f64> {
        PerRate::from_fn(|metric| self.baselines[metric].rate(parents[metric]))
    }

    /// Which metrics are suspected.
    pub fn suspected(&self) -> PerRate<bool> {
        self.suspicions.map(Suspicion::is_suspected)
    }

    /// Minutes since the series was first counted.
    pub fn age_minutes(&self, now: Minute) -> u32 {
        minutes_between(self.first, now)
    }

    /// Evaluates a bucket, then learns from it.
    pub fn evaluate(
        &mut self,
        counts: &Counts,
        context: &BucketContext<'_>,
        prior: &SeriesPrior,
    ) -> PerRate<RateEvaluation> {
        self.mail.sends.add(counts.denominator(Denominator::Sends), context.decay);
        self.mail.deliveries.add(counts.deliveries, context.decay);
        self.balance.add(counts, context.decay.over_an_hour(), context.decay);
        // No mail was sent for days and no outcome is due, so no count can be unusual.
        if self.mail.values().into_iter().all(LeakyIntegrators::is_spent) {
            return PerRate::default();
        }
        let rates = self.rates(&prior.rates);
        let evaluations = PerRate::from_fn(|metric| {
            let prior = RatePrior {
                rate: rates[metric] * prior.season[metric],
                is_suspected: prior.suspected[metric],
                has_no_counts: prior.has_no_counts,
            };
            self.evaluate_rate(metric, counts.events(metric), context, prior)
        });
        // Not kept for later either: once sends are counted again, they say nothing about the time in which they were not.
        if self.balance.are_sends_unknown() {
            self.reset_scores(&RATES_BY_SENDS);
        }
        self.evaluate_latency(counts, context, prior.is_latency_alert_open);
        if let Some(declines) = &mut self.declines {
            for (decline, metric) in declines.iter_mut().zip(DECLINE_METRICS) {
                let mail =
                    if metric == MonitoredRate::Delivery { counts.with_outcome() } else { counts.deliveries };
                decline.add(counts.events(metric), mail);
            }
        }
        evaluations
    }

    fn evaluate_latency(&mut self, counts: &Counts, context: &BucketContext<'_>, is_alert_open: bool) {
        // After a burst only its late deliveries are left, most of which are slow. They count in proportion to fresh mail.
        let fresh = self.mail.sends.of_bucket();
        let share = (2.0 * fresh / counts.latency_weight.max(1.0)).min(1.0);
        // A factor of two leaves all of the mail in a steady hour, in which deliveries and sends are about equal.
        let (sum, weight) = (share * counts.latency_sum, share * counts.latency_weight);
        self.latency.add(sum, weight, context, is_alert_open);
    }

    fn evaluate_rate(
        &mut self,
        metric: MonitoredRate,
        observed: f64,
        context: &BucketContext<'_>,
        prior: RatePrior,
    ) -> RateEvaluation {
        let parameters = metric.parameters();
        let mail = &self.mail[parameters.denominator];
        let exposure = context.kernels[metric].exposure(mail);
        // Two observations of one bucket: the baseline learns from all mail due, the test uses only what is due for certain.
        let observation = Observation { observed, expected: exposure * prior.rate, denominator: exposure };
        let decay = recent_decay(context.bucket_minutes);
        let smoothed = &mut self.smoothed_exposure[metric];
        *smoothed = decay * *smoothed + (1.0 - decay) * to_f32(exposure);
        let tested_exposure = match metric {
            // Opens begin some minutes after delivery, so in the first hour of a campaign fewer are missing than the mix of delays suggests.
            MonitoredRate::Open | MonitoredRate::Click => exposure.min((*smoothed).into()),
            // When sending stops, only late deliveries are due, and how many is not known well.
            MonitoredRate::Delivery => exposure.min(mail.of_bucket()),
            MonitoredRate::HardBounce
            | MonitoredRate::Bounce
            | MonitoredRate::Delay
            | MonitoredRate::Complaint => exposure,
        };
        // Without any counts of the tenant, the volume monitor reports what is missing; no rate is reported as fallen.
        let tested_exposure = if prior.has_no_counts && metric.fall_is_bad() { 0.0 } else { tested_exposure };
        // Late deliveries can make a past rate exceed 1, but no more than all of the mail sent now can be delivered.
        let rate = if metric == MonitoredRate::Delivery { prior.rate.min(1.0) } else { prior.rate };
        let tested = Observation { observed, expected: tested_exposure * rate, denominator: tested_exposure };
        // An hour that is off by as much as hours usually are gives no evidence. The tolerance is on the side of the bad direction.
        let (deviations, caution) = match metric {
            MonitoredRate::Complaint => (0.0, COMPLAINT_CAUTION),
            _ if metric.fall_is_bad() => (-MARGIN_DEVIATIONS, CAUTION),
            _ => (MARGIN_DEVIATIONS, CAUTION),
        };
        // A campaign has a list of its own, so its hours vary more than steady ones.
        let is_burst = exposure > BURST_FACTOR * mail.daily_mean();
        let baseline = &mut self.baselines[metric];
        let margin = (deviations * baseline.hourly_deviation(is_burst)).exp();
        let mut highest = 0.0_f64;
        // Two sizes of change: a test for a small change is slow to find a large one, and the reverse never finds a small one.
        for (cusum, ratio) in self.cusums[metric].iter_mut().zip(parameters.ratios) {
            let test = CusumTest {
                ratio,
                dispersion: baseline.dispersion(),
                margin,
                threshold: context.threshold,
                recent_decay: decay,
                caution,
            };
            cusum.add(&tested, &test, context.now);
            highest = highest.max(cusum.score.into());
        }
        // At half the threshold an incident is too likely to be learned as normal. A suspected parent is enough: a provider's block must
        // not be learned by tenants that it has hardly reached.
        let is_suspected = prior.is_suspected || highest > context.threshold / 2.0;
        let learns_slowly = self.suspicions[metric].update(is_suspected, context.now);
        let weight = if learns_slowly { SUSPECTED_WEIGHT } else { 1.0 };
        baseline.learn(&observation, is_burst, weight);
        RateEvaluation { observation, weight }
    }

    /// Lets the delay kernels learn from a bucket that was just evaluated. Suspected buckets teach them nothing.
    pub fn train_kernels(
        &self,
        evaluations: &PerRate<RateEvaluation>,
        rates: &PerRate<f64>,
        kernels: &mut PerRate<DelayKernel>,
    ) {
        for metric in MonitoredRate::ALL {
            let RateEvaluation { observation, weight } = evaluations[metric];
            let baseline = &self.baselines[metric];
            // An incident changes when outcomes arrive, and the kernels are shared by all series.
            if weight < 1.0 || baseline.events() < MIN_EVENTS_FOR_KERNEL {
                continue;
            }
            let expected = observation.expected;
            // Squared errors would let one outlier decide the fit.
            let observed = observation.observed.min(5.0 * expected + 10.0);
            let variance = expected + baseline.dispersion() * expected * expected;
            let mail = &self.mail[metric.parameters().denominator];
            kernels[metric].learn(observed, mail, rates[metric], variance);
        }
    }

    /// Lets seasonal factors learn from a bucket that was just evaluated.
    ///
    /// Not on the first day: while the level is not known, its error would be learned as that of the hour.
    pub(crate) fn train_seasons(
        &self,
        evaluations: &PerRate<RateEvaluation>,
        now: Minute,
        seasons: &mut PerRate<SeasonalFactors>,
    ) {
        if self.age_minutes(now) < LEVEL_KNOWN_MINUTES {
            return;
        }
        for metric in MonitoredRate::ALL {
            let RateEvaluation { observation, weight } = evaluations[metric];
            seasons[metric].learn(now, observation.observed, observation.expected, weight);
        }
    }

    /// Mail per day, averaged over about the last day.
    pub fn sends_per_day(&self, buckets_per_day: f64) -> f64 {
        self.mail.sends.daily_mean() * buckets_per_day
    }

    /// Closes an hour: each rate learns how much it varied, and decays.
    pub fn close_hour(&mut self) {
        self.baselines.values_mut().for_each(RateBaseline::close_hour);
    }

    /// Ends a day: looks for slow changes over the last weeks. The smallest change of each metric is one that is worth reporting.
    pub(crate) fn close_day(&mut self) {
        self.latency.close_day();
        let Some(declines) = &mut self.declines else { return };
        for (decline, metric) in declines.iter_mut().zip(DECLINE_METRICS) {
            decline.close_day();
            decline.found = match metric {
                MonitoredRate::Delivery => decline.find(true, |from, to| from - to >= 0.012),
                MonitoredRate::Complaint => {
                    decline.find(false, |from, to| to >= 1.6 * from.max(0.0) + 0.0003)
                }
                MonitoredRate::HardBounce
                | MonitoredRate::Bounce
                | MonitoredRate::Delay
                | MonitoredRate::Open
                | MonitoredRate::Click => {
                    decline.find(true, |from, to| to <= 0.75 * from && from - to >= 0.01)
                }
            };
        }
    }

    /// The slow change of a metric that was found at the end of the last day.
    pub(crate) fn decline(&self, metric: MonitoredRate) -> Option<DeclineFit> {
        if RATES_BY_SENDS.contains(&metric) && self.balance.are_sends_unknown() {
            return None;
        }
        let declines = self.declines.as_deref()?;
        declines.iter().zip(DECLINE_METRICS).find(|(_, known)| *known == metric)?.0.found
    }

    /// The highest score of a metric that makes a finding: it reaches `threshold`, its excursion passes the minimums of the metric, and
    /// the series has enough history.
    pub fn signal(&self, metric: MonitoredRate, now: Minute, threshold: f64) -> Option<Cusum> {
        if self.age_minutes(now) < metric.parameters().min_history_minutes {
            return None;
        }
        self.cusums[metric]
            .iter()
            .filter(|cusum| f64::from(cusum.score) >= threshold && passes_minimums(metric, cusum))
            .max_by(|a, b| a.score.total_cmp(&b.score))
            .copied()
    }

    /// Forgets the scores of some metrics: an alert reported them and was resolved.
    pub fn reset_scores(&mut self, metrics: &[MonitoredRate]) {
        for metric in metrics {
            self.cusums[*metric] = Default::default();
        }
    }

    /// The highest score of a metric, whether or not it passes the minimums.
    pub fn highest_score(&self, metric: MonitoredRate) -> Cusum {
        let [small, large] = self.cusums[metric];
        if large.score > small.score { large } else { small }
    }

    /// The rate over all hours; none before there were any events.
    pub fn own_rate(&self, metric: MonitoredRate) -> Option<f64> {
        self.baselines[metric].own_rate()
    }

    /// The band, two standard deviations wide on each side, in which a count of `expected` usually lies: the deviation of an hour and
    /// counting noise together.
    pub fn expected_band(&self, metric: MonitoredRate, expected: f64) -> (f64, f64) {
        let deviation = BAND_DEVIATIONS * self.baselines[metric].hourly_deviation(false);
        let noise = BAND_DEVIATIONS * expected.max(1.0).sqrt();
        ((expected * (-deviation).exp() - noise).max(0.0), expected * deviation.exp() + noise)
    }
}

/// Whether an excursion is large enough to be reported: in events, as a factor, and as a change of the rate.
fn passes_minimums(metric: MonitoredRate, cusum: &Cusum) -> bool {
    let parameters = metric.parameters();
    let (observed, expected) = (f64::from(cusum.observed), f64::from(cusum.expected));
    let (excess, factor) = if metric.fall_is_bad() {
        (expected - observed, expected / observed.max(0.5))
    } else {
        (observed - expected, observed / expected.max(1e-9))
    };
    excess >= parameters.min_events
        && factor >= parameters.min_factor
        && excess >= parameters.min_rate_change * f64::from(cusum.denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_by_sends_are_all_that_sends_are_the_denominator_of() {
        let by_sends = |metric: &MonitoredRate| metric.parameters().denominator == Denominator::Sends;
        assert!(MonitoredRate::ALL.into_iter().filter(by_sends).eq(RATES_BY_SENDS));
    }

    #[test]
    fn excursion_is_reported_only_if_it_passes_every_minimum() {
        for (metric, observed, expected, denominator, passes) in [
            (MonitoredRate::Bounce, 30.0, 10.0, 1000.0, true),
            // Too few events, too small a factor, and too small a change of the rate.
            (MonitoredRate::Bounce, 9.0, 2.0, 100.0, false),
            (MonitoredRate::Bounce, 30.0, 20.0, 500.0, false),
            (MonitoredRate::Bounce, 30.0, 10.0, 10_000.0, false),
            (MonitoredRate::Open, 10.0, 200.0, 1000.0, true),
            (MonitoredRate::Open, 200.0, 10.0, 1000.0, false),
            (MonitoredRate::Delivery, 0.0, 100.0, 100.0, true),
        ] {
            let cusum = Cusum::with_sums(observed, expected, denominator);
            assert_eq!(passes_minimums(metric, &cusum), passes, "{metric:?} {observed} {expected}");
        }
    }

    #[test]
    fn band_is_never_narrower_than_counting_noise_nor_below_zero() {
        let monitor = SeriesMonitor::new(Minute(0), false);
        for expected in [0.0, 1.0, 100.0, 1e6] {
            let (low, high) = monitor.expected_band(MonitoredRate::Bounce, expected);
            assert!(low >= 0.0 && low <= expected, "{expected}: {low}");
            assert!(high >= expected + 2.0, "{expected}: {high}");
        }
    }
}
