//! The commands, run as programs: every sample of `events/` against counts made by hand, the output that scripts rely on, exit codes,
//! and the help of every command.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use adapters::embedded::EmbeddedStore;
use adapters::seal::SecretSeal;
use adapters::secrets::Secrets;
use adapters::system_clock::SystemClock;
use cells::{Block, IntakeCounts};
use event::{SequenceNumber, ShardId, TenantId};
use pipeline::history::manifest::BlockParts;
use pipeline::history::snapshot::{self, CountingProgress, Snapshot};
use pipeline::ledger::accumulate::{Accumulate, Accumulated};
use pipeline::ledger::aggregate::{Aggregation, Attempt, Batch, CommitSettings, Record, ShardCache};
use pipeline::ledger::checkpoint::Totals;
use pipeline::ledger::deduplication::DeduplicationWindow;
use pipeline::ledger::quarantine::{QuarantinedPart, Seal as _};
use pipeline::ports::{Clock as _, Item, Store as _};
use serde_json::{Value, json};

use crate::python::root;
use crate::support::{MAILGAUGE, Server, mailgauge};

/// Every count that an event can increment.
const COUNTS: &str = "sends,deliveries,bounces,bounces_permanent,bounces_transient,bounces_undetermined,suppressed,auto_replies,\
    complaints,rejects,rendering_failures,delays,delayed,opens,opens_machine,clicks,clicks_bot,bursts_split,unsubscribes,unique_opens,\
    unique_opens_tracked,unique_clicks,delivered_net,simulator";

