//! Cells by key, in the order in which their keys first appear.

use std::hash::BuildHasher as _;

use event::{Minute, invariant};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rapidhash::fast::RandomState;

use crate::block::{index, renumbered};
use crate::cell::Cell;

/// What identifies a cell: a dimension key and a time bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CellKey {
    pub(super) dimensions: DimensionKey,
    /// The first minute of the bucket.
    pub(super) bucket: Minute,
}

/// A dimension key as the numbers that interners gave to its two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DimensionKey {
    /// What the message states: tenant, tags and so on. For cohorts: tenant and campaign.
    pub(super) message: u32,
    /// Recipient domain and provider. For cohorts: the provider.
    pub(super) recipient: u32,
}

impl DimensionKey {
    /// The same key with the numbers of another pair of interners.
    pub(super) fn renumbered(self, messages: &[u32], recipients: &[u32]) -> Self {
        Self {
            message: renumbered(messages, self.message),
            recipient: renumbered(recipients, self.recipient),
        }
    }
}

/// A hash table of positions in a list. So the list grows without rehashing cells and is walked in order.
///
/// Cells are never removed, so a position stays valid. A lookup that finds its key reads one slot of 8 bytes, one key and its cell.
#[derive(Debug, Default)]
pub(super) struct CellMap {
    slots: HashTable<Slot>,
    cells: Vec<(CellKey, Cell)>,
}

/// The position of a cell, and half of its key's hash. With the hash the table can grow without reading cells, which are far away
/// in memory.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    position: u32,
}

