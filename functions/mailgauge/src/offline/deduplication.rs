//! The deduplication window of offline counting: the identities of the newest events, shared by the threads. Beside events it remembers
//! which mail was delayed, see `first_delays.rs`.
//!
//! An identity is a keyed hash, so its bits are already random and serve as the hash of a table without further hashing. A look-up
//! costs one access to memory, which dominates. Old identities are dropped a whole generation at a time, so nothing is kept in order
//! of age.

use std::sync::Mutex;

use event::IdentityHash;
use event::invariant::broken;

/// Number of stripes that the window is split into, each with its own lock. A power of two.
const STRIPES: usize = 64;
/// Slots in the table of one generation of a stripe: at first, and at most.
const FIRST_SLOTS: usize = 1 << 6;
const MAX_SLOTS: usize = 1 << 17;

/// The newest identities: about 5 million at least, twice as many at most, in at most 128 MB.
pub struct SharedWindow {
    stripes: [Mutex<Stripe>; STRIPES],
}

/// Two generations: when the new one is full it becomes the old one, and what was old is forgotten.
#[derive(Default)]
struct Stripe {
    new: Generation,
    old: Generation,
}

impl Default for SharedWindow {
    fn default() -> Self {
        Self { stripes: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl SharedWindow {
    /// How many identities are certainly remembered, given that hashes spread evenly over the stripes.
    #[cfg(test)]
    pub(super) const REMEMBERED: usize = STRIPES * max_len(MAX_SLOTS);

    /// Remembers an identity. Returns whether it was new.
    pub fn insert(&self, identity: IdentityHash) -> bool {
        // 0 marks an empty slot. The lowest bits choose the stripe, the highest bits the slot in it.
        let hash = identity.0.max(1);
        let index = usize::try_from(hash % STRIPES as u64).unwrap_or(0);
        let Some(stripe) = self.stripes.get(index) else {
            broken("a stripe of the deduplication window does not exist");
            return true;
        };
        let mut stripe = super::lock(stripe);
        if stripe.old.contains(hash) || !stripe.new.insert(hash) {
            return false;
        }
        if stripe.new.len == max_len(MAX_SLOTS) {
            stripe.old = std::mem::take(&mut stripe.new);
        }
        true
    }
}

/// How many of the slots may be in use: five eighths. With more, runs of full cache lines would grow long.
const fn max_len(slots: usize) -> usize {
    slots / 8 * 5
}

const LINE_SLOTS: usize = 8;

/// The slots that the processor fetches from memory together. The code that searches a line has no data-dependent branches, so the
/// processor goes on with the next events while it waits for memory.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct CacheLine([u64; LINE_SLOTS]);

/// A hash table with linear probing over cache lines. It holds hashes other than 0; each is in the first line with a free slot,
/// counted from the line that its highest bits select.
#[derive(Default)]
struct Generation {
    /// Empty, or a power of two of them.
    lines: Vec<CacheLine>,
    /// Hashes in the table.
    len: usize,
}

impl Generation {
    fn slots(&self) -> usize {
        self.lines.len() * LINE_SLOTS
    }

    fn contains(&self, hash: u64) -> bool {
        self.len > 0 && self.find_free_slot(hash).is_none()
    }

    /// Adds a hash. Returns whether it was new.
    fn insert(&mut self, hash: u64) -> bool {
        if self.len == max_len(self.slots()) {
            self.grow();
        }
        let Some((line, slot)) = self.find_free_slot(hash) else { return false };
        self.set(line, slot, hash);
        self.len += 1;
        true
    }

    fn set(&mut self, line: usize, slot: usize, hash: u64) {
        match self.lines.get_mut(line).and_then(|line| line.0.get_mut(slot)) {
            Some(slot) => *slot = hash,
            None => broken("a slot of the deduplication window does not exist"),
        }
    }

    /// The line and slot where a hash belongs, or `None` if it is in the table. The table must have lines; it always has a free slot,
    /// see [`max_len`], so the search ends.
    fn find_free_slot(&self, hash: u64) -> Option<(usize, usize)> {
        let mask = self.lines.len() - 1;
        let mut number = (hash >> 32) as usize & mask;
        loop {
            let line = self.lines.get(number).map_or(&[0; LINE_SLOTS], |line| &line.0);
            // Counts all slots: a search would branch at the first match.
            if line.iter().filter(|slot| **slot == hash).count() > 0 {
                return None;
            }
            let used = line.iter().filter(|slot| **slot != 0).count();
            if used < LINE_SLOTS {
                return Some((number, used));
            }
            number = (number + 1) & mask;
        }
    }

    fn grow(&mut self) {
        // By a factor of four, since moving a hash to the new table costs as much as adding it did.
        let slots = (self.slots() * 4).clamp(FIRST_SLOTS, MAX_SLOTS);
        let before = std::mem::replace(&mut self.lines, vec![CacheLine::default(); slots / LINE_SLOTS]);
        for hash in before.into_iter().flat_map(|line| line.0).filter(|&hash| hash != 0) {
            if let Some((line, slot)) = self.find_free_slot(hash) {
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
    fn identity_is_new_once() {
        let window = SharedWindow::default();
        assert!((0..10_000).all(|number| window.insert(scattered(number))));
        assert!((0..10_000).all(|number| !window.insert(scattered(number))));
    }

    #[test]
    fn hashes_with_the_same_slot_are_kept_apart() {
        let mut generation = Generation::default();
        assert!((1..=500).all(|number| generation.insert(number)));
        assert!((1..=500).all(|number| generation.contains(number) && !generation.insert(number)));
        assert!(!generation.contains(501));
    }

    #[test]
    fn window_is_bounded_and_forgets_the_oldest() {
        let window = SharedWindow::default();
        let last = SharedWindow::REMEMBERED as u64 * 5 / 2;
        for number in 0..=last {
            assert!(window.insert(scattered(number)));
        }
        let mut slots = 0;
        for stripe in &window.stripes {
            let stripe = stripe.lock().unwrap();
            slots += stripe.new.slots() + stripe.old.slots();
        }
        assert!(slots * size_of::<u64>() <= 128 << 20, "{slots}");
        // Stripes are not filled quite evenly.
        assert!(!window.insert(scattered(last - SharedWindow::REMEMBERED as u64 * 9 / 10)));
        assert!(window.insert(scattered(0)), "the oldest is forgotten");
    }
}
