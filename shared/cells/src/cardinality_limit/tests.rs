//! Collapsing keeps totals, meets the limit and depends only on the block's contents.

use event::Minute;
use proptest::prelude::*;

use super::*;
use crate::block::table::BlockTable;
use crate::block::{AgeClass, Resolution};
use crate::cell::Cell;
use crate::counter::Counter;
use crate::testing::{self, RowTable, TestRow, rows};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn collapsed_block_meets_the_limit_and_keeps_the_totals(
        rows in rows(Resolution::Minute),
        limit in 1..8_usize,
    ) {
        let block = testing::build(Resolution::Minute, &rows);
        let collapsed = block.clone().collapse(limit);
        prop_assert!(collapsed.cells.keys.len() <= limit);
        prop_assert!(collapsed.cohorts.keys.len() <= limit);
        prop_assert!(collapsed.links.keys.len() <= limit);
        prop_assert_eq!(total(&collapsed.cells), total(&block.cells));
        prop_assert_eq!(total(&collapsed.links), total(&block.links));
        prop_assert_eq!(total(&collapsed.cohorts), total(&block.cohorts));
        prop_assert_eq!(collapsed.clone().collapse(limit), collapsed);
    }
}

/// Clicks on a link of a campaign; the domain stands for the link.
fn clicks(campaign: &str, link: &str, bucket: u32, count: u64) -> TestRow {
    let row = sends(campaign, link, "", 0);
    let mut cell = Cell::default();
    cell.counters.add(Counter::Clicks, count);
    TestRow { table: RowTable::Links, bucket: Minute(bucket), cell, ..row }
}

#[test]
fn each_campaign_keeps_its_200_most_followed_links() {
    let mut rows = Vec::new();
    for number in 0..Block::MAX_LINKS as u64 + 50 {
        // Over two buckets, since the sum of a link decides.
        rows.extend([
            clicks("spring", &format!("{number}"), 1, number),
            clicks("spring", &format!("{number}"), 2, 1),
        ]);
    }
    rows.extend((0..Block::MAX_LINKS).map(|number| clicks("autumn", &format!("{number}"), 1, 1)));
    let block = testing::build(Resolution::Minute, &rows);
    let limited = block.clone().limit_links();
    assert_eq!(total(&limited.links), total(&block.links));
    let of = |name: &str| limited.links().filter(|row| row.campaign == name).collect::<Vec<_>>();
    assert_eq!(of("autumn").len(), Block::MAX_LINKS);
    let spring = of("spring");
    assert_eq!(spring.len(), 2 * (Block::MAX_LINKS + 1));
    let other: Vec<u64> = spring.iter().filter(|row| row.link == "(other)").map(|row| row.clicks).collect();
    assert_eq!(other, [(0..50).sum::<u64>(), 50]);
    assert!(spring.iter().all(|row| row.link != "49") && spring.iter().any(|row| row.link == "50"));
    // What collapsed stays so, and is none of the 200.
    assert_eq!(limited.clone().limit_links(), limited);
}

fn total<const N: usize>(table: &BlockTable<N>) -> Cell {
    let mut sum = Cell::default();
    for row in &table.rows {
        sum.merge(&row.cell);
    }
    sum
}

/// A cell with `count` sends under a campaign, a recipient domain and a provider.
fn sends(campaign: &str, domain: &str, provider: &str, count: u64) -> TestRow {
    let mut values = [const { String::new() }; Dimension::COUNT];
    values[Dimension::Campaign as usize] = campaign.to_owned();
    values[Dimension::RecipientDomain as usize] = domain.to_owned();
    values[Dimension::Provider as usize] = provider.to_owned();
    let mut cell = Cell::default();
    cell.counters.add(Counter::Sends, count);
    TestRow { table: RowTable::Cells, values, age: AgeClass::Unknown, bucket: Minute(1), cell }
}

