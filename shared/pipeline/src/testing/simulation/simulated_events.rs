//! The simplest events and blocks that the protocol can be tested with: a record lists events, a block counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use cells::LocalDays;
use event::provider::learned::{EvidenceCounts, LearnedProviders};
use event::{Hour, IdentityHash, Minute, SequenceNumber, TenantId, Timestamp};

use crate::block_id::Level;
use crate::history::block_content::{BlockContent, EncodedBlock};
use crate::ledger::accumulate::{Accumulate, Accumulated, Delta};
use crate::ledger::aggregate::Record;
use crate::ledger::checkpoint::Totals;
use crate::ledger::deduplication::DeduplicationWindow;
use crate::ledger::quarantine::QuarantinedPart;

/// Buckets in one part of a block. Few, so that blocks of several parts are common.
const BUCKETS_PER_PART: usize = 3;

/// An event of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SimulatedEvent {
    pub(super) tenant: u8,
    pub(super) minute: u32,
    /// Its identity. Blocks sum the identities up, which tells apart events that a count would confuse.
    pub(super) id: u64,
}

/// The ID of a tenant of the simulation.
pub(super) fn tenant(number: u8) -> TenantId {
    // A valid name, so the fallback is never used.
    TenantId::new(&format!("tenant-{number}")).unwrap_or(TenantId::unassigned())
}

/// The bytes of a record. A record without events cannot be read.
pub(super) fn record(events: &[SimulatedEvent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        bytes.push(event.tenant);
        bytes.extend_from_slice(&event.minute.to_le_bytes());
        bytes.extend_from_slice(&event.id.to_le_bytes());
    }
    bytes
}

fn events(bytes: &[u8]) -> Vec<SimulatedEvent> {
    let (events, _) = bytes.as_chunks::<13>();
    events
        .iter()
        .map(|&[tenant, a, b, c, d, ref id @ ..]| SimulatedEvent {
            tenant,
            minute: u32::from_le_bytes([a, b, c, d]),
            id: u64::from_le_bytes(*id),
        })
        .collect()
}

/// The number of events and the sum of their identities, by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SimulatedBlock(pub(super) BTreeMap<u32, (u64, u64)>);

impl SimulatedBlock {
    pub(super) fn add(&mut self, minute: u32, count: u64, ids: u64) {
        let bucket = self.0.entry(minute).or_default();
        bucket.0 += count;
        bucket.1 = bucket.1.wrapping_add(ids);
    }

    pub(super) fn add_block(&mut self, other: &Self) {
        for (&minute, &(count, ids)) in &other.0 {
            self.add(minute, count, ids);
        }
    }

    /// The encoded parts of a delta.
    pub(super) fn parts(&self) -> Vec<Vec<u8>> {
        let buckets: Vec<_> = self.0.iter().collect();
        let part = |buckets: &[(&u32, &(u64, u64))]| {
            let mut bytes = Vec::new();
            for (minute, (count, ids)) in buckets {
                bytes.extend_from_slice(&minute.to_le_bytes());
                bytes.extend_from_slice(&count.to_le_bytes());
                bytes.extend_from_slice(&ids.to_le_bytes());
            }
            bytes
        };
        buckets.chunks(BUCKETS_PER_PART).map(part).collect()
    }
}

impl BlockContent for SimulatedBlock {
    /// Names of providers change nothing about the protocol that is simulated.
    const HAS_PROVIDERS: bool = false;

    fn take_evidence(&mut self) -> EvidenceCounts {
        EvidenceCounts::default()
    }

    fn unresolved_domains(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }

    fn resolve_providers(self, _: &LearnedProviders) -> Self {
        self
    }

    type DecodeError = Infallible;

