//! The destination that `--to` names: a server, a stream or a data folder.
//!
//! A server without its scheme (`127.0.0.1:8080`) would be a valid folder name, and events would vanish into a new folder. So anything
//! that looks like an address is refused, with a hint at the form that was probably meant; `./NAME` always names a folder.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ureq::http::Uri;

/// The longest name of a Kinesis stream, in characters.
const MAX_STREAM_NAME: usize = 128;

/// The kind of destination that `--to` names, parsed but not looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A running server: its URL without a trailing slash or the path of the ingest call.
    Server(String),
    /// A Kinesis stream by its name.
    Stream(String),
    /// A data folder, which may not exist yet.
    Folder(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((scheme, rest)) = text.split_once("://") {
            // Schemes are case-insensitive (RFC 3986, section 3.1).
            return match scheme.to_ascii_lowercase().as_str() {
                "http" | "https" => server(text),
                "kinesis" => stream(rest),
                "file" => Err(format!("write a data folder as a path: {rest}")),
                "s3" => Err(format!(
                    "events cannot be sent to S3; to read them from there, download them first (aws s3 cp --recursive {text} FOLDER) and \
                     name FOLDER as the input"
                )),
                // Likely misspellings of the known schemes.
                other if other.starts_with('k') => {
                    Err(format!("{scheme}:// is not known: did you mean kinesis://{rest}?"))
                }
                other if other.starts_with('h') => {
                    let scheme_meant = if other.ends_with('s') { "https" } else { "http" };
                    Err(format!("{scheme}:// is not known: did you mean {scheme_meant}://{rest}?"))
                }
                _ => Err(format!("{scheme}:// is not known: use {FORMS}")),
            };
        }
        folder(text)
    }
}

const FORMS: &str =
    "http://HOST:PORT or https://HOST for a server, kinesis://STREAM, or the path of a data folder";

fn server(text: &str) -> Result<Target, String> {
    let invalid = |what: &str| format!("{what}: write a server as http://HOST:PORT or https://HOST");
    let uri: Uri = text.parse().map_err(|error| invalid(&format!("not a URL ({error})")))?;
    let authority = uri.authority().ok_or_else(|| invalid("the URL has no host"))?;
    if authority.host().is_empty() {
        return Err(invalid("the URL has no host"));
    }
    // The parser ignores a port that is out of range, and the default port would be used instead.
    let authority = authority.as_str();
    // The colons inside an IPv6 address do not precede a port.
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    if let Some((_, port)) = after_host.rsplit_once(':')
        && !port.parse().is_ok_and(|port: u16| port > 0)
    {
        return Err(invalid(&format!("{port:?} is not a port")));
    }
    // The path of the call is appended to the URL and would become part of the query.
    if uri.query().is_some() {
        return Err(invalid("the URL has a query"));
    }
    // However the server is written, the journal must find what was sent to it under one name.
    let base = text.trim_end_matches('/');
    Ok(Target::Server(base.strip_suffix("/v1/ingest/ses").unwrap_or(base).to_owned()))
}

fn stream(name: &str) -> Result<Target, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > MAX_STREAM_NAME || !name.bytes().all(is_allowed) {
        return Err(format!(
            "{name:?} is not the name of a stream (letters, digits, _ - .): write kinesis://STREAM, such as kinesis://mailgauge-events"
        ));
    }
    Ok(Target::Stream(name.to_owned()))
}

