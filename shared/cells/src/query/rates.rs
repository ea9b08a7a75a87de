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
    fn only_a_cohort_stays_within_one() {
        assert_eq!(fraction(9, 10, Basis::Event), Some(0.9));
        assert_eq!(fraction(15, 10, Basis::Event), Some(1.5));
        assert_eq!(fraction(15, 10, Basis::Send), Some(1.0));
    }
}
