//! Accumulates events into cells: the hot path of ingestion.
//!
//! The dimension key of an event is found in two small tables that stay in the processor's cache, one for what its message states
//! (tenant, tags, ...) and one for recipient domains. So the large table of cells is searched once per event, with a key of twelve
//! bytes. Strings are stored once and compared as bytes. Hashing is seeded per process, because senders choose what is hashed; the
//! seed must never influence a result.

mod cell_map;
mod clicks;
mod evidence;
mod increments;
mod interner;
mod into_blocks;
mod links;
mod resolve;
mod sorted_rows;

use event::attribution::{Dimension, DimensionValues, RecipientDimensions, RecipientProvider};
use event::{EmailEvent, Minute, RecipientHash};
use rapidhash::fast::RandomState;

use self::cell_map::{CellKey, CellMap, DimensionKey};
pub use self::clicks::{ClickDecision, CountedClick};
use self::evidence::EvidenceCollector;
use self::interner::{Interner, PartReader, push_marker, push_part};
use self::links::LinkCells;
pub use self::sorted_rows::SortKey;
use crate::block::{AgeClass, LinkClicks, Resolution, renumbered};
use crate::cell::Cell;
use crate::per_dimension::of_dimension;

/// What rows are grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Whether rows of different tenants are kept apart.
    pub tenant: bool,
    /// By time in buckets of this width. `None` puts all time into one bucket.
    pub bucket: Option<Resolution>,
    /// By these dimensions, in the order of [`Dimension::ALL`].
    pub dimensions: [bool; Dimension::COUNT],
    /// Whether event types are kept apart, under the names that SES gives them.
    pub event_type: bool,
}

/// Counts events into cells of one grouping.
///
/// ```text
///         ┌ tenant, tags, ... ─▶ messages ───▶ number ┐
/// event ──┼ domain, provider ──▶ recipients ─▶ number ┼▶ cell key ─▶ cell
///         └ time ──────────────────────────▶ minute ──┘
/// ```
///
/// It does not know the present time: an event counts in the bucket of its own time, and whether an event is late or a duplicate is
/// decided before it comes here. What is counted does not depend on the order of events, and neither do the blocks made of it; only the
/// order of [`Accumulator::rows`] does.
///
/// One event costs two lookups of short strings and one of a cell, two with cohorts. Memory is allocated only for what is new: a
/// string, a cell, a counter or recipient of a cell. So memory grows with distinct values and not with the number of events. Nothing
/// bounds it here: the caller ends a batch, and [`Accumulator::into_blocks`] bounds what is stored.
#[derive(Debug)]
pub struct Accumulator {
    grouping: Grouping,
    hasher: RandomState,
    /// What messages state: tenant, event type, all dimensions except the recipient's.
    messages: Interner,
    /// Recipient domains and providers.
    recipients: Interner,
    cells: CellMap,
    cohorts: Option<Cohorts>,
    links: Option<LinkCells>,
    evidence: EvidenceCollector,
    /// Where strings are joined before they are interned, kept to reuse its memory.
    scratch: Vec<u8>,
}

/// What decides in which cells an event counts for a recipient.
#[derive(Clone, Copy, Debug)]
struct CellChoice {
    dimensions: DimensionKey,
    happened: Minute,
    /// The age of an outcome, and the minute in which its mail was sent, where that is known.
    cohort: Option<(AgeClass, Minute)>,
}

/// Outcomes by the time at which their mail was sent.
#[derive(Debug, Default)]
struct Cohorts {
    /// Pairs of tenant and campaign. The tenant is a part of each, so campaigns of one name in two tenants stay apart.
    campaigns: Interner,
    providers: Interner,
    /// The campaign of each message.
    campaign_of: Vec<u32>,
    /// The provider of each recipient domain.
    provider_of: Vec<u32>,
    /// By the time of sending, see [`AgeClass::bucket`]. A map for each age class, so that a key has no room to give to it. The last two
    /// classes are never counted here, and an empty map takes no memory of its own.
    by_age: [CellMap; AgeClass::COUNT],
}

/// The key of one row of an accumulator's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey<'a> {
    /// The tenant; empty if not grouped by tenant.
    pub tenant: &'a str,
    /// The first minute of the bucket, if grouped by time.
    pub bucket: Option<Minute>,
    /// The event type as SES spells it; empty if not grouped by it.
    pub event_type: &'a str,
    values: [&'a str; Dimension::COUNT],
}

