//! Counts the events of an archive for a rebuild: rows of a range, by tenant and by the hour of their events.
//!
//! Which rows a rebuild replaces depends on when the outcomes of cohorts happened, and a row does not say that. So events of different
//! days are counted apart, and the rows of a day go to its hours: an outcome is never found in a later day than its own. Rows are kept
//! encoded, which takes a fraction of the space.
//!
//! The rules are those of [`crate::ledger::accumulate`]. An archive does not say when its events arrived, so none of them is late.

use std::collections::{BTreeMap, BTreeSet};

use cells::{Accumulator, Block, BlockError, ClickDecision, CountedClick, IntakeCounts, RowSelection};
use event::attribution::{Attribution, CachedAttribution, RecipientAttribution};
use event::invariant::or_broken;
use event::link::LinkNames;
use event::machine::burst::{BurstClick, ClickMemory};
use event::provider::learned::EvidenceCounts;
use event::{Day, EmailEvent, EventType, HashKey, Hour, IdentityHash, TenantId, Timestamp};

use super::block_content::{BlockContent, EncodedBlock};
use crate::ledger::accumulate::bursts;
use crate::ledger::accumulate::{EventCount, for_each_count};

/// How far an archive must reach past the end of the range, in milliseconds (three days): by then nearly every outcome of the range's mail
/// has happened.
pub const MUST_REACH_PAST_MS: i64 = 3 * 24 * 60 * 60 * 1000;
/// The number of counts after which rows are encoded, which bounds rows in memory to some 100 MB.
const COUNTS_IN_MEMORY: u64 = 200_000;

/// The range of a rebuild: hours from `from` up to, not including, `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildRange {
    /// The first hour.
    pub from: Hour,
    /// The hour after the last one.
    pub to: Hour,
}

impl RebuildRange {
    /// Whether the hour is in the range.
    pub fn contains(self, hour: Hour) -> bool {
        self.from <= hour && hour < self.to
    }

    /// Selects cells that happened and cohorts that were sent in the range.
    pub(super) fn selection(self, late_cohorts: bool) -> RowSelection {
        RowSelection {
            minutes: self.from.first_minute()..self.to.first_minute(),
            intake: self.from..self.to,
            late_cohorts,
        }
    }
}

/// What was counted from an archive.
#[derive(Debug, Default)]
pub struct ArchiveCounts {
    /// What the archive holds of each tenant that has anything in the range.
    pub tenants: BTreeMap<TenantId, TenantCounts>,
    /// When the earliest event of the archive happened, in the range or not. `None` if it has none.
    pub oldest: Option<Timestamp>,
    /// When the newest one happened.
    pub newest: Option<Timestamp>,
    /// Counts of events that are in the range or belong to mail sent in it.
    pub counts: u64,
    /// Of `counts`: dropped because the same event had been counted.
    pub duplicates: u64,
}

/// What an archive holds of one tenant in the range.
#[derive(Debug, Default)]
pub struct TenantCounts {
    /// Counts of events that happened in the range, without duplicates.
    pub events: u64,
    /// By the hour of the event: encoded blocks.
    hours: BTreeMap<Hour, Vec<EncodedBlock>>,
    /// What outcomes revealed about mailbox providers.
    pub(super) evidence: EvidenceCounts,
    /// Domains whose provider the rows do not name.
    pub(super) unresolved: BTreeSet<String>,
}

impl ArchiveCounts {
    /// Whether the archive reaches far enough past the end of `range`.
    pub fn reaches_past(&self, range: RebuildRange) -> bool {
        self.newest.is_some_and(|newest| newest.millis_since(range.to.start()) >= MUST_REACH_PAST_MS)
    }

    /// Two tenants between which mail has moved since it was counted: the archive has less of the first and more of the second than is stored.
    /// `stored` has the events of the range that are stored of each tenant.
    ///
    /// Rules and losses change the numbers of tenants as well, but in one direction. Numbers that change in both are taken for mail that
    /// moved, because the opposite mistake would count mail twice.
    pub fn moved(&self, stored: &BTreeMap<TenantId, u64>) -> Option<(TenantId, TenantId)> {
        let all: BTreeSet<&TenantId> = stored.keys().chain(self.tenants.keys()).collect();
        let find = |is_wanted: fn(u64, u64) -> bool| {
            all.iter().find(|tenant| {
                let before = stored.get(**tenant).copied().unwrap_or(0);
                is_wanted(before, self.tenants.get(**tenant).map_or(0, |counts| counts.events))
            })
        };
        let (from, to) = (find(|before, now| now < before)?, find(|before, now| now > before)?);
        Some(((*from).clone(), (*to).clone()))
    }

