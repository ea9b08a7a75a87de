//! The hot path: events in, cells out.
//!
//! An event's key is found in two small tables that stay in the processor's cache, one of what its message says (tenant, tags, ...)
//! and one of recipient domains, so that the large table of cells is asked once, with twelve bytes. Strings are kept once and
//! compared as bytes: a hash alone never decides. Hashing is seeded per process because senders choose what is hashed; the
//! seed shows in no result.

mod blocks;
mod interner;
mod raise;
mod sorted;
mod table;

use event::attribution::{Dimension, DimensionValues, RecipientValues};
use event::{EmailEvent, Minute, RecipientHash};
use rapidhash::fast::RandomState;

use self::interner::{Interner, Parts, push_part};
pub use self::sorted::SortKey;
use self::table::{CellTable, Place};
use crate::block::Resolution;
use crate::cell::Cell;

/// What rows are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// By tenant.
    pub tenant: bool,
    /// By time, or all of it in one bucket.
    pub bucket: Option<Resolution>,
    /// By these dimensions, in the order of [`Dimension::ALL`].
    pub dimensions: [bool; Dimension::COUNT],
    /// By event type.
    pub kind: bool,
}

/// Counts events into cells of one grouping.
#[derive(Debug)]
pub struct Accumulator {
    grouping: Grouping,
    hasher: RandomState,
    /// What a message says: tenant, kind, all dimensions but the recipient's.
    contexts: Interner,
    /// Recipient domain and provider.
    recipients: Interner,
    cells: CellTable,
    cohorts: Option<Cohorts>,
    scratch: Vec<u8>,
}

/// Outcomes by when their mail was sent.
#[derive(Debug, Default)]
struct Cohorts {
    /// Tenant and campaign.
    campaigns: Interner,
    providers: Interner,
    /// The campaign of each context.
    campaign_of: Vec<u32>,
    /// The provider of each recipient domain.
    provider_of: Vec<u32>,
    by_minute: CellTable,
    by_hour: CellTable,
}

/// From then on outcomes are kept by the hour of sending: detection looks at the minutes of the last hours only, and most
/// deliveries and bounces come within minutes.
const LATE_AFTER_MINUTES: u32 = 6 * 60;

/// What one row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey<'a> {
    /// The tenant; empty if not grouped by tenant.
    pub tenant: &'a str,
    /// The first minute of the bucket, if grouped by time.
    pub bucket: Option<Minute>,
    /// The event type as SES spells it; empty if not grouped by it.
    pub kind: &'a str,
    values: [&'a str; Dimension::COUNT],
}

impl<'a> RowKey<'a> {
    /// The value of one dimension; empty if not grouped by it.
    pub const fn value(&self, dimension: Dimension) -> &'a str {
        // A dimension's number is below their count.
        self.values[dimension as usize]
    }
}

impl Grouping {
    const fn by(&self, dimension: Dimension) -> bool {
        // A dimension's number is below their count.
        self.dimensions[dimension as usize]
    }

    /// What `Accumulator::context` joined.
    fn read_context<'a>(&self, mut parts: Parts<'a>) -> RowKey<'a> {
        let tenant = if self.tenant { parts.next_part() } else { "" };
        let kind = if self.kind { parts.next_part() } else { "" };
        let mut values = [""; Dimension::COUNT];
        for (value, dimension) in values.iter_mut().zip(Dimension::ALL) {
            if self.by(dimension) && !is_recipients(dimension) {
                *value = parts.next_part();
            }
        }
        RowKey { tenant, bucket: None, kind, values }
    }

    /// What `Accumulator::recipient` joined.
    fn read_recipient<'a>(&self, mut parts: Parts<'a>, values: &mut [&'a str; Dimension::COUNT]) {
        for (value, dimension) in values.iter_mut().zip(Dimension::ALL) {
            if self.by(dimension) && is_recipients(dimension) {
                *value = parts.next_part();
            }
        }
    }
}

impl Accumulator {
    /// Counts by this grouping, without cohorts.
    pub fn new(grouping: Grouping) -> Self {
        Self {
            grouping,
            hasher: RandomState::default(),
            contexts: Interner::default(),
            recipients: Interner::default(),
            cells: CellTable::default(),
            cohorts: None,
            scratch: Vec::new(),
        }
    }

    /// Counts all that blocks hold: by tenant, minute and every dimension, and the cohorts.
    pub fn full() -> Self {
        let grouping = Grouping {
            tenant: true,
            bucket: Some(Resolution::Minute),
            dimensions: [true; Dimension::COUNT],
            kind: false,
        };
        Self { cohorts: Some(Cohorts::default()), ..Self::new(grouping) }
    }

    /// Counts one event for one recipient.
    ///
    /// Domain and provider come from `recipient`, whatever `values` says. Values of more than 255 bytes are cut.
    pub fn count(
        &mut self,
        tenant: &str,
        values: &DimensionValues<'_>,
        recipient: &RecipientValues<'_>,
        event: &EmailEvent<'_>,
        recipient_hash: RecipientHash,
    ) {
        let context = self.context(tenant, values, event);
        let domain = self.recipient(recipient);
        let happened = event.at.minute();
        let bucket = self.grouping.bucket.map_or(Minute(0), |resolution| resolution.bucket(happened));
        let cell = self.cells.cell(self.hasher, Place { context, recipient: domain, bucket });
        raise::raise(cell, event, recipient.simulator, recipient_hash);
        if let Some(cohorts) = &mut self.cohorts {
            let cell = cohorts.cell(self.hasher, context, domain, event.sent_at.minute(), happened);
            raise::raise(cell, event, recipient.simulator, recipient_hash);
        }
    }

