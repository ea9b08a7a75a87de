//! What waits to be counted: requests come in one by one, and are counted in batches, because a commit costs the same for
//! one event as for thousands. A request is answered when its batch is committed.

use std::future::Future;
use std::sync::Arc;

use axum::body::Bytes;
use event::Timestamp;
use tokio::sync::{mpsc, oneshot};
use web::home::Intake;
use web::{IngestError, Ingested, Unavailable};

use crate::standalone::{Counted, Standalone};

/// Requests that may wait; more are told to come again. Their bytes are bounded by the router's budget.
const WAITING: usize = 256;
/// Requests in one batch.
const REQUESTS_AT_ONCE: usize = 64;
/// Bytes in one batch, about: what one fold holds in memory.
const BYTES_AT_ONCE: usize = 8 << 20;

/// The way in.
#[derive(Clone, Debug)]
pub struct Inbox(mpsc::Sender<Request>);

#[derive(Debug)]
struct Request {
    payloads: Vec<Bytes>,
    answer: oneshot::Sender<Result<Ingested, IngestError>>,
}

/// Opens an inbox, and the loop that counts what comes in, which ends with the last sender.
pub fn open(home: Arc<Standalone>) -> (Inbox, impl Future<Output = ()> + Send) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Inbox(sender), count_all(home, receiver))
}

impl Inbox {
    /// Counts the payloads; returns when that is committed.
    pub async fn count(&self, payloads: Vec<Bytes>) -> Result<Ingested, IngestError> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Request { payloads, answer }).map_err(|_| IngestError::Busy { retry_after_s: 1 })?;
        answered.await.unwrap_or_else(|gone| Err(unavailable(gone.into())))
    }
}

/// The inbox as the router's way in.
pub struct Door {
    /// The process it belongs to.
    pub home: Arc<Standalone>,
    /// Where requests wait.
    pub inbox: Inbox,
}

impl Intake for Door {
    async fn count(&self, payloads: Vec<Bytes>) -> Result<Ingested, IngestError> {
        self.inbox.count(payloads).await
    }

    fn oldest_unmerged(&self) -> Option<Timestamp> {
        self.home.oldest_unmerged()
    }

    fn fault(&self) -> Option<String> {
        self.home.store.fault()
    }
}

async fn count_all(home: Arc<Standalone>, mut waiting: mpsc::Receiver<Request>) {
    while let Some(first) = waiting.recv().await {
        let mut bytes = size(&first);
        let mut requests = vec![first];
        while requests.len() < REQUESTS_AT_ONCE && bytes < BYTES_AT_ONCE {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += size(&next);
            requests.push(next);
        }
        let payloads: Vec<&[u8]> =
            requests.iter().flat_map(|request| request.payloads.iter().map(AsRef::as_ref)).collect();
        match home.count_each(&payloads).await {
            Ok(counted) => answer(requests, &counted),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "a batch was not counted");
                for request in requests {
                    // Whoever does not wait any more sends again.
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
            sum.quarantined += payload.quarantined;
        }
        // Whoever does not wait any more sends again, and it will be known.
        let _ = request.answer.send(Ok(sum));
    }
}

fn unavailable(source: Box<dyn std::error::Error + Send + Sync>) -> IngestError {
    IngestError::Unavailable(Unavailable { operation: "counting", source })
}
