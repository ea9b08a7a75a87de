//! What the reader of an answer must know about the history that it was counted from.

use event::Minute;
use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

use crate::local_days::ZoneChange;

/// What is special about the history in the range of a query. Empty for most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryNotes {
    /// Where the time zone changes by whose days the tenant's old history is kept. Sorted by time, without repetitions.
    pub zone_changes: Vec<ZoneChange>,
    /// Outcomes of mail that was sent before this minute were left out because their age is not known: they were counted before ages
    /// were. Only with [`Query::max_age`](super::Query::max_age).
    pub age_unknown_before: Option<Minute>,
    /// Late outcomes of mail that was sent before this minute are kept by the full hour of sending, which the query cuts: they count in
    /// the bucket in which their hour begins.
    pub late_by_hour_before: Option<Minute>,
}

impl HistoryNotes {
    /// Adds all of `other`.
    pub(super) fn merge(&mut self, other: Self) {
        let Self { zone_changes, age_unknown_before, late_by_hour_before } = other;
        self.age_unknown_before = self.age_unknown_before.max(age_unknown_before);
        self.late_by_hour_before = self.late_by_hour_before.max(late_by_hour_before);
        self.zone_changes.extend(zone_changes);
        self.zone_changes.sort_by_key(|change| change.at);
        self.zone_changes.dedup();
    }
}

impl Serialize for ZoneChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { at, from, to } = self;
        let mut change = serializer.serialize_struct("ZoneChange", 3)?;
        change.serialize_field("at", &at.start().to_string())?;
        change.serialize_field("from", from)?;
        change.serialize_field("to", to)?;
        change.end()
    }
}
