//! Rows in the order of their keys, without building the keys: there may be as many rows as events.
//!
//! Every value is ranked once, so that rows are compared by small numbers. A row's place is its key in numbers, and no two
//! cells have the same, so what is sorted is places.

use std::cmp::Ordering;

use event::attribution::Dimension;
use rapidhash::RapidHashMap;

use super::table::Place;
use super::{Accumulator, RowKey, is_recipients};
use crate::block::index;
use crate::cell::Cell;

/// What rows may be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// The tenant's name.
    Tenant,
    /// The event type's name.
    Kind,
    /// The bucket.
    Bucket,
    /// The dimension's value.
    Dimension(Dimension),
}

/// How places compare by one sort key.
enum Ranks {
    OfContexts(Vec<u32>),
    OfRecipients(Vec<u32>),
    Bucket,
}

impl Ranks {
    fn compare(&self, one: &Place, other: &Place) -> Ordering {
        match self {
            Self::OfContexts(ranks) => rank(ranks, one.context).cmp(&rank(ranks, other.context)),
            Self::OfRecipients(ranks) => rank(ranks, one.recipient).cmp(&rank(ranks, other.recipient)),
            Self::Bucket => one.bucket.cmp(&other.bucket),
        }
    }
}

fn rank(ranks: &[u32], number: u32) -> u32 {
    ranks.get(number as usize).copied().unwrap_or(0)
}

impl Accumulator {
    /// The numbers of all rows in the order of `keys`, the first of which counts most; [`Accumulator::row`] gives them.
    pub fn sorted(&self, keys: &[SortKey]) -> Vec<u32> {
        let ranks: Vec<Ranks> = keys.iter().map(|&key| self.ranks(key)).collect();
        let mut places: Vec<(Place, u32)> =
            self.cells.iter().enumerate().map(|(number, (place, _))| (*place, index(number))).collect();
        places.sort_unstable_by(|(one, _), (other, _)| {
            let unequal = |ranks: &Ranks| Some(ranks.compare(one, other)).filter(|order| order.is_ne());
            ranks.iter().find_map(unequal).unwrap_or(Ordering::Equal)
        });
        places.into_iter().map(|(_, number)| number).collect()
    }

    /// The row of a number below the count of rows.
    pub fn row(&self, number: u32) -> Option<(RowKey<'_>, &Cell)> {
        self.cells.get(number).map(|(place, cell)| (self.key_of(place), cell))
    }

    fn ranks(&self, key: SortKey) -> Ranks {
        match key {
            SortKey::Bucket => Ranks::Bucket,
            SortKey::Dimension(dimension) if is_recipients(dimension) => {
                let values = self.recipients.iter().map(|parts| {
                    let mut values = [""; Dimension::COUNT];
                    self.grouping.read_recipient(parts, &mut values);
                    RowKey { tenant: "", bucket: None, kind: "", values }.value(dimension)
                });
                Ranks::OfRecipients(ranked(values.collect()))
            }
            SortKey::Tenant => self.ranks_of_contexts(|key| key.tenant),
            SortKey::Kind => self.ranks_of_contexts(|key| key.kind),
            SortKey::Dimension(dimension) => self.ranks_of_contexts(|key| key.value(dimension)),
        }
    }

    fn ranks_of_contexts<'a>(&'a self, value: impl Fn(&RowKey<'a>) -> &'a str) -> Ranks {
        let values = self.contexts.iter().map(|parts| value(&self.grouping.read_context(parts)));
        Ranks::OfContexts(ranked(values.collect()))
    }
}

/// The rank of each value among all.
fn ranked(values: Vec<&str>) -> Vec<u32> {
    let mut sorted = values.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let ranks: RapidHashMap<&str, u32> =
        sorted.into_iter().enumerate().map(|(rank, value)| (value, index(rank))).collect();
    values.into_iter().map(|value| ranks.get(value).copied().unwrap_or(0)).collect()
}
