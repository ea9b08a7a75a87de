//! The manifest of a tenant: which compacted blocks are live, and up to where the deltas of each shard are merged into them.
//!
//! At every instant a tenant's numbers are the live blocks plus the deltas between the manifest's frontier and the checkpoints. A block
//! is never rewritten in place: each compaction writes under its own attempt ID, and the manifest, which is replaced by a conditional
//! write, says which attempt's blocks count.

use std::collections::BTreeMap;

use cells::LocalDays;
use cells::query::{Month, time_zone};
use event::{Day, SequenceNumber, ShardId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::block_id::{BlockId, Level};
use crate::codec::{self, StoredRecord};
use crate::layout;
use crate::ports::{Item, Key, PutError, Store};
use crate::stored::{self, ReadError, Versioned};

/// A block that readers use: which attempt wrote it, and in how many items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveBlock {
    /// The ID of the compaction attempt that wrote it. Part of its keys.
    #[serde(with = "postcard::fixint::le")]
    pub attempt: u64,
    /// In how many items its counts are stored.
    pub counts: usize,
    /// In how many further items its sketches are stored.
    pub sketches: usize,
    /// Size of all items together, in bytes.
    pub bytes: u64,
}

impl LiveBlock {
    /// The bytes of its counts, or of all its items. Those of the counts are estimated from their number of items.
    pub fn bytes_of(&self, with_sketches: bool) -> u64 {
        let items = (self.counts + self.sketches).max(1) as u64;
        if with_sketches { self.bytes } else { self.bytes / items * self.counts as u64 }
    }
}

/// The manifest of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Per shard: deltas of batches that begin at or before this number are merged into blocks.
    #[serde(with = "codec::map")]
    pub frontier: BTreeMap<ShardId, SequenceNumber>,
    /// The live blocks, at most one for each hour, day and month.
    pub blocks: BTreeMap<BlockId, LiveBlock>,
    /// The time zones by whose days the blocks of days and months are cut, each from its day on, in their order. Days of UTC before the
    /// first one.
    pub zones: Vec<ZoneFrom>,
}

/// A time zone of a tenant, and the day from which its blocks are cut by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneFrom {
    /// Days of UTC since the Unix epoch.
    pub day: u32,
    /// The IANA name of the zone.
    pub zone: String,
}

/// The manifest in format 3, from before blocks were cut by time zones.
#[derive(Deserialize)]
struct ManifestWithoutZones {
    #[serde(with = "codec::map")]
    frontier: BTreeMap<ShardId, SequenceNumber>,
    blocks: BTreeMap<BlockId, LiveBlock>,
}

/// Written by a compaction before its blocks: what it leaves behind if it dies, and what it makes obsolete if it succeeds. A later
/// compaction removes those blocks after the grace period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionNote {
    /// When the compaction began.
    #[serde(with = "codec::form")]
    pub started_at: Timestamp,
    /// The ID of its attempt, under which it writes its blocks.
    #[serde(with = "postcard::fixint::le")]
    pub attempt: u64,
    /// The blocks it writes, and those it replaces or retires.
    pub blocks: Vec<(BlockId, LiveBlock)>,
}

/// Which items of a block to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockParts {
    /// The counts alone: a small part of a block.
    Counts,
    /// All items of the block, for delivery times and unique counts as well.
    CountsAndSketches,
}

impl StoredRecord for Manifest {
    const NAME: &'static str = "manifest";
    const FORMAT: u8 = 4;
    const OLDEST_FORMAT: u8 = 3;

    fn read_older(_format: u8, record: &[u8]) -> Option<(Self, &[u8])> {
        let (ManifestWithoutZones { frontier, blocks }, rest) = postcard::take_from_bytes(record).ok()?;
        Some((Self { frontier, blocks, zones: Vec::new() }, rest))
    }
}

impl StoredRecord for CompactionNote {
    const NAME: &'static str = "compaction note";
    const FORMAT: u8 = 3;
}

impl Manifest {
    /// Whether deltas of `shard` up to `committed` are not merged yet.
    pub(crate) fn is_behind(&self, shard: &ShardId, committed: &SequenceNumber) -> bool {
        // A shard that is not in the frontier is `None`, which is less than every number.
        self.frontier.get(shard) < Some(committed)
    }

