//! The function `api`: the metrics API and the dashboard behind API Gateway, the same router as that of one process.
//!
//! Its environment: `TABLE_NAME`; `DECLARED_TAGS` (up to four names, separated by commas). Besides HTTP requests it answers one direct
//! invocation, which only who may invoke functions of the account can make: `{"make_key":{"name":"...","grant":...}}` makes an API
//! key, the first of all for one. An HTTP request can never pass for that, as its event has other fields.

#![allow(unreachable_pub, reason = "a program has no outside; `pub` says what a module offers the others")]
// The router's futures nest deeper than the compiler looks by itself.
#![recursion_limit = "256"]

use std::num::NonZeroUsize;
use std::sync::Arc;

use adapters::aws::dynamodb::DynamoStore;
use adapters::environment::Environment;
use adapters::system_clock::SystemClock;
use event::attribution::MAX_DECLARED_TAGS;
use lambda_http::Adapter;
use lambda_http::request::LambdaRequest;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use pipeline::compact;
use serde_json::value::{RawValue, to_raw_value};
use tower::Service as _;
use web::home::Home;
use web::{HttpsFetch, Settings};

use intake::Stream;

mod first_key;
mod intake;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let mut environment = Environment::of_process();
    let (table, tags) = (environment.required("TABLE_NAME"), environment.list("DECLARED_TAGS"));
    if tags.len() > MAX_DECLARED_TAGS {
        environment.mistake(format!("DECLARED_TAGS: at most {MAX_DECLARED_TAGS} names"));
    }
    let (table, tags) = environment.finish((table, tags))?;
    let store = DynamoStore::new(&adapters::aws::config().await, table);
    let history = compact::Settings::default();
    // Lambda gives this function one core.
    let threads = NonZeroUsize::MIN;
    let home = Home { store: store.clone(), clock: SystemClock, history, tags, intake: Stream, threads };
    let router = web::router(Arc::new(home), HttpsFetch::default(), Settings::default());
    let handle = async |event: LambdaEvent<Box<RawValue>>| -> Result<Box<RawValue>, Error> {
        if let Some(wanted) = first_key::asked_for(event.payload.get())? {
            return Ok(to_raw_value(&first_key::make(&store, wanted).await?)?);
        }
        let request: LambdaRequest = serde_json::from_str(event.payload.get())?;
        let mut adapter = Adapter::from(router.clone());
        let response = adapter.call(LambdaEvent::new(request, event.context)).await?;
        Ok(to_raw_value(&response)?)
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}
