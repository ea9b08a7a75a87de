//! Round trips, parts, and bytes that are not as they were written.

use event::Minute;
use event::attribution::Dimension;
use proptest::prelude::*;

use super::*;
use crate::block::frame::{VERSION, checksum};
use crate::block::rows::Tally;
use crate::block::tests::scanned;
use crate::block::{Rows, Wanted};
use crate::cell::Cell;
use crate::testing::{self, Entry, EntryKind, block, contents};
use crate::{Counter, RowRef};

const EVER: (Minute, Minute) = (Minute(0), Minute(u32::MAX));

fn merged(parts: &[Vec<u8>]) -> Block {
    Block::merge_all(parts.iter().map(|part| Block::decode(part).unwrap())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn decoding_gives_the_block_back(block in block()) {
        let parts = block.encode();
        prop_assert_eq!(parts.len(), 1);
        prop_assert_eq!(Block::decode(&parts[0]).unwrap(), block);
    }

    #[test]
    fn a_reader_sees_what_the_block_holds(block in block()) {
        let parts = block.encode();
        let reader = BlockReader::open(&parts[0]).unwrap();
        prop_assert_eq!(scanned(&reader, EVER.0, EVER.1), contents(&block));
        prop_assert_eq!(&reader.ledger().unwrap(), block.ledger());
        prop_assert_eq!(reader.resolution(), block.resolution);
    }

    #[test]
    fn a_reader_gives_the_wanted_counters_only(block in block(), mask: u64) {
        let parts = block.encode();
        let reader = BlockReader::open(&parts[0]).unwrap();
        let wanted = Wanted { counters: mask, ..Wanted::default() };
        let mut rows = block.cells.rows.iter();
        let mut check = |row: RowRef<'_>| {
            let full = &rows.next().unwrap().cell.counters;
            let expected = full.iter().filter(|(counter, _)| mask & (1 << counter.number()) != 0);
            assert!(row.counters.iter().eq(expected));
            assert!(row.latency.is_none() && row.opens.is_none() && row.clicks.is_none());
        };
        reader.scan_cells(&wanted, EVER.0, EVER.1, &mut check).unwrap();
        prop_assert!(rows.next().is_none());
    }

    #[test]
    fn counting_by_columns_gives_what_counting_by_rows_gives(block in block(), mask: u64, left_out in 0..5_u32) {
        let parts = block.encode();
        let reader = BlockReader::open(&parts[0]).unwrap();
        let mut by_column = Plain { left_out, ..Plain::default() };
        reader.count_cells(mask, &mut by_column).unwrap();
        let cells = by_column.places.len();
        reader.count_cohorts(mask, &mut by_column).unwrap();
        let mut by_row = Plain { left_out, ..Plain::default() };
        block.count_cells(mask, &mut by_row).unwrap();
        prop_assert_eq!(by_row.places.len(), cells);
        block.count_cohorts(mask, &mut by_row).unwrap();
        prop_assert_eq!(by_column, by_row);
    }

    #[test]
    fn a_block_and_its_sketches_can_be_stored_apart(block in block()) {
        let (counts, sketches) = block.clone().apart();
        prop_assert!(counts.cells.rows.iter().all(|row| row.cell.latency.is_empty() && row.cell.opens.is_empty()));
        prop_assert!(sketches.cells.rows.iter().all(|row| row.cell.counters.is_empty()));
        prop_assert_eq!(counts.events(), block.events());
        prop_assert_eq!(merged(&[counts.encode(), sketches.encode()].concat()), block.clone());
        let (counts, sketches) = block.encode_apart();
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
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        read_all(&framed(&body));
    }
}

/// A tally of everything but every so-manieth place.
#[derive(Debug, Default, PartialEq)]
struct Plain {
    left_out: u32,
    places: Vec<(u32, Minute)>,
    sums: BTreeMap<(u32, u8), u64>,
}

impl Tally for Plain {
    fn place(&mut self, key: u32, bucket: Minute) -> Option<u32> {
        self.places.push((key, bucket));
        let place = u32::try_from(self.places.len()).unwrap();
        (place % 5 != self.left_out).then_some(place)
    }

