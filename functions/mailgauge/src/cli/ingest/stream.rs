//! Sends events to a Kinesis stream as the function `forward` does: one record per event, in the shard of its message.
//!
//! A batch from Lambda's failure destination is put back record by record, the output of `aws sqs receive-message` message by message.
//! Only aggregation finds out how many events a record holds, so the summary states records. If Kinesis refuses some records of a
//! block, the whole block is put again: a record that is on the stream twice is counted once.

use std::borrow::Cow;
use std::time::Duration;

use adapters::aws;
use adapters::aws::kinesis::{KinesisStream, Outgoing, PartitionKeys, PutRecordsError};
use anyhow::bail;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;

use super::IngestDestination;
use super::retry::{AttemptError, retry};
use crate::output;
use crate::progress::ProgressReporter;
use crate::server;
use crate::standalone::Counted;

/// How many nested wrappers are opened. The deepest real nesting is the event of a failed invocation in a queue message; the limit keeps
/// hostile input from overflowing the stack.
const MAX_WRAPPERS: usize = 4;
/// The largest record that a stream takes by default, in bytes, see
/// <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// A stream of [`Target::Stream`](super::Target::Stream), in the account of the environment's AWS settings.
pub(super) struct StreamDestination {
    runtime: Runtime,
    stream: KinesisStream,
    name: String,
    keys: PartitionKeys,
    give_up_after: Duration,
    progress: ProgressReporter,
}

impl StreamDestination {
    /// The stream `name` in the account and region that the environment's AWS settings select.
    pub(super) fn new(
        name: &str,
        give_up_after: Duration,
        progress: &ProgressReporter,
    ) -> anyhow::Result<Self> {
        let runtime = server::runtime()?;
        let stream = KinesisStream::new(&runtime.block_on(aws::config()), name.to_owned());
        let keys = PartitionKeys::default();
        Ok(Self { runtime, stream, name: name.to_owned(), keys, give_up_after, progress: progress.clone() })
    }
}

impl IngestDestination for StreamDestination {
    fn send(&mut self, block: &[u8]) -> anyhow::Result<Counted> {
        let records: Vec<Outgoing> =
            events(block).into_iter().map(|event| self.keys.assign(event.into_owned())).collect();
        // Kinesis refuses a call with such a record as a whole, so the events around it would never arrive.
        if let Some(record) = records.iter().find(|record| record.data.len() > MAX_RECORD_BYTES) {
            bail!(
                "an event of {} bytes is larger than a stream's record, {MAX_RECORD_BYTES} bytes: remove it from the input",
                record.data.len()
            );
        }
        let sent = Counted { events: records.len() as u64, ..Counted::default() };
        // A full stream has room again later; every other failure is permanent.
        retry(self.give_up_after, &self.progress, |_| {
            // All of them again: records that are on the stream already are counted once, see the header.
            self.runtime.block_on(self.stream.put(records.clone())).map_err(|error| match error {
                PutRecordsError::Refused { .. } => AttemptError::temporary(error.to_string()),
                PutRecordsError::Call { .. } => AttemptError::Permanent(error.into()),
            })
        })?;
        Ok(sent)
    }

    fn summary(&self, sent: Counted) -> String {
        format!("{} records put on the stream {}", output::grouped(sent.events), self.name)
    }
}

/// Splits a block into single events: JSON values one after the other or in a list. The rest of a block that is not valid JSON is
/// split by lines, since searching for the next place where JSON begins could take quadratic time.
fn events(block: &[u8]) -> Vec<Cow<'_, [u8]>> {
    events_within(block, 0)
}

fn events_within(block: &[u8], wrappers: usize) -> Vec<Cow<'_, [u8]>> {
    let mut found = Vec::new();
    // Raw values, so that an event is put on the stream byte for byte as it was published.
    let mut values = serde_json::Deserializer::from_slice(block).into_iter::<&RawValue>();
    let mut read = 0;
    while let Some(Ok(value)) = values.next() {
        read = values.byte_offset();
        if wrappers < MAX_WRAPPERS
            && let Some(unwrapped) = unwrap_events(value.get(), wrappers + 1)
        {
            found.extend(unwrapped.into_iter().map(Cow::Owned));
            continue;
        }
        // The events of a list may belong to several messages, and each belongs in the shard of its own.
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(listed) => found.extend(listed.iter().map(|value| Cow::Borrowed(value.get().as_bytes()))),
            Err(_) => found.push(Cow::Borrowed(value.get().as_bytes())),
        }
    }
    let (_, rest) = block.split_at(read.min(block.len()));
    let lines = rest.split(|&byte| byte == b'\n');
    let lines = lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    found.extend(lines.map(Cow::Borrowed));
    found
}

