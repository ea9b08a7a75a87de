//! Why a rate has no value although its denominator is not 0: what it counts is not reported, or the mail it is a share of is not known.
//!
//! A number that is missing must never look like a good rate.

use crate::counter::{Counter, Counters};

use super::metrics::CounterFormula;

/// Why a metric has no value although its denominator is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The providers of the mail do not report what the metric counts.
    NotReported,
    /// More mail has an outcome than was sent, so sends are missing: the mail that the rate is a share of is not known.
    DenominatorUnknown,
}

impl Absence {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 2] = [Self::NotReported, Self::DenominatorUnknown];

    /// The name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotReported => "not_reported",
            Self::DenominatorUnknown => "denominator_unknown",
        }
    }
}

/// By how much outcomes may exceed sends, in percent of the sends. A few sends can be lost on their way or lie on the other side of a
/// change of attribution without making the rates wrong.
const TOLERATED_EXCESS_PERCENT: u64 = 5;

/// Mail with an outcome, each counted once: mail that bounced after it was accepted has a delivery and a bounce.
const OUTCOMES: CounterFormula = CounterFormula::Difference {
    add: &[
        Counter::Deliveries,
        Counter::BouncesPermanent,
        Counter::BouncesTransient,
        Counter::BouncesUndetermined,
    ],
    subtract: &[Counter::BouncesAfterAcceptance],
};

/// The counters that [`are_sends_unknown`] reads.
pub(super) const SENDS_AND_OUTCOMES: [Counter; 6] = [
    Counter::Sends,
    Counter::Deliveries,
    Counter::BouncesPermanent,
    Counter::BouncesTransient,
    Counter::BouncesUndetermined,
    Counter::BouncesAfterAcceptance,
];

/// Whether so much mail of a send cohort has an outcome that not all of its sends can have been counted.
///
/// Only for cohorts, in which sends and outcomes are about the same mail, however late the outcomes are. By event time, outcomes exceed
/// sends wherever sending slows down.
pub(super) fn are_sends_unknown(counters: &Counters) -> bool {
    let [sends, outcomes] = [counters.get(Counter::Sends), OUTCOMES.value(counters)].map(u128::from);
    // In whole numbers, so that exactly 5 % is within.
    outcomes * 100 > sends * u128::from(100 + TOLERATED_EXCESS_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_unknown(counts: &[(Counter, u64)]) -> bool {
        let mut counters = Counters::new();
        for (counter, count) in counts {
            counters.add(*counter, *count);
        }
        are_sends_unknown(&counters)
    }

    #[test]
    fn sends_are_unknown_where_outcomes_exceed_them_by_more_than_five_percent() {
        use Counter as C;
        for (counts, unknown) in [
            (&[][..], false),
            (&[(C::Sends, 100)], false),
            (&[(C::Sends, 100), (C::Deliveries, 100)], false),
            (&[(C::Sends, 100), (C::Deliveries, 100), (C::BouncesTransient, 5)], false),
            (&[(C::Sends, 100), (C::Deliveries, 100), (C::BouncesUndetermined, 6)], true),
            (&[(C::Deliveries, 1)], true),
            (&[(C::BouncesPermanent, 1)], true),
            // Bounced after acceptance: the same mail twice.
            (
                &[
                    (C::Sends, 10),
                    (C::Deliveries, 10),
                    (C::BouncesPermanent, 4),
                    (C::BouncesAfterAcceptance, 4),
                ],
                false,
            ),
            (&[(C::Deliveries, u64::MAX), (C::Sends, u64::MAX)], false),
            // Nothing but deliveries and bounces ends mail.
            (&[(C::Complaints, 5), (C::Opens, 9), (C::Delays, 3)], false),
        ] {
            assert_eq!(are_unknown(counts), unknown, "{counts:?}");
        }
    }

    #[test]
    fn every_counter_that_decides_is_asked_for() {
        let mut read = OUTCOMES.counters();
        read.push(Counter::Sends.into());
        read.sort_unstable();
        assert_eq!(read, SENDS_AND_OUTCOMES.map(Into::into));
    }
}
