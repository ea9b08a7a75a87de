//! Rows in the order of their keys, without building the keys: there may be as many rows as events.
//!
//! Every value is ranked once, so rows are compared by small numbers instead of strings.

use std::cmp::Ordering;

use event::attribution::Dimension;
use event::invariant;
use rapidhash::RapidHashMap;

use super::cell_map::CellKey;
use super::{Accumulator, RowKey, is_of_recipient};
use crate::block::index;
use crate::cell::Cell;

/// What rows may be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// By the name of the tenant, byte by byte.
    Tenant,
    /// By the name of the event type, as SES spells it.
    EventType,
    /// By time, the earliest bucket first.
    Bucket,
    /// By the value of a dimension, byte by byte.
    Dimension(Dimension),
}

/// How cells compare by one sort key.
enum Ranks {
    /// The rank of each message's value.
    OfMessages(Vec<u32>),
    /// The rank of each recipient's value.
    OfRecipients(Vec<u32>),
    Bucket,
}

impl Ranks {
    fn compare(&self, one: &CellKey, other: &CellKey) -> Ordering {
        match self {
            Self::OfMessages(ranks) => {
                rank(ranks, one.dimensions.message).cmp(&rank(ranks, other.dimensions.message))
            }
            Self::OfRecipients(ranks) => {
                rank(ranks, one.dimensions.recipient).cmp(&rank(ranks, other.dimensions.recipient))
            }
            Self::Bucket => one.bucket.cmp(&other.bucket),
        }
    }
}

fn rank(ranks: &[u32], number: u32) -> u32 {
    invariant::or_broken(ranks.get(number as usize).copied(), 0, "an interned value has no rank")
}

impl Accumulator {
    /// The numbers of all rows in the order of `keys`, the first of which counts most. [`Accumulator::row`] returns their rows.
    pub fn sorted(&self, keys: &[SortKey]) -> Vec<u32> {
        let ranks: Vec<Ranks> = keys.iter().map(|&key| self.ranks(key)).collect();
        let mut numbered: Vec<(CellKey, u32)> =
            self.cells.iter().enumerate().map(|(number, (key, _))| (*key, index(number))).collect();
        // Keys are copied beside the numbers, so that the sort does not jump between cells that are far apart in memory.
        numbered.sort_unstable_by(|(one, _), (other, _)| {
            let unequal = |ranks: &Ranks| Some(ranks.compare(one, other)).filter(|order| order.is_ne());
            ranks.iter().find_map(unequal).unwrap_or(Ordering::Equal)
        });
        numbered.into_iter().map(|(_, number)| number).collect()
    }

    /// The row of a number, or `None` if it is not below the number of rows.
    pub fn row(&self, number: u32) -> Option<(RowKey<'_>, &Cell)> {
        self.cells.get(number).map(|(key, cell)| (self.row_key(key), cell))
    }

    fn ranks(&self, key: SortKey) -> Ranks {
        match key {
            SortKey::Bucket => Ranks::Bucket,
            SortKey::Dimension(dimension) if is_of_recipient(dimension) => {
                let values = self.recipients.iter().map(|parts| {
                    let mut values = [""; Dimension::COUNT];
                    self.grouping.read_recipient(parts, &mut values);
                    RowKey { tenant: "", bucket: None, event_type: "", values }.value(dimension)
                });
                Ranks::OfRecipients(ranked(values.collect()))
            }
            SortKey::Tenant => self.message_ranks(|key| key.tenant),
            SortKey::EventType => self.message_ranks(|key| key.event_type),
            SortKey::Dimension(dimension) => self.message_ranks(|key| key.value(dimension)),
        }
    }

    fn message_ranks<'a>(&'a self, value: impl Fn(&RowKey<'a>) -> &'a str) -> Ranks {
        let values = self.messages.iter().map(|parts| value(&self.grouping.read_message(parts)));
        Ranks::OfMessages(ranked(values.collect()))
    }
}

/// The rank of each value among all. Equal values have equal ranks.
fn ranked(values: Vec<&str>) -> Vec<u32> {
    // The strings are sorted once here, so that the sort of rows, of which there are many more, compares integers.
    let mut sorted = values.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let ranks: RapidHashMap<&str, u32> =
        sorted.into_iter().enumerate().map(|(rank, value)| (value, index(rank))).collect();
    // Every value was ranked just above.
    values.into_iter().map(|value| ranks[value]).collect()
}