/// A sample: its name, the number of its unreadable records, and its counts.
type Sample = (&'static str, u64, &'static [(&'static str, u64)]);

/// The samples, counted by hand: the number of unreadable records, then every count that is not 0.
const SAMPLES: [Sample; 72] = [
    // Payloads of other functions, which hold no events.
    ("api-gateway-base64.json", 0, &[("deliveries", 1), ("delivered_net", 1)]),
    ("api-make-key.json", 1, &[]),
    ("api-query.json", 1, &[]),
    (
        "array.json",
        0,
        &[
            ("sends", 1),
            ("deliveries", 1),
            ("delivered_net", 1),
            ("opens", 1),
            ("unique_opens", 1),
            ("unique_opens_tracked", 1),
        ],
    ),
    ("cloudwatch-logs-export.txt", 0, &[("sends", 1), ("bounces", 1), ("bounces_permanent", 1)]),
    ("cloudwatch-logs-lambda.json", 0, &[("sends", 1), ("bounces", 1), ("bounces_permanent", 1)]),
    ("cloudwatch-logs-search.json", 0, &[("sends", 1), ("bounces", 1), ("bounces_permanent", 1)]),
    ("eventbridge-bounce.json", 0, &[("bounces", 1), ("bounces_permanent", 1)]),
    ("eventbridge-finding-open.json", 0, &[]),
    ("eventbridge-open-machine.json", 0, &[("opens", 1), ("opens_machine", 1)]),
    ("eventbridge-sending-disabled.json", 0, &[]),
    ("firehose-http.json", 0, &[("sends", 1), ("deliveries", 1), ("delivered_net", 1)]),
    ("firehose-processing-failed.json", 0, &[("deliveries", 1), ("delivered_net", 1)]),
    ("firehose-transform.json", 0, &[("complaints", 1), ("unsubscribes", 1)]),
    ("gauge-queue-depth.json", 0, &[]),
    (
        "json-strings.ndjson",
        0,
        &[("deliveries", 1), ("delivered_net", 1), ("bounces", 1), ("bounces_permanent", 1)],
    ),
    ("kafka-connect.json", 0, &[("bounces", 1), ("bounces_permanent", 1)]),
    (
        "kafka-lambda.json",
        0,
        &[("sends", 1), ("deliveries", 1), ("delivered_net", 1), ("bounces", 1), ("bounces_permanent", 1)],
    ),
    ("kinesis-base64-twice.json", 0, &[("opens", 1), ("unique_opens", 1), ("unique_opens_tracked", 1)]),
    ("kinesis-get-records.json", 0, &[("sends", 1), ("bounces", 1), ("bounces_permanent", 1)]),
    (
        "kinesis-lambda.json",
        2,
        &[
            ("sends", 1),
            ("deliveries", 1),
            ("delivered_net", 1),
            ("bounces", 2),
            ("bounces_permanent", 1),
            ("bounces_transient", 1),
            ("auto_replies", 1),
            ("complaints", 1),
            ("rejects", 1),
            ("delays", 1),
            ("delayed", 1),
            ("opens", 1),
            ("unique_opens", 1),
            ("unique_opens_tracked", 1),
            ("clicks", 1),
            ("unique_clicks", 1),
        ],
    ),
    ("lambda-on-failure.json", 0, &[("deliveries", 1), ("delivered_net", 1)]),
    ("mixed.ndjson", 3, MIXED),
    ("mixed.ndjson.gz", 3, MIXED),
    ("mixed.ndjson.zst", 3, MIXED),
    ("notification-bounce.json", 0, &[("bounces", 1), ("bounces_permanent", 1)]),
    ("notification-complaint.json", 0, &[("complaints", 1)]),
    ("notification-delivery.json", 0, &[("deliveries", 2), ("delivered_net", 2)]),
    ("notification-received.json", 0, &[]),
    ("pretty.json", 0, &[("sends", 1), ("bounces", 3), ("bounces_permanent", 3)]),
    ("schedule.json", 1, &[]),
    ("ses-bounce-after-acceptance.json", 0, &[("bounces", 1), ("bounces_permanent", 1)]),
    ("ses-bounce-auto-reply.json", 0, &[("auto_replies", 1)]),
    ("ses-bounce-permanent.json", 0, &[("bounces", 1), ("bounces_permanent", 1)]),
    ("ses-bounce-several-reasons.json", 0, &[("bounces", 3), ("bounces_permanent", 3)]),
    ("ses-bounce-suppressed-account.json", 0, &[("bounces", 1), ("bounces_permanent", 1), ("suppressed", 1)]),
    ("ses-bounce-suppressed-global.json", 0, &[("bounces", 1), ("bounces_permanent", 1), ("suppressed", 1)]),
    ("ses-bounce-suppressed-tenant.json", 0, &[("bounces", 1), ("bounces_permanent", 1), ("suppressed", 1)]),
    (
        "ses-bounce-suppressed-unsubscribed.json",
        0,
        &[("bounces", 1), ("bounces_permanent", 1), ("suppressed", 1)],
    ),
    (
        "ses-bounce-suppressed-validation.json",
        0,
        &[("bounces", 1), ("bounces_permanent", 1), ("suppressed", 1)],
    ),
    ("ses-bounce-transient.json", 0, &[("bounces", 1), ("bounces_transient", 1)]),
    ("ses-bounce-undetermined.json", 0, &[("bounces", 1), ("bounces_undetermined", 1)]),
    ("ses-bounce-without-send-time.json", 0, &[("bounces", 1), ("bounces_permanent", 1)]),
    ("ses-bounce-without-time.json", 1, &[]),
    (
        "ses-click-burst.ndjson",
        0,
        &[("clicks", 5), ("clicks_bot", 3), ("unique_clicks", 1), ("unique_opens", 1)],
    ),
    ("ses-click.json", 0, &[("clicks", 1), ("unique_clicks", 1), ("unique_opens", 1)]),
    ("ses-complaint-not-spam.json", 0, &[]),
    ("ses-complaint-suppressed.json", 0, &[]),
    ("ses-complaint.json", 0, &[("complaints", 1)]),
    ("ses-delivery-delay-object.json", 0, &[("delays", 1), ("delayed", 1)]),
    ("ses-delivery-delay.json", 0, &[("delays", 1), ("delayed", 1)]),
    ("ses-delivery.json", 0, &[("deliveries", 1), ("delivered_net", 1)]),
    ("ses-open-bot.json", 0, &[("opens", 1), ("opens_machine", 1)]),
    ("ses-open.json", 0, &[("opens", 1), ("unique_opens", 1), ("unique_opens_tracked", 1)]),
    ("ses-reject.json", 0, &[("rejects", 1)]),
    ("ses-rendering-failure.json", 0, &[("rendering_failures", 1)]),
    ("ses-send-several-recipients.json", 0, &[("sends", 3)]),
    ("ses-send-templated.json", 0, &[("sends", 1)]),
    ("ses-send.json", 0, &[("sends", 1)]),
    ("ses-subscription-opt-in.json", 0, &[]),
    ("ses-subscription-unsubscribe.json", 0, &[("unsubscribes", 1)]),
    (
        "ses-type-spellings.ndjson",
        0,
        &[
            ("sends", 1),
            ("deliveries", 1),
            ("delivered_net", 1),
            ("bounces", 1),
            ("bounces_permanent", 1),
            ("rendering_failures", 1),
            ("delays", 1),
            ("delayed", 1),
        ],
    ),
    ("ses-unknown-type.json", 0, &[]),
    ("sns-complaint-notification.json", 0, &[("complaints", 1)]),
    ("sns-delivery.json", 0, &[("deliveries", 1), ("delivered_net", 1)]),
    ("sns-email.txt", 0, &[("deliveries", 1), ("delivered_net", 1)]),
    ("sns-lambda.json", 0, &[("sends", 1), ("deliveries", 1), ("delivered_net", 1)]),
    ("sns-message-object.json", 0, &[("deliveries", 1), ("delivered_net", 1)]),
    ("sns-subscription-confirmation.json", 0, &[]),
    ("sns-validation.json", 0, &[]),
    (
        "sqs-lambda.json",
        0,
        &[
            ("clicks", 1),
            ("unique_clicks", 1),
            ("unique_opens", 1),
            ("bounces", 1),
            ("bounces_transient", 1),
            ("rejects", 1),
        ],
    ),
    (
        "sqs-receive-message.json",
        0,
        &[("sends", 1), ("deliveries", 1), ("delivered_net", 1), ("bounces", 1), ("bounces_permanent", 1)],
    ),
];

const MIXED: &[(&str, u64)] = &[
    ("sends", 1),
    ("deliveries", 1),
    ("delivered_net", 1),
    ("auto_replies", 1),
    ("opens", 1),
    ("unique_opens", 1),
    ("unique_opens_tracked", 1),
    ("clicks", 1),
    ("unique_clicks", 1),
    ("rejects", 1),
    ("rendering_failures", 1),
    ("unsubscribes", 1),
];

fn sample(name: &str) -> String {
    root().join("events").join(name).to_str().unwrap().to_owned()
}

/// Runs a command that must succeed. Returns standard output and standard error.
fn run_ok(arguments: &[&str], input: &[u8]) -> (String, String) {
    let (code, out, errors) = mailgauge(arguments, input);
    assert_eq!(code, 0, "{arguments:?} failed: {errors}");
    (out, errors)
}

/// Runs `aggregate` and returns the counts that are not 0, and the statistics from the last line of standard error.
pub fn aggregate_counts(arguments: &[&str], input: &[u8]) -> (BTreeMap<String, u64>, Value) {
    let fixed = ["aggregate", "--format", "json", "--stats", "--metrics", COUNTS];
    let (code, out, errors) = mailgauge(&[&fixed, arguments].concat(), input);
    let stats: Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
    let nothing_readable = stats["records"] != 0 && stats["quarantined"] == stats["records"];
    assert_eq!(code, i32::from(nothing_readable), "{arguments:?}: {errors}");
    let reply: Value = serde_json::from_str(&out).unwrap();
    let mut counts = BTreeMap::new();
    for row in reply["rows"].as_array().unwrap() {
        for (name, count) in row["metrics"].as_object().unwrap() {
            *counts.entry(name.clone()).or_default() += count.as_u64().unwrap();
        }
    }
    counts.retain(|_, count| *count > 0);
    (counts, stats)
}

fn expected(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_sample_has_the_counts_made_by_hand() {
    let mut files: Vec<String> = std::fs::read_dir(root().join("events"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, SAMPLES.map(|(name, ..)| name.to_owned()), "every sample has a line in the table");
    for (name, quarantined, counts) in SAMPLES {
        let path = sample(name);
        let (found, stats) = aggregate_counts(&[&path], b"");
        assert_eq!(found, expected(counts), "{name}");
        assert_eq!(stats["quarantined"], quarantined, "{name}");
        let (piped, stats) = aggregate_counts(&["-"], &std::fs::read(&path).unwrap());
        assert_eq!(piped, found, "{name} from standard input");
        assert_eq!(stats["quarantined"], quarantined, "{name} from standard input");
    }
}

/// SES reviews an account by its hard bounces. They exclude mail that SES did not send because of the sender's own suppression lists.
#[test]
fn suppressed_mail_is_a_hard_bounce_only_if_on_the_global_list() {
    for (name, suppressed, hard) in [
        ("ses-bounce-permanent.json", 0, 1),
        ("ses-bounce-suppressed-global.json", 1, 1),
        ("ses-bounce-suppressed-account.json", 1, 0),
        ("ses-bounce-suppressed-tenant.json", 1, 0),
        ("ses-bounce-suppressed-unsubscribed.json", 1, 0),
        ("ses-bounce-suppressed-validation.json", 1, 0),
    ] {
        let metrics = "bounces,bounces_permanent,suppressed,hard_bounces,bounces_suppressed";
        let (out, _) = run_ok(&["aggregate", "--format", "json", "--metrics", metrics, &sample(name)], b"");
        let reply: Value = serde_json::from_str(&out).unwrap();
        let counts = json!({"bounces": 1, "bounces_permanent": 1, "suppressed": suppressed,
            "hard_bounces": hard, "bounces_suppressed": suppressed});
        assert_eq!(reply["rows"][0]["metrics"], counts, "{name}");
    }
}

#[test]
fn files_and_standard_input_are_counted_together() {
    let names = ["mixed.ndjson.zst", "eventbridge-bounce.json", "firehose-transform.json"].map(sample);
    let several = std::fs::read(sample("ses-send-several-recipients.json")).unwrap();
    let mut sums = expected(MIXED);
    *sums.get_mut("sends").unwrap() += 3;
    sums.extend(expected(&[("bounces", 1), ("bounces_permanent", 1), ("complaints", 1)]));
    let (found, stats) = aggregate_counts(&[&names[0], "-", &names[1], &names[2]], &gzip(&several));
    assert_eq!(found, sums);
    // One unsubscription is in two of the files.
    assert_eq!((&stats["duplicates"], &stats["quarantined"]), (&json!(1), &json!(3)));
}

/// Firehose writes records one after the other without line feeds, into gzip files in a folder per hour.
#[test]
fn firehose_archive_is_counted_with_all_its_folders() {
    let archive = tempfile::tempdir().unwrap();
    let hours = [
        ("2025/11/13/02", "ses-send.json", "ses-delivery.json"),
        ("2025/11/13/07", "ses-open.json", "ses-click.json"),
    ];
    for (hour, first, second) in hours {
        let folder = archive.path().join(hour);
        std::fs::create_dir_all(&folder).unwrap();
        let records =
            [first, second].map(|name| std::fs::read(sample(name)).unwrap().trim_ascii().to_vec()).concat();
        std::fs::write(folder.join("stream-1-2025-11-13.gz"), gzip(&records)).unwrap();
    }
    let (found, stats) = aggregate_counts(&[text(archive.path())], b"");
    let counts = [
        ("sends", 1),
        ("deliveries", 1),
        ("delivered_net", 1),
        ("opens", 1),
        ("unique_opens", 1),
        ("unique_opens_tracked", 1),
        ("clicks", 1),
        ("unique_clicks", 1),
    ];
    assert_eq!(found, expected(&counts));
    assert_eq!((&stats["events"], &stats["quarantined"]), (&json!(4), &json!(0)));
}

#[test]
fn events_in_several_samples_are_counted_once() {
    let (found, stats) = aggregate_counts(&[&sample("")], b"");
    let counts = [
        ("sends", 5),
        ("deliveries", 3),
        ("bounces", 13),
        ("bounces_permanent", 11),
        ("bounces_transient", 1),
        ("bounces_undetermined", 1),
        ("suppressed", 5),
        ("auto_replies", 2),
        ("complaints", 2),
        ("rejects", 1),
        ("rendering_failures", 1),
        ("delays", 1),
        ("delayed", 1),
        ("opens", 3),
        ("opens_machine", 2),
        ("unique_opens", 2),
        ("unique_opens_tracked", 1),
        ("clicks", 6),
        ("clicks_bot", 3),
        ("unique_clicks", 2),
        ("unsubscribes", 1),
        ("delivered_net", 1),
    ];
    assert_eq!(found, expected(&counts));
    assert_eq!(stats["quarantined"], 15);
}

/// The metrics of the only row that `aggregate` prints for some events, and why some of them have no value.
fn only_row(events: &[String], metrics: &str) -> (Value, Value) {
    let command = ["aggregate", "-", "--format", "json", "--metrics", metrics];
    let (out, _) = run_ok(&command, events.join("\n").as_bytes());
    let reply: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(reply["rows"].as_array().unwrap().len(), 1, "{reply}");
    (reply["rows"][0]["metrics"].clone(), reply["rows"][0]["reasons"].clone())
}

/// An event about mail to one recipient.
fn event_about(kind: &str, message: &str, recipient: &str, body: &Value) -> String {
    let field = match kind {
        "DeliveryDelay" => "deliveryDelay".to_owned(),
        _ => kind.to_lowercase(),
    };
    let mail = json!({"timestamp": "2025-11-13T02:15:23.456Z", "messageId": message, "source": "news@shop.example.com",
        "destination": [recipient], "tags": {"tenant": ["shop"]}});
    json!({"eventType": kind, "mail": mail, field: body}).to_string()
}

#[test]
fn mail_is_delayed_once_however_often_its_delivery_is_delayed() {
    let about = |kind: &str, message: &str, body: &Value| event_about(kind, message, "full@yahoo.com", body);
    let mut events: Vec<String> = ["m-1", "m-2", "m-3", "m-4"].map(|m| about("Send", m, &json!({}))).to_vec();
    for (message, minute) in [("m-1", 20), ("m-1", 40), ("m-2", 25), ("m-1", 59)] {
        let body = json!({"timestamp": format!("2025-11-13T02:{minute}:00Z"), "delayType": "MailboxFull",
            "delayedRecipients": [{"emailAddress": "full@yahoo.com"}]});
        events.push(about("DeliveryDelay", message, &body));
    }
    let (metrics, _) = only_row(&events, "sends,delays,delayed,delay_rate");
    assert_eq!(metrics, json!({"sends": 4, "delays": 4, "delayed": 2, "delay_rate": 0.5}));
}

#[test]
fn complaint_counts_once_and_only_at_providers_that_report() {
    let delivery = |message: &str, recipient: &str| {
        let body = json!({"timestamp": "2025-11-13T02:16:00Z", "recipients": [recipient]});
        event_about("Delivery", message, recipient, &body)
    };
    let listed =
        ["a@yahoo.com", "b@yahoo.com", "c@yahoo.com"].map(|address| json!({"emailAddress": address}));
    let complaint = |list: &[Value]| {
        let body =
            json!({"feedbackId": "f-1", "timestamp": "2025-11-13T03:00:00Z", "complainedRecipients": list});
        event_about("Complaint", "m-1", "a@yahoo.com", &body)
    };
    let metrics = "complaints,complaint_rate,complaint_rate_reported";
    let mut events = vec![delivery("m-2", "a@gmail.com"), delivery("m-3", "b@gmail.com")];
    let (none, reasons) = only_row(&events, metrics);
    assert_eq!(none, json!({"complaints": 0, "complaint_rate": null, "complaint_rate_reported": null}));
    let not_reported = json!({"complaint_rate": "not_reported", "complaint_rate_reported": "not_reported"});
    assert_eq!(reasons, not_reported);
    events.extend([delivery("m-1", "a@yahoo.com"), delivery("m-4", "d@yahoo.com")]);
    events.extend([complaint(&listed), complaint(&listed[1..])]);
    let (found, reasons) = only_row(&events, metrics);
    assert_eq!(found, json!({"complaints": 1, "complaint_rate": 0.25, "complaint_rate_reported": 0.5}));
    assert_eq!(reasons, Value::Null);
}

#[test]
fn mail_that_bounces_after_its_delivery_was_not_delivered_net() {
    let (delivery, late) = ("ses-delivery.json", "ses-bounce-after-acceptance.json");
    let read = |name: &str| std::fs::read_to_string(sample(name)).unwrap();
    let sends =
        [read("ses-send.json"), read("ses-send.json").replace("0100019a7b000001", "0100019a7b0000aa")];
    let accepted = [read(delivery), read(delivery).replace("0100019a7b000001", "0100019a7b0000aa")];
    let events = [sends.as_slice(), &accepted, &[read(late)]].concat();
    let (found, _) = only_row(&events, "delivery_rate,net_delivery_rate,bounces_after_acceptance");
    let expected = json!({"delivery_rate": 1.0, "net_delivery_rate": 0.5, "bounces_after_acceptance": 1});
    assert_eq!(found, expected);
}

#[test]
fn queue_depth_is_the_mean_of_gauges() {
    let first = std::fs::read_to_string(sample("gauge-queue-depth.json")).unwrap();
    let later = first.replace("02:15:30", "02:15:50").replace("1250", "1750");
    let unreadable = first.replace("1250", "\"many\"");
    let command = [
        "aggregate",
        "-",
        "--group-by",
        "tenant,minute",
        "--metrics",
        "queue_depth,sends",
        "--format",
        "csv",
    ];
    let (csv, errors) = run_ok(&command, format!("{first}{first}{later}{unreadable}").as_bytes());
    assert_eq!(csv, "tenant,minute,queue_depth,sends\nshop,2025-11-13T02:15:00Z,1500.0,0\n");
    assert!(errors.contains("queueDepth.depth"), "{errors}");
}

#[test]
fn aggregate_prints_the_formats_that_scripts_read() {
    let path = sample("ses-bounce-several-reasons.json");
    let command = [
        "aggregate",
        &path,
        "--group-by",
        "tenant,hour,provider",
        "--metrics",
        "bounces,bounce_rate",
        "--format",
    ];
    let (json, _) = run_ok(&[command.as_slice(), &["json"]].concat(), b"");
    let group = json!({"tenant":"shop","hour":"2025-11-13T02:00:00Z","provider":"other"});
    let rows = json!({"rows":[{"group":group,"metrics":{"bounces":3,"bounce_rate":null}}]});
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), rows);
    let (csv, _) = run_ok(&[command.as_slice(), &["csv"]].concat(), b"");
    assert_eq!(csv, "tenant,hour,provider,bounces,bounce_rate\nshop,2025-11-13T02:00:00Z,other,3,\n");
    let (table, _) = run_ok(&[command.as_slice(), &["table"]].concat(), b"");
    assert_eq!(
        table,
        "tenant  hour                  provider  bounces  bounce_rate\n\
         shop    2025-11-13T02:00:00Z  other           3            –\n"
    );
}

#[test]
fn aggregate_counts_clicks_by_link() {
    let files = [sample("ses-click-burst.ndjson"), sample("ses-click.json")];
    let settings = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&settings, "[links]\nstore = \"host_and_path\"").unwrap();
    let command = ["aggregate", &files[0], &files[1], "--by-link", "--format", "csv"];
    let allowed = [command.as_slice(), &["--attribution", text(settings.path())]].concat();
    // Three links within two seconds are a scanner's, one click among them is a person's by SES's own word; then a person comes back.
    let expected = "tenant,campaign,link,clicks,clicks_bot\n\
        shop,spring_sale,shop.example.com/spring,2,1\n\
        shop,spring_sale,shop.example.com/terms,2,1\n\
        shop,spring_sale,position:header,1,0\n\
        shop,spring_sale,shop.example.com/unsubscribe,1,1\n";
    for threads in ["1", "3"] {
        let (csv, _) = run_ok(&[allowed.as_slice(), &["--threads", threads]].concat(), b"");
        assert_eq!(csv, expected);
    }
    let (hashed, _) = run_ok(&command, b"");
    assert_eq!(hashed.matches(",link:").count(), 4, "{hashed}");
    assert!(!hashed.contains("shop.example") && !hashed.contains("position"), "{hashed}");
    let (json, _) = run_ok(&["aggregate", &files[1], "--by-link", "--format", "json"], b"");
    let row = &serde_json::from_str::<Value>(&json).unwrap()["rows"][0];
    assert_eq!(row["metrics"], json!({"clicks": 1, "clicks_bot": 0}));
    assert_eq!(mailgauge(&["aggregate", &files[0], "--by-link", "--metrics", "sends"], b"").0, 2);
}

#[test]
fn aggregate_reports_what_it_read_and_fails_if_nothing_was_readable() {
    let command = ["aggregate", "-", "--group-by", "tenant", "--metrics", "sends", "--format", "csv"];
    let (code, out, errors) =
        mailgauge(&command, b"email,status\nann@example.com,sent\nbob@example.com,sent\n");
    assert_eq!((code, out.as_str()), (1, "tenant,sends\n"), "{errors}");
    assert!(errors.contains("standard input: 3 records read: 0 events"), "{errors}");
    assert!(errors.contains("3 unreadable\nerror: no record of standard input could be read"), "{errors}");
    let path = sample("mixed.ndjson");
    let (code, _, errors) = mailgauge(&["aggregate", &path], b"");
    assert!(code == 0 && errors.contains(" 9 events (0 of them duplicates)"), "{errors}");
    assert!(errors.contains(", 3 unreadable\n") && !errors.contains("error:"), "{errors}");
    // An archive of a day without mail is not a failure, but the summary must say that it is empty.
    for input in [b"".as_slice(), b" \n\n"] {
        let (code, out, errors) = mailgauge(&command, input);
        assert_eq!((code, out.as_str()), (0, "tenant,sends\n"), "{errors}");
        assert!(errors.contains("standard input: the input is empty"), "{errors}");
    }
    // The record is readable, but has nothing to count.
    let (code, _, errors) = mailgauge(&["aggregate", &sample("sns-validation.json")], b"");
    assert!(code == 0 && errors.contains("0 events") && errors.contains("0 unreadable"), "{errors}");
}

#[test]
fn input_of_another_form_than_the_named_one_is_refused() {
    let forms = ["ses", "kinesis-lambda", "kafka-lambda"];
    for (name, form) in [
        ("ses-send.json", "ses"),
        ("array.json", "ses"),
        ("mixed.ndjson.gz", "ses"),
        ("firehose-transform.json", "ses"),
        ("sns-lambda.json", "ses"),
        ("kinesis-lambda.json", "kinesis-lambda"),
        ("kafka-lambda.json", "kafka-lambda"),
    ] {
        let path = sample(name);
        let (counts, _) = aggregate_counts(&[&path], b"");
        for other in forms {
            for threads in ["1", "2"] {
                let options = [&path, "--input", other, "--threads", threads];
                if other == form {
                    assert_eq!(aggregate_counts(&options, b"").0, counts, "{name}");
                    continue;
                }
                let (code, out, errors) = mailgauge(&[&["aggregate"], options.as_slice()].concat(), b"");
                assert_eq!((code, out.as_str()), (1, ""), "{name} as {other}: {errors}");
                assert!(errors.contains(&path) && errors.contains("as --input says"), "{errors}");
            }
        }
    }
}

#[test]
fn columns_depend_on_the_request_alone() {
    let header = |name: &str| {
        let (csv, _) = run_ok(&["aggregate", &sample(name), "--group-by", "tenant", "--format", "csv"], b"");
        csv.lines().next().unwrap().to_owned()
    };
    let columns = header("ses-send.json");
    for name in ["ses-open.json", "mixed.ndjson", "sns-validation.json"] {
        assert_eq!(header(name), columns, "{name}");
    }
    for metric in COUNTS.split(',').chain(["delivery_rate", "complaint_rate", "delivery_ms_p95"]) {
        assert!(columns.split(',').any(|column| column == metric), "{metric} is in no column: {columns}");
    }
    let (json, _) = run_ok(&["aggregate", &sample("ses-send.json"), "--format", "json"], b"");
    let rows: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows["rows"][0]["metrics"].as_object().unwrap().len(), columns.split(',').count() - 1);
    // The table for people omits metrics without a value.
    let (table, _) = run_ok(&["aggregate", &sample("ses-open.json")], b"");
    assert!(table.contains("opens") && !table.contains("bounces"), "{table}");
}

#[test]
fn metrics_of_several_event_types_are_empty_in_rows_by_event() {
    let path = sample("mixed.ndjson");
    let command = ["aggregate", &path, "--group-by", "event", "--format", "csv"];
    let metrics = ["--metrics", "sends,delivery_rate,in_flight"];
    let (csv, errors) = run_ok(&[command.as_slice(), &metrics].concat(), b"");
    assert!(csv.contains("\nSend,1,,\n"), "{csv}");
    assert!(errors.contains("delivery_rate combines several event types"), "{errors}");
    let (csv, errors) = run_ok(&command, b"");
    assert!(
        !csv.contains("delivery_rate") && !csv.contains("in_flight") && csv.contains("delivery_ms_p95"),
        "{csv}"
    );
    assert!(!errors.contains("several event types"), "{errors}");
}

#[test]
fn minutes_hours_and_days_are_starts_in_utc() {
    let path = sample("ses-open.json");
    for (unit, start) in [
        ("minute", "2025-11-13T07:31:00Z"),
        ("hour", "2025-11-13T07:00:00Z"),
        ("day", "2025-11-13T00:00:00Z"),
    ] {
        let (csv, _) =
            run_ok(&["aggregate", &path, "--group-by", unit, "--metrics", "opens", "--format", "csv"], b"");
        assert_eq!(csv, format!("{unit},opens\n{start},1\n"));
    }
}

#[test]
fn statistics_are_one_line_of_json() {
    let path = sample("mixed.ndjson");
    let (_, errors) = run_ok(&["aggregate", &path, &path, "--stats"], b"");
    let stats: Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
    let names: Vec<&str> = stats.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "events",
        "records",
        "bytes",
        "ignored",
        "quarantined",
        "duplicates",
        "seconds",
        "cpu_seconds",
        "peak_rss_bytes",
    ];
    expected.sort_unstable();
    let mut found = names.clone();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(
        (&stats["events"], &stats["duplicates"], &stats["quarantined"]),
        (&json!(18), &json!(9), &json!(6))
    );
    assert_eq!(stats["ignored"], json!({ "unknown_event_type": 2 }));
    assert_eq!(stats["bytes"], 2 * std::fs::metadata(&path).unwrap().len());
    assert!(stats["seconds"].as_f64().unwrap() > 0.0 && stats["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
}

/// Simulated events as NDJSON.
pub fn simulated(seed: &str, minutes: &str) -> Vec<u8> {
    let plan =
        ["simulate", "--tenants", "3", "--emails-per-minute", "60", "--minutes", minutes, "--seed", seed];
    run_ok(&plan, b"").0.into_bytes()
}

#[test]
fn two_threads_count_the_same_as_one() {
    let events = simulated("3", "60");
    let count = |threads: &str| {
        let group = ["--group-by", "tenant,hour,provider,campaign,event", "--threads", threads];
        let (out, _) = run_ok(&[&["aggregate", "-", "--format", "csv"], group.as_slice()].concat(), &events);
        out
    };
    let one = count("1");
    assert!(one.lines().count() > 100, "{one}");
    assert_eq!(count("2"), one);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let events = simulated("11", "10");
    assert!(events.len() > 100_000, "{} bytes", events.len());
    assert_eq!(simulated("11", "10"), events);
    assert_ne!(simulated("12", "10"), events);
}

/// A data folder in a temporary folder, and the commands that run on it.
pub struct DataFolder {
    folder: tempfile::TempDir,
}

impl DataFolder {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs a command on the folder. Returns exit code, standard output and standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        mailgauge(&[arguments, &["--data", text(&self.path())]].concat(), b"")
    }

    /// Runs a command that must succeed, and returns its rows.
    pub fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        let (code, out, errors) = self.run(&[arguments, &["--format", "json"]].concat());
        assert_eq!(code, 0, "{arguments:?} failed: {errors}");
        serde_json::from_str(&out).unwrap()
    }

    /// Counts events into the folder, and returns standard error.
    pub fn ingest(&self, events: &[u8]) -> String {
        let journal = self.folder.path().join("journal.json");
        run_ok(&["ingest", "-", "--to", text(&self.path()), "--journal", text(&journal)], events).1
    }
}

