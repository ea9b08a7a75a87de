//! The arithmetic of rates: the quotient of two counts, and how much of it is certain.
//!
//! Which count is divided by which is in `metrics/rates.rs`.

use super::request::Basis;

/// The lower confidence bound of `part / whole` at an error probability of 1 in 10,000, the same at which limits are evaluated.
///
/// It is the lower bound of a Poisson count in the approximation of Wilson and Hilferty. It is 0 for one of one, 0.08 for five of five and
/// 0.108 for 1,200 of 10,000, so small groups do not crowd out large ones in a ranking.
pub(super) fn lower_bound(part: u64, whole: u64) -> f64 {
    /// The normal quantile of a one-sided error probability of 1 in 10,000.
    const QUANTILE: f64 = 3.719;
    // The approximation divides by the count, and the exact bound of no event is 0.
    if part == 0 || whole == 0 {
        return 0.0;
    }
    let part = part as f64;
    let root = 1.0 - 1.0 / (9.0 * part) - QUANTILE / (3.0 * part.sqrt());
    part * root.max(0.0).powi(3) / whole as f64
}

/// The rate of two counts; `None` for a denominator of 0.
///
/// By event time it can exceed 1 and is given as it is, because the two counts are about different mail. By send cohort they are about
/// the same mail. There, only an event that happens to one recipient more than once (a delay in history that did not tell the first one
/// apart), a few missing sends or an estimate's error can lift the rate above 1, so it is capped at 1.
pub fn fraction(numerator: u64, denominator: u64, basis: Basis) -> Option<f64> {
    if denominator == 0 {
        return None;
    }
    let rate = numerator as f64 / denominator as f64;
    match basis {
        Basis::Event => Some(rate),
        Basis::Send => Some(rate.min(1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denominator_of_zero_gives_no_rate() {
        assert_eq!(fraction(3, 0, Basis::Event), None);
        assert_eq!(fraction(0, 0, Basis::Send), None);
    }

    #[test]
    fn lower_bound_of_the_same_rate_rises_with_the_sample() {
        assert!(lower_bound(1, 1) < 0.001);
        let shares = [(1, 10), (10, 100), (100, 1_000), (1_000_000, 10_000_000)]
            .map(|(part, whole)| lower_bound(part, whole));
        assert!(shares.is_sorted(), "{shares:?}");
        assert!((0.099..0.1).contains(&shares[3]), "{shares:?}");
        assert_eq!((lower_bound(0, 100), lower_bound(0, 0)), (0.0, 0.0));
    }

    #[test]
    fn only_a_send_cohort_is_capped_at_one() {
        assert_eq!(fraction(9, 10, Basis::Event), Some(0.9));
        assert_eq!(fraction(15, 10, Basis::Event), Some(1.5));
        assert_eq!(fraction(15, 10, Basis::Send), Some(1.0));
    }
}
