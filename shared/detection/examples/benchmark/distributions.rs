//! Distributions that the benchmark draws from, on top of the shared generator ([`simulator::random`]).
//!
//! The simulator's own draws are approximations without `ln` and `cos`, because its bytes must be the same on every machine. The benchmark
//! promises no bytes, but its worlds need true tails: an incident counts as visible by its exact likelihood.

use simulator::random::Random;

/// Draws that only the benchmark needs.
pub trait Distributions {
    /// Uniform in [`low`, `high`).
    fn between(&mut self, low: f64, high: f64) -> f64;

    /// Uniform index into a list of this length; 0 for an empty list.
    fn index(&mut self, length: usize) -> usize;

    /// Standard normal, by Box and Muller.
    fn standard_normal(&mut self) -> f64;

    /// Log-normal with median 1; `sigma` is the standard deviation of the logarithm.
    fn lognormal_factor(&mut self, sigma: f64) -> f64;

    /// Gamma-distributed with mean 1 and variance `dispersion`, by Marsaglia and Tsang; 1 for a dispersion of 0.
    fn gamma_factor(&mut self, dispersion: f64) -> f64;

    /// Poisson-distributed number of events; above a mean of 40 the rounded normal approximation.
    fn poisson_events(&mut self, mean: f64) -> f64;

    /// Binomial number of successes. With 60 trials or more it is a Poisson or normal approximation, whichever is closer.
    fn binomial_events(&mut self, trials: f64, probability: f64) -> f64;
}

impl Distributions for Random {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn index(&mut self, length: usize) -> usize {
        ((self.unit() * length as f64) as usize).min(length.saturating_sub(1))
    }

    fn standard_normal(&mut self) -> f64 {
        // `1 - unit` is never 0, whose logarithm would be infinite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn lognormal_factor(&mut self, sigma: f64) -> f64 {
        (sigma * self.standard_normal()).exp()
    }

    fn gamma_factor(&mut self, dispersion: f64) -> f64 {
        if dispersion <= 1e-6 {
            return 1.0;
        }
        let shape = 1.0 / dispersion;
        // The method needs a shape of at least 1; a smaller one is drawn as shape + 1 and scaled down by a power of a uniform number.
        let boost = if shape < 1.0 { self.unit().max(1e-12).powf(1.0 / shape) } else { 1.0 };
        let d = if shape < 1.0 { shape + 1.0 } else { shape } - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.standard_normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().max(1e-300).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return boost * d * v * dispersion;
            }
        }
    }

    fn poisson_events(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean > 40.0 {
            return (mean + mean.sqrt() * self.standard_normal()).round().max(0.0);
        }
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0.0;
        while product > limit {
            product *= self.unit();
            count += 1.0;
        }
        count
    }

    fn binomial_events(&mut self, trials: f64, probability: f64) -> f64 {
        let probability = probability.clamp(0.0, 1.0);
        let mean = trials * probability;
        if trials <= 0.0 || probability <= 0.0 {
            0.0
        } else if trials < 60.0 {
            (0..trials as u32).filter(|_| self.happens(probability)).count() as f64
        } else if mean < 20.0 {
            self.poisson_events(mean).min(trials)
        } else if trials - mean < 20.0 {
            // Nearly all succeed, so the failures are the rare events.
            (trials - self.poisson_events(trials - mean)).max(0.0)
        } else {
            (mean + (mean * (1.0 - probability)).sqrt() * self.standard_normal()).round().clamp(0.0, trials)
        }
    }
}