/// Compares the rows after collapsing, each as `campaign domain provider count`.
fn check(rows: &[TestRow], limit: usize, expected: &[&str]) {
    let block = testing::build(Resolution::Minute, rows).collapse(limit);
    let mut found: Vec<String> = testing::contents(&block)
        .into_iter()
        .map(|((_, v, _, _), cell)| {
            format!("{} {} {} {}", v[0], v[3], v[4], cell.counters.get(Counter::Sends))
        })
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn smallest_domains_collapse_first_and_keep_their_provider() {
    let rows = [
        sends("spring", "big.example", "other", 100),
        sends("spring", "mid.example", "gmail", 10),
        sends("autumn", "small.example", "other", 3),
        sends("spring", "tiny.example", "gmail", 1),
        sends("spring", "wee.example", "other", 1),
    ];
    check(
        &rows,
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
fn block_at_the_limit_is_unchanged_and_one_key_more_collapses() {
    let rows = [sends("a", "x", "other", 2), sends("a", "y", "other", 1)];
    check(&rows, 2, &["a x other 2", "a y other 1"]);
    check(&rows, 1, &["a (other) other 3"]);
}

#[test]
fn values_of_equal_size_are_kept_in_order_of_their_names() {
    let rows = [sends("a", "y", "other", 1), sends("a", "x", "other", 1), sends("a", "z", "other", 1)];
    check(&rows, 2, &["a (other) other 2", "a x other 1"]);
}

#[test]
fn campaigns_collapse_when_domains_do_not_suffice() {
    let rows = [
        sends("big", "x", "other", 50),
        sends("mid", "x", "other", 5),
        sends("small", "y", "other", 2),
        sends("tiny", "y", "other", 1),
    ];
    check(&rows, 2, &["(other) (other) other 8", "big (other) other 50"]);
}

#[test]
fn earlier_overflow_row_absorbs_the_new_one() {
    let rows = [sends("a", "(other)", "gmail", 90), sends("a", "x", "gmail", 5), sends("a", "y", "gmail", 3)];
    check(&rows, 2, &["a (other) gmail 93", "a x gmail 5"]);
}

#[test]
fn flood_of_domains_leaves_the_large_ones() {
    let flood = (0..3 * Block::MAX_KEYS).map(|n| sends("a", &format!("d{n}.example"), "other", 1));
    let rows: Vec<TestRow> = flood.chain([sends("a", "gmail.com", "gmail", 1000)]).collect();
    let block = testing::build(Resolution::Minute, &rows).collapse(Block::MAX_KEYS);
    assert_eq!(block.cells.keys.len(), Block::MAX_KEYS);
    assert_eq!(block.events(), rows.len() as u64 + 999);
    assert!(block.values.iter().any(|value| value == "gmail.com"));
}

#[test]
fn limits_of_none_and_one_leave_one_key() {
    let rows = [sends("a", "x", "gmail", 2), sends("b", "y", "yahoo", 1), sends("a", "y", "other", 4)];
    for limit in [0, 1] {
        let block = testing::build(Resolution::Minute, &rows).collapse(limit);
        assert_eq!(block.cells.keys.len(), 1, "{limit}");
        assert_eq!(block.events(), 7);
    }
    check(&[], 1, &[]);
    check(&rows[..1], 1, &["a x gmail 2"]);
}

#[test]
fn block_of_exactly_the_stored_limit_is_unchanged() {
    for (keys, collapses) in [(Block::MAX_KEYS, false), (Block::MAX_KEYS + 1, true)] {
        let rows: Vec<TestRow> =
            (0..keys).map(|number| sends("a", &format!("d{number}.example"), "other", 1)).collect();
        let block = testing::build(Resolution::Minute, &rows);
        let collapsed = block.clone().collapse(Block::MAX_KEYS);
        assert_eq!(collapsed != block, collapses, "{keys}");
        assert!(collapsed.cells.keys.len() <= Block::MAX_KEYS);
        assert_eq!(collapsed.events(), keys as u64);
    }
}

#[test]
fn collapse_order_names_every_dimension_once() {
    let mut order = COLLAPSE_ORDER;
    order.sort_unstable();
    assert_eq!(order, Dimension::ALL);
}

#[test]
fn ages_of_a_cohort_are_one_key() {
    let cohort = |campaign: &str, age| TestRow {
        table: RowTable::Cohorts,
        age,
        bucket: Minute(0),
        ..sends(campaign, "", "gmail", 1)
    };
    let mut rows: Vec<TestRow> = AgeClass::ALL.map(|age| cohort("a", age)).to_vec();
    rows.push(cohort("b", AgeClass::Later));
    let block = testing::build(Resolution::Minute, &rows);
    assert_eq!(block.clone().collapse(2), block);
    let collapsed = block.collapse(1);
    assert_eq!((collapsed.cohorts.keys.len(), collapsed.cohorts.rows.len()), (1, AgeClass::COUNT));
    assert_eq!(collapsed.value(collapsed.cohorts.keys[0][0]), Dimension::OTHER);
}

#[test]
fn marker_of_a_collapsed_domain_becomes_the_provider_for_unknown_domains() {
    let rows = [
        sends("spring", "a.example", "?a.example", 9),
        sends("spring", "b.example", "?b.example", 5),
        sends("spring", "c.example", "?c.example", 3),
        sends("spring", "gmail.com", "gmail", 1),
    ];
    // The markers must not keep the keys apart: one domain more than fits collapses, and not all of them.
    check(
        &rows,
        4,
        &[
            "spring a.example ?a.example 9",
            "spring b.example ?b.example 5",
            "spring c.example ?c.example 3",
            "spring gmail.com gmail 1",
        ],
    );
    check(&rows, 3, &["spring (other) gmail 1", "spring (other) other 8", "spring a.example ?a.example 9"]);
}

#[test]
fn markers_of_cohorts_give_way_before_campaigns_and_providers() {
    let cohort = |campaign: &str, provider: &str, count| TestRow {
        table: RowTable::Cohorts,
        ..sends(campaign, "", provider, count)
    };
    let rows = [
        cohort("spring", "?a.example", 9),
        cohort("spring", "?b.example", 5),
        cohort("autumn", "?b.example", 1),
        cohort("spring", "?c.example", 3),
        cohort("spring", "gmail", 1),
    ];
    let block = testing::build(Resolution::Minute, &rows).collapse(4);
    let mut found: Vec<String> = testing::contents(&block)
        .into_iter()
        .map(|((_, values, _, _), cell)| {
            format!("{} {}", values.join(" "), cell.counters.get(Counter::Sends))
        })
        .collect();
    found.sort();
    assert_eq!(found, ["autumn other 1", "spring ?a.example 9", "spring gmail 1", "spring other 8"]);
}
