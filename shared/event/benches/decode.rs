//! Measures decoding: NDJSON lines and a Lambda event from Kinesis, with SES events of about 2.4 KB.
//!
//! One iteration decodes one batch; criterion's throughput is in events (elements) a second.

use std::hint::black_box;

use base64::Engine as _;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use event::{Decoded, Decoder};

const EVENTS: u64 = 1000;

/// Event number `n`, with the mix of types, the headers and the sizes of a marketing program.
fn ses_event(n: u64) -> String {
    let id = format!("0100019a7b{n:06x}-c421e265-f034-4575-9ecc-3ca3{n:08x}-000000");
    let recipient = format!("reader{n}@{}", if n.is_multiple_of(2) { "gmail.com" } else { "example.com" });
    let (event_type, body) = match n % 8 {
        0 | 1 => ("Send", "\"send\":{}".to_owned()),
        2..=4 => (
            "Delivery",
            format!(
                "\"delivery\":{{\"timestamp\":\"2025-11-13T02:15:24.{:03}Z\",\"processingTimeMillis\":{},\"recipients\":[\"{recipient}\"],\
                 \"smtpResponse\":\"250 2.0.0 OK  1763000124 d75a77b69052e-4ede88c2f8asi12345671cf.123 - gsmtp\",\"remoteMtaIp\":\"192.0.2.26\",\
                 \"reportingMTA\":\"a8-21.smtp-out.amazonses.com\"}}",
                n % 1000,
                400 + n % 3000
            ),
        ),
        5 => (
            "Bounce",
            format!(
                "\"bounce\":{{\"feedbackId\":\"0100019a7b{n:06x}-aaaa-000000\",\"bounceType\":\"Permanent\",\"bounceSubType\":\"General\",\
                 \"bouncedRecipients\":[{{\"emailAddress\":\"{recipient}\",\"action\":\"failed\",\"status\":\"5.1.1\",\
                 \"diagnosticCode\":\"smtp; 550-5.1.1 The email account that you tried to reach does not exist.\\n550 5.1.1 NoSuchUser - gsmtp\"}}],\
                 \"timestamp\":\"2025-11-13T02:15:25.123Z\",\"remoteMtaIp\":\"192.0.2.26\",\"reportingMTA\":\"dns; a8-21.smtp-out.amazonses.com\"}}"
            ),
        ),
        6 => (
            "Open",
            "\"open\":{\"timestamp\":\"2025-11-13T03:15:25.123Z\",\"userAgent\":\"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)\",\"ipAddress\":\"192.0.2.17\"}".to_owned(),
        ),
        _ => (
            "Click",
            format!("\"click\":{{\"timestamp\":\"2025-11-13T04:15:25.123Z\",\"ipAddress\":\"192.0.2.17\",\"link\":\"https://shop.example.com/spring?item={n}\",\
             \"linkTags\":null,\"userAgent\":\"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1\"}}"),
        ),
    };
    format!(
        "{{\"eventType\":\"{event_type}\",\"mail\":{{\"timestamp\":\"2025-11-13T02:15:23.456Z\",\"source\":\"Spring Shop <news@shop.example.com>\",\
         \"sourceArn\":\"arn:aws:ses:us-east-1:123456789012:identity/shop.example.com\",\"sendingAccountId\":\"123456789012\",\
         \"messageId\":\"{id}\",\"destination\":[\"{recipient}\"],\"headersTruncated\":false,\"headers\":[\
         {{\"name\":\"Received\",\"value\":\"from mailer-7.shop.example.com (mailer-7.shop.example.com [192.0.2.5]) by email-smtp.amazonaws.com with SMTP (SimpleEmailService-d-ABCDEFGHI) id {n:016x}; Thu, 13 Nov 2025 02:15:23 +0000 (UTC)\"}},\
         {{\"name\":\"From\",\"value\":\"Spring Shop <news@shop.example.com>\"}},{{\"name\":\"Reply-To\",\"value\":\"help@shop.example.com\"}},\
         {{\"name\":\"To\",\"value\":\"{recipient}\"}},{{\"name\":\"Subject\",\"value\":\"Your spring offers are here: 20 % off until Sunday \\u2600\"}},\
         {{\"name\":\"Message-ID\",\"value\":\"<{n:032x}@shop.example.com>\"}},{{\"name\":\"Date\",\"value\":\"Thu, 13 Nov 2025 02:15:23 +0000\"}},\
         {{\"name\":\"MIME-Version\",\"value\":\"1.0\"}},{{\"name\":\"Content-Type\",\"value\":\"multipart/alternative;  boundary=\\\"----=_Part_{n}_1234567890.1763000123456\\\"\"}},\
         {{\"name\":\"List-Unsubscribe\",\"value\":\"<https://shop.example.com/u/{n:032x}>, <mailto:unsubscribe@shop.example.com?subject={n:032x}>\"}},\
         {{\"name\":\"List-Unsubscribe-Post\",\"value\":\"List-Unsubscribe=One-Click\"}},{{\"name\":\"Feedback-ID\",\"value\":\"spring:eu:shop:mailgauge\"}},\
         {{\"name\":\"X-SES-CONFIGURATION-SET\",\"value\":\"marketing\"}},{{\"name\":\"X-SES-MESSAGE-TAGS\",\"value\":\"campaign=spring_sale, segment=returning, tenant=shop\"}}],\
         \"commonHeaders\":{{\"from\":[\"Spring Shop <news@shop.example.com>\"],\"replyTo\":[\"help@shop.example.com\"],\"date\":\"Thu, 13 Nov 2025 02:15:23 +0000\",\"to\":[\"{recipient}\"],\
         \"messageId\":\"{id}\",\"subject\":\"Your spring offers are here: 20 % off until Sunday \\u2600\"}},\
         \"tags\":{{\"ses:operation\":[\"SendRawEmail\"],\"ses:configuration-set\":[\"marketing\"],\"ses:source-ip\":[\"192.0.2.5\"],\"ses:from-domain\":[\"shop.example.com\"],\
         \"ses:caller-identity\":[\"mailer\"],\"ses:source-tls-version\":[\"TLSv1.3\"],\"campaign\":[\"spring_sale\"],\"segment\":[\"returning\"],\"tenant\":[\"shop\"]}}}},{body}}}"
    )
}

