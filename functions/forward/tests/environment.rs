//! The function's own program, started as the platform starts it.

use std::process::Command;

#[test]
fn without_its_environment_it_says_all_that_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_forward")).env_clear().output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("STREAM_NAME is missing"), "{told}");
}
