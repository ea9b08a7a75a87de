//! Round trips, division into parts, and bytes that are not as they were written.

use event::Minute;
use event::attribution::Dimension;
use proptest::prelude::*;

use super::*;
use crate::block::frame::{VERSION, checksum};
use crate::block::rows::CountVisitor;
use crate::block::tests::scanned;
use crate::block::{Projection, Resolution, RowSource};
use crate::cell::Cell;
use crate::counter::CounterSet;
use crate::testing::{self, RowTable, TestRow, block, contents, counter_set};
use crate::{Counter, RowRef};

const EVER: (Minute, Minute) = (Minute(0), Minute(u32::MAX));

fn merged(parts: &[Vec<u8>]) -> Block {
    Block::merge_all(parts.iter().map(|part| Block::decode(part).unwrap())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn decoding_returns_the_encoded_block(block in block()) {
        let parts = block.encode();
        prop_assert_eq!(parts.len(), 1);
        prop_assert_eq!(Block::decode(&parts[0]).unwrap(), block);
    }

    #[test]
    fn reader_returns_the_rows_of_the_block(block in block()) {
        let parts = block.encode();
        let reader = BlockReader::open(&parts[0]).unwrap();
        let mut expected = contents(&block);
        expected.retain(|(table, ..), _| *table != RowTable::Links);
        prop_assert_eq!(scanned(&reader, EVER.0, EVER.1), expected);
        prop_assert_eq!(&reader.intake().unwrap(), block.intake());
        prop_assert_eq!(reader.resolution(), block.resolution);
    }

    #[test]
    fn reader_returns_only_the_counters_of_the_projection(block in block(), counters in counter_set()) {
        let parts = block.encode();
        let reader = BlockReader::open(&parts[0]).unwrap();
        let projection = Projection::of_counters(counters);
        let mut rows = block.cells.rows.iter();
        let mut check = |row: RowRef<'_>| {
            let full = &rows.next().unwrap().cell.counters;
            let expected = full.iter().filter(|(counter, _)| counters.contains(*counter));
            assert!(row.counters.iter().eq(expected));
            assert!(row.latency.is_none() && row.opens.is_none() && row.clicks.is_none());
        };
        reader.scan_cells(&projection, EVER.0, EVER.1, &mut check).unwrap();
        prop_assert!(rows.next().is_none());
    }

    #[test]
    fn counting_by_columns_equals_counting_by_rows(
        block in block(),
        counters in counter_set(),
        left_out in 0..5_u32,
    ) {
        let parts = block.encode();
        let reader = BlockReader::open(&parts[0]).unwrap();
        let mut by_column = CountsByRow { left_out, ..CountsByRow::default() };
        reader.count_cells(counters, &mut by_column).unwrap();
        let cells = by_column.positions.len();
        reader.count_cohorts(counters, &mut by_column).unwrap();
        let mut by_row = CountsByRow { left_out, ..CountsByRow::default() };
        block.count_cells(counters, &mut by_row).unwrap();
        prop_assert_eq!(by_row.positions.len(), cells);
        block.count_cohorts(counters, &mut by_row).unwrap();
        prop_assert_eq!(by_column, by_row);
    }

    #[test]
    fn counts_and_sketches_stored_apart_merge_to_the_block(block in block()) {
        let (counts, sketches) = block.clone().split_sketches();
        prop_assert!(counts.cells.rows.iter().all(|row| row.cell.latency.is_empty() && row.cell.opens.is_empty()));
        prop_assert!(sketches.cells.rows.iter().all(|row| row.cell.counters.is_empty()));
        prop_assert_eq!(counts.events(), block.events());
        prop_assert_eq!(merged(&[counts.encode(), sketches.encode()].concat()), block.clone());
        let (counts, sketches) = block.encode_sketches_apart();
        prop_assert_eq!(merged(&[counts, sketches].concat()), block);
    }

    #[test]
    fn random_bytes_behind_a_right_checksum_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&framed(&body));
    }

    #[test]
    fn changed_bytes_behind_a_right_checksum_never_panic(
        block in block(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = block.encode()[0][13..].to_vec();
        for (position, byte) in changes {
            let position = position.index(body.len());
            body[position] = byte;
        }
        read_all(&framed(&body));
    }
}

