//! A set of counters as a bit mask: which columns a query reads, which counters a cell holds.

use super::{Counter, CounterId};

const WORDS: usize = CounterId::COUNT / u64::BITS as usize;

/// A set of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterSet([u64; WORDS]);

impl CounterSet {
    /// The set without counters.
    pub const EMPTY: Self = Self([0; WORDS]);
    /// Every counter, including numbers that no counter of this version has.
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    /// The set of these counters.
    pub const fn of(counters: &[Counter]) -> Self {
        let mut set = Self::EMPTY;
        let mut rest = counters;
        while let [first, others @ ..] = rest {
            set.insert(CounterId(*first as u8));
            rest = others;
        }
        set
    }

    /// Adds a counter; nothing changes if it is in the set already.
    pub const fn insert(&mut self, counter: CounterId) {
        let (word, bit) = position(counter);
        self.0[word] |= bit;
    }

    /// Whether a counter is in the set.
    pub const fn contains(&self, counter: CounterId) -> bool {
        let (word, bit) = position(counter);
        self.0[word] & bit != 0
    }

    /// Whether no counter is in the set.
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, [0, 0, 0, 0])
    }

    /// How many counters of the set have a smaller number than this one.
    pub(super) fn rank(&self, counter: CounterId) -> usize {
        let (word, bit) = position(counter);
        // `bit - 1` has all bits below the counter's.
        let (below, here) = (&self.0[..word], self.0[word] & (bit - 1));
        below.iter().map(|word| word.count_ones() as usize).sum::<usize>() + here.count_ones() as usize
    }

    /// The counters of the set, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = CounterId> {
        // The number of each word's lowest bit.
        [0, 64, 128, 192].into_iter().zip(self.0).flat_map(|(first, mut word)| {
            std::iter::from_fn(move || {
                let bit = u8::try_from(word.trailing_zeros()).ok().filter(|_| word != 0)?;
                // Clears the lowest bit.
                word &= word - 1;
                Some(CounterId(first + bit))
            })
        })
    }
}

/// The word and the bit of a counter. The word is below [`WORDS`], because a number is one byte.
const fn position(counter: CounterId) -> (usize, u64) {
    ((counter.0 >> 6) as usize, 1 << (counter.0 & 63))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn set_of_bits_behaves_as_a_sorted_set(numbers: BTreeSet<u8>, asked: u8) {
            let mut set = CounterSet::EMPTY;
            for &number in &numbers {
                set.insert(CounterId(number));
            }
            prop_assert_eq!(set.contains(CounterId(asked)), numbers.contains(&asked));
            prop_assert_eq!(set.rank(CounterId(asked)), numbers.range(..asked).count());
            prop_assert_eq!(set.is_empty(), numbers.is_empty());
            prop_assert!(set.iter().map(CounterId::number).eq(numbers));
        }
    }

    #[test]
    fn full_set_lists_every_number_once() {
        assert!(CounterSet::ALL.iter().map(CounterId::number).eq(0..=u8::MAX));
        assert_eq!(CounterSet::EMPTY.iter().count(), 0);
        assert_eq!(CounterSet::ALL.rank(CounterId(255)), 255);
    }

    #[test]
    fn set_of_named_counters_holds_these_only() {
        let set = CounterSet::of(&[Counter::Sends, Counter::QueueDepth]);
        assert!(set.iter().map(CounterId::number).eq([0, 24]));
    }
}
