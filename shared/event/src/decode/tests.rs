//! Every envelope and container, alone and nested, valid and broken.

#![expect(clippy::disallowed_methods, reason = "the samples are files")]

use std::io::Write as _;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use proptest::prelude::*;

use super::samples::line;
use super::*;

mod containers;

/// A small event with the message ID `m{n}`.
pub(super) fn event(n: usize) -> String {
    format!(
        r#"{{"eventType":"Send","mail":{{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m{n}","destination":["a@example.com"]}},"send":{{}}}}"#
    )
}

/// Each outcome in short: the message ID of an event, the reason of the rest, and the first bytes of an unreadable part.
fn outcomes(payload: &[u8]) -> Vec<String> {
    let mut seen = Vec::new();
    Decoder::new().decode(payload, &mut |decoded| {
        seen.push(match decoded {
            Decoded::Event(event) => event.message_id.to_string(),
            Decoded::Ignored(ignored) => format!("{ignored:?}"),
            Decoded::Unreadable { reason, bytes } => {
                let bytes: String = String::from_utf8_lossy(bytes).chars().take(12).collect();
                format!("{reason:?} {bytes}")
            }
        });
    });
    seen
}

fn check(payload: impl AsRef<[u8]>, expected: &[&str]) {
    let payload = payload.as_ref();
    assert_eq!(outcomes(payload), expected, "{}", String::from_utf8_lossy(payload));
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).unwrap()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag][..], &varint(value.len()), value].concat()
}

fn kpl_of(message: &[u8]) -> Vec<u8> {
    [&[0xf3, 0x89, 0x9a, 0xc2][..], message, &Md5::digest(message)].concat()
}

pub(super) fn kpl(records: &[&[u8]]) -> Vec<u8> {
    let mut message = field(0x0a, b"key");
    for record in records {
        message.extend(field(0x1a, &[&[0x08, 0][..], &field(0x1a, record)].concat()));
    }
    kpl_of(&message)
}

#[test]
fn values_may_be_separated_in_any_way() {
    let (one, two) = (event(1), event(2));
    for payload in [
        format!("{one}\n{two}\n"),
        format!("{one}\r\n\r\n{two}"),
        format!("{one}{two}"),
        // Files that begin with a mark, put together.
        format!("\u{feff}{one}\n\u{feff}{two}\n\u{feff}"),
        // Elements that were cut out of an array, and an export with a comma behind each line.
        format!("{one}, {two}"),
        format!("{one},\n{two},\n"),
        format!("[{one},{two}]"),
        format!("[[{one}],\n[{two}]]\n"),
        format!("\u{feff}{one} {}", two.replace(',', ",\n  ").replace('{', "{\n")),
    ] {
        check(&payload, &["m1", "m2"]);
    }
}

#[test]
fn unreadable_line_does_not_affect_others() {
    let (one, two) = (event(1), event(2));
    let cut = &one[..70];
    check(format!("{cut}\n{two}\n"), &["InvalidJson { at: 70 } {\"eventType\"", "m2"]);
    check(format!("{one}\n{cut}"), &["m1", "CutOff { at: 70 } {\"eventType\""]);
    check(
        format!("{one}\nnot json\n5\n{two}"),
        &["m1", "InvalidJson { at: 1 } not json", "NotAnEvent 5", "m2"],
    );
    let outcomes = outcomes(format!("{{\"a\":\n{one}\n{two}").as_bytes());
    assert_eq!(outcomes[1..], ["m1", "m2"], "{outcomes:?}");
}

#[test]
fn broken_element_affects_only_the_rest_of_its_line() {
    let (one, two, three) = (event(1), event(2), event(3));
    check(
        format!("[{one},\n{{\"x\" 1}},\n{two},\n{three}\n]"),
        &["m1", "InvalidJson { at: 5 } {\"x\" 1},", "m2", "m3"],
    );
    check(
        format!("[{one},{{\"x\" 1}},{two}]\n{three}"),
        &["m1", "InvalidJson { at: 5 } {\"x\" 1},{\"ev", "m3"],
    );
    check(format!("[{one},{two}"), &["m1", "m2", "CutOff { at: 0 } "]);
}

