//! Hostile payloads of at most 119 KB, each of a kind that cost minutes when only size and nesting were limited. Their cost is counted
//! and not timed.

use std::collections::BTreeMap;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;

use super::*;
use crate::decode::tests::{event, gzip, kpl, zstd};
use crate::decode::{Decoded, Decoder, Unreadable};

const HOSTILE_BYTES: usize = 119 << 10;

/// What a payload came to: each outcome with its number, and what it used.
fn decode(payload: &[u8], batch: &mut BatchBudget) -> (BTreeMap<String, usize>, Allowance) {
    let allowed = batch.for_payload(payload.len());
    let mut decoder = Decoder::new();
    let mut outcomes = BTreeMap::new();
    decoder.decode_in_batch(payload, batch, &mut |decoded| {
        let outcome = match decoded {
            Decoded::Event(event) => event.message_id.to_string(),
            Decoded::Ignored(ignored) => format!("{ignored:?}"),
            Decoded::Unreadable { reason, .. } => format!("{reason:?}"),
        };
        *outcomes.entry(outcome).or_default() += 1;
    });
    (outcomes, allowed.used(decoder.left))
}

/// Base64 in a record, as Kinesis has it.
fn record(packed: &[u8]) -> String {
    format!(r#"{{"data":"{}"}}"#, STANDARD.encode(packed))
}

/// Bytes that are refused at the first one, so that a test spends its time on decompression only.
fn filler(bytes: usize) -> Vec<u8> {
    vec![0xff; bytes]
}

/// Text that looks like JSON.
fn punctuation(length: usize) -> String {
    let bytes = br#"{}[]",:\ 0e-tn="#.iter().chain(b"\n");
    let bytes: Vec<char> = bytes.map(|byte| char::from(*byte)).collect();
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes[usize::try_from(state >> 33).unwrap() % bytes.len()]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn hostile_payload_ends_at_a_named_budget_and_the_rest_counts() {
    let (first, last) = (event(1), event(2));
    let bomb = record(&zstd(&filler(4 << 20)));
    let side_by_side = format!("[{first},{}{last}]", format!("{bomb},").repeat(60));
    // Bombs in compressed arrays: 200 times 200 MiB.
    let inner =
        gzip(format!("[{}{}]", format!("{},", record(&zstd(&filler(1 << 20)))).repeat(200), "0").as_bytes());
    let in_layers =
        gzip(format!("{first}\n[{}0]\n{last}", format!("{},", record(&inner)).repeat(200)).as_bytes());
    let cut_off = zstd(&filler(4 << 20));
    let cut_off = record(&cut_off[..cut_off.len() - 1]);
    let cut_off = format!("[{first},{}{last}]", format!("{cut_off},").repeat(60));
    let aggregated = kpl(&vec![&zstd(&filler(4 << 20))[..]; 60]);
    // Numbers on one line, each of which may begin a log line.
    let numbers = format!("{first}\n{}\n{last}", "7 ".repeat(50_000));
    let parts = gzip(format!("{first}\n{}\n{last}", "7\n".repeat(MAX_PARTS)).as_bytes());
    for (name, payload, budget, counted) in [
        ("compressed parts side by side", side_by_side.as_bytes(), "InflatedBytes", &["m1", "m2"][..]),
        ("compressed parts in layers", &in_layers, "InflatedBytes", &["m1", "m2"]),
        ("compressed parts that are cut off", cut_off.as_bytes(), "InflatedBytes", &["m1", "m2"]),
        ("aggregated records", &aggregated, "InflatedBytes", &[]),
        ("values on one line", numbers.as_bytes(), "Work", &["m1"]),
        ("parts", &parts, "Parts", &["m1"]),
    ] {
        assert!(payload.len() <= HOSTILE_BYTES, "{name} has {} bytes", payload.len());
        let (outcomes, used) = decode(payload, &mut BatchBudget::new());
        assert!(outcomes.contains_key(&format!("OverBudget({budget})")), "{name}: {outcomes:?}");
        for id in counted {
            assert_eq!(outcomes.get(*id), Some(&1), "{name}: {outcomes:?}");
        }
        assert!(outcomes.values().sum::<usize>() <= MAX_PARTS + 1, "{name}: {outcomes:?}");
        assert!(used.work <= MAX_WORK_BYTES && used.inflated <= MAX_INFLATED_BYTES, "{name}: {used:?}");
    }
}

#[test]
fn broken_and_folded_values_cost_a_multiple_of_their_bytes() {
    for (name, line) in [
        ("objects inside each other", format!("{{\"{}\":\n", "x".repeat(2000))),
        ("arrays inside each other", "[1,\n".to_owned()),
        ("brackets that do not match", "},{\"a\":1\n".to_owned()),
        ("folded values", format!("{{\"{}\":\"\n\"}}\n", "x".repeat(2000))),
        ("folded values that stay broken", format!("{{\"{}\":\"\n\"\n", "x".repeat(2000))),
        ("quotes", "\"a\"\"b\"".to_owned()),
        ("times", "2025-11-13T02:15:26 x\n".to_owned()),
        ("bytes that are not UTF-8", "\u{e9}\n".to_owned()),
        ("punctuation at random", punctuation(HOSTILE_BYTES)),
    ] {
        let mut payload = line.repeat(HOSTILE_BYTES / line.len()).into_bytes();
        if name.starts_with("bytes") {
            payload.retain(|byte| *byte != 0xc3);
        }
        let (outcomes, used) = decode(&payload, &mut BatchBudget::new());
        assert!(!outcomes.keys().any(|name| name.starts_with("OverBudget")), "{name}: {outcomes:?}");
        assert!(used.work <= 100 * payload.len(), "{name}: {used:?} of {}", payload.len());
    }
}

#[test]
fn part_over_a_budget_is_whole_and_may_be_sent_again() {
    let payload = format!("[{}{},{}]", "7,".repeat(MAX_PARTS - 1), event(1), event(2));
    let mut rest = Vec::new();
    let mut ids = Vec::new();
    Decoder::new().decode(payload.as_bytes(), &mut |decoded| match decoded {
        Decoded::Event(event) => ids.push(event.message_id.to_string()),
        Decoded::Unreadable { reason: Unreadable::OverBudget(_), bytes } => rest.push(bytes.to_vec()),
        _ => {}
    });
    assert_eq!((ids, rest.len()), (vec!["m1".to_owned()], 1));
    let (outcomes, _) = decode(&rest[0], &mut BatchBudget::new());
    assert_eq!(outcomes.get("m2"), Some(&1), "{outcomes:?}");
    // As many as may be are none too many.
    let payload = format!("[{}{}]", "7,".repeat(MAX_PARTS - 1), event(1));
    let (outcomes, used) = decode(payload.as_bytes(), &mut BatchBudget::new());
    assert_eq!((outcomes.len(), used.parts), (2, MAX_PARTS), "{outcomes:?}");
}

#[test]
fn batch_shares_one_budget_and_leaves_each_payload_its_share() {
    let mut batch = BatchBudget::new();
    let bomb = zstd(&filler(MAX_INFLATED_BYTES));
    let mut all = BTreeMap::new();
    let mut used = 0;
    for _ in 0..200 {
        let (outcomes, cost) = decode(&bomb, &mut batch);
        used += cost.work;
        for (outcome, number) in outcomes {
            *all.entry(outcome).or_insert(0) += number;
        }
    }
    assert_eq!(all.get("OverBudget(InflatedBytes)"), Some(&199), "{all:?}");
    // Each costs its share and no more, 200 times the largest size before.
    assert!(used <= MAX_WORK_BYTES + 200 * Allowance::share_of(bomb.len()).work, "{used}");
    // Ordinary payloads behind it count, in every form.
    let lines: String = (0..20).map(|n| event(n) + "\n").collect();
    for payload in
        [lines.clone().into_bytes(), gzip(lines.as_bytes()), record(&gzip(lines.as_bytes())).into_bytes()]
    {
        let (outcomes, _) = decode(&payload, &mut batch);
        assert_eq!(outcomes.len(), 20, "{outcomes:?}");
        assert!(outcomes.keys().all(|id| id.starts_with('m')), "{outcomes:?}");
    }
}

#[test]
fn compressed_requests_that_are_counted_together_stay_within_their_shares() {
    // As long as SES's events are, with headers that a campaign repeats and ids that nothing repeats.
    let mut state = 7_u64;
    let mut id = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{state:016x}{:016x}", state.rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    };
    let lines: String = (0..1_500)
        .map(|n| event(n).replacen('{', &format!("{{\"x\":\"{}{}\",", id(), "header ".repeat(140)), 1) + "\n")
        .collect();
    let packed = zstd(lines.as_bytes());
    let ratio = lines.len() / packed.len();
    assert!((20..INFLATED_PER_BYTE).contains(&ratio), "{ratio}");
    let mut batch = BatchBudget::new();
    for _ in 0..200 {
        let (outcomes, _) = decode(&packed, &mut batch);
        assert_eq!(outcomes.len(), 1_500);
    }
    assert_eq!(batch.common, Allowance::LARGEST);
}

#[test]
fn reason_names_the_budget() {
    for (budget, named) in [
        (DecodeBudget::InflatedBytes, "64 MiB of decompressed bytes"),
        (DecodeBudget::Parts, "262144 parts"),
        (DecodeBudget::Work, "512 MiB of work"),
    ] {
        let reason = Unreadable::OverBudget(budget).to_string();
        assert!(reason.contains(named), "{reason}");
    }
}