    /// Adds all that `other` counted, by the same grouping.
    pub fn merge(&mut self, other: Self) {
        let hasher = self.hasher;
        let contexts = self.contexts.merge(hasher, &other.contexts);
        let recipients = self.recipients.merge(hasher, &other.recipients);
        self.cells.merge(hasher, other.cells, &contexts, &recipients);
        if let (Some(cohorts), Some(other)) = (&mut self.cohorts, other.cohorts) {
            cohorts.merge(hasher, other, &contexts, &recipients);
        }
    }

    /// The rows, in no particular order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (RowKey<'_>, &Cell)> {
        self.cells.iter().map(|(place, cell)| (self.key_of(place), cell))
    }

    fn key_of(&self, place: &Place) -> RowKey<'_> {
        let mut key = self.grouping.read_context(self.contexts.parts(place.context));
        self.grouping.read_recipient(self.recipients.parts(place.recipient), &mut key.values);
        key.bucket = self.grouping.bucket.map(|_| place.bucket);
        key
    }

    fn context(&mut self, tenant: &str, values: &DimensionValues<'_>, event: &EmailEvent<'_>) -> u32 {
        self.scratch.clear();
        if self.grouping.tenant {
            push_part(&mut self.scratch, tenant);
        }
        if self.grouping.kind {
            push_part(&mut self.scratch, raise::kind_name(&event.kind));
        }
        for (value, dimension) in values.iter().zip(Dimension::ALL) {
            if self.grouping.by(dimension) && !is_recipients(dimension) {
                push_part(&mut self.scratch, value);
            }
        }
        let (context, is_new) = self.contexts.intern(self.hasher, &self.scratch);
        if is_new && let Some(cohorts) = &mut self.cohorts {
            self.scratch.clear();
            push_part(&mut self.scratch, tenant);
            push_part(&mut self.scratch, values.get(Dimension::Campaign as usize).map_or("", |value| value));
            cohorts.campaign_of.push(cohorts.campaigns.intern(self.hasher, &self.scratch).0);
        }
        context
    }

    fn recipient(&mut self, recipient: &RecipientValues<'_>) -> u32 {
        self.scratch.clear();
        if self.grouping.by(Dimension::RecipientDomain) {
            push_part(&mut self.scratch, &recipient.domain);
        }
        if self.grouping.by(Dimension::Provider) {
            push_part(&mut self.scratch, recipient.provider);
        }
        let (number, is_new) = self.recipients.intern(self.hasher, &self.scratch);
        if is_new && let Some(cohorts) = &mut self.cohorts {
            self.scratch.clear();
            push_part(&mut self.scratch, recipient.provider);
            cohorts.provider_of.push(cohorts.providers.intern(self.hasher, &self.scratch).0);
        }
        number
    }
}

/// Whether a dimension's value comes with the recipient rather than with the message.
const fn is_recipients(dimension: Dimension) -> bool {
    matches!(dimension, Dimension::RecipientDomain | Dimension::Provider)
}

impl Cohorts {
    fn cell(
        &mut self,
        hasher: RandomState,
        context: u32,
        recipient: u32,
        sent: Minute,
        happened: Minute,
    ) -> &mut Cell {
        // Every context and recipient got its number when it was new.
        let context = self.campaign_of.get(context as usize).copied().unwrap_or(0);
        let recipient = self.provider_of.get(recipient as usize).copied().unwrap_or(0);
        if happened.0.saturating_sub(sent.0) < LATE_AFTER_MINUTES {
            return self.by_minute.cell(hasher, Place { context, recipient, bucket: sent });
        }
        self.by_hour.cell(hasher, Place { context, recipient, bucket: Resolution::Hour.bucket(sent) })
    }

    fn merge(&mut self, hasher: RandomState, other: Self, contexts: &[u32], recipients: &[u32]) {
        let campaigns = self.campaigns.merge(hasher, &other.campaigns);
        let providers = self.providers.merge(hasher, &other.providers);
        adopt(&mut self.campaign_of, &other.campaign_of, contexts, &campaigns);
        adopt(&mut self.provider_of, &other.provider_of, recipients, &providers);
        self.by_minute.merge(hasher, other.by_minute, &campaigns, &providers);
        self.by_hour.merge(hasher, other.by_hour, &campaigns, &providers);
    }
}

/// Adds the other side's assignments of those numbers that are new on this side. New numbers follow each other, in order.
fn adopt(own: &mut Vec<u32>, theirs: &[u32], numbers: &[u32], targets: &[u32]) {
    for (number, target) in numbers.iter().zip(theirs) {
        if *number as usize == own.len() {
            own.push(targets.get(*target as usize).copied().unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests;
