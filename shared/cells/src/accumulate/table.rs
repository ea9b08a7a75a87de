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
    numbers: HashTable<u32>,
    cells: Vec<(Place, Cell)>,
}

impl CellTable {
    /// The cell of a place, new and empty if there is none yet.
    pub(super) fn cell(&mut self, hasher: RandomState, place: Place) -> &mut Cell {
        let cells = &mut self.cells;
        let entry = self.numbers.entry(
            hasher.hash_one(place),
            |&number| cells.get(number as usize).is_some_and(|(held, _)| *held == place),
            |&number| cells.get(number as usize).map_or(0, |(held, _)| hasher.hash_one(held)),
        );
        let number = match entry {
            Entry::Occupied(held) => *held.get(),
            Entry::Vacant(free) => {
                let number = index(cells.len());
                free.insert(number);
                cells.push((place, Cell::default()));
                number
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

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &(Place, Cell)> {
        self.cells.iter()
    }

    pub(super) fn into_cells(self) -> Vec<(Place, Cell)> {
        self.cells
    }
}
