//! `POST /v1/ingest/ses`: events from any holder of an ingest key: one event, an array or NDJSON, plain or gzip.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use event::decode::MAX_RECORD_BYTES;
use event::decode::stream::{Piece, Splitter};
use pipeline::ports::{Clock, Store};

use crate::auth::{bearer, may_ingest};
use crate::limits::{INGEST_BODY_BYTES, Reserved, read_events};
use crate::problem::{Problem, ProblemType};
use crate::router::{Shared, Web};
use crate::routes::parameters::QueryParameters;
use crate::service::{Ingested, Intake};

/// A larger body is counted in blocks of about this size.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// Counts the events in the body. The key is checked before the body is read.
pub(crate) async fn ingest<S: Store, C: Clock, I: Intake>(
    State(web): State<Shared<S, C, I>>,
    request: Request,
) -> Result<Json<Ingested>, Problem> {
    // Before the body is read, so that strangers cannot make us hold 32 MiB.
    may_ingest(&web, bearer(request.headers())?).await?;
    QueryParameters::of(request.uri())?.finish("none")?;
    count_body(&web, request).await
}

/// Counts the events in a body.
pub(super) async fn count_body<S: Store, C: Clock, I: Intake>(
    web: &Web<S, C, I>,
    request: Request,
) -> Result<Json<Ingested>, Problem> {
    let Reserved { body, mut reservation } = read_events(request, &web.budget, INGEST_BODY_BYTES).await?;
    if body.is_empty() {
        return Err(Problem::new(
            ProblemType::InvalidBody,
            "the body is empty; send SES events as JSON or NDJSON",
        ));
    }
    if body.len() <= BLOCK_BYTES || !is_text(&body) {
        return Ok(Json(web.service.intake.count(vec![body]).await?));
    }
    // The blocks are copies, and until the body is dropped both are in memory.
    reservation.grow(body.len())?;
    let payloads = split(&body)?;
    drop(body);
    Ok(Json(web.service.intake.count(payloads).await?))
}

/// Splits a large body between its values, since the decoder accepts no payload over [`MAX_RECORD_BYTES`].
fn split(body: &[u8]) -> Result<Vec<Bytes>, Problem> {
    let mut payloads = Vec::with_capacity(body.len() / BLOCK_BYTES + 1);
    let mut too_large = None;
    let mut each = |piece: Piece<'_>| match piece {
        Piece::Values { bytes, .. } => payloads.push(Bytes::copy_from_slice(bytes)),
        Piece::TooLarge { offset, .. } => too_large = Some(offset),
    };
    let mut splitter = Splitter::new(BLOCK_BYTES);
    splitter.feed(body, &mut each);
    splitter.finish(&mut each);
    match too_large {
        None => Ok(payloads),
        Some(offset) => {
            let detail = format!(
                "the value at byte {offset} is larger than {MAX_RECORD_BYTES} bytes; send its events in parts"
            );
            Err(Problem::new(ProblemType::BodyTooLarge, detail))
        }
    }
}

/// Whether the body is JSON. Other bodies are compressed or aggregated in a way that only the decoder knows, so they cannot be split.
fn is_text(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}
