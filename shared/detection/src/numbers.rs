//! The special functions that detection needs: the logarithm of gamma, and tails of the binomial, normal and F distributions.
//!
//! They are short, so they are written here instead of adding a dependency. They must agree with exact values to 9 digits, the normal
//! tail to 7; the tests hold them to it.

/// Natural logarithm of the gamma function for `x > 0`: the recurrence up to 12, then Stirling's series (Abramowitz and Stegun, 6.1.41).
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

/// Probability of `successes` or more in `trials` with `probability` each, by the incomplete beta function (Abramowitz and Stegun, 26.5.24).
///
/// 1 without successes. Fractions are allowed, because decayed sums are counts too.
pub(crate) fn binomial_upper_tail(successes: f64, trials: f64, probability: f64) -> f64 {
    if successes <= 0.0 || probability >= 1.0 {
        return 1.0;
    }
    if probability <= 0.0 {
        return 0.0;
    }
    let trials = trials.max(successes);
    incomplete_beta(successes, trials - successes + 1.0, probability)
}

/// Probability that a standard normal variable exceeds `z`, to 7 digits (Abramowitz and Stegun, 26.2.17).
pub(crate) fn normal_upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_upper_tail(-z);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
    let sum = series.iter().fold(0.0, |sum, term| (sum + term) * t);
    sum * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Probability that Fisher's F with `between` and `within` degrees of freedom is at least `ratio` (Abramowitz and Stegun, 26.6.2).
pub(crate) fn f_upper_tail(ratio: f64, between: f64, within: f64) -> f64 {
    if ratio <= 0.0 {
        1.0
    } else {
        incomplete_beta(within / 2.0, between / 2.0, within / (within + between * ratio))
    }
}

/// The regularised incomplete beta function `I_x(a, b)`. Its continued fraction converges quickly only left of the mean, so the other
/// side uses `I_x(a, b) = 1 - I_(1-x)(b, a)`.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

/// Most steps of the continued fraction.
const MAX_STEPS: u32 = 10_000;

/// Lentz's evaluation of the continued fraction (Press et al., Numerical Recipes, 6.4). It converges in O(sqrt(max(a, b))) steps, so
/// [`MAX_STEPS`] suffices for counts up to about 10^8.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
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
    fn gamma_of_an_integer_is_a_factorial() {
        let mut factorial = 1.0_f64;
        for n in 1..30_u32 {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-9, "{n}");
            factorial *= f64::from(n);
        }
    }

    #[test]
    fn binomial_tail_is_the_sum_of_its_terms() {
        for (trials, probability) in [(13_u32, 0.02_f64), (50, 0.3), (200, 0.05)] {
            let term = |successes: u32| {
                let (n, k) = (f64::from(trials), f64::from(successes));
                let ways = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
                (ways + k * probability.ln() + (n - k) * (1.0 - probability).ln()).exp()
            };
            for successes in 0..=trials {
                let sum: f64 = (successes..=trials).map(term).sum();
                let tail = binomial_upper_tail(successes.into(), trials.into(), probability);
                assert!((tail - sum).abs() < 1e-9, "{successes} of {trials}: {tail} is not {sum}");
            }
        }
    }

    #[test]
    fn binomial_tail_is_defined_at_its_edges() {
        for (successes, trials, probability, expected) in [
            (0.0, 10.0, 0.5, 1.0),
            (-1.0, 10.0, 0.5, 1.0),
            (5.0, 10.0, 1.0, 1.0),
            (5.0, 10.0, 0.0, 0.0),
            // Rounding may leave more successes than trials; then all of them succeeded.
            (3.0, 2.0, 0.5, 0.125),
        ] {
            let tail = binomial_upper_tail(successes, trials, probability);
            assert!((tail - expected).abs() < 1e-9, "{successes} of {trials} at {probability}: {tail}");
        }
    }

    #[test]
    fn normal_tail_agrees_with_tables() {
        for (z, expected) in [
            (0.0, 0.5),
            (1.0, 0.158_655_254),
            (1.96, 0.024_997_895),
            (3.0, 0.001_349_898),
            (-1.0, 0.841_344_746),
        ] {
            assert!((normal_upper_tail(z) - expected).abs() < 1e-7, "{z}: {}", normal_upper_tail(z));
        }
    }

    #[test]
    fn f_tail_agrees_with_tables() {
        // Critical values at 5 % and 1 %.
        for (ratio, between, within, expected) in [
            (4.964_603, 1.0, 10.0, 0.05),
            (10.044_29, 1.0, 10.0, 0.01),
            (3.098_391, 3.0, 20.0, 0.05),
            (0.0, 3.0, 20.0, 1.0),
            (-1.0, 3.0, 20.0, 1.0),
        ] {
            let tail = f_upper_tail(ratio, between, within);
            assert!((tail - expected).abs() < 1e-3, "{ratio} {between} {within}: {tail}");
        }
    }
}
