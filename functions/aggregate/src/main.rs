//! The function `aggregate`: a batch of a Kinesis shard or of Kafka partitions, counted once.
//!
//! Its environment: `TABLE_NAME`; `TENANT_TAG`, `CAMPAIGN_TAG`, `SEGMENT_TAG` and `DECLARED_TAGS` (up to four names, separated by
//! commas) say which message tags name what. An error means that the platform failed: Lambda delivers the batch again, as a whole,
//! and nothing of it is counted twice. Records that cannot be read are no errors; they go to quarantine.

#![allow(unreachable_pub, reason = "a program has no outside; `pub` says what a module offers the others")]
// The steps' futures nest deeper than the compiler looks by itself.
#![recursion_limit = "256"]

use adapters::aws::dynamodb::DynamoStore;
use adapters::environment::{Environment, InvalidEnvironment};
use adapters::secrets::Secrets;
use adapters::system_clock::SystemClock;
use event::Timestamp;
use event::attribution::{Attribution, Settings};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

use handler::Handler;

mod batch;
mod handler;

fn settings(mut environment: Environment) -> Result<(String, Attribution), InvalidEnvironment> {
    let table = environment.required("TABLE_NAME");
    let mut settings = Settings { tags: environment.list("DECLARED_TAGS"), ..Settings::default() };
    for (name, tag) in [
        ("TENANT_TAG", &mut settings.tenant_tag),
        ("CAMPAIGN_TAG", &mut settings.campaign_tag),
        ("SEGMENT_TAG", &mut settings.segment_tag),
    ] {
        if let Some(named) = environment.optional(name) {
            *tag = named;
        }
    }
    let attribution = Attribution::new(settings).unwrap_or_else(|error| {
        environment.mistake(error);
        Attribution::default()
    });
    environment.finish((table, attribution))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let (table, attribution) = settings(Environment::of_process())?;
    let store = DynamoStore::new(&adapters::aws::config().await, table);
    let secrets = Secrets::of_store(&store).await?;
    let handler = tokio::sync::Mutex::new(Handler::new(store, SystemClock, attribution, &secrets));
    let handle = async |event: LambdaEvent<Box<RawValue>>| -> Result<(), Error> {
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let mut handler = handler.lock().await;
        Box::pin(handler.handle(event.payload.get(), Timestamp::from_millis(deadline))).await?;
        Ok(())
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}
