//! The program of the function `collect`, started as Lambda starts it.

use std::process::Command;

#[test]
fn missing_environment_variables_are_all_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_collect")).env_clear().output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{stderr}");
    assert!(stderr.contains("TABLE_NAME is missing"), "{stderr}");
}
