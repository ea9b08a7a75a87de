//! Turns records into deltas: decode, attribute, drop duplicates, count. Pure: the same records and window give the same result.
//!
//! Each count of an event (one per recipient, one for an open or a click) is either a duplicate or is counted. It is counted in the
//! minute in which the event happened, however late it arrives. Each part of a record that cannot be read is quarantined, and each part
//! that is not an email event by design is ignored.
//!
//! A sender must not be able to grow a commit without limit, so tenants, counts and quarantined bytes are bounded. Addresses end
//! here: blocks and identities hold keyed hashes, and quarantined bytes are sealed.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use cells::{Accumulator, Block, IntakeCounts, Resolution};
use event::attribution::{Attribution, CachedAttribution, RecipientDimensions};
use event::decode::{Decoded, Decoder};
use event::invariant::or_broken;
use event::{
    AccountEvent, AlertScope, EmailEvent, EventType, HashKey, Hour, IdentityHash, Ignored, IgnoredCounts,
    RecipientHash, TenantId, Timestamp,
};

use super::batch::Record;
use super::checkpoint::Totals;
use super::deduplication::DeduplicationWindow;
use super::quarantine::{self, QuarantinedPart, Seal};

/// A commit takes no further record once it has this many tenants: the receipt lists them and must fit an item.
const TENANTS_PER_COMMIT: usize = 1_000;
/// The most tenants of one commit, since a single record may name any number. Events of further tenants are counted for
/// [`TenantId::UNASSIGNED`], as conflicts.
const MAX_TENANTS: usize = 2_000;
/// A commit takes no further record once it has this many counts: a limit on memory and on the time between begin and end.
const COUNTS_PER_COMMIT: u64 = 50_000;
/// The most quarantined parts that one commit keeps; further ones are only counted. Otherwise a record of a
/// million empty lines would fill the store.
const MAX_QUARANTINED: usize = 1_000;
/// The most bytes of quarantined parts that one commit keeps.
const MAX_QUARANTINED_BYTES: usize = 8 << 20;
/// The most account events of one commit. Real ones are a few a month; a record full of them does not come from SES.
const MAX_ACCOUNT_EVENTS: usize = 1_000;
/// An event is late if it arrives later than this after it happened.
const LATE_AFTER_MS: i64 = 60 * 60 * 1000;
/// An event dated further in the future than this comes from a wrong clock. It is counted in the minute in which it arrived.
const MAX_AHEAD_MS: i64 = 24 * 60 * 60 * 1000;

/// Turns records into what is stored of them. Implementations are pure.
pub trait Accumulate: Send {
    /// Takes the first of `records`, as many as one commit may hold and at least one.
    fn accumulate(&mut self, records: &[Record<'_>], window: &DeduplicationWindow) -> Accumulated;
}

/// The result of accumulating some records.
#[derive(Clone, Debug, Default)]
pub struct Accumulated {
    /// How many of the records were taken.
    pub records: usize,
    /// The counts, at most one delta per tenant.
    pub deltas: Vec<Delta>,
    /// The parts that cannot be read.
    pub quarantined: Vec<QuarantinedPart>,
    /// The events that were counted.
    pub identities: Vec<IdentityHash>,
    /// Outcomes of all records taken.
    pub totals: Totals,
    /// Outcomes of each record taken, in their order.
    pub per_record: Vec<Totals>,
    /// What SES said about sending, and whom it concerns.
    pub account_events: Vec<(AlertScope, AccountEvent)>,
    /// Which parts were ignored in the records that have such parts, each by its position among the records.
    pub ignored: Vec<(usize, IgnoredCounts)>,
    /// When the newest counted event happened.
    pub newest_event: Option<Timestamp>,
}

/// What a batch counted for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The tenant whose events are counted.
    pub tenant: TenantId,
    /// An encoded block, in parts that each fit an item.
    pub parts: Vec<Vec<u8>>,
}

/// Accumulates events of SES in any form that the decoder reads.
pub struct EventAccumulator<Z> {
    attributor: CachedAttribution,
    key: HashKey,
    seal: Z,
    decoder: Decoder,
}

impl<Z: Seal> EventAccumulator<Z> {
    /// Attributes events by `attribution`, hashes addresses with `key` and seals quarantined bytes with `seal`.
    pub fn new(attribution: Attribution, key: HashKey, seal: Z) -> Self {
        Self { attributor: CachedAttribution::new(attribution), key, seal, decoder: Decoder::new() }
    }

