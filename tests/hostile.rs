//! Hostile input to the real program: whatever it is, memory stays bounded, unreadable records are counted as such, and every valid line
//! beside them is counted.

use serde_json::Value;

use crate::support::mailgauge;

/// The limit of the peak resident memory of the process, in bytes.
const MAX_MEMORY_BYTES: u64 = 200 << 20;
const MIB: usize = 1 << 20;

/// A valid line: send number `number`.
fn send(number: usize) -> String {
    event(&format!("m{number}"), "2026-01-05T00:00:00Z", r#"["someone@example.com"]"#, "")
}

fn event(message: &str, at: &str, destination: &str, more: &str) -> String {
    format!(
        r#"{{"eventType":"Send","mail":{{"timestamp":"{at}","messageId":"{message}","destination":{destination},"tags":{{"tenant":["t"]}}{more}}},"send":{{}}}}"#
    )
}

/// Counts the input. Returns the sends and the statistics.
fn count(input: &[u8]) -> (u64, Value) {
    let (code, out, errors) =
        mailgauge(&["aggregate", "-", "--metrics", "sends", "--format", "json", "--stats"], input);
    let reply: Value = serde_json::from_str(&out).unwrap();
    let sends =
        reply["rows"].as_array().unwrap().iter().map(|row| row["metrics"]["sends"].as_u64().unwrap()).sum();
    let stats: Value = serde_json::from_str(errors.lines().last().unwrap()).unwrap();
    let nothing_readable = stats["records"] != 0 && stats["quarantined"] == stats["records"];
    assert_eq!(code, i32::from(nothing_readable), "{errors}");
    let memory = stats["peak_rss_bytes"].as_u64().unwrap();
    assert!(memory < MAX_MEMORY_BYTES, "{} MiB", memory >> 20);
    (sends, stats)
}

/// Checks how many of some lines are counted and how many are unreadable, with valid lines before, between and after them.
fn check(hostile: &[&str], counted: u64, unreadable: u64) {
    let mut input = send(0);
    for (number, line) in hostile.iter().enumerate() {
        input.extend(["\n", line, "\n", &send(number + 1)]);
    }
    let (sends, stats) = count(input.as_bytes());
    let shown: Vec<&str> = hostile.iter().map(|line| line.get(..80).unwrap_or(line)).collect();
    assert_eq!(sends, hostile.len() as u64 + 1 + counted, "{shown:?}: {stats}");
    assert_eq!(stats["quarantined"], unreadable, "{shown:?}: {stats}");
}

/// Pseudo-random bytes, each chosen from `alphabet`.
fn garbage(length: usize, alphabet: &[u8]) -> Vec<u8> {
    let mut state = 42_u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.push(alphabet[(state >> 33) as usize % alphabet.len()]);
    }
    bytes
}

#[test]
fn hundred_mebibytes_of_garbage_hide_no_valid_line() {
    let noise: Vec<u8> = (0..=255).collect();
    let chunk = garbage(MIB, &noise);
    let mut input = Vec::with_capacity(101 * MIB);
    for number in 0..100 {
        input.extend_from_slice(&chunk);
        input.push(b'\n');
        input.extend_from_slice(send(number).as_bytes());
        input.push(b'\n');
    }
    let (sends, stats) = count(&input);
    assert_eq!(sends, 100);
    assert!(stats["quarantined"].as_u64().unwrap() > 100_000, "{stats}");
    assert_eq!(stats["bytes"], input.len());
}

