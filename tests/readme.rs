//! The commands, programs and requests that the documentation shows, run as they are printed, against a real server. Also the dashboard
//! for Grafana in `infra`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::commands::simulated;
use crate::python::{python, root, run};
use crate::support::{MAILGAUGE, Server, mailgauge};

/// The page for newcomers.
const START: Page = Page { name: "README.md", text: include_str!("../README.md") };
/// The page about the program.
const PROGRAM: Page =
    Page { name: "functions/mailgauge/README.md", text: include_str!("../functions/mailgauge/README.md") };
/// The page about the API.
const API: Page = Page { name: "shared/web/README.md", text: include_str!("../shared/web/README.md") };
/// The page about alerts.
const DETECTION: Page =
    Page { name: "shared/detection/README.md", text: include_str!("../shared/detection/README.md") };
const DASHBOARD: &str = include_str!("../infra/grafana/dashboard.json");

/// The sections with code blocks, all of which are run below.
const SECTIONS: [(Page, &str); 18] = [
    (START, "## Two commands"),
    (START, "## Install"),
    (START, "## A first question"),
    (PROGRAM, "## Count files, without a server"),
    (PROGRAM, "## Run a server"),
    (PROGRAM, "## Attribute events to tenants"),
    (PROGRAM, "## Manage tenants and keys"),
    (PROGRAM, "## Send alerts"),
    (PROGRAM, "## Sign in with an identity provider"),
    (PROGRAM, "## Count an archive again"),
    (PROGRAM, "## Examine the past"),
    (API, "## Query metrics"),
    (API, "### From a program"),
    (API, "## Clicks by link"),
    (API, "## Alerts"),
    (API, "## Tenants and keys"),
    (DETECTION, "## Rules"),
    (DETECTION, "## Queue depth"),
];

/// A page of the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    name: &'static str,
    text: &'static str,
}

/// The fenced code blocks of a section, each with its language. Fails if the section is not one of [`SECTIONS`].
fn blocks(page: Page, section: &str) -> Vec<(&'static str, &'static str)> {
    assert!(
        SECTIONS.contains(&(page, section)),
        "add {section:?} of {} to the sections that are run",
        page.name
    );
    let heading = format!("\n{section}\n");
    let start = page.text.find(&heading).unwrap_or_else(|| panic!("{} has no {section:?}", page.name));
    let text = &page.text[start + heading.len()..];
    let mut found = Vec::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 1 {
            found.extend(part.split_once('\n'));
        } else if part.contains("\n#") {
            // The next section begins. Within a code block, `#` would begin a comment.
            break;
        }
    }
    assert!(!found.is_empty(), "{section:?} of {} has no code block", page.name);
    found
}

/// The code block that begins with a comment which names a file.
fn file_block(page: Page, section: &str, name: &str) -> &'static str {
    let named = blocks(page, section).into_iter().find(|(_, block)| block.starts_with(&format!("# {name}")));
    named.unwrap_or_else(|| panic!("{section:?} of {} shows no {name}", page.name)).1
}