    /// Attributes the events of later batches by other settings.
    pub fn set_attribution(&mut self, attribution: Attribution) {
        self.attributor = CachedAttribution::new(attribution);
    }
}

impl<Z: Seal> Accumulate for EventAccumulator<Z> {
    fn accumulate(&mut self, records: &[Record<'_>], window: &DeduplicationWindow) -> Accumulated {
        let Self { attributor, key, seal, decoder } = self;
        let mut counting = Accumulation {
            attributor,
            key,
            window,
            seen: HashSet::new(),
            accumulator: Accumulator::full(),
            ledgers: HashMap::new(),
            result: Accumulated::default(),
        };
        let mut kept_bytes = 0;
        for record in records {
            // Totals of one record are a difference, so that every outcome is counted in one place only.
            let before = counting.result.totals;
            counting.result.records += 1;
            counting.result.totals.records += 1;
            let mut part = 0;
            let mut ignored = IgnoredCounts::default();
            decoder.decode(record.data, &mut |decoded| match decoded {
                Decoded::Event(event) => counting.event(event, record.arrived_at),
                Decoded::Ignored(kind) => {
                    counting.result.totals.ignored += 1;
                    ignored.count(&kind);
                    if let Ignored::AccountEvent(event) = kind {
                        counting.account_event(*event);
                    }
                }
                Decoded::Unreadable { reason, bytes } => {
                    counting.result.totals.quarantined += 1;
                    kept_bytes += bytes.len();
                    // What is not kept was counted above all the same: every part of a record has an outcome.
                    if counting.result.quarantined.len() < MAX_QUARANTINED
                        && kept_bytes <= MAX_QUARANTINED_BYTES
                    {
                        let record = quarantine::seal(seal, record, part, reason.to_string(), bytes);
                        counting.result.quarantined.push(record);
                    }
                    part += 1;
                }
            });
            counting.result.per_record.push(counting.result.totals.since(&before));
            if !ignored.is_empty() {
                counting.result.ignored.push((counting.result.records - 1, ignored));
            }
            // Between records only: a record is committed whole or not at all.
            if counting.is_full() {
                break;
            }
        }
        counting.finish()
    }
}

/// The state of one call of [`EventAccumulator::accumulate`].
struct Accumulation<'a> {
    attributor: &'a mut CachedAttribution,
    key: &'a HashKey,
    window: &'a DeduplicationWindow,
    /// Events counted by this call: the window holds committed events only.
    seen: HashSet<IdentityHash>,
    accumulator: Accumulator,
    /// Outcomes by tenant and by the hour of the event, for [`crate::ledger::reconcile`].
    ledgers: HashMap<TenantId, BTreeMap<Hour, IntakeCounts>>,
    result: Accumulated,
}

impl Accumulation<'_> {
    fn is_full(&self) -> bool {
        self.ledgers.len() >= TENANTS_PER_COMMIT
            || self.result.totals.events >= COUNTS_PER_COMMIT
            || self.result.quarantined.len() >= MAX_QUARANTINED
            || self.result.account_events.len() >= MAX_ACCOUNT_EVENTS / 2
    }

    fn account_event(&mut self, event: AccountEvent) {
        if self.result.account_events.len() < MAX_ACCOUNT_EVENTS {
            let tenant = self.attributor.settings().tenant_of_account_event(&event);
            let scope = tenant.map_or(AlertScope::Platform, AlertScope::Tenant);
            self.result.account_events.push((scope, event));
        }
    }