#[test]
fn second_ingest_of_the_same_events_adds_only_duplicates() {
    let data = DataFolder::new();
    let events = simulated("5", "20");
    data.ingest(&events);
    let first = data.rows(&["reconcile"]);
    data.ingest(&events);
    let second = data.rows(&["reconcile"]);
    assert_eq!(first.len(), second.len());
    assert!(first.len() > 2, "the tenants and their total: {first:?}");
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first["tenant"], second["tenant"]);
        assert_eq!(
            (&first["duplicates"], &first["drift"], &second["drift"]),
            (&json!(0), &json!(0), &json!(0))
        );
        assert_eq!(first["events_read"], first["aggregated"]);
        assert_eq!(second["aggregated"], first["aggregated"]);
        assert_eq!(second["duplicates"], first["aggregated"]);
        assert_eq!(second["events_read"], 2 * first["events_read"].as_u64().unwrap());
    }
    let (total, tenants) = second.split_last().unwrap();
    assert_eq!((&total["tenant"], &total["quarantined"]), (&Value::Null, &json!(0)));
    let sum: u64 = tenants.iter().map(|row| row["aggregated"].as_u64().unwrap()).sum();
    assert_eq!(total["aggregated"], sum);
}

#[test]
fn event_that_was_read_but_is_missing_fails_the_proof() {
    let data = DataFolder::new();
    data.ingest(&std::fs::read(sample("ses-send.json")).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(&data.path()).unwrap();
        let progress = CountingProgress::read(&store).await.unwrap();
        let shop = TenantId::new("shop").unwrap();
        let snapshot = Snapshot::read(&store, &progress, &shop).await.unwrap();
        let live =
            snapshot::read_blocks(&store, &shop, snapshot.manifest.blocks, BlockParts::CountsAndSketches)
                .await
                .unwrap()
                .complete()
                .unwrap();
        let mut items = snapshot.deltas.into_iter().chain(live.into_iter().map(|(_, item)| item));
        let item = items.next().unwrap();
        let mut block = Block::decode(&item.body).unwrap();
        let (&hour, _) = block.intake().first_key_value().unwrap();
        block.add_intake(hour, &IntakeCounts { events: 2, ..IntakeCounts::default() });
        store.put(vec![Item { body: block.encode().remove(0), ..item }]).await.unwrap();
    });
    let (code, csv, errors) = data.run(&["reconcile", "--format", "csv"]);
    assert_eq!(code, 1);
    assert!(csv.ends_with("\nshop,3,0,1,,1,2,\n,3,0,1,0,1,2,\n"), "{csv}");
    assert!(errors.starts_with("error: what was read and what is counted differ for shop"), "{errors}");
}

