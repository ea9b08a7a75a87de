//! No way in: events come by the stream, and this function never writes counts.

use axum::body::Bytes;
use event::Timestamp;
use web::home::Intake;
use web::{IngestError, Ingested};

/// Where events come in instead.
#[derive(Clone, Copy, Debug)]
pub struct Stream;

impl Intake for Stream {
    async fn count(&self, _: Vec<Bytes>) -> Result<Ingested, IngestError> {
        Err(IngestError::Elsewhere)
    }

    /// The function `compact` tells it in its log.
    fn oldest_unmerged(&self) -> Option<Timestamp> {
        None
    }

    /// Always `None`: the stream reports its failures with each call.
    fn fault(&self) -> Option<String> {
        None
    }
}
