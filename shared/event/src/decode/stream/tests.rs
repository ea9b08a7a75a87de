//! A stream split anywhere gives the same values, in bounded memory.

use proptest::prelude::*;

use super::*;

/// The offset and text of each piece of `stream`, fed in chunks of `size` bytes.
fn pieces(stream: &[u8], size: usize) -> Vec<(u64, String)> {
    pieces_of(stream, size, 1 << 20)
}

fn pieces_of(stream: &[u8], size: usize, chunk_bytes: usize) -> Vec<(u64, String)> {
    let mut seen = Vec::new();
    let mut note = |piece: Piece<'_>| {
        seen.push(match piece {
            Piece::Values { offset, bytes } => (offset, String::from_utf8_lossy(bytes).into_owned()),
            Piece::TooLarge { offset, head } => (offset, format!("too large after {}", head.len())),
        });
    };
    let mut splitter = Splitter::new(chunk_bytes);
    for chunk in stream.chunks(size) {
        splitter.feed(chunk, &mut note);
        assert!(splitter.pending().len() < MAX_RECORD_BYTES);
        assert!(splitter.buffer.len() <= 3 * MAX_RECORD_BYTES + chunk_bytes);
    }
    splitter.finish(&mut note);
    seen
}

fn values(stream: &[u8], size: usize) -> Vec<serde_json::Value> {
    let mut values = Vec::new();
    for (_, text) in pieces(stream, size) {
        for value in serde_json::Deserializer::from_str(&text).into_iter() {
            values.push(value.unwrap());
        }
    }
    values
}

#[test]
fn piece_ends_between_two_lines() {
    let stream = b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";
    let expected = vec![(0, "{\"a\":1}\n{\"a\":2}\n".to_owned()), (16, "{\"a\":3}\n".to_owned())];
    assert_eq!(pieces(stream, 1000), expected);
    assert_eq!(pieces(stream, 1).len(), 3);
}

#[test]
fn value_over_several_lines_is_never_cut() {
    for inside in ["{\n\"a\": {}\n,\"b\":[\n{}\n]\n}", "{\"a\":{\"b\":1}\n}", "[{},\n{}\n,{}\n]"] {
        let stream = format!("{inside}\r\n\r\n  {inside}\n");
        for size in 1..=stream.len() {
            assert_eq!(values(stream.as_bytes(), size).len(), 2, "{size}");
        }
    }
}

#[test]
fn large_container_is_passed_on_in_parts() {
    let element = format!("{{\"a\":\"]}}\\\"{{{}\"}}", "x".repeat(5000));
    let count = 3_000_000 / element.len();
    let elements = vec![element.as_str(); count].join(",\n");
    for container in [
        format!(" [{elements}]"),
        format!("{{\"Records\":[{elements}]}}"),
        format!("{{\"Records\":[{elements} ] , \"more\":[{{}}]}}"),
    ] {
        let stream = format!("{container}\n{{\"last\":1}}\n");
        for (size, chunk_bytes) in [(999, 9999), (64 << 10, 64 << 10), (8 << 20, 128 << 10)] {
            let seen = pieces_of(stream.as_bytes(), size, chunk_bytes);
            assert!(seen.iter().all(|(_, text)| text.len() < 2 * (chunk_bytes + element.len())));
            let last = seen.last().unwrap();
            assert_eq!(last.1.trim(), "{\"last\":1}");
            let joined: Vec<&str> = seen.iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(joined.join(",\n").matches(&element).count(), count, "{size}");
            for (offset, text) in &seen {
                assert!(stream[usize::try_from(*offset).unwrap()..].starts_with(text.as_str()));
            }
        }
    }
}

#[test]
fn bytes_after_a_broken_container_are_passed_on() {
    let element = format!("{{\"a\":\"{}\"}}", "x".repeat(50_000));
    for (start, end) in [("[", "}"), ("{\"Records\":[", "]]"), ("{\"Records\":[", "],\"b\":\"cut\nx]")] {
        let stream = format!("{start}{element},{element}{end}\n{{\"last\":1}}\n");
        for size in [999, 64 << 10] {
            let given = pieces_of(stream.as_bytes(), size, 9999);
            let given: String = given.into_iter().map(|(_, text)| text).collect();
            assert_eq!(given.matches(&element).count(), 2);
            assert!(given.ends_with(&format!("{end}\n{{\"last\":1}}\n")), "{end} {size}");
        }
    }
}

