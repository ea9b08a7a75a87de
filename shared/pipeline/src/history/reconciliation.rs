//! Reads the proof of counting: sums intake counts and cells over what is stored now. [`crate::ledger::reconcile`] says what the numbers mean.
//!
//! An hour may be in up to three live blocks: those of the hour, its day and its month. Each hour is read from the finest block that
//! still has it, and from deltas.
//!
//! Blocks of months hold cells by the tenant's local days, but intake counts by the hour of UTC, and a local day may begin within an hour.
//! So a month of a tenant with a time zone is read as a whole where blocks of days are gone.

use std::collections::BTreeSet;

use cells::query::Month;
use cells::{Block, LocalDays};
use event::{Day, Hour, TenantId};

use crate::block_id::{BlockId, Level};
use crate::history::manifest::BlockParts;
use crate::history::snapshot::{self, CountingProgress, ReadAttempt, Snapshot, SnapshotError};
use crate::ledger::reconcile::Reconciliation;
use crate::ports::{Item, Store};

/// Reconciles a tenant's hours from `from` up to, not including, `to`. Where only blocks of months are left, days that lie partly in the
/// range count whole; for a tenant with a time zone, months do.
pub async fn reconcile<S: Store>(
    store: &S,
    tenant: &TenantId,
    from: Hour,
    to: Hour,
) -> Result<Reconciliation, SnapshotError> {
    snapshot::read_consistently(async || {
        // Read again with everything else if a block is missing, since all numbers must be of one instant.
        let progress = CountingProgress::read(store).await?;
        let snapshot = Snapshot::read(store, &progress, tenant).await?;
        let blocks = snapshot.manifest.blocks.keys().copied();
        let cover = Cover::new(blocks, from, to, &snapshot.manifest.local_days());
        let live = snapshot.manifest.blocks.iter().map(|(&id, &live)| (id, live));
        // Hours are most of the blocks, and most of them are outside the range.
        let live =
            live.filter(|(id, _)| id.level != Level::Hour || cover.counts(Level::Hour, Hour(id.period)));
        let blocks = match snapshot::read_blocks(store, tenant, live, BlockParts::Counts).await? {
            ReadAttempt::Complete(blocks) => blocks,
            ReadAttempt::Incomplete(missing) => return Ok(ReadAttempt::Incomplete(missing)),
        };
        let mut sum = Reconciliation::default();
        for delta in &snapshot.deltas {
            sum.add(&sum_of(delta, |hour| cover.counts_delta(hour))?);
        }
        for (id, block) in &blocks {
            sum.add(&sum_of(block, |hour| cover.counts(id.level, hour))?);
        }
        Ok(ReadAttempt::Complete(sum))
    })
    .await
}

/// Which level each hour of a range is read from: the finest that still has a block of it.
struct Cover {
    from: Hour,
    to: Hour,
    /// Days that have blocks of hours.
    days_by_hour: BTreeSet<Day>,
    /// Days that have a block.
    days: BTreeSet<Day>,
    /// Months of UTC that are not cut by its days.
    local_months: BTreeSet<u32>,
    /// Those of them that are read as a whole, from their own blocks.
    whole_months: BTreeSet<u32>,
}

impl Cover {
    fn new(blocks: impl IntoIterator<Item = BlockId>, from: Hour, to: Hour, local_days: &LocalDays) -> Self {
        let mut cover = Self {
            from,
            to,
            days_by_hour: BTreeSet::new(),
            days: BTreeSet::new(),
            local_months: BTreeSet::new(),
            whole_months: BTreeSet::new(),
        };
        let mut months = Vec::new();
        for id in blocks {
            match id.level {
                // Whole days, because retention removes the hours of a day together.
                Level::Hour => _ = cover.days_by_hour.insert(Hour(id.period).day()),
                Level::Day => _ = cover.days.insert(Day(id.period)),
                Level::Month => months.push(id.period),
            }
        }
        for month in months {
            let (first, end) = (Month(month).first_day(), Month(month.saturating_add(1)).first_day());
            if (first.0..end.0).all(|day| local_days.is_of_utc(Day(day))) {
                continue;
            }
            cover.local_months.insert(month);
            let (first, last) = (first.max(from.day()), end.min(Day(to.day().0.saturating_add(1))));
            if (first.0..last.0).any(|day| cover.is_gone(Day(day))) {
                cover.whole_months.insert(month);
            }
        }
        cover
    }

    /// Whether only the block of its month can hold a day of the range. Retention removes blocks of days in the order of time, so one
    /// that is missing behind the first of them had no mail.
    fn is_gone(&self, day: Day) -> bool {
        let overlaps = day.first_hour() < self.to && self.from < Day(day.0.saturating_add(1)).first_hour();
        overlaps && !self.days_by_hour.contains(&day) && self.days.first().is_none_or(|first| day < *first)
    }

    /// Whether fresh rows of `hour` count, which are by the minute and in no block yet.
    fn counts_delta(&self, hour: Hour) -> bool {
        (self.from..self.to).contains(&hour)
            || self.whole_months.contains(&BlockId::month_of(hour.day()).period)
    }

