//! Export of a data folder to a time-series store: an InfluxDB played by this test, which fails for a while.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::commands::{DataFolder, aggregate_counts, simulated};
use crate::support::MAILGAUGE;

/// The points that InfluxDB has stored: fields by series and time.
type Points = Arc<Mutex<BTreeMap<(String, String), String>>>;

/// An InfluxDB that answers `healthy` requests, then fails for the next `failing` ones, then is healthy for good.
fn influx(healthy: usize, failing: usize) -> (String, Points) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let points = Points::default();
    let stored = Arc::clone(&points);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut packed = vec![0; length];
            reader.read_exact(&mut packed).unwrap();
            let mut lines = String::new();
            flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut lines).unwrap();
            let is_failing = (healthy..healthy + failing).contains(&number);
            // A failing request may have stored some of its lines.
            let count = if is_failing { 7 } else { usize::MAX };
            for line in lines.lines().take(count) {
                let (rest, time) = line.rsplit_once(' ').unwrap();
                let (series, fields) = rest.rsplit_once(' ').unwrap();
                stored.lock().unwrap().insert((series.to_owned(), time.to_owned()), fields.to_owned());
            }
            let status = if is_failing { "500 No" } else { "204 Yes" };
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    (address, points)
}

fn sums(points: &Points) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for fields in points.lock().unwrap().values() {
        for field in fields.split(',') {
            let (name, count) = field.split_once('=').unwrap();
            let count: u64 = count.strip_suffix('i').unwrap().parse().unwrap();
            *sums.entry(name.to_owned()).or_default() += count;
        }
    }
    sums
}

fn export(data: &DataFolder, address: &str) -> Output {
    Command::new(MAILGAUGE)
        .args(["sink", "export", "--sink", "influxdb", "--influx-org", "o", "--influx-bucket", "b"])
        .args(["--influx-url", address, "--format", "json", "--data"])
        .arg(data.path())
        .env("INFLUX_TOKEN", "t")
        .output()
        .unwrap()
}

#[test]
fn data_folder_is_exported_once_though_influxdb_fails_for_a_while() {
    let data = DataFolder::new();
    let events = simulated("21", "120");
    // Two calls, so that there are at least two batches.
    let half =
        events.len() / 2 + events[events.len() / 2..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
    data.ingest(&events[..half]);
    data.ingest(&events);
    // The server fails four times, which is as often as a request is attempted.
    let (address, points) = influx(0, 4);
    let failed = export(&data, &address);
    let stderr = String::from_utf8(failed.stderr).unwrap();
    assert!(failed.status.code() == Some(1) && stderr.contains("answers 500"), "{stderr}");
    assert!(!points.lock().unwrap().is_empty());
    let status = ["sink", "status", "--sink", "influxdb"];
    assert!(data.rows(&status)[0]["batches_behind"].as_u64() > Some(1));
    let (counts, _) = aggregate_counts(&["-"], &events);
    for rewound in [false, true] {
        if rewound {
            let (code, _, stderr) = data.run(&["sink", "rewind", "--sink", "influxdb", "--all"]);
            assert_eq!(code, 0, "{stderr}");
        }
        let exported = export(&data, &address);
        assert!(exported.status.success(), "{exported:?}");
        let rows: Vec<Value> = serde_json::from_slice(&exported.stdout).unwrap();
        assert!(rows[0]["points"].as_u64() > Some(100) && rows[0]["left"] == false, "{rows:?}");
        let sums = sums(&points);
        for name in ["sends", "deliveries", "bounces", "bounces_permanent", "opens", "clicks", "complaints"] {
            assert_eq!(sums.get(name), counts.get(name), "{name}");
        }
        assert_eq!(data.rows(&status)[0]["batches_behind"], 0);
    }
}
