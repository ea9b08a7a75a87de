//! Which blocks a compaction writes, and from what.
//!
//! Rows that are fresh go into their hour's block. A day that is over has a block too, made once from its hours; from
//! then on late rows go into both. Months likewise. Hours older than their keeping leave the manifest once their day has a block, and rows
//! that come later still go to the day alone; days likewise. So at every level that exists for a period, the rows
//! are the same.

use std::collections::{BTreeMap, BTreeSet};

use event::{Day, Hour, Timestamp};

use super::{CompactError, Compaction, day_ago};
use crate::block_id::{BlockId, Level};
use crate::history::content::{Content, Parts};
use crate::history::manifest::Manifest;
use crate::ports::{Clock, Store};

/// The blocks of one compaction.
pub(super) struct Levels<'a, S, C, B> {
    compaction: &'a Compaction<'a, S, C>,
    manifest: &'a Manifest,
    written: BTreeMap<BlockId, B>,
    /// Days before this one are over.
    today: Day,
    /// Hours of days before this one are not kept.
    first_day_of_hours: Day,
    /// Days before this one are not kept.
    first_day: Day,
}

impl<'a, S: Store, C: Clock, B: Content> Levels<'a, S, C, B> {
    pub(super) fn new(compaction: &'a Compaction<'a, S, C>, manifest: &'a Manifest, now: Timestamp) -> Self {
        let settings = compaction.settings;
        Self {
            compaction,
            manifest,
            written: BTreeMap::new(),
            today: day_ago(now, settings.settle_ms),
            first_day_of_hours: settings.first_day_of_hours(now),
            first_day: day_ago(now, settings.keep_days_ms),
        }
    }

    /// Builds every block that the fresh rows, or the time, call for.
    pub(super) async fn build(&mut self, fresh: &BTreeMap<Hour, B>) -> Result<(), CompactError> {
        for (&hour, rows) in fresh {
            if self.keeps_hour(hour) {
                let mut all: Vec<B> = self.content(BlockId::hour(hour)).await?.into_iter().collect();
                all.push(rows.clone());
                self.write(BlockId::hour(hour), all);
            }
        }
        let mut days: BTreeSet<Day> = fresh.keys().map(|hour| hour.day()).collect();
        days.extend(
            self.periods(Level::Hour)
                .map(|hour| Hour(hour).day())
                .filter(|&day| self.wants(BlockId::day(day))),
        );
        for &day in &days {
            // Rows of a day long gone go to its month alone; but what its hours still hold must come through the day.
            if self.keeps_day(day) || self.exists(BlockId::day(day)) || self.has_hours(day) {
                self.build_day(day, fresh).await?;
            }
        }
        let mut months: BTreeSet<BlockId> = days.iter().map(|&day| BlockId::month_of(day)).collect();
        months.extend(
            self.periods(Level::Day)
                .map(|day| BlockId::month_of(Day(day)))
                .filter(|&month| self.wants(month)),
        );
        for month in months {
            self.build_month(month, fresh).await?;
        }
        Ok(())
    }

    /// Live blocks whose rows are kept in a coarser one only from now on.
    pub(super) fn retired(&self) -> Vec<BlockId> {
        let mut retired = Vec::new();
        for hour in self.periods(Level::Hour).map(Hour) {
            if !self.keeps_hour(hour) && self.exists(BlockId::day(hour.day())) {
                retired.push(BlockId::hour(hour));
            }
        }
        for day in self.periods(Level::Day).map(Day) {
            if !self.keeps_day(day) && self.exists(BlockId::month_of(day)) {
                retired.push(BlockId::day(day));
            }
        }
        retired
    }

    /// The blocks to write, in parts.
    pub(super) fn encode(self) -> Vec<(BlockId, Parts)> {
        self.written.into_iter().map(|(id, rows)| (id, rows.encode())).collect()
    }

    async fn build_day(&mut self, day: Day, fresh: &BTreeMap<Hour, B>) -> Result<(), CompactError> {
        let id = BlockId::day(day);
        let hours = day.first_hour()..Day(day.0.saturating_add(1)).first_hour();
        let fresh = fresh.range(hours.clone());
        let mut all = Vec::new();
        if let Some(held) = self.content(id).await? {
            all.push(held);
            for (_, rows) in fresh {
                all.push(rows.clone().roll_up(Level::Day));
            }
        } else if self.wants(id) {
            for hour in hours.start.0..hours.end.0 {
                if let Some(rows) = self.content(BlockId::hour(Hour(hour))).await? {
                    all.push(rows.roll_up(Level::Day));
                }
            }
            for (_, rows) in fresh.filter(|(hour, _)| !self.keeps_hour(**hour)) {
                all.push(rows.clone().roll_up(Level::Day));
            }
        } else {
            return Ok(());
        }
        self.write(id, all);
        Ok(())
    }

    async fn build_month(&mut self, id: BlockId, fresh: &BTreeMap<Hour, B>) -> Result<(), CompactError> {
        let fresh = fresh.iter().filter(|(hour, _)| BlockId::month_of(hour.day()) == id);
        let mut all = Vec::new();
        if let Some(held) = self.content(id).await? {
            all.push(held);
            for (_, rows) in fresh {
                all.push(rows.clone().roll_up(Level::Month));
            }
        } else if self.wants(id) {
            let days: BTreeSet<u32> = self.periods(Level::Day).chain(self.written_days()).collect();
            for day in days.into_iter().map(Day).filter(|&day| BlockId::month_of(day) == id) {
                if let Some(rows) = self.content(BlockId::day(day)).await? {
                    all.push(rows.roll_up(Level::Month));
                }
            }
            for (_, rows) in fresh.filter(|(hour, _)| !self.exists(BlockId::day(hour.day()))) {
                all.push(rows.clone().roll_up(Level::Month));
            }
        } else {
            return Ok(());
        }
        self.write(id, all);
        Ok(())
    }

    fn write(&mut self, id: BlockId, all: Vec<B>) {
        self.written.extend(B::merge(all).map(|rows| (id, rows)));
    }

    /// The rows of a block as they will be: written by this compaction, or live.
    async fn content(&self, id: BlockId) -> Result<Option<B>, CompactError> {
        if let Some(written) = self.written.get(&id) {
            return Ok(Some(written.clone()));
        }
        match self.manifest.blocks.get(&id) {
            Some(&live) => self.compaction.load(id, live).await,
            None => Ok(None),
        }
    }

    fn exists(&self, id: BlockId) -> bool {
        self.manifest.blocks.contains_key(&id) || self.written.contains_key(&id)
    }

    /// Whether a day or month is over and has no block yet.
    fn wants(&self, id: BlockId) -> bool {
        let over = match id.level {
            Level::Hour => false,
            Level::Day => id.period < self.today.0,
            Level::Month => id < BlockId::month_of(self.today),
        };
        over && !self.exists(id)
    }

    fn has_hours(&self, day: Day) -> bool {
        self.periods(Level::Hour).any(|hour| Hour(hour).day() == day)
    }

    fn keeps_hour(&self, hour: Hour) -> bool {
        hour.day() >= self.first_day_of_hours
    }

    fn keeps_day(&self, day: Day) -> bool {
        day >= self.first_day
    }

    fn periods(&self, level: Level) -> impl Iterator<Item = u32> + use<'a, S, C, B> {
        let ids = BlockId { level, period: 0 }..=BlockId { level, period: u32::MAX };
        self.manifest.blocks.range(ids).map(|(id, _)| id.period)
    }

    fn written_days(&self) -> impl Iterator<Item = u32> {
        self.written.keys().filter(|id| id.level == Level::Day).map(|id| id.period)
    }
}
