//! Random numbers from a seed, the same on every machine: `SplitMix64`. Every choice of the simulation comes from here.

/// A random number generator, <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, or 0 if `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        // Smaller than `end`, so it fits.
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or_default()
    }

    /// A number of milliseconds below `end`, or 0 if `end` is not positive.
    pub(super) fn millis(&mut self, end: i64) -> i64 {
        // Smaller than `end`, so it fits.
        i64::try_from(self.next() % end.max(1).unsigned_abs()).unwrap_or_default()
    }

    /// True once in `times` calls on average.
    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
