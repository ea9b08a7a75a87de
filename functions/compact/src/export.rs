//! Exports to the time-series store what the function `aggregate` left out: after an outage, a crash, or the choice of a new store.
//!
//! A failure is a warning and never fails compaction. `sink_lag_seconds` in the log says how far behind the store is; what is not
//! exported within the three days that deltas are kept stays missing there, though not in the API.

use std::time::Duration;

use event::{ShardId, Timestamp};
use futures::stream::{self, StreamExt as _};
use pipeline::export::{self, ExportError};
use pipeline::ledger::checkpoint;
use pipeline::ports::{Clock, Sink, Store};

/// Shards that are exported in parallel. Each needs some megabytes and some connections.
const PARALLEL_SHARDS: usize = 4;

/// Exports what is committed of all shards, as far as that is possible before the deadline, and logs the result.
pub(crate) async fn export<S: Store, K: Sink, C: Clock>(store: &S, sink: &K, clock: &C, deadline: Timestamp) {
    let left_ms = deadline.millis_since(clock.now()).max(0);
    // The last tenth is for writes to finish. One that hangs is cut off, so that the function returns in time.
    let begin_by = deadline.plus_millis(-left_ms / 10);
    let exporting = export_shards(store, sink, clock, begin_by);
    let outcome = tokio::time::timeout(Duration::from_millis(left_ms.unsigned_abs()), exporting).await;
    let failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{:#}", anyhow::Error::from(error))),
        Err(_) => Some("it did not answer in time".to_owned()),
    };
    let name = sink.name();
    if let Some(error) = failure {
        tracing::warn!(sink = name, error, "export to the time-series store failed; a later run repeats it");
    }
    match export::backlog(store, name, 1).await {
        Ok(backlogs) => {
            let oldest = backlogs.iter().filter_map(|backlog| backlog.oldest).min();
            let lag = oldest.map_or(0, |at| clock.now().millis_since(at).max(0) / 1000);
            tracing::info!(sink = name, sink_lag_seconds = lag, "exported");
        }
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(sink = name, error, "how far the time-series store is behind could not be read");
        }
    }
}

async fn export_shards<S: Store, K: Sink, C: Clock>(
    store: &S,
    sink: &K,
    clock: &C,
    deadline: Timestamp,
) -> Result<(), ExportError> {
    let checkpoints = checkpoint::read_all(store).await?;
    let shards: Vec<ShardId> = checkpoints.into_iter().map(|(shard, _)| shard).collect();
    for shards in shards.chunks(PARALLEL_SHARDS) {
        let calls = shards.iter().map(|shard| export::catch_up(store, sink, shard, clock, deadline));
        let results: Vec<_> = stream::iter(calls).buffered(PARALLEL_SHARDS).collect().await;
        for (shard, exported) in shards.iter().zip(results) {
            // The first failure ends the export: a store that fails for one shard would fail for the others as well.
            exported?.log(sink.name(), shard);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pipeline::memory::{MemorySink, MemoryStore};
    use pipeline::testing::counting::{self, FixedClock};

    use super::*;

    #[tokio::test]
    async fn all_shards_are_brought_up_to_date() {
        let (store, sink) = (MemoryStore::new(), MemorySink::default());
        let clock = FixedClock(Timestamp::from_millis(1_762_999_200_000));
        let deadline = clock.now().plus_millis(60_000);
        for number in 0..10 {
            let shard = ShardId::new(&format!("shard-{number}")).unwrap();
            let data = include_bytes!("../../../events/ses-send.json").as_slice();
            counting::count(&store, &shard, 1, data, clock.now()).await.unwrap();
        }
        export(&store, &sink, &clock, clock.now()).await;
        assert_eq!(sink.points(), [], "there was no time");
        export(&store, &sink, &clock, deadline).await;
        assert_eq!(sink.points().len(), 10);
    }
}
