//! Counts distinct recipients: exactly while there are few, estimated when there are many.
//!
//! The representation depends only on the set of hashes, never on their order or on how parts were merged: the hashes themselves up
//! to [`Uniques::EXACT_LIMIT`], `HyperLogLog` registers above. This holds because a part has registers only if it alone exceeds the
//! limit, and then so does every union with it. The sketch is our own, because those of published crates give bytes that depend on
//! the order, or derive the estimate from the history of insertions, which merging loses.

use event::RecipientHash;

use self::registers::Registers;

pub(crate) mod registers;

/// A set of recipients by hash. Merging is the union of sets: associative, commutative, idempotent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uniques(Set);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Set {
    #[default]
    Empty,
    /// Most cells that have any recipient have one, which needs no memory of its own.
    One(u64),
    /// Two up to the limit, sorted and distinct.
    #[expect(
        clippy::box_collection,
        reason = "the box keeps a cell, which has two sets, small: 16 bytes, not 24"
    )]
    Few(Box<Vec<u64>>),
    /// More than the limit.
    Many(Box<Registers>),
}

/// A number of distinct recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The number, or the best estimate of it.
    pub value: u64,
    /// Whether `value` is exact. Otherwise its relative standard error is [`Uniques::STANDARD_ERROR`].
    pub exact: bool,
}

impl Uniques {
    /// The largest number that is counted exactly. This many hashes take 6 KB when stored, about as much as the registers compressed.
    pub const EXACT_LIMIT: usize = 1024;
    /// The relative standard error of an estimate: 1.04 / sqrt(2^14).
    pub const STANDARD_ERROR: f64 = 0.008_125;
    /// How many bits of a hash are kept. Two of 1,024 hashes are equal by chance in one of 500 million sets, and registers can count
    /// up to about 2^48.
    pub(crate) const HASH_BITS: u32 = 48;

    /// Adds one recipient. Adding it again changes nothing.
    pub fn insert(&mut self, recipient: RecipientHash) {
        // The high bits: all bits of the hash are equally good, and six bytes each are what is stored.
        self.insert_bits(recipient.0 >> (u64::BITS - Self::HASH_BITS));
    }

