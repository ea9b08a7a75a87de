//! The function `forward`: events that come by SNS, by a Firehose transformation or by direct invocation, onto the stream.
//!
//! Its environment: `STREAM_NAME`. It changes nothing of an event and counts nothing. An error means that some records may not be on
//! the stream and everything has to be sent again; a record that is on the stream twice is counted once. A synchronous caller retries
//! by itself. Lambda retries an asynchronous invocation, such as one by SNS, twice and then puts its event unchanged into the
//! function's dead-letter queue. Firehose gets each record back unchanged.

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