    fn add(&mut self, place: u32, counter: CounterId, count: u64) {
        assert!(count > 0);
        *self.sums.entry((place, counter.number())).or_default() += count;
    }
}

/// Whatever it says, it must say it without a panic.
fn read_all(bytes: &[u8]) {
    if let Ok(reader) = BlockReader::open(bytes) {
        let _ = reader.scan_cells(&Wanted::ALL, EVER.0, EVER.1, &mut |_| {});
        let _ = reader.scan_cohorts(&Wanted::ALL, EVER.0, EVER.1, &mut |_| {});
        let _ = reader.count_cells(u64::MAX, &mut Plain::default());
        let _ = reader.count_cohorts(u64::MAX, &mut Plain::default());
        let _ = reader.ledger();
    }
    let _ = Block::decode(bytes);
}

fn framed(body: &[u8]) -> Vec<u8> {
    [b"MGBK", [VERSION].as_slice(), &checksum(body).to_le_bytes(), body].concat()
}

fn entry(number: usize, cell: Cell) -> Entry {
    let mut values = [const { String::new() }; Dimension::COUNT];
    values[3] = format!("domain-{number}.example");
    Entry { kind: EntryKind::Cell, values, bucket: Minute(29_000_000), cell }
}

/// A cell whose hashes do not compress: `count` of them.
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
fn every_flipped_bit_and_every_lost_byte_is_an_error() {
    let entries: Vec<Entry> = (0..60).map(|number| entry(number, opened_by(number as u64, 3))).collect();
    let bytes = testing::build(Resolution::Minute, &entries).encode().remove(0);
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            assert!(BlockReader::open(&flipped).is_err(), "bit {bit} of byte {place}");
        }
        assert!(BlockReader::open(&bytes[..place]).is_err(), "cut at {place}");
    }
    assert!(BlockReader::open(&[bytes.as_slice(), b"x"].concat()).is_err());
    assert!(BlockReader::open(&bytes).is_ok());
}

#[test]
fn newer_formats_are_refused_by_name() {
    let mut bytes = Block::empty(Resolution::Day).encode().remove(0);
    bytes[4] = 7;
    let message = BlockReader::open(&bytes).unwrap_err().to_string();
    assert_eq!(message, "block format 7 is newer than this program's 1: upgrade mailgauge");
    bytes[4] = 0;
    let message = BlockReader::open(&bytes).unwrap_err().to_string();
    assert!(message.starts_with("block format 0 is older than this program's 1"), "{message}");
}

#[test]
fn other_bytes_are_not_a_block() {
    for bytes in [&b""[..], b"MGB", b"{\"eventType\":\"Send\"}"] {
        assert!(matches!(BlockReader::open(bytes), Err(BlockError::NotABlock)));
    }
}

#[test]
fn hostile_lengths_take_no_memory() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    // One section of 4 GB, stored or compressed; more keys than bytes; more rows than bytes.
    for section in [[&[192][..], &huge, &[0]].concat(), [&[192, 0][..], &huge].concat()] {
        let body = [&[0, 1][..], &section].concat();
        assert!(matches!(BlockReader::open(&framed(&body)), Err(BlockError::Malformed { .. })));
    }
    let keys = [&[0, 1, CELLS + KEYS, 5, 0][..], &huge].concat();
    assert!(BlockReader::open(&framed(&keys)).is_err());
}

#[test]
fn a_large_block_becomes_parts_that_merge_to_it() {
    let entries: Vec<Entry> =
        (0..200).map(|number| entry(number, opened_by(number as u64 * 1000, 1000))).collect();
    let block = testing::build(Resolution::Minute, &entries);
    let parts = block.encode();
    assert!((3..=8).contains(&parts.len()), "{}", parts.len());
    assert!(parts.iter().all(|part| part.len() <= Block::MAX_ENCODED_BYTES));
    assert_eq!(merged(&parts), block);
}

#[test]
fn a_block_that_compresses_well_is_cut_by_its_raw_size() {
    let entries: Vec<Entry> = (0..700).map(|number| entry(number, opened_by(0, 1100))).collect();
    let block = testing::build(Resolution::Minute, &entries);
    let parts = block.encode();
    assert!(parts.len() > 1);
    assert_eq!(merged(&parts), block);
}

