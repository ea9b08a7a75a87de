//! Rules of the source as tests: module headers, file lengths, and dependencies between crates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::python::root;

/// The longest production file, in lines, without the tests at its end.
const MAX_FILE_LINES: usize = 500;

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            files_below(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn source_files() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    for folder in ["functions", "shared", "tests"] {
        files_below(&root().join(folder), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    assert!(paths.len() > 10, "the source was not found");
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_file_has_a_header() {
    for (path, text) in source_files() {
        assert!(text.starts_with("//!"), "{} does not begin with a //! header", path.display());
    }
}

#[test]
fn production_files_have_at_most_500_lines() {
    for (path, text) in source_files() {
        let production = text.split("\n#[cfg(test)]").next().unwrap_or_default().lines().count();
        let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        assert!(is_test || production <= MAX_FILE_LINES, "{} has {production} lines", path.display());
    }
}

#[test]
fn modules_have_no_mod_rs() {
    for (path, _) in source_files() {
        assert!(!path.ends_with("mod.rs"), "{}: name it after its folder", path.display());
    }
}

/// Which crates of the workspace each crate may depend on. Dev-dependencies are not restricted.
#[test]
fn dependencies_between_crates_point_inwards() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("shared/event", [].as_slice()),
        ("shared/simulator", &[]),
        ("shared/cells", &["event"]),
        ("shared/detection", &["event"]),
        ("shared/pipeline", &["event", "cells", "detection"]),
        ("shared/adapters", &["event", "cells", "detection", "pipeline"]),
        ("shared/web", &["event", "cells", "detection", "pipeline"]),
        ("functions/aggregate", &["event", "pipeline", "adapters"]),
        ("functions/api", &["event", "pipeline", "adapters", "web"]),
        ("functions/collect", &["pipeline", "adapters"]),
        ("functions/compact", &["event", "cells", "pipeline", "adapters"]),
        ("functions/detect", &["event", "detection", "pipeline", "adapters"]),
        ("functions/forward", &["adapters"]),
        ("functions/mailgauge", &["event", "cells", "detection", "pipeline", "adapters", "web", "simulator"]),
    ]);
    let ours = ["event", "cells", "detection", "pipeline", "adapters", "web", "simulator"];
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for member in manifest.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\",")) {
        if !member.contains('/') {
            continue;
        }
        let allowed = allowed
            .get(member)
            .unwrap_or_else(|| panic!("{member}: list here which crates it may depend on"));
        let text = std::fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if ours.contains(&name) {
                assert!(allowed.contains(&name), "{member} must not depend on {name}");
            }
        }
    }
}

#[test]
fn pure_crates_depend_on_no_runtime() {
    for member in ["shared/event", "shared/cells", "shared/detection", "shared/simulator", "shared/pipeline"]
    {
        let text = std::fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        let dependencies = text.split("[dev-dependencies]").next().unwrap_or_default();
        for runtime in ["tokio", "aws-sdk", "reqwest", "ureq", "redb"] {
            assert!(!dependencies.contains(runtime), "{member} must not depend on {runtime}");
        }
    }
}
