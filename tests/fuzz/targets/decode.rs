//! Bytes from outside, as a shard or a file may hold them. Each part has an outcome, the same at every attempt and wherever a stream is cut.
//! No event is both counted and quarantined.
#![no_main]

use std::ops::Range;

use cells::Block;
use event::decode::stream::{Piece, Splitter};
use event::decode::{kafka, kinesis};
use event::link::{LinkNames, MAX_NAME_BYTES};
use event::{Decoded, Decoder, EmailEvent, EventType, HashKey, Unreadable};
use libfuzzer_sys::fuzz_target;

/// An outcome that outlives its payload. An event is kept as its `Debug` text, so that all fields are compared.
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
    assert_eq!(outcomes(&mut decoder, payload), whole, "the outcome depends on what the decoder read before");
    check_quarantine(&mut decoder, payload, &whole);
    check_splitting(&mut decoder, payload, &whole);
    check_batches(payload);
    for (_, block) in fuzz::blocks(payload) {
        let parts: Vec<_> = block.encode().iter().map(|part| Block::decode(part)).collect();
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>();
        assert_eq!(parts.ok().and_then(Block::merge_all), Some(block), "a round trip changed the block");
    }
});

fn outcomes(decoder: &mut Decoder, payload: &[u8]) -> Vec<Outcome> {
    let mut all = Vec::new();
    decoder.decode(payload, &mut |decoded| {
        all.push(match decoded {
            Decoded::Event(event) => {
                check_link(event);
                Outcome::Event(format!("{event:?}"))
            }
            Decoded::Ignored(ignored) => Outcome::Ignored(ignored),
            Decoded::Unreadable { reason, bytes } => Outcome::Unreadable(reason, bytes.to_vec()),
        });
    });
    all
}

/// The name of a link has no room for a query, a fragment or an address, however the link is written.
fn check_link(event: &EmailEvent<'_>) {
    let EventType::Click(click) = &event.event_type else { return };
    let name = LinkNames::HostAndPath.name_of(click, &HashKey::new([7; 16]));
    assert!(name.len() <= MAX_NAME_BYTES, "a name is too long");
    assert!(!name.contains(['@', '?', '#', '%', '=']), "a name holds more than host and path: {name}");
}

/// A quarantined part may be replayed. It must not contain an event that was counted when it was quarantined, unless the same event also
/// occurs elsewhere in the outermost layer of the payload.
fn check_quarantine(decoder: &mut Decoder, payload: &[u8], whole: &[Outcome]) {
    for (bytes, range) in quarantined_parts(decoder, payload) {
        let is_counted = |one: &Outcome| matches!(one, Outcome::Event(_)) && whole.contains(one);
        let mut counted = outcomes(decoder, &bytes);
        counted.retain(is_counted);
        if counted.is_empty() {
            continue;
        }
        // Blanks may leave a broken value whose first line is the next one, which is then given up in its place. Letters are given up
        // themselves.
        let mut elsewhere = Vec::new();
        if let Some(range) = range {
            for filler in [b' ', b'x'] {
                let mut without = payload.to_vec();
                without.get_mut(range.clone()).unwrap_or_default().fill(filler);
                elsewhere.extend(outcomes(decoder, &without));
            }
        }
        assert!(
            counted.iter().all(|event| elsewhere.contains(event)),
            "an event was both counted and quarantined"
        );
    }
}

/// The quarantined parts, and their range if they are in the outermost layer.
fn quarantined_parts(decoder: &mut Decoder, payload: &[u8]) -> Vec<(Vec<u8>, Option<Range<usize>>)> {
    let mut parts = Vec::new();
    decoder.decode(payload, &mut |decoded| {
        let Decoded::Unreadable { reason, bytes } = decoded else { return };
        // On its own, such a part is within the limits.
        if matches!(
            reason,
            Unreadable::TooLarge { .. } | Unreadable::TooManyLayers { .. } | Unreadable::OverBudget(_)
        ) {
            return;
        }
        let start = bytes.as_ptr().addr().wrapping_sub(payload.as_ptr().addr());
        let is_outermost = payload.as_ptr_range().contains(&bytes.as_ptr());
        parts.push((bytes.to_vec(), is_outermost.then(|| start..start + bytes.len())));
    });
    parts
}

/// The splitter yields every byte except white space once, in order, and never cuts a value. Of a container that does not fit in a chunk it
/// yields the elements.
fn check_splitting(decoder: &mut Decoder, payload: &[u8], whole: &[Outcome]) {
    let pieces = pieces(payload, 1 << 20);
    let mut seen = 0;
    for (offset, bytes) in &pieces {
        let gap = payload.get(seen..usize::try_from(*offset).unwrap_or(usize::MAX)).unwrap_or(b"?");
        assert!(gap.trim_ascii().is_empty(), "bytes were lost before {offset}");
        seen += gap.len();
        assert!(payload.get(seen..).unwrap_or_default().starts_with(bytes), "wrong bytes at {offset}");
        seen += bytes.len();
    }
    assert!(payload.get(seen..).unwrap_or_default().trim_ascii().is_empty(), "bytes were lost at the end");
    if is_ndjson(payload) {
        assert_eq!(outcomes_of(decoder, &pieces), whole, "the events depend on where the stream is cut");
    }
    // If an object has two lists of records, or a list and an event, the splitter reads only the first. No known sender writes such.
    let lists = [&b"ecords\""[..], b"essages\"", b"vents\"", b"equestPayload\"", b"\\u"];
    let lists: usize = lists.iter().map(|name| memmem(payload, name)).sum();
    if lists < 2 && serde_json::from_slice::<serde_json::Value>(payload).is_ok() {
        let in_parts = outcomes_of(decoder, &self::pieces(payload, 64));
        let events = |all: &[Outcome]| all.iter().filter(|one| matches!(one, Outcome::Event(_))).count();
        assert_eq!(events(&in_parts), events(whole), "splitting a container changed its events");
    }
}

/// How often `payload` contains `name`.
fn memmem(payload: &[u8], name: &[u8]) -> usize {
    payload.windows(name.len()).filter(|part| *part == name).count()
}

/// The pieces of a payload, cut at positions that its own bytes choose.
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

/// Whether every line is blank or an object, and at least one is an object.
fn is_ndjson(payload: &[u8]) -> bool {
    let is_blank = |line: &&[u8]| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    let is_object = |line| serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(line).is_ok();
    let mut lines = payload.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).peekable();
    lines.peek().is_some() && lines.all(is_object)
}

/// The records of a batch are slices of it.
fn check_batches(payload: &[u8]) {
    let mut buffer = Vec::new();
    let is_part = |part: &[u8]| payload.as_ptr_range().contains(&part.as_ptr()) || part.is_empty();
    let _ = kinesis::records(payload, &mut buffer, &mut |record| assert!(is_part(record.json)));
    let _ = kafka::records(payload, &mut buffer, &mut |record| assert!(is_part(record.json)));
}
