//! The function `api`: the HTTP API and the dashboard behind API Gateway, with the same router and service as the local process.
//!
//! Environment: `TABLE_NAME`; `DECLARED_TAGS` (up to four names, separated by commas); `CORS_ORIGINS` (origins of pages on other hosts
//! that may call the API, separated by commas); `OIDC_ISSUER`, `OIDC_AUDIENCES`, `OIDC_TENANT_CLAIM` and `OIDC_OPERATORS`
//! (`CLAIM=VALUE`), if tokens of an identity provider are accepted besides keys. Besides HTTP requests the function answers one direct
//! invocation, which only principals that may invoke functions of the account can make: `{"make_key":{"name":"...","grant":...}}` makes
//! an API key, such as the first one of a deployment. An HTTP request can never be taken for that, since its event has other fields.

#![allow(unreachable_pub, reason = "a program has no outside; `pub` says what a module offers the others")]
// The router's futures nest deeper than the compiler's default limit.
#![recursion_limit = "256"]

use adapters::aws::dynamodb::DynamoStore;
use adapters::environment::{Environment, InvalidEnvironment};
use event::attribution::MAX_DECLARED_TAGS;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

use handler::Handler;
use web::{Issuer, Origin};

mod first_key;
mod handler;
mod intake;
#[cfg(test)]
mod tests;

/// The settings of this function, read once at cold start.
struct ApiSettings {
    table: String,
    declared_tags: Vec<String>,
    web: web::RouterSettings,
}

impl ApiSettings {
    fn read(mut environment: Environment) -> Result<Self, InvalidEnvironment> {
        let settings = Self {
            table: environment.required("TABLE_NAME"),
            declared_tags: environment.list("DECLARED_TAGS"),
            web: web::RouterSettings {
                issuer: issuer(&mut environment),
                origins: origins(&mut environment),
                // No SNS topics: this function takes no events.
                ..web::RouterSettings::default()
            },
        };
        if settings.declared_tags.len() > MAX_DECLARED_TAGS {
            environment.mistake(format!("DECLARED_TAGS: at most {MAX_DECLARED_TAGS} names"));
        }
        environment.finish(settings)
    }
}

/// The identity provider whose tokens are accepted, if there is one.
fn issuer(environment: &mut Environment) -> Option<Issuer> {
    let url: String = environment.optional("OIDC_ISSUER")?;
    let claim = environment.optional("OIDC_TENANT_CLAIM").unwrap_or_else(|| Issuer::TENANT_CLAIM.to_owned());
    let operators: Option<String> = environment.optional("OIDC_OPERATORS");
    let issuer = Issuer::new(&url, environment.list("OIDC_AUDIENCES"), claim, operators.as_deref());
    issuer
        .map_err(|error| environment.mistake(format!("OIDC_ISSUER and the other OIDC variables: {error}")))
        .ok()
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
    let ApiSettings { table, declared_tags, web } = ApiSettings::read(Environment::of_process())?;
    let handler = Handler::new(DynamoStore::new(&adapters::aws::config().await, table), declared_tags, web);
    let handle =
        async |event: LambdaEvent<Box<RawValue>>| handler.handle(event.payload.get(), event.context).await;
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}