/// Sums every row except each fifth: those whose number leaves `left_out` when divided by 5.
#[derive(Debug, Default, PartialEq)]
struct CountsByRow {
    left_out: u32,
    positions: Vec<(u32, AgeClass, Minute)>,
    sums: BTreeMap<(u32, u8), u64>,
}

impl CountVisitor for CountsByRow {
    fn slot(&mut self, key: u32, age: AgeClass, bucket: Minute) -> Option<u32> {
        self.positions.push((key, age, bucket));
        let slot = u32::try_from(self.positions.len()).unwrap();
        (slot % 5 != self.left_out).then_some(slot)
    }

    fn add(&mut self, slot: u32, counter: CounterId, count: u64) {
        assert!(count > 0);
        *self.sums.entry((slot, counter.number())).or_default() += count;
    }
}

/// Reads everything that these bytes may hold. The results do not matter; the test is that nothing panics.
fn read_all(bytes: &[u8]) {
    if let Ok(reader) = BlockReader::open(bytes) {
        let _ = reader.scan_cells(&Projection::ALL, EVER.0, EVER.1, &mut |_| {});
        let _ = reader.scan_cohorts(&Projection::ALL, EVER.0, EVER.1, &mut |_| {});
        let _ = reader.count_cells(CounterSet::ALL, &mut CountsByRow::default());
        let _ = reader.count_cohorts(CounterSet::ALL, &mut CountsByRow::default());
        let _ = reader.intake();
        let _ = reader.scan_links(EVER.0, EVER.1, &mut |_| {});
    }
    let _ = Block::decode(bytes);
}

fn framed(body: &[u8]) -> Vec<u8> {
    [b"MGBK", [VERSION].as_slice(), &checksum(VERSION, body).to_le_bytes(), body].concat()
}

fn row(number: usize, cell: Cell) -> TestRow {
    let mut values = [const { String::new() }; Dimension::COUNT];
    values[Dimension::RecipientDomain as usize] = format!("domain-{number}.example");
    TestRow { table: RowTable::Cells, values, age: AgeClass::Unknown, bucket: Minute(29_000_000), cell }
}

/// A cell with `count` hashes, which do not compress.
fn opened_by(first: u64, count: u64) -> Cell {
    let mut cell = Cell::default();
    for number in first..first + count {
        let bits = rapidhash::v3::rapidhash_v3(&number.to_le_bytes());
        cell.opens.insert(event::RecipientHash(bits));
    }
    cell.counters.add(Counter::Opens, count);
    cell
}

#[test]
fn no_crafted_block_shows_a_count_of_zero() {
    // Few of the rows have the second counter, so its column is sparse.
    let rows: Vec<TestRow> = (0..60)
        .map(|number| {
            let mut cell = opened_by(number as u64, 1);
            cell.counters.add(Counter::Clicks, u64::from(number % 20 == 0));
            row(number, cell)
        })
        .collect();
    let body = testing::build(Resolution::Minute, &rows).encode().remove(0).split_off(13);
    for position in 0..body.len() {
        let mut crafted = body.clone();
        crafted[position] = 0;
        // The visitor refuses a count of 0.
        read_all(&framed(&crafted));
    }
}

#[test]
fn every_flipped_bit_and_every_lost_byte_is_detected() {
    let rows: Vec<TestRow> = (0..60).map(|number| row(number, opened_by(number as u64, 3))).collect();
    let bytes = testing::build(Resolution::Minute, &rows).encode().remove(0);
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << bit;
            assert!(BlockReader::open(&flipped).is_err(), "bit {bit} of byte {position}");
        }
        assert!(BlockReader::open(&bytes[..position]).is_err(), "cut at {position}");
    }
    assert!(BlockReader::open(&[bytes.as_slice(), b"x"].concat()).is_err());
    assert!(BlockReader::open(&bytes).is_ok());
}

#[test]
fn other_formats_are_refused_by_name() {
    let mut bytes = Block::empty(Resolution::Day).encode().remove(0);
    bytes[4] = 7;
    let message = BlockReader::open(&bytes).unwrap_err().to_string();
    assert_eq!(message, "block format 7 is newer than this program's 3: upgrade mailgauge");
    bytes[4] = 1;
    let message = BlockReader::open(&bytes).unwrap_err().to_string();
    assert!(message.starts_with("block format 1 is older than this program's 3"), "{message}");
}