    /// Where the tenant's days begin, at which its blocks of days and months are cut.
    pub(crate) fn local_days(&self) -> LocalDays {
        // The days of a zone that the time zone database has removed since cannot be asked for any more.
        LocalDays::new(self.zones.iter().map(|from| (Day(from.day), time_zone(&from.zone).ok())))
    }

    /// Cuts by the days of `zone` what is not in a block of a day or month yet.
    pub(super) fn follow_zone(&mut self, zone: &str) {
        if self.zones.last().map_or(UTC, |last| last.zone.as_str()) == zone {
            return;
        }
        // What is merged into hours cannot be cut in another way any more. Everything, as long as there is no such block.
        let day = self.blocks.keys().map(|id| match id.level {
            Level::Hour => 0,
            Level::Day => id.period.saturating_add(1),
            Level::Month => Month(id.period.saturating_add(1)).first_day().0,
        });
        let day = day.max().unwrap_or(0);
        // Zones that no block was cut by.
        self.zones.retain(|from| from.day < day);
        if self.zones.last().map_or(UTC, |last| last.zone.as_str()) != zone {
            self.zones.push(ZoneFrom { day, zone: zone.to_owned() });
        }
    }
}

const UTC: &str = "UTC";

impl CompactionNote {
    pub(super) fn item(&self, tenant: &TenantId) -> Item {
        stored::item(self.key(tenant), self, None)
    }

    pub(super) fn key(&self, tenant: &TenantId) -> Key {
        layout::compaction_attempt(tenant, self.started_at, self.attempt)
    }
}

impl LiveBlock {
    /// The keys of the block's items.
    pub(crate) fn keys(self, tenant: &TenantId, id: BlockId, parts: BlockParts) -> Vec<Key> {
        let count = match parts {
            BlockParts::Counts => self.counts,
            // Sketches are numbered behind the counts, so that both kinds of readers read a range of parts.
            BlockParts::CountsAndSketches => self.counts.saturating_add(self.sketches),
        };
        (0..count).map(|part| layout::block(tenant, id, self.attempt, part)).collect()
    }
}

/// Reads the manifest of a tenant. A tenant without one has the empty manifest.
pub async fn read<S: Store>(store: &S, tenant: &TenantId) -> Result<Versioned<Manifest>, ReadError> {
    stored::get(store, layout::manifest(tenant)).await
}

/// Reads the manifest of a tenant and the notes of compactions beside it.
pub(crate) async fn read_with_notes<S: Store>(
    store: &S,
    tenant: &TenantId,
) -> Result<(Versioned<Manifest>, Vec<CompactionNote>), ReadError> {
    let mut manifest = Versioned { record: Manifest::default(), version: None };
    let mut notes = Vec::new();
    for item in stored::range(store, layout::manifest_and_attempts(tenant)).await? {
        // One range reads both, because a compaction must know the notes that belong to this very manifest.
        if item.key == layout::manifest(tenant) {
            manifest = stored::decode_or_default(Some(&item))?;
        } else {
            notes.push(stored::decode(&item)?);
        }
    }
    Ok((manifest, notes))
}

/// Writes `to` if the stored manifest still has the version `from`, or is still absent if that is `None`.
pub(super) async fn replace<S: Store>(
    store: &S,
    tenant: &TenantId,
    from: Option<u64>,
    to: &Manifest,
) -> Result<(), PutError> {
    stored::put_if(store, layout::manifest(tenant), to, from).await.map(drop)
}

#[cfg(test)]
mod tests {
    use event::Hour;

    use super::*;
    use crate::memory::MemoryStore;
    use crate::testing::samples;

    const LIVE: LiveBlock = LiveBlock { attempt: u64::MAX, counts: 3, sketches: 2, bytes: 1_000_000 };

    fn shard(name: &str) -> ShardId {
        ShardId::new(name).unwrap()
    }

    fn manifest() -> Manifest {
        Manifest {
            frontier: BTreeMap::from([(shard("s-1"), SequenceNumber::from(77))]),
            blocks: BTreeMap::from([
                (BlockId::hour(Hour(500_000)), LIVE),
                (BlockId::month_of(Day(20_000)), LIVE),
            ]),
            zones: vec![ZoneFrom { day: 20_100, zone: "Asia/Kolkata".to_owned() }],
        }
    }

