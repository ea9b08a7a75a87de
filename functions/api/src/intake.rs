//! The intake of this function: none. Events arrive through the stream, and this function never writes counts.

use axum::body::Bytes;
use event::Timestamp;
use web::{IngestError, Ingested, Intake};

/// Refuses events over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct StreamOnly;

impl Intake for StreamOnly {
    async fn count(&self, _: Vec<Bytes>) -> Result<Ingested, IngestError> {
        Err(IngestError::StreamOnly)
    }

    /// Always `None`: the function `compact` logs it.
    fn oldest_unmerged(&self) -> Option<Timestamp> {
        None
    }

    /// Always `None`: nothing is stored here, and the table reports its failures with each call.
    fn storage_fault(&self) -> Option<String> {
        None
    }
}