impl<'a> RowKey<'a> {
    /// The value of one dimension; empty if not grouped by it.
    pub const fn value(&self, dimension: Dimension) -> &'a str {
        of_dimension(&self.values, dimension)
    }
}

impl Grouping {
    const fn by(&self, dimension: Dimension) -> bool {
        of_dimension(&self.dimensions, dimension)
    }

    /// Reverses what [`Accumulator::message`] joined.
    fn read_message<'a>(&self, mut parts: PartReader<'a>) -> RowKey<'a> {
        let tenant = if self.tenant { parts.next_part() } else { "" };
        let event_type = if self.event_type { parts.next_part() } else { "" };
        let mut values = [""; Dimension::COUNT];
        for (value, dimension) in values.iter_mut().zip(Dimension::ALL) {
            if self.by(dimension) && !is_of_recipient(dimension) {
                *value = parts.next_part();
            }
        }
        RowKey { tenant, bucket: None, event_type, values }
    }

    /// Reverses what [`Accumulator::recipient`] joined.
    fn read_recipient<'a>(&self, mut parts: PartReader<'a>, values: &mut [&'a str; Dimension::COUNT]) {
        for (value, dimension) in values.iter_mut().zip(Dimension::ALL) {
            if self.by(dimension) && is_of_recipient(dimension) {
                *value = parts.next_part();
            }
        }
    }
}

impl Accumulator {
    /// Counts by this grouping, without cohorts and links.
    pub fn new(grouping: Grouping) -> Self {
        Self {
            grouping,
            hasher: RandomState::default(),
            messages: Interner::default(),
            recipients: Interner::default(),
            cells: CellMap::default(),
            cohorts: None,
            links: None,
            evidence: EvidenceCollector::default(),
            scratch: Vec::new(),
        }
    }

    /// Counts everything that blocks hold: by tenant, minute and every dimension, the cohorts, and clicks by link.
    pub fn full() -> Self {
        let grouping = Grouping {
            tenant: true,
            bucket: Some(Resolution::Minute),
            dimensions: [true; Dimension::COUNT],
            event_type: false,
        };
        Self { cohorts: Some(Cohorts::default()), ..Self::new(grouping) }.with_links()
    }

    /// Counts clicks by tenant, campaign and link as well, whatever the grouping is. Only [`Accumulator::count_click`] does so.
    #[must_use]
    pub fn with_links(self) -> Self {
        Self { links: Some(LinkCells::default()), ..self }
    }

    /// Counts one event for one recipient.
    ///
    /// Recipient domain and provider come from `recipient`; those in `values` are ignored.
    pub fn count(
        &mut self,
        tenant: &str,
        values: &DimensionValues<'_>,
        recipient: &RecipientDimensions<'_>,
        event: &EmailEvent<'_>,
        recipient_hash: RecipientHash,
    ) {
        let choice = self.choose_cells(tenant, values, recipient, event);
        self.for_each_cell(choice, |cell| {
            increments::increment(cell, event, recipient.simulator, recipient_hash);
        });
    }

    /// Counts a delay of mail that was delayed before: [`Accumulator::count`], and a mark that takes the mail out of those newly delayed.
    ///
    /// Which delay is the first depends on all that was counted before, so the caller decides it.
    pub fn count_repeated_delay(
        &mut self,
        tenant: &str,
        values: &DimensionValues<'_>,
        recipient: &RecipientDimensions<'_>,
        event: &EmailEvent<'_>,
    ) {
        let choice = self.choose_cells(tenant, values, recipient, event);
        self.for_each_cell(choice, |cell| {
            // A delay says nothing about a person, so there is no hash.
            increments::increment(cell, event, recipient.simulator, RecipientHash(0));
            increments::mark_repeated_delay(cell, recipient.simulator);
        });
    }

    /// Counts a delay of which it is not known yet whether it is the first of its mail. Returns the number of its row, for
    /// [`Accumulator::mark_repeated_delay`]; rows keep their numbers until [`Accumulator::merge`].
    ///
    /// Not for an accumulator with cohorts.
    pub fn count_delay(
        &mut self,
        tenant: &str,
        values: &DimensionValues<'_>,
        recipient: &RecipientDimensions<'_>,
        event: &EmailEvent<'_>,
    ) -> u32 {
        let choice = self.choose_cells(tenant, values, recipient, event);
        // A delay says nothing about a person, so there is no hash.
        self.for_each_cell(choice, |cell| {
            increments::increment(cell, event, recipient.simulator, RecipientHash(0));
        });
        self.cells.position(self.hasher, self.cell_key(choice))
    }

