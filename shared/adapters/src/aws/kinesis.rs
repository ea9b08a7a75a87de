//! A Kinesis stream: puts records on it, and measures how far counting is behind its end.
//!
//! `PutRecords` may accept some records and refuse others, so refused records are sent again. After an error the caller sends everything
//! again: a record may arrive twice but is never lost.
//! The partition key is the message ID of the record's event, so that all events of a message go to one shard, where duplicates are
//! recognised. A record without a message ID gets a partition key derived from its content.
//! Limits: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use event::{Decoded, Decoder, SequenceNumber};

use crate::backoff::Backoff;

/// Most records that `PutRecords` accepts.
const RECORDS_PER_CALL: usize = 500;
/// Bytes of data in one call: half of the limit of 10 MiB, which also includes keys and names.
const BYTES_PER_CALL: usize = 5 << 20;
/// Longest partition key, in characters.
const MAX_KEY_CHARS: usize = 256;
/// Bound of the first pause before refused records are sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A shard's throughput is counted per second, so longer pauses gain nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often refused records are sent before the call fails.
const MAX_ATTEMPTS: usize = 8;

/// A record on its way to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Decides the shard. The message ID where there is one, so that all events of a message go to one shard.
    pub partition_key: String,
    /// The payload, in any form that the decoder reads.
    pub data: Vec<u8>,
}

/// Determines the partition keys of records.
#[derive(Debug, Default)]
pub struct PartitionKeys(Decoder);

impl PartitionKeys {
    /// Adds the partition key to a payload. Unreadable payloads are accepted as well: `aggregate` quarantines them with the reason.
    pub fn assign(&mut self, data: Vec<u8>) -> Outgoing {
        let mut found = None;
        // The first event decides. A record with several messages goes to one shard all the same, so their other
        // events may be on another.
        self.0.decode(&data, &mut |decoded| {
            if let Decoded::Event(event) = decoded
                && found.is_none()
            {
                found = Some(event.message_id.to_string());
            }
        });
        // Any key will do for a record without a message ID, as long as such records are spread over the shards.
        let partition_key = found.unwrap_or_else(|| format!("{}-{:08x}", data.len(), fnv1a(&data)));
        Outgoing { partition_key, data }
    }
}

/// The 32-bit FNV-1a hash of a payload: well spread and cheap, since nobody gains by a collision.
fn fnv1a(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A Kinesis data stream.
#[derive(Clone, Debug)]
pub struct KinesisStream {
    client: Client,
    name: String,
}

/// Records could not be put on a stream; some of them may be on it.
#[derive(Debug, thiserror::Error)]
pub enum PutRecordsError {
    /// A call failed, after the retries of the AWS SDK.
    #[error("records cannot be put on stream {stream}: check its name, the region and the permissions")]
    Call {
        /// Name of the stream.
        stream: String,
        /// The error of the call.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stream refused records at every attempt.
    #[error(
        "stream {stream} refused {count} records {MAX_ATTEMPTS} times, most recently with {code}: add shards or send more slowly"
    )]
    Refused {
        /// Name of the stream.
        stream: String,
        /// Number of records that were refused at the last attempt.
        count: usize,
        /// Kinesis's error code for one of them.
        code: String,
    },
}

/// A stream could not be read.
#[derive(Debug, thiserror::Error)]
#[error("stream {stream} cannot be read: check its name, the region and the permissions")]
pub struct ReadStreamError {
    stream: String,
    #[source]
    source: BoxError,
}

impl KinesisStream {
    /// The stream with this name, in the region and account of `config`.
    pub fn new(config: &aws_config::SdkConfig, name: String) -> Self {
        Self { client: Client::new(config), name }
    }

