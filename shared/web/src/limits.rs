//! How much one client may ask of the server: sizes, times and how many at once, each with its reason.
//!
//! Memory is bounded in bytes, not in requests: many small batches may wait side by side, few large ones. Nothing waits
//! for room, since a client that is told to come again costs less than one that holds its body in our memory.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request};
use axum::http::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Problem, ProblemType};

/// A query names at most 40 metrics and 100 conditions; the longest sensible one has some 20 KiB.
pub(crate) const QUERY_BODY_BYTES: usize = 256 * 1024;
/// Mappings that fit an item have at most some 4 MB; a Lambda takes 6 MB.
pub(crate) const MAPPINGS_BODY_BYTES: usize = 5 * 1024 * 1024;
/// Some 13,000 events of 2.4 KB: more in one request gains nothing.
pub(crate) const INGEST_BODY_BYTES: usize = 32 * 1024 * 1024;
/// Firehose sends at most this much, by its protocol; a compressed body may unpack to it.
/// Source: <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>
pub(crate) const UNPACKED_BODY_BYTES: usize = 64 * 1024 * 1024;
/// SNS messages have at most 256 KB; escapes in the envelope can double that.
pub(crate) const SNS_BODY_BYTES: usize = 1024 * 1024;
/// Room for the bodies of all ingesting requests together.
pub(crate) const INGEST_BUDGET_BYTES: usize = 192 * 1024 * 1024;
/// Room for the bodies of SNS, whose senders are strangers until they are read.
pub(crate) const SNS_BUDGET_BYTES: usize = 32 * 1024 * 1024;
/// A slow body holds memory and a slot; this and a second for each MiB allow a line of 8 Mbit/s.
const BODY_TIME: Duration = Duration::from_secs(10);
/// API Gateway gives up after 30 s; the answer must come before that.
pub(crate) const QUERY_TIME: Duration = Duration::from_secs(25);
/// Queries at once: they share the processor, so more would only make each slower.
pub(crate) const QUERIES_AT_ONCE: usize = 64;
/// Requests at once, of any kind.
pub(crate) const REQUESTS_AT_ONCE: usize = 1024;
/// Requests of one key a second, unless an operator decides otherwise: a busy dashboard asks six times a minute.
pub(crate) const REQUESTS_PER_SECOND: u32 = 2000;
/// The longest path and query string: a query in the query string with its filters.
pub(crate) const URI_BYTES: usize = 16 * 1024;
/// All header names and values together: a token, cookies of other programs on the same host, proxies' marks.
pub(crate) const HEADER_BYTES: usize = 32 * 1024;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Memory for bodies, shared by all ingesting requests.
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
    /// So many bytes in all, rounded down to whole KiB.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / KIB)))
    }

    fn reserve(&self, bytes: usize) -> Result<Reservation, Problem> {
        let permits = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        match Arc::clone(&self.0).try_acquire_many_owned(permits) {
            Ok(permit) => Ok(Reservation { budget: self.clone(), permit }),
            Err(_) => Err(Problem::new(
                ProblemType::TooManyRequests,
                "too many bytes are being taken in; send again in 1 s",
            )
            .retry_after(1)),
        }
    }
}

impl Reservation {
    /// Takes more of the budget.
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
    if declared_length(&request).is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    DefaultBodyLimit::max(limit).apply(&mut request);
    let time = BODY_TIME + Duration::from_secs((limit / MIB) as u64);
    match tokio::time::timeout(time, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(ProblemType::InvalidBody, "the body broke off; send it again")),
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
    let reservation = budget.reserve(declared_length(&request).unwrap_or(limit).min(limit))?;
    Ok(Reserved { body: read_body(request, limit).await?, reservation })
}

/// Reads a body of events within the budget, unpacked if it begins as gzip does.
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
    // Unpacking 64 MiB takes a good part of a second: not on a thread that serves others.
    let unpacking = tokio::task::spawn_blocking(move || unpack(&body, reservation, UNPACKED_BODY_BYTES));
    unpacking.await.unwrap_or_else(|_| {
        Err(Problem::new(ProblemType::InvalidBody, "the gzip body could not be unpacked"))
    })
}

fn unpack(packed: &[u8], mut reservation: Reservation, limit: usize) -> Result<Reserved, Problem> {
    let mut reader = flate2::read::MultiGzDecoder::new(packed);
    let mut body = Vec::new();
    let mut chunk = vec![0; 64 * KIB];
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(_) => {
                return Err(Problem::new(ProblemType::InvalidBody, "the gzip body is broken; pack it again"));
            }
        };
        if body.len() + read > limit {
            let detail = format!("the body may unpack to {limit} bytes; send it in parts");
            return Err(Problem::new(ProblemType::BodyTooLarge, detail));
        }
        reservation.grow(read)?;
        body.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    Ok(Reserved { body: body.into(), reservation })
}

/// Only gzip and plain bodies; what claims to be gzip and is not comes through as it is, since proxies unpack and forget
/// the header.
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

/// The length in bytes, if the client said it.
fn declared_length(request: &Request) -> Option<usize> {
    usize::try_from(request.body().size_hint().upper()?).ok()
}