#[test]
fn counted_part_is_not_quarantined_as_well() {
    let one = event(1);
    check(format!("{{\"Records\":[{one}],\"x\":tru"), &["m1", "CutOff { at: 9 } ],\"x\":tru"]);
    check(format!("{{\"records\":{{\"t-0\":{one}}},\"x\":tru"), &["m1", "CutOff { at: 9 } },\"x\":tru"]);
}

#[test]
fn topic_validation_does_not_affect_events_after_it() {
    let (one, two) = (event(1), event(2));
    for trial in [
        "Successfully validated SNS topic for Amazon SES event publishing.",
        r#"{"notificationType":"AmazonSnsSubscriptionSucceeded","message":"You have"}"#,
    ] {
        check(format!("{one}\n{trial}\n{two}"), &["m1", "SnsValidation", "m2"]);
        check(format!("{trial}\n{one}\n{two}"), &["SnsValidation", "m1", "m2"]);
    }
}

#[test]
fn lines_that_are_not_utf8_are_unreadable() {
    let (one, two) = (event(1), event(2));
    let payload = [one.as_bytes(), b"\n\xff{}\n", two.as_bytes(), b"\n\xc3"].concat();
    check(payload, &["m1", "InvalidUtf8 \u{fffd}{}", "m2", "InvalidUtf8 \u{fffd}"]);
}

#[test]
fn text_in_utf16_is_named() {
    for (mark, bytes_of) in
        [([0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]), ([0xfe, 0xff], u16::to_be_bytes)]
    {
        let text: Vec<u8> = event(1).encode_utf16().flat_map(bytes_of).collect();
        let outcomes = outcomes(&[&mark[..], &text].concat());
        assert!(outcomes[0].starts_with("Utf16"), "{outcomes:?}");
    }
    assert!(Unreadable::Utf16.to_string().contains("iconv"));
}

#[test]
fn compressed_and_aggregated_records_are_unpacked() {
    let (one, two) = (event(1), event(2));
    let members = [gzip(one.as_bytes()), gzip(format!("\n{two}").as_bytes())].concat();
    check(&members, &["m1", "m2"]);
    check([zstd(one.as_bytes()), zstd(two.as_bytes())].concat(), &["m1", "m2"]);
    check(kpl(&[one.as_bytes(), &gzip(two.as_bytes()), b""]), &["m1", "m2", "Empty"]);
    check(kpl(&[]), &["Empty"]);
}

#[test]
fn aggregated_record_with_a_wrong_digest_is_a_plain_record() {
    let mut record = kpl(&[event(1).as_bytes()]);
    *record.last_mut().unwrap() ^= 1;
    assert!(outcomes(&record).iter().any(|outcome| outcome.starts_with("InvalidUtf8")));
    let good = field(0x1a, &field(0x1a, event(1).as_bytes()));
    for broken in [&[0x1a, 0xff][..], &[0x1b], &[0xff; 11], &[0x1a, 5, 1]] {
        let outcomes = outcomes(&kpl_of(&[&good, broken].concat()));
        assert_eq!(outcomes[0], "m1");
        assert!(outcomes[1].starts_with("Broken(Kpl)"), "{outcomes:?}");
        assert_eq!(outcomes.len(), 2);
    }
}

#[test]
fn compressed_record_is_used_whole_or_not_at_all() {
    let lines = format!("{}\n{}", event(1), event(2));
    for packed in [gzip(lines.as_bytes()), zstd(lines.as_bytes())] {
        let outcomes = outcomes(&packed[..packed.len() - 3]);
        assert!(outcomes.len() == 1 && outcomes[0].starts_with("Broken"), "{outcomes:?}");
    }
}

#[test]
fn decompression_is_limited() {
    let limit = "OverBudget(InflatedBytes)";
    for (size, is_bomb) in [(MAX_INFLATED_BYTES, false), (MAX_INFLATED_BYTES + 1, true)] {
        let blank = vec![b' '; size];
        for packed in [gzip(&blank), zstd(&blank)] {
            let outcomes = outcomes(&packed);
            assert_eq!(outcomes.len(), 1);
            assert_eq!(outcomes[0].starts_with(limit), is_bomb, "{outcomes:?}");
        }
    }
}

