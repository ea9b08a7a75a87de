//! A Python environment with pinned packages, set up once under `target/`, for the parts of the tests that are not in Rust: driving a
//! browser, and a local AWS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The pinned packages.
const PACKAGES: &str = include_str!("requirements.txt");

/// The root of the source tree. This crate is two folders below it.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The Python interpreter of the environment, which is created at the first call.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = root().join("target/test-python");
        let python = folder.join("bin/python");
        let done = folder.join("installed.txt");
        // `target` is absent where CARGO_TARGET_DIR names another folder.
        std::fs::create_dir_all(root().join("target")).unwrap();
        // Test programs of several crates may run at once. The lock is released when the file is closed.
        let lock = std::fs::File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        if std::fs::read_to_string(&done).is_ok_and(|installed| installed == PACKAGES) {
            return python;
        }
        run(
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder),
            "python3 with venv (Debian: python3-venv)",
        );
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        install.arg(root().join("tests/requirements.txt"));
        run(&mut install, "the Python package index, for pip");
        std::fs::write(&done, PACKAGES).unwrap();
        python
    })
}

/// Runs a command that must succeed, and returns its standard output. A failure names what the test needs.
pub fn run(command: &mut Command, needs: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("this test needs {needs}: {error}"));
    assert!(
        output.status.success(),
        "this test needs {needs}; {command:?} said:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
