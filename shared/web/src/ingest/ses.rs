//! `POST /v1/ingest/ses`: events by anybody who holds an ingest key: one, an array, NDJSON, plain or gzip.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};

use event::decode::MAX_RECORD_BYTES;
use event::decode::stream::{Piece, Splitter};

use crate::auth::{bearer, may_ingest};
use crate::backend::{Backend, Ingested};
use crate::limits::{INGEST_BODY_BYTES, Reserved, read_events};
use crate::problem::{Kind, Problem};
use crate::router::Web;
use crate::routes::parameters::Parameters;

/// A larger body is counted in blocks of about so much.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// `POST /v1/ingest/ses`.
pub(crate) async fn ingest<B: Backend>(
    State(web): State<Arc<Web<B>>>,
    request: Request,
) -> Result<Json<Ingested>, Problem> {
    may_ingest(&web, bearer(request.headers())?).await?;
    Parameters::of(request.uri())?.finish("none")?;
    post(&web, request).await
}

/// Takes a body in.
pub(crate) async fn post<B: Backend>(web: &Web<B>, request: Request) -> Result<Json<Ingested>, Problem> {
    let Reserved { body, mut reservation } = read_events(request, &web.budget, INGEST_BODY_BYTES).await?;
    if body.is_empty() {
        return Err(Problem::new(Kind::InvalidBody, "the body is empty; send SES events as JSON or NDJSON"));
    }
    if body.len() <= BLOCK_BYTES || !is_text(&body) {
        return Ok(Json(web.backend.ingest(vec![body]).await?));
    }
    reservation.grow(body.len())?;
    let payloads = cut(&body)?;
    drop(body);
    Ok(Json(web.backend.ingest(payloads).await?))
}

/// Cuts a large body between its values, since the decoder takes no payload over [`MAX_RECORD_BYTES`].
fn cut(body: &[u8]) -> Result<Vec<Bytes>, Problem> {
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
                "the line at byte {offset} has over {MAX_RECORD_BYTES} bytes; send its events in parts"
            );
            Err(Problem::new(Kind::BodyTooLarge, detail))
        }
    }
}

/// Other bodies are compressed or aggregated in a way that only the decoder knows; they have no places to cut.
fn is_text(body: &[u8]) -> bool {
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}
