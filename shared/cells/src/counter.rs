//! What is counted, and a sparse set of counts.
//!
//! Most cells of a minute hold one or two counts out of some forty, so a set keeps a bit mask and the counts that are not
//! zero. Adding is associative and commutative; counts saturate instead of wrapping.

use event::Reason;

/// What is counted, per recipient.
///
/// The discriminants are part of the storage format: append, never renumber, stay below 59: there are no more sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Counter {
    /// Accepted by SES.
    Sends = 0,
    /// Taken by the receiving server.
    Deliveries = 1,
    /// Permanent (hard) bounces, those that SES never tried included.
    BouncesPermanent = 2,
    /// Transient (soft) bounces that SES gave up on; automatic replies are not among them.
    BouncesTransient = 3,
    /// Bounces of undetermined or unknown type.
    BouncesUndetermined = 4,
    /// The part of the permanent bounces that SES never tried to deliver.
    Suppressed = 5,
    /// The part of `Suppressed` that SES leaves out of its own bounce rate: all but recipients on its global suppression list.
    SuppressedOutsideReputation = 6,
    /// Automatic replies, published as transient bounces without delivery-status fields.
    AutoReplies = 7,
    /// Complaints.
    Complaints = 8,
    /// Complaint events that are none: `not-spam`, or suppressed for an earlier complaint.
    ComplaintsNotCounted = 9,
    /// Messages refused by SES.
    Rejects = 10,
    /// Templates that could not be rendered.
    RenderingFailures = 11,
    /// Temporary failures.
    Delays = 12,
    /// Opens, machines' included.
    Opens = 13,
    /// The part of the opens made by machines.
    OpensMachine = 14,
    /// Clicks, bots' included.
    Clicks = 15,
    /// The part of the clicks made by bots.
    ClicksBot = 16,
    /// Unsubscribes.
    Unsubscribes = 17,
    /// Subscription events that unsubscribe from nothing.
    SubscriptionsOther = 18,
    /// Events of mail to the SES mailbox simulator; in none of the others.
    Simulator = 19,
    /// The part of the bounces that the receiving side reported after it had accepted the message.
    BouncesAfterAcceptance = 20,
    /// Sum of the milliseconds from send to delivery, over deliveries that say.
    DeliveryMillis = 21,
    /// The number of deliveries that say.
    DeliveriesTimed = 22,
    /// How often a sender said how much mail waits in its queue.
    QueueReadings = 23,
    // 24 to 39 are the bounces by reason, 40 to 55 the delays by reason.
    /// Sum of the mails that waited, over `QueueReadings`.
    QueueDepth = 56,
}

impl Counter {
    /// One more than the largest stored number.
    pub const COUNT: usize = 57;
    const BOUNCE_REASONS: u8 = 24;
    const DELAY_REASONS: u8 = 40;

    /// The counters of which each count of each event raises exactly one: what goes in must come out here.
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

/// A stored counter number: a [`Counter`], or the bounces or delays of one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterId(u8);

impl CounterId {
    /// The bounces of one reason.
    pub const fn bounces_for(reason: Reason) -> Self {
        Self(Counter::BOUNCE_REASONS + reason as u8)
    }

    /// The delays of one reason.
    pub const fn delays_for(reason: Reason) -> Self {
        Self(Counter::DELAY_REASONS + reason as u8)
    }

    /// From a stored number, if it is below [`Counter::COUNT`].
    pub fn from_number(number: u8) -> Option<Self> {
        (usize::from(number) < Counter::COUNT).then_some(Self(number))
    }

    /// The stored number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl From<Counter> for CounterId {
    fn from(counter: Counter) -> Self {
        Self(counter as u8)
    }
}

/// Counts that are not zero, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    mask: u64,
    counts: Counts,
}

/// Few cells have more than five counts or one of four billion, so the others need no memory of their own.
#[derive(Clone, Debug)]
enum Counts {
    Small([u32; SMALL]),
    #[expect(clippy::box_collection, reason = "there are many cells and few of these: 24 bytes, not 32")]
    Large(Box<Vec<u64>>),
}

const SMALL: usize = 5;

impl Default for Counts {
    fn default() -> Self {
        Self::Small([0; SMALL])
    }
}

impl Counters {
    /// No counts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `count` to one counter.
    #[inline]
    pub fn add(&mut self, counter: impl Into<CounterId>, count: u64) {
        if count == 0 {
            return;
        }
        let bit = 1_u64 << counter.into().0;
        let place = (self.mask & (bit - 1)).count_ones() as usize;
        let held = self.mask.count_ones() as usize;
        let is_new = self.mask & bit == 0;
        self.mask |= bit;
        if let Counts::Small(counts) = &mut self.counts
            && add_small(counts, place, held, is_new, count)
        {
            return;
        }
        self.add_large(place, held, is_new, count);
    }

