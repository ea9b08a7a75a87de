//! The program of the function `detect`, started as Lambda starts it.

use std::process::Command;

#[test]
fn missing_environment_variables_are_all_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_detect")).env_clear().output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{stderr}");
    for name in ["TABLE_NAME", "ALERT_TOPIC_ARN"] {
        assert!(stderr.contains(&format!("{name} is missing")), "{name}: {stderr}");
    }
}