impl Slot {
    /// The 64 bits that a hash table wants, from the 32 that are kept. The multiplier is odd, so different hashes stay different.
    fn spread(self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl CellMap {
    /// The cell of a key; new and empty if there is none yet.
    #[inline]
    pub(super) fn cell(&mut self, hasher: RandomState, key: CellKey) -> &mut Cell {
        let position = self.position(hasher, key);
        // The table holds positions of cells that were pushed, and none is ever removed.
        &mut self.cells[position as usize].1
    }

    /// The position of a key's cell; a new and empty cell if there is none yet.
    #[inline]
    pub(super) fn position(&mut self, hasher: RandomState, key: CellKey) -> u32 {
        let cells = &mut self.cells;
        let new = Slot { hash: (hasher.hash_one(key) >> 32) as u32, position: index(cells.len()) };
        let is_same = |slot: &Slot| {
            slot.hash == new.hash && cells.get(slot.position as usize).is_some_and(|(held, _)| *held == key)
        };
        // The kept half of the hash is compared first, because reading a key is mostly a cache miss.
        let entry = self.slots.entry(new.spread(), is_same, |slot| slot.spread());
        match entry {
            Entry::Occupied(held) => held.get().position,
            Entry::Vacant(free) => {
                free.insert(new);
                cells.push((key, Cell::default()));
                new.position
            }
        }
    }

    /// Adds all cells of `other`. `messages` and `recipients` map its numbers to the numbers here.
    pub(super) fn merge(&mut self, hasher: RandomState, other: Self, messages: &[u32], recipients: &[u32]) {
        for (key, cell) in other.cells {
            let dimensions = key.dimensions.renumbered(messages, recipients);
            self.cell(hasher, CellKey { dimensions, ..key }).merge(&cell);
        }
    }

    /// Gives every cell the key that `rekey` returns and adds up those that then share one.
    pub(super) fn rekey(&mut self, hasher: RandomState, mut rekey: impl FnMut(CellKey) -> CellKey) {
        let Self { slots, cells } = self;
        slots.clear();
        // In place: there may be as many cells as events, and a second copy of them would double the memory.
        let mut kept = 0;
        for position in 0..cells.len() {
            let (done, rest) = cells.split_at_mut(position);
            let Some((key, cell)) = rest.first_mut() else { break };
            *key = rekey(*key);
            let slot = Slot { hash: (hasher.hash_one(*key) >> 32) as u32, position: index(kept) };
            let is_same = |other: &Slot| {
                other.hash == slot.hash
                    && done.get(other.position as usize).is_some_and(|(held, _)| held == key)
            };
            match slots.entry(slot.spread(), is_same, |slot| slot.spread()) {
                Entry::Occupied(held) => {
                    let earlier = done.get_mut(held.get().position as usize);
                    match earlier {
                        Some((_, earlier)) => earlier.merge(cell),
                        None => invariant::broken("a table of cells has a slot without a cell"),
                    }
                }
                Entry::Vacant(free) => {
                    free.insert(slot);
                    cells.swap(kept, position);
                    kept += 1;
                }
            }
        }
        cells.truncate(kept);
    }

    /// The cell at a position, or `None` behind the last one.
    pub(super) fn get(&self, position: u32) -> Option<&(CellKey, Cell)> {
        self.cells.get(position as usize)
    }

    /// [`CellMap::get`], to be changed.
    pub(super) fn get_mut(&mut self, position: u32) -> Option<&mut Cell> {
        self.cells.get_mut(position as usize).map(|(_, cell)| cell)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &(CellKey, Cell)> {
        self.cells.iter()
    }

    pub(super) fn into_cells(self) -> Vec<(CellKey, Cell)> {
        self.cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counter::Counter;

    fn key(message: u32, recipient: u32, bucket: u32) -> CellKey {
        CellKey { dimensions: DimensionKey { message, recipient }, bucket: Minute(bucket) }
    }

    #[test]
    fn keys_that_differ_in_one_number_have_cells_of_their_own() {
        let hasher = RandomState::default();
        let mut map = CellMap::default();
        // Enough keys for the table to grow several times.
        let keys: Vec<CellKey> = (0..1000).map(|n| key(n % 10, n / 10 % 10, n / 100)).collect();
        for round in 1..=2 {
            for &key in &keys {
                map.cell(hasher, key).counters.add(Counter::Sends, 1);
            }
            assert!(map.iter().map(|(key, _)| *key).eq(keys.iter().copied()), "in order of appearance");
            assert!(map.iter().all(|(_, cell)| cell.counters.get(Counter::Sends) == round));
        }
        assert!(map.get(999).is_some() && map.get(1000).is_none());
    }

    #[test]
    fn cells_that_get_equal_keys_are_added_up() {
        let hasher = RandomState::default();
        let mut map = CellMap::default();
        for number in 0..1000 {
            map.cell(hasher, key(number % 7, number, 60)).counters.add(Counter::Sends, 1);
        }
        map.rekey(hasher, |held| key(held.dimensions.message, held.dimensions.recipient % 3, 60));
        assert_eq!(map.iter().len(), 21);
        let mut sum = 0;
        let cells: Vec<CellKey> = map.iter().map(|(key, _)| *key).collect();
        for held in cells {
            // Found again by its new key, so the table of slots fits the list.
            let before = map.iter().len();
            sum += map.cell(hasher, held).counters.get(Counter::Sends);
            assert_eq!(map.iter().len(), before);
        }
        assert_eq!(sum, 1000);
    }

    #[test]
    fn merging_translates_numbers_and_adds_equal_keys() {
        let hasher = RandomState::default();
        let (mut ours, mut theirs) = (CellMap::default(), CellMap::default());
        ours.cell(hasher, key(0, 5, 60)).counters.add(Counter::Sends, 1);
        theirs.cell(hasher, key(1, 0, 60)).counters.add(Counter::Sends, 2);
        theirs.cell(hasher, key(0, 0, 60)).counters.add(Counter::Sends, 4);
        // Their messages 0 and 1 are 7 and 0 here, their recipient 0 is 5.
        ours.merge(hasher, theirs, &[7, 0], &[5]);
        let found: Vec<_> =
            ours.iter().map(|(key, cell)| (*key, cell.counters.get(Counter::Sends))).collect();
        assert_eq!(found, [(key(0, 5, 60), 3), (key(7, 5, 60), 4)]);
    }
}
