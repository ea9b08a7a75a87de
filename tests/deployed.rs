//! The stack of `template.yaml`, deployed to a local AWS with the functions' own programs, fed, hurt, and compared with a plain count.
//!
//! What of it is AWS and what a model is said in `aws/links.py`.

use std::path::Path;
use std::process::Command;

use crate::python::{python, root};
use crate::support::MAILGAUGE;

/// Runs a script of `aws/` with the programs that this build made; what it printed, and its files, tell why it failed.
fn walk(script: &str) {
    let binaries = Path::new(MAILGAUGE).parent().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let output = Command::new(python())
        .arg(root().join("tests/aws").join(script))
        .arg("--root")
        .arg(root())
        .arg("--binaries")
        .arg(binaries)
        .arg("--mailgauge")
        .arg(MAILGAUGE)
        .arg("--scratch")
        .arg(scratch.path())
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        panic!("{script} failed; logs are kept in {}:\n{told}", scratch.keep().display());
    }
}

#[test]
fn the_deployed_stack_counts_once_whatever_fails() {
    walk("walk.py");
}
