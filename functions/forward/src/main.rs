//! The function `forward`: events that come by SNS, by a Firehose transformation or by direct invocation, onto the stream.
//!
//! Its environment: `STREAM_NAME`. It changes nothing of an event and counts nothing. An error means that some records may not be on
//! the stream, and everything has to be sent again; what is on it twice is counted once. Who invokes it and waits does so. An
//! asynchronous invocation, such as SNS's, Lambda repeats twice and then puts into the function's dead-letter queue as it was.
//! Firehose gets each record back as it was.

#![allow(unreachable_pub, reason = "a program has no outside; `pub` says what a module offers the others")]
use adapters::aws::kinesis::Stream;
use adapters::environment::Environment;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

use parcel::Parcel;

mod parcel;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let mut environment = Environment::of_process();
    let name = environment.required("STREAM_NAME");
    let name = environment.finish(name)?;
    let stream = Stream::new(&adapters::aws::config().await, name);
    let handle = async |event: LambdaEvent<Box<RawValue>>| -> Result<serde_json::Value, Error> {
        let Parcel { records, answer } = Parcel::read(event.payload.get())?;
        let count = records.len();
        stream.put(records).await?;
        tracing::info!(records = count, "forwarded");
        Ok(answer)
    };
    lambda_runtime::run(service_fn(handle)).await
}
