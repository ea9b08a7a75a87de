//! Bounds how many keys a block holds: the smallest values become `(other)`, the totals stay exact.
//!
//! Anyone can send mail to a million domains or make up tags. Recipient domains fold first (the provider stays), then campaigns,
//! then all else, until the limit is met. Which values fold depends on the block's contents alone; ties go by name.

use std::cmp::Reverse;

use compact_str::CompactString;
use event::attribution::Dimension;
use rapidhash::{RapidHashMap, RapidHashSet};

use crate::block::table::Table;
use crate::block::{Block, index};

/// In which order the values of cell keys fold.
const CELL_ORDER: [Dimension; Dimension::COUNT] = [
    Dimension::RecipientDomain,
    Dimension::Campaign,
    Dimension::Segment,
    Dimension::Tag4,
    Dimension::Tag3,
    Dimension::Tag2,
    Dimension::Tag1,
    Dimension::SendingDomain,
    Dimension::ConfigurationSet,
    Dimension::Provider,
];

impl Block {
    /// The most keys of cells, and of cohorts, that a stored block should hold: a day of hours is then at most 96,000 rows.
    pub const MAX_KEYS: usize = 4000;

    /// The same counts under at most `max_keys` keys of cells and as many of each kind of cohorts.
    #[must_use]
    pub fn fold(mut self, max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let cohorts = self.cohorts.keys.len().max(self.late_cohorts.keys.len());
        if self.cells.keys.len().max(cohorts) <= max_keys {
            return self;
        }
        let other = self.values.iter().position(|value| value == Dimension::OTHER).unwrap_or_else(|| {
            self.values.push(CompactString::const_new(Dimension::OTHER));
            self.values.len() - 1
        });
        let other = index(other);
        for dimension in CELL_ORDER {
            fold_column(&mut self.cells, dimension as usize, &self.values, other, max_keys);
        }
        for column in 0..crate::block::COHORT_KEY {
            fold_column(&mut self.cohorts, column, &self.values, other, max_keys);
            fold_column(&mut self.late_cohorts, column, &self.values, other, max_keys);
        }
        self.normalise()
    }
}

/// Folds as many of the smallest values of one column as it takes, or all.
fn fold_column<const N: usize>(
    table: &mut Table<N>,
    column: usize,
    values: &[CompactString],
    other: u32,
    max_keys: usize,
) {
    let distinct: RapidHashSet<&[u32; N]> = table.keys.iter().collect();
    if distinct.len() <= max_keys {
        return;
    }
    let ranked = by_size(table, column, values);
    let rank: RapidHashMap<u32, usize> = ranked.iter().copied().zip(0..).collect();
    let folded = |key: &[u32; N], kept: usize| {
        let mut key = *key;
        if let Some(value) = key.get_mut(column)
            && rank.get(value).is_none_or(|rank| *rank >= kept)
        {
            *value = other;
        }
        key
    };
    // Keeping one value more never makes fewer keys, so the most that can be kept is found by halving.
    let (mut kept, mut too_many) = (0, ranked.len());
    while too_many - kept > 1 {
        let middle = usize::midpoint(kept, too_many);
        let distinct: RapidHashSet<[u32; N]> = table.keys.iter().map(|key| folded(key, middle)).collect();
        if distinct.len() <= max_keys {
            kept = middle;
        } else {
            too_many = middle;
        }
    }
    for key in &mut table.keys {
        *key = folded(key, kept);
    }
}

/// The values of one column, those with the most events first, then by name. `(other)` is none of them.
fn by_size<const N: usize>(table: &Table<N>, column: usize, values: &[CompactString]) -> Vec<u32> {
    let mut sizes: RapidHashMap<u32, u64> = RapidHashMap::default();
    for row in &table.rows {
        if let Some(value) = table.keys.get(row.key as usize).and_then(|key| key.get(column)) {
            let size = sizes.entry(*value).or_default();
            *size = size.saturating_add(row.cell.counters.events());
        }
    }
    let name = |value: u32| values.get(value as usize).map_or("", CompactString::as_str);
    let mut ranked: Vec<(Reverse<u64>, &str, u32)> =
        sizes.into_iter().map(|(value, size)| (Reverse(size), name(value), value)).collect();
    ranked.retain(|(_, name, _)| *name != Dimension::OTHER);
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, _, value)| value).collect()
}

#[cfg(test)]
mod tests;
