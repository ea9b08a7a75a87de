//! The commands and requests in README and `infra`, run as they are printed, against a real server.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::commands::simulated;
use crate::python::{python, root, run};
use crate::support::{MAILGAUGE, Server};

const README: &str = include_str!("../README.md");
const DASHBOARD: &str = include_str!("../infra/grafana/dashboard.json");

/// The fenced code blocks of a section of README, each with its language.
fn blocks(section: &str) -> Vec<(&'static str, &'static str)> {
    let start = README.find(section).unwrap_or_else(|| panic!("README has no {section:?}"));
    let text = &README[start + section.len()..];
    let mut found = Vec::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 1 {
            found.extend(part.split_once('\n'));
        } else if part.contains("\n#") {
            // The next section begins. Within a code block, `#` would begin a comment.
            break;
        }
    }
    found
}

/// Runs a command with `mailgauge` in the path, and `URL` and `KEY` of a server in the environment.
fn run_beside(server: &Server, key: &str, folder: &Path, command: &mut Command) -> Output {
    let programs = Path::new(MAILGAUGE).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).env("URL", &server.address).env("KEY", key);
    command.env("XDG_STATE_HOME", folder).current_dir(folder).output().unwrap()
}

/// Runs a line of shell that must succeed. Returns standard output.
fn shell(server: &Server, key: &str, folder: &Path, line: &str) -> String {
    let output = run_beside(server, key, folder, Command::new("sh").args(["-ec", line]));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn first_question_is_answered_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let key = server.key.clone().unwrap();
    let blocks = blocks("### A first question\n");
    let [("sh", shell_block), ("python", in_python), ("js", in_js)] = blocks.as_slice() else {
        panic!("{blocks:?}")
    };
    // The placeholders that a reader has to replace.
    let filled = shell_block
        .replace("http://127.0.0.1:8080", &server.address)
        .replace("KEY=mg_...", &format!("KEY={key}"));
    assert_ne!(filled, **shell_block);
    let answer: Value = serde_json::from_str(&shell(&server, &key, folder.path(), &filled)).unwrap();
    let sends = answer["rows"][0]["metrics"]["sends"].as_u64().unwrap();
    assert!(sends > 1000 && answer["rows"][0]["group"]["provider"] == "gmail", "{answer}");
    let program = folder.path().join("question.py");
    std::fs::write(&program, in_python).unwrap();
    let output = run_beside(&server, &key, folder.path(), Command::new(python()).arg(&program));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && stdout.contains("gmail"), "{stdout}{output:?}");
    let program = folder.path().join("question.mjs");
    std::fs::write(&program, in_js).unwrap();
    let output = run_beside(&server, &key, folder.path(), Command::new(node()).arg(&program));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && stdout.lines().count() >= 3, "{stdout}{output:?}");
}

