//! Which blocks a compaction writes, and from what.
//!
//! Fresh rows go into the block of their hour. A day that is over gets a block too, built once from its hours; from then on, late rows
//! go into both. Months likewise. Blocks of hours past their retention leave the manifest once their day has a block, and rows that
//! arrive even later go to the day alone. Days likewise.
//!
//! So at every level that has blocks of a period, the rows are the same, and a reader may choose any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use cells::LocalDays;
use event::provider::learned::LearnedProviders;
use event::{Day, Hour, TenantId, Timestamp};

use super::{CompactionError, CompactionSettings, day_before, decode, decode_body};
use crate::block_id::{BlockId, Level};
use crate::history::block_content::{BlockContent, EncodedBlock};
use crate::history::manifest::{BlockParts, Manifest};
use crate::layout;
use crate::ports::Store;

/// The live blocks of a tenant, to be read one at a time.
pub(super) struct LiveBlocks<'a, S> {
    pub(super) store: &'a S,
    pub(super) tenant: &'a TenantId,
    pub(super) manifest: &'a Manifest,
}

impl<S: Store> LiveBlocks<'_, S> {
    /// The rows of a block, or `None` if it is not live.
    pub(super) async fn load<B: BlockContent>(&self, id: BlockId) -> Result<Option<B>, CompactionError> {
        let Some(live) = self.manifest.blocks.get(&id) else { return Ok(None) };
        let keys = live.keys(self.tenant, id, BlockParts::CountsAndSketches);
        let found = self.store.get(keys.clone()).await?;
        let mut parts = Vec::with_capacity(keys.len());
        for (key, item) in keys.into_iter().zip(found) {
            // An error and not an empty block: the new block would lack its rows for good.
            let Some(item) = item else { return Err(CompactionError::Missing { key }) };
            parts.push(decode(&item)?);
        }
        Ok(B::merge(parts))
    }
}

/// The days at which periods end and retention begins, at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cutoffs {
    /// Earlier days are over, and their blocks may be built.
    settled_before: Day,
    /// Blocks of hours are kept from this day on.
    first_day_of_hours: Day,
    /// Blocks of days are kept from this day on.
    first_day: Day,
}

impl Cutoffs {
    fn new(settings: &CompactionSettings, now: Timestamp) -> Self {
        Self {
            settled_before: day_before(now, settings.settle_ms),
            first_day_of_hours: settings.first_day_of_hours(now),
            first_day: settings.first_day_of_days(now),
        }
    }

    /// Whether the day or month is over, so that its block is due. Blocks of hours are never due: each fresh row goes to one at once.
    fn is_settled(self, id: BlockId) -> bool {
        match id.level {
            Level::Hour => false,
            Level::Day => id.period < self.settled_before.0,
            Level::Month => id < BlockId::month_of(self.settled_before),
        }
    }

    fn keeps_hour(self, hour: Hour) -> bool {
        hour.day() >= self.first_day_of_hours
    }

    fn keeps_day(self, day: Day) -> bool {
        day >= self.first_day
    }
}

/// The blocks of one compaction.
pub(super) struct Rollup<'a, S, B> {
    live: LiveBlocks<'a, S>,
    cutoffs: Cutoffs,
    /// Rows that were merged before their provider was known name it from now on.
    providers: LearnedProviders,
    /// By which blocks of days and months are cut.
    days: LocalDays,
    /// Encoded, because a rebuild may write the blocks of years, and rows take many times the space.
    written: BTreeMap<BlockId, EncodedBlock>,
    /// Blocks whose last rows were taken out, as if they had never existed.
    emptied: BTreeSet<BlockId>,
    rows: PhantomData<B>,
}

impl<'a, S: Store, B: BlockContent> Rollup<'a, S, B> {
    pub(super) fn new(
        live: LiveBlocks<'a, S>,
        settings: &CompactionSettings,
        now: Timestamp,
        providers: LearnedProviders,
    ) -> Self {
        let cutoffs = Cutoffs::new(settings, now);
        let (written, emptied) = (BTreeMap::new(), BTreeSet::new());
        let days = live.manifest.local_days();
        Self { live, cutoffs, providers, days, written, emptied, rows: PhantomData }
    }

    /// Blocks of days are kept from this day on.
    pub(super) const fn first_day(&self) -> Day {
        self.cutoffs.first_day
    }

    /// Replaces the rows of a live block. Without rows, the block leaves the manifest.
    pub(super) fn replace(&mut self, id: BlockId, rows: B) {
        if rows.is_empty() {
            self.emptied.insert(id);
        } else {
            self.write(id, vec![rows]);
        }
    }

