//! Every choice of the simulation, drawn from one seed with the shared generator and in the units the simulation needs.

use simulator::random::Random;

/// Choices that follow from a seed alone, so that a seed reproduces its run on any machine.
#[derive(Clone, Debug)]
pub(super) struct Choices(Random);

impl Choices {
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::from_seed(seed))
    }

    /// 64 random bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `end`, or 0 if `end` is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.below(u32::try_from(end).unwrap_or(u32::MAX)) as usize
    }

    /// A number of milliseconds below `end`, or 0 if `end` is not positive.
    pub(super) fn millis(&mut self, end: i64) -> i64 {
        self.0.below(u32::try_from(end.max(0)).unwrap_or(u32::MAX)).into()
    }

    /// True once in `times` calls on average.
    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
