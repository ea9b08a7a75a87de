//! Records to blocks: decode, attribute, drop duplicates, count. Pure.
//!
//! Each count of an event (one per recipient, one for an open or click) is either a duplicate or counted, in its own minute however
//! late it comes; each part that cannot be read is quarantined; each part that is no event by design is ignored. What a sender could
//! make grow is bounded: tenants, events and quarantined bytes of one commit. Addresses end here: blocks and identities
//! hold keyed hashes, quarantined bytes are sealed.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use cells::{Accumulator, Block, Ledger, Resolution};
use event::attribution::{Attribution, Attributor, RecipientValues};
use event::decode::{Decoded, Decoder};
use event::{EmailEvent, EventKind, HashKey, Hour, IdentityHash, RecipientHash, TenantId, Timestamp};

use super::aggregate::{Delta, Fold, Folded, Record};
use super::deduplication::Memory;
use crate::ledger::quarantine::{self, Seal};

/// Tenants after which a commit takes no further record: the receipt lists them and must fit its item.
const ENOUGH_TENANTS: usize = 1_000;
/// Tenants that even one record may bring: events of further ones are counted for nobody, as conflicts.
const MAX_TENANTS: usize = 2_000;
/// Counts after which a commit takes no further record: a bound on memory and on the time between begin and end.
const ENOUGH_COUNTS: u64 = 50_000;
/// Quarantined parts that one commit keeps; further ones are counted only. A record of sixteen million line feeds is no evidence.
const MAX_QUARANTINED: usize = 1_000;
/// Bytes of quarantined parts that one commit keeps.
const MAX_QUARANTINED_BYTES: usize = 8 << 20;
/// An event that comes later than this after it happened counts as late too.
const LATE_MS: i64 = 60 * 60 * 1000;
/// An event dated further ahead than this has a wrong clock: it counts when it came.
const AHEAD_MS: i64 = 24 * 60 * 60 * 1000;

/// Folds SES events.
pub struct EventFold<Z> {
    attributor: Attributor,
    key: HashKey,
    seal: Z,
    decoder: Decoder,
}

impl<Z: Seal> EventFold<Z> {
    /// Counts under these settings and secrets.
    pub fn new(attribution: Attribution, key: HashKey, seal: Z) -> Self {
        Self { attributor: Attributor::new(attribution), key, seal, decoder: Decoder::new() }
    }

    /// Attributes by other settings from the next batch on.
    pub fn attribute_by(&mut self, attribution: Attribution) {
        self.attributor = Attributor::new(attribution);
    }
}

impl<Z: Seal> Fold for EventFold<Z> {
    fn fold(&mut self, records: &[Record<'_>], memory: &Memory) -> Folded {
        let Self { attributor, key, seal, decoder } = self;
        let mut counting = Counting {
            attributor,
            key,
            memory,
            seen: HashSet::new(),
            accumulator: Accumulator::full(),
            ledgers: HashMap::new(),
            folded: Folded::default(),
        };
        let mut kept_bytes = 0;
        for record in records {
            let before = counting.folded.totals;
            counting.folded.records += 1;
            counting.folded.totals.records += 1;
            let mut part = 0;
            decoder.decode(record.data, &mut |decoded| match decoded {
                Decoded::Event(event) => counting.event(event, record.arrived_at),
                Decoded::Ignored(_) => counting.folded.totals.ignored += 1,
                Decoded::Unreadable { reason, bytes } => {
                    counting.folded.totals.quarantined += 1;
                    kept_bytes += bytes.len();
                    if counting.folded.quarantined.len() < MAX_QUARANTINED
                        && kept_bytes <= MAX_QUARANTINED_BYTES
                    {
                        let record = quarantine::seal(seal, record, part, reason.to_string(), bytes);
                        counting.folded.quarantined.push(record);
                    }
                    part += 1;
                }
            });
            counting.folded.each.push(counting.folded.totals.since(&before));
            if counting.is_enough() {
                break;
            }
        }
        counting.finish()
    }
}

/// A fold at work.
struct Counting<'a> {
    attributor: &'a mut Attributor,
    key: &'a HashKey,
    memory: &'a Memory,
    seen: HashSet<IdentityHash>,
    accumulator: Accumulator,
    ledgers: HashMap<TenantId, BTreeMap<Hour, Ledger>>,
    folded: Folded,
}