    /// Takes a delay of a row, counted by [`Accumulator::count_delay`], out of those that are the first of their mail.
    pub fn mark_repeated_delay(&mut self, row: u32) {
        match self.cells.get_mut(row) {
            Some(cell) => increments::mark_repeated_delay(cell, false),
            None => event::invariant::broken("a delay was counted in a row that does not exist"),
        }
    }

    /// Where an event counts for a recipient. Takes in what the event reveals about the recipient's provider.
    fn choose_cells(
        &mut self,
        tenant: &str,
        values: &DimensionValues<'_>,
        recipient: &RecipientDimensions<'_>,
        event: &EmailEvent<'_>,
    ) -> CellChoice {
        let message = self.message(tenant, values, event);
        let dimensions = DimensionKey { message, recipient: self.recipient(recipient) };
        // Only where it decides something: most recipients have a fixed provider.
        if recipient.provider == RecipientProvider::OfDomain && self.grouping.by(Dimension::Provider) {
            let tenant = if self.grouping.tenant { tenant } else { "" };
            self.evidence.collect(self.hasher, tenant, &recipient.domain, &event.evidence);
        }
        // A Send has the time of its sending, so it is of the first class. So is what a clock that runs behind reports before that.
        let cohort = event
            .sent_at
            .map(|sent_at| (AgeClass::after_millis(event.at.millis_since(sent_at)), sent_at.minute()));
        CellChoice { dimensions, happened: event.at.minute(), cohort }
    }

    /// The key of the cell in which an event counts at its own time.
    fn cell_key(&self, choice: CellChoice) -> CellKey {
        CellKey { dimensions: choice.dimensions, bucket: self.bucket_of(choice.happened) }
    }

    /// Passes each cell in which an event counts to `increment`: the one of its own time and, with cohorts, the one of the sending.
    fn for_each_cell(&mut self, choice: CellChoice, mut increment: impl FnMut(&mut Cell)) {
        increment(self.cells.cell(self.hasher, self.cell_key(choice)));
        // The same increments under the time of sending, so that an outcome can be divided by the sends it came from.
        // Where the time of sending is unknown there is no such time.
        if let (Some(cohorts), Some((age, sent))) = (&mut self.cohorts, choice.cohort) {
            increment(cohorts.cell(self.hasher, choice.dimensions, age, sent));
        }
    }

    /// The bucket of an event's time.
    fn bucket_of(&self, happened: Minute) -> Minute {
        // Any minute serves if rows are not grouped by time; `row_key` leaves it out.
        self.grouping.bucket.map_or(Minute(0), |resolution| resolution.bucket(happened))
    }

    /// Adds everything that `other` counted. Both must have the same grouping.
    pub fn merge(&mut self, other: Self) {
        // Each side numbered its strings as they came, so its numbers mean nothing here until they are translated.
        let hasher = self.hasher;
        let messages = self.messages.merge(hasher, &other.messages);
        let recipients = self.recipients.merge(hasher, &other.recipients);
        self.cells.merge(hasher, other.cells, &messages, &recipients);
        self.evidence.merge(hasher, &other.evidence);
        if let (Some(cohorts), Some(other)) = (&mut self.cohorts, other.cohorts) {
            cohorts.merge(hasher, other, &messages, &recipients);
        }
        if let (Some(links), Some(other)) = (&mut self.links, other.links) {
            links.merge(hasher, other);
        }
    }

