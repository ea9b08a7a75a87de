//! Numbers byte strings that are joined from parts: equal parts get equal numbers.
//!
//! A part is its length and its bytes, so `("ab", "c")` and `("a", "bc")` differ. All strings lie in one piece of memory, one after
//! the other, and are compared as bytes: a hash alone never decides.

use std::hash::BuildHasher as _;

use event::{invariant, provider};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rapidhash::fast::RandomState;

use crate::block::index;

/// Numbers byte strings from 0 in the order of their first appearance.
///
/// Interning hashes a string once and compares it with the strings of equal hash. Nothing is ever removed, so a number stays valid.
#[derive(Debug, Default)]
pub(super) struct Interner {
    numbers: HashTable<u32>,
    bytes: Vec<u8>,
    /// The end of each string. It begins where the one before ends.
    ends: Vec<usize>,
}

/// Stands for a length of this many bytes or more, which follows in four bytes. Most tenants, tags and domains are shorter.
const LONG_PART: u8 = u8::MAX;

/// Appends a part to a byte string that will be interned. It is kept whole: two parts that are cut could become one.
pub(super) fn push_part(joined: &mut Vec<u8>, part: &str) {
    push_length(joined, part.len());
    joined.extend_from_slice(part.as_bytes());
}

/// Appends the unresolved marker of a domain as a part, without building it first.
pub(super) fn push_marker(joined: &mut Vec<u8>, domain: &str) {
    push_length(joined, provider::UNRESOLVED.len() + domain.len());
    joined.extend_from_slice(provider::UNRESOLVED.as_bytes());
    joined.extend_from_slice(domain.as_bytes());
}

fn push_length(joined: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(length) if length < LONG_PART => joined.push(length),
        _ => {
            joined.push(LONG_PART);
            // Far longer than a record can be.
            joined.extend_from_slice(&index(length).to_le_bytes());
        }
    }
}

impl Interner {
    /// The number of a byte string, and whether it is new.
    pub(super) fn intern(&mut self, hasher: RandomState, joined: &[u8]) -> (u32, bool) {
        let Self { numbers, bytes, ends } = self;
        let hash = hasher.hash_one(joined);
        // Compared as bytes, because two strings with equal hashes must not be counted as one.
        let entry = numbers.entry(
            hash,
            |&number| string(bytes, ends, number) == joined,
            |&number| hasher.hash_one(string(bytes, ends, number)),
        );
        match entry {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(free) => {
                let number = index(ends.len());
                free.insert(number);
                bytes.extend_from_slice(joined);
                ends.push(bytes.len());
                (number, true)
            }
        }
    }

    /// Interns all strings of `other`. Returns the number here of each of its strings, in the order of their numbers there.
    pub(super) fn merge(&mut self, hasher: RandomState, other: &Self) -> Vec<u32> {
        let theirs = (0..index(other.ends.len())).map(|number| string(&other.bytes, &other.ends, number));
        theirs.map(|joined| self.intern(hasher, joined).0).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The parts of all strings, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = PartReader<'_>> {
        (0..index(self.ends.len())).map(|number| self.parts(number))
    }

    /// The parts of a string.
    pub(super) fn parts(&self, number: u32) -> PartReader<'_> {
        PartReader(string(&self.bytes, &self.ends, number))
    }
}

fn string<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    // The first string has none before it at whose end it could begin.
    let start = if number == 0 { Some(0) } else { ends.get(number - 1).copied() };
    let found = start.zip(ends.get(number)).and_then(|(start, &end)| bytes.get(start..end));
    invariant::or_broken(found, &[], "an interner does not know a number")
}

/// Reads the parts of an interned string in the order in which they were pushed.
#[derive(Clone, Copy)]
pub(super) struct PartReader<'a>(&'a [u8]);

impl<'a> PartReader<'a> {
    /// The next part. The caller must know how many there are.
    pub(super) fn next_part(&mut self) -> &'a str {
        let split = self.0.split_first().and_then(|(&length, rest)| {
            if length < LONG_PART {
                return rest.split_at_checked(length.into());
            }
            let (length, rest) = rest.split_first_chunk::<4>()?;
            rest.split_at_checked(u32::from_le_bytes(*length) as usize)
        });
        let (part, rest) = invariant::or_broken(split, (&[], &[]), "an interned string has too few parts");
        self.0 = rest;
        invariant::or_broken(std::str::from_utf8(part).ok(), "", "an interned part is not UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(parts: &[&str]) -> Vec<u8> {
        let mut joined = Vec::new();
        for part in parts {
            push_part(&mut joined, part);
        }
        joined
    }

    #[test]
    fn equal_parts_get_equal_numbers_and_come_back() {
        let hasher = RandomState::default();
        let mut interner = Interner::default();
        let long = [254, 255, 256, 70_000].map(|length| "x".repeat(length));
        let long = long.each_ref().map(String::as_str);
        let strings = [
            &[][..],
            &[""],
            &["", ""],
            &["ab", "c"],
            &["a", "bc"],
            &long[..1],
            &long[1..2],
            &long[2..3],
            &long,
            &["fête", "é"],
        ];
        for (number, parts) in (0..).zip(strings) {
            assert_eq!(interner.intern(hasher, &joined(parts)), (number, true), "{parts:?}");
            assert_eq!(interner.intern(hasher, &joined(parts)), (number, false), "{parts:?}");
        }
        assert_eq!(interner.len(), strings.len());
        for (mut reader, parts) in interner.iter().zip(strings) {
            for part in parts {
                assert_eq!(reader.next_part(), *part);
            }
            assert!(reader.0.is_empty());
        }
    }

    #[test]
    fn merging_gives_each_string_its_number_here() {
        let hasher = RandomState::default();
        let mut ours = Interner::default();
        let mut theirs = Interner::default();
        for name in ["a", "b"] {
            ours.intern(hasher, &joined(&[name]));
        }
        for name in ["c", "b", "d"] {
            theirs.intern(hasher, &joined(&[name]));
        }
        assert_eq!(ours.merge(hasher, &theirs), [2, 1, 3]);
        assert_eq!(ours.merge(hasher, &Interner::default()), [0_u32; 0]);
    }
}
