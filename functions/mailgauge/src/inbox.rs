//! The queue of requests whose events are to be counted. They arrive one by one and are counted in batches, because a commit costs the
//! same for one event as for thousands. A request is answered once its batch is committed, never before.

use std::future::Future;
use std::sync::Arc;

use axum::body::Bytes;
use event::Timestamp;
use tokio::sync::{mpsc, oneshot};
use web::{IngestError, Ingested, Intake, Unavailable};

use crate::standalone::{Counted, Standalone};

/// How many requests may wait; more are refused and sent again later. The router limits their bytes.
const MAX_WAITING: usize = 256;
/// The most requests in one batch.
const BATCH_REQUESTS: usize = 64;
/// No request is added to a batch of this size, since a batch is in memory as a whole.
const BATCH_BYTES: usize = 8 << 20;

/// The sending end of the queue.
#[derive(Clone, Debug)]
pub struct Inbox(mpsc::Sender<Request>);

#[derive(Debug)]
struct Request {
    payloads: Vec<Bytes>,
    answer: oneshot::Sender<Result<Ingested, IngestError>>,
}

/// Opens a queue. The future counts what arrives in it and completes when every [`Inbox`] is dropped.
pub fn open(standalone: Arc<Standalone>) -> (Inbox, impl Future<Output = ()> + Send) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Inbox(sender), count_all(standalone, receiver))
}

impl Inbox {
    /// Counts payloads; returns once that is committed.
    pub async fn count(&self, payloads: Vec<Bytes>) -> Result<Ingested, IngestError> {
        let (answer, answered) = oneshot::channel();
        // A full queue refuses at once: a request that waited for room would hold its memory, and its client retries anyway.
        self.0.try_send(Request { payloads, answer }).map_err(|_| IngestError::Busy { retry_after_s: 1 })?;
        // The counting task drops a request without an answer only when the server stops.
        answered.await.unwrap_or_else(|stopped| Err(unavailable(stopped.into())))
    }
}

/// The intake of the local process.
pub struct StandaloneIntake {
    /// The process, which knows the state of its store.
    pub standalone: Arc<Standalone>,
    /// The queue that requests are counted through.
    pub inbox: Inbox,
}

impl Intake for StandaloneIntake {
    async fn count(&self, payloads: Vec<Bytes>) -> Result<Ingested, IngestError> {
        self.inbox.count(payloads).await
    }

    fn oldest_unmerged(&self) -> Option<Timestamp> {
        self.standalone.oldest_unmerged()
    }

    fn storage_fault(&self) -> Option<String> {
        self.standalone.store.fault()
    }
}

async fn count_all(standalone: Arc<Standalone>, mut waiting: mpsc::Receiver<Request>) {
    while let Some(first) = waiting.recv().await {
        let mut bytes = size(&first);
        let mut requests = vec![first];
        while requests.len() < BATCH_REQUESTS && bytes < BATCH_BYTES {
            // Takes what is waiting already, and never waits for more: a lone request is counted at once.
            let Ok(next) = waiting.try_recv() else { break };
            bytes += size(&next);
            requests.push(next);
        }
        let payloads: Vec<&[u8]> =
            requests.iter().flat_map(|request| request.payloads.iter().map(AsRef::as_ref)).collect();
        match standalone.count_each(&payloads).await {
            Ok(counted) => answer(requests, &counted),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "a batch was not counted");
                for request in requests {
                    // A client that has disconnected sends the events again.
                    let _ = request.answer.send(Err(unavailable("the batch was not counted".into())));
                }
            }
        }
    }
}

fn size(request: &Request) -> usize {
    request.payloads.iter().map(Bytes::len).sum()
}

fn answer(requests: Vec<Request>, counted: &[Counted]) {
    let mut counted = counted.iter();
    for request in requests {
        let mut sum = Ingested::default();
        for payload in counted.by_ref().take(request.payloads.len()) {
            sum.events += payload.events;
            sum.duplicates += payload.duplicates;
            sum.ignored += payload.ignored;
            sum.ignored_kinds.add(&payload.ignored_kinds);
            sum.quarantined += payload.quarantined;
        }
        // A client that has disconnected sends the events again, and they are recognised as duplicates.
        let _ = request.answer.send(Ok(sum));
    }
}

fn unavailable(source: Box<dyn std::error::Error + Send + Sync>) -> IngestError {
    IngestError::Unavailable(Unavailable { operation: "counting", source })
}