    /// Whether no block changes.
    pub(super) fn is_unchanged(&self) -> bool {
        self.written.is_empty() && self.emptied.is_empty()
    }

    /// Builds every block that fresh rows change, or that is due.
    pub(super) async fn build(&mut self, fresh: &BTreeMap<Hour, B>) -> Result<(), CompactionError> {
        for (&hour, rows) in fresh {
            if self.cutoffs.keeps_hour(hour) {
                // The whole hour is rewritten: a block is immutable, and a reader must find one block for an hour and
                // not a list.
                let mut all: Vec<B> = self.content(BlockId::hour(hour)).await?.into_iter().collect();
                all.push(rows.clone());
                self.write(BlockId::hour(hour), all);
            }
        }
        let mut days: BTreeSet<Day> = fresh.keys().map(|hour| hour.day()).collect();
        days.extend(
            self.periods(Level::Hour)
                .map(|hour| Hour(hour).day())
                .filter(|&day| self.is_due(BlockId::day(day))),
        );
        for &day in &days {
            // Fresh rows of a day past its retention go to its month alone. But rows that its hours still hold must go through the day.
            if self.cutoffs.keeps_day(day) || self.exists(BlockId::day(day)) || self.has_hours(day) {
                self.build_day(day, fresh).await?;
            }
        }
        // Months after days: a month that is due is built from days, among them those just written.
        let mut months: BTreeSet<BlockId> = days.iter().map(|&day| BlockId::month_of(day)).collect();
        months.extend(
            self.periods(Level::Day)
                .map(|day| BlockId::month_of(Day(day)))
                .filter(|&month| self.is_due(month)),
        );
        for month in months {
            self.build_month(month, fresh).await?;
        }
        Ok(())
    }

    /// Live blocks past their retention whose rows a coarser block holds too, and those without rows.
    pub(super) fn retired(&self) -> Vec<BlockId> {
        let mut retired: Vec<BlockId> = self.emptied.iter().copied().collect();
        for hour in self.periods(Level::Hour).map(Hour) {
            // Only once the day holds the rows: retention may make numbers coarser and never lose them.
            if !self.cutoffs.keeps_hour(hour) && self.exists(BlockId::day(hour.day())) {
                retired.push(BlockId::hour(hour));
            }
        }
        for day in self.periods(Level::Day).map(Day) {
            if !self.cutoffs.keeps_day(day) && self.exists(BlockId::month_of(day)) {
                retired.push(BlockId::day(day));
            }
        }
        retired
    }

    /// The blocks to write.
    pub(super) fn encode(self) -> Vec<(BlockId, EncodedBlock)> {
        self.written.into_iter().collect()
    }

    async fn build_day(&mut self, day: Day, fresh: &BTreeMap<Hour, B>) -> Result<(), CompactionError> {
        let id = BlockId::day(day);
        let hours = day.first_hour()..Day(day.0.saturating_add(1)).first_hour();
        let fresh = fresh.range(hours.clone());
        let mut all = Vec::new();
        // A block that exists only takes the fresh rows. Building it anew from finer blocks would lose what these no
        // longer keep.
        if let Some(held) = self.content(id).await? {
            all.push(held);
            for (_, rows) in fresh {
                all.push(rows.clone().roll_up(Level::Day, &self.days));
            }
        // Built once, when the day is over; until then readers use its hours.
        } else if self.is_due(id) {
            for hour in hours.start.0..hours.end.0 {
                if let Some(rows) = self.content(BlockId::hour(Hour(hour))).await? {
                    all.push(rows.roll_up(Level::Day, &self.days));
                }
            }
            // Kept hours have taken their fresh rows already.
            for (_, rows) in fresh.filter(|(hour, _)| !self.cutoffs.keeps_hour(**hour)) {
                all.push(rows.clone().roll_up(Level::Day, &self.days));
            }
        } else {
            return Ok(());
        }
        self.write(id, all);
        Ok(())
    }

