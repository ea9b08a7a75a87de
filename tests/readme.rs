//! What README and `infra` tell a newcomer to type, typed: each command as it is printed there, against a real server.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::commands::simulated;
use crate::python::{python, root, run};
use crate::support::{MAILGAUGE, Server};

const README: &str = include_str!("../README.md");
const DASHBOARD: &str = include_str!("../infra/grafana/dashboard.json");

/// The fenced blocks of a section, with their languages.
fn blocks(section: &str) -> Vec<(&'static str, &'static str)> {
    let start = README.find(section).unwrap_or_else(|| panic!("README has no {section:?}"));
    let text = &README[start + section.len()..];
    let text = text.split("\n#").next().unwrap();
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

/// Runs a command as a person at the shell would, beside a server.
fn typed(server: &Server, key: &str, folder: &Path, command: &mut Command) -> Output {
    let programs = Path::new(MAILGAUGE).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).env("URL", &server.address).env("KEY", key);
    command.env("XDG_STATE_HOME", folder).current_dir(folder).output().unwrap()
}

/// A line of the shell, which has to end well.
fn shell(server: &Server, key: &str, folder: &Path, line: &str) -> String {
    let output = typed(server, key, folder, Command::new("sh").args(["-ec", line]));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_first_question_is_answered_as_it_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let key = server.key.clone().unwrap();
    let blocks = blocks("### A first question\n");
    let [("sh", shell_block), ("python", in_python), ("js", in_js)] = blocks.as_slice() else {
        panic!("{blocks:?}")
    };
    // The one line that a newcomer has to fill in.
    let filled = shell_block
        .replace("http://127.0.0.1:8080", &server.address)
        .replace("KEY=mg_...", &format!("KEY={key}"));
    assert_ne!(filled, **shell_block);
    let answer: Value = serde_json::from_str(&shell(&server, &key, folder.path(), &filled)).unwrap();
    let sends = answer["rows"][0]["metrics"]["sends"].as_u64().unwrap();
    assert!(sends > 1000 && answer["rows"][0]["group"]["provider"] == "gmail", "{answer}");
    let program = folder.path().join("question.py");
    std::fs::write(&program, in_python).unwrap();
    let output = typed(&server, &key, folder.path(), Command::new(python()).arg(&program));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("gmail"), "{told}{output:?}");
    let program = folder.path().join("question.mjs");
    std::fs::write(&program, in_js).unwrap();
    let output = typed(&server, &key, folder.path(), Command::new(node()).arg(&program));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.lines().count() >= 3, "{told}{output:?}");
}

/// Node.js, which the browser's driver brings along.
fn node() -> std::path::PathBuf {
    let place =
        "import playwright, pathlib; print(pathlib.Path(playwright.__file__).parent / 'driver' / 'node')";
    let output = Command::new(python()).args(["-c", place]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

#[test]
fn every_request_that_the_readme_shows_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let key = server.key.clone().unwrap();
    let mut made = String::new();
    let mut asked = 0;
    for (_, block) in
        ["### Ask\n", "### See trouble\n", "### Tenants, keys, proof\n"].into_iter().flat_map(blocks)
    {
        for command in block.replace("\\\n", " ").split("\ncurl ").filter_map(commands) {
            let command = command.replace("http://127.0.0.1:8080", "$URL").replace("3f0c2a9be117", &made);
            let reply = shell(&server, &key, folder.path(), &command);
            let reply: Value = serde_json::from_str(&reply).unwrap_or_else(|_| panic!("{command}: {reply}"));
            let problem = reply["type"].as_str().unwrap_or_default();
            // Of things that a newcomer does not have.
            let is_missing = command.contains("al_...") && problem.ends_with(":not-found");
            let has_no_mail = command.contains("/v1/trends") && problem.ends_with(":unanswerable");
            assert!(problem.is_empty() || is_missing || has_no_mail, "{command}: {reply}");
            if let Some(id) = reply["id"].as_str().filter(|_| reply["key"].is_string()) {
                id.clone_into(&mut made);
            }
            asked += 1;
        }
    }
    assert!(asked >= 10, "{asked}");
}

/// The commands of a part of a block that `curl ` began.
fn commands(part: &str) -> Option<String> {
    let command = part.trim_start_matches("curl ");
    (command.starts_with("-s ")).then(|| {
        // A quoted body may go over several lines; what follows on lines of their own is another command.
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
        // As Grafana puts in the range that is looked at; the simulated half hour is in it.
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
