//! Divides the rows of a block into those of a range of time and the others: what a rebuild replaces, and what it keeps.
//!
//! Cells, links and intake counts belong to the time of their events, cohorts to the time of sending. So one event may count on both sides.

use std::ops::Range;

use event::{Hour, Minute};

use super::Block;
use super::table::{BlockTable, TableRow};

/// Which rows of a block are selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSelection {
    /// Cells and links whose buckets begin in this range, and cohorts that were sent in it. Must not cut a bucket.
    pub minutes: Range<Minute>,
    /// Intake counts of these hours. They are kept by the hour in every block, so no hour of a coarse bucket is cut.
    pub intake: Range<Hour>,
    /// Whether cohorts are selected whose outcomes happened, or may have happened, 72 hours after sending or later.
    pub late_cohorts: bool,
}

impl Block {
    /// The selected rows, and the others. Merging both gives the block again.
    #[must_use]
    pub fn partition(self, selection: &RowSelection) -> (Self, Self) {
        // By destructuring, so that a table that is added later must be divided too.
        let Self { resolution, values, cells, cohorts, intake, evidence, links } = self;
        let in_range = |row: &TableRow| selection.minutes.contains(&row.bucket);
        let (cells_inside, cells_outside) = divide(cells, in_range);
        let (cohorts_inside, cohorts_outside) =
            divide(cohorts, |row| in_range(row) && (selection.late_cohorts || row.age.is_within_72_hours()));
        let (links_inside, links_outside) = divide(links, in_range);
        let (intake_inside, intake_outside) =
            intake.into_iter().partition(|(hour, _)| selection.intake.contains(hour));
        let inside = Self {
            resolution,
            values: values.clone(),
            cells: cells_inside,
            cohorts: cohorts_inside,
            intake: intake_inside,
            links: links_inside,
            ..Self::default()
        };
        // Evidence has no time. It stays with what is kept: what was learned stays true.
        let outside = Self {
            resolution,
            values,
            cells: cells_outside,
            cohorts: cohorts_outside,
            intake: intake_outside,
            evidence,
            links: links_outside,
        };
        (inside.canonicalise(), outside.canonicalise())
    }
}

/// Divides rows. Both sides get all keys, of which some may then be unused.
fn divide<const N: usize>(
    table: BlockTable<N>,
    is_selected: impl Fn(&TableRow) -> bool,
) -> (BlockTable<N>, BlockTable<N>) {
    let keys = table.keys.clone();
    let (inside, outside) = table.rows.into_iter().partition(is_selected);
    (BlockTable { keys, rows: inside }, BlockTable { keys: table.keys, rows: outside })
}