    /// Adds all recipients of `other`.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, Set::Empty) => {}
            (_, Set::One(hash)) => self.insert_bits(*hash),
            (Set::Empty, set) => self.0 = set.clone(),
            (Set::One(hash), set) => {
                let hash = *hash;
                self.0 = set.clone();
                self.insert_bits(hash);
            }
            // One merge of two sorted lists; inserting one by one would move the list for each hash.
            (Set::Few(held), Set::Few(more)) => {
                **held = union(held, more);
                self.use_registers_above_the_limit();
            }
            (Set::Few(held), Set::Many(registers)) => {
                let mut registers = registers.clone();
                held.iter().for_each(|&hash| registers.insert(hash));
                self.0 = Set::Many(registers);
            }
            (Set::Many(registers), Set::Few(more)) => more.iter().for_each(|&hash| registers.insert(hash)),
            (Set::Many(registers), Set::Many(more)) => registers.merge(more),
        }
    }

    /// The number of distinct recipients.
    pub fn estimate(&self) -> Estimate {
        match &self.0 {
            Set::Many(registers) => Estimate { value: registers.estimate(), exact: false },
            Set::Empty | Set::One(_) | Set::Few(_) => {
                Estimate { value: self.hashes().len() as u64, exact: true }
            }
        }
    }

    /// The number of distinct recipients in either set, without merging them. At least as large as the estimate of each.
    pub fn union_estimate(&self, other: &Self) -> Estimate {
        let value = match (&self.0, &other.0) {
            (Set::Many(ours), Set::Many(theirs)) => ours.union_estimate(theirs),
            (Set::Many(registers), _) => registers.estimate_with(other.hashes()),
            (_, Set::Many(registers)) => registers.estimate_with(self.hashes()),
            // Both lists are there, so the number is exact, also above the limit for a single set.
            _ => return Estimate { value: union_len(self.hashes(), other.hashes()), exact: true },
        };
        // A set that is counted exactly can exceed the estimate of a union that holds it.
        let larger = self.estimate().value.max(other.estimate().value);
        Estimate { value: value.max(larger), exact: false }
    }

    /// Whether the number is exact, see [`Estimate::exact`].
    pub const fn is_exact(&self) -> bool {
        !matches!(self.0, Set::Many(_))
    }

    /// Whether the set has no recipient.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Set::Empty)
    }

    /// The hashes in ascending order; empty if the set has registers instead.
    pub(crate) fn hashes(&self) -> &[u64] {
        match &self.0 {
            Set::Empty | Set::Many(_) => &[],
            Set::One(hash) => std::slice::from_ref(hash),
            Set::Few(hashes) => hashes,
        }
    }

    /// The registers, if the set exceeds the limit.
    pub(crate) fn registers(&self) -> Option<&Registers> {
        match &self.0 {
            Set::Many(registers) => Some(registers),
            Set::Empty | Set::One(_) | Set::Few(_) => None,
        }
    }

    /// The set of these hashes, which must be sorted, distinct and at most [`Uniques::EXACT_LIMIT`].
    pub(crate) fn from_hashes(hashes: &[u64]) -> Self {
        match hashes {
            [] => Self(Set::Empty),
            [hash] => Self(Set::One(*hash)),
            hashes => Self(Set::Few(Box::new(hashes.to_vec()))),
        }
    }

    /// The set of these registers, which must have been filled with more than [`Uniques::EXACT_LIMIT`] hashes.
    pub(crate) fn from_registers(registers: Registers) -> Self {
        Self(Set::Many(Box::new(registers)))
    }

    fn insert_bits(&mut self, hash: u64) {
        match &mut self.0 {
            Set::Empty => self.0 = Set::One(hash),
            Set::One(held) if *held == hash => {}
            Set::One(held) => {
                let pair = vec![hash.min(*held), hash.max(*held)];
                self.0 = Set::Few(Box::new(pair));
            }
            Set::Few(held) => {
                // A hash that is found is a repeat, as of a person who opens a message twice.
                if let Err(position) = held.binary_search(&hash) {
                    held.insert(position, hash);
                    self.use_registers_above_the_limit();
                }
            }
            Set::Many(registers) => registers.insert(hash),
        }
    }

    fn use_registers_above_the_limit(&mut self) {
        // Never back: registers do not remember hashes, and no recipient is ever removed.
        if let Set::Few(held) = &self.0
            && held.len() > Self::EXACT_LIMIT
        {
            let mut registers = Registers::new();
            held.iter().for_each(|&hash| registers.insert(hash));
            self.0 = Set::Many(Box::new(registers));
        }
    }
}

/// The union of two lists that are each sorted and distinct.
fn union(mut a: &[u64], mut b: &[u64]) -> Vec<u64> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    while let (Some((&first, rest_a)), Some((&second, rest_b))) = (a.split_first(), b.split_first()) {
        all.push(first.min(second));
        // Equal hashes advance both lists, so they are added once.
        if first <= second {
            a = rest_a;
        }
        if second <= first {
            b = rest_b;
        }
    }
    all.extend_from_slice(a);
    all.extend_from_slice(b);
    all
}

/// The length of [`union`].
fn union_len(mut a: &[u64], mut b: &[u64]) -> u64 {
    let mut shared = 0;
    let total = a.len() + b.len();
    while let (Some((first, rest_a)), Some((second, rest_b))) = (a.split_first(), b.split_first()) {
        shared += usize::from(first == second);
        if first <= second {
            a = rest_a;
        }
        if second <= first {
            b = rest_b;
        }
    }
    (total - shared) as u64
}

#[cfg(test)]
mod tests;