#[test]
fn unreadable_records_are_in_the_total_even_without_a_tenant() {
    let data = DataFolder::new();
    data.ingest(b"no JSON\n");
    let rows = data.rows(&["reconcile"]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["events_read"], &rows[0]["quarantined"]), (&json!(0), &json!(1)));
}

#[test]
fn reconcile_is_limited_to_one_tenant_and_one_range() {
    let data = DataFolder::new();
    data.ingest(&std::fs::read(sample("pretty.json")).unwrap());
    let (code, csv, errors) = data.run(&["reconcile", "--tenant", "shop", "--format", "csv"]);
    assert_eq!(code, 0, "{errors}");
    // A send, three bounces, and a complaint that is reported but not counted as one: five recipients, all of them late.
    let header = "tenant,events_read,duplicates,late,quarantined,aggregated,drift,deduplicated_since\n";
    assert_eq!(csv, format!("{header}shop,5,0,5,,5,0,\n"));
    let day = ["reconcile", "--from", "2025-11-13", "--to", "2025-11-14", "--format", "csv"];
    assert_eq!(data.run(&day).1, format!("{header}shop,4,0,4,,4,0,\n,4,0,4,0,4,0,\n"));
    let table = data.run(&["reconcile"]).1;
    assert!(table.lines().last().unwrap().starts_with("(total)"), "{table}");
    let (code, _, errors) = data.run(&["reconcile", "--tenant", "nobody"]);
    assert_eq!(
        (code, errors.as_str()),
        (1, "error: there is no tenant nobody: see mailgauge tenants list\n")
    );
}

