//! Counts: sums and differences of counters, and unique counts.
//!
//! One table says which counters a count is made of; what must be read and what it is worth both follow from it.

use event::Reason;

use crate::block::Projection;
use crate::cell::{Cell, Uniques};
use crate::counter::{Counter, CounterId, Counters};

/// A whole number of recipients, messages or events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Count {
    /// Accepted by SES.
    Sends,
    /// Taken by the receiving server.
    Deliveries,
    /// Deliveries less bounces that the receiving side reported after accepting.
    DeliveredNet,
    /// Permanent, transient and undetermined bounces.
    Bounces,
    /// Permanent bounces.
    BouncesPermanent,
    /// Transient bounces that SES gave up on.
    BouncesTransient,
    /// Bounces of undetermined type.
    BouncesUndetermined,
    /// Permanent bounces that SES counts against the sender: without suppressed mail, except to its global suppression list.
    HardBounces,
    /// The part of the permanent bounces that SES never tried.
    Suppressed,
    /// Automatic replies, no part of the bounces.
    AutoReplies,
    /// Complaints.
    Complaints,
    /// Messages refused by SES.
    Rejects,
    /// Templates that could not be rendered.
    RenderingFailures,
    /// Temporary failures.
    Delays,
    /// All opens.
    Opens,
    /// The part of the opens made by machines.
    OpensMachine,
    /// All clicks.
    Clicks,
    /// The part of the clicks made by bots.
    ClicksBot,
    /// Unsubscribes.
    Unsubscribes,
    /// Messages that people opened.
    UniqueOpens,
    /// Messages that people clicked in.
    UniqueClicks,
    /// Accepted by SES and without an outcome within the same range; never below 0.
    InFlight,
    /// Events of mail to the SES mailbox simulator.
    Simulator,
    /// Bounces of one reason.
    BouncesFor(Reason),
    /// Delays of one reason.
    DelaysFor(Reason),
}

impl Count {
    /// The counters that add to this count, and those that take from it. Unique counts have none, those by reason are apart.
    const fn terms(self) -> (&'static [Counter], &'static [Counter]) {
        use Counter as C;
        match self {
            Self::Sends => (&[C::Sends], &[]),
            Self::Deliveries => (&[C::Deliveries], &[]),
            Self::DeliveredNet => (&[C::Deliveries], &[C::BouncesAfterAcceptance]),
            Self::Bounces => (&[C::BouncesPermanent, C::BouncesTransient, C::BouncesUndetermined], &[]),
            Self::BouncesPermanent => (&[C::BouncesPermanent], &[]),
            Self::BouncesTransient => (&[C::BouncesTransient], &[]),
            Self::BouncesUndetermined => (&[C::BouncesUndetermined], &[]),
            Self::HardBounces => (&[C::BouncesPermanent], &[C::SuppressedOutsideReputation]),
            Self::Suppressed => (&[C::Suppressed], &[]),
            Self::AutoReplies => (&[C::AutoReplies], &[]),
            Self::Complaints => (&[C::Complaints], &[]),
            Self::Rejects => (&[C::Rejects], &[]),
            Self::RenderingFailures => (&[C::RenderingFailures], &[]),
            Self::Delays => (&[C::Delays], &[]),
            Self::Opens => (&[C::Opens], &[]),
            Self::OpensMachine => (&[C::OpensMachine], &[]),
            Self::Clicks => (&[C::Clicks], &[]),
            Self::ClicksBot => (&[C::ClicksBot], &[]),
            Self::Unsubscribes => (&[C::Unsubscribes], &[]),
            // A bounce after acceptance ends mail that its delivery has ended already. Send is published before a message is
            // scanned and rendered, so rejects and rendering failures are outcomes of sends.
            Self::InFlight => (
                &[C::Sends, C::BouncesAfterAcceptance],
                &[
                    C::Deliveries,
                    C::BouncesPermanent,
                    C::BouncesTransient,
                    C::BouncesUndetermined,
                    C::Rejects,
                    C::RenderingFailures,
                ],
            ),
            Self::Simulator => (&[C::Simulator], &[]),
            Self::UniqueOpens | Self::UniqueClicks | Self::BouncesFor(_) | Self::DelaysFor(_) => (&[], &[]),
        }
    }

    /// Its value in one merged cell.
    pub fn value(self, cell: &Cell) -> u64 {
        match self {
            Self::UniqueOpens => cell.opens.estimate().value,
            Self::UniqueClicks => cell.clicks.estimate().value,
            _ => self.in_counters(&cell.counters),
        }
    }

    /// Its value in one set of counters; unique counts, which are not made of counters, are 0.
    pub fn in_counters(self, counters: &Counters) -> u64 {
        match self {
            Self::BouncesFor(reason) => counters.get(CounterId::bounces_for(reason)),
            Self::DelaysFor(reason) => counters.get(CounterId::delays_for(reason)),
            _ => {
                let (plus, minus) = self.terms();
                let sum = |terms: &[Counter]| {
                    terms.iter().fold(0_u64, |sum, &counter| sum.saturating_add(counters.get(counter)))
                };
                sum(plus).saturating_sub(sum(minus))
            }
        }
    }

    /// Whether the values of parts add up to that of the whole: not so for unique counts, nor for differences that end at 0.
    pub const fn adds_up(self) -> bool {
        !matches!(self, Self::DeliveredNet | Self::InFlight | Self::UniqueOpens | Self::UniqueClicks)
    }

    /// Asks blocks for what it is computed from.
    pub(super) fn want(self, wanted: &mut Projection) {
        match self {
            Self::UniqueOpens => wanted.opens = true,
            Self::UniqueClicks => wanted.clicks = true,
            Self::BouncesFor(reason) => wanted.counters.insert(CounterId::bounces_for(reason)),
            Self::DelaysFor(reason) => wanted.counters.insert(CounterId::delays_for(reason)),
            _ => {
                let (plus, minus) = self.terms();
                for &counter in plus.iter().chain(minus) {
                    wanted.counters.insert(counter.into());
                }
            }
        }
    }

    /// The standard error of its value in `cell`, relative to it; 0 for an exact count.
    pub(super) fn error(self, cell: &Cell) -> f64 {
        let exact = match self {
            Self::UniqueOpens => cell.opens.estimate().exact,
            Self::UniqueClicks => cell.clicks.estimate().exact,
            _ => true,
        };
        if exact { 0.0 } else { Uniques::STANDARD_ERROR }
    }
}
