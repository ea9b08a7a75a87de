//! The function `compact`: merges the deltas of batches into blocks of hours, days and months, every few minutes.
//!
//! Its environment: `TABLE_NAME`; `SINK` and what belongs to it ([`adapters::sink`]) say which time-series store gets what the function
//! `aggregate` left behind. Several of it may run at once, and each may die at any moment; readers see nothing of it.
//! A tenant that fails stays due and is logged; a shard that fails is the run's error, once all other shards' tenants are compacted.
//! The log's `oldest_unmerged_seconds` must stay far below the three days that deltas are kept.

// The steps' futures nest deeper than the compiler looks by itself.
#![recursion_limit = "256"]

use adapters::aws::dynamodb::DynamoStore;
use adapters::environment::Environment;
use adapters::randomness::random;
use adapters::sink::{self, TimeSeries};
use adapters::system_clock::SystemClock;
use cells::Block;
use event::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use pipeline::history::compaction::{Settings, due};
use pipeline::ledger::aggregate::Attempt;
use pipeline::ports::{Clock, Store};
use serde_json::{Value, json};

mod export;

/// What is left for the answer after the last tenant.
const RESERVE_MS: i64 = 10_000;
/// What folding leaves for a time-series store, however much there is to fold.
const EXPORT_MS: i64 = 60_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let mut environment = Environment::of_process();
    let table = environment.required("TABLE_NAME");
    let sink = sink::Settings::read(&mut environment);
    let (table, sink) = environment.finish((table, sink))?;
    let store = DynamoStore::new(&adapters::aws::config().await, table);
    let sink = match sink {
        Some(settings) => Some(TimeSeries::open(settings).await),
        None => None,
    };
    let handle = async |event: LambdaEvent<Value>| -> Result<Value, Error> {
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let deadline = Timestamp::from_millis(deadline).plus_millis(-RESERVE_MS);
        let Some(sink) = &sink else { return compact(&store, &SystemClock, deadline).await };
        // What is exported is read from deltas, folded or not, so the order is of no matter to the numbers.
        let folded = compact(&store, &SystemClock, deadline.plus_millis(-EXPORT_MS)).await;
        Box::pin(export::export(&store, sink, &SystemClock, deadline)).await;
        folded
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}

/// Compacts what is due until the deadline, and logs how it went.
async fn compact<S: Store, C: Clock>(store: &S, clock: &C, deadline: Timestamp) -> Result<Value, Error> {
    let mut id = u64::from_le_bytes(random()?);
    let attempt = || {
        // Odd, so that no number comes twice; random enough to differ from everybody else's.
        id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Attempt { id, deadline }
    };
    let report = due::compact_due::<Block, _, _>(store, clock, &Settings::default(), attempt).await?;
    let failed = report.failed.len();
    for (tenant, error) in report.failed {
        let error = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(tenant.id = %tenant, error, "a tenant was not folded and stays due");
    }
    let now = clock.now();
    let oldest = report.oldest_unmerged.map_or(0, |at| now.millis_since(at).max(0) / 1000);
    let compacted = report.compacted.len();
    tracing::info!(compacted, failed, oldest_unmerged_seconds = oldest, "folded");
    if let Some((shard, error)) = report.failed_shards.into_iter().next() {
        let context = format!("the backlog of shard {shard} could not be read or written: its tenants wait");
        return Err(anyhow::Error::from(error).context(context).into());
    }
    Ok(json!({ "compacted": compacted, "failed": failed, "oldest_unmerged_seconds": oldest }))
}

#[cfg(test)]
mod tests {
    use event::ShardId;
    use pipeline::memory::MemoryStore;
    use pipeline::testing::counting::{self, At};

    use super::*;

    /// 2025-11-13T02:00:00Z.
    const HOUR: Timestamp = Timestamp::from_millis(1_762_999_200_000);

    async fn count(store: &MemoryStore, number: u64, data: &[u8]) {
        let shard = ShardId::new("shard-1").unwrap();
        counting::count(store, &shard, number, data, HOUR).await.unwrap();
    }

    #[tokio::test]
    async fn an_hour_that_is_over_is_folded_once() {
        let store = MemoryStore::new();
        count(&store, 1, include_bytes!("../../../events/ses-send.json")).await;
        let later = At(HOUR.plus_millis(3 * 60 * 60 * 1000));
        let deadline = later.now().plus_millis(60_000);
        for (compacted, unmerged) in [(1, false), (0, false)] {
            let said = compact(&store, &later, deadline).await.unwrap();
            assert_eq!((&said["compacted"], &said["failed"]), (&json!(compacted), &json!(0)), "{said}");
            assert_eq!(said["oldest_unmerged_seconds"] != json!(0), unmerged, "{said}");
        }
    }
}