#[test]
fn unreadable_record_is_listed_shown_replayed_and_removed() {
    let data = DataFolder::new();
    let torn = r#"{"eventType":"Send","mail":{"destination":["someone@example.org"]"#;
    let good = std::fs::read_to_string(sample("ses-send.json")).unwrap();
    let stderr = data.ingest(format!("{good}\n{torn}\nno JSON\n").as_bytes());
    assert!(stderr.contains("2 unreadable") && stderr.contains("mailgauge quarantine list"), "{stderr}");

    let listed = data.rows(&["quarantine", "list"]);
    assert_eq!(listed.len(), 2, "{listed:?}");
    let ids: Vec<String> = listed.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert!(ids[0].contains("/local/") && ids[0].ends_with("/0") && ids[1].ends_with("/1"), "{ids:?}");
    assert!(listed.iter().all(|row| row["can_be_opened"] == true && !row.to_string().contains("someone")));
    assert_eq!((&listed[0]["bytes"], &listed[1]["bytes"]), (&json!(torn.len()), &json!(7)));

    let (code, out, errors) = data.run(&["quarantine", "show", &ids[0]]);
    assert_eq!((code, out.as_str()), (0, torn), "{errors}");
    assert!(errors.contains(&ids[0]) && !errors.contains("someone"), "{errors}");
    assert_eq!(data.rows(&["quarantine", "show", &ids[1]])[0]["text"], "no JSON");

    let replayed = data.rows(&["quarantine", "replay", &ids[0]]);
    assert_eq!(replayed, [json!({"events":0,"duplicates":0,"ignored":0,"quarantined":1,"not_opened":0})]);
    let listed = data.rows(&["quarantine", "list"]);
    let ids_after: Vec<&str> = listed.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids_after.len(), 2, "the other record stays, and the replayed one returns: {listed:?}");
    assert_eq!(ids_after[0], ids[1]);
    assert!(ids_after[1].ends_with("/quarantine-replay/1/0"), "{ids_after:?}");

    assert_eq!(data.run(&["quarantine", "remove", &ids[1]]).0, 0);
    assert_eq!(data.rows(&["quarantine", "list"]).len(), 1);
    let (code, _, errors) = data.run(&["quarantine", "remove", &ids[1]]);
    assert!(code == 1 && errors.contains("see mailgauge quarantine list"), "{errors}");
    let replayed = data.rows(&["quarantine", "replay", "--all"]);
    assert_eq!(replayed[0]["quarantined"], 1);
    assert_eq!(data.rows(&["reconcile"]).last().unwrap()["drift"], 0);
}

