//! Strings joined to one byte string and numbered: equal parts, equal number.
//!
//! A part is a length byte and its bytes, so `("ab", "c")` and `("a", "bc")` differ. All are kept in one piece of memory.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rapidhash::fast::RandomState;

use crate::block::index;

/// Numbers byte strings from 0 in the order in which they first come.
#[derive(Debug, Default)]
pub(super) struct Interner {
    numbers: HashTable<u32>,
    bytes: Vec<u8>,
    /// Where each string ends; it begins where the one before ends.
    ends: Vec<usize>,
}

/// The longest part; tenants, tags and domains are shorter by their own rules.
const MAX_PART_BYTES: usize = 255;

/// Appends a part to a byte string that will be interned.
pub(super) fn push_part(joined: &mut Vec<u8>, part: &str) {
    let mut part = part;
    if part.len() > MAX_PART_BYTES {
        part = part.get(..part.floor_char_boundary(MAX_PART_BYTES)).unwrap_or_default();
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most 255")]
    joined.push(part.len() as u8);
    joined.extend_from_slice(part.as_bytes());
}

impl Interner {
    /// The number of a byte string, and whether it is new.
    pub(super) fn intern(&mut self, hasher: RandomState, joined: &[u8]) -> (u32, bool) {
        let Self { numbers, bytes, ends } = self;
        let hash = hasher.hash_one(joined);
        let entry = numbers.entry(
            hash,
            |&number| string(bytes, ends, number) == joined,
            |&number| hasher.hash_one(string(bytes, ends, number)),
        );
        match entry {
            Entry::Occupied(held) => (*held.get(), false),
            Entry::Vacant(free) => {
                let number = index(ends.len());
                free.insert(number);
                bytes.extend_from_slice(joined);
                ends.push(bytes.len());
                (number, true)
            }
        }
    }

    /// The number here of each string of `other`, in the order of their numbers there.
    pub(super) fn merge(&mut self, hasher: RandomState, other: &Self) -> Vec<u32> {
        let theirs = (0..index(other.ends.len())).map(|number| string(&other.bytes, &other.ends, number));
        theirs.map(|joined| self.intern(hasher, joined).0).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The parts of all strings, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = Parts<'_>> {
        (0..index(self.ends.len())).map(|number| self.parts(number))
    }

    /// The parts of a string.
    pub(super) fn parts(&self, number: u32) -> Parts<'_> {
        Parts(string(&self.bytes, &self.ends, number))
    }
}

fn string<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    ends.get(number).and_then(|&end| bytes.get(start..end)).unwrap_or_default()
}

/// The parts that are left of a string.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// The next part; empty behind the last one.
    pub(super) fn next_part(&mut self) -> &'a str {
        let Some((&length, rest)) = self.0.split_first() else { return "" };
        let (part, rest) = rest.split_at_checked(usize::from(length)).unwrap_or_default();
        self.0 = rest;
        // Parts were strings when they were pushed.
        std::str::from_utf8(part).unwrap_or_default()
    }
}
