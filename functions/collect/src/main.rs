//! The function `collect`: reads the counts of a group of tenants for the function `detect`, which evaluates them. Deployed where one
//! invocation cannot read the counts of all tenants within a minute.
//!
//! Environment: `TABLE_NAME`. The function only reads. If it fails, `detect` reads the group itself, so an error costs time and no alert.

use adapters::aws::dynamodb::DynamoStore;
use adapters::environment::Environment;
use adapters::system_clock::SystemClock;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use pipeline::alerting::detection_run::tenant_groups::{self, GroupCounts, GroupRequest};
use pipeline::history::compaction::CompactionSettings;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let mut environment = Environment::of_process();
    let table = environment.required("TABLE_NAME");
    let table = environment.finish(table)?;
    let store = DynamoStore::new(&adapters::aws::config().await, table);
    let history = CompactionSettings::default();
    let handle = async |event: LambdaEvent<GroupRequest>| -> Result<GroupCounts, Error> {
        let counts = tenant_groups::answer(&store, &SystemClock, &history, &event.payload).await?;
        tracing::info!(group = ?event.payload, bytes = counts.size(), "group read");
        Ok(counts)
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}