    fn event(&mut self, event: &EmailEvent<'_>, arrived_at: Timestamp) {
        let is_ahead = event.at.millis_since(arrived_at) > MAX_AHEAD_MS;
        let corrected = is_ahead.then(|| EmailEvent { at: arrived_at, ..event.clone() });
        let counted = corrected.as_ref().unwrap_or(event);
        let is_late = is_ahead || arrived_at.millis_since(event.at) > LATE_AFTER_MS;
        let message = self.attributor.attribute(counted);
        // A tag is free text; one that is no valid name is treated like a missing one.
        let tenant = or_broken(
            TenantId::from_stored(&message.tenant).ok(),
            TenantId::unassigned(),
            "attribution gave a name that is not a tenant",
        );
        // Counted for `(unassigned)` rather than dropped: the total stays exact, and the conflict shows in the proof.
        let exceeds_tenants = self.ledgers.len() >= MAX_TENANTS && !self.ledgers.contains_key(&tenant);
        let tenant = if exceeds_tenants { TenantId::unassigned() } else { tenant };
        let ledger = self.ledgers.entry(tenant.clone()).or_default();
        // By the hour of the event, as the cells are, so that the two can be compared for any range.
        let entry = ledger.entry(counted.at.minute().hour()).or_default();
        let totals = &mut self.result.totals;
        let is_conflict = message.conflict || exceeds_tenants;
        // The identity is that of the event as it was sent: a corrected time depends on the delivery, so a duplicate would differ.
        for_each_count(event, self.key, &mut |recipient, identity, hash| {
            let mut outcome = IntakeCounts { events: 1, ..IntakeCounts::default() };
            totals.events += 1;
            // Both: the window holds what is committed, `seen` what this commit is about to count.
            if self.window.contains(identity) || !self.seen.insert(identity) {
                totals.duplicates += 1;
                outcome.duplicates = 1;
            } else {
                totals.aggregated += 1;
                totals.late += u64::from(is_late);
                totals.conflicts += u64::from(is_conflict);
                (outcome.late, outcome.conflicts) = (u64::from(is_late), u64::from(is_conflict));
                self.result.identities.push(identity);
                self.accumulator.count(tenant.as_str(), &message.values, &recipient, counted, hash);
            }
            entry.merge(&outcome);
        });
        self.result.newest_event = self.result.newest_event.max(Some(counted.at));
    }

    fn finish(mut self) -> Accumulated {
        let mut blocks: BTreeMap<TenantId, Block> = self.accumulator.into_blocks().into_iter().collect();
        for (tenant, ledger) in self.ledgers {
            // A tenant whose events were all duplicates has no cells, but its ledger must be stored all the same.
            let block = blocks.entry(tenant).or_insert_with(|| Block::empty(Resolution::Minute));
            for (hour, entry) in ledger {
                block.add_intake(hour, &entry);
            }
        }
        // Sorted by tenant, since the map is: a batch that is accumulated again gives the same receipt.
        let deltas = blocks.into_iter().map(|(tenant, block)| Delta { tenant, parts: block.encode() });
        self.result.deltas = deltas.collect();
        self.result
    }
}

/// Calls `each` for every count that an event makes, with the values of the recipient, the identity of the count, and the hash for
/// unique counts. Only opens and clicks have that hash; for other events it is 0.
///
/// Opens and clicks do not name a recipient. They count once: for the only recipient of the message, or else for an unknown one. An
/// event that should list recipients and lists none is counted once for an unknown recipient.
pub fn for_each_count<'e>(
    event: &'e EmailEvent<'_>,
    key: &HashKey,
    each: &mut dyn FnMut(RecipientDimensions<'e>, IdentityHash, RecipientHash),
) {
    let mut count = |address: &str, values, hash| each(values, event.identity(key, address), hash);
    let none = RecipientHash(0);
    match &event.event_type {
        EventType::Open(_) | EventType::Click(_) => {
            // SES does not say who opened. With several recipients it could be any of them.
            let only = event.destinations.first().filter(|_| event.destination_count == 1);
            let address = only.map_or("", Cow::as_ref);
            count(address, Attribution::interaction_dimensions(event), event.recipient_hash(key, address));
        }
        EventType::Send
        | EventType::Delivery { .. }
        | EventType::Bounce(_)
        | EventType::Complaint { .. }
        | EventType::Reject
        | EventType::RenderingFailure
        | EventType::Delay { .. }
        | EventType::Subscription { .. }
        | EventType::QueueDepth { .. } => {
            if event.recipients.is_empty() {
                count("", Attribution::recipient_dimensions(""), none);
            }
            for address in &event.recipients {
                count(address, Attribution::recipient_dimensions(address), none);
            }
        }
    }
}

#[cfg(test)]
mod tests;
