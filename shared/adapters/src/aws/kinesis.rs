//! A Kinesis stream: putting records on it, all of them or an error, and how far behind its end counting is.
//!
//! A call may take some records and refuse others; those are tried again until they are in or time is over. Who calls sends everything
//! again after an error, so that a record may come twice but never not at all.
//! The partition key is the id of the message that a record is about, so that all its events meet in one shard, where a duplicate is
//! known; a record that tells no message is put where its content sends it.
//! Limits: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use event::{Decoded, Decoder, SequenceNumber};

/// Records of one call.
const RECORDS_PER_CALL: usize = 500;
/// Bytes of one call: half of what is allowed, since keys and names count too.
const BYTES_PER_CALL: usize = 5 << 20;
/// A partition key has at most so many characters.
const MAX_KEY: usize = 256;
/// The first pause before refused records are tried again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How often records are tried.
const TRIES: usize = 8;

/// A record on its way to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Decides on the shard: the message's id, so that all its events meet.
    pub partition_key: String,
    /// What it holds.
    pub data: Vec<u8>,
}

/// Finds the partition keys of records.
#[derive(Debug, Default)]
pub struct PartitionKeys(Decoder);

impl PartitionKeys {
    /// A record on its way. What it holds is not judged: what cannot be read ends in quarantine, with its reason.
    pub fn address(&mut self, data: Vec<u8>) -> Outgoing {
        let mut found = None;
        self.0.decode(&data, &mut |decoded| {
            if let Decoded::Event(event) = decoded
                && found.is_none()
            {
                found = Some(event.message_id.to_string());
            }
        });
        // Any key does for a record that tells no message, as long as not all of them meet in one shard.
        let partition_key = found.unwrap_or_else(|| format!("{}-{:08x}", data.len(), sum(&data)));
        Outgoing { partition_key, data }
    }
}

/// A number that scatters records (FNV-1a).
fn sum(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A stream.
#[derive(Clone, Debug)]
pub struct Stream {
    client: Client,
    name: String,
}

/// Records could not be put on a stream; some of them may be on it.
#[derive(Debug, thiserror::Error)]
pub enum PutRecordsError {
    /// A call failed.
    #[error("stream {stream} takes no records")]
    Call {
        /// Which stream.
        stream: String,
        /// What the call said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Records were refused again and again.
    #[error(
        "stream {stream} refused {count} records {TRIES} times, last with {code}: add shards or send slower"
    )]
    Refused {
        /// Which stream.
        stream: String,
        /// How many.
        count: usize,
        /// Why, as the stream says of the first.
        code: String,
    },
}

/// A stream could not be read.
#[derive(Debug, thiserror::Error)]
#[error("stream {stream} cannot be read")]
pub struct ReadStreamError {
    stream: String,
    #[source]
    source: BoxError,
}

impl Stream {
    /// The stream of that name.
    pub fn new(config: &aws_config::SdkConfig, name: String) -> Self {
        Self { client: Client::new(config), name }
    }

    /// The names of its shards, closed ones too as long as they hold records.
    ///
    /// # Errors
    /// [`ReadStreamError`] if the stream does not tell.
    pub async fn shards(&self) -> Result<Vec<String>, ReadStreamError> {
        let failed = |source: BoxError| ReadStreamError { stream: self.name.clone(), source };
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let call = self.client.list_shards();
            // Kinesis takes the one or the other.
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

    /// How far behind a shard's end, in milliseconds, the first record after `done` is; 0 if there is none.
    ///
    /// # Errors
    /// [`ReadStreamError`] if the stream does not tell.
    pub async fn behind_ms(
        &self,
        shard: &str,
        done: Option<&SequenceNumber>,
    ) -> Result<i64, ReadStreamError> {
        let failed = |source: BoxError| ReadStreamError { stream: self.name.clone(), source };
        let call = self.client.get_shard_iterator().stream_name(&self.name).shard_id(shard);
        let call = match done {
            None => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Some(done) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(done.as_str()),
        };
        let iterator = call.send().await.map_err(|error| failed(error.into()))?.shard_iterator;
        let call = self.client.get_records().set_shard_iterator(iterator).limit(1);
        let reply = call.send().await.map_err(|error| failed(error.into()))?;
        Ok(if reply.records.is_empty() { 0 } else { reply.millis_behind_latest.unwrap_or_default().max(0) })
    }

    /// Puts all records on the stream.
    ///
    /// # Errors
    /// [`PutRecordsError`] if any record may not be on it.
    pub async fn put(&self, records: Vec<Outgoing>) -> Result<(), PutRecordsError> {
        let call = |source: BoxError| PutRecordsError::Call { stream: self.name.clone(), source };
        let mut batch = Vec::new();
        let mut bytes = 0;
        for record in records {
            let size = record.data.len() + record.partition_key.len();
            if batch.len() == RECORDS_PER_CALL || (!batch.is_empty() && bytes + size > BYTES_PER_CALL) {
                self.put_some(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += size;
            let key: String = record.partition_key.chars().take(MAX_KEY).collect();
            let entry = PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(record.data));
            batch.push(entry.build().map_err(|error| call(error.into()))?);
        }
        if batch.is_empty() { Ok(()) } else { self.put_some(batch).await }
    }

    async fn put_some(&self, mut batch: Vec<PutRecordsRequestEntry>) -> Result<(), PutRecordsError> {
        let mut pause = FIRST_PAUSE;
        let mut code = String::new();
        for _ in 0..TRIES {
            let sent = self
                .client
                .put_records()
                .stream_name(&self.name)
                .set_records(Some(batch.clone()))
                .send()
                .await;
            let reply = sent
                .map_err(|error| PutRecordsError::Call { stream: self.name.clone(), source: error.into() })?;
            // The answers stand in the order of the records.
            let mut answers = reply.records.into_iter();
            batch.retain(|_| {
                let refused = answers.next().and_then(|answer| answer.error_code);
                let is_refused = refused.is_some();
                code = refused.unwrap_or_else(|| std::mem::take(&mut code));
                is_refused
            });
            if batch.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(PutRecordsError::Refused { stream: self.name.clone(), count: batch.len(), code })
    }
}