/// What AWS wraps around events that could not be delivered or counted. A wrapper has exactly one of these fields.
#[derive(Deserialize)]
struct UndeliveredEvents<'a> {
    /// The invocation, as text, of a batch that Lambda sent to the failure destination of the stream's trigger.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html>
    #[serde(borrow)]
    payload: Option<Cow<'a, str>>,
    /// The event of a failed asynchronous invocation, from an on-failure destination.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>
    #[serde(rename = "requestPayload", borrow)]
    failed_event: Option<&'a RawValue>,
    /// Messages of a queue, as `aws sqs receive-message` prints them.
    #[serde(rename = "Messages", borrow)]
    messages: Option<Vec<QueueMessage<'a>>>,
}

#[derive(Deserialize)]
struct QueueMessage<'a> {
    #[serde(rename = "Body", borrow)]
    body: Cow<'a, str>,
}

#[derive(Deserialize)]
struct KinesisInvocation<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<KinesisInvocationRecord<'a>>,
}

#[derive(Deserialize)]
struct KinesisInvocationRecord<'a> {
    #[serde(borrow)]
    kinesis: KinesisData<'a>,
}

#[derive(Deserialize)]
struct KinesisData<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

/// The single events inside a wrapper; `None` if the value is not one.
fn unwrap_events(value: &str, wrappers: usize) -> Option<Vec<Vec<u8>>> {
    let owned = |text: &str| -> Vec<Vec<u8>> {
        events_within(text.as_bytes(), wrappers).into_iter().map(Cow::into_owned).collect()
    };
    let wrapper: UndeliveredEvents<'_> = serde_json::from_str(value).ok()?;
    if let Some(payload) = wrapper.payload {
        return records_of(&payload);
    }
    if let Some(event) = wrapper.failed_event {
        return Some(owned(event.get()));
    }
    let messages = wrapper.messages?;
    Some(messages.iter().flat_map(|message| owned(&message.body)).collect())
}

/// The records of an invocation by a Kinesis trigger; `None` if it is not one, or a record is not Base64.
fn records_of(payload: &str) -> Option<Vec<Vec<u8>>> {
    let invocation: KinesisInvocation<'_> = serde_json::from_str(payload).ok()?;
    let decode = |record: &KinesisInvocationRecord<'_>| BASE64_STANDARD.decode(&*record.kinesis.data).ok();
    invocation.records.iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_is_split_into_single_events() {
        let check = |block: &str, expected: &[&str]| {
            let found: Vec<_> = events(block.as_bytes())
                .into_iter()
                .map(|event| String::from_utf8(event.into_owned()).unwrap())
                .collect();
            assert_eq!(found, expected, "{block:?}");
        };
        check("", &[]);
        check(" \n ", &[]);
        check("{\"a\":1}\n{\"a\":2}\n", &["{\"a\":1}", "{\"a\":2}"]);
        check("{\n \"a\": 1\n}\n", &["{\n \"a\": 1\n}"]);
        check("[{\"a\":1},{\"a\":2}]", &["{\"a\":1}", "{\"a\":2}"]);
        check("{\"a\":1}\nno JSON, {\n{\"a\":2}", &["{\"a\":1}", "no JSON, {", "{\"a\":2}"]);
        check("no JSON", &["no JSON"]);
        check(
            r#"{"KinesisBatchInfo":{},"payload":"{\"Records\":[{\"kinesis\":{\"data\":\"YQ==\"}},{\"kinesis\":{\"data\":\"Yg==\"}}]}"}"#,
            &["a", "b"],
        );
        check(r#"{"payload":"hello"}"#, &[r#"{"payload":"hello"}"#]);
        // Messages of a queue, as `aws sqs receive-message` prints them. The last one is a list that a sender put into one message.
        let dead = r#"{\"requestPayload\":{\"c\":3},\"responsePayload\":null}"#;
        check(
            &format!(
                r#"{{"Messages":[{{"MessageId":"1","Body":"{{\"a\":1}}"}},{{"Body":"{dead}"}},{{"Body":"[4,5]"}}]}} 6"#
            ),
            &["{\"a\":1}", "{\"c\":3}", "4", "5", "6"],
        );
        check(r#"{"Messages":[]}"#, &[]);
        check(r#"{"Messages":7}"#, &[r#"{"Messages":7}"#]);
        let deep = format!("{}1{}", r#"{"requestPayload":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(events(deep.as_bytes()).len(), 1);
        assert_eq!(events(b"\xff\xfe\n7"), [&b"\xff\xfe"[..], b"7"]);
    }
}