    /// The shard IDs, including closed shards that still hold records.
    ///
    /// # Errors
    /// [`ReadStreamError`] if the call fails.
    pub async fn shards(&self) -> Result<Vec<String>, ReadStreamError> {
        let failed = |source: BoxError| ReadStreamError { stream: self.name.clone(), source };
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let call = self.client.list_shards();
            // ListShards refuses a call with both the name and a token.
            let call = match next {
                None => call.stream_name(&self.name),
                Some(token) => call.next_token(token),
            };
            let reply = call.send().await.map_err(|error| failed(error.into()))?;
            found.extend(reply.shards.into_iter().flatten().map(|shard| shard.shard_id));
            match reply.next_token {
                Some(token) => next = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// How far the first record after `committed` is behind the end of its shard, in milliseconds; 0 if there is no such record.
    ///
    /// # Errors
    /// [`ReadStreamError`] if a call fails.
    pub async fn behind_ms(
        &self,
        shard: &str,
        committed: Option<&SequenceNumber>,
    ) -> Result<i64, ReadStreamError> {
        let failed = |source: BoxError| ReadStreamError { stream: self.name.clone(), source };
        let call = self.client.get_shard_iterator().stream_name(&self.name).shard_id(shard);
        let call = match committed {
            None => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Some(committed) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(committed.as_str()),
        };
        // After and not at the committed record: Kinesis would read that one again and report a lag where there is
        // none.
        let iterator = call.send().await.map_err(|error| failed(error.into()))?.shard_iterator;
        // One record is enough: the reply says how far it is behind. A shard answers five such calls a second, which
        // its consumer needs too.
        let call = self.client.get_records().set_shard_iterator(iterator).limit(1);
        let reply = call.send().await.map_err(|error| failed(error.into()))?;
        // Kinesis may leave the lag out; then all that is known is that a record waits.
        Ok(if reply.records.is_empty() { 0 } else { reply.millis_behind_latest.unwrap_or(0).max(0) })
    }

    /// Puts all records on the stream, in as many calls as they need.
    ///
    /// # Errors
    /// [`PutRecordsError`] if any record may not be on it.
    pub async fn put(&self, records: Vec<Outgoing>) -> Result<(), PutRecordsError> {
        let call = |source: BoxError| PutRecordsError::Call { stream: self.name.clone(), source };
        let mut batch = Vec::new();
        let mut bytes = 0;
        for record in records {
            let size = record.data.len() + record.partition_key.len();
            // A record that is larger than a call goes alone: Kinesis says what is wrong with it.
            if batch.len() == RECORDS_PER_CALL || (!batch.is_empty() && bytes + size > BYTES_PER_CALL) {
                self.put_some(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += size;
            // Cut rather than refused: all events of a message are cut alike and still go to one shard.
            let key: String = record.partition_key.chars().take(MAX_KEY_CHARS).collect();
            let entry = PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(record.data));
            batch.push(entry.build().map_err(|error| call(error.into()))?);
        }
        if batch.is_empty() { Ok(()) } else { self.put_some(batch).await }
    }

    async fn put_some(&self, mut batch: Vec<PutRecordsRequestEntry>) -> Result<(), PutRecordsError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut code = String::new();
        for _ in 0..MAX_ATTEMPTS {
            let sent = self
                .client
                .put_records()
                .stream_name(&self.name)
                // A copy, because those that are refused are sent again.
                .set_records(Some(batch.clone()))
                .send()
                .await;
            let reply = sent
                .map_err(|error| PutRecordsError::Call { stream: self.name.clone(), source: error.into() })?;
            // The reply lists the results in the order of the records.
            let mut results = reply.records.into_iter();
            batch.retain(|_| {
                let refused = results.next().and_then(|result| result.error_code);
                let is_refused = refused.is_some();
                // The newest code is kept for the error: that of an earlier attempt may be about other records.
                code = refused.unwrap_or_else(|| std::mem::take(&mut code));
                is_refused
            });
            if batch.is_empty() {
                return Ok(());
            }
            backoff.wait().await;
        }
        Err(PutRecordsError::Refused { stream: self.name.clone(), count: batch.len(), code })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn event(event_type: &str, message: &str) -> Vec<u8> {
        let body = if event_type == "Send" {
            r#""send":{}"#
        } else {
            r#""open":{"timestamp":"2025-11-13T02:00:00Z"}"#
        };
        format!(
            r#"{{"eventType":"{event_type}","mail":{{"timestamp":"2025-11-13T02:00:00Z","messageId":"{message}","destination":["a@example.com"]}},{body}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn all_events_of_a_message_go_to_one_shard() {
        let mut keys = PartitionKeys::default();
        for (data, expected) in [
            (event("Send", "m-1"), "m-1"),
            (event("Open", "m-1"), "m-1"),
            (event("Send", "m-2"), "m-2"),
            // The first of several events decides.
            ([event("Send", "m-3"), event("Send", "m-4")].join(&b'\n'), "m-3"),
        ] {
            let Outgoing { partition_key, data: kept } = keys.assign(data.clone());
            assert_eq!((partition_key.as_str(), kept), (expected, data));
        }
    }

    #[test]
    fn records_without_a_message_are_kept_and_spread_by_their_content() {
        let mut keys = PartitionKeys::default();
        let records: Vec<Vec<u8>> =
            (0..1_000).map(|number| format!("no event {number}").into_bytes()).collect();
        let assigned = |keys: &mut PartitionKeys| -> Vec<Outgoing> {
            records.iter().map(|record| keys.assign(record.clone())).collect()
        };
        let first = assigned(&mut keys);
        assert!(first.iter().map(|outgoing| &outgoing.data).eq(&records));
        let distinct: BTreeSet<&str> = first.iter().map(|outgoing| outgoing.partition_key.as_str()).collect();
        assert!(distinct.len() > 990, "{} keys for 1,000 records", distinct.len());
        // A record that is sent again goes to the same shard, where its duplicate is recognised.
        assert_eq!(assigned(&mut keys), first);
    }
}