/// An older version of the program, which can read nothing.
struct OlderVersion(SecretSeal);

impl Accumulate for OlderVersion {
    fn accumulate(&mut self, records: &[Record<'_>], _: &DeduplicationWindow) -> Accumulated {
        let mut result = Accumulated { records: records.len(), ..Accumulated::default() };
        for record in records {
            let totals = Totals { records: 1, quarantined: 1, ..Totals::default() };
            result.totals.add(&totals);
            result.per_record.push(totals);
            result.quarantined.push(QuarantinedPart {
                sequence: record.sequence.clone(),
                index: 0,
                arrived_at: record.arrived_at,
                reason: "too new".to_owned(),
                sealed: self.0.seal(&format!("quarantine#{}#0", record.sequence), record.data),
                bytes: record.data.len() as u64,
            });
        }
        result
    }
}

#[test]
fn record_that_becomes_readable_is_counted_once_and_leaves_the_quarantine() {
    let data = DataFolder::new();
    data.ingest(&std::fs::read(sample("ses-send.json")).unwrap());
    let secrets = Secrets::decode(&std::fs::read(data.path().join("secrets")).unwrap()).unwrap();
    let mut older = OlderVersion(secrets.seal());
    let contents =
        ["ses-open.json", "ses-click.json", "ses-open.json"].map(|name| std::fs::read(sample(name)).unwrap());
    let records = (1_u64..).zip(&contents).map(|(number, data)| {
        let arrived_at = SystemClock.now();
        Record { sequence: SequenceNumber::from(number), arrived_at, data }
    });
    let batch = Batch { shard: &ShardId::new("elsewhere").unwrap(), records: records.collect() };
    let attempt = Attempt { id: 1, deadline: SystemClock.now().plus_millis(60_000) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(&data.path()).unwrap();
        let settings = CommitSettings::default();
        let aggregation = Aggregation { store: &store, clock: &SystemClock, settings, attempt };
        aggregation.handle(&mut older, &mut ShardCache::default(), &batch).await.unwrap();
    });
    assert_eq!(data.rows(&["quarantine", "list"]).len(), 3);
    let replayed = data.rows(&["quarantine", "replay", "--all"]);
    assert_eq!(replayed, [json!({"events":2,"duplicates":1,"ignored":0,"quarantined":0,"not_opened":0})]);
    assert_eq!(data.rows(&["quarantine", "list"]), Vec::<Value>::new());
    let replayed = data.rows(&["quarantine", "replay", "--all"]);
    assert_eq!((&replayed[0]["events"], &replayed[0]["duplicates"]), (&json!(0), &json!(0)));
    let proof = data.rows(&["reconcile"]);
    let total = proof.last().unwrap();
    assert_eq!(
        (&total["aggregated"], &total["quarantined"], &total["drift"]),
        (&json!(3), &json!(3), &json!(0))
    );
}

