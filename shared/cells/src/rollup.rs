//! Rolls a block up: the same counts in wider buckets.
//!
//! Rolling up is a sum, so it commutes with merging and compaction may do either first. Buckets are never split again: the finer
//! times are gone.

use crate::block::table::BlockTable;
use crate::block::{Block, Resolution};

impl Block {
    /// The same block in buckets of `resolution`. Returned unchanged if its buckets are that wide or wider.
    #[must_use]
    pub fn roll_up(mut self, resolution: Resolution) -> Self {
        if resolution <= self.resolution {
            return self;
        }
        self.resolution = resolution;
        // Rows that now share a bucket are added up by `canonicalise` at the end.
        widen(&mut self.cells, resolution);
        widen(&mut self.cohorts, resolution);
        self.canonicalise()
    }
}

fn widen<const N: usize>(table: &mut BlockTable<N>, resolution: Resolution) {
    for row in &mut table.rows {
        row.bucket = resolution.bucket(row.bucket);
        row.age = row.age.at(resolution);
    }
}
