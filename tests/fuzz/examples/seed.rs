//! Writes the initial corpora: the files in `events/`, a small event in every envelope, the blocks of these events, and queries of every
//! shape.
//!
//! It can be run from any folder. File names are derived from their content's origin, so running it twice changes nothing.
#![expect(clippy::disallowed_methods, reason = "a command-line tool that reads and writes files")]

use std::fs;
use std::io;
use std::path::Path;

/// Length of a block's header, which the checksum does not cover. The target generates headers itself.
const HEADER: usize = 13;

/// A small event in every envelope. Mutations of short inputs reach the envelopes.
const PAYLOADS: [&str; 21] = [
    "EVENT\nEVENT\n",
    "[EVENT,\nEVENT]",
    "{\"Records\":[EVENT,EVENT],\"a\":1}",
    "{\"records\":{\"t-0\":EVENT,\"t-1\":[EVENT]}}",
    "{\"Records\":[{\"kinesis\":{\"data\":\"e30=\",\"sequenceNumber\":\"7\"},\"eventID\":\"shardId-0:7\"}]}",
    "{\"Type\":\"Notification\",\"Message\":\"{\\\"eventType\\\":\\\"Send\\\"}\"}\nEVENT",
    "Successfully validated SNS topic\nEVENT",
    "{\"notificationType\":\"AmazonSnsSubscriptionSucceeded\"}\nEVENT\n\u{feff}EVENT,",
    "{\"logEvents\":[{\"message\":\"{}\"},{\"message\":EVENT}]}",
    "{\"events\":[{\"message\":EVENT}],\"searchedLogStreams\":[]}",
    "{\"Messages\":[{\"Body\":\"{}\"},{\"Body\":EVENT}]}",
    "{\"requestContext\":{},\"requestPayload\":EVENT}",
    "{\"awslogs\":{\"data\":\"ZTMwPQ==\"},\"rawData\":\"e30=\"}",
    "{\"schema\":{},\"payload\":EVENT}",
    "{\"Type\":\"Notification\",\"Message\":EVENT}",
    "{\"isBase64Encoded\":true,\"body\":\"e30=\",\"requestContext\":{}}",
    "{\"Records\":[{\"SequenceNumber\":\"1\",\"Data\":\"e30=\"}],\"MillisBehindLatest\":0}",
    "\"{\\\"eventType\\\":\\\"BOUNCE\\\",\\\"mail\\\":{\\\"messageId\\\":\\\"m\\\"},\\\"bounce\\\":{\\\"timestamp\\\":\\\"2025-11-13T02:15:23Z\\\"}}\"\nEVENT",
    "2025-11-13T02:15:26.000Z EVENT\n2025-11-13T02:15:26.000Z END\nCWL CONTROL MESSAGE: x\nEVENT",
    "{\"eventType\":\"Se\r\n nd\",\"mail\":{\"timestamp\":\"2025-11-13T02:15:23Z\",\"messageId\":\"m!\n \"}}\n\n--\nIf you wish to stop receiving notifications from this topic\nEVENT",
    "ZXlKbGRtVnVkRlI1Y0dVaU9pSlRaVzVrSWl3aWJXRnBiQ0k2ZXlKMGFXMWxjM1JoYlhBaU9pSXlNREkxTFRFeExURXpWREF5T2pFMU9qSXpXaUlzSW0xbGMzTmhaMlZKWkNJNkltMGlmWDA9\ntime,tenant,sends\n",
];
const EVENT: &str = r#"{"eventType":"Send","mail":{"timestamp":"2025-11-13T02:15:23Z","messageId":"m","destination":["a@b.c"]}}"#;

/// Queries of every shape, as bodies and as query strings.
const QUERIES: [&str; 8] = [
    r#"{"metrics":["sends","delivery_rate","delivery_ms_p95"],"from":"-7d","to":"now","granularity":"1h","group_by":["provider","campaign"],"order_by":["-sends"],"limit":2}"#,
    r#"{"metrics":["bounces","open_rate","unique_opens"],"from":"2025-11-13","to":"2025-11-14T00:00:00Z","granularity":"15m","timezone":"Europe/Berlin","fill":"zero","limit":1}"#,
    r#"{"metrics":["sends"],"basis":"send","from":"-4w","granularity":"1d","group_by":["campaign","provider"],"compare":"previous_period","limit":1}"#,
    r#"{"metrics":"sends","group_by":["tenant","recipient_domain"],"compare":"previous_year","granularity":"1mo","from":"2024-01-31","limit":1}"#,
    r#"{"metrics":["complaint_rate"],"from":"-30d","granularity":"1w","filter":{"and":[{"dimension":"provider","op":"in","value":["gmail","yahoo"]},{"not":{"dimension":"campaign","op":"prefix","value":"spring"}},{"or":[{"dimension":"segment","op":"ne","value":"x"},{"dimension":"language","op":"eq","value":"de"}]}]}}"#,
    "metrics=sends,bounce_rate&from=-24h&to=now&granularity=5m&group_by=provider&order_by=time,-sends&limit=3",
    "metrics=opens&filter=provider:gmail&filter=campaign:spring_sale&timezone=Asia/Kolkata&granularity=1d&fill=none",
    r#"metrics=queue_depth,in_flight&basis=send&from=2025-11-13T00:00:00Z&granularity=1m&compare=previous_year&filter={"dimension":"tag2","op":"eq","value":""}"#,
];

fn main() -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = here.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    for entry in fs::read_dir(here.join("../../events"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let payload = fs::read(entry.path())?;
        write("decode", &name, &payload)?;
        for (number, (_, block)) in fuzz::blocks(&payload).into_iter().enumerate() {
            let by_day = block.clone().roll_up(cells::Resolution::Day);
            for (block, resolution) in [(block, "minute"), (by_day, "day")] {
                let encoded = block.encode().concat();
                let body = encoded.get(HEADER..).unwrap_or_default();
                write("block", &format!("{name}-{number}-{resolution}"), body)?;
            }
        }
    }
    for (number, payload) in PAYLOADS.iter().enumerate() {
        write("decode", &format!("envelope-{number}"), payload.replace("EVENT", EVENT).as_bytes())?;
    }
    for (number, query) in QUERIES.iter().enumerate() {
        write("query", &format!("shape-{number}"), query.as_bytes())?;
    }
    Ok(())
}