    fn note() -> CompactionNote {
        let blocks = vec![(BlockId::day(Day(20_000)), LIVE)];
        CompactionNote { started_at: Timestamp::from_seconds(1_763_000_000), attempt: 7, blocks }
    }

    #[test]
    fn manifest_and_note_are_read_as_they_were_written() {
        assert_eq!(Manifest::decode(&manifest().encode()), Ok(manifest()));
        assert_eq!(CompactionNote::decode(&note().encode()), Ok(note()));
    }

    #[test]
    fn stored_sample_of_each_format_is_read() {
        samples::check("manifest-4", &manifest());
        samples::check_older("manifest-3", &Manifest { zones: Vec::new(), ..manifest() });
        samples::check("compaction-note-3", &note());
    }

    #[test]
    fn frontier_is_behind_until_it_reaches_the_committed_number() {
        for (name, committed, expected) in [
            ("s-1", 76, false),
            ("s-1", 77, false),
            ("s-1", 78, true),
            // By value, not as text.
            ("s-1", 100, true),
            // A shard that no block holds anything of.
            ("s-2", 0, true),
        ] {
            let committed = SequenceNumber::from(committed);
            assert_eq!(manifest().is_behind(&shard(name), &committed), expected, "{name} {committed}");
        }
    }

    #[test]
    fn zone_holds_from_the_day_after_the_last_block_that_is_cut() {
        let zones = |manifest: &Manifest| -> Vec<(u32, String)> {
            manifest.zones.iter().map(|from| (from.day, from.zone.clone())).collect()
        };
        let mut manifest = Manifest::default();
        manifest.follow_zone("UTC");
        assert!(manifest.zones.is_empty());
        // Blocks of hours hold minutes, which can be cut anywhere.
        manifest.blocks.insert(BlockId::hour(Hour(500_000)), LIVE);
        manifest.follow_zone("Asia/Kolkata");
        manifest.follow_zone("Asia/Tokyo");
        assert_eq!(zones(&manifest), [(0, "Asia/Tokyo".to_owned())]);
        // 4 October 2024 and September: the day comes later.
        manifest.blocks.insert(BlockId::day(Day(20_000)), LIVE);
        manifest.blocks.insert(BlockId::month_of(Day(19_990)), LIVE);
        manifest.follow_zone("Asia/Kolkata");
        manifest.follow_zone("Asia/Kolkata");
        let tokyo = (0, "Asia/Tokyo".to_owned());
        assert_eq!(zones(&manifest), [tokyo.clone(), (20_001, "Asia/Kolkata".to_owned())]);
        // A change that is taken back at once leaves no trace.
        manifest.follow_zone("Asia/Tokyo");
        assert_eq!(zones(&manifest), [tokyo]);
        manifest.blocks.insert(BlockId::month_of(Day(20_000)), LIVE);
        manifest.follow_zone("UTC");
        let kept = manifest.local_days();
        let zone_of = |day| kept.zone(Day(day)).iana_name().map(str::to_owned);
        assert_eq!(zone_of(20_027).as_deref(), Some("Asia/Tokyo"));
        assert_eq!(zone_of(20_028).as_deref(), Some("UTC"));
    }

    #[test]
    fn counts_come_before_sketches_in_the_keys_of_a_block() {
        let (tenant, id) = (TenantId::unassigned(), BlockId::hour(Hour(1)));
        let all = LIVE.keys(&tenant, id, BlockParts::CountsAndSketches);
        assert_eq!(all.len(), 5);
        assert_eq!(LIVE.keys(&tenant, id, BlockParts::Counts), all[..3]);
    }

    #[tokio::test]
    async fn manifest_is_replaced_only_as_it_was_read_and_notes_are_read_beside_it() {
        let (store, tenant) = (MemoryStore::new(), TenantId::unassigned());
        let (read, _) = read_with_notes(&store, &tenant).await.unwrap();
        replace(&store, &tenant, read.version, &manifest()).await.unwrap();
        store.put(vec![note().item(&tenant)]).await.unwrap();
        let late = replace(&store, &tenant, read.version, &Manifest::default()).await;
        assert!(matches!(late, Err(PutError::Conflict)), "{late:?}");
        let (read, notes) = read_with_notes(&store, &tenant).await.unwrap();
        assert_eq!((read.record, notes), (manifest(), vec![note()]));
    }
}
