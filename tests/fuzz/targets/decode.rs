//! Bytes from outside, as a shard or a file may hold them: whatever they are, each part ends in an outcome, and the same one
//! however often it is read and wherever a stream of it was cut. What was counted is never set apart for a replay as well.
#![no_main]

use std::ops::Range;

use cells::Block;
use event::decode::stream::{Piece, Splitter};
use event::decode::{kafka, kinesis};
use event::{Decoded, Decoder, Unreadable};
use libfuzzer_sys::fuzz_target;

/// An outcome that outlives its payload; events in words, since all their fields matter.
#[derive(Debug, PartialEq)]
enum Outcome {
    Event(String),
    Ignored(event::Ignored),
    Unreadable(Unreadable, Vec<u8>),
}

fuzz_target!(|payload: &[u8]| {
    let mut decoder = Decoder::new();
    let whole = outcomes(&mut decoder, payload);
    assert!(!whole.is_empty(), "a payload without an outcome");
    assert_eq!(outcomes(&mut decoder, payload), whole, "what a decoder read before must not show");
    check_quarantine(&mut decoder, payload, &whole);
    check_splitting(&mut decoder, payload, &whole);
    check_batches(payload);
    for (_, block) in fuzz::blocks(payload) {
        let parts: Vec<_> = block.encode().iter().map(|part| Block::decode(part)).collect();
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>();
        assert_eq!(parts.ok().and_then(Block::merge_all), Some(block), "a block is read as it was written");
    }
});

fn outcomes(decoder: &mut Decoder, payload: &[u8]) -> Vec<Outcome> {
    let mut all = Vec::new();
    decoder.decode(payload, &mut |decoded| {
        all.push(match decoded {
            Decoded::Event(event) => Outcome::Event(format!("{event:?}")),
            Decoded::Ignored(ignored) => Outcome::Ignored(ignored),
            Decoded::Unreadable { reason, bytes } => Outcome::Unreadable(reason, bytes.to_vec()),
        });
    });
    all
}

/// A part in quarantine is decoded again one day. It must not hold an event that was counted when it was set apart, unless the
/// same event stands elsewhere in the payload's outermost layer too.
fn check_quarantine(decoder: &mut Decoder, payload: &[u8], whole: &[Outcome]) {
    for (bytes, place) in parts_set_apart(decoder, payload) {
        let is_counted = |one: &Outcome| matches!(one, Outcome::Event(_)) && whole.contains(one);
        let mut counted = outcomes(decoder, &bytes);
        counted.retain(is_counted);
        if counted.is_empty() {
            continue;
        }
        let elsewhere = place.map_or_else(Vec::new, |place| {
            let mut without = payload.to_vec();
            without.get_mut(place).unwrap_or_default().fill(b' ');
            outcomes(decoder, &without)
        });
        assert!(counted.iter().all(|event| elsewhere.contains(event)), "an event was counted and set apart");
    }
}

/// The parts that are set apart, and where they are if that is in the outermost layer.
fn parts_set_apart(decoder: &mut Decoder, payload: &[u8]) -> Vec<(Vec<u8>, Option<Range<usize>>)> {
    let mut parts = Vec::new();
    decoder.decode(payload, &mut |decoded| {
        let Decoded::Unreadable { reason, bytes } = decoded else { return };
        // On its own such a part lies within the limits again.
        if matches!(reason, Unreadable::TooLarge { .. } | Unreadable::TooManyLayers { .. }) {
            return;
        }
        let start = bytes.as_ptr().addr().wrapping_sub(payload.as_ptr().addr());
        let is_outermost = payload.as_ptr_range().contains(&bytes.as_ptr());
        parts.push((bytes.to_vec(), is_outermost.then(|| start..start + bytes.len())));
    });
    parts
}

/// The splitter gives every byte but blank ones once, in order, and never cuts a value; of a container that does not fit in a
/// chunk it gives the elements.
fn check_splitting(decoder: &mut Decoder, payload: &[u8], whole: &[Outcome]) {
    let pieces = pieces(payload, 1 << 20);
    let mut seen = 0;
    for (offset, bytes) in &pieces {
        let gap = payload.get(seen..usize::try_from(*offset).unwrap_or(usize::MAX)).unwrap_or(b"?");
        assert!(gap.trim_ascii().is_empty(), "bytes were lost before {offset}");
        seen += gap.len();
        assert!(payload.get(seen..).unwrap_or_default().starts_with(bytes), "not the bytes at {offset}");
        seen += bytes.len();
    }
    assert!(payload.get(seen..).unwrap_or_default().trim_ascii().is_empty(), "bytes were lost at the end");
    if is_ndjson(payload) {
        assert_eq!(outcomes_of(decoder, &pieces), whole, "the same events wherever the stream is cut");
    }
    // Of two lists of records in one object the splitter knows the first only. Nobody writes two.
    let lists = payload.windows(8).filter(|name| name.ends_with(b"ecords\"")).count();
    if lists < 2 && serde_json::from_slice::<serde_json::Value>(payload).is_ok() {
        let in_parts = outcomes_of(decoder, &self::pieces(payload, 64));
        let events = |all: &[Outcome]| all.iter().filter(|one| matches!(one, Outcome::Event(_))).count();
        assert_eq!(events(&in_parts), events(whole), "the same events in parts of a container");
    }
}

/// The pieces of a payload that itself chooses where it is cut.
fn pieces(payload: &[u8], chunk_bytes: usize) -> Vec<(u64, Vec<u8>)> {
    let mut pieces = Vec::new();
    let mut keep = |piece: Piece<'_>| match piece {
        Piece::Values { offset, bytes } => pieces.push((offset, bytes.to_vec())),
        Piece::TooLarge { .. } => {}
    };
    let mut splitter = Splitter::new(chunk_bytes);
    let mut rest = payload;
    while let Some(first) = rest.first() {
        let size = 1 + usize::from(first % 64);
        let (chunk, behind) = rest.split_at(size.min(rest.len()));
        splitter.feed(chunk, &mut keep);
        rest = behind;
    }
    splitter.finish(&mut keep);
    pieces
}

fn outcomes_of(decoder: &mut Decoder, pieces: &[(u64, Vec<u8>)]) -> Vec<Outcome> {
    pieces.iter().flat_map(|(_, bytes)| outcomes(decoder, bytes)).collect()
}

/// Whether every line is blank or an object, and not all are blank.
fn is_ndjson(payload: &[u8]) -> bool {
    let is_blank = |line: &&[u8]| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    let is_object = |line| serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(line).is_ok();
    let mut lines = payload.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).peekable();
    lines.peek().is_some() && lines.all(is_object)
}

/// The records of a batch are parts of it.
fn check_batches(payload: &[u8]) {
    let mut buffer = Vec::new();
    let is_part = |part: &[u8]| payload.as_ptr_range().contains(&part.as_ptr()) || part.is_empty();
    let _ = kinesis::records(payload, &mut buffer, &mut |record| assert!(is_part(record.json)));
    let _ = kafka::records(payload, &mut buffer, &mut |record| assert!(is_part(record.json)));
}
