//! The scanner accepts what `serde_json` accepts, and nothing else.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn skipped(text: &str) -> Result<(), ScanError> {
    let mut scanner = Scanner::new(text);
    scanner.skip()?;
    match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(ScanError::Syntax),
    }
}

fn check(text: &str, expected: Result<(), ScanError>) {
    assert_eq!(skipped(text), expected, "{text}");
    if expected != Err(ScanError::TooDeep) {
        assert_eq!(
            serde_json::from_str::<IgnoredAny>(text).is_ok(),
            expected.is_ok(),
            "serde_json on {text}"
        );
    }
}

#[test]
fn valid_json_is_accepted() {
    for text in [
        "null",
        " true ",
        "false\n",
        "0",
        "-0",
        "10",
        "-1.5e+10",
        "1E400",
        "0.0",
        "\"\"",
        "\"a\\u0041\\n\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1,2]",
        "{\"a\":[{}],\"b\":null}",
        "\"\\ud800\"",
        "\"\u{7f}é😀\"",
        "\t[1\r\n,2]",
    ] {
        check(text, Ok(()));
    }
}

#[test]
fn invalid_json_is_refused() {
    for text in [
        "nul1",
        "01",
        "-01",
        "1.a",
        "1e+x",
        "-x",
        "+1",
        ".5",
        "'a'",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "[1}",
        "{\"a\":1]",
        "1 2",
        "\"\t\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "[1 2]",
        "\u{feff}1",
        "\u{b}1",
        "{,}",
        "[,]",
    ] {
        check(text, Err(ScanError::Syntax));
    }
}

#[test]
fn cut_off_json_ends_unexpectedly() {
    for text in [
        "", " ", "tru", "-", "1.", "1e", "\"a", "\"\\", "\"\\u12", "[", "[1", "[1,", "{", "{\"a\"",
        "{\"a\":", "{\"a\":1",
    ] {
        check(text, Err(ScanError::UnexpectedEnd));
    }
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    check(&nested(64), Ok(()));
    check(&nested(65), Err(ScanError::TooDeep));
    let mut scanner = Scanner::new("[[[[");
    scanner.depth = 62;
    assert_eq!(scanner.skip(), Err(ScanError::TooDeep));
    assert_eq!(scanner.at(), 2);
}

#[test]
fn fast_path_for_headers_equals_the_general_path() {
    let pair = |name: &str, value: &str| format!("{{\"name\":{name},\"value\":{value}}}");
    let (plain, escaped) = (pair("\"To\"", "\"a\""), pair("\"\\\"\"", "\"\\u00e9\""));
    for text in [
        "[]".to_owned(),
        format!("[{plain}]"),
        format!("[{plain},{escaped},{plain}]"),
        format!("[{plain}, {plain}]"),
        format!("[{plain},{}]", pair("\"To\"", "5")),
        format!("[{plain},{}]", pair("\"To\"", "\"a\",\"more\":[]")),
        format!("[{plain},{plain}"),
        format!("[{plain},"),
        format!("[{plain}}}"),
        format!("[{}]", pair("\"To\"", "\"\\x\"")),
        format!("[{}]", pair("\"T\no\"", "\"a\"")),
        "5".to_owned(),
    ] {
        let (mut fast, mut slow) = (Scanner::new(&text), Scanner::new(&text));
        assert_eq!(fast.skip_headers(), slow.skip(), "{text}");
        assert_eq!(fast.at(), slow.at(), "{text}");
    }
    let mut deep = Scanner::new("[{\"name\":\"a\",\"value\":\"b\"}]");
    deep.depth = MAX_DEPTH - 1;
    assert_eq!(deep.skip_headers(), Err(ScanError::TooDeep));
}