#[test]
fn key_is_shown_once_and_refused_when_removed() {
    let data = DataFolder::new();
    let (code, key, errors) =
        data.run(&["keys", "add", "--tenant", "shop", "--name", "board", "--expires", "90d"]);
    assert_eq!(code, 0, "{errors}");
    assert!(key.starts_with("mg_") && key.ends_with('\n') && key.lines().count() == 1, "{key:?}");
    let key = key.trim();
    assert!(!errors.contains(key));
    let second = data.rows(&["keys", "add", "--ingest", "--name", "feed"]);
    assert_eq!((&second[0]["grants"], &second[0]["expires_at"]), (&json!("ingest"), &Value::Null));
    let listed = data.rows(&["keys", "list"]);
    assert_eq!(listed.len(), 2);
    let board = listed.iter().find(|row| row["name"] == "board").unwrap();
    assert_eq!((&board["grants"], &board["tenant"]), (&json!("tenant"), &json!("shop")));
    assert!(board["expires_at"].is_string() && board["revoked_at"].is_null());
    assert!(!listed.iter().any(|row| row.to_string().contains(key)), "a list shows a key");
    let id = board["id"].as_str().unwrap();

    let status = |server: &Server| {
        let url = format!("{}/v1/metrics?metrics=sends&from=-1d&to=now&granularity=total", server.address);
        let request = ureq::get(url).header("authorization", format!("Bearer {key}"));
        request.config().http_status_as_error(false).build().call().unwrap().status().as_u16()
    };
    let server = Server::start("serve", &data.path(), &[]);
    assert_eq!(status(&server), 200);
    let (code, _, errors) = data.run(&["keys", "list"]);
    assert!(code == 1 && errors.contains("in use by process") && errors.contains("use its API"), "{errors}");
    server.kill();
    assert_eq!(data.run(&["keys", "remove", id]).0, 0);
    assert!(data.rows(&["keys", "show", id])[0]["revoked_at"].is_string());
    assert_eq!(status(&Server::start("serve", &data.path(), &[])), 401);
    let (code, _, errors) = data.run(&["keys", "remove", "nothing"]);
    assert_eq!(
        (code, errors.as_str()),
        (1, "error: no key has the id \"nothing\": see mailgauge keys list\n")
    );
}

#[test]
fn tenant_is_listed_once_added_or_counted() {
    let data = DataFolder::new();
    assert_eq!(data.run(&["tenants", "add", "early"]).0, 0);
    data.ingest(&std::fs::read(sample("array.json")).unwrap());
    data.run(&["keys", "add", "--tenant", "shop", "--name", "board"]);
    let listed = data.rows(&["tenants", "list"]);
    assert_eq!(listed, [json!({"tenant":"early","keys":0}), json!({"tenant":"shop","keys":1})]);
    let shown = data.rows(&["tenants", "show", "shop"]);
    let (first, last) = ("2025-11-13T02:00:00Z", "2025-11-13T07:00:00Z");
    assert_eq!(shown, [json!({"tenant":"shop","events":3,"first_hour":first,"last_hour":last,"keys":1})]);
    assert_eq!(data.rows(&["tenants", "show", "early"])[0]["first_hour"], Value::Null);
    assert_eq!(data.run(&["tenants", "show", "nobody"]).0, 1);
}

