//! Telling the time-series store after a commit, for a few seconds at most and never at the cost of counting.
//!
//! A failure is a warning; then the store is left alone for a while, so that one that is down does not slow every batch. What is left
//! behind is repaired by later batches of the shard and by the function `compact`.

use std::time::Duration;

use event::{ShardId, Timestamp};
use pipeline::export;
use pipeline::ports::{Clock, Sink, Store};

/// The longest that a batch waits for the time-series store.
const EXPORT_MS: i64 = 3_000;
/// How long the time-series store is left alone after a failure.
const PAUSE_MS: i64 = 60_000;

/// A time-series store, and whether to bother it.
pub struct Exporter<K> {
    sink: K,
    quiet_until: Timestamp,
}

impl<K: Sink> Exporter<K> {
    /// Of this store.
    pub fn new(sink: K) -> Self {
        Self { sink, quiet_until: Timestamp::default() }
    }

    /// Brings the store up to what is done of a shard, as far as it comes.
    pub async fn export<S: Store, C: Clock>(
        &mut self,
        store: &S,
        shard: &ShardId,
        clock: &C,
        until: Timestamp,
    ) {
        let now = clock.now();
        let until = until.min(now.plus_millis(EXPORT_MS));
        if now < self.quiet_until || until <= now {
            return;
        }
        let left = until.millis_since(now);
        // With much to repair there is always more to begin; what is begun should end.
        let begin_by = now.plus_millis(left / 2);
        let left = Duration::from_millis(left.unsigned_abs());
        let exporting = export::catch_up(store, &self.sink, shard, clock, begin_by);
        let sink = self.sink.name();
        match tokio::time::timeout(left, exporting).await {
            Ok(Ok(exported)) => exported.log(sink, shard),
            Ok(Err(error)) => self.pause(shard, clock, &format!("{:#}", anyhow::Error::from(error))),
            Err(_) => self.pause(shard, clock, "it did not answer in time"),
        }
    }

    fn pause(&mut self, shard: &ShardId, clock: &impl Clock, error: &str) {
        self.quiet_until = clock.now().plus_millis(PAUSE_MS);
        let sink = self.sink.name();
        tracing::warn!(sink, shard.id = %shard, error, "the time-series store lags behind and is told later");
    }
}
