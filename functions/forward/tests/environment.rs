//! The program of the function `forward`, started as Lambda starts it.

use std::process::Command;

#[test]
fn missing_environment_variables_are_all_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_forward")).env_clear().output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{stderr}");
    assert!(stderr.contains("STREAM_NAME is missing"), "{stderr}");
}
