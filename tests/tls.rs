//! HTTPS by the server itself, with a self-signed certificate that the client verifies, and cookies that are sent over TLS only.

use std::process::Command;

use crate::support::{Server, mailgauge, self_signed};

#[test]
fn certificate_makes_the_server_speak_https_only() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = self_signed(folder.path());
    let [certificate, key] = [&certificate, &key].map(|path| path.to_str().unwrap());
    let options = ["--tls-certificate", certificate, "--tls-key", key];
    let server = Server::start("serve", &folder.path().join("data"), &options);
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    assert!(server.address.starts_with("https://"), "{}", server.address);
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl").args(["-s", "-i", "--max-time", "10"]).args(arguments).output();
        let output = output.expect("this test needs curl");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let url = format!("https://localhost:{port}/session");
    let bearer = format!("authorization: Bearer {}", server.key.as_ref().unwrap());
    let (_, reply) = curl(&["--cacert", certificate, "-X", "POST", "-H", &bearer, &url]);
    assert!(reply.contains("set-cookie: __Host-mailgauge=mg_") && reply.contains("; Secure"), "{reply}");
    assert!(!curl(&[&url]).0, "an untrusted certificate must be refused");
    assert!(
        !curl(&[&format!("http://localhost:{port}/healthz")]).0,
        "a request without TLS must get no answer"
    );
    // A private key in place of the certificate.
    let data = folder.path().join("other");
    let data = data.to_str().unwrap();
    let (code, _, stderr) =
        mailgauge(&["serve", "--data", data, "--tls-certificate", key, "--tls-key", key], b"");
    assert!(code == 1 && stderr.contains("are not a PEM certificate and its private key"), "{code} {stderr}");
    assert_eq!(mailgauge(&["serve", "--data", data, "--tls-key", key], b"").0, 2);
}
