//! The [`Sink`] that writes to InfluxDB 2 or 3, InfluxDB Cloud or Amazon Timestream for InfluxDB, in line protocol.
//!
//! Lines that are refused permanently are counted, and the server's message is kept; it may quote series of tenants, which hold nothing
//! personal. A busy or failing server is retried for some seconds. A wrong token, organisation or bucket is an error that names the variable to
//! set.
//! API: <https://docs.influxdata.com/influxdb/v2/api/v2/#operation/PostWrite>,
//! <https://docs.influxdata.com/influxdb3/core/api/v3/#operation/PostWriteLP>

mod line;

use std::io::Write as _;
use std::str::FromStr;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use pipeline::ports::{Point, Sink, SinkError, Written};
use serde_json::Value;
use ureq::Agent;

use crate::backoff::Backoff;

const NAME: &str = "influxdb";
/// Lines per call, as InfluxData recommends: <https://docs.influxdata.com/influxdb/v2/write-data/best-practices/optimize-writes/>.
const LINES_PER_CALL: usize = 5_000;
/// Timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts of a call that fails for a reason that may pass.
const MAX_ATTEMPTS: u32 = 4;
/// Bound of the first pause before another attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Bytes of a reply that are read.
const MAX_REPLY_BYTES: u64 = 1 << 20;
/// Characters of the server's message that are kept.
const MAX_MESSAGE_CHARS: usize = 300;

/// The version of InfluxDB's write API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Version 2: an organisation and a bucket.
    V2,
    /// Version 3: a database, here called bucket.
    V3,
}

/// The text names no version of the API.
#[derive(Debug, thiserror::Error)]
#[error("use v2 or v3")]
pub struct UnknownApi;

impl FromStr for Api {
    type Err = UnknownApi;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "v2" => Ok(Self::V2),
            "v3" => Ok(Self::V3),
            _ => Err(UnknownApi),
        }
    }
}

/// Which bucket to write to, and with which token.
#[derive(Clone)]
pub struct InfluxSettings {
    /// Base URL of the server, such as `https://influx.example:8086`.
    pub url: String,
    /// The version of its API.
    pub api: Api,
    /// The organisation; ignored by version 3.
    pub org: String,
    /// The bucket, or the database of version 3.
    pub bucket: String,
    /// A token with write permission.
    pub token: String,
}

/// The bucket that points are written to.
pub struct Influx {
    agent: Agent,
    settings: InfluxSettings,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{url} answers {status}: set INFLUX_TOKEN to a token that may write to {bucket:?} ({message})")]
    Token { url: String, status: u16, bucket: String, message: String },
    #[error(
        "{url} answers 404: set INFLUX_URL, INFLUX_API, INFLUX_ORG and INFLUX_BUCKET to a server and bucket that exist ({message})"
    )]
    NotFound { url: String, message: String },
    #[error("{url} answers {status} ({message})")]
    Status { url: String, status: u16, message: String },
    #[error("{url} cannot be reached: check INFLUX_URL and the network")]
    Unreachable {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("the task of the call was cancelled")]
    Cancelled(#[source] tokio::task::JoinError),
    #[error("lines cannot be compressed")]
    Compress(#[source] std::io::Error),
}

impl CallError {
    /// Whether the same call may succeed soon.
    const fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Token { .. } | Self::NotFound { .. } | Self::Cancelled(_) | Self::Compress(_) => false,
        }
    }
}

impl Influx {
    /// The bucket that the settings name.
    pub fn new(settings: InfluxSettings) -> Self {
        let config =
            Agent::config_builder().timeout_global(Some(ATTEMPT_TIMEOUT)).http_status_as_error(false);
        let settings = InfluxSettings { url: settings.url.trim_end_matches('/').to_owned(), ..settings };
        Self { agent: config.build().into(), settings }
    }

