//! `mailgauge ingest` to destinations that are mistyped, down, silent or refusing: messages, exit codes, and that a later run continues.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::commands::simulated;
use crate::python::root;
use crate::support::{MAILGAUGE, Server, self_signed};

/// Runs `mailgauge ingest ARGUMENTS` in a folder that also holds its journal. Returns exit code and standard error.
fn ingest(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output: Output = Command::new(MAILGAUGE)
        .arg("ingest")
        .args(arguments)
        .env("XDG_STATE_HOME", folder.join(".state"))
        .env_remove("MAILGAUGE_KEY")
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "standard output is for data");
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

fn sample() -> String {
    root().join("events/ses-send.json").to_str().unwrap().to_owned()
}

/// An address where nothing listens.
fn closed_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Reads one request, and returns its body.
fn body(stream: &TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).unwrap() > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    body
}

/// Whether a line announces the first wait of a run, which is drawn between 0 and 0.5 s and printed with one decimal place.
fn is_first_wait(line: &str) -> bool {
    let wait = line.split_once("next attempt in ").and_then(|(_, rest)| rest.split_once(" s"));
    wait.and_then(|(seconds, _)| seconds.parse().ok())
        .is_some_and(|seconds: f64| (0.0..=0.5).contains(&seconds))
}

const COUNTED: &str = r#"{"events":1,"duplicates":0,"ignored":0,"quarantined":0}"#;

/// A server that answers each request with the next reply, and repeats the last one. The receiver yields the bodies answered with 200.
fn replying_server(replies: &'static [(u16, &'static str)]) -> (String, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let body = body(&stream);
            let (status, reply) = replies[number.min(replies.len() - 1)];
            if status == 200 {
                sender.send(body).ok();
            }
            let head =
                format!("HTTP/1.1 {status} \r\ncontent-length: {}\r\nconnection: close\r\n\r\n", reply.len());
            stream.write_all(format!("{head}{reply}").as_bytes()).ok();
        }
    });
    (address, received)
}

#[test]
fn mistyped_addresses_are_refused_and_create_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (to, form) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost:8080", "http://localhost:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("example.com:443/path", "https://example.com:443/path"),
        ("htp://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("kinesis:events", "kinesis://events"),
        ("kinesis://", "kinesis://STREAM"),
        ("s3://archive/2026", "aws s3 cp"),
        ("http://127.0.0.1:99999", "not a port"),
    ] {
        let (code, stderr) = ingest(folder.path(), &[&sample(), "--to", to, "--key", "mg_x"]);
        assert_eq!(code, 2, "{to}: {stderr}");
        assert!(
            stderr.contains(form) && stderr.contains("--to") && stderr.contains("--help"),
            "{to}: {stderr}"
        );
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{to}: {left:?}");
    }
}

#[test]
fn key_with_a_new_folder_is_refused_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for to in
        ["http//127.0.0.1:8080", "mailgauge.example.com", "www.example.com/v1", "prod", "-", " ", "mg_x"]
    {
        let (code, stderr) = ingest(folder.path(), &[&sample(), &format!("--to={to}"), "--key", "mg_x"]);
        assert_eq!(code, 2, "{to}: {stderr}");
        assert!(stderr.contains("http://HOST:PORT"), "{to}: {stderr}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{to}: {left:?}");
    }
}

