//! The function's own program, started as the platform starts it.

use std::process::Command;

#[test]
fn without_its_environment_it_says_what_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_collect")).env_clear().output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("TABLE_NAME is missing"), "{told}");
}
