//! Sends events to a running server over HTTP, and decides which failures are worth a retry.
//!
//! A busy or unreachable server may recover, so it is retried. A refusal, a wrong address or a certificate that is not trusted stays
//! what it is, so the run ends with a hint. Redirects are never followed: the events would be lost on the way.

use std::time::Duration;

use anyhow::anyhow;
use serde::Deserialize;
use ureq::Error;

use super::IngestDestination;
use super::retry::{AttemptError, retry};
use crate::progress::ProgressReporter;
use crate::standalone::Counted;

/// The timeout of one request. The server answers only once everything in it is counted.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// The timeout of connecting, which is the only sign of a host that drops packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest timeout of one request, however little time is left.
const MIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);
/// How much of an unexpected reply an error quotes, in characters.
const QUOTED_CHARS: usize = 200;

/// A server of [`Target::Server`](super::Target::Server), reached over HTTP.
pub(super) struct ServerDestination {
    agent: ureq::Agent,
    address: String,
    authorization: String,
    give_up_after: Duration,
    progress: ProgressReporter,
}

/// The fields of problem details (RFC 9457) that are shown.
#[derive(Deserialize)]
struct ProblemReply {
    detail: Option<String>,
    title: Option<String>,
}

impl ServerDestination {
    /// The server at `address`, a URL without a trailing slash. The key needs the ingest or operator scope.
    pub(super) fn new(
        address: &str,
        key: &str,
        give_up_after: Duration,
        progress: &ProgressReporter,
    ) -> Self {
        // A refusal is not an error to the client, because its body says what is wrong.
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        // A redirected POST becomes a GET without the events, so redirects are reported instead of followed.
        let config = config.timeout_connect(Some(CONNECT_TIMEOUT)).max_redirects(0);
        Self {
            agent: config.build().new_agent(),
            address: address.to_owned(),
            authorization: format!("Bearer {key}"),
            give_up_after,
            progress: progress.clone(),
        }
    }

    /// Sends the block once, within the time left.
    fn attempt(&self, block: &[u8], left: Duration) -> Result<Counted, AttemptError> {
        let url = format!("{}/v1/ingest/ses", self.address);
        let request = self.agent.post(&url).header("authorization", &self.authorization);
        // With --give-up-after 0s no time is left, but the only attempt still gets the full timeout.
        let timeout = if self.give_up_after.is_zero() { REQUEST_TIMEOUT } else { left };
        let timeout = timeout.clamp(MIN_REQUEST_TIMEOUT, REQUEST_TIMEOUT);
        let request = request.config().timeout_global(Some(timeout)).build();
        let mut reply = request.send(block).map_err(|error| self.classify(error))?;
        let status = reply.status().as_u16();
        // The other form of Retry-After, a date, is ignored: Mailgauge and its usual proxies send seconds.
        let retry_after = reply.headers().get("retry-after");
        let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()?.trim().parse().ok());
        let retry_after = retry_after.map(Duration::from_secs).map(|wait| wait.min(MAX_RETRY_AFTER));
        let location = reply.headers().get("location").and_then(|url| url.to_str().ok()).map(str::to_owned);
        let body = reply.body_mut().read_to_string().map_err(|error| self.classify(error))?;
        let address = &self.address;
        match status {
            200..=299 => serde_json::from_str(&body).map_err(|_| {
                let quoted = quoted(&body);
                AttemptError::Permanent(anyhow!(
                    "{address} does not answer like a Mailgauge server: correct --to; it replied: {quoted}"
                ))
            }),
            300..=399 => Err(AttemptError::Permanent(match &location {
                Some(location) => {
                    let base = location.strip_suffix("/v1/ingest/ses").unwrap_or(location);
                    anyhow!("{address} redirects to {base:?}: name that address with --to")
                }
                None => anyhow!("{address} redirects without naming an address: correct --to"),
            })),
            // Request Timeout, Too Early, Too Many Requests, and failures of the server.
            408 | 425 | 429 | 500..=599 => {
                let reason = format!("{address} answers {status}: {}", explanation(&body));
                Err(AttemptError::Temporary { reason, retry_after })
            }
            _ => Err(AttemptError::Permanent(anyhow!(
                "{address} refuses with {status}: {}",
                explanation(&body)
            ))),
        }
    }

    /// Classifies a request without a reply. A wrong address or certificate stays wrong; a server that is down may come back.
    fn classify(&self, error: Error) -> AttemptError {
        let address = &self.address;
        let permanent = |reason: &str, hint: &str| {
            AttemptError::Permanent(anyhow!("{address} cannot be used: {reason}: {hint}"))
        };
        let text = error.to_string();
        // A failed handshake is reported as a TLS error or, if it fails while data is sent, as an I/O error around one; so match the text.
        if text.contains("invalid peer certificate") {
            return permanent(
                &text,
                "use the host name in the certificate, and a certificate that this machine trusts",
            );
        }
        if text.contains("corrupt message") || text.contains("InvalidContentType") {
            return permanent("it does not speak TLS", "try http:// instead of https://");
        }
        match error {
            Error::Io(error) => AttemptError::temporary(format!("{address} cannot be reached: {error}")),
            Error::HostNotFound => AttemptError::temporary(format!(
                "{address} cannot be reached: the host name cannot be resolved"
            )),
            Error::Timeout(timeout) => {
                AttemptError::temporary(format!("{address} does not answer in time ({timeout})"))
            }
            Error::Protocol(error) => permanent(
                &format!("its answer is not HTTP ({error})"),
                "correct the port, or try https:// instead of http://",
            ),
            Error::BadUri(_)
            | Error::Http(_)
            | Error::InvalidProxyUrl
            | Error::RedirectFailed
            | Error::TooManyRedirects
            | Error::LargeResponseHeader(..) => permanent(&text, "correct --to"),
            _ => AttemptError::temporary(format!("{address} cannot be reached: {text}")),
        }
    }
}

/// The detail or title of a problem reply, or the start of any other reply.
fn explanation(body: &str) -> String {
    let problem: Option<ProblemReply> = serde_json::from_str(body).ok();
    problem.and_then(|problem| problem.detail.or(problem.title)).unwrap_or_else(|| quoted(body))
}

/// The start of a reply on one line.
fn quoted(body: &str) -> String {
    let line: String = body.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { "(nothing)".to_owned() } else { line.chars().take(QUOTED_CHARS).collect() }
}

impl IngestDestination for ServerDestination {
    fn send(&mut self, block: &[u8]) -> anyhow::Result<Counted> {
        retry(self.give_up_after, &self.progress, |left| self.attempt(block, left))
    }
}