    #[cold]
    fn add_large(&mut self, place: usize, held: usize, is_new: bool, count: u64) {
        if let Counts::Small(counts) = &self.counts {
            let counts = counts.iter().take(held).map(|&count| u64::from(count)).collect();
            self.counts = Counts::Large(Box::new(counts));
        }
        let Counts::Large(counts) = &mut self.counts else { return };
        if is_new {
            counts.insert(place, count);
        } else if let Some(sum) = counts.get_mut(place) {
            *sum = sum.saturating_add(count);
        }
    }

    /// One count.
    pub fn get(&self, counter: impl Into<CounterId>) -> u64 {
        let bit = 1_u64 << counter.into().0;
        if self.mask & bit == 0 {
            return 0;
        }
        let place = (self.mask & (bit - 1)).count_ones() as usize;
        match &self.counts {
            Counts::Small(counts) => counts.get(place).copied().map_or(0, u64::from),
            Counts::Large(counts) => counts.get(place).copied().unwrap_or(0),
        }
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (counter, count) in other.iter() {
            self.add(counter, count);
        }
    }

    /// The counts that are not zero, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (CounterId, u64)> + '_ {
        let mut mask = self.mask;
        let (small, large): (&[u32], &[u64]) = match &self.counts {
            Counts::Small(counts) => (counts, &[]),
            Counts::Large(counts) => (&[], counts),
        };
        let counts = small.iter().map(|&count| u64::from(count)).chain(large.iter().copied());
        counts.take(self.mask.count_ones() as usize).map(move |count| {
            let number = mask.trailing_zeros();
            mask &= mask.wrapping_sub(1);
            #[expect(clippy::cast_possible_truncation, reason = "a bit's place in 64 bits")]
            (CounterId(number as u8), count)
        })
    }

    /// Forgets all counts.
    pub(crate) fn clear(&mut self) {
        self.mask = 0;
        // Small counts without a bit in the mask are never looked at.
        if let Counts::Large(_) = self.counts {
            self.counts = Counts::default();
        }
    }

    /// Adds a counter whose number is above all that are held: [`Counters::add`] for readers of sorted columns.
    #[inline]
    pub(crate) fn push(&mut self, counter: CounterId, count: u64) {
        if count == 0 {
            return;
        }
        let held = self.mask.count_ones() as usize;
        self.mask |= 1 << counter.0;
        if let Counts::Small(counts) = &mut self.counts
            && let Some(free) = counts.get_mut(held)
            && let Ok(count) = u32::try_from(count)
        {
            *free = count;
            return;
        }
        self.add_large(held, held, true, count);
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.mask == 0
    }

    /// The sum of the [`Counter::PRIMARY`] counters and the simulator's: how many counts of events went in.
    pub fn events(&self) -> u64 {
        let primary = Counter::PRIMARY.into_iter().map(|counter| self.get(counter));
        primary.fold(self.get(Counter::Simulator), u64::saturating_add)
    }
}

/// Equal counts are equal however they are held.
impl PartialEq for Counters {
    fn eq(&self, other: &Self) -> bool {
        self.mask == other.mask && self.iter().eq(other.iter())
    }
}

impl Eq for Counters {}

/// Adds in place; false, and nothing changed, if there is no room or the sum is too large.
#[inline]
fn add_small(counts: &mut [u32; SMALL], place: usize, held: usize, is_new: bool, count: u64) -> bool {
    let Ok(count) = u32::try_from(count) else { return false };
    if !is_new {
        return match counts.get_mut(place).map(|held| (held.checked_add(count), held)) {
            Some((Some(sum), held)) => {
                *held = sum;
                true
            }
            _ => false,
        };
    }
    if held >= SMALL || place > held {
        return false;
    }
    counts.copy_within(place..held, place + 1);
    if let Some(free) = counts.get_mut(place) {
        *free = count;
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counters() -> impl Strategy<Value = Counters> {
        prop::collection::vec((0..57_u8, prop_oneof![0..1000_u64, any::<u64>()]), 0..20).prop_map(|pairs| {
            let mut counters = Counters::new();
            for (number, count) in pairs {
                counters.add(CounterId(number), count);
            }
            counters
        })
    }

    fn merged(a: &Counters, b: &Counters) -> Counters {
        let mut sum = a.clone();
        sum.merge(b);
        sum
    }

    proptest! {
        #[test]
        fn merging_is_associative_and_commutative(a in counters(), b in counters(), c in counters()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }

        #[test]
        fn each_count_is_the_sum_of_what_was_added(pairs in prop::collection::vec((0..57_u8, prop_oneof![0..1000_u64, 0..1_u64 << 40]), 0..40)) {
            let mut plain = [0_u64; Counter::COUNT];
            let mut counters = Counters::new();
            for (number, count) in pairs {
                plain[usize::from(number)] += count;
                counters.add(CounterId(number), count);
            }
            for (number, &count) in (0..).zip(&plain) {
                prop_assert_eq!(counters.get(CounterId(number)), count);
            }
            prop_assert_eq!(counters.iter().count(), plain.iter().filter(|&&count| count > 0).count());
        }
    }
}