#[test]
fn reserved_names_are_refused_on_the_command_line() {
    let data = DataFolder::new();
    for name in ["*", "(unassigned)", "(other)"] {
        for command in
            [["keys", "add", "--name", "board", "--tenant", name].as_slice(), &["tenants", "add", name]]
        {
            let (code, _, errors) = data.run(command);
            assert!(code == 2 && errors.contains("is reserved"), "{command:?}: {code} {errors}");
        }
    }
    // (unassigned) can be read, and leaving the tenant out reads all tenants.
    let untagged = r#"{"eventType":"Send","mail":{"timestamp":"2025-11-13T02:15:23.456Z","source":"a@example.com","messageId":"m1","destination":["b@example.com"],"tags":{}},"send":{}}"#;
    let forged = untagged.replace("m1", "m2").replace("{}},", r#"{"tenant":["*"]}},"#);
    let unassigned = untagged.replace("m1", "m3").replace("{}},", r#"{"tenant":["(unassigned)"]}},"#);
    data.ingest([untagged, &forged, &unassigned].join("\n").as_bytes());
    assert_eq!(data.rows(&["tenants", "list"]), [json!({"tenant": "(unassigned)", "keys": 0})]);
    assert_eq!(data.rows(&["tenants", "show", "(unassigned)"])[0]["events"], 3);
    assert_eq!(data.rows(&["reconcile", "--tenant", "(unassigned)"])[0]["aggregated"], 3);
    for command in [
        ["reconcile", "--tenant", "*"].as_slice(),
        &["tenants", "show", "*"],
        &["alerts", "list", "--tenant", "*"],
    ] {
        let (code, _, errors) = data.run(command);
        assert!(code == 2 && errors.contains("is reserved"), "{command:?}: {code} {errors}");
    }
}

#[test]
fn names_from_mail_never_begin_a_formula_in_csv() {
    let events: Vec<String> = ["=HYPERLINK(1)", "+1+1", "-1-1", "@SUM(1)", "-3", "spring"]
        .iter()
        .enumerate()
        .map(|(number, campaign)| {
            format!(r#"{{"eventType":"Send","mail":{{"timestamp":"2025-11-13T02:15:23.456Z","source":"a@example.com","messageId":"m{number}","destination":["b@example.com"],"tags":{{"tenant":["=acme"],"campaign":["{campaign}"]}}}},"send":{{}}}}"#)
        })
        .collect();
    let arguments =
        ["aggregate", "--group-by", "tenant,campaign", "--metrics", "sends", "--format", "csv", "-"];
    let (out, _) = run_ok(&arguments, events.join("\n").as_bytes());
    let mut lines: Vec<&str> = out.lines().skip(1).collect();
    lines.sort_unstable();
    let expected = [
        "'=acme,'+1+1,1",
        "'=acme,'-1-1,1",
        "'=acme,'=HYPERLINK(1),1",
        "'=acme,'@SUM(1),1",
        "'=acme,-3,1",
        "'=acme,spring,1",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn commands_that_read_create_no_folder() {
    let data = DataFolder::new();
    for command in [
        ["reconcile"].as_slice(),
        &["quarantine", "list"],
        &["keys", "list"],
        &["tenants", "list"],
        &["tenants", "attribution"],
        &["alerts", "list"],
        &["rules", "show"],
        &["doctor"],
    ] {
        let (code, _, errors) = data.run(command);
        assert!(code == 1 && errors.contains("is not a data folder"), "{command:?}: {errors}");
        assert!(!data.path().exists(), "{command:?}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let path = sample("ses-send.json");
    for arguments in [
        ["unknown"].as_slice(),
        &["aggregate"],
        &["aggregate", &path, "--group-by", "minute,hour"],
        &["aggregate", &path, "--group-by", "tenant,tenant"],
        &["aggregate", &path, "--group-by", "colour"],
        &["aggregate", &path, "--metrics", "opened"],
        &["aggregate", &path, "--metrics", "sends,sends"],
        &["aggregate", &path, "--threads", "0"],
        &["aggregate", &path, "--format", "xml"],
        &["ingest", &path, "--to", "ftp://example.com"],
        &["ingest", &path, "--to", "http://127.0.0.1:9"],
        &["aggregate", &path, "--tag", "a", "--tag", "b", "--tag", "c", "--tag", "d", "--tag", "e"],
        &["simulate", "--incident", "gmail-block"],
        &["simulate", "--tenants", "0"],
        &["reconcile", "--from", "2026-01-02", "--to", "2026-01-01"],
        &["reconcile", "--tenant", "a#b"],
        &["quarantine"],
        &["quarantine", "replay"],
        &["quarantine", "replay", "id", "--all"],
        &["keys", "add", "--name", "nobody's"],
        &["keys", "add", "--operator", "--ingest", "--name", "both"],
        &["keys", "add", "--operator", "--name", "late", "--expires", "yesterday"],
        &["tenants", "add", "a/b"],
    ] {
        let (code, out, errors) = mailgauge(arguments, b"");
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {errors}");
        assert!(errors.contains("--help"), "{arguments:?}: {errors}");
    }
}

#[test]
fn failures_exit_with_1_and_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.gz");
    let whole = gzip(&std::fs::read(sample("mixed.ndjson")).unwrap());
    std::fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let absent = folder.path().join("absent.json");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for (file, reason) in [(&damaged, "to its end"), (&absent, "does not exist"), (&empty, "holds no files")]
    {
        let (code, out, errors) = mailgauge(&["aggregate", text(file)], b"");
        assert_eq!((code, out.as_str()), (1, ""), "{errors}");
        assert!(errors.contains(text(file)) && errors.contains(reason), "{errors}");
    }
}

#[test]
fn every_command_describes_itself_with_an_example() {
    let commands = [
        "",
        "demo",
        "serve",
        "aggregate",
        "ingest",
        "simulate",
        "backtest",
        "detect",
        "trends",
        "alerts",
        "alerts list",
        "alerts show",
        "alerts acknowledge",
        "rules",
        "rules show",
        "rules set",
        "reconcile",
        "rebuild",
        "quarantine",
        "quarantine list",
        "quarantine show",
        "quarantine replay",
        "quarantine remove",
        "tenants",
        "tenants list",
        "tenants add",
        "tenants show",
        "tenants attribution",
        "keys",
        "keys add",
        "keys list",
        "keys show",
        "keys remove",
        "sink",
        "sink status",
        "sink rewind",
        "sink export",
        "doctor",
        "backup",
    ];
    for command in commands {
        // Without the environment, whose terminal width and settings would be in the help.
        let output = Command::new(MAILGAUGE)
            .args(command.split_whitespace())
            .arg("--help")
            .env_clear()
            .output()
            .unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Example"), "{command} has no example:\n{help}");
        insta::assert_snapshot!(format!("help_{}", command.replace(' ', "_")), help);
    }
}

#[test]
fn doctor_reports_the_state_of_each_check_and_how_to_fix_it() {
    let data = DataFolder::new();
    data.ingest(&std::fs::read(sample("ses-send.json")).unwrap());
    data.ingest(b"no event");
    let (code, json, errors) = data.run(&["doctor", "--format", "json"]);
    let checks: Vec<Value> = serde_json::from_str(&json).unwrap();
    let states: Vec<_> =
        checks.iter().map(|one| (one["check"].as_str().unwrap(), one["state"].as_str().unwrap())).collect();
    assert_eq!(
        states,
        [
            ("records", "ok"),
            ("events arrive", "ok"),
            ("shards advance", "ok"),
            ("compaction", "ok"),
            ("quarantine", "warning"),
            ("proof of counting", "ok"),
            ("tenants", "ok"),
            ("keys", "warning"),
        ],
        "{errors}"
    );
    assert_eq!(code, 0, "no check has failed: {errors}");
    for one in &checks {
        assert_eq!(one["fix"] == json!(""), one["state"] == json!("ok"), "{one}");
    }
}