#[test]
fn layers_and_record_size_are_limited() {
    let mut packed = event(1).into_bytes();
    for _ in 1..MAX_LAYERS {
        packed = gzip(&packed);
    }
    check(&packed, &["m1"]);
    assert!(outcomes(&gzip(&packed))[0].starts_with("TooManyLayers"));
    let record = [event(1).as_bytes(), &vec![b' '; MAX_RECORD_BYTES - event(1).len()]].concat();
    check(&record, &["m1"]);
    assert!(outcomes(&[&record[..], b" "].concat())[0].starts_with("TooLarge"));
}

#[test]
fn bad_record_of_a_batch_does_not_affect_others() {
    let data = |bytes: &[u8]| format!("{{\"kinesis\":{{\"data\":\"{}\"}}}}", STANDARD.encode(bytes));
    let batch = format!(
        "{{\"Records\":[{},{{\"kinesis\":{{\"data\":\"*\"}}}},{{\"kinesis\":5}},7,{}]}}",
        data(event(1).as_bytes()),
        data(event(2).as_bytes())
    );
    let expected = ["m1", "Broken(Base64) {\"kinesis\":{", "NotAnEvent {\"kinesis\":5", "NotAnEvent 7", "m2"];
    check(&batch, &expected);
    let slashes = STANDARD.encode(event(1).replace("m1", "???")).replace('/', "\\/");
    check(format!("{{\"records\":[{{\"data\":\"{slashes}\"}}]}}"), &["???"]);
    check("{\"Records\":[]}", &["Empty"]);
}

