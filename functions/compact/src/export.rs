//! What the function `aggregate` left behind of the time-series store's share: an outage, a crash, a store chosen later.
//!
//! A failure is a warning and fails nothing; the log's `sink_lag_seconds` says how far behind the store is, and what is not exported
//! within the three days that deltas are kept stays a gap there.

use std::time::Duration;

use event::{ShardId, Timestamp};
use pipeline::export::{self, ExportError};
use pipeline::ledger::checkpoint;
use pipeline::parallel;
use pipeline::ports::{Clock, Sink, Store};

/// Shards exported at once: each holds some megabytes and some connections.
const SHARDS: usize = 4;

/// Brings the time-series store up to what is done of all shards, as far as it comes; says in the log how it went.
pub(crate) async fn export<S: Store, K: Sink, C: Clock>(store: &S, sink: &K, clock: &C, deadline: Timestamp) {
    let left = deadline.millis_since(clock.now()).max(0);
    // Writes begun in the last moments may end; one that hangs may not hold up the function's answer.
    let begin_by = deadline.plus_millis(-left / 10);
    let exporting = all(store, sink, clock, begin_by);
    let ended = tokio::time::timeout(Duration::from_millis(left.unsigned_abs()), exporting).await;
    let failed = match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{:#}", anyhow::Error::from(error))),
        Err(_) => Some("it did not answer in time".to_owned()),
    };
    let name = sink.name();
    if let Some(error) = failed {
        tracing::warn!(sink = name, error, "the time-series store lags behind and is told later");
    }
    match export::backlog(store, name, 1).await {
        Ok(backlogs) => {
            let oldest = backlogs.iter().filter_map(|backlog| backlog.oldest).min();
            let lag = oldest.map_or(0, |at| clock.now().millis_since(at).max(0) / 1000);
            tracing::info!(sink = name, sink_lag_seconds = lag, "exported");
        }
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(sink = name, error, "how far the time-series store is cannot be told");
        }
    }
}

async fn all<S: Store, K: Sink, C: Clock>(
    store: &S,
    sink: &K,
    clock: &C,
    deadline: Timestamp,
) -> Result<(), ExportError> {
    let cursors = checkpoint::read_all(store).await?;
    let shards: Vec<ShardId> = cursors.into_iter().map(|(shard, _)| shard).collect();
    for shards in shards.chunks(SHARDS) {
        let calls = shards.iter().map(|shard| export::catch_up(store, sink, shard, clock, deadline));
        for (shard, exported) in shards.iter().zip(parallel::all(calls).await) {
            // A store that fails one shard would fail the others as well.
            exported?.log(sink.name(), shard);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pipeline::memory::{MemorySink, MemoryStore};
    use pipeline::testing::counting::{self, At};

    use super::*;

    #[tokio::test]
    async fn all_shards_are_brought_up_to_date() {
        let (store, sink) = (MemoryStore::new(), MemorySink::default());
        let clock = At(Timestamp::from_millis(1_762_999_200_000));
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