/// The Node.js that Playwright installs with its driver.
fn node() -> std::path::PathBuf {
    let program =
        "import playwright, pathlib; print(pathlib.Path(playwright.__file__).parent / 'driver' / 'node')";
    let output = Command::new(python()).args(["-c", program]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// The lines of the shell blocks of a section, without comments.
fn lines(section: &str) -> Vec<String> {
    let shell = blocks(section).into_iter().filter(|(language, _)| *language == "sh");
    let lines = shell.flat_map(|(_, block)| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| line.split(" # ").next().unwrap().trim().to_owned()).collect()
}

/// Fails unless the output is a table, CSV or JSON with rows, and every column of a table or CSV has a figure other than 0.
fn has_real_rows(command: &str, out: &str) {
    if let Ok(reply) = serde_json::from_str::<Value>(out) {
        let rows = reply["rows"].as_array().unwrap_or_else(|| panic!("{command}: {out}"));
        let with_sends = rows.iter().filter(|row| row["metrics"]["sends"].as_u64() > Some(0));
        assert!(with_sends.count() > 0, "{command}: {out}");
        return;
    }
    let cells = |line: &str| -> Vec<String> {
        let separator = if line.contains(',') && command.contains("csv") { ',' } else { ' ' };
        line.split(separator).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    let mut rows = out.lines().map(cells);
    let columns = rows.next().unwrap_or_else(|| panic!("{command} prints nothing"));
    let rows: Vec<Vec<String>> = rows.collect();
    assert!(rows.len() >= 3, "{command} prints few rows: {out}");
    for (number, column) in columns.iter().enumerate() {
        let figures = rows
            .iter()
            .filter_map(|row| row.get(number))
            .filter(|cell| !cell.trim_matches(['0', '.', '–']).is_empty());
        assert!(figures.count() > 0, "{command}: {column} is empty or 0 in each row: {out}");
    }
}

#[test]
fn files_are_counted_as_in_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let key = server.key.clone().unwrap();
    let commands = lines("### Count files, without a server\n");
    assert!(commands.len() >= 4, "{commands:?}");
    let mut printed = 0;
    for command in commands {
        // Simulated events take the place of the archive in S3.
        let command = match command.strip_prefix("aws s3 cp s3://archive/2026/11/25/ day --recursive && ") {
            None => command,
            Some(rest) => {
                std::fs::create_dir_all(folder.path().join("day/07")).unwrap();
                shell(&server, &key, folder.path(), "gzip -c events.ndjson > day/07/stream-1.gz");
                rest.to_owned()
            }
        };
        let out = shell(&server, &key, folder.path(), &command);
        if command.starts_with("mailgauge aggregate") {
            has_real_rows(&command, &out);
            printed += 1;
        }
    }
    assert!(printed >= 3, "{printed}");
}

#[test]
fn server_takes_files_as_in_the_readme() {
    let commands = lines("### Run a server\n");
    let [serve, ingest] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!(serve, "mailgauge serve --data /var/lib/mailgauge --listen 127.0.0.1:8080");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let key = server.key.clone().unwrap();
    std::os::unix::fs::symlink(root().join("events"), folder.path().join("events")).unwrap();
    let ingest = ingest.replace("http://127.0.0.1:8080", "$URL").replace("mg_...", "$KEY");
    shell(&server, &key, folder.path(), &ingest);
    let ask = "curl -s \"$URL/v1/metrics?metrics=opens&from=2025-11-13&to=2025-11-14&granularity=total\" -H \"authorization: Bearer $KEY\"";
    let answer: Value = serde_json::from_str(&shell(&server, &key, folder.path(), ask)).unwrap();
    assert_eq!(answer["rows"][0]["metrics"]["opens"], 1, "{answer}");
}

/// Hourly counts of two weeks, with a day of bounces at the end.
fn counts() -> String {
    let mut csv = "time,tenant,provider,campaign,sends,deliveries,bounces_permanent\n".to_owned();
    for day in 1..=14 {
        for hour in 0..24 {
            let bounces = if day == 14 && hour >= 12 { 300 } else { 3 };
            let deliveries = 1000 - bounces;
            // Writing to a string cannot fail.
            let _ = writeln!(
                csv,
                "2026-01-{day:02}T{hour:02}:00:00Z,acme,gmail,receipts,1000,{deliveries},{bounces}"
            );
        }
    }
    csv
}

#[test]
fn past_is_examined_as_in_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let key = server.key.clone().unwrap();
    let rules = blocks("### See trouble\n").into_iter().find(|(_, block)| block.starts_with("# rules.toml"));
    std::fs::write(folder.path().join("rules.toml"), rules.unwrap().1).unwrap();
    std::fs::write(folder.path().join("counts.csv"), counts()).unwrap();
    let depth = |hour: u32| {
        format!(
            "2026-01-01T{:02}:{:02}:00Z,{}\n",
            hour / 60,
            hour % 60,
            if hour == 290 { 900 } else { 10 + hour % 3 }
        )
    };
    let series: String = (0..300).map(depth).collect();
    std::fs::write(folder.path().join("queue.csv"), format!("timestamp,value\n{series}")).unwrap();
    let stored = "mailgauge simulate --tenants 3 --emails-per-minute 40 --minutes 180 --start -3h --incident bad-list@60:minutes=90:share=0.8 | mailgauge ingest - --to DIR";
    shell(&server, &key, folder.path(), stored);
    let commands = [lines("### See trouble\n"), lines("### Tenants, keys, proof\n")].concat();
    let mut run = 0;
    for command in commands.iter().filter(|command| command.starts_with("mailgauge ")) {
        // Skipped: they need a pager, a mail server or an identity provider.
        if command.starts_with("mailgauge serve ") {
            continue;
        }
        let out = shell(&server, &key, folder.path(), command);
        // All simulated mail is readable, and no server ran detection on it.
        let may_be_empty = ["quarantine list", "alerts list"].iter().any(|words| command.contains(words));
        let lines = out.lines().count();
        assert!(lines >= 1 || may_be_empty, "{command} prints nothing");
        run += 1;
    }
    assert!(run >= 7, "{run} of {commands:?}");
}

#[test]
fn program_is_installed_as_in_the_readme() {
    let commands = lines("## Two commands\n");
    let install = commands.iter().find_map(|line| line.strip_prefix("cargo install --path "));
    let package = install.unwrap().strip_suffix(" --locked").unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(root().join(package).join("Cargo.toml"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages.iter().find(|one| one["name"] == "mailgauge").unwrap();
    let targets = ours["targets"].as_array().unwrap();
    let is_program = |target: &&Value| target["kind"][0] == "bin" && target["name"] == "mailgauge";
    assert!(targets.iter().any(|target| is_program(&target)), "{targets:?}");
    assert!(commands.iter().any(|line| line == "export PATH=\"$PWD/target/release:$PATH\""), "{commands:?}");
    assert_eq!(Path::new(MAILGAUGE).file_name().unwrap(), "mailgauge");
}

#[test]
fn every_request_in_the_readme_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let key = server.key.clone().unwrap();
    let mail = "mailgauge simulate --tenants 3 --emails-per-minute 10 --minutes 120 --start -2h | mailgauge ingest - --to \"$URL\" --key \"$KEY\"";
    shell(&server, &key, folder.path(), mail);
    let mut created_key = String::new();
    let mut requests = 0;
    for (_, block) in
        ["### Ask\n", "### See trouble\n", "### Tenants, keys, proof\n"].into_iter().flat_map(blocks)
    {
        for command in block.replace("\\\n", " ").split("\ncurl ").filter_map(curl_command) {
            let command =
                command.replace("http://127.0.0.1:8080", "$URL").replace("3f0c2a9be117", &created_key);
            let reply = shell(&server, &key, folder.path(), &command);
            let reply: Value = serde_json::from_str(&reply).unwrap_or_else(|_| panic!("{command}: {reply}"));
            let problem = reply["type"].as_str().unwrap_or_default();
            // The placeholder of an alert matches none, and one hour of mail is too short for a trend.
            let is_missing = command.contains("al_...") && problem.ends_with(":not-found");
            let has_no_mail = command.contains("/v1/trends") && problem.ends_with(":unanswerable");
            assert!(problem.is_empty() || is_missing || has_no_mail, "{command}: {reply}");
            if command.contains("/v1/query") {
                has_real_rows(&command, &reply.to_string());
            }
            if let Some(id) = reply["id"].as_str().filter(|_| reply["key"].is_string()) {
                id.clone_into(&mut created_key);
            }
            requests += 1;
        }
    }
    assert!(requests >= 10, "{requests}");
}

/// The first command of a part of a block that begins after `curl `.
fn curl_command(part: &str) -> Option<String> {
    let command = part.trim_start_matches("curl ");
    (command.starts_with("-s ")).then(|| {
        // A quoted body may contain line breaks; outside quotes a line break ends the command.
        let mut quoted = false;
        let end = command.char_indices().find(|&(_, character)| {
            quoted ^= character == '\'';
            character == '\n' && !quoted
        });
        format!("curl {}", &command[..end.map_or(command.len(), |(at, _)| at)])
    })
}

#[test]
fn every_panel_of_the_grafana_dashboard_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let key = server.key.clone().unwrap();
    let events = folder.path().join("events.ndjson");
    std::fs::write(&events, simulated("5", "30")).unwrap();
    let mut ingest = Command::new(MAILGAUGE);
    ingest.args(["ingest", "--to", &server.address, "--key", &key, "--journal"]);
    run(ingest.arg(folder.path().join("journal")).arg(&events), "the program");
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 5);
    for panel in panels {
        let target = &panel["targets"][0];
        // Grafana replaces these by the visible range, which here includes the simulated half hour.
        let filled = |text: &str| {
            text.replace("${__from:date:iso}", "2026-01-04T12:00:00.123Z")
                .replace("${__to:date:iso}", "2026-01-05T12:00:00.456Z")
                .replace("$granularity", "1h")
        };
        let options = &target["url_options"];
        let uri = format!("{}{}", server.address, filled(target["url"].as_str().unwrap()));
        let mut request = Command::new("curl");
        request.args(["-s", "-X", options["method"].as_str().unwrap(), &uri, "-H"]);
        request.arg(format!("authorization: Bearer {key}"));
        if let Some(body) = options["data"].as_str() {
            request.args(["--data", &filled(body)]);
        }
        let output = request.output().expect("this test needs curl");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = answer[target["root_selector"].as_str().unwrap()].as_array().cloned();
        let rows = rows.unwrap_or_else(|| panic!("{}: {answer}", panel["title"]));
        assert!(!rows.is_empty() || panel["title"] == "Alerts", "{}: {answer}", panel["title"]);
        for column in target["columns"].as_array().unwrap() {
            let pointer = format!("/{}", column["selector"].as_str().unwrap().replace('.', "/"));
            assert!(rows.iter().all(|row| row.pointer(&pointer).is_some()), "{}: {pointer}", panel["title"]);
        }
    }
    let text = std::fs::read_to_string(root().join("infra/grafana/datasource.yaml")).unwrap();
    assert!(
        text.contains(&format!("uid: {}", dashboard["panels"][0]["datasource"]["uid"].as_str().unwrap()))
    );
    assert_eq!(dashboard["panels"][0]["datasource"]["type"], json!("yesoreyeram-infinity-datasource"));
}
