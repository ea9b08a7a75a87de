//! Helpers of the end-to-end tests: a running server on a free port, a certificate, and programs of others such as a browser.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::python::{python, root, run};

/// The program under test.
pub const MAILGAUGE: &str = env!("CARGO_BIN_EXE_mailgauge");

/// Runs `mailgauge` with some standard input. Returns exit code, standard output and standard error.
pub fn mailgauge(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    use std::io::Write as _;
    let mut child = Command::new(MAILGAUGE)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A program that refuses its arguments ends without reading its input, so writing may fail.
        scope.spawn(move || stdin.write_all(input).is_ok());
        child.wait_with_output().unwrap()
    });
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// A running `mailgauge serve` or `demo`, killed when dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    /// The operator key, if this start printed one.
    pub key: Option<String>,
}

impl Server {
    /// Starts `mailgauge COMMAND --listen 127.0.0.1:0 --data DATA ARGUMENTS` and waits until it prints its address. Its log goes to `DATA.log`.
    pub fn start(command: &str, data: &Path, arguments: &[&str]) -> Self {
        // Log everything, since tests check that some things never appear in the log.
        Self::launch(Command::new(MAILGAUGE).env("MAILGAUGE_LOG", "debug"), command, data, arguments)
    }

    /// [`Server::start`] with a command that runs `mailgauge`, such as a wrapper that limits its resources.
    pub fn launch(program: &mut Command, command: &str, data: &Path, arguments: &[&str]) -> Self {
        let log =
            std::fs::File::options().create(true).append(true).open(data.with_extension("log")).unwrap();
        let mut child = program
            .args([command, "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (mut address, mut key) = (None, None);
        let mut line = String::new();
        while address.is_none() {
            line.clear();
            let length = lines.read_line(&mut line).unwrap();
            assert!(
                length > 0,
                "the server ended before it listened; see {}",
                data.with_extension("log").display()
            );
            for word in line.split_whitespace() {
                if word.starts_with("mg_") {
                    key = Some(word.to_owned());
                }
                if let Some((link, secret)) = word.split_once("/#key=") {
                    key = Some(secret.to_owned());
                    address = Some(link.to_owned());
                } else if word.starts_with("http") && line.starts_with("Listening") {
                    address = Some(word.trim_end_matches('/').to_owned());
                }
            }
        }
        // Its later output is read too, since a full pipe would block it.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, address: address.unwrap(), key }
    }

    /// The id of the server's process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creates a certificate for `localhost` that no client trusts by itself, and its private key, as PEM files in a folder.
pub fn self_signed(folder: &Path) -> [PathBuf; 2] {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
    std::fs::write(&files[0], certified.cert.pem()).unwrap();
    std::fs::write(&files[1], certified.signing_key.serialize_pem()).unwrap();
    files
}

/// A real server for InfluxDB's line protocol: `VictoriaMetrics` if it is installed, or can be from Debian.
pub fn victoria_metrics() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/victoria-metrics");
    (path.exists() || install("victoria-metrics")).then_some(path)
}

/// Installs a Debian package, if this is a Debian system and the tests run as root. Returns whether it did.
fn install(package: &str) -> bool {
    // apt-get refuses to run twice at once.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let is_root =
        Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !is_root || !Path::new("/usr/bin/apt-get").exists() {
        return false;
    }
    run(Command::new("apt-get").args(["update", "-qq"]), "Debian's package lists");
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["install", "-y", "-qq", "--no-install-recommends", package]);
    run(&mut install, package);
    true
}

/// A Chromium: one that is installed, else Debian's package if it can be installed, else the one that Playwright downloads.
pub fn chromium() -> PathBuf {
    let found = || {
        ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
            .iter()
            .flat_map(|name| {
                ["/usr/bin", "/usr/local/bin", "/snap/bin"].map(|folder| Path::new(folder).join(name))
            })
            .find(|path| path.exists())
    };
    if let Some(path) = found() {
        return path;
    }
    if install("chromium")
        && let Some(path) = found()
    {
        return path;
    }
    let browsers = root().join("target/test-browsers");
    let mut install = Command::new(python());
    install.env("PLAYWRIGHT_BROWSERS_PATH", &browsers).args(["-m", "playwright", "install", "chromium"]);
    run(&mut install, "a browser: install chromium or google-chrome");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(&browsers).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let candidates =
        ["chrome-linux/chrome", "chrome-linux64/chrome", "chrome-mac/Chromium.app/Contents/MacOS/Chromium"];
    let mut paths = folders.iter().flat_map(|folder| candidates.map(|path| folder.join(path)));
    paths.find(|path| path.exists()).expect("Playwright installed its browser in an unknown folder")
}
