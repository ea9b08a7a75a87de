//! A value for every counter, so that looking one up cannot fail.

use std::ops::{Index, IndexMut};

use super::CounterId;

/// One `T` per [`CounterId`]. Indexing is total: every number of a counter has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerCounter<T>([T; CounterId::COUNT]);

impl<T: Copy> PerCounter<T> {
    /// The same value for every counter.
    pub const fn filled(value: T) -> Self {
        Self([value; CounterId::COUNT])
    }
}

impl<T> Index<CounterId> for PerCounter<T> {
    type Output = T;

    fn index(&self, counter: CounterId) -> &T {
        // A number is one byte, and there are 256 values.
        &self.0[usize::from(counter.0)]
    }
}

impl<T> IndexMut<CounterId> for PerCounter<T> {
    fn index_mut(&mut self, counter: CounterId) -> &mut T {
        &mut self.0[usize::from(counter.0)]
    }
}
