//! The function `detect`: looks at each tenant's last hour every minute and tells of broken limits on the alert topic.
//!
//! Its environment: `TABLE_NAME`, `ALERT_TOPIC_ARN`; `DASHBOARD_URL`, the address that alerts point to. It tells each change of an
//! alert once, or again under the same id and sequence when its own end was lost. An error means that some change was not told: the
//! next minute's look tells it.

#![allow(unreachable_pub, reason = "a program has no outside; `pub` says what a module offers the others")]

use adapters::aws::dynamodb::DynamoStore;
use adapters::aws::sns::Topic;
use adapters::environment::{Environment, InvalidEnvironment};
use adapters::system_clock::SystemClock;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use pipeline::ports::Clock as _;
use serde_json::{Value, json};

use alert::Alert;
use handler::{Announce, AnnounceError, Looked};

mod alert;
mod handler;
mod limits;

/// The settings of this function.
struct Settings {
    table: String,
    topic: String,
    dashboard: String,
}

impl Settings {
    fn read(mut environment: Environment) -> Result<Self, InvalidEnvironment> {
        let settings = Self {
            table: environment.required("TABLE_NAME"),
            topic: environment.required("ALERT_TOPIC_ARN"),
            dashboard: environment.optional("DASHBOARD_URL").unwrap_or_default(),
        };
        environment.finish(settings)
    }
}

/// The topic of the deployment.
struct Sns(Topic);

impl Announce for Sns {
    async fn announce(&self, alert: &Alert) -> Result<(), AnnounceError> {
        Ok(self.0.publish(&alert.message()?).await?)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let Settings { table, topic, dashboard } = Settings::read(Environment::of_process())?;
    let config = adapters::aws::config().await;
    let (store, topic) = (DynamoStore::new(&config, table), Sns(Topic::new(&config, topic)));
    let handle = async |_: LambdaEvent<Value>| -> Result<Value, Error> {
        let Looked { tenants, told } = handler::look(&store, &topic, &dashboard, SystemClock.now()).await?;
        tracing::info!(tenants, told, "looked");
        Ok(json!({ "tenants": tenants, "told": told }))
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}
