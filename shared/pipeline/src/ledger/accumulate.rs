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

use cells::{Accumulator, Block, ClickDecision, CountedClick, IntakeCounts, Resolution};
use event::attribution::{Attribution, CachedAttribution, RecipientAttribution, RecipientDimensions};
use event::decode::{BatchBudget, Decoded, Decoder, Unreadable};
use event::invariant::or_broken;
use event::link::LinkNames;
use event::machine::burst::{BurstClick, ClickMemory};
use event::{
    AccountEvent, AlertScope, EmailEvent, EventType, HashKey, Hour, IdentityHash, Ignored, IgnoredCounts,
    RecipientHash, TenantId, Timestamp,
};

use super::batch::Record;
use super::checkpoint::Totals;
use super::deduplication::DeduplicationWindow;
use super::quarantine::{self, QuarantinedPart, Seal};
use super::receipt::TenantIdentities;

pub(crate) mod bursts;

/// A commit takes no further record once it has this many tenants: the receipt lists them and must fit an item.
const TENANTS_PER_COMMIT: usize = 1_000;
/// The most tenants of one commit, since a single record may name any number. Events of further tenants are counted for
/// [`TenantId::UNASSIGNED`], as conflicts.
const MAX_TENANTS: usize = 2_000;
/// A commit takes no further record once it has this many counts: a limit on memory and on the time between begin and end.
const COUNTS_PER_COMMIT: u64 = 50_000;
/// The most quarantined parts that one commit keeps, and as many again of what exceeded a budget of decoding; further ones are only
/// counted. Otherwise a record of a million empty lines would fill the store.
const MAX_QUARANTINED: usize = 1_000;
/// The most bytes of quarantined parts that one commit keeps.
const MAX_QUARANTINED_BYTES: usize = 8 << 20;
/// The most account events that one commit keeps; further ones are only counted as ignored, like these. Real ones are a few a month: a
/// single record with so many does not come from SES.
const MAX_ACCOUNT_EVENTS: usize = 1_000;
/// An event is late if it arrives later than this after it happened.
const LATE_AFTER_MS: i64 = 60 * 60 * 1000;
/// An event dated further in the future than this comes from a wrong clock. It is counted in the minute in which it arrived.
const MAX_AHEAD_MS: i64 = 24 * 60 * 60 * 1000;

/// Turns records into what is stored of them. Implementations are pure.
pub trait Accumulate: Send {
    /// Begins a batch, whose records share the budgets of decoding however many commits it takes.
    fn begin_batch(&mut self) {}

    /// Takes the first of `records`, as many as one commit may hold and at least one.
    fn accumulate(&mut self, records: &[Record<'_>], window: &DeduplicationWindow) -> Accumulated;

    /// Learns from what was accumulated, now that it is committed. Must not be called before: an attempt that failed is delivered
    /// again, and must then give the same result.
    fn committed(&mut self, _accumulated: &Accumulated) {}
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
    /// Outcomes of all records taken.
    pub totals: Totals,
    /// Outcomes of each record taken, in their order.
    pub per_record: Vec<Totals>,
    /// SES's events about sending, each with the tenant or platform that it concerns.
    pub account_events: Vec<(AlertScope, AccountEvent)>,
    /// Which parts were ignored in the records that have such parts, each by its position among the records.
    pub ignored: Vec<(usize, IgnoredCounts)>,
    /// When the newest counted event happened.
    pub newest_event: Option<Timestamp>,
    /// The clicks that were counted, and earlier ones that turned out to be of their bursts.
    pub clicks: Vec<BurstClick>,
}

impl Accumulated {
    /// The events that were counted, by tenant.
    pub(super) fn identities(&self) -> impl Iterator<Item = TenantIdentities<'_>> {
        self.deltas.iter().map(|Delta { tenant, identities, .. }| TenantIdentities { tenant, identities })
    }
}

/// What a batch counted for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The tenant whose events are counted.
    pub tenant: TenantId,
    /// An encoded block, in parts that each fit an item.
    pub parts: Vec<Vec<u8>>,
    /// The events that were counted.
    pub identities: Vec<IdentityHash>,
}

/// Accumulates events of SES in any form that the decoder reads.
pub struct EventAccumulator<Z> {
    attributor: CachedAttribution,
    recipients: RecipientAttribution,
    links: LinkNames,
    key: HashKey,
    seal: Z,
    decoder: Decoder,
    /// What the records of the present batch may still use beyond their shares.
    budget: BatchBudget,
    /// Clicks that were committed. A click that belongs to a burst with one of them is a machine's, too. A new process starts
    /// without them: it counts the rest of a burst by itself.
    clicks: ClickMemory,
}

