//! A fixed number of slots that repeat, such as the hours of a week: slot `n` is also slot `n + N`.
//!
//! Every index is valid, so no caller needs a fallback for a slot that does not exist.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `N` slots in a ring. `N` is at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ring<T, const N: usize>([T; N]);

impl<T: Copy, const N: usize> Ring<T, N> {
    /// A ring whose slots all hold `value`.
    pub(crate) const fn filled(value: T) -> Self {
        const { assert!(N > 0, "a ring has at least one slot") };
        Self([value; N])
    }
}

#[expect(clippy::indexing_slicing, reason = "the remainder of a division by N is below N, the length")]
impl<T, const N: usize> Ring<T, N> {
    /// The slot of `number`, counted round the ring.
    pub(crate) const fn at(&self, number: u32) -> &T {
        &self.0[number as usize % N]
    }

    /// The slot of `number`, to be changed.
    pub(crate) const fn at_mut(&mut self, number: u32) -> &mut T {
        &mut self.0[number as usize % N]
    }
}

impl<T, const N: usize> Ring<T, N> {
    /// A ring with each slot changed.
    pub(crate) fn map<U>(self, change: impl FnMut(T) -> U) -> Ring<U, N> {
        Ring(self.0.map(change))
    }

    /// All slots, from slot 0 on.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// All slots except that of `number` and the `kept - 1` before it, to be changed.
    pub(crate) fn all_but_newest_mut(&mut self, number: u32, kept: u32) -> impl Iterator<Item = &mut T> {
        let slots = u32::try_from(N).unwrap_or(u32::MAX);
        let newest = number % slots;
        let is_older = move |slot: u32| (newest + slots - slot) % slots >= kept;
        self.0.iter_mut().zip(0..).filter(move |(_, slot)| is_older(*slot)).map(|(value, _)| value)
    }

    /// The slots of `number` and of the `length - 1` before it, newest first. Each slot comes at most once.
    pub(crate) fn newest_first(&self, number: u32, length: u32) -> impl Iterator<Item = &T> {
        let slots = u32::try_from(N).unwrap_or(u32::MAX);
        // One full turn is added, so that the subtraction cannot go below 0.
        let newest = number % slots + slots;
        (0..length.min(slots)).map(move |back| self.at(newest - back))
    }
}

/// As a sequence: serde knows arrays of at most 32 elements.
impl<T: Serialize, const N: usize> Serialize for Ring<T, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Ring<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slots = Vec::<T>::deserialize(deserializer)?;
        let found = slots.len();
        let slots = slots.try_into();
        slots.map(Self).map_err(|_| serde::de::Error::custom(format!("{found} slots instead of {N}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_round_the_ring() {
        let mut ring: Ring<u32, 3> = Ring::filled(0);
        for number in 4..7 {
            *ring.at_mut(number) = number;
        }
        for (number, expected) in [(0, 6), (1, 4), (2, 5), (3, 6), (7, 4), (u32::MAX, 6)] {
            assert_eq!(*ring.at(number), expected, "{number}");
        }
    }

    #[test]
    fn newest_slots_come_first_and_once() {
        let mut ring: Ring<u32, 3> = Ring::filled(0);
        ring.iter_mut().zip(0..).for_each(|(slot, number)| *slot = number);
        let newest = |number, length| ring.newest_first(number, length).copied().collect::<Vec<_>>();
        assert_eq!(newest(4, 2), [1, 0]);
        assert_eq!(newest(0, 3), [0, 2, 1]);
        assert_eq!(newest(2, 9), [2, 1, 0]);
        assert_eq!(newest(2, 0), Vec::<u32>::new());
    }

    #[test]
    fn all_but_the_newest_slots_are_changed() {
        let mut ring: Ring<u32, 5> = Ring::filled(1);
        ring.all_but_newest_mut(6, 2).for_each(|slot| *slot = 0);
        // Slot 6 is slot 1; the one before it is slot 0.
        assert_eq!((0..5).map(|number| *ring.at(number)).collect::<Vec<_>>(), [1, 1, 0, 0, 0]);
    }

    #[test]
    fn stored_ring_of_another_length_is_refused() {
        let bytes = postcard::to_allocvec(&Ring::<u8, 40>::filled(7)).unwrap();
        assert_eq!(postcard::from_bytes::<Ring<u8, 40>>(&bytes).unwrap(), Ring::filled(7));
        assert!(postcard::from_bytes::<Ring<u8, 41>>(&bytes).is_err());
    }
}