    async fn write_some(&self, points: &[Point]) -> Result<Written, CallError> {
        let body = compressed_lines(points).map_err(CallError::Compress)?;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut attempts = 1;
        loop {
            // The blocking task may outlive this future, so it owns what it needs.
            let (agent, settings, body) = (self.agent.clone(), self.settings.clone(), body.clone());
            let lines = points.len() as u64;
            // ureq is a blocking client.
            let called = tokio::task::spawn_blocking(move || settings.call(&agent, &body, lines)).await;
            match called.map_err(CallError::Cancelled)? {
                Err(error) if attempts < MAX_ATTEMPTS && error.is_temporary() => {
                    backoff.wait().await;
                    attempts += 1;
                }
                ended => return ended,
            }
        }
    }
}

impl Sink for Influx {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn write(&self, points: &[Point]) -> Result<Written, SinkError> {
        let mut sum = Written::default();
        for points in points.chunks(LINES_PER_CALL) {
            let written = self.write_some(points).await;
            let written = written.map_err(|error| SinkError { sink: NAME, source: error.into() })?;
            sum.rejected += written.rejected;
            sum.reason = sum.reason.or(written.reason);
        }
        Ok(sum)
    }
}

impl InfluxSettings {
    /// Sends compressed lines once.
    fn call(&self, agent: &Agent, body: &[u8], lines: u64) -> Result<Written, CallError> {
        let Self { url, org, bucket, token, .. } = self;
        let request = match self.api {
            Api::V2 => agent
                .post(format!("{url}/api/v2/write"))
                .query_pairs([("org", org.as_str()), ("bucket", bucket), ("precision", "ns")])
                .header("authorization", format!("Token {token}")),
            Api::V3 => agent
                .post(format!("{url}/api/v3/write_lp"))
                .query_pairs([
                    ("db", bucket.as_str()),
                    ("precision", "nanosecond"),
                    ("accept_partial", "true"),
                ])
                .header("authorization", format!("Bearer {token}")),
        };
        // Lines repeat their names and values, so they compress well.
        let request = request.content_type("text/plain; charset=utf-8").header("content-encoding", "gzip");
        let unreachable = |source| CallError::Unreachable { url: url.clone(), source: Box::new(source) };
        let mut reply = request.send(body).map_err(unreachable)?;
        let status = reply.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(Written::default());
        }
        // The status decides what to do; a body that cannot be read only leaves the message empty.
        let text = reply.body_mut().with_config().limit(MAX_REPLY_BYTES).read_to_string().unwrap_or_default();
        let (message, rejected) = refusal(&text, lines);
        let (url, bucket) = (url.clone(), bucket.clone());
        match status {
            // Refused for good: the lines are wrong or older than the retention. Sending them again would block all
            // that follow.
            400 | 422 => Ok(Written { rejected, reason: Some(format!("{status}: {message}")) }),
            // A setting is wrong and not the lines, so the export waits until it is right and loses nothing.
            401 | 403 => Err(CallError::Token { url, status, bucket, message }),
            404 => Err(CallError::NotFound { url, message }),
            _ => Err(CallError::Status { url, status, message }),
        }
    }
}

fn compressed_lines(points: &[Point]) -> std::io::Result<Vec<u8>> {
    let mut text = String::new();
    for point in points {
        line::append(point, &mut text);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

/// The server's message about refused lines, and their number. If the reply has no number, all lines count as refused.
fn refusal(text: &str, lines: u64) -> (String, u64) {
    // Proxies answer with HTML; then the text itself is the message.
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    // Version 3 lists the lines, version 2 counts them.
    let listed = json["data"].as_array();
    let message = json["message"].as_str().or_else(|| json["error"].as_str()).unwrap_or(text);
    let counted = message
        .rsplit_once("dropped=")
        .and_then(|(_, count)| count.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let rejected = listed.map(|listed| listed.len() as u64).or(counted).unwrap_or(lines).min(lines);
    // The first line is enough to find the mistake, and the whole list would flood the log.
    let first = listed.and_then(|listed| listed.first()?["error_message"].as_str());
    let all = [message].into_iter().chain(first).collect::<Vec<_>>().join(": ");
    let clear = all.chars().map(|c| if c.is_control() { ' ' } else { c });
    (clear.take(MAX_MESSAGE_CHARS).collect(), rejected)
}

#[cfg(test)]
mod tests;