impl Counting<'_> {
    fn is_enough(&self) -> bool {
        self.ledgers.len() >= ENOUGH_TENANTS
            || self.folded.totals.events >= ENOUGH_COUNTS
            || self.folded.quarantined.len() >= MAX_QUARANTINED
    }

    fn event(&mut self, event: &EmailEvent<'_>, arrived_at: Timestamp) {
        let is_ahead = event.at.millis_since(arrived_at) > AHEAD_MS;
        let corrected = is_ahead.then(|| EmailEvent { at: arrived_at, ..event.clone() });
        let counted = corrected.as_ref().unwrap_or(event);
        let is_late = is_ahead || arrived_at.millis_since(event.at) > LATE_MS;
        let message = self.attributor.message(counted);
        let tenant = TenantId::new(&message.tenant).unwrap_or(TenantId::unassigned());
        let is_one_too_many = self.ledgers.len() >= MAX_TENANTS && !self.ledgers.contains_key(&tenant);
        let tenant = if is_one_too_many { TenantId::unassigned() } else { tenant };
        let ledger = self.ledgers.entry(tenant.clone()).or_default();
        let entry = ledger.entry(counted.at.minute().hour()).or_default();
        let totals = &mut self.folded.totals;
        let is_conflict = message.conflict || is_one_too_many;
        // What makes an event the same as another is what it said, not what it is counted as.
        each_count(event, self.key, &mut |recipient, identity, hash| {
            let mut one = Ledger { events: 1, ..Ledger::default() };
            totals.events += 1;
            if self.memory.contains(identity) || !self.seen.insert(identity) {
                totals.duplicates += 1;
                one.duplicates = 1;
            } else {
                totals.aggregated += 1;
                totals.late += u64::from(is_late);
                totals.conflicts += u64::from(is_conflict);
                (one.late, one.conflicts) = (u64::from(is_late), u64::from(is_conflict));
                self.folded.identities.push(identity);
                self.accumulator.count(tenant.as_str(), &message.values, &recipient, counted, hash);
            }
            entry.merge(&one);
        });
        self.folded.newest_event = self.folded.newest_event.max(Some(counted.at));
    }

    fn finish(mut self) -> Folded {
        let mut blocks: BTreeMap<TenantId, Block> = self.accumulator.into_blocks().into_iter().collect();
        for (tenant, ledger) in self.ledgers {
            let block = blocks.entry(tenant).or_insert_with(|| Block::empty(Resolution::Minute));
            for (hour, entry) in ledger {
                block.enter(hour, &entry);
            }
        }
        let deltas = blocks.into_iter().map(|(tenant, block)| Delta { tenant, parts: block.encode() });
        self.folded.deltas = deltas.collect();
        self.folded
    }
}

/// Calls `each` for every count an event makes, with what it is filed under, its identity and the hash for unique counts, which only opens
/// and clicks have: for others it is 0. Opens and clicks name no recipient: they count once, for the only recipient of the message or for
/// nobody in particular.
pub fn each_count<'e>(
    event: &'e EmailEvent<'_>,
    key: &HashKey,
    each: &mut dyn FnMut(RecipientValues<'e>, IdentityHash, RecipientHash),
) {
    let mut count = |address: &str, values, hash| each(values, event.identity(key, address), hash);
    let none = RecipientHash(0);
    match &event.kind {
        EventKind::Open(_) | EventKind::Click(_) => {
            let only = event.destinations.first().filter(|_| event.destination_count == 1);
            let address = only.map_or("", Cow::as_ref);
            count(address, Attribution::reader_of(event), event.recipient_hash(key, address));
        }
        EventKind::Send
        | EventKind::Delivery { .. }
        | EventKind::Bounce(_)
        | EventKind::Complaint { .. }
        | EventKind::Reject
        | EventKind::RenderingFailure
        | EventKind::Delay { .. }
        | EventKind::Subscription { .. }
        | EventKind::QueueDepth { .. } => {
            if event.recipients.is_empty() {
                count("", Attribution::recipient(""), none);
            }
            for address in &event.recipients {
                count(address, Attribution::recipient(address), none);
            }
        }
    }
}

#[cfg(test)]
mod tests;
