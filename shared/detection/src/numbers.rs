//! The few functions of mathematics that detection needs: logarithm of gamma, binomial tail.
//!
//! Own code because it is short and needs no dependency; it must agree with tables to 9 digits (tested).

/// Natural logarithm of the gamma function for `x > 0`: recurrence up to 12, then Stirling's series.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    let mut shift = 0.0;
    let mut y = x;
    while y < 12.0 {
        shift += y.ln();
        y += 1.0;
    }
    let inverse = 1.0 / y;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (y - 0.5) * y.ln() - y + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

/// Probability of `hits` or more in `trials` at probability `chance` each, from the incomplete beta function.
///
/// 1 for no hits. Fractions are allowed: decayed sums are counts too.
pub(crate) fn binomial_upper_tail(hits: f64, trials: f64, chance: f64) -> f64 {
    if hits <= 0.0 || chance >= 1.0 {
        return 1.0;
    }
    if chance <= 0.0 {
        return 0.0;
    }
    let trials = trials.max(hits);
    incomplete_beta(hits, trials - hits + 1.0, chance)
}

/// Probability that a standard normal variable is above `z`, to 7 digits (Abramowitz and Stegun, 26.2.17).
pub(crate) fn normal_upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_upper_tail(-z);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let sum = series.iter().fold(0.0, |sum, term| (sum + term) * t);
    sum * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Probability that Fisher's F with these degrees of freedom is at least `ratio`.
pub(crate) fn f_upper_tail(ratio: f64, between: f64, within: f64) -> f64 {
    if ratio <= 0.0 {
        1.0
    } else {
        incomplete_beta(within / 2.0, between / 2.0, within / (within + between * ratio))
    }
}

/// Regularised incomplete beta function.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

/// Lentz's continued fraction; converges in O(sqrt(max(a, b))) steps, which the bound leaves room for.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const MAX_STEPS: u32 = 10_000;
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut above = 1.0;
    let mut below = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut result = below;
    for step in 1..MAX_STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            below = 1.0 / guard(1.0 + term * below);
            above = guard(1.0 + term / above);
            result *= below * above;
        }
        if (below * above - 1.0).abs() < 1e-12 {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_of_whole_numbers_is_the_factorial() {
        let mut factorial = 1.0_f64;
        for n in 1..30_u32 {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-9, "{n}");
            factorial *= f64::from(n);
        }
    }

    #[test]
    fn the_tail_is_the_sum_of_its_terms() {
        for (trials, chance) in [(13_u32, 0.02_f64), (50, 0.3), (200, 0.05)] {
            let term = |hits: u32| {
                let (n, k) = (f64::from(trials), f64::from(hits));
                let ways = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
                (ways + k * chance.ln() + (n - k) * (1.0 - chance).ln()).exp()
            };
            for hits in 0..=trials {
                let sum: f64 = (hits..=trials).map(term).sum();
                let tail = binomial_upper_tail(hits.into(), trials.into(), chance);
                assert!((tail - sum).abs() < 1e-9, "{hits} of {trials}: {tail} is not {sum}");
            }
        }
    }
}
