//! Requests to InfluxDB and its replies, against a minimal HTTP server.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use event::TenantId;
use flate2::read::GzDecoder;

use super::*;

/// The first line, the headers and the uncompressed body of a request.
type Request = (String, String, String);

/// A server that gives these answers, one after the other, and its address.
fn server(answers: Vec<(u16, &'static str)>) -> (String, JoinHandle<Vec<Request>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let serve = move || {
        let mut requests = Vec::new();
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut compressed = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut compressed).unwrap();
            let mut text = String::new();
            GzDecoder::new(compressed.as_slice()).read_to_string(&mut text).unwrap();
            requests.push((lines.remove(0), lines.join("\n"), text));
            write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
        requests
    };
    (address, std::thread::spawn(serve))
}

fn influx(url: String, api: Api) -> Influx {
    let text = |text: &str| text.to_owned();
    Influx::new(InfluxSettings { url, api, org: text("my org"), bucket: text("mail"), token: text("secret") })
}

fn points(count: i64) -> Vec<Point> {
    let point = |number| Point {
        tenant: TenantId::new("acme").unwrap(),
        time_ns: 1_763_000_000_000_000_000 + number,
        dimensions: vec![("campaign", "spring sale".to_owned())],
        counts: vec![("sends", 3), ("opens", 1)],
    };
    (0..count).map(point).collect()
}

#[tokio::test]
async fn each_api_version_gets_lines_at_its_own_path() {
    for (api, line, right) in [
        (Api::V2, "POST /api/v2/write?org=my%20org&bucket=mail&precision=ns HTTP/1.1", "Token secret"),
        (
            Api::V3,
            "POST /api/v3/write_lp?db=mail&precision=nanosecond&accept_partial=true HTTP/1.1",
            "Bearer secret",
        ),
    ] {
        let (address, requests) = server(vec![(204, ""), (200, "")]);
        assert_eq!(influx(address, api).write(&points(5_001)).await.unwrap(), Written::default());
        let requests = requests.join().unwrap();
        assert_eq!(requests[0].0, line);
        assert!(requests[0].1.contains(&format!("authorization: {right}")), "{}", requests[0].1);
        let counts: Vec<_> = requests.iter().map(|(_, _, text)| text.lines().count()).collect();
        assert_eq!(counts, [5_000, 1]);
        let first = r"events,tenant=acme,campaign=spring\ sale sends=3i,opens=1i 1763000000000000000";
        assert_eq!(requests[0].2.lines().next(), Some(first));
    }
}

#[tokio::test]
async fn permanently_refused_lines_are_counted_with_the_servers_message() {
    for (status, body, rejected, message) in [
        (400, r#"{"code":"invalid","message":"unable to parse"}"#, 3, "400: unable to parse"),
        (
            422,
            r#"{"message":"failure writing: partial write: points beyond retention policy dropped=2"}"#,
            2,
            "422: failure writing: partial write: points beyond retention policy dropped=2",
        ),
        (
            400,
            r#"{"error":"partial write of line protocol occurred","data":[{"line_number":2,"error_message":"bad"}]}"#,
            1,
            "400: partial write of line protocol occurred: bad",
        ),
        (400, "<html>\n", 3, "400: <html> "),
    ] {
        let (address, _requests) = server(vec![(status, body)]);
        let written = influx(address, Api::V2).write(&points(3)).await.unwrap();
        assert_eq!(written, Written { rejected, reason: Some(message.to_owned()) });
    }
}

#[tokio::test]
async fn wrong_setting_is_an_error_that_names_the_variable() {
    for (status, name) in [(401, "INFLUX_TOKEN"), (403, "INFLUX_TOKEN"), (404, "INFLUX_BUCKET")] {
        let (address, requests) = server(vec![(status, r#"{"message":"no"}"#)]);
        let error = influx(address, Api::V2).write(&points(1)).await.unwrap_err();
        let message = error.source.to_string();
        assert!(
            message.contains(name) && message.contains("(no)") && !message.contains("secret"),
            "{message}"
        );
        assert_eq!(requests.join().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn busy_server_is_retried_a_limited_number_of_times() {
    let (address, requests) = server(vec![(429, ""), (503, ""), (204, "")]);
    assert!(influx(address, Api::V2).write(&points(1)).await.is_ok());
    assert_eq!(requests.join().unwrap().len(), 3);
    let (address, requests) = server(vec![(503, "busy"); MAX_ATTEMPTS as usize]);
    let message = influx(address, Api::V2).write(&points(1)).await.unwrap_err().source.to_string();
    assert!(message.contains("answers 503 (busy)"), "{message}");
    assert_eq!(requests.join().unwrap().len(), MAX_ATTEMPTS as usize);
}

#[tokio::test]
async fn unreachable_server_is_an_error_that_names_the_variable_to_check() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = influx(format!("http://{free}"), Api::V3).write(&points(1)).await.unwrap_err();
    assert!(error.source.to_string().contains("INFLUX_URL"), "{error:?}");
}
