//! No address, subject, IP address or link is stored in clear text. A server and a data folder are fed with samples and simulated traffic,
//! including truncated records; then everything on disk is searched for the personal data of the input. Blocks are compressed, so they
//! are searched decoded as well.

use std::collections::BTreeSet;
use std::path::Path;

use adapters::embedded::EmbeddedStore;
use cells::Block;
use memchr::memmem;
use pipeline::directory::tenants;
use pipeline::history::manifest::BlockParts;
use pipeline::history::snapshot::{self, CountingProgress, Snapshot};
use serde_json::Value;

use crate::python::root;
use crate::support::{Server, mailgauge};

/// Fields with personal data, besides every word that contains an @.
const FIELDS: [&str; 6] = ["subject", "ipAddress", "link", "ses:source-ip", "remoteMtaIp", "userAgent"];
/// Links with a secret in every place where one can be, and what may be kept of them.
const LINKS: [(&str, &str); 4] = [
    ("https://anna-secret:pw-secret@shop.example:8443/sale?token=q-secret#f-secret", "shop.example/sale"),
    ("https://shop.example/u/secret7token/settings", "shop.example/u/:id/settings"),
    ("https://shop.example/u/anna-secret%40mail.example/mute", "shop.example/u/:id/mute"),
    ("mailto:anna-secret@mail.example", "(invalid)"),
];

