//! The function `compact`: the deltas of batches into blocks of hours, days and months, every few minutes.
//!
//! Its environment: `TABLE_NAME`. Several of it may run at once, and each may die at any moment; nothing that readers see comes of it.
//! A tenant that fails stays due and is told; the log's `oldest_unmerged_seconds` must stay far below the three days that
//! deltas are kept.

// The steps' futures nest deeper than the compiler looks by itself.
#![recursion_limit = "256"]

use adapters::aws::dynamodb::DynamoStore;
use adapters::environment::Environment;
use adapters::randomness::random;
use adapters::system_clock::SystemClock;
use cells::Block;
use event::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use pipeline::aggregate::Attempt;
use pipeline::compact::{Settings, due};
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

/// What is left for the answer after the last tenant.
const RESERVE_MS: i64 = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let mut environment = Environment::of_process();
    let table = environment.required("TABLE_NAME");
    let table = environment.finish(table)?;
    let store = DynamoStore::new(&adapters::aws::config().await, table);
    let handle = async |event: LambdaEvent<Value>| {
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        compact(&store, Timestamp::from_millis(deadline).plus_millis(-RESERVE_MS)).await
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}

async fn compact(store: &DynamoStore, deadline: Timestamp) -> Result<Value, Error> {
    let mut id = u64::from_le_bytes(random()?);
    let attempt = || {
        // Odd, so that no number comes twice; random enough to differ from everybody else's.
        id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Attempt { id, deadline }
    };
    let report = due::compact_due::<Block, _, _>(store, &SystemClock, &Settings::default(), attempt).await?;
    let failed = report.failed.len();
    for (tenant, error) in report.failed {
        let error = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(tenant.id = %tenant, error, "a tenant was not folded and stays due");
    }
    let now = SystemClock.now();
    let oldest = report.oldest_unmerged.map_or(0, |at| now.millis_since(at).max(0) / 1000);
    let compacted = report.compacted.len();
    tracing::info!(compacted, failed, oldest_unmerged_seconds = oldest, "folded");
    Ok(json!({ "compacted": compacted, "failed": failed, "oldest_unmerged_seconds": oldest }))
}
