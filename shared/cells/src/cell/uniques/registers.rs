//! `HyperLogLog` registers with Ertl's improved estimator, which needs no tables and no bias correction and uses one formula for all
//! sizes.
//!
//! Source: Otmar Ertl, "New cardinality estimation algorithms for `HyperLogLog` sketches", <https://arxiv.org/abs/1702.01284>,
//! algorithm 6. The registers must only be given hashes with [`Uniques::HASH_BITS`] uniformly distributed bits.

use super::Uniques;

const INDEX_BITS: u32 = 14;
const COUNT: usize = 1 << INDEX_BITS;
const RANK_BITS: u32 = Uniques::HASH_BITS - INDEX_BITS;

/// The hashes are divided by their first 14 bits. Each register holds the longest run of zeros that followed in any hash of its part,
/// plus one, or 0 if there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registers([u8; COUNT]);

impl Registers {
    /// The largest value of a register: all bits of a hash behind the index are zero.
    #[expect(clippy::cast_possible_truncation, reason = "35")]
    pub(crate) const MAX_RANK: u8 = RANK_BITS as u8 + 1;

    pub(crate) const fn new() -> Self {
        Self([0; COUNT])
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        let index = (hash >> RANK_BITS) as usize % COUNT;
        // The bits behind the index, moved to the top of the word, where `leading_zeros` counts from.
        let rest = hash << (u64::BITS - RANK_BITS);
        #[expect(clippy::cast_possible_truncation, reason = "at most 35")]
        let rank = (rest.leading_zeros().min(RANK_BITS) + 1) as u8;
        // The index is below COUNT: it was reduced just above.
        self.0[index] = self.0[index].max(rank);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (held, &more) in self.0.iter_mut().zip(&other.0) {
            *held = (*held).max(more);
        }
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; COUNT] {
        &self.0
    }

    /// `None` if a register exceeds [`Registers::MAX_RANK`].
    pub(crate) fn from_bytes(bytes: &[u8; COUNT]) -> Option<Self> {
        bytes.iter().all(|&rank| rank <= Self::MAX_RANK).then_some(Self(*bytes))
    }

    /// The number of distinct hashes that were inserted.
    pub(crate) fn estimate(&self) -> u64 {
        estimate(self.0.iter().copied())
    }

    /// The estimate for these registers after merging `other`.
    pub(crate) fn union_estimate(&self, other: &Self) -> u64 {
        estimate(self.0.iter().zip(&other.0).map(|(&ours, &theirs)| ours.max(theirs)))
    }

    /// The estimate for these registers after inserting `hashes`.
    pub(crate) fn estimate_with(&self, hashes: &[u64]) -> u64 {
        let mut registers = self.clone();
        for hash in hashes {
            registers.insert(*hash);
        }
        registers.estimate()
    }
}

/// Algorithm 6 of the source, with its names `z`, `sigma` and `tau`, for the values of all registers.
fn estimate(ranks: impl Iterator<Item = u8>) -> u64 {
    let mut histogram = [0_u32; RANK_BITS as usize + 2];
    for rank in ranks {
        // Ranks are at most MAX_RANK, by insertion and by `from_bytes`.
        histogram[usize::from(rank)] += 1;
    }
    // From the histogram and not from a running sum: the estimate then depends on the registers alone, in whatever order they were
    // filled or merged.
    let share = |rank: usize| f64::from(histogram[rank]) / COUNT as f64;
    let last = usize::from(Registers::MAX_RANK);
    let mut z = COUNT as f64 * tau(1.0 - share(last));
    for rank in (1..last).rev() {
        z = 0.5 * (z + f64::from(histogram[rank]));
    }
    z += COUNT as f64 * sigma(share(0));
    let estimate = COUNT as f64 * COUNT as f64 / (2.0 * std::f64::consts::LN_2 * z);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, `as` saturates")]
    let rounded = estimate.round() as u64;
    rounded
}

/// Corrects for registers that are empty. `x` is their share.
fn sigma(mut x: f64) -> f64 {
    let mut y = 1.0;
    let mut z = x;
    // The series converges quadratically: x is squared in each round and is 0 long before 64 rounds. It diverges for x = 1, which only
    // crafted registers have, because something was inserted; then the sum is large and the estimate 0.
    for _ in 0..64 {
        x *= x;
        z += x * y;
        y += y;
    }
    z
}

/// Corrects for registers that are full. `x` is the share of those that are not.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let mut y = 1.0;
    let mut z = 1.0 - x;
    for _ in 0..64 {
        x = x.sqrt();
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
    }
    z / 3.0
}
