//! The API against the description that it serves of itself: requests made up from it, right and wrong ones, must meet no failure of
//! the server, no status and no shape that it does not describe.
//!
//! `MAILGAUGE_API_EXAMPLES` makes up more of them for each call.

use std::process::Command;

use crate::commands::simulated;
use crate::python::{python, root, run};
use crate::support::{MAILGAUGE, Server};

/// Requests made up for each call and key; a longer run is made by hand.
const EXAMPLES: &str = "12";

#[test]
fn no_request_that_can_be_made_up_meets_what_is_not_described() {
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
        // What a refusal of all that is asked leaves to be held against the description.
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
        let told = run(&mut command, "schemathesis from the Python package index");
        let made = told.lines().find(|line| line.contains(" generated")).unwrap_or_default();
        println!("{made}");
    }
}
