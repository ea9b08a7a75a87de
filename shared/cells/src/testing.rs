//! Blocks for tests: plain lists of counts, the block they make, and the plain list a block comes to.
//!
//! Only compiled for tests.

use std::collections::BTreeMap;

use compact_str::CompactString;
use event::attribution::Dimension;
use event::{Hour, Minute, RecipientHash};
use proptest::prelude::*;

use crate::block::table::Row;
use crate::block::{Block, Ledger, Resolution, index};
use crate::cell::Cell;
use crate::counter::CounterId;

/// One count of one cell or cohort, before anything is merged.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: EntryKind,
    /// The values of the key; a cohort has its campaign and provider among them.
    pub(crate) values: [String; Dimension::COUNT],
    pub(crate) bucket: Minute,
    pub(crate) cell: Cell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EntryKind {
    Cell,
    Cohort,
    LateCohort,
}

/// Where a row lies: kind, values, bucket.
pub(crate) type Place = (EntryKind, Vec<String>, Minute);

pub(crate) fn cell() -> impl Strategy<Value = Cell> {
    let counters = prop::collection::vec((0..57_u8, prop_oneof![0..9_u64, 0..6_000_000_000_u64]), 0..6);
    let times = prop::collection::vec(0..100_000_u64, 0..3);
    let people = prop_oneof![
        8 => prop::collection::vec(0..50_u64, 0..4).boxed(),
        1 => (0..2_000_u64).prop_map(|count| (0..count).collect()).boxed(),
    ];
    (counters, times, people.clone(), people).prop_map(|(counters, times, opens, clicks)| {
        let mut cell = Cell::default();
        for (number, count) in counters {
            cell.counters.add(CounterId::from_number(number).unwrap(), count);
        }
        for millis in times {
            cell.latency.record(millis);
        }
        for number in opens {
            cell.opens.insert(hash(number));
        }
        for number in clicks {
            cell.clicks.insert(hash(number));
        }
        cell
    })
}

fn hash(number: u64) -> RecipientHash {
    RecipientHash((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Entries of a few keys over two days.
pub(crate) fn entries(resolution: Resolution) -> impl Strategy<Value = Vec<Entry>> {
    let kinds = if resolution == Resolution::Minute { 3_usize } else { 2 };
    let entry = (0..kinds, 0..3_usize, 0..3_usize, 0..4_usize, 0..2 * 1440_u32, cell()).prop_map(
        move |(kind, campaign, provider, domain, minute, cell)| {
            let mut values = [const { String::new() }; Dimension::COUNT];
            values[0] = ["spring", "(none)", "fête"][campaign].to_owned();
            values[3] = ["a.example", "b.example", "", "(several)"][domain].to_owned();
            values[4] = ["gmail", "yahoo", "spring"][provider].to_owned();
            let kind = [EntryKind::Cell, EntryKind::Cohort, EntryKind::LateCohort][kind];
            let width = if kind == EntryKind::LateCohort { Resolution::Hour } else { resolution };
            Entry { kind, values, bucket: width.bucket(Minute(29_000_000 + minute)), cell }
        },
    );
    prop::collection::vec(entry, 0..12)
}

pub(crate) fn resolution() -> impl Strategy<Value = Resolution> {
    prop_oneof![Just(Resolution::Minute), Just(Resolution::Hour), Just(Resolution::Day)]
}

pub(crate) fn block() -> impl Strategy<Value = Block> {
    resolution().prop_flat_map(block_of)
}

pub(crate) fn block_of(resolution: Resolution) -> impl Strategy<Value = Block> {
    let ledger = prop::collection::vec((0..50_u32, 0..9_u64, any::<u64>()), 0..3);
    (entries(resolution), ledger).prop_map(move |(entries, ledger)| {
        let mut block = build(resolution, &entries);
        for (hour, events, late) in ledger {
            let entry = Ledger { events, duplicates: events / 2, late, conflicts: 0 };
            block.enter(Hour(hour), &entry);
        }
        block
    })
}

/// The block that entries come to.
pub(crate) fn build(resolution: Resolution, entries: &[Entry]) -> Block {
    let mut block = Block::empty(resolution);
    for entry in entries {
        let row = Row { key: 0, bucket: entry.bucket, cell: entry.cell.clone() };
        let first = index(block.values.len());
        block.values.extend(entry.values.iter().map(CompactString::new));
        let key = std::array::from_fn(|place| first + index(place));
        let cohort = [first + Dimension::Campaign as u32, first + Dimension::Provider as u32];
        match entry.kind {
            EntryKind::Cell => block.cells.push(key, row),
            EntryKind::Cohort => block.cohorts.push(cohort, row),
            EntryKind::LateCohort => block.late_cohorts.push(cohort, row),
        }
    }
    block.normalise()
}

/// The same sums without any of the block's code.
pub(crate) fn model(entries: &[Entry]) -> BTreeMap<Place, Cell> {
    let mut rows: BTreeMap<Place, Cell> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.cell.is_empty()) {
        let values = match entry.kind {
            EntryKind::Cell => entry.values.to_vec(),
            EntryKind::Cohort | EntryKind::LateCohort => {
                vec![entry.values[0].clone(), entry.values[4].clone()]
            }
        };
        rows.entry((entry.kind, values, entry.bucket)).or_default().merge(&entry.cell);
    }
    rows
}

/// What a block holds, as the model has it.
pub(crate) fn contents(block: &Block) -> BTreeMap<Place, Cell> {
    let mut rows = BTreeMap::new();
    let named = |key: &[u32]| key.iter().map(|value| block.value(Some(value)).to_owned()).collect::<Vec<_>>();
    for row in &block.cells.rows {
        let values = named(&block.cells.keys[row.key as usize]);
        rows.insert((EntryKind::Cell, values, row.bucket), row.cell.clone());
    }
    for row in &block.cohorts.rows {
        let values = named(&block.cohorts.keys[row.key as usize]);
        rows.insert((EntryKind::Cohort, values, row.bucket), row.cell.clone());
    }
    for row in &block.late_cohorts.rows {
        let values = named(&block.late_cohorts.keys[row.key as usize]);
        rows.insert((EntryKind::LateCohort, values, row.bucket), row.cell.clone());
    }
    rows
}
