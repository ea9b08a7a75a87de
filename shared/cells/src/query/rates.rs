//! Rates: which count is divided by which, and how.
//!
//! A rate is computed last, from summed counters, and never averaged; its two counts go with it into the reply.

use super::count::Count;
use super::request::Basis;

/// A fraction of two counts. Denominators are those of SES and of common postmaster practice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    /// Deliveries of sends.
    Delivery,
    /// Bounces of sends.
    Bounce,
    /// Hard bounces of sends: what SES's account review looks at.
    /// Source: <https://docs.aws.amazon.com/ses/latest/dg/reputationdashboard-bounce-rate.html>
    HardBounce,
    /// Complaints of deliveries.
    Complaint,
    /// Unique opens by people of deliveries.
    Open,
    /// Unique clicks by people of deliveries.
    Click,
    /// Unique clicks of unique opens.
    ClickToOpen,
    /// Delays of sends.
    Delay,
    /// Unsubscribes of deliveries.
    Unsubscribe,
}

impl Rate {
    /// Numerator and denominator.
    pub const fn parts(self) -> (Count, Count) {
        match self {
            Self::Delivery => (Count::Deliveries, Count::Sends),
            Self::Bounce => (Count::Bounces, Count::Sends),
            Self::HardBounce => (Count::HardBounces, Count::Sends),
            Self::Complaint => (Count::Complaints, Count::Deliveries),
            Self::Open => (Count::UniqueOpens, Count::Deliveries),
            Self::Click => (Count::UniqueClicks, Count::Deliveries),
            Self::ClickToOpen => (Count::UniqueClicks, Count::UniqueOpens),
            Self::Delay => (Count::Delays, Count::Sends),
            Self::Unsubscribe => (Count::Unsubscribes, Count::Deliveries),
        }
    }

    /// Whether a higher rate is better.
    pub const fn is_better_high(self) -> bool {
        matches!(self, Self::Delivery | Self::Open | Self::Click | Self::ClickToOpen)
    }
}

/// The lower confidence bound of `part / whole`, at an error probability of 1 in 10,000, the one that limits are judged by.
///
/// It is the lower bound of a Poisson count, in the approximation of Wilson and Hilferty. It is 0 for one of one, 0.08
/// for five of five and 0.108 for 1,200 of 10,000, so small groups do not crowd out large ones.
pub(super) fn proven(part: u64, whole: u64) -> f64 {
    /// The normal quantile of a one-sided error probability of 1 in 10,000.
    const ERRORS: f64 = 3.719;
    if part == 0 || whole == 0 {
        return 0.0;
    }
    let part = part as f64;
    let root = 1.0 - 1.0 / (9.0 * part) - ERRORS / (3.0 * part.sqrt());
    part * root.max(0.0).powi(3) / whole as f64
}

/// The rate of two counts; nothing for a denominator of 0.
///
/// By event time it may pass 1 and is given as it is: the two counts are about different mail. By send cohort they are about the
/// same mail, and only what happens to one recipient more than once (delays), an estimate's error, or a clicker whose open was
/// blocked can lift it above 1; there it stays at 1.
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
    fn a_denominator_of_nothing_gives_no_rate() {
        assert_eq!(fraction(3, 0, Basis::Event), None);
        assert_eq!(fraction(0, 0, Basis::Send), None);
    }

    #[test]
    fn more_mail_proves_more_of_the_same_rate() {
        assert!(proven(1, 1) < 0.001);
        let shares = [(1, 10), (10, 100), (100, 1_000), (1_000_000, 10_000_000)]
            .map(|(part, whole)| proven(part, whole));
        assert!(shares.is_sorted(), "{shares:?}");
        assert!((0.099..0.1).contains(&shares[3]), "{shares:?}");
        assert_eq!((proven(0, 100), proven(0, 0)), (0.0, 0.0));
    }

    #[test]
    fn only_a_cohort_stays_within_one() {
        assert_eq!(fraction(9, 10, Basis::Event), Some(0.9));
        assert_eq!(fraction(15, 10, Basis::Event), Some(1.5));
        assert_eq!(fraction(15, 10, Basis::Send), Some(1.0));
    }
}