impl<Z: Seal> EventAccumulator<Z> {
    /// Attributes events by `attribution`, hashes addresses with `key` and seals quarantined bytes with `seal`.
    pub fn new(attribution: Attribution, key: HashKey, seal: Z) -> Self {
        let (recipients, links) = (attribution.recipients().clone(), attribution.link_names());
        let attributor = CachedAttribution::new(attribution);
        let clicks = ClickMemory::default();
        Self {
            attributor,
            recipients,
            links,
            key,
            seal,
            decoder: Decoder::new(),
            budget: BatchBudget::new(),
            clicks,
        }
    }

    /// Attributes the events of later batches by other settings.
    pub fn set_attribution(&mut self, attribution: Attribution) {
        self.recipients = attribution.recipients().clone();
        self.links = attribution.link_names();
        self.attributor = CachedAttribution::new(attribution);
    }
}

impl<Z: Seal> Accumulate for EventAccumulator<Z> {
    fn begin_batch(&mut self) {
        self.budget = BatchBudget::new();
    }

    fn accumulate(&mut self, records: &[Record<'_>], window: &DeduplicationWindow) -> Accumulated {
        let Self { attributor, recipients, links, key, seal, decoder, budget, clicks } = self;
        let mut counting = Accumulation {
            attributor,
            recipients,
            links: *links,
            key,
            window,
            earlier_clicks: clicks,
            clicks: Vec::new(),
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
            decoder.decode_in_batch(record.data, budget, &mut |decoded| match decoded {
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
                    // The rest of a record over its budget comes last, behind parts that may be many, and may hold events.
                    let is_rest = matches!(reason, Unreadable::OverBudget(_));
                    let kept = MAX_QUARANTINED << u32::from(is_rest);
                    if counting.result.quarantined.len() < kept && kept_bytes <= MAX_QUARANTINED_BYTES {
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

    fn committed(&mut self, accumulated: &Accumulated) {
        for &click in &accumulated.clicks {
            self.clicks.remember(click);
        }
    }
}

/// The state of one call of [`EventAccumulator::accumulate`].
struct Accumulation<'a> {
    attributor: &'a mut CachedAttribution,
    recipients: &'a RecipientAttribution,
    links: LinkNames,
    key: &'a HashKey,
    window: &'a DeduplicationWindow,
    /// Events counted by this call: the window holds committed events only.
    seen: HashSet<IdentityHash>,
    /// Clicks that were committed before.
    earlier_clicks: &'a ClickMemory,
    /// The clicks of this call. Who made them is decided at the end, when all clicks of a burst are known.
    clicks: Vec<(BurstClick, CountedClick)>,
    accumulator: Accumulator,
    ledgers: HashMap<TenantId, TenantLedger>,
    result: Accumulated,
}

/// What is noted of one tenant beside its counts.
#[derive(Default)]
struct TenantLedger {
    /// Outcomes by the hour of the event, for [`crate::ledger::reconcile`].
    intake: BTreeMap<Hour, IntakeCounts>,
    identities: Vec<IdentityHash>,
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
        let TenantLedger { intake, identities } = ledger;
        let entry = intake.entry(counted.at.minute().hour()).or_default();
        let totals = &mut self.result.totals;
        let is_conflict = message.conflict || exceeds_tenants;
        let burst_click = BurstClick::of(event, self.key);
        // The identity is that of the event as it was sent: a corrected time depends on the delivery, so a duplicate would differ.
        for_each_count(
            event,
            self.recipients,
            self.key,
            &mut |EventCount { recipient, identity, hash, delayed }| {
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
                    identities.push(identity);
                    let (tenant, values) = (tenant.as_str(), &message.values);
                    match (&counted.event_type, delayed) {
                        (EventType::Click(click), _) => {
                            let link = self.links.name_of(click, self.key);
                            let link = Some(link.as_ref());
                            let counted =
                                self.accumulator.count_click(tenant, values, &recipient, counted, hash, link);
                            match burst_click {
                                Some(click) => self.clicks.push((click, counted)),
                                // Of no burst, whatever follows.
                                None => self.accumulator.decide_click(&counted, ClickDecision::Person),
                            }
                        }
                        // Whether the mail was delayed before is remembered like an event: an identity that is new at its first delay only.
                        (_, Some(mail)) if self.window.contains(mail) || !self.seen.insert(mail) => {
                            self.accumulator.count_repeated_delay(tenant, values, &recipient, counted);
                        }
                        (_, delayed) => {
                            identities.extend(delayed);
                            self.accumulator.count(tenant, values, &recipient, counted, hash);
                        }
                    }
                }
                entry.merge(&outcome);
            },
        );
        self.result.newest_event = self.result.newest_event.max(Some(counted.at));
    }

    /// Decides who made each click of this call.
    fn decide_clicks(&mut self) {
        let Self { earlier_clicks, clicks, accumulator, result, .. } = self;
        result.clicks = bursts::decide_clicks(std::mem::take(clicks), earlier_clicks, |click, decision| {
            accumulator.decide_click(click, decision);
        });
    }

    fn finish(mut self) -> Accumulated {
        self.decide_clicks();
        let mut blocks: BTreeMap<TenantId, Block> = self.accumulator.into_blocks().into_iter().collect();
        let mut identities = BTreeMap::new();
        for (tenant, ledger) in self.ledgers {
            // A tenant whose events were all duplicates has no cells, but its ledger must be stored all the same.
            let block = blocks.entry(tenant.clone()).or_insert_with(|| Block::empty(Resolution::Minute));
            for (hour, entry) in ledger.intake {
                block.add_intake(hour, &entry);
            }
            identities.insert(tenant, ledger.identities);
        }
        // Sorted by tenant, since the map is: a batch that is accumulated again gives the same receipt.
        let deltas = blocks.into_iter().map(|(tenant, block)| Delta {
            identities: identities.remove(&tenant).unwrap_or_default(),
            tenant,
            parts: block.encode(),
        });
        self.result.deltas = deltas.collect();
        self.result
    }
}

/// One count of an event: for one recipient, or for one person.
#[derive(Clone, Debug)]
pub struct EventCount<'e> {
    /// The values of the dimensions that depend on the recipient.
    pub recipient: RecipientDimensions<'e>,
    /// What makes the count the same as one that was made before.
    pub identity: IdentityHash,
    /// The hash for unique counts. Only opens and clicks have one; for other events it is 0.
    pub hash: RecipientHash,
    /// What all delays of the mail have in common; `None` for other events. A mail is delayed once, at the delay at which this is new.
    pub delayed: Option<IdentityHash>,
}

/// Calls `each` for every count that an event makes.
///
/// Opens and clicks do not name a recipient. They count once: for the only recipient of the message, or else for an unknown one. A
/// complaint counts once, for the first recipient that it lists: one of the listed recipients complained, and nobody knows which. An
/// event that should list recipients and lists none is counted once for an unknown recipient.
pub fn for_each_count<'e>(
    event: &'e EmailEvent<'_>,
    recipients: &'e RecipientAttribution,
    key: &HashKey,
    each: &mut dyn FnMut(EventCount<'e>),
) {
    let mut count = |address: &str, recipient, hash| {
        let identity = event.identity(key, address);
        each(EventCount { recipient, identity, hash, delayed: event.delayed_identity(key, address) });
    };
    let none = RecipientHash(0);
    match &event.event_type {
        EventType::Open(_) | EventType::Click(_) => {
            // SES does not say who opened. With several recipients it could be any of them.
            let only = event.destinations.first().filter(|_| event.destination_count == 1);
            let address = only.map_or("", Cow::as_ref);
            count(address, recipients.interaction_dimensions(event), event.recipient_hash(key, address));
        }
        EventType::Complaint { .. } => {
            // One per complaint and not per recipient, also without a feedback id: the event is the complaint. SES lists everybody of the
            // message at the domain that sent the report:
            // https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
            let first = event.recipients.first().map_or("", Cow::as_ref);
            count(first, recipients.dimensions(first), none);
        }
        EventType::Send
        | EventType::Delivery { .. }
        | EventType::Bounce(_)
        | EventType::Reject
        | EventType::RenderingFailure
        | EventType::Delay { .. }
        | EventType::Subscription { .. }
        | EventType::QueueDepth { .. } => {
            if event.recipients.is_empty() {
                count("", recipients.dimensions(""), none);
            }
            for address in &event.recipients {
                count(address, recipients.dimensions(address), none);
            }
        }
    }
}

#[cfg(test)]
mod tests;