    fn decode(bytes: &[u8]) -> Result<Self, Infallible> {
        let mut block = Self::default();
        let (buckets, _) = bytes.as_chunks::<20>();
        for &[a, b, c, d, ref counts @ ..] in buckets {
            let (numbers, _) = counts.as_chunks::<8>();
            if let &[count, ids] = numbers {
                let minute = u32::from_le_bytes([a, b, c, d]);
                block.add(minute, u64::from_le_bytes(count), u64::from_le_bytes(ids));
            }
        }
        Ok(block)
    }

    fn encode(&self) -> EncodedBlock {
        let mut counts = self.parts();
        // Some parts are sketches, since both kinds must be written, read and removed.
        let sketches = counts.split_off(counts.len().div_ceil(2));
        EncodedBlock { counts, sketches }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn merge(all: Vec<Self>) -> Option<Self> {
        all.into_iter().reduce(|mut sum, block| {
            sum.add_block(&block);
            sum
        })
    }

    fn by_hour(self) -> Vec<(Hour, Self)> {
        let mut hours: BTreeMap<Hour, Self> = BTreeMap::new();
        for (minute, (count, ids)) in self.0 {
            hours.entry(Minute(minute).hour()).or_default().add(minute, count, ids);
        }
        hours.into_iter().collect()
    }

    fn roll_up(self, level: Level, _days: &LocalDays) -> Self {
        let width = match level {
            Level::Hour => 1,
            Level::Day => 60,
            Level::Month => 60 * 24,
        };
        let mut coarse = Self::default();
        for (minute, (count, ids)) in self.0 {
            coarse.add(minute / width * width, count, ids);
        }
        coarse
    }
}

/// Accumulates records of the simulation. How many it takes at a time depends on the first one, so that a batch often needs several
/// commits.
pub(super) struct SimulatedAccumulator;

impl Accumulate for SimulatedAccumulator {
    fn accumulate(&mut self, records: &[Record<'_>], window: &DeduplicationWindow) -> Accumulated {
        let choice = records.first().map_or(0, |record| digit_sum(&record.sequence));
        let taken = records.get(..1 + choice % 6).unwrap_or(records);
        let mut result = Accumulated { records: taken.len(), ..Accumulated::default() };
        let mut blocks: BTreeMap<u8, SimulatedBlock> = BTreeMap::new();
        let mut identities: BTreeMap<u8, Vec<IdentityHash>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for record in taken {
            result.totals.records += 1;
            if record.data.is_empty() {
                result.totals.quarantined += 1;
                result.quarantined.push(QuarantinedPart {
                    sequence: record.sequence.clone(),
                    index: 0,
                    arrived_at: record.arrived_at,
                    reason: "empty".to_owned(),
                    sealed: None,
                    bytes: 0,
                });
            }
            for event in events(record.data) {
                count(event, window, &mut seen, &mut blocks, &mut identities, &mut result);
            }
        }
        result.deltas = blocks
            .into_iter()
            .map(|(number, block)| Delta {
                tenant: tenant(number),
                parts: block.parts(),
                identities: identities.remove(&number).unwrap_or_default(),
            })
            .collect();
        result
    }
}

fn count(
    event: SimulatedEvent,
    window: &DeduplicationWindow,
    seen: &mut BTreeSet<u64>,
    blocks: &mut BTreeMap<u8, SimulatedBlock>,
    identities: &mut BTreeMap<u8, Vec<IdentityHash>>,
    result: &mut Accumulated,
) {
    let Totals { events, duplicates, aggregated, .. } = &mut result.totals;
    *events += 1;
    let identity = IdentityHash(event.id);
    if window.contains(identity) || !seen.insert(event.id) {
        *duplicates += 1;
        return;
    }
    *aggregated += 1;
    identities.entry(event.tenant).or_default().push(identity);
    let at: Timestamp = Minute(event.minute).start();
    result.newest_event = result.newest_event.max(Some(at));
    blocks.entry(event.tenant).or_default().add(event.minute, 1, event.id);
}

fn digit_sum(sequence: &SequenceNumber) -> usize {
    sequence.as_str().bytes().map(usize::from).sum()
}
