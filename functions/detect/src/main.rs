//! The function `detect`: evaluates each minute of all tenants' mail once, and publishes each change of an alert on the alert topic.
//! Before that, it puts the depths of the queues that tenants name onto the stream.
//!
//! Environment: `TABLE_NAME`, `ALERT_TOPIC_ARN`, `STREAM_NAME`; `DASHBOARD_URL`, the base URL of links in alerts; `COLLECT_FUNCTION` and
//! `COLLECT_SHARES`, the number of groups of tenants, where the counts of each group are read by another function.
//!
//! An error means that a change was not published or a minute not evaluated; the next run continues there. A queue that cannot be read
//! is a warning, and so is a learned state that could not be stored; `unsaved` in the log says how many minutes it is behind.

use std::time::Duration;

use adapters::aws::dynamodb::DynamoStore;
use adapters::aws::kinesis::{KinesisStream, PartitionKeys};
use adapters::aws::lambda::Collectors;
use adapters::aws::sns::{NotificationMessage, Topic};
use adapters::aws::sqs::Sqs;
use adapters::environment::{Environment, InvalidEnvironment};
use adapters::randomness::random;
use adapters::system_clock::SystemClock;
use detection::{Change, SCHEMA};
use event::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use pipeline::alerting::detection_run::tenant_groups::MAX_GROUPS;
use pipeline::alerting::detection_run::{
    DetectionCache, DetectionRun, DetectionSettings, Notifier, NotifyError, RunReport,
};
use pipeline::alerting::queue_depth::{self, QueueDepths};
use pipeline::ledger::aggregate::Attempt;
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

/// The longest that detection waits for the queues of tenants: they must not delay alerts.
const QUEUES_TIMEOUT: Duration = Duration::from_secs(15);

/// What the environment of this function configures.
struct DetectConfig {
    table: String,
    topic: String,
    stream: String,
    dashboard: Option<String>,
    /// The function that reads counts, and the number of groups of tenants.
    collect: Option<(String, u32)>,
}

impl DetectConfig {
    /// Reads the environment. The error lists everything that is wrong with it.
    fn from_environment(mut environment: Environment) -> Result<Self, InvalidEnvironment> {
        let config = Self {
            table: environment.required("TABLE_NAME"),
            topic: environment.required("ALERT_TOPIC_ARN"),
            stream: environment.required("STREAM_NAME"),
            dashboard: environment.optional("DASHBOARD_URL"),
            collect: Self::collectors(&mut environment),
        };
        environment.finish(config)
    }

    fn collectors(environment: &mut Environment) -> Option<(String, u32)> {
        match (environment.optional("COLLECT_FUNCTION"), environment.optional("COLLECT_SHARES")) {
            (Some(function), Some(groups)) => {
                if !(2..=MAX_GROUPS).contains(&groups) {
                    environment.mistake(format_args!("COLLECT_SHARES: use a number from 2 to {MAX_GROUPS}"));
                }
                Some((function, groups))
            }
            (None, None) => None,
            // Without its counterpart a variable would be ignored, and one invocation would read the counts of all tenants.
            _ => {
                environment.mistake("COLLECT_FUNCTION and COLLECT_SHARES: set both or neither");
                None
            }
        }
    }
}

/// The alert topic of the deployment, which is its only channel.
struct AlertTopic(Topic);

impl Notifier for AlertTopic {
    fn channels(&self, _: &Change) -> Vec<String> {
        vec!["sns".to_owned()]
    }

    async fn notify(&self, _: &str, change: &Change) -> Result<(), NotifyError> {
        Ok(self.0.publish(&message(change)?).await?)
    }
}

/// The SNS message of a change, with a text for each kind of subscriber.
fn message(change: &Change) -> Result<NotificationMessage, serde_json::Error> {
    let attributes = vec![
        ("tenant", change.tenant.to_string()),
        ("severity", change.severity.name().to_owned()),
        ("kind", change.kind.name().to_owned()),
        ("metric", change.metric.clone()),
        ("state", change.state.name().to_owned()),
        ("schema", SCHEMA.to_owned()),
    ];
    Ok(NotificationMessage {
        subject: change.subject(),
        text: change.text(),
        short: change.short(),
        json: serde_json::to_string(change)?,
        attributes,
    })
}

/// Puts the depths of the tenants' queues onto the stream, as gauge events. Returns the number of events.
async fn publish_queue_depths(
    store: &DynamoStore,
    queues: &Sqs,
    stream: &KinesisStream,
) -> Result<usize, Error> {
    let QueueDepths { records, failed } = queue_depth::read(store, queues, SystemClock.now()).await?;
    for (queue, error) in &failed {
        tracing::warn!(%queue, error, "the depth of a queue could not be read");
    }
    let mut keys = PartitionKeys::default();
    let records: Vec<_> = records.into_iter().map(|record| keys.assign(record)).collect();
    let published = records.len();
    stream.put(records).await?;
    Ok(published)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let DetectConfig { table, topic, stream, dashboard, collect } =
        DetectConfig::from_environment(Environment::of_process())?;
    let aws = adapters::aws::config().await;
    let (store, topic) = (DynamoStore::new(&aws, table), AlertTopic(Topic::new(&aws, topic)));
    let (queues, stream) = (Sqs::new(&aws), KinesisStream::new(&aws, stream));
    let readers = collect.map(|(function, groups)| Collectors::new(&aws, function, groups));
    let settings = DetectionSettings { dashboard, ..DetectionSettings::default() };
    // Never contended: Lambda runs one invocation at a time in an execution environment.
    let cache = tokio::sync::Mutex::new(DetectionCache::default());
    let handle = async |event: LambdaEvent<Value>| -> Result<Value, Error> {
        let deadline = Timestamp::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
        let attempt = Attempt { id: u64::from_le_bytes(random()?), deadline };
        // Before detection, so that a depth is counted soon after it was read.
        match tokio::time::timeout(QUEUES_TIMEOUT, publish_queue_depths(&store, &queues, &stream)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(gauges)) => tracing::info!(gauges, "queue depths published"),
            Ok(Err(error)) => {
                tracing::warn!(error, "queue depths could not be published; the next run tries again");
            }
            Err(_) => tracing::warn!("queue depths were not read in time; the next run tries again"),
        }
        let mut cache = cache.lock().await;
        let run = DetectionRun {
            store: &store,
            clock: &SystemClock,
            notifier: &topic,
            readers: &readers,
            settings: &settings,
            attempt,
        };
        let RunReport { minutes, tenants, notified, behind, unsaved } = Box::pin(run.run(&mut cache)).await?;
        tracing::info!(minutes, tenants, notified, behind, unsaved, "evaluated");
        Ok(json!({
            "minutes": minutes, "tenants": tenants, "notified": notified, "behind": behind, "unsaved": unsaved,
        }))
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}

#[cfg(test)]
mod tests;
