//! What a trigger delivers: the records of one shard, and the attempt that handles them.

use event::{SequenceNumber, ShardId, Timestamp};

/// Records of one shard, as the trigger delivers them.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// The shard that the records came through.
    pub shard: &'a ShardId,
    /// The records, in any order; they are handled in the order of their sequence numbers.
    pub records: Vec<Record<'a>>,
}

/// One record of a shard. It may hold several events, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position in the shard.
    pub sequence: SequenceNumber,
    /// When the stream received it.
    pub arrived_at: Timestamp,
    /// Its bytes: one or more events in any supported envelope.
    pub data: &'a [u8],
}

/// One attempt to handle a batch, or to compact a tenant.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// 64 random bits that tell this attempt from every other.
    pub id: u64,
    /// When the platform ends the attempt. No write is issued from then on.
    pub deadline: Timestamp,
}
