//! Writes the counts of a committed batch to the time-series store, for a few seconds at most and never at the cost of counting.
//!
//! A failure is a warning. After it the store is left alone for a minute, so that one that is down does not slow every batch. What is
//! left out is exported by later batches of the shard and by the function `compact`.

use std::time::Duration;

use event::{ShardId, Timestamp};
use pipeline::export;
use pipeline::ports::{Clock, Sink, Store};

/// The longest that a batch waits for the time-series store, in milliseconds.
const EXPORT_MS: i64 = 3_000;
/// How long the time-series store is left alone after a failure, in milliseconds.
const PAUSE_MS: i64 = 60_000;

/// A time-series store, with the pause after a failure.
pub struct Exporter<K> {
    sink: K,
    paused_until: Timestamp,
}

impl<K: Sink> Exporter<K> {
    /// An exporter to this store, without a pause.
    pub fn new(sink: K) -> Self {
        Self { sink, paused_until: Timestamp::default() }
    }

    /// Exports what is committed of a shard, as far as that is possible before `until`.
    pub async fn export<S: Store, C: Clock>(
        &mut self,
        store: &S,
        shard: &ShardId,
        clock: &C,
        until: Timestamp,
    ) {
        let now = clock.now();
        let until = until.min(now.plus_millis(EXPORT_MS));
        if now < self.paused_until || until <= now {
            return;
        }
        let left_ms = until.millis_since(now);
        // After an outage there is more to export than time. Batches begin in the first half only, so that each can finish.
        let begin_by = now.plus_millis(left_ms / 2);
        let left = Duration::from_millis(left_ms.unsigned_abs());
        let exporting = export::catch_up(store, &self.sink, shard, clock, begin_by);
        let sink = self.sink.name();
        match tokio::time::timeout(left, exporting).await {
            Ok(Ok(exported)) => exported.log(sink, shard),
            Ok(Err(error)) => self.pause(shard, clock, &format!("{:#}", anyhow::Error::from(error))),
            Err(_) => self.pause(shard, clock, "it did not answer in time"),
        }
    }

    fn pause(&mut self, shard: &ShardId, clock: &impl Clock, error: &str) {
        self.paused_until = clock.now().plus_millis(PAUSE_MS);
        let sink = self.sink.name();
        tracing::warn!(sink, shard.id = %shard, error, "export to the time-series store failed; a later batch repeats it");
    }
}