#[test]
fn every_section_with_code_is_run() {
    for page in [START, PROGRAM, API, DETECTION] {
        let mut heading = "";
        let mut is_code = false;
        for line in page.text.lines() {
            if line.starts_with("```") {
                is_code = !is_code;
                let is_diagram = line == "```";
                assert!(
                    !is_code || is_diagram || SECTIONS.contains(&(page, heading)),
                    "{}: no test runs the code in {heading:?}",
                    page.name
                );
            } else if line.starts_with('#') && !is_code {
                heading = line;
            }
        }
        assert!(!is_code, "{}: a code block has no end", page.name);
    }
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
    let start_blocks = blocks(START, "## A first question");
    let [("sh", serve), ("sh", shell_block), ("json", printed)] = start_blocks.as_slice() else {
        panic!("{start_blocks:?}")
    };
    assert_eq!(serve.trim(), "mailgauge serve --data /tmp/mailgauge");
    // The placeholders that a reader has to replace.
    let filled = shell_block
        .replace("http://127.0.0.1:8080", &server.address)
        .replace("KEY=mg_...", &format!("KEY={key}"));
    assert_ne!(filled, **shell_block);
    let answer: Value = serde_json::from_str(&shell(&server, &key, folder.path(), &filled)).unwrap();
    let sends = answer["rows"][0]["metrics"]["sends"].as_u64().unwrap();
    assert!(sends > 1000 && answer["rows"][0]["group"]["provider"] == "gmail", "{answer}");
    // The page shows the beginning of the answer: its fields must exist.
    let (row, meta) = (&answer["rows"][0], &answer["meta"]);
    for (object, name) in [
        (&answer, "rows"),
        (row, "group"),
        (&row["group"], "provider"),
        (row, "metrics"),
        (&row["metrics"], "sends"),
        (&row["metrics"], "delivery_rate"),
        (&answer, "meta"),
        (meta, "complete_until"),
        (meta, "newest_event"),
    ] {
        assert!(printed.contains(&format!("\"{name}\":")) && !object[name].is_null(), "{name}: {answer}");
    }
    let program_blocks = blocks(API, "### From a program");
    let [("python", in_python), ("js", in_js)] = program_blocks.as_slice() else {
        panic!("{program_blocks:?}")
    };
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

/// The commands in the shell blocks of a section, without comments.
fn lines(page: Page, section: &str) -> Vec<String> {
    let shell = blocks(page, section).into_iter().filter(|(language, _)| *language == "sh");
    let text: String = shell.map(|(_, block)| block.replace("\\\n", " ")).collect();
    text.lines().map(|line| line.split(" # ").next().unwrap().trim().to_owned()).collect()
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
    let commands = lines(PROGRAM, "## Count files, without a server");
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
fn archive_is_counted_again_as_in_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let sh = |line: &str| {
        let programs = Path::new(MAILGAUGE).parent().unwrap().display().to_string();
        let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.args(["-ec", line]).env("PATH", path).env("XDG_STATE_HOME", folder.path());
        let output = command.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    sh(
        "mkdir archive && mailgauge simulate --tenants 3 --emails-per-minute 0.2 --minutes 53000 --start 2026-03-01 --out archive/march.ndjson",
    );
    // A part of it was counted.
    sh("grep -v '\"eventType\":\"Open\"' archive/march.ndjson | mailgauge ingest - --to data");
    sh("gzip -c archive/march.ndjson > march.gz");
    let commands = lines(PROGRAM, "## Count an archive again");
    assert_eq!(commands.len(), 2);
    for command in commands {
        let command = command
            .replace("aws s3 cp s3://archive/2026-03.ndjson.gz -", "cat march.gz")
            .replace("--data /var/lib/mailgauge", "--data data")
            .replace("--table TABLE", "--data data");
        let out = sh(&command);
        assert!(out.lines().count() >= 4, "{command}: {out}");
    }
}

#[test]
fn server_takes_files_as_in_the_readme() {
    let commands = lines(PROGRAM, "## Run a server");
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
    std::fs::write(folder.path().join("rules.toml"), file_block(DETECTION, "## Rules", "rules.toml"))
        .unwrap();
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
    let commands = [
        lines(PROGRAM, "## Examine the past"),
        lines(DETECTION, "## Rules"),
        lines(PROGRAM, "## Send alerts"),
        lines(PROGRAM, "## Manage tenants and keys"),
    ]
    .concat();
    let mut run = 0;
    for command in &commands {
        assert!(command.starts_with("mailgauge "), "{command}");
        // Those are started by another test.
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
    assert!(run >= 11, "{run} of {commands:?}");
}

/// Neither the receivers of alerts nor the identity provider exist. The server contacts them only when it has something to say or check, so
/// it starts if its options are right.
#[test]
fn servers_with_alerts_and_sign_in_start_as_in_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let routes = file_block(PROGRAM, "## Send alerts", "routes.toml");
    std::fs::write(folder.path().join("routes.toml"), routes).unwrap();
    let commands =
        [lines(PROGRAM, "## Send alerts"), lines(PROGRAM, "## Sign in with an identity provider")].concat();
    let mut started = 0;
    for (number, command) in commands.iter().enumerate() {
        let Some(options) = command.strip_prefix("mailgauge serve ") else { continue };
        // The shell expands the variables. Its own first argument is the command, which the line contains already.
        let script = format!("shift; exec {MAILGAUGE} serve {options} \"$@\"");
        let mut program = Command::new("sh");
        program.args(["-ec", &script, "sh"]).current_dir(folder.path());
        program.env("SECRET", "shared with the pager").env("SMTP", "smtps://user:password@mail.example");
        let data = folder.path().join(format!("data-{number}"));
        let server = Server::launch(&mut program, "serve", &data, &[]);
        assert!(server.key.is_some(), "{command}");
        started += 1;
    }
    assert_eq!(started, 4, "{commands:?}");
}

#[test]
fn events_are_attributed_as_in_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let attribution = file_block(PROGRAM, "## Attribute events to tenants", "attribution.toml");
    let file = folder.path().join("attribution.toml");
    std::fs::write(&file, attribution).unwrap();
    let event = |id: u32, domain: &str, tags: &str| {
        format!(
            r#"{{"eventType":"Send","mail":{{"timestamp":"2025-11-13T02:15:23.456Z","messageId":"m{id}","destination":["b@example.com"],"source":"a@{domain}","sendingAccountId":"123456789012","tags":{{{tags}}}}},"send":{{}}}}"#
        )
    };
    let set = r#""ses:configuration-set":["acme-transactional"]"#;
    // Each lacks what decides about the one before it.
    let events = [
        event(1, "news.mail.northwind.example", &format!(r#""client":["zenith"],{set}"#)),
        event(2, "news.mail.northwind.example", set),
        event(3, "news.mail.northwind.example", ""),
        event(4, "else.example", ""),
    ];
    let command =
        ["aggregate", "-", "--group-by", "tenant", "--metrics", "sends", "--format", "csv", "--attribution"];
    let (code, out, errors) =
        mailgauge(&[command.as_slice(), &[file.to_str().unwrap()]].concat(), events.join("\n").as_bytes());
    assert_eq!(code, 0, "{errors}");
    assert_eq!(out, "tenant,sends\nacme,1\nglobex,1\nnorthwind,1\nzenith,1\n");
}

#[test]
fn demo_and_tests_are_started_as_in_the_readme() {
    assert_eq!(lines(START, "## Two commands"), ["cargo run --release", "cargo test --workspace"]);
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    // What `cargo run` runs at the top of the tree.
    assert!(manifest.contains("default-members = [\"functions/mailgauge\"]"), "{manifest}");
}

#[test]
fn program_is_installed_as_in_the_readme() {
    let commands = lines(START, "## Install");
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
    let reports = blocks(DETECTION, "## Queue depth");
    let (_, report) = reports.iter().find(|(language, _)| *language == "json").unwrap();
    let send =
        format!("curl -s \"$URL/v1/ingest/ses\" -H \"authorization: Bearer $KEY\" -d '{}'", report.trim());
    let reply: Value = serde_json::from_str(&shell(&server, &key, folder.path(), &send)).unwrap();
    assert_eq!(reply["quarantined"], 0, "{reply}");
    let mut created_key = String::new();
    let mut requests = 0;
    let sections = [
        (API, "## Query metrics"),
        (API, "## Clicks by link"),
        (API, "## Alerts"),
        (API, "## Tenants and keys"),
        (DETECTION, "## Queue depth"),
    ];
    for (_, block) in sections.into_iter().flat_map(|(page, section)| blocks(page, section)) {
        for command in block.replace("\\\n", " ").split("\ncurl ").filter_map(curl_command) {
            let command = command.replace("http://127.0.0.1:8080", "$URL");
            // The ids of the keys that the commands before have made.
            let command = command.replace("3f0c2a9be117", &created_key).replace("8b1e55d0c2f4", &created_key);
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
    let printed = sections.map(|(page, section)| {
        blocks(page, section).iter().map(|(_, block)| block.matches("curl ").count()).sum::<usize>()
    });
    assert_eq!(requests, printed.iter().sum::<usize>(), "{printed:?}");
    assert!(requests >= 15, "{requests}");
    // A request that is shown in the text.
    let link = API.text.split("`GET ").find_map(|rest| rest.strip_prefix("/v1/metrics?")?.split('`').next());
    let ask = format!("curl -s \"$URL/v1/metrics?{}\" -H \"authorization: Bearer $KEY\"", link.unwrap());
    has_real_rows(&ask, &shell(&server, &key, folder.path(), &ask));
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