/// A Lambda event with one SES event in each record.
fn kinesis_batch(events: &[String]) -> String {
    let records: Vec<String> = events
        .iter()
        .enumerate()
        .map(|(n, event)| {
            let data = base64::engine::general_purpose::STANDARD.encode(event);
            format!(
                "{{\"kinesis\":{{\"kinesisSchemaVersion\":\"1.0\",\"partitionKey\":\"0100019a7b{n:06x}-c421e265-f034\",\
                 \"sequenceNumber\":\"4959033827149025660855969253836157109592157598913658{n:04}\",\"data\":\"{data}\",\
                 \"approximateArrivalTimestamp\":1763000125.678}},\"eventSource\":\"aws:kinesis\",\"eventVersion\":\"1.0\",\
                 \"eventID\":\"shardId-000000000006:4959033827149025660855969253836157109592157598913658{n:04}\",\"eventName\":\"aws:kinesis:record\",\
                 \"invokeIdentityArn\":\"arn:aws:iam::123456789012:role/mailgauge\",\"awsRegion\":\"us-east-1\",\
                 \"eventSourceARN\":\"arn:aws:kinesis:us-east-1:123456789012:stream/mail-events\"}}"
            )
        })
        .collect();
    format!("{{\"Records\":[{}]}}", records.join(","))
}

fn decode(criterion: &mut Criterion) {
    let events: Vec<String> = (0..EVENTS).map(ses_event).collect();
    let bytes: usize = events.iter().map(String::len).sum();
    let mean = bytes as u64 / EVENTS;
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(EVENTS));
    for (name, payload) in [("ndjson", events.join("\n")), ("kinesis_lambda", kinesis_batch(&events))] {
        let mut decoder = Decoder::new();
        group.bench_with_input(
            BenchmarkId::new(name, format!("{mean}_bytes")),
            payload.as_bytes(),
            |bencher, payload| {
                bencher.iter(|| {
                    let mut counts = 0;
                    decoder.decode(black_box(payload), &mut |decoded| {
                        if let Decoded::Event(event) = decoded {
                            counts += event.counts();
                        }
                    });
                    assert_eq!(counts as u64, EVENTS);
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
