//! The same counts in wider buckets.
//!
//! Rolling up is a sum, so it commutes with merging: compaction may do either first. Never the other way round.

use crate::block::table::Table;
use crate::block::{Block, Resolution};

impl Block {
    /// The same block in buckets of `resolution`; as it is if its buckets are that wide already, or wider.
    #[must_use]
    pub fn roll_up(mut self, resolution: Resolution) -> Self {
        if resolution <= self.resolution {
            return self;
        }
        self.resolution = resolution;
        widen(&mut self.cells, resolution);
        // From the hour on, what came late is in a bucket as wide as all others.
        self.cohorts.append(std::mem::take(&mut self.late_cohorts), 0);
        widen(&mut self.cohorts, resolution);
        self.normalise()
    }
}

fn widen<const N: usize>(table: &mut Table<N>, resolution: Resolution) {
    for row in &mut table.rows {
        row.bucket = resolution.bucket(row.bucket);
    }
}
