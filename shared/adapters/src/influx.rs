//! InfluxDB, or whatever takes its line protocol: Amazon Timestream for InfluxDB, InfluxDB of version 2 or 3, its clouds.
//!
//! Lines that are refused for good are counted, with the server's words; they name series of tenants, which hold nothing personal. A
//! server that is busy or unwell is tried again for some seconds; what it says of token, organisation or bucket is an error
//! that says what to set.
//! The calls: <https://docs.influxdata.com/influxdb/v2/api/v2/#operation/PostWrite>,
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

const NAME: &str = "influxdb";
/// Lines of one call: what InfluxData finds fastest.
const LINES_PER_CALL: usize = 5_000;
/// One try of one call.
const ATTEMPT_TIME: Duration = Duration::from_secs(5);
/// How often a call is tried.
const TRIES: u32 = 4;
/// The first pause before another try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Bytes of an answer that are looked at.
const MAX_ANSWER: u64 = 1 << 20;
/// Characters of the server's words that are passed on.
const MAX_WORDS: usize = 300;

/// Which of InfluxDB's calls to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Version 2: an organisation and a bucket.
    V2,
    /// Version 3: a database, here called bucket.
    V3,
}

/// The text is no version of InfluxDB's calls.
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

/// Where to write and by what right.
#[derive(Clone)]
pub struct Settings {
    /// The server, such as `https://influx.example:8086`.
    pub url: String,
    /// Which calls it knows.
    pub api: Api,
    /// The organisation; of no matter in version 3.
    pub org: String,
    /// The bucket, or the database of version 3.
    pub bucket: String,
    /// A token that may write there.
    pub token: String,
}

/// A bucket of InfluxDB.
pub struct Influx {
    agent: Agent,
    settings: Settings,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{url} answers {status}: set INFLUX_TOKEN to a token that may write to {bucket:?} ({words})")]
    Token { url: String, status: u16, bucket: String, words: String },
    #[error(
        "{url} answers 404: set INFLUX_URL, INFLUX_API, INFLUX_ORG and INFLUX_BUCKET to what there is ({words})"
    )]
    Nowhere { url: String, words: String },
    #[error("{url} answers {status} ({words})")]
    Status { url: String, status: u16, words: String },
    #[error("{url} cannot be reached: is INFLUX_URL right, and a way there?")]
    Unreachable {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("the call was not made")]
    NotMade(#[source] tokio::task::JoinError),
    #[error("lines cannot be packed")]
    Pack(#[source] std::io::Error),
}

impl CallError {
    /// Whether the same call may succeed in a moment.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Token { .. } | Self::Nowhere { .. } | Self::NotMade(_) | Self::Pack(_) => false,
        }
    }
}

impl Influx {
    /// The bucket of these settings.
    pub fn new(settings: Settings) -> Self {
        let config = Agent::config_builder().timeout_global(Some(ATTEMPT_TIME)).http_status_as_error(false);
        let settings = Settings { url: settings.url.trim_end_matches('/').to_owned(), ..settings };
        Self { agent: config.build().into(), settings }
    }

    async fn write_some(&self, points: &[Point]) -> Result<Written, CallError> {
        let body = pack(points).map_err(CallError::Pack)?;
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            let (agent, settings, body) = (self.agent.clone(), self.settings.clone(), body.clone());
            let lines = points.len() as u64;
            // The client blocks.
            let called = tokio::task::spawn_blocking(move || settings.call(&agent, &body, lines)).await;
            match called.map_err(CallError::NotMade)? {
                Err(error) if tries < TRIES && error.may_pass() => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    tries += 1;
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

impl Settings {
    /// Sends packed lines once.
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
        let request = request.content_type("text/plain; charset=utf-8").header("content-encoding", "gzip");
        let unreachable = |source| CallError::Unreachable { url: url.clone(), source: Box::new(source) };
        let mut answer = request.send(body).map_err(unreachable)?;
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(Written::default());
        }
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string().unwrap_or_default();
        let (words, rejected) = refusal(&text, lines);
        let (url, bucket) = (url.clone(), bucket.clone());
        match status {
            400 | 422 => Ok(Written { rejected, reason: Some(format!("{status}: {words}")) }),
            401 | 403 => Err(CallError::Token { url, status, bucket, words }),
            404 => Err(CallError::Nowhere { url, words }),
            _ => Err(CallError::Status { url, status, words }),
        }
    }
}

fn pack(points: &[Point]) -> std::io::Result<Vec<u8>> {
    let mut text = String::new();
    for point in points {
        line::append(point, &mut text);
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes())?;
    packed.finish()
}

/// What the server says of lines it refused, and how many of them they are: all, if it does not say.
fn refusal(text: &str, lines: u64) -> (String, u64) {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    // Version 3 lists the lines, version 2 counts them.
    let listed = json["data"].as_array();
    let words = json["message"].as_str().or_else(|| json["error"].as_str()).unwrap_or(text);
    let counted = words
        .rsplit_once("dropped=")
        .and_then(|(_, count)| count.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let rejected = listed.map(|listed| listed.len() as u64).or(counted).unwrap_or(lines).min(lines);
    let first = listed.and_then(|listed| listed.first()?["error_message"].as_str());
    let all = [words].into_iter().chain(first).collect::<Vec<_>>().join(": ");
    let clear = all.chars().map(|c| if c.is_control() { ' ' } else { c });
    (clear.take(MAX_WORDS).collect(), rejected)
}

#[cfg(test)]
mod tests;