#[test]
fn garbage_that_looks_like_json_hides_no_valid_line() {
    let chunk = garbage(64 << 10, br#"{}[]",:\ 0e-tn"#);
    let mut input = Vec::new();
    for number in 0..50 {
        input.extend_from_slice(&chunk[number..]);
        input.push(b'\n');
        input.extend_from_slice(send(number).as_bytes());
        input.push(b'\n');
    }
    let (sends, stats) = count(&input);
    assert_eq!(sends, 50, "{stats}");
}

#[test]
fn line_of_fifty_mebibytes_is_not_held_and_hides_nothing() {
    let long = "x".repeat(50 * MIB);
    check(&[&long], 0, 1);
    check(&[&event("long", "2026-01-05T00:00:00Z", &format!("[\"{long}\"]"), "")], 0, 1);
}

#[test]
fn endless_line_needs_bounded_memory() {
    let (sends, stats) = count(&[send(0).into_bytes(), b"\n".to_vec(), vec![b'['; 50 * MIB]].concat());
    assert_eq!(sends, 1);
    assert!(stats["quarantined"].as_u64().unwrap() >= 1, "{stats}");
}

#[test]
fn deeply_nested_values_are_unreadable() {
    let depth = 200_000;
    let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    check(&[&arrays], 0, 1);
    check(&[&objects], 0, 1);
    check(&[&"[".repeat(depth)], 0, 1);
    check(
        &[&event("deep", "2026-01-05T00:00:00Z", r#"["a@example.com"]"#, &format!(",\"x\":{arrays}"))],
        0,
        1,
    );
}

#[test]
fn truncated_lines_do_not_affect_others() {
    let whole = send(1000);
    let torn: Vec<&str> = (1..whole.len()).step_by(7).map(|length| &whole[..length]).collect();
    check(&torn, 0, torn.len() as u64);
}

#[test]
fn events_with_lone_surrogates_and_unusual_escapes_are_counted() {
    let with = |more: &str| event("odd", "2026-01-05T00:00:00Z", r#"["a@example.com"]"#, more);
    check(&[&with(r#","commonHeaders":{"subject":"\ud800"}"#)], 1, 0);
    check(&[&with(r#","commonHeaders":{"subject":"\udc00\ud800 \u0000"}"#)], 1, 0);
    check(&[&event("odd", "2026-01-05T00:00:00Z", r#"["\ud83d@example.com"]"#, "")], 1, 0);
    check(&[&with(r#","x":"\ud8"}"#)], 0, 1);
}

#[test]
fn events_with_huge_numbers_are_counted() {
    for number in ["1e999", "-1e999", "99999999999999999999999999", "0.0000000000000000000000000001", "-0"] {
        let delivery = format!(
            r#"{{"eventType":"Delivery","mail":{{"timestamp":"2026-01-05T00:00:00Z","messageId":"n","destination":["a@example.com"]}},"delivery":{{"timestamp":"2026-01-05T00:00:01Z","recipients":["a@example.com"],"processingTimeMillis":{number}}}}}"#
        );
        let (_, stats) = count(delivery.as_bytes());
        assert_eq!((&stats["events"], &stats["quarantined"]), (&1.into(), &0.into()), "{number}");
    }
}

#[test]
fn times_outside_this_century_are_unreadable() {
    for (at, counted) in [
        ("2000-01-01T00:00:00Z", 1),
        ("2099-12-31T23:59:59.999Z", 1),
        ("1999-12-31T23:59:59.999Z", 0),
        ("2100-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59.999Z", 0),
        ("99999-01-01T00:00:00Z", 0),
        ("0000-00-00T00:00:00Z", 0),
        ("2026-02-30T00:00:00Z", 0),
        ("yesterday", 0),
        ("", 0),
    ] {
        check(&[&event("time", at, r#"["a@example.com"]"#, "")], counted, 1 - counted);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_are_accepted() {
    let lines: Vec<String> = (0..10).map(send).collect();
    for (input, kind) in [
        (lines.join("\r\n") + "\r\n", "CRLF"),
        (format!("\u{feff}{}\n", lines.join("\n")), "byte order mark"),
        (format!("\u{feff}{}", lines.join("\r\n")), "both"),
        (format!("\n\n \r\n{}\n\n", lines.join("\n\n")), "empty lines"),
    ] {
        let (sends, stats) = count(input.as_bytes());
        assert_eq!((sends, &stats["quarantined"]), (10, &0.into()), "{kind}");
    }
}

mod connections {
    //! Clients that hold connections without using them.

    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::process::Command;
    use std::time::Duration;

    use crate::support::{MAILGAUGE, Server};

    /// The limit on open files of the server: the usual one of a shell.
    const FILES: usize = 1024;

    fn start(folder: &std::path::Path, files: usize) -> (Server, String) {
        let mut limited = Command::new("prlimit");
        limited.args([&format!("--nofile={files}:{files}"), MAILGAUGE]).env("MAILGAUGE_LOG", "error");
        let server = Server::launch(&mut limited, "serve", &folder.join("data"), &[]);
        let host = server.address.trim_start_matches("http://").to_owned();
        (server, host)
    }

    /// Opens a connection and sends these bytes, which are not a whole request.
    fn open(host: &str, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }

    fn status(server: &Server, path: &str) -> u16 {
        let agent = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = agent.timeout_global(Some(Duration::from_secs(30))).build().new_agent();
        let key = format!("Bearer {}", server.key.as_deref().unwrap());
        let reply = agent.get(format!("{}{path}", server.address)).header("authorization", key).call();
        reply.unwrap().status().as_u16()
    }

    #[test]
    fn idle_and_slow_clients_lock_nobody_out() {
        // Few files, so that this test needs few of its own: what counts is that there are more clients than files.
        const FEW_FILES: usize = FILES / 4;
        let folder = tempfile::tempdir().unwrap();
        let (server, host) = start(folder.path(), FEW_FILES);
        let mut held = Vec::new();
        for number in 0..FEW_FILES + 64 {
            held.push(open(&host, if number % 2 == 0 { b"" } else { b"GET /healthz HTTP/1.1\r\nhos" }));
        }
        for path in ["/healthz", "/readyz", "/v1/dimensions"] {
            assert_eq!(status(&server, path), 200, "{path}");
        }
        // The oldest made room: they are closed, while the newest still wait.
        let mut byte = [0];
        assert!(matches!(held[0].read(&mut byte), Ok(0) | Err(_)));
    }

    #[test]
    fn connection_without_a_request_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let (_server, host) = start(folder.path(), FILES);
        let mut slow = open(&host, b"GET / HTTP/1.1\r\nhost: local");
        // The read itself times out after 30 s, with an error of another kind.
        assert!(matches!(slow.read(&mut [0]), Ok(0)), "the headers were not complete within 10 s");
    }
}

mod damage {
    //! Bits that flip on the disk.

    use std::path::Path;

    use crate::commands::{DataFolder, simulated};
    use crate::support::mailgauge;

    const FLIPS: usize = 300;

    /// Every number that the folder's events gave.
    fn answer(folder: &Path) -> (i32, String, String) {
        mailgauge(&["reconcile", "--format", "json", "--data", folder.to_str().unwrap()], b"")
    }

    #[test]
    fn flipped_bit_changes_no_answer_silently() {
        let data = DataFolder::new();
        data.ingest(&simulated("3", "30"));
        let (code, whole, errors) = answer(&data.path());
        assert_eq!(code, 0, "{errors}");
        let names = ["mailgauge.redb", "secrets"];
        let files = names.map(|name| (name, std::fs::read(data.path().join(name)).unwrap()));
        let bits: usize = files.iter().map(|(_, bytes)| 8 * bytes.len()).sum();
        let copy = tempfile::tempdir().unwrap();
        let mut refused = 0;
        for number in 0..FLIPS {
            // All over the folder, and each tenth in the small file with the secrets.
            let secrets = 8 * files[1].1.len();
            let bit =
                number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % if number % 10 == 0 { secrets } else { bits };
            let (flipped, bit) = if number % 10 == 0 {
                (1, bit)
            } else if bit < bits - secrets {
                (0, bit)
            } else {
                (1, bit - (bits - secrets))
            };
            for (index, (name, bytes)) in files.iter().enumerate() {
                let mut bytes = bytes.clone();
                if index == flipped {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                std::fs::write(copy.path().join(name), bytes).unwrap();
            }
            match answer(copy.path()) {
                (0, found, _) => assert_eq!(found, whole, "bit {bit} of {}", names[flipped]),
                (_, _, errors) => {
                    let is_named = errors.contains(copy.path().to_str().unwrap());
                    assert!(
                        is_named && errors.contains("restore"),
                        "bit {bit} of {}: {errors}",
                        names[flipped]
                    );
                    refused += 1;
                }
            }
        }
        assert!(refused > FLIPS / 10, "{refused} of {FLIPS} were refused: nothing was damaged");
    }
}

mod bombs {
    //! Small bodies that decompress to much.

    use std::io::Write as _;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::Value;

    use super::{MIB, send};
    use crate::support::Server;

    const BOMBS: usize = 2_000;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn body_of_bombs_inside_each_other_is_answered_for_good_and_the_events_before_them_count() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start("serve", &folder.path().join("data"), &[]);
        let bomb = STANDARD.encode(gzip(&vec![b' '; 16 * MIB]));
        let lines = format!("{}\n{}", send(1), format!("{bomb}\n").repeat(BOMBS));
        let body = gzip(lines.as_bytes());
        assert!(body.len() < 400_000, "{} bytes hold {} GiB", body.len(), BOMBS * 16 / 1_024);
        let key = format!("Bearer {}", server.key.as_deref().unwrap());
        let mut reply = ureq::post(format!("{}/v1/ingest/ses", server.address))
            .header("authorization", key)
            .send(&body)
            .unwrap();
        assert_eq!(reply.status().as_u16(), 200);
        let counted: Value = serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap();
        assert_eq!(counted["events"], 1, "{counted}");
        // A few are within the budget, and hold nothing; the others are quarantined for exceeding it.
        let [empty, refused] = ["ignored", "quarantined"].map(|field| counted[field].as_u64().unwrap());
        assert!(empty + refused == BOMBS as u64 && refused > 1_900, "{counted}");
    }
}
