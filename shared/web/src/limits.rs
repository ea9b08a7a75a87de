//! Limits on requests: sizes, timeouts and numbers at once, each with its reason.
//!
//! Memory is bounded in bytes, not in requests, so many small batches or few large ones may wait at once. No request waits for memory,
//! because a client that is told to retry costs less than one whose body is held.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request};
use axum::http::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Problem, ProblemType};

/// Largest body of a query. With 40 metrics and 100 conditions, the most that is allowed, a query has some 20 KiB.
pub(crate) const QUERY_BODY_BYTES: usize = 256 * 1024;
/// Largest body of mappings. Mappings that fit into a stored item have some 4 MB; a Lambda function accepts 6 MB.
pub(crate) const MAPPINGS_BODY_BYTES: usize = 5 * 1024 * 1024;
/// Largest body of events: some 13,000 events of 2.4 KB. Larger requests are not faster.
pub(crate) const INGEST_BODY_BYTES: usize = 32 * 1024 * 1024;
/// Largest decompressed body, which is also the most that Firehose sends.
/// Source: <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>
pub(crate) const UNPACKED_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Largest body of an SNS message. Messages have at most 256 KB, which escaping in the envelope can double.
pub(crate) const SNS_BODY_BYTES: usize = 1024 * 1024;
/// Memory for the bodies of all ingestion requests together.
pub(crate) const INGEST_BUDGET_BYTES: usize = 192 * 1024 * 1024;
/// Memory for the bodies of SNS requests, whose senders are unknown until they are read.
pub(crate) const SNS_BUDGET_BYTES: usize = 32 * 1024 * 1024;
/// Timeout of receiving a body, plus a second for each MiB that it declares, or may have if it declares none, which allows for a connection of
/// 8 Mbit/s. A slow body occupies memory and a slot.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a query. API Gateway gives up after 30 s, and the problem must be sent before that.
pub(crate) const QUERY_TIME: Duration = Duration::from_secs(25);
/// Requests at once to routes that need a key.
pub(crate) const REQUESTS_AT_ONCE: usize = 1024;
/// Requests at once to a kind of route that needs no key. SNS opens few connections at a time, and people sign in once a day.
pub(crate) const ANONYMOUS_REQUESTS_AT_ONCE: usize = 64;
/// Health checks at once.
pub(crate) const HEALTH_REQUESTS_AT_ONCE: usize = 64;
/// Default for the requests of one key per second. A dashboard sends about six requests a minute.
pub(crate) const REQUESTS_PER_SECOND: u32 = 2000;
/// Longest path and query string, which may hold a whole query.
pub(crate) const URI_BYTES: usize = 16 * 1024;
/// All header names and values together: a token, cookies of other programs on the host, headers of proxies.
pub(crate) const HEADER_BYTES: usize = 32 * 1024;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A budget of memory for bodies, shared by requests.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

/// A part of the budget, given back when dropped.
pub(crate) struct Reservation {
    budget: Budget,
    permit: OwnedSemaphorePermit,
}

/// A body in memory, with its part of the budget.
pub(crate) struct Reserved {
    pub(crate) body: Bytes,
    pub(crate) reservation: Reservation,
}

impl Budget {
    /// A budget of this many bytes, rounded down to whole KiB.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / KIB)))
    }

    fn reserve(&self, bytes: usize) -> Result<Reservation, Problem> {
        let permits = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        match Arc::clone(&self.0).try_acquire_many_owned(permits) {
            Ok(permit) => Ok(Reservation { budget: self.clone(), permit }),
            Err(_) => Err(Problem::new(
                ProblemType::TooManyRequests,
                "too many bytes are being received; send again in 1 s",
            )
            .retry_after(1)),
        }
    }
}

impl Reservation {
    /// Reserves more of the budget.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let more = self.budget.reserve(bytes)?;
        self.permit.merge(more.permit);
        Ok(())
    }
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_body(mut request: Request, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(ProblemType::BodyTooLarge, format!("the body may have {limit} bytes; send it in parts"))
    };
    // A client that declares too much is told before it sends anything.
    let declared = declared_length(&request);
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    // A body without a declared length, or with a false one, is cut off while it is read.
    DefaultBodyLimit::max(limit).apply(&mut request);
    let time = BODY_TIMEOUT + Duration::from_secs((declared.unwrap_or(limit) / MIB) as u64);
    match tokio::time::timeout(time, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(ProblemType::InvalidBody, "the body is incomplete; send it again")),
        Err(_) => {
            Err(Problem::new(ProblemType::RequestTimeout, format!("the body took over {} s", time.as_secs())))
        }
    }
}

/// Reads a whole body within the budget.
pub(crate) async fn read_reserved(
    request: Request,
    budget: &Budget,
    limit: usize,
) -> Result<Reserved, Problem> {
    // Memory is reserved before the first byte is read. A body of unknown length may grow up to the limit.
    let reservation = budget.reserve(declared_length(&request).unwrap_or(limit).min(limit))?;
    Ok(Reserved { body: read_body(request, limit).await?, reservation })
}

/// Reads a body of events within the budget, and decompresses it if it is gzip.
pub(crate) async fn read_events(
    request: Request,
    budget: &Budget,
    limit: usize,
) -> Result<Reserved, Problem> {
    check_encoding(&request)?;
    let Reserved { body, reservation } = read_reserved(request, budget, limit).await?;
    if !body.starts_with(&GZIP_MAGIC) {
        return Ok(Reserved { body, reservation });
    }
    // Decompressing 64 MiB takes a large part of a second, too long for a thread that serves other requests.
    let unpacking = tokio::task::spawn_blocking(move || unpack(&body, reservation, UNPACKED_BODY_BYTES));
    unpacking.await.unwrap_or_else(|_| {
        Err(Problem::new(ProblemType::InvalidBody, "the gzip body could not be decompressed"))
    })
}

fn unpack(packed: &[u8], mut reservation: Reservation, limit: usize) -> Result<Reserved, Problem> {
    let mut reader = flate2::read::MultiGzDecoder::new(packed);
    let mut body = Vec::new();
    // In small steps, because a few compressed kilobytes can expand to gigabytes: the limit and the budget are checked at each step.
    let mut chunk = vec![0; 64 * KIB];
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(_) => {
                return Err(Problem::new(
                    ProblemType::InvalidBody,
                    "the gzip body is damaged; compress it again",
                ));
            }
        };
        if body.len() + read > limit {
            let detail = format!("the body may have {limit} bytes when decompressed; send it in parts");
            return Err(Problem::new(ProblemType::BodyTooLarge, detail));
        }
        reservation.grow(read)?;
        // `read` is at most the length of the chunk.
        body.extend_from_slice(chunk.get(..read).unwrap_or(&chunk));
    }
    Ok(Reserved { body: body.into(), reservation })
}

/// Accepts gzip and plain bodies only. A body that is declared as gzip but is not is accepted as it is, because some proxies decompress bodies
/// and keep the header.
fn check_encoding(request: &Request) -> Result<(), Problem> {
    for value in request.headers().get_all(header::CONTENT_ENCODING) {
        if !["gzip", "x-gzip", "identity", ""]
            .iter()
            .any(|known| value.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
        {
            return Err(Problem::new(
                ProblemType::UnsupportedEncoding,
                "Content-Encoding must be gzip or identity",
            ));
        }
    }
    Ok(())
}

/// The length in bytes, if the client declared it.
fn declared_length(request: &Request) -> Option<usize> {
    usize::try_from(request.body().size_hint().upper()?).ok()
}
