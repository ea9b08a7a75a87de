//! Folding keeps totals, meets its limit and depends on contents alone.

use event::Minute;
use proptest::prelude::*;

use super::*;
use crate::block::Resolution;
use crate::cell::Cell;
use crate::counter::Counter;
use crate::testing::{self, Entry, EntryKind, entries};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn folding_meets_its_limit_and_keeps_the_totals(
        entries in entries(Resolution::Minute),
        limit in 1..8_usize,
    ) {
        let block = testing::build(Resolution::Minute, &entries);
        let folded = block.clone().fold(limit);
        prop_assert!(folded.cells.keys.len() <= limit);
        prop_assert!(folded.cohorts.keys.len() <= limit);
        prop_assert!(folded.late_cohorts.keys.len() <= limit);
        prop_assert_eq!(total(&folded.cells), total(&block.cells));
        prop_assert_eq!(total(&folded.cohorts), total(&block.cohorts));
        prop_assert_eq!(total(&folded.late_cohorts), total(&block.late_cohorts));
        prop_assert_eq!(folded.clone().fold(limit), folded);
    }
}

fn total<const N: usize>(table: &Table<N>) -> Cell {
    let mut sum = Cell::default();
    for row in &table.rows {
        sum.merge(&row.cell);
    }
    sum
}

/// A cell with so many sends, under a campaign, a recipient domain and a provider.
fn sends(campaign: &str, domain: &str, provider: &str, count: u64) -> Entry {
    let mut values = [const { String::new() }; Dimension::COUNT];
    values[Dimension::Campaign as usize] = campaign.to_owned();
    values[Dimension::RecipientDomain as usize] = domain.to_owned();
    values[Dimension::Provider as usize] = provider.to_owned();
    let mut cell = Cell::default();
    cell.counters.add(Counter::Sends, count);
    Entry { kind: EntryKind::Cell, values, bucket: Minute(1), cell }
}

/// What is left, as `campaign domain provider count`.
fn check(entries: &[Entry], limit: usize, expected: &[&str]) {
    let block = testing::build(Resolution::Minute, entries).fold(limit);
    let mut found: Vec<String> = testing::contents(&block)
        .into_iter()
        .map(|((_, v, _), cell)| format!("{} {} {} {}", v[0], v[3], v[4], cell.counters.get(Counter::Sends)))
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn the_smallest_domains_fold_first_and_keep_their_provider() {
    let entries = [
        sends("spring", "big.example", "other", 100),
        sends("spring", "mid.example", "gmail", 10),
        sends("autumn", "small.example", "other", 3),
        sends("spring", "tiny.example", "gmail", 1),
        sends("spring", "wee.example", "other", 1),
    ];
    check(
        &entries,
        4,
        &[
            "autumn (other) other 3",
            "spring (other) gmail 11",
            "spring (other) other 1",
            "spring big.example other 100",
        ],
    );
}

#[test]
fn at_the_limit_nothing_folds() {
    let entries = [sends("a", "x", "other", 2), sends("a", "y", "other", 1)];
    check(&entries, 2, &["a x other 2", "a y other 1"]);
    check(&entries, 1, &["a (other) other 3"]);
}

#[test]
fn ties_go_by_name() {
    let entries = [sends("a", "y", "other", 1), sends("a", "x", "other", 1), sends("a", "z", "other", 1)];
    check(&entries, 2, &["a (other) other 2", "a x other 1"]);
}

#[test]
fn campaigns_fold_when_domains_are_not_enough() {
    let entries = [
        sends("big", "x", "other", 50),
        sends("mid", "x", "other", 5),
        sends("small", "y", "other", 2),
        sends("tiny", "y", "other", 1),
    ];
    check(&entries, 2, &["(other) (other) other 8", "big (other) other 50"]);
}

#[test]
fn what_folded_before_folds_with_it() {
    let entries =
        [sends("a", "(other)", "gmail", 90), sends("a", "x", "gmail", 5), sends("a", "y", "gmail", 3)];
    check(&entries, 2, &["a (other) gmail 93", "a x gmail 5"]);
}

#[test]
fn a_flood_of_domains_leaves_the_large_ones() {
    let flood = (0..3 * Block::MAX_KEYS).map(|n| sends("a", &format!("d{n}.example"), "other", 1));
    let entries: Vec<Entry> = flood.chain([sends("a", "gmail.com", "gmail", 1000)]).collect();
    let block = testing::build(Resolution::Minute, &entries).fold(Block::MAX_KEYS);
    assert_eq!(block.cells.keys.len(), Block::MAX_KEYS);
    assert_eq!(block.events(), entries.len() as u64 + 999);
    assert!(block.values.iter().any(|value| value == "gmail.com"));
}
