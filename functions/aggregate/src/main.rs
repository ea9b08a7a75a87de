//! The function `aggregate`: counts the batches of a Kinesis stream or of Kafka partitions, each exactly once.
//!
//! Environment: `TABLE_NAME`; `TENANT_TAG`, `CAMPAIGN_TAG`, `SEGMENT_TAG` and `DECLARED_TAGS` (up to four names, separated by commas)
//! name the message tags to count by; `LINK_NAMES` (`hash`, the default, `tags` or `host_and_path`) says what is stored of links; `SINK` and its settings ([`adapters::sink`]) select a time-series store that gets the counts too.
//!
//! An error means that the platform failed: Lambda delivers the whole batch again, and nothing of it is counted twice. Unreadable
//! records are not errors; they go to quarantine.

#![allow(unreachable_pub, reason = "`pub` marks what a module offers to the others of this program")]
// The futures of the steps are nested more deeply than the compiler's default limit.
#![recursion_limit = "256"]

use adapters::aws::dynamodb::DynamoStore;
use adapters::environment::{Environment, InvalidEnvironment};
use adapters::secrets::Secrets;
use adapters::sink::{SinkSettings, TimeSeriesSink};
use adapters::system_clock::SystemClock;
use event::Timestamp;
use event::attribution::{self, Attribution};
use event::link::LinkNames;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

use export::Exporter;
use handler::BatchHandler;

mod export;
mod handler;
mod records;

/// What the environment of this function configures.
struct AggregateConfig {
    table: String,
    attribution: Attribution,
    sink: Option<SinkSettings>,
}

impl AggregateConfig {
    /// Reads the environment. The error lists everything that is wrong with it.
    fn from_environment(mut environment: Environment) -> Result<Self, InvalidEnvironment> {
        let table = environment.required("TABLE_NAME");
        let mut tags = attribution::AttributionSettings {
            tags: environment.list("DECLARED_TAGS"),
            ..attribution::AttributionSettings::default()
        };
        for (name, tag) in [
            ("TENANT_TAG", &mut tags.tenant_tag),
            ("CAMPAIGN_TAG", &mut tags.campaign_tag),
            ("SEGMENT_TAG", &mut tags.segment_tag),
        ] {
            if let Some(value) = environment.optional(name) {
                *tag = value;
            }
        }
        if let Some(value) = environment.optional::<String>("LINK_NAMES") {
            match LinkNames::from_name(&value) {
                Some(names) => tags.links.store = names,
                None => environment.mistake(format!(
                    "LINK_NAMES is {value:?}: use {}",
                    LinkNames::ALL.map(LinkNames::name).join(", ")
                )),
            }
        }
        // Reported together with the other mistakes; the default only takes the place of a value until then.
        let attribution = Attribution::new(tags).unwrap_or_else(|error| {
            environment.mistake(error);
            Attribution::default()
        });
        let sink = SinkSettings::read(&mut environment);
        environment.finish(Self { table, attribution, sink })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let AggregateConfig { table, attribution, sink } =
        AggregateConfig::from_environment(Environment::of_process())?;
    let store = DynamoStore::new(&adapters::aws::config().await, table);
    let secrets = Secrets::of_store(&store).await?;
    let exporter = match sink {
        Some(settings) => Some(Exporter::new(TimeSeriesSink::open(settings).await)),
        None => None,
    };
    // Never contended: Lambda runs one invocation at a time in an execution environment.
    let handler =
        tokio::sync::Mutex::new(BatchHandler::new(store, SystemClock, attribution, &secrets, exporter));
    let handle = async |event: LambdaEvent<Box<RawValue>>| -> Result<(), Error> {
        // Lambda states the deadline in milliseconds since the Unix epoch.
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let mut handler = handler.lock().await;
        Box::pin(handler.handle(event.payload.get(), Timestamp::from_millis(deadline))).await?;
        Ok(())
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<AggregateConfig, InvalidEnvironment> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        AggregateConfig::from_environment(Environment::of(variables))
    }

    #[test]
    fn environment_names_the_tags() {
        let config = read(&[("TABLE_NAME", "t"), ("DECLARED_TAGS", "brand,region")]).unwrap();
        assert_eq!(config.table, "t");
        assert_eq!(config.attribution.declared_tags(), ["brand", "region"]);
    }

    #[test]
    fn environment_says_what_is_stored_of_links() {
        for (value, expected) in [("", LinkNames::Hash), ("host_and_path", LinkNames::HostAndPath)] {
            let config = read(&[("TABLE_NAME", "t"), ("LINK_NAMES", value)]).unwrap();
            assert_eq!(config.attribution.link_names(), expected, "{value}");
        }
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let error = read(&[("DECLARED_TAGS", "a,b,c,d,e"), ("LINK_NAMES", "all"), ("SINK", "timestream")])
            .err()
            .unwrap()
            .to_string();
        for part in ["TABLE_NAME is missing", "4", "LINK_NAMES is \"all\"", "TIMESTREAM_TABLE is missing"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
