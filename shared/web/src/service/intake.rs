//! Where events go that arrive over HTTP, in a deployment that takes them.

use std::collections::BTreeMap;
use std::future::Future;

use axum::body::Bytes;
use event::{IgnoredCounts, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::Unavailable;

/// Counts events that arrive over HTTP. The local process has a queue; the API function takes none.
pub trait Intake: Send + Sync + 'static {
    /// Counts payloads and returns once that is committed. A payload is one event or a container of events in any form that the
    /// decoder reads; what cannot be read is quarantined and is not an error.
    ///
    /// The future may be dropped at any await when the client disconnects: what must run to its end belongs in a task of its own.
    fn count(&self, payloads: Vec<Bytes>) -> impl Future<Output = Result<Ingested, IngestError>> + Send;

    /// When the oldest delta arrived that is not compacted yet; `None` if there is none or it is not known here.
    fn oldest_unmerged(&self) -> Option<Timestamp>;

    /// Why nothing can be stored at the moment, such as a full disk; `None` while writes work. Shown to callers without a key.
    fn storage_fault(&self) -> Option<String>;
}

/// The outcome of the events of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "IngestResult")]
pub struct Ingested {
    /// Events counted, one per recipient.
    pub events: u64,
    /// Events dropped because they had been counted before.
    pub duplicates: u64,
    /// Parts that are not events of sent mail, such as a subscription's confirmation.
    pub ignored: u64,
    /// Those parts by kind, such as `sns_validation`; absent if there are none.
    #[serde(skip_serializing_if = "IgnoredCounts::is_empty")]
    #[schemars(with = "BTreeMap<String, u64>")]
    pub ignored_kinds: IgnoredCounts,
    /// Parts that could not be read and were quarantined with the reason.
    pub quarantined: u64,
}

/// Why a batch was not committed. Sending it again is always safe.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The queue is full.
    #[error("too many requests wait to be counted; send again in {retry_after_s} s")]
    Busy {
        /// When to send again, in seconds.
        retry_after_s: u32,
    },
    /// This deployment takes no events over HTTP.
    #[error(
        "this deployment reads events from its Kinesis stream, not over HTTP: send mail with its SES configuration set, or put events on the stream"
    )]
    StreamOnly,
    /// A dependency such as the store failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
