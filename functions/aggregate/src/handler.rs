//! One invocation: the records of each shard go through the commit protocol, one shard after the other.
//!
//! An execution environment sees few shards, usually one. It keeps the caches of those it saw last; that of any other shard is
//! read again from the store, so dropping one costs reads and nothing else.

use adapters::randomness::{NoRandomness, random};
use adapters::seal::SecretSeal;
use adapters::secrets::Secrets;
use event::attribution::Attribution;
use event::{ShardId, Timestamp};
use pipeline::directory::mappings::{CurrentAttribution, MappingsError};
use pipeline::ledger::accumulate::EventAccumulator;
use pipeline::ledger::aggregate::{AggregateError, Aggregation, Attempt, Batch, CommitSettings, ShardCache};
use pipeline::ledger::checkpoint::Totals;
use pipeline::ports::{Clock, Sink, Store};

use crate::export::Exporter;
use crate::records::{BatchRecords, InvalidBatch};

/// Number of shard caches that are kept. The deduplication window of each takes 13 MB.
const MAX_CACHES: usize = 3;
/// Time reserved before the deadline for returning the result, in milliseconds.
const RESERVE_MS: i64 = 1000;

/// What the invocations of one execution environment share. They never overlap.
pub struct BatchHandler<S, C, K> {
    store: S,
    clock: C,
    accumulator: EventAccumulator<SecretSeal>,
    attribution: CurrentAttribution,
    /// Caches of shards; that of the shard seen last comes last.
    caches: Vec<(ShardId, ShardCache)>,
    /// The time-series store, if one is configured.
    exporter: Option<Exporter<K>>,
}

