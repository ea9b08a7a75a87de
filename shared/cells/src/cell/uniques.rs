//! How many different recipients did something: exact while few, estimated when many.
//!
//! What is held depends only on the set of hashes put in, never on the order or on how parts were merged: up to
//! [`Uniques::EXACT_LIMIT`] the hashes themselves, above it `HyperLogLog` registers. A part has registers only if it alone
//! holds more than the limit, so any union with it does too, and the law holds. An own sketch, because those of the crates
//! give bytes that depend on order, and read an estimate from history that merging loses.

use event::RecipientHash;

use self::registers::Registers;

pub(crate) mod registers;

/// A set of recipients, by hash. Merging is a union: associative, commutative, idempotent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uniques(Set);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Set {
    #[default]
    Empty,
    /// Most cells that have any have one; it needs no memory of its own.
    One(u64),
    /// Two up to the limit, sorted.
    #[expect(
        clippy::box_collection,
        reason = "a cell has two of these sets, and most are empty: 16 bytes, not 24"
    )]
    Few(Box<Vec<u64>>),
    Many(Box<Registers>),
}

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The number.
    pub value: u64,
    /// Whether it is the very number; otherwise its standard error is [`Uniques::STANDARD_ERROR`] of it.
    pub exact: bool,
}

impl Uniques {
    /// Up to so many are counted exactly: 6 KB when stored, about what the registers take.
    pub const EXACT_LIMIT: usize = 1024;
    /// The standard error of an estimate, as a part of it: 1.04 / sqrt(2^14).
    pub const STANDARD_ERROR: f64 = 0.008_125;
    /// Bits kept of a hash: 1,024 of them meet by chance once in 500 million sets, and registers reach 2^48.
    pub(crate) const HASH_BITS: u32 = 48;

    /// Adds one recipient.
    pub fn insert(&mut self, recipient: RecipientHash) {
        self.insert_bits(recipient.0 >> (u64::BITS - Self::HASH_BITS));
    }

    /// Adds all of `other`.
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
            (Set::Few(held), Set::Few(more)) => {
                **held = union(held, more);
                self.shrink_to_registers();
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

    /// How many there are.
    pub fn estimate(&self) -> Estimate {
        match &self.0 {
            Set::Many(registers) => Estimate { value: registers.estimate(), exact: false },
            Set::Empty | Set::One(_) | Set::Few(_) => {
                Estimate { value: self.hashes().len() as u64, exact: true }
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Set::Empty)
    }

    /// The hashes in order while they are held; none where there are registers.
    pub(crate) fn hashes(&self) -> &[u64] {
        match &self.0 {
            Set::Empty | Set::Many(_) => &[],
            Set::One(hash) => std::slice::from_ref(hash),
            Set::Few(hashes) => hashes,
        }
    }

    /// The registers, if there are more than the limit.
    pub(crate) fn registers(&self) -> Option<&Registers> {
        match &self.0 {
            Set::Many(registers) => Some(registers),
            Set::Empty | Set::One(_) | Set::Few(_) => None,
        }
    }

    /// From sorted hashes without doubles, at most [`Uniques::EXACT_LIMIT`] of them.
    pub(crate) fn from_hashes(hashes: &[u64]) -> Self {
        match hashes {
            [] => Self(Set::Empty),
            [hash] => Self(Set::One(*hash)),
            hashes => Self(Set::Few(Box::new(hashes.to_vec()))),
        }
    }

    /// From what [`Uniques::registers`] gave.
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
                if let Err(place) = held.binary_search(&hash) {
                    held.insert(place, hash);
                    self.shrink_to_registers();
                }
            }
            Set::Many(registers) => registers.insert(hash),
        }
    }

    fn shrink_to_registers(&mut self) {
        if let Set::Few(held) = &self.0
            && held.len() > Self::EXACT_LIMIT
        {
            let mut registers = Registers::new();
            held.iter().for_each(|&hash| registers.insert(hash));
            self.0 = Set::Many(Box::new(registers));
        }
    }
}

/// The union of two sorted lists, sorted, without doubles.
fn union(mut a: &[u64], mut b: &[u64]) -> Vec<u64> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    while let (Some((&first, rest_a)), Some((&second, rest_b))) = (a.split_first(), b.split_first()) {
        all.push(first.min(second));
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

#[cfg(test)]
mod tests;
