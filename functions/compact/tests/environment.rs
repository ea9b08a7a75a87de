//! The function's own program, started as the platform starts it.

use std::process::Command;

#[test]
fn without_its_environment_it_says_all_that_is_missing() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_compact")).env_clear().env("SINK", "timestream").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    for name in ["TABLE_NAME", "TIMESTREAM_DATABASE", "TIMESTREAM_TABLE"] {
        assert!(told.contains(&format!("{name} is missing")), "{name}: {told}");
    }
}