    /// Whether rows of `hour` count if they are in a block of `level`. Rows of a month are at the first hour of their day.
    fn counts(&self, level: Level, hour: Hour) -> bool {
        let day = hour.day();
        let month = BlockId::month_of(day).period;
        if self.whole_months.contains(&month) {
            return level == Level::Month;
        }
        let is_inside = (self.from..self.to).contains(&hour);
        match level {
            Level::Hour => is_inside,
            // Rows of a day are by the hour, so they can be cut exactly.
            Level::Day => is_inside && !self.days_by_hour.contains(&day),
            // Finer blocks hold everything, or the month would be read as a whole.
            Level::Month if self.local_months.contains(&month) => false,
            Level::Month => {
                // Rows of a month are by the day: no finer block is left that could tell its hours apart.
                let day_overlaps =
                    day.first_hour() < self.to && self.from < Day(day.0.saturating_add(1)).first_hour();
                day_overlaps && !self.days_by_hour.contains(&day) && !self.days.contains(&day)
            }
        }
    }
}

/// The sum of those rows of an item whose hours count.
fn sum_of(item: &Item, counts: impl Fn(Hour) -> bool) -> Result<Reconciliation, SnapshotError> {
    let block =
        Block::decode(&item.body).map_err(|source| SnapshotError::Block { key: item.key.clone(), source })?;
    let mut sum = Reconciliation::default();
    for (hour, rows) in block.split(|minute| minute.hour().0) {
        if !counts(Hour(hour)) {
            continue;
        }
        // From the cells, while the intake counts below come from the ledger of the same block. Independent sums
        // are the proof.
        sum.aggregated += rows.events();
        for entry in rows.intake().values() {
            sum.add_intake(entry);
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_hour_is_read_from_the_finest_level_that_has_it() {
        let day = |number: u32| Day(20_000 + number);
        let first_hour = |number| day(number).first_hour();
        // Day 0 has only its month, day 1 has a block of its own, day 2 has blocks of hours too.
        let blocks = [
            BlockId::month_of(day(0)),
            BlockId::day(day(1)),
            BlockId::day(day(2)),
            BlockId::hour(first_hour(2)),
        ];
        let cover = Cover::new(blocks, first_hour(0), first_hour(3), &LocalDays::UTC);
        for (number, levels, counted) in [
            (0, &[Level::Month][..], Level::Month),
            (1, &[Level::Day, Level::Month], Level::Day),
            (2, &Level::ALL, Level::Hour),
        ] {
            let counts = levels.iter().filter(|&&level| cover.counts(level, first_hour(number)));
            assert_eq!(counts.collect::<Vec<_>>(), [&counted], "day {number}");
        }
    }

    #[test]
    fn hours_are_cut_exactly_and_days_of_a_month_count_whole() {
        let day = Day(20_000);
        let hour = |number: u32| Hour(day.first_hour().0 + number);
        let cover = Cover::new([BlockId::month_of(day)], hour(5), hour(7), &LocalDays::UTC);
        let counted: Vec<u32> = (0..24).filter(|&number| cover.counts(Level::Hour, hour(number))).collect();
        assert_eq!(counted, [5, 6]);
        assert!(cover.counts(Level::Month, hour(0)), "the day overlaps the range");
        assert!(!cover.counts(Level::Month, Day(day.0 + 1).first_hour()));
        assert!(!cover.counts(Level::Month, Day(day.0 - 1).first_hour()));
    }

    proptest! {
        #[test]
        fn each_hour_is_counted_at_one_level_whatever_retention_has_left(
            left in prop::collection::vec(0..3_u8, 5), from in 0..120_u32, length in 0..120_u32,
        ) {
            // Days of one month that have blocks of hours, a block of their own, or only their month.
            let day = |number: usize| Day(20_001 + u32::try_from(number).unwrap());
            let mut blocks = vec![BlockId::month_of(day(0))];
            for (number, left) in left.iter().enumerate() {
                match left {
                    0 => blocks.extend((0..24).map(|hour| BlockId::hour(Hour(day(number).first_hour().0 + hour)))),
                    1 => blocks.push(BlockId::day(day(number))),
                    _ => {}
                }
            }
            let begin = day(0).first_hour().0;
            let (from, to) = (Hour(begin + from), Hour(begin + (from + length).min(120)));
            let cover = Cover::new(blocks, from, to, &LocalDays::UTC);
            for (number, left) in left.iter().enumerate() {
                for hour in (0..24).map(|hour| Hour(day(number).first_hour().0 + hour)) {
                    let levels: Vec<Level> =
                        Level::ALL.into_iter().filter(|level| cover.counts(*level, hour)).collect();
                    let is_inside = from <= hour && hour < to;
                    let expected = match left {
                        // Fresh rows of the hour are in deltas, which count like blocks of hours.
                        0 => [Level::Hour].into_iter().filter(|_| is_inside).collect(),
                        1 => [Level::Hour, Level::Day].into_iter().filter(|_| is_inside).collect::<Vec<_>>(),
                        _ => levels.clone(),
                    };
                    prop_assert_eq!(levels, expected, "day {} at {:?}", number, hour);
                }
            }
        }
    }
}