    /// The archive holds every event before this day.
    pub(super) fn complete_until(&self) -> Day {
        self.newest.map_or(Day(0), |newest| newest.minute().hour().day())
    }
}

impl TenantCounts {
    /// The days that have rows.
    pub(super) fn days(&self) -> BTreeSet<Day> {
        self.hours.keys().map(|hour| hour.day()).collect()
    }

    /// The rows of a day, by hour.
    pub(super) fn rows_of(&self, day: Day) -> Result<Vec<(Hour, Block)>, BlockError> {
        let mut rows = Vec::new();
        for (&hour, encoded) in self.hours.range(day.hours()) {
            for block in encoded {
                let parts = block.counts.iter().chain(&block.sketches).map(|part| Block::decode(part));
                rows.extend(Block::merge_all(parts.collect::<Result<Vec<_>, _>>()?).map(|rows| (hour, rows)));
            }
        }
        Ok(rows)
    }
}

/// Counts the events of an archive, one after the other.
pub struct ArchiveCounter {
    range: RebuildRange,
    now: Timestamp,
    attributor: CachedAttribution,
    recipients: RecipientAttribution,
    links: LinkNames,
    key: HashKey,
    days: BTreeMap<Day, DayCounts>,
    /// The clicks in `days`. Who made them is decided when they are encoded.
    clicks: Vec<(BurstClick, (Day, CountedClick))>,
    earlier_clicks: ClickMemory,
    in_memory: u64,
    counts: ArchiveCounts,
}

/// Events of one day that are not encoded yet.
struct DayCounts {
    rows: Accumulator,
    intake: BTreeMap<TenantId, BTreeMap<Hour, IntakeCounts>>,
}

impl ArchiveCounter {
    /// Counts for `range` under `attribution`. `key` must be that of the store: it decides which opens are the same person's.
    pub fn new(range: RebuildRange, attribution: Attribution, key: HashKey, now: Timestamp) -> Self {
        let (recipients, links) = (attribution.recipients().clone(), attribution.link_names());
        Self {
            range,
            now,
            attributor: CachedAttribution::new(attribution),
            recipients,
            links,
            key,
            days: BTreeMap::new(),
            clicks: Vec::new(),
            earlier_clicks: ClickMemory::default(),
            in_memory: 0,
            counts: ArchiveCounts::default(),
        }
    }

    /// Counts an event. `is_new` remembers an identity and says whether it was new; it is called only for identities that matter.
    pub fn count(&mut self, event: &EmailEvent<'_>, is_new: &mut dyn FnMut(IdentityHash) -> bool) {
        // A wrong clock must not make the archive appear to reach further than it does.
        if event.at <= self.now {
            self.counts.oldest =
                Some(self.counts.oldest.map_or(event.at, |oldest: Timestamp| oldest.min(event.at)));
            self.counts.newest = self.counts.newest.max(Some(event.at));
        }
        let is_inside = |at: Timestamp| self.range.contains(at.minute().hour());
        if is_inside(event.at) || event.sent_at.is_some_and(is_inside) {
            self.count_inside(event, is_new);
            if self.in_memory >= COUNTS_IN_MEMORY {
                self.encode();
            }
        } else {
            // The first delay of a mail may be before the range, and then a later one is not the first.
            let mut remember = |count: EventCount<'_>| _ = count.delayed.map(&mut *is_new);
            for_each_count(event, &self.recipients, &self.key, &mut remember);
        }
    }

