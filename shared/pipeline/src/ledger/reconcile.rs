//! The proof of counting, as numbers: what each one means, and the drift that must be 0.
//!
//! Two kinds of numbers are compared. The *intake counts* of a block say how many counts of events were read and dropped, by the hour of the
//! event. The *cells* of the same block say how many were counted. They are written by different code and summed from what is stored
//! now, so a lost or doubled block shows as drift. [`crate::history::reconciliation`] reads them.
//!
//! Parts that cannot be read have neither a tenant nor the time of an event, so they appear only in the totals over all shards
//! ([`crate::ledger::checkpoint::Totals`]).

use cells::IntakeCounts;

/// What became of the events of a tenant that happened in some hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Counts of events that were read: one per recipient.
    pub events: u64,
    /// Of `events`: dropped because the same event had been counted.
    pub duplicates: u64,
    /// Of `events`: counted although they arrived more than an hour after they happened.
    pub late: u64,
    /// Of `events`: counted although their tenant was in doubt.
    pub conflicts: u64,
    /// Counts that are in cells, as summed from the cells themselves.
    pub aggregated: u64,
}

impl Reconciliation {
    /// Counts that were read but neither dropped nor counted; negative if more was counted than read. 0 unless data was lost or doubled.
    pub const fn drift(&self) -> i64 {
        // Wrapping, since the difference is negative if more was counted than read.
        self.events.wrapping_sub(self.duplicates).wrapping_sub(self.aggregated).cast_signed()
    }

    /// Adds the numbers of another tenant or range.
    pub const fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.conflicts += other.conflicts;
        self.aggregated += other.aggregated;
    }

    /// Adds the intake counts of a block about one hour.
    pub(crate) const fn add_intake(&mut self, intake: &IntakeCounts) {
        self.events += intake.events;
        self.duplicates += intake.duplicates;
        self.late += intake.late;
        self.conflicts += intake.conflicts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_zero_only_if_every_count_is_a_duplicate_or_in_a_cell() {
        for (events, duplicates, aggregated, drift) in
            [(0, 0, 0, 0), (10, 3, 7, 0), (10, 3, 6, 1), (10, 3, 9, -2), (5, 5, 0, 0), (0, 0, 4, -4)]
        {
            let proof = Reconciliation { events, duplicates, aggregated, ..Reconciliation::default() };
            assert_eq!(proof.drift(), drift, "{proof:?}");
        }
    }

    #[test]
    fn late_events_and_conflicts_are_parts_of_the_count_and_cause_no_drift() {
        let mut proof = Reconciliation { aggregated: 9, ..Reconciliation::default() };
        proof.add_intake(&IntakeCounts { events: 10, duplicates: 1, late: 4, conflicts: 2 });
        assert_eq!((proof.late, proof.conflicts, proof.drift()), (4, 2, 0));
        let mut sum = proof;
        sum.add(&proof);
        assert_eq!((sum.events, sum.duplicates, sum.late, sum.conflicts, sum.aggregated), (20, 2, 8, 4, 18));
    }
}
