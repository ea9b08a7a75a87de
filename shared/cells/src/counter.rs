//! What is counted: the counters and their stored numbers.
//!
//! [`Counter`] names the counters of the product; bounces and delays have one more counter per bounce class each. A
//! [`CounterId`] is the stored number of any of them and is one byte, so there is room for 256 counters. Which of them an event
//! increments is decided in `accumulate/increments.rs` and nowhere else.

mod counters;
mod per_counter;
mod set;

use event::BounceClass;

pub use counters::Counters;
pub use per_counter::PerCounter;
pub use set::CounterSet;

/// A counter, counted per recipient.
///
/// The discriminants are part of the storage format: append, never renumber, and stay below 128, where the counters by bounce
/// class begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Counter {
    /// Recipients of messages that SES accepted.
    Sends = 0,
    /// Accepted by the receiving server.
    Deliveries = 1,
    /// Permanent (hard) bounces, including recipients that SES suppressed without trying to deliver.
    BouncesPermanent = 2,
    /// Transient (soft) bounces after SES gave up retrying; excludes automatic replies.
    BouncesTransient = 3,
    /// Bounces of undetermined or unknown type.
    BouncesUndetermined = 4,
    /// The part of the permanent bounces that SES never tried to deliver.
    Suppressed = 5,
    /// The part of `Suppressed` that SES excludes from its own bounce rate: everything but its global suppression list.
    SuppressedOutsideReputation = 6,
    /// Automatic replies, which SES publishes as transient bounces without delivery-status fields.
    AutoReplies = 7,
    /// Complaints by recipients, as far as their providers report them to SES.
    Complaints = 8,
    /// Complaint events that are not complaints: `not-spam` reports, and those suppressed because of an earlier complaint.
    ComplaintsNotCounted = 9,
    /// Messages rejected by SES.
    Rejects = 10,
    /// Templates that could not be rendered.
    RenderingFailures = 11,
    /// Delivery delays: temporary failures that SES retries.
    Delays = 12,
    /// Opens, including those made by machines.
    Opens = 13,
    /// The part of the opens made by machines.
    OpensMachine = 14,
    /// Clicks, including those made by bots.
    Clicks = 15,
    /// The part of the clicks made by bots.
    ClicksBot = 16,
    /// Subscription events that unsubscribe from something.
    Unsubscribes = 17,
    /// Subscription events that unsubscribe from nothing.
    SubscriptionsOther = 18,
    /// Events of mail to the SES mailbox simulator, which increments no other counter.
    Simulator = 19,
    /// The part of the bounces that the receiving side reported after it had accepted the message.
    BouncesAfterAcceptance = 20,
    /// Sum of the milliseconds from send to delivery, over the deliveries that report it.
    DeliveryMillis = 21,
    /// The number of deliveries that report how long they took.
    DeliveriesTimed = 22,
    /// How many times a sender reported the depth of its queue.
    QueueReadings = 23,
    /// Sum of the reported queue depths, in messages, over `QueueReadings`.
    QueueDepth = 24,
    /// The part of the delays that are not the first of their mail. Counted in place of the first ones, so that history from before
    /// this counter, in which it is 0, gives all delays and never none.
    DelaysRepeated = 25,
    /// Clicks that were counted as people's and turned out to be of a burst once they could no longer be changed.
    BurstsSplit = 26,
}

impl Counter {
    /// Each count of an event increments exactly one of these, or [`Counter::Simulator`]. So their sum proves that what was read
    /// is what was counted.
    pub const PRIMARY: [Self; 16] = [
        Self::Sends,
        Self::Deliveries,
        Self::BouncesPermanent,
        Self::BouncesTransient,
        Self::BouncesUndetermined,
        Self::AutoReplies,
        Self::Complaints,
        Self::ComplaintsNotCounted,
        Self::Rejects,
        Self::RenderingFailures,
        Self::Delays,
        Self::Opens,
        Self::Clicks,
        Self::Unsubscribes,
        Self::SubscriptionsOther,
        Self::QueueReadings,
    ];
}

/// The stored number of a counter: a [`Counter`], or the bounces or delays of one bounce class.
///
/// Every byte is a valid number. One that no counter of this version has is kept, merged and stored like any other, so that
/// compaction by an older version loses no counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterId(u8);

/// The first counter by bounce class, and how many classes there is room for.
const FIRST_BOUNCE_CLASS: u8 = 128;
const FIRST_DELAY_CLASS: u8 = FIRST_BOUNCE_CLASS + CLASS_ROOM;
/// Twice the classes that exist: bounces and delays together take 64 of the 128 numbers that are left.
const CLASS_ROOM: u8 = 32;

const _: () =
    assert!(BounceClass::ALL.len() <= CLASS_ROOM as usize, "bounce classes would overlap in storage");

impl CounterId {
    /// How many numbers there are.
    pub const COUNT: usize = 1 << u8::BITS;

    /// The bounces of one bounce class.
    pub const fn bounces_for(class: BounceClass) -> Self {
        Self(FIRST_BOUNCE_CLASS + class as u8)
    }

    /// The delays of one bounce class.
    pub const fn delays_for(class: BounceClass) -> Self {
        Self(FIRST_DELAY_CLASS + class as u8)
    }

    /// The counter of a stored number.
    pub const fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// The number by which the counter is stored.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl From<Counter> for CounterId {
    fn from(counter: Counter) -> Self {
        Self(counter as u8)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_counter_has_a_number_of_its_own() {
        let named = (0..=Counter::DelaysRepeated as u8).map(CounterId::from_number);
        let bounces = BounceClass::ALL.map(CounterId::bounces_for);
        let delays = BounceClass::ALL.map(CounterId::delays_for);
        let all: Vec<CounterId> = named.chain(bounces).chain(delays).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(all.len(), 58);
    }

    #[test]
    fn numbers_convert_both_ways() {
        for number in 0..=u8::MAX {
            assert_eq!(CounterId::from_number(number).number(), number);
        }
        assert_eq!(CounterId::from(Counter::QueueDepth).number(), 24);
    }
}
