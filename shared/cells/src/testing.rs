//! Blocks for tests: plain lists of counts, the block they build, and the plain list a block should equal.
//!
//! The model computes sums without any of the block's code, so a test can compare the two. Only compiled for tests.

use std::collections::BTreeMap;

use compact_str::CompactString;
use event::attribution::Dimension;
use event::{Hour, Minute, RecipientHash};
use proptest::prelude::*;

use crate::block::{AgeClass, Block, IntakeCounts, Resolution, index};
use crate::cell::Cell;
use crate::counter::{Counter, CounterId, CounterSet};

/// One count of one cell or cohort, before anything is merged.
#[derive(Clone, Debug)]
pub(crate) struct TestRow {
    pub(crate) table: RowTable,
    /// The values of the key. A cohort uses those of campaign and provider; for a link, campaign and recipient domain stand for its key.
    pub(crate) values: [String; Dimension::COUNT],
    /// Unknown for cells.
    pub(crate) age: AgeClass,
    pub(crate) bucket: Minute,
    pub(crate) cell: Cell,
}

/// The table of a block that a row is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RowTable {
    Cells,
    Cohorts,
    Links,
}

/// What identifies a row: its table, the values of its key, its age class, its bucket.
pub(crate) type RowId = (RowTable, Vec<String>, AgeClass, Minute);

/// The number of counters that tests use: far more than the product has.
pub(crate) const TEST_COUNTERS: u8 = 200;

