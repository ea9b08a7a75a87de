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

/// Which crates of the workspace each crate may depend on. Dev-dependencies are not restricted, nor is what only the feature `testing` of a
/// crate enables: no program that is deployed has it.
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
            let is_only_for_tests = line.contains("optional = true")
                && text
                    .lines()
                    .any(|line| line.starts_with("testing = ") && line.contains(&format!("\"dep:{name}\"")));
            if ours.contains(&name) && !is_only_for_tests {
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

/// The top-level modules of the pipeline that each of them may use, besides the base modules. The order is that of the data flow, backwards.
#[test]
fn modules_of_the_pipeline_depend_one_way() {
    const MODULES: [(&str, &[&str]); 6] = [
        ("directory", &[]),
        ("ledger", &["directory"]),
        ("history", &["directory", "ledger"]),
        ("export", &["directory", "ledger"]),
        ("alerting", &["directory", "ledger", "history"]),
        ("verification", &["directory", "ledger", "history", "alerting"]),
    ];
    let modules = MODULES.map(|(module, _)| module);
    let mut checked = 0;
    for (path, text) in source_files() {
        let Ok(inside) = path.strip_prefix(root().join("shared/pipeline/src")) else { continue };
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let own = first.trim_end_matches(".rs");
        // Tests and simulations use every module; they are not part of the structure.
        if ["testing", "tests"].contains(&own)
            || inside.components().any(|part| part.as_os_str() == "tests.rs")
        {
            continue;
        }
        let production = text.split("\n#[cfg(test)]").next().unwrap_or_default();
        // All others are the base, which may use none of these modules.
        let allowed =
            MODULES.iter().find(|(module, _)| *module == own).map_or([].as_slice(), |(_, allowed)| allowed);
        for line in production.lines().filter(|line| !line.trim_start().starts_with("//") && own != "lib") {
            for used in line
                .split("crate::")
                .skip(1)
                .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
            {
                let is_allowed = used == own || !modules.contains(&used) || allowed.contains(&used);
                assert!(is_allowed, "{}: {own} must not use {used}", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "only {checked} imports were found");
}

/// Paths in code spans and links of the documentation.
#[test]
fn every_file_that_the_documentation_names_exists() {
    let mut checked = 0;
    for page in [
        "README.md",
        "shared/README.md",
        "shared/web/README.md",
        "shared/detection/README.md",
        "shared/event/src/classify/README.md",
        "infra/README.md",
        "functions/mailgauge/README.md",
    ] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let folder = root().join(page).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let spans =
            text.split('`').skip(1).step_by(2).filter(|span| span.contains(".rs") || span.ends_with('/'));
        for name in links.chain(spans) {
            if name.is_empty()
                || name.contains("://")
                || name.contains(' ')
                || !name.contains(['/', '.'])
                || name.starts_with('/')
            {
                continue;
            }
            assert!(folder.join(name).exists(), "{page} names {name}, which does not exist");
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} names were found");
}
