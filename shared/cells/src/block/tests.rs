//! The laws of blocks: canonical form, merging, rolling up, splitting, reading.

use proptest::prelude::*;

use super::*;
use crate::cell::Cell;
use crate::testing::{self, RowId, RowTable, block, block_of, contents, model, resolution, rows};

fn config() -> ProptestConfig {
    ProptestConfig::with_cases(64)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn block_holds_the_sum_of_its_rows(rows in resolution().prop_flat_map(rows)) {
        prop_assert_eq!(contents(&testing::build(Resolution::Minute, &rows)), model(&rows));
    }

    #[test]
    fn order_of_rows_does_not_matter(mut rows in rows(Resolution::Minute)) {
        let block = testing::build(Resolution::Minute, &rows);
        rows.reverse();
        prop_assert_eq!(testing::build(Resolution::Minute, &rows), block);
    }

    #[test]
    fn merging_is_associative_and_commutative(a in block(), b in block(), c in block()) {
        let left = a.clone().merge(b.clone()).merge(c.clone());
        let right = a.clone().merge(c.clone().merge(b.clone()));
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(Block::merge_all([c, a, b]), Some(left));
    }

    #[test]
    fn merging_the_default_block_changes_nothing(block in block()) {
        prop_assert_eq!(Block::default().merge(block.clone()), block);
    }

    #[test]
    fn merging_adds_the_rows_of_both(a in rows(Resolution::Hour), b in rows(Resolution::Hour)) {
        let merged = testing::build(Resolution::Hour, &a).merge(testing::build(Resolution::Hour, &b));
        prop_assert_eq!(contents(&merged), model(&[a, b].concat()));
    }

    #[test]
    fn rolling_up_commutes_with_merging(a in block(), b in block(), to in resolution()) {
        let merged_first = a.clone().merge(b.clone()).roll_up(to);
        prop_assert_eq!(a.roll_up(to).merge(b.roll_up(to)), merged_first);
    }

    #[test]
    fn rolling_up_in_steps_equals_rolling_up_at_once(block in block_of(Resolution::Minute)) {
        let at_once = block.clone().roll_up(Resolution::Day);
        prop_assert_eq!(block.roll_up(Resolution::Hour).roll_up(Resolution::Day), at_once);
    }

    #[test]
    fn rolling_up_moves_every_row_to_its_wider_bucket(mut rows in rows(Resolution::Minute)) {
        let block = testing::build(Resolution::Minute, &rows).roll_up(Resolution::Hour);
        for row in &mut rows {
            row.bucket = Minute(row.bucket.0 / 60 * 60);
        }
        prop_assert_eq!(contents(&block), model(&rows));
    }

    #[test]
    fn parts_of_a_split_merge_to_the_whole(block in block_of(Resolution::Minute)) {
        let parts = block.clone().split(|minute| minute.hour().0);
        for (hour, part) in &parts {
            prop_assert!(part.cells.rows.iter().all(|row| row.bucket.hour().0 == *hour));
            prop_assert!(part.links.rows.iter().all(|row| row.bucket.hour().0 == *hour));
            prop_assert!(part.intake.keys().all(|intake_hour| intake_hour.0 == *hour));
            // A query by send time reads the blocks from the hour of sending on.
            prop_assert!(part.cohorts.rows.iter().all(|row| row.bucket.hour().0 <= *hour));
        }
        let merged = Block::merge_all(parts.into_values()).unwrap_or_default();
        prop_assert_eq!(merged, block);
    }

    #[test]
    fn selected_rows_and_the_others_merge_to_the_whole(
        block in block(), from in 0..48_u32, length in 0..48_u32, late_cohorts: bool,
    ) {
        let (from, to) = (Hour(from), Hour(from + length));
        let minutes = from.first_minute()..to.first_minute();
        let selection = RowSelection { minutes: minutes.clone(), intake: from..to, late_cohorts };
        let (inside, outside) = block.clone().partition(&selection);
        let is_selected = |(table, _, age, bucket): &RowId| {
            let is_late = matches!(age, AgeClass::Later | AgeClass::Unknown | AgeClass::UnknownLate);
            minutes.contains(bucket) && (*table == RowTable::Cells || late_cohorts || !is_late)
        };
        prop_assert!(contents(&inside).keys().all(is_selected));
        prop_assert!(!contents(&outside).keys().any(is_selected));
        prop_assert!(inside.intake().keys().all(|hour| (from..to).contains(hour)));
        prop_assert!(!outside.intake().keys().any(|hour| (from..to).contains(hour)));
        prop_assert_eq!(inside.merge(outside), block);
    }

    #[test]
    fn scan_returns_the_rows_of_its_range(block in block(), from in 0..2880_u32, length in 0..2880_u32) {
        let (from, to) = (Minute(29_000_000 + from), Minute(29_000_000 + from + length));
        let mut expected = contents(&block);
        // Queries do not read links.
        expected.retain(|(table, _, _, bucket), _| *table != RowTable::Links && (from..to).contains(bucket));
        prop_assert_eq!(scanned(&block, from, to), expected);
    }
}

