//! The barest events and blocks that the protocol can be tried with: a record lists events, a block counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use event::{Hour, IdentityHash, Minute, SequenceNumber, TenantId, Timestamp};

use crate::block_id::Level;
use crate::history::content::{Content, Parts};
use crate::ledger::aggregate::{Delta, Fold, Folded, Record};
use crate::ledger::checkpoint::Totals;
use crate::ledger::deduplication::Memory;
use crate::ledger::quarantine::Quarantined;

/// An event of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    pub(super) tenant: u8,
    pub(super) minute: u32,
    /// Its identity; its sum in a tally tells events apart that a count would mix up.
    pub(super) id: u64,
}

/// The name of a tenant.
pub(super) fn tenant(number: u8) -> TenantId {
    TenantId::new(&format!("tenant-{number}")).unwrap_or(TenantId::unassigned())
}

/// The bytes of a record; no events make one that cannot be read.
pub(super) fn record(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        bytes.push(event.tenant);
        bytes.extend_from_slice(&event.minute.to_le_bytes());
        bytes.extend_from_slice(&event.id.to_le_bytes());
    }
    bytes
}

fn events(bytes: &[u8]) -> Vec<Event> {
    let (events, _) = bytes.as_chunks::<13>();
    events
        .iter()
        .map(|&[tenant, a, b, c, d, ref id @ ..]| Event {
            tenant,
            minute: u32::from_le_bytes([a, b, c, d]),
            id: u64::from_le_bytes(*id),
        })
        .collect()
}

/// Count and sum of ids by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(pub(super) BTreeMap<u32, (u64, u64)>);

impl Tally {
    pub(super) fn add(&mut self, minute: u32, count: u64, ids: u64) {
        let bucket = self.0.entry(minute).or_default();
        bucket.0 += count;
        bucket.1 = bucket.1.wrapping_add(ids);
    }

    pub(super) fn absorb(&mut self, other: &Self) {
        for (&minute, &(count, ids)) in &other.0 {
            self.add(minute, count, ids);
        }
    }

    /// The rows in parts, as those of a batch are stored.
    pub(super) fn parts(&self) -> Vec<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for (index, (minute, (count, ids))) in self.0.iter().enumerate() {
            if index % BUCKETS_PER_PART == 0 {
                parts.push(Vec::new());
            }
            if let Some(part) = parts.last_mut() {
                part.extend_from_slice(&minute.to_le_bytes());
                part.extend_from_slice(&count.to_le_bytes());
                part.extend_from_slice(&ids.to_le_bytes());
            }
        }
        parts
    }
}

/// Buckets in one part: so few that parts of one block are common.
const BUCKETS_PER_PART: usize = 3;

impl Content for Tally {
    type Error = Infallible;

    fn decode(bytes: &[u8]) -> Result<Self, Infallible> {
        let mut tally = Self::default();
        let (buckets, _) = bytes.as_chunks::<20>();
        for &[a, b, c, d, ref rest @ ..] in buckets {
            let (numbers, _) = rest.as_chunks::<8>();
            let number = |index: usize| numbers.get(index).map_or(0, |bytes| u64::from_le_bytes(*bytes));
            tally.add(u32::from_le_bytes([a, b, c, d]), number(0), number(1));
        }
        Ok(tally)
    }

    fn encode(&self) -> Parts {
        let mut counts = self.parts();
        // Both kinds of parts must be written, found and swept.
        let sketches = counts.split_off(counts.len().div_ceil(2));
        Parts { counts, sketches }
    }

    fn merge(all: Vec<Self>) -> Option<Self> {
        all.into_iter().reduce(|mut sum, tally| {
            sum.absorb(&tally);
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

    fn roll_up(self, level: Level) -> Self {
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

/// Folds records of the simulation; how many at once depends on where they begin, so that a batch is often several commits.
pub(super) struct TallyFold;

impl Fold for TallyFold {
    fn fold(&mut self, records: &[Record<'_>], memory: &Memory) -> Folded {
        let seen_so_far = records.first().map_or(0, |record| digits(&record.sequence));
        let taken = records.get(..1 + seen_so_far % 6).unwrap_or(records);
        let mut folded = Folded { records: taken.len(), ..Folded::default() };
        let mut tallies: BTreeMap<u8, Tally> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for record in taken {
            folded.totals.records += 1;
            if record.data.is_empty() {
                folded.totals.quarantined += 1;
                folded.quarantined.push(Quarantined {
                    sequence: record.sequence.clone(),
                    part: 0,
                    arrived_at: record.arrived_at,
                    reason: "empty".to_owned(),
                    sealed: Vec::new(),
                    bytes: 0,
                });
            }
            for event in events(record.data) {
                count(event, memory, &mut seen, &mut tallies, &mut folded);
            }
        }
        folded.deltas = tallies
            .into_iter()
            .map(|(number, tally)| Delta { tenant: tenant(number), parts: tally.parts() })
            .collect();
        folded
    }
}

fn count(
    event: Event,
    memory: &Memory,
    seen: &mut BTreeSet<u64>,
    tallies: &mut BTreeMap<u8, Tally>,
    folded: &mut Folded,
) {
    let Totals { events, duplicates, aggregated, .. } = &mut folded.totals;
    *events += 1;
    let identity = IdentityHash(event.id);
    if memory.contains(identity) || !seen.insert(event.id) {
        *duplicates += 1;
        return;
    }
    *aggregated += 1;
    folded.identities.push(identity);
    let at: Timestamp = Minute(event.minute).start();
    folded.newest_event = folded.newest_event.max(Some(at));
    tallies.entry(event.tenant).or_default().add(event.minute, 1, event.id);
}

fn digits(sequence: &SequenceNumber) -> usize {
    sequence.as_str().bytes().map(usize::from).sum()
}
