//! The API against the `OpenAPI` description that it serves: valid and invalid requests generated from it must never cause a server error,
//! nor get a status or a body that is not described.
//!
//! `MAILGAUGE_API_EXAMPLES` sets the number of requests generated for each call.

use std::process::Command;

use crate::commands::simulated;
use crate::python::{python, root, run};
use crate::support::{MAILGAUGE, Server};

/// Requests generated for each call and key, by default. Longer runs are started by hand.
const EXAMPLES: &str = "12";

#[test]
fn every_reply_to_a_generated_request_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start("serve", &data, &[]);
    let events = folder.path().join("events.ndjson");
    std::fs::write(&events, simulated("5", "30")).unwrap();
    let operator = server.key.clone().unwrap();
    run(
        Command::new(MAILGAUGE)
            .args(["ingest", "--to", &server.address, "--key", &operator, "--journal"])
            .arg(folder.path().join("journal"))
            .arg(&events),
        "the program",
    );
    let examples = std::env::var("MAILGAUGE_API_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    let program = python().with_file_name("schemathesis");
    for (key, checks) in [
        (Some(operator.as_str()), None),
        // Without a key every request is refused, which leaves these checks of the refusals.
        (
            None,
            Some(
                "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            ),
        ),
    ] {
        let mut command = Command::new(&program);
        command.current_dir(folder.path()).arg("--config-file").arg(root().join("tests/schemathesis.toml"));
        command.arg("run").arg(format!("{}/openapi.json", server.address));
        command.args(["--max-examples", &examples]);
        if let Some(checks) = checks {
            command.args(["--checks", checks]);
        }
        if let Some(key) = key {
            command.args(["--header", &format!("Authorization: Bearer {key}")]);
        }
        let output = run(&mut command, "schemathesis from the Python package index");
        let generated = output.lines().find(|line| line.contains(" generated")).unwrap_or_default();
        println!("{generated}");
    }
}