pub(crate) fn cell() -> impl Strategy<Value = Cell> {
    let number = prop_oneof![4 => 0..25_u8, 1 => 0..TEST_COUNTERS];
    let counters = prop::collection::vec((number, prop_oneof![0..9_u64, 0..6_000_000_000_u64]), 0..9);
    let times = prop::collection::vec(0..100_000_u64, 0..3);
    let people = prop_oneof![
        8 => prop::collection::vec(0..50_u64, 0..4).boxed(),
        1 => (0..2_000_u64).prop_map(|count| (0..count).collect()).boxed(),
    ];
    (counters, times, people.clone(), people).prop_map(|(counters, times, opens, clicks)| {
        let mut cell = Cell::default();
        for (number, count) in counters {
            cell.counters.add(CounterId::from_number(number), count);
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

/// A cell with a different count in each of [`TEST_COUNTERS`] counters.
pub(crate) fn cell_of_all_test_counters(factor: u64) -> Cell {
    let mut cell = Cell::default();
    for number in 0..TEST_COUNTERS {
        cell.counters.add(CounterId::from_number(number), factor * (u64::from(number) + 1));
    }
    cell
}

/// What a row of links has of a cell's counters.
fn clicks_of(cell: &Cell) -> Cell {
    let mut clicks = Cell::default();
    for (number, (_, count)) in cell.counters.iter().enumerate() {
        let counter = if number.is_multiple_of(2) { Counter::Clicks } else { Counter::ClicksBot };
        clicks.counters.add(counter, count);
    }
    clicks
}

fn hash(number: u64) -> RecipientHash {
    RecipientHash((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Rows of a few keys over two days.
pub(crate) fn rows(resolution: Resolution) -> impl Strategy<Value = Vec<TestRow>> {
    let age = prop::sample::select(AgeClass::ALL.to_vec());
    let table = prop::sample::select(vec![RowTable::Cells, RowTable::Cohorts, RowTable::Links]);
    let row = (table, 0..3_usize, 0..3_usize, 0..4_usize, 0..2 * 1440_u32, age, cell()).prop_map(
        move |(table, campaign, provider, domain, minute, age, cell)| {
            let mut values = [const { String::new() }; Dimension::COUNT];
            values[Dimension::Campaign as usize] = ["spring", "(none)", "fête"][campaign].to_owned();
            values[Dimension::RecipientDomain as usize] =
                ["a.example", "b.example", "", "(several)"][domain].to_owned();
            values[Dimension::Provider as usize] = ["gmail", "yahoo", "spring"][provider].to_owned();
            let age = if table == RowTable::Cohorts { age } else { AgeClass::Unknown };
            let cell = if table == RowTable::Links { clicks_of(&cell) } else { cell };
            TestRow {
                table,
                values,
                age,
                bucket: resolution.bucket(age.bucket(Minute(29_000_000 + minute))),
                cell,
            }
        },
    );
    prop::collection::vec(row, 0..12)
}

pub(crate) fn counter_set() -> impl Strategy<Value = CounterSet> {
    prop::collection::vec(any::<bool>(), CounterId::COUNT).prop_map(|included| {
        let mut set = CounterSet::EMPTY;
        for (number, _) in (0..=u8::MAX).zip(included).filter(|(_, included)| *included) {
            set.insert(CounterId::from_number(number));
        }
        set
    })
}

pub(crate) fn resolution() -> impl Strategy<Value = Resolution> {
    prop_oneof![Just(Resolution::Minute), Just(Resolution::Hour), Just(Resolution::Day)]
}

pub(crate) fn block() -> impl Strategy<Value = Block> {
    resolution().prop_flat_map(block_of)
}

pub(crate) fn block_of(resolution: Resolution) -> impl Strategy<Value = Block> {
    let intake = prop::collection::vec((0..50_u32, 0..9_u64, any::<u64>()), 0..3);
    (rows(resolution), intake).prop_map(move |(rows, intake)| {
        let mut block = build(resolution, &rows);
        for (hour, events, late) in intake {
            let counts = IntakeCounts { events, duplicates: events / 2, late, conflicts: 0 };
            block.add_intake(Hour(hour), &counts);
        }
        block
    })
}

/// The block of these rows.
pub(crate) fn build(resolution: Resolution, rows: &[TestRow]) -> Block {
    let mut block = Block::empty(resolution);
    for row in rows {
        let first = index(block.values.len());
        block.values.extend(row.values.iter().map(CompactString::new));
        let key = std::array::from_fn(|offset| first + index(offset));
        let cohort = [first + Dimension::Campaign as u32, first + Dimension::Provider as u32];
        let link = [first + Dimension::Campaign as u32, first + Dimension::RecipientDomain as u32];
        let cell = row.cell.clone();
        match row.table {
            RowTable::Cells => block.cells.push(key, row.age, row.bucket, cell),
            RowTable::Cohorts => block.cohorts.push(cohort, row.age, row.bucket, cell),
            RowTable::Links => block.links.push(link, row.age, row.bucket, cell),
        }
    }
    block.canonicalise()
}

/// The same sums without any of the block's code.
pub(crate) fn model(rows: &[TestRow]) -> BTreeMap<RowId, Cell> {
    let mut sums: BTreeMap<RowId, Cell> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.cell.is_empty()) {
        let value = |dimension: Dimension| row.values[dimension as usize].clone();
        let values = match row.table {
            RowTable::Cells => row.values.to_vec(),
            RowTable::Cohorts => {
                vec![value(Dimension::Campaign), value(Dimension::Provider)]
            }
            RowTable::Links => vec![value(Dimension::Campaign), value(Dimension::RecipientDomain)],
        };
        sums.entry((row.table, values, row.age, row.bucket)).or_default().merge(&row.cell);
    }
    sums
}

/// The contents of a block in the model's form.
pub(crate) fn contents(block: &Block) -> BTreeMap<RowId, Cell> {
    let mut rows = BTreeMap::new();
    let named = |key: &[u32]| key.iter().map(|value| block.value(*value).to_owned()).collect::<Vec<_>>();
    for row in &block.cells.rows {
        let values = named(&block.cells.key_of(row));
        rows.insert((RowTable::Cells, values, row.age, row.bucket), row.cell.clone());
    }
    for row in &block.cohorts.rows {
        let values = named(&block.cohorts.key_of(row));
        rows.insert((RowTable::Cohorts, values, row.age, row.bucket), row.cell.clone());
    }
    for row in &block.links.rows {
        let values = named(&block.links.key_of(row));
        rows.insert((RowTable::Links, values, row.age, row.bucket), row.cell.clone());
    }
    rows
}
