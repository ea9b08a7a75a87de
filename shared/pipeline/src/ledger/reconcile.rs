//! The proof of counting: what went in against what is there, counted apart.
//!
//! The ledger says what was read and dropped, by the hour of the event; the cells say what is counted. They are written by different
//! code and summed from what is stored now, so a lost or doubled block shows as drift. Parts that cannot be read have neither
//! tenant nor event time: they stand in the totals of all shards alone.

use std::collections::BTreeSet;

use cells::Block;
use event::{Day, Hour, TenantId};

use crate::block_id::Level;
use crate::history::manifest::{Extent, Manifest};
use crate::history::snapshot::{self, Progress, Snapshot, SnapshotError};
use crate::ledger::checkpoint::Totals;
use crate::ports::{Item, Store};

/// What became of the events of a tenant in some hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Counts of events read: one per recipient.
    pub events: u64,
    /// Of these, dropped because the same event was counted before.
    pub duplicates: u64,
    /// Of these, came more than an hour after they happened; counted all the same.
    pub late: u64,
    /// Of these, whose tenant was in doubt; counted all the same.
    pub conflicts: u64,
    /// Counts in cells.
    pub aggregated: u64,
}

impl Reconciliation {
    /// What was read and is neither dropped nor counted, or (negative) counted without having been read: 0.
    pub const fn drift(&self) -> i64 {
        self.events.wrapping_sub(self.duplicates).wrapping_sub(self.aggregated).cast_signed()
    }

    /// Adds another tenant's or range's.
    pub const fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.conflicts += other.conflicts;
        self.aggregated += other.aggregated;
    }
}

/// What all shards have handled, since the beginning.
pub fn totals(progress: &Progress) -> Totals {
    let mut totals = Totals::default();
    for (_, cursor) in progress.cursors() {
        totals.add(&cursor.totals);
    }
    totals
}

/// Reconciles a tenant's hours from `from` up to, not including, `to`. Where history is kept by the day only, days that lie partly in
/// the range count whole.
pub async fn reconcile<S: Store>(
    store: &S,
    tenant: &TenantId,
    from: Hour,
    to: Hour,
) -> Result<Reconciliation, SnapshotError> {
    snapshot::steadily(async || {
        let progress = Progress::read(store).await?;
        let snapshot = Snapshot::read(store, &progress, tenant).await?;
        let cover = Cover::new(&snapshot.manifest, from, to);
        let live = snapshot.manifest.blocks.iter().map(|(&id, &live)| (id, live));
        let live =
            live.filter(|(id, _)| id.level != Level::Hour || cover.counts(Level::Hour, Hour(id.period)));
        let blocks = match snapshot::blocks(store, tenant, live, Extent::Counts).await? {
            Ok(blocks) => blocks,
            Err(gone) => return Ok(Err(gone)),
        };
        let mut sum = Reconciliation::default();
        for delta in &snapshot.deltas {
            sum.add(&cover.sum(Level::Hour, delta)?);
        }
        for (id, block) in &blocks {
            sum.add(&cover.sum(id.level, block)?);
        }
        Ok(Ok(sum))
    })
    .await
}

/// Which block each hour is counted from: the finest that still has it.
struct Cover {
    from: Hour,
    to: Hour,
    days_by_hour: BTreeSet<Day>,
    days: BTreeSet<Day>,
}

impl Cover {
    fn new(manifest: &Manifest, from: Hour, to: Hour) -> Self {
        let periods = |level| manifest.blocks.keys().filter(move |id| id.level == level).map(|id| id.period);
        Self {
            from,
            to,
            days_by_hour: periods(Level::Hour).map(|hour| Hour(hour).day()).collect(),
            days: periods(Level::Day).map(Day).collect(),
        }
    }

    /// Whether rows of `hour` in a block of `level` count. Rows of a month lie at the first hour of their day.
    fn counts(&self, level: Level, hour: Hour) -> bool {
        let day = hour.day();
        let is_inside = (self.from..self.to).contains(&hour);
        match level {
            Level::Hour => is_inside,
            Level::Day => is_inside && !self.days_by_hour.contains(&day),
            Level::Month => {
                let touches =
                    day.first_hour() < self.to && self.from < Day(day.0.saturating_add(1)).first_hour();
                touches && !self.days_by_hour.contains(&day) && !self.days.contains(&day)
            }
        }
    }

    fn sum(&self, level: Level, item: &Item) -> Result<Reconciliation, SnapshotError> {
        let block = Block::decode(&item.body)
            .map_err(|source| SnapshotError::Block { key: item.key.clone(), source })?;
        let mut sum = Reconciliation::default();
        for (hour, part) in block.split(|minute| minute.hour().0) {
            if !self.counts(level, Hour(hour)) {
                continue;
            }
            sum.aggregated += part.events();
            for entry in part.ledger().values() {
                sum.events += entry.events;
                sum.duplicates += entry.duplicates;
                sum.late += entry.late;
                sum.conflicts += entry.conflicts;
            }
        }
        Ok(sum)
    }
}