    fn count_inside(&mut self, event: &EmailEvent<'_>, is_new: &mut dyn FnMut(IdentityHash) -> bool) {
        let Self { attributor, recipients, links, key, days, clicks, counts, .. } = self;
        let message = attributor.attribute(event);
        let tenant = or_broken(
            TenantId::from_stored(&message.tenant).ok(),
            TenantId::unassigned(),
            "attribution gave a name that is not a tenant",
        );
        let hour = event.at.minute().hour();
        let day = days
            .entry(hour.day())
            .or_insert_with(|| DayCounts { rows: Accumulator::full(), intake: BTreeMap::new() });
        let mut outcome = IntakeCounts::default();
        let click = BurstClick::of(event, key);
        for_each_count(event, recipients, key, &mut |EventCount { recipient, identity, hash, delayed }| {
            outcome.events += 1;
            if !is_new(identity) {
                outcome.duplicates += 1;
                return;
            }
            outcome.conflicts += u64::from(message.conflict);
            let (tenant, values) = (tenant.as_str(), &message.values);
            match (&event.event_type, delayed) {
                (EventType::Click(interaction), _) => {
                    let link = links.name_of(interaction, key);
                    let link = Some(link.as_ref());
                    let counted = day.rows.count_click(tenant, values, &recipient, event, hash, link);
                    match click {
                        Some(click) => clicks.push((click, (hour.day(), counted))),
                        // Of no burst, whatever follows.
                        None => day.rows.decide_click(&counted, ClickDecision::Person),
                    }
                }
                (_, Some(mail)) if !is_new(mail) => {
                    day.rows.count_repeated_delay(tenant, values, &recipient, event);
                }
                _ => day.rows.count(tenant, values, &recipient, event, hash),
            }
        });
        self.in_memory += outcome.events;
        counts.counts += outcome.events;
        counts.duplicates += outcome.duplicates;
        day.intake.entry(tenant).or_default().entry(hour).or_default().merge(&outcome);
    }

    /// Encodes what was counted since the last time.
    fn encode(&mut self) {
        let Self { days, clicks, earlier_clicks, counts, range, .. } = self;
        let decided =
            bursts::decide_clicks(std::mem::take(clicks), earlier_clicks, |(day, counted), decision| {
                if let Some(day) = days.get_mut(day) {
                    day.rows.decide_click(counted, decision);
                }
            });
        for click in decided {
            earlier_clicks.remember(click);
        }
        for DayCounts { rows, intake } in std::mem::take(days).into_values() {
            let mut blocks: BTreeMap<TenantId, Block> = rows.into_blocks().into_iter().collect();
            for (tenant, intake) in intake {
                // A tenant whose events were all duplicates has no rows.
                let block = blocks.entry(tenant).or_default();
                for (hour, intake) in &intake {
                    block.add_intake(*hour, intake);
                }
            }
            for (tenant, mut block) in blocks {
                let evidence = block.take_evidence();
                // By hour before the rest is dropped: a cohort goes to the newest hour of all events of the block.
                for (hour, rows) in block.by_hour() {
                    let (inside, _) = rows.partition(&range.selection(true));
                    if inside.is_empty() {
                        continue;
                    }
                    let tenant = counts.tenants.entry(tenant.clone()).or_default();
                    tenant.events += inside.events();
                    tenant.unresolved.extend(inside.unresolved_domains().map(str::to_owned));
                    tenant.hours.entry(hour).or_default().push(BlockContent::encode(&inside));
                }
                if let Some(tenant) = counts.tenants.get_mut(&tenant) {
                    tenant.evidence.merge(&evidence);
                }
            }
        }
        self.in_memory = 0;
    }

    /// What was counted.
    pub fn finish(mut self) -> ArchiveCounts {
        self.encode();
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_has_moved_if_one_tenant_has_less_and_another_more() {
        for (stored, archive, moved) in [
            ([5, 7], [5, 7], false),
            // Rules that changed, and a loss.
            ([5, 7], [4, 6], false),
            ([5, 0], [6, 9], false),
            // An archive of the first tenant alone.
            ([5, 7], [5, 0], false),
            ([5, 7], [6, 6], true),
            ([5, 7], [0, 12], true),
            ([12, 0], [5, 7], true),
        ] {
            let names = ["acme", "globex"].map(|name| TenantId::new(name).unwrap());
            let counts = names.iter().cloned().zip(archive);
            let counts =
                counts.map(|(name, events)| (name, TenantCounts { events, ..TenantCounts::default() }));
            let archive = ArchiveCounts { tenants: counts.collect(), ..ArchiveCounts::default() };
            let stored = names.into_iter().zip(stored).collect();
            assert_eq!(archive.moved(&stored).is_some(), moved, "{stored:?}");
        }
    }
}