    /// The rows, in no particular order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (RowKey<'_>, &Cell)> {
        self.cells.iter().map(|(key, cell)| (self.row_key(key), cell))
    }

    /// The tenants' clicks by link, in no particular order.
    pub fn links(&self) -> impl Iterator<Item = (&str, LinkClicks<'_>)> {
        self.links.iter().flat_map(|links| links.iter().map(|(tenant, row, _)| (tenant, row)))
    }

    fn row_key(&self, key: &CellKey) -> RowKey<'_> {
        let mut row = self.grouping.read_message(self.messages.parts(key.dimensions.message));
        self.grouping.read_recipient(self.recipients.parts(key.dimensions.recipient), &mut row.values);
        row.bucket = self.grouping.bucket.map(|_| key.bucket);
        row
    }

    /// The number of what the message states.
    fn message(&mut self, tenant: &str, values: &DimensionValues<'_>, event: &EmailEvent<'_>) -> u32 {
        self.scratch.clear();
        // Parts have no names: `Grouping::read_message` reads them back in this order.
        if self.grouping.tenant {
            push_part(&mut self.scratch, tenant);
        }
        if self.grouping.event_type {
            push_part(&mut self.scratch, increments::event_type_name(&event.event_type));
        }
        for (value, dimension) in values.iter().zip(Dimension::ALL) {
            if self.grouping.by(dimension) && !is_of_recipient(dimension) {
                push_part(&mut self.scratch, value);
            }
        }
        let (number, is_new) = self.messages.intern(self.hasher, &self.scratch);
        // Once per message and not per event: its cohort depends on nothing but these two parts.
        if is_new && let Some(cohorts) = &mut self.cohorts {
            self.scratch.clear();
            push_part(&mut self.scratch, tenant);
            push_part(&mut self.scratch, &values[Dimension::Campaign as usize]);
            cohorts.campaign_of.push(cohorts.campaigns.intern(self.hasher, &self.scratch).0);
        }
        number
    }

    /// The number of the recipient's domain and provider.
    fn recipient(&mut self, recipient: &RecipientDimensions<'_>) -> u32 {
        self.scratch.clear();
        // The provider follows from the domain, but a grouping may want it without the domain.
        if self.grouping.by(Dimension::RecipientDomain) {
            push_part(&mut self.scratch, &recipient.domain);
        }
        if self.grouping.by(Dimension::Provider) {
            push_provider(&mut self.scratch, recipient);
        }
        let (number, is_new) = self.recipients.intern(self.hasher, &self.scratch);
        if is_new && let Some(cohorts) = &mut self.cohorts {
            self.scratch.clear();
            push_provider(&mut self.scratch, recipient);
            cohorts.provider_of.push(cohorts.providers.intern(self.hasher, &self.scratch).0);
        }
        number
    }
}

/// Appends the provider of a recipient as a part: its slug, or the marker of its domain.
fn push_provider(joined: &mut Vec<u8>, recipient: &RecipientDimensions<'_>) {
    match recipient.provider {
        RecipientProvider::Known(slug) => push_part(joined, slug),
        RecipientProvider::OfDomain => push_marker(joined, &recipient.domain),
    }
}

/// Whether a dimension's value comes with the recipient rather than with the message.
const fn is_of_recipient(dimension: Dimension) -> bool {
    matches!(dimension, Dimension::RecipientDomain | Dimension::Provider)
}

impl Cohorts {
    fn cell(
        &mut self,
        hasher: RandomState,
        dimensions: DimensionKey,
        age: AgeClass,
        sent: Minute,
    ) -> &mut Cell {
        // Every message and recipient got its campaign and provider when it was new, so this is two array lookups and no hashing.
        let dimensions = dimensions.renumbered(&self.campaign_of, &self.provider_of);
        let bucket = age.bucket(sent);
        // A class is its position in the list.
        self.by_age[age as usize].cell(hasher, CellKey { dimensions, bucket })
    }

    /// Adds all cohorts of `other`. `messages` and `recipients` map its numbers to the numbers here.
    fn merge(&mut self, hasher: RandomState, other: Self, messages: &[u32], recipients: &[u32]) {
        let campaigns = self.campaigns.merge(hasher, &other.campaigns);
        let providers = self.providers.merge(hasher, &other.providers);
        extend_assignments(&mut self.campaign_of, &other.campaign_of, messages, &campaigns);
        extend_assignments(&mut self.provider_of, &other.provider_of, recipients, &providers);
        for (ours, theirs) in self.by_age.iter_mut().zip(other.by_age) {
            ours.merge(hasher, theirs, &campaigns, &providers);
        }
    }
}

/// Adds the other side's assignments of those numbers that are new here. New numbers are consecutive and ascending, so each
/// equals the length of the list when it is reached. `targets` maps the other side's campaigns or providers to those here.
fn extend_assignments(own: &mut Vec<u32>, theirs: &[u32], numbers: &[u32], targets: &[u32]) {
    for (number, target) in numbers.iter().zip(theirs) {
        if *number as usize == own.len() {
            own.push(renumbered(targets, *target));
        }
    }
}

#[cfg(test)]
mod tests;