#[test]
fn escapes_are_resolved_and_lone_surrogates_replaced() {
    for (text, expected) in [
        (r#""plain""#, "plain"),
        (r#""a\"\\\/\b\f\n\r\tz""#, "a\"\\/\u{8}\u{c}\n\r\tz"),
        (r#""\u0041\u00e9\ud83d\ude00""#, "Aé😀"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
    ] {
        assert_eq!(Scanner::new(text).string().unwrap(), expected, "{text}");
    }
    assert!(matches!(Scanner::new(r#""plain""#).string(), Ok(Cow::Borrowed("plain"))));
}

#[test]
fn objects_and_arrays_pass_on_their_keys_and_items() {
    let mut seen = Vec::new();
    let mut scanner = Scanner::new(r#" { "a" : [1, "x"], "b\u0062": {"c": null} } rest"#);
    let read = scanner.object(|scanner, key| {
        let is_a = key == "a";
        seen.push(key.to_owned());
        if is_a {
            return scanner.array(|scanner| scanner.raw_value().map(|value| seen.push(value.to_owned())));
        }
        scanner.skip()
    });
    assert_eq!(read, Ok(()));
    assert_eq!(seen, ["a", "1", "\"x\"", "bb"]);
    assert_eq!(scanner.peek(), Some(b'r'));
}

#[test]
fn base64_string_ends_at_its_closing_quote() {
    for text in [r#""abcd""#, r#""ab\/cd\"ef""#, r#""\\""#, r#""ab"#] {
        let fast = Scanner::new(text).base64_string().map(RawText::resolve);
        assert_eq!(fast, Scanner::new(text).string(), "{text}");
    }
}

/// `json` with every character beyond ASCII escaped.
fn ascii_only(json: &str) -> String {
    let mut escaped = String::new();
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").unwrap();
            }
        }
    }
    escaped
}

/// JSON, and text that is nearly JSON: pieces of the grammar in any order.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"key\":", "\\", "\\u00", "e", "E5", "-", "0", "12",
        ".5", "true", "null", " ", "\n", "\u{1}", "é", "\"\\n\"", "false", "[]", "{}", "1.0e-3",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn same_texts_are_accepted_as_by_serde_json(text in prop_oneof![nearly_json(), any::<String>()]) {
        prop_assert_eq!(skipped(&text).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok());
    }

    #[test]
    fn strings_are_read_as_by_serde_json(text in any::<String>(), ascii in any::<bool>()) {
        let mut json = serde_json::to_string(&text).unwrap();
        if ascii {
            json = ascii_only(&json);
        }
        prop_assert_eq!(Scanner::new(&json).string().unwrap(), text);
    }

    #[test]
    fn first_special_byte_is_found(
        mut bytes in prop::collection::vec(any::<u8>(), 0..40),
        plain in 0..120_usize,
    ) {
        bytes.splice(0..0, std::iter::repeat_n(b'x', plain));
        let plain = bytes.iter().position(|&b| b < b' ' || b == b'"' || b == b'\\').unwrap_or(bytes.len());
        prop_assert_eq!(strings::next_special(&bytes), plain);
    }

    #[test]
    fn every_special_byte_has_its_bit(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let is_special = |at| bytes.get(at).is_none_or(|&b: &u8| b < b' ' || b == b'"' || b == b'\\');
        let word = |start| (start..start + 64).rev().fold(0, |found, at| found << 1 | u64::from(is_special(at)));
        let expected: Vec<u64> = (0..512).step_by(64).map(word).collect();
        prop_assert_eq!(strings::specials(&bytes).to_vec(), expected);
    }

    #[test]
    fn strings_end_correctly_at_every_window_offset(texts in prop::collection::vec("[a-z\"\\\\é]{0,300}", 0..12)) {
        let json = serde_json::to_string(&texts).unwrap();
        let (mut scanner, mut read) = (Scanner::new(&json), Vec::new());
        scanner.array(|scanner| {
            // A step back must not be answered from what lies behind it.
            let start = scanner.at;
            scanner.skip()?;
            scanner.at = start;
            scanner.string().map(|text| read.push(text.into_owned()))
        }).unwrap();
        prop_assert_eq!(read, texts);
    }
}