#[test]
fn a_long_ledger_is_cut_too() {
    let mut block = Block::empty(Resolution::Hour);
    for hour in 0..40_000_u32 {
        let noise = rapidhash::v3::rapidhash_v3(&hour.to_le_bytes());
        block.enter(
            Hour(hour),
            &Ledger { events: noise, duplicates: noise >> 1, late: noise >> 2, conflicts: 0 },
        );
    }
    let parts = block.encode();
    assert!(parts.len() > 1);
    assert_eq!(merged(&parts), block);
}

#[test]
fn an_empty_block_is_one_small_part() {
    let parts = Block::empty(Resolution::Hour).encode();
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [15]);
    assert_eq!(Block::decode(&parts[0]).unwrap(), Block::empty(Resolution::Hour));
}

#[test]
fn integers_at_the_edges_of_their_length_come_back() {
    use crate::block::bytes::{Cursor, unzigzag};
    for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        assert_eq!(Cursor(&bytes).varint().unwrap(), value);
        assert!(Cursor(&bytes[..bytes.len() - 1]).varint().is_err());
        assert_eq!(zigzag(unzigzag(value)), value);
    }
    assert!(Cursor(&[0xff; 10]).varint().is_err());
    assert!(Cursor(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varint().is_err());
}

#[test]
fn a_large_block_has_its_sketches_in_parts_of_their_own() {
    let mut accumulator = Block::empty(Resolution::Minute);
    accumulator.values = vec!["gmail".into()];
    for minute in 0..3000 {
        let mut cell = Cell::default();
        cell.counters.add(Counter::Opens, 1);
        cell.opens.insert(event::RecipientHash(u64::from(minute).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        accumulator.cells.push([0; Dimension::COUNT], Row { key: 0, bucket: Minute(minute), cell });
    }
    let block = accumulator.normalise();
    let (counts, sketches) = block.encode_apart();
    let bytes = |parts: &[Vec<u8>]| parts.iter().map(Vec::len).sum::<usize>();
    assert!(bytes(&counts) * 4 < bytes(&sketches), "{} {}", bytes(&counts), bytes(&sketches));
    assert_eq!(merged(&[counts, sketches].concat()), block);
    assert!(Block::empty(Resolution::Day).encode_apart().1.is_empty());
}

/// A part whose only key has so many rows, in a few bytes.
fn rows_of_nothing(count: usize) -> Vec<u8> {
    let mut places = Vec::new();
    put_varint(&mut places, 0);
    put_varint(&mut places, count as u64);
    places.resize(places.len() + count, 0);
    let mut frame = FrameWriter::new();
    frame.section(CELLS + KEYS, &keys(&[[0; Dimension::COUNT]]));
    frame.section(CELLS + PLACES, &places);
    frame.section(STRINGS, &strings(&["a".into()]));
    frame.finish(Resolution::Minute)
}

#[test]
fn more_rows_than_any_part_has_are_refused() {
    let most = rows_of_nothing(MAX_PART_ROWS);
    assert!(most.len() < 300, "{}", most.len());
    assert!(Block::decode(&most).is_ok());
    let refused = Block::decode(&rows_of_nothing(MAX_PART_ROWS + 1));
    assert!(matches!(refused, Err(BlockError::Malformed { what: "there are too many rows" })));
}

#[test]
fn a_block_of_many_equal_rows_is_cut_by_their_number() {
    let mut block = Block::empty(Resolution::Minute);
    block.values = vec!["gmail".into()];
    block.cells.keys.push([0; Dimension::COUNT]);
    let mut cell = Cell::default();
    cell.counters.add(Counter::Sends, 1);
    for minute in (0..).take(MAX_PART_ROWS) {
        block.cells.rows.push(Row { key: 0, bucket: Minute(minute), cell: cell.clone() });
    }
    assert_eq!(block.encode().len(), 1);
    block.cells.rows.push(Row { key: 0, bucket: Minute(u32::MAX), cell });
    let parts = block.encode();
    assert!(parts.len() > 1);
    assert!(merged(&parts) == block, "the parts are not the block");
}
