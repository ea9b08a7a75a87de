//! Round trips, parts, and bytes that are not as they were written.

use event::Minute;
use event::attribution::Dimension;
use proptest::prelude::*;

use super::*;
use crate::block::frame::{VERSION, checksum};
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
        let reader = BlockReader::open(&block.encode()[0]).unwrap();
        prop_assert_eq!(scanned(&reader, EVER.0, EVER.1), contents(&block));
        prop_assert_eq!(&reader.ledger().unwrap(), block.ledger());
        prop_assert_eq!(reader.resolution(), block.resolution);
    }

    #[test]
    fn a_reader_gives_the_wanted_counters_only(block in block(), mask: u64) {
        let reader = BlockReader::open(&block.encode()[0]).unwrap();
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

/// Whatever it says, it must say it without a panic.
fn read_all(bytes: &[u8]) {
    if let Ok(reader) = BlockReader::open(bytes) {
        let _ = reader.scan_cells(&Wanted::ALL, EVER.0, EVER.1, &mut |_| {});
        let _ = reader.scan_cohorts(&Wanted::ALL, EVER.0, EVER.1, &mut |_| {});
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
