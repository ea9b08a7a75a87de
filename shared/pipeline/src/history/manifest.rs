//! Which compacted blocks of a tenant are live, and how far each shard's deltas are merged into them: one item per tenant.
//!
//! At every instant a tenant's numbers are the live blocks plus the deltas behind the frontier up to the cursors. A block is
//! never rewritten in place: each compaction writes under its own attempt number, and the manifest, moved conditionally, says
//! which one counts.

use std::collections::BTreeMap;

use event::{SequenceNumber, ShardId, TenantId, Timestamp};

use crate::block_id::{BlockId, Level};
use crate::codec::{Malformed, Reader, Writer};
use crate::layout;
use crate::ports::{Item, Key, PutError, Store};
use crate::stored::{self, ReadError, Versioned};

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Which compaction wrote it.
    pub attempt: u64,
    /// In how many parts its counts are.
    pub counts: usize,
    /// In how many further ones its sketches.
    pub sketches: usize,
    /// How large they are together.
    pub bytes: u64,
}

/// A tenant's manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Deltas of batches that begin at or before this number are merged.
    pub frontier: BTreeMap<ShardId, SequenceNumber>,
    /// The live blocks.
    pub blocks: BTreeMap<BlockId, Live>,
}

/// What a compaction may leave behind if it dies, and what it makes obsolete if it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// When it began.
    pub started_at: Timestamp,
    /// Its number.
    pub attempt: u64,
    /// The blocks it writes or replaces.
    pub blocks: Vec<(BlockId, Live)>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.size(self.frontier.len());
        for (shard, number) in &self.frontier {
            writer.text(shard.as_str()).text(number.as_str());
        }
        writer.size(self.blocks.len());
        for (id, live) in &self.blocks {
            write_block(&mut writer, *id, *live);
        }
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let mut manifest = Self::default();
        for _ in 0..reader.size()? {
            manifest.frontier.insert(reader.shard()?, reader.sequence()?);
        }
        for _ in 0..reader.size()? {
            let (id, live) = read_block(&mut reader)?;
            manifest.blocks.insert(id, live);
        }
        reader.end()?;
        Ok(manifest)
    }
}

impl Note {
    pub(crate) fn item(&self, tenant: &TenantId) -> Item {
        let mut writer = Writer::new();
        writer.time(self.started_at).fixed(self.attempt).size(self.blocks.len());
        for (id, live) in &self.blocks {
            write_block(&mut writer, *id, *live);
        }
        let key = layout::compaction_attempt(tenant, self.started_at, self.attempt);
        Item { key, body: writer.finish(), version: 0, expires_at: None }
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let mut note = Self { started_at: reader.time()?, attempt: reader.fixed()?, blocks: Vec::new() };
        for _ in 0..reader.size()? {
            note.blocks.push(read_block(&mut reader)?);
        }
        reader.end()?;
        Ok(note)
    }
}

fn write_block(writer: &mut Writer, id: BlockId, live: Live) {
    let level = match id.level {
        Level::Hour => 1,
        Level::Day => 2,
        Level::Month => 3,
    };
    writer
        .number(level)
        .number(u64::from(id.period))
        .fixed(live.attempt)
        .size(live.counts)
        .size(live.sketches)
        .number(live.bytes);
}

fn read_block(reader: &mut Reader<'_>) -> Result<(BlockId, Live), Malformed> {
    let level = match reader.number()? {
        1 => Level::Hour,
        2 => Level::Day,
        3 => Level::Month,
        _ => return Err(Malformed::Damaged("unknown level")),
    };
    let period = u32::try_from(reader.number()?).map_err(|_| Malformed::Damaged("period too large"))?;
    let attempt = reader.fixed()?;
    let (counts, sketches) = (reader.place()?, reader.place()?);
    Ok((BlockId { level, period }, Live { attempt, counts, sketches, bytes: reader.number()? }))
}

/// What of a block is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The counts alone: a small part of a block.
    Counts,
    /// All of it.
    Whole,
}

/// The keys of a block's parts.
pub fn parts(tenant: &TenantId, id: BlockId, live: Live, extent: Extent) -> Vec<Key> {
    let count = match extent {
        Extent::Counts => live.counts,
        Extent::Whole => live.counts.saturating_add(live.sketches),
    };
    (0..count).map(|part| layout::block(tenant, id, live.attempt, part)).collect()
}

/// A tenant's manifest; empty if there is none yet.
pub async fn read<S: Store>(store: &S, tenant: &TenantId) -> Result<Versioned<Manifest>, ReadError> {
    stored::read(store, layout::manifest(tenant), Manifest::decode).await
}

/// A tenant's manifest and the notes of attempts beside it, in one read.
pub(crate) async fn read_with_notes<S: Store>(
    store: &S,
    tenant: &TenantId,
) -> Result<(Versioned<Manifest>, Vec<Note>), ReadError> {
    let mut manifest = Versioned { record: Manifest::default(), version: None };
    let mut notes = Vec::new();
    for item in stored::range(store, layout::manifest_and_attempts(tenant)).await? {
        let read = if item.key.sort == layout::MANIFEST {
            Manifest::decode(&item.body)
                .map(|record| manifest = Versioned { record, version: Some(item.version) })
        } else {
            Note::decode(&item.body).map(|note| notes.push(note))
        };
        read.map_err(|source| ReadError::Record { key: item.key, source })?;
    }
    Ok((manifest, notes))
}

/// Moves the manifest, if it is still as it was read.
pub(crate) async fn move_to<S: Store>(
    store: &S,
    tenant: &TenantId,
    from: Option<u64>,
    to: &Manifest,
) -> Result<(), PutError> {
    stored::write(store, layout::manifest(tenant), to.encode(), from).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use event::{Day, Hour};

    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let live = Live { attempt: u64::MAX, counts: 3, sketches: 2, bytes: 1_000_000 };
        let manifest = Manifest {
            frontier: BTreeMap::from([(ShardId::new("s-1").unwrap(), SequenceNumber::from(77))]),
            blocks: BTreeMap::from([
                (BlockId::hour(Hour(500_000)), live),
                (BlockId::month_of(Day(20_000)), live),
            ]),
        };
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}