    async fn build_month(&mut self, id: BlockId, fresh: &BTreeMap<Hour, B>) -> Result<(), CompactionError> {
        let fresh = fresh.iter().filter(|(hour, _)| BlockId::month_of(hour.day()) == id);
        let mut all = Vec::new();
        if let Some(held) = self.content(id).await? {
            all.push(held);
            for (_, rows) in fresh {
                all.push(rows.clone().roll_up(Level::Month, &self.days));
            }
        } else if self.is_due(id) {
            let days: BTreeSet<u32> = self.periods(Level::Day).chain(self.written_days()).collect();
            for day in days.into_iter().map(Day).filter(|&day| BlockId::month_of(day) == id) {
                if let Some(rows) = self.content(BlockId::day(day)).await? {
                    all.push(rows.roll_up(Level::Month, &self.days));
                }
            }
            // Days with a block have taken their fresh rows already.
            for (_, rows) in fresh.filter(|(hour, _)| !self.exists(BlockId::day(hour.day()))) {
                all.push(rows.clone().roll_up(Level::Month, &self.days));
            }
        } else {
            return Ok(());
        }
        self.write(id, all);
        Ok(())
    }

    fn write(&mut self, id: BlockId, all: Vec<B>) {
        // No rows, no block: readers take a missing one for a period without mail.
        let all = all.into_iter().map(|rows| rows.resolve_providers(&self.providers)).collect();
        if let Some(rows) = B::merge(all) {
            self.emptied.remove(&id);
            self.written.insert(id, rows.encode());
        }
    }

    /// The rows of a block after this compaction: as it wrote them, or as they are live.
    async fn content(&self, id: BlockId) -> Result<Option<B>, CompactionError> {
        match self.written.get(&id) {
            // What this compaction wrote replaces the live block, so coarser blocks must be built from it.
            Some(written) => {
                let key = layout::block(self.live.tenant, id, 0, 0);
                let parts = written.counts.iter().chain(&written.sketches);
                let parts = parts.map(|body| decode_body(&key, body)).collect::<Result<Vec<B>, _>>()?;
                Ok(B::merge(parts))
            }
            None if self.emptied.contains(&id) => Ok(None),
            None => self.live.load(id).await,
        }
    }

    fn exists(&self, id: BlockId) -> bool {
        let is_live = self.live.manifest.blocks.contains_key(&id) && !self.emptied.contains(&id);
        is_live || self.written.contains_key(&id)
    }

    /// Whether a day or month is over and has no block yet.
    fn is_due(&self, id: BlockId) -> bool {
        self.cutoffs.is_settled(id) && !self.exists(id)
    }

    fn has_hours(&self, day: Day) -> bool {
        self.periods(Level::Hour).any(|hour| Hour(hour).day() == day)
    }

    fn periods(&self, level: Level) -> impl Iterator<Item = u32> + use<'a, S, B> {
        let ids = BlockId { level, period: 0 }..=BlockId { level, period: u32::MAX };
        self.live.manifest.blocks.range(ids).map(|(id, _)| id.period)
    }

    fn written_days(&self) -> impl Iterator<Item = u32> {
        self.written.keys().filter(|id| id.level == Level::Day).map(|id| id.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 60 * 60 * 1000;

    /// Cutoffs with the default settings, this many hours after 2025-11-01T00:00:00Z (day 20,393).
    fn cutoffs(hours: i64) -> Cutoffs {
        let midnight = Day(20_393).start();
        Cutoffs::new(&CompactionSettings::default(), midnight.plus_millis(hours * HOUR_MS))
    }

    #[test]
    fn block_of_a_day_or_month_is_due_two_hours_after_its_end() {
        let (october_31, november_1) = (Day(20_392), Day(20_393));
        for (hours, id, expected) in [
            (1, BlockId::day(october_31), false),
            (2, BlockId::day(october_31), true),
            (1, BlockId::month_of(october_31), false),
            (2, BlockId::month_of(october_31), true),
            (23, BlockId::day(november_1), false),
            (26, BlockId::day(november_1), true),
            (26, BlockId::month_of(november_1), false),
            // An hour's block is written at once, so it is never due.
            (26, BlockId::hour(october_31.first_hour()), false),
        ] {
            assert_eq!(cutoffs(hours).is_settled(id), expected, "{id:?} after {hours} hours");
        }
    }

    #[test]
    fn hours_are_kept_for_thirty_days_and_days_for_four_hundred() {
        let now = cutoffs(12);
        for (days_ago, keeps_hours, keeps_day) in
            [(0, true, true), (30, true, true), (31, false, true), (400, false, true), (401, false, false)]
        {
            let day = Day(20_393 - days_ago);
            assert_eq!(now.keeps_hour(day.first_hour()), keeps_hours, "hours {days_ago} days ago");
            assert_eq!(now.keeps_day(day), keeps_day, "{days_ago} days ago");
        }
    }
}
