//! The function `api`: the metrics API and the dashboard behind API Gateway, the same router as that of one process.
//!
//! Its environment: `TABLE_NAME`; `DECLARED_TAGS` (up to four names, separated by commas); `CORS_ORIGINS` (pages of other hosts that
//! may call, separated by commas); `OIDC_ISSUER`, `OIDC_AUDIENCES`, `OIDC_TENANT_CLAIM` and `OIDC_OPERATORS` (`CLAIM=VALUE`) where
//! tokens of an identity provider are taken in place of keys. Besides HTTP requests it answers one direct
//! invocation, which only who may invoke functions of the account can make: `{"make_key":{"name":"...","grant":...}}` makes an API
//! key, the first of all for one. An HTTP request can never pass for that, as its event has other fields.

#![allow(unreachable_pub, reason = "a program has no outside; `pub` says what a module offers the others")]
// The router's futures nest deeper than the compiler looks by itself.
#![recursion_limit = "256"]

use adapters::aws::dynamodb::DynamoStore;
use adapters::environment::{Environment, InvalidEnvironment};
use event::attribution::MAX_DECLARED_TAGS;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

use handler::Handler;
use web::{Issuer, Origin};

#[cfg(test)]
mod fence;
mod first_key;
mod handler;
mod intake;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod sums;

/// The settings of this function.
struct Settings {
    table: String,
    tags: Vec<String>,
    web: web::Settings,
}

impl Settings {
    fn read(mut environment: Environment) -> Result<Self, InvalidEnvironment> {
        let settings = Self {
            table: environment.required("TABLE_NAME"),
            tags: environment.list("DECLARED_TAGS"),
            web: web::Settings {
                issuer: issuer(&mut environment),
                origins: origins(&mut environment),
                ..web::Settings::default()
            },
        };
        if settings.tags.len() > MAX_DECLARED_TAGS {
            environment.mistake(format!("DECLARED_TAGS: at most {MAX_DECLARED_TAGS} names"));
        }
        environment.finish(settings)
    }
}

/// Whose tokens are taken, if any.
fn issuer(environment: &mut Environment) -> Option<Issuer> {
    let url: String = environment.optional("OIDC_ISSUER")?;
    let claim = environment.optional("OIDC_TENANT_CLAIM").unwrap_or_else(|| Issuer::TENANT_CLAIM.to_owned());
    let operators: Option<String> = environment.optional("OIDC_OPERATORS");
    let issuer = Issuer::new(&url, environment.list("OIDC_AUDIENCES"), claim, operators.as_deref());
    issuer.map_err(|error| environment.mistake(format!("OIDC_ISSUER and its companions: {error}"))).ok()
}

fn origins(environment: &mut Environment) -> Vec<Origin> {
    let mut origins = Vec::new();
    for text in environment.list("CORS_ORIGINS") {
        match text.parse() {
            Ok(origin) => origins.push(origin),
            Err(error) => environment.mistake(format!("CORS_ORIGINS: {error}")),
        }
    }
    origins
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let Settings { table, tags, web } = Settings::read(Environment::of_process())?;
    let handler = Handler::new(DynamoStore::new(&adapters::aws::config().await, table), tags, web);
    let handle =
        async |event: LambdaEvent<Box<RawValue>>| handler.handle(event.payload.get(), event.context).await;
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}
