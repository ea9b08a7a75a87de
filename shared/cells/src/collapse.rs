//! Collapses the smallest values of one column of keys into the overflow value `(other)`.
//!
//! Values are ranked by their number of events, and ties by name, so the result depends only on the table's contents. As many values
//! are kept as the limit allows. [`crate::cardinality_limit`] decides on limits and on the order of columns.

use std::cmp::Reverse;

use compact_str::CompactString;
use event::attribution::Dimension;
use rapidhash::{RapidHashMap, RapidHashSet};

use crate::block::table::BlockTable;
use crate::block::value_of;

/// Collapses the smallest values of one column until the table has at most `max_keys` distinct keys, or until every value of the
/// column has collapsed. `column` must be below `N`, and `other` is the number of `(other)` among `values`.
pub(crate) fn collapse_column<const N: usize>(
    table: &mut BlockTable<N>,
    column: usize,
    values: &[CompactString],
    other: u32,
    max_keys: usize,
) {
    // What collapsed before stays collapsed, however large it has grown.
    let may_collapse = |name: &str| name != Dimension::OTHER;
    collapse_values(table, column, values, max_keys, &may_collapse, &|key| key[column] = other);
}

/// Like [`collapse_column`] for those values only that `may_collapse`. `collapse` changes a key whose value collapses.
pub(crate) fn collapse_values<const N: usize>(
    table: &mut BlockTable<N>,
    column: usize,
    values: &[CompactString],
    max_keys: usize,
    may_collapse: &dyn Fn(&str) -> bool,
    collapse: &dyn Fn(&mut [u32; N]),
) {
    // Keys are distinct only until an earlier column collapsed, so their number is not the length of the list.
    let distinct: RapidHashSet<&[u32; N]> = table.keys.iter().collect();
    if distinct.len() <= max_keys {
        return;
    }
    let ranked = ranked_by_size(table, column, values, may_collapse);
    if ranked.is_empty() {
        return;
    }
    let rank: RapidHashMap<u32, usize> = ranked.iter().copied().zip(0..).collect();
    let collapsed = |key: &[u32; N], kept: usize| {
        let mut key = *key;
        // What may not collapse has no rank.
        if rank.get(&key[column]).is_some_and(|rank| *rank >= kept) {
            collapse(&mut key);
        }
        key
    };
    // Keeping one value more never leads to fewer keys, so the largest number that meets the limit is found by bisection.
    let (mut kept, mut too_many) = (0, ranked.len());
    while too_many - kept > 1 {
        let middle = usize::midpoint(kept, too_many);
        let distinct: RapidHashSet<[u32; N]> = table.keys.iter().map(|key| collapsed(key, middle)).collect();
        if distinct.len() <= max_keys {
            kept = middle;
        } else {
            too_many = middle;
        }
    }
    // Rows keep their keys; the caller's `canonicalise` adds up those whose keys have become equal. So nothing is dropped, and totals
    // stay exact.
    for key in &mut table.keys {
        *key = collapsed(key, kept);
    }
}

/// Collapses the smallest values of one column until no more than `kept` are left beside each value of `group`, another column. `(other)`
/// is not one of them.
pub(crate) fn collapse_within<const N: usize>(
    table: &mut BlockTable<N>,
    group: usize,
    column: usize,
    values: &[CompactString],
    other: u32,
    kept: usize,
) {
    let mut sizes: RapidHashMap<(u32, u32), u64> = RapidHashMap::default();
    for row in &table.rows {
        let key = table.key_of(row);
        // Columns are below N, the length of a key.
        let size = sizes.entry((key[group], key[column])).or_default();
        *size = size.saturating_add(row.cell.counters.events());
    }
    let mut ranked: Vec<(u32, Reverse<u64>, &str, u32)> = sizes
        .into_iter()
        .filter(|((_, value), _)| *value != other)
        .map(|((group, value), size)| (group, Reverse(size), value_of(values, value), value))
        .collect();
    ranked.sort_unstable();
    let collapsed: RapidHashSet<(u32, u32)> = ranked
        .chunk_by(|(one, ..), (other, ..)| one == other)
        .flat_map(|of_group| of_group.iter().skip(kept))
        .map(|(group, _, _, value)| (*group, *value))
        .collect();
    for key in &mut table.keys {
        if collapsed.contains(&(key[group], key[column])) {
            key[column] = other;
        }
    }
}

/// The values of one column that may collapse, those with the most events first, then by name.
fn ranked_by_size<const N: usize>(
    table: &BlockTable<N>,
    column: usize,
    values: &[CompactString],
    may_collapse: &dyn Fn(&str) -> bool,
) -> Vec<u32> {
    let mut sizes: RapidHashMap<u32, u64> = RapidHashMap::default();
    for row in &table.rows {
        let size = sizes.entry(table.key_of(row)[column]).or_default();
        *size = size.saturating_add(row.cell.counters.events());
    }
    let mut ranked: Vec<(Reverse<u64>, &str, u32)> = sizes
        .into_iter()
        .map(|(value, size)| (Reverse(size), value_of(values, value), value))
        .filter(|(_, name, _)| may_collapse(name))
        .collect();
    // The map has no order of its own; size and name give one that is the same on every machine.
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, _, value)| value).collect()
}
