//! The function `forward`: puts events onto the stream that arrive by SNS, by a Firehose transformation or by direct invocation.
//!
//! Environment: `STREAM_NAME`. Events are forwarded unchanged and are not counted.
//!
//! An error means that some records may be missing on the stream and everything has to be sent again; a record that is on the stream
//! twice is counted once. A synchronous caller retries by itself. Lambda retries an asynchronous invocation, such as one by SNS, twice
//! and then puts its event unchanged into the function's dead-letter queue. Firehose gets each record back unchanged.

#![allow(unreachable_pub, reason = "`pub` marks what a module offers to the others of this program")]

use adapters::aws::kinesis::KinesisStream;
use adapters::environment::Environment;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;

use records::Invocation;

mod records;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let mut environment = Environment::of_process();
    let name = environment.required("STREAM_NAME");
    let name = environment.finish(name)?;
    let stream = KinesisStream::new(&adapters::aws::config().await, name);
    let handle = async |event: LambdaEvent<Box<RawValue>>| -> Result<serde_json::Value, Error> {
        let Invocation { records, reply } = Invocation::read(event.payload.get())?;
        let count = records.len();
        // Before the reply: whoever gets it will not send these events again.
        stream.put(records).await?;
        tracing::info!(records = count, "forwarded");
        Ok(reply)
    };
    lambda_runtime::run(service_fn(handle)).await
}
