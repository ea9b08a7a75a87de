//! The dashboard in a headless browser: every state against a fixture, and a user's walk through the real one.
//!
//! The steps are in `dashboard/browser.py`; screenshots are kept in `target/dashboard-shots`.

use std::path::Path;
use std::process::Command;

use crate::python::{python, root};
use crate::support::{Server, chromium};

/// Runs the browser with these arguments, keeping screenshots in a folder of their own.
fn walk(folder: &str, arguments: &[&str]) {
    let shots = root().join("target/dashboard-shots").join(folder);
    std::fs::create_dir_all(&shots).unwrap();
    let output = Command::new(python())
        .arg(root().join("tests/dashboard/browser.py"))
        .arg("--browser")
        .arg(chromium())
        .arg("--shots")
        .arg(&shots)
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\nscreenshots so far: {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        shots.display()
    );
}

#[test]
fn every_state_of_the_dashboard_looks_and_works_as_intended() {
    walk("fixture", &[]);
}

#[test]
fn user_can_walk_through_the_dashboard_of_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let demo = Server::start(
        "demo",
        Path::new(&data),
        &["--tenants", "3", "--days", "3", "--emails-per-minute", "8"],
    );
    let key = demo.key.clone().expect("the demo prints a sign-in link");
    walk("demo", &["--real", &demo.address, &key]);
}

#[test]
fn worst_and_last_of_thousands_of_rows_are_reachable() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start("serve", &folder.path().join("data"), &[]);
    let key = server.key.clone().expect("the first start prints an operator key");
    walk("many", &["--many", &server.address, &key]);
}
