//! Sets of small numbers, such as positions of rules or numbers of fragments, on the stack.

/// A set of numbers below [`BitSet::BOUND`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BitSet<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Default for BitSet<WORDS> {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl<const WORDS: usize> BitSet<WORDS> {
    /// All numbers in a set are smaller.
    pub(crate) const BOUND: usize = 64 * WORDS;
    /// Every number below the bound.
    pub(crate) const FULL: Self = Self([u64::MAX; WORDS]);

    /// Adds `number`. One beyond the bound is left out: whoever counts the numbers has to check that they fit.
    pub(crate) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// The numbers from `64 * index` on, the smallest in the lowest bit.
    pub(crate) fn word(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or_default()
    }

    /// The numbers that are in either set.
    pub(crate) fn union(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    /// The numbers that are in both sets.
    pub(crate) fn intersection(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    /// The numbers that are in this set and not in `other`.
    pub(crate) fn difference(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= !other);
        self
    }

    /// The numbers in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                // Clears the lowest bit, and ends when there is none.
                rest &= rest.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }
}

impl<const WORDS: usize> FromIterator<usize> for BitSet<WORDS> {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut set = Self::default();
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = BTreeSet<usize>> {
        prop::collection::btree_set(0..128_usize, 0..40)
    }

    proptest! {
        #[test]
        fn set_has_the_numbers_of_a_plain_one(a in numbers(), b in numbers(), number in 0..200_usize) {
            let set = |numbers: &BTreeSet<usize>| numbers.iter().copied().collect::<BitSet<2>>();
            let plain = |set: BitSet<2>| set.iter().collect::<BTreeSet<_>>();
            prop_assert!(set(&a).iter().eq(a.iter().copied()));
            let word = set(&a).word(number / 64);
            prop_assert_eq!(word >> (number % 64) & 1 == 1, a.contains(&number));
            prop_assert_eq!(plain(set(&a).union(set(&b))), &a | &b);
            prop_assert_eq!(plain(set(&a).intersection(set(&b))), &a & &b);
            prop_assert_eq!(plain(set(&a).difference(set(&b))), &a - &b);
            prop_assert_eq!(set(&a).union(BitSet::FULL), BitSet::FULL);
        }
    }

    #[test]
    fn number_beyond_the_bound_is_left_out() {
        let set: BitSet<1> = [BitSet::<1>::BOUND - 1, BitSet::<1>::BOUND].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [63]);
    }
}
