//! Rolls a block up: the same counts in wider buckets.
//!
//! Rolling up is a sum, so it commutes with merging and compaction may do either first. Buckets are never split again: the finer
//! times are gone.

use crate::block::table::BlockTable;
use crate::block::{Block, Resolution};
use crate::local_days::{BucketStarts, LocalDays};

impl Block {
    /// The same block in buckets of `resolution`, by days of UTC. Returned unchanged if its buckets are that wide or wider.
    #[must_use]
    pub fn roll_up(self, resolution: Resolution) -> Self {
        self.roll_up_by(resolution, &LocalDays::UTC)
    }

    /// The same block in buckets of `resolution`, of which none crosses the beginning of a day of `days`. Returned unchanged if its
    /// buckets are that wide or wider.
    #[must_use]
    pub fn roll_up_by(mut self, resolution: Resolution, days: &LocalDays) -> Self {
        if resolution <= self.resolution {
            return self;
        }
        self.resolution = resolution;
        let mut starts = BucketStarts::new(days, resolution);
        // Rows that now share a bucket are added up by `canonicalise` at the end.
        widen(&mut self.cells, &mut starts);
        widen(&mut self.cohorts, &mut starts);
        widen(&mut self.links, &mut starts);
        self.canonicalise()
    }
}

fn widen<const N: usize>(table: &mut BlockTable<N>, starts: &mut BucketStarts<'_>) {
    for row in &mut table.rows {
        row.bucket = starts.bucket(row.bucket);
    }
}
