//! One invocation: each shard's records through the commit protocol, one shard after the other.
//!
//! An environment meets few shards, mostly one. It keeps the memory of identities of the shards it met last; a shard that comes back
//! has its memory read again from the receipts, so forgetting one costs reads and nothing else.

use adapters::randomness::{NoRandomness, random};
use adapters::seal::SecretSeal;
use adapters::secrets::Secrets;
use event::attribution::Attribution;
use event::{ShardId, Timestamp};
use pipeline::directory::mappings::{Following, MappingsError};
use pipeline::ledger::accumulate::EventFold;
use pipeline::ledger::aggregate::{self, AggregateError, Attempt, Batch, Settings};
use pipeline::ledger::checkpoint::Totals;
use pipeline::ledger::deduplication::Memory;
use pipeline::ports::{Clock, Sink, Store};

use crate::batch::{Delivery, InvalidDelivery};
use crate::export::Exporter;

/// Memories of identities that are kept: 13 MB each.
const MEMORIES: usize = 3;
/// What is left for the answer after the last write.
const RESERVE_MS: i64 = 1000;

/// What invocations share.
pub struct Handler<S, C, K> {
    store: S,
    clock: C,
    fold: EventFold<SecretSeal>,
    following: Following,
    /// The shard met last comes last.
    memories: Vec<(ShardId, Memory)>,
    /// Tells the time-series store, if there is one.
    exporter: Option<Exporter<K>>,
}

/// Why a batch is to be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The invocation makes no sense.
    #[error(transparent)]
    Delivery(#[from] InvalidDelivery),
    /// The platform failed.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// Whose mail it is cannot be told.
    #[error(transparent)]
    Mappings(#[from] MappingsError),
    /// The system gives no random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl<S: Store, C: Clock, K: Sink> Handler<S, C, K> {
    /// Over a store, under these settings and secrets.
    pub fn new(
        store: S,
        clock: C,
        attribution: Attribution,
        secrets: &Secrets,
        exporter: Option<Exporter<K>>,
    ) -> Self {
        let fold = EventFold::new(attribution.clone(), secrets.hash_key(), secrets.seal());
        Self { store, clock, fold, following: Following::new(attribution), memories: Vec::new(), exporter }
    }

    /// Counts an invocation's records; returns when all are committed.
    pub async fn handle(&mut self, payload: &str, deadline: Timestamp) -> Result<Totals, HandleError> {
        let delivery = Delivery::read(payload, self.clock.now())?;
        self.following.lead(&mut self.fold, &self.store, self.clock.now()).await?;
        let mut sum = Totals::default();
        let deadline = deadline.plus_millis(-RESERVE_MS);
        for (shard, records) in delivery.shards() {
            let mut memory = self.memory(shard);
            let attempt = Attempt { id: u64::from_le_bytes(random()?), deadline };
            let batch = Batch { shard, records };
            let (settings, fold) = (Settings::default(), &mut self.fold);
            let counted =
                aggregate::aggregate(&self.store, &self.clock, &settings, fold, &mut memory, &batch, attempt);
            // A try that failed loses its memory; the next one reads it again from the receipts.
            let committed = counted.await?;
            self.memories.push((shard.clone(), memory));
            sum.add(&committed.totals);
            let Totals { records, events, aggregated, duplicates, late, quarantined, conflicts, ignored } =
                committed.totals;
            tracing::info!(
                shard.id = %shard, batch.skipped = committed.skipped, batch.items = committed.items,
                records, events, aggregated, duplicates, late, quarantined, conflicts, ignored, "counted"
            );
            if let Some(exporter) = &mut self.exporter {
                Box::pin(exporter.export(&self.store, shard, &self.clock, deadline)).await;
            }
        }
        Ok(sum)
    }

    /// A shard's memory, taken out; the one used longest ago is dropped if there are too many.
    fn memory(&mut self, shard: &ShardId) -> Memory {
        let place = self.memories.iter().position(|(held, _)| held == shard);
        let memory = place.map(|place| self.memories.remove(place).1);
        if self.memories.len() >= MEMORIES {
            self.memories.remove(0);
        }
        memory.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use adapters::system_clock::SystemClock;
    use pipeline::memory::{MemorySink, MemoryStore};
    use pipeline::ports::{Point, SinkError, Written};

    use super::*;

    fn sample(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    fn handler() -> Handler<MemoryStore, SystemClock, MemorySink> {
        telling(None)
    }

    fn telling<K: Sink>(sink: Option<K>) -> Handler<MemoryStore, SystemClock, K> {
        let secrets = Secrets::from_bytes([7; Secrets::BYTES]);
        let attribution = Attribution::default();
        Handler::new(MemoryStore::default(), SystemClock, attribution, &secrets, sink.map(Exporter::new))
    }

    fn in_a_minute() -> Timestamp {
        SystemClock.now().plus_millis(60_000)
    }

    #[tokio::test]
    async fn a_batch_delivered_again_is_counted_once() {
        let mut handler = handler();
        for name in ["kinesis-lambda.json", "kafka-lambda.json"] {
            let first = handler.handle(&sample(name), in_a_minute()).await.unwrap();
            assert!(first.records > 0 && first.aggregated > 0, "{name}: {first:?}");
            let again = handler.handle(&sample(name), in_a_minute()).await.unwrap();
            assert_eq!(again, Totals::default(), "{name}");
        }
    }

    #[tokio::test]
    async fn without_time_nothing_is_begun() {
        let mut handler = handler();
        let late = handler.handle(&sample("kinesis-lambda.json"), SystemClock.now()).await;
        assert!(matches!(late, Err(HandleError::Aggregate(AggregateError::OutOfTime { .. }))), "{late:?}");
        assert!(handler.handle(&sample("kinesis-lambda.json"), in_a_minute()).await.unwrap().aggregated > 0);
    }

    #[tokio::test]
    async fn few_memories_are_kept() {
        let mut handler = handler();
        for shard in 0..10 {
            let payload = format!(
                r#"{{"Records":[{{"eventID":"shardId-{shard}:1","kinesis":{{"sequenceNumber":"1","data":"e30="}}}}]}}"#
            );
            let totals = handler.handle(&payload, in_a_minute()).await.unwrap();
            assert_eq!(totals.quarantined, 1);
        }
        assert_eq!(handler.memories.len(), MEMORIES);
    }

    /// A sink that several hold, which is down or hangs at first.
    #[derive(Clone, Default)]
    struct Shared {
        points: Arc<MemorySink>,
        hangs: bool,
        is_down: bool,
    }

    impl Sink for Shared {
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
    async fn what_was_counted_is_told_to_the_time_series_store() {
        let sink = Shared::default();
        let mut handler = telling(Some(sink.clone()));
        let totals = handler.handle(&sample("kinesis-lambda.json"), in_a_minute()).await.unwrap();
        let points = sink.points.points();
        assert!(totals.aggregated > 0 && !points.is_empty(), "{totals:?}");
    }

    #[tokio::test]
    async fn a_time_series_store_that_is_down_or_hangs_fails_no_batch() {
        for (is_down, hangs) in [(true, false), (false, true)] {
            let mut handler = telling(Some(Shared { hangs, is_down, ..Shared::default() }));
            // So late that there is hardly any time to wait.
            let soon = SystemClock.now().plus_millis(RESERVE_MS + 500);
            let totals = handler.handle(&sample("kinesis-lambda.json"), soon).await.unwrap();
            assert!(totals.aggregated > 0, "{totals:?}");
        }
    }
}
