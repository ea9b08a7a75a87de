//! The function `compact`: merges the deltas of batches into blocks of hours, days and months, every few minutes.
//!
//! Environment: `TABLE_NAME`; `SINK` and its settings ([`adapters::sink`]) select the time-series store that gets what the function
//! `aggregate` left out.
//!
//! Several instances may run at once, and each may die at any moment; readers never notice. A tenant that fails is logged and stays due.
//! A shard that fails is the error of the run, after the tenants of all other shards are compacted. `oldest_unmerged_seconds` in the log
//! must stay far below the three days that deltas are kept; the template has an alarm on it.

// The futures of the steps are nested more deeply than the compiler's default limit.
#![recursion_limit = "256"]

use adapters::aws::dynamodb::DynamoStore;
use adapters::environment::Environment;
use adapters::randomness::random;
use adapters::sink::{SinkSettings, TimeSeriesSink};
use adapters::system_clock::SystemClock;
use cells::Block;
use event::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use pipeline::history::compaction::{CompactionSettings, schedule};
use pipeline::ledger::aggregate::Attempt;
use pipeline::ports::{Clock, Store};
use serde_json::{Value, json};

mod export;

/// Time reserved before the deadline for returning the result, in milliseconds.
const RESERVE_MS: i64 = 10_000;
/// Time that compaction leaves for the time-series store, however much there is to compact, in milliseconds.
const EXPORT_MS: i64 = 60_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let mut environment = Environment::of_process();
    let table = environment.required("TABLE_NAME");
    let sink = SinkSettings::read(&mut environment);
    let (table, sink) = environment.finish((table, sink))?;
    let store = DynamoStore::new(&adapters::aws::config().await, table);
    let sink = match sink {
        Some(settings) => Some(TimeSeriesSink::open(settings).await),
        None => None,
    };
    let handle = async |event: LambdaEvent<Value>| -> Result<Value, Error> {
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let deadline = Timestamp::from_millis(deadline).plus_millis(-RESERVE_MS);
        let Some(sink) = &sink else { return compact(&store, &SystemClock, deadline).await };
        // The export reads deltas, which stay after they are compacted, so the order does not matter to its numbers.
        let compacted = compact(&store, &SystemClock, deadline.plus_millis(-EXPORT_MS)).await;
        Box::pin(export::export(&store, sink, &SystemClock, deadline)).await;
        compacted
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}

/// Compacts what is due until the deadline, logs the result and returns it.
async fn compact<S: Store, C: Clock>(store: &S, clock: &C, deadline: Timestamp) -> Result<Value, Error> {
    let mut id = u64::from_le_bytes(random()?);
    let attempt = || {
        // An odd step visits every number before it repeats one, and the random start keeps other instances apart.
        id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Attempt { id, deadline }
    };
    let report =
        schedule::compact_due::<Block, _, _>(store, clock, &CompactionSettings::default(), attempt).await?;
    let failed = report.failed.len();
    for (tenant, error) in report.failed {
        let error = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(tenant.id = %tenant, error, "a tenant was not compacted and stays due");
    }
    let now = clock.now();
    let oldest = report.oldest_unmerged.map_or(0, |at| now.millis_since(at).max(0) / 1000);
    let compacted = report.compacted.len();
    tracing::info!(compacted, failed, oldest_unmerged_seconds = oldest, "compacted");
    if let Some((shard, error)) = report.failed_shards.into_iter().next() {
        let context = format!(
            "the backlog of shard {shard} could not be read or written; its tenants are compacted by a later run"
        );
        return Err(anyhow::Error::from(error).context(context).into());
    }
    Ok(json!({ "compacted": compacted, "failed": failed, "oldest_unmerged_seconds": oldest }))
}

#[cfg(test)]
mod tests {
    use event::ShardId;
    use pipeline::memory::MemoryStore;
    use pipeline::testing::counting::{self, FixedClock};

    use super::*;

    /// 2025-11-13T02:00:00Z.
    const HOUR: Timestamp = Timestamp::from_millis(1_762_999_200_000);

    async fn count(store: &MemoryStore, number: u64, data: &[u8]) {
        let shard = ShardId::new("shard-1").unwrap();
        counting::count(store, &shard, number, data, HOUR).await.unwrap();
    }

    #[tokio::test]
    async fn past_hour_is_compacted_once() {
        let store = MemoryStore::new();
        count(&store, 1, include_bytes!("../../../events/ses-send.json")).await;
        let later = FixedClock(HOUR.plus_millis(3 * 60 * 60 * 1000));
        let deadline = later.now().plus_millis(60_000);
        for (compacted, unmerged) in [(1, false), (0, false)] {
            let result = compact(&store, &later, deadline).await.unwrap();
            assert_eq!((&result["compacted"], &result["failed"]), (&json!(compacted), &json!(0)), "{result}");
            assert_eq!(result["oldest_unmerged_seconds"] != json!(0), unmerged, "{result}");
        }
    }
}
