//! The laws of blocks: normal form, merging, rolling up, splitting, reading.

use proptest::prelude::*;

use super::*;
use crate::cell::Cell;
use crate::testing::{self, EntryKind, Place, block, block_of, contents, entries, model, resolution};

fn config() -> ProptestConfig {
    ProptestConfig::with_cases(64)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_block_holds_what_was_put_in(entries in resolution().prop_flat_map(entries)) {
        prop_assert_eq!(contents(&testing::build(Resolution::Minute, &entries)), model(&entries));
    }

    #[test]
    fn the_order_of_entries_does_not_show(mut entries in entries(Resolution::Minute)) {
        let block = testing::build(Resolution::Minute, &entries);
        entries.reverse();
        prop_assert_eq!(testing::build(Resolution::Minute, &entries), block);
    }

    #[test]
    fn merging_is_associative_and_commutative(a in block(), b in block(), c in block()) {
        let left = a.clone().merge(b.clone()).merge(c.clone());
        let right = a.clone().merge(c.clone().merge(b.clone()));
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(Block::merge_all([c, a, b]), Some(left));
    }

    #[test]
    fn the_default_block_changes_nothing(block in block()) {
        prop_assert_eq!(Block::default().merge(block.clone()), block);
    }

    #[test]
    fn merging_adds_what_both_hold(a in entries(Resolution::Hour), b in entries(Resolution::Hour)) {
        let merged = testing::build(Resolution::Hour, &a).merge(testing::build(Resolution::Hour, &b));
        prop_assert_eq!(contents(&merged), model(&[a, b].concat()));
    }

    #[test]
    fn rolling_up_commutes_with_merging(a in block(), b in block(), to in resolution()) {
        let merged_first = a.clone().merge(b.clone()).roll_up(to);
        prop_assert_eq!(a.roll_up(to).merge(b.roll_up(to)), merged_first);
    }

    #[test]
    fn rolling_up_in_steps_is_rolling_up_at_once(block in block_of(Resolution::Minute)) {
        let at_once = block.clone().roll_up(Resolution::Day);
        prop_assert_eq!(block.roll_up(Resolution::Hour).roll_up(Resolution::Day), at_once);
    }

    #[test]
    fn rolling_up_moves_every_row_to_its_wider_bucket(mut entries in entries(Resolution::Minute)) {
        let block = testing::build(Resolution::Minute, &entries).roll_up(Resolution::Hour);
        for entry in &mut entries {
            entry.bucket = Minute(entry.bucket.0 / 60 * 60);
            if entry.kind == EntryKind::LateCohort {
                entry.kind = EntryKind::Cohort;
            }
        }
        prop_assert_eq!(contents(&block), model(&entries));
    }

    #[test]
    fn the_parts_of_a_split_merge_to_the_whole(block in block_of(Resolution::Minute)) {
        let parts = block.clone().split(|minute| minute.hour().0);
        for (hour, part) in &parts {
            prop_assert!(part.cells.rows.iter().all(|row| row.bucket.hour().0 == *hour));
            prop_assert!(part.ledger.keys().all(|ledger_hour| ledger_hour.0 == *hour));
            // A query by send time reads the blocks from the hour of sending on.
            prop_assert!(part.cohorts.rows.iter().all(|row| row.bucket.hour().0 <= *hour));
        }
        let merged = Block::merge_all(parts.into_values()).unwrap_or_default();
        prop_assert_eq!(merged, block);
    }

    #[test]
    fn a_scan_gives_the_rows_of_its_range(block in block(), from in 0..2880_u32, length in 0..2880_u32) {
        let (from, to) = (Minute(29_000_000 + from), Minute(29_000_000 + from + length));
        let mut expected = contents(&block);
        expected.retain(|(_, _, bucket), _| (from..to).contains(bucket));
        prop_assert_eq!(scanned(&block, from, to), expected);
    }
}

/// What a query sees.
pub(crate) fn scanned(rows: &impl Rows, from: Minute, to: Minute) -> BTreeMap<Place, Cell> {
    let mut found = BTreeMap::new();
    let cell = |row: RowRef<'_>| Cell {
        counters: row.counters.clone(),
        latency: row.latency.unwrap().clone(),
        opens: row.opens.unwrap().clone(),
        clicks: row.clicks.unwrap().clone(),
    };
    rows.scan_cells(&Wanted::ALL, from, to, &mut |row| {
        assert!(row.key < rows.key_count());
        let values = Dimension::ALL.map(|dimension| rows.key_value(row.key, dimension).to_owned()).to_vec();
        assert!(found.insert((EntryKind::Cell, values, row.bucket), cell(row)).is_none());
    })
    .unwrap();
    rows.scan_cohorts(&Wanted::ALL, from, to, &mut |row| {
        assert!(row.key < rows.cohort_count());
        let (campaign, provider) = rows.cohort_key(row.key);
        let late = row.width != rows.resolution();
        let kind = if late { EntryKind::LateCohort } else { EntryKind::Cohort };
        let values = vec![campaign.to_owned(), provider.to_owned()];
        assert!(found.insert((kind, values, row.bucket), cell(row)).is_none());
    })
    .unwrap();
    found
}

#[test]
fn unknown_keys_have_no_names() {
    let block = Block::empty(Resolution::Day);
    assert_eq!(block.key_value(0, Dimension::Campaign), "");
    assert_eq!(block.cohort_key(7), ("", ""));
}

#[test]
fn buckets_begin_at_their_first_minute() {
    let minute = Minute(29_000_777);
    assert_eq!(Resolution::Minute.bucket(minute), minute);
    assert_eq!(Resolution::Hour.bucket(minute), minute.hour().first_minute());
    assert_eq!(Resolution::Day.bucket(minute), minute.hour().day().first_hour().first_minute());
    assert_eq!(Resolution::Day.bucket(Minute(u32::MAX)).0 % 1440, 0);
}

#[test]
fn nothing_merges_to_nothing() {
    assert_eq!(Block::merge_all([]), None);
    assert!(Block::empty(Resolution::Hour).merge(Block::empty(Resolution::Day)).is_empty());
}

#[test]
fn a_cohort_goes_to_the_newest_hour_of_its_batch() {
    let entry = |kind, bucket| {
        let mut cell = Cell::default();
        cell.counters.add(crate::Counter::Opens, 1);
        testing::Entry { kind, values: Default::default(), bucket: Minute(bucket), cell }
    };
    let block = testing::build(
        Resolution::Minute,
        &[
            entry(EntryKind::Cell, 600),
            entry(EntryKind::Cell, 660),
            entry(EntryKind::Cohort, 610),
            entry(EntryKind::LateCohort, 60),
            // A clock ahead of ours: sent later than anything that happened.
            entry(EntryKind::Cohort, 720),
        ],
    );
    let parts = block.split(|minute| minute.hour().0);
    let cohorts = |hour: u32| (parts[&hour].cohorts.rows.len(), parts[&hour].late_cohorts.rows.len());
    assert_eq!(cohorts(10), (0, 0));
    assert_eq!(cohorts(11), (1, 1));
    assert_eq!(cohorts(12), (1, 0));
}
