//! The function `detect`: evaluates each minute of all tenants' mail once, and publishes each change of an alert on the alert topic.
//! Before that, it puts the depth of the queues that tenants name on the stream.
//!
//! Its environment: `TABLE_NAME`, `ALERT_TOPIC_ARN`, `STREAM_NAME`; `DASHBOARD_URL`, the address that alerts point to; `COLLECT_FUNCTION` and
//! `COLLECT_SHARES`, if the counts are read by other functions, a share each. An error means that a change was not published or a minute
//! not evaluated: the next run goes on from there. A queue that cannot be read is a warning, and so is a learned state that could not
//! be stored; the log's `unsaved` says for how many minutes it has not been.

use std::time::Duration;

use adapters::aws::dynamodb::DynamoStore;
use adapters::aws::kinesis::{PartitionKeys, Stream};
use adapters::aws::lambda::Collectors;
use adapters::aws::sns::{Message, Topic};
use adapters::aws::sqs::Sqs;
use adapters::environment::{Environment, InvalidEnvironment};
use adapters::randomness::random;
use adapters::system_clock::SystemClock;
use detection::{Change, SCHEMA};
use event::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use pipeline::alerting::detection_run::shares::MAX_SHARES;
use pipeline::alerting::detection_run::{self, Announce, AnnounceError, Memory};
use pipeline::alerting::queues::{self, Gauges};
use pipeline::ledger::aggregate::Attempt;
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

/// Judging waits no longer for the queues of tenants.
const QUEUES_TIME: Duration = Duration::from_secs(15);

/// The settings of this function.
struct Settings {
    table: String,
    topic: String,
    stream: String,
    dashboard: Option<String>,
    /// The function that reads counts, and in how many shares.
    collect: Option<(String, u32)>,
}

impl Settings {
    fn read(mut environment: Environment) -> Result<Self, InvalidEnvironment> {
        let settings = Self {
            table: environment.required("TABLE_NAME"),
            topic: environment.required("ALERT_TOPIC_ARN"),
            stream: environment.required("STREAM_NAME"),
            dashboard: environment.optional("DASHBOARD_URL"),
            collect: environment.optional("COLLECT_FUNCTION").zip(environment.optional("COLLECT_SHARES")),
        };
        if settings.collect.as_ref().is_some_and(|(_, shares)| !(2..=MAX_SHARES).contains(shares)) {
            environment.mistake(format_args!("COLLECT_SHARES: 2 to {MAX_SHARES}"));
        }
        environment.finish(settings)
    }
}

/// The topic of the deployment.
struct Sns(Topic);

impl Announce for Sns {
    fn channels(&self, _: &Change) -> Vec<String> {
        vec!["sns".to_owned()]
    }

    async fn announce(&self, _: &str, change: &Change) -> Result<(), AnnounceError> {
        Ok(self.0.publish(&message(change)?).await?)
    }
}

/// A change in the forms that subscribers want.
fn message(change: &Change) -> Result<Message, serde_json::Error> {
    let attributes = vec![
        ("tenant", change.tenant.clone()),
        ("severity", change.severity.name().to_owned()),
        ("kind", change.kind.name().to_owned()),
        ("metric", change.metric.clone()),
        ("state", change.state.name().to_owned()),
        ("schema", SCHEMA.to_owned()),
    ];
    Ok(Message {
        subject: change.subject(),
        text: change.text(),
        short: change.short(),
        json: serde_json::to_string(change)?,
        attributes,
    })
}

/// Puts on the stream how much waits in tenants' queues; how many tenants that were.
async fn tell_queues(store: &DynamoStore, queues: &Sqs, stream: &Stream) -> Result<usize, Error> {
    let Gauges { records, failed } = queues::gauges(store, queues, SystemClock.now()).await?;
    for (queue, error) in &failed {
        tracing::warn!(%queue, error, "a queue does not tell how much waits in it");
    }
    let mut keys = PartitionKeys::default();
    let records: Vec<_> = records.into_iter().map(|record| keys.address(record)).collect();
    let told = records.len();
    stream.put(records).await?;
    Ok(told)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let Settings { table, topic, stream, dashboard, collect } = Settings::read(Environment::of_process())?;
    let config = adapters::aws::config().await;
    let (store, topic) = (DynamoStore::new(&config, table), Sns(Topic::new(&config, topic)));
    let (queues, stream) = (Sqs::new(&config), Stream::new(&config, stream));
    let readers = collect.map(|(function, shares)| Collectors::new(&config, function, shares));
    let settings = detection_run::Settings { dashboard, ..detection_run::Settings::default() };
    // Invocations of one environment never overlap.
    let memory = tokio::sync::Mutex::new(Memory::default());
    let handle = async |event: LambdaEvent<Value>| -> Result<Value, Error> {
        let deadline = Timestamp::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
        let attempt = Attempt { id: u64::from_le_bytes(random()?), deadline };
        match tokio::time::timeout(QUEUES_TIME, tell_queues(&store, &queues, &stream)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(tenants)) => tracing::info!(tenants, "queues read"),
            Ok(Err(error)) => tracing::warn!(error, "how much waits in queues was not told"),
            Err(_) => tracing::warn!("queues take too long to tell how much waits in them"),
        }
        let mut memory = memory.lock().await;
        let run = detection_run::run(&store, &SystemClock, &topic, &readers, &settings, &mut memory, attempt);
        let detection_run::Watched { minutes, tenants, told, behind, unsaved } = Box::pin(run).await?;
        tracing::info!(minutes, tenants, told, behind, unsaved, "watched");
        Ok(json!({
            "minutes": minutes, "tenants": tenants, "told": told, "behind": behind, "unsaved": unsaved,
        }))
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}

#[cfg(test)]
mod tests;
