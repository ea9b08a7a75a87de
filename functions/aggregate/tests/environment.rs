//! The program of the function `aggregate`, started as Lambda starts it.

use std::process::Command;

#[test]
fn missing_environment_variables_are_all_named() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_aggregate")).env_clear().env("SINK", "timestream").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{stderr}");
    for name in ["TABLE_NAME", "TIMESTREAM_DATABASE", "TIMESTREAM_TABLE"] {
        assert!(stderr.contains(&format!("{name} is missing")), "{name}: {stderr}");
    }
}