/// Collects the personal data of a JSON value; `name` is the name of its field.
fn collect(name: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            if let Ok(inner @ Value::Object(_)) = serde_json::from_str(text) {
                return collect(name, &inner, found);
            }
            if FIELDS.contains(&name) {
                found.insert(text.clone());
            }
            let words = text.split(|c: char| c.is_whitespace() || "<>,;\"".contains(c));
            found.extend(words.filter(|word| word.contains('@')).map(str::to_owned));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(name, value, found)),
        Value::Object(fields) => {
            if fields.get("name").is_some_and(|name| name == "Subject") {
                found.extend(fields.get("value").and_then(Value::as_str).map(str::to_owned));
            }
            fields.iter().for_each(|(name, value)| collect(name, value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Collects the personal data of all JSON values in a file.
fn collect_from_file(bytes: &[u8], found: &mut BTreeSet<String>) {
    let whole: Vec<Value> =
        serde_json::Deserializer::from_slice(bytes).into_iter().map_while(Result::ok).collect();
    let lines = bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    for value in whole.into_iter().chain(lines) {
        collect("", &value, found);
    }
}

/// Collects all files below a folder, with their content.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// The number of blocks in a data folder, and their decoded content as text.
async fn decoded_blocks(data: &Path) -> (usize, String) {
    let store = EmbeddedStore::open(data).unwrap();
    let progress = CountingProgress::read(&store).await.unwrap();
    let (mut count, mut text) = (0, String::new());
    for tenant in tenants::list(&store).await.unwrap() {
        let snapshot = Snapshot::read(&store, &progress, &tenant).await.unwrap();
        let live =
            snapshot::read_blocks(&store, &tenant, snapshot.manifest.blocks, BlockParts::CountsAndSketches)
                .await
                .unwrap()
                .complete()
                .unwrap();
        for item in snapshot.deltas.into_iter().chain(live.into_iter().map(|(_, item)| item)) {
            count += 1;
            text.extend([tenant.to_string(), format!("{:?}", Block::decode(&item.body).unwrap())]);
        }
    }
    (count, text)
}

#[test]
fn data_folder_and_log_hold_no_personal_data() {
    let folder = tempfile::tempdir().unwrap();
    let plan = ["simulate", "--tenants", "3", "--emails-per-minute", "20", "--minutes", "30", "--out"];
    let traffic = folder.path().join("traffic.ndjson");
    let (code, _, errors) = mailgauge(&[plan.as_slice(), &[traffic.to_str().unwrap()]].concat(), b"");
    assert_eq!(code, 0, "{errors}");
    let mut input = std::fs::read(&traffic).unwrap();
    let mut found = BTreeSet::new();
    collect_from_file(&input, &mut found);
    // The truncated last line is unreadable, so it is kept, encrypted. It contains addresses as well.
    let half = input.len() / 2;
    input.truncate(half);
    std::fs::write(&traffic, &input).unwrap();
    for entry in std::fs::read_dir(root().join("events")).unwrap() {
        collect_from_file(&std::fs::read(entry.unwrap().path()).unwrap(), &mut found);
    }
    // Very short texts occur everywhere.
    found.retain(|text| text.len() > 5);
    for (example, kind) in
        [("anna.novak@gmail.com", "address"), ("Your spring offers are here", "subject"), ("192.0.2.5", "IP")]
    {
        assert!(found.contains(example), "no {kind} was collected");
    }
    assert!(found.iter().any(|text| text.starts_with("https://")) && found.len() > 500, "{}", found.len());

    let data = folder.path().join("data");
    let samples = root().join("events");
    let journal = folder.path().join("journal.json");
    let ingest = [
        "ingest",
        traffic.to_str().unwrap(),
        samples.to_str().unwrap(),
        "--journal",
        journal.to_str().unwrap(),
    ];
    let server = Server::start("serve", &data, &[]);
    let key = server.key.clone().unwrap();
    let (code, _, stderr) =
        mailgauge(&[&ingest, ["--to", &server.address, "--key", &key].as_slice()].concat(), b"");
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("quarantine list"), "nothing was quarantined: {stderr}");
    server.kill();
    // A second time, straight into the folder: duplicates, and compaction by a command.
    let to = data.to_str().unwrap();
    let (code, _, second_stderr) = mailgauge(&[&ingest, ["--to", to].as_slice()].concat(), b"");
    assert_eq!(code, 0, "{second_stderr}");

    let mut kept = Vec::new();
    files(&data, &mut kept);
    kept.push(("the log".to_owned(), std::fs::read(data.with_extension("log")).unwrap()));
    kept.push(("the output of ingest".to_owned(), [stderr, second_stderr].concat().into_bytes()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (count, decoded) = runtime.block_on(decoded_blocks(&data));
    assert!(count > 3 && decoded.contains("gmail.com"), "{count} blocks");
    kept.push(("the decoded blocks".to_owned(), decoded.into_bytes()));
    for text in &found {
        let lower = text.to_lowercase();
        for needle in [text.as_bytes(), lower.as_bytes()] {
            for (name, bytes) in &kept {
                assert!(memmem::find(bytes, needle).is_none(), "{text:?} is in {name}");
            }
        }
    }
}

/// Counts [`LINKS`] into a data folder under an attribution file with this text. Returns everything on disk, blocks decoded.
fn counted_links(attribution: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let clicks: Vec<String> = LINKS
        .iter()
        .enumerate()
        .map(|(number, (link, _))| {
            let mail = serde_json::json!({
                "timestamp": "2026-11-25T10:00:00Z", "messageId": format!("m-{number}"), "source": "news@shop.example",
                "destination": ["anna@mail.example"], "tags": { "tenant": ["acme"], "campaign": ["spring"] },
            });
            let click = serde_json::json!({
                "timestamp": "2026-11-25T11:00:00Z", "ipAddress": "192.0.2.5", "userAgent": "Mozilla/5.0", "link": link,
                "linkTags": if number == 0 { serde_json::json!({ "reader": ["tag-secret"] }) } else { Value::Null },
            });
            serde_json::json!({ "eventType": "Click", "mail": mail, "click": click }).to_string()
        })
        .collect();
    let [events, settings, data] =
        ["events.ndjson", "attribution.toml", "data"].map(|name| folder.path().join(name));
    std::fs::write(&events, clicks.join("\n")).unwrap();
    std::fs::write(&settings, attribution).unwrap();
    let [events, settings, to] = [&events, &settings, &data].map(|path| path.to_str().unwrap());
    let (code, _, stderr) = mailgauge(&["ingest", events, "--to", to, "--attribution", settings], b"");
    assert_eq!(code, 0, "{stderr}");
    let mut kept = Vec::new();
    files(&data, &mut kept);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (_, decoded) = runtime.block_on(decoded_blocks(&data));
    kept.into_iter().flat_map(|(_, bytes)| bytes).chain(decoded.into_bytes()).collect()
}

#[test]
fn nothing_of_a_link_is_stored_but_what_the_operator_allows() {
    for (settings, keeps_tags, keeps_paths) in [
        ("", false, false),
        ("[links]\nstore = \"tags\"", true, false),
        ("[links]\nstore = \"host_and_path\"", true, true),
    ] {
        let kept = counted_links(settings);
        let has = |text: &str| memmem::find(&kept, text.as_bytes()).is_some();
        assert!(has("spring"), "nothing was counted");
        assert_eq!(has("reader:tag-secret"), keeps_tags, "{settings}");
        assert_eq!(LINKS[1..3].iter().all(|(_, name)| has(name)), keeps_paths, "{settings}");
        // Not even a part of what is left out.
        for secret in
            ["anna-secret", "pw-secret", "q-secret", "f-secret", "secret7token", "mail.example/mute"]
        {
            assert!(!has(secret), "{secret} is stored under {settings:?}");
        }
        assert_eq!(has("shop.example/"), keeps_paths, "{settings}");
    }
}
