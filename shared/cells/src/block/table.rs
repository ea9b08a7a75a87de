//! Rows under keys of N values: what cells and cohorts have in common.
//!
//! Keys hold numbers of strings that the block keeps; rows hold numbers of keys. Never knows what the values mean.

use std::ops::Range;

use event::Minute;

use super::rows::RowRef;
use super::{Resolution, index};
use crate::cell::Cell;
use crate::counter::Counters;

/// Keys, and rows under them. In normal form: keys sorted and all used, rows sorted by key and bucket without doubles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table<const N: usize> {
    pub(crate) keys: Vec<[u32; N]>,
    pub(crate) rows: Vec<Row>,
}

/// One cell and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: u32,
    pub(crate) bucket: Minute,
    pub(crate) cell: Cell,
}

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self { keys: Vec::new(), rows: Vec::new() }
    }
}

impl<const N: usize> Table<N> {
    /// Puts one row under a key of its own behind.
    pub(crate) fn push(&mut self, key: [u32; N], row: Row) {
        self.rows.push(Row { key: index(self.keys.len()), ..row });
        self.keys.push(key);
    }

    /// Puts all of `other` behind, whose values are numbered from `first_value` on.
    pub(crate) fn append(&mut self, other: Self, first_value: u32) {
        let first_key = index(self.keys.len());
        self.keys.extend(other.keys.into_iter().map(|key| key.map(|value| value + first_value)));
        self.rows.extend(other.rows.into_iter().map(|row| Row { key: row.key + first_key, ..row }));
    }

    /// A run of the rows under the same keys, of which some may be unused then.
    pub(crate) fn run(&self, rows: Range<usize>) -> Self {
        Self { keys: self.keys.clone(), rows: self.rows.get(rows).unwrap_or_default().to_vec() }
    }

    /// The same rows with counters alone and with sketches alone; some of either have nothing then.
    pub(crate) fn apart(self) -> (Self, Self) {
        let mut sketches = Self { keys: self.keys.clone(), rows: Vec::new() };
        let mut counts = Self { keys: self.keys, rows: Vec::with_capacity(self.rows.len()) };
        for Row { key, bucket, cell } in self.rows {
            let Cell { counters, latency, opens, clicks } = cell;
            counts.rows.push(Row { key, bucket, cell: Cell { counters, ..Cell::default() } });
            sketches.rows.push(Row {
                key,
                bucket,
                cell: Cell { counters: Counters::new(), latency, opens, clicks },
            });
        }
        (counts, sketches)
    }

    /// Drops rows without counts, then keys without rows.
    pub(crate) fn drop_unused(&mut self) {
        self.rows.retain(|row| !row.cell.is_empty());
        let mut renumbered = vec![0_u32; self.keys.len()];
        for row in &self.rows {
            if let Some(used) = renumbered.get_mut(row.key as usize) {
                *used = 1;
            }
        }
        let mut kept = 0;
        let mut used = renumbered.iter_mut();
        self.keys.retain(|_| match used.next() {
            Some(number) if *number == 1 => {
                *number = kept;
                kept += 1;
                true
            }
            _ => false,
        });
        self.renumber(&renumbered);
    }

    /// Marks the values that keys are made of.
    pub(crate) fn mark_values(&self, used: &mut [bool]) {
        for value in self.keys.iter().flatten() {
            if let Some(mark) = used.get_mut(*value as usize) {
                *mark = true;
            }
        }
    }

    /// Gives each value its new number, then brings keys and rows into order and adds up what became equal.
    pub(crate) fn normalise(&mut self, new_values: &[u32]) {
        for value in self.keys.iter_mut().flatten() {
            *value = new_values.get(*value as usize).copied().unwrap_or(0);
        }
        if !self.keys.is_sorted_by(|a, b| a < b) {
            self.sort_keys();
        }
        if !self.rows.is_sorted_by(|a, b| a.place() < b.place()) {
            // Stable, because that one finds the sorted runs which merged blocks are made of.
            self.rows.sort_by_key(Row::place);
            self.rows.dedup_by(|next, held| {
                let same = next.place() == held.place();
                if same {
                    held.cell.merge(&next.cell);
                }
                same
            });
        }
    }

    fn sort_keys(&mut self) {
        let mut numbered: Vec<([u32; N], u32)> = self.keys.drain(..).zip(0..).collect();
        numbered.sort_unstable();
        let mut renumbered = vec![0_u32; numbered.len()];
        for (key, old) in numbered {
            if self.keys.last() != Some(&key) {
                self.keys.push(key);
            }
            if let Some(new) = renumbered.get_mut(old as usize) {
                *new = index(self.keys.len() - 1);
            }
        }
        self.renumber(&renumbered);
    }

    fn renumber(&mut self, new_keys: &[u32]) {
        for row in &mut self.rows {
            row.key = new_keys.get(row.key as usize).copied().unwrap_or(0);
        }
    }
}

impl Row {
    /// For a query, with keys numbered from `first_key` on.
    pub(crate) const fn as_ref(&self, width: Resolution, first_key: u32) -> RowRef<'_> {
        RowRef {
            bucket: self.bucket,
            width,
            key: first_key + self.key,
            counters: &self.cell.counters,
            latency: Some(&self.cell.latency),
            opens: Some(&self.cell.opens),
            clicks: Some(&self.cell.clicks),
        }
    }

    /// What rows are sorted by.
    pub(crate) const fn place(&self) -> (u32, Minute) {
        (self.key, self.bucket)
    }
}
