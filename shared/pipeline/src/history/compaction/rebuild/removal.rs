//! What a rebuild takes out of the blocks of a tenant, before it puts the rows of the archive in their place.

use cells::{Block, Resolution, RowSelection};
use event::{Day, Hour, Minute};
use futures::stream::{self, StreamExt as _};

use super::{Rebuild, days_of};
use crate::block_id::{BlockId, Level};
use crate::history::archive::RebuildRange;
use crate::history::compaction::CompactionError;
use crate::history::compaction::rollup::{LiveBlocks, Rollup};
use crate::history::manifest::Manifest;
use crate::ports::{CONCURRENT_CALLS, Store};

/// What is taken out of the blocks of a tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removal {
    range: RebuildRange,
    /// Days have blocks of their own from this one on.
    first_day: Day,
    /// Blocks that end up to here lose the late outcomes of the range's mail. No block begins before it and ends after it, unless
    /// blocks of days are kept from which its rows can be divided.
    late_until: Minute,
}

impl Removal {
    pub(super) fn new<S, C>(rebuild: &Rebuild<'_, S, C>, first_day: Day, manifest: &Manifest) -> Self {
        let Rebuild { range, archive, start, .. } = *rebuild;
        if start.newest_event <= archive.newest {
            return Self { range, first_day, late_until: Minute(u32::MAX) };
        }
        let day = archive.complete_until();
        let removal = Self { range, first_day, late_until: day.first_minute() };
        let month = BlockId::month_of(day);
        if manifest.blocks.contains_key(&month) && !removal.is_kept_by_day(month) {
            return Self { late_until: month.days().start.first_minute(), ..removal };
        }
        removal
    }

    /// Whether all days of a month that can hold anything of the range have blocks of their own, so that its rows can be put together
    /// again from them.
    fn is_kept_by_day(self, month: BlockId) -> bool {
        month.days().start.max(self.range.from.day()) >= self.first_day
    }

    /// What a block of an hour loses.
    pub(super) fn of_hour(self, hour: Hour) -> RowSelection {
        self.of_block(hour.plus(1).first_minute())
    }

    /// What a block loses that ends at `end`.
    fn of_block(self, end: Minute) -> RowSelection {
        self.range.selection(end <= self.late_until)
    }

    /// Takes the rows out of every live block.
    pub(super) async fn take_out<S: Store>(
        self,
        live: &LiveBlocks<'_, S>,
        rollup: &mut Rollup<'_, S, Block>,
    ) -> Result<(), CompactionError> {
        // A block holds nothing that happens or is sent after its end.
        let is_before = |id: BlockId| match id.level {
            Level::Hour => Hour(id.period) < self.range.from,
            Level::Day | Level::Month => id.days().end <= self.range.from.day(),
        };
        let ids = live.manifest.blocks.keys().copied().filter(|id| !is_before(*id));
        let loads: Vec<_> = ids.map(|id| async move { (id, live.load::<Block>(id).await) }).collect();
        // Several at a time: there may be hundreds, most of which turn out to have nothing of the range.
        let mut loads = stream::iter(loads).buffered(CONCURRENT_CALLS);
        while let Some((id, rows)) = loads.next().await {
            let Some(rows) = rows? else { continue };
            let selection = match id.level {
                Level::Hour => self.of_hour(Hour(id.period)),
                Level::Month if self.is_kept_by_day(id) => {
                    self.take_out_of_month(live, rollup, id, rows).await?;
                    continue;
                }
                // Either all days of such a month are before `late_until`, or none.
                Level::Day | Level::Month => self.of_block(id.days().end.first_minute()),
            };
            let (inside, outside) = rows.partition(&selection);
            if !inside.is_empty() {
                rollup.replace(id, outside);
            }
        }
        Ok(())
    }

    /// The block of a month has a row for each day. Where the range cuts a day, or the archive ends within the month, what is kept of such a
    /// row is put together again from the blocks of days.
    async fn take_out_of_month<S: Store>(
        self,
        live: &LiveBlocks<'_, S>,
        rollup: &mut Rollup<'_, S, Block>,
        id: BlockId,
        rows: Block,
    ) -> Result<(), CompactionError> {
        let days = days_of(self.range);
        let minutes = days.start.first_minute()..days.end.first_minute();
        let whole_days = RowSelection { minutes, ..self.range.selection(true) };
        let (inside, outside) = rows.clone().partition(&whole_days);
        if inside.is_empty() {
            return Ok(());
        }
        // Without intake counts, which are by the hour and were divided exactly.
        let kept_of_days = RowSelection { intake: Hour(0)..Hour(0), ..whole_days };
        let mut all = vec![outside];
        for day in (id.days().start.max(days.start).0..id.days().end.0).map(Day) {
            let Some(of_day) = live.load::<Block>(BlockId::day(day)).await? else { continue };
            let (_, outside) = of_day.partition(&self.of_block(day.plus(1).first_minute()));
            let (kept, _) = outside.partition(&kept_of_days);
            all.push(kept.roll_up(Resolution::Day));
        }
        if let Some(changed) = Block::merge_all(all).filter(|changed| *changed != rows) {
            rollup.replace(id, changed);
        }
        Ok(())
    }
}