#[test]
fn bytes_without_the_magic_number_are_not_a_block() {
    for bytes in [&b""[..], b"MGB", b"{\"eventType\":\"Send\"}"] {
        assert!(matches!(BlockReader::open(bytes), Err(BlockError::NotABlock)));
    }
}

#[test]
fn hostile_lengths_allocate_no_memory() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    // One section of 4 GB, stored or compressed.
    for section in [[&[0][..], &huge, &[0]].concat(), [&[0, 0][..], &huge].concat()] {
        let body = [&[0, 1][..], &section].concat();
        assert!(matches!(BlockReader::open(&framed(&body)), Err(BlockError::Malformed { .. })));
    }
    // More keys than bytes, in section 0, the keys of the cells.
    let keys = [&[0, 1, 0, 5, 0][..], &huge].concat();
    assert!(BlockReader::open(&framed(&keys)).is_err());
}

#[test]
fn large_block_becomes_parts_that_merge_to_it() {
    let rows: Vec<TestRow> =
        (0..200).map(|number| row(number, opened_by(number as u64 * 1000, 1000))).collect();
    let block = testing::build(Resolution::Minute, &rows);
    let parts = block.encode();
    assert!((3..=8).contains(&parts.len()), "{}", parts.len());
    assert!(parts.iter().all(|part| part.len() <= Block::MAX_ENCODED_BYTES));
    assert_eq!(merged(&parts), block);
}

#[test]
fn block_that_compresses_well_is_divided_by_its_raw_size() {
    let rows: Vec<TestRow> = (0..700).map(|number| row(number, opened_by(0, 1100))).collect();
    let block = testing::build(Resolution::Minute, &rows);
    let parts = block.encode();
    assert!(parts.len() > 1);
    assert_eq!(merged(&parts), block);
}

#[test]
fn long_intake_counts_are_divided_too() {
    let mut block = Block::empty(Resolution::Hour);
    for hour in 0..40_000_u32 {
        let noise = rapidhash::v3::rapidhash_v3(&hour.to_le_bytes());
        block.add_intake(
            Hour(hour),
            &IntakeCounts { events: noise, duplicates: noise >> 1, late: noise >> 2, conflicts: 0 },
        );
    }
    let parts = block.encode();
    assert!(parts.len() > 1);
    assert_eq!(merged(&parts), block);
}

#[test]
fn empty_block_is_one_small_part() {
    let parts = Block::empty(Resolution::Hour).encode();
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [15]);
    assert_eq!(Block::decode(&parts[0]).unwrap(), Block::empty(Resolution::Hour));
}

