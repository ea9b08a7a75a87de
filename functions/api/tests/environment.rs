//! The function's executable, started as Lambda starts it.

use std::process::Command;

#[test]
fn missing_environment_variables_are_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_api")).env_clear().output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{stderr}");
    assert!(stderr.contains("TABLE_NAME is missing"), "{stderr}");
}