/// The rows that a query reads.
pub(crate) fn scanned(rows: &impl RowSource, from: Minute, to: Minute) -> BTreeMap<RowId, Cell> {
    let mut found = BTreeMap::new();
    let cell = |row: RowRef<'_>| Cell {
        counters: row.counters.clone(),
        latency: row.latency.unwrap().clone(),
        opens: row.opens.unwrap().clone(),
        clicks: row.clicks.unwrap().clone(),
    };
    rows.scan_cells(&Projection::ALL, from, to, &mut |row| {
        assert!(row.key < rows.key_count());
        let values = Dimension::ALL.map(|dimension| rows.key_value(row.key, dimension).to_owned()).to_vec();
        assert!(found.insert((RowTable::Cells, values, row.age, row.bucket), cell(row)).is_none());
    })
    .unwrap();
    rows.scan_cohorts(&Projection::ALL, from, to, &mut |row| {
        assert!(row.key < rows.cohort_count());
        let (campaign, provider) = rows.cohort_key(row.key);
        let values = vec![campaign.to_owned(), provider.to_owned()];
        assert!(found.insert((RowTable::Cohorts, values, row.age, row.bucket), cell(row)).is_none());
    })
    .unwrap();
    found
}

#[test]
fn values_of_unknown_keys_are_empty() {
    let block = Block::empty(Resolution::Day);
    assert_eq!(block.key_value(0, Dimension::Campaign), "");
    assert_eq!(block.cohort_key(7), ("", ""));
}

#[test]
fn bucket_is_identified_by_its_first_minute() {
    let minute = Minute(29_000_777);
    assert_eq!(Resolution::Minute.bucket(minute), minute);
    assert_eq!(Resolution::Hour.bucket(minute), minute.hour().first_minute());
    assert_eq!(Resolution::Day.bucket(minute), minute.hour().day().first_hour().first_minute());
    assert_eq!(Resolution::Day.bucket(Minute(u32::MAX)).0 % 1440, 0);
}

#[test]
fn merging_nothing_gives_nothing() {
    assert_eq!(Block::merge_all([]), None);
    assert!(Block::empty(Resolution::Hour).merge(Block::empty(Resolution::Day)).is_empty());
}

#[test]
fn cohort_goes_to_the_newest_hour_of_its_batch() {
    let row = |table, age, bucket| {
        let mut cell = Cell::default();
        cell.counters.add(crate::Counter::Opens, 1);
        testing::TestRow { table, values: Default::default(), age, bucket: Minute(bucket), cell }
    };
    let block = testing::build(
        Resolution::Minute,
        &[
            row(RowTable::Cells, AgeClass::Unknown, 600),
            row(RowTable::Cells, AgeClass::Unknown, 660),
            row(RowTable::Cohorts, AgeClass::Within1Hour, 610),
            row(RowTable::Cohorts, AgeClass::Within24Hours, 60),
            // The sender's clock runs ahead, so this mail seems to be sent after everything that happened to it.
            row(RowTable::Cohorts, AgeClass::Within1Minute, 720),
        ],
    );
    let parts = block.split(|minute| minute.hour().0);
    let cohorts = |hour: u32| parts[&hour].cohorts.rows.len();
    assert_eq!([cohorts(10), cohorts(11), cohorts(12)], [0, 2, 1]);
}

#[test]
fn cell_of_200_counters_merges_and_rolls_up() {
    let row = |bucket, factor| testing::TestRow {
        table: RowTable::Cells,
        values: Default::default(),
        age: AgeClass::Unknown,
        bucket: Minute(bucket),
        cell: testing::cell_of_all_test_counters(factor),
    };
    let minute = testing::build(Resolution::Minute, &[row(600, 1)]);
    let merged = minute.clone().merge(testing::build(Resolution::Minute, &[row(600, 2), row(610, 4)]));
    let cells = |block: &Block| block.cells.rows.iter().map(|row| row.cell.clone()).collect::<Vec<_>>();
    let expected = [testing::cell_of_all_test_counters(3), testing::cell_of_all_test_counters(4)];
    assert_eq!(cells(&merged), expected);
    assert_eq!(cells(&merged.roll_up(Resolution::Hour)), [testing::cell_of_all_test_counters(7)]);
}

#[test]
fn bucket_widths_at_their_edges() {
    for (resolution, minute, bucket) in [
        (Resolution::Minute, 0, 0),
        (Resolution::Hour, 59, 0),
        (Resolution::Hour, 60, 60),
        (Resolution::Day, 1439, 0),
        (Resolution::Day, 1440, 1440),
        (Resolution::Day, 1441, 1440),
    ] {
        assert_eq!(resolution.bucket(Minute(minute)), Minute(bucket), "{resolution:?} {minute}");
    }
}

#[test]
fn intake_counts_of_an_hour_add_up_and_saturate() {
    let mut block = Block::empty(Resolution::Minute);
    let counts = IntakeCounts { events: 5, duplicates: 2, late: 1, conflicts: u64::MAX };
    block.add_intake(Hour(7), &counts);
    block.add_intake(Hour(7), &counts);
    block.add_intake(Hour(8), &IntakeCounts::default());
    let sum = IntakeCounts { events: 10, duplicates: 4, late: 2, conflicts: u64::MAX };
    assert_eq!(block.intake().get(&Hour(7)), Some(&sum));
    assert!(!block.is_empty(), "a block with intake counts alone proves that nothing was counted");
}

#[test]
fn splitting_an_empty_block_gives_no_parts() {
    assert!(Block::empty(Resolution::Minute).split(|minute| minute.hour().0).is_empty());
}