#[test]
fn redirect_is_reported_and_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        // Only one request is accepted: a client that followed the redirect would get no answer.
        let (mut client, _) = listener.accept().unwrap();
        let mut received = vec![0; 64 << 10];
        let _ = client.read(&mut received).unwrap();
        let reply = "HTTP/1.1 302 Found\r\nlocation: https://mail.example/v1/ingest/ses\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        client.write_all(reply.as_bytes()).unwrap();
    });
    let (code, stderr) = ingest(folder.path(), &[&sample(), "--to", &address, "--key", "mg_x"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(
        stderr.contains(r#"redirects to "https://mail.example": name that address with --to"#),
        "{stderr}"
    );
}

#[test]
fn new_data_folder_is_reported_once_and_gets_all_events() {
    let folder = tempfile::tempdir().unwrap();
    let (code, stderr) = ingest(folder.path(), &[&sample(), "--to", "data/new"]);
    let full = folder.path().canonicalize().unwrap().join("data/new");
    assert!(code == 0 && stderr.contains(&format!("created the data folder {}", full.display())), "{stderr}");
    assert!(stderr.contains("1 events counted"), "{stderr}");
    let (code, stderr) = ingest(folder.path(), &[&sample(), "--to", "data/new"]);
    assert!(code == 0 && !stderr.contains("created") && stderr.contains("continuing after"), "{stderr}");
    // A folder that was deleted gets all events again, although the journal has them.
    std::fs::remove_dir_all(&full).unwrap();
    let (code, stderr) = ingest(folder.path(), &[&sample(), "--to", "data/new"]);
    assert!(code == 0 && stderr.contains("created") && stderr.contains("1 events counted"), "{stderr}");
    let (code, stderr) = ingest(folder.path(), &[&sample(), "--to", &sample()]);
    assert!(code == 2 && stderr.contains("is a file"), "{stderr}");
}

#[test]
fn unreachable_server_is_reported_at_once_retried_and_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (closed, silent) = (closed_address(), TcpListener::bind("127.0.0.1:0").unwrap());
    let silent = silent.local_addr().map(|address| (silent, format!("http://{address}"))).unwrap();
    for (to, why) in [
        (format!("http://{closed}"), "cannot be reached"),
        (format!("https://{closed}"), "cannot be reached"),
        (silent.1.clone(), "does not answer in time"),
        ("http://no-such-host.invalid".to_owned(), "cannot be reached"),
    ] {
        let started = Instant::now();
        let give_up = ["--key", "mg_x", "--give-up-after", "2s"];
        let (code, stderr) =
            ingest(folder.path(), &[[&*sample(), "--to", &to].as_slice(), &give_up].concat());
        assert_eq!(code, 1, "{to}: {stderr}");
        assert!(stderr.contains(&to) && stderr.contains(why), "{to}: {stderr}");
        assert!(stderr.contains("error: ") && stderr.contains("gave up after 2"), "{to}: {stderr}");
        assert!(stderr.contains("run the same command again to continue there"), "{to}: {stderr}");
        assert!(started.elapsed() < Duration::from_secs(30), "{to}: {:?}", started.elapsed());
        if to.contains(&closed) {
            let first = stderr.lines().next().unwrap();
            assert!(is_first_wait(first) && first.contains("s, giving up in 2"), "{to}: {stderr}");
            assert!(stderr.matches("next attempt in").count() >= 2, "{to}: {stderr}");
        }
    }
}

#[test]
fn permanent_refusal_ends_the_run_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    let (foreign, _) = replying_server(&[(200, "<html>a shop</html>")]);
    let (moved, _) = replying_server(&[(404, "no such\npage")]);
    for (to, reason) in [
        (server.address.clone(), "401: "),
        (format!("https://127.0.0.1:{port}"), "try http://"),
        (foreign, "like a Mailgauge server"),
        (moved, "refuses with 404: no such page"),
    ] {
        let started = Instant::now();
        let (code, stderr) = ingest(folder.path(), &[&sample(), "--to", &to, "--key", "mg_wrong"]);
        assert!(code == 1 && stderr.contains(reason), "{to}: {stderr}");
        assert!(!stderr.contains("next attempt"), "{to}: {stderr}");
        assert!(started.elapsed() < Duration::from_secs(20), "{to}: {:?}", started.elapsed());
    }
}

#[test]
fn busy_server_gets_everything_once_it_accepts_requests() {
    let folder = tempfile::tempdir().unwrap();
    let (to, received) = replying_server(&[(503, r#"{"detail":"come again"}"#), (429, ""), (200, COUNTED)]);
    let (code, stderr) = ingest(folder.path(), &[&sample(), "--to", &to, "--key", "mg_x"]);
    let first = stderr.lines().next().unwrap();
    assert!(code == 0 && first.contains("answers 503: come again; ") && is_first_wait(first), "{stderr}");
    assert!(stderr.contains("answers 429") && stderr.contains("1 events counted"), "{stderr}");
    assert_eq!(received.recv().unwrap().trim_ascii(), std::fs::read(sample()).unwrap().trim_ascii());
}

#[test]
fn run_that_gave_up_continues_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let events = simulated("21", "10");
    assert!(events.len() > 600_000, "{}", events.len());
    std::fs::write(folder.path().join("events.ndjson"), &events).unwrap();
    // The server goes down before the second block, and comes back at the same address.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let first = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let body = body(&stream);
        let head = format!("HTTP/1.1 200 \r\ncontent-length: {}\r\nconnection: close\r\n\r\n", COUNTED.len());
        stream.write_all(format!("{head}{COUNTED}").as_bytes()).unwrap();
        body
    });
    let to = format!("http://{address}");
    let command = ["events.ndjson", "--to", &to, "--key", "mg_x", "--give-up-after", "1s"];
    let (code, stderr) = ingest(folder.path(), &command);
    assert_eq!(code, 1, "{stderr}");
    let mut sent = first.join().unwrap();
    let listener = TcpListener::bind(address).unwrap();
    let rest = std::thread::spawn(move || {
        let mut rest = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let body = body(&stream);
            if body.is_empty() {
                break;
            }
            rest.extend(body);
            let head =
                format!("HTTP/1.1 200 \r\ncontent-length: {}\r\nconnection: close\r\n\r\n", COUNTED.len());
            stream.write_all(format!("{head}{COUNTED}").as_bytes()).unwrap();
        }
        rest
    });
    let (code, stderr) = ingest(folder.path(), &command);
    assert!(code == 0 && stderr.contains("continuing after"), "{stderr}");
    // An empty request ends the server.
    TcpStream::connect(address).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    sent.extend(rest.join().unwrap());
    let lines = |bytes: &[u8]| bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(lines(&sent), lines(&events), "each event once");
    assert!(
        String::from_utf8(sent).unwrap().replace('\n', "")
            == String::from_utf8(events).unwrap().replace('\n', "")
    );
}

#[test]
fn untrusted_certificate_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = self_signed(folder.path());
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let options = ["--tls-certificate", certificate, "--tls-key", key];
    let server = Server::start("serve", &folder.path().join("data"), &options);
    let port = server.address.rsplit_once(':').unwrap().1;
    for (to, reason) in [
        (format!("https://localhost:{port}"), "certificate"),
        (format!("http://localhost:{port}"), "try https://"),
    ] {
        let (code, stderr) = ingest(folder.path(), &[&sample(), "--to", &to, "--key", "mg_x"]);
        assert!(code == 1 && stderr.contains(reason) && !stderr.contains("next attempt"), "{to}: {stderr}");
    }
}