#[test]
fn line_that_is_too_large_does_not_affect_others() {
    let stream = [&vec![b'x'; 50 << 20][..], b"\n{\"a\":1}\n"].concat();
    let expected =
        vec![(0, format!("too large after {MAX_RECORD_BYTES}")), ((50 << 20) + 1, "{\"a\":1}\n".to_owned())];
    assert_eq!(pieces(&stream, 1 << 20), expected);
    let fits = [&vec![b'x'; MAX_RECORD_BYTES - 1][..], b"\n{\"a\":1}\n"].concat();
    assert!(pieces(&fits, 1 << 20).iter().all(|(_, text)| !text.starts_with("too large")));
}

#[test]
fn garbage_is_passed_on_in_bounded_pieces() {
    let garbage: Vec<u8> =
        (0..40_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    let (mut total, mut largest) = (0, 0);
    let mut splitter = Splitter::new(1 << 20);
    let mut note = |piece: Piece<'_>| {
        if let Piece::Values { bytes, .. } = piece {
            total += bytes.len();
            largest = largest.max(bytes.len());
        }
    };
    splitter.feed(&garbage, &mut note);
    splitter.finish(&mut note);
    assert_eq!(total, garbage.len());
    assert!(largest <= MAX_RECORD_BYTES);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i32>().prop_map(Into::into),
        "[a\\]}\"\\\\{\n]{0,6}".prop_map(serde_json::Value::from)
    ];
    let any = leaf.prop_recursive(3, 12, 4, |inside| {
        prop_oneof![
            prop::collection::vec(inside.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::vec(("[a{]{1,3}", inside), 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    });
    any.prop_map(|value| serde_json::json!({ "v": value }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn values_come_out_unchanged(
        list in prop::collection::vec((json(), any::<bool>()), 0..6),
        size in 1..200_usize,
        separator in prop::sample::select(vec!["\n", "\r\n", "\n\n", " ", ""]),
    ) {
        let mut stream = String::new();
        for (value, is_pretty) in &list {
            let text = if *is_pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
            stream += &text.unwrap();
            stream += separator;
        }
        let expected: Vec<_> = list.into_iter().map(|(value, _)| value).collect();
        prop_assert_eq!(values(stream.as_bytes(), size), expected);
    }

    #[test]
    fn elements_come_out_unchanged(
        list in prop::collection::vec(json(), 0..6),
        is_batch in any::<bool>(),
        is_pretty in any::<bool>(),
        size in 1..200_usize,
        chunk_bytes in 1..200_usize,
    ) {
        let elements = if is_pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) };
        let elements = elements.unwrap();
        let stream = if is_batch { format!("{{\"Records\":{elements},\"more\":[1]}}") } else { elements };
        let pieces = pieces_of(format!("{stream}\n").as_bytes(), size, chunk_bytes);
        let mut seen = Vec::new();
        for (offset, text) in pieces {
            prop_assert!(stream[usize::try_from(offset).unwrap()..].starts_with(text.trim_end()));
            // The container is passed on whole if it ended before a chunk of it had arrived.
            if text.starts_with('[') || text.starts_with("{\"Records\"") {
                let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
                let elements = if is_batch { &whole["Records"] } else { &whole };
                seen.extend(elements.as_array().unwrap().clone());
            } else {
                seen.extend(serde_json::from_str::<Vec<serde_json::Value>>(&format!("[{text}]")).unwrap());
            }
        }
        prop_assert_eq!(seen, list);
    }

    #[test]
    fn elements_end_where_json_ends_them(value in json(), cut in any::<prop::sample::Index>()) {
        let text = format!("{value},");
        let (mut scan, _) = ElementScan::enter(b"[").unwrap();
        let first = scan.advance(&text.as_bytes()[..cut.index(text.len() - 1)], 0);
        prop_assert_eq!(first.whole, 0);
        prop_assert_eq!(scan.advance(text.as_bytes(), first.scanned).whole, text.len() - 1);
    }

    #[test]
    fn every_byte_is_passed_on_once(stream in prop::collection::vec(prop::sample::select(b"{}[],\n \"a1\\".to_vec()), 0..80), size in 1..40_usize) {
        let given: String = pieces(&stream, size).into_iter().map(|(_, text)| text).collect();
        let trimmed = String::from_utf8(stream).unwrap();
        prop_assert_eq!(given.trim_end(), trimmed.trim_end());
    }
}
