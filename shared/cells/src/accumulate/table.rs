//! Cells by place, in the order in which they first come.

use std::hash::BuildHasher as _;

use event::Minute;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rapidhash::fast::RandomState;

use crate::block::index;
use crate::cell::Cell;

/// Where a cell belongs, by the numbers that interners gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) context: u32,
    pub(super) recipient: u32,
    pub(super) bucket: Minute,
}

/// A hash table of numbers into a list: the list grows without moving cells one by one, and is walked in order.
#[derive(Debug, Default)]
pub(super) struct CellTable {
    slots: HashTable<Slot>,
    cells: Vec<(Place, Cell)>,
}

/// The number of a cell, and enough of its hash to move the slot without a look at the cell, which is far away in memory.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    number: u32,
}

impl Slot {
    /// All 64 bits that a hash table wants, of the 32 that are kept: an odd multiplier, so that no two become one.
    fn spread(self) -> u64 {
        u64::from(self.hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl CellTable {
    /// The cell of a place, new and empty if there is none yet.
    pub(super) fn cell(&mut self, hasher: RandomState, place: Place) -> &mut Cell {
        let cells = &mut self.cells;
        let new = Slot { hash: (hasher.hash_one(place) >> 32) as u32, number: index(cells.len()) };
        let is_same = |slot: &Slot| {
            slot.hash == new.hash && cells.get(slot.number as usize).is_some_and(|(p, _)| *p == place)
        };
        let entry = self.slots.entry(new.spread(), is_same, |slot| slot.spread());
        let number = match entry {
            Entry::Occupied(held) => held.get().number,
            Entry::Vacant(free) => {
                free.insert(new);
                cells.push((place, Cell::default()));
                new.number
            }
        };
        // The table holds numbers of cells that were pushed, and none is ever removed.
        &mut self.cells[number as usize].1
    }

    /// Adds all cells of `other`, whose contexts and recipients have these numbers here.
    pub(super) fn merge(&mut self, hasher: RandomState, other: Self, contexts: &[u32], recipients: &[u32]) {
        for (place, cell) in other.cells {
            let context = contexts.get(place.context as usize).copied().unwrap_or(0);
            let recipient = recipients.get(place.recipient as usize).copied().unwrap_or(0);
            self.cell(hasher, Place { context, recipient, ..place }).merge(&cell);
        }
    }

    /// The cell of a number below their count.
    pub(super) fn get(&self, number: u32) -> Option<&(Place, Cell)> {
        self.cells.get(number as usize)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &(Place, Cell)> {
        self.cells.iter()
    }

    pub(super) fn into_cells(self) -> Vec<(Place, Cell)> {
        self.cells
    }
}
