//! The events counted lately, by identity, shared by the threads: what drops duplicates.
//!
//! An identity is a keyed hash, so its bits can be used as they are: a table of bare numbers finds one with a single look at
//! memory, which is all that this costs. What is old is forgotten a generation at a time, so nothing is kept in order.

use std::sync::Mutex;

use event::IdentityHash;

/// The memory is split in so many parts, each with a lock of its own.
const PARTS: usize = 64;
/// Numbers of a part's table: at first, and at most.
const FIRST_SLOTS: usize = 1 << 6;
const MAX_SLOTS: usize = 1 << 17;

/// The newest identities: at least [`Identities::REMEMBERED`] of them, at most twice as many, in at most 128 MB.
pub(super) struct Identities {
    parts: Vec<Mutex<Part>>,
}

#[derive(Default)]
struct Part {
    new: Generation,
    old: Generation,
}

impl Default for Identities {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect() }
    }
}

impl Identities {
    #[cfg(test)]
    /// How many are surely remembered, if they spread evenly over the parts, as hashes do.
    pub(super) const REMEMBERED: usize = PARTS * most_held(MAX_SLOTS);

    /// Remembers an identity; whether it was new.
    pub(super) fn insert(&self, identity: IdentityHash) -> bool {
        // The tables use the highest bits. 0 is an empty slot.
        let hash = identity.0.max(1);
        let Some(part) = self.parts.get(usize::try_from(hash % PARTS as u64).unwrap_or_default()) else {
            return true;
        };
        let mut part = super::locked(part);
        if part.old.contains(hash) || !part.new.insert(hash) {
            return false;
        }
        if part.new.held == most_held(MAX_SLOTS) {
            part.old = std::mem::take(&mut part.new);
        }
        true
    }
}

/// More would make the runs of full lines long.
const fn most_held(slots: usize) -> usize {
    slots / 8 * 5
}

const LINE_SLOTS: usize = 8;

/// Slots that the processor fetches together. Which of them is taken is not foreseen but computed, so that it can go on with other
/// work while it waits for memory.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line([u64; LINE_SLOTS]);

/// A set of scattered numbers other than 0, each in the first line that had a free slot from the one on that its highest bits name.
#[derive(Default)]
struct Generation {
    /// None, or a power of two of them.
    lines: Vec<Line>,
    held: usize,
}

impl Generation {
    fn slots(&self) -> usize {
        self.lines.len() * LINE_SLOTS
    }

    fn contains(&self, hash: u64) -> bool {
        self.held > 0 && self.place(hash).is_none()
    }

    /// Adds a number; whether it was new.
    fn insert(&mut self, hash: u64) -> bool {
        if self.held == most_held(self.slots()) {
            self.grow();
        }
        let Some((line, slot)) = self.place(hash) else { return false };
        self.set(line, slot, hash);
        self.held += 1;
        true
    }

    fn set(&mut self, line: usize, slot: usize, hash: u64) {
        if let Some(slot) = self.lines.get_mut(line).and_then(|line| line.0.get_mut(slot)) {
            *slot = hash;
        }
    }

    /// The line and slot where a number belongs; `None` if it is there. There always is a free slot.
    fn place(&self, hash: u64) -> Option<(usize, usize)> {
        let mask = self.lines.len() - 1;
        let mut place = (hash >> 32) as usize & mask;
        loop {
            let line = self.lines.get(place).map_or(&[0; LINE_SLOTS], |line| &line.0);
            // Counted, since a search would end, and so branch, at the first.
            if line.iter().filter(|held| **held == hash).count() > 0 {
                return None;
            }
            let full = line.iter().filter(|held| **held != 0).count();
            if full < LINE_SLOTS {
                return Some((place, full));
            }
            place = (place + 1) & mask;
        }
    }

    fn grow(&mut self) {
        // Four times as many, as putting each number in its place anew costs as much as adding it.
        let slots = (self.slots() * 4).clamp(FIRST_SLOTS, MAX_SLOTS);
        let before = std::mem::replace(&mut self.lines, vec![Line::default(); slots / LINE_SLOTS]);
        for hash in before.into_iter().flat_map(|line| line.0).filter(|&hash| hash != 0) {
            if let Some((line, slot)) = self.place(hash) {
                self.set(line, slot, hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scattered(number: u64) -> IdentityHash {
        IdentityHash(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn an_identity_is_new_once() {
        let identities = Identities::default();
        assert!((0..10_000).all(|number| identities.insert(scattered(number))));
        assert!((0..10_000).all(|number| !identities.insert(scattered(number))));
    }

    #[test]
    fn numbers_that_want_the_same_slot_are_told_apart() {
        let mut generation = Generation::default();
        assert!((1..=500).all(|number| generation.insert(number)));
        assert!((1..=500).all(|number| generation.contains(number) && !generation.insert(number)));
        assert!(!generation.contains(501));
    }

    #[test]
    fn the_memory_of_identities_is_bounded_and_forgets_the_oldest() {
        let identities = Identities::default();
        let last = Identities::REMEMBERED as u64 * 5 / 2;
        for number in 0..=last {
            assert!(identities.insert(scattered(number)));
        }
        let mut slots = 0;
        for part in &identities.parts {
            let part = part.lock().unwrap();
            slots += part.new.slots() + part.old.slots();
        }
        assert!(slots * size_of::<u64>() <= 128 << 20, "{slots}");
        // Parts are not filled quite evenly.
        assert!(!identities.insert(scattered(last - Identities::REMEMBERED as u64 * 9 / 10)));
        assert!(identities.insert(scattered(0)), "the oldest is forgotten");
    }
}
