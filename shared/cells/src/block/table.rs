//! Rows under keys of N values: what the cells and the cohorts of a block have in common.
//!
//! Keys hold numbers of strings that the block stores; rows hold numbers of keys. A table never knows what the values mean.

use std::ops::Range;

use event::{Minute, invariant};

use super::rows::RowRef;
use super::{AgeClass, index, renumbered};
use crate::cell::Cell;
use crate::counter::Counters;

/// Keys, and the rows under them.
///
/// In canonical form the keys are sorted, distinct and all used, and the rows are sorted by distinct positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockTable<const N: usize> {
    pub(crate) keys: Vec<[u32; N]>,
    pub(crate) rows: Vec<TableRow>,
}

/// One cell and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableRow {
    /// The number of its key in the table.
    pub(crate) key: u32,
    /// How long after sending its outcomes happened; unknown for cells.
    pub(crate) age: AgeClass,
    /// The first minute of its bucket.
    pub(crate) bucket: Minute,
    pub(crate) cell: Cell,
}

impl<const N: usize> Default for BlockTable<N> {
    fn default() -> Self {
        Self { keys: Vec::new(), rows: Vec::new() }
    }
}

impl<const N: usize> BlockTable<N> {
    /// Appends a cell under a key of its own. Equal keys become one in [`BlockTable::canonicalise`].
    pub(crate) fn push(&mut self, key: [u32; N], age: AgeClass, bucket: Minute, cell: Cell) {
        self.rows.push(TableRow { key: index(self.keys.len()), age, bucket, cell });
        self.keys.push(key);
    }

    /// Appends all of `other`, whose values are numbered from `first_value` on.
    pub(crate) fn append(&mut self, other: Self, first_value: u32) {
        let first_key = index(self.keys.len());
        self.keys.extend(other.keys.into_iter().map(|key| key.map(|value| value + first_value)));
        self.rows.extend(other.rows.into_iter().map(|row| TableRow { key: row.key + first_key, ..row }));
    }

    /// A copy of a range of the rows with all keys, of which some may then be unused.
    pub(crate) fn row_range(&self, rows: Range<usize>) -> Self {
        // All keys, so that rows keep their numbers; canonicalising drops the unused ones.
        let rows = self.rows.iter().skip(rows.start).take(rows.len());
        Self { keys: self.keys.clone(), rows: rows.cloned().collect() }
    }

    /// The same rows twice: with the counters alone and with the sketches alone. Rows of either may then be empty.
    pub(crate) fn split_sketches(self) -> (Self, Self) {
        let mut sketches = Self { keys: self.keys.clone(), rows: Vec::with_capacity(self.rows.len()) };
        let mut counts = Self { keys: self.keys, rows: Vec::with_capacity(self.rows.len()) };
        for TableRow { key, age, bucket, cell } in self.rows {
            // By destructuring, so that a sketch that is added later cannot be forgotten.
            let Cell { counters, latency, opens, clicks } = cell;
            let sketch_cell = Cell { counters: Counters::new(), latency, opens, clicks };
            counts.rows.push(TableRow { key, age, bucket, cell: Cell { counters, ..Cell::default() } });
            sketches.rows.push(TableRow { key, age, bucket, cell: sketch_cell });
        }
        (counts, sketches)
    }

    /// The key of one of the table's rows.
    pub(crate) fn key_of(&self, row: &TableRow) -> [u32; N] {
        let key = self.keys.get(row.key as usize).copied();
        invariant::or_broken(key, [0; N], "a row has a key that its table does not hold")
    }

    /// Removes rows without counts, then keys without rows.
    pub(crate) fn drop_unused(&mut self) {
        self.rows.retain(|row| !row.cell.is_empty());
        let mut used = vec![false; self.keys.len()];
        for row in &self.rows {
            match used.get_mut(row.key as usize) {
                Some(used) => *used = true,
                None => invariant::broken("a row has a key that its table does not hold"),
            }
        }
        // A key's new number is the number of used keys before it.
        let mut kept = 0;
        let new_keys: Vec<u32> = used
            .iter()
            .map(|used| {
                let number = kept;
                kept += u32::from(*used);
                number
            })
            .collect();
        let mut used = used.into_iter();
        self.keys.retain(|_| used.next() == Some(true));
        self.renumber_keys(&new_keys);
    }

    /// Marks the values that the keys are made of.
    pub(crate) fn mark_values(&self, used: &mut [bool]) {
        for value in self.keys.iter().flatten() {
            match used.get_mut(*value as usize) {
                Some(used) => *used = true,
                None => invariant::broken("a key has a value that its block does not hold"),
            }
        }
    }

    /// Gives each value its new number, then sorts keys and rows and merges rows of equal position.
    pub(crate) fn canonicalise(&mut self, new_values: &[u32]) {
        for value in self.keys.iter_mut().flatten() {
            *value = renumbered(new_values, *value);
        }
        // Blocks that were split or decoded are mostly in order already; checking is cheaper than sorting.
        if !self.keys.is_sorted_by(|a, b| a < b) {
            self.sort_keys();
        }
        if !self.rows.is_sorted_by(|a, b| a.position() < b.position()) {
            // The stable sort, because it makes use of the sorted runs that merged blocks consist of.
            self.rows.sort_by_key(TableRow::position);
            self.rows.dedup_by(|next, held| {
                let same = next.position() == held.position();
                if same {
                    held.cell.merge(&next.cell);
                }
                same
            });
        }
    }

    fn sort_keys(&mut self) {
        let mut old_keys: Vec<([u32; N], usize)> = self.keys.drain(..).zip(0..).collect();
        old_keys.sort_unstable();
        let mut new_keys = vec![0_u32; old_keys.len()];
        for (key, old) in old_keys {
            if self.keys.last() != Some(&key) {
                self.keys.push(key);
            }
            // `old` is the position of one of these keys.
            new_keys[old] = index(self.keys.len() - 1);
        }
        self.renumber_keys(&new_keys);
    }

    fn renumber_keys(&mut self, new_keys: &[u32]) {
        for row in &mut self.rows {
            row.key = renumbered(new_keys, row.key);
        }
    }
}

impl TableRow {
    /// The row as a query reads it.
    pub(crate) const fn as_row_ref(&self) -> RowRef<'_> {
        RowRef {
            bucket: self.bucket,
            age: self.age,
            key: self.key,
            counters: &self.cell.counters,
            latency: Some(&self.cell.latency),
            opens: Some(&self.cell.opens),
            clicks: Some(&self.cell.clicks),
        }
    }

    /// What rows are sorted by.
    pub(crate) const fn position(&self) -> (u32, AgeClass, Minute) {
        (self.key, self.age, self.bucket)
    }
}