/// Why an invocation failed. Lambda delivers its batch again.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The payload is not a batch of records.
    #[error(transparent)]
    Invocation(#[from] InvalidBatch),
    /// The store failed, or time ran out.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// The mappings to tenants could not be read.
    #[error(transparent)]
    Mappings(#[from] MappingsError),
    /// The operating system provided no random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl<S: Store, C: Clock, K: Sink> BatchHandler<S, C, K> {
    /// A handler that counts into this store.
    pub fn new(
        store: S,
        clock: C,
        attribution: Attribution,
        secrets: &Secrets,
        exporter: Option<Exporter<K>>,
    ) -> Self {
        let accumulator = EventAccumulator::new(attribution.clone(), secrets.hash_key(), secrets.seal());
        let attribution = CurrentAttribution::new(attribution);
        Self { store, clock, accumulator, attribution, caches: Vec::new(), exporter }
    }

    /// Counts the records of an invocation. Returns their totals when all of them are committed.
    ///
    /// # Errors
    /// The first shard that could not be committed. Shards before it stay committed; the next delivery recognises them.
    pub async fn handle(&mut self, payload: &str, deadline: Timestamp) -> Result<Totals, HandleError> {
        let records = BatchRecords::read(payload, self.clock.now())?;
        if let Some(changed) = self.attribution.refresh(&self.store, self.clock.now()).await? {
            self.accumulator.set_attribution(changed);
        }
        let mut sum = Totals::default();
        let deadline = deadline.plus_millis(-RESERVE_MS);
        for (shard, records) in records.shards() {
            let mut cache = self.take_cache(shard);
            // Each shard is an attempt of its own, because each has a lease of its own.
            let attempt = Attempt { id: u64::from_le_bytes(random()?), deadline };
            let batch = Batch { shard, records };
            let settings = CommitSettings::default();
            let aggregation = Aggregation { store: &self.store, clock: &self.clock, settings, attempt };
            // The cache of a failed attempt is dropped, as it may be ahead of what is committed.
            let committed = aggregation.handle(&mut self.accumulator, &mut cache, &batch).await?;
            self.caches.push((shard.clone(), cache));
            sum.add(&committed.totals);
            let Totals { records, events, aggregated, duplicates, late, quarantined, conflicts, ignored } =
                committed.totals;
            let kinds = committed.ignored();
            tracing::info!(
                shard.id = %shard, batch.skipped = committed.skipped, batch.items = committed.items,
                records, events, aggregated, duplicates, late, quarantined, conflicts, ignored,
                ignored.kinds = %kinds, "counted"
            );
            if let Some(exporter) = &mut self.exporter {
                Box::pin(exporter.export(&self.store, shard, &self.clock, deadline)).await;
            }
        }
        Ok(sum)
    }

    /// Takes out the cache of a shard. Drops the cache that was used longest ago if there are too many.
    fn take_cache(&mut self, shard: &ShardId) -> ShardCache {
        let index = self.caches.iter().position(|(other, _)| other == shard);
        let cache = index.map(|index| self.caches.remove(index).1);
        if self.caches.len() >= MAX_CACHES {
            self.caches.remove(0);
        }
        // An empty cache is filled from the store.
        cache.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use adapters::system_clock::SystemClock;
    use pipeline::memory::{MemorySink, MemoryStore};
    use pipeline::ports::{Point, SinkError, Written};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the samples are files")]
    fn sample(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    fn handler() -> BatchHandler<MemoryStore, SystemClock, MemorySink> {
        handler_with(None)
    }

    fn handler_with<K: Sink>(sink: Option<K>) -> BatchHandler<MemoryStore, SystemClock, K> {
        let secrets = Secrets::from_bytes([7; Secrets::BYTES]);
        let attribution = Attribution::default();
        BatchHandler::new(MemoryStore::default(), SystemClock, attribution, &secrets, sink.map(Exporter::new))
    }

    fn in_a_minute() -> Timestamp {
        SystemClock.now().plus_millis(60_000)
    }

    #[tokio::test]
    async fn redelivered_batch_is_counted_once() {
        let mut handler = handler();
        for name in ["kinesis-lambda.json", "kafka-lambda.json"] {
            let first = handler.handle(&sample(name), in_a_minute()).await.unwrap();
            assert!(first.records > 0 && first.aggregated > 0, "{name}: {first:?}");
            let again = handler.handle(&sample(name), in_a_minute()).await.unwrap();
            assert_eq!(again, Totals::default(), "{name}");
        }
    }

    #[tokio::test]
    async fn batch_without_time_left_is_not_begun() {
        let mut handler = handler();
        let outcome = handler.handle(&sample("kinesis-lambda.json"), SystemClock.now()).await;
        assert!(
            matches!(outcome, Err(HandleError::Aggregate(AggregateError::OutOfTime { .. }))),
            "{outcome:?}"
        );
        assert!(handler.handle(&sample("kinesis-lambda.json"), in_a_minute()).await.unwrap().aggregated > 0);
    }

    #[tokio::test]
    async fn shard_caches_are_bounded() {
        let mut handler = handler();
        for shard in 0..10 {
            let payload = format!(
                r#"{{"Records":[{{"eventID":"shardId-{shard}:1","kinesis":{{"sequenceNumber":"1","data":"e30="}}}}]}}"#
            );
            let totals = handler.handle(&payload, in_a_minute()).await.unwrap();
            assert_eq!(totals.quarantined, 1);
        }
        assert_eq!(handler.caches.len(), MAX_CACHES);
    }

    /// A sink whose points the test can see, and that may be down or hang.
    #[derive(Clone, Default)]
    struct SharedSink {
        points: Arc<MemorySink>,
        hangs: bool,
        is_down: bool,
    }

    impl Sink for SharedSink {
        fn name(&self) -> &'static str {
            "memory"
        }

        async fn write(&self, points: &[Point]) -> Result<Written, SinkError> {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            if self.is_down {
                return Err(SinkError { sink: "memory", source: "down".into() });
            }
            self.points.write(points).await
        }
    }

    #[tokio::test]
    async fn counts_are_exported_to_the_time_series_store() {
        let sink = SharedSink::default();
        let mut handler = handler_with(Some(sink.clone()));
        let totals = handler.handle(&sample("kinesis-lambda.json"), in_a_minute()).await.unwrap();
        let points = sink.points.points();
        assert!(totals.aggregated > 0 && !points.is_empty(), "{totals:?}");
    }

    #[tokio::test]
    async fn time_series_store_that_is_down_or_hangs_fails_no_batch() {
        for (is_down, hangs) in [(true, false), (false, true)] {
            let mut handler = handler_with(Some(SharedSink { hangs, is_down, ..SharedSink::default() }));
            // A deadline that leaves half a second for the export.
            let soon = SystemClock.now().plus_millis(RESERVE_MS + 500);
            let totals = handler.handle(&sample("kinesis-lambda.json"), soon).await.unwrap();
            assert!(totals.aggregated > 0, "{totals:?}");
        }
    }
}
