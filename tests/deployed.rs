//! The stack of `template.yaml`, deployed to a local AWS with the real programs of the functions: fed with events, disturbed by faults,
//! and compared with a naive count.
//!
//! `aws/links.py` says which parts are real services and which are models of AWS.

use std::path::Path;
use std::process::Command;

use crate::python::{python, root};
use crate::support::{MAILGAUGE, victoria_metrics};

#[test]
fn deployed_stack_counts_each_event_once_whatever_fails() {
    let binaries = Path::new(MAILGAUGE).parent().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut walk = Command::new(python());
    walk.arg(root().join("tests/aws/walk.py"));
    walk.arg("--root").arg(root()).arg("--binaries").arg(binaries).arg("--mailgauge").arg(MAILGAUGE);
    walk.arg("--scratch").arg(scratch.path());
    match victoria_metrics() {
        Some(server) => _ = walk.arg("--victoria-metrics").arg(server),
        None => {
            println!(
                "skipped: line protocol to a real server, which needs Debian's package victoria-metrics"
            );
        }
    }
    let output = walk.output().unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        panic!("the walk failed; logs are kept in {}:\n{stderr}", scratch.keep().display());
    }
}

/// The lines of the template that describe a resource.
fn description<'t>(template: &'t str, resource: &str) -> &'t str {
    let start =
        template.find(&format!("\n  {resource}:\n")).unwrap_or_else(|| panic!("{resource} is missing"));
    let rest = &template[start + 1..];
    let end = rest.match_indices("\n\n").map(|(end, _)| end).next().unwrap_or(rest.len());
    &rest[..end]
}

#[test]
fn every_environment_variable_of_a_function_is_in_the_template() {
    let template = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    let globals = &template[template.find("\nGlobals:").unwrap()..template.find("\nResources:").unwrap()];
    let mut variables = 0;
    for (function, resource) in [
        ("aggregate", "AggregateFunction"),
        ("api", "ApiFunction"),
        ("collect", "CollectFunction"),
        ("compact", "CompactFunction"),
        ("detect", "DetectFunction"),
        ("forward", "ForwardFunction"),
    ] {
        let main =
            std::fs::read_to_string(root().join("functions").join(function).join("src/main.rs")).unwrap();
        let description = description(&template, resource);
        assert!(description.contains(&format!("Binary: {function}}}")), "{resource} runs another program");
        let is_variable = |text: &&str| {
            text.len() > 3 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        for name in main.split("#[cfg(test)]").next().unwrap().split('"').filter(is_variable) {
            let is_set = [description, globals].iter().any(|text| text.contains(&format!("{name}:")));
            assert!(is_set, "{function} reads {name}, which {resource} does not set");
            variables += 1;
        }
    }
    assert!(variables > 8, "the environment variables were not found");
}

/// Runs the unit tests of one Python file of `tests/aws`.
fn unit_tests(module: &str) {
    let mut tests = Command::new(python());
    // -B keeps compiled files out of the source tree.
    tests.args(["-B", "-m", "unittest", "-v", module]).current_dir(root().join("tests/aws"));
    let output = tests.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !stderr.contains("Ran 0 tests"), "{stderr}");
}

#[test]
fn template_loses_no_event_and_retains_resources_with_data() {
    unit_tests("test_template");
}

#[test]
fn models_of_missing_aws_links_follow_the_documentation() {
    unit_tests("test_links");
}

#[test]
fn templates_pass_the_linter() {
    let linter = python().with_file_name("cfn-lint");
    let lint = Command::new(linter)
        .args(["template.yaml", "infra/adopt.yaml"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        lint.status.success(),
        "{}{}",
        String::from_utf8_lossy(&lint.stdout),
        String::from_utf8_lossy(&lint.stderr)
    );
}