#[test]
fn large_block_has_its_sketches_in_parts_of_their_own() {
    let mut block = Block::empty(Resolution::Minute);
    block.values = vec!["gmail".into()];
    for minute in 0..3000 {
        let mut cell = Cell::default();
        cell.counters.add(Counter::Opens, 1);
        cell.opens.insert(event::RecipientHash(u64::from(minute).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        block.cells.push([0; Dimension::COUNT], AgeClass::Unknown, Minute(minute), cell);
    }
    let block = block.canonicalise();
    let (counts, sketches) = block.encode_sketches_apart();
    let bytes = |parts: &[Vec<u8>]| parts.iter().map(Vec::len).sum::<usize>();
    assert!(bytes(&counts) * 4 < bytes(&sketches), "{} {}", bytes(&counts), bytes(&sketches));
    assert_eq!(merged(&[counts, sketches].concat()), block);
    assert!(Block::empty(Resolution::Day).encode_sketches_apart().1.is_empty());
}

/// A part whose only key has `count` rows, in a few bytes.
fn rows_of_nothing(count: usize) -> Vec<u8> {
    let mut positions = Vec::new();
    put_varint(&mut positions, 1);
    put_varint(&mut positions, 0);
    put_varint(&mut positions, count as u64);
    positions.resize(positions.len() + count, 0);
    let mut frame = FrameWriter::new();
    frame.section(SectionId::of(TableId::Cells, ColumnId::Keys), &keys(&[[0; Dimension::COUNT]]));
    frame.section(SectionId::of(TableId::Cells, ColumnId::Positions), &positions);
    frame.section(SectionId::STRINGS, &strings(&["a".into()]));
    frame.finish(Resolution::Minute)
}

#[test]
fn more_rows_than_a_part_may_have_are_refused() {
    let most = rows_of_nothing(MAX_PART_ROWS);
    assert!(most.len() < 300, "{}", most.len());
    assert!(Block::decode(&most).is_ok());
    let refused = Block::decode(&rows_of_nothing(MAX_PART_ROWS + 1));
    assert!(matches!(refused, Err(BlockError::Malformed { what: "there are too many rows" })));
}

#[test]
fn block_of_many_equal_rows_is_divided_by_their_number() {
    let mut block = Block::empty(Resolution::Minute);
    block.values = vec!["gmail".into()];
    block.cells.keys.push([0; Dimension::COUNT]);
    let mut cell = Cell::default();
    cell.counters.add(Counter::Sends, 1);
    let row =
        |minute| TableRow { key: 0, age: AgeClass::Unknown, bucket: Minute(minute), cell: cell.clone() };
    block.cells.rows.extend((0..).take(MAX_PART_ROWS).map(row));
    assert_eq!(block.encode().len(), 1);
    block.cells.rows.push(row(u32::MAX));
    let parts = block.encode();
    assert!(parts.len() > 1);
    assert!(merged(&parts) == block, "the parts are not the block");
}

#[test]
fn cell_of_200_counters_round_trips() {
    // One row is stored in dense columns; few rows among many in sparse ones.
    for rows_without in [0, 9] {
        let mut rows = vec![row(0, testing::cell_of_all_test_counters(3))];
        rows.extend((1..=rows_without).map(|number| row(number, opened_by(number as u64, 1))));
        let block = testing::build(Resolution::Minute, &rows);
        let parts = block.encode();
        assert_eq!(merged(&parts), block);
        let reader = BlockReader::open(&parts[0]).unwrap();
        let mut by_column = CountsByRow { left_out: 9, ..CountsByRow::default() };
        reader.count_cells(CounterSet::ALL, &mut by_column).unwrap();
        let mut by_row = CountsByRow { left_out: 9, ..CountsByRow::default() };
        block.count_cells(CounterSet::ALL, &mut by_row).unwrap();
        assert_eq!(by_column, by_row);
        assert!(by_column.sums.len() >= usize::from(testing::TEST_COUNTERS));
    }
}

#[test]
fn counter_that_this_version_does_not_know_is_kept() {
    let mut cell = Cell::default();
    cell.counters.add(CounterId::from_number(u8::MAX), 7);
    let block = testing::build(Resolution::Minute, &[row(0, cell)]);
    let decoded = Block::decode(&block.encode()[0]).unwrap();
    assert_eq!(decoded.cells.rows[0].cell.counters.get(CounterId::from_number(u8::MAX)), 7);
}

#[test]
fn block_of_one_count_takes_66_bytes() {
    let mut cell = Cell::default();
    cell.counters.add(Counter::Sends, 1);
    let parts = testing::build(Resolution::Minute, &[row(0, cell)]).encode();
    // A batch writes such a block for each of its tenants. The value has 16 bytes of it, the frame 28.
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [66]);
}

#[test]
fn section_numbers_out_of_range_are_refused() {
    let mut body = vec![0, 1];
    put_varint(&mut body, u64::from(SectionId::LIMIT));
    body.extend([1, 0, 7]);
    let bytes = framed(&body);
    let refused = BlockReader::open(&bytes);
    assert!(matches!(refused, Err(BlockError::Malformed { what: "a section has an unknown number" })));
    // Numbers that overflow, and more sections than there are numbers.
    let mut overflow = vec![0, 2, 0, 0, 0];
    put_varint(&mut overflow, u64::MAX);
    assert!(BlockReader::open(&framed(&overflow)).is_err());
    let many = [vec![0, 0xff, 0xff, 0x7f], [0, 0, 0].repeat(usize::from(SectionId::LIMIT) + 1)].concat();
    assert!(BlockReader::open(&framed(&many)).is_err());
}

/// What the samples of stored blocks hold: two cells, three cohorts and two late cohorts, as their resolution has them.
fn sample_rows(resolution: Resolution) -> Vec<TestRow> {
    let row = |table, campaign: &str, minute: u32, counts: &[(Counter, u64)]| {
        let mut values = [const { String::new() }; Dimension::COUNT];
        values[Dimension::Campaign as usize] = campaign.to_owned();
        values[Dimension::RecipientDomain as usize] = "mail.example".to_owned();
        values[Dimension::Provider as usize] = "other".to_owned();
        let mut cell = Cell::default();
        for (counter, count) in counts {
            cell.counters.add(*counter, *count);
        }
        cell.latency.record(u64::from(minute) * 100);
        cell.opens.insert(event::RecipientHash(0x0123_4567_89AB_CDEF));
        let bucket = resolution.bucket(Minute(29_000_040 + minute));
        TestRow { table, values, age: AgeClass::Unknown, bucket, cell }
    };
    let mut rows = vec![
        row(RowTable::Cells, "spring", 7, &[(Counter::Sends, 9), (Counter::Deliveries, 8)]),
        row(RowTable::Cells, "summer", 130, &[(Counter::Opens, 300)]),
        row(RowTable::Cohorts, "spring", 7, &[(Counter::Sends, 9)]),
        row(RowTable::Cohorts, "spring", 8, &[(Counter::Deliveries, 8)]),
        row(RowTable::Cohorts, "summer", 130, &[(Counter::Opens, 300)]),
    ];
    if resolution == Resolution::Minute {
        for (campaign, hour) in [("spring", 0), ("autumn", 120)] {
            let late = row(RowTable::Cohorts, campaign, hour, &[(Counter::Clicks, 2)]);
            let age = AgeClass::UnknownLate;
            rows.push(TestRow { age, bucket: age.bucket(late.bucket), ..late });
        }
    }
    rows
}

#[test]
fn stored_blocks_of_format_2_are_read_and_have_no_ages() {
    for (resolution, sample) in [
        (Resolution::Minute, include_str!("samples/minutes-2.hex")),
        (Resolution::Hour, include_str!("samples/hours-2.hex")),
        (Resolution::Day, include_str!("samples/days-2.hex")),
    ] {
        let (digits, _) = sample.trim().as_bytes().as_chunks::<2>();
        let byte = |digits: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        let stored: Vec<u8> = digits.iter().map(byte).collect();
        assert_eq!(stored[4], 2);
        let mut expected = testing::build(resolution, &sample_rows(resolution));
        let counts = IntakeCounts { events: 317, duplicates: 3, late: 2, conflicts: 1 };
        expected.add_intake(Hour(483_334), &counts);
        assert_eq!(Block::decode(&stored).unwrap(), expected);
        let reader = BlockReader::open(&stored).unwrap();
        assert_eq!(scanned(&reader, EVER.0, EVER.1), contents(&expected));
        let mut counted = CountsByRow { left_out: 5, ..CountsByRow::default() };
        reader.count_cohorts(CounterSet::ALL, &mut counted).unwrap();
        let events: u64 = expected.cohorts.rows.iter().map(|row| row.cell.counters.events()).sum();
        assert_eq!(counted.sums.values().sum::<u64>(), events);
        // Merged with what is stored today, it is written in the format of today.
        assert_eq!(merged(&expected.encode()), expected);
    }
}

#[test]
fn positions_are_written_in_the_largest_unit_that_divides_them() {
    let written = |buckets: &[u32]| {
        let row = |bucket: &u32| TableRow {
            key: 0,
            age: AgeClass::Unknown,
            bucket: Minute(*bucket),
            cell: Cell::default(),
        };
        positions(&buckets.iter().map(row).collect::<Vec<_>>(), 1)
    };
    for (buckets, expected) in [
        (&[1440, 2880][..], &[0xa0, 0x0b, 1, 2, 0, 0][..]),
        (&[60, 180], &[60, 1, 2, 0, 1]),
        (&[30, 60], &[30, 1, 2, 0, 0]),
        (&[45, 60], &[15, 3, 2, 0, 0]),
        (&[46, 60], &[1, 46, 2, 0, 13]),
    ] {
        assert_eq!(written(buckets), expected, "{buckets:?}");
    }
}
