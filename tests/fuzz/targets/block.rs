//! Bytes from the store: no block may make a reader panic, and all readers agree about a block.
//!
//! The input is also used as the content of a block with a valid checksum, so that mutations reach the content.
#![no_main]

use cells::{Block, BlockError, BlockReader, Projection, Resolution, RowRef, RowSource};
use event::Minute;
use event::attribution::Dimension;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    for format in [2, 3] {
        check(&sealed(format, bytes));
    }
});

/// A block of this format with the content `body` and a valid checksum, which later formats than 2 combine with their number.
fn sealed(format: u8, body: &[u8]) -> Vec<u8> {
    let checksum = rapidhash::v3::rapidhash_v3(body) ^ if format == 2 { 0 } else { u64::from(format) };
    let block = [b"MGBK".as_slice(), &[format], &checksum.to_le_bytes(), body].concat();
    let is_damaged = matches!(Block::decode(&block), Err(BlockError::Damaged));
    assert!(!is_damaged, "the checksum is not computed like that any more");
    block
}

fn check(bytes: &[u8]) {
    let decoded = Block::decode(bytes);
    let Ok(reader) = BlockReader::open(bytes) else {
        assert!(decoded.is_err(), "a block can be decoded but not opened");
        return;
    };
    let scanned = events_scanned(&reader, &Projection::ALL);
    let links = reader.scan_links(Minute(0), Minute(u32::MAX), &mut |_| {});
    let is_readable =
        scanned.is_some() && links.is_ok() && reader.intake().is_ok() && reader.evidence().is_ok();
    assert_eq!(is_readable, decoded.is_ok(), "reader and decoder disagree");
    let _ = events_scanned(&reader, &Projection::default());
    if let Ok(block) = decoded {
        assert_eq!(
            events_scanned(&block, &Projection::ALL),
            scanned,
            "the decoded counts differ from the reader's"
        );
        check_block(&block);
    }
}

/// The number of events in all cells, after reading all rows; `None` if a row cannot be read.
fn events_scanned(rows: &impl RowSource, projection: &Projection) -> Option<u64> {
    let mut events = 0_u64;
    let mut add = |row: RowRef<'_>| {
        for dimension in Dimension::ALL {
            rows.key_value(row.key, dimension);
        }
        events = events.saturating_add(row.counters.events());
    };
    let cells = rows.scan_cells(projection, Minute(0), Minute(u32::MAX), &mut add);
    let cohorts = rows.scan_cohorts(projection, Minute(0), Minute(u32::MAX), &mut |row| {
        rows.cohort_key(row.key);
    });
    (cells.is_ok() && cohorts.is_ok()).then_some(events)
}

/// Checks the operations of compaction and queries.
fn check_block(block: &Block) {
    let parts: Result<Vec<_>, _> = block.encode().iter().map(|part| Block::decode(part)).collect();
    assert_eq!(parts.ok().and_then(Block::merge_all).as_ref(), Some(block), "a round trip changed the block");
    let hours = block.clone().split(|minute| minute.hour().0);
    if !block.is_empty() {
        assert_eq!(Block::merge_all(hours.into_values()).as_ref(), Some(block), "splitting lost rows");
    }
    for resolution in [Resolution::Hour, Resolution::Day] {
        let wider = block.clone().roll_up(resolution);
        assert_eq!(wider.events(), block.events(), "rolling up changed the counts");
    }
    assert_eq!(block.clone().collapse(2).events(), block.events(), "collapsing changed the counts");
    let doubled = block.clone().merge(block.clone());
    assert_eq!(doubled.row_count(), block.row_count(), "merging added rows");
}
