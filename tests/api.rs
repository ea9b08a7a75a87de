//! The API against the description that it serves of itself: requests made up from it, right and wrong ones, must meet no failure of
//! the server, no status and no shape that it does not describe.
//!
//! `MAILGAUGE_API_EXAMPLES` makes up more of them for each call.

use std::process::Command;

use crate::commands::simulated;
use crate::python::{python, run};
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
        (Some(operator.as_str()), "all"),
        // What a refusal of all that is asked leaves to be held against the description.
        (
            None,
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ),
    ] {
        let mut command = Command::new(&program);
        command.current_dir(folder.path()).arg("run").arg(format!("{}/openapi.json", server.address));
        command.args(["--checks", checks, "--phases", "coverage,fuzzing", "--continue-on-failure"]);
        command.args([
            "--max-examples",
            &examples,
            "--seed",
            "1",
            // Python 3.11 loses count when two threads parse at once (<https://github.com/python/cpython/issues/106905>).
            "--workers",
            "1",
            "--warnings",
            "off",
            "--suppress-health-check",
            "all",
        ]);
        // What is wrong by a rule that no schema can say, or right by one, is not the description's fault.
        command.args(["--exclude-checks", "negative_data_rejection,positive_data_acceptance,use_after_free"]);
        if let Some(key) = key {
            command.args(["--header", &format!("Authorization: Bearer {key}")]);
        }
        run(&mut command, "schemathesis from the Python package index");
    }
}