#[test]
fn messages_received_from_a_queue_are_decoded() {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let sns = |n: usize| format!(r#"{{"Records":[{{"Sns":{{"Message":"{}"}}}}]}}"#, quoted(&event(n)));
    let message = |body: &str| format!(r#"{{"MessageId":"a","Body":"{}"}}"#, quoted(body));
    // The event of a failed invocation, from the function's dead-letter queue and from an on-failure destination.
    check(sns(1), &["m1"]);
    let failed = |payload: &str| {
        format!(
            r#"{{"requestContext":{{"condition":"RetriesExhausted"}},"requestPayload":{payload},"responsePayload":{{"errorMessage":"no"}}}}"#
        )
    };
    check(failed(&sns(1)), &["m1"]);
    check(failed(&format!("[{},{}]", event(1), event(2))), &["m1", "m2"]);
    check(failed("null"), &["NotAnEvent {\"requestCon"]);
    // The output of one `aws sqs receive-message`, and of two in one file.
    let received = format!(r#"{{"Messages":[{},{}]}}"#, message(&sns(1)), message(&failed(&event(2))));
    check(&received, &["m1", "m2"]);
    check(format!("{received}\n{received}\n"), &["m1", "m2", "m1", "m2"]);
    check(r#"{"Messages":[]}"#, &["Empty"]);
}

#[test]
fn parts_that_are_not_about_sent_mail_are_ignored_by_name() {
    for (payload, expected) in [
        ("", "Empty"),
        (" \n ", "Empty"),
        ("[]", "Empty"),
        ("Successfully validated SNS topic for Amazon SES event publishing.", "SnsValidation"),
        (
            r#"{"Type":"Notification","Message":"Successfully validated SNS topic for Amazon SES event publishing."}"#,
            "SnsValidation",
        ),
        (r#"{"Type":"UnsubscribeConfirmation","Message":"You have chosen"}"#, "SubscriptionConfirmation"),
        (
            r#"{"detail-type":"AWS API Call via CloudTrail","source":"aws.ses","detail":{}}"#,
            "OtherDetailType",
        ),
        (r#"{"notificationType":"AmazonSnsSubscriptionSucceeded","message":"You have"}"#, "SnsValidation"),
        (r#"{"notificationType":"Received","mail":{}}"#, "InboundMail"),
        (r#"{"eventType":"New <a@b>","mail":{}}"#, "UnknownEventType(\"New ?a?b?\")"),
    ] {
        check(payload, &[expected]);
    }
}

#[test]
fn parts_that_cannot_be_counted_are_unreadable_for_a_named_reason() {
    let whole = event(1);
    for (from, to, expected) in [
        ("\"eventType\":\"Send\",", "", "MissingField(\"eventType\")"),
        ("\"Send\"", "5", "WrongType(\"eventType\")"),
        ("\"messageId\":\"m1\",", "", "MissingField(\"mail.messageId\")"),
        ("\"m1\"", "{}", "WrongType(\"mail.messageId\")"),
        ("\"m1\"", "null", "MissingField(\"mail.messageId\")"),
        ("2025-11-13T02", "2025-11-13T25", "TimeNotUnderstood(\"mail.timestamp\")"),
        ("2025-", "9999-", "TimeOutOfRange(\"mail.timestamp\")"),
        ("\"Send\"", "\"Delivery\"", "MissingField(\"delivery.timestamp\")"),
        ("\"mail\":{", "\"mail\":0,\"x\":{", "MissingField(\"mail.timestamp\")"),
    ] {
        let changed = whole.replace(from, to);
        assert_ne!(changed, whole);
        assert!(
            outcomes(changed.as_bytes())[0].starts_with(expected),
            "{changed}: {:?}",
            outcomes(changed.as_bytes())
        );
    }
    check(r#"{"hello":"world"}"#, &["NotAnEvent {\"hello\":\"wo"]);
    check(r#"{"detail-type":"x","source":"aws.ec2","detail":{}}"#, &["NotAnEvent {\"detail-typ"]);
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    check(deep, &["TooDeep { at: 64 } [[[[[[[[[[[["]);
}

#[test]
fn body_may_come_before_the_event_type() {
    let body = r#""open":{"timestamp":"2025-11-13T03:00:00Z","userAgent":"x","ipAddress":"y"}"#;
    let mail = r#""mail":{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m1"}"#;
    let event_type = r#""eventType":"Open""#;
    for order in [
        [body, mail, event_type],
        [event_type, body, mail],
        [mail, body, event_type],
        [mail, event_type, body],
    ] {
        check(format!("{{\"click\":{{}},{},\"bounce\":null}}", order.join(",")), &["m1"]);
    }
}

fn samples() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
    std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn line_of_separators_does_not_affect_others() {
    for line in [",", " , ", ",,", "]", "}", ":"] {
        let payload = [event(1).as_bytes(), b"\n", line.as_bytes(), b"\n", event(2).as_bytes()].concat();
        let outcomes = outcomes(&payload);
        assert!(outcomes.iter().any(|outcome| outcome == "m2"), "{line}: {outcomes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn corrupted_samples_end_in_outcomes(
        sample in prop::sample::select(samples()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_usize), 1..6),
    ) {
        let mut bytes = sample;
        for (index, byte, how) in changes {
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => bytes.truncate(at.max(1)),
                _ => { bytes.remove(at); bytes.push(b'}'); }
            }
        }
        let mut count = 0;
        Decoder::new().decode(&bytes, &mut |decoded| { line(&decoded); count += 1; });
        prop_assert!(count > 0);
    }

    #[test]
    fn every_payload_ends_in_outcomes(lines in prop::collection::vec("[^\n]{0,40}", 0..6)) {
        let text = lines.join("\n");
        prop_assert!(!outcomes(text.as_bytes()).is_empty());
    }

    #[test]
    fn whole_lines_survive_garbage_between_them(garbage in prop::collection::vec(any::<u8>(), 0..60)) {
        let payload = [event(1).as_bytes(), b"\n", &garbage, b"\n", event(2).as_bytes()].concat();
        let outcomes = outcomes(&payload);
        prop_assert_eq!(outcomes.first().map(String::as_str), Some("m1"));
        prop_assert!(outcomes.iter().any(|outcome| outcome == "m2"), "{:?}", outcomes);
    }
}

#[test]
fn only_kafka_has_records_by_partition() {
    check(format!(r#"{{"records":{{"topic-0":[{}]}}}}"#, event(1)), &["m1"]);
    check(format!(r#"{{"Records":{{"topic-0":[{}]}}}}"#, event(1)), &["NotAnEvent {\"Records\":{"]);
}

#[test]
fn batch_from_lambdas_failure_destination_is_decoded() {
    let records = serde_json::json!({ "Records": [{ "kinesis": { "data": STANDARD.encode(event(1)) } }] });
    let document = serde_json::json!({
        "requestContext": { "condition": "RetryAttemptsExhausted" },
        "KinesisBatchInfo": { "shardId": "shardId-000000000000", "batchSize": 1 },
        "payload": records.to_string(),
    });
    check(document.to_string(), &["m1"]);
}