fn folder(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Err(format!("use {FORMS}"));
    }
    if text.starts_with("//") {
        return Err(format!("the scheme is missing: write http:{text}"));
    }
    // A shell does not expand `--to=~/data`, and a folder named ~ would be created in the working directory.
    if text == "~" || text.starts_with("~/") {
        return Err(format!("the shell did not expand ~: write --to {text} with a space, or the full path"));
    }
    // An explicit path is always a folder, also if its name looks like an address.
    if text.starts_with(['/', '.']) {
        return Ok(Target::Folder(text.into()));
    }
    let first = text.split_once('/').map_or(text, |(first, _)| first);
    let (head, tail) = first.rsplit_once(':').unwrap_or((first, ""));
    // `kinesis:STREAM`, `http:localhost:8080` and `https:/example.com`, but not `http:8080`, which is a host with that name.
    if let Some((scheme, rest)) = text.split_once(':')
        && ["http", "https", "kinesis", "s3"].contains(&scheme.to_ascii_lowercase().as_str())
        && !(scheme == head && tail.parse::<u16>().is_ok())
    {
        return Err(format!(
            "the slashes of {scheme}:// are missing: did you mean {scheme}://{}?",
            rest.trim_start_matches('/')
        ));
    }
    let has_port = first.contains(':') && tail.parse::<u16>().is_ok();
    let is_address = first.starts_with('[') || first == "localhost" || first.parse::<IpAddr>().is_ok();
    if has_port || is_address {
        let scheme = if tail == "443" { "https" } else { "http" };
        // An IPv6 address needs brackets, or its last part would be taken for a port.
        let host = if first.matches(':').count() > 1 && !first.starts_with('[') {
            text.replacen(first, &format!("[{first}]"), 1)
        } else {
            text.to_owned()
        };
        return Err(format!(
            "this looks like a server: write {scheme}://{host}, or ./{text} if a folder of that name is meant"
        ));
    }
    if first.contains(':') {
        return Err(format!(
            "a scheme has two slashes: use {FORMS}; a folder of that name is written ./{text}"
        ));
    }
    Ok(Target::Folder(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers_and_streams() {
        let check = |text: &str, expected: Target| assert_eq!(text.parse(), Ok(expected), "{text}");
        let server = |url: &str| Target::Server(url.to_owned());
        check("http://127.0.0.1:8080", server("http://127.0.0.1:8080"));
        check("http://127.0.0.1:8080/", server("http://127.0.0.1:8080"));
        check("HTTPS://mail.example", server("HTTPS://mail.example"));
        check("http://[::1]:8080", server("http://[::1]:8080"));
        check("https://host/prefix/v1/ingest/ses", server("https://host/prefix"));
        check("kinesis://mailgauge-events", Target::Stream("mailgauge-events".to_owned()));
    }

    #[test]
    fn paths_name_folders_new_or_not() {
        for text in [
            "data",
            "data/mailgauge",
            "./127.0.0.1:8080",
            "/var/lib/mail:gauge",
            "../x",
            "2026-01-05",
            "a.b/c",
        ] {
            assert_eq!(text.parse(), Ok(Target::Folder(text.into())), "{text}");
        }
    }

    #[test]
    fn mistyped_addresses_are_refused_with_the_form_that_was_meant() {
        for (text, form) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080, or ./127.0.0.1:8080"),
            ("127.0.0.1", "http://127.0.0.1,"),
            ("localhost", "http://localhost,"),
            ("localhost:8080/", "http://localhost:8080/"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("::1", "http://[::1]"),
            ("example.com:443/path", "https://example.com:443/path"),
            ("mail-server:8080", "http://mail-server:8080"),
            ("http:8080", "http://http:8080"),
            ("http:localhost:8080", "http://localhost:8080"),
            ("https:/example.com", "https://example.com"),
            ("htp://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("htps://example.com", "https://example.com"),
            ("//127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("kinesis:events", "kinesis://events"),
            ("kinessis://events", "kinesis://events"),
            ("kinesis://", "kinesis://STREAM"),
            ("kinesis://a/b", "kinesis://STREAM"),
            ("s3://archive/2026", "aws s3 cp --recursive s3://archive/2026"),
            ("ftp://example.com", "http://HOST:PORT"),
            ("file:///data", "a path: /data"),
            ("backup:old", "./backup:old"),
            ("http://", "http://HOST:PORT"),
            ("http://:8080", "http://HOST:PORT"),
            ("http://host:99999", "not a port"),
            ("http://host:8080/?key=1", "query"),
            ("~/data", "--to ~/data with a space"),
            ("", "http://HOST:PORT"),
        ] {
            let refused = text.parse::<Target>().expect_err(text);
            assert!(refused.contains(form), "{text}: {refused}");
        }
    }
}
