//! Sends events to a running server over HTTP, and decides which failures are worth a retry.

use std::time::Duration;

use anyhow::anyhow;
use serde::Deserialize;
use ureq::Error;

use super::Destination;
use super::retry::{Failure, retry};
use crate::progress::Progress;
use crate::standalone::Counted;

/// The timeout of one request. The server answers only once everything in it is counted.
const REQUEST_TIME: Duration = Duration::from_mins(1);
/// The timeout of connecting, which is the only sign of a host that drops packets.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The shortest timeout of one request, however little time is left.
const SHORTEST_REQUEST_TIME: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is honoured.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How much of an unexpected reply is quoted, in characters.
const QUOTED: usize = 200;

/// A running server as a destination.
pub(super) struct Server {
    agent: ureq::Agent,
    address: String,
    authorization: String,
    give_up_after: Duration,
    progress: Progress,
}

/// The fields of problem details (RFC 9457) that are shown.
#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
    title: Option<String>,
}

impl Server {
    /// The server at a URL, with a key that may ingest.
    pub(super) fn new(address: &str, key: &str, give_up_after: Duration, progress: &Progress) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        // A redirected POST becomes a GET without the events, so redirects are reported instead of followed.
        let config = config.timeout_connect(Some(CONNECT_TIME)).max_redirects(0);
        Self {
            agent: config.build().new_agent(),
            address: address.to_owned(),
            authorization: format!("Bearer {key}"),
            give_up_after,
            progress: progress.clone(),
        }
    }

    fn attempt(&self, block: &[u8], left: Duration) -> Result<Counted, Failure> {
        let url = format!("{}/v1/ingest/ses", self.address);
        let request = self.agent.post(&url).header("authorization", &self.authorization);
        // With --give-up-after 0s no time is left, but the only attempt still gets the full timeout.
        let time = if self.give_up_after.is_zero() { REQUEST_TIME } else { left };
        let time = time.clamp(SHORTEST_REQUEST_TIME, REQUEST_TIME);
        let request = request.config().timeout_global(Some(time)).build();
        let mut reply = request.send(block).map_err(|error| self.unsent(error))?;
        let status = reply.status().as_u16();
        let wait = reply.headers().get("retry-after");
        let wait = wait.and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok());
        let wait = wait.map(Duration::from_secs).map(|wait| wait.min(LONGEST_WAIT));
        let location = reply.headers().get("location").and_then(|url| url.to_str().ok()).map(str::to_owned);
        let body = reply.body_mut().read_to_string().map_err(|error| self.unsent(error))?;
        let address = &self.address;
        match status {
            200..=299 => serde_json::from_str(&body).map_err(|_| {
                let quoted = quoted(&body);
                Failure::Lasting(anyhow!(
                    "{address} does not answer like a Mailgauge server: correct --to; it said: {quoted}"
                ))
            }),
            300..=399 => {
                let location = location.unwrap_or_default();
                let base = location.strip_suffix("/v1/ingest/ses").unwrap_or(&location);
                Err(Failure::Lasting(anyhow!("{address} redirects to {base:?}: name that address with --to")))
            }
            408 | 425 | 429 | 500..=599 => {
                Err(Failure::Passing { what: format!("{address} answers {status}: {}", said(&body)), wait })
            }
            _ => Err(Failure::Lasting(anyhow!("{address} refuses with {status}: {}", said(&body)))),
        }
    }

    /// Classifies a request without a reply. A wrong address or certificate stays wrong; a server that is down may come back.
    fn unsent(&self, error: Error) -> Failure {
        let address = &self.address;
        let lasting = |reason: &str, hint: &str| {
            Failure::Lasting(anyhow!("{address} cannot be used: {reason}: {hint}"))
        };
        let text = error.to_string();
        // A failed handshake is reported as a TLS error or, if it fails while data is sent, as an I/O error around one; so match the text.
        if text.contains("invalid peer certificate") {
            return lasting(
                &text,
                "use the host name in the certificate, and a certificate that this machine trusts",
            );
        }
        if text.contains("corrupt message") || text.contains("InvalidContentType") {
            return lasting("it does not speak TLS", "try http:// instead of https://");
        }
        match error {
            Error::Io(error) => Failure::passing(format!("{address} cannot be reached: {error}")),
            Error::HostNotFound => {
                Failure::passing(format!("{address} cannot be reached: the host name cannot be resolved"))
            }
            Error::Timeout(timeout) => {
                Failure::passing(format!("{address} does not answer in time ({timeout})"))
            }
            Error::Protocol(error) => lasting(
                &format!("its answer is not HTTP ({error})"),
                "correct the port, or try https:// instead of http://",
            ),
            Error::BadUri(_)
            | Error::Http(_)
            | Error::InvalidProxyUrl
            | Error::RedirectFailed
            | Error::TooManyRedirects
            | Error::LargeResponseHeader(..) => lasting(&text, "correct --to"),
            _ => Failure::passing(format!("{address} cannot be reached: {text}")),
        }
    }
}

/// The detail or title of a problem reply, or the start of any other reply.
fn said(body: &str) -> String {
    let problem: Option<Problem> = serde_json::from_str(body).ok();
    problem.and_then(|problem| problem.detail.or(problem.title)).unwrap_or_else(|| quoted(body))
}

fn quoted(body: &str) -> String {
    let line: String = body.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { "(nothing)".to_owned() } else { line.chars().take(QUOTED).collect() }
}

impl Destination for Server {
    fn send(&mut self, block: &[u8]) -> anyhow::Result<Counted> {
        retry(self.give_up_after, &self.progress, |left| self.attempt(block, left))
    }
}
