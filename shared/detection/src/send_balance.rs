//! Whether the sends behind a series' outcomes were counted. Where they were not, its rates by sends have no denominator.
//!
//! Sends are missing if a configuration set does not publish them, if they belong to another tenant or campaign than their outcomes,
//! or if they lie before the first bucket. A rate would then be a multiple of the true one, so nothing is reported about it.
//!
//! Outcomes of a bucket may be those of mail that was sent before it. So they are not compared bucket by bucket, nor over a window whose
//! edge would cut sends off from their outcomes, but with all mail that still awaits one.

use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::cusum::to_f32;
use crate::outcome_delay::DecayFactors;

/// Outcomes may exceed the sends behind them by this share, as in queries by send cohort. Late and lost events stay below it.
const TOLERATED_EXCESS: f64 = 0.05;
/// Fewer outcomes without a send than this are taken for late events, in however little mail. Rates need more events to be reported.
const MIN_UNEXPLAINED: f64 = 5.0;

/// Whether so many of the outcomes in some time are *unexplained*, those of no mail that is known to be sent, that the rates by sends are
/// not known.
pub(crate) fn are_sends_unknown(outcomes: f32, unexplained: f32) -> bool {
    let (outcomes, unexplained) = (f64::from(outcomes), f64::from(unexplained));
    unexplained >= MIN_UNEXPLAINED && unexplained > TOLERATED_EXCESS * (outcomes - unexplained)
}

/// The mail of a series that was sent and has no outcome yet. It is forgotten over days: SES retries for hours, but for some mail no
/// outcome ever arrives, which would explain those of mail whose sends are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AwaitingMail(f32);

impl AwaitingMail {
    /// Adds the counts of a bucket. Returns how many of its outcomes are unexplained.
    pub(crate) fn add(&mut self, counts: &Counts, decay: &DecayFactors) -> f32 {
        let outcomes = to_f32(counts.with_outcome());
        // Sends first: most of a bucket's outcomes are those of its own mail.
        let awaiting = decay.over_days() * self.0 + to_f32(counts.sends);
        self.0 = (awaiting - outcomes).max(0.0);
        (outcomes - awaiting).max(0.0)
    }
}

/// The outcomes of a series in recent time, and how many of them are unexplained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SendBalance {
    awaiting: AwaitingMail,
    outcomes: f32,
    unexplained: f32,
    are_unknown: bool,
}

impl SendBalance {
    /// Adds the counts of a bucket. `keep` is the share of the earlier ones that is kept, which decides what is recent.
    pub(crate) fn add(&mut self, counts: &Counts, keep: f32, decay: &DecayFactors) {
        let (outcomes, unexplained) = (to_f32(counts.with_outcome()), self.awaiting.add(counts, decay));
        self.outcomes = keep * self.outcomes + outcomes;
        self.unexplained = keep * self.unexplained + unexplained;
        // Of the bucket alone as well: a bucket full of bounces is enough for an alert, and the hour before it would hide the gap.
        self.are_unknown =
            are_sends_unknown(outcomes, unexplained) || are_sends_unknown(self.outcomes, self.unexplained);
    }

    /// Whether the rates by sends are not known, in the last bucket or in recent time.
    pub(crate) const fn are_sends_unknown(&self) -> bool {
        self.are_unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sends: f64, deliveries: f64, bounces_transient: f64) -> Counts {
        Counts { sends, deliveries, bounces_transient, ..Counts::default() }
    }

    /// After buckets of five minutes.
    fn are_unknown(buckets: impl IntoIterator<Item = Counts>) -> bool {
        let mut balance = SendBalance::default();
        let decay = DecayFactors::new(5);
        buckets.into_iter().for_each(|bucket| balance.add(&bucket, decay.over_an_hour(), &decay));
        balance.are_sends_unknown()
    }

    #[test]
    fn sends_are_unknown_where_outcomes_exceed_them_by_more_than_five_percent() {
        for (sends, deliveries, bounces, unknown) in [
            (1000.0, 990.0, 10.0, false),
            (1000.0, 1040.0, 10.0, false),
            (1000.0, 1040.0, 11.0, true),
            (0.0, 0.0, 0.0, false),
            (1000.0, 0.0, 0.0, false),
            (0.0, 4.0, 0.0, false),
            (0.0, 3.0, 2.0, true),
            (2.0, 6.0, 0.0, false),
        ] {
            let bucket = counts(sends, deliveries, bounces);
            assert_eq!(are_unknown([bucket]), unknown, "{bucket:?}");
        }
    }

    #[test]
    fn outcomes_may_come_hours_after_their_sends() {
        let burst = [counts(100_000.0, 80_000.0, 0.0)];
        // Over the next ten hours, in which nothing is sent, and the last bounces at the end of the attempts.
        let late = (0..120).map(|_| counts(0.0, 130.0, 5.0));
        let last = (0..48).map(|_| counts(0.0, 0.0, 40.0));
        assert!(!are_unknown(burst.into_iter().chain(late).chain(last)));
    }

    #[test]
    fn bounce_after_acceptance_is_no_second_outcome() {
        let bounced = Counts { bounces_permanent: 40.0, after_acceptance: 40.0, ..Counts::default() };
        assert!(!are_unknown([counts(100.0, 100.0, 0.0), bounced]));
    }

    #[test]
    fn gap_is_noticed_at_once_and_over_hours_after_it() {
        let gap = || (0..12).map(|_| counts(0.0, 100.0, 0.0));
        let days = |buckets: usize| (0..buckets).map(|_| counts(100.0, 100.0, 0.0));
        assert!(are_unknown(days(288).chain(gap().take(1))));
        assert!(are_unknown(days(288).chain(gap())));
        assert!(are_unknown(days(288).chain(gap()).chain(days(12))));
        assert!(!are_unknown(days(288).chain(gap()).chain(days(48))));
    }
}
