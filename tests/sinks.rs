//! A time-series store filled by the program: a data folder on its way to an InfluxDB made here, which dies in between.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::commands::{Home, counted, simulated};
use crate::support::MAILGAUGE;

/// Fields by series and time: what InfluxDB keeps.
type Kept = Arc<Mutex<BTreeMap<(String, String), String>>>;

/// An InfluxDB that answers 500 after a few requests, for as long as it is told to.
fn influx(healthy_requests: usize, unwell_requests: usize) -> (String, Kept) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let kept = Kept::default();
    let keeping = Arc::clone(&kept);
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
            let is_unwell = (healthy_requests..healthy_requests + unwell_requests).contains(&number);
            // One that is unwell keeps some lines all the same.
            let count = if is_unwell { 7 } else { usize::MAX };
            for line in lines.lines().take(count) {
                let (rest, time) = line.rsplit_once(' ').unwrap();
                let (series, fields) = rest.rsplit_once(' ').unwrap();
                keeping.lock().unwrap().insert((series.to_owned(), time.to_owned()), fields.to_owned());
            }
            let status = if is_unwell { "500 No" } else { "204 Yes" };
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    (address, kept)
}

fn sums(kept: &Kept) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for fields in kept.lock().unwrap().values() {
        for field in fields.split(',') {
            let (name, count) = field.split_once('=').unwrap();
            let count: u64 = count.strip_suffix('i').unwrap().parse().unwrap();
            *sums.entry(name.to_owned()).or_default() += count;
        }
    }
    sums
}

fn export(home: &Home, address: &str) -> Output {
    Command::new(MAILGAUGE)
        .args(["sink", "export", "--sink", "influxdb", "--influx-org", "o", "--influx-bucket", "b"])
        .args(["--influx-url", address, "--format", "json", "--data"])
        .arg(home.data())
        .env("INFLUX_TOKEN", "t")
        .output()
        .unwrap()
}

#[test]
fn a_folder_is_exported_to_influxdb_once_though_it_fails_in_between() {
    let home = Home::new();
    let events = simulated("21", "120");
    // Two batches or more.
    let half =
        events.len() / 2 + events[events.len() / 2..].iter().position(|&byte| byte == b'\n').unwrap() + 1;
    home.ingest(&events[..half]);
    home.ingest(&events);
    // The first try meets a server that is unwell four times: as often as a call is tried.
    let (address, kept) = influx(0, 4);
    let failed = export(&home, &address);
    let told = String::from_utf8(failed.stderr).unwrap();
    assert!(failed.status.code() == Some(1) && told.contains("answers 500"), "{told}");
    assert!(!kept.lock().unwrap().is_empty());
    let status = ["sink", "status", "--sink", "influxdb"];
    assert!(home.rows(&status)[0]["batches_behind"].as_u64() > Some(1));
    let (counts, _) = counted(&["-"], &events);
    for rewound in [false, true] {
        if rewound {
            let (code, _, told) = home.run(&["sink", "rewind", "--sink", "influxdb", "--all"]);
            assert_eq!(code, 0, "{told}");
        }
        let exported = export(&home, &address);
        assert!(exported.status.success(), "{exported:?}");
        let rows: Vec<Value> = serde_json::from_slice(&exported.stdout).unwrap();
        assert!(rows[0]["points"].as_u64() > Some(100) && rows[0]["left"] == false, "{rows:?}");
        let sums = sums(&kept);
        for name in ["sends", "deliveries", "bounces", "bounces_permanent", "opens", "clicks", "complaints"] {
            assert_eq!(sums.get(name), counts.get(name), "{name}");
        }
        assert_eq!(home.rows(&status)[0]["batches_behind"], 0);
    }
}
